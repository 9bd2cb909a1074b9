//! `compact`, and what is removed when a server starts

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::compact::compaction::{self, LeftAlone, Options};
use crate::compact::leftovers::{self, Leftovers};
use crate::count::values;
use crate::error::Concern;

/// A path, why it was left alone, and what somebody should hear of it.
type Left = (OsString, String, &'static str);
/// Processes, files folded, files deleted, bytes freed, what was left alone, busy, cut short.
type Compacted = (usize, usize, usize, u64, Vec<Left>, bool, bool);
/// Files removed, and why the others stay.
type Removed = (usize, Option<String>);

/// Folds the files of dead processes in the directory `path`.
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "Python gives them by name")]
#[pyo3(signature = (path, *, pids, named_only, drop_all, wait_seconds, max_files, max_bytes, remembers))]
pub(super) fn compact(
    py: Python<'_>,
    path: PathBuf,
    pids: Vec<OsString>,
    named_only: bool,
    drop_all: bool,
    wait_seconds: f64,
    max_files: Option<usize>,
    max_bytes: Option<u64>,
    remembers: bool,
) -> PyResult<Compacted> {
    let options = Options {
        named_only,
        drop_all,
        wait: duration(wait_seconds)?,
        max_files,
        max_bytes,
        remembers,
    };
    let done = py.detach(|| compaction::compact(&path, &pids, &options, &values::open_files()))?;
    let left_alone = done.left_alone.into_iter().map(left).collect();
    Ok((
        done.processes,
        done.files_folded,
        done.files_deleted,
        done.bytes_freed,
        left_alone,
        done.busy,
        done.is_cut_short,
    ))
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
        py.detach(|| leftovers::remove_leftovers(&path, wait, &values::open_files()))?;
    Ok((files, kept.map(|kept| kept.to_string())))
}

fn duration(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|error| PyValueError::new_err(error.to_string()))
}

fn left(LeftAlone { path, reason }: LeftAlone) -> Left {
    let concern = match reason.concern() {
        Concern::Passing => "passing",
        Concern::Reported => "reported",
        Concern::Lasting => "lasting",
    };
    (path.into_os_string(), reason.to_string(), concern)
}
