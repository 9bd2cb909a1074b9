//! Sums stay exact, however they are folded.

#![allow(clippy::float_cmp)] // Exactness is what is tested.

use proptest::prelude::*;
use tempfile::TempDir;

use crate::compact::reason::Reason;
use crate::compact::run::{Compaction, Request, compact};
use crate::compact::tests::support::{
    LOCK, Worker, dead, exact, key, names, reasons, sweep, totals,
};

/// A gauge whose mode was changed is merged entry by entry, low halves included.
#[test]
fn low_halves_count_also_in_a_replay() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    // Either alone is too small to move the 1, both together are not.
    let small = f64::EPSILON * 3.0 / 8.0;
    let files = [("gauge_sum_1.db", 1.0), ("gauge_sum_2.db", small), ("gauge_max_3.db", small)];
    for (name, value) in files {
        dead(path, name, value);
        sweep(path);
    }
    assert_eq!(totals(path)["c"], 1.0 + f64::EPSILON);
}

/// Sums need the low halves: with plain archives a total would fall by an ulp now and then.
#[test]
fn thousands_of_folds_move_no_total() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let living = Worker::start(path, "counter_0.db", &[(key("c"), 0.1)]);
    let mut values = vec![0.1];
    let mut seed = 1_u64;
    for number in 1..=2000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = u32::try_from(seed >> 32).unwrap();
        let value = f64::from(random) * 1e-6 / f64::from(number % 13 + 1);
        values.push(value);
        let before = totals(path)["c"];
        dead(path, &format!("counter_{number}.db"), value);
        let expected = exact(&values);
        assert_eq!(totals(path)["c"], expected);
        assert_eq!(sweep(path).files_folded, 1);
        let after = totals(path)["c"];
        assert_eq!(after, expected, "after {number} folds");
        assert!(before <= after);
    }
    drop(living);
    sweep(path);
    assert_eq!(totals(path)["c"], exact(&values));
}

/// A sum that an archive cannot hold stays in its file and counts; the others are folded.
#[test]
fn what_a_pair_cannot_hold_stays_in_its_file() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let values = [1.0, 0.1, 1e-300, 0.2, 1e305, 0.3];
    for (number, value) in values.iter().enumerate() {
        dead(path, &format!("counter_{number}.db"), *value);
    }
    let before = totals(path)["c"];
    let sweeping = Request { skips_known: true, ..Request::default() };
    let done = compact(path, &sweeping, &[]).unwrap();
    assert_eq!(done.files_folded, 4);
    let too_precise = ["counter_2.db", "counter_4.db"].map(|name| (name, &Reason::TooPrecise));
    assert_eq!(reasons(&done), too_precise);
    assert_eq!(names(path), [LOCK, "counter_2.db", "counter_4.db", "counter_compacted.db"]);
    assert_eq!(totals(path)["c"], before);
    assert_eq!(compact(path, &sweeping, &[]).unwrap(), Compaction::default(), "they are known");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// Any values, any grouping: the total is the exact sum, rounded once, after every fold.
    #[test]
    fn any_folds_are_exact(groups in prop::collection::vec(
        prop::collection::vec(1e-7..1e9_f64, 1..5), 1..8,
    )) {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let mut values = Vec::new();
        for (group, files) in groups.iter().enumerate() {
            for (number, value) in files.iter().enumerate() {
                dead(path, &format!("counter_{group}_{number}.db"), *value);
                values.push(*value);
            }
            prop_assert_eq!(totals(path)["c"], exact(&values));
            prop_assert_eq!(sweep(path).files_folded, files.len());
            prop_assert_eq!(totals(path)["c"], exact(&values));
        }
    }

    /// What plain addition makes infinite or NaN stays so in the archive.
    #[test]
    fn folds_of_any_floats_are_plain_addition(
        values in prop::collection::vec(prop::num::f64::ANY, 1..6),
    ) {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        for (number, value) in values.iter().enumerate() {
            dead(path, &format!("counter_{number}.db"), *value);
        }
        let before = totals(path)["c"];
        sweep(path);
        let after = totals(path)["c"];
        // The processor chooses sign and payload of a NaN, which no text shows. Zeros have signs.
        let is_same = before.to_bits() == after.to_bits() || before.is_nan() && after.is_nan();
        prop_assert!(is_same, "{before} became {after}");
    }
}
