//! How credentials come to be. Each is minted by an event of its own, whose place in the log it
//! carries: a certificate in its subjectAltName, an OpenSSH certificate in an extension, a token in
//! its record. So a credential that the log does not know of is a forgery, and shows as one.

use crate::ca::{Ca, ClientName, serial};
use crate::events::{self, Who};
use crate::key::PublicKey;
use crate::ssh::authority::{UserName, no_certificate};
use crate::ssh::key::SshPublicKey;
use crate::ssh::{Binding, SshAuthorities};
use crate::token;
use loggia_model::id::CredentialId;
use loggia_model::port::{Append, Appended, CredentialRecord, Directory, IdentityRecord, OnDisk};
use loggia_model::{Authn, Draft, Fault, Mint, PublicError, Secret, Source, Value};
use std::sync::Arc;

/// How long credentials last where configuration does not say: eight hours, in seconds.
pub const LIFE_S_DEFAULT: u32 = 8 * 3_600;

/// Credentials, issued and recorded.
#[derive(Debug)]
pub struct Issued {
    /// Client certificate in PEM, where a key was given.
    pub certificate_pem: Option<String>,
    /// OpenSSH certificate as `TYPE BASE64`, where an SSH key was given.
    pub ssh_certificate: Option<String>,
    /// Opaque token, where one was wanted.
    pub token: Option<Secret>,
    /// End of validity of all of them, microseconds since 1970.
    pub expires_us: i64,
    /// Ids of the credentials.
    pub credentials: Vec<CredentialId>,
}

/// What somebody wants who has proved who they are.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Key for a client certificate.
    pub key: Option<PublicKey>,
    /// Key for an OpenSSH certificate.
    pub ssh_key: Option<SshPublicKey>,
    /// Whether an opaque token is wanted.
    pub token: bool,
}

impl Wanted {
    /// Reads the keys of a request.
    ///
    /// Errors: `bad_csr`, `bad_ssh_key`.
    pub fn read(csr: &str, ssh_key: Option<&str>, token: bool) -> Result<Self, PublicError> {
        let ssh_key = ssh_key.map(SshPublicKey::for_certificate).transpose()?;
        Ok(Self { key: Some(PublicKey::from_csr(csr)?), ssh_key, token })
    }
}

/// Mints credentials.
pub struct Minter {
    log: Arc<dyn Append>,
    directory: Arc<dyn Directory>,
    ca: Arc<Ca>,
    ssh: Arc<SshAuthorities>,
    mint: Mint,
    life_s: u32,
}

/// A certificate that is recorded and not yet signed.
struct Planned<'a, K, S> {
    id: CredentialId,
    key: &'a K,
    serial: S,
    place: Appended,
}

impl Minter {
    /// From the ports. `life_s` is how long credentials last, in seconds.
    pub fn new(
        log: Arc<dyn Append>,
        directory: Arc<dyn Directory>,
        ca: Arc<Ca>,
        ssh: Arc<SshAuthorities>,
        mint: Mint,
        life_s: u32,
    ) -> Self {
        Self { log, directory, ca, ssh, mint, life_s }
    }

    /// The end of a credential that begins now, microseconds since 1970: in whole seconds, because
    /// a certificate knows no finer ones.
    pub(crate) fn end_us(&self) -> i64 {
        let now_s = self.mint.now_us().div_euclid(1_000_000);
        (now_s + i64::from(self.life_s)) * 1_000_000
    }

    /// Refuses keys that a credential was issued for before. A revoked credential must not come
    /// back to life with the next login, and no key may ever name two identities: neither may one
    /// that is registered for somebody.
    pub async fn check_fresh(&self, wanted: &Wanted) -> Result<(), PublicError> {
        let digests = [
            wanted.key.as_ref().map(PublicKey::digest),
            wanted.ssh_key.as_ref().map(|key| key.digest().to_owned()),
        ];
        let mut fresh = true;
        for digest in digests.into_iter().flatten() {
            fresh &= events::ask(self.directory.credential(&digest)).await?.is_none();
        }
        if let Some(key) = &wanted.ssh_key {
            fresh &= events::ask(self.directory.ssh_key(key.digest())).await?.is_none();
        }
        if fresh {
            return Ok(());
        }
        Err(PublicError::new("key_reused", Fault::Client, "this key was used before")
            .hint("make a new key for each login"))
    }

