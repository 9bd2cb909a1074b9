//! Keys as `prometheus_client` writes them: labels sorted, and escaped in ASCII.
//!
//! The labels of such a key can stay as they stand: two plain keys of the same family, sample and
//! help text have the same labels only if they are the same bytes. (Keys of other programs may have
//! characters beyond ASCII as they are. They are plain, too, but not to be compared with escapes.)

use std::borrow::Cow;

use crate::format::key::{Label, write_string};

/// A plain key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PlainKey<'a> {
    /// Name of the family, without suffixes such as `_total`.
    pub(crate) family: &'a str,
    /// Name of the sample.
    pub(crate) sample: &'a str,
    /// The labels.
    pub(crate) labels: PlainLabels<'a>,
    /// The family's help text.
    pub(crate) help: Cow<'a, str>,
}

impl<'a> PlainKey<'a> {
    /// Parses `text`; none if it is no plain key, or no key at all.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let mut rest = Rest::of(text)?;
        let family = rest.after("[")?.string()?;
        let sample = rest.after(", ")?.string()?;
        let begin = rest.after(", {")?.text;
        rest.labels()?;
        let labels = PlainLabels { text: &begin[..begin.len() - rest.text.len()] };
        let help = unescaped(rest.after("}, ")?.written()?)?;
        (rest.text == "]").then_some(Self { family, sample, labels, help })
    }
}

/// The labels of a plain key as they stand between its braces: `"a": "1", "b": "2"`. Or the last of
/// them, with the comma before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlainLabels<'a> {
    text: &'a str,
}

impl<'a> PlainLabels<'a> {
    /// Parses `text`; none if it is anything else than plain labels.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let mut rest = Rest::of(text)?;
        rest.labels()?;
        rest.text.is_empty().then_some(Self { text })
    }

    /// Whether `text` is plain labels that begin as those of a key that was parsed (`begins`): then
    /// the value of the label at `place`, with the quote behind it.
    pub(crate) fn is_like(text: &'a str, begins: &[&str], place: Option<usize>) -> Option<&'a str> {
        Rest::of(text)?;
        let (mut rest, mut wanted) = (Self { text }, "");
        for (begin, number) in begins.iter().zip(0..) {
            let (value, behind) = rest.after(begin)?;
            if place == Some(number) {
                wanted = value;
            }
            rest = behind;
        }
        rest.is_empty().then_some(wanted)
    }

    /// How each of the labels begins.
    pub(crate) fn begins(self) -> Vec<&'a str> {
        let mut rest = self;
        let mut begins = Vec::new();
        while let Some((_, begin)) = rest.begin()
            && let Some((_, behind)) = rest.after(begin)
        {
            begins.push(begin);
            rest = behind;
        }
        begins
    }

    /// The text that [`Self::parse`] took before.
    pub(crate) fn of_parsed(text: &'a str) -> Self {
        Self { text }
    }

    /// Whether a value has something to unescape: only [`Self::unescaped`] gives that as it is meant.
    #[inline]
    pub(crate) fn has_escapes(self) -> bool {
        memchr::memchr(b'\\', self.text.as_bytes()).is_some()
    }

    /// Whether no character stands for itself that `prometheus_client` would have escaped.
    pub(crate) fn is_printable(self) -> bool {
        self.text.bytes().max().is_none_or(|last| last <= b'~')
    }

    /// The labels without escapes.
    pub(crate) fn unescaped(self) -> Vec<Label<'a>> {
        let label = |(name, value)| (Cow::Borrowed(name), unescaped(value).unwrap_or_default());
        self.into_iter().map(label).collect()
    }

    /// The labels as they stand.
    pub(crate) fn text(self) -> &'a str {
        self.text
    }

    /// How the first of the labels begins: its name, and what stands around it up to the value. None
    /// if there is no label.
    pub(crate) fn begin(self) -> Option<(&'a str, &'a str)> {
        let mut rest = Rest { text: self.text.strip_prefix(", ").unwrap_or(self.text) };
        let (name, value) = rest.label()?;
        let behind = rest.text.len() + value.len() + "\"".len();
        Some((name, &self.text[..self.text.len() - behind]))
    }

    /// If the first of the labels begins so, its value with the quote behind it, and the other labels,
    /// which [`Self::begin`] takes.
    ///
    /// The labels of most keys have the names of those before: to compare a beginning is faster than
    /// to look for the end of a name.
    #[inline]
    pub(crate) fn after(self, begin: &str) -> Option<(&'a str, Self)> {
        let text = self.text.strip_prefix(begin)?;
        let end = memchr::memchr2(b'"', b'\\', text.as_bytes())?;
        let (value, text) = text.split_at_checked(end + 1)?;
        value.ends_with('"').then_some((value, Self { text }))
    }

    /// Whether no label is left.
    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.text.is_empty()
    }
}

