//! `_metric_init`, with which a metric or child makes the values that it counts in.
//!
//! All values of one metric are made at once, and where `MultiProcessValue` has made the class that is
//! `prometheus_client.values.ValueClass` at the moment. All else is left to `prometheus_client`.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple, PyType};

use super::descriptor::Call;
use super::method::{Known, Method, Outcome, known};
use super::stock::Stock;
use crate::count::head_of;
use crate::float::{ExponentStyle, float_to_string};
use crate::format::{BOUND_LABEL, write_key, write_key_noting_bound};
use crate::python::class::{ValueClass, label_pairs, texts_of};
use crate::python::once::intern;
use crate::python::value::{is_ours, objects_of};

/// Up to here all versions of `prometheus_client` write a bound as its shortest digits.
const PLAIN_BOUND_MAX: f64 = 1e6;

/// `Counter._metric_init()`.
pub(super) struct CounterInit;

impl Method for CounterInit {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "Counter";
    const NAME: &'static str = "_metric_init";
    const PARAMETERS: &'static [&'static str] = &["self"];
    const NAMES: &'static [&'static str] = &[
        "values",
        "ValueClass",
        "_type",
        "_name",
        "_labelnames",
        "_labelvalues",
        "_documentation",
        "_value",
        "time",
        "_created",
    ];

    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        init(call, Self::known(), &[(intern!(call.py(), "_value"), "_total")], false)
    }

    known!();
}

/// `Gauge._metric_init()`.
pub(super) struct GaugeInit;

impl Method for GaugeInit {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "Gauge";
    const NAME: &'static str = "_metric_init";
    const PARAMETERS: &'static [&'static str] = &["self"];
    const NAMES: &'static [&'static str] = &[
        "values",
        "ValueClass",
        "_type",
        "_name",
        "_labelnames",
        "_labelvalues",
        "_documentation",
        "_multiprocess_mode",
        "_value",
    ];

    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        init(call, Self::known(), &[(intern!(call.py(), "_value"), "")], true)
    }

    known!();
}

/// `Summary._metric_init()`.
pub(super) struct SummaryInit;

impl Method for SummaryInit {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "Summary";
    const NAME: &'static str = "_metric_init";
    const PARAMETERS: &'static [&'static str] = &["self"];
    const NAMES: &'static [&'static str] = &[
        "values",
        "ValueClass",
        "_type",
        "_name",
        "_labelnames",
        "_labelvalues",
        "_documentation",
        "_count",
        "_sum",
        "time",
        "_created",
    ];

    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        let py = call.py();
        let values = [(intern!(py, "_count"), "_count"), (intern!(py, "_sum"), "_sum")];
        init(call, Self::known(), &values, false)
    }

    known!();
}

/// `Histogram._metric_init()`.
pub(super) struct HistogramInit;

impl Method for HistogramInit {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "Histogram";
    const NAME: &'static str = "_metric_init";
    const PARAMETERS: &'static [&'static str] = &["self"];
    const NAMES: &'static [&'static str] = &[
        "_buckets",
        "time",
        "_created",
        "_labelnames",
        "values",
        "ValueClass",
        "_type",
        "_name",
        "_labelvalues",
        "_documentation",
        "_sum",
        "_upper_bounds",
        "append",
        "floatToGoString",
    ];

    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        let (py, metric) = (call.py(), call.receiver);
        let Some(maker) = Maker::new(call, Self::known(), false)? else { return Ok(None) };
        let Some(bounds) = maker.bounds()? else { return Ok(None) };
        let Some(values) = maker.values(&["_sum"], &bounds)? else { return Ok(None) };
        let [sum, buckets @ ..] = values.as_slice() else { return Ok(None) };
        metric.setattr(intern!(py, "_buckets"), PyList::new(py, buckets)?)?;
        metric.setattr(intern!(py, "_created"), maker.stock.unix_time(py)?)?;
        metric.setattr(intern!(py, "_sum"), sum)?;
        Ok(Some(call.none()))
    }

    known!();
}

/// Gives a metric its values: each as an attribute of this name, of the sample with this suffix.
fn init<'py>(
    call: &Call<'_, 'py>,
    known: &'static Known,
    values: &[(&Bound<'py, PyString>, &str)],
    is_gauge: bool,
) -> Outcome<'py> {
    let (py, metric) = (call.py(), call.receiver);
    let Some(maker) = Maker::new(call, known, is_gauge)? else { return Ok(None) };
    let suffixes: Vec<_> = values.iter().map(|(_, suffix)| *suffix).collect();
    let Some(made) = maker.values(&suffixes, &[])? else { return Ok(None) };
    for ((name, _), value) in values.iter().zip(made) {
        metric.setattr(name, value)?;
    }
    if !is_gauge {
        metric.setattr(intern!(py, "_created"), maker.stock.unix_time(py)?)?;
    }
    Ok(Some(call.none()))
}

