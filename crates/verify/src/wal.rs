//! The write-ahead log's format: what `ledger` writes and an outsider reads.
//!
//! A folder of segments of one fixed size, named by their number in 16 hex digits
//! (`0000000000000001.wal`). Numbers grow by one and are never used twice; a segment whose entries
//! all lie in synced tiles below a durable checkpoint is renamed to a higher number and used
//! again, so old bytes stand behind the new ones.
//!
//! A segment begins with a header of 32 bytes: magic `LOGGIAW1` | u64 BE number | u64 BE index of
//! its first entry | u32 zero | u32 BE CRC-32C of the 28 bytes before. Records follow without
//! gaps: u32 BE length | u32 BE CRC-32C | body, where length counts the body and the body is
//! u8 type | u32 BE leaf length | leaf | disclosure. The CRC is over the segment's number (u64 BE)
//! and the body, so that a record left from the segment's earlier use does not check out.
//!
//! A length that is zero or does not fit, or a CRC that does not check out, ends the segment.
//! The log goes on in the next segment only where that one's header says the index at which this
//! one ended; otherwise the write-ahead log ends there. What was lost in a crash is always a tail.

use std::ops::Range;

mod scan;

pub(crate) use scan::SEGMENT_BYTES_MAX;
pub use scan::{EndReason, Segment, WalEnd, WalRecord, WalScan, wal_scan};

/// Length of a segment's header, in bytes.
pub const HEADER_BYTES: usize = 32;
/// What stands before a record's body, in bytes.
pub const PREFIX_BYTES: usize = 8;
/// What stands in the body before the leaf, in bytes.
const BODY_PREFIX_BYTES: usize = 5;
const MAGIC: &[u8; 8] = b"LOGGIAW1";

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordType {
    /// An entry of the log: leaf and disclosure.
    Entry,
    /// A signed checkpoint (in the place of the leaf); has no index.
    Checkpoint,
}

impl RecordType {
    const fn byte(self) -> u8 {
        match self {
            Self::Entry => 1,
            Self::Checkpoint => 2,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Entry),
            2 => Some(Self::Checkpoint),
            _ => None,
        }
    }
}

/// A segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The segment's number.
    pub number: u64,
    /// Index in the log of its first entry.
    pub first_index: u64,
}

impl Header {
    /// The bytes of the header.
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&self.first_index.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(&bytes);
        header
    }

    /// Reads a header; `None` where the bytes are not one.
    pub fn decode(segment: &[u8]) -> Option<Self> {
        let bytes = segment.get(..HEADER_BYTES)?;
        let (checked, crc) = bytes.split_at_checked(HEADER_BYTES - 4)?;
        let zero = u32_at(checked, 24)? == 0;
        if u32_at(crc, 0)? != crc32c::crc32c(checked) || !checked.starts_with(MAGIC) || !zero {
            return None;
        }
        Some(Self { number: u64_at(checked, 8)?, first_index: u64_at(checked, 16)? })
    }
}

/// Where the parts of a record lie in the segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it is.
    pub kind: RecordType,
    /// The leaf (or the checkpoint).
    pub leaf: Range<usize>,
    /// The disclosure; may be empty.
    pub disclosure: Range<usize>,
    /// Where the next record begins.
    pub end: usize,
}

/// Length of a record with these parts, in bytes.
pub const fn record_bytes(leaf_len: usize, disclosure_len: usize) -> usize {
    PREFIX_BYTES + BODY_PREFIX_BYTES + leaf_len + disclosure_len
}

