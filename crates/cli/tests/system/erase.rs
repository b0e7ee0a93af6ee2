//! Erasure, legal hold, retention: what is gone from every file, what stays provable.

use super::*;
use serde_json::Value as Json;
use std::path::Path;

const MARKER: &str = "a-secret-that-bob-typed";
/// Who searches for it is recorded with what they looked for.
const OF_BOB: &str = "actor:bob a-secret-that-bob-typed";

fn statement(gateway: &GatewayUnderTest, person: &str, text: &str) {
    let output = psql(gateway, person, "disk").args(["-c", text]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

fn json(gateway: &GatewayUnderTest, arguments: &[&str]) -> Json {
    let told = gateway.succeed(Some("alice"), arguments).unwrap();
    serde_json::from_str(told.trim()).unwrap()
}

fn holding(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(text.len()).any(|window| window == text.as_bytes())
        {
            found.push(path);
        }
    }
    found
}

/// Searching shows the text as soon as it is followed.
fn found(gateway: &GatewayUnderTest, query: &str, least: usize) -> Vec<Json> {
    until("it is found", Duration::from_secs(10), || {
        let found = gateway.search("alice", query).unwrap();
        (found.len() >= least).then_some(found)
    })
}

/// Everything is under a checkpoint, what is told of it by the gateway too.
fn verified(gateway: &GatewayUnderTest) -> loggia_testkit::Verified {
    until("it is published", Duration::from_secs(10), || {
        let verified = gateway.verify(&[]).unwrap();
        verified.report["epochs"][0]["unproven_tail"].is_null().then_some(verified)
    })
}

#[test]
fn what_somebody_typed_is_gone_from_every_file_and_every_proof_holds() {
    let mut gateway = gateway();
    statement(&gateway, "bob", &format!("select '{MARKER}'"));
    statement(&gateway, "bob", &format!("select '{}'", MARKER.repeat(4_000)));
    statement(&gateway, "alice", "select 'what alice typed'");
    let seen = found(&gateway, OF_BOB, 1);
    let session = seen[0]["session"]["id"].as_str().unwrap().to_owned();
    assert_eq!(holding(&gateway.data, MARKER), [] as [PathBuf; 0], "sealed from the beginning");

    let erase = ["erase", "bob", "--reason", "case 4711"];
    let would = json(&gateway, &[&erase[..], &["--dry-run", "--json"]].concat());
    assert_eq!(would["state"], "would_erase", "{would}");
    assert!(would["disclosures"].as_u64().unwrap() >= 4 && would["blobs"] == 1, "{would}");
    assert_eq!(found(&gateway, OF_BOB, 1).len(), 1, "nothing is gone yet");
    let asked = gateway.run(Some("alice"), &erase).unwrap();
    assert_eq!(asked.status.code(), Some(2), "nobody can be asked: {}", stderr(&asked));
    let denied = gateway.run(Some("bob"), &[&erase[..], &["--yes"]].concat()).unwrap();
    assert_eq!(denied.status.code(), Some(3), "{}", stderr(&denied));

    let erased = json(&gateway, &[&erase[..], &["--yes", "--json"]].concat());
    assert_eq!((&erased["state"], &erased["keys"]), (&"erased".into(), &1.into()), "{erased}");
    assert_eq!(erased["pending"], Json::Array(Vec::new()), "{erased}");
    assert_eq!(gateway.search("alice", OF_BOB).unwrap().len(), 0);
    let shown = gateway.succeed(Some("alice"), &["session", "show", &session]).unwrap();
    assert!(shown.contains("erased") && !shown.contains(MARKER), "{shown}");
    let left = found(&gateway, &format!("session:{session} kind:sql.statement"), 1);
    assert!(left[0]["erased"].as_array().is_some_and(|it| !it.is_empty()), "{:?}", left[0]);
    assert!(!found(&gateway, "what alice typed", 1).is_empty());

    let report = verified(&gateway);
    assert_eq!(report.exit_code, Some(0), "{}", report.text);
    assert_eq!(report.report["epochs"][0]["erased"][0]["under"], erased["event"]);
    assert_eq!(count(&gateway, "erasure.started", "/intent/reason", "case 4711"), 1);
    assert_eq!(
        gateway.events().unwrap().iter().filter(|it| it.kind() == "erasure.done").count(),
        1
    );
    let fsck = ["fsck", gateway.data.to_str().unwrap()];
    gateway.succeed(None, &fsck).unwrap();

    // Who goes on is recorded as before, and the next boot finds all as it was.
    statement(&gateway, "bob", "select 'bob is back'");
    assert!(!found(&gateway, "bob is back", 1).is_empty());
    gateway.stop().unwrap();
    assert_eq!(holding(&gateway.data, MARKER), [] as [PathBuf; 0]);
    gateway.start_again().unwrap();
    assert!(!found(&gateway, "bob is back", 1).is_empty());
    assert_eq!(gateway.search("alice", OF_BOB).unwrap().len(), 0);

    // A byte that is altered in what is left is found as ever.
    gateway.stop().unwrap();
    let open = holding(&gateway.data.join("ledger/e1/open"), "\u{1}");
    let path = open.first().unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[last] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let report = gateway.verify(&[]).unwrap();
    assert_eq!(report.exit_code, Some(10), "{}", report.text);
}

#[test]
fn a_legal_hold_stops_an_erasure_and_is_named() {
    let gateway = gateway();
    statement(&gateway, "bob", &format!("select '{MARKER}'"));
    let none = gateway.run(Some("alice"), &["hold", "add", "--reason", "x"]).unwrap();
    assert_eq!(none.status.code(), Some(2), "{}", stderr(&none));
    let hold = json(
        &gateway,
        &[
            "hold",
            "add",
            "--resource",
            "disk",
            "--from",
            "2020-01-01",
            "--reason",
            "case 4711",
            "--json",
        ],
    );
    let id = hold["id"].as_str().unwrap();
    let erase = ["erase", "bob", "--reason", "asked to", "--yes"];
    let refused = gateway.run(Some("alice"), &erase).unwrap();
    assert_eq!(refused.status.code(), Some(3), "{}", stderr(&refused));
    assert!(stderr(&refused).contains(id), "{}", stderr(&refused));
    assert_eq!(count(&gateway, "erasure.refused", "/detail/reason", "held"), 1);
    assert!(!found(&gateway, OF_BOB, 1).is_empty());
    let listed = gateway.succeed(Some("alice"), &["hold", "ls"]).unwrap();
    assert!(listed.contains(id) && listed.contains("case 4711"), "{listed}");

    gateway.succeed(Some("alice"), &["hold", "rm", id, "--reason", "closed"]).unwrap();
    gateway.succeed(Some("alice"), &erase).unwrap();
    assert_eq!(gateway.search("alice", OF_BOB).unwrap().len(), 0);
    for change in ["hold.add", "hold.remove"] {
        assert_eq!(count(&gateway, "config.change", "/detail/change", change), 1);
    }
    let open = psql(&gateway, "bob", "disk").args(["-c", "select pg_sleep(30)"]).spawn();
    let mut open = open.unwrap();
    until("bob is in", Duration::from_secs(10), || {
        let live = gateway.succeed(Some("alice"), &["session", "ls", "--live"]).unwrap();
        live.contains("bob").then_some(())
    });
    let refused = gateway.run(Some("alice"), &erase).unwrap();
    assert!(stderr(&refused).contains("open sessions"), "{}", stderr(&refused));
    open.kill().unwrap();
    open.wait().unwrap();
}

#[test]
fn what_a_killed_gateway_began_to_erase_the_next_boot_finishes() {
    let mut gateway = gateway();
    statement(&gateway, "bob", &format!("select '{MARKER}'"));
    found(&gateway, OF_BOB, 1);
    let mut erase = gateway.command(Some("alice"));
    let erase = erase.args(["erase", "bob", "--reason", "asked to", "--yes"]);
    let mut erase = erase.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let kinds = |gateway: &GatewayUnderTest, kind: &str| {
        gateway.events().unwrap().iter().filter(|event| event.kind() == kind).count()
    };
    // On record, and nothing destroyed before a checkpoint covers it.
    until("it is on record", Duration::from_secs(10), || {
        (kinds(&gateway, "erasure.started") == 1).then_some(())
    });
    gateway.kill_nine().unwrap();
    erase.wait().unwrap();
    let before = kinds(&gateway, "erasure.done");
    gateway.start_again().unwrap();
    until("it is finished", Duration::from_secs(20), || {
        (kinds(&gateway, "erasure.done") == 1).then_some(())
    });
    if before == 0 {
        let resumed = gateway.events().unwrap();
        let done = resumed.iter().find(|event| event.kind() == "erasure.done").unwrap();
        assert!(done.value("/detail/resumed").is_some());
    }
    assert_eq!(gateway.search("alice", OF_BOB).unwrap().len(), 0);
    let report = verified(&gateway);
    assert_eq!(report.exit_code, Some(0), "{}", report.text);
    gateway.stop().unwrap();
    gateway.start_again().unwrap();
    assert_eq!(kinds(&gateway, "erasure.done"), 1, "once is enough");
}

#[test]
fn retention_has_periods_from_the_configuration_and_tells_what_it_would_do() {
    let options = options().setting("retention", "disclosures = \"365d\"");
    let gateway = GatewayUnderTest::start(options).unwrap();
    statement(&gateway, "bob", &format!("select '{MARKER}'"));
    for arguments in
        [&["retention", "run", "--dry-run", "--json"][..], &["retention", "run", "--json"]]
    {
        let told = json(&gateway, arguments);
        assert_eq!((&told["what"], &told["state"]), (&"disclosures".into(), &"nothing".into()));
    }
    assert!(!found(&gateway, OF_BOB, 1).is_empty());
    let none = GatewayUnderTest::start(super::options()).unwrap();
    let told = none.run(Some("alice"), &["retention", "run"]).unwrap();
    assert!(stderr(&told).contains("no period is configured"), "{}", stderr(&told));
}
