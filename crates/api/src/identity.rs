//! Signing in: enrolment of people, login, service accounts, who am I, logout.
//!
//! What a client sends once and never again (passwords, codes, tokens) is a [`Secret`] here too:
//! it is written into the request and nowhere else.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use loggia_model::Secret;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use zeroize::Zeroizing;

/// Takes a secret of an enrolment code: [`EnrolBegin`] in, [`EnrolBegun`] out.
pub const ENROL_BEGIN: &str = "/v1/enrol/begin";
/// Ends an enrolment: [`EnrolFinish`] in, [`SignedIn`] out.
pub const ENROL_FINISH: &str = "/v1/enrol/finish";
/// Signs a person in: [`Login`] in, [`SignedIn`] out.
pub const LOGIN: &str = "/v1/login";
/// Asks for a challenge: [`ServiceChallenge`] in, [`Challenge`] out.
pub const SERVICE_CHALLENGE: &str = "/v1/service/challenge";
/// Answers a challenge: [`ServiceCertify`] in, [`SignedIn`] out.
pub const SERVICE_CERTIFY: &str = "/v1/service/certify";
/// Tells who the caller is: [`WhoAmI`] out.
pub const WHOAMI: &str = "/v1/whoami";
/// Tells the public keys of this Loggia's SSH authorities: [`SshTrust`] out.
pub const SSH_TRUST: &str = "/v1/ssh/trust";
/// Revokes all credentials of the caller: [`LoggedOut`] out.
pub const LOGOUT: &str = "/v1/logout";

/// The header in which a throttled caller is told how many seconds to wait (RFC 9110 10.2.3).
pub const RETRY_AFTER: &str = "retry-after";

/// The first half of an enrolment.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolBegin {
    /// The secret of the enrolment code, in base64url.
    #[serde(with = "secret_text")]
    #[schema(value_type = String)]
    pub secret: Secret,
}

/// For whom the code is, and a fresh seed for their authenticator.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EnrolBegun {
    /// Name of the person.
    pub name: String,
    /// Seed for RFC 6238 (SHA-1, 6 digits, 30 seconds) in base 32. Kept nowhere until
    /// the second half of the enrolment brings it back.
    #[serde(with = "secret_text")]
    #[schema(value_type = String)]
    pub totp_secret: Secret,
    /// The same as a URL for authenticators.
    #[serde(with = "secret_text")]
    #[schema(value_type = String)]
    pub otpauth_url: Secret,
}

/// The second half of an enrolment; the person is signed in by it.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolFinish {
    /// The secret of the enrolment code.
    #[serde(with = "secret_text")]
    #[schema(value_type = String)]
    pub secret: Secret,
    /// The new password: at least 12 characters, at most 1024 bytes.
    #[serde(with = "secret_text")]
    #[schema(value_type = String)]
    pub password: Secret,
    /// The seed from the first half.
    #[serde(with = "secret_text")]
    #[schema(value_type = String)]
    pub totp_secret: Secret,
    /// What the authenticator shows now: 6 digits.
    #[serde(with = "secret_text")]
    #[schema(value_type = String)]
    pub code: Secret,
    /// PKCS #10 request in PEM, for a fresh ECDSA P-256 key. Only its public key is used.
    pub csr: String,
    /// Public half of a fresh Ed25519 key, `ssh-ed25519 AAAA…`, where an OpenSSH certificate is
    /// wanted too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_key: Option<String>,
    /// Whether an opaque token is wanted beside the certificate.
    #[serde(default)]
    pub want_token: bool,
}

/// A person's login.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Name of the person.
    pub name: String,
    /// Their password.
    #[serde(with = "secret_text")]
    #[schema(value_type = String)]
    pub password: Secret,
    /// What their authenticator shows now: 6 digits.
    #[serde(with = "secret_text")]
    #[schema(value_type = String)]
    pub code: Secret,
    /// PKCS #10 request in PEM, for a fresh ECDSA P-256 key. Only its public key is used.
    pub csr: String,
    /// Public half of a fresh Ed25519 key, `ssh-ed25519 AAAA…`, where an OpenSSH certificate is
    /// wanted too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_key: Option<String>,
    /// Whether an opaque token is wanted beside the certificate.
    #[serde(default)]
    pub want_token: bool,
}

