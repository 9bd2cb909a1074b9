//! Numbers without loss: sums of f64 that are rounded once, and f64 as the text formats write them.
//!
//! Nothing here knows of metrics. Prometheus takes any fall of a counter for a restart, so a sum
//! must not depend on the order and the grouping of its addends: `sum` has a quick type that says
//! when it lost bits, and an exact one.

mod sum;
mod text;

pub(crate) use sum::{DoubleDouble, ExactSum, Sum};
pub use text::ExponentStyle;
pub(crate) use text::{float_to_string, write_float};
