//! The readers of this crate over any bytes, for a fuzzer and for the corpus tests.

use crate::folder::Items;
use crate::log::Trust;
use crate::proof::{verify_proof, verify_proof_via};
use crate::recording::check::{Claim, Ending};
use crate::recording::reader::{Held, ReadError, Reader};
use crate::recording::{self, Head};
use crate::rotation::KeyRotation;
use crate::signed;
use crate::wal::{HEADER_BYTES, Header, RecordType, decode_record, encode_record};
use loggia_model::event::Event;
use loggia_model::id::SessionId;
use loggia_model::seal::Disclosure;
use loggia_model::value::Object;

/// Reads the bytes as everything that a log folder may hold. The first byte says as what, and is
/// taken off.
///
/// # Panics
/// Where a reader breaks its word: that what it accepts is written again with the same bytes.
pub fn fuzz_one(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 6 {
        0 => segment(bytes),
        1 => bundle(bytes),
        2 => disclosures(bytes),
        3 => record(bytes),
        4 => {
            let _ = signed::read(bytes, &[]);
        }
        5 if bytes.first() == Some(&b'v') => {
            let proof = bytes.get(1..).unwrap_or_default();
            let _ = verify_proof_via(proof, b"{}", None, Some(proof), &Trust::default());
        }
        _ => {
            let _ = verify_proof(bytes, b"{}", Some(b"{}"), &Trust::default());
        }
    }
}

/// Reads the bytes as a recording: the first byte says whether as a whole file, or as frames behind
/// a genuine header.
///
/// # Panics
/// Where the reader breaks its word: what it accepts is written again with the same bytes; a
/// recording that is claimed as it is holds; with one bit changed it does not.
pub fn fuzz_recording(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let session = SessionId::from_parts(1_790_000_000_000, [1; 10]);
    let salt = [5; 32];
    let genuine = recording::Header::new(session, &salt, 1_790_000_000_000_000).encode();
    let header = if first % 2 == 0 { Vec::new() } else { genuine };
    let mut bytes = [header.as_slice(), rest].concat();
    let open = |bytes: &[u8], claims: Vec<Claim>| {
        let mut reader = Reader::open(bytes, Held { session, salt, claims })?;
        let mut again = reader.header().encode();
        while let Some((place, frame)) = reader.next_frame()? {
            assert_eq!(place.offset, again.len() as u64);
            let head = Head::of(frame.at_us, frame.direction, frame.bytes);
            again.extend_from_slice(&head.map(|head| head.encode()).unwrap_or_default());
            again.extend_from_slice(frame.bytes);
        }
        assert!(bytes.starts_with(&again), "a recording that is written otherwise");
        let (ending, check) = reader.finish()?;
        let (frames, length) = (check.here().frame, Some(check.bytes()));
        Ok::<_, ReadError>((ending, Claim { frames, bytes: length, root: check.root() }))
    };
    let Ok((ending, claim)) = open(&bytes, Vec::new()) else { return };
    assert!(!matches!(ending, Ending::CutShort { .. }), "short of nothing that was claimed");
    let held = open(&bytes, vec![claim]);
    assert!(held.is_ok_and(|(_, again)| again == claim), "it does not hold as it is");
    let length = claim.bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(1);
    if let Some(byte) = bytes.get_mut(usize::from(*first) * 7 % length) {
        *byte ^= 1 << (first % 8);
    }
    let altered = open(&bytes, vec![claim]);
    assert!(matches!(altered, Err(ReadError::Altered(_))), "a changed bit goes unseen");
}

fn segment(bytes: &[u8]) {
    let Some(header) = Header::decode(bytes) else { return };
    let mut again = header.encode().to_vec();
    assert!(bytes.starts_with(&again), "a header that is written otherwise");
    let mut at = HEADER_BYTES;
    while let Some(record) = decode_record(header.number, bytes, at) {
        assert!(record.end > at, "a record without length");
        let leaf = bytes.get(record.leaf).unwrap_or_default();
        let disclosure = bytes.get(record.disclosure).unwrap_or_default();
        encode_record(header.number, record.kind, leaf, disclosure, &mut again);
        assert!(bytes.starts_with(&again), "a record that is written otherwise");
        if record.kind == RecordType::Entry {
            entry(leaf, disclosure);
        }
        at = record.end;
    }
}

/// Behind a checksum no fuzzer comes far; so here the checksum is made to fit.
fn record(bytes: &[u8]) {
    let Some((split, bytes)) = bytes.split_first() else { return };
    let split = usize::from(*split).min(bytes.len());
    let (leaf, disclosure) = bytes.split_at_checked(split).unwrap_or_default();
    let mut record = Vec::new();
    encode_record(1, RecordType::Entry, leaf, disclosure, &mut record);
    let read = decode_record(1, &record, 0);
    let parts = read.map(|read| (record.get(read.leaf), record.get(read.disclosure)));
    assert!(parts == Some((Some(leaf), Some(disclosure))), "a record that does not read back");
    // The same body with any type byte and any length of the leaf in it.
    let mut body = (bytes.len() as u32).to_be_bytes().to_vec();
    body.extend_from_slice(
        &crc32c::crc32c_append(crc32c::crc32c(&1_u64.to_be_bytes()), bytes).to_be_bytes(),
    );
    body.extend_from_slice(bytes);
    if let Some(read) = decode_record(1, &body, 0) {
        assert!(read.end == body.len() && read.disclosure.end <= body.len(), "beyond its end");
    }
}

