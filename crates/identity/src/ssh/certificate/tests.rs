//! Certificates that are wrong in one thing each, made by our own authority's key, some of them by
//! OpenSSH's `ssh-keygen`.

use super::*;
use crate::ssh::SshAuthorities;
use crate::testing::{FakeClock, NOW_US, keygen, mint, source, ssh_key};
use loggia_model::id::PersonId;
use proptest::prelude::*;
use ssh_key::PrivateKey;
use ssh_key::certificate::Builder;
use std::path::Path;

const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const NOW_S: u64 = 1_790_000_000;

fn alice() -> ActorId {
    ActorId::Person(PersonId::from_parts(1, [1; 10]))
}

/// The authority's key and what a certificate of it would be.
struct Bench {
    folder: tempfile::TempDir,
    authorities: SshAuthorities,
}

/// What is signed; as it is, a good one.
struct Forged {
    from: u64,
    until: u64,
    kind: CertType,
    principals: Vec<String>,
    critical: Vec<(&'static str, &'static str)>,
    binding: Option<String>,
}

impl Default for Forged {
    fn default() -> Self {
        Self {
            from: NOW_S - 60,
            until: NOW_S + 3_600,
            kind: CertType::User,
            principals: vec![alice().to_string()],
            critical: vec![],
            binding: Some(format!("loggia.internal/main/nd_1/e1:5:{HASH}")),
        }
    }
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mint = mint(&FakeClock::at(NOW_US));
        let authorities = SshAuthorities::open_or_create(folder.path(), &mint, "o").unwrap();
        Self { folder, authorities }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn signed_by(&self, file: &str, forged: &Forged) -> String {
        let authority = PrivateKey::read_openssh_file(Path::new(&self.path(file))).unwrap();
        let (_, key) = ssh_key();
        let key = ssh_key::PublicKey::from_openssh(&key).unwrap();
        let mut builder = Builder::new([7; 32], key, forged.from, forged.until).unwrap();
        builder.cert_type(forged.kind).unwrap();
        if forged.principals.is_empty() {
            builder.all_principals_valid().unwrap();
        }
        for principal in &forged.principals {
            builder.valid_principal(principal).unwrap();
        }
        for (name, value) in &forged.critical {
            builder.critical_option(*name, *value).unwrap();
        }
        builder.extension("permit-pty", "").unwrap();
        if let Some(binding) = &forged.binding {
            builder.extension(BINDING, binding).unwrap();
        }
        builder.sign(&authority).unwrap().to_openssh().unwrap()
    }

    fn judge_from(&self, ip: &str, line: &str) -> Result<Claims, PublicError> {
        verify(line, self.authorities.user_authority_key(), NOW_US, &source(ip))
    }

    /// The code of the refusal and its message, or that there is none.
    fn judge(&self, forged: &Forged) -> (&'static str, String) {
        let line = self.signed_by("ssh-user-ca.key", forged);
        match self.judge_from("10.1.2.3", &line) {
            Ok(_) => ("accepted", String::new()),
            Err(error) => (error.code, error.message),
        }
    }

    fn refused(&self, forged: &Forged, code: &str, words: &str) {
        let (found, message) = self.judge(forged);
        assert_eq!(found, code, "{message}");
        assert!(message.contains(words), "{message}");
    }

    /// A certificate made by OpenSSH for a fresh key; none where it is not installed.
    fn openssh(&self, options: &[&str]) -> Option<String> {
        let key = self.path("key");
        for name in ["key", "key.pub", "key-cert.pub"] {
            let _ = std::fs::remove_file(self.path(name));
        }
        keygen(&["-q", "-t", "ed25519", "-N", "", "-C", "alice", "-f", &key])?;
        let (authority, public) = (self.path("ssh-user-ca.key"), self.path("key.pub"));
        let binding = format!("extension:{BINDING}=loggia.internal/main/nd_1/e1:5:{HASH}");
        let mut arguments = vec!["-q", "-s", &authority, "-I", "test", "-O", &binding];
        arguments.extend(options);
        arguments.push(&public);
        keygen(&arguments)?;
        Some(std::fs::read_to_string(self.path("key-cert.pub")).unwrap())
    }
}

