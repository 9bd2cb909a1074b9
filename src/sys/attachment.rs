//! Where a series is counted at the moment: attached to a cell in a mapped file, or to none.

#![allow(unsafe_code)]

use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sys::cell::Cell;
use crate::sys::fork::generation;
use crate::sys::gate::{Gate, Pass};
use crate::sys::mapping::Mapping;

/// The cell of a series, if it has one at the moment.
#[derive(Debug)]
pub(crate) struct Attachment {
    gate: Gate,
    /// Valid while the gate is open: a cell of `mapping`.
    cell: AtomicPtr<Cell>,
    /// Keeps the memory of the cell. The lock is held while the cell is attached or detached, so that
    /// one thread at a time closes the gate, changes what is behind it and opens it again.
    mapping: Mutex<Option<Arc<Mapping>>>,
}

/// A cell that stays attached as long as this is kept.
#[derive(Debug)]
pub(crate) struct Entered<'a> {
    cell: &'a Cell,
    _pass: Pass<'a>,
}

impl Deref for Entered<'_> {
    type Target = Cell;

    #[inline]
    fn deref(&self) -> &Cell {
        self.cell
    }
}

impl Default for Attachment {
    fn default() -> Self {
        Self {
            gate: Gate::new(generation()),
            cell: AtomicPtr::new(ptr::null_mut()),
            mapping: Mutex::new(None),
        }
    }
}

impl Attachment {
    /// The cell; none if no cell is attached, or only that of the process that forked this one.
    #[inline]
    pub(crate) fn enter(&self) -> Option<Entered<'_>> {
        let pass = self.gate.enter(generation())?;
        // SAFETY: the gate was open, so `attach` had stored a cell of the mapping that it keeps, and
        // both `attach` and `detach` wait for the pass before they give that mapping up. The cell is
        // aligned and in bounds, as `Mapping::cell` has asserted, and all accesses to it are atomic.
        let cell = unsafe { &*self.cell.load(Ordering::Relaxed) };
        Some(Entered { cell, _pass: pass })
    }

    /// Attaches the cell at `offset` of `mapping`, after `prepare` has given it its first value.
    ///
    /// A cell that was attached before is detached.
    pub(crate) fn attach(
        &self,
        mapping: &Arc<Mapping>,
        offset: usize,
        prepare: impl FnOnce(&Cell),
    ) {
        let mut kept = self.lock();
        self.gate.close(generation());
        let cell = mapping.cell(offset);
        prepare(cell);
        self.cell.store(ptr::from_ref(cell).cast_mut(), Ordering::Relaxed);
        *kept = Some(Arc::clone(mapping));
        self.gate.open(generation());
    }

    /// Whether a cell of this process is attached.
    pub(crate) fn is_attached(&self) -> bool {
        self.gate.is_open(generation())
    }

    /// Detaches the cell, and gives the value and timestamp that it had.
    ///
    /// None if no cell of this process was attached.
    pub(crate) fn detach(&self) -> Option<(f64, f64)> {
        let mut kept = self.lock();
        let was_attached = self.gate.close(generation());
        let cell = self.cell.swap(ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: the gate was open, so this is a cell of the mapping in `kept`, which is dropped
        // only below.
        let held = was_attached.then(|| unsafe { ((*cell).value(), (*cell).timestamp()) });
        *kept = None;
        held
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Mapping>>> {
        self.mapping.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Also run by `make miri`, which finds accesses to memory that is not mapped any more.
#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::thread;

    use tempfile::TempDir;

    use super::*;
    use crate::sys::mapping::testing::mapping;

    /// Threads count in a series while its cell moves from mapping to mapping, each of which is
    /// unmapped as soon as nobody counts in it.
    #[test]
    #[allow(clippy::float_cmp)] // Whole numbers.
    fn a_cell_moves_under_threads_that_count_in_it() {
        let (threads, additions, moves) = if cfg!(miri) { (2, 40, 15) } else { (3, 50_000, 2_000) };
        let directory = TempDir::new().unwrap();
        let attachment = Attachment::default();
        let uncounted = AtomicU64::new(0);
        attachment.attach(&mapping(&directory, "first"), 8, |_| {});
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..additions {
                        match attachment.enter() {
                            Some(cell) => cell.add(1.0),
                            None => drop(uncounted.fetch_add(1, Ordering::Relaxed)),
                        }
                    }
                });
            }
            for number in 0..moves {
                let next = mapping(&directory, ["first", "second"][number % 2]);
                let (value, timestamp) = attachment.detach().unwrap();
                attachment.attach(&next, 8 * (1 + number % 100), |cell| cell.set(value, timestamp));
                thread::yield_now();
            }
        });
        let counted = attachment.detach().unwrap().0;
        let uncounted = f64::from(u32::try_from(uncounted.into_inner()).unwrap());
        assert_eq!(counted + uncounted, f64::from(threads * additions));
        assert!(attachment.enter().is_none());
        assert_eq!(attachment.detach(), None);
    }

    /// A cell of the process that forked this one lies in memory that is not mapped here.
    #[test]
    fn a_cell_of_the_parent_is_not_used() {
        let directory = TempDir::new().unwrap();
        let attachment = Attachment::default();
        attachment.attach(&mapping(&directory, "file"), 8, |cell| cell.set(1.0, 0.0));
        // As if this were the child of a fork, without raising the generation of other tests.
        let gate = Gate::new(generation().wrapping_sub(1));
        gate.open(generation().wrapping_sub(1));
        let inherited = Attachment { gate, ..Attachment::default() };
        inherited.cell.store(ptr::dangling_mut(), Ordering::Relaxed);
        assert!(inherited.enter().is_none());
        assert_eq!(inherited.detach(), None);
        assert!(attachment.is_attached());
    }
}
