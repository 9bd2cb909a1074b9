//! The path of a directory names another one before any step of a compaction: a deployment switches
//! a link. The other directory stays as it is, and no count of the first is lost or seen twice.

#![allow(clippy::float_cmp)] // Exactness is what is tested.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::compact::run::{Request, compact_on};
use crate::compact::tests::support::{Watch, Worker, key, naming, stock, sweep, totals};

/// Two directories with the same names of files, and a link to the first.
struct Scene {
    parent: TempDir,
    _living: Vec<Worker>,
}

impl Scene {
    fn new() -> Self {
        let parent = TempDir::new().unwrap();
        let fill = |name: &str, factor: f64| {
            let path = parent.path().join(name);
            fs::create_dir(&path).unwrap();
            let dead = |name: &str, value: f64| {
                drop(Worker::start(&path, name, &[(key("c"), value * factor)]));
            };
            dead("counter_0.db", 0.1);
            sweep(&path);
            dead("counter_1.db", 0.2);
            stock(&path, "counter_2.db", 0.3 * factor);
            dead("gauge_liveall_1.db", 1.0);
            drop(Worker::start(&path, "gauge_max_1.db", &[(key("max"), 7.0 * factor)]));
            Worker::start(&path, "counter_3.db", &[(key("c"), 0.4 * factor)])
        };
        let living = vec![fill("first", 1.0), fill("second", 1000.0)];
        symlink("first", parent.path().join("link")).unwrap();
        Self { parent, _living: living }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.parent.path().join(name)
    }

    fn switch(&self) {
        fs::remove_file(self.path("link")).unwrap();
        symlink("second", self.path("link")).unwrap();
    }
}

/// Inode and content of each file.
fn content(directory: &Path) -> BTreeMap<PathBuf, (u64, Vec<u8>)> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let of = |path: PathBuf| {
        let inode = fs::metadata(&path).unwrap().ino();
        let bytes = fs::read(&path).unwrap();
        (path, (inode, bytes))
    };
    files.map(of).collect()
}

/// Compacts by the link, which is switched before a step; a kill may come before a later one.
fn compact_switched(scene: &Scene, at: usize, killed_at: usize) -> usize {
    let mut checkpoint = Watch::new(|number| {
        if number == at {
            scene.switch();
        }
        number >= killed_at
    });
    checkpoint.waits = false;
    let request = Request { drop_all: true, ..naming(&["2"]) };
    let _ = compact_on(&mut checkpoint, &scene.path("link"), &request);
    checkpoint.seen.len()
}

fn check(scene: &Scene, when: &str) {
    let totals = totals(&scene.path("first"));
    assert_eq!((totals["c"], totals["max"]), (1.0, 7.0), "{when}");
}

#[test]
fn before_any_step() {
    let steps = compact_switched(&Scene::new(), usize::MAX, usize::MAX);
    assert!(steps > 40, "{steps}");
    // Before the first step the directory is not open yet: what the path names is compacted.
    for at in 1..steps {
        let scene = Scene::new();
        let other = content(&scene.path("second"));
        compact_switched(&scene, at, usize::MAX);
        assert!(other == content(&scene.path("second")), "switched before step {at}");
        check(&scene, &format!("switched before step {at}"));
        sweep(&scene.path("first"));
        check(&scene, &format!("switched before step {at}, and compacted again"));
    }
}

/// What the killed one leaves is finished by another, of which the link is switched before any step.
#[test]
fn while_a_killed_compaction_is_finished() {
    let steps = compact_switched(&Scene::new(), usize::MAX, usize::MAX);
    for killed_at in 1..steps {
        let mut at = 1;
        loop {
            let scene = Scene::new();
            compact_switched(&scene, usize::MAX, killed_at);
            let other = content(&scene.path("second"));
            let steps = compact_switched(&scene, at, usize::MAX);
            let when = format!("killed before step {killed_at}, switched before step {at}");
            assert!(other == content(&scene.path("second")), "{when}");
            check(&scene, &when);
            // Each step of the recovery, which ends within so many, and then one in seven.
            at += if at < 12 { 1 } else { 7 };
            if at >= steps {
                break;
            }
        }
    }
}

/// Somebody puts another archive in the place of the one just written: it keeps its journal.
#[test]
fn another_archive_keeps_its_journal() {
    let scene = Scene::new();
    let archive = |name: &str| scene.path(name).join("counter_compacted.db");
    let read = |name: &str| fs::read(archive(name)).unwrap();
    let without_journal = read("second");
    // Killed right after the commit.
    let mut checkpoint = Watch::new(|_| read("second") != without_journal);
    checkpoint.waits = false;
    let _ = compact_on(&mut checkpoint, &scene.path("second"), &Request::default());
    let theirs = read("second");
    assert!(theirs != without_journal);
    let (before, mut is_replaced) = (read("first"), false);
    let mut checkpoint = Watch::new(|_| {
        if !is_replaced && read("first") != before {
            fs::copy(archive("second"), scene.path("new")).unwrap();
            fs::rename(scene.path("new"), archive("first")).unwrap();
            is_replaced = true;
        }
        false
    });
    checkpoint.waits = false;
    let request = Request { max_files: 1, ..Request::default() };
    compact_on(&mut checkpoint, &scene.path("first"), &request).unwrap();
    drop(checkpoint);
    assert!(is_replaced);
    assert!(read("first") == theirs);
}
