//! `mark_process_dead`

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::prelude::*;

use crate::{compact, count};

/// Deletes the files in which process `pid` keeps gauges of `modes`, unless another process holds them.
#[pyfunction]
pub(super) fn remove_live_files(
    py: Python<'_>,
    path: PathBuf,
    pid: OsString,
    modes: Vec<String>,
) -> PyResult<()> {
    Ok(py.detach(|| compact::remove_live_files(&path, &pid, &modes, &count::open_files()))?)
}
