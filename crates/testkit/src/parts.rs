//! What `cargo xtask test` installed outside the repository, and which tier runs.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

/// The Python interpreter of the environment that has psycopg.
///
/// `LOGGIA_PYTHON` names it; without, it is looked for in the cache. Fails, saying
/// what to do, when it is not there: a test that then skips prints this.
pub fn python() -> Result<PathBuf> {
    interpreter("LOGGIA_PYTHON", "python", "psycopg")
}

/// The Python interpreter of the environment that has paramiko, asyncssh, Ansible and ssh-audit;
/// programs such as `ansible` lie beside it. `LOGGIA_PYTHON_SSH` names it; see [`python`].
pub fn python_ssh() -> Result<PathBuf> {
    interpreter("LOGGIA_PYTHON_SSH", "python-ssh", "paramiko, asyncssh, Ansible and ssh-audit")
}

fn interpreter(variable: &str, folder: &str, content: &str) -> Result<PathBuf> {
    let python = match set(variable) {
        Some(python) => python,
        None => cache()?.join(folder).join("bin/python"),
    };
    ensure!(
        python.is_file(),
        "no Python environment with {content} at {}: `cargo xtask test` makes it",
        python.display()
    );
    Ok(python)
}

/// The folder for what is fetched once and used by every checkout: `LOGGIA_CACHE`,
/// else `$XDG_CACHE_HOME/loggia`, else `~/.cache/loggia`. It may not exist yet.
pub fn cache() -> Result<PathBuf> {
    set("LOGGIA_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("loggia")))
        .or_else(|| set("HOME").map(|folder| folder.join(".cache/loggia")))
        .context("none of LOGGIA_CACHE, XDG_CACHE_HOME and HOME is set: no place for a cache")
}

/// Whether the tests with other languages' drivers were asked for
/// (`cargo xtask test --parts heavy` sets `LOGGIA_PARTS=heavy`).
pub fn heavy() -> bool {
    set("LOGGIA_PARTS").is_some_and(|parts| parts.as_os_str() == "heavy")
}

#[expect(clippy::disallowed_methods, reason = "these variables come from the person or from xtask")]
fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