impl<'a> IntoIterator for PlainLabels<'a> {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        Iter { rest: Rest { text: self.text } }
    }
}

/// Names and values of plain labels, in order, as they stand.
#[derive(Debug, Clone)]
pub(crate) struct Iter<'a> {
    rest: Rest<'a>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let label = self.rest.label()?;
        self.rest.text = self.rest.text.strip_prefix(", ").unwrap_or_default();
        Some(label)
    }
}

/// What remains of a plain key.
#[derive(Debug, Clone)]
struct Rest<'a> {
    text: &'a str,
}

impl<'a> Rest<'a> {
    /// The text, if JSON allows its characters in strings.
    fn of(text: &'a str) -> Option<Self> {
        // The smallest, not `any`, which stops at the first: this compares many bytes at once.
        let has_control = text.bytes().min().is_some_and(|byte| byte < b' ');
        (!has_control).then_some(Self { text })
    }

    /// Goes behind `punctuation`, if it is next.
    #[inline]
    fn after(&mut self, punctuation: &str) -> Option<&mut Self> {
        self.text = self.text.strip_prefix(punctuation)?;
        Some(self)
    }

    /// The next string; none if it is no string, or has something to unescape.
    #[inline]
    fn string(&mut self) -> Option<&'a str> {
        let text = self.text.strip_prefix('"')?;
        let end = memchr::memchr2(b'"', b'\\', text.as_bytes())?;
        let (string, rest) = text.split_at(end);
        self.text = rest.strip_prefix('"')?;
        Some(string)
    }

    /// The next string as it stands; none if it is no string, or is escaped in another way than
    /// `prometheus_client` does.
    #[inline]
    fn written(&mut self) -> Option<&'a str> {
        let text = self.text.strip_prefix('"')?;
        let mut end = memchr::memchr2(b'"', b'\\', text.as_bytes())?;
        if text.as_bytes()[end] == b'\\' {
            end = end_of_escaped(text)?;
        }
        let (string, rest) = text.split_at(end);
        self.text = rest.strip_prefix('"')?;
        Some(string)
    }

    /// The next label.
    #[inline]
    fn label(&mut self) -> Option<(&'a str, &'a str)> {
        let name = self.string()?;
        let value = self.after(": ")?.written()?;
        Some((name, value))
    }

    /// Goes behind the labels that are next, if any are; none if they are not plain.
    fn labels(&mut self) -> Option<()> {
        let mut last = None;
        while self.text.starts_with('"') {
            let (name, _) = self.label()?;
            if last.is_some_and(|last| last >= name) {
                return None;
            }
            last = Some(name);
            match self.text.strip_prefix(", ") {
                Some(next) if next.starts_with('"') => self.text = next,
                Some(_) => return None,
                None => break,
            }
        }
        Some(())
    }
}

/// Where a string ends that has escapes; none if they are not those of `prometheus_client`.
fn end_of_escaped(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut end = 0;
    loop {
        end += memchr::memchr2(b'"', b'\\', bytes.get(end..)?)?;
        if bytes[end] == b'"' {
            break;
        }
        // What stands behind a backslash ends no string.
        end += 2;
    }
    let (string, _) = text.split_at(end);
    let mut written = String::with_capacity(end + 2);
    write_string(&mut written, &unescaped(string)?);
    (written.get(1..=end) == Some(string) && written.len() == end + 2).then_some(end)
}

