//! The server, its witnesses and the clients, without Loggia in between.

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// The server, or `None` after a loud line when there is none on this machine.
fn server(options: SshdOptions) -> Option<Sshd> {
    if let Err(why) = programs() {
        eprintln!("SKIPPED: NOTHING WAS CHECKED: {why:#}");
        return None;
    }
    Some(Sshd::start(options).unwrap())
}

#[test]
fn commands_pass_unchanged_and_the_witness_writes_them_down() {
    let Some(server) = server(SshdOptions::default()) else { return };
    let mut command = server.direct().ssh();
    command.args(["target", "cat; echo \"in $PWD\" >&2; exit 3"]);
    let input: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let ran = finish(&mut command, &input, PATIENCE).unwrap();
    assert_eq!((ran.status, ran.stdout == input), (Some(3), true), "{}", ran.stderr);
    assert_eq!(ran.stderr, format!("in {}\n", server.home().display()));
    assert_eq!(server.executed().unwrap(), ["cat; echo \"in $PWD\" >&2; exit 3"]);
    let accepted = server.accepted();
    assert_eq!(accepted.len(), 1, "{}", server.log());
    assert_eq!(accepted[0].fingerprint, server.key.fingerprint().unwrap());
    assert_eq!(accepted[0].account, server.account);
}

#[test]
fn shells_are_witnessed_with_and_without_a_terminal() {
    let Some(server) = server(SshdOptions::default()) else { return };
    let mut command = server.direct().ssh();
    let mut terminal = Terminal::start(command.arg("target")).unwrap();
    terminal.wait_for("$ ", PATIENCE).unwrap();
    terminal.send("stty size\r").unwrap();
    terminal.wait_for("24 80", PATIENCE).unwrap();
    terminal.resize(100, 40).unwrap();
    terminal.send("for n in 1 2; do\recho number-$n; done; stty size\r").unwrap();
    terminal.wait_for("number-2", PATIENCE).unwrap();
    terminal.wait_for("40 100", PATIENCE).unwrap();
    terminal.send("exit 4\r").unwrap();
    assert_eq!(terminal.wait_end(PATIENCE).unwrap(), Some(4));
    let loop_line = "for n in 1 2; do echo number-$n; done; stty size";
    assert_eq!(server.typed().unwrap(), ["stty size", loop_line, "exit 4"]);

    let mut command = server.direct().ssh();
    let ran = finish(command.args(["-T", "target"]), b"echo one\necho two\n", PATIENCE).unwrap();
    assert_eq!((ran.status, ran.text()), (Some(0), "one\ntwo".into()), "{}", ran.stderr);
    assert_eq!(server.typed().unwrap().split_off(3), ["echo one", "echo two"]);
    assert!(server.executed().unwrap().is_empty());
}

#[test]
fn files_go_both_ways_with_every_client() {
    let Some(server) = server(SshdOptions::default()) else { return };
    let local = server.folder().join("local");
    let hash = write_payload(&local, 2, 1).unwrap();
    let clients = server.direct();
    let back = server.folder().join("back");
    let returned = |name: &str, ran: Ran| {
        assert!(ran.succeeded(), "{name}: {}", ran.stderr);
        assert_eq!(sha256_of(&back).unwrap(), hash, "{name}");
        std::fs::remove_file(&back).unwrap();
    };
    let scp = |protocol: &[&str]| {
        let mut up = clients.scp();
        up.args(protocol).arg(&local).arg("target:uploaded");
        let up = finish(&mut up, b"", PATIENCE).unwrap();
        assert!(up.succeeded(), "{}", up.stderr);
        finish(clients.scp().args(protocol).arg("target:uploaded").arg(&back), b"", PATIENCE)
            .unwrap()
    };
    returned("scp", scp(&[]));
    returned("scp -O", scp(&["-O"]));

    let batch = server.folder().join("batch");
    let lines = format!("put {} again\nget again {}\n", local.display(), back.display());
    std::fs::write(&batch, lines).unwrap();
    returned("sftp", finish(clients.sftp(&batch).arg("target"), b"", PATIENCE).unwrap());

    if Command::new("rsync").arg("--version").output().is_err() {
        eprintln!("SKIPPED: rsync is not installed; `cargo xtask test` installs it");
        return;
    }
    let mut rsync = clients.rsync();
    rsync.arg("target:again").arg(&back);
    returned("rsync", finish(&mut rsync, b"", PATIENCE).unwrap());
    let executed = server.executed().unwrap();
    assert!(executed.iter().any(|text| text.ends_with("sftp-server")), "{executed:?}");
    assert!(executed.iter().any(|text| text.starts_with("scp -f ")), "{executed:?}");
    assert!(executed.iter().any(|text| text.starts_with("rsync --server")), "{executed:?}");
}

