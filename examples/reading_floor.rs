//! The floor under every scrape: reading each used byte of a directory, and nothing else.
//!
//! `reading_floor DIRECTORY [RUNS]` reads all `*.db` files by name into one buffer and prints
//! the seconds that the fastest of RUNS took, the listing included.

#![allow(clippy::print_stdout, reason = "the number is what the program is for")]

use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The size that prometheus_client gives a new file: one read takes a small file whole.
const FIRST_READ: usize = 64 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let Some(directory) = arguments.next() else {
        return Err("usage: reading_floor DIRECTORY [RUNS]".into());
    };
    let runs: u32 = match arguments.next() {
        Some(runs) => runs.to_string_lossy().parse()?,
        None => 10,
    };

    let mut buffer = vec![0; FIRST_READ];
    let mut fastest = Duration::MAX;
    for _ in 0..runs {
        let start = Instant::now();
        read_directory(Path::new(&directory), &mut buffer)?;
        fastest = fastest.min(start.elapsed());
    }
    println!("{:.9}", fastest.as_secs_f64());
    Ok(())
}

/// Reads the used bytes of each `*.db` file of `directory`.
fn read_directory(directory: &Path, buffer: &mut Vec<u8>) -> Result<(), Box<dyn Error>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "db") {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    for path in paths {
        read_used_bytes(&path, buffer)?;
    }
    Ok(())
}

/// Reads the used bytes of one file into the head of `buffer`.
fn read_used_bytes(path: &Path, buffer: &mut Vec<u8>) -> Result<(), Box<dyn Error>> {
    let file = File::open(path)?;
    let first = file.read_at(&mut buffer[..FIRST_READ], 0)?;
    let Some(header) = buffer[..first].first_chunk::<4>() else {
        return Ok(());
    };
    let used = usize::try_from(i32::from_ne_bytes(*header))?;
    if used > first {
        if used > buffer.len() {
            buffer.resize(used, 0);
        }
        file.read_exact_at(&mut buffer[first..used], first as u64)?;
    }
    std::hint::black_box(&buffer[..used]);
    Ok(())
}
