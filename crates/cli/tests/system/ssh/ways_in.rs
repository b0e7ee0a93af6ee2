//! The ways in, and the gateway's own way on: certificate, registered key, password with code; and
//! what a visitor needs who only tries.

use super::*;
use loggia_testkit::SshSignIn;
use loggia_testkit::openssh::SshKey;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// `ssh` without what `loggia ssh-config` writes but the gateway's key.
fn plain_ssh(world: &World, options: &[&str], user: &str) -> Command {
    world.clients("alice");
    let known = world.gateway.home("alice").join("ssh_known_hosts");
    let mut command = Command::new("ssh");
    command.args(["-F", "none", "-o", "IdentitiesOnly=yes", "-p"]);
    command.arg(world.gateway.ports.ssh.to_string());
    command.arg("-o").arg(format!("UserKnownHostsFile={}", known.display()));
    command.args(options).arg(format!("{user}@127.0.0.1")).env_remove("SSH_AUTH_SOCK");
    command
}

/// What the authenticator shows half a minute from now, which is good already: the code of now was
/// spent by the enrolment.
fn next_code(seed: &Path) -> String {
    let seed = std::fs::read_to_string(seed).unwrap();
    let seed = totp_rs::Secret::try_from_base32(seed.trim()).unwrap();
    let builder = totp_rs::Builder::new().with_digits(6).with_step_duration(30);
    let totp = builder.with_secret(seed).build_noncompliant();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    totp.generate(now.as_secs() + 30).to_string()
}

#[test]
fn a_registered_key_lets_its_owner_in_until_it_is_removed() {
    let Some(world) = world() else { return };
    let key = SshKey::generate(world.gateway.folder(), "registered").unwrap();
    let path = key.path.display().to_string();
    let enter = || {
        let options = ["-o", "BatchMode=yes", "-i", &path];
        finish(plain_ssh(&world, &options, "kernel").arg("true"), b"", PATIENCE).unwrap()
    };
    assert_eq!(enter().status, Some(255), "nobody knows the key yet");
    let public = key.public_path().display().to_string();
    let bob = world.gateway.run(Some("bob"), &["key", "add", "bob", &public]).unwrap();
    assert_eq!(bob.status.code(), Some(3), "only who may change policies registers keys");
    world.gateway.succeed(Some("alice"), &["key", "add", "bob", &public]).unwrap();
    let private = world.gateway.run(Some("alice"), &["key", "add", "bob", &path]).unwrap();
    assert_eq!(private.status.code(), Some(2), "{}", stderr(&private));
    succeeded("a registered key", &enter());
    let shown = world.gateway.succeed(Some("bob"), &["key", "ls"]).unwrap();
    let fingerprint = key.fingerprint().unwrap();
    assert!(shown.contains(&fingerprint), "{shown}");
    world.gateway.succeed(Some("alice"), &["key", "rm", &fingerprint]).unwrap();
    assert_eq!(enter().status, Some(255));

    let starts = world.events("session.start");
    let start = starts.iter().find(|it| it.text("/actor/authn") == Some("ssh_key")).unwrap();
    assert_eq!(start.text("/actor/name"), Some("bob"));
    let changes = world.texts("config.change", "/detail/change");
    assert!(changes.ends_with(&["key.add".to_owned(), "key.remove".to_owned()]), "{changes:?}");
    world.verify();
}

#[test]
fn password_and_code_are_asked_for_where_a_client_brings_nothing_else() {
    let Some(world) = world() else { return };
    let (password, seed) = world.gateway.login_files("bob");
    let answers = world.gateway.folder().join("answers");
    let (password, code) = (std::fs::read_to_string(password).unwrap(), next_code(&seed));
    let script =
        format!("#!/bin/sh\ncase \"$1\" in *assword*) echo '{password}';; *) echo {code};; esac\n");
    std::fs::write(&answers, script).unwrap();
    std::fs::set_permissions(&answers, std::fs::Permissions::from_mode(0o700)).unwrap();
    let enter = || {
        let options = ["-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1"];
        let mut command = plain_ssh(&world, &options, "bob+kernel");
        command.arg("echo in").env("SSH_ASKPASS", &answers).env("SSH_ASKPASS_REQUIRE", "force");
        finish(&mut command, b"", PATIENCE).unwrap()
    };
    let ran = enter();
    assert_eq!((ran.status, ran.text().as_str()), (Some(0), "in"), "{}", ran.stderr);
    assert_eq!(enter().status, Some(255), "a code is good once");
    let login = world.events("auth.login");
    let login = login.iter().find(|it| it.text("/actor/name") == Some("bob")).unwrap();
    assert_eq!(login.text("/detail/method"), Some("password_totp"));
    assert_eq!(world.texts("auth.login_failed", "/detail/reason"), ["code_used"]);
    world.verify();
}

#[test]
fn the_host_s_own_log_names_person_and_session_where_the_gateway_comes_with_a_certificate() {
    let changed = |options: &mut GatewayOptions, _: &Sshd| {
        for target in &mut options.ssh_targets {
            for (_, sign_in) in &mut target.accounts {
                *sign_in = SshSignIn::Certificate;
            }
        }
    };
    let Some(world) = world_with(changed) else { return };
    let untrusted = world.ssh(&["kernel", "true"]);
    assert_eq!(untrusted.status, Some(255), "the host does not trust the authority yet");
    let authority = world.gateway.succeed(Some("alice"), &["ssh-ca"]).unwrap();
    world.host.trust_user_ca(authority.trim()).unwrap();
    succeeded("with a certificate", &world.ssh(&["kernel", "true"]));

    let start = world.events("session.start").pop().unwrap();
    let (actor, session) = (start.text("/actor/id").unwrap(), start.session().unwrap());
    let accepted = world.host.accepted().pop().unwrap();
    let certificate = accepted.certificate.unwrap();
    assert_eq!(certificate.key_id, format!("loggia:{actor}:{session}"));
    assert_eq!(accepted.account, world.host.account);
    world.verify();
}

#[test]
fn a_trial_before_a_host_needs_its_key_and_prints_a_line_that_works() {
    let Some(host) = host(SshdOptions::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let url = format!("ssh://{}@{}", host.account, host.address());
    let start = |more: &[&str]| {
        let mut command = Command::new(program());
        command.args(["try", &url, "--name", "visitor", "--no-input", "--key"]);
        command.arg(&host.key.path).arg("--data").arg(folder.path().join("trial")).args(more);
        // Whose known hosts there may be is no part of the test.
        command.env("HOME", folder.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let unknown = start(&[]).wait_with_output().unwrap();
    let told = stderr(&unknown);
    assert_eq!(unknown.status.code(), Some(2), "{told}");
    assert!(told.contains("SHA256:") && told.contains("--host-key"), "{told}");

    let mut trial = start(&["--host-key", host.host_key()]);
    let mut line = String::new();
    BufReader::new(trial.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("ssh -F "), "{line}");
    let paste = format!("{} 'echo tried'", line.trim());
    let ran = finish(Command::new("sh").args(["-c", &paste]), b"", PATIENCE).unwrap();
    assert_eq!((ran.status, ran.text().as_str()), (Some(0), "tried"), "{}", ran.stderr);
    let pid = rustix::process::Pid::from_child(&trial);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = trial.wait_with_output().unwrap();
    let told = stderr(&ended);
    assert!(ended.status.success(), "{told}");
    assert!(told.contains("echo tried"), "events are shown: {told}");
}
