//! Signing in and out, independent of HTTP: people by password and one-time code
//! ([`SignIn::login`], or [`SignIn::prove`] where nothing is issued), new people by an enrolment code ([`SignIn::enrol_finish`]), services by a
//! signed challenge ([`SignIn::service_certify`]).
//!
//! Every way is the same walk: may they try, have they proved who they are, record, issue.

mod enrol;
mod login;
mod logout;
mod service;

pub(crate) use logout::who_am_i;

use crate::ca::Ca;
use crate::credential::{Issued, LIFE_S_DEFAULT, Minter};
use crate::events::{self, Reason};
use crate::password::Passwords;
use crate::ssh::SshAuthorities;
use crate::throttle::{Attempt, FailureEvents, Throttle};
use loggia_api::identity::{SignedIn, SshTrust};
use loggia_model::id::{ActorId, CredentialId};
use loggia_model::port::{Append, Directory, IdentityRecord};
use loggia_model::{Authn, Fault, Kind, Mint, PublicError, Source};
use parking_lot::Mutex;
use std::sync::Arc;

/// What everybody is told who signs in, and again when a session begins.
pub const NOTICE_DEFAULT: &str =
    "Everything you do through Loggia is recorded under your name before it happens.";

/// What configuration decides here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long credentials last, in seconds.
    pub credential_life_s: u32,
    /// The notice that everything is recorded.
    pub notice: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { credential_life_s: LIFE_S_DEFAULT, notice: NOTICE_DEFAULT.to_owned() }
    }
}

/// Whoever ends sessions that run.
pub trait EndSessions: Send + Sync {
    /// Ends those that came in with one of these credentials, because their holder gave them back.
    fn logged_out(&self, credentials: &[CredentialId], holder: ActorId);
}

/// A refusal, with the seconds to wait where the caller came too soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What is told.
    pub error: PublicError,
    /// Seconds to wait before the next attempt.
    pub retry_after_s: Option<u64>,
}

impl From<PublicError> for Refused {
    fn from(error: PublicError) -> Self {
        Self { error, retry_after_s: None }
    }
}

/// Why an attempt did not succeed.
enum Failure {
    /// They did not prove who they are; the reason is for the log alone.
    NotProved(Reason),
    /// Something else is in the way, which they are told and which does not count.
    Other(PublicError),
}

impl From<PublicError> for Failure {
    fn from(error: PublicError) -> Self {
        Self::Other(error)
    }
}

/// The door for those who have no credential yet.
pub struct SignIn {
    log: Arc<dyn Append>,
    directory: Arc<dyn Directory>,
    ca: Arc<Ca>,
    ssh: Arc<SshAuthorities>,
    sessions: Arc<dyn EndSessions>,
    mint: Mint,
    minter: Minter,
    passwords: Passwords,
    challenges: service::Challenges,
    throttle: Mutex<Throttle>,
    failures: Mutex<FailureEvents>,
    notice: String,
}

impl SignIn {
    /// From the ports.
    pub fn new(
        log: Arc<dyn Append>,
        directory: Arc<dyn Directory>,
        ca: Arc<Ca>,
        ssh: Arc<SshAuthorities>,
        sessions: Arc<dyn EndSessions>,
        mint: Mint,
        settings: Settings,
    ) -> Self {
        let minter = Minter::new(
            Arc::clone(&log),
            Arc::clone(&directory),
            Arc::clone(&ca),
            Arc::clone(&ssh),
            mint.clone(),
            settings.credential_life_s,
        );
        Self {
            challenges: service::Challenges::new(&mint),
            log,
            directory,
            ca,
            ssh,
            sessions,
            mint,
            minter,
            passwords: Passwords::default(),
            throttle: Mutex::default(),
            failures: Mutex::default(),
            notice: settings.notice,
        }
    }

    /// Issues credentials without a login, for whoever may say so: the operator of a trial on
    /// their own machine.
    pub fn minter(&self) -> &Minter {
        &self.minter
    }

