//! What a fork does to this process: it begins a generation, and copies descriptors.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

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
/// The descriptors that the child of a fork closes. A compaction needs 67 places; a file beyond all
/// places stays open in a child, and with it the lock if the parent is killed before it unlocks it.
static OPEN: [AtomicI32; 256] = [const { AtomicI32::new(NONE) }; 256];

/// Has the child of each fork close its copy of a file, as long as this is kept.
///
/// For a file that nothing in the child uses: because only one call uses it, in a thread that does not
/// fork meanwhile, of which the child has no copy; or because its owner asks for the pid before.
#[derive(Debug)]
pub(crate) struct ClosedInChild(Option<&'static AtomicI32>);

impl ClosedInChild {
    /// For `file`, which must not be closed before this is dropped.
    pub(crate) fn new(file: &File) -> Self {
        static IS_REGISTERED: AtomicBool = AtomicBool::new(false);
        // Not a `Once`, which locks: a fork in another thread could come in while it is locked.
        if !IS_REGISTERED.swap(true, Ordering::Relaxed) {
            // If it fails: a lock then outlives only a parent that is killed beside its child.
            let _ = at_fork(nothing, nothing, close_all);
        }
        let descriptor = file.as_raw_fd();
        Self(OPEN.iter().find(|place| {
            place.compare_exchange(NONE, descriptor, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        }))
    }
}

impl Drop for ClosedInChild {
    fn drop(&mut self) {
        if let Some(place) = self.0 {
            place.store(NONE, Ordering::Release);
        }
    }
}

extern "C" fn nothing() {}

extern "C" fn close_all() {
    for place in &OPEN {
        let descriptor = place.swap(NONE, Ordering::AcqRel);
        if descriptor != NONE {
            // SAFETY: this is the child of a fork, and the descriptor is that of a file which a
            // thread of the parent uses; the child has no copy of that thread.
            unsafe { close_inherited(descriptor) };
        }
    }
}

/// Closes a descriptor in the child of a fork.
///
/// # Safety
///
/// Nothing in this process may use or close the descriptor later: its owner must be a thread of the
/// parent, of which the child has no copy.
unsafe fn close_inherited(descriptor: RawFd) {
    // SAFETY: the caller says that nothing else owns the descriptor; no memory is involved.
    unsafe { libc::close(descriptor) };
}
