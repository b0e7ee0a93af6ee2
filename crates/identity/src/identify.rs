//! *Identify*: a credential becomes an actor, or the refusal says why not.

use crate::ca::Ca;
use crate::certificate::{self, refusal};
use crate::events::ask;
use crate::token;
use async_trait::async_trait;
use loggia_model::port::{Directory, Identify};
use loggia_model::{Actor, Authn, Credential, Fault, Mint, PublicError, Secret, Source};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Knows credentials by the control database. Nothing is remembered between two calls, so that
/// what was revoked is refused at once.
pub struct Identifier {
    directory: Arc<dyn Directory>,
    ca: Arc<Ca>,
    mint: Mint,
}

/// What a credential says of itself.
struct Presented {
    digest: String,
    authn: Authn,
    /// Whom a certificate names, and its own end.
    claims: Option<certificate::Claims>,
}

impl Identifier {
    /// From the ports and the authority whose certificates count.
    pub fn new(directory: Arc<dyn Directory>, ca: Arc<Ca>, mint: Mint) -> Self {
        Self { directory, ca, mint }
    }

    fn read(&self, credential: &Credential) -> Result<Presented, PublicError> {
        match credential {
            Credential::ClientCertificate { chain } => {
                let leaf = chain.first().ok_or_else(|| {
                    refusal("bad_credential", "the client presented no certificate")
                })?;
                let now_us = self.mint.now_us();
                let claims = certificate::verify(leaf, self.ca.user_ca_key(), now_us)?;
                let digest = claims.digest.clone();
                Ok(Presented { digest, authn: Authn::ClientCertificate, claims: Some(claims) })
            }
            Credential::Token(text) => {
                check_form(text)?;
                Ok(Presented { digest: token::digest(text), authn: Authn::Token, claims: None })
            }
        }
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
        _source: &Source,
    ) -> Result<Actor, PublicError> {
        let presented = self.read(credential)?;
        let unknown = || refusal("unknown_credential", "this Loggia does not know the credential");
        let found = ask(self.directory.credential(&presented.digest)).await?;
        let record = found
            .filter(|record| record.digest.as_bytes().ct_eq(presented.digest.as_bytes()).into())
            .ok_or_else(unknown)?;
        // A certificate that names somebody else than its record was never issued here.
        if presented.claims.as_ref().is_some_and(|claims| claims.actor != record.actor) {
            return Err(unknown());
        }
        if record.revoked {
            return Err(refusal("revoked", "the credential was revoked"));
        }
        let not_after_us = presented.claims.map_or(i64::MAX, |claims| claims.not_after_us);
        let expires_us = record.expires_us.min(not_after_us);
        if expires_us <= self.mint.now_us() {
            return Err(certificate::expired());
        }
        let identity = ask(self.directory.identity(record.actor)).await?.ok_or_else(unknown)?;
        if identity.disabled {
            return Err(disabled());
        }
        Ok(Actor {
            id: identity.id,
            name: identity.name,
            authn: presented.authn,
            credential: Some(record.id),
            expires_us: Some(expires_us),
            groups: identity.groups,
            admin: identity.admin,
        })
    }
}

/// Signing in again would not help here.
fn disabled() -> PublicError {
    PublicError::new("disabled", Fault::Policy, "the identity is disabled")
        .hint("ask an administrator of this Loggia")
}

#[cfg(test)]
mod tests;
