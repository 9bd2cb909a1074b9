//! What compaction folds, deletes and leaves alone, and that sums stay exact.

#![allow(clippy::float_cmp)] // Exactness is what is tested.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use crate::compact::run::{Compaction, Request, compact, compact_on};
use crate::compact::steps::{Checkpoint, Disk, Step};
use crate::compact::tests::support::{Watch, Worker, exact, key, names, sweep, text, totals};
use crate::error::{Concern, Damage, Reason};
use crate::format::testing::{entry, file, file_of};
use crate::format::{MAGIC_ARCHIVE, MAGIC_WRITER};
use crate::store::{Mark, encode_journal};

const LOCK: &str = ".multiprom.lock";

fn stock(directory: &Path, name: &str, value: f64) {
    fs::write(directory.join(name), file(None, &[entry(&key("c"), value, 0.0)])).unwrap();
}

fn dead(directory: &Path, name: &str, value: f64) {
    drop(Worker::start(directory, name, &[(key("c"), value)]));
}

/// The request that names these processes as dead.
fn naming(pids: &[&str]) -> Request {
    Request { pids: pids.iter().map(OsString::from).collect(), ..Request::default() }
}

fn reasons(done: &Compaction) -> Vec<(&str, &Reason)> {
    let left_alone = done.left_alone.iter();
    left_alone
        .map(|left| (left.path.file_name().unwrap().to_str().unwrap(), &left.reason))
        .collect()
}

#[test]
fn the_dead_are_folded_and_the_living_go_on() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    dead(path, "counter_1.db", 1.0);
    dead(path, "counter_2.db", 2.0);
    dead(path, "summary_2.db", 8.0);
    let living = Worker::start(path, "counter_3.db", &[(key("c"), 4.0)]);
    let done = sweep(path);
    assert_eq!((done.processes.len(), done.files_folded, done.files_deleted), (2, 3, 0));
    assert_eq!((done.bytes_freed, done.busy, done.left_alone.len()), (3 << 16, false, 0));
    assert_eq!(names(path), [LOCK, "counter_3.db", "counter_compacted.db", "summary_compacted.db"]);
    living.add(&key("c"), 16.0);
    drop(living);
    assert_eq!(sweep(path).files_folded, 1);
    assert_eq!(sweep(path), Compaction::default());
    assert_eq!(names(path), [LOCK, "counter_compacted.db", "summary_compacted.db"]);
}

#[test]
fn files_of_prometheus_client_only_when_named() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    for (name, value) in [("counter_1.db", 1.0), ("counter_11.db", 2.0), ("counter_a_1.db", 4.0)] {
        stock(path, name, value);
    }
    fs::write(path.join("counter_12.db"), "").unwrap();
    fs::write(path.join("summary_1.db"), "").unwrap();
    dead(path, "counter_1-1.db", 8.0);
    assert_eq!(sweep(path).files_folded, 1, "the one that has our magic");
    let done = compact(path, &Request { named_only: true, ..naming(&["1"]) }, &[]).unwrap();
    assert_eq!((done.files_folded, done.files_deleted), (1, 1));
    assert_eq!(
        names(path),
        [LOCK, "counter_11.db", "counter_12.db", "counter_a_1.db", "counter_compacted.db"]
    );
    assert_eq!(totals(path)["c"], 15.0);
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

#[test]
fn named_only_opens_no_others() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    dead(path, "counter_1.db", 1.0);
    dead(path, "counter_2.db", 2.0);
    let done = compact(path, &Request { named_only: true, ..naming(&["1"]) }, &[]).unwrap();
    assert_eq!(done.files_folded, 1);
    assert_eq!(names(path), [LOCK, "counter_2.db", "counter_compacted.db"]);
}

#[test]
fn a_named_process_that_lives_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let _living = Worker::start(directory.path(), "counter_3.db", &[(key("c"), 4.0)]);
    let done = compact(directory.path(), &naming(&["3"]), &[]).unwrap();
    assert_eq!(reasons(&done), [("counter_3.db", &Reason::Held)]);
}

