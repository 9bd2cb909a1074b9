//! What the kernel says of a process: its share of processors, memory and descriptors.
//!
//! Read from `/proc` by whoever asks, so that it costs the process itself nothing.

use crate::store::Occupant;

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Processor time in seconds, of the user and the system; none where the kernel does not tell.
    pub cpu_seconds: Option<f64>,
    /// Memory that is in RAM, in bytes.
    pub resident_bytes: u64,
    /// Memory that is mapped, in bytes.
    pub virtual_bytes: u64,
    /// When it started: Unix time in seconds.
    pub start_time: f64,
    /// Its threads.
    pub threads: u64,
    /// Its open descriptors; none where only its user may count them, which is before Linux 6.2.
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
    use std::fs::{self, File, Metadata};
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    use once_cell::race::OnceBox;

    use super::Usage;
    use crate::store::Occupant;
    use crate::sys::ProcessLocal;
    use crate::sys::process::{clock_ticks_per_second, open_files_max, processor_seconds};

    /// More than a text of a process in `/proc` has, also with thousands of processors, unless its user
    /// is in hundreds of groups.
    const TEXT_SIZE: usize = 8 << 10;

    /// When the machine was started, in seconds of Unix time. Once: `/proc/stat` is long.
    static BOOT_TIME: OnceBox<u64> = OnceBox::new();

    /// Processes whose start was read: of each the pid, the start, and the inode of its directory
    /// `/proc/{pid}/fd`. The kernel gives each process new inodes there, so that a process with the same
    /// inode is the same process, and its long `stat` is not read again.
    static KNOWN: ProcessLocal<Vec<(u32, u64, u64)>> = ProcessLocal::new(|_| Vec::new());
    /// With so many it begins anew: most have died.
    const KNOWN_MAX: usize = 1 << 10;

    pub(super) fn of(occupant: &Occupant) -> Option<Usage> {
        let pid = i32::try_from(occupant.pid).ok()?;
        let process = format!("/proc/{pid}");
        let mut buffer = vec![0; TEXT_SIZE];
        let status = read(&format!("{process}/status"), &mut buffer)?;
        let [size, resident, threads, voluntary_switches, involuntary_switches] = numbers(
            status,
            [
                b"\nVmSize:",
                b"\nVmRSS:",
                b"\nThreads:",
                b"\nvoluntary_ctxt_switches:",
                b"\nnonvoluntary_ctxt_switches:",
            ],
        );
        let cpu_seconds = processor_seconds(pid);
        let max_descriptors = open_files_max(pid);
        let descriptors = format!("{process}/fd");
        // Read last: if the process with this start lives now, all of the above was its own.
        let directory = fs::metadata(&descriptors).ok()?;
        let known = (occupant.pid, occupant.start, directory.ino());
        if !KNOWN.lock().contains(&known) {
            let stat = read(&format!("{process}/stat"), &mut buffer)?;
            // Another process may have the pid here, if the slot is of another pid namespace.
            if start(stat)? != occupant.start {
                return None;
            }
            let mut all = KNOWN.lock();
            if all.len() == KNOWN_MAX {
                all.clear();
            }
            all.push(known);
        }
        #[allow(clippy::cast_precision_loss)] // Ticks and seconds are far below 2^53.
        let start = occupant.start as f64 / clock_ticks_per_second() as f64;
        #[allow(clippy::cast_precision_loss)]
        let boot_time = *BOOT_TIME.get_or_init(|| {
            let [boot_time] = numbers(&fs::read("/proc/stat").unwrap_or_default(), [b"\nbtime"]);
            Box::new(boot_time)
        }) as f64;
        Some(Usage {
            cpu_seconds,
            resident_bytes: resident << 10,
            virtual_bytes: size << 10,
            start_time: boot_time + start,
            threads,
            open_descriptors: count_entries(&descriptors, &directory),
            max_descriptors,
            voluntary_switches,
            involuntary_switches,
        })
    }

    /// When a process has started, in clock ticks since the boot: see `man 5 proc_pid_stat`.
    fn start(stat: &[u8]) -> Option<u64> {
        // `pid (name) state …`: the 22nd field. The name may hold blanks and parentheses.
        let end = memchr::memrchr(b')', stat)?;
        let fields = std::str::from_utf8(&stat[end + 1..]).ok()?;
        fields.split_ascii_whitespace().nth(19)?.parse().ok()
    }

    /// Reads a text of `/proc`: the kernel makes all of it for one `read`, if the buffer has room.
    fn read<'a>(path: &str, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        let mut file = File::open(path).ok()?;
        let mut size = file.read(buffer).ok()?;
        if size == buffer.len() {
            size += file.read_to_end(buffer).ok()?;
        }
        Some(&buffer[..size])
    }

    /// How many entries a directory of descriptors has; none where only its user may count them.
    fn count_entries(path: &str, directory: &Metadata) -> Option<u64> {
        // Linux tells it as the size since 6.2.
        match directory.len() {
            0 => Some(fs::read_dir(path).ok()?.count() as u64),
            size => Some(size),
        }
    }

    /// The numbers behind these names, which a text has in this order; 0 for one that is missing.
    fn numbers<const N: usize>(mut text: &[u8], names: [&[u8]; N]) -> [u64; N] {
        names.map(|name| {
            let Some(place) = memchr::memmem::find(text, name) else { return 0 };
            text = &text[place + name.len()..];
            let digits = text.trim_ascii_start();
            let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
            std::str::from_utf8(&digits[..end]).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::store::Role;

        #[test]
        fn numbers_of_a_status() {
            let status = b"Name:\tvoluntary_ctxt_switches: 7\nvoluntary_ctxt_switches:\t15\n\
                nonvoluntary_ctxt_switches:\t3";
            let names: [&[u8]; 3] =
                [b"\nvoluntary_ctxt_switches:", b"\nThreads:", b"\nnonvoluntary_ctxt_switches:"];
            assert_eq!(numbers(status, names), [15, 0, 3]);
        }

        #[test]
        fn the_start_behind_any_name() {
            let text = b"7 (a) b ) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 6 7 20 0 3 0 999 4096 12 8";
            assert_eq!(start(text), Some(999));
            assert!(start(&text[..40]).is_none() && start(b"").is_none());
        }

        #[test]
        fn a_text_is_read_to_its_end() {
            let path = "/proc/self/status";
            let longer = fs::read(path).unwrap().len() + 100;
            for size in [1, longer] {
                let mut buffer = vec![0; size];
                let text = read(path, &mut buffer).unwrap();
                assert!(text.starts_with(b"Name:") && text.ends_with(b"\n"));
                assert_ne!(numbers(text, [b"\nvoluntary_ctxt_switches:"]), [0]);
            }
        }

        #[test]
        fn entries_are_counted_where_the_size_does_not_tell() {
            let path = "/proc/self/ns";
            let directory = fs::metadata(path).unwrap();
            assert_eq!(directory.len(), 0);
            let count = fs::read_dir(path).unwrap().count() as u64;
            assert_eq!(count_entries(path, &directory), Some(count));
            assert_eq!(count_entries("/proc/self/gone", &directory), None);
        }

        #[test]
        fn only_the_process_that_the_slot_names_is_seen() {
            let own = Occupant::this_process("x", Role::Worker);
            let first = super::super::of(&own).unwrap();
            let usage = super::super::of(&own).unwrap();
            assert!(usage.cpu_seconds >= first.cpu_seconds && first.cpu_seconds > Some(0.0));
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
