//! A person's login: password and one-time code.

use super::{Failure, Refused, SignIn};
use crate::events::{self, Reason, Who, ask};
use crate::key::PublicKey;
use crate::throttle::Attempt;
use crate::totp::Authenticator;
use loggia_api::identity::{Login, SignedIn};
use loggia_model::id::{ActorId, PersonId};
use loggia_model::port::{IdentityRecord, PersonVerifier, StateError};
use loggia_model::resource::is_name;
use loggia_model::{Authn, Fault, Kind, PublicError, Source};

/// Who logs in, and what their proof is checked against.
struct Known {
    person: PersonId,
    identity: IdentityRecord,
    verifier: PersonVerifier,
}

impl SignIn {
    /// Signs a person in.
    ///
    /// Errors: `wrong_login`, the same whatever was wrong; `throttled`; a request that cannot be
    /// used (`bad_csr`, `key_reused`); ledger or control database in the way.
    pub async fn login(&self, request: Login, source: &Source) -> Result<SignedIn, Refused> {
        let key = PublicKey::from_csr(&request.csr)?;
        let method = Authn::PasswordTotp;
        let attempt = Attempt::as_name(&request.name, source.peer.ip());
        let claimed = Some(request.name.as_str());
        self.begin(&attempt, method, claimed, source)?;
        let outcome = self.check_person(&request, &key).await;
        let identity = self.settle(&attempt, method, claimed, source, outcome, wrong_login)?;
        let who = Who { identity: &identity, authn: method, source: Some(source) };
        let login = events::by(who, &self.mint, Kind::AuthLogin)
            .set("/detail/method", method.as_str())
            .set("/outcome/status", "ok");
        let before = vec![events::encode(login)?];
        let issued = self
            .minter
            .issue(&identity, method, Some(source), Some(&key), request.want_token, before)
            .await?;
        Ok(self.signed_in(identity, issued))
    }

    /// Checks password and code. The work is the same whether or not there is such a person.
    async fn check_person(
        &self,
        request: &Login,
        key: &PublicKey,
    ) -> Result<IdentityRecord, Failure> {
        let known = self.find(&request.name).await?;
        let verifier = known.as_ref().map(|known| &known.verifier);
        let hash = verifier.and_then(|verifier| verifier.password_hash.clone());
        let verified = self.passwords.verify(request.password.clone(), hash).await?;
        let authenticator = match verifier.and_then(|verifier| verifier.totp_seed.as_ref()) {
            Some(seed) => Authenticator::from_base32(seed).map_err(unreadable)?,
            None => Authenticator::generate(&self.mint),
        };
        let step = authenticator.step_of(&request.code, self.mint.now_us());

        let known = known.ok_or(Failure::NotProved(Reason::Unknown))?;
        if known.verifier.password_hash.is_none() || known.verifier.totp_seed.is_none() {
            // Not enrolled yet: nothing that they could know.
            return Err(Failure::NotProved(Reason::Unknown));
        }
        if !verified {
            return Err(Failure::NotProved(Reason::WrongPassword));
        }
        let step = step.ok_or(Failure::NotProved(Reason::WrongCode))?;
        if known.identity.disabled {
            return Err(Failure::NotProved(Reason::Disabled));
        }
        // Before the code is spent, so that it is still good with another key.
        self.minter.check_fresh(key).await?;
        if !ask(self.directory.spend_totp_step(known.person, step)).await? {
            return Err(Failure::NotProved(Reason::CodeUsed));
        }
        Ok(known.identity)
    }

    async fn find(&self, name: &str) -> Result<Option<Known>, PublicError> {
        if !is_name(name) {
            return Ok(None);
        }
        let Some(person) = ask(self.directory.person_by_name(name)).await? else {
            return Ok(None);
        };
        let identity = ask(self.directory.identity(ActorId::Person(person))).await?;
        let verifier = ask(self.directory.verifier(person)).await?;
        Ok(identity.zip(verifier).map(|(identity, verifier)| Known { person, identity, verifier }))
    }
}

/// What the control database holds is not what we put there: no mistake of the caller's.
fn unreadable(error: PublicError) -> PublicError {
    PublicError::from(StateError(error.message))
}

fn wrong_login() -> PublicError {
    PublicError::new("wrong_login", Fault::Client, "name, password or code is wrong")
        .hint("each code works once: wait for the next one, then `loggia login`")
}
