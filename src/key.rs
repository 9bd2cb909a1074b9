//! An entry's key: the JSON of `[family, sample, {label: value}, help]`.

use std::fmt;
use std::str;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::error::Damage;
use crate::metric::MetricType;

/// The label that carries a histogram bucket's upper bound.
pub(crate) const BOUND_LABEL: &str = "le";

/// A label's name and value.
pub(crate) type Label = (Box<str>, Box<str>);

/// A parsed key.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Name of the family, without suffixes such as `_total`.
    pub family: Box<str>,
    /// Name of the sample.
    pub sample: Box<str>,
    /// Labels, sorted by name, each name once.
    pub labels: Vec<Label>,
    /// The family's help text.
    pub help: Box<str>,
}

impl Key {
    /// Parses the bytes of a key as they stand in a file of `metric_type`: untrusted.
    pub fn parse(bytes: &[u8], metric_type: MetricType) -> Result<Self, Damage> {
        let text = str::from_utf8(bytes).map_err(|_| Damage::KeyNotUtf8)?;
        let (family, sample, Labels(labels), help): (Box<str>, Box<str>, Labels, Box<str>) =
            serde_json::from_str(text)
                .map_err(|error| Damage::KeyNotJson { message: error.to_string() })?;
        if family.is_empty() || sample.is_empty() {
            return Err(Damage::EmptyName);
        }
        let key = Self { family, sample, labels, help };
        if metric_type == MetricType::Histogram {
            key.bound()?;
        }
        Ok(key)
    }

    /// The upper bound, if the key is a histogram bucket's: `1` and `1.0` are the same.
    pub fn bound(&self) -> Result<Option<f64>, Damage> {
        let Some((_, le)) = self.labels.iter().find(|(name, _)| **name == *BOUND_LABEL) else {
            return Ok(None);
        };
        match le.trim().parse() {
            Ok(bound) => Ok(Some(bound)),
            Err(_) => Err(Damage::BadBucket { le: le.to_string() }),
        }
    }
}

struct Labels(Vec<Label>);

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LabelsVisitor)
    }
}

struct LabelsVisitor;

impl<'de> Visitor<'de> for LabelsVisitor {
    type Value = Labels;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of label names and string values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
        let mut labels: Vec<Label> = Vec::new();
        while let Some((name, value)) = map.next_entry::<Box<str>, Box<str>>()? {
            // The keys are written sorted, so this appends; of a name that stands twice the last
            // value counts, as in Python's json.
            match labels.binary_search_by(|(other, _)| other.cmp(&name)) {
                Ok(place) => labels[place].1 = value,
                Err(place) => labels.insert(place, (name, value)),
            }
        }
        Ok(Labels(labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Result<Key, Damage> {
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
    fn bounds() {
        let key = |le| parse(format!(r#"["f", "f_bucket", {{"le": "{le}"}}, ""]"#).as_bytes());
        for (le, bound) in [("1", 1.0), ("1.0", 1.0), ("1e+06", 1e6), ("+Inf", f64::INFINITY)] {
            assert_eq!(key(le).unwrap().bound(), Ok(Some(bound)), "{le}");
        }
        assert_eq!(key("x"), Err(Damage::BadBucket { le: "x".to_owned() }));
        assert_eq!(parse(br#"["f", "f_sum", {}, ""]"#).unwrap().bound(), Ok(None));
        let counter = Key::parse(br#"["f", "f", {"le": "x"}, ""]"#, MetricType::Counter);
        assert!(counter.is_ok(), "only a histogram's le must be a number");
    }
}
