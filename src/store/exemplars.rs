//! Reads the exemplars of one process and kind, while the process may write them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::format::exemplar::{
    self, EXEMPLARS_MAX, Exemplar, MAGIC_EXEMPLARS, SEQUENCE_OFFSET, SEQUENCE_SIZE,
};
use crate::format::{self, Damage, Damaged, HEADER_SIZE};
use crate::store::reader::{Outcome, open, read_at};
use crate::sys::allocated;

/// How often a slot is read that changes meanwhile, before it is left out.
const ATTEMPTS: u32 = 16;
/// How often slots of one file are read again in all: in a damaged file all could seem to change.
const ATTEMPTS_OF_FILE: u32 = 4096;

/// The room on the disk that each of these files of exemplars takes, in bytes, with the path of the
/// metrics file beside which it is.
pub(crate) fn rooms(paths: &[PathBuf]) -> impl Iterator<Item = (PathBuf, u64)> {
    paths.iter().filter_map(|path| {
        Some((exemplar::owner_path(path)?, allocated(&path.symlink_metadata().ok()?)))
    })
}

/// Calls `visit` with the key and content of each exemplar of the file at `path`.
///
/// The sequence number of a slot is odd while the slot is written, and another one afterwards. So what
/// is read between two looks at it is whole if both see the same even number.
pub(crate) fn read(path: &Path, visit: impl FnMut(&[u8], Exemplar)) -> io::Result<Outcome> {
    let (file, metadata) = open(path)?;
    if !metadata.is_file() {
        return Ok(Outcome::Damaged(Damaged::unread(Damage::NotAFile)));
    }
    read_open(&file, visit)
}

fn read_open(file: &File, mut visit: impl FnMut(&[u8], Exemplar)) -> io::Result<Outcome> {
    let damaged = |offset: usize, damage| Outcome::Damaged(Damaged::at(offset as u64, damage));
    let mut header = [0; HEADER_SIZE];
    let length = read_at(file, &mut header, 0)?;
    let Some(used) = format::parse_used(&header[..length]) else { return Ok(Outcome::Complete) };
    if format::parse_magic(&header[..length]) != Some(MAGIC_EXEMPLARS) {
        return Ok(if used == 0 { Outcome::Complete } else { damaged(0, Damage::NoExemplars) });
    }
    let size =
        usize::try_from(used).ok().filter(|size| (HEADER_SIZE..=EXEMPLARS_MAX).contains(size));
    let Some(size) = size else { return Ok(damaged(0, Damage::BadUsed { used })) };
    let [before, content, after] = [(); 3].map(|()| {
        let mut bytes = vec![0; size];
        read_at(file, &mut bytes, 0).map(|length| {
            bytes.truncate(length);
            bytes
        })
    });
    let (before, content, after) = (before?, content?, after?);
    let (slots, damage) = exemplar::slots(&content);
    let mut attempts_left = ATTEMPTS_OF_FILE;
    for (offset, size) in slots {
        let slot = |bytes: &[u8]| bytes.get(offset..).and_then(exemplar::sequence);
        let is_whole = |before: Option<u64>, after| {
            before == after && before.is_some_and(|number| number.is_multiple_of(2))
        };
        let mut read = content[offset..offset + size].to_vec();
        let last = attempts_left.saturating_sub(ATTEMPTS);
        let mut sees_whole = is_whole(slot(&before), slot(&after));
        while !sees_whole && attempts_left > last {
            attempts_left -= 1;
            let before = sequence_at(file, offset)?;
            read_at(file, &mut read, offset as u64)?;
            sees_whole = is_whole(before, sequence_at(file, offset)?);
        }
        if let Some((key, exemplar)) = exemplar::parse(&read).filter(|_| sees_whole) {
            visit(key, exemplar);
        }
    }
    Ok(match damage {
        Some((offset, damage)) => damaged(offset, damage),
        None if content.len() < size => damaged(content.len(), Damage::CutShort { used }),
        None => Outcome::Complete,
    })
}

/// The sequence number of the slot at `offset`.
fn sequence_at(file: &File, offset: usize) -> io::Result<Option<u64>> {
    let mut bytes = [0; SEQUENCE_SIZE];
    let length = read_at(file, &mut bytes, (offset + SEQUENCE_OFFSET) as u64)?;
    Ok((length == SEQUENCE_SIZE).then(|| u64::from_ne_bytes(bytes)))
}
