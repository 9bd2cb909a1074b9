//! Compaction killed before every step, and every step failing once: no count is lost or seen
//! twice, at once, after recovery, and with a worker that comes back in between.
//!
//! A kill is a gate that stays shut: nothing of the protocol can be done any more, not even
//! cleaning up, and locks are dropped, as the kernel does it.

#![allow(clippy::float_cmp)] // Exactness is what is tested.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::compact::run::{Compaction, Request, compact, compact_on};
use crate::compact::steps::{Checkpoint, Step};
use crate::compact::tests::support::{
    LOCK, Watch, Worker, dead, key, large_archive, names, patient, sweep, totals,
};
use crate::format::testing::{entry, file};
use crate::store::TICK;

/// A directory with an archive, dead and living workers, ours and `prometheus_client`'s.
struct Scene {
    directory: TempDir,
    _living: Worker,
}

impl Scene {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let dead = |name: &str, key: &str, value| {
            drop(Worker::start(path, name, &[(key.to_owned(), value)]));
        };
        let series = [(key("c"), 0.1), (key("withdrawn"), 9.0)];
        drop(Worker::start(path, "counter_0.db", &series));
        sweep(path);
        dead("counter_1.db", &key("c"), 0.2);
        let stock = file(None, &[entry(&key("c"), 0.3, 0.0)]);
        fs::write(path.join("counter_2.db"), stock).unwrap();
        dead("gauge_all_1.db", &key("all"), 1.0);
        dead("gauge_liveall_1.db", &key("liveall"), 1.0);
        dead("gauge_max_1.db", &key("max"), 7.0);
        dead("gauge_sum_1.db", &key("sum"), 7.0);
        drop(Worker::start(path, "summary_1.db", &[]));
        let series = [(key("c"), 0.4), (key("withdrawn"), 1.0)];
        let living = Worker::start(path, "counter_3.db", &series);
        living.withdraw(&key("withdrawn"));
        Self { directory, _living: living }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What a scrape must show, whatever happens; of the series that was withdrawn it shows all that
    /// the dead have left, or nothing.
    fn totals(&self) -> BTreeMap<String, f64> {
        let mut totals = totals(self.path());
        totals.retain(|name, _| !name.ends_with("all"));
        assert!(totals.remove("withdrawn").is_none_or(|value| value == 9.0));
        totals
    }

    fn compact(&self, before: impl FnMut(usize) -> bool, waits: bool) -> (Compaction, Vec<Step>) {
        let pids = vec![OsString::from("2")];
        let request = Request { pids, drop_all: true, ..Request::default() };
        let mut checkpoint = Watch::new(before);
        checkpoint.waits = waits;
        let done = compact_on(&mut checkpoint, self.path(), &request).unwrap_or_default();
        (done, checkpoint.seen)
    }

    /// Nothing is left of the dead but archives.
    fn assert_clean(&self) {
        let expected = [
            ".multiprom.lock",
            ".multiprom.withdrawn",
            "counter_3.db",
            "counter_compacted.db",
            "gauge_max_compacted.db",
            "gauge_sum_compacted.db",
        ];
        assert_eq!(names(self.path()), expected);
        assert_eq!(totals(self.path()).get("withdrawn"), None);
        let (done, _) = self.compact(|_| false, false);
        assert_eq!(done, Compaction::default());
    }
}

/// The steps of compacting the scene when nothing goes wrong.
fn steps() -> Vec<Step> {
    let scene = Scene::new();
    let steps = scene.compact(|_| false, false).1;
    scene.assert_clean();
    steps
}

fn killed_at(step: usize) -> impl FnMut(usize) -> bool {
    move |number| number >= step
}

