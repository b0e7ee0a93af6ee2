//! The SSH authorities and this gateway's host key, kept as files in `keys/`:
//!
//! | file | whose key | signs | mode |
//! | --- | --- | --- | --- |
//! | `ssh-user-ca.key` | the authority that names identities | certificates of people and services | 0600 |
//! | `ssh-host-ca.key` | the authority that names this Loggia | certificates of its host key | 0600 |
//! | `ssh-host.key` | this gateway, as SSH clients see it | handshakes | 0600 |
//! | `ssh-target-ca.key` | the authority that targets trust | a certificate per session, for an account there | 0600 |
//!
//! All are Ed25519 in OpenSSH's format, made once and never overwritten. There are three
//! authorities because each vouches for something else to somebody else: a target that trusts the
//! third must not thereby let anybody in who holds a certificate of the first and goes around this
//! gateway. Who steals `ssh-user-ca.key` can make certificates, but none that is accepted: each is
//! looked up in the control database too. Who steals `ssh-target-ca.key` can sign in to every
//! target that trusts it, past Loggia: it is worth as much as a private key on each of them.

use super::key::SshPublicKey;
use super::{BINDING, Binding};
use crate::files::{self, KeysError};
use loggia_model::id::{ActorId, CredentialId, SessionId};
use loggia_model::port::{HostKeys, SessionKey, SessionKeys};
use loggia_model::{Actor, Fault, LeafHash, Mint, PublicError, Secret};
use ssh_key::certificate::{Builder, CertType};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::public::KeyData;
use ssh_key::{Certificate, LineEnding, PrivateKey};
use std::path::Path;
use zeroize::Zeroizing;

const USER_CA: &str = "ssh-user-ca.key";
const HOST_CA: &str = "ssh-host-ca.key";
const HOST: &str = "ssh-host.key";
const TARGET_CA: &str = "ssh-target-ca.key";
const DAY_S: i64 = 86_400;
/// A host certificate lasts 90 days; it is made anew with each start and on demand.
const HOST_LIFE_S: i64 = 90 * DAY_S;
/// A certificate for a target lasts as long as signing in there may take.
const SESSION_LIFE_S: i64 = 600;
/// Certificates begin this long before now, for machines whose clock is behind.
const BACKDATE_S: i64 = 60;
/// Host names that one certificate can hold; OpenSSH reads no more principals.
const NAMES_MAX: usize = 256;
/// What `ssh-keygen` permits by default. What may be done is for policies to say; without these the
/// other side would refuse before anybody is asked.
const PERMITTED: [&str; 5] = [
    "permit-X11-forwarding",
    "permit-agent-forwarding",
    "permit-port-forwarding",
    "permit-pty",
    "permit-user-rc",
];

/// What a user certificate says of its holder.
pub(crate) struct UserName {
    /// Whom it names: its only principal.
    pub(crate) actor: ActorId,
    /// The credential that it is.
    pub(crate) credential: CredentialId,
    /// Serial number.
    pub(crate) serial: u64,
    /// The log entry that minted it.
    pub(crate) binding: Binding,
    /// End of validity, seconds since 1970.
    pub(crate) not_after_s: i64,
}

/// The SSH authorities of one Loggia and its host key.
pub struct SshAuthorities {
    mint: Mint,
    origin: String,
    user: Key,
    hosts: Key,
    host: Key,
    targets: Key,
}

/// A private key and its public line.
struct Key {
    private: PrivateKey,
    line: String,
}

/// What is to be signed.
struct Wanted<'a> {
    key: &'a KeyData,
    kind: CertType,
    serial: u64,
    key_id: String,
    principals: &'a [String],
    not_after_s: i64,
    binding: Option<&'a Binding>,
}

