//! Commands of the one who runs a gateway: `init`, `check`, `up`, `doctor`, `ledger`.

use super::Context;
use crate::fail::{Done, Fail};
use crate::out::say;
use clap::{Args, Subcommand};
use loggia_server::{Config, DeclaredFile, Finding, Foundation, Gateway, LogName, Severity};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Where the data folder is, unless an option says otherwise: where the guide puts it.
pub(super) const DATA_DEFAULT: &str = "/var/lib/loggia/data";

/// Where the configuration is.
#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// The configuration file
    #[arg(
        long,
        env = "LOGGIA_CONFIG",
        hide_env_values = true,
        default_value = "/etc/loggia/loggia.toml",
        value_name = "FILE"
    )]
    config: PathBuf,
}

impl ConfigFile {
    fn load(&self) -> Done<Config> {
        Config::load(&self.config).map_err(|error| {
            let fail = Fail::new(error.to_string());
            match error.hint {
                Some(hint) => fail.hint(hint),
                None => fail,
            }
        })
    }
}

/// Makes a data folder, keys, the first administrator and a commented configuration file.
#[derive(Debug, Args)]
#[command(before_help = "Example:
  loggia init --config ./loggia.toml --data ./loggia-data --admin alice")]
pub(crate) struct Init {
    #[command(flatten)]
    file: ConfigFile,
    /// The data folder
    #[arg(long, default_value = DATA_DEFAULT, value_name = "DIR")]
    data: PathBuf,
    /// Name of the first administrator
    #[arg(long, default_value = "admin", value_name = "NAME")]
    admin: String,
    /// First part of the log's name, for ever: a schema-less URL that you control
    #[arg(long, default_value = "loggia.internal", value_name = "URL")]
    log_base: String,
    /// Second part of the log's name, for ever: [a-z0-9-]+
    #[arg(long, default_value = "main", value_name = "NAME")]
    cluster: String,
    /// Where the log's key is to lie: a PKCS#11 URI; without it in a file of the data folder
    #[arg(long, value_name = "URI")]
    key: Option<String>,
}

impl Init {
    pub(super) async fn run(self, context: &Context) -> Done {
        let name = LogName { base: self.log_base, cluster: self.cluster };
        let made = loggia_server::init::init(
            &self.file.config,
            &self.data,
            &self.admin,
            &name,
            self.key.as_deref(),
        )
        .await?;
        let (config, data) = (made.config_file.display(), made.data.display());
        let code = made.enrolment_code.reveal();
        let object = json!({
            "config": config.to_string(),
            "data": data.to_string(),
            "verification_key": made.verification_key,
            "administrator": made.administrator,
            "enrolment_code": code,
            "ca_sha256": made.ca_sha256,
        });
        context.out.either(&object, || {
            format!(
                "Configuration   {config}\n\
                 Data folder     {data}\n\
                 Log key         {}\n\
                 Enrolment code  {code}",
                made.verification_key
            )
        })?;
        say(
            "\nKeep the log key where this machine cannot change it: `loggia verify --key` needs it.",
        );
        say(&format!("The enrolment code is for {}; good once, for 24 hours.", made.administrator));
        say(
            "\nWhoever breaks into this machine can rewrite the log unnoticed, and so can you, until \
             somebody else\nremembers what it was. Three easy ways, from the first day on:\n  \
             a witness on a second machine of yours: against whoever breaks into this one\n  \
             a witness of a colleague, a customer or an auditor: against you too\n  \
             a checkpoint in an object store with a lock, each day: against both, up to that day\n\
             `loggia witness init --help` begins the first two.",
        );
        say(&format!("\nNext:\n  loggia up --config {config}\n  loggia enrol CODE"));
        Ok(())
    }
}

/// Validates the configuration file and declarations.
#[derive(Debug, Args)]
#[command(before_help = "Example:
  loggia check --config ./loggia.toml resources.toml access.cedar")]
pub(crate) struct Check {
    #[command(flatten)]
    file: ConfigFile,
    /// Declarations to validate too: .toml, .cedar, .pem
    files: Vec<PathBuf>,
}

impl Check {
    pub(super) async fn run(self, context: &Context) -> Done {
        let config = self.file.load()?;
        let mut findings = Vec::new();
        if !self.files.is_empty() {
            findings = loggia_server::check(&config, &declared(&self.files)?).await;
        }
        report(&findings, context)?;
        say(&format!("{} is fine", self.file.config.display()));
        Ok(())
    }
}

/// Looks at this machine: disk, clock, keys, targets, what is not safe.
#[derive(Debug, Args)]
#[command(before_help = "Example:
  loggia doctor --config ./loggia.toml")]
pub(crate) struct Doctor {
    #[command(flatten)]
    file: ConfigFile,
}

impl Doctor {
    pub(super) async fn run(self, context: &Context) -> Done {
        report(&loggia_server::doctor(&self.file.load()?).await, context)
    }
}

