//! Reports on what was left out, as Python takes them.

use std::ffi::OsString;

use crate::format::{Damage, Damaged};
use crate::store::LeftOut;

/// Path, offset, reason, entries, and whether the name alone says that it is no metrics file.
pub(super) type Report = (OsString, Option<u64>, String, u64, bool);

pub(super) fn reports(left_out: &[LeftOut]) -> Vec<Report> {
    left_out
        .iter()
        .map(|LeftOut { path, damaged: Damaged { offset, damage }, entries }| {
            let is_foreign = matches!(damage, Damage::ForeignName | Damage::NotAFile);
            (path.clone().into_os_string(), *offset, damage.to_string(), *entries, is_foreign)
        })
        .collect()
}
