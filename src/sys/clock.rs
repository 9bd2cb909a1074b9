//! The clock by which processes of one machine tell what came first.

use rustix::time::{ClockId, clock_gettime};

/// Seconds since the machine's start, the same for all processes: nobody sets this clock. It begins
/// anew when the machine does.
pub(crate) fn monotonic_time() -> f64 {
    let now = clock_gettime(ClockId::Monotonic);
    // CAST: exact to a microsecond for centuries.
    #[allow(clippy::cast_precision_loss)]
    let seconds = now.tv_sec as f64 + now.tv_nsec as f64 / 1e9;
    seconds
}
