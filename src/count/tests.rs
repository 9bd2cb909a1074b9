//! What threads, closes and removals do to values, without Python.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::compact::tests::support::{names, sweep, totals};
use crate::compact::{Checkpoint, Disk, Request, Step, compact_on};
use crate::count::values::{Caller, Class, Operation, Value, hold, settle};
use crate::store::{Outcome, Reader, list_directory};

/// The values of one identifier in one directory.
struct Counting {
    class: Arc<Class>,
    caller: Caller,
}

impl Counting {
    fn of(directory: &Path, identifier: &str) -> Self {
        let caller = Caller {
            directory: Some(directory.into()),
            identifier: Some(OsStr::new(identifier).to_owned()),
        };
        Self { class: Arc::new(Class::new(&caller).unwrap()), caller }
    }

    fn value(&self, prefix: &str, name: &str) -> Value {
        let key = format!(r#"["{name}", "{name}", {{}}, ""]"#);
        self.class.value(prefix, key.as_bytes(), &self.caller).unwrap()
    }

    fn add(&self, value: &Value, amount: f64) {
        if !value.try_add(amount) {
            value.operate(Operation::Add(amount), &self.caller);
        }
    }
}

fn total(directory: &Path) -> f64 {
    let mut total = 0.0;
    for path in list_directory(directory).unwrap().files {
        let outcome =
            Reader::default().read(&path, |_| false, |_, entry| total += entry.value).unwrap();
        assert_eq!(outcome, Outcome::Complete, "{path:?}");
    }
    total
}

/// Drops values and classes, also where another test has the lock.
fn let_go<T>(dropped: T) {
    drop(dropped);
    // Whoever takes the lock forgets what was dropped beside it.
    settle(true);
}

const THREADS: u32 = 3;
const ADDITIONS: u32 = 3000;

/// Counts in several threads, while `disturb` is called again and again.
fn count_beside(counting: &Counting, disturb: impl Fn() + Sync) {
    let value = counting.value("counter", "shared");
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let value = &value;
                scope.spawn(move || {
                    for number in 0..ADDITIONS {
                        counting.add(value, 1.0);
                        // Others come and go, and make the file grow.
                        let other = counting.value("counter", &format!("{thread}-{number}"));
                        counting.add(&other, 1.0);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                disturb();
            }
        });
        for thread in threads {
            thread.join().unwrap();
        }
        is_done.store(true, Ordering::Relaxed);
    });
    // What was closed last counts when it is asked to.
    counting.add(&value, 0.0);
    settle(false);
}

/// Every addition of all threads, twice: to the shared value and to one of its own.
const EXPECTED: f64 = (2 * THREADS * ADDITIONS) as f64;

#[test]
#[allow(clippy::float_cmp)] // Whole numbers.
fn nothing_is_lost_while_files_grow() {
    let directory = TempDir::new().unwrap();
    let counting = Counting::of(directory.path(), "growing");
    count_beside(&counting, thread::yield_now);
    assert_eq!(total(directory.path()), EXPECTED);
}

#[test]
#[allow(clippy::float_cmp)] // Whole numbers.
fn nothing_is_lost_or_counted_twice_while_files_are_closed() {
    let directory = TempDir::new().unwrap();
    let counting = Counting::of(directory.path(), "closing");
    count_beside(&counting, || counting.class.close());
    assert_eq!(total(directory.path()), EXPECTED);
}

#[test]
#[allow(clippy::float_cmp)] // Whole numbers.
fn nothing_is_lost_while_files_are_removed() {
    let directory = TempDir::new().unwrap();
    let counting = Counting::of(directory.path(), "removing");
    let path = directory.path().join("counter_removing.db");
    count_beside(&counting, || {
        let _ = fs::remove_file(&path);
        settle(false);
    });
    assert_eq!(total(directory.path()), EXPECTED);
}

