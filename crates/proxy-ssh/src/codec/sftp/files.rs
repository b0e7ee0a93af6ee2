//! What is open, and what waits for an answer.

use super::packet::END_OF_FILE;
use super::{HANDLES_MAX, OUTSTANDING_HARD_MAX, REORDER_BYTES_MAX};
use crate::codec::Malformed;
use crate::codec::operation::{Finding, OpenFlags, Operation, Outcome, Run, Status};
use crate::codec::tally::Tally;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};

/// Paths of open files are kept up to this length, in bytes (`PATH_MAX` of Linux).
const PATH_BYTES_MAX: usize = 4096;
/// Paths of open files are kept up to this sum, in bytes.
const PATHS_BYTES_MAX: usize = 1 << 20;

/// A request that waits for its answer. The numbers are tickets.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pending {
    /// Nothing to learn.
    Neutral,
    /// OPEN or OPENDIR; the answer is a handle.
    Open(u64),
    /// An action that is over with its answer.
    Single(u64),
    /// An action that sets attributes of the open file `file`, perhaps its size.
    Adjust { action: u64, file: u64, size: Option<u64> },
    /// An action that copies from one open file into another.
    Copy { action: u64, into: u64 },
    /// Data of a file from here on, so many bytes at most.
    Read { file: u64, at: u64, length: u32 },
    /// So many bytes for a file, up to this place of it.
    Write { file: u64, bytes: u64, end: u64 },
    /// The end of a file.
    Close { file: u64 },
    /// The attributes of an open file.
    Inspect { file: u64 },
    /// Entries of an open directory.
    Entries { file: u64 },
}

impl Pending {
    /// The open file that an answer is about.
    fn file(self) -> Option<u64> {
        match self {
            Self::Adjust { file, .. }
            | Self::Read { file, .. }
            | Self::Write { file, .. }
            | Self::Close { file }
            | Self::Inspect { file }
            | Self::Entries { file } => Some(file),
            Self::Copy { into, .. } => Some(into),
            Self::Neutral | Self::Open(_) | Self::Single(_) => None,
        }
    }

    /// Whether it may change the size of the open file that it is about.
    fn resizes(self) -> bool {
        matches!(self, Self::Write { .. } | Self::Copy { .. } | Self::Adjust { size: Some(_), .. })
    }
}

/// An action that waits for its answer.
#[derive(Debug)]
struct Waiting<K> {
    request_id: u32,
    key: Option<K>,
    opening: Option<Opening>,
}

/// What is known of a file before it has a handle.
#[derive(Debug)]
struct Opening {
    path: Option<Bytes>,
    flags: OpenFlags,
}

impl Opening {
    /// Whether what is written goes behind what is there, wherever that ends.
    fn grows_from_unknown(&self) -> bool {
        self.flags.has(OpenFlags::APPEND) && !self.flags.empties()
    }
}

/// An open file or directory.
#[derive(Debug)]
pub(super) struct File<K> {
    key: K,
    handle: Bytes,
    opening: Opening,
    read: Tally,
    written: Tally,
    /// Bytes sent to a file that only grows.
    appended: u64,
    outstanding: u32,
    /// Of these, what may change its size.
    resizing: u32,
    /// Set when the handle is over: whether its end was seen, and the target's answer to it.
    closed: Option<(bool, Option<Status>)>,
    trouble: Option<Status>,
    entries: u64,
    size: Option<u64>,
    mode: Option<u32>,
}

impl<K> File<K> {
    /// A request about it waits no longer for its answer.
    fn answered(&mut self, pending: Pending) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.resizing = self.resizing.saturating_sub(u32::from(pending.resizes()));
    }
}

/// What is open, and what waits for an answer.
#[derive(Debug)]
pub(super) struct Files<K> {
    pending: HashMap<u32, Pending>,
    waiting: BTreeMap<u64, Waiting<K>>,
    files: BTreeMap<u64, File<K>>,
    handles: HashMap<Bytes, u64>,
    tickets: u64,
    /// OPEN and OPENDIR without an answer.
    openings: usize,
    path_bytes: usize,
    reorder_bytes: usize,
}

