//! Reads a write-ahead log from its first segment to where it ends.

use super::{HEADER_BYTES, Header, Record, RecordType, decode_record, file_name, number_of};
use crate::folder::{FolderError, file_names, read_into};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The longest segment that is read, in bytes.
pub(crate) const SEGMENT_BYTES_MAX: usize = 1 << 30;

/// A record, and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct WalRecord<'s> {
    /// What it is.
    pub kind: RecordType,
    /// Index in the log of this entry; of a checkpoint, of the entry that follows.
    pub index: u64,
    /// The bytes of the leaf, or the signed checkpoint.
    pub leaf: &'s [u8],
    /// The disclosure; may be empty.
    pub disclosure: &'s [u8],
    /// Number of the segment.
    pub segment: u64,
    /// Where in the segment the record begins, in bytes.
    pub offset: usize,
}

/// A segment that belongs to the log, as far as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its number.
    pub number: u64,
    /// Index of its first entry.
    pub first_index: u64,
    /// Index of the entry that follows its last.
    pub end_index: u64,
    /// Where its last record ends, in bytes from its beginning.
    pub end_offset: usize,
}

/// Why a write-ahead log ends where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// There is no segment with a header of its own.
    Empty,
    /// Nothing follows the last record: the segment is full, or zeros stand there.
    Clean,
    /// Bytes follow that are no record: one that was cut by a crash or altered, or what the
    /// segment's earlier use left. Nobody can tell which from the bytes alone.
    Unreadable,
    /// A later segment is there and does not begin where the last readable record ends.
    Gap {
        /// Number of the later segment.
        segment: u64,
        /// The index at which its header says that it begins.
        first_index: u64,
    },
}

/// Where and why a write-ahead log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalEnd {
    /// Number of the last segment that was read; 0 where there is none.
    pub segment: u64,
    /// Where in it the last record ends, in bytes.
    pub offset: usize,
    /// Index of the entry that would follow; 0 where there is no segment.
    pub index: u64,
    /// Why it ends there.
    pub reason: EndReason,
}

/// A write-ahead log being read. Holds one segment in memory at a time.
#[derive(Debug)]
pub struct WalScan {
    dir: PathBuf,
    // Numbers of the files that were not looked at yet, the next one last.
    ahead: Vec<u64>,
    segments: Vec<Segment>,
    unused: Vec<u64>,
    headless: Vec<u64>,
    bytes: Vec<u8>,
    end: Option<WalEnd>,
}

/// Begins to read the write-ahead log in a folder; one that is not there is empty.
///
/// # Errors
/// [`FolderError::Read`] where the folder cannot be listed.
pub fn wal_scan(dir: &Path) -> Result<WalScan, FolderError> {
    let mut ahead: Vec<u64> = file_names(dir)?.iter().filter_map(|name| number_of(name)).collect();
    ahead.sort_unstable_by(|one, other| other.cmp(one));
    Ok(WalScan {
        dir: dir.to_path_buf(),
        ahead,
        segments: Vec::new(),
        unused: Vec::new(),
        headless: Vec::new(),
        bytes: Vec::new(),
        end: None,
    })
}

