//! `cargo xtask lint`: format, clippy, licences and bans.

use anyhow::Result;

use crate::step::{Steps, cargo, execute, succeeds};

/// The release of cargo-deny that deny.toml was written for.
const CARGO_DENY: &str = "0.20.2";

/// What a lean build leaves out, and tests and lints take in.
pub(crate) const FEATURES: &str = "loggia-cli/pkcs11";

/// Runs all of it.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::new(3);
    steps.run("cargo fmt --check", format)?;
    steps.run("cargo clippy", clippy)?;
    steps.run("cargo deny check", deny)
}

/// Every file is formatted.
pub(crate) fn format() -> Result<()> {
    execute(cargo().args(["fmt", "--all", "--check"]))
}

/// No lint is hit, in tests neither.
pub(crate) fn clippy() -> Result<()> {
    execute(cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        FEATURES,
        "--",
        "-D",
        "warnings",
    ]))
}

/// Licences, bans and sources of the dependencies; skipped, loudly, without cargo-deny.
fn deny() -> Result<()> {
    if !succeeds(cargo().args(["deny", "--version"])) {
        eprintln!(
            "      SKIPPED: cargo-deny is not installed, so licences and bans are NOT checked"
        );
        eprintln!("      install it: cargo install cargo-deny --version {CARGO_DENY} --locked");
        return Ok(());
    }
    execute(cargo().args(["deny", "--workspace", "check", "bans", "licenses", "sources"]))
}
