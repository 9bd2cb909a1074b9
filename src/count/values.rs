//! Values: what an application counts in.
//!
//! Counting in a value that has a cell is a few atomic operations, without a lock, a system call or
//! an allocation. Everything else (making and dropping values, values that have no cell yet, forks,
//! removed files) goes through one lock. It is never held while Python code can run, so neither a
//! signal handler nor a garbage collector's callback can come in, and it is taken before each fork
//! and given back after it, so that a child never finds it held by a thread that it does not have.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::hint;
use std::mem;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, TryLockError};

use crate::count::class::Worker;
use crate::count::files::{self, Files};
use crate::count::notice::Notice;
use crate::count::series::Series;
use crate::error::{Error, Result};
use crate::format;
use crate::sys::{Identity, fork};

/// The files and values of this process.
#[derive(Debug, Default)]
struct State {
    files: Files,
    workers: HashMap<u64, Worker>,
    workers_made: u64,
    series_made: u64,
    generation: u32,
}

static STATE: LazyLock<Mutex<State>> = LazyLock::new(Mutex::default);

/// Whether there is something to tell, so that nobody needs the lock to learn that there is not.
static HAS_NOTICES: AtomicBool = AtomicBool::new(false);

/// More than making a value takes, in bytes, but for tables and keys of unusual size.
const MAKING_SIZE: usize = 1 << 15;

/// What was dropped while another thread had the lock, which may hold it for as long as a file takes
/// to open: whoever drops a value has the interpreter, and must not wait.
static DROPPED: Mutex<Vec<Dropped>> = Mutex::new(Vec::new());

/// Whether there is any, so that nobody needs that lock to learn that there is not.
static HAS_DROPPED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The locks, while this thread forks.
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

/// Both locks, the outer first.
type Held = (Locked, MutexGuard<'static, Vec<Dropped>>);

/// What nobody has any more.
#[derive(Debug)]
enum Dropped {
    /// A value of a worker, by its kind and series.
    Value { worker: u64, kind: usize, series: Arc<Series> },
    /// All values of a worker.
    Class { worker: u64 },
}

impl Dropped {
    /// Forgets it, now or when the lock is free.
    fn forget(self) {
        if let Some(mut state) = Locked::try_new() {
            state.0.forget(self);
            return;
        }
        dropped().push(self);
        HAS_DROPPED.store(true, Ordering::Release);
        // If the lock was given back meanwhile.
        drop(Locked::try_new());
    }
}

/// For an instant only, and after the other lock if both are taken.
fn dropped() -> MutexGuard<'static, Vec<Dropped>> {
    DROPPED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn forget(&mut self, dropped: Dropped) {
        let Self { files, workers, generation, .. } = self;
        match dropped {
            Dropped::Value { worker, kind, series } => {
                if let Some(worker) = workers.get_mut(&worker) {
                    worker.drop_value(kind, &series);
                }
            }
            Dropped::Class { worker } => {
                if let Some(mut worker) = workers.remove(&worker) {
                    if worker.generation == *generation {
                        worker.settle_all(files, false);
                    }
                    worker.close(files);
                    let identifier = &worker.naming.identifier;
                    if workers.values().all(|other| other.naming.identifier != *identifier) {
                        files.forget_left(identifier);
                    }
                }
            }
        }
    }

    fn forget_dropped(&mut self) {
        // Not in the handler of a child, which must not touch what is its parent's.
        if self.generation == fork::generation() && HAS_DROPPED.swap(false, Ordering::Acquire) {
            let dropped = mem::take(&mut *dropped());
            for dropped in dropped {
                self.forget(dropped);
            }
        }
    }
}

