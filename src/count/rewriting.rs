//! Writes a file anew without the entries whose series were withdrawn, when they take most of it.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::count::class::ClassState;
use crate::count::files::Files;
use crate::count::open;
use crate::count::state::{LockedState, State};
use crate::count::writer::{self, Writer};
use crate::format::{self, HEADER_SIZE, Parsed};
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
    let heeded = files.heeded(path);
    if !files.writer(path).is_some_and(|writer| writer.is_in_place()) {
        return;
    }
    // From here on values wait for the lock of the state before they count.
    for class in classes.iter_mut() {
        class.detach(path);
    }
    let made = files.writer(path).and_then(|writer| write_anew(writer, heeded).ok().flatten());
    match made {
        Some(made) => files.exchange(path, made),
        None => files.writer(path).into_iter().for_each(Writer::note_needed),
    }
    for class in classes {
        class.move_to(files, path, path);
    }
}

/// Writes a file anew without the entries whose withdrawal has been `heeded`, up to this number, and
/// renames the new file over the old one. None if it stays as it is.
fn write_anew(old: &Writer, heeded: u64) -> io::Result<Option<Writer>> {
    let content = content(old, heeded)?;
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
    let file = File::create_new(temporary)?;
    let like = fs::symlink_metadata(path)?;
    file.set_permissions(Permissions::from_mode(like.mode()))?;
    let metadata = file.metadata()?;
    let readers = |of: &fs::Metadata| (of.uid(), of.gid(), of.mode());
    if readers(&metadata) != readers(&like)
        || !lock::try_lock(&file)?
        // A reader would take it for a file whose counts are in an archive.
        || open::is_spent(path, &metadata)?
    {
        return Ok(None);
    }
    file.write_all_at(content, 0)?;
    let metadata = file.metadata()?;
    Writer::new(path, file, &metadata)
}

/// The bytes of the file without the entries whose withdrawal has been `heeded`, up to this number.
fn content(old: &Writer, heeded: u64) -> io::Result<Vec<u8>> {
    let entries = old.entries();
    let mut rest = &entries[..];
    let mut content = vec![0; HEADER_SIZE];
    while let Parsed::Entry(entry, size) = format::parse_entry(rest, rest.len()) {
        if !entry.is_withdrawn() || entry.withdrawal().is_some_and(|number| number > heeded) {
            content.extend_from_slice(&rest[..size]);
        }
        rest = &rest[size..];
    }
    let header = writer::header(content.len())?;
    content[..HEADER_SIZE].copy_from_slice(&header.to_ne_bytes());
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::open::CONTINUING;
    use crate::count::writer::testing::{entries, open, set};
    use crate::format::entry_head;
    use tempfile::TempDir;

    fn key(number: u64) -> String {
        format!("a series that comes and goes, number {number}")
    }

    fn come_and_go(writer: &mut Writer, numbers: std::ops::Range<u64>) {
        for number in numbers {
            set(writer, &key(number), 1.0);
            writer.withdraw(&entry_head(key(number).as_bytes()).unwrap(), || number);
        }
    }

    #[test]
    fn what_is_withdrawn_goes_once_it_is_heeded() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("counter_1.db");
        let mut writer = open(&path, CONTINUING);
        set(&mut writer, "stays", 5.0);
        come_and_go(&mut writer, 1..3000);
        assert!(!writer.is_crowded());
        come_and_go(&mut writer, 3000..6000);
        assert!(writer.is_crowded());
        assert!(write_anew(&writer, 0).unwrap().is_none(), "no compaction has heeded it");
        writer.note_needed();
        assert!(!writer.is_crowded(), "asked again only when there is more of it");
        // Of an earlier process that was killed here: no file that anybody reads.
        let stray = directory.path().join(".multiprom_counter_1.db.tmp");
        fs::write(&stray, "[").unwrap();
        let mut made = write_anew(&writer, 5997).unwrap().unwrap();
        assert!(!writer.is_in_place() && made.is_in_place());
        let stays = ("stays".to_owned(), 5.0);
        assert_eq!(entries(&path), [stays.clone(), (key(5998), 0.0), (key(5999), 0.0)]);
        set(&mut made, &key(5998), 7.0);
        assert_eq!(entries(&path)[1], (key(5998), 7.0));
        let names: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
        drop((writer, made));
        let continued = open(&path, CONTINUING);
        assert_eq!(entries(&path).len(), 3);
        let content = content(&continued, u64::MAX).unwrap();
        assert!(content.len() < continued.used());
    }

    #[test]
    fn a_series_that_comes_and_goes_has_one_entry() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("counter_1.db");
        let mut writer = open(&path, CONTINUING);
        for _ in 0..100_000 {
            come_and_go(&mut writer, 1..2);
        }
        assert!(!writer.is_crowded());
        assert_eq!(entries(&path), [(key(1), 0.0)]);
    }
}
