//! When the log is told what there is to say: never while a value is made.
//!
//! `prometheus_client` makes the value of a labelled child while it holds the lock of the metric. A log
//! handler that counts lines by level would then wait for that lock for ever.

use std::cell::Cell;
use std::collections::BTreeSet;

use pyo3::prelude::*;

use super::compact;
use super::log::log;
use crate::compact::Occasion;
use crate::count::{self, News};

thread_local! {
    /// How many calls of this thread hold back what there is to say.
    static HOLDING_BACK: Cell<u32> = const { Cell::new(0) };
}

/// Holds back what there is to say in this thread, as long as this is kept.
pub(super) struct HoldingBack(());

impl HoldingBack {
    pub(super) fn new() -> Self {
        HOLDING_BACK.set(HOLDING_BACK.get() + 1);
        Self(())
    }
}

impl Drop for HoldingBack {
    fn drop(&mut self) {
        HOLDING_BACK.set(HOLDING_BACK.get() - 1);
    }
}

/// Logs what is to be logged, and sweeps the directories in which this process has begun to write;
/// does nothing while that is held back.
///
/// The error is of what interrupts a program, such as the `SystemExit` of a signal handler.
#[inline]
pub(super) fn tell(py: Python<'_>) -> PyResult<()> {
    if count::has_notices() { tell_all(py) } else { Ok(()) }
}

#[cold]
fn tell_all(py: Python<'_>) -> PyResult<()> {
    if HOLDING_BACK.get() > 0 {
        return Ok(());
    }
    let mut interruption = Ok(());
    let News { notices, opened_in, crowded } = py.detach(count::take_notices);
    for notice in notices {
        let logged = log(py, &notice.to_string(), notice.is_warning());
        interruption = interruption.and(logged);
    }
    for directory in opened_in {
        interruption = interruption.and(compact::sweep(py, &directory, &Occasion::Opening));
    }
    if !crowded.is_empty() {
        let directories: BTreeSet<_> = crowded.iter().filter_map(|path| path.parent()).collect();
        for directory in directories {
            interruption = interruption.and(compact::sweep(py, directory, &Occasion::Withdrawal));
        }
        py.detach(|| count::rewrite(&crowded));
    }
    interruption
}

/// Has a warning logged when this process next counts, scrapes or ends.
#[pyfunction]
pub(super) fn warn_later(py: Python<'_>, text: String) {
    py.detach(|| count::warn_later(text));
}

/// Calls `call`, and gives what it returns; what there is to say of its counts is logged later.
#[pyfunction]
pub(super) fn hold_back(py: Python<'_>, call: Py<PyAny>) -> PyResult<Py<PyAny>> {
    let _holding_back = HoldingBack::new();
    call.call0(py)
}
