//! Selects the files of dead processes: tells them from those of the living, and locks them.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use std::time::Duration;

use crate::compact::reason::Reason;
use crate::compact::run::{Budget, Request};
use crate::compact::steps::{Checkpoint, Disk, Step};
use crate::format::{self, FileName, HEADER_SIZE, MAGIC_STOCK, MAGIC_WRITER};
use crate::store::read_at;
use crate::sys::ProcessLocal;
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
    /// Whether multiprom wrote it: then any process can tell by the lock that its writer is dead.
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

/// What tells a file in one state from the same file after any change, also of its permissions:
/// device, inode and `ctime`.
type State = (u64, u64, i64, i64);
/// Files that could not be folded as they are. Most are damaged for good: to read all of them in each
/// sweep would take longer and longer.
static UNFIT: ProcessLocal<BTreeSet<State>> =
    ProcessLocal::new(|earlier| earlier.cloned().unwrap_or_default());
/// How many of them are remembered; then all are forgotten, and tried once more.
const UNFIT_MAX: usize = 10_000;
/// How long a writer may take from the creation of its file to the header.
const HEADER_WAIT: Duration = Duration::from_secs(60);

/// Remembers that a file cannot be folded as it is.
pub(crate) fn remember(metadata: &Metadata) {
    if let Some(mut unfit) = unfit() {
        if unfit.len() >= UNFIT_MAX {
            unfit.clear();
        }
        unfit.insert(state(metadata));
    }
}

/// Whether a file is as it was when it could not be folded.
pub(crate) fn is_remembered(metadata: &Metadata) -> bool {
    unfit().is_some_and(|unfit| unfit.contains(&state(metadata)))
}

/// None if another thread has it.
fn unfit() -> Option<MutexGuard<'static, BTreeSet<State>>> {
    UNFIT.try_lock()
}

fn state(metadata: &Metadata) -> State {
    (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

/// Whether nobody can be about to write the header of an empty file any more.
fn is_old(metadata: &Metadata) -> bool {
    let changed = metadata.modified().ok();
    let age = changed.and_then(|changed| changed.elapsed().ok());
    age.is_some_and(|age| age >= HEADER_WAIT)
}

/// What became of the selection of a file.
#[derive(Debug)]
pub(crate) enum Selected {
    /// It is a dead process's, and locked now.
    Dead(Dead),
    /// It is a living process's, or no caller has named its process, or it is an archive.
    Other,
    /// The call has had as many files as the request allows.
    BeyondBudget,
    /// It looks like a dead process's but must be left alone.
    LeftAlone(Reason),
}

/// Takes the file at `path`, if its process is dead and the request allows one more file.
///
/// The lock of a file of multiprom's tells whether its process lives. Nobody locks the files of
/// `prometheus_client`: of these the request must name the process.
///
/// The error is that no file can be opened just now, neither this one nor another.
pub(crate) fn select<C: Checkpoint>(
    disk: &mut Disk<'_, C>,
    path: &Path,
    request: &Request,
    budget: &mut Budget,
) -> io::Result<Selected> {
    let name = FileName::of_path(path).filter(|name| !name.is_archive());
    let Some(FileName { pid, .. }) = name else { return Ok(Selected::Other) };
    let is_named = request.pids.iter().any(|named| named == pid);
    if request.named_only && !is_named {
        return Ok(Selected::Other);
    }
    if budget.files == 0 {
        return Ok(Selected::BeyondBudget);
    }
    match take(disk, path, is_named, request.skips_known) {
        Ok(Selected::Dead(dead)) => {
            budget.files -= 1;
            Ok(Selected::Dead(dead))
        }
        Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
            Err(error)
        }
        Err(error) => Ok(Selected::LeftAlone(error.into())),
        selected => selected,
    }
}

fn take<C: Checkpoint>(
    disk: &mut Disk<'_, C>,
    path: &Path,
    is_named: bool,
    skips_known: bool,
) -> io::Result<Selected> {
    let (file, metadata) = match disk.open(Step::OpenDead, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Selected::Other),
        result => result?,
    };
    if !metadata.is_file() || skips_known && is_remembered(&metadata) {
        return Ok(Selected::Other);
    }
    let mut header = [0; HEADER_SIZE];
    read_at(&file, &mut header, 0)?;
    if let Some(refused) = refusal(&header, &metadata, is_named) {
        return Ok(refused);
    }
    let Some(file) = disk.lock(Step::LockDead, file, path)? else {
        return Ok(if is_named { Selected::LeftAlone(Reason::Held) } else { Selected::Other });
    };
    // Read again now that the lock keeps it as it is: before, its writer may have died, or have
    // handed the file over to `prometheus_client`.
    let metadata = file.metadata()?;
    read_at(&file, &mut header, 0)?;
    if let Some(refused) = refusal(&header, &metadata, is_named) {
        return Ok(refused);
    }
    let used = format::parse_used(&header).unwrap_or_default();
    let is_ours = format::parse_magic(&header) == Some(MAGIC_WRITER);
    Ok(Selected::Dead(Dead { path: path.to_owned(), file, metadata, is_ours, used }))
}

/// Why a file with this header is not taken; none if it is.
fn refusal(header: &[u8], metadata: &Metadata, is_named: bool) -> Option<Selected> {
    match format::parse_magic(header) {
        Some(MAGIC_WRITER) => None,
        // Without entries its writer was killed before it could write a header, or is about to.
        Some(MAGIC_STOCK) if is_named || has_no_entries(header) && is_old(metadata) => None,
        Some(MAGIC_STOCK) => Some(Selected::Other),
        _ => Some(Selected::LeftAlone(Reason::UnknownMagic)),
    }
}

fn has_no_entries(header: &[u8]) -> bool {
    format::parse_used(header).is_none_or(|used| used == 0)
}
