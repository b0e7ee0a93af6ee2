//! How a gateway under test is set up, and what is declared to it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::postgres::Postgres;

/// Everybody may use every resource: what most tests want.
const ALLOW_EVERYTHING: &str = r#"
@id("everybody.everything")
permit (
  principal,
  action in [Loggia::Action::"connect", Loggia::Action::"sql.execute"],
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
        if !self.labels.is_empty() {
            let labels = self.labels.iter().map(|(key, value)| format!("{key} = {value:?}"));
            text.push_str(&format!("labels = {{ {} }}\n", labels.collect::<Vec<_>>().join(", ")));
        }
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

/// How a gateway is set up.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// The binary.
    pub program: PathBuf,
    /// People to declare and enrol; the first one administers Loggia.
    pub people: Vec<String>,
    /// Resources to declare.
    pub targets: Vec<Target>,
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
        Self {
            program: program.into(),
            people: vec!["alice".into(), "bob".into()],
            targets: vec![
                Target::over(server, "disk", "disk"),
                Target::over(server, "kernel", "kernel"),
            ],
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
