//! Files to `prometheus_client`'s `Metric` objects.

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::metrics::Maker;
use super::report::{self, Report};
use crate::error::Result;
use crate::scrape::{ExponentStyle, Merge, MergeOptions, SampleOrder, Unmerged, read_unmerged};
use crate::store;

/// Merges `files`, in this order.
#[pyfunction]
pub(super) fn merge_files<'py>(
    files: Vec<PathBuf>,
    accumulate: bool,
    dialect: Dialect,
    metric_class: Bound<'py, PyAny>,
    sample_class: Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyList>, Vec<Report>)> {
    let options = options(accumulate, dialect);
    merge(|| Merge::of_files(files), options, Maker::new(metric_class, sample_class)?)
}

/// Merges the files of the directory `path`, in name order.
#[pyfunction]
pub(super) fn merge_directory<'py>(
    path: PathBuf,
    dialect: Dialect,
    metric_class: Bound<'py, PyAny>,
    sample_class: Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyList>, Vec<Report>)> {
    let options = options(true, dialect);
    merge(|| Merge::of_directory(&path), options, Maker::new(metric_class, sample_class)?)
}

/// Reads `files`, in this order, without merging.
#[pyfunction]
pub(super) fn read_files<'py>(
    py: Python<'py>,
    files: Vec<PathBuf>,
    metric_class: Bound<'py, PyAny>,
    sample_class: Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyDict>, Vec<Report>)> {
    let origin = files.into();
    let (snapshot, unmerged) = py.detach(|| {
        store::read_consistently(&origin, |snapshot| read_unmerged(snapshot, |_| true))
    })?;
    let Unmerged { families, mut left_out, .. } = unmerged;
    left_out.extend(snapshot.left_out);
    let mut maker = Maker::new(metric_class, sample_class)?;
    let metrics = PyDict::new(py);
    for family in &families {
        metrics.set_item(&*family.name, maker.unmerged(family)?)?;
    }
    Ok((metrics, report::reports(&left_out)))
}

/// Those of `files` that no archive among them has absorbed.
#[pyfunction]
pub(super) fn unspent(py: Python<'_>, files: Vec<PathBuf>) -> PyResult<Vec<OsString>> {
    let files = py.detach(|| store::unspent(files))?;
    Ok(files.into_iter().map(PathBuf::into_os_string).collect())
}

/// The metrics files of the directory `path`, in name order.
#[pyfunction]
pub(super) fn list_directory(
    py: Python<'_>,
    path: PathBuf,
) -> PyResult<(Vec<OsString>, Vec<Report>)> {
    let listing = py.detach(|| store::list_directory(&path))?;
    let files = listing.files.into_iter().map(PathBuf::into_os_string).collect();
    Ok((files, report::reports(&listing.left_out)))
}

fn merge(
    read: impl FnOnce() -> Result<Merge> + Send,
    options: MergeOptions,
    mut maker: Maker<'_>,
) -> PyResult<(Bound<'_, PyList>, Vec<Report>)> {
    let py = maker.py();
    let merge = py.detach(read)?;
    let parsed = py.detach(|| merge.parse())?;
    let families = py.detach(|| parsed.families(options))?;
    let metrics = PyList::empty(py);
    for family in &families {
        metrics.append(maker.family(family)?)?;
    }
    let reports = report::reports(&parsed.left_out);
    // Freeing hundreds of thousands of samples takes its time too.
    py.detach(|| drop(families));
    py.detach(|| drop(parsed));
    py.detach(|| drop(merge));
    Ok((metrics, reports))
}

/// Whether the installed `prometheus_client` groups samples by labels (0.24 and later), and whether
/// it writes exponents with a zero before them (before 0.26).
pub(super) type Dialect = (bool, bool);

pub(super) fn options(accumulate: bool, (grouped, zero_prefixed): Dialect) -> MergeOptions {
    MergeOptions {
        accumulate,
        order: if grouped { SampleOrder::Grouped } else { SampleOrder::Flat },
        exponents: if zero_prefixed {
            ExponentStyle::ZeroPrefixed
        } else {
            ExponentStyle::TwoDigits
        },
    }
}
