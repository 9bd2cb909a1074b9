//! All of one directory, at one look.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::float::ExponentStyle;
use crate::format::exemplar;
use crate::inspect::family::{self, FamilySize};
use crate::inspect::file::{self, FileSeen};
use crate::inspect::process::{self, ProcessSeen};
use crate::scrape::{Merge, MergeOptions, SampleOrder};
use crate::store::{LeftOut, is_absence};
use crate::sys::{Directory, lock};

/// The order and the spelling of what is only counted do not matter.
const ANY_OPTIONS: MergeOptions = MergeOptions {
    accumulate: true,
    order: SampleOrder::Flat,
    exponents: ExponentStyle::TwoDigits,
};

/// What is in a directory.
#[derive(Debug)]
pub struct Inspection {
    /// The directory.
    pub path: PathBuf,
    /// Whether there is such a directory.
    pub exists: bool,
    /// The name of its file system, if locks of other hosts or mounts may not be seen there: then
    /// nobody can tell who is dead.
    pub without_common_locks: Option<&'static str>,
    /// Whether a process compacts the directory just now.
    pub is_compacting: bool,
    /// The processes that hold or held a slot, by number, and then those that only files tell of.
    pub processes: Vec<ProcessSeen>,
    /// The files, by name, also those that are no metrics files.
    pub files: Vec<FileSeen>,
    /// The families that a scrape gives, in its order.
    pub families: Vec<FamilySize>,
    /// Why no scrape is possible, if none is.
    pub scrape_error: Option<String>,
}

/// Looks at all of the directory `path`, and changes nothing there. A directory that is missing is
/// empty.
///
/// # Errors
///
/// If the directory cannot be listed.
pub fn inspect(path: &Path) -> Result<Inspection> {
    let opened = match Directory::open(path) {
        Ok(opened) => Some(opened),
        Err(error) if is_absence(&error) => None,
        Err(source) => return Err(Error::Io { path: path.to_owned(), source }),
    };
    let without_common_locks = opened.as_ref().and_then(Directory::without_common_locks);
    let mut files = file::look(path)?;
    let (families, left_out, scrape_error) = match scrape(path) {
        Ok((families, left_out)) => (families, left_out, None),
        Err(error) => (Vec::new(), Vec::new(), Some(error.to_string())),
    };
    add_problems(&mut files, left_out);
    let slots = process::slots(path)?;
    Ok(Inspection {
        path: path.to_owned(),
        exists: opened.is_some(),
        without_common_locks,
        is_compacting: lock::is_at_work(path),
        processes: process::processes(slots, &files),
        files,
        families,
        scrape_error,
    })
}

fn scrape(path: &Path) -> Result<(Vec<FamilySize>, Vec<LeftOut>)> {
    let mut merge = Merge::of_directory(path)?;
    merge.read_exemplars();
    let mut parsed = merge.parse(ANY_OPTIONS)?;
    let mut left_out = std::mem::take(&mut parsed.left_out);
    let families = parsed.families(&mut left_out)?;
    Ok((families.iter().map(family::size).collect(), left_out))
}

