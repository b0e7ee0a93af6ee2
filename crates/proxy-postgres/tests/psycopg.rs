//! psycopg, with the newest libpq, through a real spine to a real PostgreSQL. Skipped, loudly,
//! where psycopg is not installed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(missing_docs, unreachable_pub, dead_code, reason = "a test")]

mod gateway;

use gateway::{Gateway, Seen};
use loggia_model::resource::Depth;
use loggia_testkit::{Postgres, PostgresOptions};
use std::process::Command;

/// Runs one part of the script; `false` where there is no psycopg.
fn drive(gateway: &Gateway, part: &str) -> bool {
    let python = match loggia_testkit::parts::python() {
        Ok(python) => python,
        Err(error) => {
            eprintln!("SKIPPED: {error:#}");
            return false;
        }
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/drive.py");
    let done = Command::new(python).args([script, part]).envs(gateway.env()).output().unwrap();
    assert!(done.status.success(), "{part}: {}", String::from_utf8_lossy(&done.stderr));
    true
}

fn texts(events: &[Seen], pointer: &str) -> Vec<String> {
    events.iter().map(|seen| seen.text(pointer)).collect()
}

/// What each execution ran, as the record says: the prepared text, or that it is unresolved.
fn ran(gateway: &Gateway) -> Vec<String> {
    let prepares = gateway.of_kind("sql.prepare");
    let text = |id: &str| {
        let found = prepares.iter().find(|seen| seen.event.id.to_string() == id);
        found.map(|seen| seen.text("/detail/text")).unwrap()
    };
    let ran = gateway.of_kind("sql.statement").into_iter().filter_map(|seen| {
        match (seen.text("/detail/prepared"), seen.text("/detail/unresolved")) {
            (id, _) if !id.is_empty() => Some(text(&id)),
            (_, unresolved) if unresolved == "true" => Some("unresolved".to_owned()),
            _ => None,
        }
    });
    ran.collect()
}

#[test]
fn psycopg_works_and_is_on_record_as_what_it_did() {
    let target = Postgres::start(PostgresOptions::default()).unwrap();
    let gateway = Gateway::start(&target, Depth::Kernel, "psycopg");
    if !drive(&gateway, "attacks") {
        return;
    }
    assert_eq!(
        ran(&gateway),
        ["select 'good'", "unresolved", "select 'again'", "unresolved"],
        "no execution is taken for another text"
    );

    gateway.forget();
    assert!(drive(&gateway, "functions"));
    let certain = ["select 'recorded'", "unresolved", "select 'certain'"];
    assert_eq!(ran(&gateway), certain, "what a function may have made is not taken for known");

    gateway.forget();
    assert!(drive(&gateway, "copy_bursts"));
    assert_eq!(ran(&gateway), ["select 'new'", "select 'new'"]);
    let results = gateway.of_kind("sql.result");
    let skipped = texts(&results, "/outcome/not_executed");
    assert!(skipped.iter().all(String::is_empty), "what ran is not called skipped: {skipped:?}");
    let codes = texts(&results, "/outcome/sqlstate");
    assert_eq!(codes.iter().filter(|code| *code == "08P01").count(), 2, "{codes:?}");

    gateway.forget();
    assert!(drive(&gateway, "skipped"));

    gateway.forget();
    assert!(drive(&gateway, "pipelines"));
    let plus = "select $1::int + 1";
    assert_eq!(ran(&gateway), [plus, plus, "select 1/0", plus, plus]);
    let results = gateway.of_kind("sql.result");
    assert_eq!(texts(&results, "/outcome/status"), ["ok", "ok", "error", "error", "ok"]);
    let skipped = ["", "", "", "true", ""];
    assert_eq!(texts(&results, "/outcome/not_executed"), skipped);

    gateway.forget();
    assert!(drive(&gateway, "a_refusal_within_a_pipeline"));
    assert_eq!(texts(&gateway.of_kind("sql.refused"), "/detail/message"), ["B"]);

    gateway.forget();
    assert!(drive(&gateway, "large_pipeline"));
    assert_eq!(gateway.of_kind("sql.result").len(), 5002);
    let appends = gateway.ledger.appends.load(std::sync::atomic::Ordering::SeqCst);
    assert!(appends < 4000, "a pipeline is written in batches, not one by one: {appends}");

    for part in ["copies", "notifications", "cursors", "other_doors"] {
        gateway.forget();
        assert!(drive(&gateway, part), "{part}");
        let ended = gateway.of_kind("session.end");
        assert!(texts(&ended, "/detail/reason").iter().all(|reason| reason == "client_closed"));
    }
    gateway.forget();
    assert!(drive(&gateway, "cancel"));
    assert_eq!(texts(&gateway.of_kind("sql.cancel"), "/detail/by"), ["client"]);
}
