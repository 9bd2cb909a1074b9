//! `inspect`: what an operator sees of a directory.

use std::path::PathBuf;

use pyo3::prelude::*;

use crate::inspect as core;

/// All of the directory `path`, as JSON.
#[pyfunction]
pub(super) fn inspect(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    Ok(py.detach(|| core::inspect(&path).map(|seen| seen.to_json()))?)
}

/// What moves in the directory `path`, as JSON.
#[pyfunction]
pub(super) fn watch(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    Ok(py.detach(|| core::watch(&path).map(|seen| seen.to_json()))?)
}
