//! An OpenSSH server for tests and demonstrations that is unpacked and not installed: Debian's package would
//! start a service on port 22 and add an account.
//!
//! What lies in the cache afterwards needs no root to get and none to run. Where a server is
//! installed, that one is used and nothing is fetched.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::as_root;
use crate::repository;
use crate::step::execute;

/// What the names of its folders in the cache begin with; the version follows.
const PREFIX: &str = "openssh-";
/// Where the server lies below `/`, or below its folder in the cache.
const SERVER: &str = "usr/sbin/sshd";
/// Its part that serves files.
const FILE_SERVER: &str = "usr/lib/openssh/sftp-server";

/// Makes sure that a server can be run: an installed one, one that was unpacked before, else a
/// new one from Debian.
pub(crate) fn server() -> Result<()> {
    let installed = Path::new("/");
    if installed.join(SERVER).is_file() && installed.join(FILE_SERVER).is_file() {
        eprintln!("      sshd is there, nothing to install");
        return Ok(());
    }
    let cache = repository::cache()?;
    if let Some(folder) = unpacked(&cache) {
        eprintln!("      sshd is there ({}), nothing to install", folder.display());
        return Ok(());
    }
    if repository::find_program("apt-get").is_none() {
        bail!("missing: openssh-server (Debian's name), and this system has no apt-get to get it");
    }
    eprintln!(
        "      fetching openssh-server with apt, to be unpacked into {}; it is not installed, \
         and no service is started",
        cache.display()
    );
    std::fs::create_dir_all(&cache).context("making the cache")?;
    match fetch(&cache) {
        Ok(()) => Ok(()),
        Err(error) => {
            // Lists of packages that are old, or not there yet, name what no longer exists.
            eprintln!("      {error:#}; trying again with new lists of packages (needs root)");
            execute(as_root("openssh-server")?.args(["apt-get", "update", "-q"]))?;
            fetch(&cache)
        }
    }
}

/// The folder of a server in the cache that runs.
fn unpacked(cache: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(cache).ok()?.flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    named.map(|entry| entry.path()).find(|folder| runs(folder))
}

/// Whether the server in this folder starts, with its libraries.
fn runs(folder: &Path) -> bool {
    let libraries: Vec<PathBuf> = ["lib", "usr/lib"]
        .iter()
        .flat_map(|place| std::fs::read_dir(folder.join(place)).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .collect();
    let Ok(libraries) = std::env::join_paths(libraries) else { return false };
    let output = Command::new(folder.join(SERVER))
        .arg("-V")
        .env("LD_LIBRARY_PATH", libraries)
        .stdin(Stdio::null())
        .output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stderr).contains("OpenSSH_"))
}

/// Fetches and unpacks the server and those of its libraries that this system does not have.
///
/// The folder gets its name when it is complete: what an interruption leaves behind is never
/// taken for a server.
fn fetch(cache: &Path) -> Result<()> {
    let unfinished = cache.join("unfinished-openssh");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).context("removing an unfinished download")?;
    }
    std::fs::create_dir(&unfinished).context("making a folder in the cache")?;
    let mut packages = vec!["openssh-server".to_string(), "openssh-sftp-server".to_string()];
    packages.extend(missing_libraries()?);
    execute(
        Command::new("apt-get")
            .args(["download", "-q", "-o", "APT::Sandbox::User=root"])
            .args(&packages)
            .current_dir(&unfinished),
    )?;
    let mut version = None;
    for entry in std::fs::read_dir(&unfinished).context("reading what apt fetched")?.flatten() {
        let archive = entry.path();
        version = version.or_else(|| version_of(&entry.file_name().to_string_lossy()));
        execute(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&unfinished))?;
        std::fs::remove_file(&archive).context("removing an unpacked archive")?;
    }
    let version = version.context("apt fetched no openssh-server")?;
    ensure!(runs(&unfinished), "openssh-server {version} was unpacked, yet it does not run");
    let folder = cache.join(format!("{PREFIX}{version}"));
    std::fs::rename(&unfinished, &folder)
        .with_context(|| format!("naming the folder {}", folder.display()))
}

/// The libraries that apt would install along with the server.
fn missing_libraries() -> Result<Vec<String>> {
    let output = Command::new("apt-get")
        .args(["install", "--simulate", "-q", "--no-install-recommends", "openssh-server"])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .context("starting apt-get")?;
    ensure!(
        output.status.success(),
        "apt-get does not know openssh-server: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(new_libraries(&String::from_utf8_lossy(&output.stdout)))
}

/// From the lines `Inst NAME (VERSION …`; those with `[OLD VERSION]` behind the name are there
/// already and would only become newer.
fn new_libraries(simulation: &str) -> Vec<String> {
    let lines = simulation.lines().filter_map(|line| line.strip_prefix("Inst "));
    lines
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, rest)| name.starts_with("lib") && rest.starts_with('('))
        .map(|(name, _)| name.to_string())
        .collect()
}

/// The version in the name of openssh-server's archive, without its epoch.
fn version_of(archive: &str) -> Option<String> {
    let rest = archive.strip_prefix("openssh-server_")?;
    let (version, _) = rest.rsplit_once('_')?;
    let version = version.split_once("%3a").map_or(version, |(_, version)| version);
    Some(version.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_libraries_that_are_not_there_are_fetched_too() {
        let simulation = "Reading package lists...\n\
            Inst libwrap0 (7.6.q-32 Debian:12.15/oldstable [amd64])\n\
            Inst libssl3 [3.0.17] (3.0.19 Debian:12.15/oldstable [amd64])\n\
            Inst openssh-server (1:9.2p1-2 Debian:12.15/oldstable [amd64])\n\
            Conf libwrap0 (7.6.q-32 Debian:12.15/oldstable [amd64])\n";
        assert_eq!(new_libraries(simulation), ["libwrap0"]);
    }

    #[test]
    fn the_version_is_read_off_the_archive() {
        let name = "openssh-server_1%3a9.2p1-2+deb12u10_amd64.deb";
        assert_eq!(version_of(name).as_deref(), Some("9.2p1-2+deb12u10"));
        assert_eq!(version_of("libwrap0_7.6.q-32_amd64.deb"), None);
    }

    #[test]
    fn a_folder_without_a_server_is_none() {
        let cache = std::env::temp_dir();
        assert!(!runs(&cache.join("there-is-no-such-folder")));
    }
}
