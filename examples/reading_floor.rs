//! The floor under every scrape: reading each used byte of a directory, and nothing else.
//!
//! `reading_floor DIRECTORY [RUNS]` reads all `*.db` files by name into one buffer and prints
//! the seconds that the fastest of RUNS took, the listing included.

#![allow(clippy::print_stdout, reason = "the number is what the program is for")]

#[path = "../benches/floor/mod.rs"]
mod floor;

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let Some(directory) = arguments.next() else {
        return Err("usage: reading_floor DIRECTORY [RUNS]".into());
    };
    let runs: u32 = match arguments.next() {
        Some(runs) => runs.to_string_lossy().parse()?,
        None => 10,
    };

    let mut buffer = Vec::new();
    let mut fastest = Duration::MAX;
    for _ in 0..runs {
        let start = Instant::now();
        floor::read_directory(Path::new(&directory), &mut buffer)?;
        fastest = fastest.min(start.elapsed());
    }
    println!("{:.9}", fastest.as_secs_f64());
    Ok(())
}
