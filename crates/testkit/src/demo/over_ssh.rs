//! The morning on the host: real `ssh`, `scp` and `sftp`, each with what it must come to.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::morning::Morning;
use super::program::{Running, in_terminal, run};
use super::steps::{printed, printed_at_most, say};
use super::world::random_word;
use crate::openssh::Terminal;
use crate::{Sshd, free_port, wait_until};

const TYPED: &str = include_str!("../../../../demo/alice-on-web.txt");
const MAINTENANCE: &str = include_str!("../../../../demo/maintenance.html");
/// Where a shell on the host waits for a line.
const PROMPT: &str = "$ ";
/// What the third of those lines asks for, without echo.
const SILENT_PROMPT: &str = "Passphrase: ";
/// How long the host may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two letters that somebody types.
const PER_LETTER: Duration = Duration::from_millis(12);
/// How long somebody looks at what a line gave: idle time, which a replay cuts.
const LOOK: Duration = Duration::from_millis(700);
/// The exit code of a command that may not be executed, as shells say it.
const NOT_ALLOWED: i32 = 126;
/// The exit code of `grep` that found nothing.
const NOTHING_FOUND: i32 = 1;
/// psql's exit code when it could not connect.
const NO_CONNECTION: i32 = 2;

/// The morning, where there is a host.
pub(crate) struct OnHost<'a> {
    /// Who takes part.
    pub(crate) day: &'a Morning<'a>,
    /// The host, which writes down by itself what it executes.
    pub(crate) host: &'a Sshd,
}

/// What alice typed on the host, and saw.
pub(crate) struct Shell {
    /// The lines of `demo/alice-on-web.txt`.
    pub(crate) lines: Vec<&'static str>,
    /// What she typed where nothing is echoed.
    pub(crate) passphrase: String,
    /// Her terminal.
    pub(crate) seen: String,
}

