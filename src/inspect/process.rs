//! The processes that use a directory, and how each is known to live or to be dead.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;

use crate::error::{Error, Result};
use crate::format::{FileName, number_of_file, prefix_of_kind};
use crate::inspect::file::FileSeen;
use crate::inspect::usage::{self, Usage};
use crate::store::presence::{self, Slot};
use crate::store::{FileState, Occupant, is_absence};

/// Whether a process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It lives.
    Alive,
    /// It does not live any more.
    Dead,
    /// Nobody can tell.
    Unknown,
}

impl Life {
    /// Its name, as JSON and metrics have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
        }
    }
}

/// How it is known whether a process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Evidence {
    /// The kernel drops the lock however the process ends.
    #[error("it holds the lock of its slot")]
    HoldsSlot,
    /// Nobody holds the lock of the slot that names the process.
    #[error("nobody holds the lock of its slot")]
    SlotIsFree,
    /// No slot names the process, but it holds a metrics file.
    #[error("it holds the lock of a file")]
    HoldsFile,
    /// No slot names the process, and nobody holds its files.
    #[error("nobody holds the locks of its files")]
    FileIsFree,
    /// Its files tell nothing.
    #[error(
        "its files have no lock that tells: prometheus_client wrote them, or locks are not seen here"
    )]
    NoLock,
}

/// A process that uses a directory or has used it.
#[derive(Debug, Clone)]
pub struct ProcessSeen {
    /// The number of the slot that it holds, or held as the last; none if only files tell of it.
    pub slot: Option<u32>,
    /// Its pid, in its own pid namespace; none if nothing names it.
    pub pid: Option<u32>,
    /// `worker` or `master`; none if no slot names the process.
    pub role: Option<String>,
    /// What its files are named after; empty if the slot does not say.
    pub identifier: String,
    /// Whether it lives.
    pub life: Life,
    /// How that is known.
    pub evidence: Evidence,
    /// What it uses; none if it is dead or not visible here, such as in another pid namespace.
    pub usage: Option<Usage>,
    /// How many metrics files are named after it.
    pub files: usize,
}

/// The slots of the directory `path`; none if there is no such directory.
pub(crate) fn slots(path: &Path) -> Result<Vec<Slot>> {
    match presence::slots(path) {
        Ok(slots) => Ok(slots),
        Err(error) if is_absence(&error) => Ok(Vec::new()),
        Err(source) => Err(Error::Io { path: path.to_owned(), source }),
    }
}

/// The processes of these slots, and those that only `files` tell of.
pub(crate) fn processes(slots: Vec<Slot>, files: &[FileSeen]) -> Vec<ProcessSeen> {
    let mut found: Vec<_> = slots.into_iter().map(of_slot).collect();
    // A living process first: a pid may be that of a dead one, too.
    let (mut order, others): (Vec<usize>, Vec<usize>) =
        (0..found.len()).partition(|&place| found[place].life == Life::Alive);
    order.extend(others);
    // There may be very many: of each identifier the places in this order.
    let mut ranks: HashMap<String, Vec<usize>> = HashMap::new();
    for (rank, &place) in order.iter().enumerate() {
        ranks.entry(found[place].identifier.clone()).or_default().push(rank);
    }
    for file in files {
        let Some(name) = FileName::of_path(&file.path).filter(|_| file.identifier().is_some())
        else {
            continue;
        };
        let life = life_of(file);
        let prefix = prefix_of_kind(name.kind);
        let file_name = file.path.file_name().unwrap_or_default();
        // The file of a process that was not the first with this identifier has a number.
        let is_numbered = |identifier: &OsStr| {
            !identifier.is_empty() && number_of_file(file_name, &prefix, identifier).is_some()
        };
        let is_of = |process: &ProcessSeen| {
            let identifier = OsStr::new(&process.identifier);
            let fits = process.slot.is_none() || life == process.life || life == Life::Unknown;
            // While a process dies its files may be free already.
            let is_dying = process.life == Life::Alive && life == Life::Dead;
            (fits || is_dying) && (name.pid == identifier || is_numbered(identifier))
        };
        let identifier = name.pid.to_string_lossy();
        let unnumbered = identifier.rsplit_once('-').map(|(identifier, _)| identifier);
        let candidates = [Some(&*identifier), unnumbered].into_iter().flatten();
        let candidates = candidates.filter_map(|identifier| ranks.get(identifier)).flatten();
        let rank = candidates.copied().filter(|&rank| is_of(&found[order[rank]])).min();
        if let Some(place) = rank.map(|rank| order[rank]) {
            let process = &mut found[place];
            process.files += 1;
            if process.slot.is_none() && process.life != Life::Alive && life != Life::Unknown {
                (process.life, process.evidence) = (life, evidence(life));
            }
        } else {
            ranks.entry(identifier.into_owned()).or_default().push(order.len());
            order.push(found.len());
            found.push(of_file(name.pid, life));
        }
    }
    found
}

fn of_slot(slot: Slot) -> ProcessSeen {
    let Slot { number, is_held, occupant, .. } = slot;
    let (life, evidence) = if is_held {
        (Life::Alive, Evidence::HoldsSlot)
    } else {
        (Life::Dead, Evidence::SlotIsFree)
    };
    let usage = occupant.as_ref().filter(|_| is_held).and_then(usage::of);
    let (pid, role, identifier) = match occupant {
        Some(Occupant { pid, role, identifier, .. }) => (Some(pid), Some(role), identifier),
        None => (None, None, String::new()),
    };
    ProcessSeen { slot: Some(number), pid, role, identifier, life, evidence, usage, files: 0 }
}

/// The process with this identifier, which only a file tells of.
fn of_file(identifier: &OsStr, life: Life) -> ProcessSeen {
    let identifier = identifier.to_string_lossy().into_owned();
    ProcessSeen {
        slot: None,
        pid: identifier.parse().ok(),
        role: None,
        identifier,
        life,
        evidence: evidence(life),
        usage: None,
        files: 1,
    }
}

fn life_of(file: &FileSeen) -> Life {
    match file.state {
        FileState::Live => Life::Alive,
        FileState::Dead | FileState::Spent => Life::Dead,
        _ => Life::Unknown,
    }
}

fn evidence(life: Life) -> Evidence {
    match life {
        Life::Alive => Evidence::HoldsFile,
        Life::Dead => Evidence::FileIsFree,
        Life::Unknown => Evidence::NoLock,
    }
}
