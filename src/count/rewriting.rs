//! Writes a file anew without the entries whose series were withdrawn, when they take most of it.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::count::class::ClassState;
use crate::count::files::Files;
use crate::count::state::{LockedState, State};
use crate::count::writer::Writer;
use crate::format::{self, HEADER_SIZE, MAGIC_WRITER, Parsed};
use crate::store;
use crate::sys::lock;

/// Writes these files of this process anew, if that makes them smaller.
pub fn rewrite(paths: &BTreeSet<PathBuf>) {
    let mut state = LockedState::new();
    let State { files, classes, .. } = &mut *state;
    let mut classes: Vec<_> = classes.values_mut().collect();
    for path in paths {
        rewrite_one(files, &mut classes, path);
    }
}

fn rewrite_one(files: &mut Files, classes: &mut [&mut ClassState], path: &Path) {
    let heeded_at = files.heeded_at(path);
    if !files.writer(path).is_some_and(|writer| writer.is_in_place()) {
        return;
    }
    // From here on values wait for the lock of the state before they count.
    for class in classes.iter_mut() {
        class.detach(path);
    }
    let made = files.writer(path).and_then(|writer| write_anew(writer, heeded_at).ok().flatten());
    match made {
        Some(made) => files.exchange(path, made),
        None => files.writer(path).into_iter().for_each(Writer::note_crowded),
    }
    for class in classes {
        class.move_to(files, path, path);
    }
}

/// Writes a file anew without the entries whose series were withdrawn up to `heeded_at`, and renames
/// the new file over the old one. None if it stays as it is.
fn write_anew(old: &Writer, heeded_at: f64) -> io::Result<Option<Writer>> {
    let content = content(old, heeded_at);
    if content.len() > old.used() / 2 {
        return Ok(None);
    }
    let path = old.path();
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let temporary = directory.join(format!(".multiprom_{}.tmp", name.to_string_lossy()));
    // One of an earlier process that was killed here; this process has locked the file.
    let _ = fs::remove_file(&temporary);
    let made = fill(&temporary, path, &content).and_then(|made| match made {
        Some(made) if old.is_in_place() => {
            fs::rename(&temporary, path)?;
            Ok(Some(made))
        }
        _ => Ok(None),
    });
    if !matches!(made, Ok(Some(_))) {
        let _ = fs::remove_file(&temporary);
    }
    made
}

/// Makes the file `temporary`, which is to be at `path`; none if it cannot be in the place of the file
/// there.
fn fill(temporary: &Path, path: &Path, content: &[u8]) -> io::Result<Option<Writer>> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(temporary)?;
    let like = fs::symlink_metadata(path)?;
    file.set_permissions(Permissions::from_mode(like.mode()))?;
    let metadata = file.metadata()?;
    let readers = |of: &fs::Metadata| (of.uid(), of.gid(), of.mode());
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    if readers(&metadata) != readers(&like)
        || !lock::try_lock(&file)?
        // A reader would take it for a file whose counts are in an archive.
        || store::is_spent(directory, name, &metadata)?
    {
        return Ok(None);
    }
    file.write_all_at(content, 0)?;
    let metadata = file.metadata()?;
    Writer::new(path, file, &metadata)
}

/// The bytes of the file without the entries whose series were withdrawn up to `heeded_at`.
fn content(old: &Writer, heeded_at: f64) -> Vec<u8> {
    let entries = old.entries();
    let mut content = vec![0; HEADER_SIZE];
    let mut offset = HEADER_SIZE;
    while let Some(rest) = entries.get(offset - HEADER_SIZE..)
        && let Parsed::Entry(entry, size) = format::parse_entry(rest, rest.len())
    {
        let is_kept = entry
            .withdrawn_at()
            .is_none_or(|at| at > heeded_at && old.is_latest_withdrawn(entry.key, offset));
        if is_kept {
            content.extend_from_slice(&rest[..size]);
        }
        offset += size;
    }
    // It is smaller than the file was.
    let used = i32::try_from(content.len()).unwrap_or(i32::MAX);
    let header = format::header_word(used, MAGIC_WRITER);
    content[..HEADER_SIZE].copy_from_slice(&header.to_ne_bytes());
    content
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // Whole numbers.
mod tests {
    use super::*;
    use crate::count::open::CONTINUING;
    use crate::count::writer::testing::{entries, open, set};
    use crate::format::entry_head;
    use crate::sys::monotonic_time;
    use std::collections::HashSet;
    use tempfile::TempDir;

    fn churn(writer: &mut Writer, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let key = format!("a series that comes and goes, number {number}");
            set(writer, &key, 1.0);
            writer.withdraw(&entry_head(key.as_bytes()).unwrap(), monotonic_time());
        }
    }

    #[test]
    fn what_is_withdrawn_goes_once_it_is_heeded() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("counter_1.db");
        let mut writer = open(&path, CONTINUING);
        set(&mut writer, "stays", 5.0);
        churn(&mut writer, 0..3000);
        assert!(!writer.is_crowded());
        churn(&mut writer, 3000..6000);
        assert!(writer.is_crowded());
        let between = monotonic_time();
        assert!(write_anew(&writer, 0.0).unwrap().is_none(), "no compaction has heeded it");
        writer.note_crowded();
        assert!(!writer.is_crowded(), "asked again only when there is more of it");
        churn(&mut writer, 6000..6010);
        let mut made = write_anew(&writer, between).unwrap().unwrap();
        assert!(!writer.is_in_place() && made.is_in_place());
        assert!(made.used() < 2000, "{}", made.used());
        let live = |path| -> Vec<_> { entries(path).into_iter().filter(|e| e.1 != 0.0).collect() };
        assert_eq!(live(&path), [("stays".to_owned(), 5.0)]);
        set(&mut made, "a series that comes and goes, number 6000", 7.0);
        assert_eq!(live(&path).len(), 2);
        let names: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
        drop((writer, made));
        let continued = open(&path, CONTINUING);
        assert_eq!(live(&path).len(), 2);
        assert!(content(&continued, f64::INFINITY).len() < continued.used());
    }

    #[test]
    fn one_series_that_comes_and_goes_takes_two_entries() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("counter_1.db");
        let mut writer = open(&path, CONTINUING);
        for _ in 0..1000 {
            churn(&mut writer, 0..1);
        }
        assert_eq!(entries(&path).len(), 2);
        drop(writer);
        let mut writer = open(&path, CONTINUING);
        churn(&mut writer, 0..1);
        assert_eq!(entries(&path).len(), 2);
        let keys: HashSet<_> = entries(&path).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), 1);
    }
}
