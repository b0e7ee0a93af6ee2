//! `verify` and `prove`: offline, without a running server and without trust in one.

use super::Context;
use super::operate::DATA_DEFAULT;
use crate::environment;
use crate::fail::{Done, Fail};
use crate::out::say;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use loggia_tlog::note::VerifierKey;
use loggia_verify::WitnessTrust;
use loggia_verify::log::{Options, Trust, verify_folder};
use loggia_verify::proof::{ProofPart, Proven, Wanted, prove, verify_proof_via};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Checks a whole log, or the proof of one event.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  loggia verify /var/lib/loggia/data --key \"$(cat log.key)\"
  loggia verify /var/lib/loggia/data --policy auditor.policy --max-age 10m
  loggia verify /var/lib/loggia/data --key KEY --known-checkpoint checkpoint.of-last-week
  loggia verify e.tlog-proof --entry e.json --open e.open.json --key KEY",
    after_help = "Exit codes:
  0   intact
  10  tampered
  11  incomplete
  12  the key is not the key of this log, or fewer witnesses vouch for it than the policy asks for
  2   used wrongly

A policy says which witnesses count (C2SP tlog-policy). Yours should be mandatory, with one other:
  log LOGKEY
  witness auditor YOURKEY
  witness other OTHERKEY
  group q all auditor other
  quorum q"
)]
pub(crate) struct Verify {
    /// A data folder, the folder of an epoch, an address of a log, or a .tlog-proof file
    path: PathBuf,
    /// The log's verification key, from outside the log; may be given several times
    #[arg(long, value_name = "VKEY", required_unless_present = "policy")]
    key: Vec<String>,
    #[command(flatten)]
    quorum: QuorumOptions,
    /// A signed checkpoint that you hold: the log must still contain it
    #[arg(long, value_name = "FILE")]
    known_checkpoint: Vec<PathBuf>,
    /// With a proof: the bytes of the entry
    #[arg(long, value_name = "FILE")]
    entry: Option<PathBuf>,
    /// With a proof: the disclosure of its sealed fields
    #[arg(long, value_name = "FILE")]
    open: Option<PathBuf>,
    /// With an address: authorities that vouch for its certificate (PEM)
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// With a proof: the second one, which leads from its checkpoint to an aggregator's log
    #[arg(long, value_name = "FILE")]
    via: Option<PathBuf>,
    /// Check the tree and its files alone, not events, sessions and disclosures
    #[arg(long)]
    tree_only: bool,
}

/// Whose cosignatures count.
#[derive(Debug, Default, Args)]
pub(super) struct QuorumOptions {
    /// A quorum policy (C2SP tlog-policy), from outside the log: logs, witnesses, how many of them
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// A cosignature older than this does not count, such as 10m: what is shown may be an old copy
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, requires = "policy")]
    max_age: Option<Duration>,
}

impl QuorumOptions {
    /// What the verifier holds: these keys, and those of the policy.
    pub(super) fn trust(&self, keys: &[String]) -> Done<Trust> {
        let parse = |text: &String| {
            VerifierKey::parse(text.trim()).map_err(|error| {
                Fail::usage(format!("not a verification key: {error}"))
                    .hint("`loggia init` printed it: NAME+HASH+KEY, in quotes")
            })
        };
        let mut keys: Vec<VerifierKey> = keys.iter().map(parse).collect::<Done<_>>()?;
        let Some(path) = &self.policy else { return Ok(Trust { keys, ..Trust::default() }) };
        let policy =
            loggia_server::read_policy(path).map_err(|error| Fail::usage(format!("{error:#}")))?;
        keys.extend(
            policy.log_keys().into_iter().filter(|key| !keys.contains(key)).collect::<Vec<_>>(),
        );
        if keys.is_empty() {
            return Err(Fail::usage(format!("{} names no log", path.display()))
                .hint("add a line `log VKEY` to it, or give --key"));
        }
        let max_age_s = self.max_age.map(|age| age.as_secs());
        let now_s = u64::try_from(environment::now_us() / 1_000_000).unwrap_or(0);
        let witnesses = Some(WitnessTrust { policy, max_age_s, now_s });
        Ok(Trust { keys, witnesses, ..Trust::default() })
    }

