//! A real PostgreSQL server for one test: TLS, SCRAM, and a log that can be counted.
//!
//! The server's own statement log is the independent witness of the tests: what
//! the ledger says is compared with what the server says it received.

mod log;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::account::Account;
use crate::certificates::{Authority, Issued};
use crate::folder::{Workspace, free_port};
use crate::process::ManagedProcess;

pub use log::{LoggedStatement, StatementKind, parse as parse_log};

/// How long the server may take from its start to its first connection.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// How long a fast shutdown may take before the server is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How often another port is tried when somebody took the free one first.
const PORT_TRIES: u32 = 4;

/// The application name of the kit's own statements.
const OWN_APPLICATION: &str = "loggia-testkit";

/// How a server is set up. `Default` is what tests want.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Whether commits wait for the disk. Off makes tests quick; benchmarks need it.
    pub fsync: bool,
    /// Whether each statement is written to the server's log.
    pub log_statements: bool,
    /// Whether each connection is written to the server's log.
    pub log_connections: bool,
    /// Whether clients may connect without TLS.
    pub plain_allowed: bool,
    /// How many clients at most.
    pub max_connections: u16,
    /// The names in the server's certificate.
    pub certificate_names: Vec<String>,
    /// Further settings, as name and value of `postgresql.conf`.
    pub settings: Vec<(String, String)>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            fsync: false,
            log_statements: true,
            log_connections: true,
            plain_allowed: false,
            max_connections: 100,
            certificate_names: vec!["localhost".into(), "127.0.0.1".into()],
            settings: Vec::new(),
        }
    }
}

impl PostgresOptions {
    /// A server for measurements: durable commits, no logging, TLS and plain,
    /// buffers of 256 MB.
    pub fn for_benchmarks() -> Self {
        Self {
            fsync: true,
            log_statements: false,
            log_connections: false,
            plain_allowed: true,
            max_connections: 300,
            settings: vec![("shared_buffers".into(), "256MB".into())],
            ..Self::default()
        }
    }
}

/// A running PostgreSQL server; dropping it stops it and removes its data.
pub struct Postgres {
    /// The port on 127.0.0.1.
    pub port: u16,
    /// The certificate authority that signed the server's certificate, PEM.
    pub ca_pem_path: PathBuf,
    /// The name of the superuser.
    pub superuser: String,
    /// The superuser's password.
    pub password: String,
    /// The server's log.
    pub log_path: PathBuf,
    /// The data folder, owned by the server's account.
    pub data_dir: PathBuf,
    binaries: PathBuf,
    account: Account,
    authority: Authority,
    options: PostgresOptions,
    // The process before the folder: it is dropped first.
    process: Option<ManagedProcess>,
    workspace: Workspace,
}

impl Postgres {
    /// Makes a cluster and starts it, ready for connections on return.
    ///
    /// Fails, saying what to do, when PostgreSQL is not installed.
    pub fn start(options: PostgresOptions) -> Result<Self> {
        let binaries = binaries()?;
        let account = Account::for_servers()?;
        let workspace = Workspace::new("postgres")?;
        let password = random_password()?;
        let data_dir = workspace.join("data");
        initialise(&binaries, account, &workspace, &data_dir, &password)?;
        let authority = Authority::new("Loggia test authority")?;
        let ca_pem_path = authority.write(workspace.path(), "ca.pem")?;
        let names: Vec<&str> = options.certificate_names.iter().map(String::as_str).collect();
        authority.issue(&names)?.write(workspace.path(), "server", account)?;
        let mut server = Self {
            port: 0,
            ca_pem_path,
            superuser: "postgres".into(),
            password,
            log_path: workspace.join("postgres.stderr"),
            data_dir,
            binaries,
            account,
            authority,
            options,
            process: None,
            workspace,
        };
        server.start_on_a_free_port()?;
        Ok(server)
    }

