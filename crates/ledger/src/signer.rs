//! Who signs for the log: the port behind which its key lies.
//!
//! The key is a file by default ([`FileSigner`]); any other place is a [`KeyStore`]. What such a
//! place signs is checked before it is used, and waited for only so long: a signer that fails or
//! hangs stops checkpoints and nothing else.

use loggia_tlog::hash::EMPTY_ROOT;
use loggia_tlog::note::{NoteError, Signature, SigningKey};
use loggia_tlog::{Checkpoint, SignedNote, VerifierKey};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

#[cfg(feature = "pkcs11")]
mod pkcs11;
#[cfg(feature = "pkcs11")]
mod uri;

#[cfg(feature = "pkcs11")]
pub use pkcs11::{Pkcs11, ReadPin};

/// How long a signature may take.
pub(crate) const SIGN_WAIT_MAX: Duration = Duration::from_secs(5);

/// Why there is no signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The place of the key says no, or cannot be reached.
    #[error("{0}")]
    Refused(String),
    /// It did not answer in time, or is still busy with an earlier text.
    #[error("it does not answer in time")]
    Slow,
    /// It answered with something that is no signature of the key.
    #[error("what it gave is not a signature of this key over this text")]
    False,
}

impl SignError {
    /// The stable code in events.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Slow => "slow",
            Self::False => "false_signature",
        }
    }
}

impl From<NoteError> for SignError {
    fn from(error: NoteError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// A key that signs for a log.
pub trait LogSigner: Send + Sync {
    /// Its public half; its name is that of the log.
    fn verifier(&self) -> &VerifierKey;

    /// Signs the text of a note, which ends in a newline.
    ///
    /// # Errors
    /// [`SignError`].
    fn sign(&self, text: &str) -> Result<Signature, SignError>;

    /// Whether it answers at once, because the key is in memory.
    fn is_local(&self) -> bool {
        false
    }
}

/// A place for keys other than a file of the data folder.
pub trait KeyStore: Send + Sync {
    /// The key at `uri`, which must be this one.
    ///
    /// # Errors
    /// [`SignError::Refused`], with what is wrong.
    fn open(&self, key: &VerifierKey, uri: &str) -> Result<Arc<dyn LogSigner>, SignError>;

    /// The key at `uri` for the log of this name; it is made there where it does not exist.
    ///
    /// # Errors
    /// [`SignError::Refused`], with what is wrong.
    fn open_or_make(&self, name: &str, uri: &str) -> Result<Arc<dyn LogSigner>, SignError>;
}

/// A new key that is to lie elsewhere.
#[derive(Clone, Copy)]
pub struct KeyElsewhere<'a> {
    /// The place.
    pub store: &'a dyn KeyStore,
    /// Where in it.
    pub uri: &'a str,
}

/// A key in memory, from a file.
pub struct FileSigner(pub SigningKey);

impl LogSigner for FileSigner {
    fn verifier(&self) -> &VerifierKey {
        self.0.verifier()
    }

    fn sign(&self, text: &str) -> Result<Signature, SignError> {
        Ok(self.0.sign(text)?)
    }

    fn is_local(&self) -> bool {
        true
    }
}

/// A signer that is waited for only so long, and believed only where its signature holds.
pub(crate) struct Bounded {
    signer: Arc<dyn LogSigner>,
    wait_max: Duration,
    /// A text that took too long is with it still. At most one thread waits for it.
    busy: Arc<AtomicBool>,
}

impl Bounded {
    pub(crate) fn new(signer: Arc<dyn LogSigner>, wait_max: Duration) -> Self {
        Self { signer, wait_max, busy: Arc::default() }
    }

    pub(crate) fn verifier(&self) -> &VerifierKey {
        self.signer.verifier()
    }

    /// Tries whether it signs: the checkpoint over no entries, which holds for every log.
    pub(crate) fn probe(&self) -> Result<(), SignError> {
        if self.signer.is_local() {
            return Ok(());
        }
        let empty = Checkpoint::new(self.verifier().name(), 0, EMPTY_ROOT);
        let empty = empty.map_err(|error| SignError::Refused(error.to_string()))?;
        self.sign(&empty.to_string()).map(drop)
    }

    /// A signature that holds.
    pub(crate) fn sign(&self, text: &str) -> Result<Signature, SignError> {
        let signature =
            if self.signer.is_local() { self.signer.sign(text) } else { self.ask(text) };
        let signature = signature?;
        let note = SignedNote::new(text, vec![signature.clone()])?;
        match note.verify(std::slice::from_ref(self.verifier())) {
            Ok(_) => Ok(signature),
            Err(_) => Err(SignError::False),
        }
    }

    fn ask(&self, text: &str) -> Result<Signature, SignError> {
        if self.busy.swap(true, Ordering::SeqCst) {
            return Err(SignError::Slow);
        }
        let (answer, answered) = mpsc::sync_channel(1);
        let (signer, busy, text) =
            (Arc::clone(&self.signer), Arc::clone(&self.busy), text.to_owned());
        let body = move || {
            let signed = signer.sign(&text);
            busy.store(false, Ordering::SeqCst);
            // Nobody waits any more where it took too long.
            let _ = answer.send(signed);
        };
        if let Err(error) = std::thread::Builder::new().name("ledger-sign".to_owned()).spawn(body) {
            self.busy.store(false, Ordering::SeqCst);
            return Err(SignError::Refused(format!("no thread for it could be started: {error}")));
        }
        match answered.recv_timeout(self.wait_max) {
            Ok(signed) => signed,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(SignError::Slow),
            // Its thread panicked, and so keeps the signer busy for good.
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Err(SignError::Refused("the signer broke".to_owned()))
            }
        }
    }
}

