//! Cuts the client's stream into steps.

use super::files::{Files, Pending};
use super::packet::{self, HANDLE_BYTES_MAX, HEAD_BYTES, INIT, Request, VERSION_SPOKEN, WRITE};
use super::steps::{Class, Steps};
use super::{COLLECTED_BYTES_MAX, PACKET_BYTES_MAX, Requests};
use crate::codec::Malformed;
use crate::codec::operation::{Denial, Kind, Operation, Refusal, Ticket};
use crate::codec::reader::{u32_at, u64_at};
use bytes::{BufMut, Bytes, BytesMut};

/// Where in the stream the next byte is.
#[derive(Debug, Clone, Copy, Default)]
enum Inside {
    /// At the beginning of a packet, or in one that is collected.
    #[default]
    Boundary,
    /// In the data of a WRITE.
    Data { file: u64, at: u64, left: usize, behind: usize },
    /// Behind the data of a WRITE, before the end of its packet.
    Behind { file: u64, left: usize },
}

/// What stands at the front of some bytes.
enum Front {
    /// So many bytes are needed to say more.
    Needs(usize),
    /// A whole packet of this length.
    Whole(usize),
    /// The head of a WRITE to an open file.
    Write(WriteHead),
}

/// The head of a WRITE to an open file.
struct WriteHead {
    length: usize,
    request_id: u32,
    file: u64,
    at: u64,
    data: usize,
    behind: usize,
}

/// Cuts the client's stream into steps.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    inside: Inside,
    /// The beginning of a packet that has not come whole.
    held: BytesMut,
}

impl Cutter {
    pub(super) fn cut<K: Clone>(
        &mut self,
        chunk: Bytes,
        files: &mut Files<K>,
    ) -> Result<Requests<K>, Malformed> {
        let mut steps = Steps::over(chunk);
        while !steps.is_at_end() {
            match self.inside {
                Inside::Data { file, at, left, behind } => {
                    let piece = steps.take_content(left, file, files);
                    files.write(file, at, &piece);
                    let (at, left) = (at.saturating_add(piece.len() as u64), left - piece.len());
                    self.inside = match left {
                        0 => after_data(file, behind),
                        _ => Inside::Data { file, at, left, behind },
                    };
                }
                Inside::Behind { file, left } => {
                    let piece = steps.take(left, Class::Part(file), files);
                    self.inside = after_data(file, left - piece.len());
                }
                Inside::Boundary if self.held.is_empty() => match front(steps.rest(), files)? {
                    Front::Needs(_) => {
                        self.held.extend_from_slice(&steps.take_apart(usize::MAX, files))
                    }
                    Front::Whole(length) => {
                        let packet = steps.peek(length);
                        one_packet(packet, &mut steps, Some(length), files)?;
                    }
                    Front::Write(head) => {
                        self.inside = begin_write(&head, files)?;
                        steps.take(head.length, Class::Part(head.file), files);
                    }
                },
                Inside::Boundary => self.go_on(&mut steps, files)?,
            }
        }
        Ok(steps.finish(files))
    }

    /// Adds to a packet that came in part.
    fn go_on<K: Clone>(
        &mut self,
        steps: &mut Steps<K>,
        files: &mut Files<K>,
    ) -> Result<(), Malformed> {
        loop {
            match front(&self.held, files)? {
                Front::Needs(length) => {
                    let missing = length - self.held.len();
                    let piece = steps.take_apart(missing, files);
                    self.held.extend_from_slice(&piece);
                    if piece.len() < missing {
                        return Ok(());
                    }
                }
                Front::Whole(_) => {
                    let packet = self.held.split().freeze();
                    return one_packet(packet, steps, None, files);
                }
                Front::Write(head) => {
                    self.inside = begin_write(&head, files)?;
                    let head_bytes = self.held.split().freeze();
                    steps.put(head_bytes, Class::Part(head.file), files);
                    return Ok(());
                }
            }
        }
    }
}

fn after_data(file: u64, behind: usize) -> Inside {
    if behind == 0 { Inside::Boundary } else { Inside::Behind { file, left: behind } }
}

/// Looks at the beginning of a packet.
fn front<K: Clone>(bytes: &[u8], files: &Files<K>) -> Result<Front, Malformed> {
    let (Some(length), Some(&kind)) = (u32_at(bytes, 0), bytes.get(4)) else {
        return Ok(Front::Needs(5));
    };
    let error = Malformed::Length { length };
    let body = usize::try_from(length).map_err(|_| error)?;
    if body == 0 || body > PACKET_BYTES_MAX {
        return Err(error);
    }
    let whole = 4 + body;
    if kind == WRITE
        && let Some(front) = front_of_write(bytes, whole, files)?
    {
        return Ok(front);
    }
    if whole > COLLECTED_BYTES_MAX {
        return Err(error);
    }
    Ok(if bytes.len() < whole { Front::Needs(whole) } else { Front::Whole(whole) })
}

