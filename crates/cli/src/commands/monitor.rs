//! `monitor`: watches a log over time, from anywhere.

use super::Context;
use super::proof::{QuorumOptions, verdict};
use crate::fail::{Done, Fail};
use crate::out::say;
use clap::Args;
use loggia_server::remote::{RemoteLog, WitnessCopies};
use loggia_verify::log::Trust;
use loggia_verify::monitor::{Monitored, Seen, monitor};
use loggia_verify::{LogFolder, Verdict};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Watches a log over time.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  loggia monitor https://log.example/e1/ --policy auditor.policy --state ./seen --every 1m
  loggia monitor /var/lib/loggia/data/ledger/e1 --key \"$(cat log.key)\" --state ./seen",
    after_help = "Remembers the last checkpoint in the state file, checks that the log continues it, and \
                  compares it\nwith what the witnesses of the policy show, as far as their addresses stand \
                  there. The state file is\na signed checkpoint: `loggia verify --known-checkpoint` takes it.\n\n\
                  Exit codes are those of `loggia verify`."
)]
pub(crate) struct Monitor {
    /// Address of the log (its `checkpoint` is below it), or the folder of an epoch
    log: String,
    /// The log's verification key, from outside the log
    #[arg(long, value_name = "VKEY", required_unless_present = "policy")]
    key: Vec<String>,
    #[command(flatten)]
    quorum: QuorumOptions,
    /// Where the last checkpoint is remembered
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Look again and again, until something is wrong
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    every: Option<Duration>,
    /// Authorities that vouch for the certificates of the log and the witnesses (PEM)
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl Monitor {
    pub(super) async fn run(self, context: &Context) -> Done {
        loop {
            // The time now counts for the age of cosignatures.
            let trust = self.quorum.trust(&self.key)?;
            let monitored = self.look(&trust).await?;
            context.out.either(&monitored.to_json(), || monitored.to_string())?;
            match (self.every, monitored.verdict()) {
                (Some(every), Verdict::Intact) => tokio::time::sleep(every).await,
                (_, verdict_found) => return verdict(verdict_found.exit_code()),
            }
        }
    }

    async fn look(&self, trust: &Trust) -> Done<Monitored> {
        let remembered = match std::fs::read(&self.state) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Fail::usage(format!("{}: {error}", self.state.display()))),
        };
        let (ca_file, witnesses) = (self.ca_file.as_deref(), QuorumOptions::addresses(trust));
        let copies = WitnessCopies::new(ca_file, &witnesses)?;
        // Witnesses first: a log that grows meanwhile is beyond what they have seen.
        let mut origins: Vec<&str> = trust.keys.iter().map(|key| key.name()).collect();
        // A log may have several keys, one after the other.
        origins.sort_unstable();
        origins.dedup();
        let (copies, silent) = copies.get(&origins).await;
        silent.iter().for_each(|why| say(&format!("warning: {why}")));
        let folder = Path::new(&self.log);
        let seen = Seen { remembered, copies, ..Seen::default() };
        let (seen, monitored) = if folder.is_dir() {
            in_folder(folder, seen, trust)?
        } else {
            let log = RemoteLog::new(&self.log, ca_file)?;
            let trust = trust.clone();
            let handle = tokio::runtime::Handle::current();
            let looked =
                tokio::task::spawn_blocking(move || at_address(&log, seen, &trust, &handle));
            looked.await.map_err(|error| Fail::new(error.to_string()))??
        };
        self.remember(&seen, &monitored)?;
        Ok(monitored)
    }

    /// What was seen is remembered only where it continues what was seen before. What contradicts
    /// it is kept beside it: both are signed by the log.
    fn remember(&self, seen: &Seen, monitored: &Monitored) -> Done {
        let put = |path: &Path, bytes: &[u8]| {
            let fresh = path.with_extension("new");
            std::fs::write(&fresh, bytes)
                .and_then(|()| std::fs::rename(&fresh, path))
                .map_err(|error| Fail::new(format!("{}: {error}", path.display())))
        };
        if monitored.continues {
            return put(&self.state, &seen.checkpoint);
        }
        if monitored.verdict() == Verdict::Tampered && !monitored.origin.is_empty() {
            let path = self.state.with_extension(format!("against-{}", monitored.size));
            put(&path, &seen.checkpoint)?;
            say(&format!("kept as evidence: {} and {}", self.state.display(), path.display()));
        }
        Ok(())
    }
}

fn in_folder(path: &Path, seen: Seen, trust: &Trust) -> Done<(Seen, Monitored)> {
    let failed = |error: loggia_verify::FolderError| Fail::usage(error.to_string());
    let folder = LogFolder::open(path).map_err(failed)?;
    let cosigned = folder.cosigned_bytes().map_err(failed)?;
    let checkpoint = folder.checkpoint_bytes().map_err(failed)?;
    let checkpoint = checkpoint.ok_or_else(|| no_checkpoint(&path.display().to_string()))?;
    let seen = Seen { checkpoint, cosigned, ..seen };
    let tree = |size| folder.hash_reader(size);
    let monitored = monitor(&seen, &trust.keys, trust.witnesses.as_ref(), tree);
    Ok((seen, monitored))
}

fn at_address(
    log: &RemoteLog,
    seen: Seen,
    trust: &Trust,
    handle: &tokio::runtime::Handle,
) -> Done<(Seen, Monitored)> {
    let unreachable = |why: String| Fail::unreachable(format!("{}: {why}", log.address()));
    let cosigned = handle.block_on(log.file("cosigned")).map_err(unreachable)?;
    let checkpoint = handle.block_on(log.file("checkpoint")).map_err(unreachable)?;
    let checkpoint = checkpoint.ok_or_else(|| no_checkpoint(&log.address()))?;
    let seen = Seen { checkpoint, cosigned, ..seen };
    let tree = |size| log.hash_reader(size, handle.clone());
    let monitored = monitor(&seen, &trust.keys, trust.witnesses.as_ref(), tree);
    Ok((seen, monitored))
}

fn no_checkpoint(log: &str) -> Fail {
    Fail::usage(format!("{log} shows no checkpoint"))
        .hint("give the address below which `checkpoint` is, or the folder of an epoch (ledger/e1)")
}
