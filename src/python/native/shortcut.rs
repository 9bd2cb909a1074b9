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
    /// The buckets of the histogram whose sum it is, as soon as they were asked for.
    pub(super) buckets: OnceBox<Buckets>,
}

/// The buckets of a histogram.
pub(super) struct Buckets {
    /// In ascending order, and as many as the values.
    upper_bounds: Box<[f64]>,
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
            buckets: OnceBox::new(),
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
        let values = self.buckets.get().map(|buckets| &buckets.values);
        values.into_iter().flatten().try_for_each(|value| visit.call(value))
    }
}

impl Buckets {
    /// None if these are not bounds in order, each with a value.
    pub(super) fn new(upper_bounds: Vec<f64>, values: Vec<Py<Value>>) -> Option<Self> {
        // A bound that is no number is in no order.
        if upper_bounds.len() != values.len() || !upper_bounds.is_sorted() {
            return None;
        }
        let blocks = upper_bounds.len().div_ceil(BLOCK);
        let block_ends = upper_bounds.chunks_exact(BLOCK).map(|block| block[BLOCK - 1]);
        Some(Self {
            block_ends: block_ends.take(blocks.saturating_sub(1)).collect(),
            upper_bounds: upper_bounds.into(),
            values: values.into(),
        })
    }

    /// The bucket that an amount, which is a number, falls into.
    #[inline]
    pub(super) fn find(&self, amount: f64) -> Option<&Py<Value>> {
        let start = BLOCK * count_below(&self.block_ends, amount);
        let block = self.upper_bounds.get(start..)?;
        self.values.get(start + count_below(block.get(..BLOCK).unwrap_or(block), amount))
    }
}

/// How many bounds are below `amount`.
#[inline]
fn count_below(bounds: &[f64], amount: f64) -> usize {
    if bounds.len() > 4 * BLOCK {
        return bounds.partition_point(|bound| *bound < amount);
    }
    bounds.iter().map(|bound| usize::from(*bound < amount)).sum()
}
