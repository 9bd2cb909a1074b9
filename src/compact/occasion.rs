//! Why a directory is compacted now: this decides whose files are folded, how many, and how long a
//! call waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use crate::compact::reason::Concern;
use crate::compact::run::{self, Compaction, LeftAlone, Locks, Request};
use crate::compact::worth::SMALL_ARCHIVE;
use crate::error::Result;
use crate::store::unheeded_in;
use crate::sys::{Identity, ProcessLocal, process};

/// A process sweeps a directory at most this often on each of the two occasions for it.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// A call that nobody has asked for folds or deletes at most this many files: it must not take long.
const FILES_AT_ONCE: usize = 256;
/// gunicorn's master and a process that begins to count read at most this many bytes of archives and
/// files, which takes 5 ms for a MiB. They leave larger archives to a scrape.
const BYTES_AT_ONCE: u64 = 16 << 20;
/// How long the hook waits for another compaction of the directory. gunicorn before 24 calls the hook in
/// a signal handler, so this must be short.
const HOOK_WAIT: Duration = Duration::from_millis(50);
/// How many dead processes are remembered whose files are not folded yet.
const UNFOLDED_MAX: usize = 1024;

/// Why a directory is compacted now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Occasion {
    /// `multiprom.compact()`: all files of the dead, and of the processes that the caller names.
    Asked {
        /// The processes that are dead by the word of the caller.
        pids: Vec<OsString>,
        /// How long to wait for another compaction of the directory.
        wait: Duration,
    },
    /// A server has reaped this process: its files, and those of earlier ones that were not folded
    /// when they died.
    Death(OsString),
    /// A process scrapes: all files of the dead, unless this process has done so in the last seconds.
    Scrape,
    /// A process has opened a file: the same, but large archives are left to a scrape.
    Opening,
    /// A process has withdrawn many series: what a scrape would do, however long ago the last was.
    Withdrawal,
}

/// What this process remembers from one occasion to the next.
#[derive(Clone)]
struct Memory {
    sweep_every: Duration,
    /// When a scrape last swept each directory (true), and when a process that opened a file did (false).
    /// The times are separate, since a scrape folds the large archives that the other leaves.
    swept: BTreeMap<(PathBuf, bool), Instant>,
    /// What was [`unheeded_in`] each directory at the last scrape: perhaps this process cannot heed it.
    withdrawn: BTreeMap<PathBuf, u64>,
    /// Dead processes whose files are not folded yet, the oldest first: the next death names them again.
    /// Nobody but the hook knows of a process that wrote with `prometheus_client`'s own code that it is
    /// dead.
    unfolded: VecDeque<i32>,
    /// The directories and reasons that were logged.
    told: BTreeSet<(PathBuf, String)>,
}

static MEMORY: ProcessLocal<Memory> =
    ProcessLocal::new(|earlier| earlier.cloned().unwrap_or(Memory::NEW));

/// The memory; none while another thread uses it.
fn memory() -> Option<MutexGuard<'static, Memory>> {
    MEMORY.try_lock()
}

impl Occasion {
    /// Compacts the directory `path` as far as this occasion asks for.
    ///
    /// `drop_all` says whether the files of dead processes' `all` gauges go, `own` are the files that
    /// this process has open.
    ///
    /// # Errors
    ///
    /// If the directory cannot be locked or listed. After a death each such error is given once in this
    /// process: a hook tells of it, and workers may die every second.
    pub fn compact(&self, path: &Path, drop_all: bool, own: &[Identity]) -> Result<Compaction> {
        let request = Request { drop_all, ..self.request() };
        let has_withdrawals = *self == Self::Scrape
            && memory().is_some_and(|mut memory| memory.has_new(path, unheeded_in(path)));
        let is_due = |by_scrape| {
            memory().is_some_and(|mut memory| memory.is_due(path, by_scrape, Instant::now()))
        };
        match self {
            Self::Scrape if has_withdrawals => {
                // A scrape that comes before they are heeded shows what the dead have left of them.
                let request = Request { wait: HOOK_WAIT, ..request };
                let done = run::compact(path, &request, own)?;
                if done.busy
                    && let Some(mut memory) = memory()
                {
                    memory.withdrawn.remove(path);
                }
                Ok(done)
            }
            Self::Scrape | Self::Opening if !is_due(*self == Self::Scrape) => {
                Ok(Compaction::default())
            }
            Self::Death(pid) => match fold_dead(path, pid, request) {
                Err(error) if !is_new(path, error.to_string()) => Ok(Compaction::default()),
                result => result,
            },
            _ => run::compact(path, &request, own),
        }
    }

    fn request(&self) -> Request {
        let all = Request::default();
        let unasked = Request {
            locks: Locks::Checked,
            max_files: FILES_AT_ONCE,
            small_archive: SMALL_ARCHIVE,
            ..all.clone()
        };
        let sweep = Request { skips_known: true, ..unasked.clone() };
        match self {
            Self::Asked { pids, wait } => Request { pids: pids.clone(), wait: *wait, ..all },
            Self::Death(pid) => Request {
                pids: vec![pid.clone()],
                named_only: true,
                wait: HOOK_WAIT,
                max_bytes: BYTES_AT_ONCE,
                ..unasked
            },
            Self::Scrape | Self::Withdrawal => sweep,
            Self::Opening => Request { max_bytes: BYTES_AT_ONCE, ..sweep },
        }
    }
}

