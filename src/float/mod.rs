//! Numbers exactly: sums without loss, and f64 as text.

pub mod sum;
pub mod text;
