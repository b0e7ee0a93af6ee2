//! *Identify*: a credential becomes an actor, or the refusal says why not.

use crate::ca::Ca;
use crate::certificate::{self, refusal};
use crate::events::ask;
use crate::sign_in::SignIn;
use crate::ssh::key::SshPublicKey;
use crate::ssh::{self, SshAuthorities};
use crate::token;
use async_trait::async_trait;
use loggia_model::id::ActorId;
use loggia_model::port::{Directory, Identify, IdentityRecord};
use loggia_model::{Actor, Authn, Credential, Fault, Mint, PublicError, Secret, Source};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Knows credentials by the control database. Nothing is remembered between two calls, so that
/// what was revoked is refused at once.
pub struct Identifier {
    directory: Arc<dyn Directory>,
    ca: Arc<Ca>,
    ssh: Arc<SshAuthorities>,
    sign_in: Arc<SignIn>,
    mint: Mint,
}

/// What a credential that Loggia issued says of itself.
struct Presented {
    digest: String,
    authn: Authn,
    /// Whom a certificate names.
    actor: Option<ActorId>,
    /// The log entry that a certificate says it was minted by.
    log_index: Option<u64>,
    /// A certificate's own end, microseconds since 1970.
    not_after_us: i64,
}

impl Presented {
    /// Something that says nothing of itself.
    fn new(authn: Authn, digest: String) -> Self {
        Self { digest, authn, actor: None, log_index: None, not_after_us: i64::MAX }
    }
}

impl Identifier {
    /// From the ports, the authorities whose certificates count, and the door for those who bring
    /// a password.
    pub fn new(
        directory: Arc<dyn Directory>,
        ca: Arc<Ca>,
        ssh: Arc<SshAuthorities>,
        sign_in: Arc<SignIn>,
        mint: Mint,
    ) -> Self {
        Self { directory, ca, ssh, sign_in, mint }
    }

    fn read_x509(&self, chain: &[Vec<u8>]) -> Result<Presented, PublicError> {
        let leaf = chain
            .first()
            .ok_or_else(|| refusal("bad_credential", "the client presented no certificate"))?;
        let claims = certificate::verify(leaf, self.ca.user_ca_key(), self.mint.now_us())?;
        Ok(Presented {
            actor: Some(claims.actor),
            not_after_us: claims.not_after_us,
            ..Presented::new(Authn::ClientCertificate, claims.digest)
        })
    }

    fn read_ssh(&self, line: &str, source: &Source) -> Result<Presented, PublicError> {
        let authority = self.ssh.user_authority_key();
        let claims = ssh::certificate::verify(line, authority, self.mint.now_us(), source)?;
        Ok(Presented {
            actor: Some(claims.actor),
            log_index: Some(claims.log_index),
            not_after_us: claims.not_after_us,
            ..Presented::new(Authn::SshCertificate, claims.digest)
        })
    }

    /// A credential that Loggia issued: what it says must be what is on record of it.
    async fn issued(&self, presented: Presented) -> Result<Actor, PublicError> {
        let found = ask(self.directory.credential(&presented.digest)).await?;
        let record = found
            .filter(|record| record.digest.as_bytes().ct_eq(presented.digest.as_bytes()).into())
            .ok_or_else(unknown)?;
        // A certificate that names somebody else than its record, or another entry of the log, was
        // never issued here.
        if presented.actor.is_some_and(|actor| actor != record.actor)
            || presented.log_index.is_some_and(|index| index != record.log_index)
        {
            return Err(unknown());
        }
        if record.revoked {
            return Err(refusal("revoked", "the credential was revoked"));
        }
        let expires_us = record.expires_us.min(presented.not_after_us);
        if expires_us <= self.mint.now_us() {
            return Err(certificate::expired());
        }
        let identity = self.identity(record.actor).await?;
        let actor = actor(identity, presented.authn);
        Ok(Actor { credential: Some(record.id), expires_us: Some(expires_us), ..actor })
    }

    /// A key that an administrator registered. It has no end of its own: it is good until it is
    /// removed.
    async fn registered(&self, line: &str) -> Result<Actor, PublicError> {
        let key = SshPublicKey::parse(line)
            .ok_or_else(|| refusal("bad_credential", "the SSH key cannot be read"))?;
        let found = ask(self.directory.ssh_key(key.digest())).await?;
        let unknown = || {
            PublicError::new("unknown_credential", Fault::Client, "this Loggia knows no such key")
                .hint("`loggia login` gives a certificate; or have the key registered: loggia key add")
        };
        let identity = self.identity(found.ok_or_else(unknown)?).await?;
        Ok(actor(identity, Authn::SshKey))
    }

    async fn identity(&self, id: ActorId) -> Result<IdentityRecord, PublicError> {
        let identity = ask(self.directory.identity(id)).await?.ok_or_else(unknown)?;
        if identity.disabled { Err(disabled()) } else { Ok(identity) }
    }
}

fn unknown() -> PublicError {
    refusal("unknown_credential", "this Loggia does not know the credential")
}

/// An identity, with nothing said yet of its credential.
fn actor(identity: IdentityRecord, authn: Authn) -> Actor {
    Actor {
        id: identity.id,
        name: identity.name,
        authn,
        credential: None,
        expires_us: None,
        groups: identity.groups,
        admin: identity.admin,
    }
}

/// The checksum keeps mistyped tokens, and passwords given by mistake, away from the database.
fn check_form(text: &Secret) -> Result<(), PublicError> {
    if token::is_well_formed(text.reveal()) {
        return Ok(());
    }
    Err(refusal("bad_credential", "this is not a token of Loggia's")
        .detail("A token begins with `lgt_` and is 53 characters long; it may be cut or mistyped."))
}

#[async_trait]
impl Identify for Identifier {
    async fn identify(
        &self,
        credential: &Credential,
        source: &Source,
    ) -> Result<Actor, PublicError> {
        match credential {
            Credential::ClientCertificate { chain } => self.issued(self.read_x509(chain)?).await,
            Credential::Token(text) => {
                check_form(text)?;
                self.issued(Presented::new(Authn::Token, token::digest(text))).await
            }
            Credential::SshCertificate { openssh } => {
                self.issued(self.read_ssh(openssh, source)?).await
            }
            Credential::SshKey { openssh } => self.registered(openssh).await,
            Credential::PasswordTotp { name, password, code } => {
                let proved = self.sign_in.prove(name, password, code, source).await;
                proved.map_err(|refused| refused.error)
            }
        }
    }
}

/// Signing in again would not help here.
fn disabled() -> PublicError {
    PublicError::new("disabled", Fault::Policy, "the identity is disabled")
        .hint("ask an administrator of this Loggia")
}

#[cfg(test)]
mod ssh_tests;
#[cfg(test)]
mod tests;
