//! `mark_process_dead`: the live gauges of a process that is dead by the word of the caller.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::OFlags;

use crate::error::{Error, Result};
use crate::format::{
    self, HEADER_SIZE, MAGIC_STOCK, MAGIC_WRITER, gauge_file_name, number_of_file,
};
use crate::store::{is_absence, read_at};
use crate::sys::lock::Locked;
use crate::sys::{Directory, Identity, Name, identity};

/// Deletes the files in which process `pid` keeps gauges of `modes`; those that exist.
///
/// Containers that share a directory have the same pids. So a file that another living process holds
/// stays, and of the files that only a second process of this identifier has (`gauge_liveall_2-1.db`)
/// those go whose writer is dead. A file that `prometheus_client` has written is held by nobody: it
/// goes, and so does a file among `own`, which this process has open.
///
/// # Errors
///
/// If a file cannot be opened, locked or deleted.
pub fn remove_live_files(
    path: &Path,
    pid: &OsStr,
    modes: &[String],
    own: &[Identity],
) -> Result<()> {
    let failed = |name: &OsStr| {
        let path = path.join(name);
        |source| Error::Io { path, source }
    };
    let directory = match Directory::open(path) {
        Err(error) if is_absence(&error) => return Ok(()),
        result => result.map_err(failed(OsStr::new("")))?,
    };
    for name in modes.iter().filter_map(|mode| gauge_file_name(mode, pid)) {
        remove(&directory, &name, own, true).map_err(failed(&name))?;
    }
    // Not all who may delete files of a directory may list it; then those with numbers stay.
    for Name { name, .. } in directory.names().unwrap_or_default() {
        let is_numbered = |mode| number_of_file(&name, &format!("gauge_{mode}"), pid).is_some();
        if modes.iter().any(is_numbered) {
            remove(&directory, &name, own, false).map_err(failed(&name))?;
        }
    }
    Ok(())
}

/// Deletes the file `name` unless another living process holds it, or may.
///
/// `is_named` says that the name is that of the process itself. One with a number may also be that of
/// another process, of which only a free lock tells that it is dead.
fn remove(directory: &Directory, name: &OsStr, own: &[Identity], is_named: bool) -> io::Result<()> {
    let removed = match directory.open_file(name, OFlags::RDONLY) {
        Ok(file) => remove_open(directory, name, file, own, is_named),
        // A link, or something else that is no metrics file and could not be locked.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO)) => {
            if is_named { directory.remove_file(name) } else { Ok(()) }
        }
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if is_absence(&error) => Ok(()),
        result => result,
    }
}

fn remove_open(
    directory: &Directory,
    name: &OsStr,
    file: File,
    own: &[Identity],
    is_named: bool,
) -> io::Result<()> {
    let metadata = file.metadata()?;
    let mut header = [0; HEADER_SIZE];
    let is_ours = metadata.is_file() && {
        read_at(&file, &mut header, 0)?;
        match format::parse_magic(&header) {
            Some(MAGIC_WRITER) => true,
            // A writer of multiprom locks its file before it writes the header.
            Some(MAGIC_STOCK) => format::parse_used(&header).is_none_or(|used| used == 0),
            _ => false,
        }
    };
    if own.contains(&identity(&metadata)) || !is_ours && is_named {
        return directory.remove_file(name);
    }
    if is_ours && let Some(_locked) = Locked::take_in(directory, name, file)? {
        return directory.remove_file(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compact::tests::support::{Worker, key, names, stock};
    use std::fs;
    use tempfile::TempDir;

    fn mark(directory: &Path, pid: &str, own: &[Identity]) {
        let modes = ["liveall".to_owned(), "livesum".to_owned(), "live_x".to_owned()];
        remove_live_files(directory, OsStr::new(pid), &modes, own).unwrap();
    }

    fn worker(directory: &Path, name: &str) -> Worker {
        Worker::start(directory, name, &[(key("g"), 1.0)])
    }

    #[test]
    fn only_the_files_of_this_pid_are_removed() {
        let directory = TempDir::new().unwrap();
        for name in ["gauge_liveall_*.db", "gauge_liveall_1.db", "gauge_liveall_a_*.db"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        mark(directory.path(), "*", &[]);
        mark(&directory.path().join("gone"), "1", &[]);
        assert_eq!(names(directory.path()), ["gauge_liveall_1.db", "gauge_liveall_a_*.db"]);
    }

    #[test]
    fn what_a_living_process_holds_stays() {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let living = [
            worker(path, "gauge_liveall_2.db"),
            worker(path, "gauge_livesum_2-2.db"),
            worker(path, "gauge_liveall_20.db"),
        ];
        let dead = ["gauge_livesum_2.db", "gauge_liveall_2-1.db", "gauge_live_x_2-13.db"];
        for name in dead {
            drop(worker(path, name));
        }
        // Dead too, but of other processes.
        let others = ["gauge_liveall_2-x.db", "gauge_liveall_1-2.db", "gauge_liveall_2-01.db"];
        for name in others {
            drop(worker(path, name));
        }
        stock(path, "gauge_liveall_2-3.db", 1.0);
        mark(path, "2", &[]);
        let mut expected = [&others[..], &["gauge_liveall_2-3.db"]].concat();
        expected.extend(["gauge_liveall_2.db", "gauge_livesum_2-2.db", "gauge_liveall_20.db"]);
        expected.sort_unstable();
        assert_eq!(names(path), expected);
        drop(living);
        mark(path, "2", &[]);
        expected.retain(|name| !["gauge_liveall_2.db", "gauge_livesum_2-2.db"].contains(name));
        assert_eq!(names(path), expected);
    }

    /// It has locked its file, and not written the header yet.
    #[test]
    fn a_file_that_is_being_made_stays() {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let file = File::create(path.join("gauge_liveall_2.db")).unwrap();
        file.try_lock().unwrap();
        mark(path, "2", &[]);
        assert_eq!(names(path), ["gauge_liveall_2.db"]);
        drop(file);
        mark(path, "2", &[]);
        assert_eq!(names(path), [""; 0]);
    }

    #[test]
    fn own_files_go_and_those_that_multiprom_has_not_written() {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let own = worker(path, "gauge_liveall_2.db");
        stock(path, "gauge_livesum_2.db", 1.0);
        fs::write(path.join("gauge_live_x_2.db"), "anything else").unwrap();
        let held = File::open(path.join("gauge_live_x_2.db")).unwrap();
        held.try_lock().unwrap();
        mark(path, "2", &[identity(&own.file.metadata().unwrap())]);
        assert_eq!(names(path), [""; 0]);
    }
}
