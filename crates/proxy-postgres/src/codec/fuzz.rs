//! One entry for fuzzing: every reader of the codec over the same bytes.

use super::frame::{Decoder, HEADER_BYTES, Inbound, Limits, Taking};
use super::scan::{Piece, Scanner};
use super::{backend, frontend, startup};
use bytes::{Buf, BytesMut};

/// Runs every reader of the codec over `data`, whole and split. Panics only where the codec has a
/// fault: on a panic of its own, or when a split changes what is read.
pub fn fuzz_one(data: &[u8]) {
    let (split, data) = data.split_first().map_or((0, data), |(first, rest)| (*first, rest));
    let split = usize::from(split).min(data.len());
    let halves = data.split_at_checked(split).unwrap_or((data, &[]));
    let [taken, thrown] = [Taking::For(()), Taking::Nothing].map(|taking| {
        let whole = read_client(&[data], taking);
        let parts = read_client(&[halves.0, halves.1], taking);
        assert!(whole == parts, "a split changed what the client said");
        whole
    });
    assert!(taken.messages == thrown.messages, "COPY data changed what else the client said");
    assert!(thrown.bulk.is_empty(), "a part of a message that was thrown away came through");
    let whole = read_server(&[data]);
    let parts = read_server(&[halves.0, halves.1]);
    assert!(whole == parts, "a split changed what the server said");

    let _ = startup::decode(&mut BytesMut::from(data));
    let _ = backend::authentication(data);
    let _ = backend::backend_key_data(data);
    let _ = backend::command_complete(data);
    let _ = backend::copy_response(data);
    let _ = backend::error_fields(data);
    let _ = backend::negotiate_protocol_version(data);
    let _ = backend::parameter_status(data);
    let _ = backend::ready_for_query(data);
}

/// What a reader made of a stream, in a form in which splits do not show: of bulk data only the
/// bytes, joined.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Trace {
    pub(super) messages: Vec<(u8, Vec<u8>)>,
    pub(super) bulk: Vec<u8>,
    pub(super) bulk_messages: u64,
    pub(super) broken: bool,
}

/// Reads a client's stream that arrives in these parts, with its COPY data or without.
pub(super) fn read_client(parts: &[&[u8]], taking: Taking<()>) -> Trace {
    let limits = Limits { action_bytes_max: 4096, neutral_bytes_max: 512 };
    let mut decoder = Decoder::new(limits);
    let mut buffer = BytesMut::new();
    let mut trace = Trace::default();
    for part in parts {
        buffer.extend_from_slice(part);
        loop {
            match decoder.next(&mut buffer, || taking) {
                Ok(Some(Inbound::Frame(frame))) => {
                    let _ = frontend::parse(&frame);
                    trace.messages.push((frame.tag(), frame.body().to_vec()));
                }
                Ok(Some(Inbound::Copy { piece, .. })) => {
                    piece.payloads().for_each(|payload| trace.bulk.extend_from_slice(payload));
                    trace.bulk_messages += piece.messages();
                }
                Ok(Some(Inbound::TooLarge { tag, bytes })) => {
                    trace.messages.push((tag, bytes.to_be_bytes().to_vec()));
                }
                Ok(None | Some(Inbound::CopyWaits)) => break,
                Err(_) => {
                    trace.broken = true;
                    return trace;
                }
            }
        }
    }
    trace
}

/// Reads a server's stream that arrives in these parts.
pub(super) fn read_server(parts: &[&[u8]]) -> Trace {
    let mut scanner = Scanner::default();
    let mut buffer = BytesMut::new();
    let mut trace = Trace::default();
    for part in parts {
        buffer.extend_from_slice(part);
        loop {
            let piece = match scanner.next(&buffer) {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(_) => {
                    trace.broken = true;
                    return trace;
                }
            };
            match &piece {
                Piece::Rows { messages, .. } => trace.bulk_messages += messages,
                Piece::Copy { payload, .. } => {
                    let data = buffer.get(payload.clone()).unwrap_or_default();
                    trace.bulk.extend_from_slice(data);
                }
                Piece::Message { tag, body, .. } => {
                    let body = buffer.get(body.clone()).unwrap_or_default();
                    trace.messages.push((*tag, body.to_vec()));
                }
                Piece::Other { tag, .. } => trace.messages.push((*tag, Vec::new())),
                Piece::More { tag: b'd', bytes, .. } => {
                    trace.bulk.extend_from_slice(buffer.get(..*bytes).unwrap_or_default());
                }
                Piece::More { .. } => {}
            }
            assert!(
                piece.bytes() > 0 && piece.bytes() <= buffer.len(),
                "a piece beyond the buffer"
            );
            assert!(!matches!(piece, Piece::Message { bytes, .. } if bytes < HEADER_BYTES));
            buffer.advance(piece.bytes());
        }
    }
    trace
}
