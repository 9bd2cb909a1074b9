//! Merges the files of many processes into one set of families.
//!
//! Entries are merged by the raw bytes of their keys, apart for each kind of file; each key is parsed
//! once, after all files are read. Only then, with thousands of keys instead of millions of entries,
//! series are put together by name and labels. What that order of things cannot do exactly as
//! `prometheus_client` does is left to [`crate::scrape::by_entry`].

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::format::{Damage, FileName};
use crate::scrape::by_entry::{self, read_unmerged};
use crate::scrape::draft::{Draft, drafts};
use crate::scrape::exemplars;
use crate::scrape::family::{Family, MergeOptions};
use crate::scrape::histogram::BoundTexts;
use crate::scrape::parsed::ParsedTable;
use crate::scrape::scan::{self, Scan};
use crate::store::{
    Glimpse, LeftOut, Origin, Reader, Skipped, Snapshot, UnwrittenFiles, read_consistently,
    rooms_of_exemplars,
};

/// The merged entries of a set of files.
#[derive(Debug)]
pub struct Merge {
    origin: Origin,
    snapshot: Snapshot,
    scan: Scan,
}

/// The merged entries of a set of files, with their keys parsed.
#[derive(Debug)]
pub struct ParsedMerge<'a> {
    merge: &'a Merge,
    options: MergeOptions,
    tables: Vec<ParsedTable<'a>>,
    drafts: Vec<Draft<'a>>,
    /// What had to be left out.
    pub left_out: Vec<LeftOut>,
}

impl Merge {
    /// Merges the metrics files in the directory `path`, in name order.
    pub fn of_directory(path: &Path) -> Result<Self> {
        Self::of(path.into(), false)
    }

    /// The same with what this process could not write there, which `unwritten` gives. Takes a glimpse
    /// of each file, too, if it `glimpses`.
    pub fn of_directory_and_memory(
        path: &Path,
        unwritten: fn(&Path) -> UnwrittenFiles,
        glimpses: bool,
    ) -> Result<Self> {
        Self::of(Origin::DirectoryAndMemory(path.to_owned(), unwritten), glimpses)
    }

    /// Merges `files`, in the order given. One that does not exist counts as empty.
    ///
    /// A file whose content is in an archive is left out only if that archive is among them.
    pub fn of_files(files: Vec<PathBuf>) -> Result<Self> {
        Self::of(files.into(), false)
    }

    fn of(origin: Origin, glimpses: bool) -> Result<Self> {
        let (snapshot, scan) =
            read_consistently(&origin, |snapshot| scan::scan(snapshot, glimpses))?;
        Ok(Self { origin, snapshot, scan })
    }

    /// The files that were there, by name, and then those that are no metrics files: what a merge that
    /// `glimpses` has seen of them.
    #[must_use]
    pub fn files_seen(&self) -> Vec<(&Path, Glimpse)> {
        let Self { snapshot, scan, .. } = self;
        let of_place = |&(place, glimpse)| (&*snapshot.files[place as usize], glimpse);
        let mut seen: Vec<_> = scan.seen.iter().map(of_place).collect();
        for (owner, room) in rooms_of_exemplars(&snapshot.exemplars) {
            let place = seen.binary_search_by(|(path, _)| path.as_os_str().cmp(owner.as_os_str()));
            if let Ok(place) = place {
                seen[place].1.allocated += room;
            }
        }
        let is_foreign = |left_out: &&LeftOut| {
            matches!(left_out.damaged.damage, Damage::ForeignName | Damage::NotAFile)
        };
        let foreign = snapshot.left_out.iter().filter(is_foreign);
        seen.extend(foreign.map(|foreign| (&*foreign.path, Glimpse::FOREIGN)));
        seen
    }

    /// Reads exemplars, too, for callers that show them.
    pub fn read_exemplars(&mut self) {
        let left_out = exemplars::read(&self.snapshot, &mut self.scan.tables);
        self.scan.left_out.extend(left_out);
    }

