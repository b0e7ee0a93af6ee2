//! `kill -9` at random instants while people work over SSH.
//!
//! The witnesses are on the host: a wrapper writes down each command and each line that a shell is
//! told, before it is executed, and a file that was put there lies there.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use loggia_verify::recording::{Direction, Frame, Header, SEAL_BYTES};

use super::Dice;
use crate::deadline::{Deadline, wait_until};
use crate::folder::Workspace;
use crate::gateway::{GatewayOptions, GatewayUnderTest, RecordedEvent};
use crate::openssh::{OpenSsh, Sshd, SshdOptions, Terminal};

/// How long the host may take to finish what it received before the kill.
const HOST_PATIENCE: Duration = Duration::from_secs(30);
/// How long clients may take to notice that the gateway is gone.
const END_PATIENCE: Duration = Duration::from_secs(20);
/// Commands executed until the load counts as under way.
const EXECUTED_FELT: usize = 3;
/// Between verifications of the log and of all recordings.
const VERIFY_EVERY: u64 = 5;
/// Between two lines of somebody who types quickly.
const LINE_PAUSE: Duration = Duration::from_millis(15);
/// The resources that somebody has a shell on in each round.
const SHELLS: [&str; 2] = ["disk", "kernel"];
/// Lines of one shell, files of one sftp, commands of one worker: more than any gets done.
const MOST: u32 = 5_000;

/// What the kill rounds found. Everything that must not be is an error instead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SshKillCounts {
    /// How often the gateway was killed.
    pub rounds: u64,
    /// Commands that the host executed, all recorded.
    pub executed: u64,
    /// Lines that the host's shells executed, all recorded.
    pub typed: u64,
    /// Files that were made on the host by sftp, all recorded.
    pub files: u64,
    /// Sessions that were cut off.
    pub sessions_cut: u64,
    /// How often the log and all recordings were verified.
    pub verified: u64,
    /// The longest time from the start of the process until it was ready again.
    pub slowest_recovery: Duration,
}

impl fmt::Display for SshKillCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "kill rounds over SSH: {} kills, {} commands, {} typed lines and {} files on the host, \
             0 missing, {} sessions cut, {} verifications intact, slowest recovery {} ms",
            self.rounds,
            self.executed,
            self.typed,
            self.files,
            self.sessions_cut,
            self.verified,
            self.slowest_recovery.as_millis()
        )
    }
}

/// Kills the gateway `rounds` times under load over SSH and fails where what the host executed is
/// not on record, a recording does not verify, or the gateway is not ready again within
/// `recovery_max`.
pub fn ssh_kill_rounds(
    program: &Path,
    rounds: u64,
    seed: u64,
    recovery_max: Duration,
) -> Result<SshKillCounts> {
    let mut run = Run::start(program, seed, recovery_max)?;
    for round in 1..=rounds {
        run.round(round).with_context(|| format!("round {round}, seed {seed}"))?;
        eprintln!("  killed {round} of {rounds}: {}", run.counts);
    }
    run.finish().with_context(|| format!("after {rounds} rounds, seed {seed}"))
}

struct Run {
    recovery_max: Duration,
    counts: SshKillCounts,
    dice: Dice,
    /// Index of the first event that was not compared yet.
    next_index: u64,
    gateway: GatewayUnderTest,
    host: Sshd,
    workspace: Workspace,
}

impl Run {
    fn start(program: &Path, seed: u64, recovery_max: Duration) -> Result<Self> {
        let workspace = Workspace::new("torture-ssh")?;
        let host = Sshd::start(SshdOptions::default())?;
        let options = GatewayOptions::over_ssh(&host, program);
        // Small segments, so that kills also meet the change from one to the next.
        let gateway = GatewayUnderTest::start(options.setting("ledger", "segment_mib = 1"))?;
        Ok(Self {
            recovery_max,
            counts: SshKillCounts::default(),
            dice: Dice::new(seed),
            next_index: 0,
            gateway,
            host,
            workspace,
        })
    }

