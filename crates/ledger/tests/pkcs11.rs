//! The log's key in a real token: SoftHSM2, through its PKCS#11 module.

#![cfg(feature = "pkcs11")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests"
)]

use loggia_ledger::{
    KeyElsewhere, Ledger, LedgerError, LedgerOptions, LogName, Pkcs11, init_with_key, retire_key,
    rotate_key,
};
use loggia_model::{Clock, Entropy, Mint};
use loggia_tlog::{Checkpoint, VerifierKey};
use loggia_verify::log::{Options, Trust, verify_folder};
use loggia_verify::report::Verdict;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const PIN: &str = "271828";

/// The places where distributions put the module.
const MODULES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
];

fn softhsm() -> Option<&'static str> {
    let module = MODULES.into_iter().find(|path| Path::new(path).is_file())?;
    Command::new("softhsm2-util").arg("--version").output().ok().map(|_| module)
}

/// SoftHSM finds its tokens by a variable of its process, so the test runs in one of its own.
#[test]
fn a_log_is_signed_in_a_token_and_verified_without_it() {
    if softhsm().is_none() {
        eprintln!(
            "SKIPPED: SoftHSM2 is not here, so NOTHING of PKCS#11 was tested: \
             apt-get install softhsm2 (`cargo xtask test` does)"
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (tokens, config) = (folder.path().join("tokens"), folder.path().join("softhsm2.conf"));
    std::fs::create_dir(&tokens).unwrap();
    let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
    std::fs::write(&config, text).unwrap();
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "audit log", "--so-pin", "31415926"])
        .args(["--pin", PIN])
        .env("SOFTHSM2_CONF", &config)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let inner = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "inside", "--nocapture"])
        .env("SOFTHSM2_CONF", &config)
        .env("LOGGIA_TEST_FOLDER", folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&inner.stdout) + String::from_utf8_lossy(&inner.stderr);
    assert!(inner.status.success() && told.contains("1 passed"), "{told}");
}

struct System;

impl Clock for System {
    fn now_us(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        i64::try_from(now.as_micros()).unwrap()
    }
}

impl Entropy for System {
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).unwrap();
    }
}

fn store(pin: &'static str) -> Arc<Pkcs11> {
    Arc::new(Pkcs11::new(Arc::new(move |source: &str| match source {
        "env:PIN" => Ok(zeroize::Zeroizing::new(pin.to_owned())),
        other => Err(format!("{other} is not the reference that was given")),
    })))
}

fn uri(label: &str) -> String {
    let module = softhsm().unwrap();
    format!("pkcs11:token=audit%20log;object={label}?module-path={module}&pin-source=env:PIN")
}

fn options(data: &Path, mint: &Mint, pin: &'static str) -> LedgerOptions {
    let mut options = LedgerOptions::new(data, mint.clone());
    options.segment_bytes = 256 << 10;
    options.checkpoint_interval = Duration::from_millis(20);
    options.fatal = Arc::new(|why| panic!("fatal: {why}"));
    options.keys = Some(store(pin));
    options
}

fn verify(data: &Path, key: &VerifierKey) {
    let trust = Trust { keys: vec![key.clone()], ..Trust::default() };
    let report = verify_folder(data, &trust, Options::default(), &mut |_, _| {}).unwrap();
    assert_eq!(report.verdict(), Verdict::Intact, "{report}");
}

#[tokio::test]
#[ignore = "run by the other test, with a token"]
async fn inside() {
    let data = PathBuf::from(std::env::var_os("LOGGIA_TEST_FOLDER").unwrap()).join("data");
    let mint = Mint::new(Arc::new(System), Arc::new(System));
    let (store, place) = (store(PIN), uri("log-e1"));
    let to = KeyElsewhere { store: &*store, uri: &place };
    let vkey = init_with_key(&data, &LogName::default(), &mint, Some(to)).unwrap();
    let key = VerifierKey::parse(&vkey).unwrap();
    let file = std::fs::read_to_string(data.join("keys/log-e1.key")).unwrap();
    assert!(!file.contains("PRIVATE") && !file.contains(PIN), "{file}");

    let ledger = Ledger::open(options(&data, &mint, PIN)).unwrap();
    assert_eq!(ledger.verification_key(), vkey);
    ledger.close("test").unwrap();
    drop(ledger);
    let note = std::fs::read(data.join("ledger/e1/log/checkpoint")).unwrap();
    assert!(Checkpoint::open(&note, &key).unwrap().size() >= 2);
    verify(&data, &key);

    // Out of the token, and into it again under another label.
    let filed = rotate_key(options(&data, &mint, PIN), None, "out").await.unwrap();
    verify(&data, &key);
    assert_eq!(retire_key(&data).unwrap(), vkey);
    let place = uri("log-e1-b");
    let to = KeyElsewhere { store: &*store, uri: &place };
    let back = rotate_key(options(&data, &mint, PIN), Some(to), "in").await.unwrap();
    for key in [&vkey, &filed, &back] {
        verify(&data, &VerifierKey::parse(key).unwrap());
    }

    // A wrong place is said at the start.
    let file = data.join("keys/log-e1.key");
    let text = std::fs::read_to_string(&file).unwrap();
    for (from, to, why) in [
        ("log-e1-b", "log-e1", "another than the one that is named"),
        ("log-e1-b", "log-e9", "no such key"),
        ("audit%20log", "other", "no token is named"),
        ("env:PIN", "env:NIP", "not the reference"),
        ("libsofthsm2", "libsofthsm9", "loading the module"),
    ] {
        std::fs::write(&file, text.replacen(from, to, 1)).unwrap();
        let error = Ledger::open(options(&data, &mint, PIN)).map(drop).unwrap_err();
        assert!(matches!(error, LedgerError::Signer { .. }), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    std::fs::write(&file, text).unwrap();
    let error = Ledger::open(options(&data, &mint, "0000")).map(drop).unwrap_err();
    assert!(error.to_string().contains("logging in"), "{error}");
    Ledger::open(options(&data, &mint, PIN)).unwrap().close("test").unwrap();
}
