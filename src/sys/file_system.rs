//! File systems on which the lock of one process may not be seen by another.

use std::os::fd::AsFd;

/// What `statfs` calls them, and what people do. Other hosts may use the same files, or other mounts
/// of them on this host, and their locks (`flock`) may be known to them alone: NFS with `local_lock`,
/// 9p without a lock server, FUSE without `flock` (bindfs, sshfs, virtiofs, fuse-overlayfs).
/// From Linux's `include/uapi/linux/magic.h` and `fs/smb/common/smb2pdu.h`.
const WITHOUT_COMMON_LOCKS: [(u64, &str); 8] = [
    (0x6573_5546, "FUSE"),
    (0x6969, "NFS"),
    (0x0102_1997, "9p"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x517b, "SMB"),
    (0x5346_414f, "AFS"),
    (0x00c3_6400, "Ceph"),
];

/// The name of the file system of an open directory, if locks there may not be seen by all processes
/// that use it; none also if the system does not say.
pub(crate) fn without_common_locks(directory: impl AsFd) -> Option<&'static str> {
    name_of(magic(directory)?)
}

#[cfg(target_os = "linux")]
fn magic(directory: impl AsFd) -> Option<u64> {
    let found = rustix::fs::fstatfs(directory).ok()?;
    // CAST: a magic number has 32 bits; where the field is a signed one of 32 bits, so many are kept.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Some(u64::from(found.f_type as u32))
}

/// On other systems the number is another, or is given out as file systems are loaded.
#[cfg(not(target_os = "linux"))]
fn magic(_directory: impl AsFd) -> Option<u64> {
    None
}

fn name_of(magic: u64) -> Option<&'static str> {
    WITHOUT_COMMON_LOCKS.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn file_systems_of_several_hosts_or_mounts() {
        for (magic, name) in [
            (0x6573_5546, Some("FUSE")),
            (0x6969, Some("NFS")),
            (0x0102_1997, Some("9p")),
            // ext4, tmpfs, xfs, btrfs, overlayfs, zfs.
            (0xef53, None),
            (0x0102_1994, None),
            (0x5846_5342, None),
            (0x9123_683e, None),
            (0x794c_7630, None),
            (0x2fc1_2fc1, None),
        ] {
            assert_eq!(name_of(magic), name, "{magic:x}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_number_of_an_open_directory_is_asked_for() {
        assert_eq!(magic(File::open("/proc").unwrap()), Some(0x9fa0));
        assert_eq!(without_common_locks(File::open("/dev/shm").unwrap()), None);
    }
}
