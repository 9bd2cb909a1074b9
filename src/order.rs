//! Sorting, compiled once: `sort_by_key` and its like are compiled anew for each type that is sorted,
//! which takes 5 KB of the library each time.

use std::mem;

/// Sorts by a number. Items of one number stay in their order.
pub(crate) fn sort_by_number<T>(items: &mut Vec<T>, number: impl Fn(&T) -> u64) {
    let mut keys: Vec<(u64, usize)> = items.iter().map(number).zip(0..).collect();
    if keys.is_sorted() {
        return;
    }
    keys.sort_unstable();
    arrange(items, keys.into_iter().map(|(_, place)| place));
}

/// Sorts by bytes. Items of the same bytes stay in their order.
pub(crate) fn sort_by_bytes<T>(items: &mut Vec<T>, bytes: impl Fn(&T) -> &[u8]) {
    let mut keys: Vec<(&[u8], usize)> = items.iter().map(bytes).zip(0..).collect();
    keys.sort_unstable();
    let order: Vec<usize> = keys.into_iter().map(|(_, place)| place).collect();
    arrange(items, order.into_iter());
}

/// Puts the items into the order of these places.
fn arrange<T>(items: &mut Vec<T>, order: impl Iterator<Item = usize>) {
    let mut left: Vec<Option<T>> = mem::take(items).into_iter().map(Some).collect();
    items.extend(order.filter_map(|place| left[place].take()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_one_key_stay_in_their_order() {
        let mut items = vec![("b", 2), ("a", 2), ("c", 1), ("a", 1)];
        sort_by_number(&mut items, |(_, number)| *number);
        assert_eq!(items, [("c", 1), ("a", 1), ("b", 2), ("a", 2)]);
        sort_by_bytes(&mut items, |(text, _)| text.as_bytes());
        assert_eq!(items, [("a", 1), ("a", 2), ("b", 2), ("c", 1)]);
    }
}
