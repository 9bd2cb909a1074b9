//! What the kernel says of a process: its share of processors, memory and descriptors.
//!
//! Read from `/proc` by whoever asks, so that it costs the process itself nothing.

use crate::store::Occupant;

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Processor time in seconds, of the user and the system.
    pub cpu_seconds: f64,
    /// Memory that is in RAM, in bytes.
    pub resident_bytes: u64,
    /// Memory that is mapped, in bytes.
    pub virtual_bytes: u64,
    /// When it started: Unix time in seconds.
    pub start_time: f64,
    /// Its threads.
    pub threads: u64,
    /// Its open descriptors; none where only its user may count them.
    pub open_descriptors: Option<u64>,
    /// How many descriptors it may have open; none where only its user may ask.
    pub max_descriptors: Option<u64>,
    /// How often it gave up a processor, to wait.
    pub voluntary_switches: u64,
    /// How often a processor was taken from it.
    pub involuntary_switches: u64,
}

/// What this process uses; none if it is not visible here, such as in another pid namespace.
#[cfg(target_os = "linux")]
pub(crate) fn of(process: &Occupant) -> Option<Usage> {
    linux::of(process).ok().flatten()
}

/// No other system has `/proc` as Linux has it.
#[cfg(not(target_os = "linux"))]
pub(crate) fn of(_process: &Occupant) -> Option<Usage> {
    None
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::Read;
    use std::sync::LazyLock;

    use procfs::ProcResult;
    use procfs::process::Process;

    use super::Usage;
    use crate::store::Occupant;
    use crate::sys::process::open_files_max;

    /// More than `/proc/{pid}/status` has, also with thousands of processors.
    const STATUS_SIZE: usize = 16 << 10;

    /// When the machine was started, in seconds of Unix time. Once: `/proc/stat` is long.
    static BOOT_TIME: LazyLock<Option<u64>> = LazyLock::new(|| procfs::boot_time_secs().ok());

    pub(super) fn of(occupant: &Occupant) -> ProcResult<Option<Usage>> {
        let Ok(pid) = i32::try_from(occupant.pid) else { return Ok(None) };
        let process = Process::new(pid)?;
        let stat = process.stat()?;
        // Another process may have the pid here, if the slot is of another pid namespace.
        if stat.starttime != occupant.start {
            return Ok(None);
        }
        let mut status = [0; STATUS_SIZE];
        // The kernel makes all of it for one `read`.
        let size = process.open_relative("status")?.read(&mut status)?;
        let status = &status[..size];
        let seconds = |ticks: u64| {
            #[allow(clippy::cast_precision_loss)] // Ticks are far below 2^53.
            let seconds = ticks as f64 / procfs::ticks_per_second() as f64;
            seconds
        };
        #[allow(clippy::cast_precision_loss)] // Seconds are, too.
        let boot_time = BOOT_TIME.map_or(0.0, |seconds| seconds as f64);
        Ok(Some(Usage {
            cpu_seconds: seconds(stat.utime + stat.stime),
            resident_bytes: stat.rss * procfs::page_size(),
            virtual_bytes: stat.vsize,
            start_time: boot_time + seconds(stat.starttime),
            threads: u64::try_from(stat.num_threads).unwrap_or_default(),
            open_descriptors: process.fd_count().ok().map(|count| count as u64),
            max_descriptors: open_files_max(pid),
            voluntary_switches: number(status, b"\nvoluntary_ctxt_switches:"),
            involuntary_switches: number(status, b"\nnonvoluntary_ctxt_switches:"),
        }))
    }

    /// The number behind `name` in the text of a status.
    fn number(status: &[u8], name: &[u8]) -> u64 {
        let rest = memchr::memmem::find(status, name).map(|place| &status[place + name.len()..]);
        let digits = rest.unwrap_or_default().trim_ascii_start();
        let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
        std::str::from_utf8(&digits[..end]).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::store::Role;

        #[test]
        fn numbers_of_a_status() {
            let status = b"Name:\tvoluntary_ctxt_switches: 7\nvoluntary_ctxt_switches:\t15\n\
                nonvoluntary_ctxt_switches:\t3";
            assert_eq!(number(status, b"\nvoluntary_ctxt_switches:"), 15);
            assert_eq!(number(status, b"\nnonvoluntary_ctxt_switches:"), 3);
            assert_eq!(number(status, b"\nThreads:"), 0);
        }

        #[test]
        fn only_the_process_that_the_slot_names_is_seen() {
            let own = Occupant::this_process("x", Role::Worker);
            let usage = super::super::of(&own).unwrap();
            assert!(usage.threads >= 1 && usage.resident_bytes <= usage.virtual_bytes);
            assert!(usage.open_descriptors.unwrap() <= usage.max_descriptors.unwrap());
            assert!(usage.voluntary_switches > 0 && usage.start_time > 1e9);
            let other = Occupant { start: own.start + 1, ..own.clone() };
            assert_eq!(super::super::of(&other), None, "another process has the pid here");
            let gone = Occupant { pid: u32::MAX, ..own };
            assert_eq!(super::super::of(&gone), None);
        }
    }
}