/// A service account asks for a challenge.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceChallenge {
    /// Name of the service account.
    pub name: String,
}

/// What a service account signs: the words `loggia-service-login-v1`, the origin and the nonce,
/// a zero byte between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Challenge {
    /// Good once, for the name it was asked for.
    pub nonce: String,
    /// Origin of the log, which is signed too.
    pub origin: String,
    /// When it ends, microseconds since 1970.
    pub expires_us: i64,
}

/// A service account's login.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceCertify {
    /// Name of the service account.
    pub name: String,
    /// The nonce of the challenge.
    pub nonce: String,
    /// Signature of what the challenge asks for, by the account's key: ECDSA P-256 with SHA-256,
    /// DER (RFC 3279 section 2.2.3), in base64 with padding.
    pub signature: String,
    /// PKCS #10 request in PEM, for a fresh ECDSA P-256 key. Only its public key is used.
    pub csr: String,
    /// Public half of a fresh Ed25519 key, `ssh-ed25519 AAAA…`, where an OpenSSH certificate is
    /// wanted too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_key: Option<String>,
    /// Whether an opaque token is wanted beside the certificate.
    #[serde(default)]
    pub want_token: bool,
}

/// Short-lived credentials of one identity.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SignedIn {
    /// Id of the identity.
    pub actor: String,
    /// Its name.
    pub name: String,
    /// Client certificate for the public key of the request, PEM.
    pub certificate_pem: String,
    /// OpenSSH user certificate for the SSH key of the request, as `TYPE BASE64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_certificate: Option<String>,
    /// Public key, `TYPE BASE64`, of the authority by which SSH clients know this Loggia's host
    /// keys.
    #[serde(default)]
    pub ssh_host_authority: String,
    /// Opaque token, where one was asked for; it serves as PostgreSQL password inside TLS.
    #[serde(with = "secret_text_option", default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub token: Option<Secret>,
    /// End of validity of all of them, microseconds since 1970.
    pub expires_us: i64,
    /// Certificate of the authority by which this Loggia's own servers are known, PEM.
    pub ca_pem: String,
    /// What everybody who signs in is told.
    pub notice: String,
}

/// Who the caller is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WhoAmI {
    /// Id of the identity.
    pub actor: String,
    /// Its name.
    pub name: String,
    /// `human` or `service`.
    #[serde(rename = "type")]
    pub actor_type: String,
    /// The groups it belongs to, sorted.
    pub groups: Vec<String>,
    /// Whether it administers this Loggia.
    pub admin: bool,
    /// How it was authenticated for this call: `client_certificate` or `token`.
    pub authn: String,
    /// Id of the credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// End of the credential's validity, microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_us: Option<i64>,
    /// The address the caller came from.
    pub source: String,
}

/// Public keys of this Loggia's SSH authorities, each as `TYPE BASE64`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SshTrust {
    /// By which clients know its host keys: a line `@cert-authority` in `known_hosts`.
    pub host_authority: String,
    /// Which targets trust for `TrustedUserCAKeys`: it signs a certificate for each session.
    pub target_authority: String,
    /// Its host key, which the former signed.
    pub host_key: String,
}

/// All credentials of the caller have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LoggedOut {
    /// How many were still valid.
    pub revoked: u64,
}

/// What a service account signs to prove its key: the words `loggia-service-login-v1`, the log's
/// origin and the nonce, a zero byte between.
pub fn service_login_message(origin: &str, nonce: &str) -> Vec<u8> {
    [b"loggia-service-login-v1".as_slice(), origin.as_bytes(), nonce.as_bytes()].join(&0)
}

