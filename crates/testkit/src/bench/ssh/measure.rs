//! What is done on each side: connections, bulk, uploads, keystrokes, idle sessions.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::openssh::{OpenSsh, Sshd, Terminal, finish};
use crate::wait_until;

/// How long anything here may take before it counts as a fault.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two keystrokes: somebody who types does not wait for the echo only.
const KEYSTROKE_PAUSE: Duration = Duration::from_millis(3);
/// Keystrokes in a line; a terminal takes no endless lines.
const LINE: usize = 60;
/// How many connections begin at the same time.
const CONNECTIONS_AT_ONCE: usize = 10;
/// How long a load may settle before memory is read.
const SETTLE: Duration = Duration::from_secs(3);

/// A way to the server: clients with their configuration, and what they call the host.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub(super) clients: OpenSsh,
    pub(super) host: String,
}

impl Way {
    fn ssh(&self, options: &[&str], command: &[&str]) -> Command {
        let mut ssh = self.clients.ssh();
        // Newer clients blur the times of keystrokes, in steps that are longer than what is
        // measured here.
        ssh.args(["-o", "IgnoreUnknown=ObscureKeystrokeTiming"]);
        ssh.args(["-o", "ObscureKeystrokeTiming=no", "-o", "LogLevel=ERROR"]);
        ssh.args(options).arg(&self.host).args(command);
        ssh
    }

    fn remote(&self, path: &str) -> String {
        format!("{}:{path}", self.host)
    }
}

#[expect(clippy::disallowed_methods, reason = "time is what is measured")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Milliseconds from nothing to the end of `true`.
pub(super) fn connect(way: &Way) -> Result<f64> {
    let mut command = way.ssh(&[], &["true"]);
    let started = now();
    let ran = finish_quickly(&mut command)?;
    let took = started.elapsed();
    ensure!(ran, "`ssh {} true` failed", way.host);
    Ok(took.as_secs_f64() * 1e3)
}

/// Runs to the end without a pause between looks, which would be part of the figure.
fn finish_quickly(command: &mut Command) -> Result<bool> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    Ok(status.context("starting ssh")?.success())
}

/// MB/s of a command that writes `mib` MiB.
pub(super) fn bulk_down(way: &Way, mib: usize) -> Result<f64> {
    let mut command = way.ssh(&[], &[&format!("head -c {mib}M /dev/zero")]);
    let started = now();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting ssh")?;
    let mut output = child.stdout.take().context("ssh without standard output")?;
    let mut block = vec![0; 1 << 18];
    let mut bytes = 0;
    loop {
        match output.read(&mut block).context("reading from ssh")? {
            0 => break,
            read => bytes += read,
        }
    }
    let status = child.wait().context("waiting for ssh")?;
    let took = started.elapsed();
    ensure!(status.success(), "the bulk download ended with {status}");
    ensure!(bytes == mib << 20, "{bytes} bytes came of {mib} MiB");
    Ok(megabytes(mib) / took.as_secs_f64())
}

/// MB/s of `scp FILE HOST:` with the default protocol.
pub(super) fn scp_up(way: &Way, file: &Path, mib: usize) -> Result<f64> {
    let mut command = way.clients.scp();
    command.arg("-q").arg(file).arg(way.remote("uploaded"));
    upload(&mut command, mib)
}

/// MB/s of `put` in sftp.
pub(super) fn sftp_up(way: &Way, file: &Path, mib: usize) -> Result<f64> {
    let batch = file.with_extension("batch");
    std::fs::write(&batch, format!("put {} uploaded\n", file.display()))
        .context("writing a batch for sftp")?;
    let mut command = way.clients.sftp(&batch);
    command.arg("-q").arg(&way.host);
    upload(&mut command, mib)
}

fn upload(command: &mut Command, mib: usize) -> Result<f64> {
    let started = now();
    let succeeded = finish_quickly(command)?;
    let took = started.elapsed();
    ensure!(succeeded, "{} failed", command.get_program().to_string_lossy());
    Ok(megabytes(mib) / took.as_secs_f64())
}

fn megabytes(mib: usize) -> f64 {
    (mib << 20) as f64 / 1e6
}

