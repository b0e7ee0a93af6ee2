//! `mirror` and `restore`: a second copy of a log, and back from it.

use super::Context;
use super::proof::QuorumOptions;
use crate::fail::{Done, Fail};
use crate::out::say;
use clap::Args;
use loggia_server::copies::Source;
use loggia_tlog::VerifierKey;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Keeps a second copy of a log.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  loggia mirror /mnt/gateway/data --to /srv/loggia-copy --key \"$(cat log.key)\" --every 1s
  loggia mirror https://log.example/e1/ --to ./copy --policy auditor.policy",
    after_help = "Takes what was published since the last time, verified on arrival: a source that was cut, or \
                  shows\nanother history than the copy has, is refused. From a data folder also what is \
                  disclosed beside the\nlog; from an address the log alone. Never keys, and never the control \
                  database.\n\nExit codes: 0 taken, 10 the source was altered, 12 it is another log, 5 it \
                  cannot be reached"
)]
pub(crate) struct Mirror {
    /// A data folder, the folder of an epoch, or the address of a log
    source: String,
    /// The copy; begun where there is none
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The log's verification key, from outside the log; one for each epoch
    #[arg(long, value_name = "VKEY", required_unless_present = "policy")]
    key: Vec<String>,
    #[command(flatten)]
    quorum: QuorumOptions,
    /// Again and again; a source that cannot be reached is tried again
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    every: Option<Duration>,
    /// Authorities that vouch for the certificate of an address (PEM)
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Rebuilds a data folder's log from a copy.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:
  loggia restore /srv/loggia-copy --to /var/lib/loggia/data --key \"$(cat log.key)\"",
    after_help = "The copy is verified on the way. Put `keys/` and `control.db` of your backup beside it; \
                  without\nthem, the log can be read and verified, and not gone on with."
)]
pub(crate) struct Restore {
    /// The copy
    copy: PathBuf,
    /// The data folder to make; must not be there, or have no ledger
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The log's verification key, from outside the log; one for each epoch
    #[arg(long, value_name = "VKEY", required = true)]
    key: Vec<String>,
}

impl Mirror {
    pub(super) async fn run(self, context: &Context) -> Done {
        let keys = self.quorum.trust(&self.key)?.keys;
        let source = Source::new(&self.source, self.ca_file.as_deref())?;
        loop {
            let pulled = pull(source.clone(), &self.to, &keys).await;
            match (pulled, self.every) {
                (Ok(pulled), every) => {
                    let news = pulled.iter().filter(|one| every.is_none() || one.size > one.from);
                    for one in news {
                        tell(one, context)?;
                    }
                    let Some(every) = every else { return Ok(()) };
                    tokio::time::sleep(every).await;
                }
                // What contradicts the copy does not mend itself; what cannot be read may.
                (Err(fail), Some(every)) if fail.may_pass => {
                    say(&format!("warning: {}", fail.message));
                    tokio::time::sleep(every).await;
                }
                (Err(fail), _) => return Err(fail.into()),
            }
        }
    }
}

impl Restore {
    pub(super) async fn run(self, context: &Context) -> Done {
        let there = self.to.join("ledger");
        if there.exists() {
            let what = format!("{} is there already; nothing is overwritten", there.display());
            return Err(Fail::usage(what));
        }
        let keys = QuorumOptions::default().trust(&self.key)?.keys;
        let source = Source::new(&self.copy.display().to_string(), None)?;
        let pulled = pull(source, &self.to, &keys).await?;
        for one in &pulled {
            tell(one, context)?;
        }
        say("\nWhat the gateway wrote behind that is lost, unless the old folder turns up.");
        say("Next: put keys/ and control.db of your backup into it, and start. If the gateway had");
        say("published more, it refuses, and says what to do.");
        Ok(())
    }
}

fn tell(pulled: &loggia_server::copies::Copied, context: &Context) -> Done {
    let object = json!({
        "origin": pulled.origin,
        "from": pulled.from,
        "size": pulled.size,
        "blobs_missing": pulled.blobs_missing,
    });
    context.out.either(&object, || {
        let missing = match pulled.blobs_missing {
            0 => String::new(),
            missing => format!(", {missing} large values are missing"),
        };
        let told = format!(
            "{}: entries {} to {} taken, {} in all{missing}",
            pulled.origin, pulled.from, pulled.size, pulled.size
        );
        crate::text::line(&told)
    })
}

/// Why a copy could not be brought up to date.
pub(super) struct NotTaken {
    message: String,
    may_pass: bool,
    /// The verdict on the log, where it is one.
    verdict: Option<u8>,
}

impl From<NotTaken> for Fail {
    fn from(error: NotTaken) -> Self {
        match error.verdict {
            Some(exit) => Self::with_exit(exit, error.message),
            None if error.may_pass => Self::unreachable(error.message),
            None => Self::new(error.message),
        }
    }
}

/// Takes what is new, on a thread that may block.
pub(super) async fn pull(
    source: Source,
    to: &Path,
    keys: &[VerifierKey],
) -> Result<Vec<loggia_server::copies::Copied>, NotTaken> {
    let (to, keys) = (to.to_owned(), keys.to_vec());
    let handle = tokio::runtime::Handle::current();
    let work = move || loggia_server::copies::pull(&source, &to, &keys, &handle);
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(pulled)) => Ok(pulled),
        Ok(Err(error)) => {
            let may_pass = loggia_server::copies::may_pass(&error);
            let verdict = loggia_server::copies::verdict(&error);
            Err(NotTaken { message: format!("{error:#}"), may_pass, verdict })
        }
        Err(error) => Err(NotTaken { message: error.to_string(), may_pass: false, verdict: None }),
    }
}

/// A folder that is gone when this is dropped.
pub(super) struct Temporary(PathBuf);

impl Temporary {
    pub(super) fn new() -> Done<Self> {
        super::trial::temporary_folder().map(Self)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clean up.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
