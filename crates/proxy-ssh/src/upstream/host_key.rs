//! Which host keys a target may show: those that are declared, or those that a declared authority
//! has signed for its name. Nothing else, ever.

use loggia_model::resource::Resource;
use loggia_model::{Fault, PublicError};
use russh::keys::PublicKeyOrCertificate;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::{Algorithm, Certificate, EcdsaCurve, HashAlg, PublicKey};

/// What marks an authority among the declared keys.
const AUTHORITY: &str = "@cert-authority";

/// The rule for one target, at one moment.
#[derive(Clone)]
pub(crate) struct HostKeyRule {
    host: String,
    now_s: i64,
    keys: Vec<PublicKey>,
    authorities: Vec<PublicKey>,
}

impl HostKeyRule {
    /// The rule that a resource declares.
    pub(crate) fn of(resource: &Resource, now_s: i64) -> Result<Self, PublicError> {
        let (mut keys, mut authorities) = (Vec::new(), Vec::new());
        for line in &resource.host_keys {
            let (list, line) = match line.strip_prefix(AUTHORITY) {
                Some(rest) => (&mut authorities, rest.trim_start()),
                None => (&mut keys, line.as_str()),
            };
            let key =
                PublicKey::from_openssh(line).map_err(|error| undeclared(resource).cause(error))?;
            list.push(key);
        }
        if keys.is_empty() && authorities.is_empty() {
            return Err(undeclared(resource));
        }
        Ok(Self { host: resource.host.clone(), now_s, keys, authorities })
    }

    /// Whether the target may show this.
    pub(crate) fn knows(&self, shown: &PublicKeyOrCertificate) -> bool {
        match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                self.keys.iter().any(|known| known.key_data() == key.key_data())
            }
            PublicKeyOrCertificate::Certificate(certificate) => self.vouched(certificate),
        }
    }

    /// A certificate counts that a declared authority signed, for a host, now, for this name, and
    /// that demands nothing that is not understood here.
    fn vouched(&self, certificate: &Certificate) -> bool {
        let Ok(now_s) = u64::try_from(self.now_s) else { return false };
        let authorities: Vec<_> =
            self.authorities.iter().map(|key| key.fingerprint(HashAlg::Sha256)).collect();
        certificate.cert_type() == CertType::Host
            && certificate.critical_options().is_empty()
            && certificate.valid_principals().contains(&self.host)
            && certificate.validate_at(now_s, authorities.iter()).is_ok()
    }

    /// The algorithms to ask for, so that a target with several keys shows the declared one.
    pub(crate) fn key_algorithms(&self) -> Vec<Algorithm> {
        if self.keys.is_empty() {
            return signatures(Algorithm::Ed25519);
        }
        let mut all = Vec::new();
        for key in &self.keys {
            for algorithm in signatures(key.algorithm()) {
                if !all.contains(&algorithm) {
                    all.push(algorithm);
                }
            }
        }
        all
    }

    /// The algorithms of certificates to ask for.
    pub(crate) fn certificate_algorithms(&self) -> Vec<Algorithm> {
        if self.authorities.is_empty() {
            return Vec::new();
        }
        let mut all = vec![Algorithm::Ed25519];
        for curve in [EcdsaCurve::NistP256, EcdsaCurve::NistP384, EcdsaCurve::NistP521] {
            all.push(Algorithm::Ecdsa { curve });
        }
        all.extend(signatures(Algorithm::Rsa { hash: None }));
        all
    }
}

/// The signature algorithms for a key; SHA-1 is not among them.
fn signatures(key: Algorithm) -> Vec<Algorithm> {
    match key {
        Algorithm::Rsa { .. } => [HashAlg::Sha512, HashAlg::Sha256]
            .map(|hash| Algorithm::Rsa { hash: Some(hash) })
            .to_vec(),
        other => vec![other],
    }
}

fn undeclared(resource: &Resource) -> PublicError {
    PublicError::new(
        "target_host_key",
        Fault::Target,
        format!("no host key is declared for `{}`", resource.name),
    )
    .hint("an administrator declares host_keys for it; `ssh-keyscan` on a trusted way shows them")
}

