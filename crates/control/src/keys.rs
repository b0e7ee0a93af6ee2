//! SSH keys: those that people and service accounts may sign in with, and those by which the
//! gateway knows a target.

use crate::change::{ChangeBy, Control, Why};
use crate::edit::Edit;
use crate::error::{ControlError, nearest, state};
use crate::people::not_found;
use crate::snapshot::{Identity, SshKey};
use loggia_model::port::StateError;
use sha2::{Digest, Sha256};
use ssh_key::public::KeyData;
use ssh_key::{Fingerprint, PublicKey};

/// The protocol in declarations.
pub(crate) const SSH: &str = "ssh";
/// What stands before the key of an authority for hosts.
const AUTHORITY: &str = "@cert-authority";
/// Longest line with a key that is looked at, in bytes.
const LINE_BYTES_MAX: usize = 4 * 1024;
/// Characters of a comment that are kept.
const COMMENT_CHARS_MAX: usize = 128;
/// Fewest bits of an RSA key that somebody signs in with.
const RSA_BITS_MIN: u32 = 3_072;
/// Fewest bits of an RSA key of a target: what its owner chose long ago is not for us to forbid.
const HOST_RSA_BITS_MIN: u32 = 2_048;
/// Keys that one identity can have.
const KEYS_MAX: usize = 32;

/// A key that somebody has, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedKey {
    /// The owner, without their other keys.
    pub owner: Identity,
    /// The key.
    pub key: SshKey,
}

impl Control {
    /// All registered keys, by the name of their owner, then by fingerprint.
    pub fn ssh_keys(&self) -> Vec<OwnedKey> {
        let now = self.now();
        let owners = now.by_name.values().filter_map(|id| now.identities.get(id));
        let keys = owners.flat_map(|owner| owner.ssh_keys.iter().map(move |key| owned(owner, key)));
        keys.collect()
    }

    /// Registers a public key, `TYPE BASE64` and perhaps a comment, for the person or service
    /// account of this name: whoever holds the private key is let in over SSH as them, until the
    /// key is removed.
    ///
    /// # Errors
    /// Where there is nobody of this name, or they are disabled; where the line is no key, or one
    /// that is too weak; where the key is somebody's already; where the change fails.
    pub async fn add_key(
        &self,
        name: &str,
        line: &str,
        by: ChangeBy,
    ) -> Result<OwnedKey, ControlError> {
        let (control, name) = (self.clone(), name.to_owned());
        let key = registered_key(line)?;
        self.to_the_end(async move {
            let writing = control.inner.writing().await;
            let now = &writing.now;
            let names = now.by_name.keys().map(String::as_str);
            let known = now.identity(&name);
            let known = known.ok_or_else(|| not_found("person or service", &name, names))?;
            let conflict = |message: String, hint: &str| ControlError::Conflict {
                message,
                hint: hint.to_owned(),
            };
            if known.disabled {
                return Err(conflict(
                    format!("`{name}` is disabled"),
                    "nothing lets them in again",
                ));
            }
            if known.ssh_keys.len() >= KEYS_MAX {
                let message = format!("`{name}` has {KEYS_MAX} keys");
                return Err(conflict(message, "remove one of them first: loggia key rm"));
            }
            if let Some(owner) = now.by_ssh_key.get(&key.digest) {
                let owner = now.identities.get(owner).map_or("somebody", |it| it.name.as_str());
                let message = format!("this key is that of `{owner}` already");
                return Err(conflict(message, "no key is that of two; make a new one"));
            }
            if control.was_certified(&key.digest).await? {
                let message = "a certificate was issued for this key".to_owned();
                return Err(conflict(message, "make a new key to register"));
            }
            let edit = Edit::AddKey { id: known.id, name: name.clone(), key: key.clone() };
            writing.commit(&[edit], &by, Why::default()).await?;
            let now = control.now();
            let found = now.identity(&name).and_then(|owner| {
                let key = owner.ssh_keys.iter().find(|it| it.digest == key.digest)?;
                Some(owned(owner, key))
            });
            found.ok_or_else(|| ControlError::Broken("a key that was added is gone".to_owned()))
        })
        .await
    }

    /// Takes a registered key away, by its fingerprint: who holds it is let in by it no longer.
    /// Sessions that run go on.
    ///
    /// # Errors
    /// Where no key has this fingerprint, or the change fails.
    pub async fn remove_key(
        &self,
        fingerprint: &str,
        by: ChangeBy,
    ) -> Result<OwnedKey, ControlError> {
        let (control, fingerprint) = (self.clone(), fingerprint.to_owned());
        self.to_the_end(async move {
            let writing = control.inner.writing().await;
            let OwnedKey { owner, key } = control.ssh_key_named(&fingerprint)?;
            let edit = Edit::RemoveKey { id: owner.id, name: owner.name.clone(), key: key.clone() };
            writing.commit(&[edit], &by, Why::default()).await?;
            Ok(OwnedKey { owner, key })
        })
        .await
    }

