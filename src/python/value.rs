//! The values that `prometheus_client`'s metrics count in.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::vec;

use pyo3::exceptions::{PyException, PySystemError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};

use super::class::ValueClass;
use super::native::Shortcut;
use super::notices::{HoldingBack, tell};
use super::once::intern;
use crate::count::{self, Caller, Operation};
use crate::format::exemplar::Exemplar;

/// One value.
#[pyclass(frozen, subclass, module = "multiprom._core")]
pub(super) struct Value {
    counted: count::Value,
    class: Py<ValueClass>,
    /// Whether what is counted goes through the lock of all values: the identifier has to be asked for
    /// each time, or the value was withdrawn.
    is_slow: AtomicBool,
    /// What native methods of metrics know of the value.
    pub(super) shortcut: Shortcut,
}

#[pymethods]
impl Value {
    #[new]
    #[classmethod]
    #[pyo3(
        signature = (
            typ, metric_name, name, labelnames, labelvalues, help_text, multiprocess_mode = "",
            **_kwargs
        ),
        text_signature = "(typ, metric_name, name, labelnames, labelvalues, help_text, \
            multiprocess_mode='', **_kwargs)"
    )]
    #[allow(clippy::too_many_arguments)] // prometheus_client's signature
    fn new(
        cls: &Bound<'_, PyType>,
        typ: &str,
        metric_name: &Bound<'_, PyAny>,
        name: &Bound<'_, PyAny>,
        labelnames: &Bound<'_, PyAny>,
        labelvalues: &Bound<'_, PyAny>,
        help_text: &Bound<'_, PyAny>,
        multiprocess_mode: &str,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let py = cls.py();
        if let Ok(made) = metric_name.cast_exact::<MadeValues>() {
            return made.get().next(py);
        }
        let _holding_back = HoldingBack::new();
        let class = cls.getattr(intern!(py, "_value_class"))?.cast_into::<ValueClass>()?;
        let shared = class.get();
        let key = shared.key(py, [metric_name, name], [labelnames, labelvalues], help_text)?;
        let asks = shared.asks();
        let shortcut = Shortcut::new(is_ours(cls)? && !asks, multiprocess_mode);
        let counted =
            ValueClass::make(&class, typ, multiprocess_mode, vec![count::head_of([&key])?])?;
        let [counted] = <[_; 1]>::try_from(counted).map_err(|_| missing_value())?;
        Ok(Self::made(counted, class, asks, shortcut))
    }

    /// Takes what the constructor took: subclasses may call it.
    #[pyo3(signature = (*_arguments, **_keywords))]
    #[allow(clippy::unused_self)] // `__new__` did it all.
    fn __init__(&self, _arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) {}

    /// Adds `amount`.
    fn inc(&self, py: Python<'_>, amount: f64) -> PyResult<()> {
        if !self.is_slow() && self.counted.try_add(amount) {
            return tell(py);
        }
        self.operate(py, Operation::Add(amount)).map(drop)
    }

    /// Sets the value, and the time at which it was set.
    #[pyo3(signature = (value, timestamp = None))]
    fn set(&self, py: Python<'_>, value: f64, timestamp: Option<f64>) -> PyResult<()> {
        let timestamp = timestamp.unwrap_or_default();
        if !self.is_slow() && timestamp == 0.0 && self.counted.try_set(value) {
            return tell(py);
        }
        // With a timestamp it is two words that must be of one call: under the lock.
        self.operate(py, Operation::Set(value, timestamp)).map(drop)
    }

    /// Gives the value.
    fn get(&self, py: Python<'_>) -> PyResult<f64> {
        match self.counted.try_get() {
            Some(value) if !self.is_slow() => tell(py).map(|()| value),
            _ => self.operate(py, Operation::Get),
        }
    }

    /// Keeps an `Exemplar`; anything else is no exemplar that a text could have.
    #[pyo3(signature = (exemplar))]
    fn set_exemplar(&self, exemplar: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = exemplar.py();
        let attribute = |name| exemplar.getattr_opt(name);
        let (Some(labels), Some(value), Some(time)) = (
            attribute(intern!(py, "labels"))?,
            attribute(intern!(py, "value"))?,
            attribute(intern!(py, "timestamp"))?,
        ) else {
            return Ok(());
        };
        match (value.extract(), time.extract()) {
            (Ok(value), Ok(time)) => self.keep_exemplar(&labels, value, time),
            _ => Ok(()),
        }
    }

    /// Gives the `Exemplar` that this process has kept last.
    fn get_exemplar<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let caller = Caller { directory: None, identifier: self.class.get().identifier(py)? };
        let found = py.detach(|| self.counted.exemplar(&caller));
        let class = || py.import("prometheus_client.samples")?.getattr(intern!(py, "Exemplar"));
        found.map(|found| exemplar_object(&class()?, &found)).transpose()
    }

    /// Has native methods call the methods of this value from now on: one may be patched.
    fn heed_patches(&self) {
        self.shortcut.close();
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.class)?;
        self.shortcut.traverse(&visit)
    }
}

