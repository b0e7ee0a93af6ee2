use super::*;
use crate::testing::{World, source};
use loggia_model::id::{ActorId, CredentialId, ServiceId};
use loggia_model::port::CredentialRecord;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType};

/// Alice's certificate and token.
async fn signed_in(world: &World) -> (Credential, Credential) {
    let answer = world.sign_in.login(world.login(), &source("10.0.0.1")).await.unwrap();
    let leaf = pem::parse(answer.certificate_pem).unwrap().into_contents();
    (Credential::ClientCertificate { chain: vec![leaf] }, Credential::Token(answer.token.unwrap()))
}

async fn code(world: &World, credential: &Credential) -> &'static str {
    match world.identifier.identify(credential, &source("10.0.0.1")).await {
        Ok(_) => "accepted",
        Err(error) => {
            assert!(error.hint.is_some(), "{error}");
            error.code
        }
    }
}

#[tokio::test]
async fn certificate_and_token_name_exactly_the_one_who_signed_in() {
    let world = World::new().await;
    let (certificate, token) = signed_in(&world).await;
    for (credential, authn) in [(certificate, Authn::ClientCertificate), (token, Authn::Token)] {
        let actor = world.identifier.identify(&credential, &source("::1")).await.unwrap();
        assert_eq!(actor.id, ActorId::Person(world.alice));
        assert_eq!((actor.name.as_str(), actor.authn), ("alice", authn));
        assert_eq!(actor.groups, ["dba"]);
        assert_eq!(actor.expires_us, Some(world.mint.now_us() + 8 * 3_600 * 1_000_000));
        assert!(actor.credential.is_some());
    }
}

#[tokio::test]
async fn both_end_after_their_time_with_words_that_help() {
    let world = World::new().await;
    let (certificate, token) = signed_in(&world).await;
    world.clock.advance_s(8 * 3_600 - 1);
    assert_eq!(code(&world, &certificate).await, "accepted");
    assert_eq!(code(&world, &token).await, "accepted");
    world.clock.advance_s(1);
    assert_eq!(code(&world, &token).await, "expired");
    assert_eq!(code(&world, &certificate).await, "expired");
    world.clock.advance_s(1);
    let refused = world.identifier.identify(&certificate, &source("::1")).await.unwrap_err();
    assert_eq!((refused.code, refused.hint.as_deref()), ("expired", Some("loggia login")));
}

#[tokio::test]
async fn revoked_and_disabled_are_told_apart_and_hold_at_once() {
    let world = World::new().await;
    let (certificate, token) = signed_in(&world).await;
    world.disable(ActorId::Person(world.alice));
    assert_eq!(code(&world, &certificate).await, "disabled");
    assert_eq!(code(&world, &token).await, "disabled");
    world.directory.revoke_credentials(ActorId::Person(world.alice)).await.unwrap();
    assert_eq!(code(&world, &certificate).await, "revoked");
    assert_eq!(code(&world, &token).await, "revoked");
}

#[tokio::test]
async fn a_certificate_by_our_authority_that_no_event_minted_is_unknown() {
    let world = World::new().await;
    let pair = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let name = format!("loggia:actor:{}", ActorId::Person(world.alice));
    params.subject_alt_names = vec![SanType::URI(name.as_str().try_into().unwrap())];
    let forged =
        Credential::ClientCertificate { chain: vec![world.ca.sign_anything(&params, &pair)] };
    assert_eq!(code(&world, &forged).await, "unknown_credential");

    // Nor does it help to have a credential of one's own with the same key.
    let key = crate::key::PublicKey::from_pem(&pair.public_key_pem()).unwrap();
    let record = CredentialRecord {
        id: CredentialId::from_parts(1, [1; 10]),
        actor: ActorId::Service(ServiceId::from_parts(1, [9; 10])),
        digest: key.digest(),
        authn: "key_challenge",
        expires_us: i64::MAX,
        revoked: false,
        log_index: 1,
    };
    world.directory.add_credential(record).await.unwrap();
    assert_eq!(code(&world, &forged).await, "unknown_credential");
}

#[tokio::test]
async fn wrong_tokens_are_told_from_unknown_ones() {
    let world = World::new().await;
    let other = Credential::Token(token::generate(&world.mint));
    assert_eq!(code(&world, &other).await, "unknown_credential");
    let password = Credential::Token(Secret::new("correct horse battery".into()));
    assert_eq!(code(&world, &password).await, "bad_credential");
    let none = Credential::ClientCertificate { chain: vec![] };
    assert_eq!(code(&world, &none).await, "bad_credential");
    let garbage = Credential::ClientCertificate { chain: vec![vec![0x30, 0x82, 0xff]] };
    assert_eq!(code(&world, &garbage).await, "foreign_certificate");
    let another = World::new().await;
    let (theirs, _) = signed_in(&another).await;
    assert_eq!(code(&world, &theirs).await, "foreign_certificate");
}

#[tokio::test]
async fn a_control_database_that_is_down_lets_nobody_in_and_says_so() {
    let world = World::new().await;
    let (certificate, _) = signed_in(&world).await;
    world.directory.0.lock().down = true;
    let refused = world.identifier.identify(&certificate, &source("::1")).await.unwrap_err();
    assert_eq!((refused.code, refused.fault, refused.retry), ("state", Fault::Gateway, true));
}
