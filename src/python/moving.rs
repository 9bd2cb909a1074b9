//! Lets all who hold a value of `prometheus_client`'s count in one of another class.
//!
//! The old value gets the methods of the new one as attributes of its own. Each step may be repeated:
//! where one was broken off, another call finishes it. No lock is held: another thread or a callback of
//! the garbage collector may come in at each call of Python.

use std::process;
use std::time::SystemTime;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyList, PyString, PyTuple};

use super::native::call_method;
use super::once::intern;

/// Moves what a metric or child counts in values of `old_class` to values of `new_class`, and notes the
/// old values by their ids in `noted`.
#[pyfunction]
pub(super) fn move_metric<'py>(
    metric: &Bound<'py, PyAny>,
    old_class: &Bound<'py, PyAny>,
    new_class: &Bound<'py, PyAny>,
    noted: &Bound<'py, PyAny>,
) -> PyResult<()> {
    let py = metric.py();
    let attributes = attributes_of(metric)?;
    let olds = values_in(&attributes, old_class);
    let mut have_moved = true;
    for old in &olds {
        have_moved &= has_moved(&attributes_of(old)?)?;
    }
    if have_moved {
        return Ok(());
    }
    // What makes the values of a metric is its own to know: it makes them on a copy.
    let object = py.get_type::<PyAny>();
    let class = metric.get_type();
    let shadow = call_method(&object, intern!(py, "__new__"), Some(&class))?;
    attributes_of(&shadow)?.update(attributes.as_mapping())?;
    call_method(&shadow, intern!(py, "_metric_init"), None)?;
    let news = values_in(&attributes_of(&shadow)?, new_class);
    if news.len() != olds.len() {
        return Err(PyValueError::new_err("it makes other values than it had"));
    }
    let typ = metric.getattr(intern!(py, "_type"))?;
    // Not `getattr`, which would make an error for what most metrics have not.
    let mode = attributes.get_item(intern!(py, "_multiprocess_mode"))?;
    for (old, new) in olds.iter().zip(&news) {
        noted.set_item(old.as_ptr() as usize, old)?;
        replace(old, new, &typ, mode.as_ref(), true)?;
    }
    Ok(())
}

/// Has a value that knows how it was made count in one of `new_class`. What it holds is this process's,
/// and no other value's, if it `is_heir`.
#[pyfunction]
#[pyo3(signature = (old, new_class, *, is_heir))]
pub(super) fn move_value<'py>(
    old: &Bound<'py, PyAny>,
    new_class: &Bound<'py, PyAny>,
    is_heir: bool,
) -> PyResult<()> {
    let Some(arguments) = old.getattr_opt(intern!(old.py(), "_params"))? else { return Ok(()) };
    if has_moved(&attributes_of(old)?)? {
        return Ok(());
    }
    let arguments = arguments.cast_into::<PyTuple>()?;
    let new = new_class.call1(&arguments)?;
    let mode = arguments.get_item(arguments.len().saturating_sub(1))?;
    replace(old, &new, &arguments.get_item(0)?, Some(&mode), is_heir)
}

