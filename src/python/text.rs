//! A directory to exposition text.

use std::collections::HashSet;
use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::left_out::{self, Report};
use super::merge::order;
use crate::error::Result;
use crate::escaping::Escaping;
use crate::exposition::{self, Format};
use crate::left_out::LeftOut;
use crate::merge::{Merge, Options};

/// The text of the directory `path`; of the samples with these names only, if there are any.
#[pyfunction]
pub(super) fn directory_text<'py>(
    py: Python<'py>,
    path: PathBuf,
    openmetrics: bool,
    escaping: &str,
    grouped: bool,
    names: Option<HashSet<String>>,
) -> PyResult<(Bound<'py, PyBytes>, Vec<Report>)> {
    let escaping = Escaping::from_name(escaping)
        .ok_or_else(|| PyValueError::new_err(format!("unknown escaping scheme: {escaping}")))?;
    let format = if openmetrics { Format::OpenMetrics } else { Format::Prometheus };
    let options = Options { accumulate: true, order: order(grouped) };
    let (text, left_out) = py.detach(|| -> Result<(String, Vec<LeftOut>)> {
        let merge = Merge::of_directory(&path)?;
        let mut merge = merge.parse()?;
        let left_out = std::mem::take(&mut merge.left_out);
        let mut families = merge.families(options)?;
        if let Some(names) = &names {
            families.retain_mut(|family| family.restrict(|name| names.contains(name)));
        }
        Ok((exposition::text(&families, format, escaping), left_out))
    })?;
    Ok((PyBytes::new(py, text.as_bytes()), left_out::reports(&left_out)))
}