/// Writes findings; fails where one is bad.
fn report(findings: &[Finding], context: &Context) -> Done {
    for found in findings {
        let object = json!({
            "severity": found.severity.as_str(),
            "topic": found.topic,
            "message": found.message,
            "hint": found.hint,
        });
        context.out.either(&object, || {
            let line =
                format!("{:<8} {:<13} {}", found.severity.as_str(), found.topic, found.message);
            match &found.hint {
                Some(hint) => format!("{line}\n{:<8} {:<13} hint: {hint}", "", ""),
                None => line,
            }
        })?;
    }
    match findings.iter().filter(|found| found.severity == Severity::Bad).count() {
        0 => Ok(()),
        bad => Err(Fail::new(format!("{bad} of {} findings are bad", findings.len()))),
    }
}

/// Reads the files of a declaration.
fn declared(paths: &[PathBuf]) -> Done<Vec<DeclaredFile>> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Fail::new(format!("{}: {error}", path.display())))?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(DeclaredFile { name: name.unwrap_or_default(), text })
    };
    paths.iter().map(read).collect()
}

/// Serves.
#[derive(Debug, Args)]
#[command(before_help = "Example:
  loggia up --config ./loggia.toml --apply resources.toml --apply access.cedar")]
pub(crate) struct Up {
    #[command(flatten)]
    file: ConfigFile,
    /// Apply this declaration at start, as local-root, marked unattested
    #[arg(long, value_name = "FILE")]
    apply: Vec<PathBuf>,
    /// How long running sessions may finish after a stop was asked for, in seconds
    #[arg(long, default_value_t = loggia_server::DRAIN_DEFAULT.as_secs(), value_name = "SECONDS")]
    drain: u64,
}

impl Up {
    pub(super) async fn run(self) -> Done {
        super::log_to_stderr();
        let config = self.file.load()?;
        let files = declared(&self.apply)?;
        let foundation = Foundation::open(&config).await?;
        let gateway = Gateway::start(&config, foundation).await?;
        if !files.is_empty()
            && let Err(error) = gateway.apply_as_local_root(&files).await
        {
            gateway.shut_down("a declaration could not be applied", Duration::ZERO).await?;
            return Err(error.into());
        }
        let at = gateway.addresses();
        let (api, metrics) = (at.api, at.metrics);
        say(&format!("API {api}  PostgreSQL {}  SSH {}  metrics {metrics}", at.postgres, at.ssh));
        say(&format!("log key {}", gateway.ledger().verification_key()));
        say("Loggia serves.");
        let name = wait_for_signal().await?;
        say(&format!("{name}: running sessions may finish for {} s", self.drain));
        gateway.shut_down(name, Duration::from_secs(self.drain)).await?;
        Ok(())
    }
}

/// Waits for SIGTERM or SIGINT.
pub(super) async fn wait_for_signal() -> Done<&'static str> {
    let no_signals = |error| Fail::new(format!("signals cannot be received: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

/// The log itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Ledger {
    /// Begin a new epoch of the log, because the one on disk is not the one that was published
    NewEpoch(NewEpoch),
    /// Go on under a new key: the same log, signed by the old key and the new one
    RotateKey(RotateKey),
    /// Remove the key that the last rotation replaced: only the new one signs from here on
    RetireKey(RetireKey),
}

/// Goes on under a new key.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:
  loggia ledger rotate-key --config ./loggia.toml --reason 'yearly'",
    after_help = "The gateway must not run. Until `loggia ledger retire-key` both keys sign: give the \
        new one to every witness and verifier meanwhile."
)]
pub(crate) struct RotateKey {
    #[command(flatten)]
    file: ConfigFile,
    /// Why; it stands in the log
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Where the new key is to lie: a PKCS#11 URI; without it in a file of the data folder
    #[arg(long, value_name = "URI")]
    key: Option<String>,
}

/// Removes the replaced key.
#[derive(Debug, Args)]
#[command(before_help = "Example:
  loggia ledger retire-key --config ./loggia.toml")]
pub(crate) struct RetireKey {
    #[command(flatten)]
    file: ConfigFile,
}

/// Begins a new epoch.
#[derive(Debug, Args)]
#[command(before_help = "Example:
  loggia ledger new-epoch --config ./loggia.toml --reason 'restored from the backup of Monday'")]
pub(crate) struct NewEpoch {
    #[command(flatten)]
    file: ConfigFile,
    /// Why; it stands in the log
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Where the new key is to lie: a PKCS#11 URI; without it in a file of the data folder
    #[arg(long, value_name = "URI")]
    key: Option<String>,
}

impl Ledger {
    pub(super) async fn run(self, context: &Context) -> Done {
        use loggia_server::init::{new_epoch, retire_key, rotate_key};
        let key = match self {
            Self::NewEpoch(args) => {
                new_epoch(&args.file.load()?, args.key.as_deref(), &args.reason).await?
            }
            Self::RotateKey(args) => {
                rotate_key(&args.file.load()?, args.key.as_deref(), &args.reason).await?
            }
            Self::RetireKey(args) => {
                let key = retire_key(&args.file.load()?)?;
                context.out.either(&json!({ "retired_key": key }), || key.clone())?;
                say("Whoever still holds this key is led to the new one by the log itself.");
                return Ok(());
            }
        };
        context.out.either(&json!({ "verification_key": key }), || key.clone())?;
        say("Keep this verification key where this machine cannot change it.");
        Ok(())
    }
}
