//! An entry's key: the JSON of `[family, sample, {label: value}, help]`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str;

use crate::format::damage::Damage;
use crate::format::plain_key::PlainKey;
use crate::kind::MetricType;

/// The label that carries a histogram bucket's upper bound.
pub(crate) const BOUND_LABEL: &str = "le";

/// The label that tells processes apart.
pub(crate) const PID_LABEL: &str = "pid";

/// So many characters of a bad key are reported.
const REASON_LENGTH: usize = 200;

/// A label's name and value.
pub(crate) type Label<'a> = (Cow<'a, str>, Cow<'a, str>);

/// A parsed key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key<'a> {
    /// Name of the family, without suffixes such as `_total`.
    pub(crate) family: Cow<'a, str>,
    /// Name of the sample.
    pub(crate) sample: Cow<'a, str>,
    /// Labels, sorted by name, each name once.
    pub(crate) labels: Vec<Label<'a>>,
    /// The family's help text.
    pub(crate) help: Cow<'a, str>,
    /// The upper bound, if the key is a histogram bucket's: `1` and `1.0` are the same.
    pub(crate) bound: Option<f64>,
}

impl<'a> Key<'a> {
    /// Parses the bytes of a key as they stand in a file of `metric_type`: untrusted.
    pub(crate) fn parse(bytes: &'a [u8], metric_type: MetricType) -> Result<Self, Damage> {
        let text = str::from_utf8(bytes).map_err(|_| Damage::KeyNotUtf8)?;
        let mut key = match Self::parse_plain(text) {
            Some(key) => key,
            None => Self::parse_json(text)?,
        };
        if key.family.is_empty() || key.sample.is_empty() {
            return Err(Damage::EmptyName);
        }
        if let Some(le) = key.bound_text() {
            key.bound = match parse_bound(le) {
                Err(_) if metric_type != MetricType::Histogram => None,
                bound => Some(bound?),
            };
        }
        Ok(key)
    }

    /// Whether the bytes are a key that somebody meant: one with a lone surrogate too, as Python's
    /// strings can have it, though no text format can show it and it is left out of scrapes.
    pub(crate) fn check(bytes: &[u8], metric_type: MetricType) -> Result<(), Damage> {
        let Err(damage) = Key::parse(bytes, metric_type) else { return Ok(()) };
        let shown = without_lone_surrogates(bytes);
        if shown != bytes && Key::parse(&shown, metric_type).is_ok() { Ok(()) } else { Err(damage) }
    }

    /// Parses a plain key, as nearly all are, without copying what needs no unescaping. None for any
    /// other.
    fn parse_plain(text: &'a str) -> Option<Self> {
        let PlainKey { family, sample, labels, help } = PlainKey::parse(text)?;
        let labels = labels.unescaped();
        Some(Self { family: family.into(), sample: sample.into(), labels, help, bound: None })
    }

    fn parse_json(text: &str) -> Result<Self, Damage> {
        // Of a label that stands twice the last value counts, as in Python's json.
        type Parts = (String, String, BTreeMap<String, String>, String);
        let (family, sample, labels, help): Parts = serde_json::from_str(text)
            .map_err(|error| Damage::KeyNotJson { message: shortened(&error.to_string()) })?;
        let labels = labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Ok(Self {
            family: family.into(),
            sample: sample.into(),
            labels,
            help: help.into(),
            bound: None,
        })
    }

    /// The same, borrowing nothing.
    pub(crate) fn into_owned(self) -> Key<'static> {
        fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
            Cow::Owned(text.into_owned())
        }
        let labels = self.labels.into_iter();
        Key {
            family: owned(self.family),
            sample: owned(self.sample),
            labels: labels.map(|(name, value)| (owned(name), owned(value))).collect(),
            help: owned(self.help),
            bound: self.bound,
        }
    }

    /// The text of the label `le`, if the key has one.
    pub(crate) fn bound_text(&self) -> Option<&str> {
        self.labels.iter().find(|(name, _)| *name == BOUND_LABEL).map(|(_, le)| &**le)
    }
}

/// The upper bound that the label `le` of a histogram's bucket gives.
#[inline]
pub(crate) fn parse_bound(le: &str) -> Result<f64, Damage> {
    le.trim().parse().map_err(|_| Damage::BadBucket { le: shortened(le) })
}

/// Writes the key of a series, as `prometheus_client.mmap_dict.mmap_key` does.
///
/// `labels` in any order; of a name that stands twice the last value counts.
pub(crate) fn write(family: &str, sample: &str, labels: &mut [(&str, &str)], help: &str) -> String {
    write_noting_bound(family, sample, labels, help).0
}

