//! SSH's three credentials: certificate, registered key, password with code.

use super::*;
use crate::testing::{FIRST_INDEX, PASSWORD, World, source, ssh_key};
use loggia_api::identity::Login;
use loggia_model::id::{ActorId, CredentialId, ServiceId};
use loggia_model::port::CredentialRecord;
use loggia_model::{Event, LeafHash};
use ssh_key::Certificate;

const HOME: &str = "10.0.0.1";

/// Alice's login with a fresh SSH key; gives its public line and its certificate.
async fn signed_in(world: &World) -> (String, Certificate) {
    let (_, public) = ssh_key();
    let login = Login { ssh_key: Some(public.clone()), ..world.login() };
    let answer = world.sign_in.login(login, &source(HOME)).await.unwrap();
    assert_eq!(answer.ssh_host_authority, world.ssh.host_authority());
    (public, Certificate::from_openssh(&answer.ssh_certificate.unwrap()).unwrap())
}

fn presented(certificate: &Certificate) -> Credential {
    Credential::SshCertificate { openssh: certificate.to_openssh().unwrap() }
}

async fn code(world: &World, credential: &Credential) -> &'static str {
    match world.identifier.identify(credential, &source(HOME)).await {
        Ok(_) => "accepted",
        Err(error) => {
            assert!(error.hint.is_some(), "{error}");
            error.code
        }
    }
}

#[tokio::test]
async fn a_login_gives_a_certificate_that_is_bound_to_its_entry_and_names_one() {
    let world = World::new().await;
    let (public, certificate) = signed_in(&world).await;
    let alice = ActorId::Person(world.alice);
    assert_eq!(
        world.log.kinds(),
        ["auth.login", "credential.minted", "credential.minted", "credential.minted"]
    );
    let leaf = world.log.leaves.lock()[2].0.clone();
    let minted = Event::parse(&leaf).unwrap();
    assert_eq!(minted.text("/detail/type"), Some("ssh"));
    let key = ssh_key::PublicKey::from_openssh(&public).unwrap();
    let fingerprint = key.fingerprint(ssh_key::HashAlg::Sha256).to_string();
    assert_eq!(minted.text("/detail/fingerprint"), Some(fingerprint.as_str()));
    let serial = format!("{:016x}", certificate.serial());
    assert_eq!(minted.text("/detail/serial"), Some(serial.as_str()));

    assert_eq!(certificate.public_key(), key.key_data());
    assert_eq!(certificate.valid_principals(), [alice.to_string()]);
    let id = minted.text("/detail/credential").unwrap();
    assert_eq!(certificate.key_id(), format!("loggia:{alice}:{id}"));
    assert_eq!(certificate.valid_before() - certificate.valid_after(), 8 * 3_600 + 60);
    let binding =
        format!("{}:{}:{}", world.log_origin(), FIRST_INDEX + 2, LeafHash::of(&leaf).to_hex());
    assert_eq!(certificate.extensions().get("log-binding-v1@loggia.internal"), Some(&binding));
    for permitted in ["permit-pty", "permit-port-forwarding", "permit-agent-forwarding"] {
        assert!(certificate.extensions().contains_key(permitted), "{permitted}");
    }

    let actor = world.identifier.identify(&presented(&certificate), &source(HOME)).await.unwrap();
    assert_eq!((actor.id, actor.authn), (alice, Authn::SshCertificate));
    assert_eq!(actor.expires_us, Some(world.mint.now_us() + 8 * 3_600 * 1_000_000));
    assert_eq!(actor.credential.map(|id| id.to_string()).as_deref(), Some(id));
}

#[tokio::test]
async fn only_a_fresh_ed25519_key_gets_a_certificate() {
    let world = World::new().await;
    let (public, _) = signed_in(&world).await;
    world.clock.advance_s(30);
    let before = world.log.events().len();
    let try_it = async |line: &str, expected: &str| {
        let login = Login { ssh_key: Some(line.to_owned()), ..world.login() };
        let refused = world.sign_in.login(login, &source(HOME)).await.unwrap_err();
        assert_eq!(refused.error.code, expected, "{line}");
    };
    try_it(&public, "key_reused").await;
    try_it("", "bad_ssh_key").await;
    try_it("ssh-ed25519 AAAA", "bad_ssh_key").await;
    let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjsNkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc=";
    try_it(ecdsa, "bad_ssh_key").await;
    // A key that is registered for somebody is not fresh either.
    let (_, registered) = ssh_key();
    let digest = SshPublicKey::parse(&registered).unwrap().digest().to_owned();
    world.directory.0.lock().ssh_keys.insert(digest, ActorId::Service(world.robot));
    try_it(&registered, "key_reused").await;
    assert_eq!(world.log.events().len(), before, "and nothing was recorded or spent");
    let (_, fresh) = ssh_key();
    let login = Login { ssh_key: Some(fresh), ..world.login() };
    assert!(world.sign_in.login(login, &source(HOME)).await.is_ok());
}

#[tokio::test]
async fn a_certificate_ends_with_its_time_its_revocation_and_its_holder() {
    let world = World::new().await;
    let (_, certificate) = signed_in(&world).await;
    let credential = presented(&certificate);
    world.clock.advance_s(8 * 3_600 - 1);
    assert_eq!(code(&world, &credential).await, "accepted");
    world.clock.advance_s(1);
    assert_eq!(code(&world, &credential).await, "expired");
    world.clock.advance_s(-60);
    world.disable(ActorId::Person(world.alice));
    assert_eq!(code(&world, &credential).await, "disabled");
    world.directory.revoke_credentials(ActorId::Person(world.alice)).await.unwrap();
    assert_eq!(code(&world, &credential).await, "revoked");
    world.directory.0.lock().down = true;
    assert_eq!(code(&world, &credential).await, "state");
}

