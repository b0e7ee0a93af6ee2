//! OpenSSH's own clients, and what works over them: unmodified, with one configuration file.

use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::deadline::wait_until;

/// The clients with a configuration file (`-F`): nobody's own settings, keys or agent play a
/// part.
#[derive(Debug, Clone)]
pub struct OpenSsh {
    /// The file, as `ssh_config(5)` describes it.
    pub config: PathBuf,
}

impl OpenSsh {
    /// The clients that read this file.
    pub fn new(config: impl Into<PathBuf>) -> Self {
        Self { config: config.into() }
    }

    /// `ssh -F CONFIG`; options, host and command follow.
    pub fn ssh(&self) -> Command {
        self.program("ssh")
    }

    /// `scp -F CONFIG`, which speaks sftp; with `-O` it speaks the protocol of its own.
    pub fn scp(&self) -> Command {
        self.program("scp")
    }

    /// `sftp -F CONFIG -b FILE`: the commands of a batch file; the first that fails ends it.
    pub fn sftp(&self, batch: &Path) -> Command {
        let mut command = self.program("sftp");
        command.arg("-b").arg(batch);
        command
    }

    /// `rsync` over `ssh -F CONFIG`.
    pub fn rsync(&self) -> Command {
        let mut command = clean("rsync");
        command.arg("-e").arg(self.shell());
        command
    }

    /// `git` over `ssh -F CONFIG`, without anybody's settings.
    pub fn git(&self) -> Command {
        let mut command = clean("git");
        command
            .env("GIT_SSH_COMMAND", self.shell())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0");
        command
    }

    /// What other programs start in place of `ssh`.
    pub fn shell(&self) -> String {
        format!("ssh -F {}", self.config.display())
    }

    fn program(&self, name: &str) -> Command {
        let mut command = clean(name);
        command.arg("-F").arg(&self.config);
        command
    }
}

/// A program without the agent and the askpass of whoever runs the tests.
fn clean(program: &str) -> Command {
    let mut command = Command::new(program);
    for name in ["SSH_AUTH_SOCK", "SSH_ASKPASS", "DISPLAY"] {
        command.env_remove(name);
    }
    command
}

/// How a program ended, and what it wrote.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// Everything that it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Ran {
    /// Whether the exit status is 0.
    pub fn succeeded(&self) -> bool {
        self.status == Some(0)
    }

    /// Standard output as text, without the end of its last line.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_string()
    }
}

/// Runs a program to its end, with `input` as its standard input. One that takes longer than
/// `patience` is killed, and that is an error that quotes what it said.
pub fn finish(command: &mut Command, input: &[u8], patience: Duration) -> Result<Ran> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    // A thread for each stream: none may wait for another.
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // A program that does not read to the end breaks the pipe, which is its right.
        std::thread::spawn(move || drop(stdin.write_all(&input)));
    }
    let stdout = child.stdout.take().map(collect);
    let stderr = child.stderr.take().map(collect);
    let mut status = None;
    let waited = wait_until(&format!("{name} to end"), patience, || {
        status = child.try_wait().context("asking for an exit status")?;
        Ok(status.is_some())
    });
    if waited.is_err() {
        child.kill().context("killing what took too long")?;
        child.wait().context("waiting for what was killed")?;
    }
    let collected = |thread: Option<std::thread::JoinHandle<Vec<u8>>>| {
        thread.and_then(|thread| thread.join().ok()).unwrap_or_default()
    };
    let (stdout, stderr) = (collected(stdout), collected(stderr));
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    if let Err(error) = waited {
        bail!("{error:#}; it said:\n{stderr}");
    }
    Ok(Ran { status: status.and_then(|status| status.code()), stdout, stderr })
}

fn collect(mut stream: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is what there is.
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_output_and_status_are_all_there() {
        let mut command = Command::new("sh");
        command.args(["-c", "cat; echo problem >&2; exit 7"]);
        let input = vec![b'x'; 1 << 20];
        let ran = finish(&mut command, &input, Duration::from_secs(20)).unwrap();
        assert_eq!((ran.status, ran.stdout.len()), (Some(7), 1 << 20));
        assert_eq!(ran.stderr, "problem\n");
    }

    #[test]
    fn what_takes_too_long_is_killed_and_quoted() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo on my way >&2; exec sleep 60"]);
        let error = finish(&mut command, b"", Duration::from_millis(200)).unwrap_err();
        assert!(error.to_string().contains("on my way"), "{error:#}");
    }
}
