//! How a new person takes up their account with the code that an administrator handed them.

use super::{Failure, Refused, SignIn};
use crate::credential::Wanted;
use crate::events::{self, Reason, Who, ask};
use crate::password;
use crate::throttle::Attempt;
use crate::totp::Authenticator;
use loggia_api::identity::{EnrolBegin, EnrolBegun, EnrolFinish, SignedIn, enrolment_digest};
use loggia_model::id::{ActorId, PersonId};
use loggia_model::port::{IdentityRecord, PersonVerifier};
use loggia_model::{Authn, Fault, Kind, PublicError, Secret, Source};

const METHOD: Authn = Authn::Enrolment;

/// For whom a code is, while it is good.
struct Invited {
    person: PersonId,
    identity: IdentityRecord,
    digest: String,
}

impl SignIn {
    /// Says for whom a code is, and makes a seed for their authenticator. Changes nothing: the seed
    /// is kept only when [`Self::enrol_finish`] brings it back together with a code made of it.
    ///
    /// Errors: `bad_enrolment`, the same for unknown, used and expired codes; `throttled`.
    pub async fn enrol_begin(
        &self,
        request: EnrolBegin,
        source: &Source,
    ) -> Result<EnrolBegun, Refused> {
        let attempt = Attempt::from(source.peer.ip());
        self.begin(&attempt, METHOD, None, source)?;
        let outcome = self.invited(&request.secret).await;
        let invited = self.settle(&attempt, METHOD, None, source, outcome, bad_enrolment)?;
        let authenticator = Authenticator::generate(&self.mint);
        Ok(EnrolBegun {
            totp_secret: authenticator.seed(),
            otpauth_url: authenticator.otpauth_url(&invited.identity.name),
            name: invited.identity.name,
        })
    }

    /// Takes password and authenticator, spends the code and signs the person in.
    ///
    /// Errors: `bad_enrolment`; `throttled`; what is wrong with the request (`bad_password`,
    /// `bad_totp_secret`, `wrong_code`, `bad_csr`, `bad_ssh_key`, `key_reused`), after which the code is still
    /// good; ledger or control database in the way.
    pub async fn enrol_finish(
        &self,
        request: EnrolFinish,
        source: &Source,
    ) -> Result<SignedIn, Refused> {
        let attempt = Attempt::from(source.peer.ip());
        self.begin(&attempt, METHOD, None, source)?;
        let outcome = self.enrol(&request, source).await;
        let outcome = self.settle(&attempt, METHOD, None, source, outcome, bad_enrolment)?;
        let (identity, wanted) = outcome;
        let now_us = self.mint.now_us();
        self.throttle.lock().proved(&identity.name, source.peer.ip(), now_us);
        let issued = self
            .minter
            .issue(&identity, METHOD, Some(source), &wanted, Vec::new())
            .await
            // The code is spent by now; enrolling again is not what helps.
            .map_err(|error| error.detail("The account is ready: sign in with `loggia login`."))?;
        Ok(self.signed_in(identity, issued))
    }

    async fn invited(&self, secret: &Secret) -> Result<Invited, Failure> {
        let unknown = || Failure::NotProved(Reason::Unknown);
        let digest = enrolment_digest(secret).ok_or_else(unknown)?;
        let found = ask(self.directory.enrolment(&digest, self.mint.now_us())).await?;
        let person = found.ok_or_else(unknown)?;
        let identity = ask(self.directory.identity(ActorId::Person(person))).await?;
        let identity = identity.ok_or_else(unknown)?;
        if identity.disabled {
            return Err(Failure::NotProved(Reason::Disabled));
        }
        Ok(Invited { person, identity, digest })
    }

    /// Everything that can be wrong is looked at before anything is recorded or spent.
    async fn enrol(
        &self,
        request: &EnrolFinish,
        source: &Source,
    ) -> Result<(IdentityRecord, Wanted), Failure> {
        let invited = self.invited(&request.secret).await?;
        password::check_rules(&request.password, &invited.identity.name)?;
        let authenticator = Authenticator::from_base32(&request.totp_secret)?;
        let step =
            authenticator.step_of(&request.code, self.mint.now_us()).ok_or_else(wrong_code)?;
        let wanted = Wanted::read(&request.csr, request.ssh_key.as_deref(), request.want_token)?;
        self.minter.check_fresh(&wanted).await?;
        let verifier = PersonVerifier {
            password_hash: Some(self.passwords.hash(request.password.clone(), &self.mint).await?),
            totp_seed: Some(authenticator.seed()),
        };
        self.take_up(&invited, verifier, source).await?;
        // The code that was just shown is not good for a login too. Where a later one was spent
        // meanwhile, it is not either.
        ask(self.directory.spend_totp_step(invited.person, step)).await?;
        Ok((invited.identity, wanted))
    }

    /// Records the change and makes it.
    async fn take_up(
        &self,
        invited: &Invited,
        verifier: PersonVerifier,
        source: &Source,
    ) -> Result<(), Failure> {
        let who = Who { identity: &invited.identity, authn: METHOD, source: Some(source) };
        let change = events::by(who, &self.mint, Kind::ConfigChange)
            .set("/detail/change", "person.enrol")
            .set("/detail/object", invited.person.to_string())
            .set("/detail/name", invited.identity.name.as_str());
        let change_id = change.id();
        let enrolled = events::by(who, &self.mint, Kind::AuthEnrolled).set("/outcome/status", "ok");
        let drafts = [events::encode(change)?, events::encode(enrolled)?];
        let place = events::append(self.log.as_ref(), &drafts)?;
        events::on_disk(self.log.as_ref(), &place).await?;
        // A crash here leaves a change that the control database does not hold; the next boot says
        // so with `config.not_applied`, and the code is still good.
        let enrol = self.directory.enrol(invited.person, &invited.digest, verifier, change_id);
        if ask(enrol).await? {
            return Ok(());
        }
        // Somebody else was faster with the same code: what was recorded did not happen.
        let not_applied = events::by(who, &self.mint, Kind::ConfigNotApplied)
            .set("/detail/of", change_id.to_string());
        events::append(self.log.as_ref(), &[events::encode(not_applied)?])?;
        Err(Failure::NotProved(Reason::CodeUsed))
    }
}

fn bad_enrolment() -> PublicError {
    PublicError::new(
        "bad_enrolment",
        Fault::Client,
        "the enrolment code is unknown, used or expired",
    )
    .hint("ask an administrator of this Loggia for a new code")
}

fn wrong_code() -> PublicError {
    PublicError::new("wrong_code", Fault::Client, "the one-time code does not fit the new seed")
        .hint("check that the authenticator has the seed and that both clocks are right")
}
