//! The keys of a sign-in: made here for each one; the private halves never leave this machine.

use crate::fail::{Done, Fail};
use loggia_model::Secret;
use rcgen::{CertificateParams, KeyPair};
use ssh_key::private::Ed25519Keypair;
use ssh_key::{LineEnding, PrivateKey};

/// What OpenSSH's tools call the key.
const COMMENT: &str = "loggia";

/// Fresh keys and what is sent of them.
pub(crate) struct NewKey {
    /// The ECDSA P-256 private key, PEM.
    pub(crate) pem: Secret,
    /// PKCS #10 for it in PEM.
    pub(crate) csr: String,
    /// The Ed25519 private key in OpenSSH's format.
    pub(crate) ssh_private: Secret,
    /// Its public half: `TYPE BASE64 COMMENT`.
    pub(crate) ssh_public: String,
}

impl NewKey {
    /// Makes them.
    pub(crate) fn generate() -> Done<Self> {
        let failed = |error: rcgen::Error| cannot(&error);
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let request = CertificateParams::default().serialize_request(&key).map_err(failed)?;
        let csr = request.pem().map_err(failed)?;
        let (ssh_private, ssh_public) = ssh_pair()?;
        Ok(Self { pem: Secret::new(key.serialize_pem()), csr, ssh_private, ssh_public })
    }
}

fn ssh_pair() -> Done<(Secret, String)> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| cannot(&error))?;
    let key = PrivateKey::new(Ed25519Keypair::from_seed(&seed).into(), COMMENT);
    let key = key.map_err(|error| cannot(&error))?;
    let private = key.to_openssh(LineEnding::LF).map_err(|error| cannot(&error))?;
    let public = key.public_key().to_openssh().map_err(|error| cannot(&error))?;
    Ok((Secret::new(private.to_string()), public))
}

fn cannot(error: &dyn std::fmt::Display) -> Fail {
    Fail::new(format!("no key can be made: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_keys_are_p_256_and_ed25519_and_what_is_sent_holds_their_public_halves() {
        let key = NewKey::generate().unwrap();
        let pair = KeyPair::from_pem(key.pem.reveal()).unwrap();
        assert_eq!(pair.algorithm(), &rcgen::PKCS_ECDSA_P256_SHA256);
        assert!(key.csr.starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
        assert!(!key.csr.contains("PRIVATE"));
        let private = PrivateKey::from_openssh(key.ssh_private.reveal()).unwrap();
        let public = ssh_key::PublicKey::from_openssh(&key.ssh_public).unwrap();
        assert_eq!(private.public_key().key_data(), public.key_data());
        assert!(key.ssh_public.starts_with("ssh-ed25519 AAAA") && !private.is_encrypted());
        assert_ne!(NewKey::generate().unwrap().ssh_public, key.ssh_public);
    }
}
