//! The packets of SFTP version 3: their types, and what a request asks for.

use crate::codec::Malformed;
use crate::codec::operation::{Attributes, Kind, OpenFlags, Operation};
use crate::codec::reader::{Reader, u32_at};
use bytes::{BufMut, Bytes, BytesMut};

pub(super) const INIT: u8 = 1;
pub(super) const VERSION: u8 = 2;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
pub(super) const WRITE: u8 = 6;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const SETSTAT: u8 = 9;
const FSETSTAT: u8 = 10;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const RMDIR: u8 = 15;
const REALPATH: u8 = 16;
const STAT: u8 = 17;
const RENAME: u8 = 18;
const READLINK: u8 = 19;
const SYMLINK: u8 = 20;
pub(super) const STATUS: u8 = 101;
pub(super) const HANDLE: u8 = 102;
pub(super) const DATA: u8 = 103;
pub(super) const NAME: u8 = 104;
pub(super) const ATTRS: u8 = 105;
pub(super) const EXTENDED: u8 = 200;
pub(super) const EXTENDED_REPLY: u8 = 201;

/// `SSH_FX_EOF`.
pub(super) const END_OF_FILE: u32 = 1;
/// `SSH_FX_PERMISSION_DENIED`.
pub(super) const PERMISSION_DENIED: u32 = 3;
/// `SSH_FX_FAILURE`.
pub(super) const FAILURE: u32 = 4;
/// `SSH_FX_OP_UNSUPPORTED`.
pub(super) const UNSUPPORTED: u32 = 8;

/// The version that is spoken.
pub(super) const VERSION_SPOKEN: u32 = 3;
/// The longest handle (section 6.3 of the draft), in bytes.
pub(super) const HANDLE_BYTES_MAX: usize = 256;
/// Length field, type and request id.
pub(super) const HEAD_BYTES: usize = 9;

/// The name of a status code in the draft, such as `no_such_file`; the number's own for others.
pub fn status_name(code: u32) -> String {
    let names = [
        "ok",
        "eof",
        "no_such_file",
        "permission_denied",
        "failure",
        "bad_message",
        "no_connection",
        "connection_lost",
        "op_unsupported",
    ];
    let known = usize::try_from(code).ok().and_then(|code| names.get(code));
    known.map_or_else(|| format!("status_{code}"), |name| (*name).to_owned())
}

/// A STATUS packet.
pub(super) fn status(request_id: u32, code: u32, text: &str) -> Bytes {
    let language = "en";
    let mut body = BytesMut::new();
    body.put_u8(STATUS);
    body.put_u32(request_id);
    body.put_u32(code);
    for text in [text, language] {
        body.put_u32(text.len() as u32);
        body.put_slice(text.as_bytes());
    }
    let mut packet = BytesMut::with_capacity(4 + body.len());
    packet.put_u32(body.len() as u32);
    packet.put_slice(&body);
    packet.freeze()
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// The client's greeting, and the highest version that it speaks.
    Init { version: u32 },
    /// Without an effect, and nothing to learn from its answer.
    Neutral,
    /// The same, about an open file.
    NeutralOn { handle: Bytes, name: Bytes },
    /// Asks for the attributes of an open file.
    Inspect { handle: Bytes },
    /// Asks for further entries of an open directory.
    Entries { handle: Bytes },
    /// Asks for data.
    Read { handle: Bytes, at: u64, length: u32 },
    /// Closes a file or directory.
    Close { handle: Bytes },
    /// A whole WRITE: its handle stands for nothing, else its data is passed on piecewise.
    Write,
    /// Opens a file or directory.
    Open(Operation),
    /// An effect by itself.
    Single(Operation),
    /// An effect on an open file: sets its attributes.
    Adjust { handle: Bytes, operation: Operation },
    /// Copies from one open file into another.
    Copy { from: Bytes, into: Bytes, operation: Operation },
    /// A type that version 3 does not have: nobody knows whether it is answered.
    Unknown(Operation),
    /// Asks to speak another version from here on.
    OtherVersion(Operation),
}

