//! Where the programs of an OpenSSH server are: installed, or unpacked into the cache.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::folder::Workspace;
use crate::parts;

/// The programs of one server.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `sshd`.
    pub server: PathBuf,
    /// `sftp-server`.
    pub file_server: PathBuf,
    /// `LD_LIBRARY_PATH`, for one that was unpacked together with its libraries.
    pub libraries: Option<OsString>,
    /// Since OpenSSH 9.8 the server has more programs than one; the setting that names each.
    pub(super) session_parts: Vec<(&'static str, PathBuf)>,
    root: PathBuf,
}

/// The server of this machine: the installed one first, then one that `cargo xtask` unpacked into
/// the cache. Fails, saying what to do, when there is none: a test that then skips prints
/// this.
pub fn programs() -> Result<Programs> {
    if let Some(installed) = below(Path::new("/")) {
        return Ok(installed);
    }
    let entries = std::fs::read_dir(parts::cache()?).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("openssh-"));
    named.filter_map(|entry| below(&entry.path())).next().context(
        "no OpenSSH server, neither installed nor in the cache: `cargo xtask demo` and `test` get \
         one, or: apt-get install openssh-server",
    )
}

/// The server below this root, if there is one.
fn below(root: &Path) -> Option<Programs> {
    let parts = root.join("usr/lib/openssh");
    let (server, file_server) = (root.join("usr/sbin/sshd"), parts.join("sftp-server"));
    if !server.is_file() || !file_server.is_file() {
        return None;
    }
    let session_parts =
        [("SshdSessionPath", "sshd-session"), ("SshdAuthPath", "sshd-auth")].into_iter();
    let session_parts = session_parts
        .map(|(setting, name)| (setting, parts.join(name)))
        .filter(|it| it.1.is_file());
    let session_parts = session_parts.collect();
    let libraries = match root == Path::new("/") {
        true => None,
        false => std::env::join_paths(library_folders(root)).ok(),
    };
    Some(Programs { server, file_server, libraries, session_parts, root: root.to_path_buf() })
}

fn library_folders(root: &Path) -> Vec<PathBuf> {
    let places = ["lib", "usr/lib"].into_iter().map(|place| root.join(place));
    places
        .flat_map(|place| std::fs::read_dir(place).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .collect()
}

impl Programs {
    /// These programs where every account reaches them: what is unpacked in somebody's home is
    /// copied into the workspace.
    pub(super) fn reachable(self, workspace: &Workspace) -> Result<Self> {
        if self.libraries.is_none() {
            return Ok(self);
        }
        let root = workspace.join("openssh");
        for place in ["usr/sbin", "usr/lib", "lib"] {
            copy(&self.root.join(place), &root.join(place))?;
        }
        below(&root).context("the copy of the OpenSSH server is not complete")
    }
}

/// Copies a folder with everything in it, readable to all; nothing happens where it is not there.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(from) else { return Ok(()) };
    std::fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o755))
        .context("opening a folder")?;
    for entry in entries.flatten() {
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &copied)?;
        } else if path.is_file() {
            // What a link names is copied under the link's name.
            std::fs::copy(&path, &copied).with_context(|| format!("copying {}", path.display()))?;
        }
    }
    Ok(())
}
