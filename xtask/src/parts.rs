//! Installs the real programs that tests and demonstrations work with.
//!
//! Debian's packages for servers and clients, two Python environments in the cache.
//! Only apt needs root, and only when something is missing. No service is started
//! and no database cluster is made: what runs later runs from a temporary folder,
//! on loopback, unprivileged.

pub(crate) mod openssh;
pub(crate) mod python;

use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::repository;
use crate::step::execute;

/// A program that something here needs, and the Debian package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Server,
    Client,
    Pgbouncer,
    Openssl,
    Python,
    SshClient,
    Rsync,
    Softhsm,
}

impl Part {
    fn package(self) -> &'static str {
        match self {
            Self::Server => "postgresql",
            Self::Client => "postgresql-client",
            Self::Pgbouncer => "pgbouncer",
            Self::Openssl => "openssl",
            Self::Python => "python3-venv",
            Self::SshClient => "openssh-client",
            Self::Rsync => "rsync",
            Self::Softhsm => "softhsm2",
        }
    }

    fn present(self) -> bool {
        match self {
            Self::Server => server_present(),
            Self::Client => repository::find_program("psql").is_some(),
            Self::Pgbouncer => Path::new("/usr/sbin/pgbouncer").is_file(),
            Self::Openssl => repository::find_program("openssl").is_some(),
            Self::Python => python::python().is_some(),
            Self::SshClient => ["ssh", "scp", "sftp", "ssh-keygen", "ssh-agent"]
                .iter()
                .all(|name| repository::find_program(name).is_some()),
            Self::Rsync => repository::find_program("rsync").is_some(),
            Self::Softhsm => repository::find_program("softhsm2-util").is_some(),
        }
    }
}

/// What `test` needs.
pub(crate) const FOR_TESTS: &[Part] = &[
    Part::Server,
    Part::Client,
    Part::Pgbouncer,
    Part::Openssl,
    Part::Python,
    Part::SshClient,
    Part::Rsync,
    Part::Softhsm,
];
/// What `demo` needs.
pub(crate) const FOR_DEMONSTRATION: &[Part] = &[Part::Server, Part::Client, Part::SshClient];
/// What `torture` needs.
pub(crate) const FOR_TORTURE: &[Part] = &[Part::Server, Part::Client, Part::SshClient];
/// What `bench` needs.
pub(crate) const FOR_MEASURING: &[Part] =
    &[Part::Server, Part::Client, Part::Pgbouncer, Part::SshClient];

/// Runs as root, with package names as arguments.
///
/// While it runs, policy-rc.d forbids starting services, and a drop-in forbids the
/// cluster `main` that the postgresql package makes otherwise, which would listen
/// on 5432 after the next start of the machine. Both are removed whatever happens.
const INSTALL: &str = r#"
set -eu
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
drop_in=/etc/postgresql-common/createcluster.d/loggia-installs.conf
ours=
trap 'rm -f $ours' EXIT
trap 'exit 130' INT TERM HUP
if [ ! -e $policy ]; then
  ours="$policy"
  printf '#!/bin/sh\nexit 101\n' > $policy
  chmod 755 $policy
fi
ours="$ours $drop_in"
mkdir -p "$(dirname $drop_in)"
echo 'create_main_cluster = false' > $drop_in
apt-get update -q
apt-get install -q -y --no-install-recommends "$@"
for package in "$@"; do
  if [ "$package" = pgbouncer ] && command -v systemctl > /dev/null; then
    systemctl disable --quiet pgbouncer.service 2> /dev/null || true
  fi
done
"#;

/// Installs what is missing of `parts`.
pub(crate) fn install(parts: &[Part]) -> Result<()> {
    let missing: Vec<&str> =
        parts.iter().filter(|part| !part.present()).map(|part| part.package()).collect();
    if missing.is_empty() {
        eprintln!("      everything is there, nothing to install");
        return Ok(());
    }
    let packages = missing.join(" ");
    if repository::find_program("apt-get").is_none() {
        bail!("missing: {packages} (Debian's names), and this system has no apt-get to get them");
    }
    eprintln!("      installing with apt (needs root): {packages}");
    eprintln!("      no service is started, no database cluster is made");
    let mut command = as_root(&packages)?;
    execute(command.args(["sh", "-c", INSTALL, "install"]).args(&missing))?;
    match parts.iter().find(|part| !part.present()) {
        None => Ok(()),
        Some(part) => bail!("apt installed {}, yet its programs are not there", part.package()),
    }
}

/// A command that runs its arguments as root: directly, or by sudo, which asks for
/// a password only on a terminal.
fn as_root(packages: &str) -> Result<Command> {
    let own_uid = std::fs::metadata("/proc/self").context("reading /proc/self")?.uid();
    if own_uid == 0 {
        return Ok(Command::new("env"));
    }
    if repository::find_program("sudo").is_some() {
        let mut command = Command::new("sudo");
        if !std::io::stdin().is_terminal() {
            command.arg("-n");
        }
        return Ok(command);
    }
    bail!("installing needs root, once: apt-get install {packages}")
}

/// Whether a PostgreSQL server is installed.
fn server_present() -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = versions.map(|version| version.path().join("bin/initdb")).any(|it| it.is_file());
    debian || repository::find_program("initdb").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::succeeds;

    #[test]
    fn the_installing_script_is_a_valid_shell_script() {
        assert!(succeeds(Command::new("sh").args(["-n", "-c", INSTALL])));
    }

    #[test]
    fn nothing_missing_installs_nothing() {
        install(&[]).unwrap();
    }
}
