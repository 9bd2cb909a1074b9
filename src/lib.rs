//! Prometheus metrics of many processes, merged from the files that they share.
//!
//! The modules are floors: each imports only from its own floor and those below, and never in a
//! circle.
//!
//! | floor | modules | what lives there |
//! | --- | --- | --- |
//! | 0 | `error`, `metric` | what can go wrong; types, modes and rules |
//! | 1 | `format`, `key`, `filename`, `number`, `sum`, `escaping` | pure bytes and text |
//! | 2 | `reader`, `left_out`, `directory`, `journal`, `archive`, `lock`, `snapshot`, `gate`, `mapping`, `writer`, `opening` | one file, one directory |
//! | 3 | `notice`, `files`, `series`, `worker`, `values` | what an application counts in |
//! | 3 | `family`, `histogram`, `key_index`, `column`, `table`, `scan`, `unmerged`, `replay`, `draft`, `merge` | many files to one set of families |
//! | 3 | `fold`, `disk`, `dead`, `compaction_run`, `kind_compaction`, `compaction`, `leftovers` | dead files to one archive |
//! | 4 | `exposition` | families to text |
//! | 5 | `python` | the binding, with the `python` feature |
//!
//! Without the `python` feature this is plain Rust.

#[cfg(not(unix))]
compile_error!("multiprom runs on Linux and macOS: it needs POSIX files");

mod archive;
mod column;
pub mod compaction;
#[cfg(test)]
mod compaction_crash_tests;
#[cfg(test)]
mod compaction_race_tests;
mod compaction_run;
#[cfg(test)]
mod compaction_testing;
#[cfg(test)]
mod compaction_tests;
mod dead;
pub mod directory;
mod disk;
mod draft;
pub mod error;
pub mod escaping;
pub mod exposition;
pub mod family;
mod filename;
mod files;
mod fold;
mod format;
mod gate;
mod histogram;
mod journal;
mod key;
mod key_index;
mod kind_compaction;
pub mod left_out;
pub mod leftovers;
mod lock;
mod mapping;
pub mod merge;
pub mod metric;
pub mod notice;
mod number;
mod opening;
#[cfg(feature = "python")]
mod python;
mod reader;
mod replay;
mod scan;
mod series;
mod snapshot;
mod sum;
mod table;
mod unmerged;
pub mod values;
#[cfg(test)]
mod values_tests;
mod worker;
mod writer;
