//! The unprivileged account that real servers run as.
//!
//! PostgreSQL and pgbouncer refuse to run as root. When the tests run as root,
//! servers run as an existing system account (`postgres`, else `nobody`) and own
//! their folder; otherwise they run as whoever runs the tests. No account is
//! ever added.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Who a server runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// The account that runs the tests.
    Own,
    /// Another account of the system; only root can choose it.
    Other {
        /// Numeric user id.
        uid: u32,
        /// Numeric primary group id.
        gid: u32,
    },
}

impl Account {
    /// The account for servers on this machine.
    ///
    /// Fails when running as root on a system with neither `postgres` nor `nobody`.
    pub fn for_servers() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Own);
        }
        let passwd = std::fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
        match find(&passwd, "postgres").or_else(|| find(&passwd, "nobody")) {
            Some((uid, gid)) => Ok(Self::Other { uid, gid }),
            None => bail!("running as root, and /etc/passwd has neither `postgres` nor `nobody`"),
        }
    }

    /// This account with the group `tty`, where there is one: a server that is not root can then
    /// give a new terminal to that group, as it has to.
    pub fn with_terminals(self) -> Result<Self> {
        let Self::Other { uid, .. } = self else { return Ok(self) };
        let groups = std::fs::read_to_string("/etc/group").context("reading /etc/group")?;
        Ok(group(&groups, "tty").map_or(self, |gid| Self::Other { uid, gid }))
    }

    /// Whether a server of this account can hand out terminals such as one that belongs to
    /// `terminal_gid`. OpenSSH gives each to the group `tty`, which an account that is not root
    /// can only where it is in that group, or has nothing to change.
    pub fn hands_out_terminals(self, terminal_gid: u32) -> Result<()> {
        let groups = std::fs::read_to_string("/etc/group").context("reading /etc/group")?;
        let (Self::Own, Some(tty)) = (self, group(&groups, "tty")) else { return Ok(()) };
        let own = rustix::process::getgroups().context("asking for the own groups")?;
        let own = own.iter().chain([&rustix::process::getegid()]).any(|gid| gid.as_raw() == tty);
        if terminal_gid != tty && !own {
            bail!(
                "new terminals do not belong to the group `tty` here, so only root can hand them \
                 out: /dev/pts is mounted without gid={tty}"
            );
        }
        Ok(())
    }

    /// The account as one that can be logged in to.
    ///
    /// Fails when it has no name, or no shell that executes commands.
    pub fn login(self) -> Result<Login> {
        let uid = match self {
            Self::Own => rustix::process::geteuid().as_raw(),
            Self::Other { uid, .. } => uid,
        };
        // Not /etc/passwd: own accounts may come from a directory.
        let output = Command::new("getent").arg("passwd").arg(uid.to_string()).output();
        let output = output.context("starting getent")?;
        let line = String::from_utf8_lossy(&output.stdout).into_owned();
        let fields: Vec<&str> = line.trim_end().split(':').collect();
        let (Some(name), Some(shell)) = (fields.first(), fields.get(6)) else {
            bail!("the account with uid {uid} has no name");
        };
        if shell.ends_with("/nologin") || shell.ends_with("/false") {
            bail!("the account `{name}` cannot log in: its shell is {shell}");
        }
        Ok(Login { name: (*name).to_string(), account: self })
    }

    /// Makes `command` run as this account, without supplementary groups.
    pub fn apply(self, command: &mut Command) {
        if let Self::Other { uid, gid } = self {
            // The standard library clears the supplementary groups itself when
            // root sets a user id.
            command.uid(uid).gid(gid);
        }
    }

    /// Gives `path` (one file or folder, not what lies in it) to this account.
    pub fn give(self, path: &Path) -> Result<()> {
        match self {
            Self::Own => Ok(()),
            Self::Other { uid, gid } => std::os::unix::fs::chown(path, Some(uid), Some(gid))
                .with_context(|| format!("giving {} to uid {uid}", path.display())),
        }
    }
}

/// An account that can be logged in to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Its name.
    pub name: String,
    /// What a server for it runs as.
    pub account: Account,
}

/// The id of the group `name` in the text of `/etc/group`.
fn group(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

/// The user and group id of `name` in the text of `/etc/passwd`; never root's.
fn find(passwd: &str, name: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        (uid != 0).then_some((uid, gid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
        nobody:x:65534:65533:nobody:/nonexistent:/usr/sbin/nologin\n\
        broken\n\
        postgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";

    #[test]
    fn finds_accounts_and_never_root() {
        assert_eq!(find(PASSWD, "postgres"), Some((101, 104)));
        assert_eq!(find(PASSWD, "nobody"), Some((65534, 65533)));
        assert_eq!(find(PASSWD, "root"), None);
        assert_eq!(find(PASSWD, "broken"), None);
        assert_eq!(find(PASSWD, "absent"), None);
    }

    #[test]
    fn finds_groups() {
        let groups = "root:x:0:\ntty:x:5:postgres\nbroken\n";
        assert_eq!(group(groups, "tty"), Some(5));
        assert_eq!(group(groups, "broken"), None);
    }

    #[test]
    fn a_child_runs_as_the_account() {
        let account = Account::for_servers().unwrap();
        let mut command = Command::new("id");
        command.arg("-u").current_dir("/");
        account.apply(&mut command);
        let printed = String::from_utf8(command.output().unwrap().stdout).unwrap();
        assert_ne!(printed.trim(), "0");
    }
}
