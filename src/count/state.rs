//! The classes and files of this process, behind one lock.
//!
//! The lock is never held while Python code can run, so that neither a signal handler nor a callback
//! of the garbage collector can come in. It is taken before each fork and given back after it, so
//! that a child never finds it held by a thread that the child does not have.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::hint;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use once_cell::race::OnceBox;

use crate::count::class::ClassState;
use crate::count::files::{self, Files, absolute};
use crate::count::notice::Notice;
use crate::count::unwritten_files;
use crate::count::value::Caller;
use crate::error::{Error, Result};
use crate::sys::{Identity, fork};

/// The classes and files of this process.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) files: Files,
    pub(crate) classes: HashMap<u64, ClassState>,
    classes_made: u64,
    pub(crate) series_made: u64,
    /// The generation of the process that has the state; see [`fork::generation`].
    pub(crate) generation: u32,
}

static STATE: OnceBox<Mutex<State>> = OnceBox::new();

fn state() -> &'static Mutex<State> {
    STATE.get_or_init(Box::default)
}

/// Whether [`take_notices`] has anything to give, so that asking needs no lock.
static HAS_NOTICES: AtomicBool = AtomicBool::new(false);

/// Whether a class was dropped that the state still has. Python drops classes with its interpreter
/// held, and must not wait while another thread opens a file: the next thread that has the lock
/// forgets the class.
static HAS_DROPPED_CLASSES: AtomicBool = AtomicBool::new(false);

/// More than making a value takes, in bytes, but for tables and keys of unusual size.
const MAKING_SIZE: usize = 1 << 15;
/// More than each of many values takes.
const VALUE_SIZE: usize = 1 << 10;

thread_local! {
    /// The lock, while this thread forks.
    static HELD: RefCell<Option<LockedState>> = const { RefCell::new(None) };
}

impl State {
    /// Adds a class, and gives what it is known by.
    pub(crate) fn add(&mut self, class: ClassState) -> u64 {
        self.classes_made += 1;
        self.classes.insert(self.classes_made, class);
        self.classes_made
    }

    /// Forgets the classes that were dropped, and closes their files.
    fn forget_dropped(&mut self) {
        // Not in the handler that runs in the child of a fork: the files are still the parent's.
        if self.generation != fork::generation()
            || !HAS_DROPPED_CLASSES.swap(false, Ordering::Acquire)
        {
            return;
        }
        let Self { files, classes, generation, .. } = self;
        classes.retain(|_, class| {
            let is_dropped = class.is_dropped();
            if is_dropped {
                if class.generation == *generation {
                    class.attach_all(files, false);
                }
                class.end(files);
            }
            !is_dropped
        });
    }

    /// Moves what a class counts in files of other directories to files in this one.
    pub(crate) fn move_on(&mut self, id: u64, directory: &Path) {
        let Self { files, classes, .. } = self;
        let Some(class) = classes.get_mut(&id) else { return };
        let elsewhere = class.paths_outside(directory);
        // A kind that has no file yet moves, too: a relative path may have led elsewhere before the
        // program changed its working directory.
        if class.naming.directory.is_some() {
            class.naming.move_to(directory);
        }
        let mut classes: Vec<_> = classes.values_mut().collect();
        for path in elsewhere {
            for class in classes.iter_mut().filter(|class| class.has_open(&path)) {
                class.naming.move_to(directory);
            }
            replace(files, &mut classes, &path);
        }
    }

    /// Writes the files anew that were removed while they were written.
    pub(crate) fn replace_removed(&mut self) {
        let Self { files, classes, .. } = self;
        let removed = files.removed();
        if removed.is_empty() {
            return;
        }
        let mut classes: Vec<_> = classes.values_mut().collect();
        let replaced: Vec<_> =
            removed.into_iter().filter(|path| replace(files, &mut classes, path)).collect();
        if let Some(path) = replaced.into_iter().next() {
            files.notices.push(Notice::Removed { path });
        }
    }
}

