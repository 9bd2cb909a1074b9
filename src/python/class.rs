//! Value classes: what all values of one process identifier share.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::{PyDeprecationWarning, PyException};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyModule, PyString, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::notices::{HoldingBack, tell};
use super::once::intern;
use super::settings::{DIRECTORY, path_in};
use crate::count::{self, Caller, Head};
use crate::format::write_key;

/// The deprecated form of [`DIRECTORY`].
const OLD_DIRECTORY: &str = "prometheus_multiproc_dir";

/// All values that are counted under one process identifier.
#[pyclass(frozen, module = "multiprom._core")]
pub(super) struct ValueClass {
    pub(super) class: Arc<count::ValueClass>,
    /// None for the pid.
    identify: Option<Py<PyAny>>,
    /// `prometheus_client.values`, which has `mmap_key`: programs replace it.
    values: Py<PyModule>,
    /// `mmap_key` as `prometheus_client` has it: the one that need not be called.
    stock_key: Option<Py<PyAny>>,
    /// The module `os`. Its `environ` is read, and not the process's environment: Python changes that
    /// (`setenv`) while other threads may read it.
    os: Py<PyModule>,
    /// Whether it was closed since it was last registered to be closed.
    is_closed: AtomicBool,
    /// Whether a program has set an attribute of the Python class, which may be a method.
    is_patched: AtomicBool,
}

#[pymethods]
impl ValueClass {
    #[new]
    fn new(
        py: Python<'_>,
        identify: Option<Py<PyAny>>,
        values: Py<PyModule>,
        stock_key: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let caller = Caller { directory: None, identifier: call(py, identify.as_ref())? };
        Ok(Self {
            class: Arc::new(py.detach(|| count::ValueClass::new(&caller))?),
            identify,
            values,
            stock_key,
            os: PyModule::import(py, intern!(py, "os"))?.unbind(),
            is_closed: AtomicBool::new(true),
            is_patched: AtomicBool::new(false),
        })
    }

    /// Has native methods call the methods of all values from now on: one may be patched.
    fn heed_patches(&self) {
        self.is_patched.store(true, Ordering::Relaxed);
    }

    /// Closes the files, but keeps their locks.
    fn close(&self, py: Python<'_>) {
        self.is_closed.store(true, Ordering::Relaxed);
        py.detach(|| self.class.close());
    }

    /// Closes the files and gives up their locks.
    fn end(&self, py: Python<'_>) {
        self.is_closed.store(true, Ordering::Relaxed);
        py.detach(|| self.class.end());
    }

    /// Moves the files to the directory that the environment names by now.
    fn move_on(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(directory) = self.directory(py)? {
            py.detach(|| self.class.move_on(&directory));
        }
        tell(py)
    }

    /// An identifier may refer to the class that asks for it. The class can break such a cycle.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.identify)?;
        visit.call(&self.values)?;
        visit.call(&self.stock_key)?;
        visit.call(&self.os)
    }
}

impl ValueClass {
    /// Whether a method of the Python class may be patched.
    #[inline]
    pub(super) fn is_patched(&self) -> bool {
        self.is_patched.load(Ordering::Relaxed)
    }

    /// Whether the identifier has to be asked for at each operation.
    pub(super) fn asks(&self) -> bool {
        self.identify.is_some()
    }

    /// The process identifier; none if it is the pid.
    pub(super) fn identifier(&self, py: Python<'_>) -> PyResult<Option<OsString>> {
        call(py, self.identify.as_ref())
    }

    /// The directory that the environment names.
    pub(super) fn directory(&self, py: Python<'_>) -> PyResult<Option<OsString>> {
        self.variable(py, DIRECTORY)
    }

    /// Takes the directory from the deprecated variable, as `prometheus_client` does.
    pub(super) fn adopt_old_variable(&self, py: Python<'_>) -> PyResult<()> {
        let Some(old) = self.variable(py, OLD_DIRECTORY)? else { return Ok(()) };
        if self.variable(py, DIRECTORY)?.is_some() {
            return Ok(());
        }
        self.os.bind(py).getattr(intern!(py, "environ"))?.set_item(DIRECTORY, old)?;
        let message = c"prometheus_multiproc_dir variable has been deprecated in favor of the \
            upper case naming PROMETHEUS_MULTIPROC_DIR";
        PyErr::warn(py, &py.get_type::<PyDeprecationWarning>(), message, 1)
    }

    /// The path that a variable names.
    fn variable(&self, py: Python<'_>, name: &str) -> PyResult<Option<OsString>> {
        match path_in(self.os.bind(py), name) {
            // Such as at the end of the interpreter, when `os` is empty: counting must not fail.
            Err(error) if error.is_instance_of::<PyException>(py) => Ok(None),
            found => found,
        }
    }

