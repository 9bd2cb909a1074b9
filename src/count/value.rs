//! Values and their classes, as the binding uses them.
//!
//! Counting in a value that is attached to a cell is a few atomic operations, without a lock, a
//! system call or an allocation. All else goes through the lock of the [`state`].

use std::ffi::{OsStr, OsString};
use std::mem;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::count::class::ClassState;
use crate::count::files::{Files, absolute};
use crate::count::series::Series;
use crate::count::state::{self, LockedState, State};
use crate::error::{Error, Result};
use crate::format::{self, exemplar::Exemplar};

/// All values that are counted under one process identifier.
#[derive(Debug)]
pub struct ValueClass {
    /// Its place in the state.
    id: u64,
    /// Whether this was dropped, with all of its values: the state forgets the class then.
    is_dropped: Arc<AtomicBool>,
}

/// What stands before the value of an entry: the key, with its length and padding.
pub type Head = Box<[u8]>;

/// A value of one series.
#[derive(Debug)]
pub struct Value {
    class: Arc<ValueClass>,
    kind: usize,
    series: Arc<Series>,
    is_withdrawn: AtomicBool,
}

impl Value {
    fn new(class: &Arc<ValueClass>, kind: usize, series: Arc<Series>) -> Self {
        Self { class: Arc::clone(class), kind, series, is_withdrawn: AtomicBool::new(false) }
    }
}

/// Who counts, and where.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The directory for files that have to be opened; None for the last one that was given.
    pub directory: Option<OsString>,
    /// The process identifier; None for the pid.
    pub identifier: Option<OsString>,
}

/// An exemplar as a file has it.
#[derive(Debug)]
pub struct KeptExemplar {
    content: Vec<u8>,
}

/// What is done to a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operation {
    /// The value is only asked for.
    Get,
    /// This is added.
    Add(f64),
    /// The value is set, with a timestamp in seconds of Unix time, or 0.
    Set(f64, f64),
}

impl Caller {
    pub(crate) fn identifier(&self) -> OsString {
        self.identifier.clone().unwrap_or_else(|| process::id().to_string().into())
    }
}

impl ValueClass {
    /// A class that has no values.
    pub fn new(caller: &Caller) -> Result<Self> {
        state::notice_forks()?;
        let is_dropped = Arc::default();
        let mut state = LockedState::new();
        let generation = state.generation;
        let made = ClassState::new(
            caller.identifier(),
            caller.identifier.is_none(),
            generation,
            &is_dropped,
        );
        Ok(Self { id: state.add(made), is_dropped })
    }

    /// As [`ValueClass::values`], if that takes no system call but one: None if a file has to be
    /// opened, made larger or replaced, or another thread has the lock. Else it takes the heads.
    #[must_use]
    pub fn try_values(
        self: &Arc<Self>,
        prefix: &str,
        heads: &mut Vec<Head>,
        identifier: Option<&OsStr>,
    ) -> Option<Result<Vec<Value>>> {
        let mut state = LockedState::try_new()?;
        let State { files, classes, generation, series_made, .. } = &mut *state;
        let class = classes.get_mut(&self.id)?;
        if !is_current(class, *generation, identifier) {
            return None;
        }
        let kind = class.kind(prefix);
        let writer = class.writer_with_room(files, kind, heads)?;
        let heads = mem::take(heads);
        let made = class.series_in_place(writer, kind, heads, series_made);
        Some(made.map(|made| self.values_of(kind, made)).ok_or(Error::NoMemory))
    }

    /// A value of each series with one of these heads, in the files that begin with `prefix`, such as
    /// `gauge_livesum`.
    pub fn values(
        self: &Arc<Self>,
        prefix: &str,
        heads: Vec<Head>,
        caller: &Caller,
    ) -> Result<Vec<Value>> {
        LockedState::new().replace_removed();
        let made = self.with_state(caller, |class, files, numbers| {
            let kind = class.kind(prefix);
            Some((kind, class.series(files, kind, heads, numbers)?))
        });
        let (kind, made) = made.flatten().ok_or(Error::NoMemory)?;
        Ok(self.values_of(kind, made))
    }

