//! `verify` and `prove`: offline, without a running server and without trust in one.

use super::Context;
use crate::fail::{Done, Fail};
use crate::out::say;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use loggia_tlog::note::VerifierKey;
use loggia_verify::log::{Options, Trust, verify_folder};
use loggia_verify::proof::{ProofPart, Proven, Wanted, prove, verify_proof};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Checks a whole log, or the proof of one event.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  loggia verify /var/lib/loggia --key \"$(cat log.key)\"
  loggia verify /var/lib/loggia --key KEY --known-checkpoint checkpoint.of-last-week
  loggia verify e.tlog-proof --entry e.json --open e.open.json --key KEY",
    after_help = "Exit codes:
  0   intact
  10  tampered
  11  incomplete
  12  the key is not the key of this log
  2   used wrongly"
)]
pub(crate) struct Verify {
    /// A data folder, the folder of an epoch, or a .tlog-proof file
    path: PathBuf,
    /// The log's verification key, from outside the log; may be given several times
    #[arg(long, value_name = "VKEY", required = true)]
    key: Vec<String>,
    /// A signed checkpoint that you hold: the log must still contain it
    #[arg(long, value_name = "FILE")]
    known_checkpoint: Vec<PathBuf>,
    /// With a proof: the bytes of the entry
    #[arg(long, value_name = "FILE")]
    entry: Option<PathBuf>,
    /// With a proof: the disclosure of its sealed fields
    #[arg(long, value_name = "FILE")]
    open: Option<PathBuf>,
    /// Check the tree and its files alone, not events, sessions and disclosures
    #[arg(long)]
    tree_only: bool,
}

impl Verify {
    pub(super) fn run(self, context: &Context) -> Done {
        let keys = self.keys()?;
        if self.path.is_dir() {
            return self.folder(keys, context);
        }
        self.proof(&keys, context)
    }

    fn keys(&self) -> Done<Vec<VerifierKey>> {
        let parse = |text: &String| {
            VerifierKey::parse(text.trim()).map_err(|error| {
                Fail::usage(format!("not a verification key: {error}"))
                    .hint("`loggia init` printed it: NAME+HASH+KEY, in quotes")
            })
        };
        self.key.iter().map(parse).collect()
    }

    fn folder(self, keys: Vec<VerifierKey>, context: &Context) -> Done {
        let known = self.known_checkpoint.iter().map(read);
        let trust = Trust { keys, known_checkpoints: known.collect::<Done<_>>()? };
        let options = Options { events: !self.tree_only, ..Options::default() };
        let bar = ProgressBar::new(0).with_style(style());
        let report = verify_folder(&self.path, &trust, options, &mut |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        })
        .map_err(|error| Fail::usage(error.to_string()))?;
        bar.finish_and_clear();
        context.out.either(&report.to_json(), || report.to_string().trim_end().to_owned())?;
        verdict(report.verdict().exit_code())
    }

    fn proof(self, keys: &[VerifierKey], context: &Context) -> Done {
        let Some(entry) = &self.entry else {
            return Err(Fail::usage(format!("{} is no folder", self.path.display()))
                .hint("a proof is checked with the bytes of its entry: --entry e.json"));
        };
        let open = self.open.as_deref().map(read).transpose()?;
        let proven = verify_proof(&read(&self.path)?, &read(entry)?, open.as_deref(), keys);
        match proven {
            Ok(proven) => context.out.either(&proven.to_json(), || told(&proven)),
            Err(unproven) => {
                let verdict_name = unproven.verdict.as_str();
                let object = json!({
                    "verdict": verdict_name,
                    "exit_code": unproven.verdict.exit_code(),
                    "what": unproven.what,
                });
                context.out.either(&object, || format!("{verdict_name}: {}", unproven.what))?;
                verdict(unproven.verdict.exit_code())
            }
        }
    }
}

fn verdict(exit: u8) -> Done {
    if exit == 0 { Ok(()) } else { Err(Fail::verdict(exit)) }
}

fn told(proven: &Proven) -> String {
    let mut lines = vec![format!(
        "intact: {} is entry {} of the log {}, under a checkpoint over {} entries \
         (operator-trusted only: no witness has cosigned)",
        proven.event.kind, proven.index, proven.origin, proven.size
    )];
    for (pointer, value) in &proven.values {
        lines.push(format!("  {pointer} = {}", crate::text::line(&value.display())));
    }
    for pointer in &proven.undisclosed {
        lines.push(format!("  {pointer} is sealed"));
    }
    lines.join("\n")
}

fn read(path: impl AsRef<Path>) -> Done<Vec<u8>> {
    let path = path.as_ref();
    std::fs::read(path).map_err(|error| Fail::usage(format!("{}: {error}", path.display())))
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:30} {pos}/{len} entries {per_sec} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Writes the proof of one event, to be checked offline by anybody who has the log's key.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  loggia prove ev_01h455vb4pex5vsknk084sn02q --data /var/lib/loggia --out ./proof
  loggia prove 4711 --data /var/lib/loggia > e.tlog-proof")]
pub(crate) struct Prove {
    /// Id of the event, or its index in the newest epoch of the log
    event: String,
    /// The data folder, or the folder of an epoch
    #[arg(long, default_value = "/var/lib/loggia", value_name = "DIR")]
    data: PathBuf,
    /// Write e.json, e.open.json and e.tlog-proof (and the same of its context) here; without it,
    /// the proof alone goes to standard output
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Prove {
    pub(super) fn run(self, context: &Context) -> Done {
        let wanted = match self.event.parse() {
            Ok(index) => Wanted::Index(index),
            Err(_) => Wanted::Event(self.event.parse().map_err(|error| {
                Fail::usage(format!("{error}")).hint("`loggia search --json` shows ids")
            })?),
        };
        let bundle = prove(&self.data, wanted).map_err(|error| Fail::new(error.to_string()))?;
        let Some(out) = self.out else {
            return context.out.line(bundle.event.proof.trim_end_matches('\n'));
        };
        std::fs::create_dir_all(&out)
            .map_err(|error| Fail::new(format!("{}: {error}", out.display())))?;
        write_part(&out, "e", &bundle.event)?;
        if let Some(part) = &bundle.context {
            write_part(&out, "context", part)?;
        }
        say(&format!("entry {}; to check it anywhere:", bundle.event.index));
        let open = if bundle.event.disclosure.is_some() { " --open e.open.json" } else { "" };
        say(&format!(
            "  cd {} && loggia verify e.tlog-proof --entry e.json{open} --key VKEY",
            out.display()
        ));
        Ok(())
    }
}

fn write_part(folder: &Path, name: &str, part: &ProofPart) -> Done {
    let write = |end: &str, bytes: &[u8]| {
        let path = folder.join(format!("{name}{end}"));
        std::fs::write(&path, bytes)
            .map_err(|error| Fail::new(format!("{}: {error}", path.display())))
    };
    write(".json", &part.leaf)?;
    write(".tlog-proof", part.proof.as_bytes())?;
    match &part.disclosure {
        Some(disclosure) => write(".open.json", disclosure),
        None => Ok(()),
    }
}
