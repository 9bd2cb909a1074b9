//! Decides what a family is whose files do not agree: its type was changed between two versions of a
//! service, or a gauge's mode.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::format::{Damage, Damaged, Key};
use crate::kind::{MetricType, Rule};
use crate::order::sort_by_number;
use crate::scrape::by_entry::read::UnmergedFamily;
use crate::store::LeftOut;

/// What the files of one type hold of a family.
#[derive(Debug)]
pub(super) struct Draft {
    /// The family, if this is its type.
    pub(super) family: UnmergedFamily,
    /// Where its entries are: one part for each file.
    parts: Vec<Part>,
}

/// The entries of one family in one file.
#[derive(Debug, Clone, Copy)]
struct Part {
    place: u32,
    is_archive: bool,
    /// Where the first of the entries is, in bytes.
    offset: u64,
    entries: usize,
}

impl Part {
    fn left_out(self, damage: Damage, path: &impl Fn(u32) -> PathBuf) -> LeftOut {
        let damaged = Damaged::at(self.offset, damage);
        LeftOut { path: path(self.place), damaged, entries: self.entries as u64 }
    }
}

impl Draft {
    /// The family that `key` names, in files of this type.
    pub(super) fn new(key: &Key<'_>, metric_type: MetricType) -> Self {
        let family = UnmergedFamily {
            name: (*key.family).into(),
            help: (*key.help).into(),
            metric_type,
            mode: None,
            samples: Vec::new(),
        };
        Self { family, parts: Vec::new() }
    }

    /// Begins an entry at `offset` of the file with this place.
    pub(super) fn begin(&mut self, place: u32, is_archive: bool, offset: u64) {
        match self.parts.last_mut().filter(|part| part.place == place) {
            Some(part) => part.entries += 1,
            None => self.parts.push(Part { place, is_archive, offset, entries: 1 }),
        }
    }

    /// Sorts first for the draft whose type the family has: that of the first file which is no
    /// archive, else of the first archive.
    fn rank(&self) -> u64 {
        let plain = self.parts.iter().find(|part| !part.is_archive);
        let first = plain.or(self.parts.first());
        first.map_or(1 << 32, |part| u64::from(part.is_archive) << 32 | u64::from(part.place))
    }

    /// Leaves out what archives hold of a gauge that shows a value for each process.
    fn leave_out_archives(&mut self, path: &impl Fn(u32) -> PathBuf) -> Vec<LeftOut> {
        if self.family.rule() != Rule::PerProcess || self.parts.iter().all(|part| !part.is_archive)
        {
            return Vec::new();
        }
        let samples = std::mem::take(&mut self.family.samples);
        let of_archive = self.parts.iter().flat_map(|part| [part.is_archive].repeat(part.entries));
        let kept = samples.into_iter().zip(of_archive).filter(|(_, of_archive)| !of_archive);
        self.family.samples = kept.map(|(sample, _)| sample).collect();
        let archives = self.parts.iter().filter(|part| part.is_archive);
        let family = &self.family.name;
        let damage = || Damage::NoProcess { family: family.to_string() };
        archives.map(|part| part.left_out(damage(), path)).collect()
    }
}

/// The families, in the order in which the files first name them, and what is left out.
pub(super) fn decide(
    drafts: Vec<Draft>,
    path: impl Fn(u32) -> PathBuf,
) -> (Vec<UnmergedFamily>, Vec<LeftOut>) {
    let mut groups: Vec<Vec<Draft>> = Vec::new();
    let mut places: HashMap<Box<str>, usize> = HashMap::new();
    for draft in drafts {
        let place = *places.entry(draft.family.name.clone()).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Vec::new());
        }
        groups[place].push(draft);
    }
    let (mut families, mut left_out) = (Vec::new(), Vec::new());
    for mut group in groups {
        sort_by_number(&mut group, Draft::rank);
        let mut drafts = group.into_iter();
        let Some(mut chosen) = drafts.next() else { continue };
        for other in drafts {
            let damage = Damage::OtherType {
                family: other.family.name.to_string(),
                metric_type: chosen.family.metric_type,
                found: other.family.metric_type,
            };
            let parts = other.parts.iter();
            left_out.extend(parts.map(|part| part.left_out(damage.clone(), &path)));
        }
        left_out.extend(chosen.leave_out_archives(&path));
        if !chosen.family.samples.is_empty() {
            families.push(chosen.family);
        }
    }
    (families, left_out)
}
