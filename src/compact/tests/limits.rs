//! How much one call does: files, bytes, descriptors, and what may not be written or deleted.

#![allow(clippy::float_cmp)] // Exactness is what is tested.

use std::io;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::compact::earlier_run::{Kept, remove_on};
use crate::compact::reason::{Concern, Reason};
use crate::compact::run::{Locks, Request, compact, compact_on};
use crate::compact::steps::{Checkpoint, Step};
use crate::compact::tests::support::{
    LOCK, Worker, dead, key, names, naming, reasons, stock, sweep, totals,
};
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
    for number in 0..50 {
        dead(path, &format!("counter_{number}.db"), 1.0);
    }
    let mut checkpoint = FewDescriptors { limit: 0, open: 0 };
    let done = compact_on(&mut checkpoint, path, &Request::default()).unwrap();
    assert_eq!((done.files_folded, done.left_alone.len()), (0, 1));
    checkpoint.limit = 10;
    let done = compact_on(&mut checkpoint, path, &Request::default()).unwrap();
    assert_eq!((done.files_folded, done.left_alone), (50, vec![]));
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
    assert!(left.reason.to_string().contains("it is on NFS"), "{}", left.reason);
    assert_eq!(names(path), ["counter_1.db"], "nor is a lock file made");
    let kept = remove_on(&mut Network, path, Duration::ZERO, &[]).unwrap().kept;
    assert!(matches!(kept, Some(Kept::Held(held)) if held.reason == left.reason));
    assert_eq!(names(path), ["counter_1.db"]);
    // Who asks for it says that all processes see each other's locks.
    assert_eq!(compact_on(&mut Network, path, &Request::default()).unwrap().files_folded, 1);
}
