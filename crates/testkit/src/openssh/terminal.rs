//! A program in a terminal of its own: what a person types, sees, and how large their window is.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::deadline::{Deadline, wait_until};

/// Columns and rows of a new terminal.
const SIZE: (u16, u16) = (80, 24);

/// A program that runs in a terminal. Dropping it kills the program.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Screen>,
    /// How much of the output was waited for already.
    seen: usize,
}

#[derive(Default)]
struct Screen {
    output: Mutex<Output>,
    changed: Condvar,
}

#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    closed: bool,
}

/// The group that new terminals belong to.
pub(super) fn group_of_new() -> Result<u32> {
    let (_keyboard, name) = open()?;
    let inside = std::fs::metadata(&name).with_context(|| format!("looking at {name}"))?;
    Ok(inside.gid())
}

/// Opens a terminal: the end of whoever types and looks, and the name of the other.
fn open() -> Result<(OwnedFd, String)> {
    let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .context("opening a terminal")?;
    grantpt(&keyboard).context("opening a terminal")?;
    unlockpt(&keyboard).context("opening a terminal")?;
    let name = ptsname(&keyboard, Vec::new()).context("asking for the terminal's name")?;
    let name = name.into_string().context("a terminal whose name is not UTF-8")?;
    Ok((keyboard, name))
}

impl Terminal {
    /// Starts `command` in a new terminal of 80 columns and 24 rows.
    ///
    /// `setsid` of util-linux makes the terminal the controlling one of the program.
    pub fn start(command: &Command) -> Result<Self> {
        let (keyboard, name) = open()?;
        resize(&keyboard, SIZE)?;
        let inside = File::options().read(true).write(true).open(&name);
        let inside = inside.with_context(|| format!("opening {name}"))?;
        let again = || inside.try_clone().context("opening the terminal again");
        let mut wrapped = Command::new("setsid");
        wrapped.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            wrapped.current_dir(folder);
        }
        wrapped.env("TERM", "xterm").stdin(Stdio::from(again()?));
        wrapped.stdout(Stdio::from(again()?)).stderr(Stdio::from(inside));
        let child = wrapped.spawn().context("starting setsid")?;
        // The command keeps its ends of the terminal open until it is gone.
        drop(wrapped);
        let keyboard = File::from(keyboard);
        let screen = Arc::new(Screen::default());
        let reader = keyboard.try_clone().context("opening the terminal again")?;
        let shown = Arc::clone(&screen);
        std::thread::spawn(move || shown.fill(reader));
        Ok(Self { child, keyboard, screen, seen: 0 })
    }

    /// Types this; `\r` is the return key.
    pub fn send(&mut self, text: &str) -> Result<()> {
        self.keyboard.write_all(text.as_bytes()).context("typing")
    }

    /// Waits until `text` appears behind what was waited for before.
    pub fn wait_for(&mut self, text: &str, patience: Duration) -> Result<()> {
        let deadline = Deadline::after(patience);
        let mut output = self.screen.output.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let new = output.bytes.get(self.seen..).unwrap_or_default();
            let found = new.windows(text.len().max(1)).position(|part| part == text.as_bytes());
            if let Some(place) = found {
                self.seen += place + text.len();
                return Ok(());
            }
            if deadline.passed() || output.closed {
                let how = if output.closed { "the terminal closed" } else { "waited in vain" };
                let all = String::from_utf8_lossy(&output.bytes).into_owned();
                bail!("{how}: no `{text}` in what the terminal shows:\n{all}");
            }
            let waited = self.screen.changed.wait_timeout(output, deadline.left());
            output = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Everything that was shown so far, with all control characters.
    pub fn shown(&self) -> String {
        let output = self.screen.output.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&output.bytes).into_owned()
    }

    /// Makes the window this large; the program is told by SIGWINCH.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        resize(&self.keyboard, (columns, rows))
    }

    /// The process id of the program.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the program has ended; `None` when a signal ended it.
    pub fn wait_end(&mut self, patience: Duration) -> Result<Option<i32>> {
        let mut status = None;
        let waited = wait_until("the program in the terminal to end", patience, || {
            status = self.child.try_wait().context("asking for an exit status")?;
            Ok(status.is_some())
        });
        waited.with_context(|| format!("the terminal shows:\n{}", self.shown()))?;
        // What it wrote last may still be on its way.
        let deadline = Deadline::after(patience);
        let mut output = self.screen.output.lock().unwrap_or_else(PoisonError::into_inner);
        while !output.closed && !deadline.passed() {
            let waited = self.screen.changed.wait_timeout(output, deadline.left());
            output = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(status.and_then(|status| status.code()))
    }
}

impl Screen {
    fn fill(&self, mut terminal: File) {
        let mut block = vec![0; 1 << 16];
        loop {
            // An error is how a terminal says that nobody has it open any more.
            let read = terminal.read(&mut block).unwrap_or(0);
            let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
            match block.get(..read) {
                None | Some([]) => output.closed = true,
                Some(bytes) => output.bytes.extend_from_slice(bytes),
            }
            let closed = output.closed;
            drop(output);
            self.changed.notify_all();
            if closed {
                return;
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that has ended needs neither.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(terminal: impl AsFd, (columns, rows): (u16, u16)) -> Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).context("setting the size of a terminal")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_shell_is_typed_to_resized_and_ended() {
        let mut command = Command::new("sh");
        command.arg("-i").env("PS1", "ready> ").env_remove("ENV").current_dir("/usr");
        let mut terminal = Terminal::start(&command).unwrap();
        terminal.wait_for("ready> ", PATIENCE).unwrap();
        terminal.send("pwd; stty size\r").unwrap();
        terminal.wait_for("\n/usr\r\n24 80", PATIENCE).unwrap();
        terminal.resize(132, 50).unwrap();
        terminal.send("stty size; tty\r").unwrap();
        terminal.wait_for("50 132", PATIENCE).unwrap();
        terminal.wait_for("/dev/pts/", PATIENCE).unwrap();
        terminal.send("exit 5\r").unwrap();
        assert_eq!(terminal.wait_end(PATIENCE).unwrap(), Some(5));
        let error = terminal.wait_for("never", PATIENCE).unwrap_err();
        assert!(error.to_string().contains("stty size"), "{error}");
    }
}
