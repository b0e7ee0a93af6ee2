//! Runs `pgbench` and `psql` against a side and reads what they say.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::folder::Workspace;
use crate::postgres::Postgres;

/// The environment of a side.
pub(super) type Environment = Vec<(&'static str, String)>;

/// What a run of pgbench said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Run {
    /// Transactions a second, without the time of the first connections.
    pub(super) tps: f64,
    /// Transactions that were processed.
    pub(super) transactions: u64,
}

/// Makes pgbench's tables (1 million accounts) and 96 MB to copy.
pub(super) fn make_tables(server: &Postgres) -> Result<()> {
    let mut command = Command::new(server.binary("pgbench"));
    command.args(["-i", "-q", "-s", "10"]).envs(server.psql_env());
    finish(&mut command, "pgbench -i")?;
    // A million lines of 96 bytes: 95 digits and the end of the line.
    server.execute(
        "CREATE TABLE bulk AS SELECT lpad(n::text, 95, '0') AS line FROM generate_series(1, \
         1000000) AS n; VACUUM ANALYZE bulk; CHECKPOINT;",
    )?;
    Ok(())
}

/// Bytes that [`copy_out`] reads, in MB.
pub(super) const COPY_MB: f64 = 96.0;

/// `pgbench` with these arguments (besides `-n`).
pub(super) fn run(server: &Postgres, side: &Environment, arguments: &[&str]) -> Result<Run> {
    let mut command = Command::new(server.binary("pgbench"));
    command.arg("-n").args(arguments).envs(side.iter().cloned());
    let said = finish(&mut command, &format!("pgbench {}", arguments.join(" ")))?;
    parse(&said)
}

/// The latency of each transaction of one client in µs, sorted.
pub(super) fn latencies(server: &Postgres, side: &Environment, seconds: u32) -> Result<Vec<u64>> {
    let folder = Workspace::new("pgbench")?;
    let prefix = folder.join("log").display().to_string();
    let seconds = seconds.to_string();
    let arguments = ["-S", "-c", "1", "-T", &seconds, "--log", "--log-prefix", &prefix];
    run(server, side, &arguments)?;
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder.path()).context("reading pgbench's log")?.flatten() {
        let text = std::fs::read_to_string(entry.path()).context("reading pgbench's log")?;
        // client transaction latency script epoch µs
        all.extend(text.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<u64>().ok()));
    }
    // The first ones pay for caches and plans.
    let warm = all.split_off(all.len() / 20);
    let mut warm = warm;
    warm.sort_unstable();
    Ok(warm)
}

/// Time that `psql` takes to copy 96 MB out, its own start and connection included.
pub(super) fn copy_out(server: &Postgres, side: &Environment) -> Result<Duration> {
    let mut command = Command::new(server.binary("psql"));
    command.args(["-X", "-q", "-c", "COPY bulk TO STDOUT"]).envs(side.iter().cloned());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let started = now();
    let output = command.spawn().and_then(std::process::Child::wait_with_output);
    let took = started.elapsed();
    let output = output.context("running psql")?;
    if !output.status.success() {
        bail!("psql: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(took)
}

#[expect(clippy::disallowed_methods, reason = "time is what is measured")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// What `pgbench --version` says, in short.
pub(super) fn version(program: &Path) -> Result<String> {
    let said = finish(Command::new(program).arg("--version"), "asking for a version")?;
    let words: Vec<&str> = said.lines().next().unwrap_or_default().split(' ').collect();
    Ok(words
        .iter()
        .find(|word| word.starts_with(|letter: char| letter.is_ascii_digit()))
        .map_or_else(String::new, ToString::to_string))
}

fn finish(command: &mut Command, what: &str) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("starting {what}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> =
            said.lines().filter(|line| !line.starts_with("NOTICE")).take(8).collect();
        bail!("{what} ended with {}: {}", output.status, lines.join("\n"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn parse(said: &str) -> Result<Run> {
    let after = |mark: &str| said.lines().find_map(|line| line.strip_prefix(mark));
    let first = |text: &str| text.split([' ', '/']).next().map(ToString::to_string);
    let tps = after("tps = ").and_then(first).and_then(|word| word.parse().ok());
    let count = after("number of transactions actually processed: ").and_then(first);
    let transactions = count.and_then(|word| word.parse().ok());
    match (tps, transactions, after("number of failed transactions: ")) {
        (Some(tps), Some(transactions), failed)
            if failed.is_none_or(|failed| failed.starts_with("0 ")) =>
        {
            Ok(Run { tps, transactions })
        }
        _ => bail!("pgbench said something else than expected:\n{said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_pgbench_says() {
        let said = "transaction type: <builtin: select only>\n\
                    number of transactions actually processed: 4000/4000\n\
                    number of failed transactions: 0 (0.000%)\n\
                    latency average = 0.2 ms\n\
                    tps = 27031.123456 (without initial connection time)\n";
        assert_eq!(parse(said).unwrap(), Run { tps: 27_031.123_456, transactions: 4_000 });
        assert!(parse(&said.replace("transactions: 0", "transactions: 3")).is_err());
        assert!(parse("").is_err());
    }
}
