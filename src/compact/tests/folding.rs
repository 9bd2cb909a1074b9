//! What compaction folds, what it deletes and what it keeps.

#![allow(clippy::float_cmp)] // Exactness is what is tested.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tempfile::TempDir;

use crate::compact::reason::Reason;
use crate::compact::run::{Compaction, Request, compact};
use crate::compact::tests::support::{
    LOCK, OPTIONS, Worker, dead, key, names, naming, reasons, stock, sweep, text, totals,
};
use crate::format::testing::{entry, file};
use crate::sys::{Directory, allocated};

#[test]
fn the_dead_are_folded_and_the_living_go_on() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    dead(path, "counter_1.db", 1.0);
    dead(path, "counter_2.db", 2.0);
    dead(path, "summary_2.db", 8.0);
    let living = Worker::start(path, "counter_3.db", &[(key("c"), 4.0)]);
    let room = |name: &&str| allocated(&fs::metadata(path.join(name)).unwrap());
    let freed: u64 = ["counter_1.db", "counter_2.db", "summary_2.db"].iter().map(room).sum();
    let done = sweep(path);
    assert_eq!((done.processes.len(), done.files_folded, done.files_deleted), (2, 3, 0));
    assert_eq!((done.bytes_freed, done.busy, done.left_alone.len()), (freed, false, 0));
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

#[test]
fn one_at_a_time() {
    let directory = TempDir::new().unwrap();
    dead(directory.path(), "counter_1.db", 1.0);
    let opened = Directory::open(directory.path()).unwrap();
    let lock = crate::sys::lock::directory(&opened, Duration::ZERO).unwrap().unwrap();
    assert_eq!(sweep(directory.path()), Compaction { busy: true, ..Compaction::default() });
    drop(lock);
    assert_eq!(sweep(directory.path()).files_folded, 1);
    assert_eq!(sweep(&directory.path().join("gone")), Compaction::default());
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
    let left_out = merge.parse(OPTIONS).unwrap().left_out;
    assert_eq!(left_out.len(), 1, "every scrape reports it: {left_out:?}");
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
