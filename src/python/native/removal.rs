//! `remove`, `remove_by_labels` and `clear`: what this process has counted of a series goes from its
//! files. `prometheus_client`'s functions only warn that files keep it.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::counting::value_behind;
use super::descriptor::Call;
use super::method::{Method, Outcome, known};
use super::stating::{self, Statement};
use crate::python::once::intern;
use crate::python::value::Value;

/// `MetricWrapperBase.remove(*labelvalues)`.
pub(super) struct Remove;

impl Method for Remove {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "MetricWrapperBase";
    const NAME: &'static str = "remove";
    const PARAMETERS: &'static [&'static str] = &["self", "*labelvalues"];

    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        if call.names.is_some() {
            return Ok(None);
        }
        let Some(metric) = Labelled::must_be(call.receiver)? else { return Ok(None) };
        let names = metric.names()?;
        let given = call.positional.len();
        if given != names.len() {
            let values = PyTuple::new(call.py(), call.positional)?;
            let message = format!(
                "Incorrect label count (expected {}, got {})",
                names.len(),
                values.repr()?.to_string_lossy()
            );
            return Err(PyValueError::new_err(message));
        }
        let mut labels = Vec::with_capacity(given);
        for value in call.positional {
            labels.push(value.str()?);
        }
        let removed = metric.take(&[PyTuple::new(call.py(), labels)?])?;
        withdraw(removed.into_iter(), call.py())?;
        Ok(Some(call.none()))
    }

    known!();
}

/// `MetricWrapperBase.remove_by_labels(labels)`, which there is since 0.23.
pub(super) struct RemoveByLabels;

impl Method for RemoveByLabels {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "MetricWrapperBase";
    const NAME: &'static str = "remove_by_labels";
    const PARAMETERS: &'static [&'static str] = &["self", "labels"];

    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        let argument = match (call.positional, call.by_keyword) {
            ([argument], []) => argument,
            ([], [argument]) if is_called(call, "labels")? => argument,
            _ => return Ok(None),
        };
        let Some(metric) = Labelled::must_be(call.receiver)? else { return Ok(None) };
        let Ok(wanted) = argument.cast::<PyDict>() else {
            let message = "labels must be a dict of {label_name: label_value}";
            return Err(PyTypeError::new_err(message));
        };
        let names = metric.names()?;
        let unknown = PyList::empty(call.py());
        let mut filter = Vec::with_capacity(wanted.len());
        for (name, value) in wanted.copy()? {
            match names.index(&name) {
                Ok(place) => filter.push((place, value)),
                Err(_) => unknown.append(name)?,
            }
        }
        if !unknown.is_empty() {
            let [unknown, names] = [unknown.repr()?, names.repr()?];
            let message = format!("Unknown label names: {unknown}; expected {names}");
            return Err(PyValueError::new_err(message));
        }
        if filter.is_empty() {
            return Ok(Some(call.none()));
        }
        let mut texts = Vec::with_capacity(filter.len());
        for (place, value) in filter {
            texts.push((place, value.str()?));
        }
        let mut fitting = Vec::new();
        for labels in metric.children()?.keys() {
            let labels = labels.cast_into::<PyTuple>()?;
            let mut fits = true;
            for (place, text) in &texts {
                fits &= labels.get_item(*place)?.eq(text)?;
            }
            if fits {
                fitting.push(labels);
            }
        }
        let removed = metric.take(&fitting)?;
        withdraw(removed.into_iter(), call.py())?;
        Ok(Some(call.none()))
    }

    known!();
}

/// `MetricWrapperBase.clear()`.
pub(super) struct Clear;

impl Method for Clear {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "MetricWrapperBase";
    const NAME: &'static str = "clear";
    const PARAMETERS: &'static [&'static str] = &["self"];

    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        if call.count() > 0 {
            return Ok(None);
        }
        if call.receiver.getattr_opt(intern!(call.py(), "_metrics"))?.is_none() {
            // Without labels there is nothing to clear. prometheus_client's function would warn.
            return Ok(Some(call.none()));
        }
        let Some(metric) = Labelled::of(call.receiver)? else { return Ok(None) };
        let empty = PyDict::new(call.py());
        let children = metric.while_locked(|children| {
            metric.metric.setattr(intern!(call.py(), "_metrics"), empty)?;
            Ok(children.clone())
        })?;
        withdraw(children.values().into_iter(), call.py())?;
        Ok(Some(call.none()))
    }

    known!();
}

