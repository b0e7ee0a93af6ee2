use super::*;
use crate::credential::Wanted;
use crate::testing::{FIRST_INDEX, NOW_US, PASSWORD, World, csr, source};
use crate::totp::Authenticator;
use loggia_api::identity::{EnrolBegin, EnrolFinish, EnrolmentCode, Login, ServiceChallenge};
use loggia_model::id::{ActorId, PersonId};
use loggia_model::port::{AppendError, Caller, Identify};
use loggia_model::{Credential, Event, LeafHash, Secret};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

const HOME: &str = "10.0.0.1";

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

/// What the log says of the last failure, and the number of events.
fn last_failure(world: &World) -> (String, Option<ActorId>) {
    let events = world.log.events();
    let event = events.last().unwrap();
    assert_eq!(event.kind, "auth.login_failed");
    (event.text("/detail/reason").unwrap().to_owned(), event.actor)
}

/// The URIs of a certificate, its common name and its serial number.
fn names(pem: &str) -> (Vec<String>, String, String) {
    let der = pem::parse(pem).unwrap().into_contents();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let alternative = certificate.subject_alternative_name().unwrap().unwrap();
    let uris = alternative.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    });
    let common = certificate.subject().iter_common_name().next().unwrap().as_str().unwrap();
    let serial = hex::encode(certificate.raw_serial());
    (uris.collect(), common.to_owned(), serial)
}

#[tokio::test]
async fn a_login_is_recorded_first_and_the_certificate_says_where() {
    let world = World::new().await;
    let answer = world.sign_in.login(world.login(), &source(HOME)).await.unwrap();
    assert_eq!(world.log.kinds(), ["auth.login", "credential.minted", "credential.minted"]);
    let leaves = world.log.leaves.lock();
    let minted = Event::parse(&leaves[1].0).unwrap();
    let hash = LeafHash::of(&leaves[1].0).to_hex();
    let index = FIRST_INDEX + 1;
    let origin = "loggia.internal/main/nd_01h455vb4pex5vsknk084sn02q/e1";
    let actor = ActorId::Person(world.alice);
    let (uris, common, serial) = names(&answer.certificate_pem);
    assert_eq!(
        uris,
        [format!("loggia:actor:{actor}"), format!("loggia:log-binding:v1:{origin}:{index}:{hash}")]
    );
    assert_eq!(common, actor.to_string());
    assert_eq!(minted.text("/detail/serial"), Some(serial.as_str()));
    assert_eq!(minted.text("/actor/authn"), Some("password_totp"));
    assert_eq!(minted.actor, Some(actor));
    assert_eq!(answer.expires_us, NOW_US + 8 * 3_600 * 1_000_000);
    assert_eq!(answer.notice, NOTICE_DEFAULT);
    assert_eq!(answer.ca_pem, world.ca.ca_pem());

    let state = world.directory.0.lock();
    let spki = minted.text("/detail/spki").unwrap();
    assert_eq!(state.credentials[spki].log_index, index);
    let token = answer.token.unwrap();
    let kept = &state.credentials[&crate::token::digest(&token)];
    assert_eq!((kept.log_index, kept.actor), (index + 1, actor), "the token has its own event");
    let all = leaves.iter().map(|(leaf, _)| String::from_utf8_lossy(leaf).into_owned());
    let all = all.collect::<String>();
    assert!(!all.contains("alice") && !all.contains(HOME), "names and addresses are sealed");
    assert!(!all.contains(token.reveal()));
}

#[tokio::test]
async fn whatever_is_wrong_the_same_is_told_and_the_reason_is_recorded() {
    let world = World::new().await;
    let mut told = Vec::new();
    let mut try_it = async |change: fn(&mut Login), reason: &str| {
        let mut login = world.login();
        change(&mut login);
        // Each from elsewhere, because this is not about the throttle.
        let from = format!("10.1.0.{}", told.len());
        told.push(world.sign_in.login(login, &source(&from)).await.unwrap_err());
        assert_eq!(last_failure(&world), (reason.to_owned(), None));
    };
    try_it(|login| login.password = secret("wrong horse battery"), "wrong_password").await;
    try_it(|login| login.code = secret("000000"), "wrong_code").await;
    try_it(|login| login.name = "nobody".into(), "unknown").await;
    try_it(|login| login.name = "Not A Name ' or 1=1".into(), "unknown").await;
    world.disable(ActorId::Person(world.alice));
    try_it(|_| (), "disabled").await;
    world.directory.0.lock().verifiers.clear();
    try_it(|_| (), "unknown").await;
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].error.message, "name, password or code is wrong");
    assert!(world.directory.0.lock().credentials.is_empty());
    let claimed = world.log.disclosure(3);
    assert!(claimed.contains("Not A Name"), "what was typed is kept, sealed: {claimed}");
}

