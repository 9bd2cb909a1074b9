//! What the bytes of a metrics file, its keys and its name mean, as `docs/format.md` describes it.
//!
//! No I/O: functions take bytes or text and give values, or the other way round. All bytes are
//! taken for untrusted: what cannot be right is a value of `Damage`, never a panic.

mod damage;
mod entry;
pub(crate) mod exemplar;
mod file_name;
mod key;
mod plain_key;

pub(crate) use damage::{Damage, Damaged};
#[cfg(test)]
pub(crate) use entry::testing;
pub(crate) use entry::{
    Entry, HEADER_SIZE, INITIAL_SIZE, MAGIC_ARCHIVE, MAGIC_STOCK, MAGIC_WRITER, Parsed,
    TIMESTAMP_SIZE, VALUE_SIZE, entry_head, entry_size, head_of_parts, header_word, key_of_head,
    parse_entry, parse_magic, parse_used,
};
pub(crate) use file_name::{
    ARCHIVE_PID, FileName, archive as archive_name, file as metrics_file_name,
    gauge_file as gauge_file_name, has_archive_name, kind_of as kind_of_prefix,
    number_of as number_of_file, prefix_of as prefix_of_kind, temporary as temporary_name,
};
#[cfg(feature = "python")]
pub(crate) use key::write_noting_bound as write_key_noting_bound;
pub(crate) use key::{BOUND_LABEL, Key, Label, PID_LABEL, parse_bound, write as write_key};
pub(crate) use plain_key::{Iter as PlainLabelsIter, PlainKey, PlainLabels, unescaped};
