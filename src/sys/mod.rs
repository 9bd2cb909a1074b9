//! What touches memory and the kernel: mapped cells, the gate in front of them, locks.

pub(crate) mod gate;
pub(crate) mod lock;
pub(crate) mod mapping;
