//! A value and its timestamp, in memory that several threads and processes write to.

use std::sync::atomic::{AtomicU64, Ordering};

/// The value and timestamp of an entry, where they stand in a file.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Cell {
    value: AtomicU64,
    timestamp: AtomicU64,
}

impl Cell {
    /// Adds to the value.
    #[inline]
    pub(crate) fn add(&self, amount: f64) {
        let mut bits = self.value.load(Ordering::Relaxed);
        loop {
            let sum = (f64::from_bits(bits) + amount).to_bits();
            match self.value.compare_exchange_weak(bits, sum, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(now) => bits = now,
            }
        }
        self.date(0.0);
    }

    /// Sets value and timestamp.
    #[inline]
    pub(crate) fn set(&self, value: f64, timestamp: f64) {
        self.value.store(value.to_bits(), Ordering::Relaxed);
        self.date(timestamp);
    }

    /// The value.
    #[inline]
    pub(crate) fn value(&self) -> f64 {
        f64::from_bits(self.value.load(Ordering::Relaxed))
    }

    /// The timestamp.
    pub(crate) fn timestamp(&self) -> f64 {
        f64::from_bits(self.timestamp.load(Ordering::Relaxed))
    }

    #[inline]
    fn date(&self, timestamp: f64) {
        // Mostly both are 0: a load is cheaper than a store to memory that others look at.
        let bits = timestamp.to_bits();
        if self.timestamp.load(Ordering::Relaxed) != bits {
            self.timestamp.store(bits, Ordering::Relaxed);
        }
    }
}