/// Folds the files of a process that has just been reaped, and of those that died before it and
/// were not folded then.
fn fold_dead(path: &Path, pid: &OsString, mut request: Request) -> Result<Compaction> {
    let number = pid.to_str().and_then(|pid| pid.parse().ok()).filter(|number| *number > 0);
    let earlier = memory().map(|mut memory| memory.add_death(number)).unwrap_or_default();
    // A process that lives now may have the pid of a dead one and count in the same files.
    let earlier: Vec<i32> = earlier.into_iter().filter(|pid| !process::exists(*pid)).collect();
    request.pids.extend(earlier.iter().map(|pid| OsString::from(pid.to_string())));
    let done = run::compact(path, &request, &[])?;
    let failed = |left: &LeftAlone| left.reason.concern() == Concern::Passing;
    let is_complete = !done.busy && !done.is_cut_short && !done.left_alone.iter().any(failed);
    if is_complete && let Some(mut memory) = memory() {
        let is_postponed = |pid: i32| done.postponed.contains(OsStr::new(&pid.to_string()));
        memory
            .unfolded
            .retain(|pid| Some(*pid) != number && !earlier.contains(pid) || is_postponed(*pid));
    }
    Ok(done)
}

/// Whether this process logs this text for the directory for the first time.
fn is_new(path: &Path, text: String) -> bool {
    memory().is_some_and(|mut memory| memory.told.insert((path.to_owned(), text)))
}

/// The files of which the log should tell after a compaction that nobody has asked for: those that stay
/// until somebody does something. Each reason is given once in this process.
///
/// After a death these are also the files that the process has no right to fold. On the other occasions
/// they are not: gunicorn's master may have rights that the other processes lack, and folds for them.
#[must_use]
pub fn news(path: &Path, occasion: &Occasion, done: &Compaction) -> Vec<LeftAlone> {
    let Some(mut memory) = memory() else { return Vec::new() };
    let is_death = matches!(occasion, Occasion::Death(_));
    let lasting = done.left_alone.iter().filter(|left| match left.reason.concern() {
        Concern::Lasting => true,
        Concern::Passing => is_death && left.reason.is_refusal(),
        Concern::Reported => false,
    });
    lasting
        .filter(|left| memory.told.insert((path.to_owned(), left.reason.to_string())))
        .cloned()
        .collect()
}

/// Forgets earlier occasions, and sets how often this process sweeps from now on: for tests.
pub fn reset(sweep_every: Duration) {
    *MEMORY.lock() = Memory { sweep_every, ..Memory::NEW };
}

impl Memory {
    const NEW: Self = Self {
        sweep_every: SWEEP_EVERY,
        swept: BTreeMap::new(),
        withdrawn: BTreeMap::new(),
        unfolded: VecDeque::new(),
        told: BTreeSet::new(),
    };

    /// Whether it is time for a sweep, which is then taken for made.
    fn is_due(&mut self, path: &Path, by_scrape: bool, now: Instant) -> bool {
        let occasion = (path.to_owned(), by_scrape);
        let last = self.swept.get(&occasion);
        let is_due = last.is_none_or(|last| now.duration_since(*last) >= self.sweep_every);
        if is_due {
            self.swept.insert(occasion, now);
        }
        is_due
    }

    /// Whether series were withdrawn since the last call, by [`unheeded_in`] a directory.
    fn has_new(&mut self, path: &Path, withdrawn: u64) -> bool {
        withdrawn > 0 && self.withdrawn.insert(path.to_owned(), withdrawn) != Some(withdrawn)
    }

    /// Remembers that a process has died, and gives those that died before and are not folded yet.
    fn add_death(&mut self, number: Option<i32>) -> Vec<i32> {
        self.unfolded.retain(|pid| Some(*pid) != number);
        let earlier = self.unfolded.iter().copied().collect();
        self.unfolded.extend(number);
        while self.unfolded.len() > UNFOLDED_MAX {
            self.unfolded.pop_front();
        }
        earlier
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_swept_once_in_five_seconds() {
        let (mut memory, begin) = (Memory::NEW, Instant::now());
        let mut is_due = |path: &str, by_scrape, milliseconds| {
            let now = begin + Duration::from_millis(milliseconds);
            memory.is_due(Path::new(path), by_scrape, now)
        };
        assert!(is_due("a", true, 0));
        assert!(!is_due("a", true, 4999));
        assert!(is_due("a", true, 5000));
        assert!(!is_due("a", true, 9999), "five seconds after the last sweep, not the first");
        assert!(is_due("b", true, 0), "each directory has a time of its own");
        assert!(is_due("a", false, 5000), "an opening does what scrapes do not put off");
    }

    #[test]
    fn the_latest_deaths_are_remembered() {
        let mut memory = Memory::NEW;
        assert!(memory.add_death(Some(1)).is_empty());
        assert_eq!(memory.add_death(None), [1], "an identifier that is no pid is not remembered");
        assert!(memory.add_death(Some(1)).is_empty(), "the same pid once more");
        for pid in 2..=1100 {
            memory.add_death(Some(pid));
        }
        assert!(memory.unfolded.into_iter().eq(77..=1100));
    }
}