#[tokio::test]
async fn somebody_unknown_costs_as_much_as_a_wrong_password() {
    let world = World::new().await;
    let mut times = Vec::new();
    for name in ["alice", "nobody"] {
        let mut best = std::time::Duration::MAX;
        for n in 0..3 {
            let mut login = world.login();
            login.name = name.to_owned();
            login.password = secret("wrong horse battery");
            let begun = tokio::time::Instant::now();
            let from = format!("10.2.{n}.{}", name.len());
            world.sign_in.login(login, &source(&from)).await.unwrap_err();
            best = best.min(begun.elapsed());
        }
        times.push(best.as_secs_f64());
    }
    let ratio = times[0] / times[1];
    // Without the work for nobody the ratio is beyond ten; the machine may be busy.
    assert!((0.2..5.0).contains(&ratio), "{times:?}");
}

#[tokio::test]
async fn a_code_is_good_once_and_an_older_one_after_it_is_not() {
    let world = World::new().await;
    let used = world.login();
    world.sign_in.login(world.login(), &source(HOME)).await.unwrap();
    let again = Login { csr: csr(), ..used };
    world.sign_in.login(again, &source(HOME)).await.unwrap_err();
    assert_eq!(last_failure(&world).0, "code_used");
    let before = world.authenticator.code_at(NOW_US - 30_000_000);
    let older = Login { code: before, ..world.login() };
    world.sign_in.login(older, &source(HOME)).await.unwrap_err();
    assert_eq!(last_failure(&world).0, "code_used");
    world.clock.advance_s(30);
    world.sign_in.login(world.login(), &source(HOME)).await.unwrap();
}

#[tokio::test]
async fn others_who_fail_keep_nobody_out_from_where_they_signed_in_before() {
    let world = World::new().await;
    world.sign_in.login(world.login(), &source(HOME)).await.unwrap();
    for n in 0..5 {
        let wrong = Login { password: secret("wrong horse battery"), ..world.login() };
        world.sign_in.login(wrong, &source(&format!("10.3.0.{n}"))).await.unwrap_err();
    }
    let elsewhere = world.sign_in.login(world.login(), &source("10.4.0.1")).await.unwrap_err();
    assert_eq!(elsewhere.error.code, "throttled");
    world.clock.advance_s(30);
    for n in 5..10 {
        let wrong = Login { password: secret("wrong horse battery"), ..world.login() };
        world.sign_in.login(wrong, &source(&format!("10.3.0.{n}"))).await.unwrap_err();
    }
    world.sign_in.login(world.login(), &source(HOME)).await.unwrap();
}

#[tokio::test]
async fn five_failures_are_free_then_one_waits_even_with_the_right_password() {
    let world = World::new().await;
    for n in 0..5 {
        let wrong = Login { password: secret("wrong horse battery"), ..world.login() };
        let from = format!("10.3.0.{n}");
        world.sign_in.login(wrong, &source(&from)).await.unwrap_err();
    }
    let refused = world.sign_in.login(world.login(), &source(HOME)).await.unwrap_err();
    assert_eq!((refused.error.code, refused.retry_after_s), ("throttled", Some(1)));
    assert_eq!(last_failure(&world).0, "throttled");
    world.clock.advance_s(1);
    world.sign_in.login(world.login(), &source(HOME)).await.unwrap();
    world.clock.advance_s(30);
    world.sign_in.login(world.login(), &source(HOME)).await.unwrap();
}

#[tokio::test]
async fn a_stranger_cannot_fill_the_log_and_is_counted() {
    let world = World::new().await;
    for _ in 0..30 {
        let wrong = Login { name: "nobody".into(), ..world.login() };
        world.sign_in.login(wrong, &source(HOME)).await.unwrap_err();
    }
    assert_eq!(world.log.events().len(), 10);
    world.sign_in.write_counted_failures().unwrap();
    world.sign_in.write_counted_failures().unwrap();
    let events = world.log.events();
    assert_eq!(events.len(), 11);
    assert_eq!(events[10].kind, "stranger.summary");
    let count = events[10].whole.at("/detail/count").and_then(loggia_model::Value::as_int);
    assert_eq!(count, Some(20));
}

