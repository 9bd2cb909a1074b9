//! `inc`, `dec`, `set` and `observe`, where the metric counts in values of `MultiProcessValue`.
//!
//! All else is left to `prometheus_client`'s functions: values of other classes, patched values,
//! metrics that have no value, amounts that are no plain numbers.

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyFloat, PyInt, PyList, PyString};

use super::descriptor::{Call, call_method};
use super::exemplars;
use super::method::{Method, Outcome, known};
use super::shortcut::{Buckets, Others};
use crate::python::once::intern;
use crate::python::value::Value;

/// Whole numbers up to this one, and their negatives, are all floats.
const MAX_EXACT: i64 = 1 << f64::MANTISSA_DIGITS;

/// `Counter.inc(amount=1, exemplar=None)`.
pub(super) struct CounterInc;

impl Method for CounterInc {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "Counter";
    const NAME: &'static str = "inc";
    const PARAMETERS: &'static [&'static str] = &["self", "amount=1", "exemplar=None"];

    #[inline]
    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        let (amount, exemplar) = if exemplars::may_be_in(call) {
            let (counted, exemplar) = exemplars::apart(call);
            (amount_or_one(&counted), exemplar)
        } else {
            (amount_or_one(call), None)
        };
        // A negative amount is an error that prometheus_client raises.
        let Some(amount) = amount.filter(|amount| *amount >= 0.0) else { return Ok(None) };
        let done = add(call, amount)?;
        if let (Some(exemplar), Some(_)) = (exemplar, &done) {
            let counted = call.receiver.getattr(intern!(call.py(), "_value"))?;
            exemplars::keep::<Self>(call, &counted, exemplar, amount)?;
        }
        Ok(done)
    }

    known!();
}

/// `Gauge.inc(amount=1)`.
pub(super) struct GaugeInc;

impl Method for GaugeInc {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "Gauge";
    const NAME: &'static str = "inc";
    const PARAMETERS: &'static [&'static str] = &["self", "amount=1"];

    #[inline]
    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        match amount_or_one(call) {
            Some(amount) => add(call, amount),
            None => Ok(None),
        }
    }

    known!();
}

/// `Gauge.dec(amount=1)`.
pub(super) struct GaugeDec;

impl Method for GaugeDec {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "Gauge";
    const NAME: &'static str = "dec";
    const PARAMETERS: &'static [&'static str] = &["self", "amount=1"];

    #[inline]
    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        match amount_or_one(call) {
            Some(amount) => add(call, -amount),
            None => Ok(None),
        }
    }

    known!();
}

/// `Gauge.set(value)`.
pub(super) struct GaugeSet;

impl Method for GaugeSet {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "Gauge";
    const NAME: &'static str = "set";
    const PARAMETERS: &'static [&'static str] = &["self", "value"];

    #[inline]
    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        // Hardly any program gives `value` by its name.
        let ([argument], None) = (call.positional, call.names) else { return Ok(None) };
        let Some(number) = number(argument) else { return Ok(None) };
        let py = call.py();
        let Some(value) = value(call.receiver, intern!(py, "_value"), "set")? else {
            return Ok(None);
        };
        let value = value.get();
        let is_set = if value.shortcut.is_most_recent {
            unix_time::<Self>(call)?.is_some_and(|now| value.try_set_at(number, now))
        } else {
            value.try_set(number)
        };
        Ok(done(call, is_set))
    }

    known!();
}

/// `Summary.observe(amount)`.
pub(super) struct SummaryObserve;

impl Method for SummaryObserve {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "Summary";
    const NAME: &'static str = "observe";
    const PARAMETERS: &'static [&'static str] = &["self", "amount"];

    #[inline]
    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        let py = call.py();
        let Some(argument) = amount(call) else { return Ok(None) };
        let Some(number) = number(argument) else { return Ok(None) };
        let Some(count) = value(call.receiver, intern!(py, "_count"), "inc")? else {
            return Ok(None);
        };
        let count = count.get();
        let Some(sum) = sum(count, call.receiver)? else { return Ok(None) };
        if !count.try_inc(1.0) {
            return Ok(None);
        }
        if !sum.get().try_inc(number) {
            call_method(sum.bind(py), intern!(py, "inc"), Some(argument))?;
        }
        Ok(done(call, true))
    }

    known!();
}