impl WalScan {
    /// The next record; `None` at the end of the log, which [`end`](Self::end) then explains.
    ///
    /// # Errors
    /// [`FolderError::Read`]; [`FolderError::Missing`] where the writer has meanwhile taken a
    /// segment away to use it again: begin anew.
    pub fn next_record(&mut self) -> Result<Option<WalRecord<'_>>, FolderError> {
        while self.end.is_none() {
            let Some((here, record)) = self.decode() else {
                self.advance()?;
                continue;
            };
            let Some(segment) = self.segments.last_mut() else { continue };
            segment.end_offset = record.end;
            if record.kind == RecordType::Entry {
                segment.end_index += 1;
            }
            return Ok(Some(WalRecord {
                kind: record.kind,
                index: here.end_index,
                leaf: self.bytes.get(record.leaf).unwrap_or_default(),
                disclosure: self.bytes.get(record.disclosure).unwrap_or_default(),
                segment: here.number,
                offset: here.end_offset,
            }));
        }
        Ok(None)
    }

    /// Where and why it ended; `None` until all records were read.
    pub fn end(&self) -> Option<WalEnd> {
        self.end
    }

    /// The segments so far, in order; the last one is the one being read.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Numbers of the files so far that were laid out and not used yet: their header is zeros, or
    /// that of an earlier use.
    pub fn unused(&self) -> &[u64] {
        &self.unused
    }

    /// Numbers of the files so far whose header no writer wrote.
    pub fn headless(&self) -> &[u64] {
        &self.headless
    }

    /// Where the file of a segment lies.
    pub fn path(&self, number: u64) -> PathBuf {
        self.dir.join(file_name(number))
    }

    fn decode(&self) -> Option<(Segment, Record)> {
        let here = *self.segments.last()?;
        Some((here, decode_record(here.number, &self.bytes, here.end_offset)?))
    }

    /// At the end of a segment: goes on in the next one, or finds out that the log ends.
    fn advance(&mut self) -> Result<(), FolderError> {
        while let Some(number) = self.ahead.pop() {
            let bytes = self.header_bytes(number)?;
            let header = match Header::decode(&bytes) {
                Some(header) if header.number == number => header,
                None if bytes.iter().any(|byte| *byte != 0) => {
                    self.headless.push(number);
                    continue;
                }
                _ => {
                    self.unused.push(number);
                    continue;
                }
            };
            if let Some(here) = self.segments.last().copied()
                && here.end_index != header.first_index
            {
                // A writer at work may have filled the segment since it was read.
                self.load(here.number)?;
                if self.decode().is_some() {
                    self.ahead.push(number);
                    return Ok(());
                }
                let Header { first_index, .. } = header;
                self.finish(EndReason::Gap { segment: number, first_index });
                return Ok(());
            }
            self.load(number)?;
            // The segment may have been taken for another use between the two reads.
            if Header::decode(&self.bytes) != Some(header) {
                return Err(FolderError::Missing { path: self.path(number) });
            }
            self.segments.push(Segment {
                number,
                first_index: header.first_index,
                end_index: header.first_index,
                end_offset: HEADER_BYTES,
            });
            return Ok(());
        }
        let rest = self.segments.last().and_then(|here| self.bytes.get(here.end_offset..));
        let reason = match rest {
            None => EndReason::Empty,
            Some(rest) if rest.iter().take(4).all(|byte| *byte == 0) => EndReason::Clean,
            Some(_) => EndReason::Unreadable,
        };
        self.finish(reason);
        Ok(())
    }

    fn finish(&mut self, reason: EndReason) {
        let last = self.segments.last().copied();
        self.end = Some(WalEnd {
            segment: last.map_or(0, |last| last.number),
            offset: last.map_or(0, |last| last.end_offset),
            index: last.map_or(0, |last| last.end_index),
            reason,
        });
    }

    fn header_bytes(&self, number: u64) -> Result<Vec<u8>, FolderError> {
        let path = self.path(number);
        let file = std::fs::File::open(&path).map_err(|source| moved_or_failed(&path, source))?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        file.take(HEADER_BYTES as u64)
            .read_to_end(&mut bytes)
            .map_err(|source| moved_or_failed(&path, source))?;
        Ok(bytes)
    }

    fn load(&mut self, number: u64) -> Result<(), FolderError> {
        let path = self.path(number);
        if read_into(&path, SEGMENT_BYTES_MAX, &mut self.bytes)? {
            return Ok(());
        }
        Err(FolderError::Missing { path })
    }
}

fn moved_or_failed(path: &Path, source: std::io::Error) -> FolderError {
    let path = path.to_path_buf();
    if source.kind() == std::io::ErrorKind::NotFound {
        return FolderError::Missing { path };
    }
    FolderError::Read { path, source }
}