/// Writes a file anew that was removed while it was written, or belongs to another directory now;
/// false if it could not be done. A file that is still somewhere is removed or emptied.
fn replace(files: &mut Files, classes: &mut [&mut ClassState], removed: &Path) -> bool {
    let Some(mut shared) = files.take(removed) else { return false };
    unwritten_files::note_written();
    let opened = classes.iter_mut().find_map(|class| class.reopen(files, removed));
    let Some((path, rule)) = opened else {
        // The values go on counting in the removed file, until an attempt succeeds.
        files.put_back(removed.to_owned(), shared);
        return false;
    };
    for class in classes.iter_mut() {
        class.detach(removed);
    }
    // A file of the same path is most likely a copy of the removed one; one of another path has what
    // an earlier process has counted.
    let rule = (path != removed).then_some(rule);
    let taken = files.writer(&path).map(|new| new.take_entries(&shared.writer, rule));
    let is_taken = matches!(taken, Some(Ok(())));
    if is_taken {
        files.take_users(&path, &shared);
        // `shared` still has the lock of the old file: no process may take it and find the counts that
        // are in the new file. A process that is killed in between counts no more, so that no scrape ever
        // sees both files.
        files::remove(&shared.writer);
        shared.writer.empty_if_moved();
    } else {
        files.close(&path);
        files.release(&path);
        files.put_back(removed.to_owned(), shared);
    }
    let path = if is_taken { &path } else { removed };
    for class in classes.iter_mut() {
        class.move_to(files, removed, path);
    }
    is_taken
}