impl OnHost<'_> {
    /// The host learns whom to let in, and everybody's `ssh` learns the way.
    pub(crate) fn introduce(&self) -> Result<()> {
        let authority = self.day.alice.loggia(&["ssh-ca"])?.expect_code(0)?;
        printed(&authority.stdout);
        self.host.trust_user_ca(authority.stdout.trim())?;
        say("the host trusts it from now on (TrustedUserCAKeys)");
        let port = self.day.world.ssh_port.to_string();
        for person in [&self.day.alice, &self.day.bob] {
            let finished = person.loggia(&["ssh-config", "--port", &port])?.expect_code(0)?;
            printed(&finished.expect_words(&["ssh web"])?.said());
        }
        say("(your own ~/.ssh/config is left alone: below, -F names that file, and is not shown)");
        Ok(())
    }

    /// Two commands, with the exit codes of the host's own programs.
    pub(crate) fn commands(&self) -> Result<()> {
        let tail = self.day.alice.open_ssh("ssh", &["web", "tail -n 2 access.log"]);
        let finished = run(tail)?.expect_code(0)?.expect_words(&["203.0.113.21"])?;
        printed(&finished.said());
        let grep = self.day.alice.open_ssh("ssh", &["web", "grep teapot access.log"]);
        run(grep)?.expect_code(NOTHING_FOUND)?;
        say("exit code 1, which is grep's on the host");
        Ok(())
    }

    /// A shell in a terminal, typed to as somebody does.
    pub(crate) fn shell(&self) -> Result<Shell> {
        let passphrase = random_word()?;
        let mut terminal = in_terminal(self.day.alice.open_ssh("ssh", &["web"]))?;
        terminal.wait_for(PROMPT, PATIENCE)?;
        let lines: Vec<&str> = TYPED.lines().collect();
        for line in &lines {
            type_line(&mut terminal, line)?;
            if line.contains(SILENT_PROMPT) {
                terminal.wait_for(&format!("\n{SILENT_PROMPT}"), PATIENCE)?;
                type_line(&mut terminal, &passphrase)?;
            }
            if *line != "exit" {
                terminal.wait_for(&format!("\n{PROMPT}"), PATIENCE)?;
                std::thread::sleep(LOOK);
            }
        }
        let code = terminal.wait_end(PATIENCE)?;
        let seen = terminal.shown().replace('\r', "");
        ensure!(code == Some(0), "the shell ended with {code:?}; the terminal shows:\n{seen}");
        for words in ["POST /order 500", "order_timeout_s = 30", "24 letters"] {
            ensure!(seen.contains(words), "no `{words}` on the terminal, which shows:\n{seen}");
        }
        printed_at_most(&seen, 20);
        Ok(Shell { lines, passphrase, seen })
    }

    /// A file up by `scp`, a file down by `sftp`.
    pub(crate) fn files(&self) -> Result<()> {
        let name = self.day.alice.file("maintenance.html", MAINTENANCE)?;
        run(self.day.alice.open_ssh("scp", &[name, "web:"]))?.expect_code(0)?;
        let arrived = std::fs::read_to_string(self.host.home().join(name));
        ensure!(arrived.context("reading what was copied up")? == MAINTENANCE, "it is altered");
        let fetched = run(self.day.bob.open_ssh("sftp", &["web:access.log"]))?.expect_code(0)?;
        printed(&fetched.said());
        let there = std::fs::read(self.host.home().join("access.log")).context("reading a file")?;
        let here = std::fs::read(self.day.bob.home().join("access.log"));
        ensure!(here.context("reading what was fetched")? == there, "what was fetched is altered");
        Ok(())
    }

    /// What no policy permits: a command of bob's, and alice's way around Loggia.
    pub(crate) fn refusals(&self) -> Result<()> {
        let command = self.day.bob.open_ssh("ssh", &["web", "cat shop.conf"]);
        let refused = run(command)?.expect_code(NOT_ALLOWED)?;
        printed(&refused.expect_words(&["ssh.exec", "no policy permits it"])?.stderr);
        self.tunnel()
    }

    /// A port forward to the database itself. OpenSSH opens the port; what connects to it gets
    /// nowhere, and both sides are told.
    fn tunnel(&self) -> Result<()> {
        let (here, there) = (free_port()?, self.day.world.target.address());
        let forward = format!("{here}:{there}");
        let ssh = self.day.alice.open_ssh("ssh", &["-N", "-L", &forward, "web"]);
        let mut tunnel = Running::start(ssh)?;
        wait_until("ssh to listen", PATIENCE, || Ok(listens(here)))
            .with_context(|| format!("ssh said: {}", tunnel.so_far()))?;
        let place = format!("host=localhost port={here} user=app dbname=shop connect_timeout=10");
        let around = self.day.alice.psql(&place, "psql", &["-c", "SELECT 1"]);
        printed(&run(around)?.expect_code(NO_CONNECTION)?.stderr);
        wait_until("the refusal", PATIENCE, || Ok(tunnel.so_far().contains("open failed")))
            .with_context(|| format!("ssh said: {}", tunnel.so_far()))?;
        say("and what the ssh that was to be the tunnel was told:");
        tunnel.signal(Signal::TERM)?;
        let told = tunnel.finish()?.expect_words(&["administratively prohibited"])?;
        printed(&told.stderr);
        Ok(())
    }
}

fn type_line(terminal: &mut Terminal, line: &str) -> Result<()> {
    for letter in line.chars() {
        terminal.send(letter.encode_utf8(&mut [0; 4]))?;
        std::thread::sleep(PER_LETTER);
    }
    terminal.send("\r")
}

/// Whether somebody listens on this port of 127.0.0.1. Asking by a connection would be one more
/// that is forwarded.
fn listens(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    is_listening(&table, port)
}

/// The same, by the text of `/proc/net/tcp`: columns 2 and 4 are the local address, in
/// hexadecimal, and the state, which is 0A for a socket that listens.
fn is_listening(table: &str, port: u16) -> bool {
    let address = format!("{:08X}:{port:04X}", u32::from_ne_bytes(Ipv4Addr::LOCALHOST.octets()));
    table.lines().any(|line| {
        let mut columns = line.split_whitespace().skip(1);
        columns.next() == Some(&address) && columns.nth(1) == Some("0A")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_port_that_is_listened_on_is_told_from_one_that_is_connected_to() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listens(port));
        let client = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(!listens(client.local_addr().unwrap().port()));
        drop(listener);
        assert!(!listens(port));
    }

    #[test]
    fn what_is_typed_asks_for_a_passphrase_once_and_ends_the_shell() {
        let lines: Vec<&str> = TYPED.lines().collect();
        assert_eq!(lines.iter().filter(|line| line.contains(SILENT_PROMPT)).count(), 1);
        assert_eq!(lines.last(), Some(&"exit"));
        // In a terminal of 80 columns, a longer line would be broken and not be found again.
        assert!(lines.iter().all(|line| line.len() + PROMPT.len() < 80));
    }
}
