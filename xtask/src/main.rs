//! All automation: set up, test, demonstrate, measure, check the house rules.
//!
//! `cargo xtask help` lists the commands. Each is one file here; none needs more
//! than a Rust toolchain, and what else is missing it installs, saying so.

mod arguments;
mod fuzz;
mod heavy;
mod lint;
mod parts;
mod repository;
mod step;
mod test;
mod tidy;
mod tool;
mod wasm;

use std::process::ExitCode;

use arguments::Command;

/// Exit code for a command line that makes no sense.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = match arguments::parse(&arguments) {
        Ok(command) => command,
        Err(problem) => {
            eprintln!("error: {problem}\n\n{}", arguments::HELP);
            return ExitCode::from(USAGE);
        }
    };
    let outcome = match command {
        Command::Help => {
            println!("{}", arguments::HELP);
            Ok(())
        }
        Command::Test(options) => test::run(&options),
        Command::Lint => lint::run(),
        Command::Tidy => tidy::run(),
        Command::Fuzz { target, rest } => fuzz::run(target.as_deref(), &rest),
        Command::Wasm => wasm::run(),
        Command::Tool { tool, rest } => tool::run(tool, &rest),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
