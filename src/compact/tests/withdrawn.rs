//! Series that were withdrawn: an archive forgets them if no process has them, and nothing else.

#![allow(clippy::float_cmp)] // Whole numbers.

use std::io;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::compact::run::{Request, compact_on};
use crate::compact::steps::{Checkpoint, Step};
use crate::compact::tests::support::{
    Watch, Worker, dead, key, names, naming, stock, sweep, totals,
};

/// A directory whose archive has 60 of series `c`, and 7 of `other`.
fn archived() -> TempDir {
    let directory = TempDir::new().unwrap();
    let series = [(key("c"), 60.0), (key("other"), 7.0)];
    drop(Worker::start(directory.path(), "counter_0.db", &series));
    sweep(directory.path());
    directory
}

fn living(directory: &Path, name: &str, value: f64) -> Worker {
    Worker::start(directory, name, &[(key("c"), value)])
}

/// A directory as of [`archived`], and a living process that has just withdrawn series `c`.
fn withdrawn() -> (TempDir, Worker) {
    let directory = archived();
    let worker = living(directory.path(), "counter_1.db", 5.0);
    worker.withdraw(&key("c"));
    (directory, worker)
}

fn total(directory: &Path) -> Option<f64> {
    let totals = totals(directory);
    assert_eq!(totals["other"], 7.0);
    totals.get("c").copied()
}

#[test]
fn the_archive_forgets_what_no_process_has() {
    let directory = archived();
    let path = directory.path();
    let worker = living(path, "counter_1.db", 5.0);
    assert_eq!(total(path), Some(65.0));
    worker.withdraw(&key("c"));
    assert_eq!(total(path), Some(60.0), "until it is heeded");
    assert_eq!(sweep(path).left_alone, []);
    assert_eq!(total(path), None);
    drop(worker);
    sweep(path);
    assert_eq!(total(path), None);
    assert_eq!(names(path), [".multiprom.lock", ".multiprom.withdrawn", "counter_compacted.db"]);
}

#[test]
fn what_another_process_has_stays_with_what_the_dead_have_left() {
    let directory = archived();
    let path = directory.path();
    let [first, second] = ["counter_1.db", "counter_2.db"].map(|name| living(path, name, 5.0));
    first.withdraw(&key("c"));
    sweep(path);
    assert_eq!(total(path), Some(65.0));
    second.withdraw(&key("c"));
    sweep(path);
    assert_eq!(total(path), None);
}

#[test]
fn what_the_dead_have_in_files_goes_as_well() {
    let directory = archived();
    let path = directory.path();
    let worker = living(path, "counter_1.db", 5.0);
    let many: Vec<_> = (0..50).map(|number| (key(&format!("n{number}")), 1.0)).collect();
    drop(Worker::start(path, "counter_3.db", &many));
    sweep(path);
    worker.withdraw(&key("c"));
    dead(path, "counter_2.db", 3.0);
    // Such as a sweep of a scrape: else a file of the dead waits for more.
    let request = Request { small_archive: 0, ..Request::default() };
    compact_on(&mut Watch::new(|_| false), path, &request).unwrap();
    assert_eq!(total(path), None);
    dead(path, "counter_2.db", 3.0);
    compact_on(&mut Watch::new(|_| false), path, &request).unwrap();
    assert!(path.join("counter_2.db").exists());
    assert_eq!(total(path), Some(3.0));
}

/// Nobody knows whether its process lives.
#[test]
fn what_a_file_has_that_is_not_folded_stays() {
    let (directory, _worker) = withdrawn();
    let path = directory.path();
    stock(path, "counter_2.db", 3.0);
    sweep(path);
    assert_eq!(total(path), Some(63.0));
    sweep(path);
    assert_eq!(total(path), Some(63.0));
}

/// As gunicorn's hook folds it: its file tells of the withdrawal, and goes.
#[test]
fn the_death_of_one_process_is_the_time_for_it() {
    let (directory, worker) = withdrawn();
    let path = directory.path();
    drop(worker);
    dead(path, "counter_2.db", 3.0);
    let request = Request { named_only: true, ..naming(&["1"]) };
    compact_on(&mut Watch::new(|_| false), path, &request).unwrap();
    assert_eq!(total(path), None);
}

#[test]
fn of_other_kinds_only_files_of_named_processes_are_opened() {
    let (directory, worker) = withdrawn();
    let path = directory.path();
    drop(worker);
    drop(Worker::start(path, "gauge_liveall_2.db", &[(key("g"), 1.0)]));
    let request = Request { named_only: true, ..naming(&["1"]) };
    compact_on(&mut Watch::new(|_| false), path, &request).unwrap();
    assert_eq!(total(path), None);
    assert!(path.join("gauge_liveall_2.db").exists());
}

