//! Clients that work through the gateway until somebody kills it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::deadline::Deadline;
use crate::gateway::GatewayUnderTest;
use crate::postgres::Postgres;

/// Statements in the script of one psql: more than it gets done.
const PSQL_LINES: usize = 5_000;
/// How long clients may take to notice that the gateway is gone.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// The table that the clients write to.
pub(super) const TABLE: &str =
    "CREATE TABLE torture (round int, worker int, client int, n int, note text)";

/// One statement of its own transaction; the numbers make each execution unique.
const INSERT: &str = "\\set n :n + 1\n\
    INSERT INTO torture (round, worker, client, n) VALUES (:round, :worker, :client_id, :n);\n";
/// An explicit transaction with reads between the writes.
const TRANSACTION: &str = "\\set n :n + 1\n\
    BEGIN;\n\
    INSERT INTO torture (round, worker, client, n) VALUES (:round, :worker, :client_id, :n);\n\
    SELECT note FROM torture WHERE round = :round AND n = :n LIMIT 1;\n\
    UPDATE torture SET note = 'again' WHERE round = :round AND worker = :worker AND n = :n;\n\
    END;\n";

/// pgbench's protocol, script, resource, number of clients.
const WORKERS: [(&str, &str, &str, &str); 4] = [
    ("simple", "insert.sql", "kernel", "2"),
    ("prepared", "transaction.sql", "kernel", "2"),
    ("extended", "insert.sql", "disk", "2"),
    ("simple", "transaction.sql", "disk", "1"),
];

/// Clients at work.
pub(super) struct Load {
    clients: Vec<Child>,
}

impl Load {
    /// Starts a round's clients: several pgbench (simple, extended, prepared; single statements
    /// and transactions) and a psql, on both depths, as two people.
    pub(super) fn start(
        server: &Postgres,
        gateway: &GatewayUnderTest,
        folder: &Path,
        round: u64,
    ) -> Result<Self> {
        let mut load = Self { clients: Vec::new() };
        let people = ["alice", "bob"];
        for (worker, ((protocol, script, resource, clients), person)) in
            WORKERS.iter().zip(people.iter().cycle()).enumerate()
        {
            let mut command = Command::new(server.binary("pgbench"));
            command.args(["-n", "-T", "60", "-M", protocol, "-c", clients, "-f"]);
            command.arg(folder.join(script));
            command.args(["-D", "n=0", "-D"]).arg(format!("round={round}"));
            command.arg("-D").arg(format!("worker={worker}"));
            command.envs(gateway.psql_env(person, resource, None)?);
            load.clients.push(spawn(command, folder)?);
        }
        let mut command = Command::new(server.binary("psql"));
        command.args(["-X", "-q", "-f"]).arg(psql_script(folder, round)?);
        command.envs(gateway.psql_env("bob", "kernel", None)?);
        load.clients.push(spawn(command, folder)?);
        Ok(load)
    }

    /// Waits until all have ended by themselves; who does not is killed.
    pub(super) fn wait_end(&mut self) -> Result<()> {
        let deadline = Deadline::after(END_PATIENCE);
        for client in &mut self.clients {
            while client.try_wait().context("waiting for a client")?.is_none() {
                if deadline.passed() {
                    client.kill().context("killing a client")?;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
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

/// Writes the scripts that all rounds use.
pub(super) fn write_scripts(folder: &Path) -> Result<()> {
    std::fs::write(folder.join("insert.sql"), INSERT).context("writing a script")?;
    std::fs::write(folder.join("transaction.sql"), TRANSACTION).context("writing a script")
}

fn psql_script(folder: &Path, round: u64) -> Result<PathBuf> {
    let path = folder.join("psql.sql");
    let lines = (0..PSQL_LINES).map(|n| {
        format!("INSERT INTO torture (round, worker, n) VALUES ({round}, 9, {n}); -- it's {n}\n")
    });
    std::fs::write(&path, lines.collect::<String>()).context("writing a script")?;
    Ok(path)
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
