//! One series as it is counted by this process: in a cell of a file, or for a while in memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sys::{Attachment, Cell};

/// A series that this process counts.
#[derive(Debug)]
pub(crate) struct Series {
    /// What stands before the value in a file: the key, with its length and padding.
    pub(crate) head: Box<[u8]>,
    /// The cell, while there is one.
    pub(crate) attachment: Attachment,
    /// Series are written anew in the order in which they were made.
    pub(crate) number: u64,
    /// What an archive has of it, as the bits of an f64: its file was closed, and folded, while it
    /// lived. The cell is short of it. Changed only while there is no cell.
    folded: AtomicU64,
    private: Mutex<Private>,
}

/// What a series holds while it has no cell.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Private {
    /// What a file holds that was closed.
    closed: f64,
    /// What no file holds yet.
    pending: Pending,
    /// Whether its file was closed by the application: it needs another only if it counts again.
    pub(crate) dormant: bool,
    /// How many values share the series.
    pub(crate) values: usize,
}

/// What happened to a series since it has no cell.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pending {
    /// So much was added.
    Added(f64),
    /// It was set, with this timestamp.
    Set(f64, f64),
}

impl Default for Pending {
    fn default() -> Self {
        Self::Added(0.0)
    }
}

impl Series {
    /// A series without a cell, which holds what is in `private`.
    pub(crate) fn new(head: Box<[u8]>, number: u64, private: Private) -> Self {
        let private = Mutex::new(Private { values: 0, ..private });
        Self { head, attachment: Attachment::default(), number, folded: AtomicU64::new(0), private }
    }

    /// Says how much of it an archive has, of which its next cell will be short.
    pub(crate) fn fold(&self, folded: f64) {
        self.folded.store(folded.to_bits(), Ordering::Relaxed);
    }

    #[inline]
    fn folded(&self) -> f64 {
        f64::from_bits(self.folded.load(Ordering::Relaxed))
    }

    /// What the cell has to hold for the series to come to `value`.
    #[inline]
    pub(crate) fn in_cell(&self, value: f64) -> f64 {
        value - self.folded()
    }

    /// What the series comes to if its cell holds `value`.
    #[inline]
    pub(crate) fn of_cell(&self, value: f64) -> f64 {
        let folded = self.folded();
        // Adding zero would take the sign of a zero.
        if folded == 0.0 { value } else { value + folded }
    }

    /// Whether it has no cell, but should.
    pub(crate) fn is_waiting(&self) -> bool {
        let private = self.private();
        (!private.dormant || private.is_pending()) && !self.attachment.is_attached()
    }

    /// What it holds while it has no cell. For who has the lock of all files only.
    pub(crate) fn private(&self) -> MutexGuard<'_, Private> {
        self.private.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up the cell, whose file is to be closed.
    pub(crate) fn close(&self) {
        let held = self.attachment.detach();
        let mut private = self.private();
        private.dormant = true;
        if let Some((value, _)) = held {
            private.closed = self.of_cell(value);
        }
    }

    /// Forgets what was in a closed file, which is that of another identifier.
    pub(crate) fn begin(&self) {
        self.private().closed = 0.0;
    }

    /// Gives up the cell of a process that this one was forked from.
    pub(crate) fn forget(&self) {
        self.attachment.detach();
        let mut private = self.private();
        private.closed = 0.0;
        private.pending = Pending::default();
    }
}

impl Private {
    /// The value.
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

    /// Whether it holds something that no file holds.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending != Pending::default()
    }

    /// Moves what is pending into a cell: only that, since a closed file holds the rest, or an archive
    /// what is `folded`; all if `is_whole`, because neither counts on.
    pub(crate) fn move_to(&mut self, cell: &Cell, is_whole: bool, folded: f64) {
        match self.pending {
            Pending::Added(amount) if is_whole => {
                cell.set(self.closed + amount, 0.0);
            }
            Pending::Added(amount) => {
                // Adding nothing would still take the timestamp away.
                if self.is_pending() {
                    cell.add(amount);
                }
            }
            Pending::Set(value, timestamp) => cell.set(value - folded, timestamp),
        }
        *self = Self { values: self.values, ..Self::default() };
    }

    /// Adds what another value of the same series holds.
    pub(crate) fn join(&mut self, other: &Self) {
        match other.pending {
            Pending::Added(amount) => self.add(amount),
            Pending::Set(value, timestamp) => self.set(value, timestamp),
        }
    }
}
