//! A value and its timestamp, in memory that several threads and processes write to.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::kind::Rule;
use crate::mark;

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

    /// Takes what another cell of the same series has, by the rule by which several processes' values
    /// become one; by [`Rule::PerProcess`] the other one counts.
    pub(crate) fn merge(&self, rule: Rule, value: f64, timestamp: f64) {
        let is_taken = match rule {
            Rule::Sum => return self.add(value),
            Rule::Min => value < self.value(),
            Rule::Max => value > self.value(),
            Rule::MostRecent => timestamp >= self.timestamp(),
            Rule::PerProcess => true,
        };
        if is_taken {
            self.set(value, timestamp);
        }
    }

    /// Marks the series as withdrawn, or as begun anew; the value is 0 then.
    ///
    /// The mark is what withdraws it; the value is for `prometheus_client`'s reader.
    pub(crate) fn mark(&self, mark: f64) {
        self.timestamp.store(mark.to_bits(), Ordering::Release);
        self.value.store(0.0_f64.to_bits(), Ordering::Relaxed);
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
        let known = self.timestamp.load(Ordering::Relaxed);
        // Counting without a time leaves the mark of a series that was begun anew.
        if known != bits && !(bits == 0 && mark::is_begun_anew(f64::from_bits(known))) {
            self.timestamp.store(bits, Ordering::Relaxed);
        }
    }
}
