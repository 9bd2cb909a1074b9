//! Families to text: the Prometheus text format and `OpenMetrics`, byte for byte as
//! `prometheus_client` writes them.
//!
//! `exposition` writes families; `escaping` is how names, help texts and label values are written;
//! `gzip` compresses the text.

mod escaping;
mod exposition;
mod gzip;

pub use escaping::Escaping;
pub use exposition::{Format, directory_text, merged_text, text};
pub use gzip::gzip;