impl SshAuthorities {
    /// Opens what lies in `folder` and makes what is missing. `origin` is that of the log to which
    /// certificates for targets are bound.
    ///
    /// Errors: a file that cannot be read or written, that others can read, or that is damaged.
    pub fn open_or_create(folder: &Path, mint: &Mint, origin: &str) -> Result<Self, KeysError> {
        files::open_folder(folder)?;
        let open = |file: &str, what: &str| Key::open_or_create(&folder.join(file), what, mint);
        Ok(Self {
            mint: mint.clone(),
            origin: origin.to_owned(),
            user: open(USER_CA, "Loggia SSH user CA")?,
            hosts: open(HOST_CA, "Loggia SSH host CA")?,
            host: open(HOST, "Loggia")?,
            targets: open(TARGET_CA, "Loggia SSH target CA")?,
        })
    }

    /// Public key of the authority that names identities: `TYPE BASE64`.
    pub fn user_authority(&self) -> &str {
        &self.user.line
    }

    /// Public key of the authority by which clients know this Loggia's host keys: `TYPE BASE64`,
    /// for a line `@cert-authority` in `known_hosts`.
    pub fn host_authority(&self) -> &str {
        &self.hosts.line
    }

    /// Public key of the authority that targets trust for `TrustedUserCAKeys`: `TYPE BASE64`.
    pub fn target_authority(&self) -> &str {
        &self.targets.line
    }

    /// This gateway's public host key: `TYPE BASE64`.
    pub fn host_public_key(&self) -> &str {
        &self.host.line
    }

    /// `SHA256:…` of this gateway's host key, as clients show it.
    pub fn host_fingerprint(&self) -> String {
        self.host.public().fingerprint(ssh_key::HashAlg::Sha256).to_string()
    }

    /// The key that signs user certificates.
    pub(crate) fn user_authority_key(&self) -> &KeyData {
        self.user.public()
    }

    /// Issues a user certificate: `TYPE BASE64`. Whoever calls has recorded it before.
    pub(crate) fn issue_user(
        &self,
        key: &SshPublicKey,
        name: &UserName,
    ) -> Result<String, KeysError> {
        let wanted = Wanted {
            key: key.data(),
            kind: CertType::User,
            serial: name.serial,
            key_id: format!("loggia:{}:{}", name.actor, name.credential),
            principals: &[name.actor.to_string()],
            not_after_s: name.not_after_s,
            binding: Some(&name.binding),
        };
        self.sign(&self.user, wanted)
    }

    fn sign(&self, authority: &Key, wanted: Wanted<'_>) -> Result<String, KeysError> {
        let now_s = self.mint.now_us().div_euclid(1_000_000);
        let seconds = |time: i64| u64::try_from(time).map_err(make);
        let (from, until) = (seconds(now_s - BACKDATE_S)?, seconds(wanted.not_after_s)?);
        let nonce: [u8; 32] = self.mint.random();
        let mut builder = Builder::new(nonce, wanted.key.clone(), from, until).map_err(make)?;
        builder.cert_type(wanted.kind).map_err(make)?;
        builder.serial(wanted.serial).map_err(make)?;
        builder.key_id(wanted.key_id).map_err(make)?;
        // Without principals a certificate would be good for everybody.
        if wanted.principals.is_empty() {
            return Err(KeysError::Make("a certificate needs a principal".to_owned()));
        }
        for principal in wanted.principals {
            builder.valid_principal(principal).map_err(make)?;
        }
        if wanted.kind == CertType::User {
            for permitted in PERMITTED {
                builder.extension(permitted, "").map_err(make)?;
            }
        }
        if let Some(binding) = wanted.binding {
            builder.extension(BINDING, binding.to_string()).map_err(make)?;
        }
        line_of(&builder.sign(&authority.private).map_err(make)?)
    }

    fn random_serial(&self) -> u64 {
        u64::from_be_bytes(self.mint.random())
    }
}

impl HostKeys for SshAuthorities {
    fn host_key(&self) -> Secret {
        // It was read from this form.
        let text = self.host.private.to_openssh(LineEnding::LF).map(|text| text.to_string());
        Secret::new(text.unwrap_or_default())
    }

