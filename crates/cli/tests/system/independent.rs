//! The log that a gateway wrote under load and kills, checked by code that nobody of this project
//! wrote: `golang.org/x/mod`, which Go's own checksum database uses.

use super::witness::witnessed;
use super::*;

/// The program around that library, built into a folder of its own; `None`, loudly, without Go or
/// without the library.
fn verifier(folder: &std::path::Path) -> Option<PathBuf> {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system/independent");
    let program = folder.join("independent");
    let built = Command::new("go")
        .args(["build", "-mod=readonly", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(source)
        .env("GOFLAGS", "-modcacherw")
        .env("GOTOOLCHAIN", "local")
        .output();
    match built {
        Ok(output) if output.status.success() => Some(program),
        Ok(output) => skipped(&stderr(&output)),
        Err(error) => skipped(&format!("go: {error}")),
    }
}

fn skipped(why: &str) -> Option<PathBuf> {
    eprintln!("SKIPPED: NO INDEPENDENT VERIFIER RAN: {why}");
    None
}

#[test]
fn a_log_written_under_load_and_kills_satisfies_other_peoples_code() {
    let (mut gateway, witnesses, policy) = witnessed(&["auditor"]);
    let Some(program) = verifier(gateway.folder()) else { return };
    for round in 0..3 {
        // Killed in the middle of it: some clients get no answer, and that is right.
        let load: Vec<_> = (0..3)
            .map(|worker| {
                let sql: String =
                    (0..400).map(|n| format!("select {round}, {worker}, {n};\n")).collect();
                let mut command =
                    psql(&gateway, "alice", if worker == 0 { "disk" } else { "kernel" });
                let mut child = command
                    .arg("-q")
                    .stdin(Stdio::piped())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap();
                let mut input = child.stdin.take().unwrap();
                std::thread::spawn(move || {
                    let _ = std::io::Write::write_all(&mut input, sql.as_bytes());
                    drop(input);
                    let _ = child.wait();
                })
            })
            .collect();
        let before = gateway.events().unwrap().len();
        until("the load is on", Duration::from_secs(20), || {
            (gateway.events().unwrap().len() > before + 100).then_some(())
        });
        gateway.kill_nine().unwrap();
        load.into_iter().for_each(|worker| worker.join().unwrap());
        gateway.start_again().unwrap();
    }
    gateway.stop().unwrap();
    let log = gateway.data.join("ledger/e1/log");
    let check = |key: &str, witness: &str| {
        let output = Command::new(&program).arg(&log).args([key, witness]).output().unwrap();
        stdout(&output)
    };
    let auditor = &witnesses[0].keys[0];
    let good = check(&gateway.key, auditor);
    assert!(good.starts_with("OK size=") && good.ends_with("cosignatures=1"), "{good}");
    // Ours agrees.
    let own = super::witness::loggia(&[
        "--json",
        "verify",
        gateway.data.to_str().unwrap(),
        "--policy",
        policy.to_str().unwrap(),
    ]);
    assert_eq!(own.status.code(), Some(0), "{}", stdout(&own));
    let report: serde_json::Value = serde_json::from_str(&stdout(&own)).unwrap();
    let size = report["epochs"][0]["size"].as_u64().unwrap();
    assert!(good.contains(&format!("size={size} ")), "{good}: {size}");
    assert!(size > 400, "there was load: {size}");

    let path = log.join("tile/entries/000");
    let bytes = std::fs::read(&path).unwrap();
    let mut altered = bytes.clone();
    altered[300] ^= 1;
    std::fs::write(&path, altered).unwrap();
    let bad = check(&gateway.key, auditor);
    assert!(bad.starts_with("FAIL: entry"), "{bad}");
    std::fs::write(&path, bytes).unwrap();
    let path = log.join("cosigned");
    let note = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, note.replacen("\n\n", "\nmore\n\n", 1)).unwrap();
    assert!(check(&gateway.key, auditor).starts_with("FAIL: cosigned"));
}
