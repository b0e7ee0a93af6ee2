//! Whoever is not let through is told why in the protocol's own words, with what helps, and an
//! event says so.

use super::*;
use loggia_testkit::{Target, free_port};

const POLICIES: &str = r#"
@id("alice.anything")
permit (principal, action in [Loggia::Action::"connect", Loggia::Action::"sql.execute"], resource)
when { principal.name == "alice" };
"#;

/// What psql is told, with SQLSTATE.
fn refused(
    gateway: &GatewayUnderTest,
    change: &[(&str, &str)],
    person: &str,
    resource: &str,
) -> String {
    let mut command = psql(gateway, person, resource);
    for (name, value) in change {
        command.env(name, value);
    }
    let output = command.args(["-v", "VERBOSITY=verbose", "-c", "select 1"]).output().unwrap();
    assert!(!output.status.success(), "let through: {change:?} {person} {resource}");
    stderr(&output)
}

fn says(told: &str, parts: &[&str]) {
    for part in parts {
        assert!(told.contains(part), "`{part}` is missing in: {told}");
    }
}

#[test]
fn everybody_who_is_refused_is_told_why_and_it_is_on_record() {
    let mut options = options();
    options.policies = Some(POLICIES.to_owned());
    let mut down = Target::over(target(), "down", "disk");
    down.address = format!("127.0.0.1:{}", free_port().unwrap());
    let mut wrong_ca = Target::over(target(), "wrong-ca", "disk");
    // The gateway's own authority did not sign the target's certificate.
    let other = Postgres::start(PostgresOptions::default()).unwrap();
    wrong_ca.ca_file = Some(other.ca_pem_path.clone());
    let mut wrong_password = Target::over(target(), "wrong-password", "disk");
    wrong_password.accounts[0].1 = "not the password".to_owned();
    options.targets.extend([down, wrong_ca, wrong_password]);
    let gateway = GatewayUnderTest::start(options).unwrap();

    let told = refused(&gateway, &[("PGPASSWORD", "wrong")], "alice", "disk");
    says(&told, &["FATAL", "loggia login"]);
    let told = refused(&gateway, &[("PGSSLMODE", "disable")], "alice", "disk");
    says(&told, &["sslmode=require"]);
    let told = refused(&gateway, &[], "alice", "nowhere");
    says(&told, &["there is no resource `nowhere`", "loggia resource ls"]);
    let told = refused(&gateway, &[], "alice", "nobody~disk");
    says(&told, &["no account `nobody`", "loggia resource ls"]);
    let told = refused(&gateway, &[], "bob", "disk");
    says(&told, &["bob may not connect to `disk`", "ask an administrator"]);
    let told = refused(&gateway, &[], "bob", "alice+disk");
    says(&told, &["another person"]);
    let told = refused(&gateway, &[], "alice", "down");
    says(&told, &["down", "loggia doctor"]);
    refused(&gateway, &[], "alice", "wrong-ca");
    refused(&gateway, &[], "alice", "wrong-password");

    for (kind, reason) in [
        ("stranger.refused", "bad_credential"),
        ("stranger.refused", "no_tls"),
        ("session.refused", "unknown_resource"),
        ("session.refused", "unknown_account"),
        ("session.refused", "denied"),
        ("session.refused", "wrong_person"),
        ("session.end", "target_down"),
        ("session.end", "target_tls"),
        ("session.end", "target_auth"),
    ] {
        let found = count(&gateway, kind, "/detail/reason", reason);
        assert!(found >= 1, "no {kind} with {reason} in {:?}", reasons(&gateway));
    }
    let verified = gateway.verify(&[]).unwrap();
    assert_eq!(verified.exit_code, Some(0), "{}", verified.text);
}

fn reasons(gateway: &GatewayUnderTest) -> Vec<(String, Option<String>)> {
    let events = gateway.events().unwrap();
    let reason = |event: &loggia_testkit::gateway::RecordedEvent| {
        (event.kind().to_owned(), event.text("/detail/reason").map(str::to_owned))
    };
    events.iter().map(reason).collect()
}

#[test]
fn wrong_passwords_and_unknown_people_cannot_be_told_apart_and_are_on_record() {
    let gateway = gateway();
    let (password, totp) = gateway.login_files("alice");
    let wrong = gateway.folder().join("wrong-password");
    std::fs::write(&wrong, "not the right password").unwrap();
    let login = |name: &str, password: &std::path::Path| {
        let (password, totp) = (password.display().to_string(), totp.display().to_string());
        let output = gateway
            .run(
                Some("alice"),
                &["login", name, "--password-file", &password, "--totp-file", &totp],
            )
            .unwrap();
        assert!(!output.status.success());
        stderr(&output)
    };
    let told = login("alice", &wrong);
    says(&told, &["name, password or code is wrong"]);
    assert_eq!(told, login("mallory", &password));
    assert_eq!(count(&gateway, "auth.login_failed", "/detail/reason", "wrong_password"), 1);
    assert_eq!(count(&gateway, "auth.login_failed", "/detail/reason", "unknown"), 1);
    assert_eq!(count(&gateway, "auth.login_failed", "/detail/claimed", "mallory"), 1);
}

#[test]
fn when_a_credential_expires_its_sessions_end_and_new_ones_are_refused() {
    let gateway =
        GatewayUnderTest::start(options().setting("identity", "credential_minutes = 1")).unwrap();
    let mut command = psql(&gateway, "alice", "disk");
    let running = command
        .args(["-c", "select pg_sleep(120)"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = running.wait_with_output().unwrap();
    says(&stderr(&output), &["your credential has expired"]);
    let told = refused(&gateway, &[], "alice", "disk");
    says(&told, &["expired", "loggia login"]);
    assert_eq!(count(&gateway, "session.end", "/detail/reason", "expired"), 1);
    assert_eq!(count(&gateway, "sql.cancel", "/detail/by", "limit"), 1, "cancelled first");
}
