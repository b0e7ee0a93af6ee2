//! Which server is trusted.

use crate::error::ClientError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
use sha2::{Digest, Sha256};
use std::sync::{Arc, OnceLock};

/// TLS 1.3 and 1.2; nothing older.
const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// Which server is trusted.
#[derive(Debug, Clone)]
pub enum Trust {
    /// One whose certificate was issued by this authority (PEM).
    Authority(String),
    /// One whose chain holds an authority with this SHA-256 of its DER, as an enrolment code says.
    /// Chain, name and validity are checked against that authority as always.
    Fingerprint([u8; 32], SeenAuthority),
}

/// The authority that a handshake was checked against by its fingerprint.
#[derive(Debug, Clone, Default)]
pub struct SeenAuthority(Arc<OnceLock<Vec<u8>>>);

impl SeenAuthority {
    /// Its DER, once a handshake has succeeded.
    pub fn der(&self) -> Option<&[u8]> {
        self.0.get().map(Vec::as_slice)
    }
}

/// What a client proves itself with in the handshake: certificate chain and key, PEM.
pub(crate) struct Identity<'a> {
    pub(crate) certificate_pem: &'a str,
    pub(crate) key_pem: &'a str,
}

/// The TLS configuration for a server that is trusted so.
pub(crate) fn tls_config(
    trust: &Trust,
    identity: Option<Identity<'_>>,
) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Authority(pem) => against(authorities(pem)?, &provider)
            .map_err(|error| ClientError::Credential(format!("the saved authority: {error}")))?,
        Trust::Fingerprint(sha256, seen) => {
            let (sha256, seen) = (*sha256, seen.clone());
            Arc::new(ByFingerprint { sha256, seen, provider: Arc::clone(&provider) })
        }
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(VERSIONS)
        .map_err(|error| ClientError::Credential(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some(identity) = identity else { return Ok(builder.with_no_client_auth()) };
    let wrong = |what: &str| ClientError::Credential(format!("the saved {what} cannot be read"));
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes()).collect();
    let chain = chain.map_err(|_| wrong("certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes());
    let key = key.map_err(|_| wrong("key"))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| {
        ClientError::Credential(format!("the saved certificate cannot be used: {error}"))
    })
}

fn authorities(pem: &str) -> Result<RootCertStore, ClientError> {
    let wrong = |_| ClientError::Credential("the saved authority cannot be read".to_owned());
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let authority = authority.map_err(|_| wrong(()))?;
        roots.add(authority).map_err(|_| wrong(()))?;
    }
    if roots.is_empty() { Err(wrong(())) } else { Ok(roots) }
}

fn against(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, rustls::client::VerifierBuilderError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build()
}

/// Trusts the one authority with this fingerprint, which the server must send along.
#[derive(Debug)]
struct ByFingerprint {
    sha256: [u8; 32],
    seen: SeenAuthority,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ByFingerprint {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let named = |der: &&CertificateDer<'_>| Sha256::digest(der).as_slice() == self.sha256;
        let authority = intermediates.iter().find(named).ok_or_else(unknown)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier = against(roots, &self.provider).map_err(|_| unknown())?;
        let verified = verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        // Set once; a second handshake is checked against the same fingerprint.
        let _ = self.seen.0.set(authority.to_vec());
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
