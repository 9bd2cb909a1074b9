//! The layout of a file of exemplars, as bytes: no I/O here. See `docs/format.md`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::format::damage::Damage;
use crate::format::entry::{HEADER_PADDING_SIZE, HEADER_SIZE};

/// The padding in the header of a file of exemplars.
pub(crate) const MAGIC_EXEMPLARS: [u8; HEADER_PADDING_SIZE] = *b"MPe1";
/// What the name of a metrics file has behind it in that of its exemplars: no `*.db` matches that.
const SUFFIX: &str = ".exemplars";
/// A file is not longer than this: a corrupt length must not make a scrape allocate gigabytes.
pub(crate) const EXEMPLARS_MAX: usize = 64 << 20;

const LENGTH_SIZE: usize = size_of::<u32>();
const NUMBER_SIZE: usize = size_of::<f64>();
/// Where in a slot its sequence number is: behind its size and four zeros.
pub(crate) const SEQUENCE_OFFSET: usize = 2 * LENGTH_SIZE;
/// Size of the sequence number, a u64.
pub(crate) const SEQUENCE_SIZE: usize = size_of::<u64>();
/// Where in a slot begins what the sequence number guards: the lengths of key and labels.
const CONTENT_OFFSET: usize = SEQUENCE_OFFSET + SEQUENCE_SIZE;
/// Where in the content the key begins: behind the lengths, value and timestamp.
const KEY_OFFSET: usize = 2 * LENGTH_SIZE + 2 * NUMBER_SIZE;
/// The size of a slot is a multiple of this, so that most exemplars of a series fit in the same.
const SLOT_STEP: usize = 64;

/// An observation that stands for others of its series.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Names and values of the labels.
    pub labels: Vec<(String, String)>,
    /// What was observed, or added.
    pub value: f64,
    /// When: Unix time in seconds.
    pub timestamp: f64,
}

/// The name of the file that has the exemplars of the metrics file `name`.
#[must_use]
pub(crate) fn name_of(name: &OsStr) -> OsString {
    let mut name = name.to_owned();
    name.push(SUFFIX);
    name
}

/// The name of the metrics file whose exemplars are in the file `name`, if that is such a file.
#[must_use]
pub(crate) fn owner_of(name: &OsStr) -> Option<&OsStr> {
    name.as_bytes().strip_suffix(SUFFIX.as_bytes()).map(OsStr::from_bytes)
}

/// The path of the metrics file whose exemplars are in the file at `path`, if that is such a file.
#[must_use]
pub(crate) fn owner_path(path: &Path) -> Option<PathBuf> {
    path.file_name().and_then(owner_of).map(|owner| path.with_file_name(owner))
}

/// What the sequence number guards of an exemplar of the series with this key, in whole words; none if
/// a text is too long for a file.
#[must_use]
pub(crate) fn content(
    key: &[u8],
    labels: &[(&str, &str)],
    value: f64,
    time: f64,
) -> Option<Vec<u8>> {
    let mut texts = Vec::new();
    for (name, value) in labels {
        for text in [name, value] {
            texts.extend_from_slice(&u16::try_from(text.len()).ok()?.to_ne_bytes());
        }
        texts.extend_from_slice(name.as_bytes());
        texts.extend_from_slice(value.as_bytes());
    }
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map(u32::to_ne_bytes).ok();
    let mut content = [length(key)?, length(&texts)?].concat();
    content.extend_from_slice(&value.to_ne_bytes());
    content.extend_from_slice(&time.to_ne_bytes());
    content.extend_from_slice(key);
    content.extend_from_slice(&texts);
    content.resize(content.len().next_multiple_of(NUMBER_SIZE), 0);
    Some(content)
}

/// The content of a slot that nobody uses: its key is empty.
#[must_use]
pub(crate) fn no_content() -> Vec<u8> {
    vec![0; KEY_OFFSET]
}

/// The size of a slot for this content.
#[must_use]
pub(crate) fn slot_size(content: &[u8]) -> usize {
    (CONTENT_OFFSET + content.len()).next_multiple_of(SLOT_STEP)
}

/// The first word of a slot of this size.
#[must_use]
pub(crate) fn slot_word(size: usize) -> u64 {
    let mut word = [0; 2 * LENGTH_SIZE];
    // CAST: no slot is larger than a file, which is checked before.
    #[allow(clippy::cast_possible_truncation)]
    word[..LENGTH_SIZE].copy_from_slice(&(size as u32).to_ne_bytes());
    u64::from_ne_bytes(word)
}

/// Where a slot begins, and its size.
type Place = (usize, usize);

/// Where the slots of a file are that begins with `bytes`, and how long they are; and what is wrong
/// with the next one, if not all can be found.
pub(crate) fn slots(bytes: &[u8]) -> (Vec<Place>, Option<(usize, Damage)>) {
    let mut slots = Vec::new();
    let mut offset = HEADER_SIZE;
    while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
        let size = u32_at(rest, 0).map_or(0, |size| size as usize);
        if size < CONTENT_OFFSET + KEY_OFFSET
            || !size.is_multiple_of(NUMBER_SIZE)
            || size > rest.len()
        {
            let damage = Damage::EntryBeyondUsed { size, remaining: rest.len() };
            return (slots, Some((offset, damage)));
        }
        slots.push((offset, size));
        offset += size;
    }
    (slots, None)
}

