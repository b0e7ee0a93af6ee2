//! A log that goes on under a new key: same name, same tree.
//!
//! The entry `key.rotated` holds a statement as a signed note, which the old and the new key have
//! both signed:
//!
//! ```text
//! loggia-key-rotation/v1
//! origin <name of the log>
//! size <entries, decimal>
//! root <root of their tree, base64>
//! from <old verification key>
//! to <new verification key>
//! ```
//! The old key says by it who comes after it; the new one, that it knows what it goes on with, and
//! that whoever made the change had it. Its first line is no log's name, so that the text can never
//! be taken for a checkpoint. Every checkpoint over that entry is signed by the new key.

use loggia_model::catalogue::Kind;
use loggia_model::event::Event;
use loggia_model::value::Value;
use loggia_tlog::note::{KeyKind, NoteError, Signature};
use loggia_tlog::{Hash, SignedNote, VerifierKey};

/// Why a rotation does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// A field is missing or is not of its form.
    #[error("{0} is missing or malformed")]
    Field(&'static str),
    /// The two keys are not both of this log, or are one.
    #[error("the two keys are not two different keys of one log")]
    Keys,
    /// The statement is no signed note, or says something else than the entry.
    #[error("the statement is not the one that the entry speaks of")]
    Statement,
    /// One of the two keys has not signed.
    #[error("the statement lacks the signature of the {0} key")]
    Unsigned(&'static str),
    /// A signature that claims to be by one of the two keys is not.
    #[error("the signature of the {0} key under the statement does not hold")]
    Signature(&'static str),
}

/// One change of a log's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRotation {
    size: u64,
    root: Hash,
    old: VerifierKey,
    new: VerifierKey,
}

impl KeyRotation {
    /// From `old` to `new`, when the log had `size` entries whose tree has this root.
    ///
    /// # Errors
    /// [`RotationError::Keys`].
    pub fn new(
        size: u64,
        root: Hash,
        old: VerifierKey,
        new: VerifierKey,
    ) -> Result<Self, RotationError> {
        let of_logs = [&old, &new].iter().all(|key| key.kind() == KeyKind::Ed25519);
        if !of_logs || old.name() != new.name() || old.same_key(&new) || old.id() == new.id() {
            return Err(RotationError::Keys);
        }
        Ok(Self { size, root, old, new })
    }

    /// The text that both keys sign.
    pub fn text(&self) -> String {
        format!(
            "loggia-key-rotation/v1\norigin {}\nsize {}\nroot {}\nfrom {}\nto {}\n",
            self.old.name(),
            self.size,
            self.root.to_base64(),
            self.old,
            self.new
        )
    }

    /// The statement, once both signatures hold.
    ///
    /// # Errors
    /// [`RotationError`]: whose signature is missing or does not hold.
    pub fn statement(&self, signatures: Vec<Signature>) -> Result<SignedNote, RotationError> {
        let note = SignedNote::new(self.text(), signatures).map_err(|error| match error {
            NoteError::NoSignatures => RotationError::Unsigned("old"),
            _ => RotationError::Statement,
        })?;
        self.check(&note)?;
        Ok(note)
    }

    fn check(&self, note: &SignedNote) -> Result<(), RotationError> {
        if note.text() != self.text() {
            return Err(RotationError::Statement);
        }
        for (which, key) in [("old", &self.old), ("new", &self.new)] {
            note.verify(std::slice::from_ref(key)).map_err(|error| match error {
                NoteError::NoKnownSignature => RotationError::Unsigned(which),
                _ => RotationError::Signature(which),
            })?;
        }
        Ok(())
    }

    /// The rotation that an event records, checked; `None` for an event of another kind.
    pub fn of(event: &Event) -> Option<Result<Self, RotationError>> {
        (event.known_kind() == Some(Kind::KeyRotated)).then(|| Self::read(event))
    }

    fn read(event: &Event) -> Result<Self, RotationError> {
        let key = |pointer: &'static str| {
            let key = event.text(pointer).and_then(|vkey| VerifierKey::parse(vkey).ok());
            key.ok_or(RotationError::Field(pointer))
        };
        let size = event.whole.at("/detail/size").and_then(Value::as_int);
        let size = size.and_then(|size| u64::try_from(size).ok());
        let root = event.text("/detail/root").and_then(|root| Hash::from_base64(root).ok());
        let rotation = Self::new(
            size.ok_or(RotationError::Field("/detail/size"))?,
            root.ok_or(RotationError::Field("/detail/root"))?,
            key("/detail/previous_key")?,
            key("/detail/key")?,
        )?;
        let statement = event.text("/detail/statement");
        let statement = statement.and_then(|text| SignedNote::parse(text.as_bytes()).ok());
        rotation.check(&statement.ok_or(RotationError::Field("/detail/statement"))?)?;
        Ok(rotation)
    }

    /// Entries of the log when both keys signed.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Root of their tree.
    pub const fn root(&self) -> Hash {
        self.root
    }

    /// The key until then.
    pub const fn old(&self) -> &VerifierKey {
        &self.old
    }

    /// The key from then on.
    pub const fn new_key(&self) -> &VerifierKey {
        &self.new
    }
}