/// The target showed another key than it should.
pub(crate) fn wrong(name: &str, fingerprint: String) -> PublicError {
    PublicError::new(
        "target_host_key",
        Fault::Target,
        format!("the host key of `{name}` is not the declared one; it may be another host"),
    )
    .detail(format!("it shows {fingerprint}"))
    .hint("if the host was set up anew, an administrator declares its new key under host_keys")
}

#[cfg(test)]
mod tests {
    use super::*;
    use loggia_model::id::ResourceId;
    use loggia_model::resource::{Depth, UpstreamTls};
    use russh::keys::PrivateKey;
    use russh::keys::ssh_key::certificate::Builder;

    const NOW_S: i64 = 1_790_000_000;

    fn key(seed: u8) -> PrivateKey {
        let pair = russh::keys::ssh_key::private::Ed25519Keypair::from_seed(&[seed; 32]);
        PrivateKey::from(pair)
    }

    fn rule(lines: &[String]) -> Result<HostKeyRule, PublicError> {
        let resource = Resource {
            id: ResourceId::from_parts(1, [1; 10]),
            name: "web-1".into(),
            protocol: "ssh".into(),
            host: "web-1.internal".into(),
            port: 22,
            tls: UpstreamTls::VerifyFull,
            ca_file: None,
            host_keys: lines.to_vec(),
            accounts: Vec::new(),
            database: None,
            depth: Depth::Disk,
            labels: Vec::new(),
        };
        HostKeyRule::of(&resource, NOW_S)
    }

    fn line(key: &PrivateKey) -> String {
        key.public_key().to_openssh().unwrap()
    }

    fn shown(key: &PrivateKey) -> PublicKeyOrCertificate {
        key.public_key().clone().into()
    }

    fn certificate(
        authority: &PrivateKey,
        change: impl FnOnce(&mut Builder),
    ) -> PublicKeyOrCertificate {
        let host = key(9);
        let now_s = u64::try_from(NOW_S).unwrap();
        let mut builder =
            Builder::new(vec![7; 16], host.public_key().key_data().clone(), now_s - 60, now_s + 60)
                .unwrap();
        change(&mut builder);
        builder.sign(authority).unwrap().into()
    }

    fn named(builder: &mut Builder) {
        builder.cert_type(CertType::Host).unwrap();
        builder.valid_principal("web-1.internal").unwrap();
    }

    #[test]
    fn the_declared_key_is_known_and_no_other() {
        let rule = rule(&[line(&key(1))]).unwrap();
        assert!(rule.knows(&shown(&key(1))));
        assert!(!rule.knows(&shown(&key(2))));
        assert!(!rule.knows(&certificate(&key(1), named)), "a key is not an authority");
    }

    #[test]
    fn an_authority_vouches_for_hosts_of_the_right_name_and_time() {
        let rule = rule(&[format!("@cert-authority {}", line(&key(1)))]).unwrap();
        assert!(rule.knows(&certificate(&key(1), named)));
        assert!(!rule.knows(&shown(&key(1))), "an authority is not a host");
        assert!(!rule.knows(&certificate(&key(2), named)), "signed by somebody else");
        assert!(!rule.knows(&certificate(&key(1), |builder| {
            builder.cert_type(CertType::Host).unwrap();
            builder.valid_principal("web-2.internal").unwrap();
        })));
        assert!(!rule.knows(&certificate(&key(1), |builder| {
            builder.cert_type(CertType::Host).unwrap();
            builder.all_principals_valid().unwrap();
        })));
        assert!(!rule.knows(&certificate(&key(1), |builder| {
            named(builder);
            builder.critical_option("unheard-of", "").unwrap();
        })));
        assert!(!rule.knows(&certificate(&key(1), |builder| {
            builder.cert_type(CertType::User).unwrap();
            builder.valid_principal("web-1.internal").unwrap();
        })));
    }

    #[test]
    fn without_a_declared_key_there_is_no_way_in() {
        assert_eq!(rule(&[]).err().unwrap().code, "target_host_key");
        assert_eq!(rule(&["ssh-ed25519 AAAA".into()]).err().unwrap().code, "target_host_key");
    }
}
