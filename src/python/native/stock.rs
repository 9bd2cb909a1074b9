//! `prometheus_client`'s own functions, which do what the native methods leave to them.

use std::iter;

use once_cell::race::OnceBox;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use crate::python::once::intern;

/// A function that a native method stands for.
pub(super) struct Stock {
    /// The class that has it.
    pub(super) class: Py<PyType>,
    pub(super) function: Py<PyAny>,
    /// The globals of its module.
    pub(super) globals: Py<PyDict>,
}

impl Stock {
    /// What `time.time()` gives in the module of the function, where tests replace it; none if the
    /// module has no `time`.
    pub(super) fn unix_time<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let module = self.globals.bind(py).get_item(intern!(py, "time"))?;
        module.map(|module| module.getattr(intern!(py, "time"))?.call0()).transpose()
    }
}

/// The functions that one native method stands for: one for each import of `prometheus_client`.
///
/// Test suites import it anew. What was found once is kept, since descriptors of an earlier import
/// need it. Looking one up takes no lock, which the child of a fork could find held.
pub(super) struct Stocks(OnceBox<(Stock, Stocks)>);

impl Stocks {
    pub(super) const fn new() -> Self {
        Self(OnceBox::new())
    }

    /// The function for a method of `receiver`.
    #[inline]
    pub(super) fn of(&self, receiver: &Bound<'_, PyAny>) -> Option<&Stock> {
        let (first, others) = self.0.get()?;
        if others.0.get().is_none() {
            return Some(first);
        }
        self.iter().find(|stock| {
            receiver
                .is_instance(stock.class.bind(receiver.py()))
                .is_ok_and(|is_instance| is_instance)
        })
    }

    /// The function of `class`.
    pub(super) fn of_class(&self, class: &Bound<'_, PyType>) -> Option<&Stock> {
        self.iter().find(|stock| stock.class.is(class))
    }

    pub(super) fn add(&self, stock: Stock) {
        let mut last = self;
        let mut added = Box::new((stock, Self::new()));
        while let Err(refused) = last.0.set(added) {
            added = refused;
            let Some(taken) = last.0.get() else { return };
            last = &taken.1;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Stock> {
        let found = iter::successors(self.0.get(), |(_, others)| others.0.get());
        found.map(|(stock, _)| stock)
    }
}
