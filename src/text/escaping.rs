//! Names and label values as the text formats escape them.
//!
//! Prometheus 3 allows any UTF-8 in names. For readers that do not, a scheme turns them into the
//! legacy character set: `prometheus_client`'s `escaping`, negotiated in the `Accept` header.

use std::borrow::Cow;
use std::fmt::Write;

/// The escaping scheme for names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escaping {
    /// Names that are not legacy stand in quotes.
    AllowUtf8,
    /// What is not legacy becomes `_`.
    Underscores,
    /// `.` becomes `_dot_`, `_` becomes `__`, so that it can mostly be undone.
    Dots,
    /// `U__` and code points, so that it can be undone.
    Values,
}

/// Which characters a legacy name may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// Letters, digits, `_` and `:`.
    Metric,
    /// The same without `:`.
    Label,
}

/// What a byte is in names and in quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Byte {
    /// A letter or `_`.
    Letter,
    Digit,
    Colon,
    /// Needs a backslash.
    Special,
    Plain,
}

/// Looking a byte up is quicker than comparing it: all names and values of a scrape are checked.
const BYTES: [Byte; 256] = {
    let mut bytes = [Byte::Plain; 256];
    let mut byte = 0;
    while byte < bytes.len() {
        // CAST: below 256.
        #[allow(clippy::cast_possible_truncation)]
        let ascii = byte as u8;
        bytes[byte] = match ascii {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => Byte::Letter,
            b'0'..=b'9' => Byte::Digit,
            b':' => Byte::Colon,
            b'\\' | b'\n' | b'"' => Byte::Special,
            _ => Byte::Plain,
        };
        byte += 1;
    }
    bytes
};

impl Charset {
    fn allows(self, byte: u8, is_first: bool) -> bool {
        match BYTES[usize::from(byte)] {
            Byte::Letter => true,
            Byte::Digit => !is_first,
            Byte::Colon => self == Self::Metric,
            Byte::Plain | Byte::Special => false,
        }
    }

    fn allows_all(self, name: &str) -> bool {
        let bytes = name.as_bytes();
        bytes.first().is_some_and(|&first| self.allows(first, true))
            && bytes[1..].iter().all(|&byte| self.allows(byte, false))
    }
}

impl Escaping {
    /// The scheme that the `Accept` header names so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "allow-utf-8" => Self::AllowUtf8,
            "underscores" => Self::Underscores,
            "dots" => Self::Dots,
            "values" => Self::Values,
            _ => return None,
        })
    }

    /// The name of a family, or of a sample in the Prometheus text format.
    #[must_use]
    pub fn metric_name(self, name: &str) -> Cow<'_, str> {
        self.name(name, Charset::Metric, is_legacy_metric_name(name))
    }

    /// The name of a label.
    #[must_use]
    pub fn label_name(self, name: &str) -> Cow<'_, str> {
        self.name(name, Charset::Label, is_legacy_label_name(name))
    }

    fn name(self, name: &str, charset: Charset, is_legacy: bool) -> Cow<'_, str> {
        match self {
            _ if name.is_empty() => Cow::Borrowed(name),
            Self::Dots => self.characters(name, charset),
            _ if is_legacy => Cow::Borrowed(name),
            Self::AllowUtf8 => Cow::Owned(format!("\"{}\"", quoted(name))),
            Self::Underscores | Self::Values => self.characters(name, charset),
        }
    }

    /// `name` in the legacy character set, also if it was in it before: `dots` and `values` can
    /// be undone only if they change such names too.
    #[must_use]
    pub fn characters(self, name: &str, charset: Charset) -> Cow<'_, str> {
        let unchanged = match self {
            Self::AllowUtf8 => return quoted(name),
            Self::Underscores => charset.allows_all(name),
            Self::Dots => charset.allows_all(name) && !name.contains('_'),
            Self::Values => false,
        };
        if unchanged {
            return Cow::Borrowed(name);
        }
        let mut escaped = String::with_capacity(name.len() + 8);
        if self == Self::Values {
            escaped.push_str("U__");
        }
        for (place, character) in name.char_indices() {
            match (self, character) {
                (Self::Dots | Self::Values, '_') => escaped.push_str("__"),
                (Self::Dots, '.') => escaped.push_str("_dot_"),
                _ if u8::try_from(character).is_ok_and(|byte| charset.allows(byte, place == 0)) => {
                    escaped.push(character);
                }
                (Self::Dots, _) => escaped.push_str("__"),
                (Self::Values, _) => {
                    // Writing to a String cannot fail.
                    let _ = write!(escaped, "_{:x}_", u32::from(character));
                }
                _ => escaped.push('_'),
            }
        }
        Cow::Owned(escaped)
    }
}

/// Whether `name` needs no quotes as the name of a family or sample.
#[must_use]
pub(crate) fn is_legacy_metric_name(name: &str) -> bool {
    Charset::Metric.allows_all(name)
}

/// Whether `name` needs no quotes as the name of a label; names in `__` are reserved.
fn is_legacy_label_name(name: &str) -> bool {
    Charset::Label.allows_all(name) && !name.starts_with("__")
}

/// `text` within quotes: a label value, a quoted name, OpenMetrics' help.
#[must_use]
pub(crate) fn quoted(text: &str) -> Cow<'_, str> {
    backslashed(text, |byte| BYTES[usize::from(byte)] == Byte::Special)
}

/// `text` at the end of a line: the Prometheus text format's help.
#[must_use]
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    backslashed(text, |byte| matches!(byte, b'\\' | b'\n'))
}

/// `text` with a backslash before special bytes; the same text if it has none.
fn backslashed(text: &str, is_special: impl Fn(u8) -> bool) -> Cow<'_, str> {
    if !text.bytes().any(&is_special) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if u8::try_from(character).is_ok_and(&is_special) {
            escaped.push('\\');
        }
        escaped.push(if character == '\n' { 'n' } else { character });
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_names() {
        use Escaping::{AllowUtf8, Dots, Underscores, Values};
        for (escaping, name, expected) in [
            (AllowUtf8, "a_b:c", "a_b:c"),
            (AllowUtf8, "a.\"b", "\"a.\\\"b\""),
            (Underscores, "a_b:c", "a_b:c"),
            (Underscores, "1.é\n", "____"),
            (Dots, "a_b:c", "a__b:c"),
            (Dots, "a.é1", "a_dot___1"),
            (Values, "a_b:c", "a_b:c"),
            (Values, "1a.b_é", "U___31_a_2e_b___e9_"),
            (Values, "", ""),
        ] {
            assert_eq!(escaping.metric_name(name), expected, "{escaping:?} {name}");
        }
    }

    #[test]
    fn label_names() {
        for (escaping, name, expected) in [
            (Escaping::AllowUtf8, "a:b", "\"a:b\""),
            (Escaping::AllowUtf8, "__a", "\"__a\""),
            (Escaping::Underscores, "a:b", "a_b"),
            (Escaping::Values, "__a", "U______a"),
        ] {
            assert_eq!(escaping.label_name(name), expected, "{escaping:?} {name}");
        }
    }

    #[test]
    fn only_special_characters_are_backslashed() {
        assert!(matches!(quoted("plain é"), Cow::Borrowed("plain é")));
        assert_eq!(quoted("\\ \n \" é"), "\\\\ \\n \\\" é");
        assert_eq!(line("\\ \n \" é"), "\\\\ \\n \" é");
    }
}