impl<K> Default for Files<K> {
    fn default() -> Self {
        Self {
            pending: HashMap::new(),
            waiting: BTreeMap::new(),
            files: BTreeMap::new(),
            handles: HashMap::new(),
            tickets: 0,
            openings: 0,
            path_bytes: 0,
            reorder_bytes: REORDER_BYTES_MAX,
        }
    }
}

impl<K: Clone> Files<K> {
    /// Number of requests that wait for an answer.
    pub(super) fn outstanding(&self) -> usize {
        self.pending.len()
    }

    /// The file that a handle stands for, if its opening was recorded.
    pub(super) fn of_handle(&self, handle: &[u8]) -> Option<u64> {
        self.handles.get(handle).copied()
    }

    /// The same, and from here on the handle stands for nothing.
    pub(super) fn take_handle(&mut self, handle: &[u8]) -> Option<u64> {
        self.handles.remove(handle)
    }

    /// The key and the path of an open file.
    pub(super) fn opened(&self, file: u64) -> Option<(K, Option<Bytes>)> {
        let file = self.files.get(&file)?;
        Some((file.key.clone(), file.opening.path.clone()))
    }

    /// The key of an open file.
    pub(super) fn key(&self, file: u64) -> Option<K> {
        self.files.get(&file).map(|file| file.key.clone())
    }

    /// Whether one more file may be opened.
    pub(super) fn has_room(&self) -> bool {
        self.files.len() + self.openings < HANDLES_MAX
    }

    /// A ticket for an action whose answer is not awaited.
    pub(super) fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// A ticket for an action that is over with its answer.
    pub(super) fn begin(&mut self, request_id: u32) -> u64 {
        let ticket = self.ticket();
        self.waiting.insert(ticket, Waiting { request_id, key: None, opening: None });
        ticket
    }

    /// A ticket for the opening of a file or directory.
    pub(super) fn begin_open(&mut self, request_id: u32, operation: &Operation) -> u64 {
        let path = operation.path.as_ref().filter(|path| {
            path.len() <= PATH_BYTES_MAX && self.path_bytes + path.len() <= PATHS_BYTES_MAX
        });
        // A copy: a slice would keep the whole chunk alive as long as the file is open.
        let path = path.map(|path| Bytes::copy_from_slice(path));
        self.path_bytes += path.as_ref().map_or(0, Bytes::len);
        let flags = operation.flags.unwrap_or_default();
        let opening = Some(Opening { path, flags });
        let ticket = self.ticket();
        self.waiting.insert(ticket, Waiting { request_id, key: None, opening });
        self.openings += 1;
        ticket
    }

    /// Whether a request id may be used now.
    pub(super) fn check_id(&self, request_id: u32) -> Result<(), Malformed> {
        if self.pending.contains_key(&request_id) {
            return Err(Malformed::Reused(request_id));
        }
        if self.pending.len() >= OUTSTANDING_HARD_MAX {
            return Err(Malformed::Outstanding);
        }
        Ok(())
    }

    /// A request goes to the target.
    pub(super) fn sent(&mut self, request_id: u32, pending: Pending) {
        if let Some(file) = pending.file().and_then(|file| self.files.get_mut(&file)) {
            file.outstanding += 1;
            file.resizing += u32::from(pending.resizes());
        }
        if let Pending::Adjust { file, size: Some(size), .. } = pending {
            self.resized(file, size);
        }
        self.pending.insert(request_id, pending);
    }

    pub(super) fn recorded(&mut self, ticket: u64, key: K) {
        if let Some(waiting) = self.waiting.get_mut(&ticket) {
            waiting.key = Some(key);
        }
    }

    /// An action does not go to the target after all; yields the id of its request.
    pub(super) fn denied(&mut self, ticket: u64) -> Option<u32> {
        let waiting = self.waiting.remove(&ticket)?;
        if let Some(opening) = waiting.opening {
            self.openings -= 1;
            self.forget_path(&opening);
        }
        let pending = self.pending.remove(&waiting.request_id)?;
        // Nothing was recorded of an end that could be waited for.
        if let Some(file) = pending.file().and_then(|file| self.files.get_mut(&file)) {
            file.answered(pending);
        }
        Some(waiting.request_id)
    }

