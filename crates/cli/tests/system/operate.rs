//! Running it: one process on a folder, no older copy, nothing overwritten, a good end, a trial.

use super::*;
use std::io::{BufRead, BufReader};
use std::path::Path;

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_second_gateway_on_the_folder_is_refused_and_explained() {
    let gateway = gateway();
    let second = gateway.run(None, &["up"]).unwrap();
    assert_eq!(second.status.code(), Some(1));
    let told = stderr(&second);
    assert!(told.contains("another gateway") && told.contains("hint:"), "{told}");
    assert!(told.contains(&gateway.pid().unwrap().to_string()), "{told}");
}

#[test]
fn no_core_file_can_be_written_of_what_the_gateway_has_in_memory() {
    let gateway = gateway();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.pid().unwrap()));
    let limits = limits.unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
}

#[test]
fn a_folder_restored_from_an_older_copy_is_refused_until_a_new_epoch_says_so() {
    let mut gateway = gateway();
    gateway.stop().unwrap();
    let older = gateway.folder().join("older");
    copy(&gateway.data, &older);
    gateway.start_again().unwrap();
    let output = psql(&gateway, "alice", "disk").args(["-c", "select 1"]).output().unwrap();
    assert!(output.status.success());
    gateway.stop().unwrap();
    std::fs::remove_dir_all(&gateway.data).unwrap();
    copy(&older, &gateway.data);
    let refused = gateway.run(None, &["up"]).unwrap();
    let told = stderr(&refused);
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("a checkpoint over") && told.contains("new-epoch"), "{told}");

    let made = gateway
        .succeed(None, &["ledger", "new-epoch", "--reason", "restored from an older copy"])
        .unwrap();
    assert!(made.contains("/e2+"), "{made}");
    gateway.start_again().unwrap();
    let output = psql(&gateway, "alice", "disk").args(["-c", "select 2"]).output().unwrap();
    assert_eq!(stdout(&output), "2", "{}", stderr(&output));
    gateway.stop().unwrap();
    // The old log could not be told without contradicting what was published, so the old key
    // alone does not lead to the new log; the new one does lead back.
    let verify = |key: &str| {
        let mut command = gateway.command(None);
        command.arg("verify").arg(&gateway.data).args(["--json", "--key", key]).output().unwrap()
    };
    let old = verify(&gateway.key);
    assert_eq!(old.status.code(), Some(12), "{}", stdout(&old));
    let new = verify(made.trim());
    let report: serde_json::Value = serde_json::from_str(&stdout(&new)).unwrap();
    assert_eq!(report["epochs"].as_array().unwrap().len(), 2, "{report}");
}

#[test]
fn init_never_overwrites_and_check_names_the_place() {
    let gateway = gateway();
    let config = gateway.config_file().display().to_string();
    let again = gateway.run(None, &["init", "--config", &config, "--data", "/nowhere"]).unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("exists already"), "{}", stderr(&again));
    let wrong = gateway.folder().join("wrong.toml");
    std::fs::write(&wrong, "data = \"/x\"\n[listen]\npostgers = \"127.0.0.1:1\"\n").unwrap();
    let checked = gateway.run(None, &["check", "--config", &wrong.display().to_string()]).unwrap();
    let told = stderr(&checked);
    assert!(told.contains("wrong.toml:3:1") && told.contains("did you mean `postgres`?"), "{told}");
}

