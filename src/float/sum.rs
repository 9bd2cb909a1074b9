//! Sums of f64 that are rounded once, at the end.
//!
//! Prometheus takes any fall of a counter for a restart. A plain f64 sum depends on the order and
//! grouping of its addends and may fall by one ulp when they are regrouped; these sums do not.
//! Infinities, NaN and overflow behave as in plain f64 addition.

/// Sums below this are far from overflow, also in parts.
const ORDINARY_END: f64 = 1e300;

/// A running sum of f64, rounded when it is asked for.
pub(crate) trait Sum: Default {
    /// Adds another sum; false if bits were lost.
    #[must_use]
    fn add_sum(&mut self, other: &Self) -> bool;

    /// The sum, rounded once.
    fn value(&self) -> f64;
}

/// A running sum as an unevaluated pair, `high` + `low`: 106 bits of precision.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct DoubleDouble {
    high: f64,
    low: f64,
}

impl DoubleDouble {
    /// Adds `addend`; false if bits were lost, so that only an [`ExactSum`], fed in order, is exact.
    ///
    /// Infinity and NaN, once added, stay as they do in plain addition. A sum of finite addends that
    /// overflows has lost bits.
    #[inline]
    #[must_use]
    pub(crate) fn add(&mut self, addend: f64) -> bool {
        let (high, error) = two_sum(self.high, addend);
        // So near to infinity parts may overflow where the whole does not, and the other way round.
        let is_ordinary = high.abs() < ORDINARY_END;
        if !is_ordinary {
            let is_exact = !self.high.is_finite() || !addend.is_finite();
            *self = Self { high, low: 0.0 };
            return is_exact;
        }
        // Counts are whole numbers: most additions have nothing to round.
        if error == 0.0 && self.low == 0.0 {
            self.high = high;
            return true;
        }
        let (low, lost) = two_sum(self.low, error);
        let (high, low) = two_sum(high, low);
        *self = Self { high, low };
        lost == 0.0
    }
}

impl DoubleDouble {
    /// The sum rounded once, and what rounding took away.
    #[must_use]
    pub(crate) fn pair(&self) -> (f64, f64) {
        (self.high, self.low)
    }
}

impl Sum for DoubleDouble {
    #[inline]
    fn add_sum(&mut self, other: &Self) -> bool {
        let high_exact = self.add(other.high);
        self.add(other.low) && high_exact
    }

    fn value(&self) -> f64 {
        self.high
    }
}

/// A running sum without any error, after Shewchuk, as Python's `math.fsum`.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExactSum {
    /// Parts that do not overlap, the smallest first; their sum is the exact sum.
    parts: Vec<f64>,
    /// The plain f64 sum, which is the result once it is not finite.
    plain: f64,
}

impl ExactSum {
    /// Adds `addend`.
    pub(crate) fn add(&mut self, addend: f64) {
        self.plain += addend;
        let mut carry = addend;
        let mut kept = 0;
        for index in 0..self.parts.len() {
            let (sum, error) = two_sum(carry, self.parts[index]);
            if error != 0.0 {
                self.parts[kept] = error;
                kept += 1;
            }
            carry = sum;
        }
        self.parts.truncate(kept);
        self.parts.push(carry);
    }

    /// Adds a sum that is a pair.
    pub(crate) fn add_pair(&mut self, high: f64, low: f64) {
        self.add(high);
        if low != 0.0 {
            self.add(low);
        }
    }

    fn is_finite(&self) -> bool {
        self.plain.is_finite() && self.parts.iter().all(|part| part.is_finite())
    }
}

impl Sum for ExactSum {
    #[inline]
    fn add_sum(&mut self, other: &Self) -> bool {
        if other.is_finite() {
            other.parts.iter().for_each(|&part| self.add(part));
        } else {
            self.add(other.plain);
        }
        true
    }

