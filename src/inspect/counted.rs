//! What multiprom counts of a service itself, in files as an application's metrics are: so the counts
//! of all processes come together, and survive those who counted.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use once_cell::race::OnceBox;

use crate::compact::Compaction;
use crate::count::{Caller, Operation, Value, ValueClass, head_of};
use crate::format::{kind_of_prefix, write_key};
use crate::inspect::metrics::sample_name;
use crate::store::presence;

/// A metric that multiprom counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counted {
    family: &'static str,
    /// How the names of its files begin.
    prefix: &'static str,
    help: &'static str,
}

/// Compactions that folded something.
const FOLDS: Counted = Counted {
    family: "multiprom_folds",
    prefix: "counter",
    help: "Times that files of dead processes were folded into archives.",
};
/// Processes of which files were folded.
const FOLDED_PROCESSES: Counted = Counted {
    family: "multiprom_folded_processes",
    prefix: "counter",
    help: "Dead processes whose files were folded into archives.",
};
/// Workers that were started.
const SPAWNED: Counted = Counted {
    family: "gunicorn_workers_spawned",
    prefix: "counter",
    help: "Workers that the master has started.",
};
/// Workers that ended.
const EXITS: Counted = Counted {
    family: "gunicorn_worker_exits",
    prefix: "counter",
    help: "Workers that have ended, by reason and by exit code or signal.",
};
/// How many workers there shall be.
const CONFIGURED: Counted = Counted {
    family: "gunicorn_workers_configured",
    prefix: "gauge_livesum",
    help: "Workers that the master keeps running, as configured or changed by signals.",
};
/// Requests that workers are at.
const IN_PROGRESS: Counted = Counted {
    family: "gunicorn_requests_in_progress",
    prefix: "gauge_livesum",
    help: "Requests that workers are handling.",
};

/// The reason of a worker that ended by itself.
const EXIT: &str = "exit";
/// The reason of a worker that has handled as many requests as it may.
const MAX_REQUESTS: &str = "max_requests";

/// What all values of multiprom's own share.
static CLASS: OnceBox<Arc<ValueClass>> = OnceBox::new();
/// The value that is counted in at each request.
static REQUESTS: OnceBox<Value> = OnceBox::new();

/// Adds to a metric, for the directory `path`, or sets it.
fn count<const N: usize>(
    path: &Path,
    metric: Counted,
    mut labels: [(&str, &str); N],
    operation: Operation,
) {
    let caller = caller(path);
    if let Some(value) = value(metric, &mut labels, &caller) {
        value.operate(operation, &caller);
    }
}

fn caller(path: &Path) -> Caller {
    Caller { directory: Some(OsString::from(path)), identifier: None }
}

/// The value of one series; none if it cannot be made, such as without memory.
fn value(metric: Counted, labels: &mut [(&str, &str)], caller: &Caller) -> Option<Value> {
    if CLASS.get().is_none() {
        // Another thread may have been faster.
        let _ = CLASS.set(Box::new(Arc::new(ValueClass::new(caller).ok()?)));
    }
    let Counted { family, prefix, help } = metric;
    let sample = sample_name(family.into(), kind_of_prefix(prefix).metric_type);
    let key = write_key(family, &sample, labels, help);
    CLASS.get()?.values(prefix, vec![head_of([key.as_str()]).ok()?], caller).ok()?.pop()
}

/// Counts what a compaction of the directory `path` has folded.
#[allow(clippy::cast_precision_loss)] // Far below 2^53.
pub fn count_folds(path: &Path, done: &Compaction) {
    if done.files_folded > 0 {
        count(path, FOLDS, [], Operation::Add(1.0));
        count(path, FOLDED_PROCESSES, [], Operation::Add(done.processes.len() as f64));
    }
}

/// Counts a worker that the server is about to start.
pub fn count_spawned(path: &Path) {
    count(path, SPAWNED, [], Operation::Add(1.0));
}

/// Counts the worker `pid`, which has ended: by what it has said of that itself, else by `reason`.
/// `code` is its exit code or the name of a signal, if there is one.
pub fn count_exit(path: &Path, pid: u32, reason: &str, code: &str) {
    // What it has said holds if it has ended as it meant to.
    let said = if reason == EXIT { presence::ending_of(path, pid) } else { None };
    let labels = [("reason", said.as_deref().unwrap_or(reason)), ("code", code)];
    count(path, EXITS, labels, Operation::Add(1.0));
}

/// Says that this process ends because it has handled as many requests as it may.
pub fn say_ending(path: &Path) {
    presence::say_ending(path, MAX_REQUESTS);
}

/// Says how many workers the server shall have. The server may have moved to this directory.
pub fn set_configured(path: &Path, workers: u32) {
    if let Some(class) = CLASS.get() {
        class.move_on(path.as_os_str());
    }
    count(path, CONFIGURED, [], Operation::Set(f64::from(workers), 0.0));
}

/// Counts a request that this process begins or, with -1, ends, if that takes no lock; else false.
#[inline]
#[must_use]
pub fn try_count_request(change: f64) -> bool {
    REQUESTS.get().is_some_and(|value| value.try_add(change))
}

/// The same where the value is to be made, or is in no file just now.
#[cold]
pub fn count_request(path: &Path, change: f64) {
    let caller = caller(path);
    if REQUESTS.get().is_none() {
        let Some(value) = value(IN_PROGRESS, &mut [], &caller) else { return };
        let _ = REQUESTS.set(Box::new(value));
    }
    if let Some(value) = REQUESTS.get() {
        value.operate(Operation::Add(change), &caller);
    }
}
