//! `cargo xtask test`: from a fresh machine to every test's verdict.

use anyhow::{Result, bail};

use crate::arguments::TestOptions;
use crate::step::{Steps, cargo, execute};
use crate::{heavy, lint, parts, repository, tidy};

/// Installs, checks, tests; `cargo test` comes last, so that its lines are the last.
pub(crate) fn run(options: &TestOptions) -> Result<()> {
    let before = if options.heavy { 3 } else { 2 };
    let mut steps = Steps::new(before + if options.quick { 1 } else { 4 });
    steps.run("parts from Debian", || parts::install(parts::FOR_TESTS))?;
    let python = steps.run("parts from PyPI", || {
        Ok(match parts::python_environment() {
            Ok(interpreter) => Some(interpreter),
            Err(error) => {
                eprintln!("      SKIPPED: the tests with psycopg will NOT run: {error:#}");
                None
            }
        })
    })?;
    let cache = repository::cache()?;
    if options.heavy {
        steps.run("parts of the heavy tier", || heavy::prepare(&cache))?;
    }
    // A slip in a lint must not hide what the tests say: all run, then all count.
    let mut failures = Vec::new();
    if !options.quick {
        failures.extend(steps.run("cargo fmt --check", lint::format).err());
        failures.extend(steps.run("tidy", tidy::run).err());
        failures.extend(steps.run("cargo clippy", lint::clippy).err());
    }
    let mut command = cargo();
    command.args(["test", "--no-fail-fast"]);
    if !names_a_package(&options.rest) {
        command.arg("--workspace");
    }
    command.args(&options.rest);
    command.env("LOGGIA_CACHE", &cache);
    if let Some(python) = python {
        command.env("LOGGIA_PYTHON", python);
    }
    if options.heavy {
        command.env("LOGGIA_PARTS", "heavy");
    }
    failures.extend(steps.run("cargo test", || execute(&mut command)).err());
    match failures.as_slice() {
        [] => Ok(()),
        failures => {
            let lines: Vec<String> = failures.iter().map(|error| format!("  {error:#}")).collect();
            bail!("{} of the steps failed:\n{}", failures.len(), lines.join("\n"))
        }
    }
}

/// Whether arguments for cargo choose packages themselves; those behind `--` are not
/// for cargo.
fn names_a_package(arguments: &[String]) -> bool {
    let ours = arguments.iter().take_while(|argument| *argument != "--");
    ours.into_iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_package_narrows_the_workspace() {
        let names = |line: &str| {
            let arguments: Vec<String> = line.split(' ').map(ToString::to_string).collect();
            names_a_package(&arguments)
        };
        assert!(names("-p loggia-gate"));
        assert!(names("--lib --package=loggia-gate"));
        assert!(!names("spine -- -p"));
    }
}
