//! Reports on what was left out, as Python takes them.

use std::ffi::OsString;

use crate::format::{Damage, Damaged};
use crate::store::LeftOut;

/// Path, offset, reason, entries, and what it is about: see `_core.pyi`.
pub(super) type Report = (OsString, Option<u64>, String, u64, &'static str);

pub(super) fn reports(left_out: &[LeftOut]) -> Vec<Report> {
    left_out
        .iter()
        .map(|LeftOut { path, damaged: Damaged { offset, damage }, entries }| {
            let about = match damage {
                Damage::ForeignName | Damage::NotAFile => "foreign",
                Damage::OtherType { .. } | Damage::NoProcess { .. } => "metric",
                _ => "file",
            };
            (path.clone().into_os_string(), *offset, damage.to_string(), *entries, about)
        })
        .collect()
}
