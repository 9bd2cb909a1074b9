//! Lets one thread at a time use a value's cell, and nobody while the value moves.
//!
//! A value's cell may be used only behind its gate. Counting passes it with one compare-and-exchange
//! and leaves it with a store. Whoever wants to move the value closes the gate, which waits until the
//! thread behind it has left. That takes nanoseconds, since nobody does anything behind a gate but one
//! operation on a cell: nothing of Python, no system call, no other lock.
//!
//! A fork copies the gate, but not the thread that was behind it. So it carries the generation of
//! the process, which every fork raises: a gate of an older generation is closed, whatever it says.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};

/// Nobody may pass.
const CLOSED: u64 = 0;
/// A thread may pass.
const OPEN: u64 = 1;
/// A thread has passed, and has not left yet.
const TAKEN: u64 = 2;
/// Where the generation begins.
const GENERATION_SHIFT: u32 = 2;

/// Whether a cell may be used, and whether a thread is using it.
#[derive(Debug)]
pub(crate) struct Gate(AtomicU64);

/// The right to use what is behind a gate, until it is dropped.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    gate: &'a Gate,
    generation: u32,
}

impl Gate {
    /// A closed gate.
    pub(crate) fn new(generation: u32) -> Self {
        Self(AtomicU64::new(word(generation, CLOSED)))
    }

    /// Passes the gate; none if it is closed, or was last opened before a fork.
    #[inline]
    pub(crate) fn enter(&self, generation: u32) -> Option<Pass<'_>> {
        self.change_if_open(generation, TAKEN).then(|| Pass { gate: self, generation })
    }

    /// Whether the gate is not closed, and was not last opened before a fork.
    #[inline]
    pub(crate) fn is_open(&self, generation: u32) -> bool {
        let word_now = self.0.load(Ordering::Relaxed);
        word_now == word(generation, OPEN) || word_now == word(generation, TAKEN)
    }

    /// Waits until nobody is behind the gate, lets nobody in any more, and says whether it was open.
    ///
    /// Only one thread at a time may close and open a gate.
    pub(crate) fn close(&self, generation: u32) -> bool {
        let was_open = self.change_if_open(generation, CLOSED);
        if !was_open {
            // Perhaps it was open before a fork: no thread of this process is behind it.
            self.0.store(word(generation, CLOSED), Ordering::Relaxed);
        }
        was_open
    }

    /// Opens a closed gate.
    pub(crate) fn open(&self, generation: u32) {
        self.0.store(word(generation, OPEN), Ordering::Release);
    }

    /// Changes the state of an open gate, as soon as nobody is behind it; false if it is not open.
    #[inline]
    fn change_if_open(&self, generation: u32, state: u64) -> bool {
        let (open, changed) = (word(generation, OPEN), word(generation, state));
        let mut looks = 0;
        loop {
            match self.0.compare_exchange(open, changed, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(found) if found == word(generation, TAKEN) => pause(&mut looks),
                Err(_) => return false,
            }
        }
    }
}

impl Drop for Pass<'_> {
    #[inline]
    fn drop(&mut self) {
        // Nobody else changes a gate that is taken.
        self.gate.open(self.generation);
    }
}

/// A gate as a word.
const fn word(generation: u32, state: u64) -> u64 {
    (generation as u64) << GENERATION_SHIFT | state
}

/// Lets the thread behind a gate go on.
#[cfg(loom)]
fn pause(_looks: &mut u32) {
    loom::thread::yield_now();
}

/// Lets the thread behind a gate go on. If that thread stays there long, it has no processor; this one
/// then sleeps, so that it gets one, whatever the priorities of the two are.
#[cfg(not(loom))]
#[cold]
fn pause(looks: &mut u32) {
    if *looks < 100 {
        *looks += 1;
        std::hint::spin_loop();
    } else {
        std::thread::sleep(std::time::Duration::from_micros(10));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_an_open_gate_of_this_generation_lets_in() {
        let gate = Gate::new(1);
        assert!(gate.enter(1).is_none());
        gate.open(1);
        assert!(gate.enter(1).is_some());
        assert!(gate.enter(2).is_none());
        assert!(!gate.close(2));
        assert!(gate.enter(2).is_none());
        gate.open(2);
        assert!(gate.enter(2).is_some());
        assert!(gate.close(2));
        assert!(gate.enter(2).is_none());
        assert!(!gate.close(2));
    }

    #[test]
    fn a_thread_waits_until_the_one_before_it_has_left() {
        for act in [|gate: &Gate| gate.enter(1).is_some(), |gate: &Gate| gate.close(1)] {
            let gate = Gate::new(1);
            gate.open(1);
            let has_left = AtomicBool::new(false);
            let pass = gate.enter(1);
            thread::scope(|scope| {
                let waiting = scope.spawn(|| act(&gate) && has_left.load(Ordering::Relaxed));
                thread::sleep(Duration::from_millis(20));
                has_left.store(true, Ordering::Relaxed);
                drop(pass);
                assert!(waiting.join().unwrap());
            });
        }
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
        // In two steps: no other thread may come between them.
        let counted = guarded.cells[place].load(Ordering::Relaxed);
        guarded.cells[place].store(counted + 1, Ordering::Relaxed);
        true
    }

    /// How often a thread has counted, of so many attempts.
    fn count_in_a_thread(guarded: &Arc<Guarded>, attempts: u32) -> thread::JoinHandle<u64> {
        let guarded = Arc::clone(guarded);
        thread::spawn(move || (0..attempts).map(|_| u64::from(count(&guarded))).sum())
    }

    /// A value moves from one cell to another while a thread counts: nothing is lost.
    #[test]
    fn a_move_loses_no_count() {
        loom::model(|| {
            let guarded = guarded(1);
            guarded.gate.open(1);
            let counting = count_in_a_thread(&guarded, 2);
            guarded.gate.close(1);
            let held = guarded.cells[0].load(Ordering::Relaxed);
            guarded.cells[1].store(held, Ordering::Relaxed);
            guarded.is_mapped.store(false, Ordering::Relaxed);
            guarded.place.store(1, Ordering::Relaxed);
            guarded.gate.open(1);
            let counted = counting.join().unwrap();
            assert_eq!(guarded.cells[1].load(Ordering::Relaxed), counted);
        });
    }

    /// Two threads count: neither comes between the two steps of the other.
    #[test]
    fn a_gate_lets_in_one_at_a_time() {
        loom::model(|| {
            let guarded = guarded(1);
            guarded.gate.open(1);
            let counting = count_in_a_thread(&guarded, 1);
            assert!(count(&guarded));
            assert_eq!(counting.join().unwrap(), 1);
            assert_eq!(guarded.cells[0].load(Ordering::Relaxed), 2);
        });
    }

    /// The child of a fork closes the gate that its parent had open, and opens it again, while another
    /// of its threads tries to pass.
    #[test]
    fn a_thread_of_the_parent_is_not_behind_the_gate_of_the_child() {
        loom::model(|| {
            let guarded = guarded(0);
            guarded.gate.open(0);
            // A thread of the parent was behind the gate; it does not exist here.
            std::mem::forget(guarded.gate.enter(0));
            let counting = count_in_a_thread(&guarded, 1);
            guarded.gate.close(1);
            guarded.is_mapped.store(false, Ordering::Relaxed);
            guarded.place.store(1, Ordering::Relaxed);
            guarded.gate.open(1);
            let counted = counting.join().unwrap();
            assert_eq!(guarded.cells[1].load(Ordering::Relaxed), counted);
            assert_eq!(guarded.gate.0.load(Ordering::Acquire), word(1, OPEN), "somebody is behind");
        });
    }
}