#[test]
fn git_clones() {
    let Some(server) = server(SshdOptions::default()) else { return };
    let clients = server.direct();
    let made = "git init -q work && cd work && git -c user.name=n -c user.email=e commit -q \
                --allow-empty -m first";
    let ran = finish(clients.ssh().args(["target", made]), b"", PATIENCE).unwrap();
    assert!(ran.succeeded(), "{}", ran.stderr);
    let mut clone = clients.git();
    clone.args(["clone", "-q", "target:work"]).arg(server.folder().join("clone"));
    let ran = finish(&mut clone, b"", PATIENCE).unwrap();
    assert!(ran.succeeded(), "{}", ran.stderr);
    assert!(server.folder().join("clone/.git").is_dir());
}

#[test]
fn certificates_of_hosts_and_people_are_taken() {
    let options = SshdOptions { host_certificate: true, ..SshdOptions::default() };
    let Some(server) = server(options) else { return };
    let authority = SshKey::generate(server.folder(), "people-ca").unwrap();
    let person = SshKey::generate(server.folder(), "person").unwrap();
    let arguments = ["-I", "alice in se_1", "-z", "5", "-n", &server.account, "-V", "-1m:+5m"];
    authority.certify(&person, &arguments).unwrap();
    let known = server.folder().join("known-authorities");
    let host_ca = &server.host_ca.as_ref().unwrap().public;
    std::fs::write(&known, format!("@cert-authority * {host_ca}\n")).unwrap();
    let login = || {
        let mut command = server.direct().ssh();
        command.arg("-o").arg(format!("UserKnownHostsFile={}", known.display()));
        command.arg("-o").arg("IdentityFile=none");
        command.arg("-i").arg(&person.path);
        finish(command.args(["target", "true"]), b"", PATIENCE).unwrap()
    };
    server.trust_user_ca(&authority.public).unwrap();
    let ran = login();
    assert!(ran.succeeded(), "{}", ran.stderr);
    let accepted = server.accepted().pop().unwrap();
    let certificate = accepted.certificate.unwrap();
    assert_eq!((certificate.key_id.as_str(), certificate.serial), ("alice in se_1", 5));
    assert_eq!(certificate.authority, authority.fingerprint().unwrap());
}

#[test]
fn another_host_key_is_noticed_and_a_stopped_server_has_no_sessions() {
    let Some(mut server) = server(SshdOptions::default()) else { return };
    let mut command = server.direct().ssh();
    let mut terminal = Terminal::start(command.arg("target")).unwrap();
    terminal.wait_for("$ ", PATIENCE).unwrap();
    terminal.send("trap '' HUP; sleep 1000\r").unwrap();
    crate::wait_until("the command to run", PATIENCE, || {
        Ok(server.typed()?.iter().any(|line| line.ends_with("sleep 1000")))
    })
    .unwrap();
    assert!(!server.commands().is_empty());
    server.stop().unwrap();
    assert_eq!(terminal.wait_end(PATIENCE).unwrap(), Some(255));
    crate::wait_until("its commands to end", PATIENCE, || Ok(server.commands().is_empty()))
        .unwrap();

    let before = server.host_key().to_owned();
    server.change_host_key().unwrap();
    assert_ne!(server.host_key(), before);
    let ran = finish(server.direct().ssh().args(["target", "true"]), b"", PATIENCE).unwrap();
    assert_eq!(ran.status, Some(255));
    assert!(ran.stderr.contains("HOST IDENTIFICATION HAS CHANGED"), "{}", ran.stderr);
}
