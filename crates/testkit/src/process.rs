//! Processes that a test starts, watches and stops by their id.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::deadline::wait_until;

/// How long a process may take to die after SIGKILL before this counts as a fault.
const AFTER_KILL: Duration = Duration::from_secs(10);

/// How many lines of a log an error message quotes.
const QUOTED_LINES: usize = 15;

/// Cleans up after us when we are killed ourselves.
///
/// A shell that reads from a pipe whose other end only this process holds: a line
/// means "nothing to do", the end of the pipe means that we died. It is the only
/// way that survives `kill -9` without a parent-death signal, which would follow
/// the thread that started a server and not the process.
#[derive(Debug)]
pub(crate) struct Guard {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Ends the process `pid` when we die: SIGTERM, two seconds later SIGKILL.
    fn ending(pid: u32) -> Result<Self> {
        Self::start(r#"kill -TERM "$1"; sleep 2; kill -KILL "$1""#, &pid.to_string())
    }

    /// Removes `folder` when we die, after the processes in it had time to end.
    pub(crate) fn removing(folder: &Path) -> Result<Self> {
        let folder = folder.to_str().context("a temporary folder whose path is not UTF-8")?;
        Self::start(r#"sleep 3; rm -rf -- "$1""#, folder)
    }

    fn start(on_death: &str, argument: &str) -> Result<Self> {
        // Signals of a terminal go to the whole foreground group: the guard must outlive them.
        let script = format!("trap '' INT TERM HUP; read -r _ && exit 0; {on_death}");
        let mut shell = Command::new("sh")
            .args(["-c", &script, "guard", argument])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting a guard process")?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// Tells the guard that there is nothing left to clean up.
    pub(crate) fn dismiss(&mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            // A guard that is gone already needs no message.
            let _ = pipe.write_all(b"done\n");
            drop(pipe);
            let _ = self.shell.wait();
        }
    }
}

/// A process under test, with its output in two files.
///
/// Dropping it stops it: SIGTERM (or the signal given to
/// [`ManagedProcess::stop_signal`]), then SIGKILL after five seconds.
#[derive(Debug)]
pub struct ManagedProcess {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
    stop_signal: Signal,
    stdout_path: PathBuf,
    stderr_path: PathBuf,
    guard: Guard,
}

impl ManagedProcess {
    /// Starts `command`, its output going to `<folder>/<name>.stdout` and `.stderr`
    /// (appended, so that a restart under the same name keeps what was there),
    /// its input empty.
    pub fn spawn(name: &str, mut command: Command, folder: &Path) -> Result<Self> {
        let stdout_path = folder.join(format!("{name}.stdout"));
        let stderr_path = folder.join(format!("{name}.stderr"));
        let append = |path: &Path| {
            std::fs::File::options()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("opening {}", path.display()))
        };
        command.stdin(Stdio::null()).stdout(append(&stdout_path)?).stderr(append(&stderr_path)?);
        // Ctrl-C in a terminal goes to the whole foreground group: we end what we started
        // ourselves, in our order.
        command.process_group(0);
        let child = command.spawn().with_context(|| {
            format!("starting {name} ({})", command.get_program().to_string_lossy())
        })?;
        let guard = Guard::ending(child.id())?;
        let (name, stop_signal) = (name.to_string(), Signal::TERM);
        Ok(Self { name, child, ended: None, stop_signal, stdout_path, stderr_path, guard })
    }

    /// The signal that asks this process to end in good order (default SIGTERM).
    #[must_use]
    pub fn stop_signal(mut self, signal: Signal) -> Self {
        self.stop_signal = signal;
        self
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file that the process writes its standard output to.
    pub fn stdout_path(&self) -> &Path {
        &self.stdout_path
    }

    /// The file that the process writes its standard error to.
    pub fn stderr_path(&self) -> &Path {
        &self.stderr_path
    }

    /// What the process wrote to its standard output so far.
    pub fn stdout(&self) -> String {
        read_lossy(&self.stdout_path)
    }

    /// What the process wrote to its standard error so far.
    pub fn stderr(&self) -> String {
        read_lossy(&self.stderr_path)
    }

    /// The exit status, if the process has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().context("asking for an exit status")?;
            if self.ended.is_some() {
                // The id may now be given to another process: the guard must not use it.
                self.guard.dismiss();
            }
        }
        Ok(self.ended)
    }

