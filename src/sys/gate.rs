//! Tells who moves a value whether anybody is just counting in it, without a lock.
//!
//! A value's cell may be used only behind its gate. Counting passes it with one atomic addition and
//! leaves it with another; whoever wants to move the value closes the gate and waits until all
//! have left, which takes nanoseconds, since nobody does anything behind it but one operation on a
//! cell.
//!
//! A fork copies the gate, but not the threads that were behind it. So it carries the generation of
//! the process, which every fork raises: a gate of an older generation is closed, whatever it says.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};

/// The lower 32 bits of a gate: how many threads are behind it.
const USERS: u64 = (1 << 32) - 1;
/// Whether the gate may be passed.
const OPEN: u64 = 1 << 32;
/// Where the generation begins.
const GENERATION_SHIFT: u32 = 33;

/// Whether a cell may be used, and how many are using it.
#[derive(Debug)]
pub(crate) struct Gate(AtomicU64);

/// The right to use what is behind a gate, until it is dropped.
#[derive(Debug)]
pub(crate) struct Pass<'a>(&'a Gate);

impl Gate {
    /// A closed gate.
    pub(crate) fn new(generation: u32) -> Self {
        Self(AtomicU64::new(word(generation)))
    }

    /// Passes the gate; none if it is closed, or was last opened before a fork.
    #[inline]
    pub(crate) fn enter(&self, generation: u32) -> Option<Pass<'_>> {
        let before = self.0.fetch_add(1, Ordering::Acquire);
        if before >> GENERATION_SHIFT != word(generation) >> GENERATION_SHIFT {
            // Not taken back: `renew` may just have begun a new count.
            return None;
        }
        let pass = Pass(self);
        (before & OPEN != 0).then_some(pass)
    }

    /// Lets nobody in any more, and waits until all are out.
    pub(crate) fn close(&self) {
        self.0.fetch_and(!OPEN, Ordering::Relaxed);
        while self.0.load(Ordering::Acquire) & USERS != 0 {
            #[cfg(loom)]
            loom::thread::yield_now();
            #[cfg(not(loom))]
            std::thread::yield_now();
        }
    }

    /// Opens the gate again.
    pub(crate) fn open(&self) {
        self.0.fetch_or(OPEN, Ordering::Release);
    }

    /// Closes a gate that was last used before a fork, and says that no thread is behind it. A gate of
    /// this generation stays as it is.
    pub(crate) fn renew(&self, generation: u32) {
        let left_by_another = self.0.load(Ordering::Relaxed) >> GENERATION_SHIFT
            != word(generation) >> GENERATION_SHIFT;
        if left_by_another {
            self.0.swap(word(generation), Ordering::AcqRel);
        }
    }
}

impl Drop for Pass<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Release);
    }
}

/// A closed gate that nobody is behind, as a word.
const fn word(generation: u32) -> u64 {
    (generation as u64) << GENERATION_SHIFT
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_an_open_gate_of_this_generation_lets_in() {
        let gate = Gate::new(1);
        assert!(gate.enter(1).is_none());
        gate.open();
        assert!(gate.enter(1).is_some());
        assert!(gate.enter(2).is_none());
        gate.renew(2);
        assert!(gate.enter(2).is_none());
        gate.open();
        assert!(gate.enter(2).is_some());
        gate.close();
        assert!(gate.enter(2).is_none());
    }
}

/// Run by `make loom`: every order in which the threads can meet.
#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicBool, AtomicUsize};
    use loom::thread;

    struct Guarded {
        gate: Gate,
        /// Stands for the address of the cell.
        place: AtomicUsize,
        cells: [AtomicU64; 2],
        /// Stands for the mapping of the first cell.
        is_mapped: AtomicBool,
    }

    fn guarded(generation: u32) -> Arc<Guarded> {
        Arc::new(Guarded {
            gate: Gate::new(generation),
            place: AtomicUsize::new(0),
            cells: [AtomicU64::new(0), AtomicU64::new(0)],
            is_mapped: AtomicBool::new(true),
        })
    }

    fn count(guarded: &Guarded) -> bool {
        let Some(_pass) = guarded.gate.enter(1) else { return false };
        let place = guarded.place.load(Ordering::Relaxed);
        assert!(place == 1 || guarded.is_mapped.load(Ordering::Relaxed), "counted in freed memory");
        guarded.cells[place].fetch_add(1, Ordering::Relaxed);
        true
    }

    /// A value moves from one cell to another while two threads count: nothing is lost.
    #[test]
    fn a_move_loses_no_count() {
        loom::model(|| {
            let guarded = guarded(1);
            guarded.gate.open();
            let counting: Vec<_> = (0..2)
                .map(|_| {
                    let guarded = Arc::clone(&guarded);
                    thread::spawn(move || u64::from(count(&guarded)))
                })
                .collect();
            guarded.gate.close();
            let held = guarded.cells[0].load(Ordering::Relaxed);
            guarded.cells[1].store(held, Ordering::Relaxed);
            guarded.is_mapped.store(false, Ordering::Relaxed);
            guarded.place.store(1, Ordering::Relaxed);
            guarded.gate.open();
            let counted: u64 = counting.into_iter().map(|thread| thread.join().unwrap()).sum();
            assert_eq!(guarded.cells[1].load(Ordering::Relaxed), counted);
        });
    }

    /// The child of a fork begins a new count while its threads try the old gate.
    #[test]
    fn a_renewal_after_a_fork_leaves_nobody_behind_the_gate() {
        loom::model(|| {
            let guarded = guarded(0);
            guarded.gate.open();
            // A thread of the parent was behind the gate; it does not exist here.
            std::mem::forget(guarded.gate.enter(0));
            let counting = {
                let guarded = Arc::clone(&guarded);
                thread::spawn(move || count(&guarded))
            };
            guarded.gate.renew(1);
            guarded.is_mapped.store(false, Ordering::Relaxed);
            guarded.place.store(1, Ordering::Relaxed);
            guarded.gate.open();
            let counted = counting.join().unwrap();
            assert_eq!(guarded.cells[1].load(Ordering::Relaxed), u64::from(counted));
            assert_eq!(
                guarded.gate.0.load(Ordering::Acquire),
                word(1) | OPEN,
                "somebody is behind"
            );
        });
    }
}
