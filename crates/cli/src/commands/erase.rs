//! `erase`, `retention run`.

use super::Context;
use crate::fail::{Done, Fail};
use crate::out::say;
use crate::text;
use clap::{Args, Subcommand};
use loggia_api::retention::{Erase as Request, Erased, RetentionPart, RunRetention};

/// Destroys what is disclosed and recorded of somebody.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia erase alice --reason 'request under article 17, case 4711' --dry-run
  loggia erase alice --reason 'request under article 17, case 4711'
  loggia erase pe_01h455vb4pex5vsknk084sn02q --reason 'left in 2024' --yes --json")]
pub(crate) struct Erase {
    /// Name or id of a person or service account
    subject: String,
    /// Why; recorded with who asked for it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
}

impl Erase {
    pub(super) async fn run(self, context: &Context) -> Done {
        let client = context.client()?;
        let mut request = Request {
            subject: self.subject,
            reason: self.reason,
            dry_run: self.dry_run || !self.yes,
        };
        let told = if request.dry_run { Some(client.erase(&request).await?) } else { None };
        if self.dry_run {
            return match told {
                Some(told) => context.out.either(&told, || would(&told)),
                None => Ok(()),
            };
        }
        if let Some(told) = told {
            say(&would(&told));
            if told.holds.is_empty() {
                let question = format!("Destroy this of {}?", text::line(&request.subject));
                if !context.ask.agrees(&question, "--yes")? {
                    return Err(Fail::new("nothing was erased"));
                }
            }
        }
        request.dry_run = false;
        let erased = client.erase(&request).await?;
        context.out.either(&erased, || done(&erased))
    }
}

fn amount(erased: &Erased) -> String {
    let Erased { disclosures, blobs, recordings, sessions, keys, .. } = erased;
    format!(
        "what is disclosed of {disclosures} events in {sessions} sessions, {blobs} large values, \
         {recordings} recordings, {keys} keys"
    )
}

fn would(told: &Erased) -> String {
    let mut lines = format!("{}: {}", told.subject, amount(told));
    if !told.holds.is_empty() {
        lines.push_str(&format!("\nkept by legal hold {}", told.holds.join(", ")));
    }
    lines
}

fn done(erased: &Erased) -> String {
    let event = erased.event.as_deref().unwrap_or_default();
    if erased.state == "running" {
        return "the erasure goes on; `loggia search kind:erasure.done` shows its end".to_owned();
    }
    let mut lines = format!("erased under {event}: {}", amount(erased));
    if !erased.pending.is_empty() {
        lines.push_str(&format!("\nnot forgotten yet by: {}", erased.pending.join(", ")));
    }
    lines
}

/// Retention.
#[derive(Debug, Subcommand)]
pub(crate) enum Retention {
    /// Destroy what is older than the configured periods, but for what a legal hold keeps
    Run(Run),
}

/// Runs retention.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia retention run --dry-run
  loggia retention run --json")]
pub(crate) struct Run {
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
}

impl Retention {
    pub(super) async fn run(self, context: &Context) -> Done {
        let Self::Run(args) = self;
        let ran = context.client()?.run_retention(&RunRetention { dry_run: args.dry_run }).await?;
        context.out.table(
            &ran.parts,
            &["what", "state", "from before", "disclosures", "large values", "recordings", "held"],
            row,
            "no period is configured: [retention] in the gateway's configuration file",
        )
    }
}

fn row(part: &RetentionPart) -> Vec<String> {
    vec![
        part.what.clone(),
        part.state.clone(),
        text::moment_of(part.until_us),
        part.disclosures.to_string(),
        part.blobs.to_string(),
        part.recordings.to_string(),
        part.held.to_string(),
    ]
}
