//! Lists the metrics files of one directory.

use std::io;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use crate::error::{Error, Result};
use crate::format::{Damage, FileName, exemplar};
use crate::order::sort_by_bytes;
use crate::store::report::LeftOut;
use crate::sys::{Directory, Name};

/// As `prometheus_client`'s `glob.glob('*.db')`: hidden files do not match.
const MATCH: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// The metrics files of a directory.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Files to read, in name order.
    pub files: Vec<PathBuf>,
    /// What matches `*.db` but is no metrics file, in name order.
    pub left_out: Vec<LeftOut>,
    /// Files with exemplars, in name order.
    pub exemplars: Vec<PathBuf>,
}

/// Lists the metrics files in the directory `path`, which is taken literally.
///
/// A directory that is not there, or no directory any more, holds no files.
pub(crate) fn list(path: &Path) -> Result<Listing> {
    match Directory::open(path).and_then(|directory| list_open(&directory)) {
        Ok(listing) => Ok(listing),
        Err(error) if is_absence(&error) => Ok(Listing::default()),
        Err(source) => Err(Error::Io { path: path.to_owned(), source }),
    }
}

/// The same for an open directory.
pub(crate) fn list_open(directory: &Directory) -> io::Result<Listing> {
    let Ok(pattern) = Pattern::new("*.db") else { return Ok(Listing::default()) };
    let mut listing = Listing::default();
    for Name { name, is_file } in directory.names()? {
        let text = name.to_string_lossy();
        if !pattern.matches_with(&text, MATCH) {
            if is_file && exemplar::owner_of(&name).and_then(FileName::parse).is_some() {
                listing.exemplars.push(directory.path().join(&name));
            }
            continue;
        }
        let foreign = if FileName::parse(&name).is_none() {
            Some(Damage::ForeignName)
        } else if !is_file {
            Some(Damage::NotAFile)
        } else {
            None
        };
        let path = directory.path().join(&name);
        match foreign {
            None => listing.files.push(path),
            Some(damage) => listing.left_out.push(LeftOut::unopened(&path, damage)),
        }
    }
    // All paths have the same directory: comparing them as text gives the order of names faster.
    for paths in [&mut listing.files, &mut listing.exemplars] {
        sort_by_bytes(paths, |path| path.as_os_str().as_encoded_bytes());
    }
    sort_by_bytes(&mut listing.left_out, |file| file.path.as_os_str().as_encoded_bytes());
    // An archive that was replaced during the listing may have been met under both inodes.
    listing.files.dedup();
    Ok(listing)
}

/// Whether an error means that there is no such file: also where the directory is a file, or
/// the name is longer than any file's.
pub(crate) fn is_absence(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    fn names<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Vec<&'a str> {
        paths.into_iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect()
    }

    #[test]
    fn metrics_files_in_name_order() {
        let parent = TempDir::new().unwrap();
        let directory = parent.path().join("a[1]*?");
        fs::create_dir(&directory).unwrap();
        for name in ["gauge_all_2.db", "counter_9.db", "counter_10.db", ".counter_1.db", "x.txt"] {
            fs::write(directory.join(name), "").unwrap();
        }
        fs::write(directory.join("cache.db"), "").unwrap();
        fs::create_dir(directory.join("counter_folder.db")).unwrap();
        std::os::unix::fs::symlink("counter_9.db", directory.join("counter_link.db")).unwrap();
        let listing = list(&directory).unwrap();
        assert_eq!(names(&listing.files), ["counter_10.db", "counter_9.db", "gauge_all_2.db"]);
        assert_eq!(
            names(listing.left_out.iter().map(|left_out| &left_out.path)),
            ["cache.db", "counter_folder.db", "counter_link.db"]
        );
        let damages: Vec<_> =
            listing.left_out.iter().map(|left_out| &left_out.damaged.damage).collect();
        assert_eq!(damages, [&Damage::ForeignName, &Damage::NotAFile, &Damage::NotAFile]);
    }

    #[test]
    fn no_directory_no_files() {
        let parent = TempDir::new().unwrap();
        let listing = list(&parent.path().join("gone")).unwrap();
        assert!(listing.files.is_empty() && listing.left_out.is_empty());
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(list(&file).unwrap().files.is_empty());
    }
}