    fn forget_path(&mut self, opening: &Opening) {
        self.path_bytes -= opening.path.as_ref().map_or(0, Bytes::len);
    }

    /// Where the bytes of a WRITE count: where it says, but for a file that only grows.
    pub(super) fn begin_write(&mut self, file: u64, at: u64, bytes: u64) -> u64 {
        let Some(file) = self.files.get_mut(&file) else { return at };
        let place = if file.opening.flags.has(OpenFlags::APPEND) { file.appended } else { at };
        file.appended = file.appended.saturating_add(bytes);
        file.written.begin(place);
        place
    }

    /// Data of a WRITE went by.
    pub(super) fn write(&mut self, file: u64, at: u64, bytes: &[u8]) {
        if let Some(file) = self.files.get_mut(&file) {
            file.written.take(at, bytes, &mut self.reorder_bytes);
        }
    }

    /// A READ went by: the first one says where the transfer begins.
    pub(super) fn begin_read(&mut self, file: u64, at: u64) {
        if let Some(file) = self.files.get_mut(&file) {
            file.read.begin(at);
        }
    }

    /// Data of a file came from the target.
    pub(super) fn read(&mut self, file: u64, at: u64, bytes: &[u8]) {
        if let Some(file) = self.files.get_mut(&file) {
            file.read.take(at, bytes, &mut self.reorder_bytes);
            file.read.arrived(bytes.len() as u64);
        }
    }

    /// The request that an answer is for; `None` for an answer to nothing, which says nothing.
    pub(super) fn answered(&mut self, request_id: u32) -> Option<Pending> {
        self.pending.remove(&request_id)
    }

    /// A HANDLE answered an OPEN.
    pub(super) fn open(&mut self, ticket: u64, handle: Bytes) -> Option<Finding<K>> {
        let waiting = self.waiting.remove(&ticket)?;
        let opening = waiting.opening?;
        self.openings -= 1;
        let Some(key) = waiting.key else {
            self.forget_path(&opening);
            return None;
        };
        // A target that gives a handle again has closed what it stood for.
        let before = self.handles.insert(handle.clone(), ticket);
        let over = before.and_then(|file| self.close(file, false, None));
        let size = opening.flags.empties().then_some(0);
        let file = File {
            key,
            handle,
            opening,
            read: Tally::default(),
            written: Tally::default(),
            appended: 0,
            outstanding: 0,
            resizing: 0,
            closed: None,
            trouble: None,
            entries: 0,
            size,
            mode: None,
        };
        self.files.insert(ticket, file);
        over
    }

    /// An action is over with this answer.
    pub(super) fn over(&mut self, ticket: u64, status: Status) -> Option<Finding<K>> {
        let waiting = self.waiting.remove(&ticket)?;
        if let Some(opening) = waiting.opening {
            self.openings -= 1;
            self.forget_path(&opening);
        }
        let outcome = Outcome { complete: true, status: Some(status), ..Outcome::default() };
        Some(Finding { action: waiting.key?, outcome })
    }

    /// The end of a handle.
    pub(super) fn close(
        &mut self,
        ticket: u64,
        complete: bool,
        status: Option<Status>,
    ) -> Option<Finding<K>> {
        let file = self.files.get_mut(&ticket)?;
        if file.closed.is_none() {
            file.closed = Some((complete, status));
        }
        if self.handles.get(&file.handle) == Some(&ticket) {
            self.handles.remove(&file.handle);
        }
        self.settle(ticket)
    }

    /// Yields the finding of a file that is closed, once nothing of it waits any more.
    fn settle(&mut self, ticket: u64) -> Option<Finding<K>> {
        let file = self.files.get(&ticket)?;
        if file.closed.is_none() || file.outstanding > 0 {
            return None;
        }
        let file = self.files.remove(&ticket)?;
        Some(self.found(file))
    }

    /// One answer about an open file came, and was looked at.
    pub(super) fn one_answered(&mut self, pending: Pending) -> Option<Finding<K>> {
        let ticket = pending.file()?;
        let file = self.files.get_mut(&ticket)?;
        file.answered(pending);
        self.settle(ticket)
    }

