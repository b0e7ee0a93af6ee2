//! Changes: their order, what failures leave behind, and what a declaration does.

use super::*;
use crate::hold::HoldScope;
use crate::{ControlError, LockTarget, NewLock};
use loggia_model::PublicError;
use loggia_model::decision::{Action, Ask, Effect};
use loggia_model::port::{CredentialRecord, Decide, Directory, Resolve};
use std::os::unix::fs::PermissionsExt;

const SHOP: &str = r#"
[[resource]]
name = "shop"
protocol = "postgres"
address = "db.internal:5432"
labels = { env = "prod", team = "web" }
[[resource.account]]
name = "app"
password = "env:SHOP_PASSWORD"
[[resource.account]]
name = "readonly"

[[group]]
name = "staff"
members = ["alice"]
[[person]]
name = "alice"
"#;

const MAY_CONNECT: &str = "@id(\"staff\") permit(principal in Loggia::Group::\"staff\", \
    action == Loggia::Action::\"connect\", resource == Loggia::Resource::\"shop\");";

fn connects(house: &House, actor: &Actor) -> Effect {
    let shop = house.control.resource("shop");
    let ask = Ask {
        actor,
        action: Action::Connect,
        resource: shop.as_deref(),
        account: None,
        database: None,
        source_ip: [127, 0, 0, 1].into(),
        time_us: NOW_US,
    };
    house.control.decide(&ask).effect
}

