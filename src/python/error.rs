//! The one place where the core's errors become exceptions.

use std::io;

use pyo3::exceptions::{PyMemoryError, PyOSError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;

use crate::error::{Error, message, none_readable};

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        match error {
            // Such as a path with a NUL in it.
            Error::Io { source, .. } if source.kind() == io::ErrorKind::InvalidInput => {
                PyValueError::new_err(source.to_string())
            }
            Error::Io { path, source } if source.kind() == io::ErrorKind::TimedOut => {
                PyTimeoutError::new_err(format!("{}: {source}", path.display()))
            }
            // With an errno OSError chooses its subclass itself, such as PermissionError.
            Error::Io { path, source } => match source.raw_os_error() {
                Some(code) => PyOSError::new_err((code, message(&source), path.into_os_string())),
                None => PyOSError::new_err(format!("{}: {source}", path.display())),
            },
            Error::NoneReadable { path, code, files } => {
                PyOSError::new_err((code, none_readable(code, files), path.into_os_string()))
            }
            Error::NoDirectory
            | Error::MarkedDead
            | Error::NoForkHandler { .. }
            | Error::NoName { .. } => PyOSError::new_err(error.to_string()),
            Error::KeyLength { .. } => PyValueError::new_err(error.to_string()),
            Error::NoMemory => PyMemoryError::new_err(error.to_string()),
        }
    }
}
