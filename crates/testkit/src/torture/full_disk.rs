//! The gateway's disk fills up, and has room again.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::coverage::nothing_missing;
use super::load;
use crate::deadline::wait_until;
use crate::folder::Workspace;
use crate::gateway::{GatewayOptions, GatewayUnderTest};
use crate::postgres::{Postgres, PostgresOptions};
use crate::small_disk::SmallDisk;

/// How long a session is paused before it is ended, in seconds.
const PAUSE_S: u64 = 3;
/// What a client is told at the door.
const REFUSED: &str = "nothing can be recorded at the moment";
/// How many statements may still fit when new sessions are refused already.
const STATEMENTS_MAX: usize = 200;
/// How long anything may take that must happen by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the full-disk rounds found. Everything that must not be is an error instead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FullDiskCounts {
    /// How often the disk was filled.
    pub rounds: u64,
    /// New sessions that were refused with a message that says why.
    pub refused: u64,
    /// Sessions that were paused and went on when there was room again.
    pub resumed: u64,
    /// Sessions that were paused and then ended with a message that says why.
    pub ended: u64,
    /// Statements in the target's own log, all recorded.
    pub received: u64,
    /// The longest time from room on the disk until the gateway was ready.
    pub slowest_recovery: Duration,
}

impl fmt::Display for FullDiskCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "full-disk rounds: {} times full, {} sessions refused, {} resumed, {} ended, {} \
             statements received by the target, 0 missing, slowest recovery {} ms",
            self.rounds,
            self.refused,
            self.resumed,
            self.ended,
            self.received,
            self.slowest_recovery.as_millis()
        )
    }
}

/// Fills the gateway's disk `rounds` times and fails where something is lost, a client is left
/// without a clear message, or the gateway does not recover by itself once there is room.
///
/// Needs root, for a small file system in memory. `None`, said loudly, where none can be had.
pub fn full_disk_rounds(program: &Path, rounds: u64) -> Result<Option<FullDiskCounts>> {
    let workspace = Workspace::new("full-disk")?;
    let disk = match SmallDisk::mount(&workspace.join("disk")) {
        Ok(disk) => disk,
        Err(error) => {
            eprintln!("SKIPPED: no full disk was tried: {error:#} (this needs root)");
            return Ok(None);
        }
    };
    let mut run = Run::start(program, disk)?;
    for round in 1..=rounds {
        run.round(round).with_context(|| format!("full disk, round {round}"))?;
        eprintln!("  full {round} of {rounds}: {}", run.counts);
    }
    run.finish().map(Some)
}

struct Run {
    counts: FullDiskCounts,
    // The gateway before its disk: it is dropped first.
    gateway: GatewayUnderTest,
    disk: SmallDisk,
    server: Postgres,
}

impl Run {
    fn start(program: &Path, disk: SmallDisk) -> Result<Self> {
        let server = Postgres::start(PostgresOptions::default())?;
        server.execute(load::TABLE)?;
        let mut options = GatewayOptions::over(&server, program)
            .setting("ledger", "segment_mib = 1")
            .setting("session", &format!("pause_seconds = {PAUSE_S}"));
        options.data = Some(disk.path().join("data"));
        let gateway = GatewayUnderTest::start(options)?;
        Ok(Self { counts: FullDiskCounts::default(), gateway, disk, server })
    }

    /// One sitting that is paused and goes on, another that is paused and ended.
    fn round(&mut self, round: u64) -> Result<()> {
        let mut patient = self.sitting("kernel")?;
        patient.say(&format!("SELECT 'before {round}';"))?;
        patient.hears(&format!("before {round}"))?;
        self.fill_up()?;
        self.refused()?;
        let held = self.until_paused(&mut patient)?;
        self.room_again()?;
        patient.hears(&held)?;
        self.counts.resumed += 1;
        drop(patient);

        let mut other = self.sitting("disk")?;
        other.say("SELECT 'other';")?;
        other.hears("other")?;
        self.fill_up()?;
        let held = self.until_paused(&mut other)?;
        other.hears("cannot be recorded any more")?;
        ensure!(!other.heard().contains(&held), "an ended session's statement was answered");
        self.counts.ended += 1;
        self.refused()?;
        self.room_again()?;
        self.works()?;
        self.counts.rounds += 1;
        Ok(())
    }

    /// Statements until one is held back; gives the answer that it would have.
    fn until_paused(&self, sitting: &mut Sitting) -> Result<String> {
        let pauses = || -> Result<f64> {
            Ok(self.gateway.metric("loggia_gate_pauses_total")?.unwrap_or(0.0))
        };
        let before = pauses()?;
        for n in 0..STATEMENTS_MAX {
            let answer = format!("answer {n}");
            sitting.say(&format!("SELECT 'answer ' || {n}; -- {}", "x".repeat(2_000)))?;
            wait_until("an answer or a pause", PATIENCE, || {
                Ok(sitting.heard().contains(&answer) || pauses()? > before)
            })?;
            if !sitting.heard().contains(&answer) {
                return Ok(answer);
            }
        }
        bail!("{STATEMENTS_MAX} statements got through on a full disk")
    }

