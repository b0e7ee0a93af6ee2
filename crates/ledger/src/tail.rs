//! The newest committed entries, in memory: what followers and readers get before it is in tiles.

use bytes::Bytes;
use loggia_model::port::Committed;
use loggia_verify::folder::{FolderError, LogFolder};
use parking_lot::RwLock;
use std::collections::VecDeque;

/// Committed entries that stay in memory after they are in tiles, for followers that are a
/// little behind.
const KEPT_ENTRIES: u64 = 32_768;
/// The same, in bytes.
const KEPT_BYTES: u64 = 64 << 20;

#[derive(Default)]
struct Ring {
    entries: VecDeque<Committed>,
    bytes: u64,
    /// Index behind the last committed entry.
    size: u64,
    /// Entries below are in synced tiles below a durable checkpoint.
    in_tiles: u64,
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
            ring.bytes += weight(&entry);
            ring.entries.push_back(entry);
        }
    }

    /// Notes that entries below `size` are in tiles, and lets go of the oldest of them.
    pub(crate) fn in_tiles(&self, size: u64) {
        let mut ring = self.ring.write();
        ring.in_tiles = size;
        loop {
            let over = ring.entries.len() as u64 > KEPT_ENTRIES || ring.bytes > KEPT_BYTES;
            let done = ring.entries.front().is_some_and(|entry| entry.index < size);
            if !over || !done {
                return;
            }
            if let Some(entry) = ring.entries.pop_front() {
                ring.bytes -= weight(&entry);
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
        let waiting = ring.size.saturating_sub(ring.in_tiles);
        if waiting >= ring.entries.len() as u64 {
            ring.bytes
        } else {
            ring.entries.iter().rev().take(waiting as usize).map(weight).sum()
        }
    }

    /// Up to `max` entries from `from` on; `None` where the first of them is not in memory.
    pub(crate) fn read(&self, from: u64, max: usize) -> Option<Vec<Committed>> {
        let ring = self.ring.read();
        if from >= ring.size {
            return Some(Vec::new());
        }
        let first = ring.entries.front()?.index;
        let skip = usize::try_from(from.checked_sub(first)?).ok()?;
        Some(ring.entries.iter().skip(skip).take(max).cloned().collect())
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