    /// A READ or WRITE was answered with a status.
    pub(super) fn transferred(&mut self, pending: Pending, status: Status) {
        let Some(file) = pending.file().and_then(|file| self.files.get_mut(&file)) else { return };
        match pending {
            Pending::Write { bytes, end, .. } if status.is_ok() => {
                file.written.arrived(bytes);
                let grows = file.opening.grows_from_unknown();
                file.size = file.size.map(|size| size.max(end)).filter(|_| !grows);
            }
            Pending::Read { at, .. } if status.code == END_OF_FILE => file.read.end_of_file(at),
            Pending::Read { .. } if status.is_ok() => {}
            _ => {
                if let Pending::Write { .. } = pending {
                    file.written.scatter(&mut self.reorder_bytes);
                }
                file.trouble.get_or_insert(status);
            }
        }
    }

    /// A request goes to the target that cuts a file to this size, or makes it longer. Where it
    /// may take away something that was transferred before, that is not what the file holds any
    /// more, whether the end of it is seen or not. OpenSSH's scp cuts a file behind what it wrote.
    fn resized(&mut self, file: u64, size: u64) {
        let Some(file) = self.files.get_mut(&file) else { return };
        if !file.read.is_untouched() {
            file.read.scatter(&mut self.reorder_bytes);
        }
        // What is not answered yet may be done before it, or after.
        if file.resizing > 1 || size < file.written.reach() {
            file.written.scatter(&mut self.reorder_bytes);
        }
        file.size = None;
    }

    /// The target changed what a file holds, by itself.
    pub(super) fn changed(&mut self, pending: Pending) {
        match pending {
            Pending::Adjust { file, size: Some(size), .. } => {
                // Between others that do the same only the target knows which was the last.
                if let Some(file) = self.files.get_mut(&file).filter(|file| file.resizing == 1) {
                    file.size = Some(size);
                }
            }
            Pending::Copy { into, .. } => {
                if let Some(file) = self.files.get_mut(&into) {
                    file.written.scatter(&mut self.reorder_bytes);
                    file.size = None;
                }
            }
            _ => {}
        }
    }

    /// The target told attributes of an open file.
    pub(super) fn inspected(&mut self, ticket: u64, size: Option<u64>, mode: Option<u32>) {
        if let Some(file) = self.files.get_mut(&ticket) {
            file.size = size.filter(|_| file.resizing == 0).or(file.size);
            file.mode = mode.or(file.mode);
        }
    }

    /// The target listed so many entries of an open directory.
    pub(super) fn listed(&mut self, ticket: u64, entries: u32) {
        if let Some(file) = self.files.get_mut(&ticket) {
            file.entries += u64::from(entries);
        }
    }

    fn found(&mut self, file: File<K>) -> Finding<K> {
        self.forget_path(&file.opening);
        let budget = &mut self.reorder_bytes;
        let (read_end, written_end) = (file.read.next(), file.written.next());
        let met_end = file.read.met_end() || (read_end > 0 && file.size == Some(read_end));
        let (complete, status) = file.closed.unwrap_or((false, None));
        // One that was never closed may have been meant to be longer.
        let filled =
            complete && !file.opening.grows_from_unknown() && file.size == Some(written_end);
        let only_read = file.read.met_end() && file.written.is_untouched();
        let size = if only_read { Some(read_end) } else { file.size };
        let mut written = file.written.finish(filled, budget);
        if let Run::InOrder { from, .. } = &mut written.run
            && file.opening.grows_from_unknown()
        {
            *from = None;
        }
        let outcome = Outcome {
            complete,
            status,
            trouble: file.trouble,
            read: file.read.finish(met_end, budget),
            written,
            entries: file.entries,
            size,
            mode: file.mode,
        };
        Finding { action: file.key, outcome }
    }

    /// What is to be said of everything that is not over.
    pub(super) fn finish(mut self) -> Vec<Finding<K>> {
        let mut found: BTreeMap<u64, Finding<K>> = BTreeMap::new();
        for (ticket, waiting) in std::mem::take(&mut self.waiting) {
            if let Some(action) = waiting.key {
                found.insert(ticket, Finding { action, outcome: Outcome::default() });
            }
        }
        for (ticket, file) in std::mem::take(&mut self.files) {
            found.insert(ticket, self.found(file));
        }
        found.into_values().collect()
    }
}