#[tokio::test]
async fn nothing_is_issued_when_nothing_can_be_recorded() {
    let world = World::new().await;
    let errors = [AppendError::Paused("disk full"), AppendError::Closed("broken".into())];
    for error in errors {
        *world.log.refuse_append.lock() = Some(error);
        let refused = world.sign_in.login(world.login(), &source(HOME)).await.unwrap_err();
        assert_eq!((refused.error.code, refused.error.retry), ("unrecordable", true));
        assert!(world.directory.0.lock().credentials.is_empty());
        world.clock.advance_s(30);
    }
    *world.log.refuse_append.lock() = None;
    *world.log.refuse_on_disk.lock() = Some(AppendError::Paused("slow disk"));
    let refused = world.sign_in.login(world.login(), &source(HOME)).await.unwrap_err();
    assert_eq!(refused.error.code, "unrecordable");
    assert!(world.directory.0.lock().credentials.is_empty(), "not before it is on disk");
    *world.log.refuse_on_disk.lock() = None;
    world.clock.advance_s(30);
    world.sign_in.login(world.login(), &source(HOME)).await.unwrap();
}

#[tokio::test]
async fn a_key_is_certified_once() {
    let world = World::new().await;
    let first = world.login();
    let used = first.csr.clone();
    world.sign_in.login(first, &source(HOME)).await.unwrap();
    world.clock.advance_s(30);
    let again = Login { csr: used, ..world.login() };
    let refused = world.sign_in.login(again.clone(), &source(HOME)).await.unwrap_err();
    assert_eq!(refused.error.code, "key_reused");
    let fresh = Login { csr: csr(), ..again };
    world.sign_in.login(fresh, &source(HOME)).await.expect("the code was not spent");
    let bad = Login { csr: "no csr".into(), ..world.login() };
    let refused = world.sign_in.login(bad, &source(HOME)).await.unwrap_err();
    assert_eq!(refused.error.code, "bad_csr");
}

/// Somebody who was added and has a code.
fn invite(world: &World) -> (PersonId, EnrolmentCode) {
    let bob = PersonId::from_parts(1, [7; 10]);
    let code =
        EnrolmentCode::new("localhost:7443", world.mint.random(), world.ca.ca_sha256()).unwrap();
    world.add_identity(ActorId::Person(bob), "bob");
    let mut state = world.directory.0.lock();
    state.people.insert("bob".into(), bob);
    state.codes.insert(code.digest(), (bob, NOW_US + 3_600_000_000));
    (bob, code)
}

/// Both halves of an enrolment but for the sending of the second.
async fn begun(world: &World, code: &EnrolmentCode) -> (EnrolFinish, Authenticator) {
    let begin = EnrolBegin { secret: code.secret() };
    let begun = world.sign_in.enrol_begin(begin, &source(HOME)).await.unwrap();
    assert_eq!(begun.name, "bob");
    let authenticator = Authenticator::from_base32(&begun.totp_secret).unwrap();
    let finish = EnrolFinish {
        secret: code.secret(),
        password: secret("a password for bob"),
        totp_secret: begun.totp_secret,
        code: authenticator.code_at(world.mint.now_us()),
        csr: csr(),
        ssh_key: None,
        want_token: true,
    };
    (finish, authenticator)
}

#[tokio::test]
async fn enrolment_ends_signed_in_and_its_code_is_good_once() {
    let world = World::new().await;
    let (bob, code) = invite(&world);
    let (finish, authenticator) = begun(&world, &code).await;
    assert!(world.log.events().is_empty(), "beginning changes nothing");
    let answer = world.sign_in.enrol_finish(finish.clone(), &source(HOME)).await.unwrap();
    let kinds = ["config.change", "auth.enrolled", "credential.minted", "credential.minted"];
    assert_eq!(world.log.kinds(), kinds);
    let change = &world.log.events()[0];
    assert_eq!(change.text("/detail/change"), Some("person.enrol"));
    assert_eq!(change.actor, Some(ActorId::Person(bob)));
    assert_eq!(world.directory.0.lock().changes, [change.id]);
    let token = Credential::Token(answer.token.unwrap());
    let actor = world.identifier.identify(&token, &source(HOME)).await.unwrap();
    assert_eq!(actor.id, ActorId::Person(bob));

    let again = EnrolFinish { csr: csr(), ..finish };
    let refused = world.sign_in.enrol_finish(again, &source(HOME)).await.unwrap_err();
    assert_eq!(refused.error.code, "bad_enrolment");
    let begin = EnrolBegin { secret: code.secret() };
    let refused = world.sign_in.enrol_begin(begin, &source(HOME)).await.unwrap_err();
    assert_eq!(refused.error.code, "bad_enrolment");

    let login = |now_us| Login {
        name: "bob".into(),
        password: secret("a password for bob"),
        code: authenticator.code_at(now_us),
        csr: csr(),
        ssh_key: None,
        want_token: false,
    };
    let used = world.sign_in.login(login(NOW_US), &source(HOME)).await;
    assert!(used.is_err(), "the code shown at enrolment is spent");
    let next = login(NOW_US + 30_000_000);
    let answer = world.sign_in.login(next, &source(HOME)).await.unwrap();
    assert!(answer.token.is_none() && answer.certificate_pem.contains("CERTIFICATE"));
}

