//! Opaque tokens: what a client without certificates presents, such as a PostgreSQL password.
//!
//! Text form: `lgt_`, 32 random bytes in base64url without padding (43 characters), and a checksum:
//! the first 6 characters of the base64url of the SHA-256 of everything before it. A scanner for
//! leaked secrets finds `lgt_[A-Za-z0-9_-]{49}` and tells a real one from a lookalike by the
//! checksum. The control database keeps the SHA-256 of the whole text alone: 256 random bits need
//! no slow hash.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use loggia_model::{Mint, Secret};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

const PREFIX: &str = "lgt_";
const RANDOM_CHARS: usize = 43;
const CHECKSUM_CHARS: usize = 6;

/// A new token.
pub fn generate(mint: &Mint) -> Secret {
    let random = Zeroizing::new(mint.random::<32>());
    let body = Zeroizing::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(*random)));
    Secret::new(format!("{}{}", *body, checksum(&body)))
}

/// Whether a text has the form of a token, checksum included. Needs no database.
pub fn is_well_formed(text: &str) -> bool {
    let Some((body, found)) = text.split_at_checked(PREFIX.len() + RANDOM_CHARS) else {
        return false;
    };
    body.strip_prefix(PREFIX).is_some_and(|random| URL_SAFE_NO_PAD.decode(random).is_ok())
        && found.len() == CHECKSUM_CHARS
        && bool::from(checksum(body).as_bytes().ct_eq(found.as_bytes()))
}

/// By which the token's credential is found: SHA-256 of the text, lower-case hex.
pub fn digest(token: &Secret) -> String {
    hex::encode(Sha256::digest(token.reveal()))
}

fn checksum(body: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(body)).chars().take(CHECKSUM_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeClock, mint};
    use proptest::prelude::*;

    #[test]
    fn a_token_is_recognised_and_each_is_another() {
        let mint = mint(&FakeClock::at(0));
        let (one, other) = (generate(&mint), generate(&mint));
        assert_eq!(one.reveal().len(), 53);
        assert!(is_well_formed(one.reveal()) && is_well_formed(other.reveal()));
        assert_ne!(digest(&one), digest(&other));
        assert_eq!(digest(&one).len(), 64);
    }

    #[test]
    fn one_wrong_character_shows_in_the_checksum() {
        let token = generate(&mint(&FakeClock::at(0))).reveal().to_owned();
        for at in 0..token.len() {
            let mut wrong = token.clone().into_bytes();
            wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
            assert!(!is_well_formed(std::str::from_utf8(&wrong).unwrap()), "at {at}");
        }
        assert!(!is_well_formed(&token[..52]) && !is_well_formed(&format!("{token}A")));
    }

    #[test]
    fn the_form_is_a_fixed_vector() {
        // Printed by: b = "lgt_" + base64url(32 zero bytes); b + base64url(sha256(b))[:6].
        let body = format!("lgt_{}", "A".repeat(43));
        assert!(is_well_formed(&format!("{body}moVzpk")));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), tail in "lgt_[A-Za-z0-9_-]{0,60}") {
            prop_assert!(!is_well_formed(&text));
            let _ = is_well_formed(&tail);
        }
    }
}
