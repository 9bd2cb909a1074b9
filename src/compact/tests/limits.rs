//! How much one call does: files, bytes, descriptors, and what may not be written or deleted.

#![allow(clippy::float_cmp)] // Exactness is what is tested.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::compact::earlier_run::{Kept, remove_on};
use crate::compact::reason::{Concern, Reason};
use crate::compact::run::{Locks, Request, compact, compact_on};
use crate::compact::steps::{Checkpoint, Step};
use crate::compact::tests::support::{
    LOCK, Worker, dead, key, large_archive, names, naming, patient, reasons, stock, sweep, totals,
};
use crate::compact::worth::FILES;
use crate::format::parse_used;
use crate::format::testing::{entry, file};
use crate::sys::Directory;

#[test]
fn many_files_in_bounded_steps() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    for number in 0..300 {
        dead(path, &format!("counter_{number}.db"), 1.0);
    }
    let bounded = Request { max_files: 7, ..Request::default() };
    assert_eq!(compact(path, &bounded, &[]).unwrap().files_folded, 7);
    let done = sweep(path);
    assert_eq!((done.files_folded, done.processes.len()), (293, 293));
    assert_eq!(names(path), [LOCK, "counter_compacted.db"]);
    assert_eq!(totals(path)["c"], 300.0);
}

/// gunicorn's master must not be held up by an archive of millions of series.
#[test]
fn a_large_archive_is_left_to_others() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    dead(path, "counter_0.db", 1.0);
    sweep(path);
    dead(path, "counter_1.db", 1.0);
    stock(path, "counter_2.db", 1.0);
    let size = 2 * file(None, &[entry(&key("c"), 1.0, 0.0)]).len() as u64;
    let request = Request { max_bytes: size - 1, ..naming(&["1", "2"]) };
    let done = compact(path, &request, &[]).unwrap();
    assert_eq!(done.files_folded, 1, "nobody else would fold it");
    assert_eq!(reasons(&done), [("counter_1.db", &Reason::TooMuch)]);
    assert_eq!(
        compact(path, &Request { max_bytes: size, ..Request::default() }, &[])
            .unwrap()
            .files_folded,
        1
    );
}

/// One after the other dies, as in a server that recycles its workers.
#[test]
fn files_wait_until_a_large_archive_is_worth_writing_anew() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    large_archive(path);
    for number in 1..=100 {
        dead(path, &format!("counter_{number}.db"), 1.0);
        let waiting = number % FILES;
        let done = compact(path, &patient(), &[]).unwrap();
        let folded = if waiting == 0 { FILES } else { 0 };
        assert_eq!((done.files_folded, done.postponed.len()), (folded, waiting));
        assert_eq!((done.files_deleted, done.left_alone, done.is_cut_short), (0, vec![], false));
        assert_eq!(names(path).len(), 2 + waiting);
        assert_eq!(totals(path)["c"], f64::from(u32::try_from(number).unwrap()));
    }
    assert_eq!(sweep(path).files_folded, 100 % FILES, "who asks for it waits for nothing");
    assert_eq!(names(path), [LOCK, "counter_compacted.db"]);
    assert_eq!(totals(path)["c"], 100.0);
    dead(path, "counter_1.db", 1.0);
    let eager = Request { small_archive: 1 << 20, ..patient() };
    assert_eq!(compact(path, &eager, &[]).unwrap().files_folded, 1, "nor for a small archive");
}

/// Half as much as the archive, in however few files.
#[test]
fn what_holds_much_does_not_wait() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    large_archive(path);
    dead(path, "counter_1.db", 1.0);
    assert_eq!(compact(path, &patient(), &[]).unwrap().postponed.len(), 1);
    let series: Vec<_> = (0..50).map(|number| (key(&format!("a{number}")), 1.0)).collect();
    drop(Worker::start(path, "counter_2.db", &series));
    let done = compact(path, &patient(), &[]).unwrap();
    assert_eq!((done.files_folded, done.postponed.len()), (2, 0));
}

/// More have died at once, such as at a reload, than go into an archive at once.
#[test]
fn of_many_files_the_last_wait() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    large_archive(path);
    for number in 1..=70 {
        dead(path, &format!("counter_{number}.db"), 1.0);
    }
    let done = compact(path, &patient(), &[]).unwrap();
    assert_eq!((done.files_folded, done.postponed.len()), (64, 6));
    assert_eq!(totals(path)["c"], 70.0);
}

