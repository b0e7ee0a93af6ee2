//! `witness`: remembers other people's logs, on a machine that is not theirs.

use super::Context;
use super::operate::wait_for_signal;
use crate::fail::Done;
use crate::out::say;
use clap::{Args, Subcommand};
use loggia_server::witness::{RunningWitness, WitnessFile, init, show, to_json};
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A witness of other people's logs.
#[derive(Debug, Subcommand)]
pub(crate) enum Witness {
    /// Make the keys and the configuration of a new witness
    Init(InitWitness),
    /// Serve
    Up(UpWitness),
    /// Show its keys, and what it remembers of each log
    Show(ShowWitness),
}

/// Where the witness is.
#[derive(Debug, Args)]
pub(crate) struct Folder {
    /// The witness's folder: keys, configuration, and what it remembers
    #[arg(long, default_value = "/var/lib/loggia-witness", value_name = "DIR")]
    dir: PathBuf,
}

/// Makes a new witness.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:
  loggia witness init --dir ./witness --name witness.example/auditor --log \"$(cat log.key)\"",
    after_help = "A witness defends against whoever it is independent of. On a second machine of yours: \
                  against\nwhoever breaks into the gateway. With somebody else: against you too."
)]
pub(crate) struct InitWitness {
    #[command(flatten)]
    folder: Folder,
    /// Its name, for ever: a schema-less URL of whoever runs it
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Verification key of a log that it is to watch; may be given several times
    #[arg(long, value_name = "VKEY")]
    log: Vec<String>,
    /// Where it listens, plain HTTP
    #[arg(long, default_value = "127.0.0.1:7480", value_name = "ADDRESS")]
    listen: SocketAddr,
}

/// Serves.
#[derive(Debug, Args)]
#[command(before_help = "Example:
  loggia witness up --dir ./witness --listen 0.0.0.0:7480")]
pub(crate) struct UpWitness {
    #[command(flatten)]
    folder: Folder,
    /// Listen here instead
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

/// Shows a witness.
#[derive(Debug, Args)]
#[command(before_help = "Example:
  loggia witness show --dir ./witness")]
pub(crate) struct ShowWitness {
    #[command(flatten)]
    folder: Folder,
}

impl Witness {
    pub(super) async fn run(self, context: &Context) -> Done {
        match self {
            Self::Init(args) => args.run(context),
            Self::Up(args) => args.run().await,
            Self::Show(args) => args.run(context),
        }
    }
}

impl InitWitness {
    fn run(self, context: &Context) -> Done {
        let file = WitnessFile { listen: self.listen, logs: self.log };
        let keys = init(&self.folder.dir, &self.name, &file)?;
        let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        context.out.either(&json!({ "dir": self.folder.dir, "keys": keys }), || keys.join("\n"))?;
        say(
            "\nThese are its verification keys (Ed25519; ML-DSA-44, which also stands against quantum",
        );
        say("computers), for the quorum policies of auditors. For the gateway that it watches:\n");
        say("  [[ledger.witness]]");
        say("  name = \"auditor\"");
        say(&format!("  key = {}", toml::Value::from(keys.first().cloned().unwrap_or_default())));
        say(&format!("  url = \"http://{}/\"", self.listen));
        say(&format!("\nNext:\n  loggia witness up --dir {}", self.folder.dir.display()));
        Ok(())
    }
}

impl UpWitness {
    async fn run(self) -> Done {
        super::log_to_stderr();
        let witness = RunningWitness::start(&self.folder.dir, self.listen).await?;
        say(&format!("http://{}/", witness.address));
        say("The witness serves.");
        wait_for_signal().await?;
        witness.stop().await;
        Ok(())
    }
}

impl ShowWitness {
    fn run(self, context: &Context) -> Done {
        let shown = show(&self.folder.dir)?;
        let keys: Vec<String> = shown.keys.iter().map(ToString::to_string).collect();
        let logs: Vec<_> = shown.logs.iter().map(to_json).collect();
        let object = json!({ "listen": shown.file.listen, "keys": keys, "logs": logs });
        context.out.either(&object, || {
            let mut lines: Vec<String> = keys.iter().map(|key| format!("key  {key}")).collect();
            for log in &shown.logs {
                let size = match log.size {
                    Some(size) => format!("{size} entries cosigned"),
                    None => "nothing cosigned yet".to_owned(),
                };
                let forks = match log.evidence {
                    0 => String::new(),
                    count => format!(", {count} FORKS REFUSED, see evidence/{}", log.place),
                };
                lines.push(format!("log  {}: {size}{forks}", log.origin));
            }
            lines.join("\n")
        })
    }
}