/// As [`write()`], and says where in the key the value of the label `le` begins; 0 if it has none.
///
/// The keys of a histogram's buckets differ in that value only.
pub(crate) fn write_noting_bound(
    family: &str,
    sample: &str,
    labels: &mut [(&str, &str)],
    help: &str,
) -> (String, usize) {
    let texts = labels.iter().map(|(name, value)| name.len() + value.len() + 8).sum::<usize>();
    let mut key = String::with_capacity(family.len() + sample.len() + help.len() + texts + 16);
    key.push('[');
    write_string(&mut key, family);
    key.push_str(", ");
    write_string(&mut key, sample);
    key.push_str(", {");
    // Stable, so that the last of a name stays the last. By bytes, which is by code point.
    labels.sort_by_key(|(name, _)| *name);
    let last = |index: usize| labels.get(index + 1).is_none_or(|next| next.0 != labels[index].0);
    let mut separator = "";
    let mut place = 0;
    for (_, (name, value)) in labels.iter().enumerate().filter(|(index, _)| last(*index)) {
        key.push_str(separator);
        write_string(&mut key, name);
        key.push_str(": ");
        if *name == BOUND_LABEL {
            place = key.len() + '"'.len_utf8();
        }
        write_string(&mut key, value);
        separator = ", ";
    }
    key.push_str("}, ");
    write_string(&mut key, help);
    key.push(']');
    (key, place)
}

/// Writes a JSON string in ASCII, as Python's json does.
pub(super) fn write_string(json: &mut String, text: &str) {
    json.push('"');
    let mut rest = text;
    while let Some(place) = rest.bytes().position(|byte| !is_plain(byte)) {
        let (plain, special) = rest.split_at(place);
        json.push_str(plain);
        let mut characters = special.chars();
        match characters.next() {
            Some('"') => json.push_str("\\\""),
            Some('\\') => json.push_str("\\\\"),
            Some('\n') => json.push_str("\\n"),
            Some('\r') => json.push_str("\\r"),
            Some('\t') => json.push_str("\\t"),
            Some('\u{8}') => json.push_str("\\b"),
            Some('\u{c}') => json.push_str("\\f"),
            Some(other) => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    json.push_str("\\u");
                    for shift in [12, 8, 4, 0] {
                        let digit = u32::from(*unit >> shift & 0xf);
                        json.push(char::from_digit(digit, 16).unwrap_or('0'));
                    }
                }
            }
            None => {}
        }
        rest = characters.as_str();
    }
    json.push_str(rest);
    json.push('"');
}