/// Looks at the beginning of a WRITE; `None` when its handle stands for nothing, so that it is not
/// passed on.
fn front_of_write<K: Clone>(
    bytes: &[u8],
    whole: usize,
    files: &Files<K>,
) -> Result<Option<Front>, Malformed> {
    let malformed = Malformed::Fields("WRITE");
    let field = HEAD_BYTES + 4;
    if whole < field {
        return Err(malformed);
    }
    let (Some(request_id), Some(handle)) = (u32_at(bytes, 5), u32_at(bytes, HEAD_BYTES)) else {
        return Ok(Some(Front::Needs(field)));
    };
    let handle = usize::try_from(handle).ok().filter(|length| *length <= HANDLE_BYTES_MAX);
    let behind_handle = field + handle.ok_or(malformed)?;
    let length = behind_handle + 12;
    if whole < length {
        return Err(malformed);
    }
    if bytes.len() < length {
        return Ok(Some(Front::Needs(length)));
    }
    let at = u64_at(bytes, behind_handle).ok_or(malformed)?;
    let data = u32_at(bytes, behind_handle + 8).and_then(|data| usize::try_from(data).ok());
    let data = data.ok_or(malformed)?;
    let behind = (whole - length).checked_sub(data).ok_or(malformed)?;
    let handle = bytes.get(field..behind_handle).ok_or(malformed)?;
    let head = |file| Front::Write(WriteHead { length, request_id, file, at, data, behind });
    Ok(files.of_handle(handle).map(head))
}

fn begin_write<K: Clone>(head: &WriteHead, files: &mut Files<K>) -> Result<Inside, Malformed> {
    files.check_id(head.request_id)?;
    let (file, bytes) = (head.file, head.data as u64);
    let at = files.begin_write(file, head.at, bytes);
    let end = at.saturating_add(bytes);
    files.sent(head.request_id, Pending::Write { file, bytes, end });
    Ok(match head.data {
        0 => after_data(file, head.behind),
        left => Inside::Data { file, at, left, behind: head.behind },
    })
}

/// Puts a whole packet into a step. `length` is its length in the chunk; without it the packet
/// has been taken from there before.
fn one_packet<K: Clone>(
    packet: Bytes,
    steps: &mut Steps<K>,
    length: Option<usize>,
    files: &mut Files<K>,
) -> Result<(), Malformed> {
    let request = packet::parse(&packet)?;
    if let Request::Init { version } = request {
        if let Some(length) = length {
            steps.take_apart(length, files);
        }
        steps.put(greeting(packet, version), Class::Neutral, files);
        return Ok(());
    }
    let request_id = u32_at(&packet, 5).ok_or(Malformed::Fields("request"))?;
    files.check_id(request_id)?;
    match told(request, request_id, files) {
        Told::Bytes(class) => match length {
            Some(length) => drop(steps.take(length, class, files)),
            None => steps.put(packet, class, files),
        },
        Told::Action { ticket, operation, on } => {
            if let Some(length) = length {
                steps.take_apart(length, files);
            }
            steps.action(Ticket(ticket), *operation, on, packet, files);
        }
        Told::Refused { operation, why } => {
            if let Some(length) = length {
                steps.take_apart(length, files);
            }
            let denial = Denial { to_client: refusal(request_id, why), to_target: Bytes::new() };
            steps.refused(*operation, why, denial, files);
        }
    }
    Ok(())
}

/// A client's greeting, offering no version beyond the one that is read here.
fn greeting(packet: Bytes, version: u32) -> Bytes {
    if version <= VERSION_SPOKEN {
        return packet;
    }
    let mut changed = BytesMut::with_capacity(packet.len());
    changed.extend_from_slice(packet.get(..4).unwrap_or_default());
    changed.put_u8(INIT);
    changed.put_u32(VERSION_SPOKEN);
    changed.extend_from_slice(packet.get(HEAD_BYTES..).unwrap_or_default());
    changed.freeze()
}

/// What a request is for the record.
enum Told<K> {
    Bytes(Class),
    Action { ticket: u64, operation: Box<Operation>, on: Option<K> },
    Refused { operation: Box<Operation>, why: Refusal },
}

