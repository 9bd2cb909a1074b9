//! New children of labelled metrics of `prometheus_client`'s own classes.
//!
//! A child is what the constructor makes of it, but what it has in common with its metric is taken
//! from there, where it was checked. No lock is held: of two threads that make the same child the
//! first to put it into `_metrics` wins, and both count in it. A thread that makes it with
//! `prometheus_client`'s function at that moment has another child, which counts in the same place: so
//! only children whose values are of our class are made here.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

use super::descriptor::{call_method, instance_of};
use super::making::{CounterInit, SummaryInit, shared_class};
use super::method::{About, Known, Method, Outcome, known};
use crate::python::once::intern;

/// What must be `prometheus_client`'s own, as it is known here, so that children can be made.
pub(super) const NEEDED: [About; 4] = [
    About::of::<MakingLabels>(),
    About::of::<BaseConstructor>(),
    About::of::<GaugeConstructor>(),
    About::of::<HistogramConstructor>(),
];

/// `MetricWrapperBase.labels`, as far as it makes children.
struct MakingLabels;

impl Method for MakingLabels {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "MetricWrapperBase";
    const NAME: &'static str = "labels";
    const PARAMETERS: &'static [&'static str] = &["self", "*labelvalues", "**labelkwargs"];
    const NAMES: &'static [&'static str] = &[
        "_labelnames",
        "ValueError",
        "_labelvalues",
        "format",
        "dict",
        "zip",
        "sorted",
        "tuple",
        "len",
        "_lock",
        "_metrics",
        "getattr",
        "_name",
        "_kwargs",
        "pop",
        "__class__",
        "_documentation",
    ];

    known!();
}

/// The parameters of all constructors.
const COMMON: [&str; 9] = [
    "self",
    "name",
    "documentation",
    "labelnames",
    "namespace",
    "subsystem",
    "unit",
    "registry",
    "_labelvalues",
];

/// `MetricWrapperBase.__init__`.
struct BaseConstructor;

impl Method for BaseConstructor {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "MetricWrapperBase";
    const NAME: &'static str = "__init__";
    const PARAMETERS: &'static [&'static str] = &COMMON;
    const NAMES: &'static [&'static str] = &[
        "_original_name",
        "_namespace",
        "_subsystem",
        "_build_full_name",
        "_type",
        "_name",
        "_validate_labelnames",
        "_labelnames",
        "tuple",
        "_labelvalues",
        "_kwargs",
        "_documentation",
        "_unit",
        "_validate_metric_name",
        "_is_parent",
        "Lock",
        "_lock",
        "_metrics",
        "_is_observable",
        "_metric_init",
        "register",
    ];

    known!();
}

/// `Gauge.__init__`.
struct GaugeConstructor;

impl Method for GaugeConstructor {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "Gauge";
    const NAME: &'static str = "__init__";
    const PARAMETERS: &'static [&'static str] = &[
        "self",
        "name",
        "documentation",
        "labelnames",
        "namespace",
        "subsystem",
        "unit",
        "registry",
        "_labelvalues",
        "multiprocess_mode",
    ];
    const NAMES: &'static [&'static str] = &[
        "_multiprocess_mode",
        "_MULTIPROC_MODES",
        "ValueError",
        "super",
        "__init__",
        "_kwargs",
        "_MOST_RECENT_MODES",
        "_is_most_recent",
    ];

    known!();
}

/// `Histogram.__init__`.
struct HistogramConstructor;

impl Method for HistogramConstructor {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "Histogram";
    const NAME: &'static str = "__init__";
    const PARAMETERS: &'static [&'static str] = &[
        "self",
        "name",
        "documentation",
        "labelnames",
        "namespace",
        "subsystem",
        "unit",
        "registry",
        "_labelvalues",
        "buckets",
    ];
    const NAMES: &'static [&'static str] = &["_prepare_buckets", "super", "__init__", "_kwargs"];

    known!();
}

/// What the constructor of a class gives its children besides what all have.
struct Extra<'py> {
    /// The only entry of `_kwargs`.
    keyword: Option<&'py Bound<'py, PyString>>,
    /// The attribute of its metric that a child gets before all others.
    before: Option<&'py Bound<'py, PyString>>,
    /// The one that it gets after its values.
    after: Option<&'py Bound<'py, PyString>>,
}

/// Makes the child of `metric` that has these labels, and puts it among the children that are known;
/// none if the metric is not as `prometheus_client` makes it.
pub(super) fn make<'py>(
    metric: &Bound<'py, PyAny>,
    known: &Bound<'py, PyDict>,
    labels: &Bound<'py, PyTuple>,
) -> Outcome<'py> {
    let py = metric.py();
    let mut known = known.clone();
    loop {
        let Some(child) = construct(metric, labels)? else { return Ok(None) };
        let child = known.call_method1(intern!(py, "setdefault"), (labels, child))?;
        let now = metric.getattr(intern!(py, "_metrics"))?;
        if now.is(&known) {
            return Ok(Some(child));
        }
        // The metric was cleared meanwhile. This child may be withdrawn, or would count where no `clear`
        // finds it. So another one is made, and natively: `prometheus_client`'s function would put its
        // child in the place of one that another thread has just made natively.
        let Ok(now) = now.cast_into_exact() else { return Ok(None) };
        known = now;
    }
}

