//! A service account's login: a challenge, signed by the key that an administrator registered.

use super::{Failure, Refused, SignIn};
use crate::credential::Wanted;
use crate::events::{self, Reason, Who, ask};
use crate::key::PublicKey;
use crate::throttle::Attempt;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use loggia_api::identity::{
    Challenge, ServiceCertify, ServiceChallenge, SignedIn, service_login_message,
};
use loggia_model::id::ActorId;
use loggia_model::port::IdentityRecord;
use loggia_model::resource::is_name;
use loggia_model::{Authn, Fault, Kind, Mint, PublicError, Source};
use parking_lot::Mutex;
use std::collections::HashMap;

const METHOD: Authn = Authn::KeyChallenge;
/// How long a challenge is good, in microseconds.
const CHALLENGE_US: i64 = 60_000_000;
/// Answered challenges that are remembered until they end.
const SPENT_MAX: usize = 10_000;

impl SignIn {
    /// A challenge for whoever asks under this name, whether or not there is such a service.
    pub fn service_challenge(&self, request: &ServiceChallenge) -> Challenge {
        let (nonce, expires_us) = self.challenges.make(&request.name, &self.mint);
        Challenge { nonce, origin: self.log.origin(), expires_us }
    }

    /// Signs a service account in that has answered a challenge.
    ///
    /// Errors: `wrong_login`, the same whatever was wrong; `throttled`; a request that cannot be
    /// used (`bad_csr`, `bad_ssh_key`, `key_reused`); ledger or control database in the way.
    pub async fn service_certify(
        &self,
        request: ServiceCertify,
        source: &Source,
    ) -> Result<SignedIn, Refused> {
        let wanted = Wanted::read(&request.csr, request.ssh_key.as_deref(), request.want_token)?;
        let attempt = Attempt::from(source.peer.ip());
        let claimed = Some(request.name.as_str());
        self.begin(&attempt, METHOD, claimed, source)?;
        let outcome = self.check_service(&request, &wanted).await;
        let identity = self.settle(&attempt, METHOD, claimed, source, outcome, wrong_answer)?;
        let who = Who { identity: &identity, authn: METHOD, source: Some(source) };
        let login = events::by(who, &self.mint, Kind::AuthLogin)
            .set("/detail/method", METHOD.as_str())
            .set("/outcome/status", "ok");
        let before = vec![events::encode(login)?];
        let issued = self.minter.issue(&identity, METHOD, Some(source), &wanted, before).await?;
        Ok(self.signed_in(identity, issued))
    }

    async fn check_service(
        &self,
        request: &ServiceCertify,
        wanted: &Wanted,
    ) -> Result<IdentityRecord, Failure> {
        let now_us = self.mint.now_us();
        let challenge = self.challenges.open(&request.name, &request.nonce, now_us);
        let found = match is_name(&request.name) {
            true => ask(self.directory.service_by_name(&request.name)).await?,
            false => None,
        };
        let registered = found.as_ref().and_then(|(_, pem)| PublicKey::from_pem(pem));
        // Where there is no such service a signature is checked all the same, in vain.
        let checked = registered.as_ref().unwrap_or(self.ca.user_ca_key());
        let message = service_login_message(&self.log.origin(), &request.nonce);
        let signature = STANDARD.decode(&request.signature).unwrap_or_default();
        let signed = checked.verify(&message, &signature) && registered.is_some();

        let (id, _) = found.ok_or(Failure::NotProved(Reason::Unknown))?;
        let challenge = challenge.ok_or(Failure::NotProved(Reason::WrongChallenge))?;
        if !signed {
            return Err(Failure::NotProved(Reason::WrongSignature));
        }
        let identity = ask(self.directory.identity(ActorId::Service(id))).await?;
        let identity = identity.ok_or(Failure::NotProved(Reason::Unknown))?;
        if identity.disabled {
            return Err(Failure::NotProved(Reason::Disabled));
        }
        self.minter.check_fresh(wanted).await?;
        if !self.challenges.spend(challenge, now_us)? {
            return Err(Failure::NotProved(Reason::CodeUsed));
        }
        Ok(identity)
    }
}

fn wrong_answer() -> PublicError {
    PublicError::new("wrong_login", Fault::Client, "name, key or challenge is wrong")
        .hint("a challenge is good for 60 s and once; check which key is registered")
}

/// Challenges. They are made without being remembered, so nobody fills a memory by asking; only
/// one that a registered key has answered is remembered until it ends, so that it is good once.
/// The key is made anew with each start of the program, which ends all challenges before it.
pub(super) struct Challenges {
    key: hmac::Key,
    spent: Mutex<HashMap<[u8; 16], i64>>,
}

