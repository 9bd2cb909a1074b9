//! Whether what dead processes hold is worth writing their archive anew.
//!
//! To fold one file, all of the archive is read and written, and a file that is not folded yet makes
//! every scrape a little longer. So a large archive waits for several dead processes, and a small one
//! for none. How many files wait, and how much they hold, is bounded.

/// Up to this size an archive is written anew for a single file: it takes about as long as to delete
/// that file, some 0.5 ms.
pub(crate) const SMALL_ARCHIVE: u64 = 128 << 10;
/// An archive is written anew when the dead hold half as much: then all that is ever read and written is
/// some three times what the dead held, however large the archive becomes.
const PART: u64 = 2;
/// Or when they are this many files of one kind: scrapes must not read more and more files.
pub(crate) const FILES: usize = 16;

/// Whether the dead, which hold `bytes` in so many `files` of one kind, shall be folded now into an
/// archive of that many bytes.
pub(crate) fn is_worth_it(small_archive: u64, archive: u64, bytes: u64, files: usize) -> bool {
    archive <= small_archive.max(bytes.saturating_mul(PART)) || files >= FILES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_archive_waits_for_half_as_much_or_sixteen_files() {
        let is_worth_it = |archive, bytes, files| is_worth_it(100, archive, bytes, files);
        for (archive, bytes, files, expected) in [
            (0, 8, 1, true),
            (100, 8, 1, true),
            (101, 8, 1, false),
            (1000, 499, 15, false),
            (1000, 500, 1, true),
            (1000, 16, 16, true),
            (u64::MAX, u64::MAX, 1, true),
        ] {
            assert_eq!(is_worth_it(archive, bytes, files), expected, "{archive} {bytes} {files}");
        }
        assert!(super::is_worth_it(u64::MAX, u64::MAX - 1, 0, 1), "who asks waits for nothing");
    }
}
