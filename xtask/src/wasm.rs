//! `cargo xtask wasm`: what an outsider imports also runs in a browser.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::step::{Steps, cargo, execute, succeeds};

const TARGET: &str = "wasm32-unknown-unknown";
/// The crates that verify; everything else may need a system around it.
const CRATES: [&str; 2] = ["loggia-tlog", "loggia-verify"];

/// Compiles the crates for WebAssembly. Without the target, checks them on this machine, loudly.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::new(2);
    let there = steps.run(TARGET, target)?;
    let packages = CRATES.iter().flat_map(|name| ["-p", name]);
    if there {
        return steps.run("cargo build", || {
            execute(cargo().args(["build", "--lib", "--target", TARGET]).args(packages))
        });
    }
    eprintln!(
        "      SKIPPED: {TARGET} is not installed and cannot be had, so NOTHING WAS BUILT FOR IT"
    );
    steps.run("cargo check on this machine instead", || {
        execute(cargo().args(["check", "--lib"]).args(packages))
    })
}

/// Whether the standard library of the target is here; fetches it where rustup can.
fn target() -> Result<bool> {
    if library()?.is_dir() {
        return Ok(true);
    }
    if succeeds(Command::new("rustup").args(["target", "add", TARGET])) {
        return Ok(library()?.is_dir());
    }
    Ok(false)
}

fn library() -> Result<PathBuf> {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .stdin(Stdio::null())
        .output()
        .context("starting rustc")?;
    if !output.status.success() {
        bail!("rustc: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}