/// Only the caller knows that such a process is dead.
#[test]
fn files_of_prometheus_client_do_not_wait() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    large_archive(path);
    dead(path, "counter_1.db", 1.0);
    stock(path, "counter_2.db", 1.0);
    let request = Request { small_archive: 0, ..naming(&["2"]) };
    let done = compact(path, &request, &[]).unwrap();
    assert_eq!((done.files_folded, done.postponed.len()), (2, 0));
}

/// Each death would write it anew for one file, as long as the files that wait are too much together.
#[test]
fn a_large_archive_is_not_written_anew_for_a_part_of_the_files() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    large_archive(path);
    for number in 1..=16 {
        dead(path, &format!("counter_{number}.db"), 1.0);
    }
    let used = |name: &str| {
        let content = fs::read(path.join(name)).unwrap();
        u64::try_from(parse_used(&content[..8]).unwrap()).unwrap()
    };
    let enough = used("counter_compacted.db") + 16 * used("counter_1.db");
    let done = compact(path, &Request { max_bytes: enough - 1, ..patient() }, &[]).unwrap();
    assert_eq!((done.files_folded, done.left_alone.len()), (0, 16));
    assert!(reasons(&done).iter().all(|(_, reason)| **reason == Reason::TooMuch));
    let done = compact(path, &Request { max_bytes: enough, ..patient() }, &[]).unwrap();
    assert_eq!((done.files_folded, done.left_alone.len()), (16, 0));
}

/// Nor does what waits take the place of what must not: live gauges, and small archives.
#[test]
fn what_waits_takes_no_turns() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    large_archive(path);
    for number in 1..=5 {
        dead(path, &format!("counter_{number}.db"), 1.0);
        drop(Worker::start(path, &format!("gauge_max_{number}.db"), &[(key("m"), 1.0)]));
    }
    drop(Worker::start(path, "gauge_livesum_1.db", &[(key("g"), 1.0)]));
    let request = Request { max_files: 6, max_bytes: 5 * 48, ..patient() };
    let done = compact(path, &request, &[]).unwrap();
    assert_eq!((done.files_folded, done.files_deleted, done.postponed.len()), (5, 1, 5));
    assert!(!done.is_cut_short);
}

/// They are never folded, so they are none of the sixteen.
#[test]
fn files_for_other_readers_make_nothing_worth_while() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    large_archive(path);
    for number in 1..=20 {
        let name = format!("counter_{number}.db");
        dead(path, &name, 1.0);
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    dead(path, "counter_21.db", 1.0);
    let done = compact(path, &patient(), &[]).unwrap();
    assert_eq!((done.files_folded, done.postponed.len()), (0, 21));
}

/// All of a call, not only each file.
#[test]
fn what_may_be_read_is_for_all_files_together() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    for number in 0..10 {
        dead(path, &format!("counter_{number}.db"), 1.0);
    }
    let size = file(None, &[entry(&key("c"), 1.0, 0.0)]).len() as u64;
    let request = Request { max_bytes: 5 * size, ..Request::default() };
    let folded = |()| compact(path, &request, &[]).unwrap().files_folded;
    assert_eq!([(), (), ()].map(folded), [5, 4, 1]);
}

/// What is not folded now is in nobody's way.
#[test]
fn what_is_too_much_takes_no_turns() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    for number in 0..5 {
        dead(path, &format!("counter_{number}.db"), 1.0);
    }
    drop(Worker::start(path, "gauge_livesum_1.db", &[(key("g"), 1.0)]));
    let request = Request { max_files: 3, max_bytes: 1, ..Request::default() };
    let done = compact(path, &request, &[]).unwrap();
    assert_eq!((done.files_folded, done.files_deleted), (0, 1));
    let request = Request { max_files: 3, ..Request::default() };
    let cut_short = |()| compact(path, &request, &[]).unwrap().is_cut_short;
    assert_eq!([(), ()].map(cut_short), [true, false]);
    assert_eq!(names(path), [LOCK, "counter_compacted.db"]);
}

