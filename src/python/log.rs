//! What the core has to say goes to Python's logger `multiprom`.

use pyo3::exceptions::{PyException, PyImportError};
use pyo3::prelude::*;

use super::once::intern;

/// Logs a line; does nothing at the end of the interpreter.
///
/// What a log handler raises is not raised here, since counting must not fail for it. The error is of
/// what interrupts a program, such as the `SystemExit` of a signal handler.
pub(super) fn log(py: Python<'_>, message: &str, is_warning: bool) -> PyResult<()> {
    match try_log(py, message, is_warning) {
        // The interpreter is at its end, and imports nothing any more. Only ImportError itself says
        // so: ModuleNotFoundError would say that something is wrong.
        Err(error) if error.get_type(py).is(py.get_type::<PyImportError>()) => Ok(()),
        Err(error) if error.is_instance_of::<PyException>(py) => {
            error.write_unraisable(py, None);
            Ok(())
        }
        result => result,
    }
}

fn try_log(py: Python<'_>, message: &str, is_warning: bool) -> PyResult<()> {
    let logging = PyModule::import(py, intern!(py, "logging"))?;
    let logger = logging.call_method1(intern!(py, "getLogger"), (intern!(py, "multiprom"),))?;
    let level = if is_warning { intern!(py, "warning") } else { intern!(py, "info") };
    logger.call_method1(level, (intern!(py, "%s"), message)).map(drop)
}