#[tokio::test]
async fn what_is_wrong_with_an_enrolment_is_told_and_its_code_stays_good() {
    let world = World::new().await;
    let (_, code) = invite(&world);
    let (finish, _) = begun(&world, &code).await;
    let try_it = async |change: fn(&mut EnrolFinish), expected: &str| {
        let mut request = finish.clone();
        change(&mut request);
        let refused = world.sign_in.enrol_finish(request, &source(HOME)).await.unwrap_err();
        assert_eq!(refused.error.code, expected);
    };
    try_it(|request| request.password = secret("too short"), "bad_password").await;
    try_it(|request| request.totp_secret = secret("AAAA"), "bad_totp_secret").await;
    try_it(|request| request.code = secret("12345"), "wrong_code").await;
    try_it(|request| request.csr = "-".into(), "bad_csr").await;
    assert!(world.log.events().is_empty());
    *world.log.refuse_append.lock() = Some(AppendError::Paused("disk full"));
    try_it(|_| (), "unrecordable").await;
    *world.log.refuse_append.lock() = None;
    assert!(world.directory.0.lock().verifiers.len() == 1, "alice alone");
    world.sign_in.enrol_finish(finish.clone(), &source(HOME)).await.unwrap();
}

#[tokio::test]
async fn of_two_who_use_one_code_at_once_one_wins_and_the_log_says_so() {
    let world = World::new().await;
    let (_, code) = invite(&world);
    let (one, _) = begun(&world, &code).await;
    let other = EnrolFinish { csr: csr(), password: secret("another password"), ..one.clone() };
    let home = source(HOME);
    let (one, other) = tokio::join!(
        world.sign_in.enrol_finish(one, &home),
        world.sign_in.enrol_finish(other, &home)
    );
    assert!(one.is_ok() != other.is_ok());
    let events = world.log.events();
    let changes: Vec<_> = events.iter().filter(|e| e.kind == "config.change").collect();
    assert_eq!(changes.len(), 2, "both were recorded before either happened");
    let undone = events.iter().find(|e| e.kind == "config.not_applied").unwrap();
    let of = undone.text("/detail/of").unwrap();
    let applied = world.directory.0.lock().changes[0].to_string();
    assert!(changes.iter().any(|e| e.id.to_string() == of) && of != applied);
}

#[tokio::test]
async fn an_unknown_expired_or_malformed_enrolment_code_is_refused_alike() {
    let world = World::new().await;
    let (bob, code) = invite(&world);
    let mut told = Vec::new();
    let mut try_it = async |secret: Secret| {
        told.push(
            world.sign_in.enrol_begin(EnrolBegin { secret }, &source(HOME)).await.unwrap_err(),
        );
    };
    try_it(secret("nonsense")).await;
    try_it(EnrolmentCode::new("a:1", [5; 32], [5; 32]).unwrap().secret()).await;
    world.clock.advance_s(3_600);
    try_it(code.secret()).await;
    world.clock.advance_s(-3_600);
    world.disable(ActorId::Person(bob));
    try_it(code.secret()).await;
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(last_failure(&world).0, "disabled");
}

