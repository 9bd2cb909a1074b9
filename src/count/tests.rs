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
use crate::compact::{Checkpoint, Request, Step, compact_on};
use crate::count::state::LockedState;
use crate::count::{Caller, Operation, Value, ValueClass, head_of, write_unwritten};
use crate::store::{Outcome, Reader, list_directory};

/// The values of one identifier in one directory.
struct Counting {
    class: Arc<ValueClass>,
    caller: Caller,
}

impl Counting {
    fn new(directory: &Path, identifier: &str) -> Self {
        let caller = Caller {
            directory: Some(directory.into()),
            identifier: Some(OsStr::new(identifier).to_owned()),
        };
        Self { class: Arc::new(ValueClass::new(&caller).unwrap()), caller }
    }

    fn value(&self, prefix: &str, name: &str) -> Value {
        let key = format!(r#"["{name}", "{name}", {{}}, ""]"#);
        self.class.values(prefix, vec![head_of([&key]).unwrap()], &self.caller).unwrap().remove(0)
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
        let outcome = Reader::default()
            .read(&path, false, |_| false, |_, entry| total += entry.value)
            .unwrap();
        assert_eq!(outcome, Outcome::Complete, "{path:?}");
    }
    total
}

/// Drops values and classes, also where another test has the lock.
fn let_go<T>(dropped: T) {
    drop(dropped);
    // If another test had the lock: the next to take it forgets the dropped classes.
    write_unwritten(true);
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
                        // Series that come and go, and make the file grow.
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
    // A value that was closed is attached again when it counts.
    counting.add(&value, 0.0);
    write_unwritten(false);
}

/// Every addition of all threads, twice: to the shared value and to one of its own.
const EXPECTED: f64 = (2 * THREADS * ADDITIONS) as f64;

#[test]
#[allow(clippy::float_cmp)] // Whole numbers.
fn nothing_is_lost_while_files_grow() {
    let directory = TempDir::new().unwrap();
    let counting = Counting::new(directory.path(), "growing");
    count_beside(&counting, thread::yield_now);
    assert_eq!(total(directory.path()), EXPECTED);
}

#[test]
#[allow(clippy::float_cmp)] // Whole numbers.
fn nothing_is_lost_or_counted_twice_while_files_are_closed() {
    let directory = TempDir::new().unwrap();
    let counting = Counting::new(directory.path(), "closing");
    count_beside(&counting, || counting.class.close());
    assert_eq!(total(directory.path()), EXPECTED);
}

#[test]
#[allow(clippy::float_cmp)] // Whole numbers.
fn nothing_is_lost_while_files_are_removed() {
    let directory = TempDir::new().unwrap();
    let counting = Counting::new(directory.path(), "removing");
    let path = directory.path().join("counter_removing.db");
    count_beside(&counting, || {
        let _ = fs::remove_file(&path);
        write_unwritten(false);
    });
    assert_eq!(total(directory.path()), EXPECTED);
}

#[test]
#[allow(clippy::float_cmp)] // Whole numbers.
fn two_classes_of_one_identifier_share_a_file() {
    let directory = TempDir::new().unwrap();
    let [first, second] = ["twice", "twice"].map(|name| Counting::new(directory.path(), name));
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

/// A compaction must not fold a closed file: its value could be set again, which would count on top.
#[test]
#[allow(clippy::float_cmp)] // Whole numbers.
fn a_closed_file_is_continued_and_not_folded() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let counting = Counting::new(path, "w");
    let [gauge, counter] = ["gauge_sum", "counter"].map(|prefix| counting.value(prefix, prefix));
    let set = |value| {
        gauge.operate(Operation::Set(value, 0.0), &counting.caller);
    };
    set(5.0);
    counting.add(&counter, 5.0);
    counting.class.close();
    assert_eq!([gauge.try_get(), counter.try_get()], [None, None]);
    assert_eq!(sweep(path).files_folded, 0);
    set(3.0);
    counting.add(&counter, 2.0);
    assert_eq!([gauge.try_get(), counter.try_get()], [Some(3.0), Some(7.0)]);
    assert_eq!([totals(path)["gauge_sum"], totals(path)["counter"]], [3.0, 7.0]);
    counting.class.close();
    let_go((gauge, counter, counting));
    assert_eq!(sweep(path).files_folded, 2);
    assert_eq!([totals(path)["gauge_sum"], totals(path)["counter"]], [3.0, 7.0]);
}

/// What `end` leaves is what a dead process leaves.
#[test]
#[allow(clippy::float_cmp)] // Whole numbers.
fn what_was_ended_is_folded_and_counts_on() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let counting = Counting::new(path, "w");
    let counter = counting.value("counter", "n");
    for number in 1..4 {
        counting.add(&counter, 1.0);
        counting.class.end();
        assert_eq!(sweep(path).files_folded, 1);
        assert_eq!(totals(path)["n"], f64::from(number));
    }
    assert_eq!(counter.operate(Operation::Get, &counting.caller), 1.0);
}

