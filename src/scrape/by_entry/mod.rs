//! Merging entry by entry, where only the order of entries gives `prometheus_client`'s result.

pub(crate) mod merge;
pub(crate) mod read;