    /// The public keys of the SSH authorities.
    pub fn ssh_trust(&self) -> SshTrust {
        SshTrust {
            host_authority: self.ssh.host_authority().to_owned(),
            target_authority: self.ssh.target_authority().to_owned(),
            host_key: self.ssh.host_public_key().to_owned(),
        }
    }

    /// Writes the failures that were counted and not written one by one. To be called once a
    /// minute, so that they are not late, and at shutdown.
    pub fn write_counted_failures(&self) -> Result<(), PublicError> {
        let counted = self.failures.lock().take_counted();
        self.write_counted(counted)
    }

    fn write_counted(&self, counted: Option<(u64, u64)>) -> Result<(), PublicError> {
        let Some((count, sources)) = counted else { return Ok(()) };
        let draft = self
            .mint
            .draft(Kind::StrangerSummary)
            .set("/detail/listener", "api")
            .set("/detail/count", count)
            .set("/detail/sources", sources);
        events::append(self.log.as_ref(), &[events::encode(draft)?]).map(|_| ())
    }

    /// Lets an attempt begin, or says how long to wait.
    fn begin(
        &self,
        attempt: &Attempt,
        method: Authn,
        claimed: Option<&str>,
        source: &Source,
    ) -> Result<(), Refused> {
        let begun = self.throttle.lock().begin(attempt, self.mint.now_us());
        let Err(wait) = begun else { return Ok(()) };
        self.record_failure(method, Reason::Throttled, claimed, source)?;
        let seconds = wait.seconds;
        let error = PublicError::new("throttled", Fault::Client, "too many failed logins")
            .hint(format!("wait {seconds} s and try again"))
            .retry();
        Err(Refused { error, retry_after_s: Some(seconds) })
    }

    /// Settles an attempt: what it means for the next one, what is recorded, and what is told,
    /// which is `public` whatever the reason was.
    fn settle<T>(
        &self,
        attempt: &Attempt,
        method: Authn,
        claimed: Option<&str>,
        source: &Source,
        outcome: Result<T, Failure>,
        public: fn() -> PublicError,
    ) -> Result<T, Refused> {
        match outcome {
            Ok(value) => {
                self.throttle.lock().succeeded(attempt, self.mint.now_us());
                Ok(value)
            }
            Err(Failure::Other(error)) => {
                self.throttle.lock().undone(attempt, self.mint.now_us());
                Err(error.into())
            }
            Err(Failure::NotProved(reason)) => {
                self.record_failure(method, reason, claimed, source)?;
                Err(public().into())
            }
        }
    }

    /// Records a failure, or counts it where strangers have caused enough events this minute.
    fn record_failure(
        &self,
        method: Authn,
        reason: Reason,
        claimed: Option<&str>,
        source: &Source,
    ) -> Result<(), PublicError> {
        let now_us = self.mint.now_us();
        let (counted, write) = {
            let mut failures = self.failures.lock();
            (failures.take_counted_before(now_us), failures.note(source.peer.ip(), now_us))
        };
        self.write_counted(counted)?;
        if !write {
            return Ok(());
        }
        let draft = events::login_failed(&self.mint, method, reason, claimed, source);
        events::append(self.log.as_ref(), &[events::encode(draft)?]).map(|_| ())
    }

    /// What the client is given.
    fn signed_in(&self, identity: IdentityRecord, issued: Issued) -> SignedIn {
        SignedIn {
            actor: identity.id.to_string(),
            name: identity.name,
            certificate_pem: issued.certificate_pem.unwrap_or_default(),
            ssh_certificate: issued.ssh_certificate,
            ssh_host_authority: self.ssh.host_authority().to_owned(),
            token: issued.token,
            expires_us: issued.expires_us,
            ca_pem: self.ca.ca_pem().to_owned(),
            notice: self.notice.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