#[test]
#[allow(clippy::float_cmp)] // Whole numbers.
fn two_classes_of_one_identifier_share_a_file() {
    let directory = TempDir::new().unwrap();
    let [first, second] = ["twice", "twice"].map(|name| Counting::of(directory.path(), name));
    let values = [first.value("counter", "n"), second.value("counter", "n")];
    first.add(&values[0], 1.0);
    second.add(&values[1], 2.0);
    first.class.close();
    second.add(&values[1], 4.0);
    assert_eq!(values.each_ref().map(Value::try_get), [None, Some(7.0)]);
    assert_eq!(values[0].operate(Operation::Get, &first.caller), 3.0);
    assert_eq!(total(directory.path()), 7.0);
    assert_eq!(list_directory(directory.path()).unwrap().files.len(), 1);
}

/// What a closed file held is in an archive when its value is set again, which must not come on top.
#[test]
#[allow(clippy::float_cmp)] // Whole numbers.
fn what_is_set_after_its_file_was_folded_counts_once() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let counting = Counting::of(path, "w");
    let [gauge, counter] = ["gauge_sum", "counter"].map(|prefix| counting.value(prefix, prefix));
    let close_and_fold = || {
        counting.class.close();
        sweep(path);
    };
    let found = || [gauge.try_get().unwrap(), counter.try_get().unwrap()];
    let set = |value| {
        gauge.operate(Operation::Set(value, 0.0), &counting.caller);
    };
    set(5.0);
    counting.add(&counter, 5.0);
    close_and_fold();
    set(7.0);
    counting.add(&counter, 2.0);
    assert_eq!(found(), [7.0, 7.0]);
    assert!(gauge.try_set(3.0));
    assert_eq!(found(), [3.0, 7.0]);
    assert_eq!([totals(path)["gauge_sum"], totals(path)["counter"]], [3.0, 7.0]);
    close_and_fold();
    counting.add(&gauge, 1.0);
    set(9.0);
    counting.add(&counter, 2.0);
    assert_eq!(found(), [9.0, 9.0]);
    // Continued, not folded.
    counting.class.close();
    set(8.0);
    counting.add(&counter, 1.0);
    assert_eq!([totals(path)["gauge_sum"], totals(path)["counter"]], [8.0, 10.0]);
    assert_eq!(found(), [8.0, 10.0]);
    let_go((gauge, counter, counting));
    sweep(path);
    assert_eq!([totals(path)["gauge_sum"], totals(path)["counter"]], [8.0, 10.0]);
}

/// Where a sum gauge is set after its file was closed: to 5 before, and to 3 in the end.
fn set_again(fate: impl FnOnce(&Path), again: impl FnOnce(&Counting, Value) -> Value) -> [f64; 2] {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let counting = Counting::of(path, "again");
    let gauge = counting.value("gauge_sum", "gauge");
    gauge.operate(Operation::Set(5.0, 0.0), &counting.caller);
    counting.class.close();
    fate(path);
    let gauge = again(&counting, gauge);
    let got = gauge.operate(Operation::Set(3.0, 0.0), &counting.caller);
    [got, totals(path)["gauge"]]
}

fn fold(path: &Path) {
    assert_eq!(sweep(path).files_folded, 1);
}

#[test]
#[allow(clippy::float_cmp)] // Whole numbers.
fn a_series_made_anew_after_its_file_was_folded_counts_once() {
    let made_anew = |counting: &Counting, old| {
        let_go(old);
        counting.value("gauge_sum", "gauge")
    };
    assert_eq!(set_again(fold, made_anew), [3.0, 3.0]);
}

#[test]
#[allow(clippy::float_cmp)] // Whole numbers.
fn a_second_class_does_not_hide_what_was_folded() {
    let second = |counting: &Counting, old| {
        let second = Counting::of(Path::new(counting.caller.directory.as_ref().unwrap()), "again");
        second.value("gauge_sum", "gauge").operate(Operation::Set(7.0, 0.0), &second.caller);
        old
    };
    assert_eq!(set_again(fold, second), [3.0, 3.0]);
}

