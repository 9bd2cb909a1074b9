//! Slots that are held, looked at, freed and taken anew.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// Another process's slot: a lock through a descriptor of its own.
fn other(directory: &Path, number: u32) -> File {
    let file = File::create(directory.join(file_name(number))).unwrap();
    file.try_lock().unwrap();
    file
}

#[test]
fn the_first_free_slot_is_held_once() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let first = other(path, 0);
    assert_eq!(hold(path, None, None).unwrap(), 1);
    assert_eq!(hold(path, Some(OsStr::new("w")), Some(Role::Master)).unwrap(), 1);
    let [theirs, own] = slots(path).unwrap().try_into().unwrap();
    assert_eq!((theirs.is_held, theirs.is_own, theirs.occupant), (true, false, None));
    assert_eq!((own.number, own.is_held, own.is_own), (1, true, true));
    let occupant = own.occupant.unwrap();
    assert_eq!((occupant.pid, occupant.role.as_str()), (process::id(), "master"));
    assert_eq!(occupant.identifier, "w");
    assert!(occupant.start > 0);
    assert_eq!(another(&Directory::open(path).unwrap()).unwrap().unwrap().number, 0);
    drop(first);
    assert_eq!(another(&Directory::open(path).unwrap()).unwrap(), None);
    leave(path);
    assert!(slots(path).unwrap().iter().all(|slot| !slot.is_held));
    assert_eq!(hold(path, None, None).unwrap(), 0);
    leave(path);
}

#[test]
fn slots_in_use_are_found_without_a_list() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let _held = [0, 2].map(|number| other(path, number));
    fs::write(path.join(file_name(1)), "").unwrap();
    assert_eq!(hold(path, None, None).unwrap(), 1);
    let found: Vec<_> =
        held_slots(path).into_iter().map(|slot| (slot.number, slot.is_own)).collect();
    assert_eq!(found, [(0, false), (1, true), (2, false)]);
    leave(path);
    assert_eq!(held_slots(path).len(), 2);
    assert_eq!(held_slots(&path.join("gone")), []);
}

#[test]
fn why_a_process_ends_is_known_until_many_others_have_had_its_slot() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    hold(path, None, None).unwrap();
    assert_eq!(ending_of(path, process::id()), None);
    say_ending(path, "max_requests");
    leave(path);
    assert_eq!(ending_of(path, process::id()).as_deref(), Some("max_requests"));
    // This process has not said that it ends again.
    hold(path, None, None).unwrap();
    assert_eq!(ending_of(path, process::id()), None);
    leave(path);
    // Others, which have said it.
    for pid in 1..=20 {
        let mut occupant = Occupant::this_process("w", Role::Worker);
        let before = slots(path).unwrap().remove(0).occupant.unwrap().into_ended();
        (occupant.pid, occupant.ending, occupant.before) = (pid, Some("bored".into()), before);
        fs::write(path.join(file_name(0)), occupant.to_line()).unwrap();
    }
    hold(path, None, None).unwrap();
    say_ending(path, "max_requests");
    let remembered = (1..=20).filter(|&pid| ending_of(path, pid).as_deref() == Some("bored"));
    assert_eq!(remembered.collect::<Vec<_>>(), (13..=20).collect::<Vec<_>>());
    assert_eq!(ending_of(path, process::id()).as_deref(), Some("max_requests"));
    leave(path);
}

#[test]
fn the_rest_of_a_longer_content_is_passed_over() {
    let occupant = Occupant::this_process("w", Role::Worker);
    let content = occupant.to_line() + "\"role\":\"worker\"}\n";
    assert_eq!(Occupant::parse(content.as_bytes()), Some(occupant));
}

#[test]
fn a_slot_that_another_process_looks_at_is_not_passed_over() {
    let directory = TempDir::new().unwrap();
    let looks = File::create(directory.path().join(file_name(0))).unwrap();
    looks.try_lock_shared().unwrap();
    let number = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(5));
            drop(looks);
        });
        hold(directory.path(), None, None).unwrap()
    });
    assert_eq!(number, 0);
    leave(directory.path());
}

#[test]
fn a_slot_whose_file_is_removed_is_taken_anew() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    assert_eq!(hold(path, None, None).unwrap(), 0);
    fs::remove_file(path.join(file_name(0))).unwrap();
    assert_eq!(hold(path, None, None).unwrap(), 0);
    assert!(slots(path).unwrap()[0].is_own);
    leave(path);
}

#[test]
fn a_directory_keeps_its_slot_when_it_is_renamed() {
    let directory = TempDir::new().unwrap();
    let (old, new) = (directory.path().join("old"), directory.path().join("new"));
    fs::create_dir(&old).unwrap();
    hold(&old, None, None).unwrap();
    fs::rename(&old, &new).unwrap();
    assert!(slots(&new).unwrap()[0].is_own);
    assert_eq!(hold(&new, None, None).unwrap(), 0);
    leave(&new);
}

#[test]
fn what_is_no_slot_is_passed_over() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    symlink("elsewhere", path.join(file_name(0))).unwrap();
    fs::create_dir(path.join(file_name(1))).unwrap();
    fs::write(path.join(".multiprom.slot-x.lock"), "").unwrap();
    assert_eq!(slots(path).unwrap(), []);
    assert!(hold(path, None, None).is_err());
    assert!(!path.join("elsewhere").exists());
    assert!(hold(&path.join("gone"), None, None).is_err());
    leave(&path.join("gone"));
}

#[test]
fn any_content_is_read() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    for content in ["", "{", "[]", "{\"pid\": -1}", "{\"pid\": 1}", "\u{0}"] {
        fs::write(path.join(file_name(0)), content).unwrap();
        let [slot] = slots(path).unwrap().try_into().unwrap();
        assert_eq!((slot.is_held, slot.occupant), (false, None));
    }
}
