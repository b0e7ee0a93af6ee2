//! `key`: SSH keys that are registered for people and service accounts.

use super::Context;
use crate::fail::{Done, Fail};
use crate::out::say;
use crate::text;
use clap::{Args, Subcommand};
use loggia_api::control::{AddKey, Key as Registered, Page};
use std::io::Read;
use std::path::{Path, PathBuf};

/// A file with a public key is at most this long, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 10;

/// SSH keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Register a public SSH key: whoever holds its private half is let in as its owner
    Add(Add),
    /// List registered keys; everybody sees their own
    Ls(Ls),
    /// Take a registered key away; sessions that run go on
    Rm(Rm),
}

/// Registers a key.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia key add alice ~/.ssh/id_ed25519.pub
  loggia key add backup - < backup.pub
A certificate from `loggia login` ends by itself; a registered key is good until it is removed.")]
pub(crate) struct Add {
    /// The person or service account that it lets in
    name: String,
    /// File with the public key; - is standard input
    file: PathBuf,
}

/// Lists keys.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia key ls
  loggia key ls --json | jq -r 'select(.owner == \"alice\") | .fingerprint'")]
pub(crate) struct Ls {}

/// Removes a key.
#[derive(Debug, Args)]
#[command(before_help = "Example:
  loggia key rm SHA256:DDyMoA1XbKZtXev3HM2IlhuRgN7Eyko+bo/kN/4OkUg")]
pub(crate) struct Rm {
    /// Its fingerprint, as `loggia key ls` and `ssh-keygen -lf` show it
    fingerprint: String,
}

impl Key {
    pub(super) async fn run(self, context: &Context) -> Done {
        match self {
            Self::Add(args) => {
                let public_key = public_key(&args.file)?;
                let add = AddKey { name: args.name, public_key };
                let key = context.client()?.add_key(&add).await?;
                context.out.either(&key, || key.fingerprint.clone())?;
                say(&format!(
                    "Whoever holds it is let in over SSH as {}, until: loggia key rm {}",
                    text::line(&key.owner),
                    text::line(&key.fingerprint)
                ));
                Ok(())
            }
            Self::Ls(Ls {}) => context.out.table(
                &all(context).await?,
                &["owner", "fingerprint", "type", "comment", "since"],
                |key| {
                    vec![
                        key.owner.clone(),
                        key.fingerprint.clone(),
                        key.public_key.split(' ').next().unwrap_or_default().to_owned(),
                        key.comment.clone(),
                        text::moment_of(key.created_us),
                    ]
                },
                "no key is registered",
            ),
            Self::Rm(args) => {
                let key = context.client()?.remove_key(&args.fingerprint).await?;
                if context.out.json {
                    return context.out.object(&key);
                }
                say(&format!(
                    "it lets nobody in any more; it was that of {}",
                    text::line(&key.owner)
                ));
                Ok(())
            }
        }
    }
}

async fn all(context: &Context) -> Done<Vec<Registered>> {
    let client = context.client()?;
    let mut all = Vec::new();
    let mut page = Page::default();
    loop {
        let mut keys = client.keys(&page).await?;
        all.append(&mut keys.keys);
        page.after = keys.next;
        if page.after.is_none() {
            return Ok(all);
        }
    }
}

/// The key in a file. A private key is not even sent.
fn public_key(path: &Path) -> Done<String> {
    let shown = path.display();
    let failed = |error: std::io::Error| Fail::usage(format!("{shown} cannot be read: {error}"));
    let mut text = String::new();
    if path.as_os_str() == "-" {
        let stdin = std::io::stdin().lock();
        stdin.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    }
    if text.contains("PRIVATE KEY") {
        return Err(Fail::usage(format!("{shown} is a private key; nothing was sent"))
            .hint("its public half is in the .pub file beside it, or: ssh-keygen -y -f FILE"));
    }
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    match (lines.next(), lines.next()) {
        (Some(line), None) => Ok(line.to_owned()),
        _ => Err(Fail::usage(format!("{shown} should hold one public key, on one line"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_public_key_is_read_and_a_private_one_is_not_sent() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            public_key(&file)
        };
        assert_eq!(read("ssh-ed25519 AAAA me\n\n").unwrap(), "ssh-ed25519 AAAA me");
        assert!(read("-----BEGIN OPENSSH PRIVATE KEY-----\n").is_err());
        assert!(read("ssh-ed25519 AAAA\nssh-ed25519 BBBB\n").is_err());
        assert!(read("\n").is_err() && public_key(&folder.path().join("none")).is_err());
    }
}