/// Adds the keys to which, or from which, a chain of rotations leads from those at hand.
pub(crate) fn follow<'r>(
    keys: &mut Vec<VerifierKey>,
    rotations: impl Iterator<Item = &'r KeyRotation> + Clone,
) {
    loop {
        let before = keys.len();
        for KeyRotation { old, new, .. } in rotations.clone() {
            for (known, other) in [(old, new), (new, old)] {
                if keys.contains(known) && !keys.contains(other) {
                    keys.push(other.clone());
                }
            }
        }
        if keys.len() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use loggia_tlog::{Checkpoint, SigningKey};

    fn keys() -> [SigningKey; 3] {
        [1, 2, 3].map(|seed| SigningKey::from_seed("log.example/e1", &[seed; 32]).unwrap())
    }

    fn rotation(old: &SigningKey, new: &SigningKey) -> KeyRotation {
        let (old, new) = (old.verifier().clone(), new.verifier().clone());
        KeyRotation::new(70_000, Hash([7; 32]), old, new).unwrap()
    }

    #[test]
    fn both_keys_must_sign_and_nobody_else_will_do() {
        let [old, new, other] = keys();
        let rotation = rotation(&old, &new);
        let sign = |key: &SigningKey| key.sign(&rotation.text()).unwrap();
        let note = rotation.statement(vec![sign(&new), sign(&old)]).unwrap();
        assert_eq!(note.text(), rotation.text());
        let without = |keys: &[&SigningKey]| {
            rotation.statement(keys.iter().map(|key| sign(key)).collect()).unwrap_err()
        };
        assert_eq!(without(&[&old, &other]), RotationError::Unsigned("new"));
        assert_eq!(without(&[&new, &other]), RotationError::Unsigned("old"));
        assert_eq!(without(&[]), RotationError::Unsigned("old"));
        let forged = Signature::new(new.verifier(), other.sign("x\n").unwrap().bytes().to_vec());
        let forged = rotation.statement(vec![sign(&old), forged.unwrap()]).unwrap_err();
        assert_eq!(forged, RotationError::Signature("new"));
    }

    #[test]
    fn the_text_is_no_checkpoint_and_says_everything() {
        let [old, new, other] = keys();
        let text = rotation(&old, &new).text();
        assert!(Checkpoint::parse(&text).is_err());
        assert_ne!(text, rotation(&new, &old).text());
        assert_ne!(text, rotation(&old, &other).text());
        let same = old.verifier().clone();
        let twice = KeyRotation::new(1, Hash([0; 32]), same.clone(), same.clone());
        assert_eq!(twice, Err(RotationError::Keys));
        let stranger = SigningKey::from_seed("log.example/e2", &[2; 32]).unwrap();
        let strange = KeyRotation::new(1, Hash([0; 32]), same, stranger.verifier().clone());
        assert_eq!(strange, Err(RotationError::Keys));
    }

    #[test]
    fn a_chain_is_followed_both_ways_and_no_further() {
        let [one, two, three] = keys();
        let chain = [rotation(&two, &three), rotation(&one, &two)];
        for from in [&one, &two, &three] {
            let mut known = vec![from.verifier().clone()];
            follow(&mut known, chain.iter());
            assert_eq!(known.len(), 3);
        }
        let mut known = vec![one.verifier().clone()];
        follow(&mut known, chain.iter().take(1));
        assert_eq!(known.len(), 1);
    }
}