/// Lets all who hold `old` count in `new`, which goes on from it.
///
/// `new` is used if `old` has no new value yet. `typ` is the metric's, and `mode` a gauge's.
fn replace<'py>(
    old: &Bound<'py, PyAny>,
    new: &Bound<'py, PyAny>,
    typ: &Bound<'py, PyAny>,
    mode: Option<&Bound<'py, PyAny>>,
    is_heir: bool,
) -> PyResult<()> {
    let py = old.py();
    let value = || old.getattr(intern!(py, "_value"));
    let attributes = attributes_of(old)?;
    let there = call_method(new, intern!(py, "get"), None)?;
    let pair = PyTuple::new(py, [new, &there])?;
    // Of two threads, or of a call that was broken off and this one, the first decides.
    let pair = set_default(&attributes, intern!(py, "_multiprom_new"), &pair)?;
    let (new, there) = (pair.get_item(0)?, pair.get_item(1)?.extract::<f64>()?);
    let get = new.getattr(intern!(py, "get"))?;
    let moved = PyTuple::empty(py);
    let is_stock_file = attributes.contains(intern!(py, "_file"))?;
    let give_methods = || {
        for name in [
            intern!(py, "inc"),
            intern!(py, "set"),
            intern!(py, "set_exemplar"),
            intern!(py, "get_exemplar"),
        ] {
            set(&attributes, name, &new.getattr(name)?)?;
        }
        set(&attributes, intern!(py, "_multiprocess"), &PyBool::new(py, true))
    };
    if typ.cast::<PyString>()?.to_str()? != "gauge" {
        give_methods()?;
        let mut amount = 0.0;
        if is_heir {
            amount = value()?.extract()?;
            amount -= counted(&attributes, there, amount, is_stock_file)?;
        }
        let (none, rest) = (py.None().into_bound(py), PyDict::new(py));
        rest.set_item(&none, PyFloat::new(py, amount))?;
        let rest = set_default(&attributes, intern!(py, "_multiprom_rest"), &rest)?;
        // One thread takes the rest, and counts it in one step that no signal handler comes into.
        if rest.is_instance_of::<PyDict>() {
            let rest = call_two(&rest, intern!(py, "pop"), [&none, &none])?;
            if !rest.is_none() {
                call_method(&new, intern!(py, "inc"), Some(&rest))?;
            }
        }
        // `get` is replaced last, so that no total falls meanwhile.
        set(&attributes, intern!(py, "get"), &get)?;
        return set(&attributes, intern!(py, "_multiprom_rest"), &moved);
    }
    let held = value()?;
    let timestamp = if is_stock_file {
        old.getattr(intern!(py, "_timestamp"))?
    } else if mode.is_some_and(|mode| mode.to_string().contains("mostrecent")) {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        PyFloat::new(py, now.as_secs_f64()).into_any()
    } else {
        py.None().into_bound(py)
    };
    if is_heir && (is_stock_file || is_set(&attributes, held.extract()?)?) {
        call_two(&new, intern!(py, "set"), [&held, &timestamp])?;
    }
    give_methods()?;
    set(&attributes, intern!(py, "get"), &get)?;
    set(&attributes, intern!(py, "_multiprom_rest"), &moved)?;
    // Another thread may have set the old value since it was read.
    let last = value()?;
    if is_heir && last.ne(held)? {
        call_two(&new, intern!(py, "set"), [&last, &timestamp])?;
    }
    Ok(())
}

/// How much of the `value` of an old value is in files, of which the new one's held `there`.
fn counted(
    attributes: &Bound<'_, PyDict>,
    there: f64,
    value: f64,
    is_stock_file: bool,
) -> PyResult<f64> {
    if is_stock_file {
        // multiprom continues the file of the old value, which has the count; or less, if it was
        // removed or the directory is another one.
        return Ok(if value < there { value } else { there });
    }
    let (pid, known) = known(attributes)?;
    // What another process counted is in its file; what was given back is in ours, if that has it.
    let is_there = pid != process::id() || there.abs() >= known.abs();
    Ok(if is_there { known } else { 0.0 })
}

/// Whether a gauge in memory that holds `value` was set, and since a fork: else it is not set in the
/// file either.
#[allow(clippy::float_cmp)] // Whether it was set, not whether it is near.
fn is_set(attributes: &Bound<'_, PyDict>, value: f64) -> PyResult<bool> {
    let (pid, known) = known(attributes)?;
    Ok(if pid == process::id() { value != 0.0 || known != 0.0 } else { value != known })
}

/// A pid, and what of the count of an old value is known to be that process's.
fn known(attributes: &Bound<'_, PyDict>) -> PyResult<(u32, f64)> {
    match attributes.get_item(intern!(attributes.py(), "_multiprom_known"))? {
        Some(known) => Ok((known.get_item(0)?.extract()?, known.get_item(1)?.extract()?)),
        None => Ok((0, 0.0)),
    }
}

fn has_moved(attributes: &Bound<'_, PyDict>) -> PyResult<bool> {
    let rest = attributes.get_item(intern!(attributes.py(), "_multiprom_rest"))?;
    Ok(rest.is_some_and(|rest| rest.is_instance_of::<PyTuple>()))
}

/// The values of a class among the attributes of a metric or child, also those in its lists.
fn values_in<'py>(
    attributes: &Bound<'py, PyDict>,
    class: &Bound<'py, PyAny>,
) -> Vec<Bound<'py, PyAny>> {
    let found = attributes.values();
    let lists = found.iter().filter_map(|value| value.cast_into_exact::<PyList>().ok());
    let all = found.iter().chain(lists.flatten());
    all.filter(|value| value.get_type().is(class)).collect()
}

fn attributes_of<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    Ok(object.getattr(intern!(object.py(), "__dict__"))?.cast_into()?)
}

fn set<'py>(
    attributes: &Bound<'py, PyDict>,
    name: &Bound<'py, PyString>,
    value: &Bound<'py, PyAny>,
) -> PyResult<()> {
    attributes.set_item(name, value)
}

fn set_default<'py>(
    attributes: &Bound<'py, PyDict>,
    name: &Bound<'py, PyString>,
    value: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(attributes.set_default_with_result(name, value)?.1)
}

fn call_two<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    arguments: [&Bound<'py, PyAny>; 2],
) -> PyResult<Bound<'py, PyAny>> {
    object.call_method1(name, PyTuple::new(object.py(), arguments)?)
}
