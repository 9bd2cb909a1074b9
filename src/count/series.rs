//! One series as this process counts it: in a cell of a file, or in memory while it has no cell.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::count::unwritten_files;
use crate::sys::{Attachment, Cell, Mapping};

/// A series that this process counts.
#[derive(Debug)]
pub(crate) struct Series {
    /// What stands before the value in a file: the key, with its length and padding.
    pub(crate) head: Box<[u8]>,
    /// The cell, while one is attached.
    pub(crate) attachment: Attachment,
    /// Series are written into a new file in the order of their numbers, in which they were made.
    pub(crate) number: u64,
    unwritten: Mutex<Held>,
}

/// What a series holds while no cell is attached.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Held {
    /// What the file held when the application closed it.
    closed: f64,
    /// What no file holds yet.
    pending: Pending,
    /// Whether the application has closed the file and the series has not counted since: it needs no
    /// cell until it counts.
    pub(crate) is_dormant: bool,
}

/// What happened to a series while no cell was attached.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pending {
    /// This was added in all.
    Added(f64),
    /// It was set to a value, with a timestamp.
    Set(f64, f64),
}

impl Default for Pending {
    fn default() -> Self {
        Self::Added(0.0)
    }
}

impl Series {
    /// A series that has counted nothing.
    pub(crate) fn new(head: Box<[u8]>, number: u64) -> Self {
        Self { head, attachment: Attachment::default(), number, unwritten: Mutex::default() }
    }

    /// Whether it has no cell, but should.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        let is_wanted = {
            let unwritten = self.unwritten();
            !unwritten.is_dormant || unwritten.is_any()
        };
        is_wanted && !self.attachment.is_attached()
    }

    /// What it holds while no cell is attached. The caller has the lock of the state.
    #[inline]
    pub(crate) fn unwritten(&self) -> MutexGuard<'_, Held> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Attaches the cell at `offset` of `mapping`, and moves into it what no file holds yet.
    pub(crate) fn attach(&self, mapping: &Arc<Mapping>, offset: usize) {
        self.attachment.attach(mapping, offset, |cell| self.unwritten().move_to(cell));
    }

    /// Sets value and timestamp, in the cell or in memory. The caller has the lock of the state.
    pub(crate) fn set(&self, value: f64, timestamp: f64) {
        match self.attachment.enter() {
            Some(cell) => cell.set(value, timestamp),
            None => self.unwritten().set(value, timestamp),
        }
    }

    /// When it was last set with a timestamp. The caller has the lock of the state.
    pub(crate) fn timestamp(&self) -> f64 {
        if let Some(cell) = self.attachment.enter() {
            return cell.timestamp();
        }
        match self.unwritten().pending {
            Pending::Set(_, timestamp) => timestamp,
            Pending::Added(_) => 0.0,
        }
    }

    /// Detaches the cell, whose file the application closes: the series is dormant from now on.
    pub(crate) fn close(&self) {
        let held = self.attachment.detach();
        let mut unwritten = self.unwritten();
        unwritten.is_dormant = true;
        if let Some((value, _)) = held {
            unwritten.closed = value;
        }
    }

    /// Detaches the cell, and forgets all that it holds: the series is withdrawn. It begins anew if
    /// another value of it is made or counts.
    pub(crate) fn withdraw(&self) {
        self.attachment.detach();
        *self.unwritten() = Held { is_dormant: true, ..Held::default() };
    }

    /// Forgets what the closed file held: the next file is that of another identifier.
    pub(crate) fn begin(&self) {
        self.unwritten().closed = 0.0;
    }

    /// Forgets all that it holds, in the child of a fork: that is the parent's.
    pub(crate) fn forget(&self) {
        self.attachment.detach();
        let mut unwritten = self.unwritten();
        unwritten.closed = 0.0;
        unwritten.pending = Pending::default();
    }
}

impl Held {
    /// The value of the series.
    pub(crate) fn value(&self) -> f64 {
        match self.pending {
            Pending::Added(amount) => self.closed + amount,
            Pending::Set(value, _) => value,
        }
    }

    /// Adds to the value.
    pub(crate) fn add(&mut self, amount: f64) {
        match &mut self.pending {
            Pending::Added(sum) => *sum += amount,
            Pending::Set(value, timestamp) => {
                *value += amount;
                *timestamp = 0.0;
            }
        }
    }

    /// Sets the value.
    pub(crate) fn set(&mut self, value: f64, timestamp: f64) {
        self.pending = Pending::Set(value, timestamp);
    }

    /// The part that no file holds, with its timestamp; `is_summed` says whether values of the series
    /// are added up, `is_there` whether the file that the application closed is where scrapes read it.
    pub(crate) fn beyond_file(&self, is_summed: bool, is_there: bool) -> (f64, f64) {
        let closed = if is_there { self.closed } else { 0.0 };
        match self.pending {
            Pending::Added(amount) if is_summed => (amount, 0.0),
            Pending::Added(amount) => (closed + amount, 0.0),
            Pending::Set(value, timestamp) if is_summed => (value - closed, timestamp),
            Pending::Set(value, timestamp) => (value, timestamp),
        }
    }

    /// Whether there is anything that no file holds.
    pub(crate) fn is_any(&self) -> bool {
        self.pending != Pending::default()
    }

    /// Moves what no file holds yet into a cell: the rest is there already, if it is the cell of the
    /// closed file, or else belongs to that file.
    fn move_to(&mut self, cell: &Cell) {
        if self.is_any() {
            unwritten_files::note_written();
            match self.pending {
                Pending::Added(amount) => cell.add(amount),
                Pending::Set(value, timestamp) => cell.set(value, timestamp),
            }
        }
        *self = Self::default();
    }
}
