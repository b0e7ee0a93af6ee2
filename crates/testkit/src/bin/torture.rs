//! `cargo xtask torture [--rounds N] [--seed S]`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use loggia_testkit::{gateway, torture};

const HELP: &str = "\
usage: cargo xtask torture [--rounds N] [--seed S]

  --rounds N   how often the gateway is killed under load [default: 50], once
               over PostgreSQL and once over SSH;
               its disk is filled once for each 25 of them, at least twice
  --seed S     repeat the instants of an earlier run";

/// How long the gateway may take from its start until it is ready again.
const RECOVERY_MAX: Duration = Duration::from_secs(2);
/// How often the gateway is killed when nothing else is said.
const ROUNDS: u64 = 50;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| ["help", "--help", "-h"].contains(&argument.as_str())) {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let (rounds, seed) = match parse(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            eprintln!("error: {error:#}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match run(rounds, seed) {
        Ok(counts) => {
            println!("{counts}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> Result<(u64, u64)> {
    let (mut rounds, mut seed) = (ROUNDS, u64::from(std::process::id()));
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let number = arguments.next().and_then(|number| number.parse().ok());
        let number = number.with_context(|| format!("`{argument}` wants a number"));
        match argument.as_str() {
            "--rounds" => rounds = number?,
            "--seed" => seed = number?,
            other => anyhow::bail!("`{other}` is not known"),
        }
    }
    Ok((rounds, seed))
}

/// The line of counts.
fn run(rounds: u64, seed: u64) -> Result<String> {
    let program = gateway::program()?;
    eprintln!("killing the gateway {rounds} times under load (seed {seed}) ...");
    let killed = torture::kill_rounds(&program, rounds, seed, RECOVERY_MAX)?;
    eprintln!("killing it {rounds} times while people work over SSH ...");
    let ssh = torture::ssh_kill_rounds(&program, rounds, seed, RECOVERY_MAX)?;
    eprintln!("filling the gateway's disk ...");
    let filled = match torture::full_disk_rounds(&program, (rounds / 25).max(2))? {
        Some(counts) => counts.to_string(),
        None => "full-disk rounds: SKIPPED".to_string(),
    };
    Ok(format!("{killed}; {ssh}; {filled}"))
}
