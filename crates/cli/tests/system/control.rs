//! Live control: ending, locking, disabling; effective within a second, shown and recorded.

use super::*;
use std::process::Child;

fn sleeping(gateway: &GatewayUnderTest, person: &str, mark: &str) -> Child {
    psql(gateway, person, "disk")
        .env("PGAPPNAME", mark)
        .args(["-c", &format!("select pg_sleep(60) /* {mark} */")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn running_on_target(mark: &str) -> bool {
    let sql = format!(
        "select count(*) from pg_stat_activity where state = 'active' and application_name = '{mark}'"
    );
    target().execute(&sql).unwrap().trim() != "0"
}

fn live_session(gateway: &GatewayUnderTest, person: &str) -> String {
    until("the session is listed", Duration::from_secs(5), || {
        let listed =
            gateway.succeed(Some("alice"), &["session", "ls", "--live", "--json"]).unwrap();
        let mut lines =
            listed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let mine = lines.find(|session| session["actor"]["name"] == person)?;
        Some(mine["id"].as_str().unwrap().to_owned())
    })
}

#[test]
fn an_operator_ends_a_session_and_the_person_is_told_who_and_why() {
    let gateway = gateway();
    let child = sleeping(&gateway, "bob", "to-be-ended");
    until("it runs", Duration::from_secs(10), || running_on_target("to-be-ended").then_some(()));
    let id = live_session(&gateway, "bob");
    let begin = Instant::now();
    gateway
        .succeed(Some("alice"), &["session", "end", &id, "--reason", "maintenance at noon"])
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    let told = stderr(&output);
    assert!(told.contains("alice ended this session: maintenance at noon"), "{told}");
    until("cancelled on the target", Duration::from_secs(3), || {
        (!running_on_target("to-be-ended")).then_some(())
    });
    assert_eq!(count(&gateway, "session.end_requested", "/detail/session", &id), 1);
    assert_eq!(count(&gateway, "sql.cancel", "/detail/by", "operator"), 1);
    assert_eq!(count(&gateway, "session.end", "/detail/reason", "ended"), 1);
    let denied = gateway.run(Some("bob"), &["session", "end", &id, "--reason", "x"]).unwrap();
    assert_eq!(denied.status.code(), Some(3), "{}", stderr(&denied));
    let shown = gateway.succeed(Some("alice"), &["session", "show", &id]).unwrap();
    assert!(shown.contains("pg_sleep(60)"), "{shown}");
}

#[test]
fn a_lock_ends_running_sessions_and_keeps_new_ones_out_until_it_is_removed() {
    let gateway = gateway();
    let child = sleeping(&gateway, "bob", "to-be-locked");
    until("it runs", Duration::from_secs(10), || running_on_target("to-be-locked").then_some(()));
    let added = gateway
        .succeed(
            Some("alice"),
            &["lock", "add", "person:bob", "--reason", "laptop stolen", "--json"],
        )
        .unwrap();
    let lock: serde_json::Value = serde_json::from_str(added.trim()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(stderr(&output).contains("laptop stolen"), "{}", stderr(&output));
    let refused = psql(&gateway, "bob", "disk").args(["-c", "select 1"]).output().unwrap();
    assert!(stderr(&refused).contains("laptop stolen"), "{}", stderr(&refused));
    let other = psql(&gateway, "alice", "disk").args(["-c", "select 1"]).output().unwrap();
    assert_eq!(stdout(&other), "1");
    gateway.succeed(Some("alice"), &["lock", "rm", lock["id"].as_str().unwrap()]).unwrap();
    let again = psql(&gateway, "bob", "disk").args(["-c", "select 1"]).output().unwrap();
    assert_eq!(stdout(&again), "1", "{}", stderr(&again));
    assert_eq!(count(&gateway, "session.end", "/detail/reason", "locked"), 1);
    assert_eq!(count(&gateway, "config.change", "/detail/change", "lock.add"), 1);
    assert_eq!(count(&gateway, "config.change", "/detail/change", "lock.remove"), 1);
}

#[test]
fn a_disabled_person_is_out_at_once_and_reads_of_audit_data_are_events() {
    let gateway = gateway();
    let child = sleeping(&gateway, "bob", "to-be-disabled");
    until("it runs", Duration::from_secs(10), || running_on_target("to-be-disabled").then_some(()));
    gateway.succeed(Some("alice"), &["person", "disable", "bob"]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
    let refused = psql(&gateway, "bob", "disk").args(["-c", "select 1"]).output().unwrap();
    assert!(!refused.status.success());
    let whoami = gateway.run(Some("bob"), &["whoami"]).unwrap();
    assert_eq!(whoami.status.code(), Some(4), "{}", stderr(&whoami));
    gateway.search("alice", "actor:bob").unwrap();
    assert!(count(&gateway, "audit.read", "/detail/query", "actor:bob") >= 1);
}

#[test]
fn logging_out_ends_the_sessions_that_run_on_what_is_given_back_and_nobody_elses() {
    let gateway = gateway();
    let bobs = sleeping(&gateway, "bob", "to-be-logged-out");
    let mut alices = sleeping(&gateway, "alice", "stays");
    for mark in ["to-be-logged-out", "stays"] {
        until("it runs", Duration::from_secs(10), || running_on_target(mark).then_some(()));
    }
    gateway.succeed(Some("bob"), &["logout"]).unwrap();
    let told = stderr(&bobs.wait_with_output().unwrap());
    assert!(told.contains("FATAL") && told.contains("you logged out"), "{told}");
    until("cancelled on the target", Duration::from_secs(3), || {
        (!running_on_target("to-be-logged-out")).then_some(())
    });
    assert_eq!(count(&gateway, "session.end", "/detail/reason", "logged_out"), 1);
    assert!(running_on_target("stays") && alices.try_wait().unwrap().is_none());
    alices.kill().unwrap();
    alices.wait().unwrap();
}
