//! Puts native methods on `prometheus_client`'s classes, and takes them away.

use std::ffi::CString;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyModule, PyString, PyTuple, PyType};

use super::children;
use super::counting::{CounterInc, GaugeDec, GaugeInc, GaugeSet, HistogramObserve, SummaryObserve};
use super::function::GaugeSetFunction;
use super::labels::Labels;
use super::limit;
use super::making::{CounterInit, GaugeInit, HistogramInit, SummaryInit};
use super::method::Method;
use super::removal::{Clear, Remove, RemoveByLabels};
use super::stock::Stock;
use super::timing::{TimerEnter, TimerExit, TrackerEnter, TrackerExit};

/// What is done with a native method.
struct Native {
    put: fn(Python<'_>) -> PyResult<()>,
    take_away: fn(Python<'_>) -> PyResult<()>,
}

impl Native {
    const fn of<M: Method>() -> Self {
        Self { put: put::<M>, take_away: take_away::<M> }
    }
}

/// The methods that are done natively if metrics count in values of ours.
const COUNTING: [Native; 18] = [
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
    Native::of::<TimerEnter>(),
    Native::of::<TimerExit>(),
    Native::of::<TrackerEnter>(),
    Native::of::<TrackerExit>(),
];

/// Has methods of `prometheus_client`'s classes done natively: `labels`, and if metrics count in
/// values of ours, the others, too.
#[pyfunction]
#[pyo3(signature = (*, counting))]
pub(crate) fn install_methods(py: Python<'_>, counting: bool) -> PyResult<()> {
    limit::read_environment(py)?;
    // `labels` is noted before it is replaced: `watch` would not find it any more.
    children::NEEDED.iter().try_for_each(|watch| watch(py))?;
    put::<Labels>(py)?;
    if counting {
        COUNTING.iter().try_for_each(|method| (method.put)(py))?;
    }
    Ok(())
}

/// Puts `prometheus_client`'s own methods back.
#[pyfunction]
pub(crate) fn remove_methods(py: Python<'_>) -> PyResult<()> {
    take_away::<Labels>(py)?;
    COUNTING.iter().try_for_each(|method| (method.take_away)(py))
}

/// Puts the native method `M` in the place of `prometheus_client`'s function.
fn put<M: Method>(py: Python<'_>) -> PyResult<()> {
    let Some((class, function)) = watch::<M>(py)? else { return Ok(()) };
    let (name, text) = (CString::new(M::NAME)?, text_of::<M>(&function)?);
    let descriptor = M::known().definition.descriptor::<M>(&class, name, text)?;
    class.setattr(M::NAME, descriptor)
}

/// Notes `prometheus_client`'s function in the place of `M`, and gives it and its class; none if
/// another function is there.
pub(super) fn watch<M: Method>(
    py: Python<'_>,
) -> PyResult<Option<(Bound<'_, PyType>, Bound<'_, PyAny>)>> {
    let module = py.import(M::MODULE)?;
    let class = module.getattr(M::CLASS)?.cast_into::<PyType>()?;
    let Some(function) = own_attribute::<M>(&class)? else { return Ok(None) };
    if !is_stock::<M>(&function, &module)? {
        return Ok(None);
    }
    let stocks = &M::known().stocks;
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

fn take_away<M: Method>(py: Python<'_>) -> PyResult<()> {
    for stock in M::known().stocks.iter() {
        let class = stock.class.bind(py);
        let Some(found) = own_attribute::<M>(class)? else { continue };
        // The class is written in Python: a method descriptor of it can only be ours.
        if found.get_type().name()? == "method_descriptor" {
            class.setattr(M::NAME, &stock.function)?;
        }
    }
    Ok(())
}

/// What the class itself has under the name of the method.
fn own_attribute<'py, M: Method>(
    class: &Bound<'py, PyType>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let attributes = class.getattr(intern!(class.py(), "__dict__"))?;
    Ok(attributes.get_item(M::NAME).ok())
}

/// Whether `function` is that of the module, with the parameters that the native method has.
fn is_stock<M: Method>(
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
    if !name.eq(format!("{}.{}", M::CLASS, M::NAME))? {
        return Ok(false);
    }
    if !M::NAMES.is_empty() {
        let mut used: Vec<String> = code.getattr(intern!(py, "co_names"))?.extract()?;
        let mut known = M::NAMES.to_vec();
        used.sort_unstable();
        known.sort_unstable();
        if used != known {
            return Ok(false);
        }
    }
    let names = code.getattr(intern!(py, "co_varnames"))?.cast_into::<PyTuple>()?;
    let by_position: usize = code.getattr(intern!(py, "co_argcount"))?.extract()?;
    let starred = M::PARAMETERS.iter().filter(|parameter| parameter.starts_with('*')).count();
    let known = M::PARAMETERS.iter().map(|parameter| {
        let name = parameter.trim_start_matches('*');
        name.split_once('=').map_or(name, |(name, _)| name)
    });
    Ok(by_position + starred == M::PARAMETERS.len()
        && names.len() >= M::PARAMETERS.len()
        && names
            .iter()
            .zip(known)
            .all(|(name, known)| name.eq(known).is_ok_and(|is_equal| is_equal)))
}

/// The text signature, from which `inspect.signature` reads, and the docstring of `function`.
fn text_of<M: Method>(function: &Bound<'_, PyAny>) -> PyResult<CString> {
    let docstring = function.getattr(intern!(function.py(), "__doc__"))?;
    // `str()` would call signal handlers, and what one raises would be lost.
    let docstring = docstring.cast::<PyString>().ok().map_or(Ok(""), |text| text.to_str())?;
    let parameters = M::PARAMETERS.join(", ");
    Ok(CString::new(format!("{}(${parameters})\n--\n\n{docstring}", M::NAME))?)
}
