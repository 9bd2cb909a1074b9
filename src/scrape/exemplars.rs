//! The exemplars of merged series: of each the newest of all processes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::format::exemplar::{self, Exemplar};
use crate::format::{FileName, Key};
use crate::kind::MetricType;
use crate::scrape::family::{ExponentStyle, Family};
use crate::scrape::histogram::BoundTexts;
use crate::scrape::samples::Samples;
use crate::scrape::table::Table;
use crate::store::{LeftOut, Snapshot, read_exemplars};

/// Exemplars by the numbers of their keys.
pub(crate) type Exemplars = HashMap<u32, Arc<Exemplar>>;

/// Adds the exemplars of the files of `snapshot` to the tables that have their keys, and gives what is
/// wrong with these files. An exemplar is never a reason for a scrape to fail.
pub(super) fn read(snapshot: &Snapshot, tables: &mut [Table]) -> Vec<LeftOut> {
    let mut left_out = Vec::new();
    for path in &snapshot.exemplars {
        let Some(owner) = exemplar::owner_path(path) else { continue };
        let kind = FileName::of_path(&owner).map(|name| name.kind);
        let kind = kind.filter(|kind| kind.has_exemplars());
        let table = tables.iter_mut().find(|table| Some(table.kind()) == kind);
        // Without its file the exemplars are those of an earlier one.
        let is_owned = snapshot.files.binary_search(&owner).is_ok();
        let Some(table) = table.filter(|_| is_owned) else { continue };
        let outcome = read_exemplars(path, |key, exemplar| table.add_exemplar(key, exemplar));
        left_out.extend(outcome.ok().and_then(|outcome| LeftOut::after_reading(path, outcome)));
    }
    // Only now: most keys are in the files of many processes, and are parsed once here.
    for table in tables {
        let metric_type = table.kind().metric_type;
        table.retain_exemplars(|key| {
            Key::parse(key, metric_type).is_ok_and(|key| can_have_one(&key, metric_type))
        });
    }
    left_out
}

/// Whether `OpenMetrics` allows an exemplar of the sample that the key names.
fn can_have_one(key: &Key<'_>, metric_type: MetricType) -> bool {
    key.sample.ends_with(if metric_type == MetricType::Counter { "_total" } else { "_bucket" })
}

/// What names a series: its family, its sample and its labels.
type Series = (String, String, Vec<(String, String)>);

/// Gives the samples of families that were put together by name and labels their exemplars.
pub(super) fn attach(families: &mut [Family<'_>], tables: &[Table], style: ExponentStyle) {
    let has_exemplars = |family: &&mut Family<'_>| {
        tables.iter().any(|table| {
            table.kind().metric_type == family.metric_type && !table.exemplars().is_empty()
        })
    };
    let is_built = |family: &&mut Family<'_>| matches!(family.samples, Samples::Built(_));
    let mut families = families.iter_mut().filter(is_built).filter(has_exemplars).peekable();
    // Mostly there is no such family, and the names of series are not needed.
    if families.peek().is_none() {
        return;
    }
    let mut known: HashMap<Series, &Arc<Exemplar>> = HashMap::new();
    let mut texts = BoundTexts::new(style);
    for table in tables {
        for (number, exemplar) in table.exemplars() {
            let Ok(key) = Key::parse(table.key(*number), table.kind().metric_type) else {
                continue;
            };
            let bound = key.bound.map(|bound| texts.of(bound).to_owned());
            let labels = key.labels.iter().map(|(name, value)| match &bound {
                Some(bound) if key.bound_text() == Some(value) && name == "le" => {
                    (name.to_string(), bound.clone())
                }
                _ => (name.to_string(), value.to_string()),
            });
            let series = (key.family.to_string(), key.sample.to_string(), labels.collect());
            let newest = known.entry(series).or_insert(exemplar);
            if newest.timestamp < exemplar.timestamp {
                *newest = exemplar;
            }
        }
    }
    for family in families {
        let Samples::Built(samples) = &mut family.samples else { continue };
        for sample in samples {
            let labels = sample.labels.sorted();
            let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let series = (family.name.to_string(), sample.name.to_string(), labels.collect());
            sample.exemplar = known.get(&series).map(|exemplar| Arc::clone(exemplar));
        }
    }
}
