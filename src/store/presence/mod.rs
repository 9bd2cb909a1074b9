//! Presence: which processes use a directory.
//!
//! Each process that counts in a directory, and the master of its server, holds one slot there while
//! it lives: an exclusive lock (`flock`) on the first free of the files `.multiprom.slot-0.lock`,
//! `.multiprom.slot-1.lock`, … The kernel frees the lock however the process ends. The files stay,
//! because two processes could lock two files of one name if a file were deleted and made anew. So
//! there are as many slots as processes ever lived at once, and the number of its slot is a small
//! number that a process shares with nobody who lives.
//!
//! Whoever starts a service says so (`announce`): from then on this process and its children take a
//! slot when they open their first file in a directory. `install()` does that; values of a program
//! that only makes a value class leave no other file in its directory than prometheus_client's do.
//!
//! The content of the file says which process holds it, as one line of JSON. It is there for people:
//! the lock alone decides, and on a full disk the content may be empty.

mod occupant;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use self::occupant::{Ended, Occupant, Role};
use crate::order::sort_by_number;
use crate::sys::fork::ClosedInChild;
use crate::sys::{Descriptor, Directory, Identity, Name, ProcessLocal, identity, is_at, lock};

/// What the file of a slot is called, around its number. Not `*.db`, so that no reader takes it for
/// a metrics file.
const PREFIX: &str = ".multiprom.slot-";
const SUFFIX: &str = ".lock";
/// A process gives up after so many slots that others hold.
const SLOTS_MAX: u32 = 1 << 16;
/// The content of a slot is read up to here: an identifier is a part of a file's name.
const CONTENT_MAX: usize = 4 << 10;

/// One slot of a directory.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// Its number, from 0.
    pub number: u32,
    /// Whether a process holds it, this one or another.
    pub is_held: bool,
    /// Whether this process holds it.
    pub is_own: bool,
    /// The process that holds it or held it last; none if the file does not say.
    pub occupant: Option<Occupant>,
}

/// A slot that this process holds.
#[derive(Debug)]
struct Held {
    /// The directory.
    home: Identity,
    number: u32,
    // Dropped before the file is closed: its number may be that of another file then.
    _closed_in_child: ClosedInChild,
    /// Its lock.
    file: Descriptor,
    identifier: String,
    role: Role,
    ending: Option<&'static str>,
    /// What the slot said of the processes before.
    before: Vec<Ended>,
}

/// The slots that this process holds. Those of the process that forked it are never dropped here: in
/// this child `ClosedInChild` has closed their descriptors.
static HELD: ProcessLocal<Vec<Held>> = ProcessLocal::new(|_| Vec::new());

/// Whether processes that count take a slot; the child of a fork does as its parent.
static IS_ANNOUNCED: AtomicBool = AtomicBool::new(false);

/// Says whether this process and its children take a slot when they open a file.
pub(crate) fn announce(takes_slots: bool) {
    IS_ANNOUNCED.store(takes_slots, Ordering::Relaxed);
}

/// Holds a slot of `directory`, in which this process has opened a file, if that was announced.
///
/// If there can be no slot now, the next file that is opened tries again.
pub(crate) fn hold_if_announced(directory: &Path, identifier: &OsStr) {
    if IS_ANNOUNCED.load(Ordering::Relaxed) {
        let _ = hold(directory, Some(identifier), None);
    }
}

