//! The layout of a `.db` file, as bytes: no I/O here. See `docs/format.md`.
//!
//! Numbers are native-endian, because `prometheus_client` writes them so: a file is read on the
//! machine that wrote it. This is said here once and holds for everything below.

use crate::format::damage::Damage;
use crate::mark;

/// Size of the header's `used`, an i32 at offset 0: how many bytes of the file are in use.
pub(crate) const USED_SIZE: usize = size_of::<i32>();
/// Size of the padding behind `used`.
pub(crate) const HEADER_PADDING_SIZE: usize = 4;
/// What the padding holds in `prometheus_client`'s files.
pub(crate) const MAGIC_STOCK: [u8; HEADER_PADDING_SIZE] = [0; HEADER_PADDING_SIZE];
/// The padding of a file written by multiprom, whose writer holds its lock while it lives.
pub(crate) const MAGIC_WRITER: [u8; HEADER_PADDING_SIZE] = *b"MPw1";
/// The padding of an archive, which holds what dead processes counted.
pub(crate) const MAGIC_ARCHIVE: [u8; HEADER_PADDING_SIZE] = *b"MPa1";
/// Size of the header; the first entry begins here.
pub(crate) const HEADER_SIZE: usize = USED_SIZE + HEADER_PADDING_SIZE;
/// Size of an entry's key length, an i32.
pub(crate) const KEY_LENGTH_SIZE: usize = size_of::<i32>();
/// Entries and their values are aligned to this; a key is followed by 1 to 8 spaces up to it.
pub(crate) const ALIGNMENT: usize = 8;
/// Size of an entry's value, an f64.
pub(crate) const VALUE_SIZE: usize = size_of::<f64>();
/// Size of an entry's timestamp, an f64 behind the value: Unix time in seconds.
pub(crate) const TIMESTAMP_SIZE: usize = size_of::<f64>();
/// Size of a file at first; it doubles when it is full.
pub(crate) const INITIAL_SIZE: usize = 1 << 16;
/// The longest key that is believed: a corrupt length must not make a scrape allocate gigabytes.
pub(crate) const KEY_LENGTH_MAX: usize = 16 << 20;

/// One entry of a file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Entry<'a> {
    /// The key's bytes: JSON, if the file is sound.
    pub key: &'a [u8],
    /// The value.
    pub value: f64,
    /// When the value was set, for `mostrecent` gauges; in archives of sums the sum's low half;
    /// a [`mark`] if the series was withdrawn; else 0.
    pub timestamp: f64,
}

/// Of no archive's entry, where the timestamp may be the low half of a sum.
impl Entry<'_> {
    /// Whether the series was withdrawn: the entry is as if it were not there.
    #[inline]
    #[must_use]
    pub(crate) fn is_withdrawn(&self) -> bool {
        mark::is_withdrawn(self.timestamp)
    }

    /// The number of the series's last withdrawal, also if it was begun anew since; see
    /// [`mark::number`].
    #[must_use]
    pub(crate) fn withdrawal(&self) -> Option<u64> {
        mark::number(self.timestamp)
    }

    /// When the value was set; 0 in the place of a mark.
    #[must_use]
    pub(crate) fn time(&self) -> f64 {
        if self.withdrawal().is_some() { 0.0 } else { self.timestamp }
    }
}

/// What stands at the place where an entry should begin.
#[derive(Debug, PartialEq)]
pub(crate) enum Parsed<'a> {
    /// An entry and its size in bytes.
    Entry(Entry<'a>, usize),
    /// An entry of this size, of which not all bytes are here.
    Incomplete(usize),
    /// No entry; nothing behind it can be found either.
    Damaged(Damage),
}

/// Size in bytes of an entry whose key has `key_length` bytes.
#[must_use]
pub(crate) const fn entry_size(key_length: usize) -> usize {
    value_offset(key_length) + VALUE_SIZE + TIMESTAMP_SIZE
}

/// Where in an entry the value is: behind the key and at least one space.
const fn value_offset(key_length: usize) -> usize {
    let end = KEY_LENGTH_SIZE + key_length;
    end + ALIGNMENT - end % ALIGNMENT
}

/// The header: `used` and the magic, in one word so that one store publishes both.
#[must_use]
pub(crate) fn header_word(used: i32, magic: [u8; HEADER_PADDING_SIZE]) -> u64 {
    let mut word = [0; HEADER_SIZE];
    word[..USED_SIZE].copy_from_slice(&used.to_ne_bytes());
    word[USED_SIZE..].copy_from_slice(&magic);
    u64::from_ne_bytes(word)
}

/// The magic in the header, or none if `bytes` end within it.
#[must_use]
pub(crate) fn parse_magic(bytes: &[u8]) -> Option<[u8; HEADER_PADDING_SIZE]> {
    bytes.get(USED_SIZE..)?.first_chunk().copied()
}

/// An entry up to its value: key length, key and spaces; none for a key that no reader believes, as
/// it is empty or too long.
#[must_use]
pub(crate) fn entry_head(key: &[u8]) -> Option<Box<[u8]>> {
    head_of_parts([key])
}

/// As [`entry_head`], for a key that stands in parts.
#[must_use]
pub(crate) fn head_of_parts<const N: usize>(parts: [&[u8]; N]) -> Option<Box<[u8]>> {
    let size = parts.iter().map(|part| part.len()).sum();
    let length = i32::try_from(size).ok().filter(|_| matches!(size, 1..=KEY_LENGTH_MAX))?;
    let mut head = Vec::with_capacity(value_offset(size));
    head.extend_from_slice(&length.to_ne_bytes());
    for part in parts {
        head.extend_from_slice(part);
    }
    head.resize(value_offset(size), b' ');
    Some(head.into())
}

