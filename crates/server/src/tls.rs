//! The gateway's side of TLS: one certificate for every listener, renewed without a restart, and
//! client certificates that are asked for but not required.

use loggia_identity::{Ca, ServerCertificate};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use std::sync::Arc;

/// TLS 1.3 and 1.2; nothing older.
const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// The TLS configuration of a listener that speaks one of `alpn`.
///
/// # Errors
/// Where the certificate cannot be used with the provider.
pub(crate) fn server_config(
    ca: &Arc<Ca>,
    alpn: &[&str],
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let current = Current { ca: Arc::clone(ca), provider: Arc::clone(&provider) };
    current.certified(&ca.server())?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(VERSIONS)?
        .with_client_cert_verifier(Arc::new(PossessionOnly { provider }))
        .with_cert_resolver(Arc::new(current));
    // Each connection proves possession anew; nobody comes in by a ticket.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

/// Presents the certificate that is in force now.
struct Current {
    ca: Arc<Ca>,
    provider: Arc<CryptoProvider>,
}

impl Current {
    fn certified(&self, server: &ServerCertificate) -> Result<CertifiedKey, rustls::Error> {
        let key = self.provider.key_provider.load_private_key(server.key())?;
        Ok(CertifiedKey::new(server.chain.clone(), key))
    }
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Loading a P-256 key takes microseconds, a handshake a millisecond.
        self.certified(&self.ca.server()).map(Arc::new).ok()
    }
}

/// Checks that the client holds the private key of the certificate it shows, and nothing else:
/// chain, validity and revocation are judged in *identify*, so that the refusal is told in the
/// protocol's own words and recorded.
#[derive(Debug)]
struct PossessionOnly {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for PossessionOnly {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