#[tokio::test]
async fn a_certificate_by_our_authority_that_is_not_the_one_on_record_is_unknown() {
    let world = World::new().await;
    let (public, good) = signed_in(&world).await;
    let path = world.folder.path().join("ssh-user-ca.key");
    let authority = ssh_key::PrivateKey::read_openssh_file(&path).unwrap();
    let forge = |key: &str, principal: String, index: u64| {
        let key = ssh_key::PublicKey::from_openssh(key).unwrap();
        let (from, until) = (good.valid_after(), good.valid_before());
        let mut builder = ssh_key::certificate::Builder::new([1; 32], key, from, until).unwrap();
        builder.valid_principal(principal).unwrap();
        let binding = format!("o:{index}:{}", "0".repeat(64));
        builder.extension("log-binding-v1@loggia.internal", binding).unwrap();
        presented(&builder.sign(&authority).unwrap())
    };
    let alice = ActorId::Person(world.alice).to_string();
    let index = FIRST_INDEX + 2;
    let (_, never_minted) = ssh_key();
    let same = forge(&public, alice.clone(), index);
    assert_eq!(code(&world, &same).await, "accepted", "so what follows is refused for its reason");
    assert_eq!(
        code(&world, &forge(&never_minted, alice.clone(), index)).await,
        "unknown_credential"
    );
    assert_eq!(code(&world, &forge(&public, alice.clone(), index + 1)).await, "unknown_credential");
    let robot = ActorId::Service(world.robot).to_string();
    assert_eq!(code(&world, &forge(&public, robot, index)).await, "unknown_credential");
    let nobody = ActorId::Service(ServiceId::from_parts(9, [9; 10]));
    let record = CredentialRecord {
        id: CredentialId::from_parts(1, [1; 10]),
        actor: nobody,
        digest: SshPublicKey::parse(&never_minted).unwrap().digest().to_owned(),
        authn: "key_challenge",
        expires_us: i64::MAX,
        revoked: false,
        log_index: 7,
    };
    world.directory.add_credential(record).await.unwrap();
    let gone = forge(&never_minted, nobody.to_string(), 7);
    assert_eq!(code(&world, &gone).await, "unknown_credential");
}

#[tokio::test]
async fn the_bare_key_of_a_certificate_is_no_credential() {
    let world = World::new().await;
    let (public, _) = signed_in(&world).await;
    assert_eq!(code(&world, &Credential::SshKey { openssh: public }).await, "unknown_credential");
    let line = Credential::SshKey { openssh: "ssh-ed25519 AAAA".into() };
    assert_eq!(code(&world, &line).await, "bad_credential");
}

#[tokio::test]
async fn a_registered_key_names_its_holder_and_has_no_end_of_its_own() {
    let world = World::new().await;
    let (_, public) = ssh_key();
    let credential = Credential::SshKey { openssh: public.clone() };
    assert_eq!(code(&world, &credential).await, "unknown_credential");
    let digest = SshPublicKey::parse(&public).unwrap().digest().to_owned();
    let robot = ActorId::Service(world.robot);
    world.directory.0.lock().ssh_keys.insert(digest, robot);
    let commented = Credential::SshKey { openssh: format!("{public} robot@ci") };
    let actor = world.identifier.identify(&commented, &source(HOME)).await.unwrap();
    assert_eq!((actor.id, actor.authn), (robot, Authn::SshKey));
    assert_eq!((actor.credential, actor.expires_us), (None, None));
    world.disable(robot);
    assert_eq!(code(&world, &credential).await, "disabled");
}

#[tokio::test]
async fn password_and_code_let_in_once_with_an_event_and_without_a_credential() {
    let world = World::new().await;
    let typed = |code: Secret| Credential::PasswordTotp {
        name: "alice".into(),
        password: Secret::new(PASSWORD.into()),
        code,
    };
    let now = typed(world.authenticator.code_at(world.mint.now_us()));
    let actor = world.identifier.identify(&now, &source(HOME)).await.unwrap();
    assert_eq!((actor.id, actor.authn), (ActorId::Person(world.alice), Authn::PasswordTotp));
    assert_eq!(actor.expires_us, Some(world.mint.now_us() + 8 * 3_600 * 1_000_000));
    assert_eq!(actor.credential, None);
    assert_eq!(world.log.kinds(), ["auth.login"]);
    assert!(world.directory.0.lock().credentials.is_empty());

    assert_eq!(code(&world, &now).await, "wrong_login");
    let events = world.log.events();
    assert_eq!(events.last().unwrap().text("/detail/reason"), Some("code_used"));
    for _ in 0..20 {
        let _ = code(&world, &typed(Secret::new("000000".into()))).await;
    }
    assert_eq!(code(&world, &now).await, "throttled");
    world.clock.advance_s(3_600);
    let next = typed(world.authenticator.code_at(world.mint.now_us()));
    *world.log.refuse_append.lock() = Some(loggia_model::port::AppendError::Paused("full"));
    assert_eq!(code(&world, &next).await, "unrecordable");
}
