//! How many label sets a metric may have in this process.
//!
//! A label whose values come from outside, such as the path of a request, can have any number of
//! them. From its limit on a metric gives one child for all further label sets.

use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet, PyTuple};

use super::descriptor::Call;
use super::method::{Method, Outcome};
use crate::count;
use crate::order::sort_by_number;
use crate::python::once::intern;
use crate::python::settings;

/// The value of each label of the child that stands for the label sets beyond the limit.
const OVERFLOW: &str = "__overflow__";
/// A metric without a limit is warned of when it has so many label sets.
const MANY: usize = 10_000;
/// The attribute of a metric with a limit of its own.
const OWN_LIMIT: &str = "_multiprom_limit";
/// The attribute of a metric that was warned of: what counts its overflows, or None.
const OVERFLOWS: &str = "_multiprom_overflows";

/// The limit of metrics that have none of their own; 0 for no limit.
static LIMIT: AtomicUsize = AtomicUsize::new(0);

/// Takes the limit of all metrics from the environment.
pub(super) fn read_environment(py: Python<'_>) -> PyResult<()> {
    LIMIT.store(settings::series_limit(py)?, Ordering::Relaxed);
    Ok(())
}

/// Sets how many label sets `metric` may have in a process; None for any number.
#[pyfunction]
pub(crate) fn limit_series(metric: &Bound<'_, PyAny>, limit: Option<i64>) -> PyResult<()> {
    if limit.is_some_and(|limit| limit < 1) {
        return Err(PyValueError::new_err("a metric has one label set at least"));
    }
    if metric.getattr_opt(intern!(metric.py(), "_metrics"))?.is_none() {
        return Err(PyTypeError::new_err(format!("not a metric with labels: {metric:?}")));
    }
    metric.setattr(OWN_LIMIT, limit.unwrap_or_default())
}

/// What `labels` gives for a label set that `children` do not have: none if `prometheus_client` is
/// to make a child, or to raise an error.
#[cold]
pub(super) fn beyond<'py, M: Method>(
    call: &Call<'_, 'py>,
    children: &Bound<'py, PyDict>,
) -> Outcome<'py> {
    let (py, metric) = (call.py(), call.receiver);
    let own = metric.getattr_opt(intern!(py, OWN_LIMIT))?;
    let limit: usize = match own {
        Some(own) => own.extract()?,
        None => LIMIT.load(Ordering::Relaxed),
    };
    let count = children.len();
    if limit == 0 {
        if count + 1 >= MANY && metric.getattr_opt(intern!(py, OVERFLOWS))?.is_none() {
            metric.setattr(intern!(py, OVERFLOWS), py.None())?;
            let cause = format!(
                "has {MANY} label sets in this process, and each takes memory and time of a scrape: \
                 limit them with MULTIPROM_SERIES_LIMIT or multiprom.limit_series"
            );
            warn(metric, children, &cause)?;
        }
        return Ok(None);
    }
    // The child of the overflow is one of those that the limit allows.
    if count + 1 < limit {
        return Ok(None);
    }
    let names = metric.getattr(intern!(py, "_labelnames"))?.cast_into::<PyTuple>()?;
    let overflow = PyTuple::new(py, (0..names.len()).map(|_| OVERFLOW))?;
    let found = children.get_item(&overflow)?;
    if count < limit && found.is_some() {
        return Ok(None);
    }
    let Some(labels) = labels(call, &names)? else { return Ok(None) };
    if let Some(child) = children.get_item(&labels)? {
        return Ok(Some(child));
    }
    let Some(stock) = M::known().stocks.of(metric) else { return Ok(None) };
    let make = || {
        let arguments = [metric.clone()].into_iter().chain(overflow.iter());
        stock.function.bind(py).call1(PyTuple::new(py, arguments.collect::<Vec<_>>())?)
    };
    let child = found.map_or_else(make, Ok)?;
    count_overflow::<M>(metric, children, limit)?;
    Ok(Some(child))
}

