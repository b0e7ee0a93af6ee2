//! Reads the target's stream as it goes by.

use super::files::{Files, Pending};
use super::packet::{
    ATTRS, DATA, EXTENDED_REPLY, FIRST_ATTRIBUTES_BYTES_MAX, HANDLE, HANDLE_BYTES_MAX, HEAD_BYTES,
    NAME, STATUS, VERSION, VERSION_SPOKEN, first_attributes,
};
use super::{Answers, PACKET_BYTES_MAX};
use crate::codec::Malformed;
use crate::codec::operation::{Finding, Status};
use crate::codec::reader::{self, u32_at};
use bytes::{Bytes, BytesMut};

type Found<K> = Vec<Finding<K>>;

/// Where in the stream the next byte is.
#[derive(Debug, Clone, Copy, Default)]
enum Inside {
    /// In the first bytes of a packet, up to its request id.
    #[default]
    Head,
    /// In the fields that say something: `want` bytes of them, then `behind` that do not.
    Fields { kind: u8, pending: Option<Pending>, want: usize, behind: usize },
    /// In the data of a DATA; whether it is content of a file.
    Data { pending: Option<Pending>, content: bool, left: usize, done: usize, behind: usize },
    /// Before the end of a packet that has nothing more to say.
    Behind { left: usize },
}

/// Reads the target's stream as it goes by.
#[derive(Debug, Default)]
pub(super) struct Reader {
    inside: Inside,
    held: BytesMut,
}

impl Reader {
    pub(super) fn between_packets(&self) -> bool {
        matches!(self.inside, Inside::Head) && self.held.is_empty()
    }

    pub(super) fn read<K: Clone>(
        &mut self,
        mut chunk: &[u8],
        files: &mut Files<K>,
    ) -> Result<Answers<K>, Malformed> {
        let (mut found, mut control) = (Vec::new(), Vec::new());
        loop {
            match self.inside {
                Inside::Head => {
                    if !self.collect(HEAD_BYTES, &mut chunk, &mut control) {
                        break;
                    }
                    let head = self.held.split();
                    self.inside = head_of(&head, files)?;
                }
                Inside::Fields { kind, pending, want, behind } => {
                    if !self.collect(want, &mut chunk, &mut control) {
                        break;
                    }
                    let fields = self.held.split().freeze();
                    self.inside = if kind == DATA {
                        data_of(&fields, pending, behind)?
                    } else {
                        // An answer to nothing, or to something that was not passed on, changes
                        // nothing.
                        if let Some(pending) = pending {
                            answer(kind, fields, pending, files, &mut found)?;
                        }
                        behind_fields(behind)
                    };
                }
                Inside::Data { pending, content, left, done, behind } => {
                    let (piece, rest) = chunk.split_at_checked(left).unwrap_or((chunk, &[]));
                    chunk = rest;
                    if let Some(Pending::Read { file, at, .. }) = pending {
                        files.read(file, at.saturating_add(done as u64), piece);
                    }
                    if !content {
                        control.extend_from_slice(piece);
                    }
                    let (left, done) = (left - piece.len(), done + piece.len());
                    self.inside = Inside::Data { pending, content, left, done, behind };
                    if left > 0 {
                        break;
                    }
                    data_over(pending, files, &mut found);
                    self.inside = behind_fields(behind);
                }
                Inside::Behind { left } => {
                    let (piece, rest) = chunk.split_at_checked(left).unwrap_or((chunk, &[]));
                    chunk = rest;
                    control.extend_from_slice(piece);
                    self.inside = behind_fields(left - piece.len());
                    if piece.len() < left {
                        break;
                    }
                }
            }
        }
        Ok(Answers { found, control: control.into() })
    }

    /// Collects so many bytes; says whether they are there.
    fn collect(&mut self, want: usize, chunk: &mut &[u8], control: &mut Vec<u8>) -> bool {
        let missing = want.saturating_sub(self.held.len());
        let (piece, rest) = chunk.split_at_checked(missing).unwrap_or((chunk, &[]));
        self.held.extend_from_slice(piece);
        control.extend_from_slice(piece);
        *chunk = rest;
        self.held.len() >= want
    }
}

fn behind_fields(left: usize) -> Inside {
    if left == 0 { Inside::Head } else { Inside::Behind { left } }
}