    /// Issues what is wanted to an identity that has proved who it is by `authn`. `before` are
    /// events that must stand in the log first, such as `auth.login`.
    ///
    /// Errors: the ledger or the control database cannot take it; nothing is issued then.
    pub async fn issue(
        &self,
        identity: &IdentityRecord,
        authn: Authn,
        source: Option<&Source>,
        wanted: &Wanted,
        before: Vec<Draft>,
    ) -> Result<Issued, PublicError> {
        let who = Who { identity, authn, source };
        let expires_us = self.end_us();

        // First the log. A crash from here on leaves events that say "about to be issued", and
        // nothing issued.
        let mut drafts = before;
        let certificate = match &wanted.key {
            None => None,
            Some(key) => Some(self.record_certificate(who, key, expires_us, &mut drafts)?),
        };
        let ssh = match &wanted.ssh_key {
            None => None,
            Some(key) => Some(self.record_ssh(who, key, expires_us, &mut drafts)?),
        };
        let token = match wanted.token {
            false => None,
            true => Some(self.record_token(who, expires_us, &mut drafts)?),
        };
        if !drafts.is_empty() {
            events::append(self.log.as_ref(), &drafts)?;
        }

        // Then, with its index known, the credential itself; it is kept before it is handed out,
        // so that it can be revoked. A crash leaves one that nobody holds.
        let mut issued = Issued {
            certificate_pem: None,
            ssh_certificate: None,
            token: None,
            expires_us,
            credentials: Vec::new(),
        };
        if let Some(planned) = certificate {
            let place = events::on_disk(self.log.as_ref(), &planned.place).await?;
            let pem = self.sign(who, &planned, place, expires_us)?;
            self.keep(who, planned.id, planned.key.digest(), expires_us, place).await?;
            issued.credentials.push(planned.id);
            issued.certificate_pem = Some(pem);
        }
        if let Some(planned) = ssh {
            let place = events::on_disk(self.log.as_ref(), &planned.place).await?;
            let line = self.sign_ssh(who, &planned, place, expires_us)?;
            let digest = planned.key.digest().to_owned();
            self.keep(who, planned.id, digest, expires_us, place).await?;
            issued.credentials.push(planned.id);
            issued.ssh_certificate = Some(line);
        }
        if let Some((id, token, place)) = token {
            let place = events::on_disk(self.log.as_ref(), &place).await?;
            self.keep(who, id, token::digest(&token), expires_us, place).await?;
            issued.credentials.push(id);
            issued.token = Some(token);
        }
        Ok(issued)
    }

    /// Appends what is due before, and `credential.minted` for a certificate.
    fn record_certificate<'a>(
        &self,
        who: Who<'_>,
        key: &'a PublicKey,
        expires_us: i64,
        drafts: &mut Vec<Draft>,
    ) -> Result<Planned<'a, PublicKey, [u8; 16]>, PublicError> {
        let id = self.new_id();
        let serial = serial(&self.mint);
        let minted = events::minted(who, &self.mint, id, "x509", expires_us)
            .set("/detail/serial", hex::encode(serial))
            .set("/detail/spki", key.digest());
        drafts.push(events::encode(minted)?);
        // The last of an append is the one whose place is told.
        let place = events::append(self.log.as_ref(), &std::mem::take(drafts))?;
        Ok(Planned { id, key, serial, place })
    }

    /// Appends what is due before, and `credential.minted` for an OpenSSH certificate.
    fn record_ssh<'a>(
        &self,
        who: Who<'_>,
        key: &'a SshPublicKey,
        expires_us: i64,
        drafts: &mut Vec<Draft>,
    ) -> Result<Planned<'a, SshPublicKey, u64>, PublicError> {
        let id = self.new_id();
        let serial = u64::from_be_bytes(self.mint.random());
        let minted = events::minted(who, &self.mint, id, "ssh", expires_us)
            .set("/detail/serial", hex::encode(serial.to_be_bytes()))
            .set("/detail/fingerprint", Value::Str(key.fingerprint()));
        drafts.push(events::encode(minted)?);
        let place = events::append(self.log.as_ref(), &std::mem::take(drafts))?;
        Ok(Planned { id, key, serial, place })
    }

    /// Appends what is due before, and `credential.minted` for a token.
    fn record_token(
        &self,
        who: Who<'_>,
        expires_us: i64,
        drafts: &mut Vec<Draft>,
    ) -> Result<(CredentialId, Secret, Appended), PublicError> {
        let id = self.new_id();
        let minted = events::minted(who, &self.mint, id, "token", expires_us);
        drafts.push(events::encode(minted)?);
        let place = events::append(self.log.as_ref(), &std::mem::take(drafts))?;
        Ok((id, token::generate(&self.mint), place))
    }

    fn sign(
        &self,
        who: Who<'_>,
        planned: &Planned<'_, PublicKey, [u8; 16]>,
        place: OnDisk,
        expires_us: i64,
    ) -> Result<String, PublicError> {
        let origin = self.log.origin();
        let (index, leaf_hash) = (place.index, place.leaf_hash.to_hex());
        let name = ClientName {
            actor: who.identity.id,
            binding: format!("loggia:log-binding:v1:{origin}:{index}:{leaf_hash}"),
            serial: planned.serial,
            not_after_s: expires_us / 1_000_000,
        };
        self.ca.issue_client(planned.key, &name).map_err(no_certificate)
    }

    fn sign_ssh(
        &self,
        who: Who<'_>,
        planned: &Planned<'_, SshPublicKey, u64>,
        place: OnDisk,
        expires_us: i64,
    ) -> Result<String, PublicError> {
        let (index, leaf_hash) = (place.index, place.leaf_hash.to_hex());
        let name = UserName {
            actor: who.identity.id,
            credential: planned.id,
            serial: planned.serial,
            binding: Binding { origin: self.log.origin(), index, leaf_hash },
            not_after_s: expires_us / 1_000_000,
        };
        self.ssh.issue_user(planned.key, &name).map_err(no_certificate)
    }

    async fn keep(
        &self,
        who: Who<'_>,
        id: CredentialId,
        digest: String,
        expires_us: i64,
        place: OnDisk,
    ) -> Result<(), PublicError> {
        let record = CredentialRecord {
            id,
            actor: who.identity.id,
            digest,
            authn: who.authn.as_str(),
            expires_us,
            revoked: false,
            log_index: place.index,
        };
        events::ask(self.directory.add_credential(record)).await
    }

    fn new_id(&self) -> CredentialId {
        let (unix_ms, random) = self.mint.id_parts();
        CredentialId::from_parts(unix_ms, random)
    }
}
