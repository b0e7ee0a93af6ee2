//! A person's login: password and one-time code.

use super::{Failure, Refused, SignIn};
use crate::credential::Wanted;
use crate::events::{self, Reason, Who, ask};
use crate::throttle::Attempt;
use crate::totp::Authenticator;
use loggia_api::identity::{Login, SignedIn};
use loggia_model::id::{ActorId, PersonId};
use loggia_model::port::{IdentityRecord, PersonVerifier, StateError};
use loggia_model::resource::is_name;
use loggia_model::{Actor, Authn, Draft, Fault, Kind, PublicError, Secret, Source};

const METHOD: Authn = Authn::PasswordTotp;

/// What is checked of a login.
struct Proof<'a> {
    name: &'a str,
    password: &'a Secret,
    code: &'a Secret,
    /// The keys that must not have been used before.
    wanted: &'a Wanted,
}

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
    /// used (`bad_csr`, `bad_ssh_key`, `key_reused`); ledger or control database in the way.
    pub async fn login(&self, request: Login, source: &Source) -> Result<SignedIn, Refused> {
        let wanted = Wanted::read(&request.csr, request.ssh_key.as_deref(), request.want_token)?;
        let proof = Proof {
            name: &request.name,
            password: &request.password,
            code: &request.code,
            wanted: &wanted,
        };
        let (identity, login) = self.check(&proof, source).await?;
        let issued =
            self.minter.issue(&identity, METHOD, Some(source), &wanted, vec![login]).await?;
        Ok(self.signed_in(identity, issued))
    }

    /// Lets a person in by password and code for one session and issues nothing: for protocols
    /// that can ask for both. The walk is that of [`Self::login`], with the same waits after
    /// failures; the code is spent. Good as long as a credential would be.
    ///
    /// Errors: as [`Self::login`].
    pub async fn prove(
        &self,
        name: &str,
        password: &Secret,
        code: &Secret,
        source: &Source,
    ) -> Result<Actor, Refused> {
        let proof = Proof { name, password, code, wanted: &Wanted::default() };
        let (identity, login) = self.check(&proof, source).await?;
        events::append(self.log.as_ref(), &[login])?;
        Ok(Actor {
            id: identity.id,
            name: identity.name,
            authn: METHOD,
            credential: None,
            expires_us: Some(self.minter.end_us()),
            groups: identity.groups,
            admin: identity.admin,
        })
    }

    /// Who it is, and the `auth.login` that is to be recorded.
    async fn check(
        &self,
        proof: &Proof<'_>,
        source: &Source,
    ) -> Result<(IdentityRecord, Draft), Refused> {
        let attempt = Attempt::as_name(proof.name, source.peer.ip());
        let claimed = Some(proof.name);
        self.begin(&attempt, METHOD, claimed, source)?;
        let outcome = self.check_person(proof).await;
        let identity = self.settle(&attempt, METHOD, claimed, source, outcome, wrong_login)?;
        let who = Who { identity: &identity, authn: METHOD, source: Some(source) };
        let login = events::by(who, &self.mint, Kind::AuthLogin)
            .set("/detail/method", METHOD.as_str())
            .set("/outcome/status", "ok");
        let login = events::encode(login)?;
        Ok((identity, login))
    }

    /// Checks password and code. The work is the same whether or not there is such a person.
    async fn check_person(&self, proof: &Proof<'_>) -> Result<IdentityRecord, Failure> {
        let known = self.find(proof.name).await?;
        let verifier = known.as_ref().map(|known| &known.verifier);
        let hash = verifier.and_then(|verifier| verifier.password_hash.clone());
        let verified = self.passwords.verify(proof.password.clone(), hash).await?;
        let authenticator = match verifier.and_then(|verifier| verifier.totp_seed.as_ref()) {
            Some(seed) => Authenticator::from_base32(seed).map_err(unreadable)?,
            None => Authenticator::generate(&self.mint),
        };
        let step = authenticator.step_of(proof.code, self.mint.now_us());

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
        self.minter.check_fresh(proof.wanted).await?;
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