    /// The policy's witnesses with an address: name and address.
    pub(super) fn addresses(trust: &Trust) -> Vec<(String, String)> {
        let witnesses = trust.witnesses.iter().flat_map(|trust| trust.policy.witnesses());
        witnesses.filter_map(|one| Some((one.name.clone(), one.url.clone()?))).collect()
    }
}

impl Verify {
    pub(super) async fn run(mut self, context: &Context) -> Done {
        let trust = self.quorum.trust(&self.key)?;
        if self.path.is_dir() {
            return self.folder(trust, context);
        }
        let address = self.path.to_str().filter(|path| path.contains("://")).map(str::to_owned);
        let Some(address) = address else { return self.proof(&trust, context) };
        // Fetched as a whole, because all of it is read more than once; gone when this ends.
        let copy = super::copies::Temporary::new()?;
        let source = loggia_server::copies::Source::new(&address, self.ca_file.as_deref())?;
        super::copies::pull(source, copy.path(), &trust.keys).await?;
        self.path = copy.path().to_owned();
        self.folder(trust, context)
    }

    fn folder(self, trust: Trust, context: &Context) -> Done {
        let known = self.known_checkpoint.iter().map(read);
        let trust = Trust { known_checkpoints: known.collect::<Done<_>>()?, ..trust };
        let options = Options { events: !self.tree_only, ..Options::default() };
        check_folder(&self.path, &trust, options, context)
    }

    fn proof(self, trust: &Trust, context: &Context) -> Done {
        let Some(entry) = &self.entry else {
            return Err(Fail::usage(format!("{} is no folder", self.path.display()))
                .hint("a proof is checked with the bytes of its entry: --entry e.json"));
        };
        let open = self.open.as_deref().map(read).transpose()?;
        let via = self.via.as_deref().map(read).transpose()?;
        let (proof, entry) = (read(&self.path)?, read(entry)?);
        let proven = verify_proof_via(&proof, &entry, open.as_deref(), via.as_deref(), trust);
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

/// Checks a folder, with a bar, and tells the verdict.
fn check_folder(path: &Path, trust: &Trust, options: Options, context: &Context) -> Done {
    let bar = ProgressBar::new(0).with_style(style());
    let report = verify_folder(path, trust, options, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })
    .map_err(|error| Fail::usage(error.to_string()))?;
    bar.finish_and_clear();
    context.out.either(&report.to_json(), || report.to_string().trim_end().to_owned())?;
    verdict(report.verdict().exit_code())
}

/// Checks the log of this machine with the key that lies beside it.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:
  loggia fsck /var/lib/loggia/data",
    after_help = "For the one who runs the gateway, after a crash or a fault of the disk: every file of the \
                  log is held\nto the signed checkpoint. The key is taken from the data folder, so this \
                  proves nothing to anybody\nelse: that is what `loggia verify` is for. Exit codes are those \
                  of `loggia verify`."
)]
pub(crate) struct Fsck {
    /// The data folder
    #[arg(default_value = DATA_DEFAULT)]
    data: PathBuf,
    /// Check the tree and its files alone, not events, sessions and disclosures
    #[arg(long)]
    tree_only: bool,
}

impl Fsck {
    pub(super) fn run(self, context: &Context) -> Done {
        let keys = loggia_server::own_log_keys(&self.data)?;
        let trust = Trust { keys, ..Trust::default() };
        let options = Options { events: !self.tree_only, ..Options::default() };
        check_folder(&self.data, &trust, options, context)
    }
}

pub(super) fn verdict(exit: u8) -> Done {
    if exit == 0 { Ok(()) } else { Err(Fail::verdict(exit)) }
}

fn told(proven: &Proven) -> String {
    let mut lines = vec![format!(
        "intact: {} is entry {} of the log {}, under a checkpoint over {} entries ({})",
        proven.event.kind,
        proven.index,
        proven.origin,
        proven.size,
        proven.trust()
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
  loggia prove ev_01h455vb4pex5vsknk084sn02q --data /var/lib/loggia/data --out ./proof
  loggia prove 4711 --data /var/lib/loggia/data > e.tlog-proof")]
pub(crate) struct Prove {
    /// Id of the event, or its index in the newest epoch of the log
    event: String,
    /// The data folder, or the folder of an epoch
    #[arg(long, default_value = DATA_DEFAULT, value_name = "DIR")]
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