impl Value {
    /// Keeps an exemplar with these labels, unless they are no texts by name.
    pub(super) fn keep_exemplar(
        &self,
        labels: &Bound<'_, PyAny>,
        value: f64,
        time: f64,
    ) -> PyResult<()> {
        let py = labels.py();
        let labels = match labels.cast_exact::<PyDict>() {
            Ok(labels) => labels.clone(),
            Err(_) => match py.get_type::<PyDict>().call1((labels,)) {
                Err(error) if error.is_instance_of::<PyException>(py) => return Ok(()),
                copy => copy?.cast_into()?,
            },
        };
        let mut texts = Vec::with_capacity(labels.len());
        for (name, value) in &labels {
            match (name.cast_into::<PyString>(), value.cast_into::<PyString>()) {
                (Ok(name), Ok(value)) => texts.push((name, value)),
                _ => return Ok(()),
            }
        }
        let mut labels = Vec::with_capacity(texts.len());
        for (name, value) in &texts {
            // A text with a lone surrogate has no UTF-8.
            let (Ok(name), Ok(value)) = (name.to_str(), value.to_str()) else { return Ok(()) };
            labels.push((name, value));
        }
        let Some(kept) = self.counted.exemplar_of(&labels, value, time) else { return Ok(()) };
        let identifier = self.class.get().identifier(py)?;
        if !self.counted.try_set_exemplar(&kept, identifier.as_deref()) {
            let caller = Caller { directory: None, identifier };
            py.detach(|| self.counted.set_exemplar(&kept, &caller));
        }
        Ok(())
    }
}

/// The object of `prometheus_client`'s class `Exemplar`.
pub(super) fn exemplar_object<'py>(
    class: &Bound<'py, PyAny>,
    Exemplar { labels, value, timestamp }: &Exemplar,
) -> PyResult<Bound<'py, PyAny>> {
    let dict = PyDict::new(class.py());
    for (name, value) in labels {
        dict.set_item(name, value)?;
    }
    class.call1((dict, value, timestamp))
}

/// For native methods of metrics, which call the method of the value where these do nothing and give
/// false.
impl Value {
    #[inline]
    pub(super) fn try_inc(&self, amount: f64) -> bool {
        self.is_plain() && self.counted.try_add(amount)
    }

    #[inline]
    pub(super) fn try_set(&self, value: f64) -> bool {
        self.is_plain() && self.counted.try_set(value)
    }

    #[inline]
    pub(super) fn try_set_at(&self, value: f64, timestamp: f64) -> bool {
        self.is_plain() && self.counted.try_set_at(value, timestamp)
    }

    /// Whether neither the value nor its class was patched, and there is nothing to log.
    #[inline]
    fn is_plain(&self) -> bool {
        self.shortcut.is_open() && !self.class.get().is_patched() && !count::has_notices()
    }
}

impl Value {
    fn made(
        counted: count::Value,
        class: Bound<'_, ValueClass>,
        asks: bool,
        shortcut: Shortcut,
    ) -> Self {
        Self { counted, class: class.unbind(), is_slow: AtomicBool::new(asks), shortcut }
    }

