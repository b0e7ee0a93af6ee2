//! What an OpenSSH certificate proves. The handshake has proved possession of its key and nothing
//! else: authority, type, principals, validity and options are judged here, as
//! `PROTOCOL.certkeys` asks of a server, so that a refusal can be told in the protocol's own words.

use super::key::SshPublicKey;
use super::{BINDING, Binding};
use crate::certificate::{expired, refusal};
use ipnet::IpNet;
use loggia_model::id::ActorId;
use loggia_model::{PublicError, Source};
use ssh_key::Certificate;
use ssh_key::certificate::CertType;
use ssh_key::public::KeyData;
use std::net::IpAddr;

/// Longest certificate that is looked at, in bytes of its line. Ours have about 800.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// The one critical option that is understood here.
const SOURCE_ADDRESS: &str = "source-address";

/// What a certificate of ours, valid now and here, says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    /// Whom it names.
    pub(crate) actor: ActorId,
    /// SHA-256 of its key's blob, hex.
    pub(crate) digest: String,
    /// The log entry that it says it was minted by.
    pub(crate) log_index: u64,
    /// End of validity, microseconds since 1970.
    pub(crate) not_after_us: i64,
}

/// Reads a user certificate, `TYPE BASE64`, that `authority` must have signed. What a certificate
/// permits (`permit-pty` and the like) is not looked at: policies say what may be done.
pub(crate) fn verify(
    line: &str,
    authority: &KeyData,
    now_us: i64,
    source: &Source,
) -> Result<Claims, PublicError> {
    if line.len() > LINE_BYTES_MAX {
        return Err(foreign("is larger than any that Loggia issues"));
    }
    let certificate = Certificate::from_openssh(line).map_err(|_| foreign("cannot be read"))?;
    // First the signature: of what another authority says, nothing else matters. It covers every
    // field, the reserved one too.
    if certificate.signature_key() != authority || certificate.verify_signature().is_err() {
        return Err(foreign("was not issued by this Loggia"));
    }
    claims_of(&certificate, now_us, source)
}

/// What a certificate says that our authority signed.
pub(super) fn claims_of(
    certificate: &Certificate,
    now_us: i64,
    source: &Source,
) -> Result<Claims, PublicError> {
    if certificate.cert_type() != CertType::User {
        return Err(foreign("is a host's"));
    }
    let not_after_us = check_time(certificate, now_us)?;
    check_options(certificate, source.peer.ip().to_canonical())?;
    let key = SshPublicKey::from_data(certificate.public_key())
        .filter(|key| key.data().is_ed25519())
        .ok_or_else(|| foreign("has another kind of key than Ed25519"))?;
    let binding = certificate.extensions().get(BINDING).and_then(|text| text.parse().ok());
    let binding: Binding = binding.ok_or_else(|| foreign("is bound to no entry of the log"))?;
    Ok(Claims {
        actor: actor_of(certificate)?,
        digest: key.digest().to_owned(),
        log_index: binding.index,
        not_after_us,
    })
}

/// Valid from `valid_after` on and before `valid_before`; gives the latter in microseconds.
fn check_time(certificate: &Certificate, now_us: i64) -> Result<i64, PublicError> {
    // A clock before 1970 lets nobody in.
    let now_s = u64::try_from(now_us.div_euclid(1_000_000)).unwrap_or(0);
    if now_s < certificate.valid_after() {
        return Err(refusal("not_yet_valid", "the SSH certificate is not valid yet")
            .hint("compare the clocks of this machine and the gateway"));
    }
    if now_s >= certificate.valid_before() {
        return Err(expired());
    }
    let not_after_s = i64::try_from(certificate.valid_before()).unwrap_or(i64::MAX);
    Ok(not_after_s.saturating_mul(1_000_000))
}

/// A critical option that is not understood, or cannot be kept, is a refusal (`PROTOCOL.certkeys`).
/// `force-command` is one of these: what a session runs is for policies to say here, so a
/// certificate that says it too was not meant for this gateway.
fn check_options(certificate: &Certificate, from: IpAddr) -> Result<(), PublicError> {
    for (name, value) in certificate.critical_options().iter() {
        if name != SOURCE_ADDRESS {
            let shown: String = name.chars().filter(|c| c.is_ascii_graphic()).take(64).collect();
            return Err(foreign(&format!("has the critical option `{shown}`")));
        }
        match is_in(from, value) {
            Some(true) => {}
            Some(false) => {
                return Err(refusal("wrong_source", "the SSH certificate is for other addresses")
                    .hint("connect from where the certificate is for, or `loggia login` here"));
            }
            None => return Err(foreign("has a `source-address` that cannot be read")),
        }
    }
    Ok(())
}

/// Whether an address is in a comma-separated list of addresses and CIDR blocks; none where the
/// list cannot be read. A block with bits behind its mask is an error, as OpenSSH has it.
fn is_in(from: IpAddr, list: &str) -> Option<bool> {
    let mut found = false;
    for entry in list.split(',') {
        let net = match entry.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => entry.parse::<IpNet>().ok().filter(|net| net.addr() == net.network())?,
        };
        found |= net.contains(&from);
    }
    Some(found)
}

/// The one identity that it names. A certificate without principals is one for everybody.
fn actor_of(certificate: &Certificate) -> Result<ActorId, PublicError> {
    match certificate.valid_principals() {
        [principal] => principal.parse().map_err(|_| foreign("does not name one identity")),
        _ => Err(foreign("does not name one identity")),
    }
}

fn foreign(why: &str) -> PublicError {
    refusal("foreign_certificate", &format!("the SSH certificate {why}"))
}

#[cfg(test)]
mod tests;
