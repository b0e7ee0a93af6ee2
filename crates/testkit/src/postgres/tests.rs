use super::*;

fn psql(server: &Postgres, change: &[(&str, &str)], sql: &str) -> std::process::Output {
    Command::new(server.binary("psql"))
        .args(["-X", "-A", "-t", "-c", sql])
        .envs(server.psql_env())
        .envs(change.iter().copied())
        .output()
        .unwrap()
}

#[test]
fn serves_tls_scram_and_a_countable_log() {
    let mut server = Postgres::start(PostgresOptions::default()).unwrap();
    server.execute("CREATE ROLE alice LOGIN PASSWORD 'wonder'; CREATE DATABASE shop;").unwrap();
    let alice =
        [("PGUSER", "alice"), ("PGPASSWORD", "wonder"), ("PGDATABASE", "shop"), ("PGAPPNAME", "a")];

    let tls = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let output = psql(&server, &alice, tls);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "t|TLSv1.3\n");
    psql(&server, &alice, "SELECT 1,\n\t'two'");
    let logged = server.logged().unwrap();
    let texts: Vec<&str> = logged.iter().map(|statement| statement.text.as_str()).collect();
    assert_eq!(texts, [tls, "SELECT 1,\n\t'two'"]);
    assert!(logged.iter().all(|statement| statement.user == "alice"
        && statement.database == "shop"
        && statement.application == "a"));

    let refused = |change: &[(&str, &str)], reason: &str| {
        let output = psql(&server, change, "SELECT 1");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(reason), "{text}");
    };
    refused(&[("PGPASSWORD", "wrong")], "password authentication failed");
    refused(&[("PGSSLMODE", "disable")], "no encryption");
    refused(
        &[("PGSSLROOTCERT", "/etc/ssl/certs/ca-certificates.crt")],
        "certificate verify failed",
    );
    let scram = "SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = 'alice'";
    assert_eq!(server.execute(scram).unwrap(), "t");
    let error = server.execute("SELECT broken").unwrap_err().to_string();
    assert!(error.contains("column \"broken\" does not exist"), "{error}");

    // Stopped in good order and started again, it is the same server.
    server.stop().unwrap();
    assert!(server.execute("SELECT 1").is_err());
    server.start_again().unwrap();
    assert_eq!(server.execute("SELECT count(*) FROM pg_database").unwrap(), "4");
    let folder = server.data_dir.clone();
    drop(server);
    assert!(!folder.exists());
}

#[test]
fn logs_each_execution_of_a_prepared_statement() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    server.execute("CREATE TABLE numbers AS SELECT generate_series(1, 10) AS n").unwrap();
    let script = server.workspace.join("script.sql");
    std::fs::write(&script, "\\set n random(1, 10)\nSELECT n FROM numbers WHERE n = :n;\n")
        .unwrap();
    let output = Command::new(server.binary("pgbench"))
        .args(["-n", "-M", "prepared", "-c", "2", "-t", "20", "-f"])
        .arg(&script)
        .envs(server.psql_env())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let executed = server
        .logged()
        .unwrap()
        .into_iter()
        .filter(|statement| matches!(statement.kind, StatementKind::Execute { .. }))
        .filter(|statement| statement.parameters.is_some())
        .count();
    assert_eq!(executed, 40);
}
