//! `cargo xtask test`: from a fresh machine to every test's verdict.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::arguments::TestOptions;
use crate::parts::{openssh, python};
use crate::step::{Steps, cargo, execute};
use crate::{heavy, lint, parts, repository, tidy};

/// Installs, checks, tests; `cargo test` comes last, so that its lines are the last.
pub(crate) fn run(options: &TestOptions) -> Result<()> {
    let before = if options.heavy { 3 } else { 2 };
    let mut steps = Steps::new(before + if options.quick { 1 } else { 4 });
    steps.run("parts from Debian", || {
        parts::install(parts::FOR_TESTS)?;
        if let Err(error) = openssh::server() {
            eprintln!("      SKIPPED: the tests with an OpenSSH server will NOT run: {error:#}");
        }
        Ok(())
    })?;
    let interpreters = steps.run("parts from PyPI", || Ok(interpreters()))?;
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
        // What is left out of a lean build is tested all the same.
        command.args(["--workspace", "--features", lint::FEATURES]);
    }
    command.args(&options.rest);
    command.env("LOGGIA_CACHE", &cache);
    command.envs(interpreters);
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

/// The Python environments that can be had: the variable that names each, its interpreter.
fn interpreters() -> Vec<(&'static str, PathBuf)> {
    let all = [python::DATABASES, python::SSH].into_iter();
    let had = all.filter_map(|environment| match environment.install() {
        Ok(interpreter) => Some((environment.variable, interpreter)),
        Err(error) => {
            let tests = environment.tests;
            eprintln!("      SKIPPED: the tests with {tests} will NOT run: {error:#}");
            None
        }
    });
    had.collect()
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
