//! Files that somebody has removed while a living process counts in them. The process itself does not
//! notice before it makes a series, scrapes or forks, since `inc` makes no system call.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::path::Path;

use crate::count;
use crate::store::{Glimpse, Occupant};
use crate::sys::ProcessLocal;

/// The processes of which a line was logged, by pid and start.
static TOLD: ProcessLocal<BTreeSet<(u32, u64)>> =
    ProcessLocal::new(|earlier| earlier.cloned().unwrap_or_default());

/// Logs once for each living process of `processes` that counts in removed files of `directory`, of
/// which `files` are what is there. Asks the kernel only where a process has no file there.
pub(crate) fn tell<'a>(
    processes: impl Iterator<Item = &'a Occupant>,
    directory: &Path,
    files: &[(&Path, Glimpse)],
) {
    let identifiers: HashSet<_> =
        files.iter().filter_map(|(path, file)| file.state.identifier(path)).collect();
    for process in processes {
        if !identifiers.contains(OsStr::new(&process.identifier))
            && holds_removed_file(process.pid, directory)
            && TOLD.lock().insert((process.pid, process.start))
        {
            count::warn_later(format!(
                "process {} counts in files that somebody has removed from {}: scrapes lack its \
                 counts until it makes a series, scrapes or forks, when it writes the files anew",
                process.pid,
                directory.display()
            ));
        }
    }
}

/// Whether a process has a metrics file of `directory` open that was removed; false where only its
/// user may know.
#[cfg(target_os = "linux")]
fn holds_removed_file(pid: u32, directory: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;

    use crate::format::FileName;
    use crate::sys::process::descriptors;

    /// What the kernel writes behind the path of a file that was removed.
    const REMOVED: &[u8] = b" (deleted)";

    let Ok(directory) = directory.canonicalize() else { return false };
    descriptors(pid).any(|path| {
        let Some(path) = path.as_os_str().as_bytes().strip_suffix(REMOVED) else { return false };
        let path = Path::new(OsStr::from_bytes(path));
        path.parent() == Some(&directory) && FileName::of_path(path).is_some()
    })
}

/// No other system has `/proc` as Linux has it.
#[cfg(not(target_os = "linux"))]
fn holds_removed_file(_pid: u32, _directory: &Path) -> bool {
    false
}