/// The sequence number of a slot: odd while it is written.
#[must_use]
pub(crate) fn sequence(slot: &[u8]) -> Option<u64> {
    slot.get(SEQUENCE_OFFSET..)?.first_chunk().copied().map(u64::from_ne_bytes)
}

/// The key and the exemplar of a slot; none if the slot is not used, or is damaged.
#[must_use]
pub(crate) fn parse(slot: &[u8]) -> Option<(&[u8], Exemplar)> {
    let content = slot.get(CONTENT_OFFSET..)?;
    let number =
        |offset: usize| content.get(offset..)?.first_chunk().copied().map(f64::from_ne_bytes);
    let key_length = u32_at(content, 0)? as usize;
    let texts_length = u32_at(content, LENGTH_SIZE)? as usize;
    let value = number(2 * LENGTH_SIZE)?;
    let timestamp = number(2 * LENGTH_SIZE + NUMBER_SIZE)?;
    let (key, rest) = content.get(KEY_OFFSET..)?.split_at_checked(key_length)?;
    let mut texts = rest.get(..texts_length)?;
    let mut labels = Vec::new();
    while !texts.is_empty() {
        let (name_length, rest) = texts.split_first_chunk()?;
        let (value_length, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(u16::from_ne_bytes(*name_length).into())?;
        let (value, rest) = rest.split_at_checked(u16::from_ne_bytes(*value_length).into())?;
        let (name, value) = (str::from_utf8(name).ok()?, str::from_utf8(value).ok()?);
        if !is_name(name) {
            return None;
        }
        labels.push((name.to_owned(), value.to_owned()));
        texts = rest;
    }
    let is_sound = key_length > 0 && timestamp.is_finite();
    is_sound.then_some((key, Exemplar { labels, value, timestamp }))
}

/// Whether a label may have this name in a text: others `prometheus_client` writes without quotes, so
/// that nobody can read the text.
fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: [(&str, &str); 2] = [("trace_id", "0123"), ("note", "é\"\n")];

    fn slot(content: &[u8]) -> Vec<u8> {
        let size = slot_size(content);
        let mut slot = [slot_word(size).to_ne_bytes(), 4_u64.to_ne_bytes()].concat();
        slot.extend_from_slice(content);
        slot.resize(size, 0);
        slot
    }

    #[test]
    fn an_exemplar_is_read_as_it_was_written() {
        let slot = slot(&content(b"key", &LABELS, 0.5, 1.7e9).unwrap());
        let labels = LABELS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let expected = Exemplar { labels, value: 0.5, timestamp: 1.7e9 };
        assert_eq!(parse(&slot), Some((&b"key"[..], expected)));
        assert_eq!(sequence(&slot), Some(4));
        for length in 0..CONTENT_OFFSET + KEY_OFFSET + 3 {
            assert_eq!(parse(&slot[..length]), None);
        }
    }

    #[test]
    fn what_no_text_can_have_is_left_out() {
        let parsed = |labels: &[_], time| {
            parse(&slot(&content(b"key", labels, 1.0, time).unwrap())).is_some()
        };
        assert!(parsed(&[], 0.0) && parsed(&[("_a1", "")], -1.0));
        assert!(!parsed(&[], f64::NAN) && !parsed(&[], f64::INFINITY));
        for name in ["", "1", "a.b", "a\"", "a}", "é", "a\n"] {
            assert!(!parsed(&[(name, "")], 0.0), "{name}");
        }
        assert_eq!(parse(&slot(&no_content())), None);
        assert_eq!(content(b"key", &[("a", &"x".repeat(1 << 16))], 0.0, 0.0), None);
    }

    #[test]
    fn slots_are_found_up_to_the_damage() {
        let [first, second] =
            [&b"a"[..], b"another"].map(|key| slot(&content(key, &LABELS, 1.0, 2.0).unwrap()));
        let file = [&[0; HEADER_SIZE], &first[..], &second].concat();
        let places = [(8, first.len()), (8 + first.len(), second.len())];
        assert_eq!(slots(&file), (places.to_vec(), None));
        let damage = |remaining| Damage::EntryBeyondUsed { size: second.len(), remaining };
        let cut = &file[..file.len() - 8];
        let remaining = second.len() - 8;
        assert_eq!(slots(cut), (vec![places[0]], Some((places[1].0, damage(remaining)))));
        assert_eq!(slots(&file[..4]), (vec![], None));
        for size in [0, 8, 65, u32::MAX] {
            let mut bytes = file.clone();
            bytes[8..12].copy_from_slice(&size.to_ne_bytes());
            assert!(slots(&bytes).1.is_some());
        }
    }

    #[test]
    fn names() {
        let name = name_of(OsStr::new("counter_1.db"));
        assert_eq!(name, "counter_1.db.exemplars");
        assert_eq!(owner_of(&name), Some(OsStr::new("counter_1.db")));
        assert_eq!(owner_of(OsStr::new("counter_1.db")), None);
        let path = Path::new("/a/counter_1.db");
        assert_eq!(owner_path(&path.with_file_name(name)).as_deref(), Some(path));
        assert_eq!(owner_path(path), None);
    }
}
