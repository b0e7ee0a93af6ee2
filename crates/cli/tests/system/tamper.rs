//! Nothing is altered unnoticed: one byte of any file of the log, in a disclosure, in the
//! write-ahead log below the checkpoint; a swap; a cut tail.

use super::*;
use loggia_tlog::tile::{bundle_decode, bundle_encode};
use std::path::Path;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

/// A stopped gateway's data folder with some hundred events, so that there are full tiles.
fn written() -> GatewayUnderTest {
    let mut gateway = gateway();
    let sql = (0..160).map(|n| format!("select {n}, 'tamper';\n")).collect::<String>();
    let mut command = psql(&gateway, "alice", "kernel");
    let mut child = command.arg("-q").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), sql.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    gateway.stop().unwrap();
    gateway
}

#[test]
fn one_flipped_byte_anywhere_in_the_log_or_a_disclosure_is_named() {
    let gateway = written();
    let whole = gateway.verify(&[]).unwrap();
    assert_eq!(whole.exit_code, Some(0), "{}", whole.text);
    let bad = gateway.folder().join("bad");
    copy(&gateway.data, &bad);
    let mut random = 0x2545_f491_4f6c_dd1du64;
    for part in ["ledger/e1/log", "ledger/e1/open"] {
        let all = files(&bad.join(part));
        assert!(all.len() >= 2, "{part}: {all:?}");
        for path in all {
            let good = std::fs::read(&path).unwrap();
            for try_number in 0..6 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let place = match try_number {
                    0 => 0,
                    1 => good.len() - 1,
                    _ => (random >> 33) as usize % good.len(),
                };
                let mut altered = good.clone();
                altered[place] ^= 1 << (random >> 61);
                std::fs::write(&path, &altered).unwrap();
                let verified = gateway.verify_folder(&bad, &[]).unwrap();
                let shown = path.strip_prefix(&bad).unwrap().display().to_string();
                // A changed name in the checkpoint makes it the checkpoint of another log.
                let other_log = shown.ends_with("checkpoint") && verified.exit_code == Some(12);
                assert!(
                    verified.exit_code == Some(10) || other_log,
                    "{shown} byte {place}: {}",
                    verified.text
                );
                assert!(verified.text.contains(&shown), "{shown}: {}", verified.text);
            }
            std::fs::write(&path, &good).unwrap();
        }
    }
}

#[test]
fn two_swapped_entries_are_named() {
    let gateway = written();
    let path = gateway.data.join("ledger/e1/log/tile/entries/000");
    let bytes = std::fs::read(&path).unwrap();
    let mut entries: Vec<Vec<u8>> =
        bundle_decode(&bytes, 256).unwrap().into_iter().map(<[u8]>::to_vec).collect();
    entries.swap(40, 41);
    std::fs::write(&path, bundle_encode(&entries).unwrap()).unwrap();
    let verified = gateway.verify(&[]).unwrap();
    assert_eq!(verified.exit_code, Some(10), "{}", verified.text);
    assert!(verified.text.contains("\"entry\":40"), "{}", verified.text);
}

