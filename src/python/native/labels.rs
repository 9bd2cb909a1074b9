//! `labels`: finds the child of some labels, or has it made.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyNone, PyString, PyTuple};

use super::children;
use super::descriptor::Call;
use super::limit;
use super::method::{Method, Outcome, known};
use crate::python::once::intern;

/// More labels than a metric has. The arguments that were used are remembered as bits.
const MAX_LABELS: usize = u64::BITS as usize;

/// `MetricWrapperBase.labels(*labelvalues, **labelkwargs)`.
///
/// A child that is in `_metrics` was made with the same labels, so that they need no check.
/// `prometheus_client`'s function raises the errors, and makes the children that [`children`] does
/// not; all of them within the metric's limit.
pub(super) struct Labels;

impl Method for Labels {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "MetricWrapperBase";
    const NAME: &'static str = "labels";
    const PARAMETERS: &'static [&'static str] = &["self", "*labelvalues", "**labelkwargs"];

    #[inline]
    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        let Some(known) = call.receiver.getattr_opt(intern!(call.py(), "_metrics"))? else {
            return Ok(None);
        };
        let Ok(known) = known.cast_exact::<PyDict>() else { return Ok(None) };
        let labels = match call.names {
            None => texts(call.py(), call.positional.iter().map(Some))?,
            Some(names) if call.positional.is_empty() => in_order(call, names)?,
            Some(_) => None,
        };
        let Some(labels) = labels else { return limit::beyond::<Self>(call, known) };
        if let Some(child) = known.get_item(&labels)? {
            return Ok(Some(child));
        }
        match limit::beyond::<Self>(call, known)? {
            None => children::make(call.receiver, known, &labels),
            child => Ok(child),
        }
    }

    known!();
}

/// The labels that were given by keyword, in the order of the metric's names.
fn in_order<'py>(
    call: &Call<'_, 'py>,
    given: &Bound<'py, PyTuple>,
) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let Some(names) = call.receiver.getattr_opt(intern!(call.py(), "_labelnames"))? else {
        return Ok(None);
    };
    let Ok(names) = names.cast_exact::<PyTuple>() else { return Ok(None) };
    let count = names.len();
    if call.by_keyword.len() != count || count > MAX_LABELS {
        return Ok(None);
    }
    // A name that the metric has twice must not find one argument twice.
    let mut used = 0_u64;
    let values = (0..count).map(|place| {
        let index = find(names.get_borrowed_item(place).ok()?, given, place)?;
        let bit = 1 << index;
        let is_new = used & bit == 0;
        used |= bit;
        call.by_keyword.get(index).filter(|_| is_new)
    });
    texts(call.py(), values)
}

/// Where `name` is among the names `given`, which most programs write in the order of the metric.
fn find(name: Borrowed<'_, '_, PyAny>, given: &Bound<'_, PyTuple>, place: usize) -> Option<usize> {
    let count = given.len();
    let mut indexes = (place..count).chain(0..place);
    let is_same = |&index: &usize| given.get_borrowed_item(index).is_ok_and(|other| other.is(name));
    // Names in programs are interned, as those of keyword arguments are.
    indexes.clone().find(is_same).or_else(|| {
        let name = name.cast_exact::<PyString>().ok()?;
        indexes.find(|&index| {
            let other = given.get_borrowed_item(index).ok();
            let other = other.and_then(|other| other.cast_exact::<PyString>().ok());
            other.is_some_and(|other| other.as_any().eq(name).is_ok_and(|is_equal| is_equal))
        })
    })
}

/// The texts of `values`; none if one is missing, or if `str()` of one could run a program's code.
///
/// An error is mostly that of a signal handler, such as `KeyboardInterrupt`: `str()` calls handlers.
#[inline]
fn texts<'a, 'py: 'a>(
    py: Python<'py>,
    values: impl ExactSizeIterator<Item = Option<&'a Bound<'py, PyAny>>>,
) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let mut is_complete = true;
    let mut failure = None;
    let texts = values.map(|value| {
        let text = value.map_or(Ok(None), text).unwrap_or_else(|error| {
            failure = Some(error);
            None
        });
        text.unwrap_or_else(|| {
            is_complete = false;
            PyNone::get(py).to_owned().into_any()
        })
    });
    let texts = PyTuple::new(py, texts)?;
    failure.map_or(Ok(is_complete.then_some(texts)), Err)
}

#[inline]
fn text<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    if value.is_exact_instance_of::<PyString>() {
        return Ok(Some(value.clone()));
    }
    let is_plain = value.is_exact_instance_of::<PyInt>()
        || value.is_none()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyFloat>();
    if !is_plain {
        return Ok(None);
    }
    match value.str() {
        // An integer of too many digits: `prometheus_client` may find another error first.
        Err(error) if error.is_instance_of::<PyValueError>(value.py()) => Ok(None),
        text => text.map(|text| Some(text.into_any())),
    }
}
