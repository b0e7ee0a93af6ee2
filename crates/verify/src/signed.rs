//! Whose signed checkpoint a note is.

use loggia_tlog::checkpoint::CheckpointError;
use loggia_tlog::note::NoteError;
use loggia_tlog::{Checkpoint, SignedNote, VerifierKey};

/// A note, seen with the keys at hand.
#[derive(Debug)]
pub(crate) enum Signed {
    /// A checkpoint that one of the keys has signed as its log.
    By(Box<By>),
    /// It claims to be of a log whose key is at hand, and is signed in that log's name by another
    /// key alone: perhaps its next one.
    OtherKey(String),
    /// It claims to be of a log whose key is at hand, or carries its signature, and is not what
    /// was signed. Says why.
    Altered(String),
    /// Of another log; its origin.
    Foreign(String),
}

/// A checkpoint that a key has signed as its log.
#[derive(Debug)]
pub(crate) struct By {
    pub(crate) checkpoint: Checkpoint,
    /// As it was signed.
    pub(crate) note: SignedNote,
    /// A log may have several keys, one after the other; this is one that has signed.
    pub(crate) key: VerifierKey,
}

/// Reads a signed checkpoint from bytes.
pub(crate) fn read(bytes: &[u8], keys: &[VerifierKey]) -> Signed {
    match SignedNote::parse(bytes) {
        Ok(note) => judge(&note, keys),
        Err(error) => Signed::Altered(format!("not a signed checkpoint: {error}")),
    }
}

/// Reads a note as a signed checkpoint.
pub(crate) fn judge(note: &SignedNote, keys: &[VerifierKey]) -> Signed {
    let claimed = match Checkpoint::parse(note.text()) {
        Ok(claimed) => claimed,
        Err(error) => return Signed::Altered(format!("not a signed checkpoint: {error}")),
    };
    if keys.iter().any(|key| key.name() == claimed.origin()) {
        let why = match Checkpoint::verify_by_any(note, keys) {
            Ok((checkpoint, by)) => match by.into_iter().next() {
                Some(key) => {
                    return Signed::By(Box::new(By { checkpoint, note: note.clone(), key }));
                }
                None => NoteError::NoKnownSignature,
            },
            Err(CheckpointError::Signature(why)) => why,
            Err(error) => return Signed::Altered(error.to_string()),
        };
        let in_its_name = note.signatures().iter().any(|line| line.name() == claimed.origin());
        let what = format!("the signature on the checkpoint is not accepted: {why}");
        return if why == NoteError::NoKnownSignature && in_its_name {
            Signed::OtherKey(what)
        } else {
            Signed::Altered(what)
        };
    }
    // Another log's checkpoint does not carry the signature of ours: its origin was altered.
    let has_signed = |key: &&VerifierKey| {
        note.signatures().iter().any(|line| line.name() == key.name() && line.key_id() == key.id())
    };
    match keys.iter().find(has_signed) {
        Some(key) => Signed::Altered(format!(
            "states the origin {} and carries a signature of {}",
            claimed.origin(),
            key.name()
        )),
        None => Signed::Foreign(claimed.origin().to_owned()),
    }
}