/// Bytes of an enrolment secret and of a SHA-256 digest.
const DIGEST_LEN: usize = 32;
/// Bytes of the checksum at the end of an enrolment code.
const CHECKSUM_LEN: usize = 4;
/// Longest address in an enrolment code, in bytes.
const ADDRESS_BYTES_MAX: usize = 255;
/// What an enrolment code begins with; the digit is the version of its layout.
const ENROLMENT_PREFIX: &str = "lge1.";

/// What a new person is handed, as one word to paste: where to go, what to say there once, and
/// how to know that it is the right place before saying it.
///
/// Text form: `lge1.` and base64url (RFC 4648 section 5, no padding) of
/// `secret (32 bytes) | SHA-256 of the CA certificate's DER (32) | address | checksum (4)`,
/// the checksum being the first bytes of the SHA-256 of all before it.
#[derive(Clone)]
pub struct EnrolmentCode {
    address: String,
    secret: Zeroizing<[u8; DIGEST_LEN]>,
    ca_sha256: [u8; DIGEST_LEN],
}

/// Why a text is not an enrolment code. Never repeats the text: it is a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnrolmentCodeError {
    /// It does not begin as one.
    #[error("an enrolment code begins with `lge1.`")]
    Prefix,
    /// Letters are missing or wrong.
    #[error("the enrolment code is incomplete or mistyped; paste it whole")]
    Damaged,
    /// The address in it is empty, too long, or not plain ASCII.
    #[error("the address in an enrolment code is HOST:PORT in at most 255 ASCII characters")]
    Address,
}

impl EnrolmentCode {
    /// From the API's address (`HOST:PORT`), 32 random bytes, and the SHA-256 of the DER of the
    /// certificate authority that the API's own certificate was issued by.
    pub fn new(
        address: &str,
        secret: [u8; 32],
        ca_sha256: [u8; 32],
    ) -> Result<Self, EnrolmentCodeError> {
        let good = !address.is_empty()
            && address.len() <= ADDRESS_BYTES_MAX
            && address.bytes().all(|byte| byte.is_ascii_graphic());
        if !good {
            return Err(EnrolmentCodeError::Address);
        }
        Ok(Self { address: address.to_owned(), secret: Zeroizing::new(secret), ca_sha256 })
    }

    /// The text to hand over.
    pub fn encode(&self) -> Secret {
        let parts = [self.secret.as_slice(), &self.ca_sha256, self.address.as_bytes()];
        let mut bytes = Zeroizing::new(parts.concat());
        let checksum = Sha256::digest(&*bytes);
        bytes.extend(checksum.iter().take(CHECKSUM_LEN));
        Secret::new(format!("{ENROLMENT_PREFIX}{}", URL_SAFE_NO_PAD.encode(&*bytes)))
    }

    /// Reads the text form; whitespace around it does not count.
    pub fn parse(text: &str) -> Result<Self, EnrolmentCodeError> {
        let body = text.trim().strip_prefix(ENROLMENT_PREFIX).ok_or(EnrolmentCodeError::Prefix)?;
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| EnrolmentCodeError::Damaged)?;
        let bytes = Zeroizing::new(bytes);
        let (content, checksum) =
            bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(EnrolmentCodeError::Damaged)?;
        if !Sha256::digest(content).starts_with(checksum) {
            return Err(EnrolmentCodeError::Damaged);
        }
        let (secret, rest) =
            content.split_first_chunk::<DIGEST_LEN>().ok_or(EnrolmentCodeError::Damaged)?;
        let (ca_sha256, address) =
            rest.split_first_chunk::<DIGEST_LEN>().ok_or(EnrolmentCodeError::Damaged)?;
        let address = std::str::from_utf8(address).map_err(|_| EnrolmentCodeError::Address)?;
        Self::new(address, *secret, *ca_sha256)
    }

    /// Address of the API: `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What [`EnrolBegin`] and [`EnrolFinish`] carry: the secret in base64url.
    pub fn secret(&self) -> Secret {
        Secret::new(URL_SAFE_NO_PAD.encode(*self.secret))
    }

    /// SHA-256 of the DER of the CA certificate. A client compares it with the last certificate of
    /// the server's chain before it sends anything.
    pub fn ca_sha256(&self) -> &[u8; 32] {
        &self.ca_sha256
    }

    /// What the control database keeps of the code: the SHA-256 of the secret, lower-case hex.
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(*self.secret))
    }
}

