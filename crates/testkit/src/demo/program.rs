//! Real programs: started with a clean environment, with an end to every wait.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::openssh::Terminal;
use crate::wait_until;
use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// How long a program may take when nothing else is said.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command in an environment of its own: nothing of the person's settings leaks in.
pub(crate) fn clean(program: impl AsRef<OsStr>, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    #[expect(clippy::disallowed_methods, reason = "the search path is where programs are found")]
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.env("HOME", home).env("LC_ALL", "C.UTF-8").env("NO_COLOR", "1");
    command
}

/// Whether this program's output goes to a terminal that somebody looks at.
pub(crate) fn is_watched() -> bool {
    std::io::stdout().is_terminal()
}

/// Runs a program on the reader's own terminal, without a keyboard, to its end.
pub(crate) fn on_screen(mut command: Command, patience: Duration) -> Result<()> {
    // Not in the foreground group: Ctrl-C ends the demonstration in good order, and a program
    // that is killed amid drawing would leave the terminal as it was then.
    command.stdin(Stdio::null()).process_group(0);
    let child = command.spawn().context("starting what is played")?;
    let mut child = KilledOnDrop(child);
    let mut status = None;
    wait_until("what is played to end", patience, || {
        status = child.0.try_wait().context("asking for an exit status")?;
        Ok(status.is_some())
    })?;
    ensure!(status.is_some_and(|status| status.success()), "what was played ended with {status:?}");
    Ok(())
}

struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        // One that has ended needs neither.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program in a terminal of its own, with the environment of the command and nothing else.
pub(crate) fn in_terminal(mut command: Command) -> Result<Terminal> {
    let named: Vec<OsString> = command.get_envs().map(|(name, _)| name.to_os_string()).collect();
    for (name, _) in std::env::vars_os() {
        if !named.contains(&name) {
            command.env_remove(name);
        }
    }
    Terminal::start(&command)
}

/// A program that runs. Dropping it kills it.
pub(crate) struct Running {
    name: String,
    child: Child,
    stdout: Stream,
    stderr: Stream,
}

/// What a program did.
#[derive(Debug)]
pub(crate) struct Finished {
    name: String,
    status: ExitStatus,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

/// What is read from a program, by a thread of its own so that no pipe is ever full.
struct Stream {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn of(mut source: impl std::io::Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut chunk = vec![0; 64 << 10];
            while let Ok(length @ 1..) = source.read(&mut chunk) {
                let mut text = into.lock().unwrap_or_else(PoisonError::into_inner);
                text.extend_from_slice(chunk.get(..length).unwrap_or_default());
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn text(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Everything, once the program has closed it.
    fn whole(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            // The reader cannot panic; were it to, its text up to there is what there is.
            let _ = reader.join();
        }
        self.text()
    }
}

impl Running {
    /// Starts a program with nothing to read.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let name = Path::new(command.get_program()).file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
        let stdout = child.stdout.take().context("a program without standard output")?;
        let stderr = child.stderr.take().context("a program without standard error")?;
        Ok(Self { name, child, stdout: Stream::of(stdout), stderr: Stream::of(stderr) })
    }

    /// What it printed so far: standard output, then standard error.
    pub(crate) fn so_far(&self) -> String {
        self.stdout.text() + &self.stderr.text()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("signalling {}", self.name))
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Result<Finished> {
        let mut status = None;
        let what = format!("{} to end", self.name);
        wait_until(&what, PATIENCE, || {
            status = self.child.try_wait().context("asking for an exit status")?;
            Ok(status.is_some())
        })
        .with_context(|| self.so_far())?;
        let status = status.context("a program that ended has an exit status")?;
        let (stdout, stderr) = (self.stdout.whole(), self.stderr.whole());
        Ok(Finished { name: self.name.clone(), status, stdout, stderr })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing to do for one that ended: its id is not used again before it is waited for.
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Finished {
    /// Its exit code; 128 and the signal where one ended it, as shells say it.
    pub(crate) fn code(&self) -> i32 {
        let signal = self.status.signal().unwrap_or(0);
        self.status.code().unwrap_or(128 + signal)
    }

    /// Both outputs.
    pub(crate) fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Itself, where it ended with this exit code.
    pub(crate) fn expect_code(self, code: i32) -> Result<Self> {
        ensure!(
            self.code() == code,
            "{} ended with {} and not with {code}; it said:\n{}",
            self.name,
            self.code(),
            self.said().trim_end()
        );
        Ok(self)
    }

    /// Itself, where its output contains each of these.
    pub(crate) fn expect_words(self, words: &[&str]) -> Result<Self> {
        for word in words {
            ensure!(
                self.said().contains(word),
                "{} did not say `{word}`; it said:\n{}",
                self.name,
                self.said().trim_end()
            );
        }
        Ok(self)
    }
}

/// Runs a program to its end.
pub(crate) fn run(command: Command) -> Result<Finished> {
    Running::start(command)?.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = clean("sh", Path::new("/"));
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_a_program_says_and_how_it_ends_are_seen() {
        let finished = run(shell("echo out; echo err >&2; exit 10")).unwrap();
        assert_eq!((finished.code(), finished.said().as_str()), (10, "out\nerr\n"));
        assert!(
            finished.expect_code(0).unwrap_err().to_string().contains("with 10 and not with 0")
        );
        let finished = run(shell("kill -INT $$")).unwrap();
        assert_eq!(finished.code(), 130);
        assert!(finished.expect_words(&["hello"]).is_err());
    }
}