    fn round(&mut self, round: u64) -> Result<()> {
        let before = self.host.executed()?.len();
        let mut load = Load::start(&self.gateway, self.workspace.path(), round)?;
        // Mostly under full load, sometimes while the clients still connect.
        if !self.dice.one_in(6) {
            wait_until("the load to reach the host", HOST_PATIENCE, || {
                Ok(self.host.executed()?.len() >= before + EXECUTED_FELT)
            })?;
        }
        load.type_for(self.dice.between_ms(0, 1_500));
        self.gateway.kill_nine()?;

        load.wait_end()?;
        wait_until("the host to finish", HOST_PATIENCE, || Ok(!self.host.busy()))?;
        // Before anything recovered, and after: the verdict is the same.
        if round % VERIFY_EVERY == VERIFY_EVERY / 2 {
            self.verify()?;
        }
        let took = self.gateway.start_again()?;
        self.counts.slowest_recovery = self.counts.slowest_recovery.max(took);
        ensure!(took <= self.recovery_max, "ready again only after {} ms", took.as_millis());
        self.compare(round)?;
        if round.is_multiple_of(VERIFY_EVERY) {
            self.verify()?;
        }
        self.counts.rounds += 1;
        Ok(())
    }

    /// Holds what the host executed since the last time against what was recorded since.
    fn compare(&mut self, round: u64) -> Result<()> {
        let events = self.gateway.events_since(self.next_index)?;
        self.next_index += events.len() as u64;
        self.counts.sessions_cut += events
            .iter()
            .filter(|event| event.kind() == "session.end")
            .filter(|event| event.text("/detail/reason") == Some("gateway_died"))
            .count() as u64;
        let executed = self.host.executed()?.split_off(self.counts.executed as usize);
        self.counts.executed += executed.len() as u64;
        let recorded = texts(&events, "ssh.exec", "/detail/command");
        let (subsystems, commands): (Vec<_>, Vec<_>) =
            executed.into_iter().partition(|text| text.ends_with("/sftp-server"));
        for command in &commands {
            ensure!(recorded.contains(command.as_str()), "not on record: `{command}`");
        }
        let begun = events.iter().filter(|event| event.kind() == "ssh.subsystem").count();
        ensure!(
            subsystems.len() <= begun,
            "{} sftp on the host, {begun} recorded",
            subsystems.len()
        );

        let opened = texts(&events, "file.operation", "/detail/path");
        let opened: HashSet<&str> =
            opened.iter().filter_map(|path| path.rsplit('/').next()).collect();
        let mark = format!("put-{round}-");
        for entry in std::fs::read_dir(self.host.home()).context("reading the home")?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&mark) {
                ensure!(opened.contains(name.as_str()), "not on record: the file {name}");
                self.counts.files += 1;
            }
        }
        self.typed_is_recorded(&events)
    }

    /// Holds the lines that the host's shells executed against the recordings of their sessions:
    /// at least so many bytes were typed in there. Which line it was is sealed until its echo came
    /// back, so a kill leaves lengths.
    fn typed_is_recorded(&mut self, events: &[RecordedEvent]) -> Result<()> {
        let typed = self.host.typed()?.split_off(self.counts.typed as usize);
        self.counts.typed += typed.len() as u64;
        for (number, resource) in SHELLS.iter().enumerate() {
            let of_shell =
                typed.iter().filter(|line| line.split(' ').nth(2) == Some(&number.to_string()));
            let executed: usize = of_shell.map(|line| line.len() + 1).sum();
            let on_resource: HashSet<String> = events
                .iter()
                .filter(|event| event.text("/resource/name") == Some(resource))
                .filter_map(RecordedEvent::session)
                .collect();
            let shells = events.iter().filter(|event| event.kind() == "ssh.shell");
            let session = shells
                .filter_map(RecordedEvent::session)
                .find(|session| on_resource.contains(session));
            let recorded = match &session {
                Some(session) => typed_bytes(&self.gateway.data, session)?,
                None => 0,
            };
            ensure!(
                recorded >= executed,
                "{executed} bytes of lines were executed in the shell on {resource}, {recorded} \
                 are recorded ({session:?})"
            );
        }
        Ok(())
    }

    fn verify(&mut self) -> Result<()> {
        let verified = self.gateway.verify(&[])?;
        ensure!(verified.exit_code == Some(0), "not intact: {}", verified.text);
        self.counts.verified += 1;
        Ok(())
    }

    /// Ends in good order; then everything at once.
    fn finish(mut self) -> Result<SshKillCounts> {
        self.gateway.stop()?;
        self.verify()?;
        let events = self.gateway.events()?;
        let count = |kind: &str| events.iter().filter(|event| event.kind() == kind).count();
        let (started, ended) = (count("session.start"), count("session.end"));
        ensure!(started == ended, "{started} sessions began, {ended} ended");
        ensure!(self.counts.executed > 0, "the load never reached the host");
        Ok(self.counts)
    }
}

