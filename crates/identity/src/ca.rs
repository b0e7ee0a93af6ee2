//! The certificate authorities, kept as files in `keys/`:
//!
//! | file | content | mode |
//! | --- | --- | --- |
//! | `user-ca.pem` | key and certificate of the authority that names identities | 0600 |
//! | `server-ca.pem` | key and certificate of the authority that names this Loggia's servers | 0600 |
//! | `ca.pem` | certificate of the latter alone: what clients are given to trust | 0644 |
//! | `server.pem` | key and certificate of the listeners, and the authority's certificate | 0600 |
//!
//! Key and certificate share a file, so that a crash leaves both or neither. The authorities are
//! made once and never overwritten; `ca.pem` and `server.pem` are made again when they must be.
//! There are two authorities because what vouches for people must not vouch for servers. Losing
//! `user-ca.pem` makes issued credentials void; who steals it can make certificates, but none that
//! is accepted: each is looked up in the control database too.

use crate::files::{self, KeysError};
use crate::key::PublicKey;
use loggia_model::Mint;
use loggia_model::id::ActorId;
use parking_lot::RwLock;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Names of the servers' certificate where configuration gives none.
pub const DEFAULT_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

const USER_CA: &str = "user-ca.pem";
const SERVER_CA: &str = "server-ca.pem";
const SERVER_CA_PUBLIC: &str = "ca.pem";
const SERVER: &str = "server.pem";
const DAY_S: i64 = 86_400;
/// Authorities last ten years.
const AUTHORITY_LIFE_S: i64 = 3_650 * DAY_S;
/// The servers' certificate lasts 90 days and is made again 30 days before its end.
const SERVER_LIFE_S: i64 = 90 * DAY_S;
const SERVER_RENEW_S: i64 = 30 * DAY_S;
/// Certificates begin this long before now, for clients whose clock is behind.
const BACKDATE_S: i64 = 60;
/// Names that a server certificate can hold.
const NAMES_MAX: usize = 64;

/// What a client certificate says of its holder.
pub(crate) struct ClientName {
    /// Whom it names.
    pub(crate) actor: ActorId,
    /// `loggia:log-binding:v1:…`: the log entry that minted it.
    pub(crate) binding: String,
    /// Serial number, positive.
    pub(crate) serial: [u8; 16],
    /// End of validity, seconds since 1970.
    pub(crate) not_after_s: i64,
}

/// What the listeners present: the certificate, the authority's behind it, and the key.
pub struct ServerCertificate {
    /// DER, leaf first. The authority's certificate is in it, so that a client that knows only its
    /// fingerprint can compare.
    pub chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
    /// End of validity, seconds since 1970.
    pub not_after_s: i64,
}

impl ServerCertificate {
    /// The private key, PKCS #8.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }
}

/// The authorities of one Loggia and the certificate of its servers.
pub struct Ca {
    folder: PathBuf,
    names: Vec<String>,
    mint: Mint,
    user: Authority,
    servers: Authority,
    server: RwLock<Arc<ServerCertificate>>,
}

impl Ca {
    /// Opens what lies in `folder` and makes what is missing. `names` are host names and addresses
    /// of the servers; where they differ from those of the certificate, it is made again.
    ///
    /// Errors: a file that cannot be read or written, that others can read, or that is damaged;
    /// names that cannot stand in a certificate.
    pub fn open_or_create(folder: &Path, mint: &Mint, names: &[String]) -> Result<Self, KeysError> {
        check_names(names)?;
        files::open_folder(folder)?;
        let user = Authority::open_or_create(&folder.join(USER_CA), "Loggia user CA", mint)?;
        let servers = Authority::open_or_create(&folder.join(SERVER_CA), "Loggia server CA", mint)?;
        publish(&folder.join(SERVER_CA_PUBLIC), &servers.pem)?;
        let server = open_or_issue(&folder.join(SERVER), &servers, names, mint)?;
        Ok(Self {
            folder: folder.to_owned(),
            names: names.to_owned(),
            mint: mint.clone(),
            user,
            servers,
            server: RwLock::new(Arc::new(server)),
        })
    }

