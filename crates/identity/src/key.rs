//! The one kind of key that identities have here: ECDSA P-256 (libpq's channel binding fails with
//! Ed25519 certificates). Public keys arrive in certificate requests, certificates and the control
//! database, and are judged here, in one form.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use loggia_model::{Fault, PublicError};
use sha2::{Digest, Sha256};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::OID_SIG_ECDSA_WITH_SHA256;
use x509_parser::prelude::FromDer;

/// The DER of a P-256 SubjectPublicKeyInfo up to the point (RFC 5480 section 2): the algorithm
/// `id-ecPublicKey` with the named curve `prime256v1`, and a bit string of 65 bytes.
const SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// An uncompressed point (SEC 1 section 2.3.3): `04`, x, y.
const POINT_LEN: usize = 65;
/// Longest certificate request that is looked at, in bytes of PEM.
const CSR_BYTES_MAX: usize = 8 * 1024;

/// A P-256 public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    spki: Vec<u8>,
}

impl PublicKey {
    /// From the DER of a SubjectPublicKeyInfo; none where it is not an uncompressed P-256 key.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        let point = der.strip_prefix(&SPKI_HEAD)?;
        let good = point.len() == POINT_LEN && point.first() == Some(&0x04);
        good.then(|| Self { spki: der.to_owned() })
    }

    /// From PEM with the label `PUBLIC KEY`, as the control database keeps services' keys.
    pub fn from_pem(text: &str) -> Option<Self> {
        let block = pem::parse(text).ok()?;
        (block.tag() == "PUBLIC KEY").then(|| Self::from_spki(block.contents())).flatten()
    }

    /// From a certificate request (PKCS #10, RFC 2986) in PEM. The request's own signature is
    /// verified, so whoever sends it has the private key. Nothing else of it is used: whom a
    /// certificate names is not for the applicant to say.
    ///
    /// Errors: `bad_csr`, with what is wrong.
    pub fn from_csr(text: &str) -> Result<Self, PublicError> {
        let bad = |why: &str| {
            PublicError::new("bad_csr", Fault::Client, format!("the certificate request {why}"))
                .hint("send a PKCS #10 request in PEM for a fresh ECDSA P-256 key")
        };
        if text.len() > CSR_BYTES_MAX {
            return Err(bad("is too long"));
        }
        let block = pem::parse(text).map_err(|_| bad("is not PEM"))?;
        // OpenSSL once wrote NEW CERTIFICATE REQUEST; both are in use.
        if !matches!(block.tag(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") {
            return Err(bad("is not PEM of a certificate request"));
        }
        let (rest, csr) = X509CertificationRequest::from_der(block.contents())
            .map_err(|_| bad("is not PKCS #10"))?;
        if !rest.is_empty() {
            return Err(bad("has bytes behind its end"));
        }
        let info = &csr.certification_request_info;
        let key = Self::from_spki(info.subject_pki.raw)
            .ok_or_else(|| bad("is for another kind of key than ECDSA P-256"))?;
        let signed = csr.signature_algorithm.algorithm == OID_SIG_ECDSA_WITH_SHA256
            && csr.signature_value.unused_bits == 0
            && key.verify(info.raw, &csr.signature_value.data);
        if signed { Ok(key) } else { Err(bad("is not signed by its own key with SHA-256")) }
    }

    /// Whether `signature` (ECDSA with SHA-256, DER) over `message` is by this key.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let point = self.spki.get(SPKI_HEAD.len()..).unwrap_or_default();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).is_ok()
    }

    /// The DER of the SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-256 of the SubjectPublicKeyInfo, lower-case hex: by which a certificate's credential is
    /// found.
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(&self.spki))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair};

    fn csr(key: &KeyPair) -> String {
        CertificateParams::new(vec!["ignored".to_owned()])
            .unwrap()
            .serialize_request(key)
            .unwrap()
            .pem()
            .unwrap()
    }

    #[test]
    fn a_request_gives_its_key_and_nothing_else() {
        let pair = KeyPair::generate().unwrap();
        let key = PublicKey::from_csr(&csr(&pair)).unwrap();
        assert_eq!(PublicKey::from_pem(&pair.public_key_pem()), Some(key.clone()));
        assert_eq!(key.digest(), hex::encode(Sha256::digest(key.spki())));
    }

    #[test]
    fn requests_with_another_kind_of_key_are_refused() {
        for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            let pair = KeyPair::generate_for(algorithm).unwrap();
            let refused = PublicKey::from_csr(&csr(&pair)).unwrap_err();
            assert_eq!(refused.code, "bad_csr");
            assert!(refused.message.contains("another kind of key"), "{}", refused.message);
            assert!(PublicKey::from_pem(&pair.public_key_pem()).is_none());
        }
    }

    #[test]
    fn a_request_that_its_key_did_not_sign_is_refused() {
        let text = csr(&KeyPair::generate().unwrap());
        let mut der = pem::parse(&text).unwrap().contents().to_vec();
        // The common name that rcgen writes, within what is signed.
        let at = der.windows(5).position(|bytes| bytes == b"rcgen").unwrap();
        der[at] = b'R';
        let changed = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der));
        let refused = PublicKey::from_csr(&changed).unwrap_err();
        assert!(refused.message.contains("not signed"), "{}", refused.message);
        let certificate = text.replace("CERTIFICATE REQUEST", "CERTIFICATE");
        assert!(PublicKey::from_csr(&certificate).is_err());
        assert!(PublicKey::from_csr(&"A".repeat(10_000)).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in any::<Vec<u8>>(), at in 0usize..400, to: u8) {
            let _ = PublicKey::from_spki(&bytes);
            let _ = PublicKey::from_pem(&String::from_utf8_lossy(&bytes));
            let _ = PublicKey::from_csr(&pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", bytes)));
            // A real request with one byte changed: refused, or it is for the same key.
            let pair = KeyPair::generate().unwrap();
            let mut der = pem::parse(csr(&pair)).unwrap().contents().to_vec();
            if let Some(byte) = der.get_mut(at) {
                *byte = to;
                let changed = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der));
                if let Ok(key) = PublicKey::from_csr(&changed) {
                    prop_assert_eq!(Some(key), PublicKey::from_pem(&pair.public_key_pem()));
                }
            }
        }
    }
}