/// How much the recording of a session holds of what was typed in a terminal, in bytes.
fn typed_bytes(data: &Path, session: &str) -> Result<usize> {
    let path = data.join("recordings").join(format!("{session}.rec"));
    let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let (_, length) = Header::decode(&bytes)?.context("a recording without a header")?;
    let mut rest = bytes.get(length..).unwrap_or_default();
    let mut typed = 0;
    while let Some(frame) = Frame::decode(rest)? {
        if frame.direction == Direction::Sealed {
            typed += frame.bytes.len() - SEAL_BYTES;
        }
        rest = rest.get(frame.raw.len()..).unwrap_or_default();
    }
    Ok(typed)
}

/// The texts of a field of all events of a kind.
fn texts<'a>(events: &'a [RecordedEvent], kind: &str, pointer: &str) -> HashSet<&'a str> {
    let of_kind = events.iter().filter(|event| event.kind() == kind);
    of_kind.filter_map(|event| event.text(pointer)).collect()
}

/// People at work.
struct Load {
    clients: Vec<Child>,
    shells: Vec<Terminal>,
    round: u64,
    lines: u32,
}

impl Load {
    /// Commands one after the other, each over a connection of its own; commands over a shared
    /// one; files by sftp; and two shells that somebody types into.
    fn start(gateway: &GatewayUnderTest, folder: &Path, round: u64) -> Result<Self> {
        let mut load = Self { clients: Vec::new(), shells: Vec::new(), round, lines: 0 };
        let (alice, bob) = (gateway.open_ssh("alice")?, gateway.open_ssh("bob")?);
        let own = format!("{} kernel", alice.shell());
        let socket = folder.join(format!("control-{round}"));
        let shared = format!(
            "{} -o ControlMaster=auto -o ControlPersist=20 -o ControlPath={} disk",
            bob.shell(),
            socket.display()
        );
        for (worker, ssh) in [own, shared].iter().enumerate() {
            let script = format!(
                "n=0; while [ $n -lt {MOST} ]; do {ssh} \"echo {round} {worker} $n\" || exit; \
                 n=$((n + 1)); done"
            );
            let mut command = Command::new("sh");
            command.args(["-c", &script]);
            load.clients.push(spawn(command, folder)?);
        }
        load.clients.push(spawn(sftp(&alice, folder, round)?, folder)?);
        for (clients, host) in [&alice, &bob].into_iter().zip(SHELLS) {
            let mut command = clients.ssh();
            command.args(["-tt", host]);
            load.shells.push(Terminal::start(&command)?);
        }
        Ok(load)
    }

    /// Types into the shells for so long.
    fn type_for(&mut self, time: Duration) {
        let deadline = Deadline::after(time);
        while !deadline.passed() && self.lines < MOST {
            self.lines += 1;
            for (number, shell) in self.shells.iter_mut().enumerate() {
                // Whose connection has ended types into the void.
                let _ = shell.send(&format!(": {} {number} {}\r", self.round, self.lines));
            }
            std::thread::sleep(LINE_PAUSE);
        }
    }

    /// Waits until all have ended by themselves; who does not is killed.
    fn wait_end(&mut self) -> Result<()> {
        let deadline = Deadline::after(END_PATIENCE);
        for client in &mut self.clients {
            while client.try_wait().context("waiting for a client")?.is_none() {
                if deadline.passed() {
                    client.kill().context("killing a client")?;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        self.shells.clear();
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for client in &mut self.clients {
            // One that has ended cannot be killed, which is fine.
            let _ = client.kill();
            let _ = client.wait();
        }
    }
}

/// Puts one small file after the other.
fn sftp(clients: &OpenSsh, folder: &Path, round: u64) -> Result<Command> {
    let small = folder.join("small");
    std::fs::write(&small, "some bytes\n").context("writing a small file")?;
    let batch: PathBuf = folder.join("batch");
    let lines = (0..MOST).map(|n| format!("put {} put-{round}-{n}\n", small.display()));
    std::fs::write(&batch, lines.collect::<String>()).context("writing a batch")?;
    let mut command = clients.sftp(&batch);
    command.arg("kernel");
    Ok(command)
}

/// What a client says goes to one file, for the person who looks for a fault.
fn spawn(mut command: Command, folder: &Path) -> Result<Child> {
    let append = || {
        let path = folder.join("clients.log");
        File::options().create(true).append(true).open(path).context("opening the clients' log")
    };
    command.stdin(Stdio::null()).stdout(append()?).stderr(append()?);
    command.spawn().context("starting a client")
}