/// It has the series too, as that of whoever came after.
#[test]
#[allow(clippy::float_cmp)] // Whole numbers.
fn a_successor_of_a_folded_file_is_not_taken_for_it() {
    let succeed = |path: &Path| {
        let closed = path.join("gauge_sum_again.db");
        let content = fs::read(&closed).unwrap();
        // Kept open, so that it has an inode of its own.
        let kept = fs::File::open(&closed).unwrap();
        fold(path);
        fs::write(&closed, content).unwrap();
        drop(kept);
    };
    assert_eq!(set_again(succeed, |_, old| old), [3.0, 3.0]);
}

/// The archive is there, but has nothing of the series.
#[test]
#[allow(clippy::float_cmp)] // Whole numbers.
fn a_removed_file_is_not_taken_for_a_folded_one() {
    let remove = |path: &Path| {
        let other = Counting::of(path, "other");
        let value = other.value("gauge_sum", "other");
        other.add(&value, 1.0);
        fs::remove_file(path.join("gauge_sum_again.db")).unwrap();
        let_go((value, other));
        sweep(path);
        assert!(path.join("gauge_sum_compacted.db").exists());
    };
    assert_eq!(set_again(remove, |_, old| old), [3.0, 3.0]);
}

/// Whoever drops a value has Python's interpreter, and must not wait for one that opens files.
#[test]
fn a_value_is_dropped_beside_a_lock_that_is_held() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let counting = Counting::of(path, "held");
    let value = counting.value("counter", "n");
    counting.add(&value, 1.0);
    let held = hold();
    let (dropped, is_dropped) = mpsc::channel();
    let dropping = thread::spawn(move || {
        drop((value, counting));
        dropped.send(()).unwrap();
    });
    let in_time = is_dropped.recv_timeout(Duration::from_mins(1));
    let file = fs::File::open(path.join("counter_held.db")).unwrap();
    assert!(file.try_lock().is_err(), "it was forgotten by whom?");
    drop(held);
    assert_eq!(in_time, Ok(()));
    dropping.join().unwrap();
    // Forgotten when the lock is free: the file is closed.
    settle(true);
    file.try_lock().unwrap();
}

/// A compaction was killed between its commit and its deletions; then a worker of the same name
/// starts, as uWSGI's do.
#[test]
#[allow(clippy::float_cmp)] // Whole numbers.
fn what_an_archive_has_is_not_continued() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let first = Counting::of(path, "spent");
    let value = first.value("counter", "n");
    first.add(&value, 1.0);
    let_go((value, first));
    let is_folded = |step| matches!(step, Step::DeleteAbsorbed);
    let mut disk = Disk { checkpoint: Killed { before: is_folded, is_dead: false } };
    let _ = compact_on(&mut disk, path, &Request::default());
    assert!(path.join("counter_spent.db").exists() && path.join("counter_compacted.db").exists());
    assert_eq!(totals(path)["n"], 1.0);
    let second = Counting::of(path, "spent");
    let value = second.value("counter", "n");
    second.add(&value, 2.0);
    assert_eq!(value.try_get(), Some(2.0));
    assert_eq!(totals(path)["n"], 3.0);
    sweep(path);
    assert_eq!(totals(path)["n"], 3.0);
    let_go((value, second));
    sweep(path);
    assert_eq!(totals(path)["n"], 3.0);
    let expected = [".multiprom.lock", ".multiprom.slot-0.lock", "counter_compacted.db"];
    assert_eq!(names(path), expected);
}

/// A gate that is shut from a step on.
struct Killed<F> {
    before: F,
    is_dead: bool,
}

impl<F: Fn(Step) -> bool> Checkpoint for Killed<F> {
    fn pass(&mut self, step: Step, _path: &Path) -> io::Result<()> {
        self.is_dead |= (self.before)(step);
        if self.is_dead { Err(io::Error::other("killed by the test")) } else { Ok(()) }
    }

    fn wait(&mut self, time: Duration) {
        thread::sleep(time);
    }
}
