//! Writing one recording. A frame is one write, and is in the page cache when the call returns.
//!
//! What a crash leaves: of our processes, everything up to the last call that returned, and
//! perhaps a torn frame behind it, which is cut off when the recording is taken up again; of the
//! machine, everything up to the last call of a syncer that returned, which is what the ledger
//! claims.

use crate::folder::{leaves_name, recording_name};
use crate::lines::{Line, SessionKey};
use loggia_model::id::SessionId;
use loggia_model::port::{Fatal, Tape, TapeError, TapeState};
use loggia_model::recording::Direction;
use loggia_tlog::{CompactRange, Hash};
use loggia_verify::recording::{
    FRAME_BYTES_MAX, HEAD_BYTES, Head, Header, KEY_BYTES, Leaves, SEAL_BYTES,
};
use parking_lot::Mutex;
use rustix::io::Errno;
use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, IoSlice, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// Leaf hashes that are kept in memory before they go to the file beside the recording.
const PENDING_LEAVES_MAX: usize = 128;

/// A recording in a file.
pub(crate) struct FileTape {
    disk: Arc<Disk>,
    leaves: Leaves,
    range: CompactRange,
    bytes: u64,
    /// The root at `range`'s size, once somebody asked.
    root: Cell<Option<Hash>>,
    key: SessionKey,
    /// The action that frames are written under.
    action: String,
    /// The line that was typed in last under it, and what that is sealed with.
    line: Option<(u64, Line)>,
    sealed: Vec<u8>,
}

/// What the tape and its syncers share.
struct Disk {
    dir: Arc<Path>,
    fatal: Fatal,
    session: SessionId,
    file: File,
    state: Mutex<State>,
    /// What the next writes shall do instead: fewer bytes, or an error.
    #[cfg(test)]
    faults: Mutex<std::collections::VecDeque<Result<usize, Errno>>>,
    /// What the next syncs shall give instead, the file's and its folder's.
    #[cfg(test)]
    sync_faults: Mutex<std::collections::VecDeque<Option<Errno>>>,
}

#[derive(Default)]
struct State {
    /// Why nothing may be written any more.
    broken: Option<String>,
    /// Whether the file's name is durable.
    named: bool,
    /// Leaf hashes that are not in the file beside the recording yet.
    pending: Vec<u8>,
    /// Whether that file has some already, and whether it takes no more.
    listed: bool,
    unlisted: bool,
}

impl FileTape {
    /// Creates the file, which must not be there yet, and writes the header.
    pub(crate) fn create(
        dir: Arc<Path>,
        fatal: Fatal,
        session: SessionId,
        salt: &[u8; 32],
        key: SessionKey,
        started_us: i64,
    ) -> Result<Self, TapeError> {
        let path = dir.join(recording_name(session));
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|error| failed(&error))?;
        let header = Header::new(session, salt, started_us).encode();
        if let Err(error) = file.write_all_at(&header, 0) {
            // Nothing is in it yet: the next try creates it anew.
            let _ = std::fs::remove_file(&path);
            return Err(failed(&error));
        }
        let leaves = Leaves::new(salt);
        let mut tape = Self {
            disk: Arc::new(Disk {
                dir,
                fatal,
                session,
                file,
                state: Mutex::default(),
                #[cfg(test)]
                faults: Mutex::default(),
                #[cfg(test)]
                sync_faults: Mutex::default(),
            }),
            range: CompactRange::new(),
            bytes: header.len() as u64,
            root: Cell::new(None),
            key,
            action: String::new(),
            line: None,
            sealed: Vec::new(),
            leaves,
        };
        let leaf = tape.leaves.of_header(&header);
        tape.taken(leaf);
        Ok(tape)
    }

    fn put(&mut self, at_us: u64, direction: Direction, bytes: &[u8]) -> Result<(), TapeError> {
        let head = Head::of(at_us, direction, bytes).map_err(|error| broken(&error))?.encode();
        self.disk.write(self.bytes, &head, bytes)?;
        self.bytes += (HEAD_BYTES + bytes.len()) as u64;
        let leaf = self.leaves.of_frame(&head, bytes);
        self.taken(leaf);
        Ok(())
    }

    fn taken(&mut self, leaf: Hash) {
        self.range.append(leaf);
        self.root.set(None);
        let mut state = self.disk.state.lock();
        state.pending.extend_from_slice(leaf.as_bytes());
        if state.pending.len() >= PENDING_LEAVES_MAX * 32 {
            self.disk.list(&mut state);
        }
    }

    /// The number of the next frame.
    fn next(&self) -> u64 {
        // The header is a leaf too.
        self.range.size()
    }

    fn seal(&mut self, line: u64, bytes: &[u8]) -> Result<(), TapeError> {
        if bytes.len() > FRAME_BYTES_MAX - SEAL_BYTES {
            return Err(broken(&"more was typed at once than a frame can carry"));
        }
        let refused = |_| broken(&"what was typed could not be sealed");
        if self.line.as_ref().is_none_or(|(last, _)| *last != line) {
            let key = self.key.line(&self.action, line);
            self.line = Some((line, Line::new(&key).map_err(refused)?));
        }
        self.sealed.clear();
        self.sealed.extend_from_slice(&line.to_be_bytes());
        self.sealed.extend_from_slice(bytes);
        let frame = self.next();
        let typed = self.sealed.get_mut(8..).unwrap_or_default();
        let Some((_, sealing)) = &self.line else { return Ok(()) };
        let tag = sealing.seal(frame, typed).map_err(refused)?;
        self.sealed.extend_from_slice(&tag);
        Ok(())
    }
}