#[test]
fn gauges_by_their_modes() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let modes = ["sum", "min", "max", "mostrecent", "all", "livesum", "liveall", "livemin", "odd"];
    for (pid, value) in [("1", 1.5), ("2", 0.5), ("3", 1.0)] {
        for mode in modes {
            let name = format!("gauge_{mode}_{pid}.db");
            drop(Worker::start(path, &name, &[(key(mode), value)]));
        }
    }
    let done = sweep(path);
    assert_eq!((done.files_folded, done.files_deleted), (12, 9));
    let expected = [("max", 1.5), ("min", 0.5), ("mostrecent", 1.5), ("sum", 3.0)];
    let totals = totals(path);
    for (mode, value) in expected {
        assert_eq!(totals[mode], value, "{mode}");
    }
    let kept = names(path).into_iter().filter(|name| !name.contains("compacted"));
    assert_eq!(
        kept.collect::<Vec<_>>()[1..],
        ["all_1", "all_2", "all_3", "odd_1", "odd_2", "odd_3"]
            .map(|name| format!("gauge_{name}.db"))
    );
    let done = compact(path, &Request { drop_all: true, ..Request::default() }, &[]).unwrap();
    assert_eq!((done.files_folded, done.files_deleted), (0, 6));
    assert_eq!(names(path).len(), 5);
}

#[test]
fn what_is_damaged_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let good = entry(&key("c"), 1.0, 0.0);
    let mut cut = file_of(MAGIC_WRITER, &[good.clone(), good.clone()]);
    cut.truncate(cut.len() - 1);
    fs::write(path.join("counter_1.db"), cut).unwrap();
    let garbled = file_of(MAGIC_WRITER, &[good.clone(), entry("garbled", 1.0, 0.0)]);
    fs::write(path.join("counter_2.db"), garbled).unwrap();
    fs::write(path.join("counter_3.db"), file_of(*b"MPw9", std::slice::from_ref(&good))).unwrap();
    fs::write(path.join("counter_4.db"), file_of(MAGIC_ARCHIVE, std::slice::from_ref(&good)))
        .unwrap();
    dead(path, "counter_5.db", 2.0);
    let before = totals(path);
    let done = compact(path, &Request { max_files: 1, ..Request::default() }, &[]).unwrap();
    assert_eq!(done.files_folded, 0, "a damaged one was tried");
    let done = sweep(path);
    assert_eq!(done.files_folded, 1);
    let reasons = reasons(&done);
    let names: Vec<_> = reasons.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["counter_3.db", "counter_4.db", "counter_1.db", "counter_2.db"]);
    assert_eq!(*reasons[0].1, Reason::UnknownMagic);
    assert!(matches!(
        reasons[2].1,
        Reason::Damaged { offset: Some(_), damage: Damage::CutShort { .. } }
    ));
    assert!(matches!(reasons[3].1, Reason::Damaged { damage: Damage::KeyNotJson { .. }, .. }));
    assert_eq!(totals(path), before);
}

#[test]
fn a_damaged_archive_is_never_written_over() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    dead(path, "counter_1.db", 1.0);
    dead(path, "summary_1.db", 1.0);
    sweep(path);
    let archive = path.join("counter_compacted.db");
    let whole = fs::read(&archive).unwrap();
    dead(path, "counter_2.db", 2.0);
    for content in [&whole[..30], &whole[..3], b"something else in its place"] {
        fs::write(&archive, content).unwrap();
        let done = sweep(path);
        assert_eq!(done.left_alone.len(), 1, "{done:?}");
        assert_eq!(fs::read(&archive).unwrap(), content);
        assert!(path.join("counter_2.db").exists());
    }
    dead(path, "summary_2.db", 2.0);
    assert_eq!(sweep(path).files_folded, 1, "other kinds are folded");
    // A machine that stopped may leave it so, and there is nothing to lose.
    fs::write(&archive, "").unwrap();
    assert_eq!(sweep(path).files_folded, 1);
    assert_eq!(names(path), [LOCK, "counter_compacted.db", "summary_compacted.db"]);
}