impl fmt::Debug for EnrolmentCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrolmentCode").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The digest of a secret as [`EnrolBegin`] carries it; none where it cannot be one.
pub fn enrolment_digest(secret: &Secret) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(secret.reveal()).ok()?;
    (bytes.len() == DIGEST_LEN).then(|| hex::encode(Sha256::digest(bytes)))
}

/// A secret as a JSON string.
mod secret_text {
    use super::Secret;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(secret: &Secret, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(secret.reveal())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::new)
    }
}

/// A secret that may be absent.
mod secret_text_option {
    use super::Secret;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        secret: &Option<Secret>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => out.serialize_some(secret.reveal()),
            None => out.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Secret::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code() -> EnrolmentCode {
        EnrolmentCode::new("gate.example:7443", [7; 32], [9; 32]).unwrap()
    }

    #[test]
    fn an_enrolment_code_reads_back_and_its_secret_has_the_digest_that_is_kept() {
        let read = EnrolmentCode::parse(&format!(" {}\n", code().encode().reveal())).unwrap();
        assert_eq!(read.address(), "gate.example:7443");
        assert_eq!(read.ca_sha256(), &[9; 32]);
        assert_eq!(enrolment_digest(&read.secret()), Some(code().digest()));
        let printed = format!("{:?} {read:?}", read.encode());
        assert!(!printed.contains("lge1") && !printed.contains("7, 7"), "{printed}");
    }

    #[test]
    fn a_cut_or_mistyped_code_is_refused() {
        let text = code().encode().reveal().to_owned();
        assert_eq!(EnrolmentCode::parse("hello").unwrap_err(), EnrolmentCodeError::Prefix);
        for at in 5..text.len() {
            let cut = EnrolmentCode::parse(&text[..at]);
            assert_eq!(cut.unwrap_err(), EnrolmentCodeError::Damaged, "cut at {at}");
            let mut wrong = text.clone().into_bytes();
            wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
            assert!(EnrolmentCode::parse(std::str::from_utf8(&wrong).unwrap()).is_err());
        }
        for bad in ["", "a b", "ä:1", &"x".repeat(256)] {
            assert!(EnrolmentCode::new(bad, [0; 32], [0; 32]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_in_the_request_and_not_in_what_is_printed() {
        let login: Login = serde_json::from_str(
            r#"{"name":"alice","password":"correct horse","code":"123456","csr":"-"}"#,
        )
        .unwrap();
        assert!(!format!("{login:?}").contains("horse"));
        assert!(serde_json::to_string(&login).unwrap().contains("correct horse"));
    }

    #[test]
    fn the_message_of_a_service_is_a_fixed_vector() {
        assert_eq!(service_login_message("o", "n"), b"loggia-service-login-v1\0o\0n");
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_is_a_code(text in any::<String>(), tail in "[A-Za-z0-9_-]{0,200}") {
            for text in [&text, &format!("lge1.{tail}")] {
                if let Ok(code) = EnrolmentCode::parse(text) {
                    let encoded = code.encode();
                    prop_assert_eq!(encoded.reveal(), text.trim());
                }
            }
            let digest = enrolment_digest(&Secret::new(text));
            prop_assert!(digest.is_none_or(|digest| digest.len() == 64));
        }

        #[test]
        fn codes_round_trip(address in "[!-~]{1,255}", secret: [u8; 32], ca: [u8; 32]) {
            let code = EnrolmentCode::new(&address, secret, ca).unwrap();
            let read = EnrolmentCode::parse(code.encode().reveal()).unwrap();
            prop_assert_eq!(read.address(), address);
            prop_assert_eq!((*read.secret, read.ca_sha256), (secret, ca));
        }
    }
}
