//! A table whose keys are parsed, as far as most families need it.

use std::collections::HashMap;

use crate::format::{Damage, PlainLabels};
use crate::scrape::heads::{Head, Heads};
use crate::scrape::table::Table;

/// Stands for the head of a damaged key.
const DAMAGED: u32 = u32::MAX;

/// A table with the heads of its keys.
#[derive(Debug)]
pub(crate) struct ParsedTable<'a> {
    /// The table.
    pub(crate) table: &'a Table,
    /// What is wrong with damaged keys, by their bytes.
    pub(crate) damaged: HashMap<&'a [u8], Damage>,
    heads: Vec<Head<'a>>,
    /// For each key its head.
    head_of: Vec<u32>,
}

/// The keys of one family in one table.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// Their heads, in the order in which they were first seen.
    pub(crate) heads: Vec<u32>,
    /// Their numbers, in order: so they were first seen.
    pub(crate) numbers: Vec<u32>,
}

impl<'a> ParsedTable<'a> {
    /// Parses the keys of `table`.
    pub(crate) fn new(table: &'a Table) -> Self {
        let mut heads = Heads::new(table.kind().metric_type);
        let mut damaged = HashMap::new();
        let head_of = table.keys().map(|key| {
            heads.number(key).unwrap_or_else(|damage| {
                damaged.insert(key, damage);
                DAMAGED
            })
        });
        let head_of = head_of.collect();
        Self { table, heads: heads.all, head_of, damaged }
    }

    /// How many keys there are, damaged ones included.
    pub(crate) fn len(&self) -> usize {
        self.head_of.len()
    }

    /// The keys of each family, in the order in which the families were first seen.
    pub(crate) fn groups(&self) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        // For each head the place of its group.
        let mut group_of: Vec<Option<usize>> = vec![None; self.heads.len()];
        for (&head, number) in self.head_of.iter().zip(0..) {
            let Some(group) = group_of.get_mut(head as usize) else { continue };
            let place = *group.get_or_insert_with(|| {
                let family = &*self.heads[head as usize].family;
                let place = *places.entry(family).or_insert(groups.len());
                if place == groups.len() {
                    groups.push(Group::default());
                }
                groups[place].heads.push(head);
                place
            });
            groups[place].numbers.push(number);
        }
        groups
    }

    /// The number of a sound key's head.
    #[inline]
    pub(crate) fn head_number(&self, number: u32) -> u32 {
        self.head_of[number as usize]
    }

    /// The head with this number.
    #[inline]
    pub(crate) fn head_numbered(&self, head: u32) -> &Head<'a> {
        &self.heads[head as usize]
    }

    /// The head of a sound key.
    #[inline]
    pub(crate) fn head(&self, number: u32) -> &Head<'a> {
        self.head_numbered(self.head_number(number))
    }

    /// The labels of a plain key.
    #[inline]
    pub(crate) fn labels(&self, number: u32) -> PlainLabels<'a> {
        self.head(number).labels(self.table.key(number))
    }
}
