//! Dead files to one archive for each kind.
//!
//! An [`Occasion`] says why a directory is compacted now, and with that whose files a call may take,
//! how many, and how long it waits: the [`Request`]. A call locks the directory (`run`) and goes kind
//! by kind (`archiving`): select files of the dead (`select`, `dead`), leave them for later if the
//! archive is too large to be written anew for so little (`worth`), else fold them (`fold`), commit the
//! new archive, delete what it has absorbed (`recovery`), and forget series that no process has any more
//! (`withdrawn`). Each stage returns what it has done. Every system call on the way is a named step
//! (`steps`), so that tests can stop before each.
//!
//! `docs/compaction.md` has the protocol, and why no count is ever lost or seen twice.

mod archiving;
mod dead;
mod earlier_run;
mod fold;
mod live;
mod occasion;
mod reason;
mod recovery;
mod run;
mod select;
mod steps;
mod withdrawn;
mod worth;

pub use earlier_run::{Leftovers, remove_leftovers};
pub use live::remove_live_files;
pub use occasion::{Occasion, news, reset};
pub use reason::{Concern, Reason};
#[cfg(test)]
pub(crate) use run::compact_on;
pub use run::{Compaction, LeftAlone, Locks, Request, compact};
#[cfg(test)]
pub(crate) use steps::{Checkpoint, Step};

#[cfg(test)]
pub(crate) mod tests;
