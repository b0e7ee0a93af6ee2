//! What `identity` keeps here.

use super::*;
use crate::ENROLMENT_US;
use loggia_model::id::{CredentialId, EventId};
use loggia_model::port::{CredentialRecord, Directory, PersonVerifier};

fn verifier() -> PersonVerifier {
    PersonVerifier {
        password_hash: Some(Secret::new("$argon2id$…".into())),
        totp_seed: Some(Secret::new("SEED".into())),
    }
}

fn person_id(id: ActorId) -> PersonId {
    match id {
        ActorId::Person(person) => person,
        other => panic!("{other} is no person"),
    }
}

fn event(number: u8) -> EventId {
    EventId::from_parts(1, [number; 10])
}

#[tokio::test]
async fn an_enrolment_code_is_good_once_and_for_a_day() {
    let house = House::new().await;
    let alice = person_id(house.person("alice", false).await);
    let control = &house.control;
    assert_eq!(control.enrolment("code-of-alice", NOW_US).await.unwrap(), Some(alice));
    assert_eq!(control.enrolment("code-of-alice", NOW_US + ENROLMENT_US).await.unwrap(), None);
    assert_eq!(control.enrolment("another", NOW_US).await.unwrap(), None);

    assert!(!control.enrol(alice, "another", verifier(), event(1)).await.unwrap());
    assert_eq!(control.unapplied(&[event(1)]).await.unwrap(), [event(1)]);
    assert!(control.verifier(alice).await.unwrap().is_none());
    assert!(control.enrol(alice, "code-of-alice", verifier(), event(2)).await.unwrap());
    assert_eq!(control.unapplied(&[event(2)]).await.unwrap(), []);
    assert!(!control.enrol(alice, "code-of-alice", verifier(), event(3)).await.unwrap());
    assert!(control.people()[0].enrolled);
    let kept = control.verifier(alice).await.unwrap().unwrap();
    assert_eq!(kept.totp_seed.unwrap().reveal(), "SEED");
    // Somebody who enrolled is not given a new code.
    assert!(control.add_person(new_person("alice", false), root()).await.is_err());
}

#[tokio::test]
async fn of_two_who_enrol_with_one_code_one_wins() {
    let house = House::new().await;
    let alice = person_id(house.person("alice", false).await);
    let (one, two) = tokio::join!(
        house.control.enrol(alice, "code-of-alice", verifier(), event(1)),
        house.control.enrol(alice, "code-of-alice", verifier(), event(2)),
    );
    assert_ne!(one.unwrap(), two.unwrap());
}

#[tokio::test]
async fn a_time_step_is_spent_once_and_the_earlier_ones_with_it() {
    let house = House::new().await;
    let alice = person_id(house.person("alice", false).await);
    let control = &house.control;
    assert!(!control.spend_totp_step(alice, 1).await.unwrap(), "nobody enrolled");
    control.enrol(alice, "code-of-alice", verifier(), event(1)).await.unwrap();
    assert!(control.spend_totp_step(alice, 100).await.unwrap());
    assert!(!control.spend_totp_step(alice, 100).await.unwrap());
    assert!(!control.spend_totp_step(alice, 99).await.unwrap());
    let (one, two) =
        tokio::join!(control.spend_totp_step(alice, 101), control.spend_totp_step(alice, 101));
    assert_ne!(one.unwrap(), two.unwrap());
}

#[tokio::test]
async fn credentials_are_kept_found_and_revoked() {
    let house = House::new().await;
    let alice = house.person("alice", false).await;
    let record = |number: u8, expires_us| CredentialRecord {
        id: CredentialId::from_parts(1, [number; 10]),
        actor: alice,
        digest: format!("digest-{number}"),
        authn: "password_totp",
        expires_us,
        revoked: false,
        log_index: 42,
    };
    let control = &house.control;
    control.add_credential(record(1, NOW_US + 10)).await.unwrap();
    control.add_credential(record(2, NOW_US - 1)).await.unwrap();
    assert!(control.add_credential(record(1, NOW_US + 10)).await.is_err(), "the same twice");
    let found = control.credential("digest-1").await.unwrap().unwrap();
    assert_eq!((found.actor, found.authn, found.log_index), (alice, "password_totp", 42));
    assert!(control.credential("digest-9").await.unwrap().is_none());
    let ended = control.revoke_credentials(alice).await.unwrap();
    assert_eq!(ended, [record(1, 0).id], "an expired one has ended by itself");
    assert!(control.credential("digest-1").await.unwrap().unwrap().revoked);
    assert_eq!(control.revoke_credentials(alice).await.unwrap(), []);
    // Long after their end they are forgotten.
    house.later(40 * 86_400 * 1_000_000);
    control.add_credential(record(3, i64::MAX)).await.unwrap();
    assert!(control.credential("digest-1").await.unwrap().is_none());
}

#[tokio::test]
async fn identities_are_found_by_name_and_kind() {
    let house = House::new().await;
    let alice = house.person("alice", true).await;
    house.control.add_service("ci", PUBLIC_KEY, false, root()).await.unwrap();
    let control = &house.control;
    assert_eq!(control.person_by_name("alice").await.unwrap(), Some(person_id(alice)));
    assert_eq!(control.person_by_name("ci").await.unwrap(), None);
    let (id, key) = control.service_by_name("ci").await.unwrap().unwrap();
    assert_eq!(key, PUBLIC_KEY);
    assert!(control.service_by_name("alice").await.unwrap().is_none());
    let record = control.identity(ActorId::Service(id)).await.unwrap().unwrap();
    assert_eq!((record.name.as_str(), record.admin, record.disabled), ("ci", false, false));
    assert!(control.identity(alice).await.unwrap().unwrap().admin);
}