/// Files in a directory of several users, who may not delete each other's, are in nobody's way.
#[test]
fn what_cannot_be_deleted_takes_no_turns() {
    /// Deletes nothing of the first process.
    struct Sticky;
    impl Checkpoint for Sticky {
        fn pass(&mut self, step: Step, path: &Path) -> io::Result<()> {
            let deletes = matches!(step, Step::DeleteAbsorbed | Step::DeleteSpent);
            let is_refused = deletes && path.to_str().unwrap().contains("counter_a");
            if is_refused { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
        }

        fn wait(&mut self, _time: Duration) {}
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    for name in ["counter_a1.db", "counter_a2.db", "counter_a3.db", "counter_b.db"] {
        dead(path, name, 1.0);
    }
    let request = Request { max_files: 3, ..Request::default() };
    let compact = || compact_on(&mut Sticky, path, &request).unwrap();
    assert_eq!(compact().files_folded, 3);
    assert_eq!(compact().files_folded, 1, "the others are spent");
    assert_eq!(totals(path)["c"], 4.0);
    assert_eq!(names(path).len(), 5);
}

/// Opens so many files between two commits.
struct FewDescriptors {
    limit: usize,
    open: usize,
}

impl Checkpoint for FewDescriptors {
    fn pass(&mut self, step: Step, _path: &Path) -> io::Result<()> {
        match step {
            Step::OpenDead if self.open == self.limit => {
                return Err(io::Error::from_raw_os_error(libc::EMFILE));
            }
            Step::OpenDead => self.open += 1,
            Step::Commit => self.open = 0,
            _ => {}
        }
        Ok(())
    }

    fn wait(&mut self, _time: Duration) {}
}

#[test]
fn with_few_descriptors_all_is_folded_in_small_steps() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    large_archive(path);
    for number in 1..=50 {
        dead(path, &format!("counter_{number}.db"), 1.0);
    }
    let mut checkpoint = FewDescriptors { limit: 0, open: 0 };
    let done = compact_on(&mut checkpoint, path, &Request::default()).unwrap();
    assert_eq!((done.files_folded, done.left_alone.len()), (0, 1));
    checkpoint.limit = 10;
    // So few files are not worth it to write a large archive anew, but more can never be opened.
    let done = compact_on(&mut checkpoint, path, &patient()).unwrap();
    assert_eq!((done.files_folded, done.postponed.len(), done.left_alone), (40, 10, vec![]));
    checkpoint.open = 0;
    let done = compact_on(&mut checkpoint, path, &Request::default()).unwrap();
    assert_eq!((done.files_folded, done.left_alone), (10, vec![]));
    assert_eq!(names(path), [LOCK, "counter_compacted.db"]);
    assert_eq!(totals(path)["c"], 50.0);
}

/// Of a directory of others not everything is read in vain.
#[test]
fn who_may_not_write_reads_nothing() {
    struct ReadOnly;
    impl Checkpoint for ReadOnly {
        fn pass(&mut self, step: Step, _path: &Path) -> io::Result<()> {
            assert!(step != Step::Read);
            let is_refused = step == Step::CreateTemporary;
            if is_refused { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
        }

        fn wait(&mut self, _time: Duration) {}
    }
    let directory = TempDir::new().unwrap();
    dead(directory.path(), "counter_0.db", 1.0);
    sweep(directory.path());
    dead(directory.path(), "counter_1.db", 1.0);
    let mut checkpoint = ReadOnly;
    let done = compact_on(&mut checkpoint, directory.path(), &Request::default()).unwrap();
    let reason = Reason::Io { code: None, message: "permission denied".to_owned() };
    assert_eq!(reasons(&done), [("counter_compacted.db", &reason)]);
}

/// Whether a lock of another host or mount would be seen is not known there.
#[test]
fn nothing_is_done_unasked_where_locks_are_not_common() {
    /// Has the directory on another file system.
    struct Network;
    impl Checkpoint for Network {
        fn pass(&mut self, _step: Step, _path: &Path) -> io::Result<()> {
            Ok(())
        }

        fn wait(&mut self, _time: Duration) {}

        fn without_common_locks(&self, _directory: &Directory) -> Option<&'static str> {
            Some("NFS")
        }
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    dead(path, "counter_1.db", 1.0);
    let request = Request { locks: Locks::Checked, ..Request::default() };
    let done = compact_on(&mut Network, path, &request).unwrap();
    let [left] = &done.left_alone[..] else { panic!("{done:?}") };
    assert_eq!((&*left.path, left.reason.concern()), (path, Concern::Lasting));
    assert!(left.reason.to_string().contains("the directory is on NFS"), "{}", left.reason);
    assert_eq!(names(path), ["counter_1.db"], "nor is a lock file made");
    let kept = remove_on(&mut Network, path, Duration::ZERO, &[]).unwrap().kept;
    assert!(matches!(kept, Some(Kept::Held(held)) if held.reason == left.reason));
    assert_eq!(names(path), ["counter_1.db"]);
    // Who asks for it says that all processes see each other's locks.
    assert_eq!(compact_on(&mut Network, path, &Request::default()).unwrap().files_folded, 1);
}