    /// The registered key with this fingerprint.
    pub(crate) fn ssh_key_named(&self, fingerprint: &str) -> Result<OwnedKey, ControlError> {
        let all = self.ssh_keys();
        let found = all.iter().find(|it| it.key.fingerprint == fingerprint).cloned();
        found.ok_or_else(|| {
            let known = all.iter().map(|it| it.key.fingerprint.as_str());
            let near = nearest(fingerprint, known).map(str::to_owned);
            let name: String = fingerprint.chars().take(80).collect();
            ControlError::NotFound { what: "key", name, nearest: near }
        })
    }

    /// Whether a certificate was issued for this key: it must not outlive its revocation by being
    /// registered.
    async fn was_certified(&self, digest: &str) -> Result<bool, StateError> {
        let query = sqlx::query("select 1 from credentials where digest = ?").bind(digest);
        Ok(query.fetch_optional(&self.inner.pool).await.map_err(state)?.is_some())
    }
}

fn owned(owner: &Identity, key: &SshKey) -> OwnedKey {
    OwnedKey { owner: Identity { ssh_keys: Vec::new(), ..owner.clone() }, key: key.clone() }
}

/// `SHA256:…` from a digest in hex.
pub(crate) fn fingerprint(digest: &str) -> Option<String> {
    let bytes = <[u8; 32]>::try_from(hex::decode(digest).ok()?).ok()?;
    Some(Fingerprint::Sha256(bytes).to_string())
}

/// Reads a key that somebody is to sign in with.
fn registered_key(line: &str) -> Result<SshKey, ControlError> {
    let wrong = |message: &str| ControlError::Invalid {
        message: message.to_owned(),
        hint: "a public key is one line, `ssh-ed25519 AAAA… comment`, as `ssh-keygen -t ed25519` \
               writes it to a .pub file"
            .to_owned(),
    };
    if line.contains("PRIVATE KEY") {
        return Err(wrong("this is a private key; it stays where it is, and nobody else sees it"));
    }
    let key = read(line).ok_or_else(|| wrong("this is no public SSH key"))?;
    match key.key_data() {
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) => {}
        KeyData::Rsa(rsa) if rsa.key_size() >= RSA_BITS_MIN => {}
        KeyData::Rsa(_) => {
            return Err(wrong("this RSA key is too weak: 3072 bits are the least"));
        }
        KeyData::Dsa(_) => return Err(wrong("DSA is broken; no such key is taken")),
        _ => return Err(wrong("keys of this type are not taken: Ed25519, ECDSA or RSA")),
    }
    let visible = |letter: &char| !letter.is_control();
    let comment = key.comment().as_str_lossy().chars().filter(visible).take(COMMENT_CHARS_MAX);
    let comment = comment.collect();
    let (public_key, digest) =
        line_and_digest(&key).ok_or_else(|| wrong("this is no public SSH key"))?;
    let fingerprint = fingerprint(&digest).unwrap_or_default();
    Ok(SshKey { public_key, digest, fingerprint, comment, created_us: 0 })
}

/// Reads a key by which a target is known, `TYPE BASE64` or `@cert-authority TYPE BASE64`, and
/// gives it without its comment.
///
/// # Errors
/// What is wrong, and what helps.
pub(crate) fn host_key(text: &str) -> Result<String, (String, String)> {
    let ssh_keyscan = "`ssh-keyscan -t ed25519 HOST` prints them, each behind the host's name, \
                       which does not belong here; compare the fingerprint with the host's own: \
                       ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub";
    let wrong = |message: &str, hint: &str| (message.to_owned(), hint.to_owned());
    let (mark, line) = match text.trim().strip_prefix(AUTHORITY) {
        Some(line) => (Some(AUTHORITY), line.trim_start()),
        None => (None, text.trim()),
    };
    if line.starts_with('@') {
        return Err(wrong("only `@cert-authority` may stand before a key", "name good keys alone"));
    }
    let key = read(line).ok_or_else(|| wrong("this is no host key", ssh_keyscan))?;
    let strong = match key.key_data() {
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) => true,
        KeyData::Rsa(rsa) => rsa.key_size() >= HOST_RSA_BITS_MIN,
        _ => false,
    };
    if !strong {
        let hint = "Ed25519, ECDSA, or RSA with at least 2048 bits; a host has more than one key";
        return Err(wrong("a host key of this type or length is not taken", hint));
    }
    let (line, _) = line_and_digest(&key).ok_or_else(|| wrong("this is no host key", ""))?;
    Ok(mark.map_or_else(|| line.clone(), |mark| format!("{mark} {line}")))
}

fn read(line: &str) -> Option<PublicKey> {
    let line = line.trim();
    if line.len() > LINE_BYTES_MAX || line.contains(['\n', '\r', '\0']) {
        return None;
    }
    PublicKey::from_openssh(line).ok()
}

/// A key's one form, and the SHA-256 of its blob in hex.
fn line_and_digest(key: &PublicKey) -> Option<(String, String)> {
    let bare = PublicKey::from(key.key_data().clone());
    let digest = hex::encode(Sha256::digest(bare.to_bytes().ok()?));
    Some((bare.to_openssh().ok()?.trim_end().to_owned(), digest))
}

#[cfg(test)]
pub(crate) mod tests;