    /// Waits until `ready` says true. Fails when it does not within `patience`, or
    /// as soon as the process has ended, quoting the end of its standard error.
    pub fn wait_ready(
        &mut self,
        patience: Duration,
        mut ready: impl FnMut(&Self) -> Result<bool>,
    ) -> Result<()> {
        let what = format!("{} to be ready", self.name);
        wait_until(&what, patience, || {
            if ready(self)? {
                return Ok(true);
            }
            match self.ended()? {
                None => Ok(false),
                Some(status) => bail!("{} ended with {status}", self.name),
            }
        })
        .with_context(|| self.last_words())
    }

    /// Waits until standard error contains `text`; see [`ManagedProcess::wait_ready`].
    pub fn wait_for_stderr(&mut self, text: &str, patience: Duration) -> Result<()> {
        self.wait_ready(patience, |process| Ok(process.stderr().contains(text)))
    }

    /// Waits until the process ends by itself.
    pub fn wait_end(&mut self, patience: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        wait_until(&what, patience, || Ok(self.ended()?.is_some()))
            .with_context(|| self.last_words())?;
        self.ended.context("a process that ended has an exit status")
    }

    /// Sends `signal`; nothing happens when the process has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("signalling {}", self.name))
    }

    /// SIGKILL, and waits for the end.
    pub fn kill_nine(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        self.wait_end(AFTER_KILL)
    }

    /// Asks the process to end in good order; after `patience` it is killed.
    pub fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.signal(self.stop_signal)?;
        match self.wait_end(patience) {
            Ok(status) => Ok(status),
            Err(_) => self.kill_nine(),
        }
    }

    /// The last lines of standard error, for an error message.
    fn last_words(&self) -> String {
        let text = self.stderr();
        let lines: Vec<&str> = text.lines().collect();
        let start = lines.len().saturating_sub(QUOTED_LINES);
        let tail = lines.get(start..).unwrap_or_default().join("\n");
        format!("{} (log {}) said last:\n{tail}", self.name, self.stderr_path.display())
    }
}

impl Drop for ManagedProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.last_words());
        }
        if let Err(error) = self.stop(Duration::from_secs(5)) {
            eprintln!("could not stop {}: {error:#}", self.name);
        }
    }
}

/// The text of a file, empty when it is not there.
fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Workspace;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn alive(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn waits_reads_and_stops() {
        let workspace = Workspace::new("process-test").unwrap();
        let script = "echo out; echo ready >&2; while :; do sleep 0.05; done";
        let mut process = ManagedProcess::spawn("loop", shell(script), workspace.path()).unwrap();
        process.wait_for_stderr("ready", Duration::from_secs(5)).unwrap();
        assert_eq!(process.stdout(), "out\n");
        let pid = process.pid();
        process.stop(Duration::from_secs(5)).unwrap();
        assert!(!alive(pid));
    }

    #[test]
    fn an_early_end_is_an_error_with_the_last_words() {
        let workspace = Workspace::new("process-test").unwrap();
        let mut process =
            ManagedProcess::spawn("brief", shell("echo no luck >&2; exit 3"), workspace.path())
                .unwrap();
        let error = process.wait_for_stderr("never", Duration::from_secs(5)).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("no luck") && text.contains("exit status: 3"), "{text}");
    }

    #[test]
    fn one_that_ignores_the_signal_is_killed() {
        let workspace = Workspace::new("process-test").unwrap();
        let script = "trap '' TERM; echo ready >&2; while :; do sleep 0.05; done";
        let mut process = ManagedProcess::spawn("deaf", shell(script), workspace.path()).unwrap();
        process.wait_for_stderr("ready", Duration::from_secs(5)).unwrap();
        let status = process.stop(Duration::from_millis(200)).unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }

    #[test]
    fn the_guard_cleans_up_when_its_owner_dies() {
        let workspace = Workspace::new("process-test").unwrap();
        let mut sleeper = shell("exec sleep 60").spawn().unwrap();
        let mut guard = Guard::ending(sleeper.id()).unwrap();
        // What the kernel does to our end of the pipe when we are killed.
        drop(guard.pipe.take());
        let status = sleeper.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
        guard.shell.kill().unwrap();
        guard.shell.wait().unwrap();
        drop(workspace);
    }
}
