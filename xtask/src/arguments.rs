//! The command line, parsed by hand: a parser generator would cost more build
//! time than the rest of this crate.

use std::fmt;

/// What `cargo xtask help` prints.
pub(crate) const HELP: &str = "\
usage: cargo xtask COMMAND

  test [--quick] [--parts heavy] [-- CARGO_TEST_ARGUMENTS]
             install what is missing, then lint, tidy and every test
             --quick        without fmt, clippy and tidy
             --parts heavy  also the tests with pgx (Go) and pgjdbc (Java)
  lint       cargo fmt --check, clippy, cargo-deny
  tidy       the house rules that a program can check
  fuzz [TARGET] [-- CARGO_FUZZ_ARGUMENTS]
             fuzz one target; without a target, list them
  wasm       compile what an outsider verifies with for a browser
  demo [--once]
             a scripted morning on a real PostgreSQL and a real host, then a gateway to try
             by hand
             --once         end by itself after the morning
  bench postgres|ssh|ledger [--quick] [--json]
             measure side by side with direct connections, OpenSSH and pgbouncer
  torture [--rounds N]
             kill the gateway, fill its disk, and count what is missing
  help       this text";

/// A command with its options.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Test(TestOptions),
    Lint,
    Tidy,
    Fuzz { target: Option<String>, rest: Vec<String> },
    Wasm,
    Tool { tool: Tool, rest: Vec<String> },
}

/// The options of `test`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TestOptions {
    /// Leave out fmt, clippy and tidy.
    pub(crate) quick: bool,
    /// Also run what needs Go and Java.
    pub(crate) heavy: bool,
    /// Passed on to `cargo test`.
    pub(crate) rest: Vec<String>,
}

/// A program of the test kit that is built optimised and then takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    Demo,
    Bench,
    Torture,
}

impl Tool {
    /// The name of its binary.
    pub(crate) fn binary(self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::Bench => "bench",
            Self::Torture => "torture",
        }
    }

    /// The cargo profile that it is built with, and Loggia with it: measured is what is
    /// installed; what is shown must build quickly.
    pub(crate) fn profile(self) -> &'static str {
        match self {
            Self::Bench => "release",
            Self::Demo | Self::Torture => "demo",
        }
    }
}

/// A command line that makes no sense.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misuse(String);

impl fmt::Display for Misuse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Reads the arguments behind the program's name.
pub(crate) fn parse(arguments: &[String]) -> Result<Command, Misuse> {
    let Some((command, rest)) = arguments.split_first() else { return Ok(Command::Help) };
    let rest = rest.to_vec();
    match command.as_str() {
        "help" | "--help" | "-h" => Ok(Command::Help),
        "test" => parse_test(&rest).map(Command::Test),
        "lint" => nothing_more(&rest).map(|()| Command::Lint),
        "tidy" => nothing_more(&rest).map(|()| Command::Tidy),
        "fuzz" => parse_fuzz(rest),
        "wasm" => nothing_more(&rest).map(|()| Command::Wasm),
        "demo" => Ok(Command::Tool { tool: Tool::Demo, rest }),
        "bench" => Ok(Command::Tool { tool: Tool::Bench, rest }),
        "torture" => Ok(Command::Tool { tool: Tool::Torture, rest }),
        other => Err(Misuse(format!("there is no command `{other}`"))),
    }
}

fn parse_test(arguments: &[String]) -> Result<TestOptions, Misuse> {
    let mut options = TestOptions::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--parts" | "--parts=heavy" => {
                let parts = match argument.strip_prefix("--parts=") {
                    Some(parts) => Some(parts),
                    None => arguments.next().map(String::as_str),
                };
                if parts != Some("heavy") {
                    return Err(Misuse("--parts knows only `heavy`".into()));
                }
                options.heavy = true;
            }
            "--" => options.rest = arguments.by_ref().cloned().collect(),
            other => return Err(Misuse(format!("`test` does not know `{other}`"))),
        }
    }
    Ok(options)
}

fn parse_fuzz(arguments: Vec<String>) -> Result<Command, Misuse> {
    let mut arguments = arguments.into_iter();
    let target = arguments.next();
    if let Some(option) = target.as_ref().filter(|target| target.starts_with('-')) {
        return Err(Misuse(format!("`fuzz` wants a target before `{option}`")));
    }
    let rest: Vec<String> = arguments.collect();
    let rest = match rest.split_first() {
        Some((separator, rest)) if separator == "--" => rest.to_vec(),
        _ => rest,
    };
    Ok(Command::Fuzz { target, rest })
}

fn nothing_more(arguments: &[String]) -> Result<(), Misuse> {
    match arguments.first() {
        None => Ok(()),
        Some(argument) => Err(Misuse(format!("`{argument}` is one argument too many"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, Misuse> {
        let arguments: Vec<String> = line.split_whitespace().map(ToString::to_string).collect();
        parse(&arguments)
    }

    #[test]
    fn reads_the_options_of_test() {
        let all = TestOptions { quick: true, heavy: true, rest: vec!["gate".into()] };
        assert_eq!(parsed("test --quick --parts heavy -- gate"), Ok(Command::Test(all)));
        let heavy = TestOptions { heavy: true, ..TestOptions::default() };
        assert_eq!(parsed("test --parts=heavy"), Ok(Command::Test(heavy)));
        assert_eq!(parsed("test"), Ok(Command::Test(TestOptions::default())));
        assert!(parsed("test --parts light").is_err());
        assert!(parsed("test --parts").is_err());
        assert!(parsed("test gate").is_err());
    }

    #[test]
    fn passes_arguments_on_to_tools() {
        let rest = vec!["--rounds".to_string(), "5".to_string()];
        assert_eq!(parsed("torture --rounds 5"), Ok(Command::Tool { tool: Tool::Torture, rest }));
        let fuzz = Command::Fuzz { target: Some("codec".into()), rest: vec!["-runs=1".into()] };
        assert_eq!(parsed("fuzz codec -- -runs=1"), Ok(fuzz));
        assert_eq!(parsed("fuzz"), Ok(Command::Fuzz { target: None, rest: vec![] }));
        assert!(parsed("fuzz --jobs").is_err());
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert!(parsed("tset").is_err());
        assert!(parsed("tidy now").is_err());
        assert_eq!(parsed(""), Ok(Command::Help));
    }
}
