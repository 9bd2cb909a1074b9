//! Reads entries as they are, file by file, without merging any.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Result;
use crate::format::{Damage, FileName, Key};
use crate::kind::{Kind, MetricType, Rule};
use crate::scrape::by_entry::types::{self, Draft};
use crate::store::{LeftOut, Outcome, Reader, Skipped, Snapshot};

/// A family and every entry that names it, in the order of files and entries.
#[derive(Debug, Clone)]
pub(crate) struct UnmergedFamily {
    /// Name, without suffixes.
    pub(crate) name: Box<str>,
    /// The help text of the first entry.
    pub(crate) help: Box<str>,
    /// The type: see `docs/merging.md` where files are of several.
    pub(crate) metric_type: MetricType,
    /// The mode of the last gauge file.
    pub(crate) mode: Option<Arc<str>>,
    /// The entries.
    pub(crate) samples: Vec<UnmergedSample>,
}

impl UnmergedFamily {
    /// How its values are put together.
    pub(crate) fn rule(&self) -> Rule {
        let mode = self.mode.as_deref().unwrap_or_default();
        Kind { metric_type: self.metric_type, mode }.rule()
    }
}

/// One entry of one file.
#[derive(Debug, Clone)]
pub(crate) struct UnmergedSample {
    /// The key.
    pub(crate) key: Arc<Key<'static>>,
    /// The writer, if the entry is a gauge's.
    pub(crate) pid: Option<Arc<str>>,
    /// The value.
    pub(crate) value: f64,
    /// What an archive's sum has beyond the value; else 0.
    pub(crate) low: f64,
    /// The timestamp of a gauge or of a state; else 0, since prometheus_client looks at those of gauges
    /// only.
    pub(crate) timestamp: f64,
}

/// The entries of a set of files.
#[derive(Debug, Default)]
pub(crate) struct Unmerged {
    /// The families, in the order in which the files first name them.
    pub(crate) families: Vec<UnmergedFamily>,
    /// What had to be left out because a file is damaged, or refused.
    #[cfg_attr(not(feature = "python"), allow(dead_code))] // The binding reports it.
    pub(crate) left_out: Vec<LeftOut>,
    /// What had to be left out because it does not fit what the families are now.
    pub(crate) unfit: Vec<LeftOut>,
    /// The files that were gone, by their places, in order.
    pub(crate) vanished: Vec<u32>,
}

/// A key whose bytes were seen before.
enum Known {
    /// An entry of the family with this index.
    Wanted(Arc<Key<'static>>, usize),
    Unwanted,
}

/// Reads the families that are `wanted`, by name, from the files of `snapshot`.
pub(crate) fn read(snapshot: &Snapshot, wanted: &dyn Fn(&str) -> bool) -> Result<Unmerged> {
    let (mut left_out, mut vanished) = (Vec::new(), Vec::new());
    let mut drafts: Vec<Draft> = Vec::new();
    let mut places: HashMap<(Box<str>, MetricType), usize> = HashMap::new();
    // Apart for each type: a key may be in files of several, and `le` must be a number in histograms.
    let mut known: HashMap<MetricType, HashMap<Box<[u8]>, Known>> = HashMap::new();
    let mut reader = Reader::default();
    for (place, path) in (0..).zip(&snapshot.files) {
        let Some(FileName { kind, pid }) = FileName::of_path(path) else {
            left_out.push(LeftOut::unopened(path, Damage::ForeignName));
            continue;
        };
        let known = known.entry(kind.metric_type).or_default();
        let is_gauge = kind.metric_type == MetricType::Gauge;
        let is_dated = is_gauge || kind.metric_type == MetricType::StateSet;
        let pid: Option<Arc<str>> = is_gauge.then(|| pid.to_string_lossy().into());
        let mode: Option<Arc<str>> = is_gauge.then(|| kind.mode.into());
        let is_archive = snapshot.is_archive(place);
        let has_pairs = kind.rule() == Rule::Sum && is_archive;
        let mut skipped = Skipped::default();
        let outcome = snapshot.read(place, &mut reader, |offset, entry| {
            if !is_archive && entry.is_withdrawn() {
                return;
            }
            if !known.contains_key(entry.key) {
                // A damaged key is not remembered, so that each file that holds it is reported.
                let key = match Key::parse(entry.key, kind.metric_type) {
                    Ok(key) => key,
                    Err(damage) => return skipped.add(offset, &damage),
                };
                let key = if wanted(&key.family) {
                    let name = ((*key.family).into(), kind.metric_type);
                    let place = *places.entry(name).or_insert_with(|| {
                        drafts.push(Draft::new(&key, kind.metric_type));
                        drafts.len() - 1
                    });
                    Known::Wanted(Arc::new(key.into_owned()), place)
                } else {
                    Known::Unwanted
                };
                known.insert(entry.key.into(), key);
            }
            let Some(Known::Wanted(key, index)) = known.get(entry.key) else { return };
            let draft = &mut drafts[*index];
            draft.begin(place, is_archive, offset);
            if is_gauge {
                draft.family.mode.clone_from(&mode);
            }
            draft.family.samples.push(UnmergedSample {
                key: Arc::clone(key),
                pid: pid.clone(),
                value: entry.value,
                low: if has_pairs { entry.timestamp } else { 0.0 },
                timestamp: if is_dated && !has_pairs { entry.time() } else { 0.0 },
            });
        })?;
        if outcome == Outcome::Vanished {
            vanished.push(place);
        }
        left_out.extend(skipped.finish(path));
        left_out.extend(LeftOut::after_reading(path, outcome));
    }
    let path = |place: u32| -> PathBuf { snapshot.files[place as usize].clone() };
    let (families, unfit) = types::decide(drafts, path);
    snapshot.check_readable(&left_out, &vanished)?;
    Ok(Unmerged { families, left_out, unfit, vanished })
}
