//! What `pg-config` and `ssh-config` have in common: what a person can reach, by which door, and a
//! file of another program that they may write.

use super::{Context, resource};
use crate::fail::{Done, Fail};
use crate::profile::Profile;
use loggia_api::control::Resource;
use std::io::ErrorKind;
use std::path::Path;

/// Where the gateway listens for a protocol.
pub(super) struct Door {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Door {
    /// At `host`, else where the API is.
    pub(super) fn new(profile: &Profile, host: Option<String>, port: u16) -> Done<Self> {
        let address = profile.signed()?.map(|signed| signed.address).unwrap_or_default();
        Ok(Self { host: host.unwrap_or_else(|| host_of(&address).to_owned()), port })
    }
}

fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// The resources of a protocol that the caller may connect to; `none` says that there is none.
pub(super) async fn reachable(
    context: &Context,
    protocol: &str,
    none: &str,
) -> Done<Vec<Resource>> {
    let mut resources = resource::all(context).await?;
    resources.retain(|resource| resource.protocol == protocol && resource.connect);
    if resources.is_empty() {
        return Err(Fail::new(none).hint("loggia resource ls shows what there is"));
    }
    Ok(resources)
}

/// A file that somebody else wrote is not written over: this command's begin with `mark`.
pub(super) fn may_write(path: &Path, mark: &str, hint: &str) -> Done {
    match std::fs::read_to_string(path) {
        Ok(text) if text.starts_with(mark) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Ok(_) => {
            let what = format!("{} was not written by this command", path.display());
            Err(Fail::usage(what).hint(hint))
        }
        Err(error) => Err(Fail::new(format!("{} cannot be read: {error}", path.display()))),
    }
}

/// As one word of a shell.
pub(super) fn quoted(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-~+".contains(letter);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_somebody_else_is_left_alone() {
        const MARK: &str = "# Written by a command.";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pg_service.conf");
        may_write(&path, MARK, "").unwrap();
        std::fs::write(&path, format!("{MARK}\n[x]\n")).unwrap();
        may_write(&path, MARK, "").unwrap();
        std::fs::write(&path, "[mine]\nhost=x\n").unwrap();
        assert!(may_write(&path, MARK, "").is_err());
    }

    #[test]
    fn words_of_a_shell_are_quoted() {
        assert_eq!(quoted("/a/b"), "/a/b");
        assert_eq!(quoted("/it's me"), "'/it'\\''s me'");
    }

    #[test]
    fn the_host_of_an_address_is_without_port_and_brackets() {
        assert_eq!(host_of("[::1]:7443"), "::1");
        assert_eq!(host_of("gate.example:7443"), "gate.example");
    }
}
