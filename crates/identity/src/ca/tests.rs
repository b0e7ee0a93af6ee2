use super::*;
use crate::testing::{FakeClock, NOW_US, mint};
use std::os::unix::fs::PermissionsExt;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn open(folder: &Path, clock: &Arc<FakeClock>) -> Ca {
    Ca::open_or_create(folder, &mint(clock), &names(&DEFAULT_NAMES)).unwrap()
}

#[test]
fn authorities_are_made_once_and_stay() {
    let folder = tempfile::tempdir().unwrap();
    let clock = FakeClock::at(NOW_US);
    let keys = folder.path().join("keys");
    let first = open(&keys, &clock);
    let again = open(&keys, &clock);
    assert_eq!(first.user_ca_der(), again.user_ca_der());
    assert_eq!(first.ca_sha256(), again.ca_sha256());
    assert_eq!(first.server().chain, again.server().chain, "nor is the server's made again");
    assert_eq!(first.server().key(), again.server().key());
    for (file, mode) in [(USER_CA, 0o600), (SERVER_CA, 0o600), (SERVER, 0o600), ("ca.pem", 0o644)] {
        let found = keys.join(file).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{file}");
    }
    assert_eq!(std::fs::read_to_string(keys.join("ca.pem")).unwrap(), first.ca_pem());
}

#[test]
fn the_server_certificate_is_for_the_names_and_by_the_authority() {
    let folder = tempfile::tempdir().unwrap();
    let ca = open(folder.path(), &FakeClock::at(NOW_US));
    let server = ca.server();
    let [leaf, issuer] = server.chain.as_slice() else { panic!("leaf and authority") };
    assert_eq!(<[u8; 32]>::from(Sha256::digest(issuer)), ca.ca_sha256());
    let (_, leaf) = X509Certificate::from_der(leaf).unwrap();
    assert!(ca.servers.public.verify(leaf.tbs_certificate.as_ref(), &leaf.signature_value.data));
    assert!(!ca.user_ca_key().verify(leaf.tbs_certificate.as_ref(), &leaf.signature_value.data));
    assert!(same_names(&leaf, &names(&DEFAULT_NAMES)));
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.client_auth && !usage.any);
    assert_eq!(leaf.validity().not_before.timestamp(), NOW_US / 1_000_000 - 60);
}

#[test]
fn the_server_certificate_is_renewed_near_its_end_and_for_new_names() {
    let folder = tempfile::tempdir().unwrap();
    let clock = FakeClock::at(NOW_US);
    let first = open(folder.path(), &clock);
    let chain = first.server().chain.clone();
    clock.advance_s(59 * DAY_S);
    assert!(!first.renew_server_if_due().unwrap());
    assert_eq!(open(folder.path(), &clock).server().chain, chain);
    clock.advance_s(2 * DAY_S);
    assert!(first.renew_server_if_due().unwrap());
    assert_ne!(first.server().chain, chain);
    let again = open(folder.path(), &clock);
    assert_eq!(again.server().chain, first.server().chain);
    let wider = names(&["gate.example", "10.0.0.1"]);
    let renamed = Ca::open_or_create(folder.path(), &mint(&clock), &wider).unwrap();
    assert_ne!(renamed.server().chain, again.server().chain);
    assert_eq!(renamed.ca_sha256(), first.ca_sha256(), "clients need not be told");
}

#[test]
fn names_that_are_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for bad in [vec![], names(&[""]), names(&["https://gate"]), names(&["a b"]), names(&["ä"])] {
        let refused = Ca::open_or_create(folder.path(), &mint(&FakeClock::at(NOW_US)), &bad);
        assert!(matches!(refused, Err(KeysError::Names { .. })), "{bad:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "and nothing is made");
}

#[test]
fn a_damaged_authority_is_named_and_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let clock = FakeClock::at(NOW_US);
    open(folder.path(), &clock);
    let path = folder.path().join(USER_CA);
    let text = std::fs::read_to_string(&path).unwrap();
    let foreign = std::fs::read_to_string(folder.path().join(SERVER_CA)).unwrap();
    let mixed = format!(
        "{}{}",
        &text[..text.find("-----BEGIN CERT").unwrap()],
        &foreign[foreign.find("-----BEGIN CERT").unwrap()..]
    );
    for damage in [String::new(), text[..200].to_owned(), mixed] {
        std::fs::write(&path, &damage).unwrap();
        let refused = Ca::open_or_create(folder.path(), &mint(&clock), &names(&DEFAULT_NAMES));
        let refused = refused.err().unwrap();
        assert!(matches!(refused, KeysError::Damaged { .. }), "{refused}");
        assert!(refused.to_string().contains("user-ca.pem"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), damage);
    }
}
