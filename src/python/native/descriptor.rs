//! Method descriptors: what Python calls when a program calls a method of a class.
//!
//! `PyO3` makes descriptors only for classes of its own, so these few are made by hand. This is the
//! only `unsafe` code of the binding; all that the methods do is written in safe `PyO3`.

#![allow(unsafe_code)]

use std::ffi::{CString, c_void};
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::slice;

use once_cell::race::OnceBox;
use pyo3::exceptions::PySystemError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

use super::method::Method;

/// The arguments of a call of a method.
#[derive(Clone, Copy)]
pub(super) struct Call<'a, 'py> {
    /// The object whose method is called: an instance of the class that has the descriptor.
    pub(super) receiver: &'a Bound<'py, PyAny>,
    /// The positional arguments.
    pub(super) positional: &'a [Bound<'py, PyAny>],
    /// The arguments given by keyword, in the order of `names`.
    pub(super) by_keyword: &'a [Bound<'py, PyAny>],
    /// The names of the arguments given by keyword; none if there are no such arguments.
    pub(super) names: Option<&'a Bound<'py, PyTuple>>,
}

impl<'py> Call<'_, 'py> {
    pub(super) fn py(&self) -> Python<'py> {
        self.receiver.py()
    }

    /// How many arguments there are.
    pub(super) fn count(&self) -> usize {
        self.positional.len() + self.by_keyword.len()
    }

    /// `None`, which a method gives that returns nothing.
    #[inline]
    pub(super) fn none(&self) -> Bound<'py, PyAny> {
        self.py().None().into_bound(self.py())
    }

    /// Calls `function` with the same arguments.
    pub(super) fn forward(&self, function: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        match (self.positional, self.names) {
            ([], None) => call_with(function, [self.receiver]),
            ([first], None) => call_with(function, [self.receiver, first]),
            (_, names) => {
                let positional = [self.receiver].into_iter().chain(self.positional);
                let positional: Vec<_> = positional.collect();
                let keywords = PyDict::new(self.py());
                for (name, value) in names.into_iter().flatten().zip(self.by_keyword) {
                    keywords.set_item(name, value)?;
                }
                function.call(PyTuple::new(self.py(), positional)?, Some(&keywords))
            }
        }
    }
}

/// What `CPython` calls for the descriptor of method `M`.
///
/// # Safety
///
/// As `CPython` calls a function with `METH_FASTCALL | METH_KEYWORDS`: the thread is attached to the
/// interpreter; `receiver` is an object; `arguments` are as many objects as `positional` and the
/// length of `names` say; `names` is a tuple or null. All of them live until the function returns.
unsafe extern "C" fn entry<M: Method>(
    receiver: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    positional: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the caller is attached.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: `receiver` is an object that lives as long as this call.
    let receiver = unsafe { Borrowed::from_ptr(py, receiver) };
    // SAFETY: `names` is null or a tuple that lives as long as this call.
    let names = unsafe { Borrowed::from_ptr_or_opt(py, names).map(|names| names.cast_unchecked()) };
    let by_keyword = names.as_ref().map_or(0, |names: &Borrowed<'_, '_, PyTuple>| names.len());
    let positional = positional.unsigned_abs();
    let arguments: &[Bound<'_, PyAny>] = if arguments.is_null() {
        &[]
    } else {
        // SAFETY: the caller has so many objects there, which live as long as this call; a `Bound`
        // is a pointer to an object, and nothing, and is not dropped behind a reference.
        unsafe { slice::from_raw_parts(arguments.cast(), positional + by_keyword) }
    };
    let (positional, by_keyword) = arguments.split_at_checked(positional).unwrap_or_default();
    let call = Call { receiver: &receiver, positional, by_keyword, names: names.as_deref() };
    match run::<M>(&call) {
        Ok(result) => result.into_ptr(),
        Err(error) => {
            raise(py, error);
            ptr::null_mut()
        }
    }
}

/// What method `M` gives, or `prometheus_client`'s function if the method has done nothing.
#[inline]
fn run<'py, M: Method>(call: &Call<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    // A panic must not unwind into the interpreter.
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| M::call(call)))
        .unwrap_or_else(|_| Err(PySystemError::new_err("a native method of multiprom panicked")));
    if let Some(result) = outcome? {
        return Ok(result);
    }
    let stock = M::known()
        .stocks
        .of(call.receiver)
        .ok_or_else(|| PySystemError::new_err("the method has no function of prometheus_client"))?;
    call.forward(stock.function.bind(call.py()))
}