#[tokio::test]
async fn a_service_signs_a_challenge_and_no_challenge_is_good_twice() {
    let world = World::new().await;
    let ask = ServiceChallenge { name: "robot".into() };
    let challenge = world.sign_in.service_challenge(&ask);
    let answer = world.answer(&challenge);
    let signed_in = world.sign_in.service_certify(answer.clone(), &source(HOME)).await.unwrap();
    assert_eq!(world.log.kinds(), ["auth.login", "credential.minted"]);
    assert_eq!(world.log.events()[0].text("/detail/method"), Some("key_challenge"));
    assert_eq!(signed_in.actor, ActorId::Service(world.robot).to_string());
    let leaf = pem::parse(signed_in.certificate_pem).unwrap().into_contents();
    let credential = Credential::ClientCertificate { chain: vec![leaf] };
    let actor = world.identifier.identify(&credential, &source(HOME)).await.unwrap();
    assert_eq!(actor.actor_type(), loggia_model::ActorType::Service);

    let mut told = Vec::new();
    let mut try_it = async |request: loggia_api::identity::ServiceCertify, reason: &str| {
        let from = source(&format!("10.4.0.{}", told.len()));
        told.push(world.sign_in.service_certify(request, &from).await.unwrap_err());
        assert_eq!(last_failure(&world), (reason.to_owned(), None));
    };
    let mut again = answer.clone();
    again.csr = csr();
    try_it(again, "code_used").await;
    let fresh = || world.answer(&world.sign_in.service_challenge(&ask));
    let mut wrong = fresh();
    wrong.signature = answer.signature.clone();
    try_it(wrong, "wrong_signature").await;
    let mut garbage = fresh();
    garbage.signature = "no base64".into();
    try_it(garbage, "wrong_signature").await;
    let mut unknown = fresh();
    unknown.name = "ghost".into();
    try_it(unknown, "unknown").await;
    let late = fresh();
    world.clock.advance_s(60);
    try_it(late, "wrong_challenge").await;
    world.disable(ActorId::Service(world.robot));
    try_it(fresh(), "disabled").await;
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(world.directory.0.lock().credentials.len(), 1);
}

#[tokio::test]
async fn a_person_is_no_service_and_a_service_has_no_password() {
    let world = World::new().await;
    let ask = ServiceChallenge { name: "alice".into() };
    let mut answer = world.answer(&world.sign_in.service_challenge(&ask));
    answer.name = "alice".into();
    world.sign_in.service_certify(answer, &source(HOME)).await.unwrap_err();
    assert_eq!(last_failure(&world).0, "unknown");
    let login = Login { name: "robot".into(), password: secret(PASSWORD), ..world.login() };
    world.sign_in.login(login, &source(HOME)).await.unwrap_err();
    assert_eq!(last_failure(&world).0, "unknown");
}

#[tokio::test]
async fn logout_ends_all_credentials_and_each_end_is_an_event() {
    let world = World::new().await;
    let first = world.sign_in.login(world.login(), &source(HOME)).await.unwrap();
    world.clock.advance_s(30);
    world.sign_in.login(world.login(), &source(HOME)).await.unwrap();
    let token = Credential::Token(first.token.unwrap());
    let actor = world.identifier.identify(&token, &source(HOME)).await.unwrap();
    let caller = Caller { actor, source: source(HOME) };

    *world.log.refuse_append.lock() = Some(AppendError::Paused("disk full"));
    assert_eq!(world.sign_in.logout(&caller).await.unwrap_err().code, "unrecordable");
    *world.log.refuse_append.lock() = None;
    assert!(
        world.identifier.identify(&token, &source(HOME)).await.is_ok(),
        "not recorded, not done"
    );
    assert!(world.ended.0.lock().is_empty());

    let before = world.log.events().len();
    assert_eq!(world.sign_in.logout(&caller).await.unwrap().revoked, 4);
    let ended = world.ended.0.lock().clone();
    assert_eq!(ended.len(), 4, "the sessions of each end");
    assert!(ended.contains(&caller.actor.credential.unwrap()));
    let kinds = &world.log.kinds()[before..];
    assert_eq!(kinds.iter().filter(|kind| *kind == "credential.revoked").count(), 4);
    assert_eq!(kinds.last().map(String::as_str), Some("auth.logout"));
    let refused = world.identifier.identify(&token, &source(HOME)).await.unwrap_err();
    assert_eq!(refused.code, "revoked");
}

#[tokio::test]
async fn the_operator_of_a_trial_can_have_a_token_without_a_login() {
    let world = World::new().await;
    let alice = world.directory.0.lock().identities[&ActorId::Person(world.alice)].clone();
    let minter = world.sign_in.minter();
    let wanted = Wanted { token: true, ..Wanted::default() };
    let issued = minter.issue(&alice, Authn::Local, None, &wanted, Vec::new()).await.unwrap();
    assert_eq!(world.log.kinds(), ["credential.minted"]);
    assert_eq!(world.log.events()[0].text("/actor/authn"), Some("local"));
    assert!(issued.certificate_pem.is_none());
    let token = Credential::Token(issued.token.unwrap());
    assert!(world.identifier.identify(&token, &source(HOME)).await.is_ok());
}
