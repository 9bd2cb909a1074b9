//! What touches memory and the kernel: cells in mapped files, the gate in front of each, forks, locks,
//! the blocks, the descriptors and the identity of files. All `unsafe` code of the core is in this room.

mod allocate;
mod attachment;
mod backlog;
mod cell;
mod descriptor;
mod directory;
mod file_system;
pub(crate) mod fork;
mod gate;
mod identity;
pub(crate) mod lock;
mod mapping;
pub(crate) mod process;
mod process_local;

pub(crate) use allocate::{allocated, reserve};
pub(crate) use attachment::Attachment;
pub(crate) use backlog::backlog;
pub(crate) use cell::Cell;
pub(crate) use descriptor::Descriptor;
pub(crate) use directory::{Directory, Name};
pub(crate) use file_system::without_common_locks;
pub(crate) use identity::{Identity, identity, is_at};
pub(crate) use mapping::Mapping;
pub(crate) use process_local::ProcessLocal;
