//! Scrapes, workers and whoever deletes files beside a compaction, in every window between its steps,
//! and in threads.

#![allow(clippy::float_cmp)] // Exactness is what is tested.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::compact::run::{Compaction, Request, compact_on};
use crate::compact::steps::{Checkpoint, Step};
use crate::compact::tests::support::{
    LOCK, Watch, Worker, dead, key, large_archive, names, naming, patient, stock, sweep, text,
    totals,
};
use crate::format::MAGIC_WRITER;
use crate::format::testing::{entry, file_of};
use crate::scrape::{self, Merge};
use crate::store::{Origin, read_consistently};

fn scene() -> TempDir {
    let directory = TempDir::new().unwrap();
    dead(directory.path(), "counter_0.db", 0.5);
    sweep(directory.path());
    dead(directory.path(), "counter_1.db", 0.25);
    dead(directory.path(), "counter_2.db", 0.25);
    drop(Worker::start(directory.path(), "gauge_sum_2.db", &[(key("g"), 0.3)]));
    directory
}

/// Compacts, and calls `before` before each step.
fn compact_watched(directory: &Path, before: impl FnMut(usize) -> bool) -> Vec<Step> {
    let mut checkpoint = Watch::new(before);
    compact_on(&mut checkpoint, directory, &naming(&["2"])).unwrap();
    checkpoint.seen
}

#[test]
fn a_scrape_between_any_two_steps() {
    let directory = scene();
    let path = directory.path();
    let truth = text(path);
    let mut scrapes = 0;
    compact_watched(path, |_| {
        assert_eq!(text(path), truth);
        scrapes += 1;
        false
    });
    assert!(scrapes > 20);
    assert_eq!(text(path), truth);
}

/// What is no file but has the name of an archive is never read, and keeps nobody waiting.
#[test]
fn a_scrape_beside_what_is_no_archive() {
    let directory = scene();
    let path = directory.path();
    let truth = text(path);
    fs::create_dir(path.join("summary_compacted.db")).unwrap();
    std::os::unix::fs::symlink("counter_0.db", path.join("histogram_compacted.db")).unwrap();
    let mut readings = 0;
    let origin = Origin::from(path);
    read_consistently(&origin, |_| {
        readings += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!((readings, text(path)), (1, truth));
}

/// The pid is reused, or a worker id continued, while its file is folded.
#[test]
fn a_worker_opens_its_file_between_any_two_steps() {
    for step in 0..compact_watched(scene().path(), |_| false).len() {
        let directory = scene();
        let path = directory.path();
        let total = || totals(path)["c"];
        let mut worker = None;
        compact_watched(path, |number| {
            if number == step {
                worker = Some(Worker::open(path, "counter_1.db", &key("c"), 1.0));
                assert_eq!(total(), 2.0, "before step {step}");
            }
            false
        });
        assert_eq!(total(), 2.0, "after a worker came before step {step}");
        let worker = worker.unwrap();
        worker.add(&key("c"), 1.0);
        assert_eq!(total(), 3.0);
        drop(worker);
        sweep(path);
        assert_eq!(total(), 3.0);
        assert_eq!(names(path).len(), 3, "the lock and two archives");
    }
}

/// The same while its file waits for a large archive: the worker goes on in it, or beside it.
#[test]
fn a_worker_opens_a_file_that_waits_between_any_two_steps() {
    let scene = |files| {
        let directory = TempDir::new().unwrap();
        large_archive(directory.path());
        (1..=files).for_each(|number| dead(directory.path(), &format!("counter_{number}.db"), 1.0));
        directory
    };
    let compact = |path: &Path, before: &mut dyn FnMut(usize) -> bool| {
        let mut checkpoint = Watch { waits: false, ..Watch::new(before) };
        compact_on(&mut checkpoint, path, &patient()).unwrap();
        checkpoint.seen.len()
    };
    // Not worth it yet, and just worth it.
    for files in [3, 16] {
        let truth = f64::from(files) + 1.0;
        for step in 0..compact(scene(files).path(), &mut |_| false) {
            let directory = scene(files);
            let path = directory.path();
            let mut worker = None;
            compact(path, &mut |number| {
                if number == step {
                    worker = Some(Worker::open(path, "counter_2.db", &key("c"), 1.0));
                    assert_eq!(totals(path)["c"], truth, "before step {step}");
                }
                false
            });
            assert_eq!(totals(path)["c"], truth, "after a worker came before step {step}");
            drop(worker.unwrap());
            compact(path, &mut |_| false);
            assert_eq!(totals(path)["c"], truth);
            sweep(path);
            assert_eq!((totals(path)["c"], names(path).len()), (truth, 2));
        }
    }
}

#[test]
fn another_compaction_between_any_two_steps_is_turned_away() {
    let directory = scene();
    let path = directory.path();
    let truth = text(path);
    compact_watched(path, |number| {
        // The directory is opened, then locked.
        assert_eq!(sweep(path).busy, number > 1);
        false
    });
    assert_eq!(text(path), truth);
}

/// Between the opening of the archives and the reading of the other files, everything moves.
#[test]
fn compaction_between_archives_and_files() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("folded", |path| {
            sweep(path);
        }),
        ("folded, and the names used again", |path| {
            sweep(path);
            dead(path, "counter_1.db", 1.0);
            dead(path, "counter_2.db", 1.0);
        }),
        ("folded twice", |path| {
            sweep(path);
            dead(path, "counter_1.db", 2.0);
            sweep(path);
        }),
        ("the archive gone, as at the start of a server", |path| {
            fs::remove_file(path.join("counter_compacted.db")).unwrap_or_default();
        }),
    ];
    for with_archive in [true, false] {
        for (name, change) in changes {
            let directory = TempDir::new().unwrap();
            let path = directory.path();
            dead(path, "counter_0.db", 0.1);
            if with_archive {
                sweep(path);
            }
            dead(path, "counter_1.db", 0.2);
            let mut rounds = 0;
            let (_, scan) = read_consistently(&Origin::from(path), |snapshot| {
                rounds += 1;
                if rounds == 1 {
                    change(path);
                }
                scrape::scan(snapshot, false)
            })
            .unwrap();
            let (_, expected) =
                read_consistently(&Origin::from(path), |snapshot| scrape::scan(snapshot, false))
                    .unwrap();
            let (scanned, expected) = (scan.tables.first(), expected.tables.first());
            assert_eq!(
                scanned.map(|table| format!("{:?}", table.column)),
                expected.map(|table| format!("{:?}", table.column)),
                "{name}, {with_archive}"
            );
        }
    }
}