/// The state, whose lock this holds.
pub(crate) struct LockedState(MutexGuard<'static, State>);

impl LockedState {
    pub(crate) fn new() -> Self {
        Self::from_guard(state().lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// None if another thread has the lock, or this one has it already.
    pub(crate) fn try_new() -> Option<Self> {
        match state().try_lock() {
            Ok(state) => Some(Self::from_guard(state)),
            Err(TryLockError::Poisoned(poisoned)) => Some(Self::from_guard(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn from_guard(mut state: MutexGuard<'static, State>) -> Self {
        let generation = fork::generation();
        if state.generation != generation {
            // The files are those of the process that forked this one. Its cells are never used
            // again here, since their gates are of another generation.
            state.generation = generation;
            state.classes.values_mut().for_each(ClassState::forget);
            state.files.forget();
        }
        state.forget_dropped();
        Self(state)
    }
}

impl Deref for LockedState {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl DerefMut for LockedState {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.0
    }
}

impl Drop for LockedState {
    fn drop(&mut self) {
        self.0.forget_dropped();
        let files = &self.0.files;
        let has_notices =
            !files.notices.is_empty() || !files.opened_in.is_empty() || !files.crowded.is_empty();
        HAS_NOTICES.store(has_notices, Ordering::Relaxed);
    }
}

/// Has the classes forgotten that were dropped: at once, or by the next thread that has the lock.
pub(crate) fn forget_dropped_classes() {
    HAS_DROPPED_CLASSES.store(true, Ordering::Release);
    drop(LockedState::try_new());
}

/// Registers the handlers of forks.
///
/// They may be registered twice, by two threads at the same time: none waits for the other, of which
/// the child of a fork might have no copy.
pub(crate) fn notice_forks() -> Result<()> {
    static AT_FORK: OnceBox<Option<i32>> = OnceBox::new();
    let failure = AT_FORK.get_or_init(|| {
        let registered = fork::at_fork(before_fork, after_fork_in_parent, after_fork_in_child);
        Box::new(registered.err().and_then(|error| error.raw_os_error()))
    });
    match *failure {
        Some(code) => Err(Error::NoForkHandler { code }),
        None => Ok(()),
    }
}

extern "C" fn before_fork() {
    // A thread that is just ending has no `HELD` any more; its child will find the lock free if no
    // other thread has it.
    let _ = HELD.try_with(|held| {
        // It is some if the handlers are registered twice.
        if held.borrow().is_none() {
            *held.borrow_mut() = Some(LockedState::new());
        }
    });
}

extern "C" fn after_fork_in_parent() {
    let _ = HELD.try_with(|held| drop(held.borrow_mut().take()));
}

extern "C" fn after_fork_in_child() {
    fork::begin_generation();
    let _ = HELD.try_with(|held| {
        if let Some(mut state) = held.borrow_mut().take() {
            // At once, and not when the child counts: as long as the descriptors are open in the
            // child, the locks outlive the parent.
            state.files.disown();
        }
    });
}

/// Says that there is memory for what it takes to make so many values: small allocations, and Rust
/// ends the process if one of them fails.
pub fn ensure_memory(values: usize) -> Result<()> {
    let mut room = Vec::<u8>::new();
    room.try_reserve_exact(MAKING_SIZE.max(values * VALUE_SIZE)).map_err(|_| Error::NoMemory)?;
    // The compiler sees that nothing is done with the memory, and would leave the allocation out.
    hint::black_box(&room);
    Ok(())
}

/// Makes sure that what this process has counted is in the files: before it scrapes them, and at its
/// end.
///
/// At the end files that were removed are not written anew, nor is their directory: an application
/// may have removed its temporary directory.
pub fn write_unwritten(at_end: bool) {
    let mut state = LockedState::new();
    if !at_end {
        state.replace_removed();
    }
    let State { files, classes, generation, .. } = &mut *state;
    // A class of another generation has counted nothing in this process.
    let begun = classes.values_mut().filter(|class| class.generation == *generation);
    begun.for_each(|class| class.attach_all(files, !at_end));
}

/// Learns that this process calls itself dead: deletes the `live*` files in `directory` that it
/// writes under the identifier `pid`, and writes them no more.
pub fn mark_self_dead(directory: &OsStr, pid: &OsStr) {
    let directory = absolute(directory);
    let mut state = LockedState::new();
    let State { files, classes, generation, .. } = &mut *state;
    let own_pid = Caller::default().identifier();
    for class in classes.values_mut() {
        if class.by_pid && class.generation != *generation && own_pid == pid {
            class.begin(files, own_pid.clone(), *generation);
        }
        if class.naming.identifier == pid {
            class.mark_self_dead(files, &directory);
        }
    }
}

/// Whether there is anything for [`take_notices`].
#[inline]
#[must_use]
pub fn has_notices() -> bool {
    HAS_NOTICES.load(Ordering::Relaxed)
}

/// Has [`take_notices`] give this warning.
pub fn warn_later(text: String) {
    LockedState::new().files.notices.push(Notice::Given { text });
}

/// What has come up since the last call.
#[derive(Debug, Default)]
pub struct News {
    /// What is to be logged.
    pub notices: Vec<Notice>,
    /// The directories in which files were opened.
    pub opened_in: BTreeSet<PathBuf>,
    /// The files for [`rewrite`](crate::count::rewrite), after a compaction has heeded what was
    /// withdrawn.
    pub crowded: BTreeSet<PathBuf>,
}

/// What has come up since the last call.
#[must_use]
pub fn take_notices() -> News {
    let files = &mut LockedState::new().0.files;
    News {
        notices: mem::take(&mut files.notices),
        opened_in: mem::take(&mut files.opened_in),
        crowded: mem::take(&mut files.crowded),
    }
}

/// The devices and inodes of the files that this process writes.
#[must_use]
pub fn open_files() -> Vec<Identity> {
    LockedState::new().files.identities()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_that_are_registered_twice_lock_once() {
        before_fork();
        before_fork();
        assert!(HELD.with_borrow(Option::is_some));
        after_fork_in_parent();
        after_fork_in_parent();
        assert!(HELD.with_borrow(Option::is_none));
        drop(LockedState::new());
    }
}
