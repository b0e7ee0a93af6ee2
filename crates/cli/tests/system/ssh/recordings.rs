//! Replay, and what is noticed of a recording that was altered.

use super::*;
use std::path::Path;

const SECRET: &str = "seventeen blue umbrellas";

/// A session that typed, read a secret without echo, and put a file; the gateway is stopped.
fn recorded() -> Option<(World, String)> {
    let mut world = world()?;
    let mut shell = world.shell("kernel");
    shell.send("echo first-$((40 + 2))\r").unwrap();
    shell.wait_for("first-42", PATIENCE).unwrap();
    shell.send("read -s -p Sec'ret: ' secret; echo; echo length ${#secret}\r").unwrap();
    shell.wait_for("Secret: ", PATIENCE).unwrap();
    shell.send(&format!("{SECRET}\r")).unwrap();
    shell.wait_for(&format!("length {}", SECRET.len()), PATIENCE).unwrap();
    shell.send("exit 0\r").unwrap();
    assert_eq!(shell.wait_end(PATIENCE).unwrap(), Some(0));
    let end = world.expect(1, "session.end").pop().unwrap();
    let session = end.session().unwrap();
    world.gateway.stop().unwrap();
    Some((world, session))
}

fn recording(world: &World, session: &str) -> PathBuf {
    world.gateway.data.join("recordings").join(format!("{session}.rec"))
}

fn contains(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(contains(&path, text));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            if bytes.windows(text.len()).any(|part| part == text.as_bytes()) {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn a_terminal_is_replayed_and_what_was_typed_without_echo_is_in_clear_nowhere() {
    let Some((mut world, session)) = recorded() else { return };
    assert_eq!(contains(&world.gateway.data, SECRET), Vec::<PathBuf>::new());
    assert_eq!(contains(&world.gateway.data, "first-42"), [recording(&world, &session)]);
    world.gateway.start_again().unwrap();
    let out = world.host.folder().join("out.cast");
    let at = out.display().to_string();
    world.gateway.succeed(Some("alice"), &["replay", &session, "--export", &at]).unwrap();
    let cast = std::fs::read_to_string(&out).unwrap();
    let mut lines =
        cast.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let header = lines.next().unwrap();
    assert_eq!((&header["version"], &header["width"]), (&2.into(), &80.into()));
    let shown: String = lines
        .filter(|event| event[1] == "o")
        .map(|event| event[2].as_str().unwrap().to_owned())
        .collect();
    assert!(shown.contains("first-42") && shown.contains("Secret: "), "{shown}");
    assert!(!shown.contains(SECRET));
    let timeline = world.gateway.succeed(Some("alice"), &["session", "show", &session]).unwrap();
    assert!(timeline.contains("shell"), "{timeline}");
    assert!(world.texts("audit.read", "/detail/route").contains(&"recording".to_owned()));
}

#[test]
fn one_flipped_byte_in_a_recording_is_named() {
    let Some((mut world, session)) = recorded() else { return };
    world.verify();
    let path = recording(&world, &session);
    let good = std::fs::read(&path).unwrap();
    let mut random = 0x2545_f491_4f6c_dd1du64;
    for round in 0..24 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let place = match round {
            0 => 0,
            1 => good.len() - 1,
            _ => (random >> 33) as usize % good.len(),
        };
        let mut altered = good.clone();
        altered[place] ^= 1 << (random >> 61);
        std::fs::write(&path, &altered).unwrap();
        let verified = world.gateway.verify(&[]).unwrap();
        assert_eq!(verified.exit_code, Some(10), "byte {place}: {}", verified.text);
        assert!(verified.text.contains(&session), "byte {place}: {}", verified.text);
    }
    world.gateway.start_again().unwrap();
    let refused = world.gateway.run(Some("alice"), &["replay", &session, "--export", "-"]).unwrap();
    assert!(!refused.status.success());
    assert!(stderr(&refused).contains("altered"), "{}", stderr(&refused));
}

#[test]
fn an_erased_recording_is_gone_from_every_file_and_is_no_damage() {
    let Some((mut world, session)) = recorded() else { return };
    let path = recording(&world, &session);
    assert!(path.exists());
    world.gateway.start_again().unwrap();
    let erase = ["erase", "alice", "--reason", "asked to", "--yes", "--json"];
    let told = world.gateway.succeed(Some("alice"), &erase).unwrap();
    let told: serde_json::Value = serde_json::from_str(told.trim()).unwrap();
    assert_eq!((&told["state"], &told["recordings"]), (&"erased".into(), &1.into()), "{told}");
    assert!(!path.exists() && !path.with_extension("leaves").exists());
    assert_eq!(contains(&world.gateway.data, "first-42"), Vec::<PathBuf>::new());
    let replayed = world.gateway.run(Some("alice"), &["replay", &session, "--text"]).unwrap();
    assert!(stderr(&replayed).contains("erased"), "{}", stderr(&replayed));
    world.gateway.stop().unwrap();
    let verified = world.gateway.verify(&[]).unwrap();
    assert_eq!(verified.exit_code, Some(0), "{}", verified.text);
    let offline = format!("{}/{session}", world.gateway.data.display());
    let offline = world.gateway.run(None, &["replay", &offline, "--key", &world.gateway.key]);
    assert!(stderr(&offline.unwrap()).contains("erased"));
}

#[test]
fn a_recording_cut_short_is_incomplete() {
    let Some((world, session)) = recorded() else { return };
    let path = recording(&world, &session);
    let good = std::fs::read(&path).unwrap();
    for length in [good.len() - 1, good.len() / 2, 100] {
        std::fs::write(&path, &good[..length]).unwrap();
        let verified = world.gateway.verify(&[]).unwrap();
        assert_eq!(verified.exit_code, Some(11), "{length} bytes: {}", verified.text);
        assert!(verified.text.contains(&session), "{}", verified.text);
    }
    std::fs::remove_file(&path).unwrap();
    let verified = world.gateway.verify(&[]).unwrap();
    assert_eq!(verified.exit_code, Some(11), "{}", verified.text);
}
