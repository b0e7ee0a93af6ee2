//! Temporary folders that servers of another account can reach, and free ports.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::process::Guard;

/// A TCP port on 127.0.0.1 that nobody listened on a moment ago.
///
/// Somebody else may take it before the caller does; servers of this crate
/// therefore try again with another one.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("asking for a free port")?;
    Ok(listener.local_addr().context("reading the port")?.port())
}

/// A temporary folder, removed when dropped.
///
/// It is kept, and its path printed, when the test panics or `LOGGIA_KEEP` is
/// set: its logs are what explains a failure. It is removed even when the test
/// process is killed.
#[derive(Debug)]
pub struct Workspace {
    path: PathBuf,
    guard: Guard,
}

impl Workspace {
    /// Makes a folder `loggia-<name>-<random>` in the system's temporary folder.
    ///
    /// Other accounts may pass through it (mode 0711) so that unprivileged
    /// servers reach what belongs to them inside.
    pub fn new(name: &str) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("loggia-{name}-"))
            .tempdir()
            .context("making a temporary folder")?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711))
            .context("opening the temporary folder")?;
        let path = folder.keep();
        let guard = Guard::removing(&path)?;
        Ok(Self { path, guard })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `name` inside the folder.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Workspace {
    #[expect(clippy::disallowed_methods, reason = "a switch for the person who debugs a test")]
    fn drop(&mut self) {
        self.guard.dismiss();
        if std::thread::panicking() || std::env::var_os("LOGGIA_KEEP").is_some() {
            eprintln!("kept for a look: {}", self.path.display());
            return;
        }
        // A server that is still writing its last lines can make the first try fail.
        if std::fs::remove_dir_all(&self.path).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(100));
            if let Err(error) = std::fs::remove_dir_all(&self.path) {
                eprintln!("could not remove {}: {error}", self.path.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_vanishes_with_its_content() {
        let workspace = Workspace::new("folder-test").unwrap();
        let path = workspace.path().to_path_buf();
        std::fs::write(workspace.join("file"), "x").unwrap();
        assert!(path.is_dir());
        drop(workspace);
        assert!(!path.exists());
    }

    #[test]
    fn a_free_port_can_be_bound() {
        let port = free_port().unwrap();
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}
