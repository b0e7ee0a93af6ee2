//! Taking up the recordings of sessions that were open when the gateway died: what stands in the
//! file behind the ledger's last claim is made durable, and claimed before the session's end.
//!
//! If we crash on the way, the next boot finds the same sessions open and does the same again.

use crate::folder::{folder_of, leaves_name, recording_name};
use crate::tape::{failed, untrusted};
use loggia_model::PublicError;
use loggia_model::event::Event;
use loggia_model::id::{EventId, SessionId};
use loggia_model::port::{Committed, Fatal, ReadLog, TapeError, TapeState};
use loggia_verify::recording::Leaves;
use loggia_verify::recording::check::Ending;
use loggia_verify::recording::ledgered::Ledgered;
use loggia_verify::recording::reader::{Held, ReadError, Reader};
use memchr::memmem::Finder;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Entries of the log that are read at a time.
const READ_ENTRIES: u64 = 2_048;

/// What the recordings of these sessions (id, and id of the `session.start`) had become when the
/// gateway died, as far as the ledger does not say so yet. Cuts torn frames off and makes the rest
/// durable; `fatal` is called where that fails for another reason than room. A recording that is
/// not what the ledger says is left as it is, for `loggia verify` to find.
pub fn take_up(
    data: &Path,
    sessions: &[(SessionId, EventId)],
    log: &dyn ReadLog,
    fatal: &Fatal,
) -> Vec<(SessionId, TapeState)> {
    let ledgered = match gather(sessions, log) {
        Ok(ledgered) => ledgered,
        Err(error) => {
            let cause = error.cause.as_deref().unwrap_or_default();
            tracing::error!(%error, cause, "what the ledger says of recordings cannot be read");
            return Vec::new();
        }
    };
    let dir = folder_of(data);
    let mut grown = Vec::new();
    for (session, ledgered) in ledgered {
        let Some(held) = ledgered.held(session) else { continue };
        match take_up_one(&dir, held, fatal) {
            Ok(Some(state)) => grown.push((session, state)),
            Ok(None) => {}
            Err(error) => tracing::error!(%session, %error, "a recording was not taken up"),
        }
    }
    grown
}

/// Reads the log backwards, until the beginning of each session was met.
fn gather(
    sessions: &[(SessionId, EventId)],
    log: &dyn ReadLog,
) -> Result<BTreeMap<SessionId, Ledgered>, PublicError> {
    let needles = ["\"kind\":\"recording.", "\"kind\":\"session.start\""];
    let needles = needles.map(Finder::new);
    let mut found: BTreeMap<SessionId, Ledgered> =
        sessions.iter().map(|(id, _)| (*id, Ledgered::default())).collect();
    let mut starts: Vec<EventId> = sessions.iter().map(|(_, start)| *start).collect();
    let mut to = log.size();
    while to > 0 && !starts.is_empty() {
        let from = to.saturating_sub(READ_ENTRIES);
        for entry in read(log, from, to)? {
            if !needles.iter().any(|needle| needle.find(&entry.leaf).is_some()) {
                continue;
            }
            let Ok(event) = Event::parse(&entry.leaf) else { continue };
            starts.retain(|start| *start != event.id);
            if let Some(ledgered) = event.session.and_then(|place| found.get_mut(&place.id)) {
                ledgered.take(&event, &entry.disclosure);
            }
        }
        to = from;
    }
    Ok(found)
}

fn read(log: &dyn ReadLog, from: u64, to: u64) -> Result<Vec<Committed>, PublicError> {
    let mut entries = Vec::new();
    let mut at = from;
    while at < to {
        let max = usize::try_from(to - at).unwrap_or(usize::MAX);
        let mut more = log.read(at, max)?;
        if more.is_empty() {
            break;
        }
        at += more.len() as u64;
        entries.append(&mut more);
    }
    Ok(entries)
}

/// Gives what the recording has become, where that is more than the ledger says.
fn take_up_one(dir: &Path, held: Held, fatal: &Fatal) -> Result<Option<TapeState>, ReadError> {
    let session = held.session;
    let leaves = Leaves::new(&held.salt);
    let mut options = OpenOptions::new();
    let file = match options.read(true).write(true).open(dir.join(recording_name(session))) {
        Ok(file) => file,
        // Died between `recording.begun` and the file.
        Err(error) if error.kind() == ErrorKind::NotFound && held.claims.is_empty() => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let mut reader = match Reader::open(&file, held) {
        Ok(reader) => reader,
        // Died within the header, before anything was claimed.
        Err(ReadError::NoHeader) => return Ok(None),
        Err(error) => return Err(error),
    };
    // The tape wrote the hashes some at a time: those at the end may be missing.
    let listed = dir.join(format!("{}.new", leaves_name(session)));
    let mut listing = BufWriter::new(
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&listed)?,
    );
    listing.write_all(leaves.of_header(&reader.header().encode()).as_bytes())?;
    while let Some((_, frame)) = reader.next_frame()? {
        if let Some((head, bytes)) = frame.raw.split_first_chunk() {
            listing.write_all(leaves.of_frame(head, bytes).as_bytes())?;
        }
    }
    listing.flush()?;
    let check = reader.check();
    let state =
        TapeState { frames: check.here().frame, bytes: check.bytes(), root: check.root().0 };
    let ending = reader.ending();
    std::fs::rename(&listed, dir.join(leaves_name(session)))?;
    match ending {
        Some(Ending::Tail { frames, torn_bytes, .. }) => {
            if torn_bytes > 0 {
                file.set_len(state.bytes)?;
            }
            // Claimed only once it is durable, by its name too.
            let synced = file.sync_all().and_then(|()| File::open(dir)?.sync_all());
            if let Err(error) = synced {
                if let why @ TapeError::Broken(_) = failed(&error) {
                    untrusted(fatal, session, &why);
                }
                return Err(error.into());
            }
            Ok((frames > 0).then_some(state))
        }
        Some(Ending::CutShort { frames, claimed, .. }) => {
            tracing::error!(%session, frames, claimed, "a recording is cut short");
            Ok(None)
        }
        Some(Ending::Proven) | None => Ok(None),
    }
}

#[cfg(test)]
mod tests;