    fn host_certificate(&self, names: &[String]) -> Result<String, PublicError> {
        if names.is_empty() || names.len() > NAMES_MAX {
            let why = format!("{} names do not fit a host certificate", names.len());
            return Err(no_certificate(KeysError::Make(why)));
        }
        let wanted = Wanted {
            key: self.host.public(),
            kind: CertType::Host,
            serial: self.random_serial(),
            key_id: "loggia".to_owned(),
            principals: names,
            not_after_s: self.mint.now_us().div_euclid(1_000_000) + HOST_LIFE_S,
            binding: None,
        };
        self.sign(&self.hosts, wanted).map_err(no_certificate)
    }
}

impl SessionKeys for SshAuthorities {
    fn session_key(
        &self,
        actor: &Actor,
        session: SessionId,
        account: &str,
        index: u64,
        leaf_hash: LeafHash,
    ) -> Result<SessionKey, PublicError> {
        let key = Key::generate("", &self.mint).map_err(no_certificate)?;
        let leaf_hash = leaf_hash.to_hex();
        let binding = Binding { origin: self.origin.clone(), index, leaf_hash };
        let wanted = Wanted {
            key: key.public(),
            kind: CertType::User,
            serial: self.random_serial(),
            key_id: format!("loggia:{}:{session}", actor.id),
            principals: &[account.to_owned()],
            not_after_s: self.mint.now_us().div_euclid(1_000_000) + SESSION_LIFE_S,
            binding: Some(&binding),
        };
        let certificate = self.sign(&self.targets, wanted).map_err(no_certificate)?;
        let private = key.private.to_openssh(LineEnding::LF).map_err(make);
        let private = private.map_err(no_certificate)?;
        Ok(SessionKey { private_key: Secret::new(private.to_string()), certificate })
    }
}

impl Key {
    fn open_or_create(path: &Path, comment: &str, mint: &Mint) -> Result<Self, KeysError> {
        if files::read_private(path)?.is_none() {
            let text = Self::generate(comment, mint)?.private.to_openssh(LineEnding::LF);
            // Of two that make one at the same time, one fails here and overwrites nothing.
            files::create(path, &text.map_err(make)?, 0o600)?;
        }
        let text = files::read_private(path)?.unwrap_or_default();
        let damaged = |why: &str| KeysError::Damaged { path: path.to_owned(), why: why.to_owned() };
        let private = PrivateKey::from_openssh(text.as_bytes())
            .map_err(|_| damaged("it is no private key in OpenSSH's format"))?;
        if private.is_encrypted() {
            return Err(damaged("it asks for a passphrase"));
        }
        if !private.algorithm().is_ed25519() {
            return Err(damaged("the key is not Ed25519"));
        }
        Self::of(private)
    }

    fn generate(comment: &str, mint: &Mint) -> Result<Self, KeysError> {
        let seed = Zeroizing::new(mint.random::<32>());
        let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
        Self::of(PrivateKey::new(pair, comment).map_err(make)?)
    }

    fn of(private: PrivateKey) -> Result<Self, KeysError> {
        let bare = ssh_key::PublicKey::from(private.public_key().key_data().clone());
        let line = bare.to_openssh().map_err(make)?;
        Ok(Self { private, line: line.trim_end().to_owned() })
    }

    fn public(&self) -> &KeyData {
        self.private.public_key().key_data()
    }
}

fn line_of(certificate: &Certificate) -> Result<String, KeysError> {
    Ok(certificate.to_openssh().map_err(make)?.trim_end().to_owned())
}

fn make(error: impl std::fmt::Display) -> KeysError {
    KeysError::Make(error.to_string())
}

/// A certificate that could not be made: no fault of whoever wants it.
pub(crate) fn no_certificate(error: KeysError) -> PublicError {
    PublicError::new("certificate", Fault::Gateway, "no certificate could be made").cause(error)
}

#[cfg(test)]
mod tests;
