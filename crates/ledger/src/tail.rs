//! The newest committed entries, in memory: what followers and readers get before it is in tiles.

use bytes::Bytes;
use loggia_model::port::Committed;
use loggia_verify::folder::{FolderError, LogFolder};
use parking_lot::RwLock;
use std::collections::{BTreeSet, VecDeque};

/// Committed entries that stay in memory after they are in tiles, for followers that are a
/// little behind.
const KEPT_ENTRIES: u64 = 32_768;
/// The same, in bytes.
const KEPT_BYTES: u64 = 64 << 20;

/// An entry, and what all up to and with it weigh since the ledger was opened. Differences of
/// these are weights of any stretch, without a walk along it.
struct Weighed {
    entry: Committed,
    sum: u64,
}

#[derive(Default)]
struct Ring {
    entries: VecDeque<Weighed>,
    /// Weight of all entries that were ever pushed.
    sum: u64,
    /// Index behind the last committed entry.
    size: u64,
    /// Entries below are in synced tiles below a durable checkpoint.
    in_tiles: u64,
}

impl Ring {
    /// Weight of all entries below `index` that were ever pushed; of those that are not in memory
    /// any more, all.
    fn sum_below(&self, index: u64) -> u64 {
        let Some(first) = self.entries.front() else { return self.sum };
        let before = first.sum - weight(&first.entry);
        let skip = index.saturating_sub(first.entry.index);
        let last = skip.checked_sub(1).map(|place| usize::try_from(place).unwrap_or(usize::MAX));
        match last {
            None => before,
            Some(place) => self.entries.get(place).map_or(self.sum, |weighed| weighed.sum),
        }
    }
}

/// The tail of the log.
#[derive(Default)]
pub(crate) struct Tail {
    ring: RwLock<Ring>,
}

fn weight(entry: &Committed) -> u64 {
    (entry.leaf.len() + entry.disclosure.len() + 96) as u64
}

impl Tail {
    /// A tail of a log whose first `size` entries are in tiles.
    pub(crate) fn new(size: u64) -> Self {
        let ring = Ring { size, in_tiles: size, ..Ring::default() };
        Self { ring: RwLock::new(ring) }
    }

    /// Adds entries that are on disk now.
    pub(crate) fn push(&self, entries: Vec<Committed>) {
        let mut ring = self.ring.write();
        for entry in entries {
            ring.size = entry.index + 1;
            ring.sum += weight(&entry);
            let sum = ring.sum;
            ring.entries.push_back(Weighed { entry, sum });
        }
    }

    /// Notes that entries below `size` are in tiles, and lets go of the oldest of them.
    pub(crate) fn in_tiles(&self, size: u64) {
        // Dropped when nobody waits for the lock any more.
        let mut gone = Vec::new();
        let mut ring = self.ring.write();
        ring.in_tiles = size;
        loop {
            let over = ring.entries.len() as u64 > KEPT_ENTRIES
                || ring.sum - ring.sum_below(0) > KEPT_BYTES;
            let done = ring.entries.front().is_some_and(|weighed| weighed.entry.index < size);
            if !over || !done {
                break;
            }
            gone.extend(ring.entries.pop_front());
        }
        drop(ring);
    }

    /// Index of the oldest entry in memory.
    pub(crate) fn oldest(&self) -> u64 {
        let ring = self.ring.read();
        ring.entries.front().map_or(ring.size, |weighed| weighed.entry.index)
    }

    /// Takes the disclosures of these entries away.
    pub(crate) fn close(&self, indices: &BTreeSet<u64>) {
        let mut ring = self.ring.write();
        let first = ring.entries.front().map_or(0, |weighed| weighed.entry.index);
        for index in indices {
            let place = index.checked_sub(first).and_then(|place| usize::try_from(place).ok());
            if let Some(weighed) = place.and_then(|place| ring.entries.get_mut(place)) {
                weighed.entry.disclosure = Bytes::new();
            }
        }
    }

    /// Number of committed entries.
    pub(crate) fn size(&self) -> u64 {
        self.ring.read().size
    }

    /// Bytes of the entries that are in no tile yet.
    pub(crate) fn backlog_bytes(&self) -> u64 {
        let ring = self.ring.read();
        ring.sum - ring.sum_below(ring.in_tiles)
    }

    /// Up to `max` entries from `from` on; `None` where the first of them is not in memory.
    pub(crate) fn read(&self, from: u64, max: usize) -> Option<Vec<Committed>> {
        let ring = self.ring.read();
        if from >= ring.size {
            return Some(Vec::new());
        }
        let first = ring.entries.front()?.entry.index;
        let skip = usize::try_from(from.checked_sub(first)?).ok()?;
        let wanted = ring.entries.range(skip.min(ring.entries.len())..).take(max);
        Some(wanted.map(|weighed| weighed.entry.clone()).collect())
    }
}

/// An entry read back from files.
pub(crate) fn from_files(index: u64, leaf: Vec<u8>, disclosure: Option<Vec<u8>>) -> Committed {
    Committed {
        index,
        leaf_hash: loggia_model::LeafHash::of(&leaf),
        leaf: Bytes::from(leaf),
        disclosure: disclosure.map(Bytes::from).unwrap_or_default(),
    }
}

/// Up to `max` entries from `from` on, of a log whose first `size` entries are in files.
pub(crate) fn read_entries(
    folder: &LogFolder,
    size: u64,
    from: u64,
    max: usize,
) -> Result<Vec<Committed>, FolderError> {
    let read = folder.read(from, max, size)?;
    Ok(read
        .into_iter()
        .map(|entry| from_files(entry.index, entry.leaf, entry.disclosure))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, bytes: usize) -> Committed {
        from_files(index, vec![0; bytes], None)
    }

    #[test]
    fn the_backlog_is_what_stands_in_no_tile() {
        let tail = Tail::new(5);
        assert_eq!(tail.backlog_bytes(), 0);
        tail.push(vec![entry(5, 4), entry(6, 0)]);
        assert_eq!(tail.backlog_bytes(), 100 + 96);
        tail.in_tiles(6);
        assert_eq!(tail.backlog_bytes(), 96);
        tail.push(vec![entry(7, 14)]);
        assert_eq!(tail.backlog_bytes(), 96 + 110);
        tail.in_tiles(8);
        assert_eq!((tail.backlog_bytes(), tail.size()), (0, 8));
        assert_eq!(tail.read(5, 2).unwrap().len(), 2, "still in memory");
        assert_eq!(tail.read(8, 2).unwrap().len(), 0);
        assert!(tail.read(4, 2).is_none());
    }

    #[test]
    fn what_is_in_tiles_goes_when_there_is_too_much_and_nothing_else_does() {
        let tail = Tail::new(0);
        let many = KEPT_ENTRIES + 10;
        tail.push((0..many).map(|index| entry(index, 4)).collect());
        tail.in_tiles(3);
        assert!(tail.read(2, 1).is_none() && tail.read(3, 1).is_some());
        assert_eq!(tail.backlog_bytes(), (many - 3) * 100);
        tail.in_tiles(many);
        assert!(tail.read(9, 1).is_none() && tail.read(10, 1).is_some());
        assert_eq!(tail.backlog_bytes(), 0);
        let large = KEPT_BYTES as usize / 2;
        tail.push((many..many + 3).map(|index| entry(index, large)).collect());
        tail.in_tiles(many + 3);
        assert!(tail.read(many + 1, 1).is_none() && tail.read(many + 2, 1).is_some());
    }
}