    /// Starts a stopped server again, with its data, on the same port.
    pub fn start_again(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("the server runs already");
        }
        self.launch()
    }

    /// Stops the server in good order (fast shutdown); its data stays.
    pub fn stop(&mut self) -> Result<Option<ExitStatus>> {
        match self.process.take() {
            Some(mut process) => Ok(Some(process.stop(STOP_PATIENCE)?)),
            None => Ok(None),
        }
    }

    /// Where the server listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Issues another certificate by the authority that signed the server's own.
    pub fn issue(&self, names: &[&str]) -> Result<Issued> {
        self.authority.issue(names)
    }

    /// A program of this PostgreSQL's version: `psql`, `pgbench`, `pg_dump`, …
    pub fn binary(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// The environment for `psql` and everything else on libpq: a direct connection
    /// as superuser, TLS with the server's name and certificate checked.
    pub fn psql_env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("PGHOST", "127.0.0.1".into()),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", self.superuser.clone()),
            ("PGPASSWORD", self.password.clone()),
            ("PGDATABASE", "postgres".into()),
            ("PGSSLMODE", "verify-full".into()),
            ("PGSSLROOTCERT", self.ca_pem_path.display().to_string()),
            ("PGCONNECT_TIMEOUT", "10".into()),
        ]
    }

    /// Runs SQL as superuser, directly, one statement after the other; the first
    /// error ends it. Returns the rows without headers, columns separated by `|`.
    pub fn execute(&self, sql: &str) -> Result<String> {
        self.execute_in("postgres", sql)
    }

    /// [`Postgres::execute`] in another database.
    pub fn execute_in(&self, database: &str, sql: &str) -> Result<String> {
        let mut child = Command::new(self.binary("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"])
            .envs(self.psql_env())
            .env("PGDATABASE", database)
            .env("PGAPPNAME", OWN_APPLICATION)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting psql")?;
        let mut input = child.stdin.take().context("psql without standard input")?;
        let sql = sql.as_bytes().to_vec();
        // From a thread of its own: psql may answer before it has read everything.
        let writer = std::thread::spawn(move || input.write_all(&sql));
        let output = child.wait_with_output().context("waiting for psql")?;
        // An early end of psql breaks the pipe; its status says why.
        let _ = writer.join();
        if !output.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_string())
    }

    /// The statements that clients sent, in the order the server received them,
    /// without those of [`Postgres::execute`].
    ///
    /// What the server could not parse, or skipped after an error, is not among
    /// them: the server logs a statement only once it has parsed it.
    pub fn logged(&self) -> Result<Vec<LoggedStatement>> {
        let bytes = std::fs::read(&self.log_path)
            .with_context(|| format!("reading {}", self.log_path.display()))?;
        let mut statements = parse_log(&String::from_utf8_lossy(&bytes));
        statements.retain(|statement| statement.application != OWN_APPLICATION);
        Ok(statements)
    }

    /// The texts of [`Postgres::logged`].
    pub fn logged_statements(&self) -> Result<Vec<String>> {
        Ok(self.logged()?.into_iter().map(|statement| statement.text).collect())
    }

    /// The server's whole log as text.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log_path).unwrap_or_default()).into_owned()
    }

    fn start_on_a_free_port(&mut self) -> Result<()> {
        for _ in 0..PORT_TRIES {
            self.port = free_port()?;
            match self.launch() {
                Ok(()) => return Ok(()),
                Err(_) if self.log().contains("could not bind IPv4 address") => {
                    std::fs::remove_file(&self.log_path).context("removing the log")?;
                }
                Err(error) => return Err(error),
            }
        }
        bail!("no free port for PostgreSQL in {PORT_TRIES} tries")
    }

    fn launch(&mut self) -> Result<()> {
        let configuration = self.workspace.join("postgresql.conf");
        std::fs::write(&configuration, self.configuration()).context("writing postgresql.conf")?;
        let rules = self.workspace.join("pg_hba.conf");
        std::fs::write(&rules, access_rules(&self.options)).context("writing pg_hba.conf")?;
        let already_there = self.log().len();
        let mut command = Command::new(self.binary("postgres"));
        command.arg("-c").arg(format!("config_file={}", configuration.display()));
        command.current_dir("/").env_clear().env("PATH", "/usr/bin:/bin");
        self.account.apply(&mut command);
        let mut process = ManagedProcess::spawn("postgres", command, self.workspace.path())?
            .stop_signal(Signal::INT);
        process.wait_ready(START_PATIENCE, |process| {
            let log = process.stderr();
            let new = log.get(already_there..).unwrap_or_default();
            Ok(new.contains("database system is ready to accept connections"))
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// The server's `postgresql.conf`: later lines win, so own settings come last.
    fn configuration(&self) -> String {
        let options = &self.options;
        let on = |yes: bool| if yes { "on" } else { "off" }.to_string();
        let at = |name: &str| self.workspace.join(name).display().to_string();
        let mut settings: Vec<(String, String)> = [
            ("data_directory", self.data_dir.display().to_string()),
            ("hba_file", at("pg_hba.conf")),
            ("ident_file", at("data/pg_ident.conf")),
            ("listen_addresses", "127.0.0.1".into()),
            ("port", self.port.to_string()),
            ("unix_socket_directories", String::new()),
            ("max_connections", options.max_connections.to_string()),
            ("ssl", "on".into()),
            ("ssl_cert_file", at("server.crt")),
            ("ssl_key_file", at("server.key")),
            ("password_encryption", "scram-sha-256".into()),
            ("fsync", on(options.fsync)),
            ("synchronous_commit", on(options.fsync)),
            ("full_page_writes", on(options.fsync)),
            ("log_destination", "stderr".into()),
            ("logging_collector", "off".into()),
            ("log_line_prefix", log::PREFIX.into()),
            ("log_statement", if options.log_statements { "all" } else { "none" }.into()),
            ("log_connections", on(options.log_connections)),
            ("lc_messages", "C".into()),
            ("timezone", "UTC".into()),
            ("log_timezone", "UTC".into()),
        ]
        .map(|(name, value)| (name.to_string(), value))
        .into();
        settings.extend(options.settings.iter().cloned());
        // First what initdb found out about this machine (kind of shared memory, sizes).
        std::iter::once("include 'data/postgresql.conf'\n".to_string())
            .chain(settings.iter().map(|(name, value)| {
                let value = value.replace('\'', "''");
                format!("{name} = '{value}'\n")
            }))
            .collect()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("could not stop PostgreSQL: {error:#}");
        }
    }
}

/// Runs initdb, quietly and without waiting for the disk.
fn initialise(
    binaries: &Path,
    account: Account,
    workspace: &Workspace,
    data_dir: &Path,
    password: &str,
) -> Result<()> {
    std::fs::create_dir(data_dir).context("making the data folder")?;
    account.give(data_dir)?;
    let password_path = workspace.join("superuser-password");
    std::fs::write(&password_path, password).context("writing the password")?;
    let mut command = Command::new(binaries.join("initdb"));
    command
        .args(["--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C"])
        .args(["--auth=scram-sha-256", "--username=postgres"])
        .arg(format!("--pwfile={}", password_path.display()))
        .arg("-D")
        .arg(data_dir)
        .current_dir("/")
        .env_clear()
        .env("PATH", "/usr/bin:/bin");
    account.apply(&mut command);
    let output = command.output().context("running initdb")?;
    if !output.status.success() {
        bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    std::fs::remove_file(&password_path).context("removing the password file")
}

/// The text of `pg_hba.conf`.
fn access_rules(options: &PostgresOptions) -> String {
    let kind = if options.plain_allowed { "host" } else { "hostssl" };
    format!(
        "{kind} all all 127.0.0.1/32 scram-sha-256\n\
         {kind} replication all 127.0.0.1/32 scram-sha-256\n"
    )
}

/// The folder of the newest PostgreSQL server on this machine: Debian's place
/// first, then the search path.
#[expect(clippy::disallowed_methods, reason = "the search path is where programs are found")]
pub fn binaries() -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let folder = entry.path().join("bin");
            folder.join("initdb").is_file().then_some((version, folder))
        })
        .max();
    if let Some((_, folder)) = newest {
        return Ok(folder);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
        .context(
            "PostgreSQL is not installed (no initdb in /usr/lib/postgresql/*/bin or the search \
             path): `cargo xtask test` installs it, or: apt-get install postgresql",
        )
}

/// 128 random bits in hexadecimal.
fn random_password() -> Result<String> {
    use std::io::Read as _;
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("reading /dev/urandom")?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests;
