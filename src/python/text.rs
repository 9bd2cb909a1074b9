//! A directory to exposition text.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use super::compact;
use super::report::{self, Report};
use super::scrape::{Dialect, options};
use super::settings;
use crate::count;
use crate::error::Error;
use crate::inspect::{self, Scraped, Style};
use crate::scrape::Merge;
use crate::text::{self, Escaping, Format};

/// `text` in the gzip format.
#[pyfunction]
pub(super) fn gzip<'py>(py: Python<'py>, text: &[u8]) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &py.detach(|| text::gzip(text)))
}

/// A scrape of the directory `path` as text; of the samples with these names only, if there are any.
/// `others` are texts that go with it: with them it shows what an operator wants to see, too.
#[pyfunction]
#[pyo3(signature = (path, openmetrics, escaping, dialect, names, others = None))]
pub(super) fn directory_text<'py>(
    py: Python<'py>,
    path: PathBuf,
    openmetrics: bool,
    escaping: &str,
    dialect: Dialect,
    names: Option<BTreeSet<String>>,
    others: Option<Vec<PyBackedBytes>>,
) -> PyResult<(Bound<'py, PyBytes>, Vec<Report>)> {
    let escaping = Escaping::from_name(escaping)
        .ok_or_else(|| PyValueError::new_err(format!("unknown escaping scheme: {escaping}")))?;
    let format = if openmetrics { Format::OpenMetrics } else { Format::Prometheus };
    let options = options(true, dialect);
    compact::prepare_scrape(py, &path)?;
    let shows_workers = others.is_some() && settings::shows_workers(py)?;
    let (text, left_out) = py.detach(|| {
        let start = Instant::now();
        let mut merge = Merge::of_directory_and_memory(&path, count::unwritten, shows_workers)?;
        let (mut text, left_out) =
            text::merged_text(&mut merge, options, names.as_ref(), format, escaping)?;
        if shows_workers {
            let series = inspect::count_samples(&text);
            let seconds = start.elapsed().as_secs_f64();
            let files = merge.files_seen();
            let scraped = Scraped { seconds, series, left_out: &left_out, files };
            let families = inspect::metrics(&path, &scraped);
            let others: Vec<_> = others.iter().flatten().map(|other| &**other).collect();
            let style = Style { format, escaping, exponents: options.exponents };
            inspect::add(&mut text, families, &others, names.as_ref(), style);
        }
        Ok::<_, Error>((text, left_out))
    })?;
    Ok((PyBytes::new(py, text.as_bytes()), report::reports(&left_out)))
}
