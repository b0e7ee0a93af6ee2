//! The profile: which server, and the credentials of whoever is signed in. One folder, for its
//! owner's eyes only: `profile.toml`, `ca.pem`, `cert.pem`, `key.pem`, `token`; for SSH `id_loggia`
//! with its public half and certificate beside it, as OpenSSH looks for them, and the authority by
//! which the gateway's host key is known.

use crate::environment;
use crate::fail::{Done, Fail};
use crate::new_key::NewKey;
use loggia_api::identity::SignedIn;
use loggia_client::{Auth, Client, Trust};
use loggia_model::Secret;
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The SSH private key.
pub(crate) const SSH_KEY: &str = "id_loggia";
/// Its public half.
const SSH_PUBLIC: &str = "id_loggia.pub";
/// Its certificate.
pub(crate) const SSH_CERTIFICATE: &str = "id_loggia-cert.pub";
/// Public key of the authority for the gateway's host keys.
const SSH_HOST_AUTHORITY: &str = "ssh-host-ca.pub";

/// The folder.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    folder: PathBuf,
}

/// `profile.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Signed {
    /// `HOST:PORT` of the server.
    pub(crate) address: String,
    /// Name of who signs in.
    pub(crate) name: String,
    /// End of the credentials, microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_us: Option<i64>,
}

impl Profile {
    /// The profile in this folder, or in `~/.config/loggia`.
    pub(crate) fn at(folder: Option<&Path>) -> Done<Self> {
        let folder = folder.map(Path::to_path_buf).or_else(environment::default_home);
        folder.map(|folder| Self { folder }).ok_or_else(|| {
            Fail::new("there is no home folder to keep the sign-in in")
                .hint("name one: LOGGIA_HOME=DIR or --home DIR")
        })
    }

