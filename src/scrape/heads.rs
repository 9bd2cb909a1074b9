//! What many keys have in common: family, sample and help text.
//!
//! A key's text is mostly the same as that of the key before but for the labels. So the texts
//! before and behind the labels are compared first, and only labels are looked at.

use std::borrow::Cow;
use std::collections::HashMap;
use std::str;

use crate::format::{
    BOUND_LABEL, Damage, Key, PID_LABEL, PlainKey, PlainLabels, parse_bound, unescaped,
};
use crate::kind::MetricType;

/// The keys of one series mostly alternate between so many heads: a histogram's sum and buckets.
const RECENT: usize = 2;

/// What keys that differ in their labels only have in common.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // Each may hold without the others.
pub(crate) struct Head<'a> {
    /// Name of the family.
    pub(crate) family: Cow<'a, str>,
    /// Name of the sample.
    pub(crate) sample: Cow<'a, str>,
    /// The family's help text.
    pub(crate) help: Cow<'a, str>,
    /// Whether all keys are plain: then [`Self::labels`] gives their labels.
    pub(crate) is_plain: bool,
    /// Whether the labels of some key have something to unescape.
    pub(crate) has_escapes: bool,
    /// Whether some key has the label `pid`.
    pub(crate) has_pid: bool,
    /// Whether some key has the label `le`.
    pub(crate) has_bound: bool,
    /// The bytes before and behind the labels of plain keys.
    frame: Option<(&'a [u8], &'a [u8])>,
    /// How the labels of the last key that was looked at begin.
    begins: Vec<&'a str>,
    /// Which of these labels is `le`.
    bound_place: Option<usize>,
}

impl<'a> Head<'a> {
    /// The labels of a plain key that has this head.
    #[inline]
    pub(crate) fn labels(&self, key: &'a [u8]) -> PlainLabels<'a> {
        let labels = self.between(key).and_then(|labels| str::from_utf8(labels).ok());
        PlainLabels::of_parsed(labels.unwrap_or_default())
    }

    /// The bytes of the key's labels, if the key has this head and is plain as far as that tells.
    #[inline]
    fn matches(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        let (before, behind) = self.frame?;
        let labels = self.between(key)?;
        (key.starts_with(before) && key.ends_with(behind)).then_some(labels)
    }

    #[inline]
    fn between(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        let (before, behind) = self.frame?;
        key.get(before.len()..key.len().checked_sub(behind.len())?)
    }
}

/// Family, sample and help text.
type Texts<'a> = (Cow<'a, str>, Cow<'a, str>, Cow<'a, str>);

/// The heads of the keys of one kind of file, numbered by first sight.
#[derive(Debug)]
pub(crate) struct Heads<'a> {
    metric_type: MetricType,
    /// The heads.
    pub(crate) all: Vec<Head<'a>>,
    numbers: HashMap<Texts<'a>, u32>,
    /// The numbers of the heads that were met last.
    recent: [u32; RECENT],
    /// The text of a bound that is known to be a number, if one was met.
    sound_bound: Option<&'a str>,
}

impl<'a> Heads<'a> {
    /// No heads.
    pub(crate) fn new(metric_type: MetricType) -> Self {
        Self {
            metric_type,
            all: Vec::new(),
            numbers: HashMap::new(),
            recent: [0; RECENT],
            sound_bound: None,
        }
    }

    /// The number of the head of `key`.
    pub(crate) fn number(&mut self, key: &'a [u8]) -> Result<u32, Damage> {
        for place in 0..RECENT {
            let number = self.recent[place];
            if let Some(head) = self.all.get(number as usize)
                && let Some(labels) = head.matches(key)
                && let Ok(text) = str::from_utf8(labels)
            {
                if let Some(bound) = PlainLabels::is_like(text, &head.begins, head.bound_place) {
                    self.check_bound(bound.strip_suffix('"'))?;
                } else if let Some(labels) = PlainLabels::parse(text) {
                    self.check(number, labels)?;
                } else {
                    continue;
                }
                self.recent.swap(0, place);
                return Ok(number);
            }
        }
        let plain = str::from_utf8(key).ok().and_then(PlainKey::parse);
        let number = match plain {
            Some(PlainKey { family, sample, labels, help })
                if !family.is_empty() && !sample.is_empty() =>
            {
                let number = self.find((family.into(), sample.into(), help));
                let head = &mut self.all[number as usize];
                // The labels are a part of the key: the difference is where they begin.
                let begin = labels.text().as_ptr() as usize - key.as_ptr() as usize;
                let end = begin + labels.text().len();
                let frame = (&key[..begin], &key[end..]);
                // Another frame has the same help text, written with other escapes.
                head.is_plain &= *head.frame.get_or_insert(frame) == frame;
                self.check(number, labels)?;
                number
            }
            _ => {
                let Key { family, sample, help, .. } = Key::parse(key, self.metric_type)?;
                let number = self.find((family, sample, help));
                self.all[number as usize].is_plain = false;
                number
            }
        };
        self.recent.rotate_right(1);
        self.recent[0] = number;
        Ok(number)
    }

    /// Notes what matters of the labels of a plain key.
    #[inline]
    fn check(&mut self, number: u32, labels: PlainLabels<'a>) -> Result<(), Damage> {
        let head = &mut self.all[number as usize];
        head.has_pid |= labels.into_iter().any(|(name, _)| name == PID_LABEL);
        let bound = labels.into_iter().enumerate().find(|(_, (name, _))| *name == BOUND_LABEL);
        head.has_bound |= bound.is_some();
        if labels.has_escapes() {
            head.has_escapes = true;
        } else {
            head.begins = labels.begins();
            head.bound_place = bound.map(|(place, _)| place);
        }
        self.check_bound(bound.map(|(_, (_, text))| text))
    }

    /// Whether the label `le` is a number, as a histogram's bound must be.
    #[inline]
    fn check_bound(&mut self, bound: Option<&'a str>) -> Result<(), Damage> {
        if let Some(text) = bound
            && self.metric_type == MetricType::Histogram
            && bound != self.sound_bound
        {
            parse_bound(&unescaped(text).unwrap_or_default())?;
            self.sound_bound = bound;
        }
        Ok(())
    }

    fn find(&mut self, texts: Texts<'a>) -> u32 {
        if let Some(number) = self.numbers.get(&texts) {
            return *number;
        }
        // CAST: fewer than there are keys, whose numbers are such.
        #[allow(clippy::cast_possible_truncation)]
        let number = self.all.len() as u32;
        let (family, sample, help) = texts.clone();
        self.numbers.insert(texts, number);
        self.all.push(Head {
            family,
            sample,
            help,
            is_plain: true,
            has_escapes: false,
            has_pid: false,
            has_bound: false,
            frame: None,
            begins: Vec::new(),
            bound_place: None,
        });
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_is_no_number_is_damage_wherever_it_stands() {
        let key = |bound| format!(r#"["f", "f_bucket", {{"le": "{bound}"}}, ""]"#);
        let bounds = ["", "x", "0.5", "", "x", "1.0", "1.0"];
        let keys = bounds.map(|bound| key(bound).into_bytes());
        let mut heads = Heads::new(MetricType::Histogram);
        for (bound, key) in bounds.iter().zip(&keys) {
            assert_eq!(heads.number(key).is_ok(), bound.parse::<f64>().is_ok(), "{bound:?}");
        }
    }
}