    /// The servers' certificate and key.
    pub fn server(&self) -> Arc<ServerCertificate> {
        Arc::clone(&self.server.read())
    }

    /// Makes the servers' certificate again where fewer than 30 days of it are left; `true` where
    /// it did, and the listeners should take [`Self::server`] anew. To be called once a day.
    pub fn renew_server_if_due(&self) -> Result<bool, KeysError> {
        if !renewal_is_due(&self.server(), self.mint.now_us()) {
            return Ok(false);
        }
        let server =
            issue_server(&self.folder.join(SERVER), &self.servers, &self.names, &self.mint)?;
        *self.server.write() = Arc::new(server);
        Ok(true)
    }

    /// Certificate of the authority for servers, PEM: the content of `ca.pem`.
    pub fn ca_pem(&self) -> &str {
        &self.servers.pem
    }

    /// SHA-256 of the DER of the authority for servers, as enrolment codes carry it.
    pub fn ca_sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.servers.der).into()
    }

    /// Certificate of the authority for identities, DER.
    pub fn user_ca_der(&self) -> &CertificateDer<'static> {
        &self.user.der
    }

    /// When the first of the two authorities ends, seconds since 1970. Nothing renews them by
    /// itself: clients would have to be told.
    pub fn authorities_end_s(&self) -> i64 {
        self.user.not_after_s.min(self.servers.not_after_s)
    }

    /// The key that signs client certificates.
    pub(crate) fn user_ca_key(&self) -> &PublicKey {
        &self.user.public
    }

    /// Issues a client certificate, PEM. Whoever calls has recorded it before.
    pub(crate) fn issue_client(
        &self,
        key: &PublicKey,
        name: &ClientName,
    ) -> Result<String, KeysError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(&name.actor.to_string());
        params.serial_number = Some(SerialNumber::from_slice(&name.serial));
        set_validity(&mut params, self.mint.now_us() / 1_000_000, name.not_after_s)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names =
            vec![uri(&format!("loggia:actor:{}", name.actor))?, uri(&name.binding)?];
        let subject = SubjectPublicKeyInfo::from_der(key.spki()).map_err(make)?;
        Ok(params.signed_by(&subject, &self.user.issuer).map_err(make)?.pem())
    }

    /// Signs whatever it is given, for tests of what must be refused.
    #[cfg(test)]
    pub(crate) fn sign_anything(&self, params: &CertificateParams, key: &KeyPair) -> Vec<u8> {
        params.signed_by(key, &self.user.issuer).unwrap().der().to_vec()
    }
}

/// A key with a certificate that it signed itself.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    public: PublicKey,
    der: CertificateDer<'static>,
    pem: String,
    not_after_s: i64,
}

impl Authority {
    fn open_or_create(path: &Path, name: &str, mint: &Mint) -> Result<Self, KeysError> {
        if files::read_private(path)?.is_none() {
            // Of two that make one at the same time, one fails here and overwrites nothing.
            files::create(path, &Self::make(name, mint)?, 0o600)?;
        }
        let text = files::read_private(path)?.unwrap_or_default();
        Self::read(path, &text)
    }

    /// A new key and its certificate, PEM.
    fn make(name: &str, mint: &Mint) -> Result<zeroize::Zeroizing<String>, KeysError> {
        let key = KeyPair::generate().map_err(make)?;
        let mut params = CertificateParams::default();
        // Several Loggias in one trust store must be told apart.
        let [a, b, c, d] = mint.random::<4>();
        params.distinguished_name = common_name(&format!("{name} {a:02x}{b:02x}{c:02x}{d:02x}"));
        params.serial_number = Some(SerialNumber::from_slice(&serial(mint)));
        let now_s = mint.now_us() / 1_000_000;
        set_validity(&mut params, now_s, now_s + AUTHORITY_LIFE_S)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(make)?;
        let key = zeroize::Zeroizing::new(key.serialize_pem());
        Ok(zeroize::Zeroizing::new(format!("{}{}", *key, certificate.pem())))
    }

