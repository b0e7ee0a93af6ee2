//! The parser of events over any bytes, for a fuzzer and for the corpus tests.

use crate::envelope::{Envelope, KeyId, SubjectKey};
use crate::event::Event;
use crate::seal::Disclosure;
use crate::value::Object;

/// Reads the bytes as a leaf, a zero byte, and what is disclosed of it.
///
/// # Panics
/// Where the parser breaks its word: that what it accepts has one form only.
pub fn fuzz_one(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (leaf, disclosure) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let nothing = Object::new();
    if let Ok(envelope) = Envelope::parse(disclosure) {
        let key = SubjectKey::from_random([0; 32]);
        assert!(envelope.open(&key).is_err() || envelope.key != KeyId([0; 16]), "opened by chance");
    }
    let _ = Disclosure::open(disclosure, &nothing);
    let Ok(event) = Event::parse(leaf) else { return };
    assert!(event.whole.to_bytes() == leaf, "an event that is written otherwise");
    let _ = event.known_kind();
    let sealed = event.sealed().unwrap_or(&nothing);
    if let Ok(open) = Disclosure::open(disclosure, sealed) {
        let promised = open.values.iter().map(|(path, _)| path);
        let promised = promised.chain(open.blobs.iter().map(|(path, _)| path));
        for path in promised {
            assert!(sealed.contains_key(path.as_str()), "disclosed and not sealed: {path}");
        }
    }
}