/// Adds to each file what a scrape leaves out of it.
fn add_problems(files: &mut [FileSeen], left_out: Vec<LeftOut>) {
    let mut problems: HashMap<PathBuf, Vec<LeftOut>> = HashMap::new();
    for problem in left_out {
        // What is wrong with exemplars is told of the file beside which they are.
        let path = exemplar::owner_path(&problem.path).unwrap_or_else(|| problem.path.clone());
        problems.entry(path).or_default().push(problem);
    }
    for file in files {
        for problem in problems.remove(&file.path).unwrap_or_default() {
            // Reading the file alone has found most of them before.
            if !file.problems.iter().any(|known| known.damaged == problem.damaged) {
                file.problems.push(problem);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing::{entry, file_of};
    use crate::format::{Damage, MAGIC_ARCHIVE, MAGIC_STOCK, MAGIC_WRITER};
    use crate::inspect::{Evidence, Life};
    use crate::mark;
    use crate::store::{FileState, presence};
    use std::fs::{self, File};
    use tempfile::TempDir;

    const KEY: &str = r#"["c", "c_total", {"path": "/a"}, ""]"#;
    const OTHER_KEY: &str = r#"["c", "c_total", {"path": "/b"}, ""]"#;

    #[test]
    fn a_missing_directory_is_empty() {
        let parent = TempDir::new().unwrap();
        let seen = inspect(&parent.path().join("gone")).unwrap();
        assert!(!seen.exists && seen.files.is_empty() && seen.processes.is_empty());
        assert!(seen.families.is_empty() && seen.scrape_error.is_none());
    }

    #[test]
    fn each_file_has_its_state_and_each_process_its_evidence() {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let write = |name: &str, magic, key| {
            let content = file_of(magic, &[entry(key, 1.0, 0.0)]);
            fs::write(path.join(name), content).unwrap();
        };
        let withdrawn = entry(OTHER_KEY, 0.0, mark::withdrawn(1));
        let content = file_of(MAGIC_WRITER, &[entry(KEY, 1.0, 0.0), withdrawn]);
        fs::write(path.join("counter_1.db"), content).unwrap();
        write("counter_2.db", MAGIC_WRITER, OTHER_KEY);
        write("counter_3.db", MAGIC_STOCK, KEY);
        write("counter_compacted.db", MAGIC_ARCHIVE, KEY);
        write("gauge_livesum_2.db", MAGIC_WRITER, KEY);
        write("histogram_2.db", MAGIC_WRITER, "no json");
        fs::write(path.join("cache.db"), "SQLite").unwrap();
        let living = File::open(path.join("counter_1.db")).unwrap();
        living.try_lock().unwrap();
        let seen = inspect(path).unwrap();
        let states: Vec<_> = seen
            .files
            .iter()
            .map(|file| (file.path.file_name().unwrap().to_str().unwrap(), file.state))
            .collect();
        assert_eq!(
            states,
            [
                ("cache.db", FileState::Foreign),
                ("counter_1.db", FileState::Live),
                ("counter_2.db", FileState::Dead),
                ("counter_3.db", FileState::Unknown),
                ("counter_compacted.db", FileState::Archive),
                ("gauge_livesum_2.db", FileState::Dead),
                ("histogram_2.db", FileState::Dead),
            ]
        );
        let counted: Vec<_> = seen.files.iter().map(|file| file.is_counted).collect();
        assert_eq!(counted, [false, true, true, true, true, false, true]);
        let entries: Vec<_> = seen.files.iter().map(|file| file.entries).collect();
        assert_eq!(entries, [0, 1, 1, 1, 1, 1, 1]);
        let [foreign, .., damaged] = &seen.files[..] else { panic!("seven files") };
        assert_eq!(foreign.problems[0].damaged.damage, Damage::ForeignName);
        assert!(matches!(damaged.problems[0].damaged.damage, Damage::KeyNotJson { .. }));
        assert_eq!((damaged.problems[0].damaged.offset, damaged.problems[0].entries), (Some(8), 1));
        let processes: Vec<_> = seen
            .processes
            .iter()
            .map(|process| (&*process.identifier, process.life, process.evidence, process.files))
            .collect();
        assert_eq!(
            processes,
            [
                ("1", Life::Alive, Evidence::HoldsFile, 1),
                ("2", Life::Dead, Evidence::FileIsFree, 3),
                ("3", Life::Unknown, Evidence::NoLock, 1),
            ]
        );
        let [family] = &seen.families[..] else { panic!("one family") };
        assert_eq!((&*family.name, family.series), ("c", 2));
        assert_eq!(family.labels, [("path".to_owned(), 2)]);
    }

    #[test]
    fn a_slot_tells_of_its_process_and_of_the_files_named_after_it() {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let identifier = std::ffi::OsStr::new("web");
        presence::hold(path, Some(identifier), Some(presence::Role::Master)).unwrap();
        let content = file_of(MAGIC_WRITER, &[entry(KEY, 1.0, 0.0)]);
        fs::write(path.join("counter_web.db"), &content).unwrap();
        let seen = inspect(path).unwrap();
        let [process] = &seen.processes[..] else { panic!("one process") };
        assert_eq!((process.slot, process.pid), (Some(0), Some(std::process::id())));
        assert_eq!((process.life, process.evidence), (Life::Alive, Evidence::HoldsSlot));
        assert_eq!((process.role.as_deref(), process.files), (Some("master"), 1));
        #[cfg(target_os = "linux")]
        assert!(process.usage.is_some_and(|usage| usage.resident_bytes > 0));
        presence::leave(path);
        let seen = inspect(path).unwrap();
        let [process] = &seen.processes[..] else { panic!("one process") };
        assert_eq!((process.life, process.evidence), (Life::Dead, Evidence::SlotIsFree));
        assert!(process.usage.is_none());
    }
}
