//! Witnesses, with the real binary: a gateway whose log two of them cosign, an auditor with a
//! policy, and an operator who has the key and rewrites history.

use super::*;
use loggia_tlog::{CosignerKey, SigningKey, VerifierKey};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Child;

/// `loggia witness up`, stopped when dropped.
pub(super) struct WitnessProcess {
    child: Child,
    address: String,
    pub(super) keys: Vec<String>,
    dir: PathBuf,
}

impl Drop for WitnessProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) fn loggia(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).env("NO_COLOR", "1").output().unwrap()
}

fn serve(dir: &Path, listen: &str, keys: Vec<String>) -> WitnessProcess {
    let mut child = Command::new(program())
        .args(["witness", "up", "--dir", dir.to_str().unwrap(), "--listen", listen])
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("http://") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "the witness ended");
    }
    // What it says later must not fill the pipe.
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    let address = line.trim().to_owned();
    WitnessProcess { child, address, keys, dir: dir.to_owned() }
}

fn witness(gateway: &GatewayUnderTest, name: &str) -> WitnessProcess {
    let dir = gateway.folder().join(format!("witness-{name}"));
    let made = loggia(&[
        "--json",
        "witness",
        "init",
        "--dir",
        dir.to_str().unwrap(),
        "--name",
        &format!("{name}.example/w"),
        "--log",
        &gateway.key,
    ]);
    assert!(made.status.success(), "{}", stderr(&made));
    let made: serde_json::Value = serde_json::from_str(&stdout(&made)).unwrap();
    let keys = made["keys"].as_array().unwrap().iter();
    let keys = keys.map(|key| key.as_str().unwrap().to_owned()).collect();
    serve(&dir, "127.0.0.1:0", keys)
}

/// A gateway whose log these witnesses cosign, and the policy of an auditor who runs the first.
pub(super) fn witnessed(names: &[&str]) -> (GatewayUnderTest, Vec<WitnessProcess>, PathBuf) {
    let mut gateway = gateway();
    gateway.stop().unwrap();
    let witnesses: Vec<_> = names.iter().map(|name| witness(&gateway, name)).collect();
    let mut config = std::fs::read_to_string(gateway.config_file()).unwrap();
    let mut policy = format!("# the auditor's own\nlog {}\n", gateway.key);
    for (name, witness) in names.iter().zip(&witnesses) {
        config += &format!(
            "\n[[ledger.witness]]\nname = \"{name}\"\nkey = [\"{}\", \"{}\"]\nurl = \"{}\"\n",
            witness.keys[0], witness.keys[1], witness.address
        );
        policy += &format!("witness {name} {} {}\n", witness.keys[0], witness.address);
    }
    policy += &format!("group q all {}\nquorum q\n", names.join(" "));
    std::fs::write(gateway.config_file(), config).unwrap();
    let path = gateway.folder().join("auditor.policy");
    std::fs::write(&path, policy).unwrap();
    gateway.start_again().unwrap();
    (gateway, witnesses, path)
}

fn verify(data: &Path, policy: &Path, more: &[&str]) -> (Option<i32>, serde_json::Value) {
    let (data, policy) = (data.to_str().unwrap(), policy.to_str().unwrap());
    let output = loggia(&[&["--json", "verify", data, "--policy", policy], more].concat());
    let report = serde_json::from_str(&stdout(&output))
        .unwrap_or_else(|_| serde_json::json!({ "stderr": stderr(&output) }));
    (output.status.code(), report)
}

pub(super) fn statement(gateway: &GatewayUnderTest, text: &str) {
    let output = psql(gateway, "alice", "disk").args(["-c", text]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

fn cosigned_size(gateway: &GatewayUnderTest) -> u64 {
    let path = gateway.data.join("ledger/e1/log/cosigned");
    let note = std::fs::read_to_string(path).unwrap_or_default();
    note.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0)
}

fn checkpoint_size(gateway: &GatewayUnderTest) -> u64 {
    let note = String::from_utf8(gateway.checkpoint().unwrap_or_default()).unwrap();
    note.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0)
}

fn all_cosigned(gateway: &GatewayUnderTest) {
    until("everything is cosigned", Duration::from_secs(15), || {
        let written = gateway.events().unwrap().len() as u64;
        (written > 0 && cosigned_size(gateway) >= written).then_some(())
    });
}