/// What a string in quotes means, escaped as `prometheus_client` does; none if that is no text.
pub(crate) fn unescaped(string: &str) -> Option<Cow<'_, str>> {
    let mut text = String::new();
    let mut rest = string;
    while let Some(place) = memchr::memchr(b'\\', rest.as_bytes()) {
        text.reserve(rest.len());
        text.push_str(&rest[..place]);
        rest = &rest[place + 1..];
        let (length, character) = match rest.as_bytes().first()? {
            b'n' => (1, '\n'),
            b'r' => (1, '\r'),
            b't' => (1, '\t'),
            b'b' => (1, '\u{8}'),
            b'f' => (1, '\u{c}'),
            b'u' => {
                let unit = |at: usize| u16::from_str_radix(rest.get(at..at + 4)?, 16).ok();
                let units = [unit("u".len())?, unit(r"uffff\u".len()).unwrap_or_default()];
                let character = char::decode_utf16(units).next()?.ok()?;
                (r"uffff".len() + r"\uffff".len() * (character.len_utf16() - 1), character)
            }
            // A quote or a backslash.
            other => (1, char::from(*other)),
        };
        text.push(character);
        rest = rest.get(length..)?;
    }
    if text.is_empty() {
        return Some(Cow::Borrowed(string));
    }
    text.push_str(rest);
    Some(Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stay_as_they_stand() {
        let key = PlainKey::parse(r#"["f", "s", {"a": "}, ", "b": ""}, "h"]"#).unwrap();
        assert_eq!((key.family, key.sample, &*key.help), ("f", "s", "h"));
        assert_eq!(key.labels.text(), r#""a": "}, ", "b": """#);
        assert_eq!(PlainLabels::parse(key.labels.text()), Some(key.labels));
        assert_eq!(key.labels.into_iter().collect::<Vec<_>>(), [("a", "}, "), ("b", "")]);
        let none = PlainKey::parse(r#"["f", "s", {}, "h"]"#).unwrap().labels;
        assert_eq!((none.text(), none.into_iter().count()), ("", 0));
    }

    #[test]
    fn labels_that_begin_as_expected() {
        let labels = PlainLabels::parse(r#""a": "1", "b": """#).unwrap();
        assert_eq!(labels.begin(), Some(("a", r#""a": ""#)));
        let (value, rest) = labels.after(r#""a": ""#).unwrap();
        assert_eq!((value, rest.begin()), ("1\"", Some(("b", r#", "b": ""#))));
        assert_eq!(rest.after(r#", "c": ""#), None);
        let (value, rest) = rest.after(r#", "b": ""#).unwrap();
        assert_eq!((value, rest.is_empty(), rest.begin()), ("\"", true, None));
    }

    #[test]
    fn labels_with_escapes_are_compared_as_they_stand() {
        let text = r#""a": "\", \"b\": \"", "b": "\u00e9\\", "c": "\ud83d\ude00\n", "d": """#;
        let labels = PlainLabels::parse(text).unwrap();
        let unescaped = labels.unescaped();
        let unescaped: Vec<_> = unescaped.iter().map(|(name, value)| (&**name, &**value)).collect();
        let expected = [("a", "\", \"b\": \""), ("b", "é\\"), ("c", "😀\n"), ("d", "")];
        assert_eq!(unescaped, expected);
        assert!(labels.has_escapes());
        let key = PlainKey::parse(r#"["f", "s", {}, "\u00e9"]"#).unwrap();
        assert_eq!(key.help, "é");
    }

    #[test]
    fn what_is_no_plain_label() {
        for text in [
            r#""b": "1", "a": "1""#,
            r#""a": "1", "a": "1""#,
            r#""a": "1", "#,
            r#""a": "1" "#,
            r#""\u00e9": "1""#,
            r#""a": "\u00E9""#,
            r#""a": "\u0041""#,
            r#""a": "\ud800""#,
            r#""a": "\/""#,
            r#""a": "é\n""#,
            r#""a": "\"#,
            r#""a": "\n"#,
            r#""a": 1"#,
            r#", "a": "1""#,
            "\"a\": \"\n\"",
            " ",
        ] {
            assert_eq!(PlainLabels::parse(text), None, "{text}");
        }
    }
}