/// Reads length, type and request id.
fn head_of<K: Clone>(head: &[u8], files: &mut Files<K>) -> Result<Inside, Malformed> {
    let length = u32_at(head, 0).unwrap_or_default();
    let kind = head.get(4).copied().unwrap_or_default();
    let request_id = u32_at(head, 5).unwrap_or_default();
    // Every packet of a server has a type and an id, or a version.
    let body = usize::try_from(length).ok().filter(|body| (5..=PACKET_BYTES_MAX).contains(body));
    let fields = body.ok_or(Malformed::Length { length })? - 5;
    if kind == VERSION {
        // In the place of the id.
        return match request_id {
            version if version > VERSION_SPOKEN => Err(Malformed::Version(version)),
            _ => Ok(behind_fields(fields)),
        };
    }
    let want = match kind {
        STATUS => 4 + 4 + Status::TEXT_BYTES_MAX,
        HANDLE => 4 + HANDLE_BYTES_MAX,
        ATTRS => FIRST_ATTRIBUTES_BYTES_MAX,
        DATA | NAME => 4,
        _ => 0,
    };
    let want = want.min(fields);
    let pending = files.answered(request_id);
    Ok(Inside::Fields { kind, pending, want, behind: fields - want })
}

/// Reads the length of data.
fn data_of(fields: &[u8], pending: Option<Pending>, rest: usize) -> Result<Inside, Malformed> {
    let malformed = Malformed::Fields("DATA");
    let left = u32_at(fields, 0).and_then(|length| usize::try_from(length).ok());
    let left = left.ok_or(malformed)?;
    let behind = rest.checked_sub(left).ok_or(malformed)?;
    // No target answers with more than it was asked for.
    let asked = match pending {
        Some(Pending::Read { length, .. }) => usize::try_from(length).unwrap_or(usize::MAX),
        _ => 0,
    };
    Ok(Inside::Data { pending, content: left <= asked, left, done: 0, behind })
}

fn data_over<K: Clone>(pending: Option<Pending>, files: &mut Files<K>, found: &mut Found<K>) {
    match pending {
        None => {}
        Some(pending @ Pending::Read { .. }) => found.extend(files.one_answered(pending)),
        Some(other) => with_status(other, Status::strange(), files, found),
    }
}

/// Looks at an answer that came whole, as far as it says something.
fn answer<K: Clone>(
    kind: u8,
    fields: Bytes,
    pending: Pending,
    files: &mut Files<K>,
    found: &mut Found<K>,
) -> Result<(), Malformed> {
    match (kind, pending) {
        (STATUS, _) => {
            let status = status(&fields).ok_or(Malformed::Fields("STATUS"))?;
            with_status(pending, status, files, found);
        }
        (HANDLE, Pending::Open(ticket)) => {
            let handle = handle(fields).ok_or(Malformed::Fields("HANDLE"))?;
            found.extend(files.open(ticket, handle));
        }
        (ATTRS, Pending::Inspect { file }) => {
            let mut fields = reader::Reader::new(fields);
            let (told, _) = first_attributes(&mut fields).ok_or(Malformed::Fields("ATTRS"))?;
            files.inspected(file, told.size, told.mode);
            found.extend(files.one_answered(pending));
        }
        (NAME, Pending::Entries { file }) => {
            let entries = u32_at(&fields, 0).ok_or(Malformed::Fields("NAME"))?;
            files.listed(file, entries);
            found.extend(files.one_answered(pending));
        }
        // An extension of the target's own may answer in its own way.
        (EXTENDED_REPLY, Pending::Single(ticket)) => {
            found.extend(files.over(ticket, Status::ok()));
        }
        (_, Pending::Neutral) => {}
        (_, other) => with_status(other, Status::strange(), files, found),
    }
    Ok(())
}

/// A code and a text; the text may be missing, as it is in older versions.
fn status(fields: &[u8]) -> Option<Status> {
    let code = u32_at(fields, 0)?;
    let length = u32_at(fields, 4).and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    let text = fields.get(8..).unwrap_or_default();
    let text = text.get(..length).unwrap_or(text);
    Some(Status { code, text: Bytes::copy_from_slice(text) })
}

fn handle(fields: Bytes) -> Option<Bytes> {
    let handle = reader::Reader::new(fields).string()?;
    // A copy: what was collected may be longer.
    Some(Bytes::copy_from_slice(&handle))
}

/// A request is answered with a status.
fn with_status<K: Clone>(
    pending: Pending,
    status: Status,
    files: &mut Files<K>,
    found: &mut Found<K>,
) {
    match pending {
        Pending::Neutral => {}
        Pending::Open(ticket) | Pending::Single(ticket) => {
            found.extend(files.over(ticket, status));
        }
        Pending::Adjust { action, .. } | Pending::Copy { action, .. } => {
            if status.is_ok() {
                files.changed(pending);
            }
            found.extend(files.over(action, status));
            found.extend(files.one_answered(pending));
        }
        Pending::Close { file } => {
            found.extend(files.one_answered(pending));
            found.extend(files.close(file, true, Some(status)));
        }
        Pending::Read { .. } | Pending::Write { .. } => {
            files.transferred(pending, status);
            found.extend(files.one_answered(pending));
        }
        Pending::Inspect { .. } | Pending::Entries { .. } => {
            found.extend(files.one_answered(pending));
        }
    }
}
