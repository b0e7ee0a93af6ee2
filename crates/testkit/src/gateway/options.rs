//! How a gateway under test is set up, and what is declared to it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::openssh::Sshd;
use crate::postgres::Postgres;

/// Everybody may use every resource: what most tests want.
const ALLOW_EVERYTHING: &str = r#"
@id("everybody.everything")
permit (
  principal,
  action in [
    Loggia::Action::"connect", Loggia::Action::"sql.execute", Loggia::Action::"ssh.shell",
    Loggia::Action::"ssh.exec", Loggia::Action::"ssh.sftp"
  ],
  resource is Loggia::Resource
);
"#;

/// A resource to be declared.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name in Loggia.
    pub name: String,
    /// `disk` or `kernel`.
    pub depth: String,
    /// `HOST:PORT`.
    pub address: String,
    /// `verify-full`, `unverified` or `off`.
    pub tls: String,
    /// The authority of the server's certificate.
    pub ca_file: Option<PathBuf>,
    /// Accounts on the target, the default one first: name and password.
    pub accounts: Vec<(String, String)>,
    /// Labels: key and value.
    pub labels: Vec<(String, String)>,
}

impl Target {
    /// A resource over a server of the kit: its superuser's account, TLS checked.
    pub fn over(server: &Postgres, name: &str, depth: &str) -> Self {
        Self {
            name: name.into(),
            depth: depth.into(),
            address: server.address(),
            tls: "verify-full".into(),
            ca_file: Some(server.ca_pem_path.clone()),
            accounts: vec![(server.superuser.clone(), server.password.clone())],
            labels: Vec::new(),
        }
    }

    /// Another account on the target.
    #[must_use]
    pub fn account(mut self, name: &str, password: &str) -> Self {
        self.accounts.push((name.into(), password.into()));
        self
    }

    /// A resource in TOML; the passwords of its accounts go to files of their own.
    fn declared(&self, folder: &Path) -> Result<String> {
        let Self { name, depth, address, tls, .. } = self;
        let mut text = format!(
            "[[resource]]\nname = {name:?}\nprotocol = \"postgres\"\naddress = {address:?}\n\
             tls = {tls:?}\ndepth = {depth:?}\n"
        );
        if let Some(ca_file) = &self.ca_file {
            text.push_str(&format!("ca_file = {:?}\n", ca_file.display().to_string()));
        }
        text.push_str(&labels_line(&self.labels));
        for (place, (account, password)) in self.accounts.iter().enumerate() {
            let file = folder.join(format!("password-{name}-{place}"));
            std::fs::write(&file, password).context("writing a target's password")?;
            text.push_str(&format!(
                "[[resource.account]]\nname = {account:?}\npassword = \"file:{}\"\n",
                file.display()
            ));
        }
        text.push('\n');
        Ok(text)
    }
}

/// How the gateway signs in on a target over SSH.
#[derive(Debug, Clone)]
pub enum SshSignIn {
    /// With a private key in this file.
    Key(PathBuf),
    /// With a certificate that it mints for each session.
    Certificate,
}

/// A resource over SSH to be declared.
#[derive(Debug, Clone)]
pub struct SshTarget {
    /// Its name in Loggia.
    pub name: String,
    /// `disk` or `kernel`.
    pub depth: String,
    /// `HOST:PORT`.
    pub address: String,
    /// The host keys, as `TYPE KEY`, or their authorities, with `@cert-authority` before.
    pub host_keys: Vec<String>,
    /// Accounts on the target, the default one first.
    pub accounts: Vec<(String, SshSignIn)>,
    /// Labels: key and value.
    pub labels: Vec<(String, String)>,
}

impl SshTarget {
    /// A resource over a server of the kit: its account, by key, its host key pinned.
    pub fn over(server: &Sshd, name: &str, depth: &str) -> Self {
        Self {
            name: name.into(),
            depth: depth.into(),
            address: server.address(),
            host_keys: vec![server.host_key().into()],
            accounts: vec![(server.account.clone(), SshSignIn::Key(server.key.path.clone()))],
            labels: Vec::new(),
        }
    }

