//! Removes what an earlier run of a server left in its directory.

use std::fmt::{self, Display, Formatter};
use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::compact::reason::Reason;
use crate::compact::run::{LeftAlone, left_alone};
use crate::compact::steps::{Checkpoint, Disk, Step, Unchecked};
use crate::error::{Error, Result};
use crate::format::{has_archive_name, temporary_name};
use crate::kind::FOLDABLE;
use crate::store::presence::{self, Slot};
use crate::store::{Listing, is_absence};
use crate::sys::{Identity, allocated, lock};

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Leftovers {
    /// How many files.
    pub files: usize,
    /// Their room on the disk.
    pub bytes_freed: u64,
    /// Why the other files stay; none if no other file is there.
    pub kept: Option<Kept>,
}

/// Why metrics files of an earlier run stay.
#[derive(Debug, Clone, PartialEq)]
pub enum Kept {
    /// Another process holds this slot of the directory.
    Used(Slot),
    /// A compaction is at work, so that another process uses the directory.
    Compacting,
    /// Another process holds this file, or may hold some in this directory.
    Held(LeftAlone),
}

impl Display for Kept {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Used(Slot { occupant: Some(occupant), .. }) => {
                write!(formatter, "process {} uses the directory", occupant.pid)
            }
            Self::Used(_) => write!(formatter, "another process uses the directory"),
            Self::Compacting => write!(formatter, "another process compacts the directory"),
            Self::Held(LeftAlone { path, reason }) => {
                write!(formatter, "{}: {reason}", path.display())
            }
        }
    }
}

/// Removes all metrics files and archives in the directory `path`, if no other process uses it.
///
/// This is for the start of a server, which has counted in its `own` files at most: they stay, and do
/// not keep the others. All stays as it is if another process holds a slot of the directory or one of
/// its files: another server uses the directory, or the one that this shall replace still runs. The
/// start holds its own slot before it calls this, so of two servers that start at once each sees the
/// other, and both keep all.
///
/// A process that writes with `prometheus_client` holds nothing, so its files are removed unless a
/// process with multiprom lives: as the documentation of `prometheus_client` asks for.
///
/// # Errors
///
/// If the directory cannot be locked or listed.
pub fn remove_leftovers(path: &Path, wait: Duration, own: &[Identity]) -> Result<Leftovers> {
    remove_on(&mut Unchecked, path, wait, own)
}

pub(crate) fn remove_on<C: Checkpoint>(
    checkpoint: &mut C,
    path: &Path,
    wait: Duration,
    own: &[Identity],
) -> Result<Leftovers> {
    let io_error = |source| Error::Io { path: path.to_owned(), source };
    let disk = &mut match Disk::open_directory(checkpoint, path) {
        Err(error) if is_absence(&error) => return Ok(Leftovers::default()),
        result => result.map_err(io_error)?,
    };
    if let Err(reason) = disk.check_locks() {
        let kept = Some(Kept::Held(left_alone(path, reason)));
        return Ok(Leftovers { kept, ..Leftovers::default() });
    }
    let _lock = match disk.lock_directory(wait) {
        Ok(Some(lock)) => lock,
        Ok(None) => return Ok(Leftovers { kept: Some(Kept::Compacting), ..Leftovers::default() }),
        Err(error) if is_absence(&error) => return Ok(Leftovers::default()),
        Err(source) => return Err(Error::Io { path: lock::path(path), source }),
    };
    let Listing { mut files, exemplars, .. } = disk.list().map_err(io_error)?;
    // After the list: a process that takes its slot later than this look makes its files later too,
    // so that they are not in the list.
    if let Some(slot) = presence::another(&disk.directory).map_err(io_error)? {
        return Ok(Leftovers { kept: Some(Kept::Used(slot)), ..Leftovers::default() });
    }
    // Not by path: a directory may have several.
    let is_own = |file: &Path| {
        let found = disk.directory.identity_of(file.file_name().unwrap_or_default());
        found.is_ok_and(|found| found.is_some_and(|found| own.contains(&found)))
    };
    files.retain(|file| own.is_empty() || !is_own(file));
    let (archives, files): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|path| has_archive_name(path));
    let held = files.iter().find_map(|path| visit(disk, path, |_, _| Ok(())).err());
    let mut done = Leftovers { kept: held.map(Kept::Held), ..Leftovers::default() };
    if done.kept.is_some() {
        return Ok(done);
    }
    for kind in FOLDABLE {
        // The temporary archive of a compaction that was killed, if there is one.
        let _ = disk.delete(Step::RemoveStray, &path.join(temporary_name(kind)));
    }
    // The archives go last: an archive must not go before a file that it has absorbed, and all
    // archives stay if a process has begun to count meanwhile.
    for path in files.iter().chain(&archives) {
        let removed = visit(disk, path, |disk, metadata| {
            disk.delete_file(Step::DeleteLeftover, path, metadata).map(|_| ())
        });
        match removed {
            Ok(Some(size)) => {
                done.files += 1;
                done.bytes_freed += size;
            }
            Ok(None) => {}
            Err(held) => {
                done.kept = Some(Kept::Held(held));
                break;
            }
        }
    }
    disk.delete_orphans(&exemplars);
    Ok(done)
}

