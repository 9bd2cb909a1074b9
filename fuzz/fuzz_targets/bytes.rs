//! Files of any bytes: nothing panics, no scrape fails, and folding what is sound changes nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use multiprom_fuzz::{Directory, assert_same};

/// Kinds for which the order of files is of no importance, whatever the values.
const KINDS: [&str; 4] = ["counter", "histogram", "summary", "gauge_sum"];

fuzz_target!(|input: (u8, Vec<(bool, Vec<u8>)>)| {
    let (kind, files) = input;
    let directory = Directory::new(KINDS[usize::from(kind) % KINDS.len()]);
    for (process, (has_header, mut bytes)) in files.iter().cloned().enumerate() {
        if has_header {
            // Else few files get as far as their first entry.
            let used = i32::try_from(bytes.len() + 8).unwrap();
            bytes.splice(..0, [used.to_ne_bytes(), [0; 4]].concat());
        }
        directory.write(process, &bytes);
        // The same bytes as a file of exemplars, too: that must not change the counts.
        if let Some(magic) = bytes.get_mut(4..8) {
            magic.copy_from_slice(b"MPe1");
        }
        directory.write_exemplars(process, &bytes);
    }
    let before = directory.samples();
    let _ = directory.open_text();
    let first = directory.fold(0..files.len());
    assert_same(&before, &directory.samples());
    let again = directory.fold(0..files.len());
    // What the first left alone may go now: sums that were too precise together with other files.
    assert!(again.files_folded <= first.left_alone.len(), "folded twice: {again:?}");
    assert_same(&before, &directory.samples());
});
