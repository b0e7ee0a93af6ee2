//! Whoever is not let through is told why, with what helps, and an event says so.

use super::*;
use loggia_testkit::openssh::SshKey;
use loggia_testkit::{SshSignIn, SshTarget, free_port};

const POLICIES: &str = r#"
@id("alice.anything")
permit (principal, action, resource is Loggia::Resource)
when { principal.name == "alice" };
@id("administrators")
permit (principal, action, resource is Loggia::System)
when { principal.admin };
@id("bob.commands")
permit (
  principal,
  action in [Loggia::Action::"connect", Loggia::Action::"ssh.exec"],
  resource == Loggia::Resource::"kernel"
) when { principal.name == "bob" };
@id("nobody.forwards")
forbid (principal, action == Loggia::Action::"ssh.forward", resource == Loggia::Resource::"kernel");
"#;

fn says(told: &str, parts: &[&str]) {
    for part in parts {
        assert!(told.contains(part), "`{part}` is missing in: {told}");
    }
}

/// What the client is told.
fn refused(world: &World, person: &str, arguments: &[&str]) -> String {
    let ran = world.ssh_as(person, arguments);
    assert!(!ran.succeeded(), "let through: {person} {arguments:?}: {}", ran.text());
    ran.stderr
}

fn recorded(world: &World, kind: &str, reason: &str) {
    until(&format!("{kind} with {reason}"), Duration::from_secs(10), || {
        let reasons = world.texts(kind, "/detail/reason");
        reasons.iter().any(|it| it == reason).then_some(())
    });
}

#[test]
fn who_may_not_reach_a_host_is_told_why_and_it_is_on_record() {
    let mut others = Vec::new();
    let world = world_with(|options, host| {
        options.policies = Some(POLICIES.to_owned());
        let mut down = SshTarget::over(host, "down", "disk");
        down.address = format!("127.0.0.1:{}", free_port().unwrap());
        let mut other_host = SshTarget::over(host, "other-host", "disk");
        let key = SshKey::generate(host.folder(), "some-other-host").unwrap();
        other_host.host_keys = vec![key.public.clone()];
        let mut no_key = SshTarget::over(host, "no-key", "disk");
        let stranger = SshKey::generate(host.folder(), "stranger").unwrap();
        no_key.accounts[0].1 = SshSignIn::Key(stranger.path.clone());
        options.ssh_targets.extend([down, other_host, no_key]);
        others.extend([key, stranger]);
    });
    let Some(world) = world else { return };
    let told = refused(&world, "alice", &["-l", "nowhere", "kernel", "true"]);
    says(&told, &["there is no resource `nowhere`", "loggia resource ls"]);
    let told = refused(&world, "alice", &["-l", "nobody~kernel", "kernel", "true"]);
    says(&told, &["no account `nobody`", "loggia resource ls"]);
    let told = refused(&world, "bob", &["-l", "disk", "kernel", "true"]);
    says(&told, &["bob may not connect to `disk`", "ask an administrator"]);
    let told = refused(&world, "bob", &["-l", "alice+kernel", "kernel", "true"]);
    says(&told, &["another person"]);
    let told = refused(&world, "alice", &["down", "true"]);
    says(&told, &["down", "loggia doctor"]);
    let told = refused(&world, "alice", &["other-host", "true"]);
    says(&told, &["host key"]);
    refused(&world, "alice", &["no-key", "true"]);
    for (kind, reason) in [
        ("session.refused", "unknown_resource"),
        ("session.refused", "unknown_account"),
        ("session.refused", "denied"),
        ("session.refused", "wrong_person"),
        ("session.end", "target_down"),
        ("session.end", "target_host_key"),
        ("session.end", "target_auth"),
    ] {
        recorded(&world, kind, reason);
    }
    assert!(world.host.executed().unwrap().is_empty());
    world.verify();
}

#[test]
fn a_host_key_that_changed_is_never_accepted() {
    let Some(mut world) = world() else { return };
    succeeded("before", &world.ssh(&["kernel", "true"]));
    world.host.change_host_key().unwrap();
    let told = refused(&world, "alice", &["kernel", "true"]);
    says(&told, &["host key", "host_keys"]);
    recorded(&world, "session.end", "target_host_key");
    assert_eq!(world.host.executed().unwrap(), ["true"]);
}

#[test]
fn what_a_policy_denies_inside_a_session_is_not_done_and_told_and_recorded() {
    let world = world_with(|options, _| options.policies = Some(POLICIES.to_owned()));
    let Some(world) = world else { return };
    succeeded("a command", &world.ssh_as("bob", &["kernel", "echo allowed"]));
    let mut command = world.clients("bob").ssh();
    let mut shell = Terminal::start(command.arg("kernel")).unwrap();
    assert_ne!(shell.wait_end(PATIENCE).unwrap(), Some(0));
    let batch = world.host.folder().join("batch");
    std::fs::write(&batch, "ls\n").unwrap();
    let ran = finish(world.clients("bob").sftp(&batch).arg("kernel"), b"", PATIENCE).unwrap();
    assert!(!ran.succeeded());
    // Alice may do anything, but forwards are forbidden to her too.
    let port = world.host.port.to_string();
    let forward = format!("127.0.0.1:{port}");
    let told = refused(&world, "alice", &["-W", &forward, "kernel"]);
    says(&told, &["administratively prohibited"]);
    let listening = refused(
        &world,
        "alice",
        &["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", "kernel", "true"],
    );
    says(&listening, &["forward"]);
    for request in ["shell", "subsystem", "forward"] {
        until(request, Duration::from_secs(10), || {
            let events = world.events("ssh.refused");
            let found = events.iter().find(|it| it.text("/detail/request") == Some(request))?;
            assert_eq!(found.text("/detail/reason"), Some("denied"));
            Some(())
        });
    }
    assert_eq!(world.host.executed().unwrap(), ["echo allowed"]);
    assert!(world.host.typed().unwrap().is_empty());
    world.verify();
}