/// Whether a byte stands for itself in a JSON string in ASCII.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// JSON with escaped U+FFFD in the place of escaped surrogates that are no pair.
fn without_lone_surrogates(json: &[u8]) -> Vec<u8> {
    /// The number of a `\u` escape.
    fn unit(json: &[u8]) -> Option<u32> {
        let digits = str::from_utf8(json.strip_prefix(br"\u")?.get(..4)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    }
    const UNIT_LENGTH: usize = r"\uffff".len();
    let mut shown = Vec::with_capacity(json.len());
    let mut rest = json;
    while let Some(first) = rest.first() {
        let length = match (unit(rest), rest.get(UNIT_LENGTH..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 2 * UNIT_LENGTH,
            (Some(0xd800..=0xdfff), _) => {
                shown.extend_from_slice(br"\ufffd");
                rest = &rest[UNIT_LENGTH..];
                continue;
            }
            // An escaped backslash is not the beginning of another escape.
            _ if *first == b'\\' => rest.len().min(2),
            _ => 1,
        };
        let (kept, behind) = rest.split_at(length);
        shown.extend_from_slice(kept);
        rest = behind;
    }
    shown
}

/// The beginning of a text that a file holds: reports must not be as long as a file.
fn shortened(text: &str) -> String {
    text.chars().take(REASON_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Result<Key<'_>, Damage> {
        Key::parse(text, MetricType::Histogram)
    }

    #[test]
    fn a_key_is_parsed() {
        let key = parse(br#"["f", "f_total", {"a": "\u00e9\"", "b": ""}, "help\n"]"#).unwrap();
        assert_eq!(&*key.family, "f");
        assert_eq!(&*key.sample, "f_total");
        assert_eq!(&*key.help, "help\n");
        assert_eq!(key.labels, [("a".into(), "é\"".into()), ("b".into(), "".into())]);
    }

    #[test]
    fn a_key_is_written_as_pythons_json_does() {
        let labels = &mut [("b", "\u{7f}"), ("a", "1"), ("é", "😀"), ("a", "\"\\\n\u{1}")];
        assert_eq!(
            write("f", "f_total", labels, "Help, \u{8}\u{c}\r\t."),
            r#"["f", "f_total", {"a": "\"\\\n\u0001", "b": "\u007f", "\u00e9": "\ud83d\ude00"}, "#
                .to_owned()
                + r#""Help, \b\f\r\t."]"#
        );
        assert_eq!(write("f", "f", &mut [], ""), r#"["f", "f", {}, ""]"#);
    }

    #[test]
    fn labels_are_sorted_and_the_last_of_a_name_counts() {
        let key = parse(br#"["f", "f", {"b": "1", "a": "2", "b": "3"}, ""]"#).unwrap();
        assert_eq!(key.labels, [("a".into(), "2".into()), ("b".into(), "3".into())]);
    }

    #[test]
    fn what_is_no_key_is_damage() {
        assert_eq!(parse(b"\xff"), Err(Damage::KeyNotUtf8));
        assert_eq!(parse(br#"["", "s", {}, ""]"#), Err(Damage::EmptyName));
        assert_eq!(parse(br#"["f", "", {}, ""]"#), Err(Damage::EmptyName));
        for text in [
            "",
            "{}",
            "null",
            r#"["f", "s", {}]"#,
            r#"["f", "s", {}, "h", 1]"#,
            r#"["f", "s", {"a": 1}, "h"]"#,
            r#"["f", "s", [], "h"]"#,
            r#"["f\ud800", "s", {}, "h"]"#,
        ] {
            let result = parse(text.as_bytes());
            assert!(matches!(result, Err(Damage::KeyNotJson { .. })), "{text}: {result:?}");
        }
    }

    #[test]
    fn a_lone_surrogate_is_no_damage_of_the_file() {
        let check = |text: &str| Key::check(text.as_bytes(), MetricType::Counter);
        for lone in [r"\ud800", r"\udc00\ud800", r"\ud83d\ud83d\ude00", r"\\\udfff", r"\uD800x"] {
            let text = format!(r#"["f", "f", {{"a": "{lone}"}}, ""]"#);
            assert!(parse(text.as_bytes()).is_err(), "{text}");
            assert_eq!(check(&text), Ok(()), "{text}");
        }
        for text in [r#"["f\ud800", "f", {}]"#, r#"["f", "\\ud800", {}, ""#, r#"["f\ud8"]"#, ""] {
            assert!(check(text).is_err(), "{text}");
        }
        assert_eq!(without_lone_surrogates(br"\\ud800 \ud83d\ude00"), br"\\ud800 \ud83d\ude00");
    }

    #[test]
    fn bounds() {
        let text = |le| format!(r#"["f", "f_bucket", {{"le": "{le}"}}, ""]"#);
        for (le, bound) in [("1", 1.0), ("1.0", 1.0), ("1e+06", 1e6), ("+Inf", f64::INFINITY)] {
            assert_eq!(parse(text(le).as_bytes()).unwrap().bound, Some(bound), "{le}");
        }
        let damage = Damage::BadBucket { le: "x".to_owned() };
        assert_eq!(parse(text("x").as_bytes()), Err(damage));
        assert_eq!(parse(br#"["f", "f_sum", {}, ""]"#).unwrap().bound, None);
        let counter = Key::parse(br#"["f", "f", {"le": "x"}, ""]"#, MetricType::Counter);
        assert!(counter.is_ok(), "only a histogram's le must be a number");
    }

    #[test]
    fn plain_and_json_parsing_agree() {
        for text in [
            r#"["f", "f_total", {}, "help"]"#,
            r#"["f", "f_total", {"a": "b"}, ""]"#,
            r#"["f.é", "f, {}", {"a": "{", "b": "]", "c": ""}, "', ["]"#,
            r#"["f", "s", {"a": "\\\"", "b": "\u00e9"}, "\n"]"#,
        ] {
            let plain = Key::parse_plain(text).unwrap_or_else(|| panic!("not plain: {text}"));
            assert_eq!(plain, Key::parse_json(text).unwrap());
        }
        for text in [
            r#"["f", "s", {"b": "1", "a": "2"}, "h"]"#,
            r#"["f", "s", {"a": "1", "a": "2"}, "h"]"#,
            r#"["f","s",{},"h"]"#,
            r#"["f", "s", {}, "h"] "#,
            r#"["f", "s", {}, "\u000a"]"#,
            r#"["f", "s", {"\n": ""}, "h"]"#,
        ] {
            assert_eq!(Key::parse_plain(text), None, "{text}");
            assert!(Key::parse_json(text).is_ok(), "{text}");
        }
        for text in [
            r#"["f" "s", {}, "h"]"#,
            r#"["f", "s", {"a": "1" "b": "2"}, "h"]"#,
            r#"["f", "s", {, "a": "1"}, "h"]"#,
            r#"["f", "s", {}, "h"]]"#,
            r#"["f", "s", {}, "h" ]x"#,
            "[\"f\", \"s\", {}, \"h\n\"]",
        ] {
            assert_eq!(Key::parse_plain(text), None, "{text}");
            assert!(Key::parse_json(text).is_err(), "{text}");
        }
    }
}
