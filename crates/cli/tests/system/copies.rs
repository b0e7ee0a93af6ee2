//! A second copy of the log: followed while the gateway works, checked by strangers, and gone on
//! from when the first one is lost.

use super::witness::{FileServer, copy, loggia, statement};
use super::*;

fn mirror(gateway: &GatewayUnderTest, source: &str, to: &str) -> Output {
    let to = gateway.folder().join(to);
    loggia(&["mirror", source, "--to", to.to_str().unwrap(), "--key", &gateway.key])
}

fn published(gateway: &GatewayUnderTest) {
    until("everything is published", Duration::from_secs(10), || {
        let written = gateway.events().unwrap().len() as u64;
        let note = String::from_utf8(gateway.checkpoint()?).unwrap();
        let size: u64 = note.lines().nth(1)?.parse().ok()?;
        (size >= written).then_some(())
    });
}

#[test]
fn a_copy_follows_a_gateway_and_another_goes_on_from_it() {
    let mut gateway = gateway();
    let data = gateway.data.display().to_string();
    statement(&gateway, "select 'first'");
    published(&gateway);
    let first = mirror(&gateway, &data, "copy");
    assert!(first.status.success(), "{}", stderr(&first));
    statement(&gateway, "select 'second'");
    published(&gateway);
    let second = mirror(&gateway, &data, "copy");
    assert!(second.status.success(), "{}", stderr(&second));
    let copied = gateway.verify_folder(&gateway.folder().join("copy"), &[]).unwrap();
    assert_eq!(copied.exit_code, Some(0), "{}", copied.text);
    // It came from another machine: without the keys it is whole, and what is disclosed is closed.
    let epoch = &copied.report["epochs"][0];
    assert!(epoch["sealed_fields_closed"].as_u64().unwrap() > 0, "{}", copied.text);
    assert_eq!(epoch["sealed_fields_undisclosed"], epoch["sealed_fields_closed"]);
    assert!(!gateway.folder().join("copy/keys").exists(), "keys are not copied");

    // The machine burns; the log comes from the copy, keys and control database from the backup.
    gateway.stop().unwrap();
    let last = mirror(&gateway, &data, "copy");
    assert!(last.status.success(), "{}", stderr(&last));
    let backup = gateway.folder().join("backup");
    std::fs::rename(&gateway.data, &backup).unwrap();
    let copy_dir = gateway.folder().join("copy").display().to_string();
    let restore = ["restore", &copy_dir, "--to", &data, "--key", &gateway.key];
    let restored = loggia(&restore);
    assert!(restored.status.success(), "{}", stderr(&restored));
    assert_eq!(loggia(&restore).status.code(), Some(2), "nothing is overwritten");
    copy(&backup.join("keys"), &gateway.data.join("keys"));
    for name in ["control.db", "control.db-wal", "control.db-shm"] {
        if backup.join(name).exists() {
            std::fs::copy(backup.join(name), gateway.data.join(name)).unwrap();
        }
    }
    gateway.start_again().unwrap();
    statement(&gateway, "select 'after the fire'");
    published(&gateway);
    gateway.stop().unwrap();
    let whole = gateway.verify(&[]).unwrap();
    assert_eq!(whole.exit_code, Some(0), "{}", whole.text);
    let texts: Vec<String> =
        gateway.statements().unwrap().into_iter().filter_map(|one| one.text).collect();
    for text in ["select 'first'", "select 'second'", "select 'after the fire'"] {
        assert!(texts.iter().any(|one| one == text), "{text} is not in {texts:?}");
    }
    // And the copy goes on following.
    let after = mirror(&gateway, &data, "copy");
    assert!(after.status.success(), "{}", stderr(&after));
}

#[test]
fn a_copy_that_is_behind_is_restored_and_refused_by_the_gateway() {
    let mut gateway = gateway();
    let data = gateway.data.display().to_string();
    published(&gateway);
    assert!(mirror(&gateway, &data, "copy").status.success());
    statement(&gateway, "select 'not in the copy'");
    published(&gateway);
    gateway.stop().unwrap();
    let backup = gateway.folder().join("backup");
    std::fs::rename(&gateway.data, &backup).unwrap();
    let copy_dir = gateway.folder().join("copy").display().to_string();
    let restored = loggia(&["restore", &copy_dir, "--to", &data, "--key", &gateway.key]);
    assert!(restored.status.success(), "{}", stderr(&restored));
    copy(&backup.join("keys"), &gateway.data.join("keys"));
    std::fs::copy(backup.join("control.db"), gateway.data.join("control.db")).unwrap();
    let config = gateway.config_file().display().to_string();
    let refused = gateway.run(None, &["up", "--config", &config]).unwrap();
    assert!(!refused.status.success());
    assert!(stderr(&refused).contains("was published"), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("new-epoch"), "{}", stderr(&refused));
}

