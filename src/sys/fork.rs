//! What a fork does to this process: it begins a generation, and copies descriptors.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

use crate::sys::descriptor::{Descriptor, close_if};
use crate::sys::identity::Identity;

/// How many forks lie between the first process that loaded this module and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// The generation of this process: the child of a fork has another than its parent.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Says that this process is the child of a fork.
pub(crate) fn begin_generation() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Has `before` called before each fork of this process, and the two others after it in the parent
/// and in the child.
pub(crate) fn at_fork(
    before: extern "C" fn(),
    in_parent: extern "C" fn(),
    in_child: extern "C" fn(),
) -> io::Result<()> {
    // SAFETY: the three are functions of a module that Python never unloads, so they can be called
    // as long as the process lives; they are safe functions without arguments.
    let status = unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    if status == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(status)) }
}

/// No descriptor.
const NONE: RawFd = -1;
/// A descriptor whose file is about to be written beside it.
const TAKEN: RawFd = -2;
/// The descriptors that the child of a fork closes. A compaction needs 67 places; a file beyond all
/// places stays open in a child, and with it the lock if the parent is killed before it unlocks it.
static OPEN: [OpenPlace; 256] = [const { OpenPlace::free() }; 256];

/// A descriptor, and the device and inode of its file.
#[derive(Debug)]
struct OpenPlace {
    descriptor: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
}

/// Has the child of each fork close its copy of a file, as long as this is kept.
///
/// For a file that nothing in the child uses: because only one call uses it, in a thread that does not
/// fork meanwhile, of which the child has no copy; or because its owner asks for the pid before.
#[derive(Debug)]
pub(crate) struct ClosedInChild(Option<&'static OpenPlace>);

impl OpenPlace {
    const fn free() -> Self {
        let descriptor = AtomicI32::new(NONE);
        Self { descriptor, device: AtomicU64::new(0), inode: AtomicU64::new(0) }
    }

    /// Takes the place for a file, if it is free.
    fn take(&self, file: RawFd, (device, inode): Identity) -> bool {
        let Self { descriptor, .. } = self;
        if descriptor.compare_exchange(NONE, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return false;
        }
        self.device.store(device, Ordering::Relaxed);
        self.inode.store(inode, Ordering::Relaxed);
        descriptor.store(file, Ordering::Release);
        true
    }
}

impl ClosedInChild {
    /// For `file`, which must not be closed before this is dropped.
    ///
    /// The child of a fork that comes between the opening of the file and this call keeps its copy. If
    /// the parent is then killed before it unlocks the file, the lock lasts as long as that child.
    pub(crate) fn new(file: &Descriptor) -> Self {
        static IS_REGISTERED: AtomicBool = AtomicBool::new(false);
        // Not a `Once`, which locks: a fork in another thread could come in while it is locked.
        if !IS_REGISTERED.swap(true, Ordering::Relaxed) {
            // If it fails: a lock then outlives only a parent that is killed beside its child.
            let _ = at_fork(nothing, nothing, close_all);
        }
        let descriptor = file.unchecked().as_raw_fd();
        Self(OPEN.iter().find(|place| place.take(descriptor, file.identity())))
    }
}

impl Drop for ClosedInChild {
    fn drop(&mut self) {
        if let Some(place) = self.0 {
            place.descriptor.store(NONE, Ordering::Release);
        }
    }
}

extern "C" fn nothing() {}

/// Closes what a thread of the parent uses: the child has no copy of that thread. A number that the
/// program has given to another file by now is left alone.
extern "C" fn close_all() {
    for place in &OPEN {
        let descriptor = place.descriptor.swap(NONE, Ordering::AcqRel);
        if descriptor >= 0 {
            let identity =
                (place.device.load(Ordering::Relaxed), place.inode.load(Ordering::Relaxed));
            close_if(descriptor, identity);
        }
    }
}
