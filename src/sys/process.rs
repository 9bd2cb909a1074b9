//! Whether a process exists, what it has open and how many files it may open, and the units in which the
//! kernel counts.

#[cfg(target_os = "linux")]
use std::fs;
#[cfg(target_os = "linux")]
use std::path::PathBuf;

/// Whether there is a process with this pid, of any user.
#[must_use]
#[allow(unsafe_code)] // `kill` is a foreign function.
pub(crate) fn exists(pid: i32) -> bool {
    // SAFETY: signal 0 is sent to nobody: the kernel checks whether it could be.
    let result = unsafe { libc::kill(pid, 0) };
    // Another user's process exists, too: that is EPERM.
    result == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// What the descriptors of a process refer to: paths of files, and texts such as `socket:[4711]`. There
/// are none where only its user may ask.
#[cfg(target_os = "linux")]
pub(crate) fn descriptors(pid: u32) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries.filter_map(|entry| fs::read_link(entry.path()).ok())
}

/// How many descriptors the process may have open; none where only its user may ask.
#[cfg(target_os = "linux")]
#[must_use]
#[allow(unsafe_code)] // `prlimit` is a foreign function.
#[allow(clippy::useless_conversion)] // Where a machine word has 32 bits, the limit has them, too.
pub(crate) fn open_files_max(pid: i32) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: without a new limit (a null pointer) the kernel sets none, and `limit` is a live place
    // for the present one.
    let result =
        unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limit) };
    (result == 0).then_some(u64::from(limit.rlim_cur))
}

/// How long a process has had processors, in seconds: in user mode and in system mode, all threads, also
/// those that have ended.
#[cfg(target_os = "linux")]
#[must_use]
#[allow(unsafe_code)] // `clock_getcpuclockid` and `clock_gettime` are foreign functions.
pub(crate) fn processor_seconds(pid: i32) -> Option<f64> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: each call writes to one live place, and a clock that is none is refused.
    let succeeds = unsafe {
        libc::clock_getcpuclockid(pid, &raw mut clock) == 0
            && libc::clock_gettime(clock, &raw mut time) == 0
    };
    #[allow(clippy::cast_precision_loss)] // Far below 2^53.
    succeeds.then(|| time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

/// How many clock ticks a second has, in which `/proc` counts times.
#[cfg(target_os = "linux")]
#[must_use]
pub(crate) fn clock_ticks_per_second() -> u64 {
    constant(libc::_SC_CLK_TCK)
}

/// A constant of the system, which is at least 1.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)] // `sysconf` is a foreign function.
fn constant(name: libc::c_int) -> u64 {
    // SAFETY: it takes a number and touches no memory of ours; an unknown name gives -1.
    let value = unsafe { libc::sysconf(name) };
    u64::try_from(value).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn units_of_the_kernel() {
        assert!((50..=10_000).contains(&clock_ticks_per_second()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn processors_are_used_until_a_process_is_reaped() {
        let mut child =
            std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let seconds = || processor_seconds(pid);
        let before = seconds().unwrap();
        while seconds().unwrap() < before + 0.02 {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(seconds(), None);
    }

    #[test]
    fn a_process_exists_until_it_is_reaped() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(exists(pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!exists(pid));
        assert!(exists(1), "another user's process");
    }
}
