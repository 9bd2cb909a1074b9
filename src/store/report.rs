//! Reports on what a scrape had to leave out.

use std::path::{Path, PathBuf};

use crate::format::{Damage, Damaged};
use crate::store::reader::Outcome;

/// A file, the rest of a file, or entries of a file that a scrape had to leave out.
#[derive(Debug, Clone, PartialEq)]
pub struct LeftOut {
    /// The file.
    pub path: PathBuf,
    /// Why, and where in the file.
    pub damaged: Damaged,
    /// How many entries; 0 where that cannot be known, as behind a bad length.
    pub entries: u64,
}

impl LeftOut {
    /// The report on a file that was not opened.
    #[must_use]
    pub fn unopened(path: &Path, damage: Damage) -> Self {
        Self { path: path.to_owned(), damaged: Damaged::unread(damage), entries: 0 }
    }

    /// The report on a file that was read, if it could not be read to its end.
    #[must_use]
    pub fn after_reading(path: &Path, outcome: Outcome) -> Option<Self> {
        match outcome {
            Outcome::Complete | Outcome::Vanished => None,
            Outcome::Damaged(damaged) => Some(Self { path: path.to_owned(), damaged, entries: 0 }),
        }
    }
}

/// Entries of one file that were skipped because of their keys.
#[derive(Debug, Default)]
pub(crate) struct Skipped {
    first: Option<Damaged>,
    entries: u64,
}

impl Skipped {
    /// Counts the entry at `offset`.
    pub(crate) fn add(&mut self, offset: u64, damage: &Damage) {
        self.first.get_or_insert_with(|| Damaged::at(offset, damage.clone()));
        self.entries += 1;
    }

    /// The report on the file at `path`, if entries were skipped.
    #[must_use]
    pub(crate) fn finish(self, path: &Path) -> Option<LeftOut> {
        let damaged = self.first?;
        Some(LeftOut { path: path.to_owned(), damaged, entries: self.entries })
    }
}
