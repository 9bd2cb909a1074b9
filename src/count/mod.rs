//! What an application counts in: values, each one cell of a memory-mapped file.
//!
//! `value` is what the binding uses. `state` is the table of all classes and files of this process,
//! behind one lock, and what a fork does to it. A `class` is what is counted under one process
//! identifier: for each `kind` of file a table of `series`, which are attached to cells of `files`, each
//! with one `writer` and an `index` of its entries, and `exemplars` beside it. `open` says how a file
//! comes to be this process's own, and `rewriting` how it gets rid of series that were withdrawn. A
//! `statement` is an `Info` or an `Enum`, a `notice` is what the log is told, and `unwritten_files` is
//! what no file holds at the moment.

mod class;
mod exemplars;
mod files;
mod index;
mod kind;
mod notice;
mod open;
mod rewriting;
mod series;
mod state;
mod statement;
mod unwritten_files;
mod value;
mod writer;

#[cfg(test)]
mod tests;

pub use notice::Notice;
pub use rewriting::rewrite;
pub use state::{
    News, ensure_memory, has_notices, mark_self_dead, open_files, take_notices, warn_later,
    write_unwritten,
};
pub use statement::Statement;
pub use unwritten_files::unwritten;
pub use value::{Caller, Head, KeptExemplar, Operation, Value, ValueClass, head_of};

#[cfg(test)]
pub(crate) use {
    open::{CONTINUING, Opened, open as open_file},
    writer::Writer,
};