    /// Parses the keys, and decides how families are put together.
    pub fn parse(&self, options: MergeOptions) -> Result<ParsedMerge<'_>> {
        let mut left_out = self.scan.left_out.clone();
        left_out.extend_from_slice(&self.snapshot.left_out);
        let tables: Vec<_> = self.scan.tables.iter().map(ParsedTable::new).collect();
        for table in tables.iter().filter(|table| !table.damaged.is_empty()) {
            left_out.extend(self.find_damaged(table)?);
        }
        let drafts = drafts(&tables, options);
        Ok(ParsedMerge { merge: self, options, tables, drafts, left_out })
    }

    /// Reads the files of a table again, to say which of them hold damaged keys.
    fn find_damaged(&self, table: &ParsedTable<'_>) -> Result<Vec<LeftOut>> {
        let mut reader = Reader::default();
        let mut left_out = Vec::new();
        for (place, path) in (0..).zip(&self.snapshot.files) {
            if FileName::of_path(path).is_none_or(|file| file.kind != table.table.kind()) {
                continue;
            }
            let mut skipped = Skipped::default();
            // The outcome is known from the first reading.
            self.snapshot.read(place, &mut reader, |offset, entry| {
                if let Some(damage) = table.damaged.get(entry.key) {
                    skipped.add(offset, damage);
                }
            })?;
            left_out.extend(skipped.finish(path));
        }
        Ok(left_out)
    }
}