impl Tape for FileTape {
    fn write(&mut self, at_us: u64, direction: Direction, bytes: &[u8]) -> Result<(), TapeError> {
        self.put(at_us, direction, bytes)?;
        if direction == Direction::Action {
            self.action = String::from_utf8_lossy(bytes).into_owned();
            self.line = None;
        }
        Ok(())
    }

    fn write_sealed(&mut self, at_us: u64, line: u64, bytes: &[u8]) -> Result<(), TapeError> {
        self.seal(line, bytes)?;
        let sealed = std::mem::take(&mut self.sealed);
        let written = self.put(at_us, Direction::Sealed, &sealed);
        self.sealed = sealed;
        written
    }

    fn disclose(&mut self, at_us: u64, line: u64) -> Result<(), TapeError> {
        let mut bytes = [0; KEY_BYTES];
        let key = self.key.line(&self.action, line);
        let parts = line.to_be_bytes().into_iter().chain(*key);
        for (to, from) in bytes.iter_mut().zip(parts) {
            *to = from;
        }
        self.put(at_us, Direction::Key, &bytes)
    }

    fn state(&self) -> TapeState {
        let root = self.root.get().unwrap_or_else(|| self.range.root());
        self.root.set(Some(root));
        TapeState { frames: self.range.size().saturating_sub(1), bytes: self.bytes, root: root.0 }
    }

    fn syncer(&self) -> Box<dyn FnOnce() -> Result<(), TapeError> + Send> {
        let disk = Arc::clone(&self.disk);
        Box::new(move || disk.sync())
    }
}

impl Disk {
    /// Writes a whole frame behind `at`, or leaves the file as it was.
    fn write(&self, at: u64, head: &[u8], bytes: &[u8]) -> Result<(), TapeError> {
        if let Some(why) = &self.state.lock().broken {
            return Err(TapeError::Broken(why.clone()));
        }
        let Err(error) = self.write_all(at, head, bytes) else { return Ok(()) };
        // A torn frame must not stand before the next one.
        if let Err(cut) = rustix::fs::ftruncate(&self.file, at) {
            let why = format!("{error}; and what was written of a frame cannot be cut off: {cut}");
            return Err(self.break_with(why));
        }
        match failed(&error.into()) {
            full @ TapeError::Full(_) => Err(full),
            TapeError::Broken(why) => Err(self.break_with(why)),
        }
    }

