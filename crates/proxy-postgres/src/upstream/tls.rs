//! TLS towards targets: whom to trust for which resource.

use super::untrusted;
use loggia_model::PublicError;
use loggia_model::resource::{Resource, UpstreamTls};
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::collections::HashMap;
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// Contents of CA files for which a configuration is kept.
const CONFIGS_MAX: usize = 64;

/// Makes TLS connections to targets. Configurations are kept by the content of the CA file, so
/// that a changed file counts from the next connection on.
#[derive(Debug)]
pub struct TargetTls {
    provider: Arc<CryptoProvider>,
    by_authority: Mutex<HashMap<Vec<u8>, Arc<ClientConfig>>>,
    system: Mutex<Option<Arc<ClientConfig>>>,
    unverified: Arc<ClientConfig>,
}

impl TargetTls {
    /// With this provider of cryptography.
    pub fn new(provider: Arc<CryptoProvider>) -> Result<Self, rustls::Error> {
        let unverified = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(Arc::clone(&provider))))
            .with_no_client_auth();
        Ok(Self {
            provider,
            by_authority: Mutex::default(),
            system: Mutex::default(),
            unverified: Arc::new(unverified),
        })
    }

    /// What to connect to a resource with, and the name its certificate must have.
    pub(super) async fn connector(
        &self,
        resource: &Resource,
    ) -> Result<(TlsConnector, ServerName<'static>), PublicError> {
        let name = ServerName::try_from(resource.host.clone())
            .map_err(|error| untrusted(resource).detail("its `host` is no name").cause(error))?;
        let config = match (resource.tls, &resource.ca_file) {
            (UpstreamTls::Unverified, _) => Arc::clone(&self.unverified),
            (_, Some(path)) => {
                let pem = tokio::fs::read(path).await.map_err(|error| {
                    untrusted(resource)
                        .detail("its `ca_file` cannot be read")
                        .cause(format!("{path}: {error}"))
                })?;
                self.trusting(pem).map_err(|why| {
                    untrusted(resource)
                        .detail("its `ca_file` is no PEM file of certificates")
                        .cause(why)
                })?
            }
            (_, None) => self.trusting_system().map_err(|why| {
                untrusted(resource)
                    .detail("this machine has no certificate authorities of its own")
                    .cause(why)
            })?,
        };
        Ok((TlsConnector::from(config), name))
    }

    fn trusting(&self, pem: Vec<u8>) -> Result<Arc<ClientConfig>, String> {
        if let Some(known) = self.by_authority.lock().get(&pem) {
            return Ok(Arc::clone(known));
        }
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        let config = self.verifying(roots)?;
        let mut known = self.by_authority.lock();
        if known.len() >= CONFIGS_MAX {
            known.clear();
        }
        known.insert(pem, Arc::clone(&config));
        Ok(config)
    }

    fn trusting_system(&self) -> Result<Arc<ClientConfig>, String> {
        if let Some(known) = self.system.lock().as_ref() {
            return Ok(Arc::clone(known));
        }
        // Some certificates of a system's store may be unreadable; the others still count.
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, _ignored) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let errors: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
            return Err(errors.join("; "));
        }
        let config = self.verifying(roots)?;
        *self.system.lock() = Some(Arc::clone(&config));
        Ok(config)
    }

    fn verifying(&self, roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
        if roots.is_empty() {
            return Err("no certificate in it".to_owned());
        }
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

/// Looks at no certificate, because the resource says `unverified`. The handshake's signature is
/// still checked, so that what is encrypted is encrypted for whoever holds that certificate's key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
