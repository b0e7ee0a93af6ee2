//! Python environments in the cache, each with what one kind of test needs: what cannot be had
//! for one does not take the other along.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::repository;
use crate::step::{execute, succeeds};

/// An environment with packages of fixed versions, so that a run is repeatable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Environment {
    /// Its folder in the cache.
    folder: &'static str,
    /// `NAME==VERSION`, as pip takes them.
    packages: &'static [&'static str],
    /// What must be importable afterwards.
    modules: &'static str,
    /// The variable that tells the tests where its interpreter is.
    pub(crate) variable: &'static str,
    /// What is not tested without it.
    pub(crate) tests: &'static str,
}

/// The driver that the tests use beside psql.
pub(crate) const DATABASES: Environment = Environment {
    folder: "python",
    packages: &["psycopg[binary]==3.3.9"],
    modules: "psycopg, psycopg_binary",
    variable: "LOGGIA_PYTHON",
    tests: "psycopg",
};

/// The SSH clients that the tests use beside OpenSSH's own, and the auditor.
pub(crate) const SSH: Environment = Environment {
    folder: "python-ssh",
    packages: &["paramiko==5.1.0", "asyncssh==2.24.1", "ansible-core==2.19.14", "ssh-audit==3.9.0"],
    modules: "paramiko, asyncssh, ansible, ssh_audit",
    variable: "LOGGIA_PYTHON_SSH",
    tests: "paramiko, asyncssh, Ansible and ssh-audit",
};

impl Environment {
    /// Makes the environment, unless it is there. Returns its interpreter.
    pub(crate) fn install(self) -> Result<PathBuf> {
        let folder = repository::cache()?.join(self.folder);
        let interpreter = folder.join("bin/python");
        let packages = self.packages.join(" ");
        if self.works(&interpreter) {
            eprintln!("      {packages}: there, nothing to install");
            return Ok(interpreter);
        }
        let python = python().context("no Python 3 with the modules venv and ensurepip")?;
        eprintln!("      installing {packages} with pip into {}", folder.display());
        execute(Command::new(python).args(["-m", "venv", "--clear"]).arg(&folder))?;
        execute(
            Command::new(&interpreter)
                .args(["-m", "pip", "install", "--quiet"])
                .args(["--disable-pip-version-check", "--no-input"])
                .args(self.packages),
        )?;
        if !self.works(&interpreter) {
            bail!("pip installed {packages}, yet not all of it can be imported");
        }
        Ok(interpreter)
    }

    fn works(self, interpreter: &Path) -> bool {
        succeeds(Command::new(interpreter).args(["-c", &self.check()]))
    }

    /// A program that fails unless everything is there in its version.
    fn check(self) -> String {
        let versions = self.packages.iter().filter_map(|package| {
            let (name, version) = package.split_once("==")?;
            let name = name.split('[').next().unwrap_or(name);
            Some(format!("assert version('{name}') == '{version}'\n"))
        });
        let versions: String = versions.collect();
        format!("from importlib.metadata import version\nimport {}\n{versions}", self.modules)
    }
}

/// A Python that can make environments: the one on the search path, else Debian's.
pub(super) fn python() -> Option<PathBuf> {
    let own = repository::find_program("python3");
    [own, Some(PathBuf::from("/usr/bin/python3"))]
        .into_iter()
        .flatten()
        .find(|python| succeeds(Command::new(python).args(["-c", "import venv, ensurepip"])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_asks_for_every_version() {
        let check = DATABASES.check();
        assert!(check.contains("import psycopg, psycopg_binary\n"), "{check}");
        assert!(check.contains("assert version('psycopg') == '3.3.9'\n"), "{check}");
        assert_eq!(SSH.check().matches("assert").count(), SSH.packages.len());
    }
}