/// What `prometheus_client` cannot read: files whose writers were killed right after creating them.
#[test]
fn empty_files_of_nobody_go_when_they_are_old() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let make = |name: &str, content: &[u8], age: u64| {
        fs::write(path.join(name), content).unwrap();
        let changed = std::time::SystemTime::now() - Duration::from_secs(age);
        let file = fs::File::options().write(true).open(path.join(name)).unwrap();
        file.set_modified(changed).unwrap();
    };
    let counted = file(None, &[entry(&key("c"), 1.0, 0.0)]);
    for (pid, content) in [(1, &b""[..]), (2, &[0; 1 << 12]), (3, &counted), (4, b"odd")] {
        make(&format!("counter_{pid}.db"), content, 61);
        make(&format!("summary_{pid}.db"), content, 50);
    }
    let held = Worker::start(path, "counter_5.db", &[]);
    held.file.set_len(0).unwrap();
    held.file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(sweep(path).files_deleted, 2);
    let young = (1..=4).map(|pid| format!("summary_{pid}.db"));
    let kept = (3..=5).map(|pid| format!("counter_{pid}.db")).chain(young);
    assert_eq!(names(path)[1..], kept.collect::<Vec<_>>());
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

/// Such as an error of a disk: that is no damage.
#[test]
fn what_could_not_be_read_once_is_read_again() {
    struct Unreadable(usize);
    impl Checkpoint for Unreadable {
        fn pass(&mut self, step: Step, _path: &Path) -> io::Result<()> {
            if step == Step::Read && self.0 > 0 {
                self.0 -= 1;
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            Ok(())
        }

        fn wait(&mut self, _time: Duration) {}
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    dead(path, "counter_1.db", 1.0);
    let remembering = Request { skips_known: true, ..Request::default() };
    let mut disk = Disk { checkpoint: Unreadable(1) };
    let done = compact_on(&mut disk, path, &remembering).unwrap();
    assert_eq!(done.left_alone[0].reason.concern(), Concern::Passing);
    assert_eq!(compact_on(&mut disk, path, &remembering).unwrap().files_folded, 1);
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
    let compact = || compact_on(&mut Disk { checkpoint: Sticky }, path, &request).unwrap();
    assert_eq!(compact().files_folded, 3);
    assert_eq!(compact().files_folded, 1, "the others are spent");
    assert_eq!(totals(path)["c"], 4.0);
    assert_eq!(names(path).len(), 5);
}

/// Somebody deletes the lock file of a compaction at work, and another begins.
#[test]
fn without_its_lock_file_nothing_is_committed() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    dead(path, "counter_1.db", 1.0);
    let mut disk = Disk {
        checkpoint: Watch::new(|_| {
            let _ = fs::remove_file(path.join(LOCK));
            false
        }),
    };
    let done = compact_on(&mut disk, path, &Request::default()).unwrap();
    assert_eq!((done.files_folded, done.left_alone.len()), (0, 1));
    assert_eq!(names(path), ["counter_1.db"]);
    assert_eq!(sweep(path).files_folded, 1);
}

/// `rm *.db` and a new worker, in the moment before an absorbed file is deleted.
#[test]
fn a_new_file_in_the_place_of_an_absorbed_one_is_not_deleted() {
    /// Puts a new file there.
    struct Replaces<'a>(&'a Path, Option<Worker>);
    impl Checkpoint for Replaces<'_> {
        fn pass(&mut self, step: Step, path: &Path) -> io::Result<()> {
            if step == Step::DeleteAbsorbed {
                fs::remove_file(path).unwrap();
                self.1 = Some(Worker::start(self.0, "counter_1.db", &[(key("c"), 2.0)]));
            }
            Ok(())
        }

        fn wait(&mut self, _time: Duration) {}
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    dead(path, "counter_1.db", 1.0);
    let mut disk = Disk { checkpoint: Replaces(path, None) };
    compact_on(&mut disk, path, &Request::default()).unwrap();
    assert_eq!(totals(path)["c"], 3.0);
}

