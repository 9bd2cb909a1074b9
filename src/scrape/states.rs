//! State sets: of the states that processes say, the one that was entered last is true.

use std::collections::HashMap;

use crate::format::Key;
use crate::scrape::family::SampleTable;
use crate::scrape::labels::Labels;

/// The samples of a state set whose entries have these keys and timestamps. Where no state was ever
/// entered, there are none.
///
/// An entry's timestamp says when its process has entered the state. So one store changes the state of
/// a process, and a scrape never sees two states of it, or none.
pub(super) fn samples<'a>(
    family: &str,
    entries: impl Iterator<Item = (&'a Key<'a>, f64)> + Clone,
) -> SampleTable<'a> {
    // What has a state: the labels besides that of the state, which is named after the family.
    let subject = |key: &'a Key<'a>| -> Vec<(&'a str, &'a str)> {
        let labels = key.labels.iter().map(|(name, value)| (&**name, &**value));
        labels.filter(|(name, _)| *name != family).collect()
    };
    let mut latest: HashMap<_, (f64, &Key<'_>)> = HashMap::new();
    for (key, time) in entries.clone() {
        let found = latest.entry(subject(key)).or_insert((0.0, key));
        if found.0 < time {
            *found = (time, key);
        }
    }
    let mut table = SampleTable::default();
    for (key, own_time) in entries {
        if let Some((time, state)) = latest.get(&subject(key))
            && *time > 0.0
        {
            let (index, _) = table.place(&Labels::new(&key.labels), &key.sample);
            let is_true = state.labels == key.labels;
            table.set(index, if is_true { 1.0 } else { 0.0 });
            table.date(index, if is_true { *time } else { own_time });
        }
    }
    table
}
