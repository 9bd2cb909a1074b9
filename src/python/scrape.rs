//! Files to `prometheus_client`'s `Metric` objects.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::compact;
use super::metrics::Maker;
use super::report::{self, Report};
use super::settings;
use crate::count;
use crate::error::{Error, Result};
use crate::inspect::{self, Scraped};
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
    merge(|| Merge::of_files(files), options, Maker::new(metric_class, sample_class)?, None)
}

/// A scrape of the directory `path`: merges its files, in name order. Of what an operator wants to see
/// it shows no family that is registered beside `collector`.
#[pyfunction]
pub(super) fn merge_directory<'py>(
    path: PathBuf,
    dialect: Dialect,
    metric_class: Bound<'py, PyAny>,
    sample_class: Bound<'py, PyAny>,
    collector: Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyList>, Vec<Report>)> {
    let options = options(true, dialect);
    compact::prepare_scrape(metric_class.py(), &path)?;
    let shows_workers = settings::shows_workers(metric_class.py())?;
    let taken = if shows_workers { names_beside(&collector) } else { None };
    let shown = taken.as_ref().map(|taken| (&*path, taken));
    let read = || {
        let mut merge = Merge::of_directory_and_memory(&path, count::unwritten, shown.is_some())?;
        merge.read_exemplars();
        Ok(merge)
    };
    merge(read, options, Maker::new(metric_class, sample_class)?, shown)
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
        store::read_consistently(&origin, |snapshot| read_unmerged(snapshot, &|_| true))
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

fn merge<'py>(
    read: impl FnOnce() -> Result<Merge> + Send,
    options: MergeOptions,
    mut maker: Maker<'py>,
    shown: Option<(&Path, &BTreeSet<String>)>,
) -> PyResult<(Bound<'py, PyList>, Vec<Report>)> {
    let py = maker.py();
    let start = Instant::now();
    let merge = py.detach(read)?;
    let parsed = py.detach(|| merge.parse(options))?;
    let mut left_out = parsed.left_out.clone();
    let families = py.detach(|| {
        let mut families = parsed.families(&mut left_out)?;
        if let Some((path, taken)) = shown {
            let series = families.iter().map(|family| family.samples.len()).sum();
            let seconds = start.elapsed().as_secs_f64();
            let files = merge.files_seen();
            let scraped = Scraped { seconds, series, left_out: &left_out, files };
            let mut own = inspect::metrics(path, &scraped);
            let names: HashSet<&str> = families.iter().map(|family| &*family.name).collect();
            own.retain(|family| !taken.contains(&*family.name) && !names.contains(&*family.name));
            families.extend(own);
        }
        Ok::<_, Error>(families)
    })?;
    let metrics = PyList::empty(py);
    for family in &families {
        // Without accumulation the result is to be written into files again.
        metrics.append(maker.family(family, !options.accumulate)?)?;
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

/// The names that a `ProcessCollector` has: it does not say so itself.
const PROCESS_METRICS: [&str; 6] = [
    "process_cpu_seconds",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
];

/// The names of the metrics that are registered beside a collector, as far as its registry knows them;
/// none as long as it is being registered. A registry that asks then for the names of what it collects
/// gets those of the files only: so other collectors can be registered, whichever comes first.
fn names_beside(collector: &Bound<'_, PyAny>) -> Option<BTreeSet<String>> {
    let registry = collector.getattr("_registry").ok()?;
    let dict = |name: &str| {
        // A copy: other threads may register meanwhile.
        registry.getattr(name).ok()?.cast_into::<PyDict>().ok()?.copy().ok()
    };
    let names = dict("_names_to_collectors").into_iter().flat_map(|names| names.iter());
    let mut names: BTreeSet<String> = names
        .filter(|(_, other)| !other.is(collector))
        .filter_map(|(name, _)| name.extract().ok())
        .collect();
    let collectors = dict("_collector_to_names").into_iter().flat_map(|names| names.iter());
    let is_of_process = |collector: Bound<'_, PyAny>| {
        collector.get_type().name().is_ok_and(|name| name == "ProcessCollector")
    };
    if collectors.map(|(collector, _)| collector).any(is_of_process) {
        names.extend(PROCESS_METRICS.map(str::to_owned));
    }
    Some(names)
}