    fn read(path: &Path, text: &str) -> Result<Self, KeysError> {
        let damaged = |why: &str| KeysError::Damaged { path: path.to_owned(), why: why.to_owned() };
        let (key, mut chain) = read_pem(path, text)?;
        let der = chain.pop().filter(|_| chain.is_empty());
        let der = der.ok_or_else(|| damaged("it should hold one certificate"))?;
        let pair = KeyPair::try_from(&key).map_err(|_| damaged("the key cannot be read"))?;
        let (_, certificate) = X509Certificate::from_der(&der)
            .map_err(|_| damaged("the certificate cannot be read"))?;
        let public = PublicKey::from_spki(certificate.public_key().raw)
            .ok_or_else(|| damaged("the key is not ECDSA P-256"))?;
        if !public.spki().ends_with(pair.public_key_raw()) {
            return Err(damaged("key and certificate do not belong together"));
        }
        if !certificate.is_ca() {
            return Err(damaged("the certificate is not an authority's"));
        }
        let not_after_s = certificate.validity().not_after.timestamp();
        let issuer = Issuer::from_ca_cert_der(&der, pair).map_err(make)?;
        let pem = pem_of_certificate(&der);
        Ok(Self { issuer, public, der, pem, not_after_s })
    }
}

/// Makes `ca.pem` say what the authority is.
fn publish(path: &Path, pem: &str) -> Result<(), KeysError> {
    if std::fs::read_to_string(path).is_ok_and(|text| text == pem) {
        return Ok(());
    }
    files::replace(path, pem, 0o644)
}

fn open_or_issue(
    path: &Path,
    authority: &Authority,
    names: &[String],
    mint: &Mint,
) -> Result<ServerCertificate, KeysError> {
    if let Some(text) = files::read_private(path)? {
        let (key, chain) = read_pem(path, &text)?;
        if let Some(not_after_s) = still_fits(&key, &chain, authority, names) {
            let server = ServerCertificate { chain, key, not_after_s };
            if !renewal_is_due(&server, mint.now_us()) {
                return Ok(server);
            }
        }
    }
    issue_server(path, authority, names, mint)
}