#[test]
fn a_stop_ends_running_sessions_on_record_and_the_log_is_whole() {
    let mut gateway = gateway();
    let child = psql(&gateway, "alice", "disk")
        .args(["-c", "select pg_sleep(60)"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("it runs", Duration::from_secs(10), || {
        (count(&gateway, "sql.statement", "/detail/text", "select pg_sleep(60)") > 0).then_some(())
    });
    gateway.stop().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(stderr(&output).contains("shut down"), "{}", stderr(&output));
    assert_eq!(count(&gateway, "session.end", "/detail/reason", "shutdown"), 1);
    assert_eq!(gateway.events().unwrap().last().unwrap().kind(), "node.shutdown");
    let verified = gateway.verify(&[]).unwrap();
    assert_eq!(verified.exit_code, Some(0), "{}", verified.text);
    assert!(verified.report["epochs"][0]["unproven_tail"].is_null(), "{}", verified.text);
}

#[test]
fn a_trial_needs_nothing_but_the_url_and_the_line_it_prints_works() {
    let folder = tempfile::tempdir().unwrap();
    let server = target();
    let url = format!(
        "postgres://{}:{}@127.0.0.1:{}/postgres?sslmode=verify-full&sslrootcert={}",
        server.superuser,
        server.password,
        server.port,
        server.ca_pem_path.display()
    );
    let mut trial = Command::new(program())
        .args(["try", &url, "--name", "visitor", "--data"])
        .arg(folder.path().join("trial"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(trial.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("PGPASSWORD=lgt_"), "{line}");
    let psql = target().binary("psql").display().to_string();
    let paste = line.trim().replacen("psql", &psql, 1);
    let output = Command::new("sh")
        .args(["-c", &format!("{paste} -X -A -t -c 'select 42'")])
        .output()
        .unwrap();
    assert_eq!(stdout(&output), "42", "{}", stderr(&output));
    let pid = rustix::process::Pid::from_child(&trial);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = trial.wait_with_output().unwrap();
    let told = stderr(&ended);
    assert!(ended.status.success(), "{told}");
    assert!(told.contains("select 42"), "events are shown: {told}");
    let command = told.lines().find(|line| line.trim().starts_with("loggia verify")).unwrap();
    let command = command.trim().replacen("loggia", &program().display().to_string(), 1);
    let verified = Command::new("sh").args(["-c", &command]).output().unwrap();
    assert_eq!(verified.status.code(), Some(0), "{}", stderr(&verified));
}

#[test]
fn the_log_goes_on_under_a_new_key_and_the_old_one_leads_to_it() {
    let mut gateway = gateway();
    let refused = gateway.run(None, &["ledger", "rotate-key", "--reason", "yearly"]).unwrap();
    assert!(stderr(&refused).contains("another gateway"), "{}", stderr(&refused));
    gateway.stop().unwrap();
    let made = gateway.succeed(None, &["ledger", "rotate-key", "--reason", "yearly"]).unwrap();
    let new = made.trim().to_owned();
    assert!(new.contains("/e1+") && new != gateway.key, "{made}");
    let verify = |gateway: &GatewayUnderTest, key: &str| {
        let mut command = gateway.command(None);
        command.arg("verify").arg(&gateway.data).args(["--json", "--key", key]).output().unwrap()
    };
    let signatures = |gateway: &GatewayUnderTest| {
        let note = std::fs::read_to_string(gateway.data.join("ledger/e1/log/checkpoint")).unwrap();
        note.lines().filter(|line| line.starts_with('\u{2014}')).count()
    };
    for retired in [false, true] {
        if retired {
            let told = gateway.succeed(None, &["ledger", "retire-key"]).unwrap();
            assert_eq!(told.trim(), gateway.key);
        }
        gateway.start_again().unwrap();
        let output = psql(&gateway, "alice", "disk").args(["-c", "select 7"]).output().unwrap();
        assert_eq!(stdout(&output), "7", "{}", stderr(&output));
        gateway.stop().unwrap();
        assert_eq!(signatures(&gateway), if retired { 1 } else { 2 });
        for key in [&gateway.key, &new] {
            let verified = verify(&gateway, key);
            assert_eq!(verified.status.code(), Some(0), "{}", stdout(&verified));
            let report: serde_json::Value = serde_json::from_str(&stdout(&verified)).unwrap();
            assert_eq!(report["epochs"][0]["key"], new.as_str(), "{report}");
        }
    }
    let whole = gateway.run(None, &["fsck", &gateway.data.display().to_string()]).unwrap();
    assert!(whole.status.success(), "{}", stderr(&whole));
}

/// SoftHSM2 stands for the token. Without the feature, or the module, nothing of it is tested.
#[cfg(feature = "pkcs11")]
#[test]
fn a_log_is_begun_with_its_key_in_a_token_and_verified_without_it() {
    let module = "/usr/lib/softhsm/libsofthsm2.so";
    if !Path::new(module).is_file() {
        eprintln!("SKIPPED: {module} is not here, so PKCS#11 was NOT tested: apt install softhsm2");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("tokens")).unwrap();
    let tokens = format!("directories.tokendir = {}\n", at("tokens").display());
    std::fs::write(at("softhsm2.conf"), tokens).unwrap();
    let run = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).env("SOFTHSM2_CONF", at("softhsm2.conf"));
        command.env("LOG_PIN", "2718").env("STATE_DIRECTORY", at("state")).output().unwrap()
    };
    let token = ["--init-token", "--free", "--label", "audit", "--so-pin", "31415926"];
    let token = [token.as_slice(), &["--pin", "2718"]].concat();
    let made = run(Path::new("softhsm2-util"), &token);
    assert!(made.status.success(), "{}", stderr(&made));

    let (config, data) = (at("loggia.toml"), at("data"));
    let (config, data) = (config.display().to_string(), data.display().to_string());
    let uri = format!("pkcs11:token=audit;object=log?module-path={module}&pin-source=env:LOG_PIN");
    let init = ["--json", "init", "--config", &config, "--data", &data, "--key"];
    let made = run(&program(), &[init.as_slice(), &[&uri]].concat());
    assert!(made.status.success(), "{}", stderr(&made));
    let made: serde_json::Value = serde_json::from_str(&stdout(&made)).unwrap();
    let key = made["verification_key"].as_str().unwrap();

    // Who verifies needs neither the token nor the module.
    let verified = Command::new(program()).args(["verify", &data, "--key", key]).output().unwrap();
    assert_eq!(verified.status.code(), Some(0), "{}", stdout(&verified));
    let rotate = ["ledger", "rotate-key", "--config", &config, "--reason", "out of the token"];
    let filed = run(&program(), &rotate);
    assert!(filed.status.success(), "{}", stderr(&filed));
    let verified = Command::new(program()).args(["verify", &data, "--key", key]).output().unwrap();
    assert_eq!(verified.status.code(), Some(0), "{}", stdout(&verified));
    assert!(stdout(&verified).contains(stdout(&filed).trim()), "{}", stdout(&verified));
}