/// Reads the request in a whole packet. Like OpenSSH's server, it takes no offence at bytes
/// behind the last field.
pub(super) fn parse(packet: &Bytes) -> Result<Request, Malformed> {
    let kind = packet.get(4).copied().unwrap_or_default();
    if kind == INIT {
        let version = u32_at(packet, 5).ok_or(Malformed::Fields("INIT"))?;
        return Ok(Request::Init { version });
    }
    if packet.len() < HEAD_BYTES {
        return Err(Malformed::Fields("request"));
    }
    let fields = Reader::new(packet.slice(HEAD_BYTES..));
    match kind {
        OPEN => open(fields).ok_or(Malformed::Fields("OPEN")),
        OPENDIR => open_directory(fields).ok_or(Malformed::Fields("OPENDIR")),
        CLOSE => handle(fields, |handle| Request::Close { handle }, "CLOSE"),
        FSTAT => handle(fields, |handle| Request::Inspect { handle }, "FSTAT"),
        READDIR => handle(fields, |handle| Request::Entries { handle }, "READDIR"),
        READ => read(fields).ok_or(Malformed::Fields("READ")),
        WRITE => Ok(Request::Write),
        LSTAT | STAT | REALPATH | READLINK => Ok(Request::Neutral),
        SETSTAT => set_attributes(fields, "setstat").ok_or(Malformed::Fields("SETSTAT")),
        FSETSTAT => adjust(fields).ok_or(Malformed::Fields("FSETSTAT")),
        REMOVE => one_path(fields, Kind::Remove, "remove").ok_or(Malformed::Fields("REMOVE")),
        MKDIR => make_directory(fields).ok_or(Malformed::Fields("MKDIR")),
        RMDIR => one_path(fields, Kind::RemoveDirectory, "rmdir").ok_or(Malformed::Fields("RMDIR")),
        RENAME => two_paths(fields, Kind::Rename, "rename").ok_or(Malformed::Fields("RENAME")),
        SYMLINK => symlink(fields).ok_or(Malformed::Fields("SYMLINK")),
        EXTENDED => extended(fields).ok_or(Malformed::Fields("EXTENDED")),
        other => {
            let name = Bytes::from(format!("type {other}"));
            let mut operation = Operation::new(Kind::Other, name);
            operation.body = fields.rest();
            Ok(Request::Unknown(operation))
        }
    }
}

fn handle(
    mut fields: Reader,
    request: impl FnOnce(Bytes) -> Request,
    name: &'static str,
) -> Result<Request, Malformed> {
    fields.string().map(request).ok_or(Malformed::Fields(name))
}

fn word(request: &'static str) -> Bytes {
    Bytes::from_static(request.as_bytes())
}

fn open(mut fields: Reader) -> Option<Request> {
    let path = fields.string()?;
    let flags = OpenFlags(fields.u32()?);
    let effect = OpenFlags::WRITE | OpenFlags::APPEND | OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let kind = if flags.has(effect) { Kind::OpenWrite } else { Kind::OpenRead };
    let mut operation = Operation::new(kind, word("open"));
    operation.path = Some(path);
    operation.flags = Some(flags);
    operation.attributes = attributes(&mut fields)?;
    Some(Request::Open(operation))
}

fn open_directory(mut fields: Reader) -> Option<Request> {
    let mut operation = Operation::new(Kind::List, word("opendir"));
    operation.path = Some(fields.string()?);
    Some(Request::Open(operation))
}

fn read(mut fields: Reader) -> Option<Request> {
    let handle = fields.string()?;
    let (at, length) = (fields.u64()?, fields.u32()?);
    Some(Request::Read { handle, at, length })
}

fn one_path(mut fields: Reader, kind: Kind, request: &'static str) -> Option<Request> {
    let mut operation = Operation::new(kind, word(request));
    operation.path = Some(fields.string()?);
    Some(Request::Single(operation))
}

fn two_paths(mut fields: Reader, kind: Kind, request: &'static str) -> Option<Request> {
    let mut operation = Operation::new(kind, word(request));
    operation.path = Some(fields.string()?);
    operation.path_to = Some(fields.string()?);
    Some(Request::Single(operation))
}