/// A metric that has children.
struct Labelled<'a, 'py> {
    metric: &'a Bound<'py, PyAny>,
    lock: Bound<'py, PyAny>,
}

impl<'a, 'py> Labelled<'a, 'py> {
    /// None if the metric has no children.
    fn of(metric: &'a Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let children = metric.getattr_opt(intern!(metric.py(), "_metrics"))?;
        if children.is_none_or(|children| !children.is_exact_instance_of::<PyDict>()) {
            return Ok(None);
        }
        let lock = metric.getattr(intern!(metric.py(), "_lock"))?;
        Ok(Some(Self { metric, lock }))
    }

    /// The same; it is an error if the metric has no labels. `prometheus_client`'s function warns
    /// before it raises that.
    fn must_be(metric: &'a Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let names = metric.getattr_opt(intern!(metric.py(), "_labelnames"))?;
        if names.is_some_and(|names| names.is_truthy().is_ok_and(|has_names| !has_names)) {
            let message = format!("No label names were set when constructing {}", metric.str()?);
            return Err(PyValueError::new_err(message));
        }
        Self::of(metric)
    }

    fn names(&self) -> PyResult<Bound<'py, PyTuple>> {
        Ok(self.metric.getattr(intern!(self.metric.py(), "_labelnames"))?.cast_into()?)
    }

    fn children(&self) -> PyResult<Bound<'py, PyDict>> {
        Ok(self.metric.getattr(intern!(self.metric.py(), "_metrics"))?.cast_into()?)
    }

    /// Takes the children with these labels from the metric, those that it has.
    fn take(&self, all: &[Bound<'py, PyTuple>]) -> PyResult<Vec<Bound<'py, PyAny>>> {
        self.while_locked(|children| {
            let mut taken = Vec::with_capacity(all.len());
            for labels in all {
                if let Some(child) = children.get_item(labels)? {
                    children.del_item(labels)?;
                    taken.push(child);
                }
            }
            Ok(taken)
        })
    }

    /// Calls `act` with the children, while no other thread makes one. It must run no code of Python,
    /// and make no object that lets the garbage collector run: a signal handler or a finalizer that
    /// makes a child would wait for ever.
    fn while_locked<T>(&self, act: impl FnOnce(&Bound<'py, PyDict>) -> PyResult<T>) -> PyResult<T> {
        let py = self.metric.py();
        self.lock.call_method0(intern!(py, "acquire"))?;
        let result = self.children().and_then(|children| act(&children));
        self.lock.call_method0(intern!(py, "release"))?;
        result
    }
}

/// Withdraws what these children have counted.
fn withdraw<'py>(
    children: impl Iterator<Item = Bound<'py, PyAny>>,
    py: Python<'py>,
) -> PyResult<()> {
    let names = [intern!(py, "_value"), intern!(py, "_count"), intern!(py, "_sum")];
    let mut values = Vec::new();
    for child in children {
        let attributes = child.getattr(intern!(py, "__dict__"))?.cast_into::<PyDict>()?;
        for name in names {
            if let Some(value) = attributes.get_item(name)? {
                values.extend(value_behind(value, "inc")?.map(Bound::unbind));
            }
        }
        if let Some(statement) = attributes.get_item(intern!(py, stating::ATTRIBUTE))? {
            statement.cast::<Statement>()?.get().withdraw(py)?;
        }
        let buckets = attributes.get_item(intern!(py, "_buckets"))?;
        for value in buckets.iter().filter_map(|list| list.cast::<PyList>().ok()).flatten() {
            values.extend(value_behind(value, "inc")?.map(Bound::unbind));
        }
    }
    Value::withdraw(py, &values)
}

/// Whether the only argument that is given by keyword has this name.
fn is_called(call: &Call<'_, '_>, name: &str) -> PyResult<bool> {
    call.names.map_or(Ok(false), |names| names.get_item(0)?.eq(name))
}
