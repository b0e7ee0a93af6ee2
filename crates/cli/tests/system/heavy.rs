//! Drivers of other languages: pgx and pgjdbc, with everything that each can do. Run by
//! `cargo xtask test --parts heavy`. Drivers come through the ordinary clients of their
//! languages, into the cache; where a tool chain is missing, that is said loudly.

use super::*;
use loggia_testkit::{StatementKind, parts};
use std::collections::HashSet;
use std::path::Path;

const PGJDBC: &str = "org.postgresql:postgresql:42.7.14";
const MAVEN_COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy";

/// Whether the heavy tests were asked for and these programs are there.
fn can_run(what: &str, programs: &[&str]) -> bool {
    if !parts::heavy() {
        eprintln!("SKIPPED: {what} is of the heavy tier: `cargo xtask test --parts heavy`");
        return false;
    }
    let missing = programs.iter().find(|program| {
        let asked = Command::new(program).arg("-version").stdin(Stdio::null()).output();
        asked.is_err()
    });
    if let Some(missing) = missing {
        eprintln!("SKIPPED: {what} needs `{missing}`, NOTHING WAS CHECKED");
    }
    missing.is_none()
}

fn driver(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(name)
}

fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

/// What the server logged of the sessions of an application, without fetches: Binds and Querys.
/// A driver may name its application only in its first statement, which is then logged before.
fn logged(application: &str) -> Vec<String> {
    let all = target().logged().unwrap();
    let own = all.iter().filter(|statement| statement.application == application);
    let sessions: HashSet<&str> = own.map(|statement| statement.session.as_str()).collect();
    let run = all.iter().filter(|statement| {
        sessions.contains(statement.session.as_str())
            && !matches!(statement.kind, StatementKind::Fetch { .. })
    });
    let mut texts: Vec<String> = run.map(|statement| statement.text.clone()).collect();
    texts.sort();
    texts
}

/// What is on record: every `sql.statement` but those that the server skipped after an error.
fn recorded(gateway: &GatewayUnderTest) -> Vec<String> {
    let events = gateway.events().unwrap();
    let skipped: Vec<&str> = events
        .iter()
        .filter(|event| event.value("/outcome/not_executed").is_some())
        .filter_map(|event| event.text("/detail/of"))
        .collect();
    let statements = gateway.statements().unwrap();
    let run = statements.iter().filter(|statement| !skipped.contains(&statement.id.as_str()));
    let mut texts: Vec<String> =
        run.map(|s| s.text.clone().expect("every execution has its text")).collect();
    texts.sort();
    texts
}

/// Runs a driver with a certificate and with a token; all that the server received is on record.
fn drive(name: &str, mut command: impl FnMut(&GatewayUnderTest, bool) -> Command) {
    for (way, certificate) in [("certificate", true), ("token", false)] {
        let gateway = gateway();
        let application = format!("{name}-{way}");
        let mut command = command(&gateway, certificate);
        let said = succeed(command.env("PGAPPNAME", &application));
        assert_eq!(said.lines().last(), Some("done"), "{application}");

        let server = logged(&application);
        assert!(server.len() > 100, "{application}: only {} statements", server.len());
        let record = recorded(&gateway);
        let differs = record.iter().zip(&server).find(|(one, other)| one != other);
        assert_eq!(differs, None, "{application}: on record is what was received");
        assert_eq!(record.len(), server.len(), "{application}: and nothing else");

        let events = gateway.events().unwrap();
        let of = |kind: &'static str| events.iter().filter(move |event| event.kind() == kind);
        let authn = if certificate { "client_certificate" } else { "token" };
        assert!(of("session.start").all(|event| event.text("/actor/authn") == Some(authn)));
        assert_eq!(of("sql.cancel").count(), 1, "{application}");
        let sqlstates: Vec<&str> =
            of("sql.result").filter_map(|event| event.text("/outcome/sqlstate")).collect();
        for sqlstate in ["42P01", "22012", "23505", "22P02", "57014"] {
            assert!(sqlstates.contains(&sqlstate), "{application}: {sqlstate} of {sqlstates:?}");
        }
        let hashed = of("sql.result").filter(|e| e.text("/outcome/copied_sha256").is_some());
        assert_eq!(hashed.count(), 3, "{application}: COPY in and out are hashed");
        let verified = gateway.verify(&[]).unwrap();
        assert_eq!(verified.exit_code, Some(0), "{}", verified.text);
    }
}

#[test]
fn pgx_does_everything_it_does_directly() {
    if !can_run("pgx", &["go"]) {
        return;
    }
    let cache = parts::cache().unwrap().join("go");
    let program = cache.join("bin/loggia-drive-pgx");
    succeed(
        Command::new("go")
            .current_dir(driver("pgx"))
            .args(["build", "-trimpath", "-mod=readonly", "-o"])
            .args([&program, Path::new(".")])
            .env("GOMODCACHE", cache.join("modules"))
            .env("GOCACHE", cache.join("build"))
            .env("CGO_ENABLED", "0"),
    );
    drive("pgx", |gateway, certificate| {
        let mut command = Command::new(&program);
        command.envs(if certificate {
            gateway.psql_env_certificate("alice", "disk", None)
        } else {
            gateway.psql_env("alice", "disk", None).unwrap()
        });
        command
    });
}

#[test]
fn pgjdbc_does_everything_it_does_directly() {
    if !can_run("pgjdbc", &["java", "javac", "mvn"]) {
        return;
    }
    let cache = parts::cache().unwrap().join("maven");
    let jars = cache.join("loggia-drivers");
    let jar = jars.join("postgresql-42.7.14.jar");
    if !jar.is_file() {
        succeed(
            Command::new("mvn")
                .args(["--quiet", "--batch-mode", MAVEN_COPY])
                .arg(format!("-Dmaven.repo.local={}", cache.join("repository").display()))
                .arg(format!("-Dartifact={PGJDBC}"))
                .arg(format!("-DoutputDirectory={}", jars.display())),
        );
    }
    let classes = tempfile::tempdir().unwrap();
    succeed(
        Command::new("javac")
            .args(["-Xlint:all", "-Werror", "-cp"])
            .arg(&jar)
            .arg("-d")
            .arg(classes.path())
            .arg(driver("pgjdbc").join("Drive.java")),
    );
    let path = format!("{}:{}", classes.path().display(), jar.display());
    drive("pgjdbc", |gateway, certificate| {
        let mut command = Command::new("java");
        command.args(["-cp", &path, "Drive"]).arg(address(gateway, certificate));
        command
    });
}

/// The address for pgjdbc, as the guide tells it.
fn address(gateway: &GatewayUnderTest, certificate: bool) -> String {
    let file = |name: &str| gateway.home("alice").join(name).display().to_string();
    let port = gateway.ports.postgres;
    let place = format!(
        "jdbc:postgresql://127.0.0.1:{port}/postgres?user=disk&sslmode=verify-full&sslrootcert={}",
        file("ca.pem")
    );
    if certificate {
        format!(
            "{place}&sslcert={}&sslkey={}&pemKeyAlgorithm=EC",
            file("cert.pem"),
            file("key.pem")
        )
    } else {
        let token = std::fs::read_to_string(file("token")).unwrap();
        format!("{place}&password={}", token.trim())
    }
}
