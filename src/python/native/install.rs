//! Puts native methods on `prometheus_client`'s classes, and takes them away.

use std::ffi::CString;

use pyo3::prelude::*;
use pyo3::types::{PyModule, PyString, PyTuple, PyType};

use super::children;
use super::counting::{CounterInc, GaugeDec, GaugeInc, GaugeSet, HistogramObserve, SummaryObserve};
use super::descriptor::Entry;
use super::function::GaugeSetFunction;
use super::labels::Labels;
use super::limit;
use super::making::{CounterInit, GaugeInit, HistogramInit, SummaryInit};
use super::method::{About, Method};
use super::removal::{Clear, Remove, RemoveByLabels};
use super::stating::{EnumState, InfoInfo};
use super::stock::Stock;
use super::timing::{
    self, HistogramTime, SummaryTime, TimerEnter, TimerExit, TimerNew, TrackerEnter, TrackerExit,
};
use crate::python::once::intern;

/// A method that is done natively.
struct Native {
    about: About,
    entry: Entry,
}

impl Native {
    const fn of<M: Method>() -> Self {
        Self { about: About::of::<M>(), entry: Entry::of::<M>() }
    }
}

const LABELS: Native = Native::of::<Labels>();

/// The methods that are done natively if metrics count in values of ours.
const COUNTING: [Native; 20] = [
    Native::of::<CounterInit>(),
    Native::of::<GaugeInit>(),
    Native::of::<SummaryInit>(),
    Native::of::<HistogramInit>(),
    Native::of::<CounterInc>(),
    Native::of::<GaugeInc>(),
    Native::of::<GaugeDec>(),
    Native::of::<GaugeSet>(),
    Native::of::<GaugeSetFunction>(),
    Native::of::<Remove>(),
    Native::of::<RemoveByLabels>(),
    Native::of::<Clear>(),
    Native::of::<SummaryObserve>(),
    Native::of::<HistogramObserve>(),
    Native::of::<InfoInfo>(),
    Native::of::<EnumState>(),
    Native::of::<TimerEnter>(),
    Native::of::<TimerExit>(),
    Native::of::<TrackerEnter>(),
    Native::of::<TrackerExit>(),
];

/// The methods that make timers. From 3.13 on `CPython` makes instances of classes written in Python
/// faster than native code can ask for them.
const MAKING_TIMERS: [Native; 3] =
    [Native::of::<HistogramTime>(), Native::of::<SummaryTime>(), Native::of::<TimerNew>()];

/// Has methods of `prometheus_client`'s classes done natively: `labels`, and if metrics count in
/// values of ours, the others, too.
#[pyfunction]
#[pyo3(signature = (*, counting))]
pub(crate) fn install_methods(py: Python<'_>, counting: bool) -> PyResult<()> {
    limit::read_environment(py)?;
    // `labels` is noted before it is replaced: `watch` would not find it any more.
    for needed in children::NEEDED.iter().chain([&timing::NEEDED]) {
        watch(py, needed)?;
    }
    put(py, &LABELS)?;
    if counting {
        let timers: &[Native] = if py.version_info() < (3, 13) { &MAKING_TIMERS } else { &[] };
        COUNTING.iter().chain(timers).try_for_each(|native| put(py, native))?;
    }
    Ok(())
}

/// Puts `prometheus_client`'s own methods back.
#[pyfunction]
pub(crate) fn remove_methods(py: Python<'_>) -> PyResult<()> {
    take_away(py, &LABELS.about)?;
    let natives = COUNTING.iter().chain(&MAKING_TIMERS);
    natives.map(|native| &native.about).try_for_each(|about| take_away(py, about))
}

/// Puts a native method in the place of `prometheus_client`'s function.
fn put(py: Python<'_>, Native { about, entry }: &Native) -> PyResult<()> {
    let Some((class, function)) = watch(py, about)? else { return Ok(()) };
    let (name, text) = (CString::new(about.name)?, text_of(about, &function)?);
    let descriptor = (about.known)().definition.descriptor(&class, *entry, name, text)?;
    class.setattr(about.name, descriptor)
}