/// Sets the exception of this thread.
///
/// `PyO3` does not know in `entry` that the thread is attached: objects that an error has, also one that
/// was passed over, are put on a list of its own then. Attaching once more has them dropped.
#[cold]
fn raise(py: Python<'_>, error: PyErr) {
    let mut error = Some(error);
    Python::try_attach(|py| error.take().map(|error| error.restore(py)));
    // At the end of the interpreter no thread can attach.
    if let Some(error) = error {
        error.restore(py);
    }
}

/// What `CPython` calls for a method.
#[derive(Clone, Copy)]
pub(super) struct Entry(ffi::PyCFunctionFastWithKeywords);

impl Entry {
    /// That of method `M`.
    pub(super) const fn of<M: Method>() -> Self {
        Self(entry::<M>)
    }
}

/// What `CPython` is told of a method. Never freed: descriptors point to it.
pub(super) struct Definition(OnceBox<Raw>);

struct Raw(ffi::PyMethodDef);

// SAFETY: the definition and the texts that it points to are never changed once they are made.
unsafe impl Sync for Raw {}
// SAFETY: as above; and nothing in it belongs to a thread.
unsafe impl Send for Raw {}

impl Definition {
    pub(super) const fn new() -> Self {
        Self(OnceBox::new())
    }

    /// A descriptor for `class`. The entry, the name and the docstring, which begins with the text
    /// signature, are those of the first call.
    pub(super) fn descriptor<'py>(
        &self,
        class: &Bound<'py, PyType>,
        entry: Entry,
        name: CString,
        docstring: CString,
    ) -> PyResult<Bound<'py, PyAny>> {
        let raw = self.0.get_or_init(|| {
            Box::new(Raw(ffi::PyMethodDef {
                ml_name: name.into_raw(),
                ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: entry.0 },
                ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
                ml_doc: docstring.into_raw(),
            }))
        });
        let definition = ptr::from_ref(&raw.0).cast_mut();
        // SAFETY: `class` is a type, and the definition lives for ever; CPython only reads it.
        unsafe {
            let descriptor = ffi::PyDescr_NewMethod(class.as_type_ptr(), definition);
            Bound::from_owned_ptr_or_err(class.py(), descriptor)
        }
    }
}

/// Makes an instance of `class` as calling the class does, but without its `__init__`; none if the
/// class has a `__new__`, which would ask for the arguments of the call.
#[inline]
pub(super) fn instance_of<'py>(class: &Bound<'py, PyType>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = class.py();
    let arguments = PyTuple::empty(py);
    // SAFETY: both are types, whose slot `tp_new` is null or a function of this signature; the
    // arguments are a tuple, without a dictionary. The result is a new reference, or null with an
    // exception set.
    unsafe {
        let slot = ffi::PyType_GetSlot(class.as_type_ptr(), ffi::Py_tp_new);
        if slot != ffi::PyType_GetSlot(&raw mut ffi::PyBaseObject_Type, ffi::Py_tp_new) {
            return Ok(None);
        }
        let Some(new) = mem::transmute::<*mut c_void, Option<ffi::newfunc>>(slot) else {
            return Ok(None);
        };
        let instance = new(class.as_type_ptr(), arguments.as_ptr(), ptr::null_mut());
        Bound::from_owned_ptr_or_err(py, instance).map(Some)
    }
}

/// Calls `function` with a few positional arguments, without making a tuple.
#[inline]
pub(super) fn call_with<'py, const N: usize>(
    function: &Bound<'py, PyAny>,
    arguments: [&Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyAny>> {
    const { assert!(N == 1 || N == 2) };
    let end = ptr::null_mut::<ffi::PyObject>();
    let function_pointer = function.as_ptr();
    // SAFETY: the thread is attached, as a `Bound` shows; all arguments are objects, and the list of
    // them ends with null. The result is a new reference, or null with an exception set.
    unsafe {
        let result = if let [first, second] = arguments.as_slice() {
            let (first, second) = (first.as_ptr(), second.as_ptr());
            ffi::PyObject_CallFunctionObjArgs(function_pointer, first, second, end)
        } else {
            ffi::PyObject_CallFunctionObjArgs(function_pointer, arguments[0].as_ptr(), end)
        };
        Bound::from_owned_ptr_or_err(function.py(), result)
    }
}

/// Calls the method `name` of `object`, without making a bound method or a tuple.
#[inline]
pub(in crate::python) fn call_method<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    argument: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let end = ptr::null_mut::<ffi::PyObject>();
    // Null ends the list of arguments.
    let argument = argument.map_or(end, Bound::as_ptr);
    // SAFETY: the thread is attached, as a `Bound` shows; `name` is a str, the argument an object or
    // null, and the list ends with null. The result is a new reference, or null with an exception set.
    unsafe {
        let result = ffi::PyObject_CallMethodObjArgs(object.as_ptr(), name.as_ptr(), argument, end);
        Bound::from_owned_ptr_or_err(object.py(), result)
    }
}
