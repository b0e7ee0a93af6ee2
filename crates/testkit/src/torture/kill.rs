//! `kill -9` at random instants under load.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::coverage::nothing_missing;
use super::load::{self, Load};
use super::promises::{Promises, Service};
use super::{Dice, KillCounts};
use crate::deadline::wait_until;
use crate::folder::Workspace;
use crate::gateway::{GatewayOptions, GatewayUnderTest, statements_of};
use crate::postgres::{Postgres, PostgresOptions, parse_log};

/// How long the target may take to finish what it received before the kill.
const TARGET_PATIENCE: Duration = Duration::from_secs(20);
/// How much the target's log grows, in bytes, until the load counts as under way.
const LOG_BYTES_FELT: u64 = 8_192;
/// Between verifications of the whole log.
const VERIFY_EVERY: u64 = 10;

/// Kills the gateway `rounds` times under load and fails where anything is missing afterwards:
/// a statement that the target received, an entry that a credential is bound to, a checkpoint
/// that was seen, the end of a session; or where it is not ready again within `recovery_max`.
pub fn kill_rounds(
    program: &Path,
    rounds: u64,
    seed: u64,
    recovery_max: Duration,
) -> Result<KillCounts> {
    let mut run = Run::start(program, seed, recovery_max)?;
    for round in 1..=rounds {
        run.round(round).with_context(|| format!("round {round}, seed {seed}"))?;
        eprintln!("  killed {round} of {rounds}: {}", run.counts);
    }
    run.finish().with_context(|| format!("after {rounds} rounds, seed {seed}"))
}

struct Run {
    recovery_max: Duration,
    counts: KillCounts,
    dice: Dice,
    promises: Promises,
    service: Service,
    /// Index of the first event that was not compared yet.
    next_index: u64,
    /// Bytes of the target's log that were compared already.
    log_bytes: usize,
    gateway: GatewayUnderTest,
    server: Postgres,
    workspace: Workspace,
}

impl Run {
    fn start(program: &Path, seed: u64, recovery_max: Duration) -> Result<Self> {
        let workspace = Workspace::new("torture")?;
        load::write_scripts(workspace.path())?;
        let server = Postgres::start(PostgresOptions::default())?;
        server.execute(load::TABLE)?;
        let service = Service::new(workspace.path())?;
        let mut options = GatewayOptions::over(&server, program);
        options.declarations = service.declaration.clone();
        // Small segments, so that kills also meet the change from one to the next.
        let options = options.setting("ledger", "segment_mib = 1");
        let gateway = GatewayUnderTest::start(options)?;
        let mut promises = Promises::default();
        for person in ["alice", "bob"] {
            promises.see_certificate(&gateway.home(person).join("cert.pem"))?;
        }
        Ok(Self {
            recovery_max,
            counts: KillCounts::default(),
            dice: Dice::new(seed),
            promises,
            service,
            next_index: 0,
            log_bytes: 0,
            gateway,
            server,
            workspace,
        })
    }

    fn round(&mut self, round: u64) -> Result<()> {
        let mut load = Load::start(&self.server, &self.gateway, self.workspace.path(), round)?;
        // Mostly under full load, sometimes while the clients still connect.
        if !self.dice.one_in(6) {
            self.load_is_felt()?;
        }
        std::thread::sleep(self.dice.between_ms(0, 250));
        // Somebody signs in at about the time of the kill; who got a credential must keep it.
        let home = format!("robot-{round}");
        let mut sign_in = self.service.sign_in(&self.gateway, &home)?;
        std::thread::sleep(self.dice.between_ms(0, 400));
        self.promises.see_checkpoint(&self.gateway, self.workspace.path())?;
        self.gateway.kill_nine()?;

        load.wait_end()?;
        if sign_in.wait().context("waiting for loggia login")?.success() {
            self.promises.see_certificate(&self.gateway.home(&home).join("cert.pem"))?;
        }
        self.target_is_idle()?;
        // Before anything recovered, and after: the verdict is the same.
        if round % VERIFY_EVERY == VERIFY_EVERY / 2 {
            self.verify()?;
        }
        let took = self.gateway.start_again()?;
        self.counts.slowest_recovery = self.counts.slowest_recovery.max(took);
        ensure!(took <= self.recovery_max, "ready again only after {} ms", took.as_millis());
        self.compare()?;
        if round.is_multiple_of(VERIFY_EVERY) {
            self.verify()?;
        }
        self.counts.rounds += 1;
        self.counts.credentials = self.promises.credentials();
        self.counts.checkpoints = self.promises.checkpoints().len() as u64;
        Ok(())
    }

    /// Waits until the target has received a few statements of this round.
    fn load_is_felt(&self) -> Result<()> {
        let enough = self.log_bytes as u64 + LOG_BYTES_FELT;
        wait_until("the load to reach the target", TARGET_PATIENCE, || {
            Ok(std::fs::metadata(&self.server.log_path).is_ok_and(|log| log.len() > enough))
        })
    }

    /// What the target had read before the kill it runs to its end.
    fn target_is_idle(&self) -> Result<()> {
        wait_until("the target to finish", TARGET_PATIENCE, || {
            let others = self.server.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND \
                 pid <> pg_backend_pid()",
            )?;
            Ok(others.trim() == "0")
        })
    }

    /// Holds what the target received since the last time against what was recorded since.
    fn compare(&mut self) -> Result<()> {
        let log = self.server.log();
        let new = log.get(self.log_bytes..).context("the target's log has shrunk")?;
        let mut received = parse_log(new);
        received.retain(|statement| statement.application != "loggia-testkit");
        self.log_bytes = log.len();

        let events = self.gateway.events_since(self.next_index)?;
        self.counts.sessions_cut += events
            .iter()
            .filter(|event| event.kind() == "session.end")
            .filter(|event| event.text("/detail/reason") == Some("gateway_died"))
            .count() as u64;
        self.next_index += events.len() as u64;
        // A statement is prepared in its session, and no session outlives a kill.
        let recorded = statements_of(&events);
        nothing_missing(&received, &recorded)?;
        self.counts.received += received.len() as u64;
        self.counts.recorded += recorded.len() as u64;
        Ok(())
    }

    fn verify(&mut self) -> Result<()> {
        let known: Vec<PathBuf> = self.promises.checkpoints().to_vec();
        let verified = self.gateway.verify(&known)?;
        ensure!(verified.exit_code == Some(0), "the log is not intact: {}", verified.text);
        self.counts.verified += 1;
        Ok(())
    }

    /// Ends in good order; then everything at once: promises, verification, no open session.
    fn finish(mut self) -> Result<KillCounts> {
        self.gateway.stop()?;
        self.verify()?;
        let events = self.gateway.events()?;
        self.promises.credentials_hold(&events, &self.gateway.key)?;
        let count = |kind: &str| events.iter().filter(|event| event.kind() == kind).count();
        let (started, ended) = (count("session.start"), count("session.end"));
        ensure!(started == ended, "{started} sessions began, {ended} ended");
        ensure!(self.counts.received > 0, "the load never reached the target");
        Ok(self.counts)
    }
}
