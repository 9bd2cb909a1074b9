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

/// The file of a dead process. The file stays locked until this is dropped, so that no new process
/// counts in it.
#[derive(Debug)]
pub(crate) struct Dead {
    /// The path of the file.
    pub(crate) path: PathBuf,
    /// The open and locked file.
    pub(crate) file: Locked,
    /// The metadata of the file, read after it was locked.
    pub(crate) metadata: Metadata,
    /// Whether multiprom wrote the file: then the lock tells every process that the writer is dead.
    pub(crate) is_ours: bool,
    /// How many bytes are in use, as the header says.
    used: i32,
}

impl Dead {
    /// Whether a process has written to the file since it was locked: `prometheus_client`'s own writer
    /// takes no lock.
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

    /// Whether no process has ever counted in the file.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        let has_header = self.metadata.len() >= HEADER_SIZE as u64;
        let used = usize::try_from(self.used).ok();
        self.metadata.len() == 0 || has_header && matches!(used, Some(0 | HEADER_SIZE))
    }
}

/// What tells a file in one state from the same file after any change, also of its permissions:
/// device, inode and `ctime`.
type Fingerprint = (u64, u64, i64, i64);
/// The files that could not be folded as they are. Most are damaged for good, so each sweep would take
/// longer than the last if it read all of them again.
static UNFIT: ProcessLocal<BTreeSet<Fingerprint>> =
    ProcessLocal::new(|earlier| earlier.cloned().unwrap_or_default());
/// The most entries of `UNFIT`. Beyond that all are removed, and the files are read once more.
const UNFIT_MAX: usize = 10_000;
/// How long a writer may take from the creation of its file to the header.
const HEADER_WAIT: Duration = Duration::from_secs(60);

/// Remembers that a file cannot be folded as it is.
pub(crate) fn remember(metadata: &Metadata) {
    if let Some(mut unfit) = unfit() {
        if unfit.len() >= UNFIT_MAX {
            unfit.clear();
        }
        unfit.insert(fingerprint(metadata));
    }
}

/// Whether a file is as it was when it could not be folded.
pub(crate) fn is_remembered(metadata: &Metadata) -> bool {
    unfit().is_some_and(|unfit| unfit.contains(&fingerprint(metadata)))
}

/// The files that could not be folded; none while another thread uses the set.
fn unfit() -> Option<MutexGuard<'static, BTreeSet<Fingerprint>>> {
    UNFIT.try_lock()
}

fn fingerprint(metadata: &Metadata) -> Fingerprint {
    (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

/// Whether an empty file is so old that its writer must have died before it wrote the header.
fn is_old(metadata: &Metadata) -> bool {
    let changed = metadata.modified().ok();
    let age = changed.and_then(|changed| changed.elapsed().ok());
    age.is_some_and(|age| age >= HEADER_WAIT)
}

/// What became of the selection of a file.
#[derive(Debug)]
pub(crate) enum Selected {
    /// A dead process wrote the file, which is locked now.
    Dead(Dead),
    /// A living process holds the file, or the caller would have to name its process, or the file is an
    /// archive.
    Other,
    /// The call has taken as many files as the request allows.
    BeyondBudget,
    /// A dead process wrote the file, but the file must be left alone.
    LeftAlone(Reason),
}

/// Takes the file at `path`, if its process is dead and the request allows one more file.
///
/// The lock of a file of multiprom's tells whether its process lives. Nobody locks the files of
/// `prometheus_client`: of these the request must name the process. If `named_only`, no file is opened
/// of a process that it does not name.
///
/// An error says that this process has no descriptor left, so that it can open no file at all.
pub(crate) fn select<C: Checkpoint>(
    disk: &mut Disk<'_, C>,
    path: &Path,
    request: &Request,
    named_only: bool,
    budget: &mut Budget,
) -> io::Result<Selected> {
    let name = FileName::of_path(path).filter(|name| !name.is_archive());
    let Some(FileName { pid, .. }) = name else { return Ok(Selected::Other) };
    let is_named = request.pids.iter().any(|named| named == pid);
    if named_only && !is_named {
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
    // The metadata and the header are read once more under the lock, which keeps them as they are. Before
    // it, the writer may have counted and died, or have handed the file over to `prometheus_client`.
    let metadata = file.metadata()?;
    read_at(&file, &mut header, 0)?;
    if let Some(refused) = refusal(&header, &metadata, is_named) {
        return Ok(refused);
    }
    let used = format::parse_used(&header).unwrap_or_default();
    let is_ours = format::parse_magic(&header) == Some(MAGIC_WRITER);
    Ok(Selected::Dead(Dead { path: path.to_owned(), file, metadata, is_ours, used }))
}

/// The reason not to take a file with this header, if there is one.
fn refusal(header: &[u8], metadata: &Metadata, is_named: bool) -> Option<Selected> {
    match format::parse_magic(header) {
        Some(MAGIC_WRITER) => None,
        // A new file has this header until its writer writes one. An old one shows that the writer was
        // killed before that.
        Some(MAGIC_STOCK) if is_named || has_no_entries(header) && is_old(metadata) => None,
        Some(MAGIC_STOCK) => Some(Selected::Other),
        _ => Some(Selected::LeftAlone(Reason::UnknownMagic)),
    }
}

fn has_no_entries(header: &[u8]) -> bool {
    format::parse_used(header).is_none_or(|used| used == 0)
}
