//! `replay`: a recorded session again, in the terminal or for other programs. Nothing of it is
//! shown before all of it was held to the ledger. [`watch`] shows one that runs.

mod export;
mod harmless;
mod offline;
mod plain;
mod player;
mod screen;
mod script;
mod source;
mod stage;
mod terminal;
#[cfg(test)]
mod tests;
mod told;
mod watch;

pub(in crate::commands) use watch::watch;

use super::Context;
use crate::fail::{Done, Fail, INCOMPLETE};
use crate::out::say;
use clap::Args;
use loggia_model::id::SessionId;
use loggia_recordings::lines::SessionKey;
use loggia_tlog::VerifierKey;
use loggia_verify::recording::check::Ending;
use script::{Scene, Script, Source};
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use told::Told;

/// Plays the recording of a session again.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  loggia replay se_01h455vb4pex5vsknk084sn02q
  loggia replay se_01h455vb4pex5vsknk084sn02q --speed 4 --idle 0.5
  loggia replay se_01h455vb4pex5vsknk084sn02q --text | grep -i error
  loggia replay se_01h455vb4pex5vsknk084sn02q --export session.cast
  loggia replay /var/lib/loggia/data/se_01h455vb4pex5vsknk084sn02q --key \"$(cat log.key)\"",
    after_help = "Keys:
  space  pause, go on           + -  speed, 0.5 to 16
  ← →    5 seconds              /    search in the output; n goes on searching
  ⇧← ⇧→  10 %                   [ ]  the action before, the next one
  q      quit

Exit codes:
  0   played, and what the ledger says
  10  tampered: not what the ledger says; nothing is shown
  11  incomplete: cut short, or missing
  12  the key is not the key of this log"
)]
pub(crate) struct Replay {
    /// Id of the session; or, without a gateway, DATA/ID or a file in DATA/recordings
    #[arg(value_name = "SESSION")]
    session: String,
    /// The log's verification key, for a recording on this machine; may be given several times
    #[arg(long, value_name = "VKEY")]
    key: Vec<String>,
    /// Only this action: its number, or the id of its event
    #[arg(long, value_name = "N|EVENT")]
    action: Option<String>,
    /// How fast to begin: 0.5, 1, 2, 4, 8 or 16
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    speed: f64,
    /// Cut what is idle to so many seconds; 0 leaves it as it is
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    idle: f64,
    /// Write an asciicast (version 2) instead; `-` is standard output
    #[arg(long, value_name = "FILE.cast", conflicts_with = "text")]
    export: Option<PathBuf>,
    /// Print the output as text, without control sequences
    #[arg(long)]
    text: bool,
    /// The gateway's silent.key: opens what was typed at prompts without echo
    #[arg(long, value_name = "FILE")]
    silent_key: Option<PathBuf>,
}

