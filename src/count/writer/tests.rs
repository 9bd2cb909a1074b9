//! Tests of the writer of one file.

use super::testing::{entries, open, set};
use super::*;
use crate::count::open::CONTINUING;
use std::fs;
use std::os::unix::fs::MetadataExt;
use tempfile::TempDir;

#[test]
fn entries_over_several_mappings() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("counter_1.db");
    let mut writer = open(&path, CONTINUING);
    let expected: Vec<_> =
        (0..3000u16).map(|number| (format!("key {number}"), f64::from(number))).collect();
    for (key, value) in &expected {
        set(&mut writer, key, *value);
    }
    assert_eq!(entries(&path), expected);
    assert!(fs::metadata(&path).unwrap().len().is_power_of_two());
    drop(writer);
    let mut writer = open(&path, CONTINUING);
    set(&mut writer, "key 7", -1.0);
    assert_eq!(entries(&path)[7], ("key 7".to_owned(), -1.0));
    assert_eq!(entries(&path).len(), 3000);
}

#[test]
fn a_file_has_blocks_for_what_is_used_and_little_more() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("counter_1.db");
    let blocks = |path: &Path| fs::metadata(path).unwrap().blocks() * 512;
    fs::File::create(&path).unwrap().set_len(INITIAL_SIZE as u64).unwrap();
    assert_eq!(blocks(&path), 0);
    let mut writer = open(&path, CONTINUING);
    for number in 0..3000 {
        set(&mut writer, &format!("key {number}"), 1.0);
        let used = writer.used as u64;
        // ext4 takes some more blocks to note where the blocks are.
        let most = used + used / 8 + 4 * SMALL_STEP as u64;
        assert!((used..=most).contains(&blocks(&path)), "{number}");
    }
    let other = directory.path().join("counter_2.db");
    let _other = open(&other, CONTINUING);
    assert_eq!(blocks(&other), SMALL_STEP as u64);
    assert_eq!(fs::metadata(&other).unwrap().len(), INITIAL_SIZE as u64);
}

#[test]
fn a_file_without_entries_gets_room_for_many_at_once() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("counter_1.db");
    let mut writer = open(&path, CONTINUING);
    let heads: Vec<_> = (0..3000)
        .map(|number| format::entry_head(format!("key {number}").as_bytes()).unwrap())
        .collect();
    writer.make_room(heads.iter().map(|head| &head[..]));
    let reserved = writer.reserved;
    for head in &heads {
        writer.place(head).unwrap();
    }
    assert_eq!(writer.reserved, reserved);
    assert_eq!(reserved, reservation(writer.used));
    // Entries that are there need no more room.
    writer.make_room(heads.iter().map(|head| &head[..]));
    assert_eq!(writer.reserved, reserved);
}

#[test]
fn a_moved_file_is_emptied_and_a_removed_one_keeps_what_it_has() {
    let directory = TempDir::new().unwrap();
    let [path, moved] = ["counter_1.db", "counter_2.db"].map(|name| directory.path().join(name));
    let mut writer = open(&path, CONTINUING);
    set(&mut writer, "key", 1.0);
    fs::rename(&path, &moved).unwrap();
    writer.empty_if_moved();
    assert_eq!(entries(&moved), []);
    set(&mut writer, "key", 1.0);
    fs::remove_file(&moved).unwrap();
    let read = writer.entries();
    writer.empty_if_moved();
    assert_eq!(writer.entries(), read);
}

#[test]
fn a_replacement_takes_all_entries() {
    let directory = TempDir::new().unwrap();
    let [old_path, path] = ["counter_1.db", "counter_2.db"].map(|name| directory.path().join(name));
    let mut old = open(&old_path, CONTINUING);
    set(&mut old, "a", 1.0);
    set(&mut old, "b", 2.0);
    fs::remove_file(&old_path).unwrap();
    assert!(!old.is_in_place());
    let mut writer = open(&path, CONTINUING);
    set(&mut writer, "b", 4.0);
    writer.take_entries(&old, None).unwrap();
    assert_eq!(entries(&path), [("b".to_owned(), 2.0), ("a".to_owned(), 1.0)]);
    let expect = |writer: &mut Writer, rule, expected: f64| {
        writer.take_entries(&old, Some(rule)).unwrap();
        assert_eq!(entries(&path)[0], ("b".to_owned(), expected), "{rule:?}");
    };
    expect(&mut writer, Rule::Sum, 4.0);
    expect(&mut writer, Rule::Max, 4.0);
    expect(&mut writer, Rule::Min, 2.0);
    set(&mut writer, "b", 1.0);
    expect(&mut writer, Rule::Min, 1.0);
    expect(&mut writer, Rule::Max, 2.0);
    set(&mut writer, "b", 1.0);
    expect(&mut writer, Rule::PerProcess, 2.0);
}
