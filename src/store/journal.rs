//! Which files an archive absorbed: a list behind the archive's entries.
//!
//! An archive and its journal come into being together, by one `rename`. From then on the files
//! that the journal names are spent: their counts are in the archive. The journal stays until these
//! files are deleted, so that nobody counts a file again that a killed compaction has left. See
//! `docs/format.md` for the bytes and `docs/compaction.md` for the protocol.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::format::Damage;
use crate::store::reader::read_at;

/// How a journal begins. Clearing the journal writes zeros here.
const MAGIC: [u8; 8] = *b"MPjourn1";
/// The size of every number in a journal; all of its parts are aligned to this.
const WORD_SIZE: usize = 8;
/// Magic, count, length of the records in bytes, and checksum.
const HEADER_SIZE: usize = 4 * WORD_SIZE;
/// The clock of file times advances at least so often.
pub(crate) const TICK: Duration = Duration::from_millis(12);
/// The longest journal that is believed.
const LENGTH_MAX: usize = 64 << 20;

/// One absorbed file: its name, and what tells it from a later file of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The name in the directory.
    pub(crate) name: OsString,
    inode: u64,
    /// Seconds and nanoseconds of the last change of its content: a new file may get the inode of
    /// a deleted one. Not of its status (`ctime`), which changes when the file is deleted: a reader
    /// that has just opened it then would not know it again, and count it twice.
    changed: (i64, i64),
}

impl Mark {
    /// The mark of the file that is called `name`.
    #[must_use]
    pub(crate) fn new(name: &OsStr, metadata: &Metadata) -> Self {
        let changed = (metadata.mtime(), metadata.mtime_nsec());
        Self { name: name.to_owned(), inode: metadata.ino(), changed }
    }

    /// Whether a file of this name is the one that was absorbed.
    #[must_use]
    pub(crate) fn is(&self, metadata: &Metadata) -> bool {
        self.inode == metadata.ino() && self.changed == (metadata.mtime(), metadata.mtime_nsec())
    }

    /// Whether a file has the inode of the one that was absorbed.
    #[must_use]
    pub(crate) fn has_inode_of(&self, metadata: &Metadata) -> bool {
        self.inode == metadata.ino()
    }

    /// How long to wait before the file may be deleted, as a writer of `prometheus_client` may make one
    /// of its name then. A new file may get the inode of the deleted one, and only the time of its last
    /// change tells it apart; that clock advances in ticks.
    #[must_use]
    pub(crate) fn remaining(&self) -> Duration {
        remaining(self.changed)
    }
}

fn remaining((seconds, nanoseconds): (i64, i64)) -> Duration {
    let changed = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // CAST: u128 nanoseconds since 1970 fit into i128 for long.
    let now = i128::try_from(now.as_nanos()).unwrap_or(i128::MAX);
    let tick = TICK.as_nanos().cast_signed();
    // A time far in the future was made by another clock, and tells the two files apart.
    let is_young = (-tick..tick).contains(&(now - changed));
    let remaining = if is_young { changed + tick - now } else { 0 };
    Duration::from_nanos(u64::try_from(remaining).unwrap_or_default())
}

/// The bytes of a journal of these files; none if it would be longer than is believed.
#[must_use]
pub(crate) fn encode(marks: &[Mark]) -> Option<Vec<u8>> {
    let mut records = Vec::new();
    for Mark { name, inode, changed: (seconds, nanoseconds) } in marks {
        records.extend_from_slice(&inode.to_ne_bytes());
        records.extend_from_slice(&seconds.to_ne_bytes());
        records.extend_from_slice(&nanoseconds.to_ne_bytes());
        records.extend_from_slice(&(name.len() as u64).to_ne_bytes());
        records.extend_from_slice(name.as_bytes());
        records.resize(records.len().next_multiple_of(WORD_SIZE), 0);
    }
    let head = [marks.len() as u64, records.len() as u64].map(u64::to_ne_bytes).concat();
    let checksum = checksum(&[&head, &records]).to_ne_bytes();
    (records.len() <= LENGTH_MAX).then(|| [&MAGIC[..], &head, &checksum, &records].concat())
}

/// Reads the journal behind the `used` bytes of an archive; of none, or a cleared one, no marks.
///
/// A torn one can only be left by a machine that stopped before all was on its disk.
pub(crate) fn read(file: &File, used: u64) -> io::Result<Result<Vec<Mark>, Damage>> {
    let mut header = [0; HEADER_SIZE];
    let filled = read_at(file, &mut header, used)?;
    let [magic, head @ .., checksum_bytes] = words(&header) else { return Ok(Ok(Vec::new())) };
    if filled < WORD_SIZE || *magic != MAGIC {
        return Ok(Ok(Vec::new()));
    }
    let [count, length] = [head[0], head[1]].map(u64::from_ne_bytes);
    let Some(length) = usize::try_from(length).ok().filter(|length| *length <= LENGTH_MAX) else {
        return Ok(Err(Damage::TornJournal));
    };
    let mut records = vec![0; length];
    let filled = read_at(file, &mut records, used + HEADER_SIZE as u64)?;
    let is_whole = filled == length
        && checksum(&[head.as_flattened(), &records]) == u64::from_ne_bytes(*checksum_bytes);
    let marks = is_whole.then(|| parse(&records)).flatten();
    Ok(marks.filter(|marks| marks.len() as u64 == count).ok_or(Damage::TornJournal))
}

