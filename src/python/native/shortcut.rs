//! What native methods of metrics know of a value.

use std::sync::atomic::{AtomicBool, Ordering};

use once_cell::race::OnceBox;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::python::value::Value;

/// Whether a value may be counted in without calling its methods, and what goes with it.
pub(in crate::python) struct Shortcut {
    is_open: AtomicBool,
    /// Whether it is of a gauge that shows what was set last in any process.
    pub(super) is_most_recent: bool,
    /// What is counted in along with it, as soon as that was asked for.
    pub(super) others: OnceBox<Others>,
}

/// The values that are counted in along with another one.
pub(super) enum Others {
    /// Along with the count of a summary: its sum.
    Sum(Py<Value>),
    /// Along with the sum of a histogram: its buckets.
    Buckets(Buckets),
}

/// The buckets of a histogram.
pub(super) struct Buckets {
    /// The upper bounds in ascending order. The last block is filled up with infinity.
    blocks: Box<[[f64; BLOCK]]>,
    /// The last upper bound of each block but the last.
    block_ends: Box<[f64]>,
    values: Box<[Py<Value>]>,
}

/// How many bounds are compared with an amount without choosing among them, which is faster than to
/// choose for so few.
const BLOCK: usize = 16;

impl Shortcut {
    pub(in crate::python) fn new(is_open: bool, multiprocess_mode: &str) -> Self {
        Self {
            is_open: AtomicBool::new(is_open),
            is_most_recent: multiprocess_mode.ends_with("mostrecent"),
            others: OnceBox::new(),
        }
    }

    /// Has the methods of the value called from now on.
    pub(in crate::python) fn close(&self) {
        self.is_open.store(false, Ordering::Relaxed);
    }

    #[inline]
    pub(in crate::python) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    pub(in crate::python) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.others.get() {
            Some(Others::Sum(sum)) => visit.call(sum),
            Some(Others::Buckets(buckets)) => {
                buckets.values.iter().try_for_each(|value| visit.call(value))
            }
            None => Ok(()),
        }
    }
}

impl Buckets {
    /// None if these are not bounds in order, each with a value, or the last is below some amount.
    pub(super) fn new(upper_bounds: Vec<f64>, values: Vec<Py<Value>>) -> Option<Self> {
        // A bound that is no number is in no order.
        let is_sorted = upper_bounds.is_sorted() && upper_bounds.last() == Some(&f64::INFINITY);
        if upper_bounds.len() != values.len() || !is_sorted {
            return None;
        }
        let blocks: Box<[_]> = upper_bounds.chunks(BLOCK).map(filled_up).collect();
        let block_ends = blocks.iter().map(|block| block[BLOCK - 1]).take(blocks.len() - 1);
        Some(Self { block_ends: block_ends.collect(), blocks, values: values.into() })
    }

    /// The bucket that an amount, which is a number, falls into.
    #[inline]
    pub(super) fn find(&self, amount: f64) -> &Py<Value> {
        let block = count_below(&self.block_ends, amount);
        &self.values[BLOCK * block + count_below(&self.blocks[block], amount)]
    }
}

fn filled_up(bounds: &[f64]) -> [f64; BLOCK] {
    let mut block = [f64::INFINITY; BLOCK];
    block[..bounds.len()].copy_from_slice(bounds);
    block
}

/// How many bounds are below `amount`.
#[inline]
fn count_below(bounds: &[f64], amount: f64) -> usize {
    if bounds.len() > 4 * BLOCK {
        return bounds.partition_point(|bound| *bound < amount);
    }
    bounds.iter().map(|bound| usize::from(*bound < amount)).sum()
}
