//! How many connections wait at a listening socket.

use std::os::fd::RawFd;

/// How many connections wait until somebody accepts them; none if the descriptor is of no listening
/// TCP socket.
#[cfg(target_os = "linux")]
#[must_use]
#[allow(unsafe_code)] // `getsockopt` is a foreign function.
pub(crate) fn backlog(descriptor: RawFd) -> Option<u32> {
    /// The state of a listening socket, in the kernel's `tcp_states.h`.
    const LISTEN: u8 = 10;
    // SAFETY: all fields are integers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut size = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    // SAFETY: `info` is a live place of `size` bytes, and the kernel writes no more than that. The
    // kernel checks what the descriptor is.
    let result = unsafe {
        libc::getsockopt(
            descriptor,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut size,
        )
    };
    // Of a listening socket the kernel gives the length of its queue in this field.
    (result == 0 && info.tcpi_state == LISTEN).then_some(info.tcpi_unacked)
}

/// Other systems do not tell.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub(crate) fn backlog(_descriptor: RawFd) -> Option<u32> {
    None
}