/// The keys with which an open log signs, oldest first.
pub(crate) struct LogSigners {
    signers: Vec<Arc<Bounded>>,
    /// Which one the log is under where no rotation says otherwise.
    first: VerifierKey,
    /// Public halves of all keys that the log has had, as far as they are known.
    verifiers: Vec<VerifierKey>,
}

impl LogSigners {
    pub(crate) fn new(
        signers: Vec<Arc<Bounded>>,
        first: VerifierKey,
        verifiers: Vec<VerifierKey>,
    ) -> Self {
        Self { signers, first, verifiers }
    }

    /// Name of the log.
    pub(crate) fn origin(&self) -> &str {
        self.first.name()
    }

    /// All keys that the log has had, as far as they are known.
    pub(crate) fn verifiers(&self) -> &[VerifierKey] {
        &self.verifiers
    }

    /// The key of a log whose last rotation was to `rotated`.
    pub(crate) fn newest(&self, rotated: Option<&VerifierKey>) -> VerifierKey {
        rotated.unwrap_or(&self.first).clone()
    }

    /// Those who sign: the key of the log, and before it the one that it replaced, as long as that
    /// is here.
    pub(crate) fn of(&self, rotated: Option<&VerifierKey>) -> Vec<Arc<Bounded>> {
        let key = self.newest(rotated);
        let Some(place) = self.signers.iter().position(|signer| *signer.verifier() == key) else {
            return Vec::new();
        };
        self.signers.iter().take(place + 1).cloned().collect()
    }

    /// Takes a key that a rotation is about to make the log's.
    pub(crate) fn push(&mut self, signer: Arc<Bounded>) {
        self.verifiers.push(signer.verifier().clone());
        self.signers.push(signer);
    }
}

/// The text under the signatures of all of these, in this order.
pub(crate) fn sign_all(text: String, signers: &[Arc<Bounded>]) -> Result<SignedNote, SignError> {
    let signatures: Result<Vec<Signature>, SignError> =
        signers.iter().map(|signer| signer.sign(&text)).collect();
    Ok(SignedNote::new(text, signatures?)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    /// Signs when it is let, with whatever key.
    struct Gate {
        claims: VerifierKey,
        key: SigningKey,
        open: Mutex<mpsc::Receiver<()>>,
    }

    impl LogSigner for Gate {
        fn verifier(&self) -> &VerifierKey {
            &self.claims
        }

        fn sign(&self, text: &str) -> Result<Signature, SignError> {
            let _ = self.open.lock().recv();
            Ok(Signature::new(&self.claims, self.key.sign(text)?.bytes().to_vec())?)
        }
    }

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed("log.example", &[seed; 32]).unwrap()
    }

    fn gate(claims: u8, signs: u8, wait_max: Duration) -> (Bounded, mpsc::Sender<()>) {
        let (go, open) = mpsc::channel();
        let claims = key(claims).verifier().clone();
        let gate = Gate { claims, key: key(signs), open: Mutex::new(open) };
        (Bounded::new(Arc::new(gate), wait_max), go)
    }

    #[test]
    fn a_signer_that_hangs_is_not_waited_for_and_asked_again_only_when_it_is_free() {
        let (signer, go) = gate(1, 1, Duration::from_millis(20));
        assert_eq!(signer.sign("a\n"), Err(SignError::Slow));
        assert_eq!(signer.sign("b\n"), Err(SignError::Slow), "one text at a time");
        go.send(()).unwrap();
        while signer.busy.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        drop(go);
        let patient = Bounded { wait_max: Duration::from_secs(60), ..signer };
        assert!(patient.sign("c\n").is_ok());
    }

    #[test]
    fn what_another_key_signed_is_not_taken() {
        let (signer, go) = gate(1, 2, Duration::from_secs(60));
        go.send(()).unwrap();
        assert_eq!(signer.sign("a\n"), Err(SignError::False));
    }

    #[test]
    fn the_replaced_key_signs_as_well_and_the_next_one_not_yet() {
        let bounded = |seed| Arc::new(Bounded::new(Arc::new(FileSigner(key(seed))), SIGN_WAIT_MAX));
        let verifier = |seed| key(seed).verifier().clone();
        let signers = LogSigners::new(
            vec![bounded(1), bounded(2), bounded(3)],
            verifier(2),
            vec![verifier(1), verifier(2), verifier(3)],
        );
        let of = |rotated: Option<u8>| {
            let rotated = rotated.map(verifier);
            let note = sign_all("a\n".to_owned(), &signers.of(rotated.as_ref())).unwrap();
            note.signatures().iter().map(Signature::key_id).collect::<Vec<_>>()
        };
        assert_eq!(of(None), [verifier(1).id(), verifier(2).id()]);
        assert_eq!(of(Some(3)), [1, 2, 3].map(|seed| verifier(seed).id()));
        assert!(signers.of(Some(&verifier(9))).is_empty());
    }
}
