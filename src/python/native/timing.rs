//! What `time()` and `track_inprogress()` do when their block begins and ends.

use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyString};

use super::descriptor::{Call, call_method};
use super::method::{Method, Outcome, known};
use crate::python::once::intern;

/// `Timer.__enter__()`.
pub(super) struct TimerEnter;

impl Method for TimerEnter {
    const MODULE: &'static str = "prometheus_client.context_managers";
    const CLASS: &'static str = "Timer";
    const NAME: &'static str = "__enter__";
    const PARAMETERS: &'static [&'static str] = &["self"];

    #[inline]
    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        if call.count() != 0 {
            return Ok(None);
        }
        let Some(clock) = default_timer::<Self>(call)? else { return Ok(None) };
        call.receiver.setattr(intern!(call.py(), "_start"), clock.call0()?)?;
        Ok(Some(call.receiver.clone()))
    }

    known!();
}

/// `Timer.__exit__(typ, value, traceback)`.
pub(super) struct TimerExit;

impl Method for TimerExit {
    const MODULE: &'static str = "prometheus_client.context_managers";
    const CLASS: &'static str = "Timer";
    const NAME: &'static str = "__exit__";
    const PARAMETERS: &'static [&'static str] = &["self", "typ", "value", "traceback"];

    #[inline]
    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        let (py, timer) = (call.py(), call.receiver);
        if call.positional.len() != 3 || call.names.is_some() {
            return Ok(None);
        }
        let Some(clock) = default_timer::<Self>(call)? else { return Ok(None) };
        // From here on nothing is left to prometheus_client: the clock was read.
        let end = clock.call0()?;
        let start = timer.getattr(intern!(py, "_start"))?;
        let duration = duration(&end, &start)?;
        timer.setattr(intern!(py, "duration"), &duration)?;
        let metric = timer.getattr(intern!(py, "_metric"))?;
        let callback = timer.getattr(intern!(py, "_callback_name"))?;
        call_method(&metric, callback.cast::<PyString>()?, Some(&duration))?;
        Ok(Some(call.none()))
    }

    known!();
}

/// `InprogressTracker.__enter__()`.
pub(super) struct TrackerEnter;

impl Method for TrackerEnter {
    const MODULE: &'static str = "prometheus_client.context_managers";
    const CLASS: &'static str = "InprogressTracker";
    const NAME: &'static str = "__enter__";
    const PARAMETERS: &'static [&'static str] = &["self"];

    #[inline]
    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        track::<Self>(call, intern!(call.py(), "inc"))
    }

    known!();
}

/// `InprogressTracker.__exit__(typ, value, traceback)`.
pub(super) struct TrackerExit;

impl Method for TrackerExit {
    const MODULE: &'static str = "prometheus_client.context_managers";
    const CLASS: &'static str = "InprogressTracker";
    const NAME: &'static str = "__exit__";
    const PARAMETERS: &'static [&'static str] = &["self", "typ", "value", "traceback"];

    #[inline]
    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        track::<Self>(call, intern!(call.py(), "dec"))
    }

    known!();
}

/// Calls a method of the gauge of a tracker, if all parameters are given by position.
#[inline]
fn track<'py, M: Method>(call: &Call<'_, 'py>, method: &Bound<'py, PyString>) -> Outcome<'py> {
    if call.positional.len() + 1 != M::PARAMETERS.len() || call.names.is_some() {
        return Ok(None);
    }
    let py = call.py();
    let gauge = call.receiver.getattr(intern!(py, "_gauge"))?;
    call_method(&gauge, method, None)?;
    Ok(Some(call.none()))
}

/// The clock of timers, which tests replace in `prometheus_client`'s module.
#[inline]
fn default_timer<'py, M: Method>(call: &Call<'_, 'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(stock) = M::known().stocks.of(call.receiver) else { return Ok(None) };
    stock.globals.bind(call.py()).get_item(intern!(call.py(), "default_timer"))
}

/// `max(end - start, 0)`: time can go backwards.
#[inline]
fn duration<'py>(
    end: &Bound<'py, PyAny>,
    start: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = end.py();
    let duration = match (end.cast_exact::<PyFloat>(), start.cast_exact::<PyFloat>()) {
        (Ok(end), Ok(start)) if end.value() >= start.value() => {
            return Ok(PyFloat::new(py, end.value() - start.value()).into_any());
        }
        _ => end.sub(start)?,
    };
    let nothing = 0_i32.into_pyobject(py)?.into_any();
    Ok(if nothing.gt(&duration)? { nothing } else { duration })
}
