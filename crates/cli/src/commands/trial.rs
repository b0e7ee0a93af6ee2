//! `try`: a gateway in front of the visitor's own database, without a configuration file.

use super::operate::wait_for_signal;
use super::shown_live::Shown;
use crate::environment;
use crate::fail::{Done, Fail};
use crate::out::{Out, say};
use clap::Args;
use loggia_model::Secret;
use loggia_server::trial;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Puts a gateway in front of your own database.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia try postgres://app@localhost/shop
  loggia try 'postgres://app@db.example/shop?sslrootcert=/etc/ssl/db-ca.pem' --data ./trial")]
pub(crate) struct Try {
    /// The database: postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE[?sslmode=…&sslrootcert=…].
    /// Without a password in it, PGPASSWORD is taken
    url: String,
    /// Keep everything here instead of in a new temporary folder
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Your name in the log; without it, that of the user who runs this
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

impl Try {
    pub(super) async fn run(self, out: Out) -> Done {
        let target = target(&self.url)?;
        let (data, temporary) = match &self.data {
            Some(data) => (data.clone(), false),
            None => (temporary_folder()?, true),
        };
        let person = self.name.unwrap_or_else(environment::own_name);
        let trial = trial::begin(&data, &person, &target, Arc::new(Shown::default())).await?;
        tell_how(&trial, &target, out)?;
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

fn tell_how(trial: &trial::Trial, target: &trial::Target, out: Out) -> Done {
    let port = trial.addresses.postgres.port();
    let trial::Target { host, port: target_port, database, tls, .. } = target;
    say(&format!("Loggia stands in front of {host}:{target_port}, database {database}."));
    if tls != "verify-full" {
        say(&format!("Note: the leg to the database is `tls = {tls}`."));
    }
    say(&format!("You are `{}`. Paste this into another terminal:\n", trial.person));
    let line = format!(
        "PGPASSWORD={} psql 'host=localhost port={port} user={} dbname={database} \
         sslmode=verify-full sslrootcert={}'",
        trial.token.reveal(),
        trial.resource,
        trial.ca_file.display(),
    );
    out.line(&line)?;
    say("\nEvents as they come (Ctrl-C ends):");
    Ok(())
}

/// Reads `postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE[?…]`.
fn target(url: &str) -> Done<trial::Target> {
    let wrong = || {
        Fail::usage("the database is given as postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE")
            .hint("for example: loggia try postgres://app@localhost/shop")
    };
    let parsed = url::Url::parse(url).map_err(|_| wrong())?;
    if !matches!(parsed.scheme(), "postgres" | "postgresql") || parsed.username().is_empty() {
        return Err(wrong());
    }
    let decode =
        |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let host = parsed.host_str().ok_or_else(wrong)?.trim_matches(['[', ']']).to_owned();
    let user = decode(parsed.username());
    let database = decode(parsed.path().trim_start_matches('/'));
    let option = |name: &str| {
        parsed.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let ca_file = option("sslrootcert");
    let tls = match option("sslmode").as_deref() {
        Some("disable") => "off",
        Some("verify-full") => "verify-full",
        Some("require") => "unverified",
        Some(other) => {
            return Err(Fail::usage(format!("sslmode={other} is not known here"))
                .hint("use disable, require or verify-full"));
        }
        // A database on this very machine is mostly without TLS; anything else must prove itself.
        None if is_loopback(&host) && ca_file.is_none() => "off",
        None => "verify-full",
    };
    Ok(trial::Target {
        password: parsed.password().map(decode).or_else(environment::pgpassword).map(Secret::new),
        database: if database.is_empty() { user.clone() } else { database },
        user,
        host,
        port: parsed.port().unwrap_or(5432),
        tls: tls.to_owned(),
        ca_file,
    })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_reads_as_psql_reads_it_and_remote_targets_must_prove_themselves() {
        let local = target("postgres://app:p%40ss@localhost/shop").unwrap();
        assert_eq!(local.password.unwrap().reveal(), "p@ss");
        assert_eq!((local.port, local.tls.as_str()), (5432, "off"));
        let remote = target("postgresql://app@db.example:6432/shop").unwrap();
        assert_eq!((remote.port, remote.tls.as_str()), (6432, "verify-full"));
        assert!(target("mysql://x@y/z").is_err());
        assert!(target("postgres://localhost/shop").is_err(), "nobody is anonymous");
    }
}