#[test]
fn one_at_a_time() {
    let directory = TempDir::new().unwrap();
    dead(directory.path(), "counter_1.db", 1.0);
    let lock = crate::sys::lock::directory(directory.path(), Duration::ZERO).unwrap().unwrap();
    assert_eq!(sweep(directory.path()), Compaction { busy: true, ..Compaction::default() });
    drop(lock);
    assert_eq!(sweep(directory.path()).files_folded, 1);
    assert_eq!(sweep(&directory.path().join("gone")), Compaction::default());
}

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

/// Nobody can read more or less than before.
#[test]
fn the_archive_has_the_permissions_of_the_files() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let dead_with_mode = |name: &str, mode| {
        dead(path, name, 1.0);
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    dead_with_mode("counter_1.db", 0o640);
    assert_eq!(sweep(path).files_folded, 1);
    let mode = fs::metadata(path.join("counter_compacted.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    dead_with_mode("counter_2.db", 0o600);
    dead_with_mode("counter_3.db", 0o644);
    dead_with_mode("counter_4.db", 0o640);
    let done = sweep(path);
    assert_eq!(done.files_folded, 1);
    let expected = ["counter_2.db", "counter_3.db"].map(|name| (name, &Reason::OtherReaders));
    assert_eq!(reasons(&done), expected);
    assert_eq!(totals(path)["c"], 4.0);
}

/// What is damaged does not decide who may read the archive.
#[test]
fn a_damaged_file_of_other_readers_keeps_nobody() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let mode = |name: &str, mode| {
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::write(path.join("counter_1.db"), file_of(MAGIC_WRITER, &[entry("garbled", 1.0, 0.0)]))
        .unwrap();
    dead(path, "counter_2.db", 1.0);
    dead(path, "counter_3.db", 1.0);
    for (name, bits) in [("counter_1.db", 0o600), ("counter_2.db", 0o640), ("counter_3.db", 0o600)]
    {
        mode(name, bits);
    }
    let remembering = Request { skips_known: true, ..Request::default() };
    let done = compact(path, &remembering, &[]).unwrap();
    assert_eq!((done.files_folded, done.left_alone.len()), (1, 2));
    let done = compact(path, &remembering, &[]).unwrap();
    assert_eq!(reasons(&done), [("counter_3.db", &Reason::OtherReaders)], "it is looked at again");
    // Somebody mends it.
    mode("counter_3.db", 0o640);
    assert_eq!(compact(path, &remembering, &[]).unwrap().files_folded, 1);
    assert_eq!(totals(path)["c"], 2.0);
}

/// The journal of an archive that anybody may have written, in a directory of several users.
#[test]
fn a_journal_deletes_only_files_of_its_kind() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    for name in ["session.dat", "summary_1.db", "counter_compacted.db"] {
        fs::write(path.join(name), "").unwrap();
        let mark = Mark::new(name.as_ref(), &fs::metadata(path.join(name)).unwrap());
        let mut archive = file_of(MAGIC_ARCHIVE, &[entry(&key("c"), 1.0, 0.0)]);
        archive.extend(encode_journal(&[mark]).unwrap());
        fs::write(path.join("counter_compacted.db"), archive).unwrap();
        let done = sweep(path);
        assert!(path.join(name).exists());
        let torn = Damage::TornJournal;
        assert!(
            matches!(&done.left_alone[0].reason, Reason::Damaged { damage, .. } if *damage == torn)
        );
    }
}

/// A writer that hands its file over, between the look at its header and the lock.
#[test]
fn a_file_that_is_handed_over_is_not_taken() {
    struct HandsOver<'a>(&'a Path);
    impl Checkpoint for HandsOver<'_> {
        fn pass(&mut self, step: Step, _path: &Path) -> io::Result<()> {
            if step == Step::LockDead {
                stock(self.0, "counter_1.db", 1.0);
            }
            Ok(())
        }

        fn wait(&mut self, _time: Duration) {}
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    dead(path, "counter_1.db", 1.0);
    let mut disk = Disk { checkpoint: HandsOver(path) };
    let done = compact_on(&mut disk, path, &Request::default()).unwrap();
    assert_eq!(done, Compaction::default());
    assert_eq!(names(path), [LOCK, "counter_1.db"]);
}

