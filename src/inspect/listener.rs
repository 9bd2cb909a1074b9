//! The sockets at which a server listens: how many connections wait there.

use std::os::fd::RawFd;

use crate::sys::{ProcessLocal, backlog};

/// The sockets of this process's server, with their addresses. A child keeps those of its parent.
static LISTENERS: ProcessLocal<Vec<(RawFd, String)>> =
    ProcessLocal::new(|earlier| earlier.cloned().unwrap_or_default());

/// Says at which sockets the server of this process listens.
pub fn watch_listeners(listeners: Vec<(RawFd, String)>) {
    *LISTENERS.lock() = listeners;
}

/// The address of each listening socket and how many connections wait there, of those sockets that
/// tell it: TCP on Linux.
pub(crate) fn backlogs() -> Vec<(String, u32)> {
    let listeners = LISTENERS.lock().clone();
    listeners
        .into_iter()
        .filter_map(|(descriptor, address)| Some((address, backlog(descriptor)?)))
        .collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn connections_that_nobody_has_accepted_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let directory = tempfile::TempDir::new().unwrap();
        let unix = UnixListener::bind(directory.path().join("socket")).unwrap();
        let connected = [(); 2].map(|()| TcpStream::connect(address).unwrap());
        watch_listeners(vec![
            (listener.as_raw_fd(), "tcp".to_owned()),
            (unix.as_raw_fd(), "unix".to_owned()),
            (connected[0].as_raw_fd(), "no listener".to_owned()),
            (-1, "closed".to_owned()),
        ]);
        assert_eq!(backlogs(), [("tcp".to_owned(), 2)]);
        let _accepted = listener.accept().unwrap();
        assert_eq!(backlogs(), [("tcp".to_owned(), 1)]);
        watch_listeners(Vec::new());
    }
}
