//! Where things are: the repository, its files, the cache outside it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};

/// The repository's folder. Cargo says where it is when it runs this program: a target folder
/// that several checkouts share may hold one that was built in another of them.
#[expect(clippy::disallowed_methods, reason = "cargo says where the checkout is")]
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let own = std::env::var_os("CARGO_MANIFEST_DIR");
        let own = own.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        own.parent().map(Path::to_path_buf).unwrap_or(own)
    })
}

/// The folder for what is installed once and used by every checkout:
/// `$XDG_CACHE_HOME/loggia`, else `~/.cache/loggia`.
#[expect(clippy::disallowed_methods, reason = "these variables say where caches belong")]
pub(crate) fn cache() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .map(|folder| folder.join("loggia"))
        .context("neither XDG_CACHE_HOME nor HOME is set: no place for a cache")
}

/// The first program of this name on the search path.
#[expect(clippy::disallowed_methods, reason = "the search path is where programs are found")]
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// The files of the repository, tracked or new, without what git ignores.
/// Paths are relative to the root and sorted.
pub(crate) fn files() -> Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("starting git")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let mut files: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .split('\0')
        .filter(|path| !path.is_empty() && root().join(path).is_file())
        .map(ToString::to_string)
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}