/// Notes `prometheus_client`'s function in the place of a method, and gives it and its class; none if
/// another function is there.
fn watch<'py>(
    py: Python<'py>,
    about: &About,
) -> PyResult<Option<(Bound<'py, PyType>, Bound<'py, PyAny>)>> {
    let module = py.import(about.module)?;
    let class = module.getattr(about.class)?.cast_into::<PyType>()?;
    let Some(function) = own_attribute(about, &class)? else { return Ok(None) };
    if !is_stock(about, &function, &module)? {
        return Ok(None);
    }
    let stocks = &(about.known)().stocks;
    if stocks.of_class(&class).is_none() {
        let globals = module.dict().unbind();
        stocks.add(Stock {
            class: class.clone().unbind(),
            function: function.clone().unbind(),
            globals,
        });
    }
    Ok(Some((class, function)))
}

fn take_away(py: Python<'_>, about: &About) -> PyResult<()> {
    for stock in (about.known)().stocks.iter() {
        let class = stock.class.bind(py);
        let Some(found) = own_attribute(about, class)? else { continue };
        // The class is written in Python: a method descriptor of it can only be ours.
        if found.get_type().name()? == "method_descriptor" {
            class.setattr(about.name, &stock.function)?;
        }
    }
    Ok(())
}

/// What the class itself has under the name of the method.
fn own_attribute<'py>(
    about: &About,
    class: &Bound<'py, PyType>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let attributes = class.getattr(intern!(class.py(), "__dict__"))?;
    Ok(attributes.get_item(about.name).ok())
}

/// Whether `function` is that of the module, with the parameters that the native method has.
fn is_stock(
    about: &About,
    function: &Bound<'_, PyAny>,
    module: &Bound<'_, PyModule>,
) -> PyResult<bool> {
    let py = function.py();
    let Some(code) = function.getattr_opt(intern!(py, "__code__"))? else { return Ok(false) };
    // A wrapper of a program's may have the name and the parameters of what it wraps.
    if !function.getattr(intern!(py, "__globals__"))?.is(module.dict()) {
        return Ok(false);
    }
    let name = function.getattr(intern!(py, "__qualname__"))?;
    if !name.eq(format!("{}.{}", about.class, about.name))? {
        return Ok(false);
    }
    if !about.names.is_empty() {
        let mut used: Vec<String> = code.getattr(intern!(py, "co_names"))?.extract()?;
        let mut known = about.names.to_vec();
        used.sort_unstable();
        known.sort_unstable();
        if used != known {
            return Ok(false);
        }
    }
    let names = code.getattr(intern!(py, "co_varnames"))?.cast_into::<PyTuple>()?;
    let by_position: usize = code.getattr(intern!(py, "co_argcount"))?.extract()?;
    let starred = about.parameters.iter().filter(|parameter| parameter.starts_with('*')).count();
    let known = about.parameters.iter().map(|parameter| {
        let name = parameter.trim_start_matches('*');
        name.split_once('=').map_or(name, |(name, _)| name)
    });
    Ok(by_position + starred == about.parameters.len()
        && names.len() >= about.parameters.len()
        && names
            .iter()
            .zip(known)
            .all(|(name, known)| name.eq(known).is_ok_and(|is_equal| is_equal)))
}

/// The text signature, from which `inspect.signature` reads, and the docstring of `function`.
fn text_of(about: &About, function: &Bound<'_, PyAny>) -> PyResult<CString> {
    let docstring = function.getattr(intern!(function.py(), "__doc__"))?;
    // `str()` would call signal handlers, and what one raises would be lost.
    let docstring = docstring.cast::<PyString>().ok().map_or(Ok(""), |text| text.to_str())?;
    let parameters = about.parameters.join(", ");
    Ok(CString::new(format!("{}(${parameters})\n--\n\n{docstring}", about.name))?)
}
