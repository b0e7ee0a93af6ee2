//! Whose signed checkpoint a note is.

use loggia_tlog::checkpoint::CheckpointError;
use loggia_tlog::{Checkpoint, SignedNote, VerifierKey};

/// A note, seen with the keys at hand.
#[derive(Debug)]
pub(crate) enum Signed {
    /// A checkpoint that one of the keys has signed as its log.
    By(Box<(Checkpoint, VerifierKey)>),
    /// It claims to be of a log whose key is at hand, or carries its signature, and is not what
    /// was signed. Says why.
    Altered(String),
    /// Of another log; its origin.
    Foreign(String),
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
    let mut refused = None;
    for key in keys.iter().filter(|key| key.name() == claimed.origin()) {
        match Checkpoint::verify_note(note, key, &[]) {
            Ok(opened) => return Signed::By(Box::new((opened.checkpoint, key.clone()))),
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(CheckpointError::Signature(why)) => {
            return Signed::Altered(format!(
                "the signature on the checkpoint is not accepted: {why}"
            ));
        }
        Some(error) => return Signed::Altered(error.to_string()),
        None => {}
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
