//! Damaged files and archives: left alone, reported, and not read again and again.

#![allow(clippy::float_cmp)] // Exactness is what is tested.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::compact::reason::{Concern, Reason};
use crate::compact::run::{Compaction, Request, compact, compact_on};
use crate::compact::steps::{Checkpoint, Step};
use crate::compact::tests::support::{LOCK, Watch, dead, key, names, reasons, sweep, totals};
use crate::format::testing::{entry, file_of};
use crate::format::{Damage, Damaged, MAGIC_ARCHIVE, MAGIC_WRITER};
use crate::store::{Mark, encode_journal};

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
        Reason::Damaged(Damaged { offset: Some(_), damage: Damage::CutShort { .. } })
    ));
    assert!(matches!(
        reasons[3].1,
        Reason::Damaged(Damaged { damage: Damage::KeyNotJson { .. }, .. })
    ));
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
            matches!(&done.left_alone[0].reason, Reason::Damaged(found) if found.damage == torn)
        );
    }
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
    assert_eq!(reasons(&done), [("counter_1.db", &Reason::Damaged(Damaged::at(0, damage)))]);
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
    let mut checkpoint = Unreadable(1);
    let done = compact_on(&mut checkpoint, path, &remembering).unwrap();
    assert_eq!(done.left_alone[0].reason.concern(), Concern::Passing);
    assert_eq!(compact_on(&mut checkpoint, path, &remembering).unwrap().files_folded, 1);
}

/// Reads beside the steps of one call.
fn reads(path: &Path, request: &Request) -> (Compaction, usize) {
    let mut checkpoint = Watch { waits: false, ..Watch::new(|_| false) };
    let done = compact_on(&mut checkpoint, path, request).unwrap();
    let seen = checkpoint.seen;
    (done, seen.into_iter().filter(|step| *step == Step::Read).count())
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
