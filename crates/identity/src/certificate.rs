//! What a client certificate proves. The TLS layer has proved possession of its key and nothing
//! else; chain, validity and purpose are judged here, so that a refusal can be told in the
//! protocol's own words.

use crate::key::PublicKey;
use loggia_model::id::ActorId;
use loggia_model::{Fault, PublicError};
use x509_parser::oid_registry::OID_SIG_ECDSA_WITH_SHA256;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate, X509Version};

/// Longest certificate that is looked at, in bytes of DER. Ours have about 600.
const CERTIFICATE_BYTES_MAX: usize = 8 * 1024;
/// How the URI with the actor's id begins.
const ACTOR_URI: &str = "loggia:actor:";

/// What a certificate of ours, valid now, says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    /// Whom it names.
    pub(crate) actor: ActorId,
    /// SHA-256 of its public key info, hex.
    pub(crate) digest: String,
    /// End of validity, microseconds since 1970.
    pub(crate) not_after_us: i64,
}

/// Reads a client certificate that `authority` must have signed. Only the leaf counts: there is
/// nothing between it and the authority.
pub(crate) fn verify(
    leaf: &[u8],
    authority: &PublicKey,
    now_us: i64,
) -> Result<Claims, PublicError> {
    if leaf.len() > CERTIFICATE_BYTES_MAX {
        return Err(foreign("is larger than any that Loggia issues"));
    }
    let (rest, certificate) =
        X509Certificate::from_der(leaf).map_err(|_| foreign("cannot be read"))?;
    let tbs = &certificate.tbs_certificate;
    // First the signature: of what another authority says, nothing else matters.
    let signed = rest.is_empty()
        && certificate.signature_algorithm.algorithm == OID_SIG_ECDSA_WITH_SHA256
        && tbs.signature == certificate.signature_algorithm
        && certificate.signature_value.unused_bits == 0
        && authority.verify(tbs.as_ref(), &certificate.signature_value.data);
    if !signed {
        return Err(foreign("was not issued by this Loggia"));
    }
    let now_s = now_us.div_euclid(1_000_000);
    let not_after_s = certificate.validity().not_after.timestamp();
    if now_s < certificate.validity().not_before.timestamp() {
        return Err(refusal("not_yet_valid", "the client certificate is not valid yet")
            .hint("compare the clocks of this machine and the gateway"));
    }
    // RFC 5280 section 4.1.2.5: the last second is still within.
    if now_s > not_after_s {
        return Err(expired());
    }
    check_purpose(&certificate)?;
    let key = PublicKey::from_spki(certificate.public_key().raw)
        .ok_or_else(|| foreign("has another kind of key than ECDSA P-256"))?;
    Ok(Claims {
        actor: actor_of(&certificate)?,
        digest: key.digest(),
        not_after_us: not_after_s.saturating_mul(1_000_000),
    })
}

/// It must be a client's and nothing more: no authority, no server, nothing critical and unknown.
fn check_purpose(certificate: &X509Certificate<'_>) -> Result<(), PublicError> {
    let wrong = || foreign("is not a client's");
    if certificate.version() != X509Version::V3 {
        return Err(wrong());
    }
    let constraints = certificate.basic_constraints().map_err(|_| wrong())?;
    if constraints.is_some_and(|extension| extension.value.ca) {
        return Err(wrong());
    }
    let usage = certificate.key_usage().map_err(|_| wrong())?.ok_or_else(wrong)?;
    let purpose = certificate.extended_key_usage().map_err(|_| wrong())?.ok_or_else(wrong)?;
    if !usage.value.digital_signature() || usage.value.key_cert_sign() || !purpose.value.client_auth
    {
        return Err(wrong());
    }
    let understood =
        certificate.extensions().iter().filter(|extension| extension.critical).all(|extension| {
            matches!(
                extension.parsed_extension(),
                ParsedExtension::BasicConstraints(_)
                    | ParsedExtension::KeyUsage(_)
                    | ParsedExtension::ExtendedKeyUsage(_)
                    | ParsedExtension::SubjectAlternativeName(_)
            )
        });
    if understood { Ok(()) } else { Err(wrong()) }
}

/// The one identity that it names.
fn actor_of(certificate: &X509Certificate<'_>) -> Result<ActorId, PublicError> {
    let nobody = || foreign("does not name one identity");
    let names = certificate.subject_alternative_name().map_err(|_| nobody())?.ok_or_else(nobody)?;
    let mut ids = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(ACTOR_URI),
        _ => None,
    });
    match (ids.next(), ids.next()) {
        (Some(id), None) => id.parse().map_err(|_| nobody()),
        _ => Err(nobody()),
    }
}

fn foreign(why: &str) -> PublicError {
    refusal("foreign_certificate", &format!("the client certificate {why}"))
}

/// A credential whose time is over.
pub(crate) fn expired() -> PublicError {
    refusal("expired", "the credential has expired")
}

/// A refusal of *identify*; what helps is always to sign in again.
pub(crate) fn refusal(code: &'static str, message: &str) -> PublicError {
    PublicError::new(code, Fault::Client, message).hint("loggia login")
}

#[cfg(test)]
mod tests;
