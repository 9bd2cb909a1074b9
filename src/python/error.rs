//! The one place where the core's errors become exceptions.

use std::io;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::error::Error;

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        match error {
            // Such as a path with a NUL in it.
            Error::Io { source, .. } if source.kind() == io::ErrorKind::InvalidInput => {
                PyValueError::new_err(source.to_string())
            }
            Error::Io { path, source } => {
                // With an errno OSError chooses its subclass itself, such as PermissionError.
                let message = source.to_string();
                PyOSError::new_err((source.raw_os_error(), message, path.into_os_string()))
            }
            Error::NoDirectory | Error::ToldDead | Error::NoName { .. } => {
                PyOSError::new_err(error.to_string())
            }
        }
    }
}
