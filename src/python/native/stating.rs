//! `Info.info` and `Enum.state`: what a process says of itself, in files that other processes read.
//!
//! `prometheus_client`'s functions keep it in memory, which is where errors come from and what
//! registries of this process show; then it is written.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::descriptor::Call;
use super::making::shared_class;
use super::method::{Method, Outcome, known};
use crate::count::{self, Caller, head_of};
use crate::python::class::ValueClass;
use crate::python::notices::tell;
use crate::python::once::intern;

/// `Info.info(val)`.
pub(super) struct InfoInfo;

impl Method for InfoInfo {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "Info";
    const NAME: &'static str = "info";
    const PARAMETERS: &'static [&'static str] = &["self", "val"];

    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        state::<Self>(call)
    }

    known!();
}

/// `Enum.state(state)`.
pub(super) struct EnumState;

impl Method for EnumState {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "Enum";
    const NAME: &'static str = "state";
    const PARAMETERS: &'static [&'static str] = &["self", "state"];

    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        state::<Self>(call)
    }

    known!();
}

/// What a metric says, as an attribute of it.
#[pyclass(frozen, module = "multiprom._core")]
pub(in crate::python) struct Statement {
    class: Py<ValueClass>,
    said: count::Statement,
}

#[pymethods]
impl Statement {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.class)
    }
}

impl Statement {
    /// Withdraws what the metric says from the files of this process.
    pub(super) fn withdraw(&self, py: Python<'_>) -> PyResult<()> {
        let caller = Caller { directory: None, identifier: self.class.get().identifier(py)? };
        py.detach(|| self.said.withdraw(&caller));
        Ok(())
    }
}

/// Has an `Info` or `Enum` that was set before `multiprom.install()` say so in files, too. Any other
/// metric is left alone.
#[pyfunction]
pub(crate) fn repeat_statement(metric: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = metric.py();
    let globals = py.import(intern!(py, "prometheus_client.metrics"))?.dict();
    let is_set = if let Some(earlier) = metric.getattr_opt(intern!(py, ATTRIBUTE))? {
        let Some(class) = class(&globals)? else { return Ok(()) };
        let earlier = earlier.cast_into::<Statement>()?;
        if earlier.get().class.is(&class) {
            return Ok(());
        }
        // It is of the time before `multiprom.uninstall()`.
        earlier.get().withdraw(py)?;
        metric.delattr(intern!(py, ATTRIBUTE))?;
        true
    } else {
        // An Info that has no labels was never set. An Enum in its first state cannot be told from one
        // that was never set.
        let value = metric.getattr_opt(intern!(py, "_value"))?;
        value.is_some_and(|value| value.is_truthy().is_ok_and(|is_set| is_set))
    };
    if is_set { say(metric, &globals) } else { Ok(()) }
}

/// The name of the attribute that has a metric's [`Statement`].
pub(super) const ATTRIBUTE: &str = "_multiprom_statement";

/// Calls `prometheus_client`'s function, and writes what the metric says then.
fn state<'py, M: Method>(call: &Call<'_, 'py>) -> Outcome<'py> {
    let Some(stock) = M::known().stocks.of(call.receiver) else { return Ok(None) };
    let globals = stock.globals.bind(call.py());
    let returned = call.forward(stock.function.bind(call.py()))?;
    say(call.receiver, globals)?;
    Ok(Some(returned))
}

/// Writes what a metric says at the moment, if metrics count in values of ours; `globals` are those of
/// the module of metrics.
fn say<'py>(metric: &Bound<'py, PyAny>, globals: &Bound<'py, PyDict>) -> PyResult<()> {
    let value = || metric.getattr(intern!(metric.py(), "_value"));
    loop {
        let said = value()?;
        write(metric, said.clone(), globals)?;
        // Another thread may have changed it meanwhile, and written before this one.
        if value()?.is(&said) {
            return Ok(());
        }
    }
}

