//! Sound files: sums agree with another way to add, and folding in any steps moves no value.

#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use multiprom::compact::LeftAlone;
use multiprom::compact::Reason;
use multiprom_fuzz::{Directory, Samples, assert_same, file};

const KINDS: [&str; 6] =
    ["counter", "histogram", "gauge_sum", "gauge_min", "gauge_max", "gauge_mostrecent"];
const BOUNDS: [&str; 4] = ["0.5", "1.0", "2.5", "+Inf"];
/// Sums of less are far from overflowing.
const LARGE: f64 = 1e290;
/// What divides whole numbers so that their sums fit the pairs of an archive in any grouping.
const UNIT: f64 = (1u64 << 44) as f64;

/// The bit of a series that says under which of two help texts it is.
const HELP: u8 = 2;

/// The bit of a series that says that it was withdrawn: as if its entry were not there.
const WITHDRAWN: u8 = 16;
/// The timestamp of such an entry is minus this, or less.
const WITHDRAWN_TIME: f64 = (1u64 << 52) as f64;

#[derive(Debug, Arbitrary)]
struct Entry {
    series: u8,
    value: f64,
}

#[derive(Debug, Arbitrary)]
struct Process {
    /// In which step it is folded.
    step: bool,
    entries: Vec<Entry>,
}

fuzz_target!(|input: (u8, bool, Vec<Process>)| {
    let (kind, is_wide, mut processes) = input;
    let kind = KINDS[usize::from(kind) % KINDS.len()];
    if is_wide && kind == "histogram" {
        return;
    }
    if !is_wide {
        for entry in processes.iter_mut().flat_map(|process| &mut process.entries) {
            entry.value = entry.value.to_bits() as i64 as f64 / UNIT;
        }
    }
    let directory = Directory::new(kind);
    let mut clock = 0.0;
    let mut terms: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (process, Process { entries, .. }) in processes.iter().enumerate() {
        let mut own = BTreeMap::new();
        for Entry { series, value } in entries {
            // The first NaN stays the smallest and the largest, whichever file comes first then.
            if value.is_nan() && matches!(kind, "gauge_min" | "gauge_max") {
                continue;
            }
            clock += 1.0;
            // A file has a key once.
            let time = if series & WITHDRAWN == 0 { clock } else { -WITHDRAWN_TIME - clock };
            own.insert(key(kind, *series), (sample(*series), *value, time));
        }
        for (sample, value, _) in own.values().filter(|(_, _, time)| *time >= 0.0) {
            terms.entry(sample.clone()).or_default().push(*value);
        }
        let written = own.iter().map(|(key, (_, value, time))| (key.as_str(), *value, *time));
        directory.write(process, &file(written));
    }
    let before = directory.samples();
    if matches!(kind, "counter" | "gauge_sum") {
        assert_sums(&terms, &before);
    }
    for step in [false, true] {
        let folded = processes.iter().enumerate().filter(|(_, process)| process.step == step);
        let done = directory.fold(folded.map(|(process, _)| process));
        let is_precise = |left: &LeftAlone| left.reason == Reason::TooPrecise;
        assert!(done.left_alone.iter().all(|left| is_wide && is_precise(left)), "{done:?}");
        assert_same(&before, &directory.samples());
    }
});

/// The key of a series: of two families, with four sets of labels.
fn key(kind: &str, series: u8) -> String {
    let (family, help, set) = (series & 1, series & HELP, usize::from(series >> 2 & 3));
    match kind {
        "histogram" => format!(
            r#"["f{family}", "f{family}_bucket", {{"le": "{}"}}, "Help {help}"]"#,
            BOUNDS[set]
        ),
        _ => format!(r#"["f{family}", "f{family}", {{"l": "{set}"}}, "Help {help}"]"#),
    }
}

/// How its sample is written, if it is no bucket.
fn sample(series: u8) -> String {
    let (family, set) = (series & 1, series >> 2 & 3);
    format!("f{family}{{l=\"{set}\"}}")
}

fn assert_sums(terms: &BTreeMap<String, Vec<f64>>, samples: &Samples) {
    for (sample, terms) in terms {
        if terms.iter().all(|term| term.abs() < LARGE) {
            let (sum, exact) = (samples[sample], sum(terms));
            assert!(sum == exact, "{sample} is {sum:?}, the sum of {terms:?} is {exact:?}");
        }
    }
}

/// The sum, rounded once: as Python's `math.fsum` does it, with parts that do not overlap.
fn sum(terms: &[f64]) -> f64 {
    let mut parts: Vec<f64> = Vec::new();
    for &term in terms {
        let mut term = term;
        let mut kept = Vec::new();
        for mut part in parts {
            if term.abs() < part.abs() {
                (term, part) = (part, term);
            }
            let high = term + part;
            let low = part - (high - term);
            if low != 0.0 {
                kept.push(low);
            }
            term = high;
        }
        kept.push(term);
        parts = kept;
    }
    let mut rest = parts.into_iter().rev();
    let mut high = rest.next().unwrap_or(0.0);
    while let Some(part) = rest.next() {
        let before = high;
        high = before + part;
        let low = part - (high - before);
        if low != 0.0 {
            // Halfway between two numbers: what remains says to which side.
            let twice = low * 2.0;
            let next = high + twice;
            let is_half = next - high == twice;
            let sign = rest.next().unwrap_or(0.0);
            if is_half && (low < 0.0 && sign < 0.0 || low > 0.0 && sign > 0.0) {
                high = next;
            }
            break;
        }
    }
    high
}