    fn value(&self) -> f64 {
        if !self.is_finite() {
            return self.plain;
        }
        let mut parts = self.parts.iter().rev().copied();
        let mut high = parts.next().unwrap_or(0.0);
        let mut low = 0.0;
        for part in parts.by_ref() {
            (high, low) = two_sum(high, part);
            if low != 0.0 {
                break;
            }
        }
        // `high + low` was rounded half to even; parts below may say that it was no half.
        if let Some(below) = parts.next()
            && ((low < 0.0 && below < 0.0) || (low > 0.0 && below > 0.0))
        {
            let doubled = low * 2.0;
            let rounded = high + doubled;
            // Exact comparison: was `low` half a unit in the last place of `high`?
            #[allow(clippy::float_cmp)]
            if doubled == rounded - high {
                high = rounded;
            }
        }
        // -0.0 would be the sum of a single -0.0; prometheus_client starts at 0.0.
        high + 0.0
    }
}

/// The rounded sum and what rounding took away (Knuth).
#[inline]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    let a_part = sum - b_part;
    (sum, (a - a_part) + (b - b_part))
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // Exactness is what is tested.
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn double_double(values: &[f64]) -> (f64, bool) {
        let mut sum = DoubleDouble::default();
        let mut exact = true;
        for &value in values {
            exact &= sum.add(value);
        }
        (sum.value(), exact)
    }

    fn exact(values: &[f64]) -> f64 {
        let mut sum = ExactSum::default();
        for &value in values {
            sum.add(value);
        }
        sum.value()
    }

    #[test]
    fn rounded_once() {
        assert_eq!(double_double(&[0.1; 10]), (1.0, true));
        assert_eq!(exact(&[0.1; 10]), 1.0);
        assert_eq!(exact(&[1e308, 1.0, 1e-300, -1e308]), 1.0);
        assert_eq!(exact(&[1.0, f64::EPSILON / 2.0, 5e-324]), 1.0 + f64::EPSILON);
        assert_eq!(exact(&[]), 0.0);
    }

    #[test]
    fn lost_bits_are_noticed() {
        assert!(!double_double(&[1.0, f64::EPSILON / 2.0, 5e-324]).1);
        assert!(!double_double(&[1e300, 1.0, 1e-300]).1);
        assert!(!double_double(&[1e308, 1e308, -1e308]).1);
        assert!(!double_double(&[1e308, f64::INFINITY]).1);
    }

    #[test]
    fn infinities_nan_overflow_and_zero_as_in_plain_addition() {
        let inf = f64::INFINITY;
        for values in [&[1.0, inf][..], &[inf, 1.0, 2.0], &[-inf, 1.0], &[inf, 1e308, 1e308]] {
            let plain: f64 = values.iter().sum();
            assert_eq!(double_double(values), (plain, true));
            assert_eq!(exact(values), plain);
        }
        assert_eq!(exact(&[1e308, 1e308, -1e308]), inf);
        for values in [&[inf, -inf][..], &[f64::NAN, 1.0], &[inf, -inf, 1.0]] {
            let (sum, is_exact) = double_double(values);
            assert!(sum.is_nan() && is_exact);
            assert!(exact(values).is_nan());
        }
        assert!(double_double(&[-0.0]).0.is_sign_positive());
        assert!(exact(&[-0.0]).is_sign_positive());
    }

    proptest! {
        /// Where no bit was lost both ways agree, in any order.
        #[test]
        fn both_sums_agree(mut values: Vec<f64>) {
            values.retain(|value| value.abs() < 1e300);
            let expected = exact(&values);
            values.reverse();
            prop_assert_eq!(exact(&values), expected);
            let (sum, is_exact) = double_double(&values);
            if is_exact {
                prop_assert_eq!(sum, expected);
            }
        }

        #[test]
        fn ordinary_values_lose_nothing(values in prop::collection::vec(0.0001..10000.0, 0..500)) {
            let (sum, is_exact) = double_double(&values);
            prop_assert!(is_exact);
            prop_assert_eq!(sum, exact(&values));
        }
    }
}