    #[inline]
    fn is_slow(&self) -> bool {
        self.is_slow.load(Ordering::Relaxed)
    }

    /// Withdraws the series of these values from the files of this process: what counts in the values
    /// from now on is nowhere.
    pub(super) fn withdraw(py: Python<'_>, values: &[Py<Self>]) -> PyResult<()> {
        let mut callers = Vec::with_capacity(values.len());
        for value in values.iter().map(Py::get) {
            // Before the cell is given up: no thread shall find it again by this value.
            value.shortcut.close();
            value.is_slow.store(true, Ordering::Relaxed);
            let identifier = value.class.get().identifier(py)?;
            callers.push(Caller { directory: None, identifier });
        }
        py.detach(|| {
            for (value, caller) in values.iter().zip(&callers) {
                value.get().counted.withdraw(caller);
            }
        });
        Ok(())
    }

    fn operate(&self, py: Python<'_>, operation: Operation) -> PyResult<f64> {
        let class = self.class.get();
        // With the interpreter held: both run Python code.
        let identifier = class.identifier(py)?;
        let caller = Caller { directory: class.directory(py)?, identifier };
        let value = py.detach(|| self.counted.operate(operation, &caller));
        tell(py)?;
        ValueClass::register(self.class.bind(py))?;
        Ok(value)
    }
}

/// Whether this is a class that `MultiProcessValue` has made, and not a subclass, which may have
/// methods of its own.
pub(super) fn is_ours(class: &Bound<'_, PyType>) -> PyResult<bool> {
    let py = class.py();
    Ok(class.getattr(intern!(py, "__base__"))?.is(py.get_type::<Value>()))
}

/// Values that a native method has made, of which no Python object exists yet. The constructor of
/// their class takes these in the place of a name, and gives the next of them.
#[pyclass(frozen, module = "multiprom._core")]
pub(super) struct MadeValues {
    class: Py<ValueClass>,
    multiprocess_mode: String,
    rest: Mutex<vec::IntoIter<count::Value>>,
}

impl MadeValues {
    fn next(&self, py: Python<'_>) -> PyResult<Value> {
        let next = self.rest.lock().unwrap_or_else(PoisonError::into_inner).next();
        Ok(Value {
            counted: next.ok_or_else(missing_value)?,
            class: self.class.clone_ref(py),
            is_slow: AtomicBool::new(false),
            shortcut: Shortcut::new(true, &self.multiprocess_mode),
        })
    }
}

/// Gives the Python objects of values of `python_class`, which [`is_ours`], as `class` has made them.
pub(super) fn objects_of<'py>(
    python_class: &Bound<'py, PyType>,
    class: &Bound<'py, ValueClass>,
    typ: &Bound<'py, PyString>,
    multiprocess_mode: &str,
    made: Vec<count::Value>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let py = python_class.py();
    let count = made.len();
    let made = MadeValues {
        class: class.clone().unbind(),
        multiprocess_mode: multiprocess_mode.to_owned(),
        rest: Mutex::new(made.into_iter()),
    };
    let none = py.None();
    let arguments = (typ, Bound::new(py, made)?, &none, &none, &none, &none).into_pyobject(py)?;
    (0..count).map(|_| python_class.call1(&arguments)).collect()
}

fn missing_value() -> PyErr {
    PySystemError::new_err("fewer values were made than were asked for")
}

/// Makes sure that what this process has counted is in the files.
#[pyfunction]
#[pyo3(signature = (*, at_end = false))]
pub(super) fn write_unwritten(py: Python<'_>, at_end: bool) -> PyResult<()> {
    if at_end {
        // A thread that detaches at the end of a sub-interpreter never comes back.
        count::write_unwritten(at_end);
    } else {
        py.detach(|| count::write_unwritten(at_end));
    }
    tell(py)
}

/// Learns that this process says of itself that it is dead.
#[pyfunction]
pub(super) fn mark_self_dead(py: Python<'_>, path: OsString, pid: OsString) {
    py.detach(|| count::mark_self_dead(&path, &pid));
}
