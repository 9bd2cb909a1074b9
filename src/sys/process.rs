//! Whether a process exists, and how many files it may open.

/// Whether there is a process with this pid, of any user.
#[must_use]
#[allow(unsafe_code)] // `kill` is a foreign function.
pub(crate) fn exists(pid: i32) -> bool {
    // SAFETY: signal 0 is sent to nobody: the kernel checks whether it could be.
    let result = unsafe { libc::kill(pid, 0) };
    // Another user's process exists, too: that is EPERM.
    result == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// How many descriptors the process may have open; none where only its user may ask.
#[cfg(target_os = "linux")]
#[must_use]
#[allow(unsafe_code)] // `prlimit` is a foreign function.
pub(crate) fn open_files_max(pid: i32) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: without a new limit (a null pointer) the kernel sets none, and `limit` is a live place
    // for the present one.
    let result =
        unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limit) };
    (result == 0).then_some(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

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
