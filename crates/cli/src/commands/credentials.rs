//! `audit-credentials`: what a target accepted, held against the log, offline.

use super::Context;
use super::operate::DATA_DEFAULT;
use super::proof::{QuorumOptions, verdict};
use crate::fail::{Done, Fail};
use crate::out::say;
use clap::Args;
use loggia_verify::Verdict;
use loggia_verify::credentials::{Named, audit_credentials};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Names the credentials that a target accepted and the log never minted.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:
  loggia audit-credentials serials.txt --data ./copy --key \"$(cat log.key)\"",
    after_help = "The list is from the target's own log: one serial number of a certificate a line (hex), or \
                  the\nbinding that stands in it (loggia:log-binding:v1:...). A `-` reads it from standard \
                  input.\n\nExit codes: 0 each has its entry in the log, 11 at least one has not, 2 used wrongly"
)]
pub(crate) struct AuditCredentials {
    /// The list
    list: PathBuf,
    /// A data folder, or the folder of an epoch
    #[arg(long, default_value = DATA_DEFAULT, value_name = "DIR")]
    data: PathBuf,
    /// The log's verification key, from outside the log; may be given several times
    #[arg(long, value_name = "VKEY", required_unless_present = "policy")]
    key: Vec<String>,
    #[command(flatten)]
    quorum: QuorumOptions,
}

impl AuditCredentials {
    pub(super) fn run(self, context: &Context) -> Done {
        let trust = self.quorum.trust(&self.key)?;
        let asked = asked(&self.list)?;
        let report = audit_credentials(&self.data, &asked, &trust)
            .map_err(|error| Fail::usage(error.to_string()))?;
        if context.out.json {
            report.to_json().iter().try_for_each(|one| context.out.object(one))?;
        } else {
            for (named, minted) in &report.found {
                let told = match minted {
                    Some(minted) => minted.to_string(),
                    None => "NO PROOF: no entry of this log minted it".to_owned(),
                };
                context.out.line(&crate::text::line(&format!("{named}  {told}")))?;
            }
        }
        let missing = report.without_proof().count();
        say(&format!("{missing} of {} credentials have no proof", report.found.len()));
        verdict(if missing == 0 { 0 } else { Verdict::Incomplete.exit_code() })
    }
}

fn asked(list: &Path) -> Done<Vec<Named>> {
    let unreadable = |error| Fail::usage(format!("{}: {error}", list.display()));
    let mut text = String::new();
    if list == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map_err(unreadable)?;
    } else {
        text = std::fs::read_to_string(list).map_err(unreadable)?;
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parsed = lines.map(|(number, line)| {
        Named::parse(line).ok_or_else(|| {
            Fail::usage(format!(
                "{}:{}: neither a serial number in hex nor a binding",
                list.display(),
                number + 1
            ))
        })
    });
    parsed.collect()
}
