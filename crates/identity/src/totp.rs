//! One-time codes of an authenticator: RFC 6238 with SHA-1, 6 digits, 30 seconds, which is what
//! every authenticator understands. The step before and the one after are accepted, and each step
//! once (RFC 6238 section 5.2): that is kept in the control database.

use loggia_model::{Fault, Mint, PublicError, Secret};
use totp_rs::{Builder, Totp};

/// Bytes of a seed (RFC 4226 section 4 recommends 160 bits).
const SEED_LEN: usize = 20;
const STEP_S: u64 = 30;
/// Who the authenticator says the code is for.
const ISSUER: &str = "Loggia";

/// A person's seed, ready to check codes.
pub struct Authenticator(Totp);

impl Authenticator {
    /// A fresh seed.
    pub fn generate(mint: &Mint) -> Self {
        Self::of(totp_rs::Secret::new_stack(mint.random::<SEED_LEN>()))
    }

    /// From a seed in base 32, as the control database and [`loggia_api::identity::EnrolFinish`]
    /// carry it.
    ///
    /// Errors: not base 32, or shorter than 160 bits (`bad_totp_secret`).
    pub fn from_base32(seed: &Secret) -> Result<Self, PublicError> {
        let bad =
            || PublicError::new("bad_totp_secret", Fault::Client, "not a seed for one-time codes");
        let seed = totp_rs::Secret::try_from_base32(seed.reveal()).map_err(|_| bad())?;
        // The upper bound keeps what is stored small; both are far from what we hand out.
        if !(SEED_LEN..=64).contains(&seed.as_bytes().len()) {
            return Err(bad());
        }
        Ok(Self::of(seed))
    }

    fn of(seed: totp_rs::Secret) -> Self {
        let builder = Builder::new().with_digits(6).with_skew(1).with_step_duration(STEP_S);
        Self(builder.with_secret(seed).build_noncompliant())
    }

    /// The seed in base 32.
    pub fn seed(&self) -> Secret {
        Secret::new(self.0.secret().to_base32())
    }

    /// The URL that authenticators read from a QR code (Key URI Format of Google Authenticator).
    pub fn otpauth_url(&self, name: &str) -> Secret {
        // Names are `[a-z0-9._-]+`; should one ever hold more, it must not change the URL.
        let name: String = name
            .bytes()
            .map(|byte| match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                    char::from(byte).to_string()
                }
                other => format!("%{other:02X}"),
            })
            .collect();
        let seed = self.seed();
        Secret::new(format!(
            "otpauth://totp/{ISSUER}:{name}?secret={}&issuer={ISSUER}&algorithm=SHA1&digits=6&period={STEP_S}",
            seed.reveal()
        ))
    }

    /// The time step whose code this is, where it is the current one, the one before or the one
    /// after. Whether it was used before is not known here.
    pub fn step_of(&self, code: &Secret, now_us: i64) -> Option<u64> {
        let code = code.reveal().trim();
        if code.len() != 6 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        self.0.check(code, u64::try_from(now_us).ok()? / 1_000_000)
    }

    /// The code of the step that `now_us` (microseconds since 1970) falls into: what the person's
    /// authenticator shows.
    pub fn code_at(&self, now_us: i64) -> Secret {
        let seconds = u64::try_from(now_us).unwrap_or(0) / 1_000_000;
        Secret::new(self.0.generate(seconds).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeClock, mint};
    use proptest::prelude::*;

    /// The seed of RFC 6238 appendix B: the ASCII text 12345678901234567890.
    fn rfc() -> Authenticator {
        Authenticator::from_base32(&Secret::new("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ".into())).unwrap()
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn the_vectors_of_rfc_6238_hold() {
        // The last six of the RFC's eight digits.
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
        ] {
            let now_us = seconds * 1_000_000;
            assert_eq!(rfc().code_at(now_us).reveal(), code);
            assert_eq!(rfc().step_of(&secret(code), now_us), Some(seconds as u64 / 30));
        }
    }

    #[test]
    fn one_step_before_and_after_and_no_further() {
        let at = |seconds: i64| rfc().step_of(&secret("287082"), seconds * 1_000_000);
        assert_eq!((at(30), at(59)), (Some(1), Some(1)), "its own step");
        assert_eq!((at(0), at(89)), (Some(1), Some(1)), "the neighbours");
        assert_eq!((at(90), at(-1)), (None, None), "beyond");
        for bad in ["28708", "2870822", "+87082", "28708x", "２８７０８２", ""] {
            assert_eq!(rfc().step_of(&secret(bad), 59_000_000), None, "{bad}");
        }
    }

    #[test]
    fn a_seed_goes_out_and_comes_back() {
        let made = Authenticator::generate(&mint(&FakeClock::at(0)));
        let back = Authenticator::from_base32(&made.seed()).unwrap();
        assert_eq!(made.code_at(5).reveal(), back.code_at(5).reveal());
        let url = made.otpauth_url("a&secret=x");
        assert!(url.reveal().starts_with("otpauth://totp/Loggia:a%26secret%3Dx?secret="));
        for bad in ["", "GEZDGNBV", "1!", &"A".repeat(2000)] {
            assert!(Authenticator::from_base32(&secret(bad)).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_code_and_no_seed_panics(code in any::<String>(), seed in any::<String>(), now: i64) {
            let _ = rfc().step_of(&Secret::new(code), now);
            let _ = Authenticator::from_base32(&Secret::new(seed));
            let _ = rfc().code_at(now);
        }
    }
}
