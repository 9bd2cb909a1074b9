//! Tells the files of dead processes from those of the living.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::compact::steps::{Checkpoint, Disk, Step};
use crate::error::Reason;
use crate::format::{self, HEADER_SIZE, MAGIC_STOCK, MAGIC_WRITER};
use crate::store::read_at;
use crate::sys::lock::Locked;

/// A dead process's file. It is locked until this is dropped, so that nobody counts in it.
#[derive(Debug)]
pub(crate) struct Dead {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// The file.
    pub(crate) file: Locked,
    /// Its metadata, from after it was locked.
    pub(crate) metadata: Metadata,
    /// Whether multiprom wrote it, so that everybody can tell that its process is dead.
    pub(crate) is_ours: bool,
    /// What its header says of how many bytes are in use.
    used: i32,
}

impl Dead {
    /// Whether somebody has written to it although it is locked.
    #[must_use]
    pub(crate) fn has_changed(&self) -> bool {
        let mut header = [0; HEADER_SIZE];
        let read = read_at(&self.file, &mut header, 0);
        read.is_ok() && format::parse_used(&header) != Some(self.used)
    }

    /// How many bytes are in use, if the header can be believed.
    #[must_use]
    pub(crate) fn used(&self) -> u64 {
        u64::try_from(self.used).unwrap_or_default().min(self.metadata.len())
    }

    /// Whether nothing was ever counted in it.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        let has_header = self.metadata.len() >= HEADER_SIZE as u64;
        let used = usize::try_from(self.used).ok();
        self.metadata.len() == 0 || has_header && matches!(used, Some(0 | HEADER_SIZE))
    }
}

/// Files that were claimed and given back, by device, inode and the time of their last change, also
/// of their permissions: most are damaged for good, and to read them all in each sweep would take
/// longer and longer.
static GIVEN_BACK: Mutex<BTreeSet<Given>> = Mutex::new(BTreeSet::new());
type Given = (u64, u64, i64, i64);
/// How long a writer may take from the creation of its file to the header.
const HEADER_WAIT: Duration = Duration::from_secs(60);
/// So many are remembered; then all are tried once more.
const GIVEN_BACK_MAX: usize = 10_000;

/// Remembers that a file cannot be folded as it is.
pub(crate) fn remember(metadata: &Metadata) {
    if let Some(mut given_back) = given_back() {
        if given_back.len() >= GIVEN_BACK_MAX {
            given_back.clear();
        }
        given_back.insert(given(metadata));
    }
}

/// Whether a file is as it was when it was given back.
pub(crate) fn is_remembered(metadata: &Metadata) -> bool {
    given_back().is_some_and(|given_back| given_back.contains(&given(metadata)))
}

/// None if another thread is at it; or was, when this process was forked.
fn given_back() -> Option<MutexGuard<'static, BTreeSet<Given>>> {
    GIVEN_BACK.try_lock().ok()
}

fn given(metadata: &Metadata) -> Given {
    (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

/// Whether nobody can be about to write the header of an empty file any more.
fn is_old(metadata: &Metadata) -> bool {
    let changed = metadata.modified().ok();
    let age = changed.and_then(|changed| changed.elapsed().ok());
    age.is_some_and(|age| age >= HEADER_WAIT)
}

/// Whose a file is.
#[derive(Debug)]
pub(crate) enum Claim {
    /// A dead process's, and locked now.
    Dead(Dead),
    /// A living one's, or nobody knows.
    Other,
    /// It looks like a dead process's but must be left alone.
    LeftAlone(Reason),
}

/// Claims the file at `path`, if its process is dead: for multiprom's files the lock tells, for
/// those of `prometheus_client`, which nobody locks, the caller must know and have named it.
///
/// `remembers` leaves out what was given back before.
pub(crate) fn claim<C: Checkpoint>(
    disk: &mut Disk<C>,
    path: &Path,
    is_named: bool,
    remembers: bool,
) -> io::Result<Claim> {
    let (file, metadata) = match disk.open(Step::OpenDead, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Claim::Other),
        result => result?,
    };
    if !metadata.is_file() || remembers && is_remembered(&metadata) {
        return Ok(Claim::Other);
    }
    let mut header = [0; HEADER_SIZE];
    read_at(&file, &mut header, 0)?;
    if let Some(claim) = refusal(&header, &metadata, is_named) {
        return Ok(claim);
    }
    let Some(file) = disk.lock(Step::LockDead, file, path)? else {
        return Ok(if is_named { Claim::LeftAlone(Reason::Held) } else { Claim::Other });
    };
    // As it is now that nobody can change it: its writer may have died just now, or have handed it
    // over to prometheus_client.
    let metadata = file.metadata()?;
    read_at(&file, &mut header, 0)?;
    if let Some(claim) = refusal(&header, &metadata, is_named) {
        return Ok(claim);
    }
    let used = format::parse_used(&header).unwrap_or_default();
    let is_ours = format::parse_magic(&header) == Some(MAGIC_WRITER);
    Ok(Claim::Dead(Dead { path: path.to_owned(), file, metadata, is_ours, used }))
}

/// Why a file with this header is not a dead process's, or none that can be folded.
fn refusal(header: &[u8], metadata: &Metadata, is_named: bool) -> Option<Claim> {
    match format::parse_magic(header) {
        Some(MAGIC_WRITER) => None,
        // Without entries its writer was killed before it could write a header, or is about to.
        Some(MAGIC_STOCK) if is_named || has_no_entries(header) && is_old(metadata) => None,
        Some(MAGIC_STOCK) => Some(Claim::Other),
        _ => Some(Claim::LeftAlone(Reason::UnknownMagic)),
    }
}

fn has_no_entries(header: &[u8]) -> bool {
    format::parse_used(header).is_none_or(|used| used == 0)
}
