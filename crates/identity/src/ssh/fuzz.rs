//! The readers of certificates over any bytes, for a fuzzer and for the corpus tests.

use super::certificate::claims_of;
use super::{BINDING, Binding};
use loggia_model::Source;
use ssh_key::Certificate;
use ssh_key::certificate::CertType;
use std::net::SocketAddr;

/// A moment in 2026, microseconds since 1970; the corpus is valid then.
const NOW_US: i64 = 1_790_000_000_000_000;

/// Reads the bytes as the blob of a certificate and judges it as if our authority had signed it:
/// what is behind the signature must hold by itself.
///
/// # Panics
/// Where a certificate is accepted that says what none of ours says.
pub fn fuzz_one(data: &[u8]) {
    let Ok(certificate) = Certificate::from_bytes(data) else { return };
    let source = Source { peer: SocketAddr::from(([10, 1, 2, 3], 40_000)) };
    let Ok(claims) = claims_of(&certificate, NOW_US, &source) else { return };
    assert!(certificate.cert_type() == CertType::User, "a host's certificate");
    let principal = claims.actor.to_string();
    assert!(certificate.valid_principals() == [principal], "another principal");
    let known = |(name, _): (&String, &String)| name == "source-address";
    assert!(certificate.critical_options().iter().all(known), "an option that is not understood");
    let now_s = NOW_US.unsigned_abs() / 1_000_000;
    let valid = certificate.valid_after()..certificate.valid_before();
    assert!(valid.contains(&now_s), "not valid now");
    let text = certificate.extensions().get(BINDING);
    let binding = text.and_then(|text| text.parse::<Binding>().ok());
    assert!(binding.is_some_and(|it| it.index == claims.log_index), "no entry of the log");
}