/// The end of validity of a server certificate that has this key, this authority and these names.
fn still_fits(
    key: &PrivatePkcs8KeyDer<'_>,
    chain: &[CertificateDer<'_>],
    authority: &Authority,
    names: &[String],
) -> Option<i64> {
    let [leaf, issuer] = chain else { return None };
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let pair = KeyPair::try_from(key).ok()?;
    let public = PublicKey::from_spki(certificate.public_key().raw)?;
    let signed = authority
        .public
        .verify(certificate.tbs_certificate.as_ref(), &certificate.signature_value.data);
    let fits = issuer == &authority.der
        && signed
        && public.spki().ends_with(pair.public_key_raw())
        && same_names(&certificate, names);
    fits.then(|| certificate.validity().not_after.timestamp())
}

fn same_names(certificate: &X509Certificate<'_>, names: &[String]) -> bool {
    let wanted = CertificateParams::new(names.to_owned()).map(|params| params.subject_alt_names);
    let found = certificate.subject_alternative_name().ok().flatten();
    let (Ok(wanted), Some(found)) = (wanted, found) else { return false };
    let found = &found.value.general_names;
    found.len() == wanted.len()
        && wanted.iter().zip(found).all(|(wanted, found)| match (wanted, found) {
            (SanType::DnsName(wanted), GeneralName::DNSName(found)) => wanted.as_str() == *found,
            (SanType::IpAddress(std::net::IpAddr::V4(wanted)), GeneralName::IPAddress(found)) => {
                wanted.octets() == *found
            }
            (SanType::IpAddress(std::net::IpAddr::V6(wanted)), GeneralName::IPAddress(found)) => {
                wanted.octets() == *found
            }
            _ => false,
        })
}

fn renewal_is_due(server: &ServerCertificate, now_us: i64) -> bool {
    server.not_after_s - now_us / 1_000_000 < SERVER_RENEW_S
}

/// Issues a certificate for the listeners, with a new key, and puts it in place of the old one.
fn issue_server(
    path: &Path,
    authority: &Authority,
    names: &[String],
    mint: &Mint,
) -> Result<ServerCertificate, KeysError> {
    let mut params = CertificateParams::new(names.to_owned()).map_err(make)?;
    params.distinguished_name = common_name("Loggia");
    params.serial_number = Some(SerialNumber::from_slice(&serial(mint)));
    let now_s = mint.now_us() / 1_000_000;
    let not_after_s = (now_s + SERVER_LIFE_S).min(authority.not_after_s);
    set_validity(&mut params, now_s, not_after_s)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let pair = KeyPair::generate().map_err(make)?;
    let leaf = params.signed_by(&pair, &authority.issuer).map_err(make)?;
    let key = zeroize::Zeroizing::new(pair.serialize_pem());
    let text = zeroize::Zeroizing::new(format!("{}{}{}", *key, leaf.pem(), authority.pem));
    files::replace(path, &text, 0o600)?;
    Ok(ServerCertificate {
        chain: vec![leaf.der().clone(), authority.der.clone()],
        key: PrivatePkcs8KeyDer::from(pair.serialize_der()),
        not_after_s,
    })
}

/// The key and the certificates of a file, in its order.
fn read_pem(
    path: &Path,
    text: &str,
) -> Result<(PrivatePkcs8KeyDer<'static>, Vec<CertificateDer<'static>>), KeysError> {
    let damaged = |why: String| KeysError::Damaged { path: path.to_owned(), why };
    let blocks = pem::parse_many(text).map_err(|error| damaged(error.to_string()))?;
    let mut key = None;
    let mut chain = Vec::new();
    for block in blocks {
        match block.tag() {
            "PRIVATE KEY" => key = Some(PrivatePkcs8KeyDer::from(block.into_contents())),
            "CERTIFICATE" => chain.push(CertificateDer::from(block.into_contents())),
            other => return Err(damaged(format!("a `{other}` does not belong in it"))),
        }
    }
    key.map(|key| (key, chain)).ok_or_else(|| damaged("there is no private key in it".to_owned()))
}

fn pem_of_certificate(der: &CertificateDer<'_>) -> String {
    let block = pem::Pem::new("CERTIFICATE", der.to_vec());
    pem::encode_config(&block, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
}

fn check_names(names: &[String]) -> Result<(), KeysError> {
    let refuse = |why: &str| KeysError::Names { names: names.join(", "), why: why.to_owned() };
    if names.is_empty() || names.len() > NAMES_MAX {
        return Err(refuse("one to 64 names are needed"));
    }
    let good = |name: &String| {
        name.parse::<std::net::IpAddr>().is_ok()
            || (!name.is_empty()
                && name.len() <= 253
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._*".contains(&b)))
    };
    if names.iter().all(good) { Ok(()) } else { Err(refuse("not a host name or address")) }
}

/// A serial number: 126 random bits, positive and always 16 bytes long.
pub(crate) fn serial(mint: &Mint) -> [u8; 16] {
    let mut serial = mint.random::<16>();
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x3f) | 0x40;
    }
    serial
}

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

fn uri(text: &str) -> Result<SanType, KeysError> {
    Ok(SanType::URI(Ia5String::try_from(text).map_err(make)?))
}

fn set_validity(
    params: &mut CertificateParams,
    now_s: i64,
    not_after_s: i64,
) -> Result<(), KeysError> {
    params.not_before = OffsetDateTime::from_unix_timestamp(now_s - BACKDATE_S).map_err(make)?;
    params.not_after = OffsetDateTime::from_unix_timestamp(not_after_s).map_err(make)?;
    Ok(())
}

fn make(error: impl std::fmt::Display) -> KeysError {
    KeysError::Make(error.to_string())
}

#[cfg(test)]
mod tests;
