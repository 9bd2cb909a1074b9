//! The values that `prometheus_client`'s metrics count in.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::call::PyCallArgs;
use pyo3::exceptions::{PyException, PyImportError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule, PyString, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};

use super::compact;
use crate::compact::Occasion;
use crate::count::values::{self, Caller, Class, Operation};
use crate::format::write_key;

/// The environment's name for the directory.
const DIRECTORY: &str = "PROMETHEUS_MULTIPROC_DIR";
/// Its deprecated name.
const OLD_DIRECTORY: &str = "prometheus_multiproc_dir";

/// All values that are counted under one process identifier.
#[pyclass(frozen, module = "multiprom._core")]
pub(super) struct Owner {
    class: Arc<Class>,
    /// None for the pid.
    identify: Option<Py<PyAny>>,
    /// The module that has `mmap_key`, which programs replace.
    values: Py<PyModule>,
    /// Whether it was closed since it was last registered to be closed.
    closed: AtomicBool,
    /// `mmap_key` as `prometheus_client` has it: the one that need not be called.
    stock_key: Option<Py<PyAny>>,
}

#[pymethods]
impl Owner {
    #[new]
    fn new(
        py: Python<'_>,
        identify: Option<Py<PyAny>>,
        values: Py<PyModule>,
        stock_key: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let caller = Caller { directory: None, identifier: identifier(py, identify.as_ref())? };
        Ok(Self {
            class: Arc::new(py.detach(|| Class::new(&caller))?),
            identify,
            values,
            closed: AtomicBool::new(true),
            stock_key,
        })
    }

    /// Closes the files.
    fn close(&self, py: Python<'_>) {
        self.closed.store(true, Ordering::Relaxed);
        py.detach(|| self.class.close());
    }

    /// Moves the files to the directory that the environment names by now.
    fn move_on(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(directory) = std::env::var_os(DIRECTORY) {
            py.detach(|| self.class.move_on(&directory));
        }
        tell(py)
    }

    /// Closes the files, which `prometheus_client` continues.
    fn hand_over(&self, py: Python<'_>) {
        self.closed.store(true, Ordering::Relaxed);
        py.detach(|| self.class.hand_over());
    }

    /// An identifier may refer to the class that asks for it. The class can break such a cycle.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.identify)?;
        visit.call(&self.values)?;
        visit.call(&self.stock_key)
    }
}

impl Owner {
    /// Has it closed by `prometheus_client`'s `close_all_multiprocess_files`, which forgets whom it
    /// has closed.
    fn register(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let Self { closed, values, .. } = slf.get();
        if !closed.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let registered = slf.getattr(intern!(py, "close")).and_then(|close| {
            call(python_layer(py), intern!(py, "register_cleanup"), (values, close))
        });
        if registered.is_err() {
            // Another operation is to do it.
            closed.store(true, Ordering::Relaxed);
        }
        registered
    }

