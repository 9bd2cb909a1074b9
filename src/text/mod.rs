//! Families to Prometheus text and `OpenMetrics`.

pub mod escaping;
pub mod exposition;
