//! Segments of the write-ahead log: made ready ahead of their use, used, retired, used again.
//!
//! A segment is zero-filled and synced before its first use, so that writing into it needs no
//! room and no change of metadata: that is what makes fdatasync cheap, and a full disk a matter
//! of the next segment and not of this record.

use crate::disk::Disk;
use loggia_verify::wal::{HEADER_BYTES, Header, file_name, number_of};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A segment that is being written.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) file: Arc<File>,
    pub(crate) path: PathBuf,
    /// Where the next record goes.
    pub(crate) offset: usize,
}

/// A segment that is full but holds entries that are not in synced tiles yet.
struct Used {
    path: PathBuf,
    /// Index behind its last entry.
    end_index: u64,
    /// Whether an earlier process wrote it: perhaps one that did not seal what it disclosed.
    inherited: bool,
}

struct Shelf {
    ready: VecDeque<PathBuf>,
    used: VecDeque<Used>,
    spares_made: u64,
}

/// The segments of a folder.
pub(crate) struct Segments {
    folder: PathBuf,
    disk: Disk,
    segment_bytes: usize,
    shelf: Mutex<Shelf>,
}

impl Segments {
    /// Takes over a folder: segments found there are used ones whose entries end at `end_index`;
    /// spare files of an earlier process are removed.
    pub(crate) fn open(
        folder: &Path,
        disk: Disk,
        segment_bytes: usize,
        end_index: u64,
    ) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut used: Vec<(u64, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match number_of(name) {
                Some(number) => used.push((number, path)),
                None if name.starts_with("spare-") => disk.remove(&path)?,
                None => {}
            }
        }
        used.sort();
        let used =
            used.into_iter().map(|(_, path)| Used { path, end_index, inherited: true }).collect();
        let shelf = Shelf { ready: VecDeque::new(), used, spares_made: 0 };
        Ok(Self { folder: folder.to_owned(), disk, segment_bytes, shelf: Mutex::new(shelf) })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Size of every segment, in bytes.
    pub(crate) fn segment_bytes(&self) -> usize {
        self.segment_bytes
    }

    /// Segments that are ready to be used.
    pub(crate) fn ready(&self) -> usize {
        self.shelf.lock().ready.len()
    }

    /// Makes one more segment ready. A crash leaves a `spare-` file, which the next start removes.
    pub(crate) fn make_ready(&self) -> io::Result<()> {
        let number = {
            let mut shelf = self.shelf.lock();
            shelf.spares_made += 1;
            shelf.spares_made
        };
        let path = self.folder.join(format!("spare-{number}"));
        self.disk.create_zeroed(&path, self.segment_bytes)?;
        self.shelf.lock().ready.push_back(path);
        Ok(())
    }

    /// Puts a ready segment to use under the next number. `None` where none is ready. The new name
    /// is durable only after a sync of the folder, the header after a sync of the file.
    pub(crate) fn begin(&self, number: u64, first_index: u64) -> io::Result<Option<Segment>> {
        let Some(spare) = self.shelf.lock().ready.pop_front() else { return Ok(None) };
        let path = self.folder.join(file_name(number));
        // Write the header first: a crash in between leaves a spare, not a segment without header.
        let file = OpenOptions::new().read(true).write(true).open(&spare)?;
        self.disk.write_at(&file, &spare, &Header { number, first_index }.encode(), 0)?;
        self.disk.rename(&spare, &path)?;
        Ok(Some(Segment { number, file: Arc::new(file), path, offset: HEADER_BYTES }))
    }

    /// Notes that a segment is full; its entries end before `end_index`.
    pub(crate) fn finished(&self, segment: &Segment, end_index: u64) {
        self.shelf.lock().used.push_back(Used {
            path: segment.path.clone(),
            end_index,
            inherited: false,
        });
    }

    /// Takes the segments back whose entries all lie below `durable_size`, which a durable
    /// checkpoint covers, the oldest first. One is kept to be used again, the others are removed.
    /// If we crash half-way, what is left is read again and found below the checkpoint. Where a
    /// step fails, its segment stays the first in line: to go on with the next one would leave a
    /// hole between those in the folder, which a start takes for damage.
    pub(crate) fn retire(&self, durable_size: u64, keep_ready_max: usize) -> io::Result<()> {
        loop {
            let (path, keep, inherited, number) = {
                let mut shelf = self.shelf.lock();
                let front = shelf.used.front().filter(|used| used.end_index <= durable_size);
                let front = front.map(|used| (used.path.clone(), used.inherited));
                let Some((path, inherited)) = front else { return Ok(()) };
                shelf.spares_made += 1;
                (path, shelf.ready.len() < keep_ready_max, inherited, shelf.spares_made)
            };
            let fits = std::fs::metadata(&path)?.len() == self.segment_bytes as u64;
            // What is used again keeps its old content behind what is written anew.
            let again = keep && fits && !inherited;
            let spare = again.then(|| self.folder.join(format!("spare-{number}")));
            match &spare {
                Some(spare) => self.disk.rename(&path, spare)?,
                None => self.disk.remove(&path)?,
            }
            // Only the publisher retires, so the first in line is still this one.
            let mut shelf = self.shelf.lock();
            shelf.used.pop_front();
            shelf.ready.extend(spare);
        }
    }

    /// The highest number used so far in the folder; 0 where there is none.
    pub(crate) fn highest_number(&self) -> u64 {
        let shelf = self.shelf.lock();
        let numbers = shelf.used.iter().filter_map(|used| used.path.file_name()?.to_str());
        numbers.filter_map(number_of).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Touch;
    use std::sync::atomic::{AtomicBool, Ordering};

    const SEGMENT_BYTES: usize = 4096;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| number_of(name).is_some()).collect();
        names.sort();
        names
    }

    /// A full disk refuses to rename the oldest segment: the ones behind it wait.
    #[test]
    fn a_segment_that_cannot_be_retired_keeps_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let full = Arc::new(AtomicBool::new(false));
        let hook = Arc::clone(&full);
        let disk = Disk::with_hook(Arc::new(move |touch, _| {
            // Once: the second try would find room again.
            let fails = touch == Touch::Rename && hook.swap(false, Ordering::Relaxed);
            if fails { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
        }));
        let segments = Segments::open(folder.path(), disk, SEGMENT_BYTES, 0).unwrap();
        for (number, first_index) in [(1, 0), (2, 37)] {
            segments.make_ready().unwrap();
            let segment = segments.begin(number, first_index).unwrap().unwrap();
            segments.finished(&segment, first_index + 8);
        }
        full.store(true, Ordering::Relaxed);
        assert!(segments.retire(100, 4).is_err());
        assert_eq!(names(folder.path()), [file_name(1), file_name(2)]);
        segments.retire(100, 4).unwrap();
        assert_eq!(names(folder.path()), [""; 0]);
        assert_eq!(segments.ready(), 2);
    }
}
