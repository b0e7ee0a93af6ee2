//! Keys and certificates for tests, made by `ssh-keygen`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// A private key in a file (mode 0600), its public half beside it in `….pub`.
#[derive(Debug, Clone)]
pub struct SshKey {
    /// The private key, in OpenSSH's format, without a passphrase.
    pub path: PathBuf,
    /// The public key: type and key, without a comment.
    pub public: String,
}

impl SshKey {
    /// Makes an Ed25519 key in `folder`.
    pub fn generate(folder: &Path, name: &str) -> Result<Self> {
        Self::generate_as(folder, name, &["-t", "ed25519"])
    }

    /// Makes a key of another type: arguments for `ssh-keygen`, as `["-t", "rsa", "-b", "3072"]`.
    pub fn generate_as(folder: &Path, name: &str, kind: &[&str]) -> Result<Self> {
        let path = folder.join(name);
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-N", "", "-C", name]).args(kind).arg("-f").arg(&path);
        keygen(&mut command)?;
        let line = std::fs::read_to_string(with_suffix(&path, ".pub"))
            .context("reading the public key")?;
        let words: Vec<&str> = line.split_whitespace().take(2).collect();
        Ok(Self { path, public: words.join(" ") })
    }

    /// The file of the public key.
    pub fn public_path(&self) -> PathBuf {
        with_suffix(&self.path, ".pub")
    }

    /// `SHA256:…`, as OpenSSH shows it.
    pub fn fingerprint(&self) -> Result<String> {
        let said = keygen(Command::new("ssh-keygen").arg("-lf").arg(self.public_path()))?;
        let print = said.split_whitespace().nth(1).map(ToString::to_string);
        print.with_context(|| format!("no fingerprint in `{}`", said.trim()))
    }

    /// Signs a certificate for `subject` with this key as the authority. `arguments` are those of
    /// `ssh-keygen -s`: `-I` key id, `-n` principals, `-V` validity, `-h` for hosts, `-O` options.
    /// Returns its file, where OpenSSH's clients look for it beside the key.
    pub fn certify(&self, subject: &Self, arguments: &[&str]) -> Result<PathBuf> {
        let mut command = Command::new("ssh-keygen");
        command.arg("-q").arg("-s").arg(&self.path).args(arguments).arg(subject.public_path());
        keygen(&mut command)?;
        Ok(subject.certificate())
    }

    /// The file of this key's certificate, whether there is one or not.
    pub fn certificate(&self) -> PathBuf {
        with_suffix(&self.path, "-cert.pub")
    }
}

/// Whether OpenSSH's clients are installed, `ssh-keygen` among them.
pub(super) fn available() -> Result<()> {
    let asked = Command::new("ssh").arg("-V").stdin(Stdio::null()).output();
    asked.context(
        "starting ssh: `cargo xtask demo` and `test` install it, or: apt-get install openssh-client",
    )?;
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

fn keygen(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().context(
        "starting ssh-keygen: `cargo xtask test` installs it, or: apt-get install openssh-client",
    )?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("ssh-keygen: {}", String::from_utf8_lossy(&said).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