#[test]
fn an_auditor_with_a_witness_of_their_own_gets_more_than_the_operators_word() {
    let (mut gateway, witnesses, policy) = witnessed(&["auditor", "other"]);
    statement(&gateway, "select 'witnessed'");
    all_cosigned(&gateway);
    let (status, ready) = gateway.get("/readyz").unwrap();
    assert!(status == 200 && ready.contains("\"witnesses\":\"ok\""), "{ready}");
    let (_, metrics) = gateway.get("/metrics").unwrap();
    assert!(metrics.contains("loggia_ledger_witness_lag_seconds{witness=\"auditor\"} 0"));
    let doctor = gateway.run(None, &["doctor"]).unwrap();
    assert!(stdout(&doctor).contains("`auditor` has seen"), "{}", stdout(&doctor));

    // A proof of one event carries the cosignatures with it.
    let id = gateway.statements().unwrap()[0].id.clone();
    let out = gateway.folder().join("proof");
    let (data, folder) = (gateway.data.display().to_string(), out.display().to_string());
    gateway.succeed(None, &["prove", &id, "--data", &data, "--out", &folder]).unwrap();
    gateway.stop().unwrap();
    let at = |name: &str| out.join(name).display().to_string();
    let policy_path = policy.display().to_string();
    let proof = ["verify", &at("e.tlog-proof"), "--entry", &at("e.json"), "--policy", &policy_path];
    let proved = loggia(&proof);
    assert_eq!(proved.status.code(), Some(0), "{}{}", stdout(&proved), stderr(&proved));
    assert!(stdout(&proved).contains("cosigned by auditor ("), "{}", stdout(&proved));

    // The whole log: also the very last entry, which the witnesses saw as the gateway ended.
    let (code, report) = verify(&gateway.data, &policy, &["--max-age", "10m"]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["trust"], "cosigned");
    assert_eq!(report["policy"], "all of (auditor, other)");
    assert!(report["epochs"][0]["not_cosigned"].is_null(), "{report}");
    let fsck = loggia(&["fsck", &data]);
    assert_eq!(fsck.status.code(), Some(0), "{}", stderr(&fsck));
    let (code, report) = verify(&gateway.data, &policy, &["--max-age", "0s"]);
    assert!(matches!(code, Some(0 | 12)), "{report}");

    // A policy that asks for a witness who never saw it.
    let stranger = witness(&gateway, "stranger");
    let asked = std::fs::read_to_string(&policy).unwrap().replace(
        "group q all auditor other",
        &format!("witness stranger {}\ngroup q all auditor other stranger", stranger.keys[0]),
    );
    let strict = gateway.folder().join("strict.policy");
    std::fs::write(&strict, asked).unwrap();
    assert_eq!(verify(&gateway.data, &strict, &[]).0, Some(12));
    drop(witnesses);
}

#[test]
fn a_monitor_remembers_and_compares_with_the_witnesses() {
    let (gateway, witnesses, policy) = witnessed(&["auditor"]);
    all_cosigned(&gateway);
    let epoch = gateway.data.join("ledger/e1");
    let state = gateway.folder().join("seen");
    let monitor = |log: &str| {
        loggia(&[
            "monitor",
            log,
            "--policy",
            policy.to_str().unwrap(),
            "--state",
            state.to_str().unwrap(),
        ])
    };
    let first = monitor(epoch.to_str().unwrap());
    assert_eq!(first.status.code(), Some(0), "{}{}", stdout(&first), stderr(&first));
    assert!(stdout(&first).contains("seen for the first time; the first"), "{}", stdout(&first));
    let before = gateway.folder().join("before");
    copy(&epoch, &before);
    statement(&gateway, "select 1");
    statement(&gateway, "select 2");
    all_cosigned(&gateway);
    let later = monitor(epoch.to_str().unwrap());
    assert_eq!(later.status.code(), Some(0), "{}{}", stdout(&later), stderr(&later));
    assert!(stdout(&later).contains(", continues the "), "{}", stdout(&later));
    assert!(stdout(&later).contains("auditor has seen"), "{}", stdout(&later));

    // Over HTTP, as anybody may serve the folder.
    let server = FileServer::start(&epoch.join("log"));
    let remote = monitor(&server.address);
    assert_eq!(remote.status.code(), Some(0), "{}{}", stdout(&remote), stderr(&remote));

    // An old copy of the same log, all of it genuine, is shown instead.
    let replayed = monitor(before.to_str().unwrap());
    assert_eq!(replayed.status.code(), Some(10), "{}", stdout(&replayed));
    assert!(stdout(&replayed).contains("the witness auditor"), "{}", stdout(&replayed));
    assert!(stderr(&replayed).contains("kept as evidence"), "{}", stderr(&replayed));
    drop(witnesses);
}