/// `Histogram.observe(amount, exemplar=None)`.
pub(super) struct HistogramObserve;

impl Method for HistogramObserve {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "Histogram";
    const NAME: &'static str = "observe";
    const PARAMETERS: &'static [&'static str] = &["self", "amount", "exemplar=None"];

    #[inline]
    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        let py = call.py();
        let (amount, exemplar) = if exemplars::may_be_in(call) {
            let (observed, exemplar) = exemplars::apart(call);
            (amount(&observed), exemplar)
        } else {
            (amount(call), None)
        };
        let Some(number) = amount.and_then(exact_number) else { return Ok(None) };
        let Some(sum) = value(call.receiver, intern!(py, "_sum"), "inc")? else { return Ok(None) };
        let sum = sum.get();
        let Some(buckets) = buckets(sum, call.receiver)? else { return Ok(None) };
        if !sum.try_inc(number) {
            return Ok(None);
        }
        let bucket = buckets.find(number);
        if !bucket.get().try_inc(1.0) {
            let one = 1_i32.into_pyobject(py)?;
            call_method(bucket.bind(py), intern!(py, "inc"), Some(one.as_any()))?;
        }
        if let Some(exemplar) = exemplar {
            exemplars::keep::<Self>(call, bucket.bind(py), exemplar, number)?;
        }
        Ok(done(call, true))
    }

    known!();
}

/// Adds to the only value of the metric.
#[inline]
fn add<'py>(call: &Call<'_, 'py>, amount: f64) -> Outcome<'py> {
    let py = call.py();
    let value = value(call.receiver, intern!(py, "_value"), "inc")?;
    let is_added = value.is_some_and(|value| {
        // `prometheus_client` raises an error: nothing can be added to what was set last.
        !value.get().shortcut.is_most_recent && value.get().try_inc(amount)
    });
    Ok(done(call, is_added))
}

/// The sum of the summary whose count is given; none if it is not ours.
#[inline]
fn sum<'a>(count: &'a Value, summary: &Bound<'_, PyAny>) -> PyResult<Option<&'a Py<Value>>> {
    match count.shortcut.others.get() {
        Some(Others::Sum(sum)) => Ok(Some(sum)),
        _ => look_up_sum(count, summary),
    }
}

#[cold]
fn look_up_sum<'a>(
    count: &'a Value,
    summary: &Bound<'_, PyAny>,
) -> PyResult<Option<&'a Py<Value>>> {
    let Some(sum) = value(summary, intern!(summary.py(), "_sum"), "inc")? else { return Ok(None) };
    let others = count.shortcut.others.get_or_init(|| Box::new(Others::Sum(sum.unbind())));
    Ok(if let Others::Sum(sum) = others { Some(sum) } else { None })
}

/// The buckets of the histogram whose sum is given; none if not all of them are ours.
#[inline]
fn buckets<'a>(sum: &'a Value, histogram: &Bound<'_, PyAny>) -> PyResult<Option<&'a Buckets>> {
    match sum.shortcut.others.get() {
        Some(Others::Buckets(buckets)) => Ok(Some(buckets)),
        _ => look_up_buckets(sum, histogram),
    }
}

#[cold]
fn look_up_buckets<'a>(
    sum: &'a Value,
    histogram: &Bound<'_, PyAny>,
) -> PyResult<Option<&'a Buckets>> {
    let py = histogram.py();
    let Some(bounds) = histogram.getattr_opt(intern!(py, "_upper_bounds"))? else {
        return Ok(None);
    };
    let Some(values) = histogram.getattr_opt(intern!(py, "_buckets"))? else { return Ok(None) };
    let (Ok(bounds), Ok(values)) = (bounds.extract(), values.cast_exact::<PyList>()) else {
        return Ok(None);
    };
    let mut ours = Vec::with_capacity(values.len());
    for value in values {
        let Some(found) = value_behind(value, "inc")? else { return Ok(None) };
        ours.push(found.unbind());
    }
    let Some(found) = Buckets::new(bounds, ours) else { return Ok(None) };
    let others = sum.shortcut.others.get_or_init(|| Box::new(Others::Buckets(found)));
    Ok(if let Others::Buckets(buckets) = others { Some(buckets) } else { None })
}

