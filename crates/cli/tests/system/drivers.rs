//! Other clients than `psql`: psycopg with parameters, pipelines, COPY, notifications, cancel.

use super::*;
use loggia_testkit::parts;

const SCRIPT: &str = r#"
import os, threading, time, psycopg
from psycopg import sql
with psycopg.connect("", autocommit=True) as conn:
    assert conn.execute("select %s::int + %s::int", (40, 2)).fetchone() == (42,)
    assert conn.execute("select %s::text is null", (None,)).fetchone() == (True,)
    assert conn.execute("select %b::bytea", (b"\x00\xff",)).fetchone() == (b"\x00\xff",)
    with conn.pipeline() as pipe:
        cursors = [conn.execute("select %s::int", (n,)) for n in range(50)]
        pipe.sync()
        assert [c.fetchone()[0] for c in cursors] == list(range(50))
    for _ in range(8):
        conn.execute("select %s::int as prepared_by_psycopg", (7,), prepare=True)
    conn.execute("create temp table bulk (n int, t text)")
    with conn.cursor() as cur:
        with cur.copy("copy bulk from stdin") as copy:
            for n in range(10000):
                copy.write_row((n, "x" * 100))
        with cur.copy("copy bulk to stdout") as copy:
            assert sum(len(block) for block in copy) > 1_000_000
    conn.execute("listen loggia_test")
    conn.execute("select pg_notify('loggia_test', 'hello')")
    assert next(conn.notifies(timeout=5)).payload == "hello"
    timer = threading.Timer(0.5, conn.cancel)
    timer.start()
    began = time.monotonic()
    try:
        conn.execute("select pg_sleep(30)")
        raise SystemExit("the statement was not cancelled")
    except psycopg.errors.QueryCanceled:
        assert time.monotonic() - began < 10
    try:
        conn.execute("select * from no_such_table")
        raise SystemExit("no error came through")
    except psycopg.errors.UndefinedTable as error:
        assert error.diag.sqlstate == "42P01"
print("done")
"#;

#[test]
fn psycopg_does_everything_it_does_directly() {
    let python = match parts::python() {
        Ok(python) => python,
        Err(why) => {
            eprintln!("SKIPPED: psycopg is not there, NOTHING WAS CHECKED: {why}");
            return;
        }
    };
    let gateway = gateway();
    let output = Command::new(python)
        .envs(gateway.psql_env_certificate("alice", "disk", None))
        .arg("-c")
        .arg(SCRIPT)
        .output()
        .unwrap();
    assert_eq!(stdout(&output), "done", "{}", stderr(&output));

    let events = gateway.events().unwrap();
    let of = |kind: &'static str| events.iter().filter(move |event| event.kind() == kind);
    assert!(
        of("session.start").all(|event| event.text("/actor/authn") == Some("client_certificate"))
    );
    assert_eq!(of("sql.cancel").count(), 1);
    let copied: Vec<_> =
        of("sql.result").filter(|e| e.text("/outcome/copied_sha256").is_some()).collect();
    assert_eq!(copied.len(), 2, "COPY in and out are hashed");
    let parameters = gateway.statements().unwrap();
    assert!(parameters.iter().filter(|s| s.parameters.is_some()).count() >= 60);
    assert!(parameters.iter().all(|s| s.text.is_some()), "every execution has its text");
    let verified = gateway.verify(&[]).unwrap();
    assert_eq!(verified.exit_code, Some(0), "{}", verified.text);
}
