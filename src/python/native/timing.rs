//! `time()`, and what it and `track_inprogress()` do when their block begins and ends.

use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyString, PyType};

use super::descriptor::{Call, call_method, instance_of};
use super::method::{About, Method, Outcome, known};
use crate::python::once::intern;

/// `Histogram.time()`.
pub(super) struct HistogramTime;

impl Method for HistogramTime {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "Histogram";
    const NAME: &'static str = "time";
    const PARAMETERS: &'static [&'static str] = &["self"];
    const NAMES: &'static [&'static str] = &["Timer"];

    #[inline]
    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        timer_that_observes::<Self>(call)
    }

    known!();
}

/// `Summary.time()`.
pub(super) struct SummaryTime;

impl Method for SummaryTime {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "Summary";
    const NAME: &'static str = "time";
    const PARAMETERS: &'static [&'static str] = &["self"];
    const NAMES: &'static [&'static str] = &["Timer"];

    #[inline]
    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        timer_that_observes::<Self>(call)
    }

    known!();
}

/// `Timer._new_timer()`, which a decorated function calls.
pub(super) struct TimerNew;

impl Method for TimerNew {
    const MODULE: &'static str = "prometheus_client.context_managers";
    const CLASS: &'static str = "Timer";
    const NAME: &'static str = "_new_timer";
    const PARAMETERS: &'static [&'static str] = &["self"];
    const NAMES: &'static [&'static str] = &["__class__", "_metric", "_callback_name"];

    #[inline]
    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        if call.count() != 0 {
            return Ok(None);
        }
        let (py, timer) = (call.py(), call.receiver);
        let metric = timer.getattr(intern!(py, "_metric"))?;
        let callback_name = timer.getattr(intern!(py, "_callback_name"))?;
        made(&timer.get_type(), &metric, &callback_name)
    }

    known!();
}

/// `Timer.__init__(metric, callback_name)`.
struct Constructor;

impl Method for Constructor {
    const MODULE: &'static str = "prometheus_client.context_managers";
    const CLASS: &'static str = "Timer";
    const NAME: &'static str = "__init__";
    const PARAMETERS: &'static [&'static str] = &["self", "metric", "callback_name"];
    const NAMES: &'static [&'static str] = &["_metric", "_callback_name", "duration"];

    known!();
}

/// What must be `prometheus_client`'s own, as it is known here, so that timers can be made.
pub(super) const NEEDED: About = About::of::<Constructor>();

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

/// A timer that calls `observe` of the metric, if there are no arguments.
#[inline]
fn timer_that_observes<'py, M: Method>(call: &Call<'_, 'py>) -> Outcome<'py> {
    if call.count() != 0 {
        return Ok(None);
    }
    let py = call.py();
    let Some(stock) = M::known().stocks.of(call.receiver) else { return Ok(None) };
    let class = stock.globals.bind(py).get_item(intern!(py, "Timer"))?;
    let class = class.and_then(|class| class.cast_into::<PyType>().ok());
    class.map_or(Ok(None), |class| made(&class, call.receiver, intern!(py, "observe")))
}

/// What calling the class gives, if it is `prometheus_client`'s class of timers.
#[inline]
fn made<'py>(
    class: &Bound<'py, PyType>,
    metric: &Bound<'py, PyAny>,
    callback_name: &Bound<'py, PyAny>,
) -> Outcome<'py> {
    let py = class.py();
    let Some(stock) = Constructor::known().stocks.of_class(class) else { return Ok(None) };
    if !class.getattr(intern!(py, "__init__"))?.is(&stock.function) {
        return Ok(None);
    }
    let Some(timer) = instance_of(class)? else { return Ok(None) };
    timer.setattr(intern!(py, "_metric"), metric)?;
    timer.setattr(intern!(py, "_callback_name"), callback_name)?;
    timer.setattr(intern!(py, "duration"), py.None())?;
    Ok(Some(timer))
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