#[test]
fn the_write_ahead_log_is_held_to_the_checkpoint_and_beyond_it_is_unproven() {
    let mut gateway = gateway();
    let run = |gateway: &GatewayUnderTest, text: &str| {
        let output = psql(gateway, "alice", "disk").args(["-c", text]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    };
    run(&gateway, "select 'below'");
    until("a checkpoint over it", Duration::from_secs(5), || {
        let tail = gateway.verify(&[]).unwrap().report["epochs"][0]["unproven_tail"].clone();
        tail.is_null().then_some(())
    });
    // Killed before the next checkpoint: what follows stands in the write-ahead log alone.
    let child = psql(&gateway, "alice", "disk")
        .args(["-c", "select 'beyond'", "-c", "select pg_sleep(5)"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the statement is written", Duration::from_secs(5), || {
        (count(&gateway, "sql.statement", "/detail/text", "select 'beyond'") > 0).then_some(())
    });
    gateway.kill_nine().unwrap();
    drop(child);
    let verified = gateway.verify(&[]).unwrap();
    assert_eq!(verified.exit_code, Some(0), "{}", verified.text);

    let wal = files(&gateway.data.join("ledger/e1/wal"));
    let wal = wal.iter().rfind(|path| path.extension().is_some_and(|end| end == "wal")).unwrap();
    let good = std::fs::read(wal).unwrap();
    let size = verified.report["epochs"][0]["size"].as_u64().unwrap();
    if verified.report["epochs"][0]["unproven_tail"].is_null() {
        eprintln!("the checkpoint was quicker than the kill; only the part below it is checked");
    } else {
        let used = good.iter().rposition(|byte| *byte != 0).unwrap();
        let mut altered = good.clone();
        altered[used - 2] ^= 1;
        std::fs::write(wal, altered).unwrap();
        let beyond = gateway.verify(&[]).unwrap();
        assert_eq!(beyond.exit_code, Some(0), "beyond {size}: {}", beyond.text);
    }
    let mut altered = good.clone();
    altered[600] ^= 1;
    std::fs::write(wal, &altered).unwrap();
    let below = gateway.verify(&[]).unwrap();
    assert_eq!(below.exit_code, Some(10), "{}", below.text);
    assert!(below.text.contains("wal/"), "{}", below.text);
}

#[test]
fn a_cut_tail_shows_against_a_checkpoint_that_somebody_holds() {
    let mut gateway = gateway();
    until("a checkpoint", Duration::from_secs(5), || gateway.checkpoint());
    gateway.stop().unwrap();
    let earlier = gateway.folder().join("earlier");
    copy(&gateway.data, &earlier);
    gateway.start_again().unwrap();
    let output =
        psql(&gateway, "alice", "disk").args(["-c", "select 'to be cut'"]).output().unwrap();
    assert!(output.status.success());
    gateway.stop().unwrap();
    let held = gateway.folder().join("held");
    std::fs::write(&held, gateway.checkpoint().unwrap()).unwrap();

    let alone = gateway.verify_folder(&earlier, &[]).unwrap();
    assert_eq!(alone.exit_code, Some(0), "the cut log alone verifies: {}", alone.text);
    let size = alone.report["epochs"][0]["size"].as_u64().unwrap();
    assert!(size > 0 && alone.report["epochs"][0]["last_time_us"].is_i64(), "says until where");
    let against = gateway.verify_folder(&earlier, &[held]).unwrap();
    assert_eq!(against.exit_code, Some(10), "{}", against.text);
}

#[test]
fn a_foreign_key_proves_nothing() {
    let gateway = written();
    let other = written();
    let mut command = gateway.command(None);
    let output =
        command.arg("verify").arg(&gateway.data).args(["--key", &other.key]).output().unwrap();
    assert_eq!(output.status.code(), Some(12), "{}{}", stdout(&output), stderr(&output));
}

#[test]
fn one_event_is_proved_offline_and_an_altered_one_is_not() {
    let gateway = written();
    let id = gateway.statements().unwrap()[3].id.clone();
    let out = gateway.folder().join("proof");
    let (data, folder) = (gateway.data.display().to_string(), out.display().to_string());
    gateway.succeed(None, &["prove", &id, "--data", &data, "--out", &folder]).unwrap();
    let verify = || {
        let at = |name: &str| out.join(name).display().to_string();
        let (proof, entry, open) = (at("e.tlog-proof"), at("e.json"), at("e.open.json"));
        gateway
            .run(
                None,
                &["verify", &proof, "--entry", &entry, "--open", &open, "--key", &gateway.key],
            )
            .unwrap()
    };
    let good = verify();
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    assert!(stdout(&good).contains("select 3, 'tamper'"), "{}", stdout(&good));
    for name in ["e.json", "e.open.json", "e.tlog-proof"] {
        let path = out.join(name);
        let bytes = std::fs::read(&path).unwrap();
        let mut altered = bytes.clone();
        let middle = altered.len() / 2;
        altered[middle] ^= 1;
        std::fs::write(&path, altered).unwrap();
        assert_eq!(verify().status.code(), Some(10), "{name}");
        std::fs::write(&path, bytes).unwrap();
    }
}