#[test]
fn a_thief_with_the_key_cannot_rewrite_what_was_cosigned() {
    let (mut gateway, mut witnesses, policy) = witnessed(&["auditor"]);
    statement(&gateway, "select 'to be denied'");
    all_cosigned(&gateway);
    gateway.stop().unwrap();
    let cosigned = cosigned_size(&gateway);

    // The thief restores an older copy of the whole folder, with the key, and lets it go on.
    let stolen = gateway.folder().join("stolen");
    copy(&gateway.data, &stolen);
    let log = stolen.join("ledger/e1");
    let key = std::fs::read_to_string(stolen.join("keys/log-e1.key")).unwrap();
    let key = SigningKey::parse(key.trim()).unwrap();
    rewrite(&log, &key);
    // By the log's own key alone, the new history is as good as the old one.
    let own = loggia(&["verify", stolen.to_str().unwrap(), "--key", &gateway.key]);
    assert_eq!(own.status.code(), Some(0), "{}{}", stdout(&own), stderr(&own));
    // The auditor's policy is not met, and nobody can cosign in the witness's name.
    assert_eq!(verify(&stolen, &policy, &[]).0, Some(12));

    // The thief puts the folder in place: the gateway asks the witness, and does not start.
    let genuine = gateway.folder().join("genuine");
    std::fs::rename(&gateway.data, &genuine).unwrap();
    copy(&stolen, &gateway.data);
    std::fs::remove_dir_all(gateway.folder().join("state")).unwrap();
    let config = gateway.config_file().display().to_string();
    let refused = gateway.run(None, &["up", "--config", &config]).unwrap();
    assert!(!refused.status.success());
    let said = stderr(&refused);
    assert!(said.contains("the witness auditor") && said.contains("new-epoch"), "{said}");
    let doctor = gateway.run(None, &["doctor"]).unwrap();
    assert!(stdout(&doctor).contains("`auditor`: the ledger"), "{}", stdout(&doctor));

    // With the witness out of reach it starts; back again, the witness refuses, and says so.
    let dir = witnesses[0].dir.clone();
    let listen = witnesses[0].address.trim_start_matches("http://").trim_end_matches('/');
    let (listen, keys) = (listen.to_owned(), witnesses[0].keys.clone());
    witnesses.clear();
    gateway.start_again().unwrap();
    for number in 0..cosigned {
        statement(&gateway, &format!("select {number}"));
    }
    until("it is beyond what was cosigned", Duration::from_secs(15), || {
        (checkpoint_size(&gateway) > cosigned).then_some(())
    });
    witnesses.push(serve(&dir, &listen, keys));
    until("the refusal is loud", Duration::from_secs(90), || {
        let (_, ready) = gateway.get("/readyz").unwrap();
        ready.contains("auditor refuses: fork").then_some(())
    });
    assert!(gateway.ready(), "what was promised stands: it goes on serving");
    until("and on record", Duration::from_secs(10), || {
        let events = gateway.events().unwrap();
        events.iter().any(|event| event.kind() == "witness.refused").then_some(())
    });
    let shown = loggia(&["witness", "show", "--dir", dir.to_str().unwrap()]);
    assert!(stdout(&shown).contains("1 FORKS REFUSED"), "{}", stdout(&shown));
    gateway.stop().unwrap();
    assert_eq!(verify(&gateway.data, &policy, &[]).0, Some(12));
    let (code, report) = verify(&genuine, &policy, &[]);
    assert_eq!(code, Some(0), "{report}");
}

/// The log's first entries again, under a checkpoint of the thief's own: what follows is gone.
fn rewrite(epoch: &Path, key: &SigningKey) {
    use loggia_tlog::tile::{
        BundleId, bundle_decode, bundle_encode, open_decode, open_encode, tile_encode,
    };
    use loggia_tlog::{Checkpoint, Hash, TileId, leaf_hash, merkle::CompactRange};
    const KEPT: u16 = 4;
    let first = |folder: &str| {
        let place = epoch.join(folder).join("tile/entries");
        let path = if place.join("000").is_file() {
            (place.join("000"), 256)
        } else {
            let partial = std::fs::read_dir(place.join("000.p")).unwrap().next().unwrap().unwrap();
            let width = partial.file_name().to_str().unwrap().parse().unwrap();
            (partial.path(), width)
        };
        (std::fs::read(&path.0).unwrap(), path.1)
    };
    let ((entries, width), (open, _)) = (first("log"), first("open"));
    let kept = usize::from(KEPT);
    let entries: Vec<&[u8]> = bundle_decode(&entries, width).unwrap()[..kept].to_vec();
    let open: Vec<Option<&[u8]>> = open_decode(&open, width).unwrap()[..kept].to_vec();
    let hashes: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    let mut range = CompactRange::new();
    hashes.iter().for_each(|hash| range.append(*hash));
    for folder in ["log", "open", "wal"] {
        std::fs::remove_dir_all(epoch.join(folder)).unwrap();
        std::fs::create_dir_all(epoch.join(folder)).unwrap();
    }
    let put = |path: PathBuf, bytes: Vec<u8>| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let bundle = BundleId::new(0, KEPT).unwrap();
    put(epoch.join("log").join(bundle.path()), bundle_encode(&entries).unwrap());
    put(epoch.join("open").join(bundle.path()), open_encode(&open).unwrap());
    let tile = TileId::new(0, 0, KEPT).unwrap();
    put(epoch.join("log").join(tile.path()), tile_encode(&hashes).unwrap());
    let checkpoint = Checkpoint::new(key.name(), u64::from(KEPT), range.root()).unwrap();
    put(epoch.join("log/checkpoint"), checkpoint.sign(key).unwrap().to_string().into_bytes());
    let _ = std::fs::remove_file(epoch.join("resume.json"));
}

pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Serves a folder over HTTP, one request after the other.
pub(super) struct FileServer {
    pub(super) address: String,
}

impl FileServer {
    pub(super) fn start(folder: &Path) -> Self {
        use std::io::Write as _;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let folder = folder.to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                let _ = reader.read_line(&mut line);
                let path = line.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
                let mut header = String::new();
                while reader.read_line(&mut header).is_ok_and(|read| read > 2) {
                    header.clear();
                }
                let (status, body) = match std::fs::read(folder.join(&path)) {
                    Ok(body) => ("200 OK", body),
                    Err(_) => ("404 Not Found", Vec::new()),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            }
        });
        Self { address }
    }
}

#[test]
fn the_keys_of_a_witness_are_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let gateway = gateway();
    let witness = witness(&gateway, "w");
    for file in ["ed25519.key", "ml-dsa-44.key"] {
        let path = witness.dir.join("keys").join(file);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let key = CosignerKey::parse(std::fs::read_to_string(path).unwrap().trim()).unwrap();
        let public = key.verifier().to_string();
        assert!(witness.keys.contains(&public));
        assert!(VerifierKey::parse(&public).is_ok());
    }
}

/// The commands of a guide, in order: its blocks marked `sh`.
fn commands_of(guide: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides").join(guide);
    let text = std::fs::read_to_string(path).unwrap();
    let mut commands = String::from("set -eu\n");
    let mut inside = false;
    for line in text.lines() {
        match line {
            "```sh" => inside = true,
            "```" if inside => inside = false,
            _ if inside => commands += &format!("{line}\n"),
            _ => {}
        }
    }
    commands
}

#[test]
fn the_auditors_guide_runs_as_it_stands() {
    let (mut gateway, witnesses, _) = witnessed(&["auditor", "other"]);
    statement(&gateway, "select 'monday'");
    all_cosigned(&gateway);
    let here = gateway.folder().join("auditor");
    std::fs::create_dir(&here).unwrap();
    std::fs::write(here.join("checkpoint.of-monday"), gateway.checkpoint().unwrap()).unwrap();
    statement(&gateway, "select 'tuesday'");
    all_cosigned(&gateway);
    let event = gateway.statements().unwrap()[0].id.clone();
    gateway.stop().unwrap();
    copy(&gateway.data, &here.join("copy"));
    std::fs::write(here.join("log.key"), format!("{}\n", gateway.key)).unwrap();
    for (name, witness) in ["auditor", "other"].iter().zip(&witnesses) {
        std::fs::write(here.join(format!("{name}.key")), witness.keys.join("\n")).unwrap();
    }
    // The program is found where a reader has it: on the path.
    let bin = here.join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(program(), bin.join("loggia")).unwrap();
    let path = std::env::var("PATH").unwrap();
    let commands = commands_of("verify-as-an-auditor.md");
    for command in ["--max-age 10m", "loggia monitor", "loggia prove", "--known-checkpoint"] {
        assert!(commands.contains(command), "the guide has no {command}");
    }
    let output = Command::new("sh")
        .args(["-c", &commands])
        .current_dir(&here)
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("EVENT", &event)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let said = stdout(&output);
    assert!(output.status.success(), "{commands}\n{said}\n{}", stderr(&output));
    for expected in [
        "operator-trusted only",
        "nothing cosigned yet",
        "witnesses outside the operator's control",
        "seen for the first time",
        ", continues the ",
        "(cosigned by auditor (",
    ] {
        assert!(said.contains(expected), "`{expected}` is not in:\n{said}");
    }
}
