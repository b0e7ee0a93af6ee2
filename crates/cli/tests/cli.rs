//! What people see of the command line when nothing answers: help, mistakes, exit codes. The exact
//! text is the test; after a wanted change run it once with `INSTA_UPDATE=always`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Stdio};

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (stdout, stderr) = (&self.stdout, &self.stderr);
        write!(f, "exit {}\n-- stdout\n{stdout}-- stderr\n{stderr}", self.code)
    }
}

fn loggia(home: &Path, args: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_loggia"))
        .args(args)
        .env_clear()
        .env("LOGGIA_HOME", home)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: text(output.stdout),
        stderr: text(output.stderr).replace(home.to_str().unwrap(), "HOME"),
    }
}

/// Signed in at an address where nothing listens.
fn signed_in(home: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    std::fs::write(home.join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(home.join("token"), "tok").unwrap();
    let profile = "address = \"127.0.0.1:1\"\nname = \"alice\"\n";
    std::fs::write(home.join("profile.toml"), profile).unwrap();
}

const COMMANDS: &[&str] = &[
    "",
    "enrol",
    "login",
    "logout",
    "whoami",
    "pg-config",
    "ssh-config",
    "ssh-ca",
    "search",
    "tail",
    "session",
    "session ls",
    "session show",
    "session end",
    "lock",
    "lock add",
    "lock ls",
    "lock rm",
    "person",
    "person add",
    "person ls",
    "person disable",
    "service",
    "service add",
    "service ls",
    "service disable",
    "key",
    "key add",
    "key ls",
    "key rm",
    "resource",
    "resource ls",
    "plan",
    "apply",
    "completion",
    "verify",
    "prove",
    "try",
    "init",
    "check",
    "up",
    "doctor",
    "ledger",
    "ledger new-epoch",
];

#[test]
fn help_leads_with_what_it_is_for_and_examples() {
    let home = tempfile::tempdir().unwrap();
    let mut all = String::new();
    for command in COMMANDS {
        let args: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let ran = loggia(home.path(), &args);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{command}");
        let examples = ran.stdout.find("Example");
        let group =
            ["", "session", "lock", "person", "service", "key", "resource", "ledger"].contains(command);
        match examples {
            Some(at) => assert!(at < ran.stdout.find("Usage:").unwrap(), "{command}"),
            None => assert!(group && !command.is_empty(), "{command} has no examples"),
        }
        all.push_str(&format!("==== loggia {command}\n{}\n", ran.stdout));
    }
    insta::assert_snapshot!("help", all);
}

#[test]
fn mistakes_say_what_to_write_and_exit_with_2() {
    let home = tempfile::tempdir().unwrap();
    let mut all = String::new();
    for args in [
        &["serch"][..],
        &["session", "shwo"],
        &["session", "end", "se_1"],
        &["search", "--limit", "many"],
        &["lock", "add", "alice", "--reason", "x"],
        &["enrol", "hello"],
        &["login"],
        &["login", "--service", "ci"],
        &["plan", "notes.txt"],
        &["service", "add", "ci", "--key", "/nonexistent/ci.pub"],
    ] {
        let ran = loggia(home.path(), args);
        assert_eq!(ran.code, 2, "{args:?}: {ran}");
        assert_eq!(ran.stdout, "", "{args:?}");
        all.push_str(&format!("==== loggia {}\n{}\n", args.join(" "), ran.stderr));
    }
    insta::assert_snapshot!("mistakes", all);
}

#[test]
fn who_is_not_signed_in_is_told_how_and_exits_with_4() {
    let home = tempfile::tempdir().unwrap();
    for command in ["search x", "tail -f", "session ls", "lock ls", "person ls", "whoami", "logout"]
    {
        let args: Vec<&str> = command.split(' ').collect();
        let ran = loggia(home.path(), &args);
        assert_eq!(
            (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
            (
                4,
                "",
                "error: you are not signed in\n\n\
                 hint: with an enrolment code: loggia enrol CODE; otherwise: loggia login\n"
            ),
            "{command}"
        );
    }
}

#[test]
fn a_gateway_that_does_not_answer_exits_with_5() {
    let home = tempfile::tempdir().unwrap();
    signed_in(home.path());
    let ran = loggia(home.path(), &["search", "actor:alice"]);
    insta::assert_snapshot!("unreachable", ran);
    let asked = loggia(home.path(), &["login", "alice"]);
    assert_eq!(asked.code, 2, "nobody can be asked here: {asked}");
    assert!(asked.stderr.contains("hint: give it by --password-file FILE"), "{asked}");
}

#[test]
fn a_profile_that_cannot_be_read_is_named() {
    let home = tempfile::tempdir().unwrap();
    signed_in(home.path());
    std::fs::write(home.path().join("profile.toml"), "address = ").unwrap();
    let ran = loggia(home.path(), &["whoami"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.starts_with("error: HOME/profile.toml cannot be read"), "{ran}");
}

#[test]
fn completions_know_every_command() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let ran = loggia(home.path(), &["completion", shell]);
        assert_eq!(ran.code, 0);
        for word in ["session", "pg-config", "enrol"] {
            assert!(ran.stdout.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn a_reader_who_goes_away_is_no_error() {
    let home = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_loggia"))
        .args(["completion", "bash"])
        .env_clear()
        .env("LOGGIA_HOME", home.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