#[test]
fn a_certificate_as_it_should_be_names_one_identity_and_its_end() {
    let bench = Bench::new();
    let line = bench.signed_by("ssh-user-ca.key", &Forged::default());
    let claims = bench.judge_from("10.1.2.3", &line).unwrap();
    assert_eq!((claims.actor, claims.log_index), (alice(), 5));
    assert_eq!(claims.not_after_us, i64::try_from(NOW_S + 3_600).unwrap() * 1_000_000);
    assert_eq!(claims.digest.len(), 64);
}

#[test]
fn another_authority_s_signature_counts_for_nothing() {
    let bench = Bench::new();
    for file in ["ssh-host-ca.key", "ssh-target-ca.key", "ssh-host.key"] {
        let line = bench.signed_by(file, &Forged::default());
        let refused = bench.judge_from("10.1.2.3", &line).unwrap_err();
        assert_eq!(refused.code, "foreign_certificate", "{file}");
        assert!(refused.message.contains("not issued by this Loggia"), "{}", refused.message);
    }
    let theirs = Bench::new().signed_by("ssh-user-ca.key", &Forged::default());
    assert_eq!(bench.judge_from("10.1.2.3", &theirs).unwrap_err().code, "foreign_certificate");
}

#[test]
fn a_byte_that_was_changed_behind_the_signature_is_found() {
    let bench = Bench::new();
    let line = bench.signed_by("ssh-user-ca.key", &Forged::default());
    let good = Certificate::from_openssh(&line).unwrap();
    let bytes = good.to_bytes().unwrap();
    let text = alice().to_string();
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    for place in [at + text.len() - 1, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        let Ok(certificate) = Certificate::from_bytes(&changed) else { continue };
        let line = certificate.to_openssh().unwrap();
        let refused = bench.judge_from("10.1.2.3", &line).unwrap_err();
        assert!(refused.message.contains("not issued by this Loggia"), "{}", refused.message);
    }
}

#[test]
fn a_host_s_certificate_lets_nobody_in() {
    let forged = Forged { kind: CertType::Host, ..Forged::default() };
    Bench::new().refused(&forged, "foreign_certificate", "is a host's");
}

#[test]
fn a_certificate_for_everybody_for_several_or_for_a_stranger_is_refused() {
    let bench = Bench::new();
    let wrong = [vec![], vec![alice().to_string(), "root".into()], vec!["alice".into()]];
    for principals in wrong {
        let forged = Forged { principals, ..Forged::default() };
        bench.refused(&forged, "foreign_certificate", "does not name one identity");
    }
}

#[test]
fn it_is_valid_from_its_first_second_to_before_its_last() {
    let bench = Bench::new();
    let at = |from, until| bench.judge(&Forged { from, until, ..Forged::default() }).0;
    assert_eq!(at(NOW_S, NOW_S + 1), "accepted");
    assert_eq!(at(NOW_S + 1, NOW_S + 9), "not_yet_valid");
    assert_eq!(at(NOW_S - 9, NOW_S), "expired");
    assert_eq!(at(0, u64::MAX), "accepted", "its record ends it");
}

#[test]
fn where_it_must_come_from_is_kept() {
    let bench = Bench::new();
    let from = |list| {
        bench.judge(&Forged { critical: vec![("source-address", list)], ..Forged::default() }).0
    };
    for good in ["10.1.2.3", "192.0.2.0/24,10.0.0.0/8", "10.1.2.3/32", "0.0.0.0/0"] {
        assert_eq!(from(good), "accepted", "{good}");
    }
    for other in ["10.1.2.4", "192.0.2.0/24", "::/0", "2001:db8::/32"] {
        assert_eq!(from(other), "wrong_source", "{other}");
    }
    // Bits behind the mask, negation, names, spaces, nothing: OpenSSH takes none of them.
    for odd in
        ["", "10.1.2.3/8", "10.1.2.3,", "!10.1.2.4", "localhost", "10.1.2.3, ::1", "10.1.2.3/33"]
    {
        assert_eq!(from(odd), "foreign_certificate", "{odd}");
    }
    let mapped = Forged { critical: vec![("source-address", "10.1.2.3")], ..Forged::default() };
    let line = bench.signed_by("ssh-user-ca.key", &mapped);
    assert!(
        bench.judge_from("::ffff:10.1.2.3", &line).is_ok(),
        "the same address in other clothes"
    );
}

