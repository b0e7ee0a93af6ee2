//! Real `psql` through a real spine to a real PostgreSQL; the ledger is in memory.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(missing_docs, unreachable_pub, reason = "a test")]

mod gateway;

use gateway::{Gateway, Seen};
use loggia_gate::EndNotice;
use loggia_model::decision::Action;
use loggia_model::resource::{Depth, UpstreamTls};
use loggia_testkit::{Postgres, PostgresOptions};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

/// One server for all tests of this file; each test has an application name of its own, by which
/// its statements are told apart in the server's log.
fn target() -> &'static Postgres {
    static TARGET: LazyLock<Postgres> =
        LazyLock::new(|| Postgres::start(PostgresOptions::default()).unwrap());
    &TARGET
}

/// What the server logged of one test.
fn logged(application: &str) -> Vec<String> {
    let all = target().logged().unwrap().into_iter();
    all.filter(|statement| statement.application == application).map(|s| s.text).collect()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn texts(events: &[Seen], pointer: &str) -> Vec<String> {
    events.iter().map(|seen| seen.text(pointer)).collect()
}

#[test]
fn a_session_is_recorded_from_its_start_to_its_end() {
    let gateway = Gateway::start(target(), Depth::Disk, "whole");
    let done = gateway.psql(&["-c", "select 40 + 2", "-c", "select 1/0"]);
    assert_eq!(stdout(&done), "42");
    let told = stderr(&done);
    assert!(told.contains("NOTICE:  this session goes through Loggia"), "{told}");
    assert!(told.contains("ERROR:  division by zero"), "{told}");

    let events = gateway.events();
    let kinds: Vec<&str> = events.iter().map(Seen::kind).collect();
    assert_eq!(
        kinds,
        [
            "session.start",
            "sql.statement",
            "sql.result",
            "sql.statement",
            "sql.result",
            "session.end"
        ]
    );
    assert_eq!(events[1].text("/detail/text"), "select 40 + 2");
    assert_eq!(events[2].text("/detail/of"), events[1].event.id.to_string());
    assert_eq!(events[2].text("/outcome/tag"), "SELECT 1");
    assert_eq!(events[4].text("/outcome/sqlstate"), "22012");
    assert_eq!(events[4].text("/outcome/message"), "division by zero");
    assert_eq!(events[5].text("/detail/reason"), "client_closed");
    assert_eq!(events[5].text("/detail/actions"), "2");
    let recorded = texts(&[events[1].clone(), events[3].clone()], "/detail/text");
    assert_eq!(logged("whole"), recorded);
}

/// Everything that the server logged is on record, in order, and nothing else.
#[test]
fn what_the_server_logged_is_what_is_on_record() {
    let gateway = Gateway::start(target(), Depth::Kernel, "many");
    let script = gateway.folder.join("many.sql");
    let lines: String = (0..3000).map(|n| format!("select {n};\n")).collect();
    std::fs::write(&script, lines).unwrap();
    let done = gateway.psql(&["-q", "-o", "/dev/null", "-f", &script.display().to_string()]);
    assert!(done.status.success(), "{}", stderr(&done));
    let recorded = texts(&gateway.of_kind("sql.statement"), "/detail/text");
    assert_eq!(recorded.len(), 3000);
    assert_eq!(logged("many"), recorded);
    assert_eq!(gateway.of_kind("sql.result").len(), 3000);
}

#[test]
fn copy_and_large_rows_come_through_counted_and_hashed() {
    let gateway = Gateway::start(target(), Depth::Kernel, "copy");
    let rows: String = (0..200_000).map(|n| format!("{n}\trow number {n}\n")).collect();
    let data = gateway.folder.join("rows.tsv");
    std::fs::write(&data, &rows).unwrap();
    let table = "create table copied (id int, name text)";
    let copy_in = format!("\\copy copied from '{}'", data.display());
    let back = gateway.folder.join("back.tsv");
    let copy_out = format!("\\copy (select * from copied order by id) to '{}'", back.display());
    let done = gateway.psql(&["-q", "-c", table, "-c", &copy_in, "-c", &copy_out]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert_eq!(std::fs::read_to_string(&back).unwrap(), rows);
    let results = gateway.of_kind("sql.result");
    let copied: Vec<_> =
        results.iter().filter(|seen| seen.at("/outcome/copied_bytes").is_some()).collect();
    assert_eq!(copied.len(), 2);
    let expected = {
        use sha2::Digest;
        hex::encode(sha2::Sha256::digest(rows.as_bytes()))
    };
    for seen in copied {
        assert_eq!(seen.text("/outcome/copied_sha256"), expected);
        assert_eq!(seen.text("/outcome/copied_bytes"), rows.len().to_string());
        assert_eq!(seen.text("/outcome/tag"), "COPY 200000");
    }
    // Data that breaks, and a session that goes on.
    std::fs::write(&data, "not a number\tx\n1\tok\n").unwrap();
    gateway.forget();
    let done = gateway.psql(&["-c", &copy_in, "-c", "select 'still here'"]);
    assert_eq!(stdout(&done), "still here", "{}", stderr(&done));
    let results = gateway.of_kind("sql.result");
    assert_eq!(texts(&results, "/outcome/status"), ["error", "ok"]);
    // One row of 50 MB comes through, and one that is larger than what is waited for.
    let done = gateway.psql(&["-c", "select length(repeat('x', 50000000)), repeat('x', 50000000)"]);
    assert_eq!(done.stdout.len(), 50_000_000 + 10);
    let done = gateway.psql(&["-c", "do $$ begin raise '%', repeat('y', 3000000); end $$"]);
    assert!(done.stderr.len() > 3_000_000);
}

#[test]
fn refusals_are_told_in_the_protocols_own_words() {
    let gateway = Gateway::start(target(), Depth::Kernel, "refuse");
    // An action that is too large to be recorded; the session goes on.
    let script = gateway.folder.join("large.sql");
    let large = format!("select length('{}');\nselect 'still here';\n", "z".repeat(17 << 20));
    std::fs::write(&script, large).unwrap();
    let done = gateway.psql(&["-q", "-f", &script.display().to_string()]);
    assert!(stderr(&done).contains("too large to be recorded"), "{}", stderr(&done));
    assert!(stderr(&done).contains("HINT:  send large values in parts"), "{}", stderr(&done));
    assert_eq!(stdout(&done), "still here");
    let refused = gateway.of_kind("sql.refused");
    assert_eq!(texts(&refused, "/detail/reason"), ["too_large"]);

    // In a transaction the refusal fails it, as an error of the server would.
    gateway.forget();
    gateway.world.deny(Action::SqlExecute);
    let done = gateway.psql(&["-c", "select 1"]);
    assert!(stderr(&done).contains("you may not do this here (sql.execute)"), "{}", stderr(&done));
    let refused = gateway.of_kind("sql.refused");
    assert_eq!(texts(&refused, "/detail/text"), ["select 1"]);
    assert_eq!(refused[0].text("/decision/effect"), "deny");
    assert!(gateway.of_kind("sql.statement").is_empty());
    gateway.world.allow(Action::SqlExecute);

    // Replication is opaque.
    gateway.forget();
    gateway.world.deny(Action::SqlOpaque);
    let done = gateway.psql(&["-d", "dbname=postgres replication=database", "-c", "select 1"]);
    assert!(stderr(&done).contains("replication is opaque to Loggia"), "{}", stderr(&done));
    assert_eq!(texts(&gateway.of_kind("sql.refused"), "/detail/reason"), ["opaque"]);
    gateway.world.allow(Action::SqlOpaque);
    gateway.forget();
    let done =
        gateway.psql(&["-d", "dbname=postgres replication=database", "-c", "IDENTIFY_SYSTEM"]);
    assert!(stdout(&done).contains("|postgres"), "{}", stderr(&done));
    assert_eq!(texts(&gateway.of_kind("sql.opaque"), "/detail/message"), ["replication"]);

    // Who, what and where: told in the protocol's own words.
    for (name, value, told) in [
        ("PGPASSWORD", "wrong", "this credential is not known"),
        ("PGUSER", "nowhere", "there is no resource `nowhere` here"),
        ("PGUSER", "root~shop", "has no account `root`"),
        ("PGUSER", "bob+shop", "another person than the credential"),
        ("PGDATABASE", "nosuch", "database \"nosuch\" does not exist"),
    ] {
        let done = psql_with(&gateway, name, value);
        let said = stderr(&done);
        assert!(said.contains(told) && said.contains("HINT:"), "{name}={value}: {said}");
    }
    let done = psql_with(&gateway, "PGSSLMODE", "disable");
    assert!(stderr(&done).contains("sslmode=require"), "{}", stderr(&done));
}

fn psql_with(gateway: &Gateway, name: &str, value: &str) -> Output {
    let mut command = Command::new("psql");
    command.args(["-X", "-c", "select 1"]).envs(gateway.env()).env(name, value);
    command.output().unwrap()
}

fn spawn(gateway: &Gateway, sql: &str) -> std::process::Child {
    let mut command = Command::new("psql");
    command.args(["-X", "-A", "-t", "-c", sql]).envs(gateway.env());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until the target runs a statement that contains `what`.
fn wait_until_running(target: &Postgres, what: &str, running: bool) {
    let ask = format!(
        "select count(*) from pg_stat_activity where state = 'active' and query like '%{what}%' \
         and pid <> pg_backend_pid()"
    );
    let deadline = loggia_testkit::Deadline::after(Duration::from_secs(10));
    let wanted = if running { "1" } else { "0" };
    while target.execute(&ask).unwrap() != wanted {
        assert!(!deadline.passed(), "{what} running: not {running}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn cancel_really_cancels() {
    let target = target();
    let gateway = Gateway::start(target, Depth::Kernel, "cancel");
    let child = spawn(&gateway, "select pg_sleep(60) -- cancel_me");
    wait_until_running(target, "cancel_me", true);
    // psql turns SIGINT into a request to cancel.
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let done = child.wait_with_output().unwrap();
    assert!(stderr(&done).contains("canceling statement due to user request"), "{}", stderr(&done));
    let cancels = gateway.of_kind("sql.cancel");
    assert_eq!(texts(&cancels, "/detail/by"), ["client"]);
    assert_eq!(cancels[0].text("/actor/authn"), "cancel_key");
    assert_eq!(cancels[0].text("/source/ip"), "127.0.0.1");
    let statement = gateway.of_kind("sql.statement")[0].event.id.to_string();
    assert_eq!(cancels[0].text("/detail/of"), statement);
    assert_eq!(texts(&gateway.of_kind("sql.result"), "/outcome/status"), ["cancelled"]);
    wait_until_running(target, "cancel_me", false);
}

#[test]
fn a_session_that_is_ordered_to_end_says_why() {
    let target = target();
    let gateway = Gateway::start(target, Depth::Kernel, "order");
    let child = spawn(&gateway, "select pg_sleep(60) -- end_me");
    wait_until_running(target, "end_me", true);
    let notice = EndNotice {
        code: "ended",
        reason: "maintenance at noon".into(),
        by: Some("pe_01h455vb4pex5vsknk084sn02q".into()),
    };
    let session = gateway.sessions.list()[0].id;
    assert!(gateway.sessions.end(session, notice));
    let done = child.wait_with_output().unwrap();
    let said = stderr(&done);
    assert!(said.contains("FATAL:  Loggia ended this session: maintenance at noon"), "{said}");
    wait_until_running(target, "end_me", false);
    let kinds: Vec<String> = gateway.events().iter().map(|seen| seen.kind().to_owned()).collect();
    assert_eq!(kinds[..3], ["session.start", "sql.statement", "sql.cancel"], "{kinds:?}");
    assert_eq!(texts(&gateway.of_kind("sql.cancel"), "/detail/by"), ["operator"]);
    assert_eq!(texts(&gateway.of_kind("session.end"), "/detail/note"), ["maintenance at noon"]);

    // A lock ends a session in the middle of a large answer, between two messages.
    gateway.forget();
    let child = spawn(&gateway, "select repeat('x', 100000) from generate_series(1, 100000)");
    gateway.wait_for("sql.statement");
    std::thread::sleep(Duration::from_millis(300));
    *gateway.world.lock.lock() = Some(loggia_model::port::LockNotice {
        lock: "lk_01h455vb4pex5vsknk084sn02q".into(),
        reason: "under investigation".into(),
    });
    let done = child.wait_with_output().unwrap();
    let said = stderr(&done);
    assert!(said.contains("Loggia ended this session: under investigation"), "{said}");
    assert_eq!(texts(&gateway.of_kind("session.end"), "/detail/reason"), ["locked"]);
}

#[test]
fn prepared_statements_carry_the_id_of_their_text() {
    let gateway = Gateway::start(target(), Depth::Kernel, "prepare");
    // SQL's own names are not ours; \bind goes by the extended protocol where psql knows it.
    let done = gateway.psql(&[
        "-c",
        "prepare p(int) as select $1 + 1",
        "-c",
        "execute p(41)",
        "-c",
        "deallocate p",
    ]);
    assert_eq!(stdout(&done).lines().nth(1), Some("42"));
    assert_eq!(gateway.of_kind("sql.statement").len(), 3);
    // psql handles large objects by the function call message.
    gateway.forget();
    let file = gateway.folder.join("select.sql");
    std::fs::write(&file, "large object").unwrap();
    let done = gateway.psql(&["-c", &format!("\\lo_import {}", file.display())]);
    assert!(stdout(&done).starts_with("lo_import"), "{}", stderr(&done));
    let calls = gateway.of_kind("sql.call");
    assert!(calls.iter().any(|seen| seen.text("/detail/arguments").contains("bGFyZ2Ugb2JqZWN0")));
    let results = gateway.of_kind("sql.result");
    assert!(texts(&results, "/outcome/status").iter().all(|status| status == "ok"));
    gateway.forget();
    let script = gateway.folder.join("select.sql");
    std::fs::write(&script, "\\set a 7\nselect :a::int;\n").unwrap();
    for mode in ["simple", "extended", "prepared"] {
        gateway.forget();
        let done = Command::new("pgbench")
            .args(["-n", "-M", mode, "-t", "20", "-f", &script.display().to_string()])
            .envs(gateway.env())
            .output()
            .unwrap();
        assert!(done.status.success(), "{mode}: {}", stderr(&done));
        let mine = |seen: &Seen| seen.text("/detail/text").contains("::int");
        let statements = gateway.of_kind("sql.statement");
        let results = gateway.of_kind("sql.result");
        assert!(texts(&results, "/outcome/status").iter().all(|status| status == "ok"));
        if mode == "simple" {
            assert_eq!(statements.iter().filter(|seen| mine(seen)).count(), 20);
            continue;
        }
        let prepares: Vec<Seen> = gateway.of_kind("sql.prepare").into_iter().filter(mine).collect();
        assert_eq!(prepares.len(), if mode == "prepared" { 1 } else { 20 });
        let ids: Vec<String> = prepares.iter().map(|seen| seen.event.id.to_string()).collect();
        let bound: Vec<_> =
            statements.iter().filter(|seen| ids.contains(&seen.text("/detail/prepared"))).collect();
        assert_eq!(bound.len(), 20, "{mode}");
        assert!(bound.iter().all(|seen| seen.text("/detail/parameters") == "[\"7\"]"));
    }
}

#[test]
fn what_cannot_be_recorded_does_not_reach_the_target() {
    let gateway = Gateway::start(target(), Depth::Kernel, "lost");
    let mut command = Command::new("psql");
    command.args(["-X", "-A", "-t"]).envs(gateway.env());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    use std::io::Write;
    input.write_all(b"select 'recorded';\n").unwrap();
    gateway.wait_for("sql.result");
    gateway.ledger.closed.store(true, std::sync::atomic::Ordering::SeqCst);
    input.write_all(b"select 'not recorded';\n").unwrap();
    drop(input);
    let done = child.wait_with_output().unwrap();
    assert!(stderr(&done).contains("cannot be recorded any more"), "{}", stderr(&done));
    assert_eq!(logged("lost"), ["select 'recorded';"], "nothing reached the target unrecorded");
    let done = gateway.psql(&["-c", "select 1"]);
    assert!(stderr(&done).contains("nothing can be recorded at the moment"), "{}", stderr(&done));
}

#[test]
fn a_target_that_is_not_right_is_refused() {
    let target = target();
    let gateway = Gateway::start(target, Depth::Kernel, "broken");
    for (change, told) in [
        (
            wrong_port as fn(&mut loggia_model::resource::Resource),
            "cannot be reached from the gateway",
        ),
        (wrong_authority, "did not prove that it is the right server"),
        (no_tls, "did not let the gateway sign in"),
    ] {
        let gateway = Gateway::start(target, Depth::Kernel, "broken");
        gateway.world.change_resource(change);
        let done = gateway.psql(&["-c", "select 1"]);
        let said = stderr(&done);
        assert!(said.contains(told) && said.contains("HINT:"), "{said}");
        assert!(!said.contains(&target.port.to_string()), "{said}");
    }
    // The right authority, but another server's name.
    let names = vec!["db.example".to_owned()];
    let options = PostgresOptions { certificate_names: names, ..PostgresOptions::default() };
    let other = Postgres::start(options).unwrap();
    let done = Gateway::start(&other, Depth::Kernel, "broken").psql(&["-c", "select 1"]);
    assert!(stderr(&done).contains("did not prove that it is the right server"));
    // A server that goes away says so itself.
    let child = spawn(&gateway, "select pg_terminate_backend(pg_backend_pid())");
    let done = child.wait_with_output().unwrap();
    assert!(stderr(&done).contains("terminating connection due to administrator command"));
    assert_eq!(texts(&gateway.of_kind("session.end"), "/detail/reason"), ["target_closed"]);
}

fn wrong_port(resource: &mut loggia_model::resource::Resource) {
    resource.port = 1;
}

fn wrong_authority(resource: &mut loggia_model::resource::Resource) {
    resource.ca_file = None;
}

fn no_tls(resource: &mut loggia_model::resource::Resource) {
    resource.tls = UpstreamTls::Off;
}
