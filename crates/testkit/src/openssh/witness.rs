//! The witnesses of what was done on the target: the server's own log of logins, and a wrapper
//! around every command, which writes it down before it is executed.
//!
//! The account's shell is not changed. The server starts the wrapper in place of the command
//! (`ForceCommand`), and the wrapper starts what was asked for; standard input, output and error
//! pass it by.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::account::Account;
use crate::folder::Workspace;

/// The wrapper in the server's folder.
pub(super) const WRAPPER: &str = "witness";
/// Executed commands, each ended by a zero byte.
pub(super) const EXECUTED: &str = "executed";
/// What shells were told, in the same form.
pub(super) const TYPED: &str = "typed";

/// What takes the place of each command. `FOLDER` is replaced.
///
/// One write of one process appends to a file as a whole, so that sessions at the same time do
/// not mix.
const WRAPPER_SCRIPT: &str = r#"#!/bin/sh
cd "$HOME" || exit 254
if [ -n "${SSH_ORIGINAL_COMMAND+set}" ]; then
  printf '%s\0' "$SSH_ORIGINAL_COMMAND" >> FOLDER/executed
  exec "$SHELL" -c "$SSH_ORIGINAL_COMMAND"
elif [ -t 0 ]; then
  exec bash --noprofile --rcfile FOLDER/interactive.bash -i
else
  BASH_ENV=FOLDER/plain.bash exec bash --noprofile
fi
"#;

/// For shells in a terminal: PS0 is expanded when a line was read and before it is executed; by
/// then the line is the newest one of the history.
const INTERACTIVE: &str = r#"
HISTFILE=
HISTCONTROL=
PS1='$ '
bind 'set enable-bracketed-paste off'
_witness() {
  local line
  line=$(HISTTIMEFORMAT= history 1)
  [[ $line =~ ^\ *[0-9]+[*\ ]\ (.*)$ ]] && printf '%s\0' "${BASH_REMATCH[1]}" >> FOLDER/typed
}
PS0='$(_witness)'
"#;

/// For shells that read commands from a pipe.
const PLAIN: &str = r#"
unset BASH_ENV
trap 'printf "%s\0" "$BASH_COMMAND" >> FOLDER/typed' DEBUG
"#;

/// Writes the wrapper and what it needs into the server's folder.
pub(super) fn set_up(workspace: &Workspace, account: Account) -> Result<()> {
    let folder = workspace.path().display().to_string();
    for (name, script) in
        [(WRAPPER, WRAPPER_SCRIPT), ("interactive.bash", INTERACTIVE), ("plain.bash", PLAIN)]
    {
        let path = workspace.join(name);
        std::fs::write(&path, script.replace("FOLDER", &folder)).context("writing the wrapper")?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .context("making the wrapper executable")?;
    }
    for name in [EXECUTED, TYPED] {
        let path = workspace.join(name);
        std::fs::write(&path, "").context("making the witness's file")?;
        account.give(&path)?;
    }
    Ok(())
}

/// The records of a file, without one that is still being written.
pub(super) fn read(path: &Path) -> Result<Vec<String>> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let mut records: Vec<String> = bytes
        .split(|byte| *byte == 0)
        .map(|record| String::from_utf8_lossy(record).into_owned())
        .collect();
    // Behind the last zero byte.
    records.pop();
    Ok(records)
}

/// A login, as the server logged it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The account.
    pub account: String,
    /// The port that the client came from.
    pub client_port: u16,
    /// Fingerprint of the key, or of the key in the certificate.
    pub fingerprint: String,
    /// The certificate, where it was one.
    pub certificate: Option<AcceptedCertificate>,
}

/// What a server logs of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedCertificate {
    /// Its key id.
    pub key_id: String,
    /// Its serial number.
    pub serial: u64,
    /// Fingerprint of its authority.
    pub authority: String,
}

impl Accepted {
    /// Reads a line of the log; `None` when it is about something else.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let rest = line.trim_end().strip_prefix("Accepted publickey for ")?;
        let (account, rest) = rest.split_once(" from ")?;
        let (_, rest) = rest.split_once(" port ")?;
        let (port, rest) = rest.split_once(" ssh2: ")?;
        let (_, rest) = rest.split_once(' ')?;
        let (fingerprint, certificate) = match rest.split_once(" ID ") {
            None => (rest, None),
            Some((fingerprint, rest)) => (fingerprint, Some(AcceptedCertificate::parse(rest)?)),
        };
        Some(Self {
            account: account.into(),
            client_port: port.parse().ok()?,
            fingerprint: fingerprint.into(),
            certificate,
        })
    }
}

impl AcceptedCertificate {
    /// The key id may contain anything, so it is read from behind.
    fn parse(text: &str) -> Option<Self> {
        let (rest, authority) = text.rsplit_once(' ')?;
        let (rest, _) = rest.rsplit_once(") CA ")?;
        let (key_id, serial) = rest.rsplit_once(" (serial ")?;
        Some(Self {
            key_id: key_id.into(),
            serial: serial.parse().ok()?,
            authority: authority.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_logins_by_key_and_by_certificate() {
        let key = "Accepted publickey for postgres from 127.0.0.1 port 57090 ssh2: ED25519 \
                   SHA256:iWdq\r";
        let expected = Accepted {
            account: "postgres".into(),
            client_port: 57_090,
            fingerprint: "SHA256:iWdq".into(),
            certificate: None,
        };
        assert_eq!(Accepted::parse(key), Some(expected));
        let certificate = "Accepted publickey for app from 127.0.0.1 port 4 ssh2: ED25519-CERT \
                           SHA256:abc ID alice (serial 3) CA x (serial 7) CA ED25519 SHA256:def";
        let accepted = Accepted::parse(certificate).unwrap();
        assert_eq!(accepted.fingerprint, "SHA256:abc");
        let expected = AcceptedCertificate {
            key_id: "alice (serial 3) CA x".into(),
            serial: 7,
            authority: "SHA256:def".into(),
        };
        assert_eq!(accepted.certificate, Some(expected));
        assert_eq!(Accepted::parse("Accepted key ED25519 SHA256:iW found at x:1"), None);
    }
}
