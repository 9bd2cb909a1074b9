//! What the bytes of a metrics file, its keys and its name mean, as `docs/format.md` describes it.
//!
//! No I/O: functions take bytes or text and give values, or the other way round. All bytes are
//! taken for untrusted: what cannot be right is a value of `Damage`, never a panic.

mod entry;
pub(crate) mod file_name;
pub(crate) mod key;

#[cfg(test)]
pub(crate) use entry::testing;
#[allow(unused_imports)]
pub(crate) use entry::{
    ALIGNMENT, Entry, HEADER_PADDING_SIZE, HEADER_SIZE, INITIAL_SIZE, KEY_LENGTH_MAX,
    KEY_LENGTH_SIZE, MAGIC_ARCHIVE, MAGIC_STOCK, MAGIC_WRITER, Parsed, TIMESTAMP_SIZE, USED_SIZE,
    VALUE_SIZE, entry_head, entry_size, header_word, parse_entry, parse_magic, parse_used,
};
#[allow(unused_imports)]
pub(crate) use file_name::{
    ARCHIVE_PID, FileName, archive as archive_name, file as file_name,
    gauge_file as gauge_file_name, kind_of as kind_of_prefix, temporary as temporary_name,
};
#[allow(unused_imports)]
pub(crate) use key::{BOUND_LABEL, Key, Label, PID_LABEL, write as write_key};
