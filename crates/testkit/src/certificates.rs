//! Certificates for tests: a fresh authority, and what it issues.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

use crate::account::Account;

/// A certificate authority that lives as long as a test. Keys are ECDSA P-256.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its private key, both PEM.
pub struct Issued {
    /// The certificate.
    pub certificate_pem: String,
    /// Its PKCS #8 private key.
    pub key_pem: String,
}

impl Authority {
    /// Makes an authority with common name `name`.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().context("making the authority's key")?;
        let issuer =
            CertifiedIssuer::self_signed(params, key).context("signing the authority's own")?;
        Ok(Self { issuer })
    }

    /// The authority's certificate, PEM.
    pub fn certificate_pem(&self) -> String {
        self.issuer.pem()
    }

    /// Issues a certificate for servers and clients with these subject alternative
    /// names (DNS names and IP addresses); the first is the common name too.
    pub fn issue(&self, names: &[&str]) -> Result<Issued> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names.clone()).context("reading the names")?;
        if let Some(first) = names.first() {
            params.distinguished_name.push(DnType::CommonName, first);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().context("making a key")?;
        let certificate =
            params.signed_by(&key, &self.issuer).context("signing the certificate")?;
        Ok(Issued { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// Writes the authority's certificate to `<folder>/<name>`, readable by all.
    pub fn write(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        let path = folder.join(name);
        write(&path, &self.certificate_pem(), 0o644, Account::Own)?;
        Ok(path)
    }
}

impl Issued {
    /// Writes `<folder>/<name>.crt` and `<folder>/<name>.key`, the key readable only
    /// by `account`. Returns both paths.
    pub fn write(&self, folder: &Path, name: &str, account: Account) -> Result<(PathBuf, PathBuf)> {
        let certificate = folder.join(format!("{name}.crt"));
        let key = folder.join(format!("{name}.key"));
        write(&certificate, &self.certificate_pem, 0o644, account)?;
        write(&key, &self.key_pem, 0o600, account)?;
        Ok((certificate, key))
    }
}

/// Writes a file with exactly this mode from its first byte on, and gives it away.
fn write(path: &Path, text: &str, mode: u32, account: Account) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let what = || format!("writing {}", path.display());
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(what)?;
    file.write_all(text.as_bytes()).with_context(what)?;
    account.give(path)
}