/// The class of values that metrics are made with at the moment, if it is one of ours; `globals` are
/// those of the module of metrics.
pub(super) fn shared_class<'py>(
    globals: &Bound<'py, PyDict>,
) -> PyResult<Option<Bound<'py, PyType>>> {
    let py = globals.py();
    let Some(values) = globals.get_item(intern!(py, "values"))? else { return Ok(None) };
    let class = values.getattr(intern!(py, "ValueClass"))?;
    let Ok(class) = class.cast_into::<PyType>() else { return Ok(None) };
    Ok(is_ours(&class)?.then_some(class))
}

/// What is known of a metric whose values are made.
struct Maker<'a, 'py> {
    metric: &'a Bound<'py, PyAny>,
    stock: &'static Stock,
    python_class: Bound<'py, PyType>,
    class: Bound<'py, ValueClass>,
    typ: Bound<'py, PyString>,
    name: Bound<'py, PyString>,
    labels: Vec<[Bound<'py, PyString>; 2]>,
    help_text: Bound<'py, PyString>,
    /// The mode of a gauge; else empty.
    multiprocess_mode: String,
}

impl<'a, 'py> Maker<'a, 'py> {
    /// None if the values are not of our class, or the metric is none as `prometheus_client` makes
    /// them.
    fn new(call: &Call<'a, 'py>, known: &'static Known, is_gauge: bool) -> PyResult<Option<Self>> {
        let (py, metric) = (call.py(), call.receiver);
        let Some(stock) = known.stocks.of(metric).filter(|_| call.count() == 0) else {
            return Ok(None);
        };
        let Some(python_class) = shared_class(stock.globals.bind(py))? else { return Ok(None) };
        let class = python_class.getattr(intern!(py, "_value_class"))?.cast_into::<ValueClass>()?;
        let shared = class.get();
        if shared.asks() || shared.is_patched() || !shared.has_stock_keys(py)? {
            return Ok(None);
        }
        let text = |name| metric.getattr(name).map(|text| text.cast_into::<PyString>().ok());
        let tuple = |name| metric.getattr(name).map(|texts| texts.cast_into::<PyTuple>().ok());
        let mode = if is_gauge {
            text(intern!(py, "_multiprocess_mode"))?
        } else {
            Some(PyString::intern(py, ""))
        };
        let (Some(typ), Some(name), Some(help_text), Some(names), Some(label_values), Some(mode)) = (
            text(intern!(py, "_type"))?,
            text(intern!(py, "_name"))?,
            text(intern!(py, "_documentation"))?,
            tuple(intern!(py, "_labelnames"))?,
            tuple(intern!(py, "_labelvalues"))?,
            mode,
        ) else {
            return Ok(None);
        };
        let Some(labels) = label_pairs(&names, &label_values) else { return Ok(None) };
        let multiprocess_mode = mode.to_str()?.to_owned();
        Ok(Some(Self {
            metric,
            stock,
            python_class,
            class,
            typ,
            name,
            labels,
            help_text,
            multiprocess_mode,
        }))
    }

    /// A value of the sample with each of these suffixes, and one of each bucket; none if a text has
    /// no UTF-8.
    fn values(
        &self,
        suffixes: &[&str],
        bounds: &[String],
    ) -> PyResult<Option<Vec<Bound<'py, PyAny>>>> {
        let (Ok(typ), Ok(name), Ok(help_text), Some(mut labels)) = (
            self.typ.to_str(),
            self.name.to_str(),
            self.help_text.to_str(),
            texts_of(&self.labels),
        ) else {
            return Ok(None);
        };
        let mut heads = Vec::with_capacity(suffixes.len() + bounds.len());
        for suffix in suffixes {
            let key = write_key(name, &[name, suffix].concat(), &mut labels, help_text);
            heads.push(head_of([&key])?);
        }
        if !bounds.is_empty() {
            labels.push((BOUND_LABEL, ""));
            let sample = [name, "_bucket"].concat();
            let (key, place) = write_key_noting_bound(name, &sample, &mut labels, help_text);
            let (before, after) = key.split_at(place);
            for bound in bounds {
                heads.push(head_of([before, bound, after])?);
            }
        }
        let mode = self.multiprocess_mode.as_str();
        let values = ValueClass::make(&self.class, typ, mode, heads)?;
        objects_of(&self.python_class, &self.class, &self.typ, mode, values).map(Some)
    }

    /// The texts of the upper bounds of a histogram's buckets; none if these are no floats.
    fn bounds(&self) -> PyResult<Option<Vec<String>>> {
        let py = self.metric.py();
        let bounds = self.metric.getattr(intern!(py, "_upper_bounds"))?;
        let Ok(bounds) = bounds.extract::<Vec<f64>>() else { return Ok(None) };
        let globals = self.stock.globals.bind(py);
        let Some(to_text) = globals.get_item(intern!(py, "floatToGoString"))? else {
            return Ok(None);
        };
        let text = |bound: f64| {
            if bound.abs() < PLAIN_BOUND_MAX || bound == f64::INFINITY {
                return Ok(float_to_string(bound, ExponentStyle::TwoDigits));
            }
            to_text.call1((bound,))?.extract()
        };
        bounds.into_iter().map(text).collect::<PyResult<_>>().map(Some)
    }
}