    /// The key of a series.
    fn key(
        &self,
        py: Python<'_>,
        names: [&Bound<'_, PyAny>; 2],
        labels: [&Bound<'_, PyAny>; 2],
        help_text: &Bound<'_, PyAny>,
    ) -> PyResult<String> {
        let make_key = self.values.bind(py).getattr(intern!(py, "mmap_key"))?;
        if self.stock_key.as_ref().is_some_and(|stock_key| make_key.is(stock_key))
            && let Some(key) = plain_key(names, labels, help_text)
        {
            return Ok(key);
        }
        make_key.call1((names[0], names[1], labels[0], labels[1], help_text))?.extract()
    }

    /// Who counts; called with the interpreter held, since Python code may change the environment.
    fn caller(&self, py: Python<'_>) -> PyResult<Caller> {
        let identifier = identifier(py, self.identify.as_ref())?;
        Ok(Caller { directory: std::env::var_os(DIRECTORY), identifier })
    }
}

fn identifier(py: Python<'_>, identify: Option<&Py<PyAny>>) -> PyResult<Option<OsString>> {
    identify.map(|identify| identify.bind(py).call0()?.str()?.extract()).transpose()
}

/// The key of a series whose names and labels are all strings, as they are in metrics.
fn plain_key(
    names: [&Bound<'_, PyAny>; 2],
    labels: [&Bound<'_, PyAny>; 2],
    help_text: &Bound<'_, PyAny>,
) -> Option<String> {
    let [label_names, label_values] = labels.map(|texts| texts.cast::<PyTuple>());
    let (label_names, label_values) = (label_names.ok()?, label_values.ok()?);
    let mut pairs = Vec::with_capacity(label_names.len());
    for (name, value) in label_names.iter().zip(label_values.iter()) {
        pairs.push((name.cast_into::<PyString>().ok()?, value.cast_into::<PyString>().ok()?));
    }
    let mut labels = Vec::with_capacity(pairs.len());
    for (name, value) in &pairs {
        labels.push((name.to_str().ok()?, value.to_str().ok()?));
    }
    let [family, sample] = names.map(|name| name.cast::<PyString>());
    let (family, sample) = (family.ok()?.to_str().ok()?, sample.ok()?.to_str().ok()?);
    let help_text = help_text.cast::<PyString>().ok()?.to_str().ok()?;
    Some(write_key(family, sample, &mut labels, help_text))
}

/// One value.
#[pyclass(frozen, subclass, module = "multiprom._core")]
pub(super) struct Value {
    counted: values::Value,
    owner: Py<Owner>,
    /// Whether the identifier has to be asked for each time.
    asks: bool,
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
        values::ensure_memory()?;
        let owner = cls.getattr(intern!(py, "_owner"))?.cast_into::<Owner>()?;
        let Owner { class, identify, .. } = owner.get();
        if std::env::var_os(OLD_DIRECTORY).is_some()
            && std::env::var_os(DIRECTORY).is_none()
            && let Some(layer) = python_layer(py)?
        {
            layer.call_method0(intern!(py, "adopt_old_variable"))?;
        }
        let key = owner.get().key(py, [metric_name, name], [labelnames, labelvalues], help_text)?;
        let prefix =
            if typ == "gauge" { format!("{typ}_{multiprocess_mode}") } else { typ.to_owned() };
        let identifier = identifier(py, identify.as_ref())?;
        let asks = identify.is_some();
        if let Some(value) = class.try_value(&prefix, key.as_bytes(), identifier.as_deref()) {
            return Ok(Self { counted: value, owner: owner.unbind(), asks });
        }
        let caller = Caller { directory: std::env::var_os(DIRECTORY), identifier };
        let bytes = key.as_bytes();
        let value = py.detach(|| class.value(&prefix, bytes, &caller));
        tell(py)?;
        Owner::register(&owner)?;
        Ok(Self { counted: value?, owner: owner.unbind(), asks })
    }

    /// Takes what the constructor took: subclasses may call it.
    #[pyo3(signature = (*_arguments, **_keywords))]
    #[allow(clippy::unused_self)] // `__new__` did it all.
    fn __init__(&self, _arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) {}

    /// Adds `amount`.
    fn inc(&self, py: Python<'_>, amount: f64) -> PyResult<()> {
        if !self.asks && self.counted.try_add(amount) {
            return Ok(());
        }
        self.operate(py, Operation::Add(amount)).map(drop)
    }

    /// Sets the value, and the time at which it was set.
    #[pyo3(signature = (value, timestamp = None))]
    fn set(&self, py: Python<'_>, value: f64, timestamp: Option<f64>) -> PyResult<()> {
        let timestamp = timestamp.unwrap_or_default();
        if !self.asks && timestamp == 0.0 && self.counted.try_set(value) {
            return Ok(());
        }
        // With a timestamp it is two words that must be of one call: under the lock.
        self.operate(py, Operation::Set(value, timestamp)).map(drop)
    }

    /// Gives the value.
    fn get(&self, py: Python<'_>) -> PyResult<f64> {
        match self.counted.try_get() {
            Some(value) if !self.asks => Ok(value),
            _ => self.operate(py, Operation::Get),
        }
    }

    /// Does nothing: files have no exemplars.
    #[allow(clippy::unused_self)] // A method of every value class.
    #[pyo3(signature = (exemplar))]
    fn set_exemplar(&self, exemplar: &Bound<'_, PyAny>) {
        let _ = exemplar;
    }

    /// Gives None: files have no exemplars.
    #[allow(clippy::unused_self)] // A method of every value class.
    fn get_exemplar(&self) -> Option<Py<PyAny>> {
        None
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.owner)
    }
}

impl Value {
    fn operate(&self, py: Python<'_>, operation: Operation) -> PyResult<f64> {
        let caller = self.owner.get().caller(py)?;
        let value = py.detach(|| self.counted.operate(operation, &caller));
        tell(py)?;
        Owner::register(self.owner.bind(py))?;
        Ok(value)
    }
}

/// Makes sure that what this process has counted is in the files.
#[pyfunction]
#[pyo3(signature = (*, at_end = false))]
pub(super) fn settle_values(py: Python<'_>, at_end: bool) -> PyResult<()> {
    if at_end {
        // Whoever detaches at the end of a sub-interpreter never comes back.
        values::settle(at_end);
    } else {
        py.detach(|| values::settle(at_end));
    }
    tell(py)
}

/// Learns that this process says of itself that it is dead.
#[pyfunction]
pub(super) fn tell_dead(py: Python<'_>, path: OsString, pid: OsString) {
    py.detach(|| values::tell_dead(&path, &pid));
}

/// Logs what is to be logged, and sweeps the directories in which this process has begun to write.
///
/// The error is of what interrupts a program, such as the `SystemExit` of a signal handler.
fn tell(py: Python<'_>) -> PyResult<()> {
    if !values::has_notices() {
        return Ok(());
    }
    let mut interruption = Ok(());
    let (notices, opened_in) = py.detach(values::take_notices);
    for notice in notices {
        let logged = log(py, &notice.to_string(), notice.is_warning());
        interruption = interruption.and(logged);
    }
    for directory in opened_in {
        interruption = interruption.and(compact::sweep(py, &directory, &Occasion::Opening));
    }
    interruption
}

/// Logs a line. Whatever a log handler raises is not raised here, but for what interrupts a program.
pub(super) fn log(py: Python<'_>, message: &str, is_warning: bool) -> PyResult<()> {
    match call(python_layer(py), intern!(py, "log"), (message, is_warning)) {
        Err(error) if error.is_instance_of::<PyException>(py) => {
            error.write_unraisable(py, None);
            Ok(())
        }
        result => result,
    }
}

fn python_layer(py: Python<'_>) -> PyResult<Option<Bound<'_, PyModule>>> {
    own_module(py, intern!(py, "multiprom.values"))
}

/// Calls a function of a module, if there is one.
fn call<'py>(
    module: PyResult<Option<Bound<'py, PyModule>>>,
    name: &Bound<'py, PyString>,
    arguments: impl PyCallArgs<'py>,
) -> PyResult<()> {
    module?.map_or(Ok(()), |module| module.call_method1(name, arguments).map(drop))
}

/// A module of the Python layer; none at the end of the interpreter, which then imports nothing: who
/// still counts need not hear of it.
fn own_module<'py>(
    py: Python<'py>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyModule>>> {
    match PyModule::import(py, name) {
        Ok(module) => Ok(Some(module)),
        // Not ModuleNotFoundError, which says that something is wrong.
        Err(error) if error.get_type(py).is(py.get_type::<PyImportError>()) => Ok(None),
        Err(error) => Err(error),
    }
}