/// Locks a file, calls `act`, and gives the room that the file has on the disk; none if the file is gone.
fn visit<C: Checkpoint>(
    disk: &mut Disk<'_, C>,
    path: &Path,
    act: impl FnOnce(&mut Disk<'_, C>, &Metadata) -> io::Result<()>,
) -> Result<Option<u64>, LeftAlone> {
    let failed = |error: io::Error| left_alone(path, error);
    let (file, metadata) = match disk.open(Step::OpenDead, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.map_err(failed)?,
    };
    let locked = disk.lock(Step::LockDead, file, path).map_err(failed)?;
    let Some(_locked) = locked else { return Err(left_alone(path, Reason::Held)) };
    act(disk, &metadata).map_err(failed)?;
    Ok(Some(allocated(&metadata)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compact::tests::support::{Worker, key, names, sweep};
    use crate::format::testing::{entry, file};
    use crate::sys::{Directory, identity};
    use std::fs;
    use tempfile::TempDir;

    fn leftovers() -> TempDir {
        let directory = TempDir::new().unwrap();
        drop(Worker::start(directory.path(), "counter_1.db", &[(key("c"), 1.0)]));
        drop(Worker::start(directory.path(), "gauge_livesum_1.db", &[(key("g"), 1.0)]));
        let stock = file(None, &[entry(&key("c"), 1.0, 0.0)]);
        fs::write(directory.path().join("counter_2.db"), stock).unwrap();
        fs::write(directory.path().join("cache.db"), "not ours").unwrap();
        sweep(directory.path());
        directory
    }

    #[test]
    fn all_goes_if_nobody_lives() {
        let directory = leftovers();
        let done = remove_leftovers(directory.path(), Duration::ZERO, &[]).unwrap();
        assert_eq!((done.files, done.kept), (2, None));
        assert_eq!(names(directory.path()), [".multiprom.lock", "cache.db"]);
        let gone = remove_leftovers(&directory.path().join("gone"), Duration::ZERO, &[]).unwrap();
        assert_eq!(gone, Leftovers::default());
    }

    #[test]
    fn nothing_goes_if_somebody_lives() {
        let directory = leftovers();
        let living = Worker::start(directory.path(), "histogram_9.db", &[]);
        let before = names(directory.path());
        let done = remove_leftovers(directory.path(), Duration::ZERO, &[]).unwrap();
        let Some(Kept::Held(held)) = done.kept else { panic!("{done:?}") };
        assert_eq!((done.files, held.reason), (0, Reason::Held));
        assert_eq!(names(directory.path()), before);
        let own = [identity(&fs::metadata(&living.path).unwrap())];
        assert_eq!(remove_leftovers(directory.path(), Duration::ZERO, &own).unwrap().files, 2);
        drop(living);
        assert_eq!(remove_leftovers(directory.path(), Duration::ZERO, &[]).unwrap().files, 1);
    }

    #[test]
    fn nothing_goes_while_another_process_compacts() {
        let directory = leftovers();
        let opened = Directory::open(directory.path()).unwrap();
        let _lock = lock::directory(&opened, Duration::ZERO).unwrap().unwrap();
        let done = remove_leftovers(directory.path(), Duration::ZERO, &[]).unwrap();
        assert_eq!((done.files, done.kept), (0, Some(Kept::Compacting)));
    }

    #[test]
    fn nothing_goes_if_another_process_holds_a_slot() {
        let directory = leftovers();
        let path = directory.path();
        presence::hold(path, None, None).unwrap();
        let other = fs::File::create(path.join(".multiprom.slot-1.lock")).unwrap();
        other.try_lock().unwrap();
        let before = names(path);
        let done = remove_leftovers(path, Duration::ZERO, &[]).unwrap();
        assert!(matches!(done.kept, Some(Kept::Used(Slot { number: 1, .. }))), "{done:?}");
        assert_eq!(names(path), before);
        drop(other);
        assert_eq!(remove_leftovers(path, Duration::ZERO, &[]).unwrap().files, 2);
        presence::leave(path);
    }
}
