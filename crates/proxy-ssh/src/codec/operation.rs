//! The words in which the observers of file transfers speak.
//!
//! An observer is generic over a key `K`: whatever its caller wants to find again in a finding,
//! such as a reference to the event of an action. The way of an action:
//!
//! 1. the observer yields [`Step::Action`] with a [`Ticket`];
//! 2. the caller records it, tells the observer the key under that ticket, and passes
//!    the bytes on; or denies it, and the observer says what to answer instead;
//! 3. what else belongs to the action comes as [`Step::Part`] with its key;
//! 4. when the action is over, the observer yields a [`Finding`] with its key.

use bytes::Bytes;
use std::fmt;

/// Stands for one action of one observer until the action is over. Never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// What one file operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Opens a file only to read.
    OpenRead,
    /// Opens a file to write, to create or to cut it.
    OpenWrite,
    /// Opens a directory to list it; in scp, a directory is sent.
    List,
    /// Removes a file.
    Remove,
    /// Renames.
    Rename,
    /// Makes a directory.
    MakeDirectory,
    /// Removes a directory.
    RemoveDirectory,
    /// Sets size, owner, mode or times.
    SetAttributes,
    /// Makes a symbolic link.
    Symlink,
    /// Makes a hard link.
    Link,
    /// The target copies from one of its files into another.
    Copy,
    /// scp: the target receives a file.
    Receive,
    /// scp: the target sends a file.
    Send,
    /// Something else, named by [`Operation::request`].
    Other,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::OpenRead,
        Self::OpenWrite,
        Self::List,
        Self::Remove,
        Self::Rename,
        Self::MakeDirectory,
        Self::RemoveDirectory,
        Self::SetAttributes,
        Self::Symlink,
        Self::Link,
        Self::Copy,
        Self::Receive,
        Self::Send,
        Self::Other,
    ];

    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenRead => "open_read",
            Self::OpenWrite => "open_write",
            Self::List => "list",
            Self::Remove => "remove",
            Self::Rename => "rename",
            Self::MakeDirectory => "mkdir",
            Self::RemoveDirectory => "rmdir",
            Self::SetAttributes => "setstat",
            Self::Symlink => "symlink",
            Self::Link => "link",
            Self::Copy => "copy",
            Self::Receive => "receive",
            Self::Send => "send",
            Self::Other => "other",
        }
    }
}

/// One file operation as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// What it does.
    pub kind: Kind,
    /// The path as sent, not resolved; in scp, see [`super::scp::Scp`]. For an operation on an
    /// open file the path with which the file was opened, where it is still known.
    pub path: Option<Bytes>,
    /// scp, where only the target knows whether the path is a folder: what is put into it, under
    /// the names that the source gave. Where the path is no folder, it is the new name of the
    /// first of these.
    pub name: Option<Bytes>,
    /// The second path: the new name of a rename or hard link, what a symbolic link points to,
    /// the file that is copied into.
    pub path_to: Option<Bytes>,
    /// How a file is opened.
    pub flags: Option<OpenFlags>,
    /// The attributes that go with it.
    pub attributes: Attributes,
    /// The protocol's own word for it: `open`, `posix-rename@openssh.com`, an unknown name as it
    /// was sent; in scp the whole control line.
    pub request: Bytes,
    /// For an extended request that is not known: all that stands behind its name.
    pub body: Bytes,
}

impl Operation {
    pub(super) fn new(kind: Kind, request: Bytes) -> Self {
        let attributes = Attributes::default();
        let body = Bytes::new();
        Self { kind, path: None, name: None, path_to: None, flags: None, attributes, request, body }
    }
}

/// Attributes of a file, as far as they were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Size in bytes.
    pub size: Option<u64>,
    /// User and group, by number.
    pub owner: Option<(u32, u32)>,
    /// Type and permission bits of POSIX; [`Attributes::mode_text`] writes them.
    pub mode: Option<u32>,
    /// Times of last access and last modification, in seconds since 1970.
    pub times: Option<(u64, u64)>,
    /// How many further attributes there are, whose meaning is the target's own.
    pub further: u32,
}

impl Attributes {
    /// The permission bits in four octal digits, such as `0644`.
    pub fn mode_text(&self) -> Option<String> {
        self.mode.map(|mode| format!("{:04o}", mode & 0o7777))
    }
}

/// How an SFTP client opens a file (`pflags` in section 6.3 of the draft).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenFlags(pub u32);

impl OpenFlags {
    const NAMES: [(u32, &'static str); 6] = [
        (Self::READ, "read"),
        (Self::WRITE, "write"),
        (Self::APPEND, "append"),
        (Self::CREATE, "create"),
        (Self::TRUNCATE, "truncate"),
        (Self::EXCLUSIVE, "exclusive"),
    ];
    /// To read.
    pub const READ: u32 = 1;
    /// To write.
    pub const WRITE: u32 = 2;
    /// Writes go to the end, wherever they say.
    pub const APPEND: u32 = 4;
    /// Makes the file where there is none.
    pub const CREATE: u32 = 8;
    /// Cuts the file to nothing.
    pub const TRUNCATE: u32 = 16;
    /// Fails where the file is there.
    pub const EXCLUSIVE: u32 = 32;

    /// Whether any of these flags is set.
    pub fn has(self, flags: u32) -> bool {
        self.0 & flags != 0
    }

    /// Whether a file that is opened so is empty: cut to nothing, or made anew. `EXCLUSIVE` alone
    /// makes nothing, so it says nothing.
    pub fn empties(self) -> bool {
        let made = self.has(Self::CREATE) && self.has(Self::EXCLUSIVE);
        self.has(Self::WRITE) && (self.has(Self::TRUNCATE) || made)
    }
}

impl fmt::Display for OpenFlags {
    /// Writes the names of the flags with commas between them; unknown ones as a number.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0;
        let mut comma = "";
        for (flag, name) in Self::NAMES {
            if self.has(flag) {
                write!(out, "{comma}{name}")?;
                comma = ",";
                left &= !flag;
            }
        }
        if left != 0 { write!(out, "{comma}0x{left:x}") } else { Ok(()) }
    }
}