/// The key of an entry that begins with this head.
#[must_use]
pub(crate) fn key_of_head(head: &[u8]) -> &[u8] {
    let length = head.first_chunk().map_or(0, |length| i32::from_ne_bytes(*length));
    let rest = head.get(KEY_LENGTH_SIZE..).unwrap_or_default();
    usize::try_from(length).ok().and_then(|length| rest.get(..length)).unwrap_or_default()
}

/// The header's `used`, or none if `bytes` end within it.
#[must_use]
pub(crate) fn parse_used(bytes: &[u8]) -> Option<i32> {
    bytes.first_chunk().copied().map(i32::from_ne_bytes)
}

/// The entry at the start of `bytes`, where `remaining` used bytes are left in the file.
#[inline]
#[must_use]
pub(crate) fn parse_entry(bytes: &[u8], remaining: usize) -> Parsed<'_> {
    let Some(length_bytes) = bytes.first_chunk::<KEY_LENGTH_SIZE>() else {
        return if remaining < KEY_LENGTH_SIZE {
            Parsed::Damaged(Damage::EntryBeyondUsed { size: KEY_LENGTH_SIZE, remaining })
        } else {
            Parsed::Incomplete(KEY_LENGTH_SIZE)
        };
    };
    let length = i32::from_ne_bytes(*length_bytes);
    let Ok(key_length @ 1..=KEY_LENGTH_MAX) = usize::try_from(length) else {
        return Parsed::Damaged(Damage::BadKeyLength { length });
    };
    let size = entry_size(key_length);
    if size > remaining {
        return Parsed::Damaged(Damage::EntryBeyondUsed { size, remaining });
    }
    let Some(entry) = bytes.get(..size) else {
        return Parsed::Incomplete(size);
    };
    let (head, timestamp) = entry.split_at(size - TIMESTAMP_SIZE);
    let (head, value) = head.split_at(head.len() - VALUE_SIZE);
    Parsed::Entry(
        Entry {
            key: &head[KEY_LENGTH_SIZE..KEY_LENGTH_SIZE + key_length],
            value: parse_f64(value),
            timestamp: parse_f64(timestamp),
        },
        size,
    )
}

/// An f64 from exactly 8 bytes.
fn parse_f64(bytes: &[u8]) -> f64 {
    bytes.first_chunk().copied().map_or(f64::NAN, f64::from_ne_bytes)
}

/// Files as tests want them.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// The bytes of one entry.
    pub(crate) fn entry(key: &str, value: f64, timestamp: f64) -> Vec<u8> {
        let mut bytes = entry_head(key.as_bytes()).unwrap().into_vec();
        bytes.extend_from_slice(&value.to_ne_bytes());
        bytes.extend_from_slice(&timestamp.to_ne_bytes());
        bytes
    }

    /// The bytes of a file with this magic.
    pub(crate) fn file_of(magic: [u8; HEADER_PADDING_SIZE], entries: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = file(None, entries);
        bytes[USED_SIZE..HEADER_SIZE].copy_from_slice(&magic);
        bytes
    }

    /// The bytes of a file whose header gives `used`; the truth if there is none.
    pub(crate) fn file(used: Option<i32>, entries: &[Vec<u8>]) -> Vec<u8> {
        let entries = entries.concat();
        let used = used.unwrap_or(i32::try_from(HEADER_SIZE + entries.len()).unwrap());
        [&used.to_ne_bytes()[..], &[0; HEADER_PADDING_SIZE], &entries].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::entry;
    use super::*;

    #[test]
    fn padding_is_one_to_eight_spaces() {
        for (key_length, expected) in [(1, 8), (3, 8), (4, 16), (11, 16), (12, 24)] {
            assert_eq!(value_offset(key_length), expected, "key of {key_length} bytes");
        }
    }

    #[test]
    fn an_entry_is_read_back() {
        let bytes = entry("[1, 2]", 1.5, 2.5);
        let expected = Entry { key: b"[1, 2]", value: 1.5, timestamp: 2.5 };
        assert_eq!(parse_entry(&bytes, bytes.len()), Parsed::Entry(expected, bytes.len()));
    }

    #[test]
    fn bad_lengths_are_damage() {
        for length in [0, -1, i32::MIN, i32::MAX, 1_919_251_561] {
            let bytes = length.to_ne_bytes();
            assert_eq!(
                parse_entry(&bytes, 1 << 30),
                Parsed::Damaged(Damage::BadKeyLength { length })
            );
        }
    }

    #[test]
    fn an_entry_must_end_within_the_used_part() {
        let bytes = entry("key", 1.0, 0.0);
        let remaining = bytes.len() - 1;
        assert_eq!(
            parse_entry(&bytes, remaining),
            Parsed::Damaged(Damage::EntryBeyondUsed { size: bytes.len(), remaining })
        );
        assert_eq!(
            parse_entry(&bytes[..3], 3),
            Parsed::Damaged(Damage::EntryBeyondUsed { size: KEY_LENGTH_SIZE, remaining: 3 })
        );
    }

    #[test]
    fn missing_bytes_are_asked_for() {
        let bytes = entry("key", 1.0, 0.0);
        assert_eq!(parse_entry(&bytes[..2], bytes.len()), Parsed::Incomplete(KEY_LENGTH_SIZE));
        assert_eq!(parse_entry(&bytes[..9], bytes.len()), Parsed::Incomplete(bytes.len()));
    }
}