#[test]
fn agent_and_display_are_denied_unless_a_policy_allows_them() {
    let Some(world) = world() else { return };
    let agent = world.host.folder().join("agent");
    let mut serving = Command::new("ssh-agent")
        .arg("-D")
        .arg("-a")
        .arg(&agent)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("the agent listens", Duration::from_secs(10), || agent.exists().then_some(()));
    let mut command = world.clients("alice").ssh();
    command.env("SSH_AUTH_SOCK", &agent).args(["-A", "kernel", "echo agent: $SSH_AUTH_SOCK"]);
    let ran = finish(&mut command, b"", PATIENCE).unwrap();
    serving.kill().unwrap();
    serving.wait().unwrap();
    assert_eq!(ran.text(), "agent:", "{}", ran.stderr);
    let refused = world.expect(1, "ssh.refused");
    assert_eq!(refused[0].text("/detail/request"), Some("agent"));
    world.verify();
}

/// `ssh` with this key and certificate in place of the person's own.
fn with_certificate(world: &World, key: &SshKey) -> Ran {
    let ports = world.gateway.ports;
    let known = world.gateway.home("alice").join("known_hosts_here");
    let ca = Command::new("ssh-keygen")
        .args(["-y", "-f"])
        .arg(world.gateway.data.join("keys/ssh-host-ca.key"))
        .output()
        .unwrap();
    std::fs::write(&known, format!("@cert-authority * {}", stdout(&ca))).unwrap();
    let mut command = Command::new("ssh");
    command.args(["-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]);
    command.arg("-o").arg(format!("UserKnownHostsFile={}", known.display()));
    command.arg("-i").arg(&key.path).args([
        "-p",
        &ports.ssh.to_string(),
        "kernel@127.0.0.1",
        "true",
    ]);
    command.env_remove("SSH_AUTH_SOCK");
    finish(&mut command, b"", PATIENCE).unwrap()
}

#[test]
fn a_certificate_that_is_expired_foreign_or_for_another_use_lets_nobody_in() {
    let Some(world) = world() else { return };
    let folder = world.host.folder();
    let keys = world.gateway.data.join("keys");
    let authority = |name: &str| SshKey { path: keys.join(name), public: String::new() };
    let (ours, hosts) = (authority("ssh-user-ca.key"), authority("ssh-host-ca.key"));
    let foreign = SshKey::generate(folder, "foreign-ca").unwrap();
    let events = world.gateway.events().unwrap();
    let alice = events.iter().find(|it| it.kind() == "credential.minted").unwrap();
    let alice = alice.text("/actor/id").unwrap().to_owned();
    let binding = format!("extension:log-binding-v1@loggia.internal=x:1:{}", "ab".repeat(32));
    let cases: [(&str, &SshKey, &[&str], &str); 7] = [
        ("foreign", &foreign, &["-n", &alice, "-V", "-1m:+5m"], "foreign_certificate"),
        ("expired", &ours, &["-n", &alice, "-V", "-10m:-5m"], "expired"),
        ("early", &ours, &["-n", &alice, "-V", "+10m:+20m"], "not_yet_valid"),
        ("host", &ours, &["-h", "-n", &alice, "-V", "-1m:+5m"], "foreign_certificate"),
        (
            "forced",
            &ours,
            &["-n", &alice, "-V", "-1m:+5m", "-O", "force-command=id"],
            "foreign_certificate",
        ),
        (
            "elsewhere",
            &ours,
            &["-n", &alice, "-V", "-1m:+5m", "-O", "source-address=192.0.2.0/24"],
            "wrong_source",
        ),
        (
            "nobody",
            &ours,
            &["-n", "pe_01h455vb4pex5vsknk084sn02q", "-V", "-1m:+5m", "-O", &binding],
            "foreign_certificate",
        ),
    ];
    for (name, authority, arguments, _) in &cases {
        let key = SshKey::generate(folder, name).unwrap();
        authority.certify(&key, &[&["-I", name][..], arguments].concat()).unwrap();
        let ran = with_certificate(&world, &key);
        assert_eq!(ran.status, Some(255), "{name} was let in");
    }
    let key = SshKey::generate(folder, "for-hosts").unwrap();
    hosts.certify(&key, &["-I", "x", "-n", &alice, "-V", "-1m:+5m"]).unwrap();
    assert_eq!(with_certificate(&world, &key).status, Some(255));
    until("all are on record", Duration::from_secs(10), || {
        (world.events("stranger.refused").len() > cases.len()).then_some(())
    });
    let reasons = world.texts("stranger.refused", "/detail/reason");
    for (name, .., reason) in &cases {
        assert!(reasons.iter().any(|it| it == reason), "{name}: no {reason} in {reasons:?}");
    }
    assert!(world.host.executed().unwrap().is_empty());
}

#[test]
fn when_a_credential_expires_its_sessions_end_and_new_ones_are_refused_with_what_helps() {
    let world = world_with(|options, _| {
        *options = options.clone().setting("identity", "credential_minutes = 1")
    });
    let Some(world) = world else { return };
    let mut shell = world.shell("kernel");
    shell.send("sleep 1000\r").unwrap();
    assert_ne!(shell.wait_end(PATIENCE).unwrap(), Some(0));
    says(&shell.shown(), &["expired"]);
    let told = refused(&world, "alice", &["-o", "BatchMode=yes", "kernel", "true"]);
    says(&told, &["loggia login"]);
    recorded(&world, "session.end", "expired");
}
