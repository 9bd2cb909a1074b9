//! Files to `prometheus_client`'s `Metric` objects.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::compact;
use super::metrics::Maker;
use super::report::{self, Report};
use crate::count;
use crate::error::Result;
use crate::scrape::{ExponentStyle, Merge, MergeOptions, SampleOrder, Unmerged, read_unmerged};
use crate::store::{self, Origin, Snapshot};

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

/// A scrape of the directory `path`: merges its files, in name order.
#[pyfunction]
pub(super) fn merge_directory<'py>(
    path: PathBuf,
    dialect: Dialect,
    metric_class: Bound<'py, PyAny>,
    sample_class: Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyList>, Vec<Report>)> {
    let options = options(true, dialect);
    compact::prepare_scrape(metric_class.py(), &path)?;
    let read = || Merge::of_directory_and_memory(&path, count::unwritten);
    merge(read, options, Maker::new(metric_class, sample_class)?)
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
    let Unmerged { families, mut left_out, unfit, .. } = unmerged;
    left_out.extend(unfit);
    left_out.extend(snapshot.left_out);
    let mut maker = Maker::new(metric_class, sample_class)?;
    let metrics = PyDict::new(py);
    for family in &families {
        metrics.set_item(&*family.name, maker.unmerged(family)?)?;
    }
    Ok((metrics, report::reports(&left_out)))
}

/// Gives what the function `merge` makes of the files of the directory `path`, in name order.
///
/// For programs that merge files by code of their own: it is called with the list of files, and
/// reports on what is no metrics file, and called again if the files of dead processes were folded
/// meanwhile.
#[pyfunction]
#[pyo3(signature = (path, merge, *, timeout = 8.0))]
pub(super) fn read_consistently(
    py: Python<'_>,
    path: PathBuf,
    merge: Py<PyAny>,
    timeout: f64,
) -> PyResult<Py<PyAny>> {
    let timeout = Duration::try_from_secs_f64(timeout)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    compact::prepare_scrape(py, &path)?;
    let origin = Origin::from(path.as_path());
    let read = |snapshot: &Snapshot| {
        Python::attach(|py| {
            let files: Vec<_> = snapshot.present().map(Path::as_os_str).collect();
            match merge.call1(py, (files, report::reports(&snapshot.left_out))) {
                // Perhaps of a file that was folded before it was opened: then it is read again.
                Err(error) if error.is_instance_of::<PyOSError>(py) => Ok(Err(error)),
                result => result.map(Ok),
            }
        })
    };
    py.detach(|| store::read_consistently_for(timeout, &origin, read))?.1
}

fn merge(
    read: impl FnOnce() -> Result<Merge> + Send,
    options: MergeOptions,
    mut maker: Maker<'_>,
) -> PyResult<(Bound<'_, PyList>, Vec<Report>)> {
    let py = maker.py();
    let merge = py.detach(read)?;
    let parsed = py.detach(|| merge.parse(options))?;
    let mut left_out = parsed.left_out.clone();
    let families = py.detach(|| parsed.families(&mut left_out))?;
    let metrics = PyList::empty(py);
    for family in &families {
        metrics.append(maker.family(family)?)?;
    }
    let reports = report::reports(&left_out);
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