    /// A file of the profile.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn read(&self, name: &str) -> Done<Option<String>> {
        let path = self.path(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Fail::new(format!("{} cannot be read: {error}", path.display()))),
        }
    }

    /// Who signed in where, if anybody did.
    pub(crate) fn signed(&self) -> Done<Option<Signed>> {
        let Some(text) = self.read("profile.toml")? else { return Ok(None) };
        toml::from_str(&text).map(Some).map_err(|error| {
            let path = self.path("profile.toml");
            Fail::new(format!("{} cannot be read: {}", path.display(), error.message()))
                .hint("remove the folder and sign in again with a new enrolment code")
        })
    }

    /// The authority that is trusted, if one was saved.
    pub(crate) fn authority(&self) -> Done<Option<String>> {
        self.read("ca.pem")
    }

    /// A client for whoever is signed in.
    pub(crate) fn client(&self) -> Done<Client> {
        let (Some(signed), Some(authority)) = (self.signed()?, self.authority()?) else {
            return Err(Fail::sign_in("you are not signed in")
                .hint("with an enrolment code: loggia enrol CODE; otherwise: loggia login"));
        };
        let auth = match (self.read("cert.pem")?, self.read("key.pem")?, self.read("token")?) {
            (Some(certificate_pem), Some(key), _) => {
                Auth::Certificate { certificate_pem, key_pem: Secret::new(key) }
            }
            (_, _, Some(token)) => Auth::Token(Secret::new(token.trim().to_owned())),
            _ => {
                return Err(Fail::sign_in("you are not signed in").hint("sign in: loggia login"));
            }
        };
        Ok(Client::new(&signed.address, &Trust::Authority(authority), &auth)?)
    }

    /// Public key of the authority by which SSH clients know the gateway, if one was saved.
    pub(crate) fn ssh_host_authority(&self) -> Done<Option<String>> {
        self.read(SSH_HOST_AUTHORITY)
    }

    /// Keeps what a sign-in gave, the private keys that belong to it, and for whom.
    pub(crate) fn keep(&self, address: &str, signed_in: &SignedIn, key: &NewKey) -> Done {
        self.make_folder()?;
        // The profile goes last: whoever finds it finds everything that it speaks of.
        let _ = std::fs::remove_file(self.path("profile.toml"));
        self.write("ca.pem", signed_in.ca_pem.as_bytes())?;
        self.write("key.pem", key.pem.reveal().as_bytes())?;
        self.write("cert.pem", signed_in.certificate_pem.as_bytes())?;
        match &signed_in.token {
            Some(token) => self.write("token", token.reveal().as_bytes())?,
            None => self.remove(&["token"])?,
        }
        self.keep_ssh(signed_in, key)?;
        self.keep_signed(&Signed {
            address: address.to_owned(),
            name: signed_in.name.clone(),
            expires_us: Some(signed_in.expires_us),
        })
    }

    /// The certificate goes before its key, so that no key is offered that is alone unknown.
    fn keep_ssh(&self, signed_in: &SignedIn, key: &NewKey) -> Done {
        self.remove(&[SSH_KEY, SSH_PUBLIC, SSH_CERTIFICATE])?;
        let Some(certificate) = &signed_in.ssh_certificate else { return Ok(()) };
        let line = |text: &str| format!("{}\n", text.trim_end());
        self.write(SSH_HOST_AUTHORITY, line(&signed_in.ssh_host_authority).as_bytes())?;
        self.write(SSH_CERTIFICATE, line(&format!("{certificate} loggia")).as_bytes())?;
        self.write(SSH_PUBLIC, line(&key.ssh_public).as_bytes())?;
        self.write(SSH_KEY, key.ssh_private.reveal().as_bytes())
    }

    fn keep_signed(&self, signed: &Signed) -> Done {
        let text = toml::to_string(signed)
            .map_err(|error| Fail::new(format!("the profile cannot be written: {error}")))?;
        self.write("profile.toml", text.as_bytes())
    }

    /// Throws the credentials away; server, authority and name stay.
    pub(crate) fn forget_credentials(&self) -> Done {
        self.remove(&["cert.pem", "key.pem", "token", SSH_KEY, SSH_PUBLIC, SSH_CERTIFICATE])?;
        match self.signed()? {
            Some(signed) => self.keep_signed(&Signed { expires_us: None, ..signed }),
            None => Ok(()),
        }
    }

    fn remove(&self, names: &[&str]) -> Done {
        for name in names {
            let path = self.path(name);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    let message = format!("{} cannot be removed: {error}", path.display());
                    return Err(Fail::new(message));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn make_folder(&self) -> Done {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(|error| {
            Fail::new(format!("{} cannot be made: {error}", self.folder.display()))
        })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Done {
        write_private(&self.path(name), bytes)
    }
}

/// Writes a file that only its owner can read; whole, or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Done {
    let failed =
        |error: std::io::Error| Fail::new(format!("{} cannot be written: {error}", path.display()));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let open = |beside: &Path| -> std::io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)
    };
    let write = || -> std::io::Result<()> {
        let mut file = open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&beside);
        failed(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn signed_in() -> SignedIn {
        SignedIn {
            actor: "pe_1".into(),
            name: "alice".into(),
            certificate_pem: "cert".into(),
            ssh_certificate: Some("ssh-ed25519-cert-v01@openssh.com AAAA".into()),
            ssh_host_authority: "ssh-ed25519 BBBB".into(),
            token: Some(Secret::new("tok".into())),
            expires_us: 7,
            ca_pem: "ca".into(),
            notice: String::new(),
        }
    }

    #[test]
    fn what_is_kept_is_for_its_owner_only_and_credentials_can_be_thrown_away() {
        let folder = tempfile::tempdir().unwrap();
        let profile = Profile::at(Some(&folder.path().join("deep/loggia"))).unwrap();
        assert!(profile.signed().unwrap().is_none());
        assert!(profile.client().is_err());
        let key = NewKey::generate().unwrap();
        profile.keep("x:1", &signed_in(), &key).unwrap();
        profile.keep("x:1", &signed_in(), &key).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&profile.folder), 0o700);
        let names: Vec<_> = std::fs::read_dir(&profile.folder).unwrap().collect();
        assert_eq!(names.len(), 9, "nothing is left lying about");
        let ssh = ["id_loggia", "id_loggia.pub", "id_loggia-cert.pub", "ssh-host-ca.pub"];
        for name in ["profile.toml", "ca.pem", "cert.pem", "key.pem", "token"].iter().chain(&ssh) {
            assert_eq!(mode(&profile.path(name)), 0o600, "{name}");
        }
        profile.forget_credentials().unwrap();
        let signed = profile.signed().unwrap().unwrap();
        assert_eq!((signed.name.as_str(), signed.expires_us), ("alice", None));
        assert!(!profile.path("key.pem").exists() && profile.path("ca.pem").exists());
        assert!(ssh[..3].iter().all(|name| !profile.path(name).exists()));
        assert_eq!(profile.ssh_host_authority().unwrap().as_deref(), Some("ssh-ed25519 BBBB\n"));
        let without = SignedIn { ssh_certificate: None, ..signed_in() };
        profile.keep("x:1", &signed_in(), &key).unwrap();
        profile.keep("x:1", &without, &key).unwrap();
        assert!(!profile.path(SSH_KEY).exists(), "a key without certificate is of no use");
    }
}
