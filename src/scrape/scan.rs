//! Reads files into tables, with several threads where there are many files.
//!
//! What comes out does not depend on the number of threads: sums are exact, so they may be added
//! up in parts, and where the order of files counts, one thread reads them all.

use std::ffi::OsStr;
use std::num::NonZero;
use std::panic;
use std::path::Path;
use std::thread;

use crate::error::Result;
use crate::format::{Damage, Entry, FileName};
use crate::kind::{Kind, Rule};
use crate::order::sort_by_number;
use crate::scrape::table::{Entries, Table};
use crate::store::{Glimpse, LeftOut, Outcome, Reader, Skipped, Snapshot};

/// A thread takes some 50 µs to start and has to learn the keys anew: below so many files for
/// each it does not pay.
const FILES_A_THREAD: usize = 64;
/// A scrape shall not take the processors from the service that it watches.
const THREADS_MAX: usize = 4;

/// A file, and its place among all.
#[derive(Debug, Clone, Copy)]
struct Source<'a> {
    place: u32,
    path: &'a Path,
    pid: &'a OsStr,
}

/// The entries of a file of a snapshot.
struct FileEntries<'a> {
    snapshot: &'a Snapshot,
    reader: &'a mut Reader,
    place: u32,
}

impl Entries for FileEntries<'_> {
    fn is_archive(&self) -> bool {
        self.snapshot.is_archive(self.place)
    }

    fn read(self, visit: impl FnMut(u64, Entry<'_>)) -> Result<Outcome> {
        self.snapshot.read(self.place, self.reader, visit)
    }
}

/// Files of one kind that one thread reads in their order.
#[derive(Debug)]
struct Job<'a> {
    kind: Kind<'a>,
    sources: Vec<Source<'a>>,
}

/// What a job gave.
#[derive(Debug)]
struct Done {
    table: Table,
    left_out: Vec<LeftOut>,
    vanished: Vec<u32>,
    seen: Vec<(u32, Glimpse)>,
}

/// The content of a set of files.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// A table for each kind.
    pub(crate) tables: Vec<Table>,
    /// What had to be left out.
    pub(crate) left_out: Vec<LeftOut>,
    /// The files that were gone, by their places, in order.
    pub(crate) vanished: Vec<u32>,
    /// What else was seen of the files, by their places, in order; of none unless that was asked for.
    pub(crate) seen: Vec<(u32, Glimpse)>,
}

/// Reads the files of `snapshot`, and takes a glimpse of each, too, if it `glimpses`.
pub(crate) fn scan(snapshot: &Snapshot, glimpses: bool) -> Result<Scan> {
    scan_with(snapshot, glimpses, thread_count(snapshot.files.len()))
}

fn scan_with(snapshot: &Snapshot, glimpses: bool, threads: usize) -> Result<Scan> {
    let mut scan = Scan::default();
    let mut kinds: Vec<Job<'_>> = Vec::new();
    for (place, path) in (0..).zip(&snapshot.files) {
        let Some(FileName { kind, pid }) = FileName::of_path(path) else {
            scan.left_out.push(LeftOut::unopened(path, Damage::ForeignName));
            continue;
        };
        let source = Source { place, path, pid };
        match kinds.iter_mut().find(|job| job.kind == kind) {
            Some(job) => job.sources.push(source),
            None => kinds.push(Job { kind, sources: vec![source] }),
        }
    }
    for done in run(snapshot, glimpses, &hand_out(kinds, threads))? {
        scan.left_out.extend(done.left_out);
        scan.vanished.extend(done.vanished);
        scan.seen.extend(done.seen);
        match scan.tables.iter_mut().find(|table| table.kind() == done.table.kind()) {
            Some(table) => table.absorb(&done.table),
            None => scan.tables.push(done.table),
        }
    }
    scan.vanished.sort_unstable();
    sort_by_number(&mut scan.seen, |(place, _)| (*place).into());
    snapshot.check_readable(&scan.left_out, &scan.vanished)?;
    Ok(scan)
}

fn thread_count(files: usize) -> usize {
    match files / FILES_A_THREAD {
        0 | 1 => 1,
        wanted => {
            let processors = thread::available_parallelism().map_or(1, NonZero::get);
            wanted.min(processors).min(THREADS_MAX)
        }
    }
}

