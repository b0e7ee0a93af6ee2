//! `cargo xtask fuzz`: the fuzz targets under cargo-fuzz, where it can run.

use anyhow::{Context as _, Result, bail};

use crate::repository::root;
use crate::step::{cargo, execute, succeeds};

/// Fuzzes one target until it is stopped; without a target, lists them.
pub(crate) fn run(target: Option<&str>, rest: &[String]) -> Result<()> {
    let manifest = root().join("fuzz/Cargo.toml");
    let text = std::fs::read_to_string(&manifest)
        .with_context(|| format!("reading {}", manifest.display()))?;
    let targets = targets(&text)?;
    let Some(target) = target else {
        println!("{}", targets.join("\n"));
        return Ok(());
    };
    if !targets.iter().any(|known| known == target) {
        bail!("there is no fuzz target `{target}`; there are: {}", targets.join(", "));
    }
    // Through rustup, because the cargo that runs us is one of a fixed toolchain.
    let nightly = || {
        let mut command = std::process::Command::new("rustup");
        command
            .args(["run", "nightly", "cargo"])
            .current_dir(root())
            .env_remove("RUSTUP_TOOLCHAIN");
        command
    };
    if !succeeds(nightly().arg("--version")) {
        bail!(
            "fuzzing needs a nightly toolchain (rustup toolchain install nightly). Without one, \
             the same targets run over their corpus in `cargo xtask test`."
        );
    }
    if !succeeds(cargo().args(["fuzz", "--version"])) {
        bail!("fuzzing needs cargo-fuzz: cargo install cargo-fuzz --locked");
    }
    execute(nightly().args(["fuzz", "run", target]).args(rest))
}

/// The names of the binaries in the manifest of the fuzz folder.
fn targets(manifest: &str) -> Result<Vec<String>> {
    let table: toml::Table = manifest.parse().context("reading fuzz/Cargo.toml")?;
    let binaries = table.get("bin").and_then(|bin| bin.as_array()).into_iter().flatten();
    Ok(binaries.filter_map(|bin| bin.get("name")?.as_str()).map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_targets() {
        let manifest = "[[bin]]\nname = \"codec\"\n[[bin]]\nname = \"event\"\n";
        assert_eq!(targets(manifest).unwrap(), ["codec", "event"]);
        assert!(targets("[package]\nname = \"fuzz\"\n").unwrap().is_empty());
    }
}