#[test]
fn what_is_counted_after_it_was_heeded_stays() {
    let (directory, worker) = withdrawn();
    let path = directory.path();
    sweep(path);
    dead(path, "counter_2.db", 3.0);
    sweep(path);
    sweep(path);
    assert_eq!(total(path), Some(3.0));
    drop(worker);
    sweep(path);
    assert_eq!(total(path), Some(3.0));
}

#[test]
fn a_process_that_begins_the_series_anew_begins_at_nothing() {
    let (directory, worker) = withdrawn();
    let path = directory.path();
    worker.begin_anew(&key("c"), 1, 2.0);
    sweep(path);
    assert_eq!(total(path), Some(2.0));
    dead(path, "counter_2.db", 3.0);
    sweep(path);
    assert_eq!(total(path), Some(5.0), "its withdrawal is heeded once");
    let other = living(path, "counter_3.db", 1.0);
    other.withdraw(&key("c"));
    sweep(path);
    assert_eq!(total(path), Some(5.0), "the first has the series");
}

#[test]
fn a_withdrawal_of_the_dead_is_heeded_too() {
    let (directory, worker) = withdrawn();
    let path = directory.path();
    drop(worker);
    sweep(path);
    assert_eq!(total(path), None);
}

#[test]
fn a_file_that_may_not_be_read_may_have_the_series() {
    struct Refusing;
    impl Checkpoint for Refusing {
        fn pass(&mut self, step: Step, path: &Path) -> io::Result<()> {
            let is_refused = step == Step::OpenLiving && path.ends_with("counter_2.db");
            if is_refused { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
        }

        fn wait(&mut self, _time: Duration) {}
    }
    let directory = archived();
    let path = directory.path();
    let [first, _second] = ["counter_1.db", "counter_2.db"].map(|name| living(path, name, 5.0));
    first.withdraw(&key("c"));
    let done = compact_on(&mut Refusing, path, &Request::default()).unwrap();
    assert_eq!(done.left_alone, []);
    assert_eq!(total(path), Some(65.0));
}

/// Nothing is opened for a kind of which nothing was withdrawn, and nothing twice.
#[test]
fn a_look_costs_little() {
    let directory = archived();
    let path = directory.path();
    let worker = living(path, "counter_1.db", 5.0);
    let looks = || {
        let mut checkpoint = Watch::new(|_| false);
        compact_on(&mut checkpoint, path, &Request::default()).unwrap();
        checkpoint.seen.iter().filter(|step| **step == Step::OpenLiving).count()
    };
    assert_eq!(looks(), 0);
    worker.withdraw(&key("c"));
    assert_eq!(looks(), 2);
    assert_eq!(looks(), 0);
    let other = Worker::start(path, "counter_3.db", &[(key("new"), 1.0)]);
    other.withdraw(&key("new"));
    assert_eq!(looks(), 2, "the archive does not have it");
    let gauge = Worker::start(path, "gauge_max_1.db", &[(key("g"), 1.0)]);
    gauge.withdraw(&key("g"));
    assert_eq!(looks(), 1, "there is no archive");
}

/// What a process withdraws while a compaction is at work is heeded by that or by the next one.
#[test]
fn killed_at_each_step_the_series_goes_once_and_for_good() {
    let steps = {
        let (directory, _worker) = withdrawn();
        let mut checkpoint = Watch { waits: false, ..Watch::new(|_| false) };
        compact_on(&mut checkpoint, directory.path(), &Request::default()).unwrap();
        checkpoint.seen.len()
    };
    for step in 0..=steps {
        let (directory, _worker) = withdrawn();
        let path = directory.path();
        let mut checkpoint = Watch { waits: false, ..Watch::new(|number| number >= step) };
        let _ = compact_on(&mut checkpoint, path, &Request::default());
        let seen = total(path);
        assert!(matches!(seen, None | Some(60.0)), "killed before step {step}: {seen:?}");
        // Another process begins the series anew.
        let other = living(path, "counter_2.db", 3.0);
        let kept = seen.unwrap_or_default() + 3.0;
        assert_eq!(total(path), Some(kept));
        sweep(path);
        assert_eq!(total(path), Some(kept), "killed before step {step}");
        drop(other);
        sweep(path);
        sweep(path);
        assert_eq!(total(path), Some(kept), "killed before step {step}");
    }
}