/// The state, for who has the lock.
struct Locked(MutexGuard<'static, State>);

impl Locked {
    fn new() -> Self {
        Self::of(STATE.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// None if another thread has the lock.
    fn try_new() -> Option<Self> {
        match STATE.try_lock() {
            Ok(state) => Some(Self::of(state)),
            Err(TryLockError::Poisoned(poisoned)) => Some(Self::of(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn of(mut state: MutexGuard<'static, State>) -> Self {
        let generation = fork::generation();
        if state.generation != generation {
            // What the process that forked this one has open is not ours; its cells are never used
            // again, since their gates are of another generation.
            state.generation = generation;
            state.workers.values_mut().for_each(Worker::forget);
            state.files.forget();
        }
        state.forget_dropped();
        Self(state)
    }
}

/// Keeps others from the lock, for tests.
#[cfg(test)]
pub(crate) fn hold() -> impl Sized {
    Locked::new()
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.0.forget_dropped();
        let files = &self.0.files;
        let has_notices = !files.notices.is_empty() || !files.opened_in.is_empty();
        HAS_NOTICES.store(has_notices, Ordering::Relaxed);
    }
}

extern "C" fn before_fork() {
    // A thread that is just ending has no place to keep it; its child will find the lock free if
    // nobody else holds it.
    let _ = HELD.try_with(|held| *held.borrow_mut() = Some((Locked::new(), dropped())));
}

extern "C" fn after_fork_in_parent() {
    let _ = HELD.try_with(give_back);
}

extern "C" fn after_fork_in_child() {
    fork::begin_generation();
    let _ = HELD.try_with(|held| {
        if let Some((Locked(state), _)) = held.borrow_mut().as_mut() {
            // At once: as long as they are open here, the locks of the parent outlive it.
            state.files.disown();
        }
        give_back(held);
    });
}

/// The inner lock first: the outer needs it when it is given back.
fn give_back(held: &RefCell<Option<Held>>) {
    if let Some((state, dropped)) = held.borrow_mut().take() {
        drop(dropped);
        drop(state);
    }
}

/// All values that are counted under one process identifier.
#[derive(Debug)]
pub struct Class {
    worker: u64,
}

/// A value of one series.
#[derive(Debug)]
pub struct Value {
    class: Arc<Class>,
    kind: usize,
    series: Arc<Series>,
}

/// Says that there is memory for what it takes to make one more value: several small allocations,
/// of which none could fail without the end of the process.
pub fn ensure_memory() -> Result<()> {
    let mut room = Vec::<u8>::new();
    room.try_reserve_exact(MAKING_SIZE).map_err(|_| Error::NoMemory)?;
    // Or the compiler, which sees that nothing is done with it, leaves it out.
    hint::black_box(&room);
    Ok(())
}

/// Who counts, and where.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The directory of files that have to be opened; the last one if there is none.
    pub directory: Option<OsString>,
    /// The process identifier; the pid if there is none.
    pub identifier: Option<OsString>,
}

/// What is done to a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operation {
    /// It is only asked for.
    Get,
    /// This is added.
    Add(f64),
    /// It is set, with a timestamp in seconds of Unix time, or 0.
    Set(f64, f64),
}

impl Class {
    /// A class that has no values.
    pub fn new(caller: &Caller) -> Result<Self> {
        static AT_FORK: LazyLock<Option<i32>> = LazyLock::new(|| {
            let registered = fork::at_fork(before_fork, after_fork_in_parent, after_fork_in_child);
            registered.err().and_then(|error| error.raw_os_error())
        });
        if let Some(code) = *AT_FORK {
            let source = std::io::Error::from_raw_os_error(code);
            return Err(Error::Io { path: PathBuf::new(), source });
        }
        let mut state = Locked::new();
        let state = &mut *state.0;
        let worker = state.workers_made;
        state.workers_made += 1;
        state.workers.insert(
            worker,
            Worker::new(caller.identifier(), caller.identifier.is_none(), state.generation),
        );
        Ok(Self { worker })
    }

    /// As [`Class::value`], if that takes no system call but one: None if a file has to be opened,
    /// made larger or replaced, or another thread is just doing so.
    #[must_use]
    pub fn try_value(
        self: &Arc<Self>,
        prefix: &str,
        key: &[u8],
        identifier: Option<&OsStr>,
    ) -> Option<Value> {
        let head = format::entry_head(key)?;
        let mut state = Locked::try_new()?;
        let State { files, workers, generation, series_made, .. } = &mut *state.0;
        let worker = workers.get_mut(&self.worker)?;
        if worker.generation != *generation
            || identifier.is_some_and(|name| worker.naming.identifier != name)
        {
            return None;
        }
        let kind = worker.kind(prefix);
        if !worker.has_room(files, kind, &head) {
            return None;
        }
        *series_made += 1;
        let series = worker.series(files, kind, head, *series_made)?;
        Some(Value { class: Arc::clone(self), kind, series })
    }

    /// A value of the series with `key` in the files that begin with `prefix`, such as
    /// `gauge_livesum`.
    pub fn value(self: &Arc<Self>, prefix: &str, key: &[u8], caller: &Caller) -> Result<Value> {
        let head = format::entry_head(key).ok_or(Error::KeyLength { length: key.len() })?;
        replace_removed(&mut Locked::new().0);
        let made = self.with_worker(caller, |worker, files, number| {
            let kind = worker.kind(prefix);
            Some((kind, worker.series(files, kind, head, number)?))
        });
        let (kind, series) = made.flatten().ok_or(Error::NoMemory)?;
        Ok(Value { class: Arc::clone(self), kind, series })
    }

    /// Closes the files. Values keep what they hold; one that counts again opens another file.
    pub fn close(&self) {
        let mut state = Locked::new();
        let State { files, workers, .. } = &mut *state.0;
        if let Some(worker) = workers.get_mut(&self.worker) {
            worker.close(files);
        }
    }

    /// Moves what is counted in files of other directories to files in this one. The old files stay,
    /// with what they have.
    pub fn move_on(&self, directory: &OsStr) {
        let directory = files::absolute(directory);
        let mut state = Locked::new();
        let State { files, workers, .. } = &mut *state.0;
        let Some(worker) = workers.get(&self.worker) else { return };
        let elsewhere = worker.homes_outside(&directory);
        let mut workers: Vec<_> = workers.values_mut().collect();
        for path in elsewhere {
            for worker in workers.iter_mut().filter(|worker| worker.is_at(&path)) {
                worker.naming.directory = Some(directory.clone());
                worker.naming.directory_was_there = false;
            }
            replace(files, &mut workers, &path);
        }
    }

    /// Closes the files, which `prometheus_client` continues in this process; also for other classes
    /// of the same identifier.
    pub fn hand_over(&self) {
        let mut state = Locked::new();
        let State { files, workers, .. } = &mut *state.0;
        let Some(worker) = workers.get(&self.worker) else { return };
        let identifier = worker.naming.identifier.clone();
        let mut identifiers = worker.identifiers.clone();
        let same = workers.values_mut().filter(|worker| worker.naming.identifier == identifier);
        same.for_each(|worker| worker.hand_over(files));
        identifiers.insert(identifier);
        files.hand_over_closed(&identifiers);
    }

    /// Calls `act` with the worker, which is that of this process and identifier.
    fn with_worker<R>(
        &self,
        caller: &Caller,
        act: impl FnOnce(&mut Worker, &mut Files, u64) -> R,
    ) -> Option<R> {
        let mut state = Locked::new();
        let State { files, workers, generation, series_made, .. } = &mut *state.0;
        let worker = workers.get_mut(&self.worker)?;
        if let Some(directory) = &caller.directory {
            let directory = files::absolute(directory);
            if worker.naming.directory.as_ref() != Some(&directory) {
                worker.naming.directory = Some(directory);
                worker.naming.directory_was_there = false;
            }
        }
        let identifier = caller.identifier();
        if worker.generation != *generation || worker.naming.identifier != identifier {
            worker.begin(files, identifier, *generation);
        }
        *series_made += 1;
        Some(act(worker, files, *series_made))
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        Dropped::Class { worker: self.worker }.forget();
    }
}

impl Caller {
    fn identifier(&self) -> OsString {
        self.identifier.clone().unwrap_or_else(|| process::id().to_string().into())
    }
}

impl Value {
    /// Adds to the value, if it has a cell; else nothing is done and false is given.
    #[inline]
    #[must_use]
    pub fn try_add(&self, amount: f64) -> bool {
        self.series.attachment.enter().map(|cell| cell.add(amount)).is_some()
    }

    /// Sets the value, if it has a cell; else nothing is done and false is given.
    #[inline]
    #[must_use]
    pub fn try_set(&self, value: f64) -> bool {
        self.series
            .attachment
            .enter()
            .map(|cell| cell.set(self.series.in_cell(value), 0.0))
            .is_some()
    }

    /// The value, if it has a cell.
    #[inline]
    #[must_use]
    pub fn try_get(&self) -> Option<f64> {
        self.series.attachment.enter().map(|cell| self.series.of_cell(cell.value()))
    }

    /// Does what is asked for, wherever the value is counted, and gives the value.
    #[allow(clippy::must_use_candidate)] // Most who count do not ask what it comes to.
    pub fn operate(&self, operation: Operation, caller: &Caller) -> f64 {
        let Self { class, kind, series } = self;
        let done = class.with_worker(caller, |worker, files, _| {
            let counts = operation != Operation::Get;
            if counts && !series.attachment.is_attached() && worker.is_due(*kind) {
                worker.settle_one(files, *kind, series);
            }
            if let Some(cell) = series.attachment.enter() {
                match operation {
                    Operation::Get => {}
                    Operation::Add(amount) => cell.add(amount),
                    Operation::Set(value, timestamp) => {
                        cell.set(series.in_cell(value), timestamp);
                    }
                }
                return series.of_cell(cell.value());
            }
            let mut private = series.private();
            match operation {
                Operation::Get => {}
                Operation::Add(amount) => private.add(amount),
                Operation::Set(value, timestamp) => private.set(value, timestamp),
            }
            private.value()
        });
        // There is a worker as long as there is a class, and a class as long as it has values.
        done.unwrap_or_default()
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        let (worker, kind) = (self.class.worker, self.kind);
        Dropped::Value { worker, kind, series: Arc::clone(&self.series) }.forget();
    }
}

/// Makes sure that what this process has counted is in the files: before it scrapes them, and at its
/// end.
///
/// At the end files that were removed stay so: nobody wants a temporary directory back.
pub fn settle(at_end: bool) {
    let mut state = Locked::new();
    if !at_end {
        replace_removed(&mut state.0);
    }
    let State { files, workers, generation, .. } = &mut *state.0;
    // A worker that has not begun in this process has counted nothing in it.
    let begun = workers.values_mut().filter(|worker| worker.generation == *generation);
    begun.for_each(|worker| worker.settle_all(files, !at_end));
}

/// Writes the files anew that were removed while they were written.
fn replace_removed(state: &mut State) {
    let State { files, workers, .. } = state;
    let removed = files.removed();
    if removed.is_empty() {
        return;
    }
    let mut workers: Vec<_> = workers.values_mut().collect();
    let replaced: Vec<_> =
        removed.into_iter().filter(|path| replace(files, &mut workers, path)).collect();
    if let Some(path) = replaced.into_iter().next() {
        files.notices.push(Notice::Removed { path });
    }
}

/// Writes a file anew that was removed while it was written; false if it could not be done.
fn replace(files: &mut Files, workers: &mut [&mut Worker], removed: &Path) -> bool {
    let Some(shared) = files.take(removed) else { return false };
    let opened = workers.iter_mut().find_map(|worker| worker.reopen(files, removed));
    let Some(path) = opened else {
        // The values go on counting in what is no more there, until an attempt succeeds.
        files.put_back(removed.to_owned(), shared);
        return false;
    };
    for worker in workers.iter_mut() {
        worker.leave(removed);
    }
    let taken = files.writer(&path).map(|new| new.take_entries(&shared.writer));
    let is_taken = matches!(taken, Some(Ok(())));
    if is_taken {
        files.add_users(&path, shared.users - 1);
    } else {
        files.close(&path);
        files.put_back(removed.to_owned(), shared);
    }
    let home = if is_taken { &path } else { removed };
    for worker in workers.iter_mut() {
        worker.move_home(files, removed, home);
    }
    is_taken
}

/// Learns that this process calls itself dead: deletes the `live*` files in `directory` that it
/// writes under the identifier `pid`, and keeps them from coming back.
pub fn tell_dead(directory: &OsStr, pid: &OsStr) {
    let directory = files::absolute(directory);
    let mut state = Locked::new();
    let State { files, workers, generation, .. } = &mut *state.0;
    let own_pid = Caller::default().identifier();
    for worker in workers.values_mut() {
        if worker.by_pid && worker.generation != *generation && own_pid == pid {
            worker.begin(files, own_pid.clone(), *generation);
        }
        if worker.naming.identifier == pid {
            worker.tell_dead(files, &directory);
        }
    }
}

/// Whether there is anything for [`take_notices`].
#[must_use]
pub fn has_notices() -> bool {
    HAS_NOTICES.load(Ordering::Relaxed)
}

/// What is to be logged, and the directories in which files were opened, since the last call.
#[must_use]
pub fn take_notices() -> (Vec<Notice>, BTreeSet<PathBuf>) {
    let files = &mut Locked::new().0.files;
    (mem::take(&mut files.notices), mem::take(&mut files.opened_in))
}

/// The devices and inodes of the files that this process writes.
#[must_use]
pub fn open_files() -> Vec<Identity> {
    Locked::new().0.files.identities()
}