    fn values_of(self: &Arc<Self>, kind: usize, made: Vec<Arc<Series>>) -> Vec<Value> {
        made.into_iter().map(|series| Value::new(self, kind, series)).collect()
    }

    /// Closes the files, but keeps their locks: nobody folds or continues them while the class
    /// lives. Values keep what they hold; one that counts again continues its file.
    pub fn close(&self) {
        let mut state = LockedState::new();
        let State { files, classes, .. } = &mut *state;
        if let Some(class) = classes.get_mut(&self.id) {
            class.close(files);
        }
    }

    /// Closes the files and gives up their locks, as the end of the process does. What counts again
    /// does so as a new process of the same identifier would.
    pub fn end(&self) {
        let mut state = LockedState::new();
        let State { files, classes, .. } = &mut *state;
        if let Some(class) = classes.get_mut(&self.id) {
            class.end(files);
        }
    }

    /// Moves what is counted in files of other directories to files in this one. The old files are
    /// removed when their counts are in the new ones.
    pub fn move_on(&self, directory: &OsStr) {
        LockedState::new().move_on(self.id, &absolute(directory));
    }

    /// Calls `act` with what the state knows of the class, in this process and for the identifier
    /// and directory of the caller, and with the number of the series that was made last.
    pub(crate) fn with_state<R>(
        &self,
        caller: &Caller,
        act: impl FnOnce(&mut ClassState, &mut Files, &mut u64) -> R,
    ) -> Option<R> {
        let mut state = LockedState::new();
        let State { files, classes, generation, series_made, .. } = &mut *state;
        let class = classes.get_mut(&self.id)?;
        if let Some(directory) = &caller.directory {
            class.naming.move_to(&absolute(directory));
        }
        let identifier = caller.identifier();
        if class.generation != *generation || class.naming.identifier != identifier {
            class.begin(files, identifier, *generation);
        }
        Some(act(class, files, series_made))
    }
}

/// Whether a class counts for the process of this generation and, if one is given, this identifier.
fn is_current(class: &ClassState, generation: u32, identifier: Option<&OsStr>) -> bool {
    class.generation == generation
        && identifier.is_none_or(|identifier| class.naming.identifier == identifier)
}

/// What stands before the value of the entry of a key, which may stand in parts.
pub fn head_of<const N: usize>(key: [&str; N]) -> Result<Head> {
    let length = key.iter().map(|part| part.len()).sum();
    format::head_of_parts(key.map(str::as_bytes)).ok_or(Error::KeyLength { length })
}

impl Drop for ValueClass {
    fn drop(&mut self) {
        self.is_dropped.store(true, Ordering::Release);
        state::forget_dropped_classes();
    }
}

impl Value {
    /// Adds to the value if it is attached to a cell; else does nothing and gives false.
    #[inline]
    #[must_use]
    pub fn try_add(&self, amount: f64) -> bool {
        self.series.attachment.enter().map(|cell| cell.add(amount)).is_some()
    }

    /// Sets the value if it is attached to a cell; else does nothing and gives false.
    #[inline]
    #[must_use]
    pub fn try_set(&self, value: f64) -> bool {
        self.series.attachment.enter().map(|cell| cell.set(value, 0.0)).is_some()
    }

    /// Sets the value and its timestamp if it is attached to a cell, and no other thread makes,
    /// moves or drops values at this moment; else does nothing and gives false.
    #[must_use]
    pub fn try_set_at(&self, value: f64, timestamp: f64) -> bool {
        // Under the lock, so that both words are of one call.
        let Some(_locked) = LockedState::try_new() else { return false };
        self.series.attachment.enter().map(|cell| cell.set(value, timestamp)).is_some()
    }