/// Each sweep of each process would read all of it.
#[test]
fn a_damaged_archive_is_read_once() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    dead(path, "counter_1.db", 1.0);
    let bad = file_of(MAGIC_ARCHIVE, &[entry("garbled", 1.0, 0.0)]);
    fs::write(path.join("counter_compacted.db"), &bad).unwrap();
    let remembering = Request { skips_known: true, ..Request::default() };
    for read in [2, 0] {
        let (done, reads) = reads(path, &remembering);
        assert_eq!((done.left_alone.len(), reads), (1, read));
    }
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

#[test]
fn what_everybody_may_read_is_folded_whosever_it_is() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    for (name, mode) in [("counter_1.db", 0o644), ("counter_2.db", 0o664), ("counter_3.db", 0o666)]
    {
        dead(path, name, 1.0);
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    assert_eq!(sweep(path).files_folded, 3);
    let mode = fs::metadata(path.join("counter_compacted.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
}

/// What a worker counted of a label that no text can show must not keep its file for ever.
#[test]
fn a_lone_surrogate_does_not_keep_a_file() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let lone = r#"["s", "s", {"a": "\ud800"}, ""]"#.to_owned();
    for name in ["counter_1.db", "counter_2.db"] {
        drop(Worker::start(path, name, &[(lone.clone(), 1.0), (key("c"), 1.0)]));
        let done = sweep(path);
        assert_eq!((done.files_folded, done.left_alone), (1, vec![]));
    }
    assert_eq!(totals(path), [("c".to_owned(), 2.0)].into());
    let merge = crate::scrape::Merge::of_directory(path).unwrap();
    let left_out = merge.parse().unwrap().left_out;
    assert_eq!(left_out.len(), 1, "every scrape reports it: {left_out:?}");
}

/// A header that says nonsense of a file as large as the disk: nothing of it is read.
#[test]
fn a_huge_damaged_file_costs_nothing() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let file = fs::File::create(path.join("counter_1.db")).unwrap();
    std::io::Write::write_all(&mut &file, &[&(-1_i32).to_ne_bytes()[..], &MAGIC_WRITER].concat())
        .unwrap();
    file.set_len(1 << 40).unwrap();
    drop(file);
    let done = sweep(path);
    let damage = Damage::BadUsed { used: -1 };
    assert_eq!(reasons(&done), [("counter_1.db", &Reason::Damaged { offset: Some(0), damage })]);
}

/// Reads beside the steps of one call.
fn reads(path: &Path, request: &Request) -> (Compaction, usize) {
    let mut disk = Disk { checkpoint: Watch { waits: false, ..Watch::new(|_| false) } };
    let done = compact_on(&mut disk, path, request).unwrap();
    let seen = disk.checkpoint.seen;
    (done, seen.into_iter().filter(|step| *step == Step::Read).count())
}

#[test]
fn what_cannot_be_folded_is_read_once() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    dead(path, "counter_0.db", 1.0);
    sweep(path);
    let bad = file_of(MAGIC_WRITER, &[entry("garbled", 1.0, 0.0)]);
    for number in 1..=20 {
        fs::write(path.join(format!("counter_{number}.db")), &bad).unwrap();
    }
    let sweeping = Request { max_files: 8, skips_known: true, ..Request::default() };
    // Not even the archive is read: there is nothing to add to it.
    for (tried, read) in [(8, 8), (8, 8), (4, 4), (0, 0)] {
        let (done, reads) = reads(path, &sweeping);
        assert_eq!((done.left_alone.len(), reads), (tried, read));
    }
    dead(path, "counter_9a.db", 1.0);
    assert_eq!(reads(path, &sweeping).0.files_folded, 1, "the bad ones are in nobody's way");
    let (done, reads) = reads(path, &Request::default());
    assert_eq!((done.left_alone.len(), reads), (20, 20), "who asks for it is told");
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
    let mut disk = Disk { checkpoint: FewDescriptors { limit: 0, open: 0 } };
    let done = compact_on(&mut disk, path, &Request::default()).unwrap();
    assert_eq!((done.files_folded, done.left_alone.len()), (0, 1));
    disk.checkpoint.limit = 10;
    let done = compact_on(&mut disk, path, &Request::default()).unwrap();
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
    let mut disk = Disk { checkpoint: ReadOnly };
    let done = compact_on(&mut disk, directory.path(), &Request::default()).unwrap();
    let reason = Reason::Io { code: None, message: "permission denied".to_owned() };
    assert_eq!(reasons(&done), [("counter_compacted.db", &reason)]);
}