/// The values of the labels as texts; none if the arguments are not those of the metric.
fn labels<'py>(
    call: &Call<'_, 'py>,
    names: &Bound<'py, PyTuple>,
) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let py = call.py();
    if call.count() != names.len() {
        return Ok(None);
    }
    let mut texts = Vec::with_capacity(names.len());
    match call.names {
        None => {
            for value in call.positional {
                texts.push(value.str()?);
            }
        }
        Some(given) => {
            for name in names {
                let Ok(place) = given.index(&name) else { return Ok(None) };
                let Some(value) = call.by_keyword.get(place) else { return Ok(None) };
                texts.push(value.str()?);
            }
        }
    }
    PyTuple::new(py, texts).map(Some)
}

/// Counts that a label set went into the overflow.
fn count_overflow<'py, M: Method>(
    metric: &Bound<'py, PyAny>,
    children: &Bound<'py, PyDict>,
    limit: usize,
) -> PyResult<()> {
    let py = metric.py();
    let known = metric.getattr_opt(intern!(py, OVERFLOWS))?.filter(|known| !known.is_none());
    let counter = match known {
        None => first_overflow::<M>(metric, children, limit)?,
        known => known,
    };
    counter.map_or(Ok(()), |counter| counter.call_method0(intern!(py, "inc")).map(drop))
}

/// Makes what counts the overflows of a metric, and warns of the first.
fn first_overflow<'py, M: Method>(
    metric: &Bound<'py, PyAny>,
    children: &Bound<'py, PyDict>,
    limit: usize,
) -> Outcome<'py> {
    let py = metric.py();
    let Some(stock) = M::known().stocks.of(metric) else { return Ok(None) };
    let Some(class) = stock.globals.bind(py).get_item(intern!(py, "Counter"))? else {
        return Ok(None);
    };
    let keywords = PyDict::new(py);
    keywords.set_item("registry", py.None())?;
    let help = "Label sets of a metric beyond its limit, counted as __overflow__.";
    let arguments = ("multiprom_series_overflow", help, ["metric"]);
    let counter = class.call(arguments, Some(&keywords))?;
    // This counter has no limit, whatever that of other metrics is: a metric is one label set of it.
    counter.setattr(OWN_LIMIT, 0)?;
    let name = metric.getattr(intern!(py, "_name"))?;
    let counter = counter.call_method1(intern!(py, "labels"), (name,))?;
    metric.setattr(intern!(py, OVERFLOWS), &counter)?;
    let cause = format!(
        "has {} in this process, which is its limit: all others are counted as {OVERFLOW}",
        many(limit, "label set")
    );
    warn(metric, children, &cause)?;
    Ok(Some(counter))
}

/// A number of things, in words.
fn many(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// Warns of a metric, and says which of its labels make its label sets many.
fn warn(metric: &Bound<'_, PyAny>, children: &Bound<'_, PyDict>, cause: &str) -> PyResult<()> {
    let py = metric.py();
    let names = metric.getattr(intern!(py, "_labelnames"))?.cast_into::<PyTuple>()?;
    // A copy: other threads may make children meanwhile.
    let known = children.keys();
    let mut labels = Vec::with_capacity(names.len());
    for (place, name) in names.iter().enumerate() {
        let values = PySet::empty(py)?;
        for labels in &known {
            values.add(labels.get_item(place)?)?;
        }
        labels.push((values.len(), name));
    }
    sort_by_number(&mut labels, |(count, _)| u64::MAX - *count as u64);
    let labels: Vec<_> = labels
        .into_iter()
        .map(|(count, name)| format!("'{name}' has {}", many(count, "value")))
        .collect();
    let name = metric.getattr(intern!(py, "_name"))?;
    let text = format!("metric '{name}' {cause} (label {})", labels.join(", "));
    // Not now: the program may hold a lock that a log handler needs.
    py.detach(|| count::warn_later(text));
    Ok(())
}
