//! What an application counts in.

pub(crate) mod class;
pub(crate) mod files;
pub mod notice;
pub(crate) mod open;
pub(crate) mod series;
pub mod values;
pub(crate) mod writer;

#[cfg(test)]
mod tests;
