//! `cargo xtask bench postgres|ssh|ledger [--quick] [--json]`.

use std::process::ExitCode;

use loggia_testkit::bench::{self, Options};

const HELP: &str = "\
usage: cargo xtask bench postgres|ssh|ledger [--quick] [--json]

  postgres   direct connections, pgbouncer and Loggia side by side
  ssh        OpenSSH directly and through Loggia side by side
  ledger     the ledger alone: appends, verification, hashing
  --quick    ends within a minute: fewer and shorter rounds
  --json     one JSON object a line instead of a table";

fn main() -> ExitCode {
    let mut options = Options::default();
    let mut subjects = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--json" => options.json = true,
            "help" | "--help" | "-h" => {
                println!("{HELP}");
                return ExitCode::SUCCESS;
            }
            _ => subjects.push(argument),
        }
    }
    let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
    let outcome = match subjects.as_slice() {
        ["postgres"] => bench::postgres::run(options),
        ["ssh"] => bench::ssh::run(options),
        ["ledger"] => bench::ledger::run(options),
        _ => {
            eprintln!("error: what is to be measured?\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
