//! Numbered steps that say what happens, how it went and how long it took.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Lines of a program's output that are shown when nobody says how many.
const LINES_SHOWN: usize = 14;
/// The longest line that is shown, in letters.
const LINE_LETTERS_MAX: usize = 150;

/// Set when the demonstration is to end: by Ctrl-C, mostly.
pub(crate) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Announces steps with their number and says how long each took.
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

    /// Announces a step, does it, and says how long it took.
    ///
    /// Fails when the work fails, or when it was interrupted before.
    pub(crate) fn run<T>(&mut self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if INTERRUPTED.load(Ordering::Relaxed) {
            bail!("interrupted before `{what}`");
        }
        self.done += 1;
        println!("\n[{:>2}/{}] {what}", self.done, self.total);
        let started = now();
        let outcome = work();
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!(
            "        {word}, {:.2} s ({:.1} s in all)",
            started.elapsed().as_secs_f64(),
            self.started.elapsed().as_secs_f64()
        );
        outcome.with_context(|| format!("step {} failed: {what}", self.done))
    }

    /// How many steps were announced.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// How long it took so far. Fails when other than the announced number of steps was done:
    /// the numbers that were shown would have been wrong.
    pub(crate) fn end(&self) -> Result<Duration> {
        if self.done != self.total {
            bail!("{} steps were announced and {} done", self.total, self.done);
        }
        Ok(self.started.elapsed())
    }
}

/// Says something that belongs to the step.
pub(crate) fn say(text: &str) {
    for line in text.lines() {
        println!("        {line}");
    }
}

/// Shows a command as it was typed, behind the name of who typed it.
pub(crate) fn typed(who: &str, command: &str) {
    println!("        {who}$ {command}");
}

/// Shows what a program printed, its first lines.
pub(crate) fn printed(output: &str) {
    printed_at_most(output, LINES_SHOWN);
}

/// Shows at most so many lines of what a program printed, and says how many more there are.
pub(crate) fn printed_at_most(output: &str, lines: usize) {
    let all: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
    for line in all.iter().take(lines) {
        println!("        | {}", shortened(line));
    }
    if all.len() > lines {
        let more = all.len() - lines;
        println!("        | … and {more} more {}", if more == 1 { "line" } else { "lines" });
    }
}

fn shortened(line: &str) -> String {
    let line = line.trim_end();
    if line.chars().count() <= LINE_LETTERS_MAX {
        return line.to_owned();
    }
    line.chars().take(LINE_LETTERS_MAX - 1).chain(['…']).collect()
}

/// The clock of everything that is shown and waited for.
#[expect(clippy::disallowed_methods, reason = "elapsed times for the person who looks on")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
