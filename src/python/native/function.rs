//! `Gauge.set_function`, which no scrape of shared files can see.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use super::descriptor::Call;
use super::method::{Method, Outcome, known};
use crate::count;
use crate::python::once::intern;

/// Whether this process was warned.
static IS_WARNED: AtomicBool = AtomicBool::new(false);

/// `Gauge.set_function(f)`.
///
/// `prometheus_client`'s function does what there is to do.
pub(super) struct GaugeSetFunction;

impl Method for GaugeSetFunction {
    const MODULE: &'static str = "prometheus_client.metrics";
    const CLASS: &'static str = "Gauge";
    const NAME: &'static str = "set_function";
    const PARAMETERS: &'static [&'static str] = &["self", "f"];

    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        let py = call.py();
        // A gauge without its labels has no value, and no function.
        if call.receiver.getattr_opt(intern!(py, "_value"))?.is_some()
            && !IS_WARNED.swap(true, Ordering::Relaxed)
        {
            let name = call.receiver.getattr(intern!(py, "_name"))?;
            let text = format!(
                "set_function of gauge '{name}' shows nothing in scrapes: they read what processes \
                 have written, and no process calls a function for that; call set() when the value \
                 changes, or every few seconds in a thread"
            );
            py.detach(|| count::warn_later(text));
        }
        Ok(None)
    }

    known!();
}