/// A closed file that is gone when its value counts again: only what is new is written.
#[test]
#[allow(clippy::float_cmp)] // Whole numbers.
fn a_closed_file_that_was_removed_is_not_written_anew() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let counting = Counting::new(path, "w");
    let counter = counting.value("counter", "n");
    counting.add(&counter, 5.0);
    counting.class.close();
    fs::remove_file(path.join("counter_w.db")).unwrap();
    write_unwritten(false);
    assert!(!path.join("counter_w.db").exists());
    counting.add(&counter, 1.0);
    assert_eq!(total(path), 1.0);
}

/// The directory of one test may be the next one's, too: nothing of the first comes back.
#[test]
#[allow(clippy::float_cmp)] // Whole numbers.
fn a_second_class_does_not_bring_a_removed_closed_file_back() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let [first, second] = ["w", "w"].map(|name| Counting::new(path, name));
    let old = first.value("counter", "old");
    first.add(&old, 5.0);
    first.class.close();
    fs::remove_file(path.join("counter_w.db")).unwrap();
    let new = second.value("counter", "new");
    second.add(&new, 1.0);
    write_unwritten(false);
    assert_eq!(total(path), 1.0);
    first.add(&old, 2.0);
    let_go((old, first));
    second.add(&new, 4.0);
    assert_eq!(total(path), 7.0);
    assert_eq!(sweep(path).files_folded, 0);
}

/// An identifier that comes back goes on where it was: nobody has folded its file meanwhile.
#[test]
#[allow(clippy::float_cmp)] // Whole numbers.
fn an_identifier_that_comes_back_continues_its_files() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let mut counting = Counting::new(path, "a");
    let gauges = ["gauge_sum", "gauge_livesum"].map(|prefix| counting.value(prefix, prefix));
    let set = |value, counting: &Counting| {
        for gauge in &gauges {
            gauge.operate(Operation::Set(value, 0.0), &counting.caller);
        }
    };
    for (identifier, value) in [("a", 5.0), ("b", 7.0), ("a", 3.0), ("b", 2.0), ("a", 4.0)] {
        counting.caller.identifier = Some(identifier.into());
        set(value, &counting);
        assert_eq!(sweep(path).files_folded, 0);
    }
    assert_eq!(total(path), 2.0 * (4.0 + 2.0));
    counting.class.end();
    assert_eq!(sweep(path).files_folded, 2);
}

/// The table of series keeps what was dropped only until it is pruned, or written.
#[test]
#[allow(clippy::float_cmp)] // Whole numbers.
fn what_was_dropped_unwritten_is_written_when_it_can_be() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("missing");
    let counting = Counting::new(&path, "dropped");
    for number in 0..500 {
        counting.add(&counting.value("counter", &format!("{}", number % 250)), 1.0);
        counting.value("counter", &format!("untouched {number}"));
    }
    fs::create_dir(&path).unwrap();
    write_unwritten(false);
    assert_eq!(total(&path), 500.0);
    let written = totals(&path);
    assert_eq!(written.keys().filter(|name| name.starts_with("untouched")).count(), 0);
}

/// Python drops values with its interpreter held, and must not wait for a thread that opens a file.
#[test]
fn a_value_is_dropped_beside_a_lock_that_is_held() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let counting = Counting::new(path, "held");
    let value = counting.value("counter", "n");
    counting.add(&value, 1.0);
    let held = LockedState::new();
    let (dropped, is_dropped) = mpsc::channel();
    let dropping = thread::spawn(move || {
        drop((value, counting));
        dropped.send(()).unwrap();
    });
    let in_time = is_dropped.recv_timeout(Duration::from_secs(60));
    let file = fs::File::open(path.join("counter_held.db")).unwrap();
    assert!(file.try_lock().is_err(), "the class cannot have been forgotten yet");
    drop(held);
    assert_eq!(in_time, Ok(()));
    dropping.join().unwrap();
    // Forgotten when the lock is free: the file is closed.
    write_unwritten(true);
    file.try_lock().unwrap();
}

/// A compaction was killed between its commit and its deletions; then a worker of the same name
/// starts, as uWSGI's do.
#[test]
#[allow(clippy::float_cmp)] // Whole numbers.
fn what_an_archive_has_is_not_continued() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let first = Counting::new(path, "spent");
    let value = first.value("counter", "n");
    first.add(&value, 1.0);
    let_go((value, first));
    let is_folded = |step| matches!(step, Step::DeleteAbsorbed);
    let mut checkpoint = Killed { before: is_folded, is_dead: false };
    let _ = compact_on(&mut checkpoint, path, &Request::default());
    assert!(path.join("counter_spent.db").exists() && path.join("counter_compacted.db").exists());
    assert_eq!(totals(path)["n"], 1.0);
    let second = Counting::new(path, "spent");
    let value = second.value("counter", "n");
    second.add(&value, 2.0);
    assert_eq!(value.try_get(), Some(2.0));
    assert_eq!(totals(path)["n"], 3.0);
    sweep(path);
    assert_eq!(totals(path)["n"], 3.0);
    let_go((value, second));
    sweep(path);
    assert_eq!(totals(path)["n"], 3.0);
    assert_eq!(names(path), [".multiprom.lock", "counter_compacted.db"]);
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
