//! What stands in the place of a timestamp if a series was withdrawn.
//!
//! The withdrawals of a directory have numbers, 1, 2, 3 and so on for each kind. The entry of a series
//! that was withdrawn is marked with the number of its withdrawal. If its process begins the series
//! anew, the entry has another mark with the same number: the entry counts, and still tells that the
//! series was withdrawn.

/// 2^51: an entry is marked whose timestamp is from minus 2^53 to minus this. No clock gives such a
/// time, and all whole numbers up to 2^53 are exact.
const BEGUN_ANEW: f64 = 2_251_799_813_685_248.0;
/// 2^52: an entry is withdrawn whose timestamp is from minus 2^53 to minus this.
const WITHDRAWN: f64 = 2.0 * BEGUN_ANEW;

/// The highest number that a withdrawal can have.
pub(crate) const NUMBER_MAX: u64 = (1 << 51) - 1;
/// The number of a withdrawal before it gets one: 2^52.
pub(crate) const UNNUMBERED: u64 = 1 << 52;

/// The mark of an entry that is withdrawn by the withdrawal with this number; 0 if it can get none.
pub(crate) fn withdrawn(number: u64) -> f64 {
    // CAST: all numbers are below 2^53.
    #[allow(clippy::cast_precision_loss)]
    let number = number as f64;
    -(WITHDRAWN + number)
}

/// Whether the entry with this timestamp is withdrawn.
#[inline]
pub(crate) fn is_withdrawn(timestamp: f64) -> bool {
    (-2.0 * WITHDRAWN..=-WITHDRAWN).contains(&timestamp)
}

/// The mark of a withdrawn entry that is to count again.
pub(crate) fn begun_anew(timestamp: f64) -> f64 {
    match number(timestamp) {
        Some(1..UNNUMBERED) => timestamp + (WITHDRAWN - BEGUN_ANEW),
        // Without a number the mark tells no compaction anything.
        _ => 0.0,
    }
}

/// Whether the entry with this timestamp counts, after it was withdrawn.
#[inline]
pub(crate) fn is_begun_anew(timestamp: f64) -> bool {
    timestamp <= -BEGUN_ANEW && timestamp > -WITHDRAWN
}

/// The number of the withdrawal by which an entry is marked, with whichever mark; none if it is not.
pub(crate) fn number(timestamp: f64) -> Option<u64> {
    let first = if is_withdrawn(timestamp) {
        WITHDRAWN
    } else if is_begun_anew(timestamp) {
        BEGUN_ANEW
    } else {
        return None;
    };
    // CAST: a whole number, and not negative.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Some((-timestamp - first) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_gives_its_number() {
        for expected in [1, 2, 1 << 32, NUMBER_MAX] {
            let mark = withdrawn(expected);
            assert!(is_withdrawn(mark) && !is_begun_anew(mark));
            let anew = begun_anew(mark);
            assert!(is_begun_anew(anew) && !is_withdrawn(anew));
            assert_eq!([mark, anew].map(number), [Some(expected); 2]);
        }
        for mark in [0, UNNUMBERED].map(withdrawn) {
            assert!(is_withdrawn(mark));
            assert_eq!(begun_anew(mark).to_bits(), 0);
        }
        assert_eq!([0, UNNUMBERED].map(withdrawn).map(number), [Some(0), Some(UNNUMBERED)]);
    }

    #[test]
    fn times_are_no_marks() {
        for time in [
            0.0,
            -0.0,
            -1.0,
            1.7e9,
            -1.7e9,
            1.7e12,
            -1.7e12,
            1.0e300,
            -1.0e300,
            f64::NAN,
            f64::INFINITY,
        ] {
            assert!(!is_withdrawn(time) && !is_begun_anew(time));
            assert_eq!(number(time), None);
        }
    }
}