/// What the constructor makes of a child; none if the metric is not as `prometheus_client` makes it.
fn construct<'py>(metric: &Bound<'py, PyAny>, labels: &Bound<'py, PyTuple>) -> Outcome<'py> {
    let py = metric.py();
    let class = metric.get_type();
    let Some(extra) = extra_of(&class)? else { return Ok(None) };
    let Some(stock) = MakingLabels::known().stocks.of(metric) else { return Ok(None) };
    // Two children of values in memory would count apart. `prometheus_client` takes a lock.
    if shared_class(stock.globals.bind(py))?.is_none() {
        return Ok(None);
    }
    let Some(child) = instance_of(&class)? else { return Ok(None) };
    let take_over = |names: &[&Bound<'py, PyString>]| -> PyResult<bool> {
        for name in names {
            let Some(found) = metric.getattr_opt(name)? else { return Ok(false) };
            child.setattr(name, found)?;
        }
        Ok(true)
    };
    // In the order of the constructor: so all instances share one table of their attributes' names.
    let first = [
        intern!(py, "_original_name"),
        intern!(py, "_namespace"),
        intern!(py, "_subsystem"),
        intern!(py, "_name"),
        intern!(py, "_labelnames"),
    ];
    if !take_over(extra.before.as_slice())? || !take_over(&first)? {
        return Ok(None);
    }
    let has_as_many = child
        .getattr(intern!(py, "_labelnames"))?
        .cast_exact()
        .is_ok_and(|names: &Bound<'_, PyTuple>| !names.is_empty() && names.len() == labels.len());
    if !has_as_many || metric.getattr(intern!(py, "_labelvalues"))?.is_truthy()? {
        return Ok(None);
    }
    child.setattr(intern!(py, "_labelvalues"), labels)?;
    let Some(keywords) = keywords_of(metric, extra.keyword)? else { return Ok(None) };
    child.setattr(intern!(py, "_kwargs"), keywords)?;
    if !take_over(&[intern!(py, "_documentation"), intern!(py, "_unit")])? {
        return Ok(None);
    }
    call_method(&child, intern!(py, "_metric_init"), None)?;
    if !take_over(extra.after.as_slice())? {
        return Ok(None);
    }
    Ok(Some(child))
}

/// None if the class is not one whose constructor is known.
fn extra_of<'py>(class: &Bound<'py, PyType>) -> PyResult<Option<Extra<'py>>> {
    let py = class.py();
    let base = class.getattr(intern!(py, "__base__"))?;
    let Ok(base) = base.cast_into::<PyType>() else { return Ok(None) };
    let init = intern!(py, "__init__");
    let is_init_of = |class: &Bound<'py, PyType>, known: &'static Known| -> PyResult<bool> {
        let stock = known.stocks.of_class(class);
        let Some(stock) = stock else { return Ok(false) };
        Ok(class.getattr(init)?.is(&stock.function))
    };
    if MakingLabels::known().stocks.of_class(&base).is_none()
        || !is_init_of(&base, BaseConstructor::known())?
    {
        return Ok(None);
    }
    let has_no_init = CounterInit::known().stocks.of_class(class).is_some()
        || SummaryInit::known().stocks.of_class(class).is_some();
    if has_no_init {
        let is_inherited = class.getattr(init)?.is(&base.getattr(init)?);
        return Ok(is_inherited.then_some(Extra { keyword: None, before: None, after: None }));
    }
    if is_init_of(class, GaugeConstructor::known())? {
        let mode = intern!(py, "_multiprocess_mode");
        return Ok(Some(Extra {
            keyword: Some(intern!(py, "multiprocess_mode")),
            before: Some(mode),
            after: Some(intern!(py, "_is_most_recent")),
        }));
    }
    if is_init_of(class, HistogramConstructor::known())? {
        return Ok(Some(Extra {
            keyword: Some(intern!(py, "buckets")),
            before: Some(intern!(py, "_upper_bounds")),
            after: None,
        }));
    }
    Ok(None)
}

/// The keyword arguments with which the metric was made; none if there are others than its class has.
///
/// A child of the constructor's has a dictionary of its own, which it never changes: one for all takes
/// 64 to 232 bytes less for each child.
fn keywords_of<'py>(
    metric: &Bound<'py, PyAny>,
    keyword: Option<&Bound<'py, PyString>>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let Some(found) = metric.getattr_opt(intern!(metric.py(), "_kwargs"))? else {
        return Ok(None);
    };
    let Ok(found) = found.cast_into_exact::<PyDict>() else { return Ok(None) };
    let is_usual = found.len() == usize::from(keyword.is_some())
        && keyword.map_or(Ok(true), |keyword| found.contains(keyword))?;
    Ok(is_usual.then_some(found))
}
