//! What the environment says: of the directory, of compaction that nobody has asked for, of how many
//! series there may be, and whether scrapes show workers.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyString;

use super::log::log;
use super::once::intern;
use crate::sys::ProcessLocal;

/// The variable that names the directory.
pub(super) const DIRECTORY: &str = "PROMETHEUS_MULTIPROC_DIR";

const OFF: [&str; 4] = ["off", "0", "false", "no"];
const ON: [&str; 4] = ["on", "1", "true", "yes"];

/// The variables and values of which a warning was logged, by this process or those it descends from.
static WARNED: ProcessLocal<BTreeSet<(&str, String)>> =
    ProcessLocal::new(|inherited| inherited.cloned().unwrap_or_default());

/// Whether files of dead processes are folded without being asked for: they are unless
/// `MULTIPROM_COMPACTION` is off.
#[pyfunction]
pub(super) fn is_automatic(py: Python<'_>) -> PyResult<bool> {
    is_on(py, "MULTIPROM_COMPACTION", true)
}

/// Whether the files of dead processes' `all` gauges are deleted: they are if `MULTIPROM_DROP_ALL`
/// is on.
#[pyfunction]
pub(super) fn drops_all(py: Python<'_>) -> PyResult<bool> {
    is_on(py, "MULTIPROM_DROP_ALL", false)
}

/// Whether scrapes show workers where the environment does not say: a child does as its parent.
static SHOWS_WORKERS: AtomicBool = AtomicBool::new(false);

/// Whether scrapes show what an operator wants to see of the service, and servers count for that: as
/// `MULTIPROM_WORKER_METRICS` says, else as `show_workers` was told.
pub(super) fn shows_workers(py: Python<'_>) -> PyResult<bool> {
    is_on(py, "MULTIPROM_WORKER_METRICS", SHOWS_WORKERS.load(Ordering::Relaxed))
}

/// Says whether scrapes show workers where `MULTIPROM_WORKER_METRICS` does not say.
#[pyfunction]
#[pyo3(signature = (*, shows))]
pub(super) fn show_workers(shows: bool) {
    SHOWS_WORKERS.store(shows, Ordering::Relaxed);
}

/// Whether a variable of `os.environ` is on, off, or neither: then it is `default`.
///
/// A value that is not understood is neither, with one warning.
fn is_on(py: Python<'_>, variable: &'static str, default: bool) -> PyResult<bool> {
    let value = value_of(py, variable)?;
    let word = value.trim().to_lowercase();
    if ON.contains(&&*word) {
        return Ok(true);
    }
    if OFF.contains(&&*word) {
        return Ok(false);
    }
    if !word.is_empty() {
        let stays = if default { "on" } else { "off" };
        let (off, on) = (OFF.join(", "), ON[..ON.len() - 1].join(", "));
        let fault = format!("not understood: {off}, {on} and yes are; it stays {stays}");
        warn_once(py, variable, value, &fault)?;
    }
    Ok(default)
}

/// How many label sets a metric may have in a process, by `MULTIPROM_SERIES_LIMIT`; 0 for any number.
pub(super) fn series_limit(py: Python<'_>) -> PyResult<usize> {
    const VARIABLE: &str = "MULTIPROM_SERIES_LIMIT";
    let value = value_of(py, VARIABLE)?;
    let word = value.trim();
    let limit = if word.is_empty() { Ok(0) } else { word.parse() };
    if limit.is_err() {
        warn_once(py, VARIABLE, value, "not a whole number from 0 up: there is no limit")?;
    }
    Ok(limit.unwrap_or_default())
}

/// Warns of a value that a variable has, unless this was done already.
fn warn_once(py: Python<'_>, variable: &'static str, value: String, fault: &str) -> PyResult<()> {
    let message = format!("{variable} is {value:?}, which is {fault}");
    if WARNED.lock().insert((variable, value)) { log(py, &message, true) } else { Ok(()) }
}

/// What `os.environ` says of a variable: nothing if it is not set.
fn value_of(py: Python<'_>, variable: &str) -> PyResult<String> {
    let value = look_up(&py.import(intern!(py, "os"))?, variable)?;
    if value.is_none() {
        return Ok(String::new());
    }
    Ok(value.cast::<PyString>()?.to_string_lossy().into_owned())
}

/// The path that a variable has in the `environ` of the module `os`; an empty one is as good as none.
pub(super) fn path_in(os: &Bound<'_, PyModule>, variable: &str) -> PyResult<Option<OsString>> {
    let path: Option<OsString> = look_up(os, variable)?.extract()?;
    Ok(path.filter(|path| !path.is_empty()))
}

/// What `os.environ` has as `variable`; None if it is not set. Not `std::env`, which would read the
/// environment while another thread's Python code changes it.
fn look_up<'py>(os: &Bound<'py, PyModule>, variable: &str) -> PyResult<Bound<'py, PyAny>> {
    let environ = os.getattr(intern!(os.py(), "environ"))?;
    environ.call_method1(intern!(os.py(), "get"), (variable,))
}