    /// Has `prometheus_client`'s `close_all_multiprocess_files`, which there is since 0.26, close the
    /// class. That function forgets what it has closed.
    pub(super) fn register(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let Self { is_closed, values, .. } = slf.get();
        if !is_closed.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let cleanups = values.bind(py).getattr_opt(intern!(py, "_multi_process_cleanups"));
        let registered = cleanups.and_then(|cleanups| {
            let Some(cleanups) = cleanups.as_ref().and_then(|list| list.cast::<PyList>().ok())
            else {
                return Ok(());
            };
            let close = slf.getattr(intern!(py, "close"))?;
            if cleanups.contains(&close)? { Ok(()) } else { cleanups.append(close) }
        });
        if registered.is_err() {
            // Another operation is to do it.
            is_closed.store(true, Ordering::Relaxed);
        }
        registered
    }

    /// The values of series with these heads, of a metric of type `typ`, and of this mode if it is a
    /// gauge.
    pub(super) fn make(
        slf: &Bound<'_, Self>,
        typ: &str,
        multiprocess_mode: &str,
        mut heads: Vec<Head>,
    ) -> PyResult<Vec<count::Value>> {
        let py = slf.py();
        // The caller has locked the metric, if these are the values of a labelled child.
        let _holding_back = HoldingBack::new();
        let shared = slf.get();
        let gauge_prefix;
        let prefix = if typ == "gauge" {
            gauge_prefix = format!("{typ}_{multiprocess_mode}");
            &gauge_prefix
        } else {
            typ
        };
        let identifier = shared.identifier(py)?;
        count::ensure_memory(heads.len())?;
        if let Some(made) = shared.class.try_values(prefix, &mut heads, identifier.as_deref()) {
            return Ok(made?);
        }
        shared.adopt_old_variable(py)?;
        let caller = Caller { directory: shared.directory(py)?, identifier };
        let made = py.detach(|| shared.class.values(prefix, heads, &caller));
        Self::register(slf)?;
        Ok(made?)
    }

    /// Whether keys are written as `prometheus_client` does, which `format` knows.
    pub(super) fn has_stock_keys(&self, py: Python<'_>) -> PyResult<bool> {
        let make_key = self.values.bind(py).getattr(intern!(py, "mmap_key"))?;
        Ok(self.stock_key.as_ref().is_some_and(|stock_key| make_key.is(stock_key)))
    }

    /// The key of a series.
    pub(super) fn key(
        &self,
        py: Python<'_>,
        names: [&Bound<'_, PyAny>; 2],
        labels: [&Bound<'_, PyAny>; 2],
        help_text: &Bound<'_, PyAny>,
    ) -> PyResult<String> {
        if self.has_stock_keys(py)?
            && let Some(key) = plain_key(names, labels, help_text)
        {
            return Ok(key);
        }
        let make_key = self.values.bind(py).getattr(intern!(py, "mmap_key"))?;
        make_key.call1((names[0], names[1], labels[0], labels[1], help_text))?.extract()
    }
}

/// What `identify` returns, as a string.
fn call(py: Python<'_>, identify: Option<&Py<PyAny>>) -> PyResult<Option<OsString>> {
    identify.map(|identify| identify.bind(py).call0()?.str()?.extract()).transpose()
}

/// The key of a series whose names and labels are all strings, as they are in metrics.
fn plain_key(
    names: [&Bound<'_, PyAny>; 2],
    labels: [&Bound<'_, PyAny>; 2],
    help_text: &Bound<'_, PyAny>,
) -> Option<String> {
    let pairs = label_pairs(labels[0].cast().ok()?, labels[1].cast().ok()?)?;
    let mut labels = texts_of(&pairs)?;
    let [family, sample] = names.map(|name| name.cast::<PyString>());
    let (family, sample) = (family.ok()?.to_str().ok()?, sample.ok()?.to_str().ok()?);
    let help_text = help_text.cast::<PyString>().ok()?.to_str().ok()?;
    Some(write_key(family, sample, &mut labels, help_text))
}

/// Names and values of labels; none if they are not all strings.
pub(super) fn label_pairs<'py>(
    names: &Bound<'py, PyTuple>,
    values: &Bound<'py, PyTuple>,
) -> Option<Vec<[Bound<'py, PyString>; 2]>> {
    let mut pairs = Vec::with_capacity(names.len());
    for (name, value) in names.iter().zip(values.iter()) {
        pairs.push([name.cast_into().ok()?, value.cast_into().ok()?]);
    }
    Some(pairs)
}

/// The texts of names and values of labels; none if a string has no UTF-8.
pub(super) fn texts_of<'a>(
    pairs: &'a [[Bound<'_, PyString>; 2]],
) -> Option<Vec<(&'a str, &'a str)>> {
    // There is room for one more, the upper bound of a bucket.
    let mut texts = Vec::with_capacity(pairs.len() + 1);
    for [name, value] in pairs {
        texts.push((name.to_str().ok()?, value.to_str().ok()?));
    }
    Some(texts)
}
