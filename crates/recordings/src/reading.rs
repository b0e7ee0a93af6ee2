//! A recording checked against the ledger before anybody is shown it.

use crate::folder::RecordingFolder;
use loggia_api::recordings::{RecordingClaim, RecordingHead};
use loggia_model::id::SessionId;
use loggia_model::{Fault, PublicError};
use loggia_verify::recording::check::{Altered, Claim};
use loggia_verify::recording::ledgered::Ledgered;
use loggia_verify::recording::reader::{ReadError, Reader, pinpoint};
use std::fs::File;
use std::io::{ErrorKind, Seek};
use std::path::Path;

/// Claims that a reader is given at most, beside the last one.
const CLAIMS_MAX: usize = 4_096;

/// A recording that is what the ledger says, as far as it goes.
#[derive(Debug)]
pub(crate) struct Checked {
    /// What the reader is told.
    pub(crate) head: RecordingHead,
    /// The file, at its beginning.
    pub(crate) file: File,
    /// Bytes of header and whole frames.
    pub(crate) length: u64,
}

/// Checks the recording of a session; refuses one that was altered, and names the place.
pub(crate) fn check(
    folder: &RecordingFolder,
    session: SessionId,
    ledgered: &Ledgered,
) -> Result<Checked, PublicError> {
    if !ledgered.begun {
        let message = format!("session {session} has no recording");
        return Err(PublicError::new("not_found", Fault::Client, message)
            .hint("`loggia session show` shows what was done in it"));
    }
    let held = ledgered.held(session).ok_or_else(|| {
        let message = "the recording was erased, with what says whether it is genuine";
        PublicError::new("erased", Fault::Client, message)
    })?;
    let path = folder.path(session);
    let missing = |error: std::io::Error| {
        let message = format!("the recording of session {session} is missing");
        let hint =
            "retention may have taken it (`loggia search kind:retention.done`), or it is lost";
        match error.kind() {
            ErrorKind::NotFound if ledgered.claims.is_empty() && !ledgered.ended => {
                PublicError::new("not_found", Fault::Client, "nothing is recorded yet").retry()
            }
            ErrorKind::NotFound => PublicError::new("missing", Fault::Gateway, message).hint(hint),
            _ => PublicError::new("internal", Fault::Gateway, "the recording cannot be read")
                .cause(error),
        }
    };
    let mut file = File::open(&path).map_err(missing)?;
    let salt = held.salt;
    let read = Reader::open(&file, held).and_then(Reader::finish);
    let (_, check) = match read {
        Ok(read) => read,
        Err(ReadError::Altered(altered)) => return Err(tampered(session, &path, &salt, altered)),
        Err(ReadError::Io(error)) => return Err(missing(error)),
        Err(error) => {
            return Err(PublicError::new("tampered", Fault::Gateway, error.to_string()));
        }
    };
    file.rewind().map_err(missing)?;
    Ok(Checked { head: head(session, &salt, ledgered), file, length: check.bytes() })
}

fn tampered(session: SessionId, path: &Path, salt: &[u8; 32], altered: Altered) -> PublicError {
    let altered = narrowed(path, salt, altered);
    tracing::error!(%session, %altered, "a recording is not what the ledger says");
    let message = "this recording is not what the ledger says: it was altered";
    PublicError::new("tampered", Fault::Gateway, message)
        .detail(altered.to_string())
        .hint("`loggia verify` on the gateway's machine checks everything; look for a backup")
}

/// With the very frame, where the leaf hashes beside the file tell it.
pub(crate) fn narrowed(path: &Path, salt: &[u8; 32], altered: Altered) -> Altered {
    let place = altered.claim.as_ref().and_then(|claim| {
        let recording = File::open(path).ok()?;
        let leaves = File::open(path.with_extension("leaves")).ok()?;
        pinpoint(recording, leaves, salt, claim)
    });
    match place {
        Some(place) => altered.at(place),
        None => altered,
    }
}

fn head(session: SessionId, salt: &[u8; 32], ledgered: &Ledgered) -> RecordingHead {
    // Evenly, and the last one always: it is over all frames.
    let mut claims = ledgered.claims.clone();
    claims.sort_by_key(|claim| claim.frames);
    let step = claims.len().div_ceil(CLAIMS_MAX).max(1);
    let last = claims.last().copied();
    let thinned = claims.iter().step_by(step).copied();
    let thinned = thinned.chain(last.filter(|_| !(claims.len() - 1).is_multiple_of(step)));
    RecordingHead {
        session: session.to_string(),
        salt: Some(loggia_tlog::Hash(*salt).to_hex()),
        claims: thinned.map(told).collect(),
        ended: ledgered.ended,
        limited: ledgered.limited,
    }
}

fn told(claim: Claim) -> RecordingClaim {
    RecordingClaim { frames: claim.frames, bytes: claim.bytes, root: claim.root.to_hex() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use loggia_tlog::Hash;

    #[test]
    fn claims_are_thinned_and_the_last_one_stays() {
        let session = SessionId::from_parts(1, [1; 10]);
        for count in [0, 1, 4_096, 4_097, 10_000, 86_400] {
            let root = Hash([1; 32]);
            let claims = (0..count).map(|frames| Claim { frames, bytes: None, root }).collect();
            let ledgered = Ledgered { claims, ..Ledgered::default() };
            let head = head(session, &[2; 32], &ledgered);
            assert!(head.claims.len() <= CLAIMS_MAX + 1, "{count}: {}", head.claims.len());
            let last = head.claims.last().map(|claim| claim.frames);
            assert_eq!(last, count.checked_sub(1), "{count}");
            let places: Vec<_> = head.claims.iter().map(|claim| claim.frames).collect();
            assert!(places.is_sorted_by(|one, next| one < next), "{count}");
        }
    }
}