/// A challenge that this program made and that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opened {
    random: [u8; 16],
    expires_us: i64,
}

impl Challenges {
    pub(super) fn new(mint: &Mint) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &mint.random::<32>());
        Self { key, spent: Mutex::default() }
    }

    /// A nonce for this name, and its end in microseconds since 1970.
    fn make(&self, name: &str, mint: &Mint) -> (String, i64) {
        let expires_us = mint.now_us().saturating_add(CHALLENGE_US);
        let random = mint.random::<16>();
        let tag = hmac::sign(&self.key, &signed_bytes(name, &random, expires_us));
        let nonce = [expires_us.to_be_bytes().as_slice(), &random, tag.as_ref()].concat();
        (URL_SAFE_NO_PAD.encode(nonce), expires_us)
    }

    /// Reads a nonce; none where it is not ours, for another name, or over.
    fn open(&self, name: &str, nonce: &str, now_us: i64) -> Option<Opened> {
        let bytes = URL_SAFE_NO_PAD.decode(nonce).ok()?;
        let (expires, rest) = bytes.split_first_chunk::<8>()?;
        let (random, tag) = rest.split_first_chunk::<16>()?;
        let expires_us = i64::from_be_bytes(*expires);
        hmac::verify(&self.key, &signed_bytes(name, random, expires_us), tag).ok()?;
        // The second condition is for a clock that was set back meanwhile.
        let good = now_us < expires_us && expires_us <= now_us.saturating_add(CHALLENGE_US);
        good.then_some(Opened { random: *random, expires_us })
    }

    /// Spends a challenge; `false` where it was spent before.
    fn spend(&self, challenge: Opened, now_us: i64) -> Result<bool, PublicError> {
        let mut spent = self.spent.lock();
        if spent.len() >= SPENT_MAX {
            spent.retain(|_, expires_us| now_us < *expires_us);
        }
        if spent.len() >= SPENT_MAX {
            return Err(PublicError::new(
                "busy",
                Fault::Gateway,
                "too many services sign in at once",
            )
            .hint("try again in a minute")
            .retry());
        }
        Ok(spent.insert(challenge.random, challenge.expires_us).is_none())
    }
}

/// What a nonce's tag is over.
fn signed_bytes(name: &str, random: &[u8; 16], expires_us: i64) -> Vec<u8> {
    let parts: [&[u8]; 4] =
        [b"loggia.challenge.v1\0", &expires_us.to_be_bytes(), random, name.as_bytes()];
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeClock, NOW_US, mint};
    use proptest::prelude::*;

    #[test]
    fn a_challenge_is_good_for_its_name_for_a_minute_and_once() {
        let mint = mint(&FakeClock::at(NOW_US));
        let challenges = Challenges::new(&mint);
        let (nonce, expires_us) = challenges.make("ci", &mint);
        assert_eq!(expires_us, NOW_US + CHALLENGE_US);
        let opened = challenges.open("ci", &nonce, NOW_US).unwrap();
        assert_eq!(challenges.open("cd", &nonce, NOW_US), None, "another name");
        assert_eq!(challenges.open("ci", &nonce, expires_us), None, "over");
        assert!(challenges.open("ci", &nonce, expires_us - 1).is_some());
        assert_eq!(challenges.open("ci", &nonce, NOW_US - 1), None, "from the future");
        assert_eq!(Challenges::new(&mint).open("ci", &nonce, NOW_US), None, "another start");
        assert!(challenges.spend(opened, NOW_US).unwrap());
        assert!(!challenges.spend(opened, NOW_US).unwrap());
    }

    #[test]
    fn what_is_remembered_is_bounded_and_never_forgotten_early() {
        let mint = mint(&FakeClock::at(NOW_US));
        let challenges = Challenges::new(&mint);
        for n in 0..SPENT_MAX as u128 {
            let opened = Opened { random: n.to_be_bytes(), expires_us: NOW_US + 5 };
            assert!(challenges.spend(opened, NOW_US).unwrap());
        }
        let next = Opened { random: [0xff; 16], expires_us: NOW_US + 9 };
        assert_eq!(challenges.spend(next, NOW_US).unwrap_err().code, "busy");
        assert!(challenges.spend(next, NOW_US + 5).unwrap());
        assert_eq!(challenges.spent.lock().len(), 1);
    }

    proptest! {
        #[test]
        fn no_nonce_panics(nonce in any::<String>(), bytes in any::<Vec<u8>>(), now: i64) {
            let challenges = Challenges::new(&mint(&FakeClock::at(NOW_US)));
            prop_assert_eq!(challenges.open("ci", &nonce, now), None);
            prop_assert_eq!(challenges.open("ci", &URL_SAFE_NO_PAD.encode(bytes), now), None);
        }
    }
}
