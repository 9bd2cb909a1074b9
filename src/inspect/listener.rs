//! The sockets at which a server listens: how many connections wait there.

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use crate::inspect::usage;
use crate::store::Role;
use crate::store::presence::Slot;
use crate::sys::{ProcessLocal, backlog};

/// The sockets of this process's server, with their addresses. A child keeps those of its parent.
static LISTENERS: ProcessLocal<Vec<(RawFd, String)>> =
    ProcessLocal::new(|earlier| earlier.cloned().unwrap_or_default());

/// Says at which sockets the server of this process listens.
pub fn watch_listeners(listeners: Vec<(RawFd, String)>) {
    *LISTENERS.lock() = listeners;
}

/// The address of each listening socket of the server and how many connections wait there, of those
/// sockets that tell it: TCP on Linux. A process that has none of the sockets looks at those of the
/// masters among `slots`.
pub(crate) fn backlogs(slots: &[Slot]) -> BTreeMap<String, u32> {
    let listeners = LISTENERS.lock().clone();
    if listeners.is_empty() {
        let occupants = slots.iter().filter_map(|slot| slot.occupant.as_ref());
        let masters =
            occupants.filter(|occupant| Role::from_name(&occupant.role) == Some(Role::Master));
        // Only if it is visible here: in another pid namespace another process may have its pid.
        let visible = masters.filter(|master| usage::of(master).is_some());
        return visible.flat_map(|master| sockets_of(master.pid)).collect();
    }
    listeners
        .into_iter()
        .filter_map(|(descriptor, address)| Some((address, backlog(descriptor)?)))
        .collect()
}

/// The same of the process `pid`, as `/proc` tells it; nothing where only its user may know.
#[cfg(target_os = "linux")]
fn sockets_of(pid: u32) -> Vec<(String, u32)> {
    let inodes = linux::sockets(pid);
    let tables = ["tcp", "tcp6"].map(|name| format!("/proc/{pid}/net/{name}"));
    let listening = tables.iter().flat_map(|table| linux::listening(table));
    let own = listening.filter(|socket| inodes.contains(&socket.inode));
    own.map(|socket| (socket.address, socket.backlog)).collect()
}

/// No other system has `/proc` as Linux has it.
#[cfg(not(target_os = "linux"))]
fn sockets_of(_pid: u32) -> Vec<(String, u32)> {
    Vec::new()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashSet;
    use std::fs::File;
    use std::io::{BufRead, BufReader};
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::path::PathBuf;

    use crate::sys::process::descriptors;

    /// The state of a listening socket, in the kernel's `tcp_states.h`.
    const LISTEN: &str = "0A";

    /// A line of `/proc/{pid}/net/tcp`: see `man 5 proc_pid_net`.
    #[derive(Debug, PartialEq)]
    pub(super) struct Listening {
        pub(super) address: String,
        pub(super) backlog: u32,
        pub(super) inode: u64,
    }

    /// The inodes of the sockets that a process has open.
    pub(super) fn sockets(pid: u32) -> HashSet<u64> {
        let inode = |link: PathBuf| {
            link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
        };
        descriptors(pid).filter_map(inode).collect()
    }

    /// The listening sockets of a table. The kernel lists them before all connections, which are not
    /// read: there may be many.
    pub(super) fn listening(table: &str) -> Vec<Listening> {
        let Ok(file) = File::open(table) else { return Vec::new() };
        let lines = BufReader::new(file).lines().skip(1);
        lines.map_while(|line| Listening::parse(&line.ok()?)).collect()
    }

    impl Listening {
        pub(super) fn parse(line: &str) -> Option<Self> {
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            let [_, address, _, LISTEN, queues, _, _, _, _, inode, ..] = fields[..] else {
                return None;
            };
            let (address, port) = address.split_once(':')?;
            let port = u16::from_str_radix(port, 16).ok()?;
            // The received bytes of a connection, and the waiting connections of a listening socket.
            let (_, waiting) = queues.split_once(':')?;
            Some(Self {
                address: format!("{}:{port}", parse_address(address)?),
                backlog: u32::from_str_radix(waiting, 16).ok()?,
                inode: inode.parse().ok()?,
            })
        }
    }

    /// The address as Python writes it. The kernel prints the four bytes of a word as one number.
    fn parse_address(text: &str) -> Option<String> {
        let word = |place: usize| {
            let digits = text.get(place * 8..place * 8 + 8)?;
            Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
        };
        match text.len() {
            8 => Some(Ipv4Addr::from(word(0)?).to_string()),
            32 => {
                let words = [word(0)?, word(1)?, word(2)?, word(3)?];
                let bytes = <[u8; 16]>::try_from(words.concat()).ok()?;
                Some(Ipv6Addr::from(bytes).to_string())
            }
            _ => None,
        }
    }
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
        assert_eq!(backlogs(&[]), BTreeMap::from([("tcp".to_owned(), 2)]));
        let _accepted = listener.accept().unwrap();
        assert_eq!(backlogs(&[]), BTreeMap::from([("tcp".to_owned(), 1)]));
        watch_listeners(Vec::new());
        // The same as another process would see it.
        let found: BTreeMap<_, _> = sockets_of(std::process::id()).into_iter().collect();
        assert_eq!(found.get(&address.to_string()), Some(&1));
        assert!(sockets_of(u32::MAX).is_empty());
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn lines_of_listening_sockets() {
        let parse =
            |line: &str| linux::Listening::parse(line).map(|s| (s.address, s.backlog, s.inode));
        let line = "  0: 0100007F:2404 00000000:0000 0A 00000000:0000000B 00:00000000 00000000     \
            0        0 4711 1 0000000000000000 100 0 0 10 0";
        assert_eq!(parse(line), Some(("127.0.0.1:9220".to_owned(), 11, 4711)));
        let line = "  1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 \
            0A 00000000:00000000 00:00000000 00000000     0        0 12 1 0000000000000000 100";
        assert_eq!(parse(line), Some(("::1:80".to_owned(), 0, 12)));
        assert_eq!(parse(&line.replace(" 0A ", " 01 ")), None, "a connection");
        assert_eq!(parse(""), None);
    }
}