#[test]
fn the_text_of_a_scrape_stays_the_same() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let bucket = |le: &str| format!(r#"["h", "h_bucket", {{"le": "{le}"}}, "Help"]"#);
    let other = r#"["c", "c", {"a": "b"}, "Help"]"#.to_owned();
    for (number, value) in [(1, 0.1), (2, 0.2), (3, 1e-9)] {
        let series = [(bucket("1"), value), (bucket("+Inf"), 1.0), (key("h_sum"), value)];
        drop(Worker::start(path, &format!("histogram_{number}.db"), &series));
        let series = [(other.clone(), value), (key("c"), 3.0)];
        drop(Worker::start(path, &format!("counter_{number}.db"), &series));
    }
    let before = text(path);
    sweep(path);
    assert_eq!(text(path), before);
}

/// A family in files of several types is merged entry by entry, low halves included.
#[test]
fn low_halves_count_also_in_a_replay() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    // Either alone is too small to move the 1, both together are not.
    let small = f64::EPSILON * 3.0 / 8.0;
    for (name, value) in [("counter_1.db", 1.0), ("counter_2.db", small), ("histogram_3.db", small)]
    {
        dead(path, name, value);
        sweep(path);
    }
    assert_eq!(totals(path)["c"], 1.0 + f64::EPSILON);
}

/// Sums need the low halves: with plain archives a total would fall by an ulp now and then.
#[test]
fn thousands_of_folds_move_no_total() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let living = Worker::start(path, "counter_0.db", &[(key("c"), 0.1)]);
    let mut values = vec![0.1];
    let mut seed = 1_u64;
    for number in 1..=2000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = u32::try_from(seed >> 32).unwrap();
        let value = f64::from(random) * 1e-6 / f64::from(number % 13 + 1);
        values.push(value);
        let before = totals(path)["c"];
        dead(path, &format!("counter_{number}.db"), value);
        let expected = exact(&values);
        assert_eq!(totals(path)["c"], expected);
        assert_eq!(sweep(path).files_folded, 1);
        let after = totals(path)["c"];
        assert_eq!(after, expected, "after {number} folds");
        assert!(before <= after);
    }
    drop(living);
    sweep(path);
    assert_eq!(totals(path)["c"], exact(&values));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// Any values, any grouping: the total is the exact sum, rounded once, after every fold.
    #[test]
    fn any_folds_are_exact(groups in prop::collection::vec(
        prop::collection::vec(1e-7..1e9_f64, 1..5), 1..8,
    )) {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let mut values = Vec::new();
        for (group, files) in groups.iter().enumerate() {
            for (number, value) in files.iter().enumerate() {
                dead(path, &format!("counter_{group}_{number}.db"), *value);
                values.push(*value);
            }
            prop_assert_eq!(totals(path)["c"], exact(&values));
            prop_assert_eq!(sweep(path).files_folded, files.len());
            prop_assert_eq!(totals(path)["c"], exact(&values));
        }
    }

    /// What plain addition makes infinite or NaN stays so in the archive.
    #[test]
    fn folds_of_any_floats_are_plain_addition(
        values in prop::collection::vec(prop::num::f64::ANY, 1..6),
    ) {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        for (number, value) in values.iter().enumerate() {
            dead(path, &format!("counter_{number}.db"), *value);
        }
        let before = totals(path)["c"];
        sweep(path);
        prop_assert_eq!(totals(path)["c"].to_bits(), before.to_bits());
    }
}
