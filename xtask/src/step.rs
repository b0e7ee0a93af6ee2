//! Steps that announce themselves, so that nobody looks at a silent terminal.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

/// Announces steps with their number and says how long each took.
#[derive(Debug)]
pub(crate) struct Steps {
    done: usize,
    total: usize,
    started: Instant,
}

impl Steps {
    /// Starts counting towards `total` steps.
    pub(crate) fn new(total: usize) -> Self {
        Self { done: 0, total, started: now() }
    }

    /// Announces `what`, does it, and says how long it took.
    pub(crate) fn run<T>(&mut self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.done += 1;
        let label = format!("[{}/{}] {what}", self.done, self.total);
        eprintln!("{label} ...");
        let started = now();
        let outcome = work();
        let word = if outcome.is_ok() { "done" } else { "FAILED" };
        eprintln!(
            "{label}: {word} after {:.1} s ({:.1} s in all)",
            started.elapsed().as_secs_f64(),
            self.started.elapsed().as_secs_f64()
        );
        outcome.with_context(|| format!("{what} failed"))
    }
}

#[expect(clippy::disallowed_methods, reason = "elapsed times for the person who waits")]
fn now() -> Instant {
    Instant::now()
}

/// Cargo, as the one that runs us was called.
#[expect(clippy::disallowed_methods, reason = "cargo says in this variable which one it is")]
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(crate::repository::root());
    command
}

/// Runs a command whose output the person sees, with nothing to read.
pub(crate) fn execute(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("starting {shown}"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// Whether a command runs and succeeds; its output is thrown away.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A command as one would type it.
fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    std::iter::once(name)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named() {
        let error = execute(Command::new("/bin/sh").args(["-c", "exit 7"])).unwrap_err();
        assert!(error.to_string().contains("`sh -c exit 7` ended with exit status: 7"), "{error}");
        let error = execute(&mut Command::new("/nowhere/at-all")).unwrap_err().to_string();
        assert!(error.contains("starting at-all"), "{error}");
    }

    #[test]
    fn a_failing_step_is_an_error_with_its_name() {
        let mut steps = Steps::new(2);
        assert_eq!(steps.run("fine", || Ok(3)).unwrap(), 3);
        let error = steps.run("sad", || -> Result<()> { bail!("rain") }).unwrap_err();
        assert_eq!(format!("{error:#}"), "sad failed: rain");
    }
}