#[test]
fn a_stranger_checks_a_log_at_an_address() {
    let mut gateway = gateway();
    statement(&gateway, "select 'from afar'");
    published(&gateway);
    gateway.stop().unwrap();
    let log = gateway.data.join("ledger/e1/log");
    let server = FileServer::start(&log);
    let verify = |key: &str| loggia(&["verify", &server.address, "--key", key]);
    let good = verify(&gateway.key);
    assert_eq!(good.status.code(), Some(0), "{}{}", stdout(&good), stderr(&good));
    assert!(stdout(&good).contains("intact"), "{}", stdout(&good));
    let other = loggia_tlog::SigningKey::from_seed("other.example", &[1; 32]).unwrap();
    assert_eq!(verify(&other.verifier().to_string()).status.code(), Some(12));

    // One byte on the server.
    let place = log.join("tile/entries");
    let path = std::fs::read_dir(place.join("000.p"))
        .map_or(place.join("000"), |mut partial| partial.next().unwrap().unwrap().path());
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let bad = verify(&gateway.key);
    assert_eq!(bad.status.code(), Some(10), "{}{}", stdout(&bad), stderr(&bad));
    let nobody = loggia(&["verify", "http://127.0.0.1:9/", "--key", &gateway.key]);
    assert_eq!(nobody.status.code(), Some(5), "{}", stderr(&nobody));
}

#[test]
fn a_person_takes_the_receipt_of_their_own_session_and_of_no_other() {
    let policies = r#"
@id("everybody.connects")
permit (
  principal,
  action in [Loggia::Action::"connect", Loggia::Action::"sql.execute"],
  resource is Loggia::Resource
);
"#;
    let gateway = GatewayUnderTest::start(GatewayOptions {
        policies: Some(policies.to_owned()),
        ..options()
    })
    .unwrap();
    // The notice at the start of a session names it.
    let named = ["alice", "bob"].map(|person| {
        let run = psql(&gateway, person, "disk").args(["-c", "select 1"]).output().unwrap();
        assert!(run.status.success(), "{}", stderr(&run));
        stderr(&run)
    });
    published(&gateway);
    let events = gateway.events().unwrap();
    let session_of = |person: &str| {
        let start = events.iter().find(|event| {
            event.kind() == "session.start" && event.text("/actor/name") == Some(person)
        });
        start.unwrap().text("/session/id").unwrap().to_owned()
    };
    let (own, other) = (session_of("bob"), session_of("alice"));
    assert!(named[0].contains(&other) && named[1].contains(&own), "{named:?}");
    let out = gateway.folder().join("receipt");
    let out_text = out.display().to_string();
    gateway.succeed(Some("bob"), &["receipt", &own, "--out", &out_text]).unwrap();
    let denied = gateway.run(Some("bob"), &["receipt", &other, "--out", &out_text]).unwrap();
    assert_eq!(denied.status.code(), Some(3), "{}", stderr(&denied));
    let nobody = "se_01h455vb4pex5vsknk084sn02q";
    let unknown = gateway.run(Some("bob"), &["receipt", nobody, "--out", &out_text]).unwrap();
    assert_eq!(
        unknown.status.code(),
        Some(3),
        "whether it exists is not told: {}",
        stderr(&unknown)
    );

    let check = |name: &str| {
        let at = |end: &str| out.join(format!("{name}{end}")).display().to_string();
        let (proof, entry) = (at(".tlog-proof"), at(".json"));
        loggia(&["--json", "verify", &proof, "--entry", &entry, "--key", &gateway.key])
    };
    let mut hashes = Vec::new();
    for name in ["start", "end"] {
        let checked = check(name);
        assert_eq!(checked.status.code(), Some(0), "{}{}", stdout(&checked), stderr(&checked));
        hashes.push(std::fs::read(out.join(format!("{name}.json"))).unwrap());
    }
    let end: serde_json::Value = serde_json::from_slice(&hashes[1]).unwrap();
    assert_eq!(end["session"]["id"], own.as_str());
    assert!(end["session"]["seq"].as_u64().unwrap() > 2 && end["session"]["prev"].is_string());
    let path = out.join("end.json");
    let altered = String::from_utf8(hashes[1].clone()).unwrap().replacen("seq\":", "seq\":1", 1);
    std::fs::write(&path, altered).unwrap();
    assert_eq!(check("end").status.code(), Some(10));
    // That it was taken is on record.
    until("the read is recorded", Duration::from_secs(5), || {
        (count(&gateway, "audit.read", "/detail/route", "receipt") == 1).then_some(())
    });
}