/// The jobs of each thread: a part of the files of each kind that is summed, in order, and all files
/// of some of the other kinds.
fn hand_out(kinds: Vec<Job<'_>>, threads: usize) -> Vec<Vec<Job<'_>>> {
    let mut jobs: Vec<Vec<Job<'_>>> = (0..threads).map(|_| Vec::new()).collect();
    for (number, Job { kind, sources }) in kinds.into_iter().enumerate() {
        if kind.rule() == Rule::Sum {
            let parts = sources.chunks(sources.len().div_ceil(threads));
            for (thread, part) in jobs.iter_mut().zip(parts) {
                thread.push(Job { kind, sources: part.to_vec() });
            }
        } else {
            jobs[number % threads].push(Job { kind, sources });
        }
    }
    jobs
}

/// Does the jobs, each list in a thread of its own; results in the order of the lists.
fn run(snapshot: &Snapshot, glimpses: bool, jobs: &[Vec<Job<'_>>]) -> Result<Vec<Done>> {
    let Some((own, others)) = jobs.split_first() else { return Ok(Vec::new()) };
    thread::scope(|scope| {
        let others: Vec<_> = others
            .iter()
            .map(|jobs| {
                let thread = thread::Builder::new().name("multiprom-scrape".to_owned());
                // Where no thread is to be had this one does the work, afterwards.
                thread
                    .spawn_scoped(scope, move || do_all(snapshot, glimpses, jobs))
                    .map_err(|_| jobs)
            })
            .collect();
        let mut done = do_all(snapshot, glimpses, own)?;
        for other in others {
            done.extend(match other {
                Ok(thread) => thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic))?,
                Err(jobs) => do_all(snapshot, glimpses, jobs)?,
            });
        }
        Ok(done)
    })
}

fn do_all(snapshot: &Snapshot, glimpses: bool, jobs: &[Job<'_>]) -> Result<Vec<Done>> {
    let mut reader = Reader::new(glimpses);
    jobs.iter()
        .map(|Job { kind, sources }| {
            let mut table = Table::new(*kind);
            let mut left_out = Vec::new();
            let mut vanished = Vec::new();
            let mut seen = Vec::new();
            for Source { place, path, pid } in sources {
                let mut skipped = Skipped::default();
                let entries = FileEntries { snapshot, reader: &mut reader, place: *place };
                let outcome = table.read(entries, pid, *place, &mut skipped)?;
                seen.extend(reader.take_seen().map(|glimpse| (*place, glimpse)));
                if outcome == Outcome::Vanished {
                    vanished.push(*place);
                }
                left_out.extend(skipped.finish(path));
                left_out.extend(LeftOut::after_reading(path, outcome));
            }
            Ok(Done { table, left_out, vanished, seen })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::float::Sum;
    use crate::format::testing::{entry, file};
    use crate::scrape::column::AnyColumn;
    use crate::store::Origin;
    use std::fs;
    use std::path::PathBuf;
    use tempfile::TempDir;

    /// Files of two kinds; each has a key of its own besides a common one.
    fn files(directory: &TempDir) -> Vec<PathBuf> {
        let write = |name: String, number: u32| {
            let own = format!(r#"["own_{number}", "own_{number}", {{}}, ""]"#);
            let value = f64::from(number) / 10.0;
            let common = r#"["all", "all", {}, ""]"#;
            let content = file(None, &[entry(&own, value, 0.0), entry(common, value, 0.0)]);
            let path = directory.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        (0..100)
            .flat_map(|number| {
                [
                    write(format!("counter_{number}.db"), number),
                    write(format!("gauge_max_{number}.db"), number),
                ]
            })
            .collect()
    }

    /// All that a table knows, in the order in which its keys were first seen.
    fn content(tables: &[Table]) -> Vec<((u32, u32), String, f64)> {
        let mut content = Vec::new();
        for table in tables {
            for (key, number) in table.keys().zip(0..) {
                let value = match &table.column {
                    AnyColumn::Sums(sums) => sums.sums[number as usize].value(),
                    AnyColumn::Maxima(maxima) => maxima.values[number as usize],
                    other => panic!("{other:?}"),
                };
                let key = String::from_utf8(key.to_vec()).unwrap();
                content.push((table.first_seen(number), key, value));
            }
        }
        content.sort_by_key(|(seen, ..)| *seen);
        content
    }

    #[test]
    fn threads_change_nothing() {
        let directory = TempDir::new().unwrap();
        let snapshot = Snapshot::take(&Origin::from(files(&directory))).unwrap();
        let scan = |threads| content(&scan_with(&snapshot, false, threads).unwrap().tables);
        let expected = scan(1);
        assert_eq!(expected.len(), 202);
        for threads in [2, 3, 7, 100, 150] {
            assert_eq!(scan(threads), expected, "{threads} threads");
        }
    }
}
