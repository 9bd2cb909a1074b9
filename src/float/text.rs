//! An f64 as text, exactly as `prometheus_client`'s `floatToGoString` writes it.

use std::fmt::Write;

/// Python's `repr` writes an exponent for more integer digits than this.
const REPR_POINT_MAX: i32 = 16;
/// Python's `repr` writes an exponent for a decimal point this far left of the first digit.
const REPR_POINT_MIN: i32 = -4;
/// Go writes an exponent sooner, for more integer digits than this; only for positive numbers.
const GO_POINT_MAX: i32 = 6;
/// Integers below this are written without an exponent, so plain digits will do.
const SHORT_INTEGER_END: f64 = 1e6;

/// The longest text without an exponent has so many digits behind its leading zeros.
const DIGITS_MAX: usize = 24;

/// How Go's exponent is written, which changed in `prometheus_client` 0.26.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExponentStyle {
    /// As Go does: `1e+06`, `1e+10`.
    TwoDigits,
    /// With a zero before any number of digits: `1e+06`, `1e+010`.
    ZeroPrefixed,
}

/// Appends `value`: the shortest digits that read back as it, `1e+06` from a million on.
pub(crate) fn write_float(out: &mut String, value: f64, style: ExponentStyle) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if value.fract() == 0.0 && value.abs() < SHORT_INTEGER_END {
        write_short_integer(out, value);
    } else {
        write_shortest(out, value, style);
    }
}

/// As [`write_float`], into a string of its own.
#[must_use]
pub(crate) fn float_to_string(value: f64, style: ExponentStyle) -> String {
    let mut text = String::new();
    write_float(&mut text, value, style);
    text
}

fn write_short_integer(out: &mut String, value: f64) {
    if value.is_sign_negative() {
        out.push('-');
    }
    // CAST: an integer below a million.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let mut integer = value.abs() as u32;
    let mut digits = [0; 6];
    let mut first = digits.len();
    loop {
        first -= 1;
        // CAST: a decimal digit.
        #[allow(clippy::cast_possible_truncation)]
        let digit = (integer % 10) as u8;
        digits[first] = b'0' + digit;
        integer /= 10;
        if integer == 0 {
            break;
        }
    }
    out.extend(digits[first..].iter().map(|&digit| char::from(digit)));
    out.push_str(".0");
}

fn write_shortest(out: &mut String, value: f64, style: ExponentStyle) {
    let mut buffer = zmij::Buffer::new();
    // Of two shortest texts that are equally near to the value, zmij gives the one with the even last
    // digit, as Python's `repr` does. Rust's own formatting gives the larger one.
    let decimal = Decimal::parse(buffer.format_finite(value.abs()));
    let digits = decimal.digits();
    let point = decimal.point;
    if value.is_sign_negative() {
        out.push('-');
    }
    let go_exponent = value > 0.0 && point > GO_POINT_MAX;
    if go_exponent || point > REPR_POINT_MAX || point <= REPR_POINT_MIN {
        let exponent = point - 1;
        let (first, rest) = digits.split_at(1);
        out.push_str(first);
        if !rest.is_empty() {
            out.push('.');
            out.push_str(rest);
        }
        // Python's own exponents, from 1e16 on, never had the zero.
        let is_prefixed = style == ExponentStyle::ZeroPrefixed && point <= REPR_POINT_MAX;
        let sign = if exponent < 0 { '-' } else { '+' };
        // Writing to a String cannot fail.
        let _ = match (is_prefixed && go_exponent, exponent.abs()) {
            (true, digits) => write!(out, "e{sign}0{digits}"),
            (false, digits) => write!(out, "e{sign}{digits:02}"),
        };
        return;
    }
    let Ok(before_point) = usize::try_from(point) else {
        out.push_str("0.");
        out.extend((point..0).map(|_| '0'));
        out.push_str(digits);
        return;
    };
    let (whole, fraction) = digits.split_at(before_point.min(digits.len()));
    out.push_str(if whole.is_empty() { "0" } else { whole });
    out.extend((whole.len()..before_point).map(|_| '0'));
    out.push('.');
    out.push_str(if fraction.is_empty() { "0" } else { fraction });
}

/// The significant digits of a positive number, and how many of them stand before its decimal point.
struct Decimal {
    bytes: [u8; DIGITS_MAX],
    length: usize,
    /// Negative for zeros between the point and the first digit.
    point: i32,
}

impl Decimal {
    /// Parses `12.5`, `0.00125`, `12000.0` or `1.25e-7`.
    fn parse(text: &str) -> Self {
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let exponent: i32 = exponent.parse().unwrap_or_default();
        // CAST: a text of some twenty digits.
        #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
        let mut decimal =
            Self { bytes: [b'0'; DIGITS_MAX], length: 0, point: exponent + whole.len() as i32 };
        for digit in whole.bytes().chain(fraction.bytes()) {
            if decimal.length == 0 && digit == b'0' {
                decimal.point -= 1;
            } else if decimal.length < DIGITS_MAX {
                decimal.bytes[decimal.length] = digit;
                decimal.length += 1;
            }
        }
        while decimal.length > 1 && decimal.bytes[decimal.length - 1] == b'0' {
            decimal.length -= 1;
        }
        decimal
    }

    fn digits(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn written_as_go_and_python_do() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-42.0, "-42.0"),
            (0.5, "0.5"),
            (0.1 + 0.2, "0.30000000000000004"),
            (100.0, "100.0"),
            (999_999.0, "999999.0"),
            (999_999.5, "999999.5"),
            (1e6, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (123_456_789.123, "1.23456789123e+08"),
            (-1e6, "-1000000.0"),
            (-1_234_567.5, "-1234567.5"),
            (-1e15, "-1000000000000000.0"),
            (-1e16, "-1e+16"),
            (1e15, "1e+15"),
            (1e16, "1e+16"),
            (1.5e16, "1.5e+16"),
            (1e100, "1e+100"),
            (0.001, "0.001"),
            (0.0001, "0.0001"),
            (0.000_12, "0.00012"),
            (1e-5, "1e-05"),
            (1.25e-5, "1.25e-05"),
            (5e-324, "5e-324"),
            // Two texts of 17 digits are equally near.
            (10_000_006.375_976_563, "1.0000006375976562e+07"),
            (0.500_000_476_837_158_2, "0.5000004768371582"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(float_to_string(value, ExponentStyle::TwoDigits), expected);
        }
    }

    #[test]
    fn exponents_before_0_26() {
        for (value, expected) in [
            (1e6, "1e+06"),
            (1e10, "1e+010"),
            (1.5e15, "1.5e+015"),
            (1e16, "1e+16"),
            (1e-10, "1e-10"),
            (-1e10, "-10000000000.0"),
        ] {
            assert_eq!(float_to_string(value, ExponentStyle::ZeroPrefixed), expected);
        }
    }

    proptest! {
        #[test]
        fn reads_back_as_the_same_number(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let parsed: f64 = float_to_string(value, ExponentStyle::TwoDigits).parse().unwrap();
            prop_assert_eq!(parsed.to_bits(), value.to_bits());
        }

        #[test]
        fn short_integers_agree_with_the_general_way(integer in -999_999_i32..1_000_000) {
            prop_assume!(integer != 0);
            let mut general = String::new();
            write_shortest(&mut general, f64::from(integer), ExponentStyle::TwoDigits);
            prop_assert_eq!(float_to_string(f64::from(integer), ExponentStyle::TwoDigits), general);
        }
    }
}
