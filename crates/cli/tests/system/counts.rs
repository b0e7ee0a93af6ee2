//! Nothing that passed is missing: what the server logged is what is on record.

use super::*;
use std::io::Write;

/// What the server logged of one application.
fn logged(application: &str) -> Vec<String> {
    let all = target().logged().unwrap().into_iter();
    all.filter(|statement| statement.application == application).map(|s| s.text).collect()
}

#[test]
fn three_thousand_statements_of_one_file_are_on_record_one_by_one_and_found() {
    let gateway = gateway();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for n in 0..3_000 {
        writeln!(file, "select {n} as number_{n};").unwrap();
    }
    file.flush().unwrap();
    let mut command = psql(&gateway, "alice", "kernel");
    command.env("PGAPPNAME", "three-thousand").arg("-q").arg("-f").arg(file.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output).lines().count(), 3_000);

    let server = logged("three-thousand");
    let recorded = gateway.statements().unwrap();
    let texts: Vec<&str> = recorded.iter().filter_map(|s| s.text.as_deref()).collect();
    assert_eq!(texts, server, "the same statements in the same order");
    assert_eq!(texts.len(), 3_000);
    assert!(recorded.iter().all(|s| s.actor.starts_with("pe_")), "all attributed");

    let found = until("the search finds all", Duration::from_secs(5), || {
        let found = gateway.search("alice", "actor:alice kind:sql.statement outcome:ok").unwrap();
        (found.len() == 3_000).then_some(found)
    });
    assert_eq!(found[0]["detail"]["text"], "select 2999 as number_2999;");
    let one = gateway.search("alice", "number_1234").unwrap();
    assert_eq!(one.len(), 1, "{one:?}");
    let verified = gateway.verify(&[]).unwrap();
    assert_eq!(verified.exit_code, Some(0), "{}", verified.text);
}

#[test]
fn pgbench_simple_and_prepared_counts_equal() {
    let gateway = gateway();
    let bench = |mode: &str, application: &str| {
        let output = Command::new(target().binary("pgbench"))
            .envs(gateway.psql_env("bob", "kernel", None).unwrap())
            .env("PGAPPNAME", application)
            .args(["-n", "-S", "-c", "8", "-j", "2", "-T", "10", "-M", mode])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    };
    target()
        .execute("create table if not exists pgbench_accounts (aid int, abalance int)")
        .unwrap();
    let initialised = Command::new(target().binary("pgbench"))
        .envs(target().psql_env())
        .args(["-i", "-q", "-s", "1"])
        .output()
        .unwrap();
    assert!(initialised.status.success(), "{}", stderr(&initialised));
    for (mode, application) in [("simple", "bench-simple"), ("prepared", "bench-prepared")] {
        let before = gateway.statements().unwrap().len();
        bench(mode, application);
        let server = logged(application).len();
        assert!(server > 500, "{mode}: only {server} statements");
        let recorded = gateway.statements().unwrap();
        assert_eq!(recorded.len() - before, server, "{mode}");
        assert!(recorded.iter().all(|statement| statement.text.is_some()), "{mode}: resolved");
    }
    let verified = gateway.verify(&[]).unwrap();
    assert_eq!(verified.exit_code, Some(0), "{}", verified.text);
}