/// OpenSSH sends what the link points to first, then the link; the draft has them the other way
/// round (section 4.1 of OpenSSH's PROTOCOL).
fn symlink(mut fields: Reader) -> Option<Request> {
    let mut operation = Operation::new(Kind::Symlink, word("symlink"));
    operation.path_to = Some(fields.string()?);
    operation.path = Some(fields.string()?);
    Some(Request::Single(operation))
}

fn make_directory(mut fields: Reader) -> Option<Request> {
    let mut operation = Operation::new(Kind::MakeDirectory, word("mkdir"));
    operation.path = Some(fields.string()?);
    operation.attributes = attributes(&mut fields)?;
    Some(Request::Single(operation))
}

fn set_attributes(mut fields: Reader, request: &'static str) -> Option<Request> {
    let mut operation = Operation::new(Kind::SetAttributes, word(request));
    operation.path = Some(fields.string()?);
    operation.attributes = attributes(&mut fields)?;
    Some(Request::Single(operation))
}

fn adjust(mut fields: Reader) -> Option<Request> {
    let mut operation = Operation::new(Kind::SetAttributes, word("fsetstat"));
    let handle = fields.string()?;
    operation.attributes = attributes(&mut fields)?;
    Some(Request::Adjust { handle, operation })
}

/// The extensions of OpenSSH's PROTOCOL, section 4.
fn extended(mut fields: Reader) -> Option<Request> {
    let name = fields.string()?;
    match name.as_ref() {
        b"fstatvfs@openssh.com" | b"fsync@openssh.com" => {
            Some(Request::NeutralOn { handle: fields.string()?, name })
        }
        // Section 5.5 of draft-ietf-secsh-filexfer-13.
        b"version-select" => Some(Request::OtherVersion(Operation::new(Kind::Other, name))),
        b"statvfs@openssh.com"
        | b"limits@openssh.com"
        | b"expand-path@openssh.com"
        | b"home-directory"
        | b"users-groups-by-id@openssh.com" => Some(Request::Neutral),
        b"posix-rename@openssh.com" => two_paths(fields, Kind::Rename, "posix-rename@openssh.com"),
        b"hardlink@openssh.com" => two_paths(fields, Kind::Link, "hardlink@openssh.com"),
        b"lsetstat@openssh.com" => set_attributes(fields, "lsetstat@openssh.com"),
        b"copy-data" => {
            let operation = Operation::new(Kind::Copy, word("copy-data"));
            let from = fields.string()?;
            let (_at, _bytes) = (fields.u64()?, fields.u64()?);
            let into = fields.string()?;
            fields.u64()?;
            Some(Request::Copy { from, into, operation })
        }
        _ => {
            let mut operation = Operation::new(Kind::Other, name);
            operation.body = fields.rest();
            Some(Request::Single(operation))
        }
    }
}

/// Section 5 of the draft.
pub(super) fn attributes(fields: &mut Reader) -> Option<Attributes> {
    let (mut found, flags) = first_attributes(fields)?;
    if flags & 0x8000_0000 != 0 {
        found.further = fields.u32()?;
        for _ in 0..found.further {
            fields.string()?;
            fields.string()?;
        }
    }
    Some(found)
}

/// The longest attributes without those that are the target's own, in bytes.
pub(super) const FIRST_ATTRIBUTES_BYTES_MAX: usize = 4 + 8 + 8 + 4 + 8;

/// The attributes that stand first, and the flags.
pub(super) fn first_attributes(fields: &mut Reader) -> Option<(Attributes, u32)> {
    let flags = fields.u32()?;
    let mut found = Attributes::default();
    if flags & 1 != 0 {
        found.size = Some(fields.u64()?);
    }
    if flags & 2 != 0 {
        found.owner = Some((fields.u32()?, fields.u32()?));
    }
    if flags & 4 != 0 {
        found.mode = Some(fields.u32()?);
    }
    if flags & 8 != 0 {
        found.times = Some((fields.u32()?.into(), fields.u32()?.into()));
    }
    Some((found, flags))
}
