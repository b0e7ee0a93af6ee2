//! A real pgbouncer in front of a [`Postgres`], as the peer in benchmarks: TLS on
//! both sides, SCRAM on both sides, one server connection per client.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::account::Account;
use crate::certificates::Authority;
use crate::folder::{Workspace, free_port};
use crate::postgres::Postgres;
use crate::process::ManagedProcess;

/// How long pgbouncer may take to listen.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// How pgbouncer is set up. `Default` pools by session, with room for 300 clients.
#[derive(Debug, Clone)]
pub struct PgbouncerOptions {
    /// `session` (what a transparent proxy has to do), `transaction` or `statement`.
    pub pool_mode: String,
    /// How many clients, and how many server connections, at most.
    pub max_connections: u16,
    /// Users that may connect, besides the superuser: name and password.
    pub users: Vec<(String, String)>,
}

impl Default for PgbouncerOptions {
    fn default() -> Self {
        Self { pool_mode: "session".into(), max_connections: 300, users: Vec::new() }
    }
}

/// A running pgbouncer; dropping it stops it.
pub struct Pgbouncer {
    /// The port on 127.0.0.1.
    pub port: u16,
    /// The certificate authority that signed its certificate, PEM.
    pub ca_pem_path: PathBuf,
    environment: Vec<(&'static str, String)>,
    // The process before the folder: it is dropped first.
    process: ManagedProcess,
    _workspace: Workspace,
}

impl Pgbouncer {
    /// Starts pgbouncer in front of `target`, ready for connections on return.
    ///
    /// Fails, saying what to do, when pgbouncer is not installed.
    pub fn start(target: &Postgres, options: &PgbouncerOptions) -> Result<Self> {
        let program = Path::new("/usr/sbin/pgbouncer");
        anyhow::ensure!(
            program.is_file(),
            "pgbouncer is not installed (no {}): `cargo xtask bench` installs it, or: apt-get \
             install pgbouncer",
            program.display()
        );
        let account = Account::for_servers()?;
        let workspace = Workspace::new("pgbouncer")?;
        let authority = Authority::new("Loggia test authority of pgbouncer")?;
        let ca_pem_path = authority.write(workspace.path(), "ca.pem")?;
        authority.issue(&["localhost", "127.0.0.1"])?.write(workspace.path(), "server", account)?;
        let port = free_port()?;
        let users = workspace.join("users.txt");
        std::fs::write(&users, user_list(target, options)).context("writing the user list")?;
        account.give(&users)?;
        let configuration = workspace.join("pgbouncer.ini");
        std::fs::write(&configuration, ini(&workspace, target, options, port))
            .context("writing pgbouncer.ini")?;
        let mut command = Command::new(program);
        command.arg(&configuration).current_dir("/");
        account.apply(&mut command);
        let mut process = ManagedProcess::spawn("pgbouncer", command, workspace.path())?
            .stop_signal(Signal::TERM);
        process.wait_for_stderr("process up", START_PATIENCE)?;
        let mut environment = target.psql_env();
        environment.retain(|(name, _)| *name != "PGPORT" && *name != "PGSSLROOTCERT");
        environment.push(("PGPORT", port.to_string()));
        environment.push(("PGSSLROOTCERT", ca_pem_path.display().to_string()));
        Ok(Self { port, ca_pem_path, environment, process, _workspace: workspace })
    }

    /// The environment for libpq programs: as superuser through pgbouncer, its
    /// certificate checked.
    pub fn psql_env(&self) -> Vec<(&'static str, String)> {
        self.environment.clone()
    }

    /// The process id, for measuring memory.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// pgbouncer's log.
    pub fn log(&self) -> String {
        self.process.stderr()
    }
}

/// pgbouncer needs clear-text passwords to speak SCRAM to the server itself.
fn user_list(target: &Postgres, options: &PgbouncerOptions) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    std::iter::once((&target.superuser, &target.password))
        .chain(options.users.iter().map(|(name, password)| (name, password)))
        .map(|(name, password)| format!("{} {}\n", quoted(name), quoted(password)))
        .collect()
}

/// The text of `pgbouncer.ini`.
fn ini(workspace: &Workspace, target: &Postgres, options: &PgbouncerOptions, port: u16) -> String {
    let at = |name: &str| workspace.join(name).display().to_string();
    format!(
        "[databases]\n\
         * = host=127.0.0.1 port={target_port}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = scram-sha-256\n\
         auth_file = {users}\n\
         pool_mode = {pool_mode}\n\
         max_client_conn = {max}\n\
         default_pool_size = {max}\n\
         client_tls_sslmode = require\n\
         client_tls_cert_file = {certificate}\n\
         client_tls_key_file = {key}\n\
         server_tls_sslmode = verify-full\n\
         server_tls_ca_file = {target_ca}\n\
         ignore_startup_parameters = extra_float_digits\n\
         log_connections = 0\n\
         log_disconnections = 0\n",
        target_port = target.port,
        users = at("users.txt"),
        pool_mode = options.pool_mode,
        max = options.max_connections,
        certificate = at("server.crt"),
        key = at("server.key"),
        target_ca = target.ca_pem_path.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::PostgresOptions;

    #[test]
    fn answers_with_tls_on_both_sides() {
        if !Path::new("/usr/sbin/pgbouncer").is_file() {
            eprintln!("SKIPPED: pgbouncer is not installed; `cargo xtask test` installs it");
            return;
        }
        let server = Postgres::start(PostgresOptions::default()).unwrap();
        let bouncer = Pgbouncer::start(&server, &PgbouncerOptions::default()).unwrap();
        let output = Command::new(server.binary("psql"))
            .args(["-X", "-A", "-t", "-c"])
            .arg("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            .envs(bouncer.psql_env())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "t\n", "{errors}\n{}", bouncer.log());
        // The client's own leg is checked by its verify-full.
        assert!(bouncer.pid() > 0);
    }
}
