//! Compaction: what is asked for, what a death and a scrape bring about, and what is removed when a
//! server starts.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;

use super::log::log;
use super::settings;
use super::value;
use crate::compact::{self as core, Compaction, LeftAlone, Leftovers, Occasion};
use crate::count;
use crate::inspect;

/// How long the core waits for another compaction before Python handles signals.
const WAIT: Duration = Duration::from_millis(50);

/// A path, and why it was left alone.
type Left = (OsString, String);
/// Processes, files folded, files deleted, bytes freed, what was left alone, busy.
type Compacted = (usize, usize, usize, u64, Vec<Left>, bool);
/// Files removed, and why the others stay.
type Removed = (usize, Option<String>);

/// Folds the files of dead processes in the directory `path`.
#[pyfunction]
pub(super) fn compact(
    py: Python<'_>,
    path: PathBuf,
    pids: Vec<OsString>,
    drop_all: Option<bool>,
    timeout: f64,
) -> PyResult<Compacted> {
    let drop_all = drop_all.map_or_else(|| settings::drops_all(py), Ok)?;
    // No deadline if that is more than a clock can tell.
    let timeout = Duration::try_from_secs_f64(timeout).ok();
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let remaining = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let wait = remaining.map_or(WAIT, |remaining| remaining.min(WAIT));
        let occasion = Occasion::Asked { pids: pids.clone(), wait };
        let done = py.detach(|| occasion.compact(&path, drop_all, &count::open_files()))?;
        if !done.busy || remaining.is_some_and(|remaining| remaining <= WAIT) {
            count_folds(py, &path, &done)?;
            return Ok(compacted(done));
        }
        py.check_signals()?;
    }
}

/// Folds the files of process `pid`, which has just been reaped, unless automatic compaction is off.
#[pyfunction]
pub(super) fn fold_dead(py: Python<'_>, path: PathBuf, pid: OsString) -> PyResult<Compacted> {
    compact_unasked(py, &path, &Occasion::Death(pid)).map(compacted)
}

/// Prepares a scrape of the directory `path`: writes what this process has counted, and folds what
/// the dead have left if it is time for that.
pub(super) fn prepare_scrape(py: Python<'_>, path: &Path) -> PyResult<()> {
    value::write_unwritten(py, false)?;
    sweep(py, path, &Occasion::Scrape)
}

/// Folds what the dead have left, on an occasion that must not fail for that: where a directory cannot
/// be locked, `multiprom.compact()` says why.
pub(super) fn sweep(py: Python<'_>, path: &Path, occasion: &Occasion) -> PyResult<()> {
    match compact_unasked(py, path, occasion) {
        Err(error) if error.is_instance_of::<PyException>(py) => Ok(()),
        result => result.map(drop),
    }
}

/// Forgets earlier occasions, and sets how often this process sweeps from now on: for tests.
#[pyfunction]
#[pyo3(signature = (sweep_seconds = 5.0))]
pub(super) fn reset_compaction(sweep_seconds: f64) -> PyResult<()> {
    core::reset(duration(sweep_seconds)?);
    Ok(())
}

/// Compacts if automatic compaction is on, and logs what stays until somebody does something.
fn compact_unasked(py: Python<'_>, path: &Path, occasion: &Occasion) -> PyResult<Compaction> {
    if !settings::is_automatic(py)? {
        return Ok(Compaction::default());
    }
    let drop_all = settings::drops_all(py)?;
    let done = py.detach(|| occasion.compact(path, drop_all, &count::open_files()))?;
    count_folds(py, path, &done)?;
    for LeftAlone { path: file, reason } in core::news(path, occasion, &done) {
        let message = format!("files of dead processes stay: '{}': {reason}", file.display());
        log(py, &message, true)?;
    }
    Ok(done)
}

/// Counts what was folded, if scrapes show that.
fn count_folds(py: Python<'_>, path: &Path, done: &Compaction) -> PyResult<()> {
    if done.files_folded > 0 && settings::shows_workers(py)? {
        py.detach(|| inspect::count_folds(path, done));
    }
    Ok(())
}

/// Removes the metrics files of the directory `path`, if no other process uses it.
#[pyfunction]
pub(super) fn remove_leftovers(
    py: Python<'_>,
    path: PathBuf,
    wait_seconds: f64,
) -> PyResult<Removed> {
    let wait = duration(wait_seconds)?;
    let Leftovers { files, kept, .. } =
        py.detach(|| core::remove_leftovers(&path, wait, &count::open_files()))?;
    Ok((files, kept.map(|kept| kept.to_string())))
}

fn duration(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|error| PyValueError::new_err(error.to_string()))
}

fn compacted(done: Compaction) -> Compacted {
    let left_alone = done.left_alone.into_iter().map(left).collect();
    let processes = done.processes.len();
    (processes, done.files_folded, done.files_deleted, done.bytes_freed, left_alone, done.busy)
}

fn left(LeftAlone { path, reason }: LeftAlone) -> Left {
    (path.into_os_string(), reason.to_string())
}
