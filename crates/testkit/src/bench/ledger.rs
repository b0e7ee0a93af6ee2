//! `bench ledger`: runs the ledger's own measurements and prints them as the others are.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::row::{Goal, Row};
use super::{Options, print};

/// Builds and runs `crates/ledger/examples/bench.rs`.
#[expect(clippy::disallowed_methods, reason = "cargo says in this variable which one it is")]
pub fn run(options: Options) -> Result<Vec<Row>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--profile", "release", "-p", "loggia-ledger"]);
    command.args(["--example", "bench", "--"]);
    if options.quick {
        command.arg("--quick");
    }
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo, to run the ledger's measurements")?;
    ensure!(output.status.success(), "the ledger's measurements ended with {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let rows: Vec<Row> = text.lines().map(read).collect::<Result<_>>()?;
    print(&rows, options);
    Ok(rows)
}

/// One line of the example's output.
fn read(line: &str) -> Result<Row> {
    let line: Value = serde_json::from_str(line).context("reading a measurement")?;
    let text = |key: &str| line.get(key).and_then(Value::as_str).map(ToString::to_string);
    let figure = |key: &str| line.get(key).and_then(Value::as_f64);
    let direct = figure("direct");
    Ok(Row {
        direct,
        depth: text("depth"),
        goal: figure("goal").map(|goal| match text("goal_is").as_deref() {
            Some("ratio") => Goal::Ratio(goal),
            Some("at_most") => Goal::AtMost(goal),
            _ => Goal::AtLeast(goal),
        }),
        note: text("note").unwrap_or_default(),
        ..Row::new(
            text("name").context("a measurement without a name")?,
            &text("unit").unwrap_or_default(),
            figure("ours").context("a measurement without a figure")?,
        )
    })
}
