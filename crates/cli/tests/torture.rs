//! kill -9 at random instants under load, over PostgreSQL and over SSH, and a disk that fills up. In
//! a program of its own, so that nothing else is measured with it; more rounds by
//! `cargo xtask torture --rounds N`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use loggia_testkit::torture;
use std::path::Path;
use std::time::Duration;

/// Kills in every run of the tests.
const ROUNDS: u64 = 50;
/// Kills over SSH, each with a full load of its own.
const SSH_ROUNDS: u64 = 30;
/// So that a failure can be repeated.
const SEED: u64 = 0x10_66_1a;

/// Only a hang fails here: how quick recovery is, `cargo xtask torture` holds to two seconds, on a
/// machine that does nothing else.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

#[test]
fn kills_under_load_lose_nothing_and_a_full_disk_pauses_and_recovers_by_itself() {
    let program = Path::new(env!("CARGO_BIN_EXE_loggia"));
    let counts = torture::kill_rounds(program, ROUNDS, SEED, RECOVERY_MAX).unwrap();
    assert_eq!(counts.rounds, ROUNDS);
    assert!(counts.received > 500, "the load was real: {counts}");
    if torture::full_disk_rounds(program, 1).unwrap().is_none() {
        eprintln!("SKIPPED: the full disk needs root, NOTHING WAS CHECKED of it");
    }
}

#[test]
fn kills_lose_nothing_that_a_host_executed_and_recordings_stay_provable() {
    if let Err(why) = loggia_testkit::openssh::programs() {
        eprintln!("SKIPPED: NOTHING WAS CHECKED: {why:#}");
        return;
    }
    let program = Path::new(env!("CARGO_BIN_EXE_loggia"));
    let counts = torture::ssh_kill_rounds(program, SSH_ROUNDS, SEED, RECOVERY_MAX).unwrap();
    assert_eq!(counts.rounds, SSH_ROUNDS);
    assert!(counts.executed > 100 && counts.typed > 100, "the load was real: {counts}");
}
