//! What is made once and kept, so that the child of a fork never finds it half made.
//!
//! What `PyO3` makes once it makes behind a lock, and lets other threads have the interpreter while it
//! holds the lock. If one of them forks then, the child has no thread that unlocks it, and waits for
//! good at its first use. So names are made without a lock here, and what `PyO3` makes for itself is made
//! while the module is imported.

use once_cell::race::OnceBox;
use pyo3::PyTypeInfo;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PySequence, PyString, PyTuple};

use super::class::ValueClass;
use super::native::Statement;
use super::value::MadeValues;

/// A name as a Python string, made at its first use.
pub(super) struct Name {
    text: &'static str,
    string: OnceBox<Py<PyString>>,
}

impl Name {
    pub(super) const fn new(text: &'static str) -> Self {
        Self { text, string: OnceBox::new() }
    }

    /// The string. Threads that make it at the same time do not wait for each other.
    #[inline]
    pub(super) fn get<'py>(&self, py: Python<'py>) -> &Bound<'py, PyString> {
        let make = || Box::new(PyString::intern(py, self.text).unbind());
        self.string.get_or_init(make).bind(py)
    }
}

/// The Python string of a constant name, as `PyO3`'s macro of this name gives it, but without a lock.
macro_rules! intern {
    ($py:expr, $text:expr) => {{
        static NAME: $crate::python::once::Name = $crate::python::once::Name::new($text);
        NAME.get($py)
    }};
}
pub(super) use intern;

/// Makes what `PyO3` and crates would make behind a lock at its first use.
pub(super) fn make_all(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    // The classes that are not in the module.
    let _ = (py.get_type::<MadeValues>(), py.get_type::<Statement>());
    // For messages: the names of classes.
    let class = py.get_type::<ValueClass>();
    let _ = (class.name()?, class.qualname()?, class.module()?, class.fully_qualified_name()?);
    // For lists and iterators.
    let _ = (PySequence::type_object(py), PyIterator::type_object(py));
    let _ = PyTuple::empty(py).try_iter()?.size_hint();
    // For errors: of a call with a wrong argument, and those that Python code raises.
    let _ = module.getattr("leave")?.call1((py.None(),));
    PyValueError::new_err(()).restore(py);
    let _ = PyErr::take(py);
    // For threads that attach to the interpreter.
    Python::attach(|_| ());
    // The seed of all tables.
    let _ = hashbrown::DefaultHashBuilder::default();
    Ok(())
}
