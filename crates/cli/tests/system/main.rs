//! The whole system: the real binary, a real PostgreSQL, unmodified clients. Each test is a
//! promise of the README or of SECURITY.md.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod control;
mod copies;
mod counts;
mod doors;
mod drivers;
mod erase;
mod heavy;
mod independent;
mod operate;
mod refusals;
mod ssh;
mod tamper;
mod witness;

use loggia_testkit::{GatewayOptions, GatewayUnderTest, Postgres, PostgresOptions};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// One target for all tests; each test has an application name of its own, by which its statements
/// are told apart in the server's log.
fn target() -> &'static Postgres {
    static TARGET: LazyLock<Postgres> =
        LazyLock::new(|| Postgres::start(PostgresOptions::default()).unwrap());
    &TARGET
}

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_loggia"))
}

fn options() -> GatewayOptions {
    GatewayOptions::over(target(), program())
}

fn gateway() -> GatewayUnderTest {
    GatewayUnderTest::start(options()).unwrap()
}

/// `psql` as a person, on a resource.
fn psql(gateway: &GatewayUnderTest, person: &str, resource: &str) -> Command {
    let mut command = Command::new(target().binary("psql"));
    command
        .envs(gateway.psql_env(person, resource, None).unwrap())
        .args(["-X", "-A", "-t"])
        .stdin(Stdio::null());
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until `check` gives something, at most `wait_max`.
fn until<T>(what: &str, wait_max: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(begin.elapsed() < wait_max, "not within {wait_max:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Number of events with this kind whose field has this text.
fn count(gateway: &GatewayUnderTest, kind: &str, pointer: &str, text: &str) -> usize {
    let events = gateway.events().unwrap();
    events.iter().filter(|event| event.kind() == kind && event.text(pointer) == Some(text)).count()
}
