//! Directory to text in Rust alone, beside the reading floor.
//!
//! `make bench` measures the same through Python, on files written by `prometheus_client`; this
//! one shows what a change in the core costs without building the Python module.

#![allow(missing_docs, reason = "the macros of criterion make undocumented functions")]
#![allow(clippy::expect_used, reason = "a benchmark without its files measures nothing")]

mod floor;

use std::fs::File;
use std::io::Write;
use std::path::Path;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use multiprom::scrape::{ExponentStyle, Merge, MergeOptions, SampleOrder};
use multiprom::text::{Escaping, Format, text};
use tempfile::TempDir;

/// The upper bounds of `prometheus_client`'s default buckets.
const BUCKETS: [&str; 15] = [
    "0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1.0", "2.5", "5.0",
    "7.5", "10.0", "+Inf",
];

/// A directory as `benches/scrape_directories.py` has it: one name, so many processes, and in
/// each of them so many counters, as many histograms, and so many gauges of two modes.
struct Size {
    name: &'static str,
    processes: u32,
    series: u32,
    gauges: u32,
}

const SIZES: [Size; 2] = [
    Size { name: "S", processes: 8, series: 50, gauges: 10 },
    Size { name: "M", processes: 64, series: 200, gauges: 20 },
];

criterion_group!(benches, scrape);
criterion_main!(benches);

fn scrape(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scrape");
    for size in &SIZES {
        let directory = write_directory(size);
        let path = directory.path();
        let mut buffer = Vec::new();

        group.throughput(Throughput::Bytes(read_floor(path, &mut buffer)));
        group.bench_function(BenchmarkId::new("directory to text", size.name), |bencher| {
            bencher.iter(|| directory_to_text(path));
        });
        group.bench_function(BenchmarkId::new("reading floor", size.name), |bencher| {
            bencher.iter(|| read_floor(path, &mut buffer));
        });
    }
    group.finish();
}

/// What one scrape does: lists, reads, merges and prints.
fn directory_to_text(directory: &Path) -> String {
    let options = MergeOptions {
        accumulate: true,
        order: SampleOrder::Grouped,
        exponents: ExponentStyle::TwoDigits,
    };
    let merge = Merge::of_directory(directory).expect("the directory is ours");
    let merge = merge.parse(options).expect("its files are there");
    let families = merge.families(&mut Vec::new()).expect("its files are there");
    text(&families, Format::Prometheus, Escaping::Underscores, options.exponents)
}

/// Reads every used byte, and returns how many there are.
fn read_floor(directory: &Path, buffer: &mut Vec<u8>) -> u64 {
    floor::read_directory(directory, buffer).expect("the directory is ours") as u64
}

/// Writes a directory of the given size.
fn write_directory(size: &Size) -> TempDir {
    let directory = TempDir::new().expect("a temporary directory can be made");
    for process in 0..size.processes {
        let value = f64::from(process);
        let timestamp = 1.0 + value;

        let mut counters = Image::new();
        let mut histograms = Image::new();
        let mut in_flight = Image::new();
        let mut queues = Image::new();
        for index in 0..size.series {
            let labels = labels(index);
            let family = index / 10;
            counters.push(
                &format!(
                    r#"["shop_requests_{family}", "shop_requests_{family}_total", {{{labels}}}, "Requests that shop_requests_{family} has answered."]"#
                ),
                value,
                0.0,
            );
            let name = format!("shop_latency_{family}_seconds");
            let help = format!("Seconds that shop_latency_{family} took to answer.");
            histograms.push(
                &format!(r#"["{name}", "{name}_sum", {{{labels}}}, "{help}"]"#),
                value,
                0.0,
            );
            for bucket in BUCKETS {
                let key = format!(
                    r#"["{name}", "{name}_bucket", {{{}, "le": "{bucket}", {}}}, "{help}"]"#,
                    endpoint(index),
                    method(index)
                );
                histograms.push(&key, value, 0.0);
            }
        }
        for index in 0..size.gauges {
            let labels = labels(index);
            let family = index / 10;
            for (image, name) in [(&mut in_flight, "in_flight"), (&mut queues, "queue_length")] {
                let name = format!("shop_{name}_{family}");
                let key = format!(r#"["{name}", "{name}", {{{labels}}}, "What {name} is now."]"#);
                image.push(&key, value, timestamp);
            }
        }

        let pid = 1000 + process;
        counters.write(directory.path(), &format!("counter_{pid}.db"));
        histograms.write(directory.path(), &format!("histogram_{pid}.db"));
        in_flight.write(directory.path(), &format!("gauge_livesum_{pid}.db"));
        queues.write(directory.path(), &format!("gauge_mostrecent_{pid}.db"));
    }
    directory
}

fn labels(index: u32) -> String {
    format!("{}, {}", endpoint(index), method(index))
}

fn endpoint(index: u32) -> String {
    format!(r#""endpoint": "/api/v1/orders/{}""#, index % 10 / 2)
}

fn method(index: u32) -> String {
    let method = if index.is_multiple_of(2) { "GET" } else { "POST" };
    format!(r#""method": "{method}""#)
}

/// The bytes of one file.
struct Image(Vec<u8>);

impl Image {
    fn new() -> Self {
        Self(vec![0; 8])
    }

    fn push(&mut self, key: &str, value: f64, timestamp: f64) {
        let length = i32::try_from(key.len()).expect("the keys here are short");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(key.as_bytes());
        let padding = 8 - (key.len() + 4) % 8;
        self.0.extend_from_slice(&[b' '; 8][..padding]);
        self.0.extend_from_slice(&value.to_ne_bytes());
        self.0.extend_from_slice(&timestamp.to_ne_bytes());
    }

    fn write(mut self, directory: &Path, name: &str) {
        let used = i32::try_from(self.0.len()).expect("the files here are small");
        self.0[..4].copy_from_slice(&used.to_ne_bytes());
        let mut size = floor::FIRST_READ;
        while size < self.0.len() {
            size *= 2;
        }
        self.0.resize(size, 0);
        let mut file = File::create(directory.join(name)).expect("the directory is ours");
        // Page by page, as a mapping is written: the page cache of a file written at once is in
        // larger pieces, which makes reading it twice as fast.
        for page in self.0.chunks(4096) {
            file.write_all(page).expect("the temporary directory has room");
        }
    }
}
