//! `hold_slot`, `leave` and `slots`: which processes use a directory.

use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::Error;
use crate::store::presence::{self, Slot};
use crate::store::{Occupant, Role};

/// Pid, start, identifier, role.
type OccupantParts = (u32, u64, String, String);
/// Number, held, own, who.
type SlotParts = (u32, bool, bool, Option<OccupantParts>);

/// Holds a slot of the directory `path` for this process; None if that is not possible now.
#[pyfunction]
pub(super) fn hold_slot(py: Python<'_>, path: PathBuf, role: &str) -> PyResult<Option<u32>> {
    let role = Role::from_name(role).ok_or_else(|| PyValueError::new_err(role.to_owned()))?;
    Ok(py.detach(|| presence::hold(&path, None, Some(role)).ok()))
}

/// Says whether this process and its children take a slot when they open a metrics file.
#[pyfunction]
pub(super) fn announce(takes_slots: bool) {
    presence::announce(takes_slots);
}

/// Frees the slot that this process holds in the directory `path`.
#[pyfunction]
pub(super) fn leave(py: Python<'_>, path: PathBuf) {
    py.detach(|| presence::leave(&path));
}

/// Lists the slots of the directory `path`.
#[pyfunction]
pub(super) fn slots(py: Python<'_>, path: PathBuf) -> PyResult<Vec<SlotParts>> {
    let slots =
        py.detach(|| presence::slots(&path)).map_err(|source| Error::Io { path, source })?;
    Ok(slots.into_iter().map(parts).collect())
}

fn parts(Slot { number, is_held, is_own, occupant }: Slot) -> SlotParts {
    let parts = |Occupant { pid, start, identifier, role, .. }| (pid, start, identifier, role);
    (number, is_held, is_own, occupant.map(parts))
}