#[tokio::test]
async fn a_new_database_is_its_owners_alone_and_opens_again() {
    let house = House::new().await;
    house.person("alice", false).await;
    for name in ["control.db", "control.db-wal", "control.db-shm"] {
        let mode = std::fs::metadata(house.folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let house = house.reopened().await;
    assert_eq!(house.control.people()[0].name, "alice");
    house.control.ping().await.unwrap();
}

#[tokio::test]
async fn every_change_is_an_event_first_and_its_id_is_kept() {
    let house = House::new().await;
    let alice = house.control.add_person(new_person("alice", true), signed_in()).await.unwrap();
    let event = house.ledger.events().pop().unwrap();
    assert_eq!(event.text("/detail/change"), Some("person.add"));
    assert_eq!(event.text("/detail/object"), Some(alice.id.to_string().as_str()));
    assert_eq!(event.whole.at("/detail/attested"), Some(&Value::Bool(true)));
    assert_eq!(event.text("/actor/authn"), Some("client_certificate"));
    assert_eq!(house.ledger.last_open("/detail/name"), Some(Value::from("alice")));
    assert_eq!(house.ledger.last_open("/source/ip"), Some(Value::from("10.1.2.3")));
    assert_eq!(house.ledger.last_open("/actor/name"), Some(Value::from("ada")));

    let node = loggia_model::id::NodeId::from_parts(1, [2; 10]);
    let by = ChangeBy::local_root(node);
    house.control.add_person(new_person("bob", false), by).await.unwrap();
    let local = house.ledger.events().pop().unwrap();
    assert_eq!(local.actor, Some(ActorId::Node(node)));
    assert_eq!(local.text("/actor/authn"), Some("local"));
    assert_eq!(local.whole.at("/detail/attested"), Some(&Value::Bool(false)));
    assert_eq!(house.ledger.last_open("/actor/name"), Some(Value::from("local-root")));

    let unknown = loggia_model::id::EventId::from_parts(5, [5; 10]);
    let missing = house.control.unapplied(&[event.id, unknown]).await.unwrap();
    assert_eq!(missing, [unknown]);
}

#[tokio::test]
async fn what_cannot_be_recorded_does_not_happen() {
    let house = House::new().await;
    let before = house.control.generation();
    for mood in [Mood::RefusesAppend, Mood::LosesBeforeDisk] {
        *house.ledger.mood.lock() = mood;
        let failed = house.control.add_person(new_person("alice", false), root()).await;
        assert!(matches!(failed, Err(ControlError::NotRecorded(_))), "{failed:?}");
    }
    *house.ledger.mood.lock() = Mood::Takes;
    assert_eq!((house.control.people().len(), house.control.generation()), (0, before));
    let lost = house.ledger.events().pop().unwrap().id;
    let house = house.reopened().await;
    assert_eq!(house.control.people(), []);
    assert_eq!(house.control.unapplied(&[lost]).await.unwrap(), [lost]);
}

#[tokio::test]
async fn a_paused_ledger_is_waited_for() {
    let house = House::new().await;
    *house.ledger.mood.lock() = Mood::Paused;
    house.person("alice", false).await;
    assert_eq!(house.ledger.changes(), ["person.add alice"]);
}

#[tokio::test]
async fn a_transaction_that_fails_after_the_event_is_an_error_and_leaves_nothing() {
    let house = House::new().await;
    // Another process broke the table: the event is written, the change cannot be.
    sqlx::query("drop table enrolments").execute(&house.control.inner.pool).await.unwrap();
    let failed = house.control.add_person(new_person("alice", false), root()).await.unwrap_err();
    assert!(matches!(failed, ControlError::NotApplied(_)), "{failed:?}");
    assert_eq!(PublicError::from(failed).code, "state");
    let event = house.ledger.events().pop().unwrap().id;
    assert_eq!(house.control.people(), []);
    assert_eq!(house.control.unapplied(&[event]).await.unwrap(), [event]);
    let names = sqlx::query("select * from names").fetch_all(&house.control.inner.pool).await;
    assert_eq!(names.unwrap().len(), 0);
}

#[tokio::test]
async fn a_caller_who_goes_away_does_not_leave_a_change_hanging() {
    let house = House::new().await;
    let add = house.control.add_person(new_person("alice", false), root());
    // Polled once, then dropped: as a client that closes its connection.
    let _ = tokio::time::timeout(Duration::ZERO, add).await;
    for _ in 0..200 {
        if !house.control.people().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the change did not come to its end");
}

#[tokio::test]
async fn names_are_given_once_and_a_new_code_only_before_enrolment() {
    let house = House::new().await;
    house.person("alice", false).await;
    let taken = house.control.add_service("alice", PUBLIC_KEY, false, root()).await.unwrap_err();
    assert_eq!(PublicError::from(taken).code, "conflict");
    let bad = house.control.add_service("Al ice", PUBLIC_KEY, false, root()).await.unwrap_err();
    assert_eq!(PublicError::from(bad).code, "invalid");
    house.control.add_service("ci", PUBLIC_KEY, false, root()).await.unwrap();
    assert!(house.control.add_person(new_person("ci", false), root()).await.is_err());

    let again = NewPerson { code_digest: "new".into(), ..new_person("alice", false) };
    house.control.add_person(again.clone(), root()).await.unwrap();
    assert_eq!(house.control.enrolment("code-of-alice", NOW_US).await.unwrap(), None);
    assert!(house.control.enrolment("new", NOW_US).await.unwrap().is_some());
    let admin = NewPerson { admin: true, ..again };
    assert!(house.control.add_person(admin, root()).await.is_err(), "no rights by the way");
    let groups = vec!["nobodies".into()];
    let bob = NewPerson { groups, ..new_person("bob", false) };
    let error = PublicError::from(house.control.add_person(bob, root()).await.unwrap_err());
    assert_eq!((error.code, error.message.contains("nobodies")), ("not_found", true));
}

#[tokio::test]
async fn a_service_account_needs_a_public_key_and_never_shows_a_private_one() {
    let house = House::new().await;
    let private = PUBLIC_KEY.replace("PUBLIC", "PRIVATE");
    for bad in ["", "hello", &private, &PUBLIC_KEY.replace("PUBLIC KEY", "CERTIFICATE")] {
        let error = house.control.add_service("ci", bad, false, root()).await.unwrap_err();
        assert_eq!(PublicError::from(error).code, "invalid", "{bad}");
    }
    assert_eq!(house.ledger.changes(), [""; 0]);
}

#[tokio::test]
async fn disabling_ends_credentials_and_rights_but_never_the_last_administrator() {
    let house = House::new().await;
    house.apply(&[("a.toml", SHOP), ("a.cedar", MAY_CONNECT)]).await;
    let alice = house.actor("alice");
    assert_eq!(connects(&house, &alice), Effect::Allow);
    let record = CredentialRecord {
        id: loggia_model::id::CredentialId::from_parts(1, [4; 10]),
        actor: alice.id,
        digest: "d".into(),
        authn: "token",
        expires_us: NOW_US + 1,
        revoked: false,
        log_index: 7,
    };
    house.control.add_credential(record.clone()).await.unwrap();
    let why = Some("left the company".to_owned());
    let disabled = house.control.disable_person("alice", why, root()).await.unwrap();
    assert_eq!((disabled.id, disabled.credentials), (alice.id, vec![record.id]));
    let codes: Vec<String> = house.ledger.events().iter().map(|it| it.kind.clone()).collect();
    assert_eq!(codes[codes.len() - 2..], ["config.change", "credential.revoked"]);
    assert!(house.control.credential("d").await.unwrap().unwrap().revoked);
    assert_eq!(connects(&house, &alice), Effect::Deny, "although the session still has her groups");
    assert!(house.control.add_credential(record).await.is_err(), "no credential any more");
    assert!(house.control.disable_person("alice", None, root()).await.is_err());
    let unknown = house.control.disable_person("alise", None, root()).await.unwrap_err();
    assert_eq!(PublicError::from(unknown).hint.as_deref(), Some("did you mean `alice`?"));

    house.person("ada", true).await;
    let last = house.control.disable_person("ada", None, root()).await.unwrap_err();
    assert!(last.to_string().contains("only administrator"));
}

fn new_lock(target: LockTarget, reason: &str, duration_s: Option<u64>) -> NewLock {
    NewLock { target, reason: reason.into(), duration_s, administrators: false }
}

#[tokio::test]
async fn legal_holds_outlive_a_restart_and_are_on_record_with_their_reasons() {
    let house = House::new().await;
    house.apply(&[("a.toml", SHOP), ("a.cedar", MAY_CONNECT)]).await;
    let alice = house.actor("alice");
    let scope = HoldScope {
        identity: Some(house.control.subject("alice").unwrap().0),
        resource: Some("shop".into()),
        from_us: Some(1),
        to_us: Some(2),
        ..HoldScope::default()
    };
    let add = |scope: HoldScope, reason: &str| {
        house.control.add_hold(scope, reason.to_owned(), signed_in())
    };
    let hold = add(scope.clone(), "case 4711").await.unwrap();
    assert_eq!((hold.scope.identity, hold.created_by.as_deref()), (Some(alice.id), Some("ada")));
    for (wrong, reason) in [
        (HoldScope::default(), "r"),
        (scope.clone(), " "),
        (HoldScope { from_us: Some(3), ..scope.clone() }, "r"),
        (HoldScope { resource: Some("shops".into()), ..scope.clone() }, "r"),
    ] {
        assert!(add(wrong.clone(), reason).await.is_err(), "{wrong:?}");
    }
    let known = house.control.subject(&alice.id.to_string()).unwrap();
    assert_eq!(known.1.map(|identity| identity.name).as_deref(), Some("alice"));
    assert!(house.control.subject("alise").is_err());

    let house = house.reopened().await;
    assert_eq!(house.control.holds(), std::slice::from_ref(&hold));
    let standing = house.control.standing_holds().await;
    assert_eq!(standing.holds, std::slice::from_ref(&hold));
    drop(standing);
    assert!(house.control.remove_hold(hold.id, String::new(), root()).await.is_err());
    house.control.remove_hold(hold.id, "closed".into(), root()).await.unwrap();
    assert_eq!(house.control.holds(), []);
    assert!(house.control.remove_hold(hold.id, "closed".into(), root()).await.is_err());
}

#[tokio::test]
async fn locks_hold_until_they_end_or_are_removed() {
    let house = House::new().await;
    house.apply(&[("a.toml", SHOP), ("a.cedar", MAY_CONNECT)]).await;
    let alice = house.actor("alice");
    let shop = house.control.resource("shop");
    let locked = |house: &House| house.control.lock(&alice, shop.as_deref()).map(|it| it.reason);
    assert_eq!(locked(&house), None);

    let before = house.control.generation();
    let target = LockTarget::Group("staff".into());
    house.control.add_lock(new_lock(target, "drill", Some(60)), signed_in()).await.unwrap();
    assert!(house.control.generation() > before);
    assert_eq!(locked(&house).as_deref(), Some("drill"));
    assert_eq!(house.control.locks()[0].created_by.as_deref(), Some("ada"));
    house.later(60_000_000);
    assert_eq!(locked(&house), None, "a lock ends by the clock alone");
    assert_eq!(house.control.locks(), []);

    let target = LockTarget::Resource("shop".into());
    let lock = house.control.add_lock(new_lock(target, "upgrade", None), root()).await.unwrap();
    let house = house.reopened().await;
    assert_eq!(locked(&house).as_deref(), Some("upgrade"), "a lock outlives a restart");
    house.control.remove_lock(lock.id, root()).await.unwrap();
    assert_eq!(locked(&house), None);
    assert!(house.control.remove_lock(lock.id, root()).await.is_err());
    for (target, reason, duration_s) in [
        (LockTarget::Group("stuff".into()), "r", None),
        (LockTarget::Resource("shops".into()), "r", None),
        (LockTarget::All, " ", None),
        (LockTarget::All, "r", Some(0)),
        (LockTarget::All, "r", Some(u64::MAX)),
    ] {
        let refused = house.control.add_lock(new_lock(target, reason, duration_s), root()).await;
        assert!(refused.is_err(), "{refused:?}");
    }
}

#[tokio::test]
async fn a_declaration_is_planned_applied_and_then_changes_nothing() {
    let house = House::new().await;
    let files = [("a.toml", SHOP), ("a.cedar", MAY_CONNECT)];
    let plan = house.control.plan(&declaration(&files), &root()).unwrap();
    let words: Vec<String> =
        plan.changes.iter().map(|it| format!("{} {}", it.change, it.name)).collect();
    let expected =
        ["person.add alice", "group.put staff", "resource.put shop", "policy.put a.cedar"];
    assert_eq!(words, expected);
    assert_eq!(house.ledger.changes(), [""; 0], "a plan changes nothing");

    let codes = house.codes.clone();
    let expected_digest = Some(plan.digest.clone());
    let by = signed_in();
    let applied =
        house.control.apply(declaration(&files), by, expected_digest, codes).await.unwrap();
    assert_eq!(applied.plan, plan);
    assert_eq!(applied.enrolments.len(), 1);
    assert_eq!(applied.enrolments[0].1.reveal(), "code-0");
    assert!(house.control.enrolment("digest-0", NOW_US).await.unwrap().is_some());
    assert_eq!(house.ledger.changes(), expected);
    let digest = declaration(&files).digest().to_owned();
    assert_eq!(house.ledger.events()[0].text("/detail/digest"), Some(digest.as_str()));

    let resource = house.control.resource("shop").unwrap();
    assert_eq!((resource.host.as_str(), resource.port), ("db.internal", 5432));
    assert_eq!(resource.accounts[0].password.as_ref().unwrap().to_string(), "env:SHOP_PASSWORD");
    assert_eq!(resource.labels.len(), 2);
    let house = house.reopened().await;
    assert_eq!(house.control.resource("shop").unwrap(), resource);
    assert_eq!(connects(&house, &house.actor("alice")), Effect::Allow);
    let generation = house.control.generation();
    assert_eq!(house.apply(&files).await.plan.changes, []);
    assert_eq!(house.control.generation(), generation);
}

#[tokio::test]
async fn what_is_not_declared_stays_unless_pruned_and_a_resource_keeps_its_id() {
    let house = House::new().await;
    house.apply(&[("a.toml", SHOP), ("a.cedar", MAY_CONNECT)]).await;
    let id = house.control.resource("shop").unwrap().id;
    let moved = SHOP.replace("db.internal:5432", "[::1]:6432");
    let moved = moved.replace("members = [\"alice\"]", "members = []");
    house.apply(&[("a.toml", &moved)]).await;
    let shop = house.control.resource("shop").unwrap();
    assert_eq!((shop.id, shop.host.as_str(), shop.port), (id, "::1", 6432));
    assert_eq!(house.control.now().policy_files.len(), 1, "the policy stays");
    assert_eq!(house.actor("alice").groups, [""; 0]);

    let nothing = house.control.plan(&declaration(&[("a.toml", "")]), &root()).unwrap();
    assert_eq!(nothing.changes, []);
    assert_eq!(nothing.notes.len(), 3, "{:?}", nothing.notes);
    let applied = house.apply(&[("a.toml", "prune = true")]).await;
    let words: Vec<&str> = applied.plan.changes.iter().map(|it| it.change).collect();
    assert_eq!(words, ["group.remove", "resource.remove", "policy.remove"]);
    assert!(house.control.resource("shop").is_none());
    assert_eq!(house.control.people().len(), 1, "people are never removed by a declaration");
}

#[tokio::test]
async fn a_plan_that_is_another_by_now_is_not_applied() {
    let house = House::new().await;
    let files = [("a.toml", SHOP)];
    let plan = house.control.plan(&declaration(&files), &root()).unwrap();
    house.person("alice", false).await;
    let codes = house.codes.clone();
    let digest = Some(plan.digest);
    let refused =
        house.control.apply(declaration(&files), root(), digest, codes).await.unwrap_err();
    assert_eq!(PublicError::from(refused).code, "conflict");
    assert!(house.control.resource("shop").is_none());
}

#[tokio::test]
async fn a_declaration_that_does_not_fit_says_where() {
    let house = House::new().await;
    house.control.add_service("ci", PUBLIC_KEY, false, root()).await.unwrap();
    let text = "[[group]]\nname = \"staff\"\nmembers = [\"bob\", \"cii\"]\n\
                [[person]]\nname = \"ci\"\n[[person]]\nname = \"bob\"\ngroups = [\"stuff\"]\n";
    let refused = house.control.plan(&declaration(&[("a.toml", text)]), &root()).unwrap_err();
    let detail = PublicError::from(refused).detail.unwrap();
    let lines: Vec<&str> = detail.lines().collect();
    assert_eq!(
        lines,
        [
            "a.toml:3:19: there is no person or service named `cii` (did you mean `ci`?)",
            "a.toml:5:8: the name `ci` is that of a service account already (choose another)",
            "a.toml:8:11: there is no group named `stuff` (did you mean `staff`?)",
        ]
    );
    let policies = declaration(&[("p.cedar", "permit(principal, action, resourc);")]);
    let refused = PublicError::from(house.control.plan(&policies, &root()).unwrap_err());
    assert!(refused.detail.unwrap().starts_with("p.cedar:1:"));
}

#[tokio::test]
async fn a_plan_warns_whoever_would_lock_themselves_out() {
    let house = House::new().await;
    let forbid = "forbid(principal, action == Loggia::Action::\"config.apply\", resource);";
    let plan = house.control.plan(&declaration(&[("p.cedar", forbid)]), &signed_in()).unwrap();
    assert_eq!(plan.notes, ["after this, ada may not apply declarations"]);
}

#[tokio::test]
async fn stored_policies_that_do_not_compile_deny_everything_until_they_are_mended() {
    let house = House::new().await;
    house.apply(&[("a.toml", SHOP), ("a.cedar", MAY_CONNECT)]).await;
    sqlx::query("update policies set text = 'permit('")
        .execute(&house.control.inner.pool)
        .await
        .unwrap();
    let house = house.reopened().await;
    assert!(house.control.policy_errors().is_some());
    assert_eq!(connects(&house, &house.actor("alice")), Effect::Deny);
    house.apply(&[("a.cedar", MAY_CONNECT)]).await;
    assert!(house.control.policy_errors().is_none());
    assert_eq!(connects(&house, &house.actor("alice")), Effect::Allow);
}

#[tokio::test]
async fn somebody_unknown_is_denied_whatever_they_claim() {
    let house = House::new().await;
    house.apply(&[("a.toml", SHOP), ("a.cedar", MAY_CONNECT)]).await;
    let stranger = Actor {
        id: ActorId::Person(PersonId::from_parts(1, [1; 10])),
        groups: vec!["staff".into()],
        admin: true,
        ..house.actor("alice")
    };
    assert_eq!(connects(&house, &stranger), Effect::Deny);
}

#[tokio::test]
async fn a_host_is_planned_kept_and_read_back_as_it_was_declared() {
    use crate::keys::tests::{ED25519, OTHER};
    let declared = |key: &str| {
        format!(
            "[[resource]]\nname = \"web-1\"\nprotocol = \"ssh\"\naddress = \"web-1\"\n\
             host_keys = [\"{key}\"]\n[[resource.account]]\nname = \"deploy\"\ncertificate = true\n\
             [[resource.account]]\nname = \"root\"\nkey = \"file:secrets/root\"\n"
        )
    };
    let house = House::new().await;
    let applied = house.apply(&[("a.toml", &declared(ED25519))]).await;
    let after = applied.plan.changes[0].after.clone().unwrap();
    let shown = String::from_utf8(after.to_bytes()).unwrap();
    assert_eq!(
        shown,
        format!(
            "{{\"accounts\":[[\"deploy\",\"certificate\"],[\"root\",\"key file:secrets/root\"]],\
             \"address\":\"web-1:22\",\"depth\":\"disk\",\"host_keys\":[\"{ED25519}\"],\"labels\":[],\
             \"protocol\":\"ssh\"}}"
        )
    );
    let house = house.reopened().await;
    let again = house.control.plan(&declaration(&[("a.toml", &declared(ED25519))]), &root());
    assert!(again.unwrap().changes.is_empty(), "what is kept is what was declared");
    house.apply(&[("a.toml", &declared(OTHER))]).await;
    let web = house.control.resource("web-1").unwrap();
    assert_eq!(web.host_keys, [OTHER]);
    assert!(web.accounts[0].certificate && web.accounts[1].key.is_some());
}

/// A database as the release before SSH left it, with something in it.
#[tokio::test]
async fn a_database_from_before_ssh_opens_and_takes_hosts() {
    use sqlx::Connection;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut db = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let begin = include_str!("../../migrations/0001_begin.sql");
    let first = sqlx::migrate::Migration::new(
        1,
        "begin".into(),
        sqlx::migrate::MigrationType::Simple,
        sqlx::SqlSafeStr::into_sql_str(begin),
        false,
    );
    sqlx::migrate::Migrator::with_migrations(vec![first]).run(&mut db).await.unwrap();
    sqlx::query(
        "insert into resources (id, name, protocol, host, port, tls, depth) values \
         ('re_01h455vb4pex5vsknk084sn02q', 'shop', 'postgres', 'db', 5432, 'off', 'disk')",
    )
    .execute(&mut db)
    .await
    .unwrap();
    sqlx::query("insert into accounts (resource, place, name) values ('re_01h455vb4pex5vsknk084sn02q', 0, 'app')")
        .execute(&mut db)
        .await
        .unwrap();
    db.close().await.unwrap();
    let house = House::new().await;
    let control = Control::open(&path, house.mint.clone(), house.ledger.clone()).await.unwrap();
    let shop = control.resource("shop").unwrap();
    assert_eq!((shop.accounts[0].name.as_str(), shop.accounts[0].certificate), ("app", false));
    assert!(shop.host_keys.is_empty());
}
