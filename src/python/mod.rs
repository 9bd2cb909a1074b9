//! The binding: each function takes arguments, releases the interpreter around one call of the
//! core, and converts the result.

// Arguments come from Python as values of their own.
#![allow(clippy::needless_pass_by_value)]

mod class;
mod compact;
mod dead;
mod error;
mod hooks;
mod inspect;
mod log;
mod metrics;
mod moving;
mod native;
mod notices;
mod once;
mod presence;
mod report;
mod scrape;
mod settings;
mod text;
mod value;

use pyo3::prelude::*;

/// Writes, reads, merges and folds the files of `prometheus_client`'s multiprocess mode.
///
/// What this process counts is guarded by locks and atomic operations of the core, so the module does
/// not need the GIL.
#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(compact::compact, module)?)?;
    module.add_function(wrap_pyfunction!(compact::fold_dead, module)?)?;
    module.add_function(wrap_pyfunction!(compact::remove_leftovers, module)?)?;
    module.add_function(wrap_pyfunction!(compact::reset_compaction, module)?)?;
    module.add_function(wrap_pyfunction!(dead::remove_live_files, module)?)?;
    module.add_function(wrap_pyfunction!(hooks::count_exit, module)?)?;
    module.add_function(wrap_pyfunction!(hooks::post_fork, module)?)?;
    module.add_function(wrap_pyfunction!(hooks::post_request, module)?)?;
    module.add_function(wrap_pyfunction!(hooks::pre_fork, module)?)?;
    module.add_function(wrap_pyfunction!(hooks::pre_request, module)?)?;
    module.add_function(wrap_pyfunction!(hooks::set_configured, module)?)?;
    module.add_function(wrap_pyfunction!(hooks::worker_exit, module)?)?;
    module.add_function(wrap_pyfunction!(inspect::inspect, module)?)?;
    module.add_function(wrap_pyfunction!(inspect::watch, module)?)?;
    module.add_function(wrap_pyfunction!(moving::move_metric, module)?)?;
    module.add_function(wrap_pyfunction!(moving::move_value, module)?)?;
    module.add_function(wrap_pyfunction!(notices::hold_back, module)?)?;
    module.add_function(wrap_pyfunction!(notices::warn_later, module)?)?;
    module.add_function(wrap_pyfunction!(native::install_methods, module)?)?;
    module.add_function(wrap_pyfunction!(native::limit_series, module)?)?;
    module.add_function(wrap_pyfunction!(native::remove_methods, module)?)?;
    module.add_function(wrap_pyfunction!(native::repeat_statement, module)?)?;
    module.add_function(wrap_pyfunction!(presence::announce, module)?)?;
    module.add_function(wrap_pyfunction!(presence::hold_slot, module)?)?;
    module.add_function(wrap_pyfunction!(presence::leave, module)?)?;
    module.add_function(wrap_pyfunction!(presence::slots, module)?)?;
    module.add_function(wrap_pyfunction!(scrape::merge_directory, module)?)?;
    module.add_function(wrap_pyfunction!(scrape::merge_files, module)?)?;
    module.add_function(wrap_pyfunction!(scrape::read_consistently, module)?)?;
    module.add_function(wrap_pyfunction!(scrape::read_files, module)?)?;
    module.add_function(wrap_pyfunction!(settings::drops_all, module)?)?;
    module.add_function(wrap_pyfunction!(settings::is_automatic, module)?)?;
    module.add_function(wrap_pyfunction!(settings::show_workers, module)?)?;
    module.add_function(wrap_pyfunction!(text::directory_text, module)?)?;
    module.add_function(wrap_pyfunction!(text::gzip, module)?)?;
    module.add_function(wrap_pyfunction!(value::write_unwritten, module)?)?;
    module.add_function(wrap_pyfunction!(value::mark_self_dead, module)?)?;
    module.add_class::<class::ValueClass>()?;
    module.add_class::<value::Value>()?;
    once::make_all(module)
}
