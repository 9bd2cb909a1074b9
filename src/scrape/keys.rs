//! Finds the number of a key by its bytes.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// No guess which key comes next.
const NO_GUESS: u32 = u32::MAX;

/// So many keys of this length find room at first: growing costs as much as finding them.
const KEYS_EXPECTED: usize = 448;
const KEY_LENGTH_EXPECTED: usize = 128;

/// Keys up to this length are kept without a look at them: parsing comes later.
const BELIEVED_LENGTH: usize = 64 << 10;

/// Keys, numbered by first sight.
///
/// Workers of one application write the same keys in the same order. So the key that followed
/// last time is compared first, which costs one `memcmp`; a hash is computed only on a miss.
#[derive(Debug)]
pub(crate) struct KeyIndex {
    /// The bytes of all keys, in the order of their numbers.
    arena: Vec<u8>,
    /// Where each key ends in the arena; it begins where the one before ends.
    ends: Vec<usize>,
    /// For each key the one that followed last; shifted by one, the first of a file stands at 0.
    next: Vec<u32>,
    /// Numbers, by the hash of their keys.
    numbers: HashTable<Hashed>,
    hasher: DefaultHashBuilder,
}

/// A key's number and hash.
///
/// The hash is kept, since the table moves its elements whenever it grows: to compute all hashes
/// anew from keys that are far apart in memory takes half of the time of a wide family.
#[derive(Debug, Clone, Copy)]
struct Hashed {
    hash: u32,
    number: u32,
}

impl Hashed {
    /// A hash as the table wants it, which looks at the upmost and at the lowest bits.
    fn spread(hash: u32) -> u64 {
        u64::from(hash) << u32::BITS | u64::from(hash)
    }
}

/// A pass over the keys of one file.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cursor {
    /// Index into `next`: one more than the number of the last key.
    position: usize,
}

impl Default for KeyIndex {
    fn default() -> Self {
        Self {
            arena: Vec::with_capacity(KEYS_EXPECTED * KEY_LENGTH_EXPECTED),
            ends: Vec::new(),
            next: vec![NO_GUESS],
            numbers: HashTable::with_capacity(KEYS_EXPECTED),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl KeyIndex {
    /// The number of `key`, which is the next that `cursor` meets; the next free number, if it is
    /// new. None if it is long and no key at all: a corrupt file must not fill the memory.
    #[inline]
    pub(crate) fn number(&mut self, cursor: &mut Cursor, key: &[u8]) -> Option<u32> {
        let guess = self.next[cursor.position];
        let number = if self.is(guess, key) { guess } else { self.look_up(*cursor, key)? };
        cursor.position = number as usize + 1;
        Some(number)
    }

    /// The number of `key`, which is the next that `cursor` meets, if it is known.
    pub(crate) fn find(&self, cursor: &mut Cursor, key: &[u8]) -> Option<u32> {
        let guess = self.next[cursor.position];
        let number = if self.is(guess, key) { guess } else { self.known(self.hash(key), key)? };
        cursor.position = number as usize + 1;
        Some(number)
    }

    /// The bytes of all keys, in the order of their numbers.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|number| self.key(number))
    }

    #[inline]
    fn is(&self, number: u32, key: &[u8]) -> bool {
        let number = number as usize;
        number < self.ends.len() && self.key(number) == key
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of the key with this number.
    #[inline]
    pub(crate) fn key(&self, number: usize) -> &[u8] {
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.arena[start..self.ends[number]]
    }

    #[cold]
    fn look_up(&mut self, cursor: Cursor, key: &[u8]) -> Option<u32> {
        let is_list = key.starts_with(b"[") && key.ends_with(b"]");
        if key.len() > BELIEVED_LENGTH && !is_list {
            return None;
        }
        let hash = self.hash(key);
        let number = self.known(hash, key).unwrap_or_else(|| self.insert(hash, key));
        self.next[cursor.position] = number;
        Some(number)
    }

    fn hash(&self, key: &[u8]) -> u32 {
        // CAST: the lower half of a hash is a hash.
        #[allow(clippy::cast_possible_truncation)]
        let hash = self.hasher.hash_one(key) as u32;
        hash
    }

    #[inline]
    fn known(&self, hash: u32, key: &[u8]) -> Option<u32> {
        let is = |known: &Hashed| known.hash == hash && self.is(known.number, key);
        self.numbers.find(Hashed::spread(hash), is).map(|known| known.number)
    }

    fn insert(&mut self, hash: u32, key: &[u8]) -> u32 {
        // CAST: files are smaller than 2 GiB (`used` is an i32) and an entry takes 24 bytes or
        // more; it would take some 50 full files without a common key to come near.
        #[allow(clippy::cast_possible_truncation)]
        let number = self.ends.len() as u32;
        self.arena.extend_from_slice(key);
        self.ends.push(self.arena.len());
        self.next.push(NO_GUESS);
        self.numbers.insert_unique(Hashed::spread(hash), Hashed { hash, number }, |known| {
            Hashed::spread(known.hash)
        });
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(index: &mut KeyIndex, keys: &[&str]) -> Vec<u32> {
        let mut cursor = Cursor::default();
        keys.iter().map(|key| index.number(&mut cursor, key.as_bytes()).unwrap()).collect()
    }

    #[test]
    fn keys_keep_their_numbers_in_any_order() {
        let mut index = KeyIndex::default();
        assert_eq!(numbers(&mut index, &["a", "b", "ab", ""]), [0, 1, 2, 3]);
        assert_eq!(numbers(&mut index, &["a", "b", "ab", ""]), [0, 1, 2, 3]);
        assert_eq!(numbers(&mut index, &["", "ab", "new", "a", "a"]), [3, 2, 4, 0, 0]);
        assert_eq!(numbers(&mut index, &["a", "b", "new"]), [0, 1, 4]);
    }

    #[test]
    fn finding_keeps_nothing() {
        let mut index = KeyIndex::default();
        numbers(&mut index, &["a", "b"]);
        let mut cursor = Cursor::default();
        let found = ["a", "b", "c", "b"].map(|key| index.find(&mut cursor, key.as_bytes()));
        assert_eq!(found, [Some(0), Some(1), None, Some(1)]);
        assert_eq!(index.keys().count(), 2);
    }

    #[test]
    fn long_garbage_is_not_kept() {
        let mut index = KeyIndex::default();
        let mut cursor = Cursor::default();
        let garbage = vec![0; BELIEVED_LENGTH + 1];
        assert_eq!(index.number(&mut cursor, &garbage), None);
        let mut list = vec![b' '; BELIEVED_LENGTH];
        list.insert(0, b'[');
        list.push(b']');
        assert_eq!(index.number(&mut cursor, &list), Some(0));
        assert_eq!(index.keys().count(), 1);
    }

    #[test]
    fn a_key_that_extends_a_guess_is_another_key() {
        let mut index = KeyIndex::default();
        assert_eq!(numbers(&mut index, &["key"]), [0]);
        assert_eq!(numbers(&mut index, &["key2"]), [1]);
        assert_eq!(numbers(&mut index, &["ke"]), [2]);
    }
}
