//! What was seen, as JSON text: `docs/command-line.md` has the fields of an inspection.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::inspect::directory::Inspection;
use crate::inspect::family::FamilySize;
use crate::inspect::file::FileSeen;
use crate::inspect::metrics;
use crate::inspect::process::ProcessSeen;
use crate::inspect::usage::Usage;
use crate::inspect::watch::{ProcessCounts, Watch};
use crate::store::LeftOut;

impl Inspection {
    /// The same as JSON. Names that are no UTF-8 have replacement characters.
    #[must_use]
    pub fn to_json(&self) -> String {
        json!({
            "directory": self.path.to_string_lossy(),
            "exists": self.exists,
            "without_common_locks": self.without_common_locks,
            "is_compacting": self.is_compacting,
            "scrape_error": self.scrape_error,
            "processes": self.processes.iter().map(process).collect::<Vec<_>>(),
            "files": self.files.iter().map(file).collect::<Vec<_>>(),
            "families": self.families.iter().map(family).collect::<Vec<_>>(),
        })
        .to_string()
    }
}

impl Watch {
    /// The same as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let counts = self.counts.iter();
        let counts = counts.map(|ProcessCounts { identifier, counts }| {
            json!({ "identifier": identifier, "counts": counts })
        });
        json!({
            "processes": self.processes.iter().map(process).collect::<Vec<_>>(),
            "counts": counts.collect::<Vec<_>>(),
        })
        .to_string()
    }
}

fn process(process: &ProcessSeen) -> Value {
    json!({
        "slot": process.slot,
        "pid": process.pid,
        "role": process.role,
        "identifier": process.identifier,
        "life": process.life.name(),
        "evidence": process.evidence.to_string(),
        "files": process.files,
        "usage": process.usage.as_ref().map(usage),
    })
}

fn usage(usage: &Usage) -> Value {
    json!({
        "cpu_seconds": usage.cpu_seconds,
        "resident_bytes": usage.resident_bytes,
        "virtual_bytes": usage.virtual_bytes,
        "start_time": usage.start_time,
        "threads": usage.threads,
        "open_descriptors": usage.open_descriptors,
        "max_descriptors": usage.max_descriptors,
        "voluntary_switches": usage.voluntary_switches,
        "involuntary_switches": usage.involuntary_switches,
    })
}

fn file(file: &FileSeen) -> Value {
    let kind = file.kind();
    json!({
        "name": name(&file.path),
        "type": kind.map(|kind| kind.metric_type.name()),
        "mode": kind.map(|kind| kind.mode).filter(|mode| !mode.is_empty()),
        "identifier": file.identifier().map(|identifier| identifier.to_string_lossy()),
        "state": file.state.name(),
        "is_counted": file.is_counted,
        "is_foldable": file.is_foldable(),
        "is_of_one_process": file.is_of_one_process(),
        "used": file.used,
        "size": file.size,
        "allocated": file.allocated,
        "modified": file.modified,
        "entries": file.entries,
        "problems": file.problems.iter().map(problem).collect::<Vec<_>>(),
    })
}

fn problem(LeftOut { damaged, entries, .. }: &LeftOut) -> Value {
    json!({
        "offset": damaged.offset,
        "damage": metrics::reason(&damaged.damage),
        "reason": damaged.damage.to_string(),
        "entries": entries,
    })
}

fn family(family: &FamilySize) -> Value {
    let labels: Map<_, _> =
        family.labels.iter().map(|(name, values)| (name.clone(), json!(values))).collect();
    json!({
        "name": family.name,
        "type": family.metric_type.name(),
        "series": family.series,
        "labels": labels,
    })
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