#[test]
fn killed_before_every_step_and_again_during_recovery() {
    let mut seen: HashSet<Step> = HashSet::new();
    for first in 0..=steps().len() {
        let mut second = 0;
        loop {
            let scene = Scene::new();
            let truth = scene.totals();
            scene.compact(killed_at(first), false);
            assert_eq!(scene.totals(), truth, "killed before step {first}");
            let (_, steps) = scene.compact(killed_at(second), false);
            assert_eq!(scene.totals(), truth, "killed before steps {first} and {second}");
            let (done, last_steps) = scene.compact(|_| false, false);
            assert_eq!(done.left_alone, []);
            assert_eq!(scene.totals(), truth, "recovered from {first} and {second}");
            scene.assert_clean();
            seen.extend(steps.iter().chain(&last_steps));
            if second >= steps.len() {
                break;
            }
            second += 1;
        }
    }
    // Removing the temporary belongs to a failure, the leftovers to another function.
    let expected = Step::ALL.iter().copied();
    let expected: HashSet<Step> = expected
        .filter(|step| !matches!(step, Step::RemoveTemporary | Step::DeleteLeftover))
        .collect();
    seen.retain(|step| *step != Step::RemoveTemporary);
    assert_eq!(seen, expected, "each step must be met by the scene");
}

#[test]
fn every_step_fails_once() {
    let mut seen: HashSet<Step> = HashSet::new();
    for failing in 0..steps().len() {
        let scene = Scene::new();
        let truth = scene.totals();
        let (_, steps) = scene.compact(|number| number == failing, false);
        assert_eq!(scene.totals(), truth, "step {failing} failed");
        let names = names(scene.path());
        assert!(!names.iter().any(|name| name.contains(".tmp")), "step {failing}: {names:?}");
        seen.extend(steps);
        scene.compact(|_| false, false);
        assert_eq!(scene.totals(), truth, "step {failing} failed, then all went well");
        scene.assert_clean();
    }
    assert!(seen.contains(&Step::RemoveTemporary));
}

/// Files wait for a large archive until they are worth it. Each compaction that looks is killed, one
/// death after the other, until one goes through.
#[test]
fn killed_before_every_step_while_files_wait() {
    let directory = TempDir::new().unwrap();
    large_archive(directory.path());
    (1..=16).for_each(|number| dead(directory.path(), &format!("counter_{number}.db"), 1.0));
    let mut whole = Watch { waits: false, ..Watch::new(|_| false) };
    compact_on(&mut whole, directory.path(), &patient()).unwrap();
    assert!(whole.seen.contains(&Step::Commit));
    for step in 0..=whole.seen.len() {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        large_archive(path);
        let mut total = 0.0;
        let mut is_right = |added: f64| {
            total += added;
            let totals = totals(path);
            assert_eq!((totals["c"], totals["a99"]), (total, 1.0), "killed before step {step}");
        };
        for number in 1..=18 {
            dead(path, &format!("counter_{number}.db"), 1.0);
            let mut killed = Watch { waits: false, ..Watch::new(killed_at(step)) };
            let _ = compact_on(&mut killed, path, &patient());
            is_right(1.0);
        }
        // It goes on in a file that waits, or makes a new one in the place of one that is spent.
        let worker = Worker::open(path, "counter_3.db", &key("c"), 1.0);
        is_right(1.0);
        compact(path, &patient(), &[]).unwrap();
        is_right(0.0);
        assert_eq!(worker.path.file_name().unwrap(), "counter_3.db");
        drop(worker);
        assert!(names(path).len() < 2 + 16);
        sweep(path);
        is_right(0.0);
        assert_eq!(names(path), [LOCK, "counter_compacted.db"]);
    }
}

/// Where file times are coarse, a new file with the inode of a spent one could be taken for it.
#[test]
fn nothing_young_is_deleted_before_the_clock_advances() {
    for (age, expected) in [(0, &[Step::Commit][..]), (30, &[])] {
        let directory = TempDir::new().unwrap();
        drop(Worker::start(directory.path(), "counter_1.db", &[(key("c"), 1.0)]));
        std::thread::sleep(Duration::from_millis(age));
        let mut checkpoint = Watch::new(|_| false);
        compact_on(&mut checkpoint, directory.path(), &Request::default()).unwrap();
        assert_eq!(checkpoint.waited_after, expected);
    }
}