    /// The value, if it is attached to a cell.
    #[inline]
    #[must_use]
    pub fn try_get(&self) -> Option<f64> {
        self.series.attachment.enter().map(|cell| cell.value())
    }

    /// Does what is asked for, in a cell or in memory, and gives the value.
    #[allow(clippy::must_use_candidate)] // Most callers count, and do not ask for the value.
    pub fn operate(&self, operation: Operation, caller: &Caller) -> f64 {
        let Self { class, kind, series, is_withdrawn } = self;
        let done = class.with_state(caller, |class, files, _| {
            if is_withdrawn.load(Ordering::Relaxed) {
                return 0.0;
            }
            let counts = operation != Operation::Get;
            if counts && !series.attachment.is_attached() && class.is_due(*kind) {
                class.attach(files, *kind, series);
            }
            if let Some(cell) = series.attachment.enter() {
                match operation {
                    Operation::Get => {}
                    Operation::Add(amount) => cell.add(amount),
                    Operation::Set(value, timestamp) => cell.set(value, timestamp),
                }
                return cell.value();
            }
            let mut unwritten = series.unwritten();
            match operation {
                Operation::Get => {}
                Operation::Add(amount) => unwritten.add(amount),
                Operation::Set(value, timestamp) => unwritten.set(value, timestamp),
            }
            unwritten.value()
        });
        // The state has the class as long as one of its values lives.
        done.unwrap_or_default()
    }

    /// Keeps an exemplar of what was just counted, if there is a file for it.
    pub fn set_exemplar(&self, exemplar: &KeptExemplar, caller: &Caller) {
        self.class.with_state(caller, |class, files, _| {
            if !self.is_withdrawn.load(Ordering::Relaxed)
                && let Some(path) = class.path_of_exemplars(self.kind)
                && let Some(shared) = files.shared(path)
            {
                shared.exemplars.set(path, self.key(), &exemplar.content);
            }
        });
    }

    /// As [`set_exemplar`](Self::set_exemplar), if that takes no system call; false if it does, or
    /// another thread has the lock.
    #[must_use]
    pub fn try_set_exemplar(&self, exemplar: &KeptExemplar, identifier: Option<&OsStr>) -> bool {
        let Some(mut state) = LockedState::try_new() else { return false };
        let State { files, classes, generation, .. } = &mut *state;
        let class =
            classes.get(&self.class.id).filter(|class| is_current(class, *generation, identifier));
        !self.is_withdrawn.load(Ordering::Relaxed)
            && class
                .and_then(|class| files.shared(class.path_of_exemplars(self.kind)?))
                .is_some_and(|shared| shared.exemplars.try_set(self.key(), &exemplar.content))
    }

    /// An exemplar of this series; none if a label is longer than any that a text has.
    #[must_use]
    pub fn exemplar_of(
        &self,
        labels: &[(&str, &str)],
        value: f64,
        time: f64,
    ) -> Option<KeptExemplar> {
        let content = format::exemplar::content(self.key(), labels, value, time)?;
        Some(KeptExemplar { content })
    }

    fn key(&self) -> &[u8] {
        format::key_of_head(&self.series.head)
    }

    /// The exemplar that this process has kept last.
    #[must_use]
    pub fn exemplar(&self, caller: &Caller) -> Option<Exemplar> {
        let found = self.class.with_state(caller, |class, files, _| {
            let shared = files.shared(class.path_of_exemplars(self.kind)?)?;
            shared.exemplars.get(self.key())
        });
        found.flatten()
    }

    /// Withdraws the series from the files of this process, with what it has counted. From now on
    /// [`operate`](Self::operate) does nothing with this value; others of the same series, and those
    /// made later, begin at 0. Nobody may use the methods that begin with `try_` any more.
    pub fn withdraw(&self, caller: &Caller) {
        self.is_withdrawn.store(true, Ordering::Relaxed);
        self.class.with_state(caller, |class, files, _| {
            class.withdraw(files, self.kind, &self.series);
        });
    }
}