/// Clears the journal behind the `used` bytes of an archive.
///
/// Call this only after all files that the journal names are deleted: then a reader finds the same
/// with the journal as without it. One aligned word is stored, which no reader sees in part; and if
/// a reader did, half a magic is no magic.
///
/// Where no journal is, nothing is written.
pub(crate) fn clear(file: &File, used: u64) -> io::Result<()> {
    let mut magic = [0; WORD_SIZE];
    if read_at(file, &mut magic, used)? < WORD_SIZE || magic != MAGIC {
        return Ok(());
    }
    file.write_all_at(&[0; WORD_SIZE], used)
}

fn parse(mut records: &[u8]) -> Option<Vec<Mark>> {
    let mut marks = Vec::new();
    while !records.is_empty() {
        let (head, rest) = records.split_at_checked(4 * WORD_SIZE)?;
        let [inode, seconds, nanoseconds, length] = words(head) else { return None };
        let length = usize::try_from(u64::from_ne_bytes(*length)).ok()?;
        let (name, rest) = rest.split_at_checked(length.checked_next_multiple_of(WORD_SIZE)?)?;
        let name = OsString::from_vec(name.get(..length)?.to_vec());
        // A user who may write to the directory could have the compaction of another user, perhaps of
        // root, delete files elsewhere.
        if Path::new(&name).file_name() != Some(&name) {
            return None;
        }
        marks.push(Mark {
            name,
            inode: u64::from_ne_bytes(*inode),
            changed: (i64::from_ne_bytes(*seconds), i64::from_ne_bytes(*nanoseconds)),
        });
        records = rest;
    }
    Some(marks)
}

/// The whole words of `bytes`.
fn words(bytes: &[u8]) -> &[[u8; WORD_SIZE]] {
    bytes.as_chunks().0
}

/// FNV-1a: the checksum tells a torn journal from a whole one; it is no protection from forgery.
fn checksum(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().copied().flatten();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    const USED: u64 = 24;

    fn written(journal: &[u8]) -> (TempDir, File) {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("archive");
        fs::write(&path, [&[b' '; 24], journal].concat()).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        (directory, file)
    }

    fn marks() -> Vec<Mark> {
        ["counter_1.db", "counter_23456.db", "counter_\u{e9}.db", "c"]
            .map(|name| Mark { name: name.into(), inode: 7, changed: (-1, 999_999_999) })
            .to_vec()
    }

    #[test]
    fn marks_are_read_back_until_they_are_cleared() {
        for marks in [marks(), vec![]] {
            let (_directory, file) = written(&encode(&marks).unwrap());
            assert_eq!(read(&file, USED).unwrap(), Ok(marks));
            clear(&file, USED).unwrap();
            assert_eq!(read(&file, USED).unwrap(), Ok(vec![]));
        }
    }

    /// Recovery deletes what a journal names, perhaps as root.
    #[test]
    fn a_journal_names_files_of_its_directory_only() {
        for name in ["", ".", "..", "/etc/passwd", "../counter_1.db", "a/counter_1.db"] {
            let mark = Mark { name: name.into(), inode: 7, changed: (1, 1) };
            let (_directory, file) = written(&encode(&[mark]).unwrap());
            assert_eq!(read(&file, USED).unwrap(), Err(Damage::TornJournal), "{name}");
        }
    }

    /// Deleting a file changes its status, while a reader may have it open.
    #[test]
    fn a_deleted_file_is_known_again_and_a_new_one_is_not() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("counter_1.db");
        fs::write(&path, "old").unwrap();
        let file = File::open(&path).unwrap();
        let mark = Mark::new(OsStr::new("counter_1.db"), &file.metadata().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(12));
        fs::remove_file(&path).unwrap();
        assert!(mark.is(&file.metadata().unwrap()));
        drop(file);
        fs::write(&path, "new").unwrap();
        assert!(!mark.is(&fs::metadata(&path).unwrap()));
    }

    #[test]
    fn no_journal_no_marks() {
        for bytes in
            [&b""[..], b"MPj", &[0; 100], b"something else altogether, as long as a header"]
        {
            let (_directory, file) = written(bytes);
            assert_eq!(read(&file, USED).unwrap(), Ok(vec![]));
        }
    }

    /// Whatever was cut off or changed is noticed.
    #[test]
    fn torn_journals() {
        let whole = encode(&marks()).unwrap();
        for length in WORD_SIZE..whole.len() {
            let (_directory, file) = written(&whole[..length]);
            assert_eq!(read(&file, USED).unwrap(), Err(Damage::TornJournal), "{length} bytes");
        }
        for place in WORD_SIZE..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 0x40;
            let (_directory, file) = written(&changed);
            assert_eq!(read(&file, USED).unwrap(), Err(Damage::TornJournal), "at {place}");
        }
    }
}