#[cfg(test)]
mod tests {
    use super::super::encode_record;
    use super::*;

    fn segment(number: u64, first_index: u64, entries: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Header { number, first_index }.encode().to_vec();
        for leaf in entries {
            encode_record(number, RecordType::Entry, leaf, b"", &mut bytes);
        }
        bytes
    }

    fn write(dir: &Path, number: u64, bytes: &[u8]) {
        std::fs::write(dir.join(file_name(number)), bytes).unwrap();
    }

    fn scan(dir: &Path) -> (Vec<(u64, Vec<u8>)>, WalEnd) {
        let mut scan = wal_scan(dir).unwrap();
        let mut entries = Vec::new();
        while let Some(record) = scan.next_record().unwrap() {
            entries.push((record.index, record.leaf.to_vec()));
        }
        (entries, scan.end().unwrap())
    }

    #[test]
    fn segments_follow_each_other_and_an_unused_one_ends_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut second = segment(6, 42, &[b"c"]);
        encode_record(6, RecordType::Checkpoint, b"note", b"", &mut second);
        encode_record(6, RecordType::Entry, b"d", b"open", &mut second);
        let end = second.len();
        second.resize(end + 100, 0);
        write(dir.path(), 5, &segment(5, 40, &[b"a", b"b"]));
        write(dir.path(), 6, &second);
        write(dir.path(), 7, &segment(3, 20, &[b"old"]));
        write(dir.path(), 8, &[0; 64]);
        let (entries, ended) = scan(dir.path());
        let expected: [(u64, &[u8]); 5] =
            [(40, b"a"), (41, b"b"), (42, b"c"), (43, b"note"), (43, b"d")];
        assert_eq!(entries, expected.map(|(index, leaf)| (index, leaf.to_vec())));
        assert_eq!(ended, WalEnd { segment: 6, offset: end, index: 44, reason: EndReason::Clean });
    }

    #[test]
    fn nothing_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(scan(&dir.path().join("absent")).1.reason, EndReason::Empty);
        write(dir.path(), 1, &[0; 100]);
        assert_eq!(scan(dir.path()).1.reason, EndReason::Empty);
    }

    #[test]
    fn a_cut_record_ends_the_log_and_one_in_the_middle_is_a_gap() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = segment(1, 0, &[b"a", b"b"]);
        let last = first.len() - 1;
        first[last] ^= 1;
        write(dir.path(), 1, &first);
        let (entries, end) = scan(dir.path());
        assert_eq!((entries.len(), end.index, end.reason), (1, 1, EndReason::Unreadable));
        write(dir.path(), 2, &segment(2, 2, &[b"c"]));
        let (entries, end) = scan(dir.path());
        assert_eq!(entries.len(), 1);
        assert_eq!(end.reason, EndReason::Gap { segment: 2, first_index: 2 });
        // After a recovery the next segment begins where the cut one ended.
        write(dir.path(), 2, &segment(2, 1, &[b"c"]));
        let (entries, end) = scan(dir.path());
        assert_eq!((entries.len(), end.index), (2, 2));
    }

    #[test]
    fn what_the_writer_adds_meanwhile_is_no_gap() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1, &segment(1, 0, &[b"a"]));
        write(dir.path(), 2, &[0; 64]);
        let mut reading = wal_scan(dir.path()).unwrap();
        reading.next_record().unwrap().unwrap();
        write(dir.path(), 1, &segment(1, 0, &[b"a", b"b"]));
        write(dir.path(), 2, &segment(2, 2, &[b"c"]));
        let mut rest = Vec::new();
        while let Some(record) = reading.next_record().unwrap() {
            rest.push(record.index);
        }
        assert_eq!(rest, [1, 2]);
        // One that was taken away is asked for anew.
        let mut reading = wal_scan(dir.path()).unwrap();
        std::fs::remove_file(dir.path().join(file_name(1))).unwrap();
        assert!(matches!(reading.next_record(), Err(FolderError::Missing { .. })));
    }
}
