//! Where the entries of a file begin, by what stands before their values.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::sys::Mapping;

/// The entries of one file. Hash and offset have 32 bits each, so that a process that makes millions
/// of short-lived series pays a few bytes for each.
#[derive(Debug)]
pub(crate) struct Index {
    places: HashTable<SeriesPlace>,
    hasher: DefaultHashBuilder,
}

/// An entry, by the hash of its head.
#[derive(Debug, Clone, Copy)]
struct SeriesPlace {
    hash: u32,
    offset: u32,
}

impl SeriesPlace {
    /// A hash of 64 bits: the table uses its lowest and its highest bits.
    fn spread(hash: u32) -> u64 {
        u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl Index {
    /// An index with room for so many entries.
    pub(crate) fn with_capacity(entries: usize) -> Self {
        Self { places: HashTable::with_capacity(entries), hasher: DefaultHashBuilder::default() }
    }

    /// Makes room for one more entry; none if there is no memory for it.
    pub(crate) fn try_reserve(&mut self) -> Option<()> {
        self.places.try_reserve(1, |place| SeriesPlace::spread(place.hash)).ok()
    }

    /// Where the entry with this head begins in the file that is mapped.
    pub(crate) fn find(&self, mapping: &Mapping, head: &[u8]) -> Option<usize> {
        self.find_hashed(mapping, head, self.hash(head))
    }

    /// As [`Index::find`], for a head with this hash.
    pub(crate) fn find_hashed(&self, mapping: &Mapping, head: &[u8], hash: u32) -> Option<usize> {
        let place = self.places.find(SeriesPlace::spread(hash), |place| {
            place.hash == hash && mapping.has(place.offset as usize, head)
        })?;
        Some(place.offset as usize)
    }

    /// Notes that the entry with this head begins at `offset`.
    pub(crate) fn insert(&mut self, mapping: &Mapping, head: &[u8], offset: usize) {
        let hash = self.hash(head);
        // If a key is in the file twice, the last entry counts, as in prometheus_client.
        let known = self.places.find_entry(SeriesPlace::spread(hash), |place| {
            place.hash == hash && mapping.has(place.offset as usize, head)
        });
        if let Ok(known) = known {
            known.remove();
        }
        self.insert_new(hash, offset);
    }

    /// Notes that an entry which the index has not, with this hash, begins at `offset`.
    pub(crate) fn insert_new(&mut self, hash: u32, offset: usize) {
        // CAST: below `used`, which fits into an i32.
        #[allow(clippy::cast_possible_truncation)]
        let place = SeriesPlace { hash, offset: offset as u32 };
        let spread = |place: &SeriesPlace| SeriesPlace::spread(place.hash);
        self.places.insert_unique(SeriesPlace::spread(hash), place, spread);
    }

    /// The hash of a head.
    pub(crate) fn hash(&self, head: &[u8]) -> u32 {
        // CAST: half of the hash is as good a hash.
        #[allow(clippy::cast_possible_truncation)]
        let hash = self.hasher.hash_one(head) as u32;
        hash
    }
}