#[test]
fn other_critical_options_are_refused_by_name() {
    let bench = Bench::new();
    for option in ["force-command", "verify-required", "some-option@example.org"] {
        let forged = Forged { critical: vec![(option, "x")], ..Forged::default() };
        bench.refused(&forged, "foreign_certificate", option);
    }
    let both = vec![("source-address", "10.0.0.0/8"), ("zz", "")];
    bench.refused(&Forged { critical: both, ..Forged::default() }, "foreign_certificate", "`zz`");
}

#[test]
fn without_an_entry_of_the_log_it_is_no_credential() {
    let bench = Bench::new();
    for binding in [None, Some(String::new()), Some(format!("o:x:{HASH}")), Some("o:5".into())] {
        let forged = Forged { binding, ..Forged::default() };
        bench.refused(&forged, "foreign_certificate", "is bound to no entry");
    }
}

#[test]
fn certificates_made_by_openssh_are_judged_the_same() {
    let bench = Bench::new();
    let me = alice().to_string();
    let Some(line) = bench.openssh(&["-n", &me]) else { return };
    assert_eq!(bench.judge_from("10.1.2.3", &line).unwrap().actor, alice());
    let cases: [(&[&str], &str); 7] = [
        (&["-n", &me, "-O", "source-address=10.0.0.0/8"], "accepted"),
        (&["-n", &me, "-O", "source-address=192.0.2.0/24"], "wrong_source"),
        (&["-n", &me, "-O", "force-command=/bin/true"], "foreign_certificate"),
        (&["-n", &me, "-O", "critical:new@example.org=1"], "foreign_certificate"),
        (&["-n", &me, "-V", "20200101:20200102"], "expired"),
        (&["-n", &me, "-V", "20400101:20400102"], "not_yet_valid"),
        (&["-h", "-n", &me], "foreign_certificate"),
    ];
    for (options, expected) in cases {
        let line = bench.openssh(options).unwrap();
        let found = bench.judge_from("10.1.2.3", &line);
        assert_eq!(found.map_or_else(|error| error.code, |_| "accepted"), expected, "{options:?}");
    }
    let everybody = bench.openssh(&[]).unwrap();
    assert_eq!(bench.judge_from("10.1.2.3", &everybody).unwrap_err().code, "foreign_certificate");
}

#[test]
fn other_kinds_of_keys_have_no_certificates() {
    let bench = Bench::new();
    let key = bench.path("rsa");
    let made = keygen(&["-q", "-t", "ecdsa", "-N", "", "-f", &key]);
    if made.is_none() {
        return;
    }
    let (authority, public) = (bench.path("ssh-user-ca.key"), bench.path("rsa.pub"));
    let binding = format!("extension:{BINDING}=o:5:{HASH}");
    let me = alice().to_string();
    keygen(&["-q", "-s", &authority, "-I", "t", "-n", &me, "-O", &binding, &public]).unwrap();
    let line = std::fs::read_to_string(bench.path("rsa-cert.pub")).unwrap();
    let refused = bench.judge_from("10.1.2.3", &line).unwrap_err();
    assert!(refused.message.contains("than Ed25519"), "{}", refused.message);
}

proptest! {
    #[test]
    fn no_bytes_panic(text in any::<String>(), list in "[0-9a-f.:/,]{0,40}", at in 0usize..900, to: u8) {
        static BENCH: std::sync::LazyLock<Bench> = std::sync::LazyLock::new(Bench::new);
        let bench = &*BENCH;
        let _ = bench.judge_from("10.1.2.3", &text);
        let _ = is_in("10.1.2.3".parse().unwrap(), &list);
        let good = bench.signed_by("ssh-user-ca.key", &Forged::default());
        let mut bytes = Certificate::from_openssh(&good).unwrap().to_bytes().unwrap();
        if let Some(byte) = bytes.get_mut(at) {
            let before = std::mem::replace(byte, to);
            if let Ok(changed) = Certificate::from_bytes(&bytes) {
                let line = changed.to_openssh().unwrap();
                prop_assert!(before == to || bench.judge_from("10.1.2.3", &line).is_err());
            }
        }
    }
}