/// What the client is told of something that is not passed on.
fn refusal(request_id: u32, why: Refusal) -> Bytes {
    let (code, text) = match why {
        Refusal::TooManyOpen => (packet::FAILURE, "Loggia: too many files are open"),
        Refusal::UnknownHandle => (packet::FAILURE, "Loggia: no open file has this handle"),
        Refusal::OtherVersion => (packet::UNSUPPORTED, "Loggia: only version 3 is spoken here"),
    };
    packet::status(request_id, code, text)
}

fn told<K: Clone>(request: Request, id: u32, files: &mut Files<K>) -> Told<K> {
    match request {
        Request::Init { .. } | Request::Neutral => {
            files.sent(id, Pending::Neutral);
            Told::Bytes(Class::Neutral)
        }
        Request::NeutralOn { handle, name } => match files.of_handle(&handle) {
            Some(_) => {
                files.sent(id, Pending::Neutral);
                Told::Bytes(Class::Neutral)
            }
            None => unknown_handle(Operation::new(Kind::Other, name)),
        },
        Request::Inspect { handle } => match files.of_handle(&handle) {
            Some(file) => {
                files.sent(id, Pending::Inspect { file });
                Told::Bytes(Class::Neutral)
            }
            None => unknown_handle(other("fstat")),
        },
        Request::Entries { handle } => match files.of_handle(&handle) {
            Some(file) => {
                files.sent(id, Pending::Entries { file });
                Told::Bytes(Class::Neutral)
            }
            None => unknown_handle(other("readdir")),
        },
        // From here on the handle stands for nothing, whenever the target gets to it.
        Request::Close { handle } => match files.take_handle(&handle) {
            Some(file) => {
                files.sent(id, Pending::Close { file });
                Told::Bytes(Class::Part(file))
            }
            None => unknown_handle(other("close")),
        },
        Request::Read { handle, at, length } => match files.of_handle(&handle) {
            Some(file) => {
                files.begin_read(file, at);
                files.sent(id, Pending::Read { file, at, length });
                Told::Bytes(Class::Part(file))
            }
            None => unknown_handle(other("read")),
        },
        Request::Write => unknown_handle(other("write")),
        Request::Open(operation) if !files.has_room() => {
            Told::Refused { operation: Box::new(operation), why: Refusal::TooManyOpen }
        }
        Request::Open(operation) => {
            let ticket = files.begin_open(id, &operation);
            files.sent(id, Pending::Open(ticket));
            action(ticket, operation)
        }
        Request::Single(operation) => {
            let ticket = files.begin(id);
            files.sent(id, Pending::Single(ticket));
            action(ticket, operation)
        }
        Request::Adjust { handle, operation } => adjust(&handle, operation, id, files),
        Request::Copy { from, into, operation } => copy(&from, &into, operation, id, files),
        // Not awaited: OpenSSH's server does not answer a type that it does not know.
        Request::Unknown(operation) => action(files.ticket(), operation),
        Request::OtherVersion(operation) => {
            Told::Refused { operation: Box::new(operation), why: Refusal::OtherVersion }
        }
    }
}

fn action<K>(ticket: u64, operation: Operation) -> Told<K> {
    Told::Action { ticket, operation: Box::new(operation), on: None }
}

/// Sets attributes of an open file.
fn adjust<K: Clone>(
    handle: &[u8],
    mut operation: Operation,
    id: u32,
    files: &mut Files<K>,
) -> Told<K> {
    let Some(file) = files.of_handle(handle) else { return unknown_handle(operation) };
    let ticket = files.begin(id);
    let size = operation.attributes.size;
    files.sent(id, Pending::Adjust { action: ticket, file, size });
    let (on, path) = files.opened(file).unzip();
    operation.path = path.flatten();
    Told::Action { ticket, operation: Box::new(operation), on }
}

/// Copies from one open file into another.
fn copy<K: Clone>(
    from: &[u8],
    into: &[u8],
    mut operation: Operation,
    id: u32,
    files: &mut Files<K>,
) -> Told<K> {
    let (Some(source), Some(into)) = (files.of_handle(from), files.of_handle(into)) else {
        return unknown_handle(operation);
    };
    operation.path = files.opened(source).and_then(|opened| opened.1);
    let (on, path) = files.opened(into).unzip();
    operation.path_to = path.flatten();
    let ticket = files.begin(id);
    files.sent(id, Pending::Copy { action: ticket, into });
    Told::Action { ticket, operation: Box::new(operation), on }
}

/// A request on a handle that is over, or was guessed before it was told: which file the target
/// would take it for, nobody here can know.
fn unknown_handle<K>(operation: Operation) -> Told<K> {
    Told::Refused { operation: Box::new(operation), why: Refusal::UnknownHandle }
}

fn other(name: &'static str) -> Operation {
    Operation::new(Kind::Other, Bytes::from_static(name.as_bytes()))
}
