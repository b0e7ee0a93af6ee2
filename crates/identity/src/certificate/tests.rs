use super::*;
use crate::ca::{Ca, ClientName, DEFAULT_NAMES};
use crate::testing::{FakeClock, NOW_US, mint};
use loggia_model::id::PersonId;
use proptest::prelude::*;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

fn ca() -> (Ca, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let names = DEFAULT_NAMES.map(str::to_owned);
    let ca = Ca::open_or_create(folder.path(), &mint(&FakeClock::at(NOW_US)), &names).unwrap();
    (ca, folder)
}

fn actor() -> ActorId {
    ActorId::Person(PersonId::from_parts(1, [3; 10]))
}

fn issued(ca: &Ca, pair: &KeyPair) -> Vec<u8> {
    let name = ClientName {
        actor: actor(),
        binding: "loggia:log-binding:v1:o:7:00".to_owned(),
        serial: [0x42; 16],
        not_after_s: NOW_US / 1_000_000 + 3_600,
    };
    let key = PublicKey::from_pem(&pair.public_key_pem()).unwrap();
    pem::parse(ca.issue_client(&key, &name).unwrap()).unwrap().into_contents()
}

/// Parameters of a good client certificate, to be spoilt.
fn good() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = time::OffsetDateTime::from_unix_timestamp(NOW_US / 1_000_000 - 1).unwrap();
    params.not_after = time::OffsetDateTime::from_unix_timestamp(NOW_US / 1_000_000 + 60).unwrap();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![uri(&format!("loggia:actor:{}", actor()))];
    params
}

fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap())
}

#[test]
fn a_certificate_of_ours_names_its_holder_until_its_last_second() {
    let (ca, _folder) = ca();
    let pair = KeyPair::generate().unwrap();
    let der = issued(&ca, &pair);
    let at = |seconds: i64| verify(&der, ca.user_ca_key(), NOW_US + seconds * 1_000_000);
    let claims = at(0).unwrap();
    assert_eq!(claims.actor, actor());
    assert_eq!(claims.digest, PublicKey::from_pem(&pair.public_key_pem()).unwrap().digest());
    assert_eq!(claims.not_after_us, NOW_US / 1_000_000 * 1_000_000 + 3_600_000_000);
    assert!(at(3_600).is_ok() && at(-60).is_ok());
    let late = at(3_601).unwrap_err();
    assert_eq!((late.code, late.hint.as_deref()), ("expired", Some("loggia login")));
    assert_eq!(at(-61).unwrap_err().code, "not_yet_valid");
}

#[test]
fn what_another_authority_issued_is_foreign_the_server_authority_included() {
    let (ours, _ours) = ca();
    let (theirs, _theirs) = ca();
    let der = issued(&theirs, &KeyPair::generate().unwrap());
    let refused = verify(&der, ours.user_ca_key(), NOW_US).unwrap_err();
    assert_eq!(
        (refused.code, refused.hint.as_deref()),
        ("foreign_certificate", Some("loggia login"))
    );
    let server = verify(&ours.server().chain[0], ours.user_ca_key(), NOW_US).unwrap_err();
    assert_eq!(server.code, "foreign_certificate");
    let itself = verify(ours.user_ca_der(), ours.user_ca_key(), NOW_US).unwrap_err();
    assert_eq!(itself.code, "foreign_certificate", "the authority is nobody");
}

#[test]
fn a_certificate_for_another_purpose_is_refused_though_we_signed_it() {
    let (ca, _folder) = ca();
    let pair = KeyPair::generate().unwrap();
    let code = |params: CertificateParams| {
        let refused = verify(&ca.sign_anything(&params, &pair), ca.user_ca_key(), NOW_US);
        refused.map(|_| "accepted").unwrap_or_else(|error| error.code)
    };
    assert_eq!(code(good()), "accepted");
    let mut server = good();
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let mut no_purpose = good();
    no_purpose.extended_key_usages = vec![];
    let mut any_purpose = good();
    any_purpose.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
    let mut authority = good();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut signer = good();
    signer.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let mut critical = good();
    let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999], vec![5, 0]);
    unknown.set_criticality(true);
    critical.custom_extensions = vec![unknown];
    for params in [server, no_purpose, any_purpose, authority, signer, critical] {
        assert_eq!(code(params), "foreign_certificate");
    }
}

#[test]
fn a_certificate_that_names_nobody_or_two_is_refused() {
    let (ca, _folder) = ca();
    let pair = KeyPair::generate().unwrap();
    let one = format!("loggia:actor:{}", actor());
    for names in [
        vec![],
        vec![uri("loggia:actor:root")],
        vec![uri("loggia:log-binding:v1:o:1:00")],
        vec![uri(&one), uri(&one)],
    ] {
        let mut params = good();
        params.subject_alt_names = names;
        let refused = verify(&ca.sign_anything(&params, &pair), ca.user_ca_key(), NOW_US);
        assert_eq!(refused.unwrap_err().code, "foreign_certificate");
    }
    let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let refused = verify(&ca.sign_anything(&good(), &other), ca.user_ca_key(), NOW_US);
    assert!(refused.unwrap_err().message.contains("another kind of key"));
}

#[test]
fn no_changed_byte_makes_it_say_anything_else() {
    let (ca, _folder) = ca();
    let der = issued(&ca, &KeyPair::generate().unwrap());
    let claims = verify(&der, ca.user_ca_key(), NOW_US).unwrap();
    let mut refused = 0;
    for at in 0..der.len() {
        let mut changed = der.clone();
        changed[at] ^= 1;
        match verify(&changed, ca.user_ca_key(), NOW_US) {
            // The wrapper around what is signed has a tag or two that the reader is lax about.
            Ok(same) => assert_eq!(same, claims, "byte {at}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused >= der.len() - 2, "{refused} of {}", der.len());
    let longer = [der.as_slice(), &[0]].concat();
    assert!(verify(&longer, ca.user_ca_key(), NOW_US).is_err());
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in any::<Vec<u8>>()) {
        let pair = KeyPair::generate().unwrap();
        let key = PublicKey::from_pem(&pair.public_key_pem()).unwrap();
        prop_assert!(verify(&bytes, &key, NOW_US).is_err());
    }
}
