//! `demo`, `bench`, `torture`: builds Loggia and a program of the test kit,
//! optimised, and hands over to that program.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::arguments::Tool;
use crate::parts;
use crate::repository::root;
use crate::step::{Steps, cargo, execute};

/// Installs what the tool needs, builds it, and becomes it.
pub(crate) fn run(tool: Tool, rest: &[String]) -> Result<()> {
    let needed = match tool {
        Tool::Demo => parts::FOR_DEMONSTRATION,
        Tool::Torture => parts::FOR_TORTURE,
        Tool::Bench => parts::FOR_MEASURING,
    };
    let mut steps = Steps::new(2);
    steps.run("parts from Debian", || {
        parts::install(needed)?;
        match tool {
            Tool::Bench | Tool::Torture => parts::openssh::server(),
            Tool::Demo => {
                // Half of the demonstration is better than none.
                if let Err(error) = parts::openssh::server() {
                    eprintln!("      SKIPPED: SSH will NOT be shown, only PostgreSQL: {error:#}");
                }
                Ok(())
            }
        }
    })?;
    let profile = tool.profile();
    let build = format!("building loggia and {} (profile {profile})", tool.binary());
    steps.run(&build, || {
        // One call for both: they share the crates that it builds.
        execute(cargo().args(["build", "--profile", profile, "-p", "loggia-cli"]).args([
            "-p",
            "loggia-testkit",
            "--bin",
            "loggia",
            "--bin",
            tool.binary(),
        ]))
    })?;
    let folder = target_folder()?.join(profile);
    let program = folder.join(tool.binary());
    // Becoming the program leaves nobody between it and the terminal's Ctrl-C.
    let error = Command::new(&program)
        .args(rest)
        .env("LOGGIA_BIN", folder.join("loggia"))
        .current_dir(root())
        .exec();
    Err(error).with_context(|| format!("starting {}", program.display()))
}

/// Where cargo puts what it builds.
fn target_folder() -> Result<PathBuf> {
    let output = cargo()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .stdin(Stdio::null())
        .output()
        .context("starting cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("reading cargo metadata")?;
    let folder = metadata.get("target_directory").and_then(|folder| folder.as_str());
    folder.map(PathBuf::from).context("cargo metadata names no target directory")
}