/// Holds a slot of `directory` for this process, and gives its number. Once held it stays.
///
/// The file names the `identifier` and the `role` that were given last; without any, the pid and
/// `worker`.
///
/// # Errors
///
/// If the directory or its files cannot be opened or locked, or all slots are held.
pub(crate) fn hold(
    directory: &Path,
    identifier: Option<&OsStr>,
    role: Option<Role>,
) -> io::Result<u32> {
    let opened = Directory::open(directory)?;
    let home = identity(&opened.metadata()?);
    let mut slots = HELD.lock();
    let identifier = identifier.map(|identifier| identifier.to_string_lossy().into_owned());
    if let Some(at) = slots.iter().position(|held| held.home == home) {
        let held = &mut slots[at];
        let path = directory.join(file_name(held.number));
        if held.file.file().is_some() && is_at(&path, held.file.identity())? {
            let identifier = identifier.unwrap_or_else(|| held.identifier.clone());
            let role = role.unwrap_or(held.role);
            if (held.identifier.as_str(), held.role) != (identifier.as_str(), role) {
                (held.identifier, held.role) = (identifier, role);
                held.describe(&path);
            }
            return Ok(held.number);
        }
        // Somebody has removed the file, or closed the descriptor.
        slots.swap_remove(at);
    }
    for number in 0..SLOTS_MAX {
        let path = directory.join(file_name(number));
        let file = lock::open_or_create(&opened, OsStr::new(&file_name(number)))?;
        if !lock::try_lock(&file)? {
            continue;
        }
        // The server of those who held it may not have asked yet why they have ended.
        let before = occupant_of(&file).map(Occupant::into_ended).unwrap_or_default();
        let file = Descriptor::new(file)?;
        if !is_at(&path, file.identity())? {
            continue;
        }
        let identifier = identifier.unwrap_or_else(|| process::id().to_string());
        let role = role.unwrap_or(Role::Worker);
        let held = Held {
            home,
            number,
            _closed_in_child: ClosedInChild::new(&file),
            file,
            identifier,
            role,
            ending: None,
            before,
        };
        held.describe(&path);
        slots.push(held);
        return Ok(number);
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// Frees the slot that this process holds in `directory`, if it holds one.
pub(crate) fn leave(directory: &Path) {
    if let Ok(metadata) = std::fs::metadata(directory) {
        let home = identity(&metadata);
        HELD.lock().retain(|held| held.home != home);
    }
}

/// Says in the slot that this process holds in `directory` why the process is about to end.
pub(crate) fn say_ending(directory: &Path, ending: &'static str) {
    let Ok(metadata) = std::fs::metadata(directory) else { return };
    let home = identity(&metadata);
    for held in HELD.lock().iter_mut().filter(|held| held.home == home) {
        held.ending = Some(ending);
        held.describe(&directory.join(file_name(held.number)));
    }
}

/// Why the process `pid`, which has ended, has said that it would end; none if it has not, or if more
/// processes have had its slot since than the slot remembers.
pub(crate) fn ending_of(directory: &Path, pid: u32) -> Option<String> {
    let slots = slots(directory).ok()?.into_iter();
    let occupants: Vec<_> = slots.filter_map(|slot| slot.occupant).collect();
    // The last holders of the slots come first: an earlier process may have had the same pid.
    if let Some(occupant) = occupants.iter().find(|occupant| occupant.pid == pid) {
        return occupant.ending.clone();
    }
    let ended = occupants.into_iter().flat_map(|occupant| occupant.before);
    ended.into_iter().find(|ended| ended.pid == pid).map(|ended| ended.ending)
}

/// The slots of `directory` that processes hold, in order of their numbers. Whatever cannot be read is
/// left out.
///
/// Quicker than [`slots`] in a directory with many files, as nothing is listed: all slots up to the
/// first number without a file, and there are none behind unless somebody has removed files.
pub(crate) fn held_slots(directory: &Path) -> Vec<Slot> {
    let Ok(opened) = Directory::open(directory) else { return Vec::new() };
    let Ok(home) = opened.metadata().map(|metadata| identity(&metadata)) else { return Vec::new() };
    (0..SLOTS_MAX)
        .map_while(|number| slot(&opened, home, number, OsStr::new(&file_name(number))))
        .filter(|slot| slot.is_held)
        .collect()
}

/// The slots of `directory`, in order of their numbers.
///
/// # Errors
///
/// If the directory cannot be listed.
pub(crate) fn slots(directory: &Path) -> io::Result<Vec<Slot>> {
    slots_in(&Directory::open(directory)?)
}

fn slots_in(directory: &Directory) -> io::Result<Vec<Slot>> {
    let home = identity(&directory.metadata()?);
    let mut slots = Vec::new();
    for Name { name, .. } in directory.names()? {
        let Some(number) = number_of(&name) else { continue };
        slots.extend(slot(directory, home, number, &name));
    }
    sort_by_number(&mut slots, |slot| slot.number.into());
    Ok(slots)
}

/// The slot with a file of this name, if there is such a file; `home` is the directory.
fn slot(directory: &Directory, home: Identity, number: u32, name: &OsStr) -> Option<Slot> {
    let (is_held, occupant) = look(directory, name)?;
    // Looked up for each: another thread may take one meanwhile.
    let is_own =
        is_held && HELD.lock().iter().any(|held| (held.home, held.number) == (home, number));
    Some(Slot { number, is_held, is_own, occupant })
}

/// A slot of `directory` that another process holds; none if there is none.
///
/// # Errors
///
/// If the directory cannot be listed.
pub(crate) fn another(directory: &Directory) -> io::Result<Option<Slot>> {
    Ok(slots_in(directory)?.into_iter().find(|slot| slot.is_held && !slot.is_own))
}

impl Held {
    /// Writes into the file at `path` which process holds it.
    fn describe(&self, path: &Path) {
        let occupant = Occupant::this_process(&self.identifier, self.role);
        let (ending, before) = (self.ending.map(str::to_owned), self.before.clone());
        let content = Occupant { ending, before, ..occupant }.to_line();
        // The lock counts, not the content: it may be missing on a full disk, or where this process
        // may lock the file but not write it.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        if let Ok(file) = File::options().write(true).custom_flags(flags).open(path) {
            // The old content is cut off last, not first: another process may read the file meanwhile.
            let written = io::Write::write_all(&mut &file, content.as_bytes());
            let _ = file.set_len(written.map_or(0, |()| content.len() as u64));
        }
    }
}

/// Whether a process holds the slot with a file of this name, and which has held it last; none if
/// there is no such file.
fn look(directory: &Directory, name: &OsStr) -> Option<(bool, Option<Occupant>)> {
    let file = match lock::open_in(directory, name) {
        Ok(file) => file,
        // Nobody can tell, so that somebody may hold it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Some((true, None)),
        Err(_) => return None,
    };
    let is_held = lock::while_free(&file, || ()).is_none();
    Some((is_held, occupant_of(&file)))
}

/// The process that the content of a slot's file names; none if it names none.
fn occupant_of(file: &File) -> Option<Occupant> {
    let mut content = [0; CONTENT_MAX];
    // One call: of a regular file it gives all that is there.
    let size = file.read_at(&mut content, 0).unwrap_or_default();
    Occupant::parse(&content[..size])
}

fn file_name(number: u32) -> String {
    format!("{PREFIX}{number}{SUFFIX}")
}

fn number_of(name: &OsStr) -> Option<u32> {
    name.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
}