    /// A resource in TOML.
    fn declared(&self) -> String {
        let Self { name, depth, address, host_keys, .. } = self;
        let mut text = format!(
            "[[resource]]\nname = {name:?}\nprotocol = \"ssh\"\naddress = {address:?}\n\
             depth = {depth:?}\nhost_keys = {host_keys:?}\n{}",
            labels_line(&self.labels)
        );
        for (account, sign_in) in &self.accounts {
            let sign_in = match sign_in {
                SshSignIn::Key(path) => format!("key = \"file:{}\"", path.display()),
                SshSignIn::Certificate => "certificate = true".into(),
            };
            text.push_str(&format!("[[resource.account]]\nname = {account:?}\n{sign_in}\n"));
        }
        text.push('\n');
        text
    }
}

/// Labels in TOML; nothing where there are none.
fn labels_line(labels: &[(String, String)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let labels = labels.iter().map(|(key, value)| format!("{key} = {value:?}"));
    format!("labels = {{ {} }}\n", labels.collect::<Vec<_>>().join(", "))
}

/// How a gateway is set up.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// The binary.
    pub program: PathBuf,
    /// People to declare and enrol; the first one administers Loggia.
    pub people: Vec<String>,
    /// Databases to declare.
    pub targets: Vec<Target>,
    /// Hosts to declare.
    pub ssh_targets: Vec<SshTarget>,
    /// Policies; without any, everybody may use every resource.
    pub policies: Option<String>,
    /// Further TOML declarations: groups, service accounts.
    pub declarations: String,
    /// Lines of the configuration file: section (`ledger`, `session`, …) and line.
    pub settings: Vec<(String, String)>,
    /// Where the data folder lies; without, beside everything else.
    pub data: Option<PathBuf>,
}

impl GatewayOptions {
    /// One administrator, `alice`, and `bob`; everybody may use both resources over the server,
    /// `disk` and `kernel`, which are called after their depth.
    pub fn over(server: &Postgres, program: impl Into<PathBuf>) -> Self {
        let targets = ["disk", "kernel"].map(|depth| Target::over(server, depth, depth));
        Self { targets: targets.into(), ..Self::alone(program) }
    }

    /// The same two people; everybody may use both resources over the host, `disk` and `kernel`.
    pub fn over_ssh(server: &Sshd, program: impl Into<PathBuf>) -> Self {
        let ssh_targets = ["disk", "kernel"].map(|depth| SshTarget::over(server, depth, depth));
        Self { ssh_targets: ssh_targets.into(), ..Self::alone(program) }
    }

    /// The same two people, and nothing to connect to.
    pub fn alone(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            people: vec!["alice".into(), "bob".into()],
            targets: Vec::new(),
            ssh_targets: Vec::new(),
            policies: None,
            declarations: String::new(),
            settings: Vec::new(),
            data: None,
        }
    }

    /// Adds a line to a section of the configuration file.
    #[must_use]
    pub fn setting(mut self, section: &str, line: &str) -> Self {
        self.settings.push((section.into(), line.into()));
        self
    }

    /// Writes `declared.toml` and `access.cedar` into `folder`, for `loggia up --apply`.
    pub(super) fn declare(&self, folder: &Path) -> Result<()> {
        let mut text = String::new();
        for (place, person) in self.people.iter().enumerate() {
            text.push_str(&format!("[[person]]\nname = {person:?}\nadmin = {}\n\n", place == 0));
        }
        for target in &self.targets {
            text.push_str(&target.declared(folder)?);
        }
        text.extend(self.ssh_targets.iter().map(SshTarget::declared));
        text.push_str(&self.declarations);
        std::fs::write(folder.join("declared.toml"), text).context("declaring")?;
        let policies = self.policies.as_deref().unwrap_or(ALLOW_EVERYTHING);
        std::fs::write(folder.join("access.cedar"), policies).context("declaring")
    }
}

/// The binary that `cargo xtask` built: named by `LOGGIA_BIN`.
///
/// Tests of the crate that has the binary use `env!("CARGO_BIN_EXE_loggia")` instead.
#[expect(clippy::disallowed_methods, reason = "this variable comes from xtask")]
pub fn program() -> Result<PathBuf> {
    let named = std::env::var_os("LOGGIA_BIN").filter(|name| !name.is_empty());
    let program = named.map(PathBuf::from).context(
        "LOGGIA_BIN is not set: run this by `cargo xtask bench`, `torture` or `demo`, or name \
         the binary `loggia`",
    )?;
    ensure!(program.is_file(), "LOGGIA_BIN names {}, which is no file", program.display());
    Ok(program)
}
