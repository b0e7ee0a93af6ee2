//! Public keys as SSH writes them, in one form.

use loggia_model::{Fault, PublicError};
use sha2::{Digest, Sha256};
use ssh_key::public::KeyData;

/// Longest line with a public key that is looked at, in bytes. RSA with 16384 bits has 2,800.
const LINE_BYTES_MAX: usize = 4 * 1024;

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshPublicKey {
    data: KeyData,
    digest: String,
}

impl SshPublicKey {
    /// From `TYPE BASE64`, with or without a comment, for a certificate. A key for a certificate is
    /// made afresh for it, and so there is one kind: Ed25519.
    ///
    /// Errors: `bad_ssh_key`, with what is wrong.
    pub fn for_certificate(text: &str) -> Result<Self, PublicError> {
        let bad = |why: &str| {
            PublicError::new("bad_ssh_key", Fault::Client, format!("the SSH key {why}"))
                .hint("send the public half of a fresh Ed25519 key: `ssh-ed25519 AAAA…`")
        };
        let key = Self::parse(text).ok_or_else(|| bad("cannot be read"))?;
        if key.data.is_ed25519() { Ok(key) } else { Err(bad("is not Ed25519")) }
    }

    /// From `TYPE BASE64`, with or without a comment, whatever its type; none where it is no key.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() > LINE_BYTES_MAX {
            return None;
        }
        let key = ssh_key::PublicKey::from_openssh(text).ok()?;
        Self::from_data(key.key_data())
    }

    /// From the key within a certificate.
    pub(crate) fn from_data(data: &KeyData) -> Option<Self> {
        let blob = ssh_key::PublicKey::from(data.clone()).to_bytes().ok()?;
        Some(Self { data: data.clone(), digest: hex::encode(Sha256::digest(blob)) })
    }

    /// The key for certificates.
    pub(crate) fn data(&self) -> &KeyData {
        &self.data
    }

    /// SHA-256 of the key's blob (RFC 4253 section 6.6), lower-case hex: by which a credential or a
    /// registered key is found.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// `SHA256:…` as OpenSSH's tools and logs name a key.
    pub(crate) fn fingerprint(&self) -> String {
        self.data.fingerprint(ssh_key::HashAlg::Sha256).to_string()
    }
}