/// What is to be done with the next bytes. The bytes of all steps together, in order, are what
/// came in, except where a step says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<K> {
    /// Bytes without an effect of their own.
    Neutral(Bytes),
    /// Bytes that need an event before they go on.
    Action(Action<K>),
    /// Bytes that belong to an action whose event is there.
    Part {
        /// What was recorded for the action.
        action: K,
        /// The bytes.
        bytes: Bytes,
    },
    /// An operation that the observer cannot follow. It is not passed on.
    Refused {
        /// What was asked for.
        operation: Operation,
        /// Why it cannot be followed.
        why: Refusal,
        /// What the client is to be told instead of the target's answer.
        denial: Denial,
    },
}

/// Why an operation is not passed on, whoever asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Too many files are open.
    TooManyOpen,
    /// It works on a handle that stands for nothing: it was never told, or its file is closed. A
    /// target may give the handle to the next file, and only the target knows when.
    UnknownHandle,
    /// It asks for another version of the protocol than the one that is read here.
    OtherVersion,
}

/// An action before it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action<K> {
    /// What its key is to be told under.
    pub ticket: Ticket,
    /// What it does.
    pub operation: Operation,
    /// The action that opened the file on which this one works, where it works on an open file;
    /// for a copy, the file that is written.
    pub on: Option<K>,
    /// The bytes to be passed on.
    pub bytes: Bytes,
}

/// What to say instead of passing an action on, so that both ends stay in step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// What the client is told. It has to stand between two messages of the target.
    pub to_client: Bytes,
    /// What the target is told; empty when it never heard of the action.
    pub to_target: Bytes,
}

/// What became of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding<K> {
    /// What was recorded for the action.
    pub action: K,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an action.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Whether the end of it was seen: the answer, for a file the answer to its closing. Without
    /// it the channel ended first, and what the target did is known only in part.
    pub complete: bool,
    /// The target's answer: to the operation, for a file that was opened to its closing.
    pub status: Option<Status>,
    /// The first answer to a read or write that said neither success nor end of file.
    pub trouble: Option<Status>,
    /// What was read from the file.
    pub read: Content,
    /// What was written to the file.
    pub written: Content,
    /// Entries of a directory that were listed.
    pub entries: u64,
    /// The size of the file at its end, in bytes, where it is known.
    pub size: Option<u64>,
    /// Type and permission bits of the file, where the target told them.
    pub mode: Option<u32>,
}

/// The target's answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// SFTP: the code (section 7 of the draft), 0 for success, or [`Status::STRANGE`]. scp: 0 for
    /// success, 1 for an error, 2 for one that ends the transfer.
    pub code: u32,
    /// What the target said, as it said it, at most [`Status::TEXT_BYTES_MAX`].
    pub text: Bytes,
}

impl Status {
    /// The longest text that is kept, in bytes.
    pub const TEXT_BYTES_MAX: usize = 1024;
    /// The code for an answer of a type that does not answer the request. No target sends it.
    pub const STRANGE: u32 = u32::MAX;

    /// Whether it says success.
    pub fn is_ok(&self) -> bool {
        self.code == 0
    }

    pub(super) fn ok() -> Self {
        Self { code: 0, text: Bytes::new() }
    }

    pub(super) fn strange() -> Self {
        let text = Bytes::from_static(b"an answer of the wrong type");
        Self { code: Self::STRANGE, text }
    }
}

/// What went one way between the client and a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Content {
    /// Bytes that arrived: data that the target gave, or data for which it said that they were
    /// written.
    pub bytes: u64,
    /// In which order.
    pub run: Run,
}

impl Content {
    /// SHA-256 of the file, if all of it was transferred.
    pub fn sha256_of_whole(&self) -> Option<[u8; 32]> {
        match self.run {
            Run::InOrder { whole: true, sha256, .. } => Some(sha256),
            _ => None,
        }
    }

    /// If one piece of the file was transferred, and not all of it: where the piece begins, `None`
    /// behind whatever was there, and its SHA-256. It is [`Content::bytes`] long.
    pub fn sha256_of_part(&self) -> Option<(Option<u64>, [u8; 32])> {
        match self.run {
            Run::InOrder { whole: false, from, sha256 } => Some((from, sha256)),
            _ => None,
        }
    }
}

/// In which order the bytes of a file were transferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Run {
    /// Nothing was.
    #[default]
    Nothing,
    /// One piece of the file, each byte once.
    InOrder {
        /// Where in the file the piece begins; `None` behind whatever was there.
        from: Option<u64>,
        /// Whether the piece is all of the file: a reader met the end of the file behind it, a
        /// writer began with an empty file.
        whole: bool,
        /// SHA-256 of the piece.
        sha256: [u8; 32],
    },
    /// Here and there, or some bytes twice, or some of it failed. There is no hash that would
    /// say anything of the file.
    Scattered,
}
