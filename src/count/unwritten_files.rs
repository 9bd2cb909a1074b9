//! What this process has counted and no file holds: a scrape of this process has it all the same.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::count::state::LockedState;
use crate::store::UnwrittenFiles;

/// How often something was moved from memory into a file.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// Says that something is about to be moved from memory into a file.
pub(crate) fn note_written() {
    WRITTEN.fetch_add(1, Ordering::SeqCst);
}

/// How often something was moved from memory into a file, so far.
fn written() -> u64 {
    WRITTEN.load(Ordering::SeqCst)
}

/// What this process has counted for `directory` and no file there holds, after
/// [`write_unwritten`](crate::count::write_unwritten) has tried to write it.
#[must_use]
pub fn unwritten(directory: &Path) -> UnwrittenFiles {
    let state = LockedState::new();
    let mut removed = HashSet::new();
    let begun = state.classes.values().filter(|class| class.generation == state.generation);
    let files =
        begun.flat_map(|class| class.unwritten(&state.files, directory, &mut removed)).collect();
    UnwrittenFiles::new(files, written)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use tempfile::TempDir;

    use super::*;
    use crate::count::{Caller, Operation, ValueClass, head_of, write_unwritten};
    use crate::format::MAGIC_WRITER;
    use crate::format::testing::{entry, file_of};

    #[test]
    fn what_no_file_holds_is_given_until_it_is_written() {
        let parent = TempDir::new().unwrap();
        let directory = parent.path().join("metrics");
        let caller = Caller {
            directory: Some(directory.clone().into_os_string()),
            identifier: Some("unwritten".into()),
        };
        let class = Arc::new(ValueClass::new(&caller).unwrap());
        let value = |prefix, key| {
            class.values(prefix, vec![head_of([key]).unwrap()], &caller).unwrap().remove(0)
        };
        let counter = value("counter", "counted");
        counter.operate(Operation::Add(3.0), &caller);
        let gauge = value("gauge_mostrecent", "set");
        gauge.operate(Operation::Set(4.0, 5.0), &caller);
        write_unwritten(false);
        assert_eq!(unwritten(parent.path()).files, [], "of another directory");
        let found = unwritten(&directory);
        assert!(found.is_current());
        let names: Vec<_> = found.files.iter().map(|file| file.name.to_str().unwrap()).collect();
        assert_eq!(names, ["counter_unwritten.db", "gauge_mostrecent_unwritten.db"]);
        assert_eq!(found.files[0].bytes, file_of(MAGIC_WRITER, &[entry("counted", 3.0, 0.0)]));
        assert_eq!(found.files[1].bytes, file_of(MAGIC_WRITER, &[entry("set", 4.0, 5.0)]));
        fs::create_dir(&directory).unwrap();
        write_unwritten(false);
        assert!(!found.is_current());
        assert_eq!(unwritten(&directory).files, []);
    }
}