    fn sitting(&self, resource: &str) -> Result<Sitting> {
        let environment = self.gateway.psql_env("alice", resource, None)?;
        Sitting::start(&self.server, environment)
    }

    /// Fills the disk and works on until the gateway takes no more: what was laid out before it
    /// was full is used up first, by large statements and then by small ones.
    fn fill_up(&mut self) -> Result<()> {
        let large = format!("SELECT length('{}')", "x".repeat(20_000));
        self.disk.fill()?;
        wait_until("the ledger to be full", PATIENCE, || {
            let taken = self.psql("kernel", &[large.as_str(); 8])?.status.success();
            // One that fits in at the very edge is let in, and ended when nothing more fits.
            let said = self.psql("kernel", &["SELECT 1"])?.stderr;
            Ok(!taken && String::from_utf8_lossy(&said).contains(REFUSED))
        })
    }

    /// A session of its own for these statements.
    fn psql(&self, resource: &str, statements: &[&str]) -> Result<Output> {
        let mut command = Command::new(self.server.binary("psql"));
        command.args(["-X", "-q"]).envs(self.gateway.psql_env("bob", resource, None)?);
        for statement in statements {
            command.args(["-c", statement]);
        }
        command.output().context("running psql")
    }

    /// A new session must be refused, soon and in words.
    fn refused(&mut self) -> Result<()> {
        let started = now();
        let output = self.psql("disk", &["SELECT 'refused'"])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success(), "a new session was let in on a full disk");
        ensure!(
            said.contains(REFUSED) && said.contains("disk may be full"),
            "the refusal does not say why: {said}"
        );
        ensure!(started.elapsed() < PATIENCE, "the refusal took {:?}", started.elapsed());
        self.counts.refused += 1;
        Ok(())
    }

    fn room_again(&mut self) -> Result<()> {
        self.disk.clear()?;
        let started = now();
        wait_until("the gateway to take events again", PATIENCE, || Ok(self.gateway.ready()))?;
        self.counts.slowest_recovery = self.counts.slowest_recovery.max(started.elapsed());
        Ok(())
    }

    /// A new session works, without anybody's help.
    fn works(&self) -> Result<()> {
        let mut sitting = self.sitting("disk")?;
        sitting.say("SELECT 'works ' || 'again';")?;
        sitting.hears("works again")
    }

    fn finish(mut self) -> Result<FullDiskCounts> {
        let ended = self.gateway.ended()?;
        ensure!(ended.is_none(), "the gateway ended by itself: {ended:?}\n{}", self.gateway.log());
        self.gateway.stop()?;
        let received = self.server.logged()?;
        nothing_missing(&received, &self.gateway.statements()?)?;
        self.counts.received = received.len() as u64;
        let verified = self.gateway.verify(&[])?;
        ensure!(verified.exit_code == Some(0), "the log is not intact: {}", verified.text);
        Ok(self.counts)
    }
}

#[expect(clippy::disallowed_methods, reason = "the time that a real process takes")]
fn now() -> Instant {
    Instant::now()
}

/// A psql that somebody types into.
struct Sitting {
    child: Child,
    input: Option<ChildStdin>,
    output: PathBuf,
    _workspace: Workspace,
}

impl Sitting {
    fn start(server: &Postgres, environment: Vec<(&'static str, String)>) -> Result<Self> {
        let workspace = Workspace::new("sitting")?;
        let output = workspace.join("output");
        let file = || File::options().create(true).append(true).open(&output);
        let mut command = Command::new(server.binary("psql"));
        command.args(["-X", "-q", "-A", "-t"]).envs(environment);
        command.stdin(Stdio::piped()).stdout(file()?).stderr(file()?);
        let mut child = command.spawn().context("starting psql")?;
        let input = child.stdin.take();
        Ok(Self { child, input, output, _workspace: workspace })
    }

    fn say(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("psql without standard input")?;
        writeln!(input, "{line}").context("typing into psql")
    }

    /// What it printed so far, answers and messages.
    fn heard(&self) -> String {
        let mut text = String::new();
        let read = File::open(&self.output).and_then(|mut file| file.read_to_string(&mut text));
        read.map_or_else(|error| error.to_string(), |_| text)
    }

    fn hears(&self, text: &str) -> Result<()> {
        let what = format!("psql to print `{text}`");
        wait_until(&what, PATIENCE, || Ok(self.heard().contains(text)))
            .with_context(|| format!("it printed: {}", self.heard()))
    }
}

impl Drop for Sitting {
    fn drop(&mut self) {
        // The end of its input ends it; one whose session is gone may wait for nothing.
        drop(self.input.take());
        for _ in 0..100 {
            if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