/// Writes that a metric has this `value`.
fn write<'py>(
    metric: &Bound<'py, PyAny>,
    value: Bound<'py, PyAny>,
    globals: &Bound<'py, PyDict>,
) -> PyResult<()> {
    let py = metric.py();
    let text = |name| metric.getattr(name)?.cast_into::<PyString>().map_err(PyErr::from);
    let typ = text(intern!(py, "_type"))?;
    let name = text(intern!(py, "_name"))?;
    let (prefix, sample, labels, truth) = match typ.to_str()? {
        "info" => {
            let labels = value.cast_into::<PyDict>()?.copy()?.into_iter().collect::<Vec<_>>();
            ("info", PyString::new(py, &format!("{name}_info")), vec![labels], 0)
        }
        "stateset" => {
            let states = metric.getattr(intern!(py, "_states"))?.try_iter()?;
            let own = |state: PyResult<_>| Ok(vec![(name.clone().into_any(), state?)]);
            let labels = states.map(own).collect::<PyResult<Vec<_>>>()?;
            ("stateset", name.clone(), labels, value.extract()?)
        }
        _ => return Ok(()),
    };
    let Some(statement) = statement(metric, prefix, globals)? else { return Ok(()) };
    let statement = statement.get();
    let class = statement.class.get();
    let help_text = metric.getattr(intern!(py, "_documentation"))?;
    let own_names = metric.getattr(intern!(py, "_labelnames"))?.cast_into::<PyTuple>()?;
    let own_values = metric.getattr(intern!(py, "_labelvalues"))?.cast_into::<PyTuple>()?;
    let mut heads = Vec::with_capacity(labels.len());
    for labels in labels {
        let mut names: Vec<_> = own_names.iter().collect();
        let mut values: Vec<_> = own_values.iter().collect();
        for (label, value) in labels {
            // prometheus_client takes any value here, and fails when it writes the text.
            names.push(label.str()?.into_any());
            values.push(value.str()?.into_any());
        }
        let names = PyTuple::new(py, names)?;
        let values = PyTuple::new(py, values)?;
        let labels = [names.as_any(), values.as_any()];
        let key = class.key(py, [name.as_any(), sample.as_any()], labels, &help_text)?;
        heads.push(head_of([&key])?);
    }
    count::ensure_memory(heads.len())?;
    class.adopt_old_variable(py)?;
    let caller = Caller { directory: class.directory(py)?, identifier: class.identifier(py)? };
    py.detach(|| statement.said.say(heads, truth, &caller))?;
    ValueClass::register(statement.class.bind(py))?;
    tell(py)
}

/// The class of values that metrics count in; none if it is not ours.
fn class<'py>(globals: &Bound<'py, PyDict>) -> PyResult<Option<Bound<'py, ValueClass>>> {
    let Some(class) = shared_class(globals)? else { return Ok(None) };
    Ok(Some(class.getattr(intern!(globals.py(), "_value_class"))?.cast_into()?))
}

/// The statement of a metric, which is made if need be; none if metrics do not count in values of ours.
fn statement<'py>(
    metric: &Bound<'py, PyAny>,
    prefix: &'static str,
    globals: &Bound<'py, PyDict>,
) -> PyResult<Option<Bound<'py, Statement>>> {
    let py = metric.py();
    if let Some(found) = metric.getattr_opt(intern!(py, ATTRIBUTE))? {
        return Ok(Some(found.cast_into()?));
    }
    let Some(class) = class(globals)? else { return Ok(None) };
    let said = count::Statement::new(&class.get().class, prefix);
    let made = Bound::new(py, Statement { class: class.unbind(), said })?;
    // Of two threads the first decides.
    let attributes = metric.getattr(intern!(py, "__dict__"))?;
    let found = attributes.call_method1(intern!(py, "setdefault"), (ATTRIBUTE, made))?;
    Ok(Some(found.cast_into()?))
}