impl ParsedMerge<'_> {
    /// The families, in the order in which the files first name them. What does not fit what they are
    /// now is added to `unfit`.
    pub fn families(&self, unfit: &mut Vec<LeftOut>) -> Result<Vec<Family<'_>>> {
        let options = self.options;
        let mut texts = BoundTexts::new(options.exponents);
        let drafts = self.drafts.iter();
        let built: Vec<_> = drafts
            .map(|draft| (&*draft.name, draft.family(&self.tables, options, &mut texts)))
            .collect();
        let mixed: HashSet<&str> =
            built.iter().filter(|(_, family)| family.is_none()).map(|(name, _)| *name).collect();
        let mut others: HashMap<String, Family<'static>> = HashMap::new();
        if !mixed.is_empty() {
            let Merge { origin, snapshot, scan } = self.merge;
            let mut unmerged = read_unmerged(snapshot, &|name| mixed.contains(name))?;
            let has_changed = unmerged.vanished != scan.vanished || !snapshot.is_current()?;
            if has_changed {
                // A file that vanished in between would be in some families and not in others:
                // one reading for all of them.
                (_, unmerged) = read_consistently(origin, |new| read_unmerged(new, &|_| true))?;
            }
            unfit.append(&mut unmerged.unfit);
            let mut families =
                unmerged.families.iter().map(|family| by_entry::merge(family, options, &mut texts));
            if has_changed {
                return Ok(self.with_exemplars(families.collect()));
            }
            others.extend(families.by_ref().map(|family| (family.name.to_string(), family)));
        }
        let families = built.into_iter();
        let families = families.filter_map(|(name, family)| family.or_else(|| others.remove(name)));
        Ok(self.with_exemplars(families.collect()))
    }

    fn with_exemplars<'b>(&self, mut families: Vec<Family<'b>>) -> Vec<Family<'b>> {
        exemplars::attach(&mut families, &self.merge.scan.tables, self.options.exponents);
        families
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tempfile::TempDir;

    use super::*;
    use crate::float::ExponentStyle;
    use crate::format::testing::{entry, file, file_of};
    use crate::format::{MAGIC_ARCHIVE, MAGIC_STOCK, MAGIC_WRITER};
    use crate::scrape::family::SampleOrder;
    use crate::store::{FileState, Mark, MemoryFile, encode_journal};
    use crate::sys::allocated;

    const KEY: &str = r#"["c", "c_total", {}, ""]"#;
    const OPTIONS: MergeOptions = MergeOptions {
        accumulate: true,
        order: SampleOrder::Grouped,
        exponents: ExponentStyle::TwoDigits,
    };

    fn values(path: &Path, unwritten: fn(&Path) -> UnwrittenFiles) -> Vec<(String, f64)> {
        let merge = Merge::of_directory_and_memory(path, unwritten, false).unwrap();
        let parsed = merge.parse(OPTIONS).unwrap();
        let families = parsed.families(&mut Vec::new()).unwrap();
        let samples = families.iter().flat_map(|family| family.samples.iter());
        samples.map(|sample| (sample.name.to_string(), sample.value)).collect()
    }

    fn in_memory(name: &str, value: f64) -> MemoryFile {
        MemoryFile { name: name.into(), bytes: file(None, &[entry(KEY, value, 0.0)]) }
    }

    /// Another thread moves a count from memory into a file while the files are read.
    #[test]
    fn what_is_written_meanwhile_counts_once() {
        static WRITTEN: AtomicU64 = AtomicU64::new(0);
        fn unwritten(path: &Path) -> UnwrittenFiles {
            let written = || WRITTEN.load(Ordering::SeqCst);
            if written() > 0 {
                return UnwrittenFiles::none();
            }
            let memory = in_memory("counter_1.db", 3.0);
            let content = memory.bytes.clone();
            let unwritten = UnwrittenFiles::new(vec![memory], written);
            WRITTEN.fetch_add(1, Ordering::SeqCst);
            fs::write(path.join("counter_1.db"), content).unwrap();
            unwritten
        }
        let directory = TempDir::new().unwrap();
        assert_eq!(values(directory.path(), unwritten), [("c_total".to_owned(), 3.0)]);
    }

    #[test]
    fn a_merge_sees_what_each_file_is() {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let content = |magic| file_of(magic, &[entry(KEY, 1.0, 0.0)]);
        let write = |name: &str, content: &[u8]| fs::write(path.join(name), content).unwrap();
        write("counter_1.db", &content(MAGIC_WRITER));
        write("counter_1.db.exemplars", &[1; 5000]);
        write("counter_2.db", &content(MAGIC_WRITER));
        write("counter_3.db", &content(MAGIC_STOCK));
        write("counter_4.db", b"");
        write("counter_5.db", &content(MAGIC_WRITER));
        write("gauge_livesum_2.db", &content(MAGIC_WRITER));
        write("cache.db", b"SQLite");
        let spent =
            Mark::new("counter_5.db".as_ref(), &fs::metadata(path.join("counter_5.db")).unwrap());
        let mut archive = content(MAGIC_ARCHIVE);
        let used = archive.len() as u64;
        archive.extend(encode_journal(&[spent]).unwrap());
        write("counter_compacted.db", &archive);
        let living = fs::File::open(path.join("counter_1.db")).unwrap();
        living.try_lock().unwrap();
        let merge = |glimpses| {
            let unwritten =
                |_: &Path| UnwrittenFiles::new(vec![in_memory("counter_6.db", 1.0)], || 0);
            Merge::of_directory_and_memory(path, unwritten, glimpses).unwrap()
        };
        let merged = merge(true);
        let seen: Vec<_> = merged
            .files_seen()
            .into_iter()
            .map(|(path, seen)| {
                (path.file_name().unwrap().to_str().unwrap(), seen.state, seen.used)
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("counter_1.db", FileState::Live, used),
                ("counter_2.db", FileState::Dead, used),
                ("counter_3.db", FileState::Unknown, used),
                ("counter_4.db", FileState::Unknown, 0),
                ("counter_5.db", FileState::Spent, used),
                ("counter_compacted.db", FileState::Archive, used),
                ("gauge_livesum_2.db", FileState::Dead, used),
                ("cache.db", FileState::Foreign, 0),
            ]
        );
        let room = |name: &str| allocated(&fs::metadata(path.join(name)).unwrap());
        let [(_, with_exemplars), (_, without), ..] = merged.files_seen()[..] else { panic!() };
        assert_eq!(with_exemplars.allocated, room("counter_1.db") + room("counter_1.db.exemplars"));
        assert_eq!(without.allocated, room("counter_2.db"));
        assert_eq!(merge(false).files_seen().len(), 1, "only by its name: the foreign file");
    }

    /// The same name, another process's, and one whose archive has a file of that name.
    #[test]
    fn what_is_in_memory_counts_beside_files() {
        let unwritten = |_: &Path| {
            let names = ["counter_1.db", "counter_2.db", "counter_compacted.db"];
            UnwrittenFiles::new(names.map(|name| in_memory(name, 1.0)).into(), || 0)
        };
        let directory = TempDir::new().unwrap();
        assert_eq!(values(directory.path(), unwritten), [("c_total".to_owned(), 3.0)]);
        let content = file(None, &[entry(KEY, 10.0, 0.0)]);
        fs::write(directory.path().join("counter_1.db"), &content).unwrap();
        fs::write(directory.path().join("counter_compacted.db"), &content).unwrap();
        assert_eq!(values(directory.path(), unwritten), [("c_total".to_owned(), 23.0)]);
    }
}