/// Appends a record for the segment `number` and gives the places of leaf and disclosure in `out`.
pub fn encode_record(
    number: u64,
    kind: RecordType,
    leaf: &[u8],
    disclosure: &[u8],
    out: &mut Vec<u8>,
) -> (Range<usize>, Range<usize>) {
    let begin = out.len();
    let body_len = BODY_PREFIX_BYTES + leaf.len() + disclosure.len();
    // Both lengths are far below 4 GiB: a leaf has 64 KiB at most, a segment 1 GiB at most.
    out.extend_from_slice(&(body_len as u32).to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.push(kind.byte());
    out.extend_from_slice(&(leaf.len() as u32).to_be_bytes());
    let leaf_begin = out.len();
    out.extend_from_slice(leaf);
    let disclosure_begin = out.len();
    out.extend_from_slice(disclosure);
    let crc = record_crc(number, out.get(begin + PREFIX_BYTES..).unwrap_or_default());
    if let Some(place) = out.get_mut(begin + 4..begin + PREFIX_BYTES) {
        place.copy_from_slice(&crc.to_be_bytes());
    }
    (leaf_begin..disclosure_begin, disclosure_begin..out.len())
}

/// Reads the record at `begin` of a segment; `None` where the segment's log ends.
pub fn decode_record(number: u64, segment: &[u8], begin: usize) -> Option<Record> {
    let body_begin = begin.checked_add(PREFIX_BYTES)?;
    let body_len = u32_at(segment, begin)? as usize;
    let end = body_begin.checked_add(body_len)?;
    let body = segment.get(body_begin..end)?;
    if body_len < BODY_PREFIX_BYTES || u32_at(segment, begin + 4)? != record_crc(number, body) {
        return None;
    }
    let kind = RecordType::from_byte(*body.first()?)?;
    let leaf_begin = body_begin + BODY_PREFIX_BYTES;
    let leaf_end = leaf_begin.checked_add(u32_at(body, 1)? as usize)?;
    if leaf_end > end {
        return None;
    }
    Some(Record { kind, leaf: leaf_begin..leaf_end, disclosure: leaf_end..end, end })
}

/// The file name of a segment.
pub fn file_name(number: u64) -> String {
    format!("{number:016x}.wal")
}

/// The number in a segment's file name; `None` for other files.
pub fn number_of(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(".wal").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok().filter(|number| self::file_name(*number) == file_name)
}

fn record_crc(number: u64, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_be_bytes()), body)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_be_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_be_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_round_trip_and_a_flipped_bit_ends_the_segment(
            entries in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 0..80), proptest::collection::vec(any::<u8>(), 0..80)), 1..8),
            flip in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let mut segment = Header { number: 7, first_index: 40 }.encode().to_vec();
            for (leaf, disclosure) in &entries {
                encode_record(7, RecordType::Entry, leaf, disclosure, &mut segment);
            }
            let read = |segment: &[u8]| {
                let mut at = HEADER_BYTES;
                let mut read = Vec::new();
                while let Some(record) = decode_record(7, segment, at) {
                    read.push((segment[record.leaf].to_vec(), segment[record.disclosure].to_vec()));
                    at = record.end;
                }
                read
            };
            prop_assert_eq!(&read(&segment), &entries);
            let place = HEADER_BYTES + flip.index(segment.len() - HEADER_BYTES);
            segment[place] ^= 1 << bit;
            let damaged = read(&segment);
            prop_assert!(damaged.len() < entries.len() && entries.starts_with(&damaged));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in any::<Vec<u8>>(), at in 0usize..100) {
            let _ = Header::decode(&bytes);
            let _ = decode_record(1, &bytes, at);
        }
    }

    #[test]
    fn what_an_earlier_use_of_the_segment_left_does_not_read() {
        let mut segment = Header { number: 7, first_index: 0 }.encode().to_vec();
        encode_record(7, RecordType::Entry, b"old", b"", &mut segment);
        assert!(decode_record(7, &segment, HEADER_BYTES).is_some());
        assert!(decode_record(8, &segment, HEADER_BYTES).is_none());
    }

    #[test]
    fn names_and_headers_round_trip() {
        assert_eq!(number_of(&file_name(255)), Some(255));
        assert_eq!(number_of("00000000000000FF.wal"), None);
        let header = Header { number: 3, first_index: 9 };
        assert_eq!(Header::decode(&header.encode()), Some(header));
        let mut bytes = header.encode();
        bytes[20] ^= 1;
        assert_eq!(Header::decode(&bytes), None);
    }
}
