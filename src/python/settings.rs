//! What the environment says of compaction that nobody has asked for.

use std::collections::BTreeSet;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::log::log;
use crate::sys::ProcessLocal;

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
pub(super) fn drops_all(py: Python<'_>) -> PyResult<bool> {
    is_on(py, "MULTIPROM_DROP_ALL", false)
}

/// Whether a variable of `os.environ` is on, off, or neither: then it is `default`.
///
/// A value that is not understood is neither, with one warning. Not `std::env`, which would read the
/// environment while another thread's Python code changes it.
fn is_on(py: Python<'_>, variable: &'static str, default: bool) -> PyResult<bool> {
    let environ = py.import(intern!(py, "os"))?.getattr(intern!(py, "environ"))?;
    let value = environ.call_method1(intern!(py, "get"), (variable, ""))?;
    let value = value.cast::<PyString>()?.to_string_lossy().into_owned();
    let word = value.trim().to_lowercase();
    if ON.contains(&&*word) {
        return Ok(true);
    }
    if OFF.contains(&&*word) {
        return Ok(false);
    }
    if !word.is_empty() && WARNED.lock().insert((variable, value.clone())) {
        let stays = if default { "on" } else { "off" };
        let message = format!(
            "{variable} is {value:?}, which is not understood: {}, {} and yes are; it stays {stays}",
            OFF.join(", "),
            ON[..ON.len() - 1].join(", "),
        );
        log(py, &message, true)?;
    }
    Ok(default)
}
