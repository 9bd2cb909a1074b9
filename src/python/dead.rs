//! `mark_process_dead`

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::prelude::*;

use crate::store;

/// Deletes the files in which process `pid` keeps gauges of `modes`.
#[pyfunction]
pub(super) fn remove_gauge_files(
    py: Python<'_>,
    path: PathBuf,
    pid: OsString,
    modes: Vec<String>,
) -> PyResult<()> {
    Ok(py.detach(|| store::remove_gauge_files(&path, &pid, &modes))?)
}