    fn write_all(&self, at: u64, head: &[u8], bytes: &[u8]) -> Result<(), Errno> {
        let total = head.len() + bytes.len();
        let mut done = 0;
        while done < total {
            let rest = [
                IoSlice::new(head.get(done..).unwrap_or_default()),
                IoSlice::new(bytes.get(done.saturating_sub(head.len())..).unwrap_or_default()),
            ];
            match self.pwritev(&rest, at + done as u64) {
                // The system says what is wrong with the next try.
                Ok(0) => return Err(Errno::NOSPC),
                Ok(more) => done += more,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    #[cfg(test)]
    fn pwritev(&self, parts: &[IoSlice<'_>], at: u64) -> Result<usize, Errno> {
        let Some(fault) = self.faults.lock().pop_front() else {
            return rustix::io::pwritev(&self.file, parts, at);
        };
        let fewer = fault?;
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        rustix::io::pwrite(&self.file, &bytes[..fewer], at)
    }

    #[cfg(not(test))]
    fn pwritev(&self, parts: &[IoSlice<'_>], at: u64) -> Result<usize, Errno> {
        rustix::io::pwritev(&self.file, parts, at)
    }

    /// Makes the frames written so far durable, and the file's name with the first of them. No room
    /// is worth another try; any other failure ends the process. The page cache cannot be trusted
    /// then: a second try may succeed without the data, and roots that are in the ledger already may
    /// claim frames that are gone.
    fn sync(&self) -> Result<(), TapeError> {
        let named = {
            let mut state = self.state.lock();
            if let Some(why) = &state.broken {
                return Err(TapeError::Broken(why.clone()));
            }
            self.list(&mut state);
            state.named
        };
        let file = || self.synced(|| self.file.sync_data());
        let name = || self.synced(|| File::open(&self.dir).and_then(|dir| dir.sync_all()));
        let synced = file().and_then(|()| if named { Ok(()) } else { name() });
        match synced.map_err(|error| failed(&error)) {
            Ok(()) => {
                self.state.lock().named = true;
                Ok(())
            }
            Err(full @ TapeError::Full(_)) => Err(full),
            Err(TapeError::Broken(why)) => {
                let broken = self.break_with(why);
                untrusted(&self.fatal, self.session, &broken);
                Err(broken)
            }
        }
    }

    #[cfg(test)]
    fn synced(&self, sync: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<()> {
        match self.sync_faults.lock().pop_front().flatten() {
            Some(fault) => Err(fault.into()),
            None => sync(),
        }
    }

    #[cfg(not(test))]
    fn synced(&self, sync: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<()> {
        sync()
    }

    /// Puts the hashes of the newest leaves into the file beside the recording. It only helps to
    /// name an altered frame; where it cannot be written, it ends, and nothing else does.
    fn list(&self, state: &mut State) {
        let pending = std::mem::take(&mut state.pending);
        if state.unlisted || pending.is_empty() {
            return;
        }
        let path = self.dir.join(leaves_name(self.session));
        let mut options = OpenOptions::new();
        let options = options.append(true).create_new(!state.listed).mode(0o600);
        match options.open(path).and_then(|mut file| file.write_all(&pending)) {
            Ok(()) => state.listed = true,
            Err(error) => {
                state.unlisted = true;
                let session = self.session;
                tracing::warn!(%error, %session, "leaf hashes could not be listed");
            }
        }
        // The room is used again.
        state.pending = pending;
        state.pending.clear();
    }

    fn break_with(&self, why: String) -> TapeError {
        self.state.lock().broken = Some(why.clone());
        TapeError::Broken(why)
    }
}

/// Says that the disk of a recording cannot be trusted any more, and ends the process.
pub(crate) fn untrusted(fatal: &Fatal, session: SessionId, why: &TapeError) {
    tracing::error!(%session, %why, "a recording could not be made durable; the process ends");
    fatal(&format!("the recording of {session} could not be made durable: {why}"));
}

/// A full disk is waited out; whatever else goes wrong ends the recording.
pub(crate) fn failed(error: &std::io::Error) -> TapeError {
    let out_of_files = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
    let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
        || error.raw_os_error().is_some_and(|code| out_of_files.contains(&code));
    if full { TapeError::Full(error.to_string()) } else { TapeError::Broken(error.to_string()) }
}

fn broken(why: &dyn std::fmt::Display) -> TapeError {
    TapeError::Broken(why.to_string())
}

/// For tests whose disk is sound.
#[cfg(test)]
pub(crate) fn no_fault() -> Fatal {
    Arc::new(|why| panic!("fatal: {why}"))
}

#[cfg(test)]
mod tests;
