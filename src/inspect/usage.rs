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
    linux::of(process)
}

/// No other system has `/proc` as Linux has it.
#[cfg(not(target_os = "linux"))]
pub(crate) fn of(_process: &Occupant) -> Option<Usage> {
    None
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::{self, File};
    use std::io::Read;
    use std::path::Path;

    use once_cell::race::OnceBox;

    use super::Usage;
    use crate::store::Occupant;
    use crate::sys::process::{clock_ticks_per_second, open_files_max, page_size};

    /// More than `/proc/{pid}/status` has, also with thousands of processors.
    const TEXT_MAX: usize = 16 << 10;

    /// When the machine was started, in seconds of Unix time. Once: `/proc/stat` is long.
    static BOOT_TIME: OnceBox<u64> = OnceBox::new();

    pub(super) fn of(occupant: &Occupant) -> Option<Usage> {
        let pid = i32::try_from(occupant.pid).ok()?;
        let process = format!("/proc/{pid}");
        let mut buffer = [0; TEXT_MAX];
        let status = read(&format!("{process}/status"), &mut buffer)?;
        let voluntary_switches = number(status, b"\nvoluntary_ctxt_switches:");
        let involuntary_switches = number(status, b"\nnonvoluntary_ctxt_switches:");
        let open_descriptors = count_entries(format!("{process}/fd"));
        let max_descriptors = open_files_max(pid);
        // Read last: if the process with this start lives now, all of the above was its own.
        let stat = Stat::parse(read(&format!("{process}/stat"), &mut buffer)?)?;
        // Another process may have the pid here, if the slot is of another pid namespace.
        if stat.start != occupant.start {
            return None;
        }
        #[allow(clippy::cast_precision_loss)] // Ticks and seconds are far below 2^53.
        let seconds = |ticks: u64| ticks as f64 / clock_ticks_per_second() as f64;
        #[allow(clippy::cast_precision_loss)]
        let boot_time = *BOOT_TIME.get_or_init(|| {
            Box::new(number(&fs::read("/proc/stat").unwrap_or_default(), b"\nbtime"))
        }) as f64;
        Some(Usage {
            cpu_seconds: seconds(stat.cpu),
            resident_bytes: stat.resident_pages * page_size(),
            virtual_bytes: stat.virtual_bytes,
            start_time: boot_time + seconds(stat.start),
            threads: stat.threads,
            open_descriptors,
            max_descriptors,
            voluntary_switches,
            involuntary_switches,
        })
    }

    /// What is used of `/proc/{pid}/stat`: see `man 5 proc_pid_stat`.
    struct Stat {
        /// Of the user and the system, in clock ticks.
        cpu: u64,
        threads: u64,
        /// Clock ticks since the boot.
        start: u64,
        virtual_bytes: u64,
        resident_pages: u64,
    }

    impl Stat {
        fn parse(text: &[u8]) -> Option<Self> {
            // `pid (name) state …`: the name may hold blanks and parentheses.
            let end = memchr::memrchr(b')', text)?;
            let text = std::str::from_utf8(&text[end + 1..]).ok()?;
            let fields: Vec<_> = text.split_ascii_whitespace().collect();
            // The manual numbers the fields from 1, and the state is the third.
            let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
            Some(Self {
                cpu: field(14)? + field(15)?,
                threads: field(20)?,
                start: field(22)?,
                virtual_bytes: field(23)?,
                resident_pages: field(24)?,
            })
        }
    }

    /// Reads a text of `/proc`: the kernel makes all of it for one `read`.
    fn read<'a>(path: &str, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        let size = File::open(path).ok()?.read(buffer).ok()?;
        Some(&buffer[..size])
    }

    /// How many entries a directory of descriptors has; none where only its user may count them.
    fn count_entries(path: impl AsRef<Path>) -> Option<u64> {
        // Linux tells it as the size since 6.2.
        match fs::metadata(&path).ok()?.len() {
            0 => Some(fs::read_dir(path).ok()?.count() as u64),
            size => Some(size),
        }
    }

    /// The number behind `name` in the text of a status.
    fn number(text: &[u8], name: &[u8]) -> u64 {
        let rest = memchr::memmem::find(text, name).map(|place| &text[place + name.len()..]);
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
        fn fields_of_a_stat_behind_any_name() {
            let text = b"7 (a) b ) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 6 7 20 0 3 0 999 4096 12 8";
            let stat = Stat::parse(text).unwrap();
            assert_eq!((stat.cpu, stat.threads, stat.start), (300, 3, 999));
            assert_eq!((stat.virtual_bytes, stat.resident_pages), (4096, 12));
            assert!(Stat::parse(&text[..40]).is_none() && Stat::parse(b"").is_none());
        }

        #[test]
        fn entries_are_counted_where_the_size_does_not_tell() {
            assert_eq!(
                count_entries("/proc/self/ns"),
                Some(fs::read_dir("/proc/self/ns").unwrap().count() as u64)
            );
            assert_eq!(count_entries("/proc/self/gone"), None);
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