impl Replay {
    pub(super) async fn run(self, context: &Context) -> Done {
        let idle_us = self.idle_us()?;
        let silent = self.silent_key.as_deref().map(silent_key).transpose()?;
        let (source, told) = self.source(context).await?;
        let session_key = silent.map(|key| key.session(&source.held.salt));
        // Checking, playing and asking the terminal block.
        let context = (context.out, std::io::stdout().is_terminal());
        let work = move || self.show(context, source, &told, idle_us, session_key);
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(_) => Err(Fail::new("the replay failed")),
        }
    }

    fn idle_us(&self) -> Done<u64> {
        let micros = self.idle * 1e6;
        if !(0.0..1e15).contains(&micros) || !(0.5..=16.0).contains(&self.speed) {
            return Err(Fail::usage("--idle takes seconds, --speed 0.5 to 16"));
        }
        Ok(if micros > 0.0 { micros as u64 } else { u64::MAX })
    }

    async fn source(&self, context: &Context) -> Done<(Source, Told)> {
        if self.session.parse::<SessionId>().is_ok() {
            return source::fetch(&context.client()?, &self.session).await;
        }
        let found = offline::OnDisk::find(Path::new(&self.session))?;
        let parse = |text: &String| {
            VerifierKey::parse(text.trim())
                .map_err(|error| Fail::usage(format!("not a verification key: {error}")))
        };
        let keys: Vec<VerifierKey> = self.key.iter().map(parse).collect::<Done<_>>()?;
        if keys.is_empty() {
            return Err(Fail::usage("the key of the log is needed, from outside the log")
                .hint("`loggia init` printed it: --key VKEY"));
        }
        match tokio::task::spawn_blocking(move || found.open(keys)).await {
            Ok(opened) => opened,
            Err(_) => Err(Fail::new("the log could not be read")),
        }
    }

    fn show(
        &self,
        (out, on_terminal): (crate::out::Out, bool),
        source: Source,
        told: &Told,
        idle_us: u64,
        silent: Option<SessionKey>,
    ) -> Done {
        let script = Script::load(source, idle_us, silent)?;
        let scenes = chosen(&script, self.action.as_deref())?;
        let verdict = verdict(&script);
        if let Some(path) = &self.export {
            self.export(path, &script, &scenes, told, idle_us)?;
        } else if out.json {
            export::frames(&script, &scenes, out)?;
        } else if self.text || !on_terminal {
            export::text(&script, &scenes, told, out)?;
        } else {
            let speed = self.speed;
            let (script, scenes) = (&script, scenes.as_slice());
            stage::play(&stage::Staging { script, scenes, told, out, speed, idle_us })?;
        }
        say(&verdict);
        match script.ending {
            Ending::CutShort { .. } => Err(Fail::verdict(INCOMPLETE)),
            Ending::Proven | Ending::Tail { .. } => Ok(()),
        }
    }

    fn export(
        &self,
        path: &Path,
        script: &Script,
        scenes: &[&Scene],
        told: &Told,
        idle_us: u64,
    ) -> Done {
        let idle_us = (idle_us < u64::MAX).then_some(idle_us);
        let failed = |error| Fail::new(format!("{}: {error}", path.display()));
        if path.as_os_str() == "-" {
            let mut out = BufWriter::new(std::io::stdout().lock());
            export::cast(script, scenes, told, idle_us, &mut out)?;
            return out.flush().map_err(failed);
        }
        let file = std::fs::File::create(path).map_err(failed)?;
        let mut out = BufWriter::new(file);
        export::cast(script, scenes, told, idle_us, &mut out)?;
        out.flush().map_err(failed)
    }
}

fn silent_key(path: &Path) -> Done<loggia_recordings::lines::SilentKey> {
    match loggia_recordings::silent_key(path) {
        Ok(Some(key)) => Ok(key),
        Ok(None) => Err(Fail::usage(format!("there is no {}", path.display()))),
        Err(error) => Err(Fail::usage(error.to_string())),
    }
}

/// The actions that are asked for: all, or the one of this number or id.
fn chosen<'s>(script: &'s Script, wanted: Option<&str>) -> Done<Vec<&'s Scene>> {
    let all: Vec<&Scene> = script.scenes.iter().collect();
    if all.is_empty() {
        return Err(Fail::new("nothing was recorded in this session"));
    }
    let Some(wanted) = wanted else { return Ok(all) };
    let numbered = wanted.parse::<usize>().ok().and_then(|number| all.get(number.checked_sub(1)?));
    let named = || {
        let of = |scene: &&&Scene| scene.action.is_some_and(|action| action.to_string() == wanted);
        all.iter().find(of)
    };
    match numbered.or_else(named) {
        Some(scene) => Ok(vec![scene]),
        None => Err(Fail::usage(format!("there is no action `{wanted}` in the recording"))
            .hint(format!("it has {}: 1 to {}", all.len(), all.len()))),
    }
}

/// What the check gave, in a line.
fn verdict(script: &Script) -> String {
    let frames = script.frames;
    let mut said = match script.ending {
        Ending::Proven => format!("verified: {frames} frames, as the ledger has them"),
        Ending::Tail { proven, frames: tail, torn_bytes } => {
            let torn = if torn_bytes > 0 { " and a torn one" } else { "" };
            format!(
                "verified: {proven} frames; unproven tail: {tail} more{torn}, which the ledger \
                 does not claim yet"
            )
        }
        Ending::CutShort { proven, claimed, .. } => format!(
            "INCOMPLETE: cut short, {frames} frames of {claimed}; {proven} of them are verified"
        ),
    };
    if script.limited {
        said.push_str("; it reached its limit: what came later was counted, and not kept");
    }
    said
}
