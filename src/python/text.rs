//! A directory to exposition text.

use std::collections::BTreeSet;
use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::compact;
use super::report::{self, Report};
use super::scrape::{Dialect, options};
use crate::text::{self, Escaping, Format};

/// `text` in the gzip format.
#[pyfunction]
pub(super) fn gzip<'py>(py: Python<'py>, text: &[u8]) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &py.detach(|| text::gzip(text)))
}

/// A scrape of the directory `path` as text; of the samples with these names only, if there are any.
#[pyfunction]
pub(super) fn directory_text<'py>(
    py: Python<'py>,
    path: PathBuf,
    openmetrics: bool,
    escaping: &str,
    dialect: Dialect,
    names: Option<BTreeSet<String>>,
) -> PyResult<(Bound<'py, PyBytes>, Vec<Report>)> {
    let escaping = Escaping::from_name(escaping)
        .ok_or_else(|| PyValueError::new_err(format!("unknown escaping scheme: {escaping}")))?;
    let format = if openmetrics { Format::OpenMetrics } else { Format::Prometheus };
    let options = options(true, dialect);
    compact::prepare_scrape(py, &path)?;
    let (text, left_out) =
        py.detach(|| text::directory_text(&path, options, names.as_ref(), format, escaping))?;
    Ok((PyBytes::new(py, text.as_bytes()), report::reports(&left_out)))
}
