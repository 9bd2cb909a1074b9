//! gunicorn's hooks that only count: workers that start and end, and requests at work.
//!
//! A failure of any of them must not end a server.

use std::path::PathBuf;
use std::process;

use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use super::once::intern;
use super::settings::{DIRECTORY, path_in, shows_workers};
use crate::inspect as core;

/// The function of gunicorn that calls the hook `child_exit`.
const REAPS: &str = "reap_workers";

/// Counts a worker that starts: gunicorn's `pre_fork` hook.
#[pyfunction]
pub(super) fn pre_fork(
    py: Python<'_>,
    server: &Bound<'_, PyAny>,
    worker: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let _ = (server, worker);
    with_directory(py, |directory| {
        py.detach(|| core::count_spawned(&directory));
        Ok(())
    })
}

/// Learns at which sockets connections wait for this worker: gunicorn's `post_fork` hook.
#[pyfunction]
pub(super) fn post_fork(
    py: Python<'_>,
    server: &Bound<'_, PyAny>,
    worker: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let _ = server;
    with_directory(py, |_| {
        let mut listeners = Vec::new();
        for socket in worker.getattr(intern!(py, "sockets"))?.try_iter()? {
            let socket = socket?;
            let name = socket.call_method0(intern!(py, "getsockname"))?;
            // The name of a Unix socket is a path.
            let port = name.get_item(1).and_then(|port| port.extract::<u16>());
            let Ok(port) = port else { continue };
            let address = format!("{}:{port}", name.get_item(0)?.extract::<String>()?);
            listeners.push((socket.call_method0(intern!(py, "fileno"))?.extract()?, address));
        }
        py.detach(|| core::watch_listeners(listeners));
        Ok(())
    })
}

/// Counts a request that begins: gunicorn's `pre_request` hook.
#[pyfunction]
pub(super) fn pre_request(worker: &Bound<'_, PyAny>, req: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = worker.py();
    count_request(py, 1.0)?;
    // The hook takes the place of gunicorn's own, which logs this line.
    let (method, path) = (req.getattr(intern!(py, "method"))?, req.getattr(intern!(py, "path"))?);
    let log = worker.getattr(intern!(py, "log"))?;
    log.call_method1(intern!(py, "debug"), (intern!(py, "%s %s"), method, path)).map(drop)
}

/// Counts a request that ends: gunicorn's `post_request` hook, which it calls after errors, too.
#[pyfunction]
pub(super) fn post_request(
    worker: &Bound<'_, PyAny>,
    req: &Bound<'_, PyAny>,
    environ: &Bound<'_, PyAny>,
    resp: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let _ = (req, environ, resp);
    count_request(worker.py(), -1.0)
}

/// Says whether this worker ends because it has handled as many requests as it may: gunicorn's
/// `worker_exit` hook.
#[pyfunction]
pub(super) fn worker_exit(
    py: Python<'_>,
    server: &Bound<'_, PyAny>,
    worker: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let _ = server;
    with_directory(py, |directory| {
        let number = |name: &str| worker.getattr(name)?.extract::<u64>();
        // gunicorn's master calls this, too, for a worker that it does not find any more.
        let is_own = number("pid")? == u64::from(process::id());
        if is_own && number("nr")? >= number("max_requests")? {
            py.detach(|| core::say_ending(&directory));
        }
        Ok(())
    })
}

/// Says how many workers the server has from now on, in the directory that the environment names.
#[pyfunction]
pub(super) fn set_configured(py: Python<'_>, workers: u32) -> PyResult<()> {
    with_directory(py, |directory| {
        py.detach(|| core::set_configured(&directory, workers));
        Ok(())
    })
}

/// Counts a worker that has ended: to be called from the hook `child_exit`.
#[pyfunction]
pub(super) fn count_exit(py: Python<'_>, worker: &Bound<'_, PyAny>) -> PyResult<()> {
    with_directory(py, |directory| {
        let pid = worker.getattr(intern!(py, "pid"))?.extract()?;
        let aborted = worker.getattr(intern!(py, "aborted"))?.is_truthy()?;
        let (reason, code) = if aborted { ("timeout", String::new()) } else { how_it_ended(py)? };
        py.detach(|| core::count_exit(&directory, pid, reason, &code));
        Ok(())
    })
}

/// A reason, and the exit code or the name of the signal, or its number if it has no name.
///
/// gunicorn tells its hook nothing of it, but has it in a variable of the function that calls the hook.
/// Where a later version has no such variable, the reason is unknown.
fn how_it_ended(py: Python<'_>) -> PyResult<(&'static str, String)> {
    let unknown = ("unknown", String::new());
    let mut frame = py.import("sys")?.call_method0("_getframe")?;
    while frame.getattr("f_code")?.getattr("co_name")?.extract::<String>()? != REAPS {
        frame = frame.getattr("f_back")?;
        if frame.is_none() {
            return Ok(unknown);
        }
    }
    let status = frame.getattr("f_locals")?.call_method1("get", ("status",))?;
    let Ok(status) = status.extract::<i32>() else { return Ok(unknown) };
    if !libc::WIFSIGNALED(status) {
        return Ok(("exit", libc::WEXITSTATUS(status).to_string()));
    }
    let signal = libc::WTERMSIG(status);
    let signals = py.import("signal")?.getattr("Signals")?;
    // Most real-time signals have no name.
    let name = signals.call1((signal,)).and_then(|found| found.getattr("name")?.extract());
    Ok(("signal", name.unwrap_or_else(|_| signal.to_string())))
}

fn count_request(py: Python<'_>, change: f64) -> PyResult<()> {
    if core::try_count_request(change) {
        return Ok(());
    }
    with_directory(py, |directory| {
        py.detach(|| core::count_request(&directory, change));
        Ok(())
    })
}

/// Calls `act` with the directory that the environment names, if scrapes show what it does. The error is
/// of what interrupts a program, such as the `SystemExit` of a signal handler.
fn with_directory(py: Python<'_>, act: impl FnOnce(PathBuf) -> PyResult<()>) -> PyResult<()> {
    let done = shows_workers(py).and_then(|shows| {
        if !shows {
            return Ok(());
        }
        let directory = path_in(&py.import(intern!(py, "os"))?, DIRECTORY)?;
        directory.map_or(Ok(()), |directory| act(directory.into()))
    });
    match done {
        Err(error) if error.is_instance_of::<PyException>(py) => Ok(()),
        done => done,
    }
}
