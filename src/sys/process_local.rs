//! A static value behind a lock that a fork never leaves locked.
//!
//! A thread may hold a lock at the moment of a fork. The child has no such thread, so that the lock
//! stays locked there for good. Here the child begins a value of its own, with a lock of its own.

#![allow(unsafe_code)]

use std::process;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// A value that each process has of its own.
#[derive(Debug)]
pub(crate) struct ProcessLocal<T: Send + 'static> {
    /// Null, or a leaked box: a process leaks as many as it has ancestors.
    current: AtomicPtr<Owned<T>>,
    begin: fn(Option<&T>) -> T,
}

/// The value of one process.
#[derive(Debug)]
struct Owned<T> {
    pid: u32,
    value: Mutex<T>,
}

impl<T: Send + 'static> ProcessLocal<T> {
    /// `begin` gives the first value of a process. It is given the value of the process that forked
    /// this one, if there is one and no thread had it locked then.
    pub(crate) const fn new(begin: fn(Option<&T>) -> T) -> Self {
        Self { current: AtomicPtr::new(ptr::null_mut()), begin }
    }

    /// The value, when no other thread of this process has it.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.own().value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value; none if another thread of this process has it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        try_lock(&self.own().value)
    }

    fn own(&self) -> &Owned<T> {
        let pid = process::id();
        let found = self.current.load(Ordering::Acquire);
        // SAFETY: `current` is null or came from `Box::into_raw` below, and is never freed.
        let found_ref = unsafe { found.as_ref() };
        if let Some(own) = found_ref.filter(|own| own.pid == pid) {
            return own;
        }
        let earlier = found_ref.and_then(|earlier| try_lock(&earlier.value));
        let value = Mutex::new((self.begin)(earlier.as_deref()));
        let made = Box::into_raw(Box::new(Owned { pid, value }));
        let set = self.current.compare_exchange(found, made, Ordering::AcqRel, Ordering::Acquire);
        let Err(other) = set else {
            // SAFETY: from `Box::into_raw` above; as it is the current one, it is never freed.
            return unsafe { &*made };
        };
        // SAFETY: another thread has set its own, so that nobody else knows of `made`.
        drop(unsafe { Box::from_raw(made) });
        // SAFETY: what is current came from `Box::into_raw`, and is never freed.
        unsafe { &*other }
    }
}

fn try_lock<T>(value: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match value.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the child of a fork begins with, whose parent had its value locked or not.
    fn inherited(is_locked: bool) -> Vec<i32> {
        let begin = |earlier: Option<&Vec<i32>>| earlier.cloned().unwrap_or_default();
        let value = ProcessLocal::new(begin);
        let earlier = Owned { pid: 0, value: Mutex::new(vec![1]) };
        value.current.store(ptr::from_ref(&earlier).cast_mut(), Ordering::Release);
        let held = is_locked.then(|| earlier.value.lock().unwrap());
        let own = value.try_lock().unwrap().clone();
        drop(held);
        // SAFETY: `own` made it with `Box::into_raw`, and `value` is not used any more.
        drop(unsafe { Box::from_raw(value.current.load(Ordering::Acquire)) });
        own
    }

    #[test]
    fn a_lock_of_the_parent_is_none_in_the_child() {
        assert!(inherited(true).is_empty());
        assert_eq!(inherited(false), [1]);
    }

    #[test]
    fn a_process_has_one_value() {
        static VALUE: ProcessLocal<i32> = ProcessLocal::new(|_| 1);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| *VALUE.lock() += 1);
            }
        });
        let held = VALUE.lock();
        assert_eq!(*held, 5);
        assert!(VALUE.try_lock().is_none());
    }
}
