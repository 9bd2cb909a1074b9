//! The exemplars that programs give `inc` and `observe` along with an amount.

use std::slice;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::counting::value_behind;
use super::descriptor::{Call, call_with};
use super::method::Method;
use crate::python::once::intern;

/// Whether an argument may be an exemplar: most calls have one amount at most, and are to cost nothing.
#[inline]
pub(super) fn may_be_in(call: &Call<'_, '_>) -> bool {
    call.names.is_some() || call.positional.len() > 1
}

/// The arguments but for the last if that is the exemplar, and the exemplar, if there is one: None is
/// none.
#[cold]
pub(super) fn apart<'a, 'py>(
    call: &Call<'a, 'py>,
) -> (Call<'a, 'py>, Option<&'a Bound<'py, PyAny>>) {
    match (call.positional, call.names) {
        ([amount, exemplar], None) => (
            Call { positional: slice::from_ref(amount), ..*call },
            Some(exemplar).filter(|exemplar| !exemplar.is_none()),
        ),
        (_, Some(names)) => exemplar_by_keyword(call, names).unwrap_or((*call, None)),
        _ => (*call, None),
    }
}

fn exemplar_by_keyword<'a, 'py>(
    call: &Call<'a, 'py>,
    names: &'a Bound<'py, PyTuple>,
) -> Option<(Call<'a, 'py>, Option<&'a Bound<'py, PyAny>>)> {
    let (exemplar, by_keyword) = call.by_keyword.split_last()?;
    let name = names.get_item(by_keyword.len()).ok()?;
    // A second argument by position is the exemplar already: an error of prometheus_client's.
    let is_exemplar = name.is(intern!(call.py(), "exemplar")) && call.positional.len() < 2;
    let names = Some(names).filter(|_| !by_keyword.is_empty());
    let counted = Call { by_keyword, names, ..*call };
    is_exemplar.then_some((counted, Some(exemplar).filter(|exemplar| !exemplar.is_none())))
}

/// The most characters that the labels of an exemplar may have, in `prometheus_client` and `OpenMetrics`.
const MAX_CHARACTERS: usize = 128;

/// Whether every version of `prometheus_client` takes this exemplar. Its own check takes longer than all
/// the rest, and has the last word on any other.
fn is_sound(exemplar: &Bound<'_, PyAny>) -> bool {
    let Ok(labels) = exemplar.cast_exact::<PyDict>() else { return false };
    let mut characters = 0;
    labels.iter().all(|(name, value)| {
        let (Ok(name), Ok(value)) = (name.cast_exact::<PyString>(), value.cast_exact::<PyString>())
        else {
            return false;
        };
        let (Ok(name), Ok(value)) = (name.to_str(), value.to_str()) else { return false };
        // Bytes: as many as characters, or more.
        characters += name.len() + value.len();
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.starts_with(|first: char| !first.is_ascii_digit())
            && !name.starts_with("__");
        is_name && characters <= MAX_CHARACTERS
    })
}

/// Whether no program has patched the check.
fn is_stock_check(check: &Bound<'_, PyAny>) -> PyResult<bool> {
    let module = check.getattr_opt(intern!(check.py(), "__module__"))?;
    module
        .map_or(Ok(false), |module| module.eq(intern!(check.py(), "prometheus_client.validation")))
}

/// Keeps the exemplar of an amount that was just counted in `value`, as `prometheus_client` does: it is
/// checked only now, and an empty one is none.
#[cold]
pub(super) fn keep<'py, M: Method>(
    call: &Call<'_, 'py>,
    value: &Bound<'py, PyAny>,
    exemplar: &Bound<'py, PyAny>,
    amount: f64,
) -> PyResult<()> {
    let py = call.py();
    let Some(stock) = M::known().stocks.of(call.receiver) else { return Ok(()) };
    if !exemplar.is_truthy()? {
        return Ok(());
    }
    let globals = stock.globals.bind(py);
    let Some(check) = globals.get_item(intern!(py, "_validate_exemplar"))? else { return Ok(()) };
    if !is_sound(exemplar) || !is_stock_check(&check)? {
        call_with(&check, [exemplar])?;
    }
    // A test may have put a clock there that gives no number.
    let now = stock.unix_time(py)?.and_then(|now| now.extract().ok());
    let Some(now) = now else { return Ok(()) };
    let Some(ours) = value_behind(value.clone(), "inc")? else { return Ok(()) };
    ours.get().keep_exemplar(exemplar, amount, now)
}