/// A time in the future, such as of a file that was copied here, does not hide the young ones.
#[test]
fn the_young_are_waited_for_beside_files_of_the_future() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    drop(Worker::start(path, "counter_1.db", &[(key("c"), 1.0)]));
    let future = SystemTime::now() + Duration::from_secs(3600);
    let file = fs::File::options().write(true).open(path.join("counter_1.db")).unwrap();
    file.set_modified(future).unwrap();
    drop(file);
    drop(Worker::start(path, "counter_2.db", &[(key("c"), 1.0)]));
    let mut checkpoint = Watch::new(|_| false);
    compact_on(&mut checkpoint, path, &Request::default()).unwrap();
    assert_eq!(checkpoint.waited_after, [Step::Commit]);
}

/// Killed between the commit and the wait: recovery has to wait then, and a writer makes a file with
/// another inode.
#[test]
fn what_comes_after_a_kill_tells_a_new_file_from_the_spent_one() {
    /// Waits for nothing, and dies of it.
    struct KilledByWaiting(bool);
    impl Checkpoint for KilledByWaiting {
        fn pass(&mut self, _step: Step, _path: &Path) -> io::Result<()> {
            if self.0 { Err(io::Error::other("killed by the test")) } else { Ok(()) }
        }

        fn wait(&mut self, _time: Duration) {
            self.0 = true;
        }
    }
    // None if the file was no longer young when its turn came, on a machine with much to do.
    let try_to_kill = || {
        let directory = TempDir::new().unwrap();
        drop(Worker::start(directory.path(), "counter_1.db", &[(key("c"), 1.0)]));
        // A little in the future, so that it is young for as long as this test takes.
        let changed = SystemTime::now() + TICK / 2;
        let spent = directory.path().join("counter_1.db");
        fs::File::options().write(true).open(&spent).unwrap().set_modified(changed).unwrap();
        let mut checkpoint = KilledByWaiting(false);
        compact_on(&mut checkpoint, directory.path(), &Request::default()).unwrap();
        assert!(directory.path().join("counter_compacted.db").exists());
        spent.exists().then_some((directory, changed))
    };
    let killed = || (0..100).find_map(|_| try_to_kill()).expect("a file that is young");
    let (directory, changed) = killed();
    let mut checkpoint = Watch::new(|_| false);
    compact_on(&mut checkpoint, directory.path(), &Request::default()).unwrap();
    assert_eq!(names(directory.path()), [".multiprom.lock", "counter_compacted.db"]);
    assert!(SystemTime::now() >= changed + TICK);
    let (directory, _) = killed();
    let inode = || fs::metadata(directory.path().join("counter_1.db")).unwrap().ino();
    let spent = inode();
    let worker = Worker::open(directory.path(), "counter_1.db", &key("c"), 2.0);
    assert_ne!(inode(), spent);
    assert_eq!(totals(directory.path())["c"], 3.0);
    drop(worker);
}

/// A worker with the name of a dead one starts after the kill, before recovery.
#[test]
fn a_worker_comes_back_after_a_kill() {
    let total = |scene: &Scene| scene.totals()["c"];
    for step in 0..=steps().len() {
        let scene = Scene::new();
        scene.compact(killed_at(step), true);
        let worker = Worker::open(scene.path(), "counter_1.db", &key("c"), 1.0);
        assert_eq!(worker.path.file_name().unwrap(), "counter_1.db");
        assert_eq!(total(&scene), 2.0, "killed before step {step}");
        scene.compact(|_| false, true);
        assert_eq!(total(&scene), 2.0, "killed before step {step}, recovered");
        worker.add(&key("c"), 1.0);
        assert_eq!(total(&scene), 3.0);
        drop(worker);
        scene.compact(|_| false, true);
        assert_eq!(total(&scene), 3.0);
        scene.assert_clean();
    }
}