fn bundle(bytes: &[u8]) {
    let Some((width, bytes)) = bytes.split_first() else { return };
    let width = u16::from(*width) + 1;
    let (items, wrong) = Items::entries_readable(bytes.to_vec(), width);
    assert!(items.len() == usize::from(width) || wrong.is_some(), "entries are missing unnoticed");
    items.iter().for_each(|leaf| entry(leaf, b""));
}

fn disclosures(bytes: &[u8]) {
    let Some((width, bytes)) = bytes.split_first() else { return };
    let Ok(items) = Items::disclosures(bytes.to_vec(), u16::from(*width) + 1) else { return };
    for disclosure in items.iter() {
        let _ = Disclosure::open(disclosure, &Object::new());
    }
}

fn entry(leaf: &[u8], disclosure: &[u8]) {
    if let Ok(event) = Event::parse(leaf) {
        assert!(event.whole.to_bytes() == leaf, "an event that is written otherwise");
        let _ = Disclosure::open(disclosure, event.sealed().unwrap_or(&Object::new()));
        let _ = KeyRotation::of(&event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::{Wanted, prove};
    use crate::testlog::TestLog;
    use crate::wal::HEADER_BYTES;
    use loggia_model::catalogue::Kind;
    use loggia_tlog::SigningKey;
    use loggia_tlog::tile::{bundle_encode, open_encode};
    use std::path::Path;

    /// Small files of each sort out of a small log. The digit is the first byte, see [`fuzz_one`].
    #[test]
    #[ignore = "writes fuzz/corpus/log; run it when the form of the files changes"]
    fn write_the_corpus() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/log");
        let data = tempfile::tempdir().unwrap();
        let mut log = TestLog::new(data.path(), 1);
        log.segment_bytes = 4096;
        log.begin_boot();
        log.session(2);
        let open = log.start();
        let draft = log.in_session(open, Kind::SessionContext);
        log.append(draft);
        log.publish();
        let put = |name: &str, kind: u8, parts: &[&[u8]]| {
            let bytes = [&[b'0' + kind], parts.concat().as_slice()].concat();
            fuzz_one(&bytes);
            std::fs::write(folder.join(name), bytes).unwrap();
        };
        for (number, file) in crate::testlog::files(&log.dir().join("wal")).iter().enumerate() {
            let bytes = std::fs::read(file).unwrap();
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 3;
            let bytes = &bytes[..used.min(bytes.len())];
            put(&format!("segment-{number}"), 0, &[bytes]);
            put(&format!("segment-{number}-torn"), 0, &[&bytes[..bytes.len() - 40]]);
        }
        put("segment-empty", 0, &[&Header { number: 9, first_index: 4 }.encode()]);
        put("segment-zeros", 0, &[&[0; HEADER_BYTES]]);
        for (number, (leaf, disclosure)) in log.entries.iter().enumerate() {
            put(&format!("record-{number}"), 3, &[&[200], leaf, disclosure]);
            if disclosure.is_empty() {
                continue;
            }
            let open = open_encode(&[Some(disclosure), None]).unwrap();
            put(&format!("disclosures-{number}"), 2, &[&[1], &open]);
        }
        for index in [0, 4, log.size() - 1] {
            let proof = prove(data.path(), Wanted::Index(index)).unwrap().event.proof;
            put(&format!("proof-{index}"), 5, &[proof.as_bytes()]);
        }
        let leaves: Vec<_> = log.entries.iter().map(|(leaf, _)| leaf).collect();
        for width in [1, 2, leaves.len()] {
            let bundle = bundle_encode(&leaves[..width]).unwrap();
            put(&format!("bundle-{width}"), 1, &[&[width as u8 - 1], &bundle]);
        }
        let short = bundle_encode(&[b"".as_slice(), b"a"]).unwrap();
        put("bundle-short", 1, &[&[1], &short]);
        for size in [0, 1, log.size()] {
            put(&format!("checkpoint-{size}"), 4, &[&log.checkpoint(size)]);
        }
        // The last, so that nothing else of this log changes with it.
        let new = SigningKey::from_seed(log.key.name(), &[9; 32]).unwrap();
        let at = log.rotate(new) as usize;
        let bundle = bundle_encode(&[&log.entries[at].0]).unwrap();
        put("bundle-rotated", 1, &[&[0], &bundle]);
    }
}
