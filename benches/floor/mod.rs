//! Reading each used byte of a directory and nothing else: no scrape can be faster.
//!
//! Shared by the benchmark of the core and by `examples/reading_floor.rs`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The size that `prometheus_client` gives a new file: one read takes a small file whole.
pub(crate) const FIRST_READ: usize = 64 * 1024;

/// Reads the used bytes of each `*.db` file by name into `buffer`, and returns their number.
pub(crate) fn read_directory(directory: &Path, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "db") {
            paths.push(path);
        }
    }
    paths.sort_unstable();

    let mut total = 0;
    for path in paths {
        total += read_used_bytes(&path, buffer)?;
    }
    Ok(total)
}

/// Reads the used bytes of one file into the head of `buffer`.
fn read_used_bytes(path: &Path, buffer: &mut Vec<u8>) -> io::Result<usize> {
    if buffer.len() < FIRST_READ {
        buffer.resize(FIRST_READ, 0);
    }
    let file = File::open(path)?;
    let first = file.read_at(&mut buffer[..FIRST_READ], 0)?;
    let Some(header) = buffer[..first].first_chunk::<4>() else {
        return Ok(0);
    };
    let used = usize::try_from(i32::from_ne_bytes(*header)).map_err(io::Error::other)?;
    if used > first {
        if used > buffer.len() {
            buffer.resize(used, 0);
        }
        file.read_exact_at(&mut buffer[first..used], first as u64)?;
    }
    std::hint::black_box(&buffer[..used]);
    Ok(used)
}