/// A family that needs a second reading, with compaction in between.
#[test]
fn compaction_between_two_readings() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    for (name, value) in [("gauge_sum_1.db", 1.0), ("gauge_max_2.db", 2.0), ("counter_1.db", 4.0)] {
        let series = if name.starts_with('g') { key("g") } else { key("c") };
        drop(Worker::start(path, name, &[(series, value)]));
    }
    let merge = Merge::of_directory(path).unwrap();
    sweep(path);
    let totals = crate::compact::tests::support::totals_of(&merge);
    assert_eq!((totals["g"], totals["c"]), (3.0, 4.0), "of max and sum the last in name order");
}

/// The same, and the names are used again, so that no file seems to be missing.
#[test]
fn compaction_between_two_readings_and_names_used_again() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let count = || {
        drop(Worker::start(path, "gauge_sum_1.db", &[(key("g"), 1.0)]));
        drop(Worker::start(path, "gauge_max_2.db", &[(key("g"), 2.0)]));
        dead(path, "counter_1.db", 4.0);
    };
    count();
    let merge = Merge::of_directory(path).unwrap();
    sweep(path);
    count();
    let totals = crate::compact::tests::support::totals_of(&merge);
    assert_eq!((totals["g"], totals["c"]), (6.0, 8.0), "the sum of two maxima and two sums");
}

/// Files come and are folded without end; scrapes see totals that never fall and never exceed the
/// truth. Names are used again and again, so that a scrape meets other files under names it listed.
#[test]
fn scrapes_beside_compactions_and_new_files() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    large_archive(path);
    let (begun, done, stop) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
    let deadline = Instant::now() + Duration::from_secs(4);
    thread::scope(|scope| {
        scope.spawn(|| {
            let content = file_of(MAGIC_WRITER, &[entry(&key("c"), 1.0, 0.0)]);
            let hidden = path.join(".new");
            for number in 0_u32.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                fs::write(&hidden, &content).unwrap();
                let name = path.join(format!("counter_{}.db", 1 + number % 20));
                while name.exists() && !stop.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                if name.exists() {
                    break;
                }
                begun.fetch_add(1, Ordering::SeqCst);
                fs::rename(&hidden, &name).unwrap();
                done.fetch_add(1, Ordering::SeqCst);
            }
        });
        scope.spawn(|| {
            let mut killed_at = 0;
            while !stop.load(Ordering::SeqCst) {
                // Every other one is killed, each time at another step; many let files wait.
                killed_at = (killed_at + 1) % 120;
                let request = if killed_at % 3 == 0 { Request::default() } else { patient() };
                let is_killed = |number| killed_at % 2 == 0 && number >= killed_at;
                let mut checkpoint = Watch::new(is_killed);
                let _ = compact_on(&mut checkpoint, path, &request);
            }
            sweep(path);
        });
        let scrapers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let (mut last, mut scrapes) = (0.0, 0);
                    while Instant::now() < deadline {
                        let at_least = done.load(Ordering::SeqCst);
                        let total = totals(path).get("c").copied().unwrap_or_default();
                        let most = begun.load(Ordering::SeqCst);
                        assert!(last <= total, "fell from {last} to {total}");
                        assert!(
                            f64::from(at_least) <= total && total <= f64::from(most),
                            "{total} is not between {at_least} and {most}"
                        );
                        last = total;
                        scrapes += 1;
                    }
                    scrapes
                })
            })
            .collect();
        let counts: Vec<_> = scrapers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::SeqCst);
        for count in counts {
            assert!(count.unwrap() > 50);
        }
    });
    sweep(path);
    assert_eq!(totals(path)["c"], f64::from(done.load(Ordering::SeqCst)));
    assert!(done.load(Ordering::SeqCst) > 50);
}

/// Somebody deletes the lock file of a compaction at work, and another begins.
#[test]
fn without_its_lock_file_nothing_is_committed() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    dead(path, "counter_1.db", 1.0);
    let mut checkpoint = Watch::new(|_| {
        let _ = fs::remove_file(path.join(LOCK));
        false
    });
    let done = compact_on(&mut checkpoint, path, &Request::default()).unwrap();
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
    let mut checkpoint = Replaces(path, None);
    compact_on(&mut checkpoint, path, &Request::default()).unwrap();
    assert_eq!(totals(path)["c"], 3.0);
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
    let mut checkpoint = HandsOver(path);
    let done = compact_on(&mut checkpoint, path, &Request::default()).unwrap();
    assert_eq!(done, Compaction::default());
    assert_eq!(names(path), [LOCK, "counter_1.db"]);
}
