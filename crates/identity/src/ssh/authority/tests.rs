use super::*;
use crate::testing::{FakeClock, NOW_US, keygen, mint};
use loggia_model::Authn;
use loggia_model::id::PersonId;
use std::os::unix::fs::PermissionsExt;

const ORIGIN: &str = "loggia.internal/main/nd_1/e1";
const FILES: [&str; 4] = [USER_CA, HOST_CA, HOST, TARGET_CA];

fn open(folder: &Path) -> SshAuthorities {
    let mint = mint(&FakeClock::at(NOW_US));
    SshAuthorities::open_or_create(folder, &mint, ORIGIN).unwrap()
}

fn actor() -> Actor {
    Actor {
        id: ActorId::Person(PersonId::from_parts(1, [1; 10])),
        name: "alice".into(),
        authn: Authn::SshCertificate,
        credential: None,
        expires_us: None,
        groups: vec![],
        admin: false,
    }
}

#[test]
fn keys_are_made_once_for_their_owner_alone_and_each_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let again = open(folder.path());
    let lines = |it: &SshAuthorities| {
        [it.user_authority(), it.host_authority(), it.host_public_key(), it.target_authority()]
            .map(str::to_owned)
    };
    assert_eq!(lines(&first), lines(&again));
    let different: std::collections::BTreeSet<_> = lines(&first).into_iter().collect();
    assert_eq!(different.len(), 4);
    for file in FILES {
        let mode = folder.path().join(file).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4, "nothing lies beside them");
}

#[test]
fn what_is_no_ed25519_key_or_open_to_others_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path());
    let path = folder.path().join(TARGET_CA);
    let mint = mint(&FakeClock::at(NOW_US));
    let refused = || SshAuthorities::open_or_create(folder.path(), &mint, ORIGIN).err().unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused().hint().unwrap().starts_with("chmod 600 "));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n").unwrap();
    assert!(matches!(refused(), KeysError::Damaged { .. }));
    for kind in [["-t", "ecdsa", "-N", ""], ["-t", "ed25519", "-N", "a passphrase"]] {
        std::fs::remove_file(&path).unwrap();
        let mut arguments = vec!["-q", "-f", path.to_str().unwrap()];
        arguments.extend(kind);
        if keygen(&arguments).is_none() {
            return;
        }
        assert!(matches!(refused(), KeysError::Damaged { .. }), "{kind:?}");
    }
}

#[test]
fn the_host_certificate_names_this_gateway_and_is_a_host_s() {
    let folder = tempfile::tempdir().unwrap();
    let ssh = open(folder.path());
    let names = ["gate.example".to_owned(), "127.0.0.1".to_owned()];
    let line = ssh.host_certificate(&names).unwrap();
    let certificate = Certificate::from_openssh(&line).unwrap();
    assert_eq!(certificate.cert_type(), CertType::Host);
    assert_eq!(certificate.valid_principals(), names);
    assert_eq!(certificate.signature_key(), ssh.hosts.public());
    assert_eq!(certificate.valid_before() - certificate.valid_after(), 90 * 86_400 + 60);
    assert!(certificate.extensions().is_empty());
    let private = PrivateKey::from_openssh(ssh.host_key().reveal()).unwrap();
    assert_eq!(private.public_key().key_data(), certificate.public_key());
    assert!(ssh.host_certificate(&[]).is_err(), "one for every name");
}

#[test]
fn a_key_for_a_target_is_fresh_and_its_certificate_says_who_and_which_session() {
    let folder = tempfile::tempdir().unwrap();
    let ssh = open(folder.path());
    let session = SessionId::from_parts(1, [3; 10]);
    let leaf_hash = LeafHash::of(b"leaf");
    let minted = ssh.session_key(&actor(), session, "deploy", 4711, leaf_hash).unwrap();
    let other = ssh.session_key(&actor(), session, "deploy", 4711, leaf_hash).unwrap();
    assert_ne!(minted.private_key.reveal(), other.private_key.reveal());
    let certificate = Certificate::from_openssh(&minted.certificate).unwrap();
    assert_eq!(certificate.signature_key(), ssh.targets.public());
    assert_eq!(certificate.cert_type(), CertType::User);
    assert_eq!(certificate.valid_principals(), ["deploy"]);
    assert_eq!(certificate.key_id(), format!("loggia:{}:{session}", actor().id));
    let now_s = u64::try_from(NOW_US / 1_000_000).unwrap();
    let validity = (certificate.valid_after(), certificate.valid_before());
    assert_eq!(validity, (now_s - 60, now_s + 600));
    let binding = format!("{ORIGIN}:4711:{}", leaf_hash.to_hex());
    assert_eq!(certificate.extensions().get(BINDING), Some(&binding));
    assert!(certificate.extensions().contains_key("permit-pty"));
    assert!(certificate.critical_options().is_empty());
    let private = PrivateKey::from_openssh(minted.private_key.reveal()).unwrap();
    assert_eq!(private.public_key().key_data(), certificate.public_key());

    let path = folder.path().join("session-cert.pub");
    std::fs::write(&path, format!("{}\n", minted.certificate)).unwrap();
    let Some(shown) = keygen(&["-L", "-f", path.to_str().unwrap()]) else { return };
    for said in ["user certificate", "deploy", "permit-port-forwarding", "loggia:pe_"] {
        assert!(shown.contains(said), "{said} in {shown}");
    }
}