/// The time in µs from each of `count` keystrokes to its echo, sorted.
pub(super) fn echoes(way: &Way, count: usize) -> Result<Vec<f64>> {
    let command = way.ssh(&["-tt"], &["echo ready; exec cat"]);
    let mut terminal = Terminal::start(&command)?;
    terminal.wait_for("ready", PATIENCE)?;
    let mut times = Vec::with_capacity(count);
    for number in 1..=count {
        let started = now();
        terminal.send("x")?;
        terminal.wait_for("x", PATIENCE)?;
        times.push(started.elapsed().as_secs_f64() * 1e6);
        if number % LINE == 0 {
            terminal.send("\r")?;
            // The line comes twice: as it was echoed, and from `cat`.
            terminal.wait_for(&"x".repeat(LINE), PATIENCE)?;
        }
        std::thread::sleep(KEYSTROKE_PAUSE);
    }
    terminal.send("\r\u{4}")?;
    terminal.wait_end(PATIENCE)?;
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// The figure below which this percentage of sorted figures lies.
pub(super) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or(0.0)
}

/// Clients that are killed when dropped.
pub(super) struct Crowd {
    clients: Vec<Child>,
    // Their standard input, which says nothing and does not end.
    _input: std::io::PipeWriter,
}

impl Crowd {
    /// `count` shells with a terminal that nobody types in. Returns once the target, which lies
    /// behind all ways, has let all of them in and they have settled.
    pub(super) fn idle(way: &Way, server: &Sshd, count: usize) -> Result<Self> {
        let (input, writer) = std::io::pipe().context("making a pipe")?;
        let mut crowd = Self { clients: Vec::with_capacity(count), _input: writer };
        let before = server.accepted().len();
        for number in 0..count {
            let mut command = way.ssh(&["-tt"], &[]);
            command.stdin(input.try_clone().context("sharing a pipe")?);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            crowd.clients.push(command.spawn().context("starting ssh")?);
            let expected = before + (number + 1).saturating_sub(CONNECTIONS_AT_ONCE);
            wait_until("sessions to begin", PATIENCE, || Ok(server.accepted().len() >= expected))?;
        }
        wait_until("all sessions to begin", PATIENCE, || {
            Ok(server.accepted().len() >= before + count)
        })?;
        std::thread::sleep(SETTLE);
        for client in &mut crowd.clients {
            let ended = client.try_wait().context("looking at a client")?;
            ensure!(ended.is_none(), "an idle session has ended");
        }
        Ok(crowd)
    }

    /// Adds a copy that goes on and on.
    pub(super) fn with_bulk(mut self, way: &Way) -> Result<Self> {
        let mut command = way.ssh(&[], &["cat /dev/zero"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.clients.push(command.spawn().context("starting ssh")?);
        std::thread::sleep(SETTLE);
        Ok(self)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for client in &mut self.clients {
            // One that has ended needs no signal.
            let _ = client.kill();
        }
        for client in &mut self.clients {
            let _ = client.wait();
        }
    }
}

/// The version of the clients, as `OpenSSH_9.2p1`.
pub(super) fn version() -> Result<String> {
    let ran = finish(Command::new("ssh").arg("-V"), b"", PATIENCE)?;
    Ok(ran.stderr.split([' ', ',']).next().unwrap_or_default().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openssh::{SshdOptions, programs, write_payload};

    #[test]
    fn everything_can_be_measured_directly() {
        if let Err(why) = programs() {
            eprintln!("SKIPPED: NOTHING WAS CHECKED: {why:#}");
            return;
        }
        let server = Sshd::start(SshdOptions::default()).unwrap();
        let way = Way { clients: server.direct(), host: "target".into() };
        assert!(connect(&way).unwrap() > 0.0);
        assert!(bulk_down(&way, 3).unwrap() > 0.0);
        let file = server.folder().join("payload");
        let hash = write_payload(&file, 2, 1).unwrap();
        assert!(scp_up(&way, &file, 2).unwrap() > 0.0);
        assert!(sftp_up(&way, &file, 2).unwrap() > 0.0);
        let uploaded = server.home().join("uploaded");
        assert_eq!(crate::openssh::sha256_of(&uploaded).unwrap(), hash);
        let crowd = Crowd::idle(&way, &server, 3).unwrap().with_bulk(&way).unwrap();
        let times = echoes(&way, LINE + 5).unwrap();
        assert_eq!(times.len(), LINE + 5);
        assert!(percentile(&times, 50) <= percentile(&times, 99));
        drop(crowd);
        assert!(version().unwrap().starts_with("OpenSSH_"));
    }
}
