//! `try`: a gateway in front of the visitor's own database or host, without a configuration file.

mod postgres;
mod ssh;

use super::operate::wait_for_signal;
use super::shown_live::Shown;
use crate::ask::Ask;
use crate::environment;
use crate::fail::{Done, Fail};
use crate::out::{Out, say};
use clap::Args;
use loggia_server::trial::{self, Kind, Target, Trial};
use ssh::Visitor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Puts a gateway in front of your own database or host.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia try postgres://app@localhost/shop
  loggia try 'postgres://app@db.example/shop?sslrootcert=/etc/ssl/db-ca.pem' --data ./trial
  loggia try ssh://deploy@web-1.example --key ~/.ssh/id_ed25519")]
pub(crate) struct Try {
    /// postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE[?sslmode=…&sslrootcert=…] or
    /// ssh://USER[:PASSWORD]@HOST[:PORT]. Without a password in it, PGPASSWORD or SSHPASS is taken
    url: String,
    /// Keep everything here instead of in a new temporary folder
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Your name in the log; without it, that of the user who runs this
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// File with the private key that the gateway signs in to the host with
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The host's key, `TYPE BASE64`; without it, what ~/.ssh/known_hosts says, or what the host
    /// shows and you agree to
    #[arg(long, value_name = "KEY")]
    host_key: Option<String>,
}

impl Try {
    pub(super) async fn run(self, ask: Ask, out: Out) -> Done {
        let visitor = match self.url.starts_with("ssh:") {
            true => Some(Visitor::generate()?),
            false => None,
        };
        let target = match &visitor {
            Some(visitor) => {
                let (key, host_key) = (self.key.as_deref(), self.host_key.as_deref());
                ssh::target(&self.url, key, host_key, ask, visitor).await?
            }
            None if self.key.is_some() || self.host_key.is_some() => {
                return Err(Fail::usage("--key and --host-key are for a host: ssh://USER@HOST"));
            }
            None => postgres::target(&self.url)?,
        };
        let (data, temporary) = match &self.data {
            Some(data) => (data.clone(), false),
            None => (temporary_folder()?, true),
        };
        let person = self.name.unwrap_or_else(environment::own_name);
        let trial = trial::begin(&data, &person, &target, Arc::new(Shown::default())).await?;
        let line = match &visitor {
            Some(visitor) => visitor.line(&data, &trial)?,
            None => psql_line(&trial, &target),
        };
        tell_how(&trial, &target, &line, out)?;
        wait_for_signal().await?;
        let key = trial.verification_key.clone();
        trial.gateway.shut_down("the trial ended", Duration::from_secs(1)).await?;
        say("\nTo check that nothing was altered (nothing needs to run for it):");
        say(&format!("  loggia verify {} --key '{key}'", data.display()));
        if temporary {
            say(&format!("To keep it, move the folder: mv {} ./loggia-data", data.display()));
        } else {
            say(&format!("To go on: the same command with --data {}", data.display()));
        }
        Ok(())
    }
}

fn tell_how(trial: &Trial, target: &Target, line: &str, out: Out) -> Done {
    let Target { host, port, kind, .. } = target;
    match kind {
        Kind::Postgres { database, tls, .. } => {
            say(&format!("Loggia stands in front of {host}:{port}, database {database}."));
            if tls != "verify-full" {
                say(&format!("Note: the leg to the database is `tls = {tls}`."));
            }
        }
        Kind::Ssh { .. } => say(&format!("Loggia stands in front of {host}:{port}.")),
    }
    say(&format!("You are `{}`. Paste this into another terminal:\n", trial.person));
    out.line(line)?;
    say("\nEvents as they come (Ctrl-C ends):");
    Ok(())
}

fn psql_line(trial: &Trial, target: &Target) -> String {
    let port = trial.addresses.postgres.port();
    let database = match &target.kind {
        Kind::Postgres { database, .. } => database.as_str(),
        Kind::Ssh { .. } => "",
    };
    format!(
        "PGPASSWORD={} psql 'host=localhost port={port} user={} dbname={database} \
         sslmode=verify-full sslrootcert={}'",
        trial.token.reveal(),
        trial.resource,
        trial.ca_file.display(),
    )
}

pub(super) fn temporary_folder() -> Done<PathBuf> {
    let mint = loggia_server::system::mint();
    let name = format!("loggia-try-{}", hex::encode(mint.random::<6>()));
    let path = std::env::temp_dir().join(name);
    create_private(&path).map_err(|error| Fail::new(format!("{}: {error}", path.display())))?;
    Ok(path)
}

fn create_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(path)
}