/// The time of a call; none if it is no float.
fn unix_time<M: Method>(call: &Call<'_, '_>) -> PyResult<Option<f64>> {
    let Some(stock) = M::known().stocks.of(call.receiver) else { return Ok(None) };
    let Some(now) = stock.unix_time(call.py())? else { return Ok(None) };
    Ok(now.cast_exact::<PyFloat>().ok().map(PyFloatMethods::value))
}

/// [`Call::none`] if all is done; else `prometheus_client`'s function is to do it.
#[inline]
fn done<'py>(call: &Call<'_, 'py>, is_done: bool) -> Option<Bound<'py, PyAny>> {
    is_done.then(|| call.none())
}

/// The value of ours in which the metric counts when its function calls the method `method` of its
/// attribute `name`; none if there is no such value.
#[inline]
fn value<'py>(
    metric: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    method: &'static str,
) -> PyResult<Option<Bound<'py, Value>>> {
    metric.getattr_opt(name)?.map_or(Ok(None), |value| value_behind(value, method))
}

/// The value of ours that counts when the method `method` of `value` is called; none if there is none.
#[inline]
pub(super) fn value_behind<'py>(
    value: Bound<'py, PyAny>,
    method: &'static str,
) -> PyResult<Option<Bound<'py, Value>>> {
    match value.cast_into() {
        Ok(value) => Ok(Some(value)),
        Err(other) => stand_in(&other.into_inner(), method),
    }
}

/// The value of ours whose method a value of `prometheus_client`'s has as an attribute: `install()`
/// gives it one, where the metric was made before.
#[cold]
fn stand_in<'py>(
    value: &Bound<'py, PyAny>,
    method: &'static str,
) -> PyResult<Option<Bound<'py, Value>>> {
    let py = value.py();
    let Some(found) = value.getattr_opt(method)? else { return Ok(None) };
    let Ok(found) = found.cast_exact::<PyCFunction>() else { return Ok(None) };
    let Ok(ours) = found.getattr(intern!(py, "__self__"))?.cast_into::<Value>() else {
        return Ok(None);
    };
    let is_same = found.getattr(intern!(py, "__name__"))?.eq(method)?;
    Ok(is_same.then_some(ours))
}

/// The argument `amount` or, if there is none, what counts as one.
#[inline]
fn amount_or_one(call: &Call<'_, '_>) -> Option<f64> {
    if call.count() == 0 { Some(1.0) } else { number(amount(call)?) }
}

/// The argument `amount`; none if there is another argument.
#[inline]
fn amount<'a, 'py>(call: &Call<'a, 'py>) -> Option<&'a Bound<'py, PyAny>> {
    match (call.positional, call.names) {
        ([amount], None) => Some(amount),
        ([], Some(_)) => named_amount(call),
        _ => None,
    }
}

fn named_amount<'a, 'py>(call: &Call<'a, 'py>) -> Option<&'a Bound<'py, PyAny>> {
    let name = call.names?.get_item(0).ok()?;
    let [amount] = call.by_keyword else { return None };
    name.is(intern!(call.py(), "amount")).then_some(amount)
}

/// A plain number as `prometheus_client` counts it.
#[inline]
fn number(argument: &Bound<'_, PyAny>) -> Option<f64> {
    if let Ok(float) = argument.cast_exact::<PyFloat>() {
        return Some(float.value());
    }
    #[allow(clippy::cast_precision_loss)] // As float() rounds it.
    whole_number(argument).map(|number| number as f64)
}

/// As [`number`], if comparing it with a float is the same as comparing two floats.
#[inline]
fn exact_number(argument: &Bound<'_, PyAny>) -> Option<f64> {
    if let Ok(float) = argument.cast_exact::<PyFloat>() {
        return Some(float.value()).filter(|number| !number.is_nan());
    }
    #[allow(clippy::cast_precision_loss)] // Nothing is lost.
    whole_number(argument)
        .filter(|number| (-MAX_EXACT..=MAX_EXACT).contains(number))
        .map(|number| number as f64)
}

#[inline]
fn whole_number(argument: &Bound<'_, PyAny>) -> Option<i64> {
    // A bool is no exact `int`: `prometheus_client` counts it.
    argument.cast_exact::<PyInt>().ok()?.extract().ok()
}
