//! `bench postgres`: the proxied path.

use anyhow::{Result, ensure};

use super::pgbench;
use super::row::{Goal, Row, median};
use super::sides::{ALL, Figures, Side, Sides, WITH_TLS};
use super::{Options, print};
use crate::gateway::{self, GatewayOptions, GatewayUnderTest};

/// The text that `pgbench -S` sends; what follows is a number.
const SELECT: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = ";

/// How much is measured.
struct Plan {
    rounds: usize,
    seconds: u32,
    starts: usize,
    checked: u64,
}

impl Plan {
    fn of(options: Options) -> Self {
        if options.quick {
            Self { rounds: 1, seconds: 2, starts: 3, checked: 250 }
        } else {
            Self { rounds: 3, seconds: 5, starts: 7, checked: 1_000 }
        }
    }
}

/// Measures everything and prints it. Fails where a statement is missing in the ledger, or the
/// log does not verify.
pub fn run(options: Options) -> Result<Vec<Row>> {
    let plan = Plan::of(options);
    let mut rows = vec![ready_after(&plan)?];
    eprintln!("starting PostgreSQL, pgbouncer, Loggia ...");
    let sides = Sides::start()?;
    rows.extend(counted(&sides, &plan)?);
    rows.extend(selects(&sides, &plan, "simple", Some(0.5), 0.7)?);
    rows.extend(selects(&sides, &plan, "prepared", None, 0.6)?);
    rows.extend(latency(&sides, &plan)?);
    rows.extend(tpc_b(&sides, &plan)?);
    rows.extend(connects(&sides, &plan)?);
    rows.extend(copies(&sides, &plan)?);
    let (_, most) = sides.gateway.memory()?;
    rows.push(Row::new("memory, the most under this load", "MB", megabytes(most)));
    rows.push(verified(&sides)?);
    print(&rows, options);
    Ok(rows)
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// `loggia up` on an initialised folder until `/readyz` says yes, and the memory it then has.
fn ready_after(plan: &Plan) -> Result<Row> {
    eprintln!("measuring: loggia up");
    let mut times = Vec::new();
    let mut memory = Vec::new();
    for _ in 0..plan.starts {
        let options =
            GatewayOptions { people: Vec::new(), ..GatewayOptions::alone(gateway::program()?) };
        let mut gateway = GatewayUnderTest::initialised(options)?;
        times.push(gateway.start_again()?.as_secs_f64() * 1e3);
        memory.push(megabytes(gateway.memory()?.0));
    }
    Ok(Row {
        goal: Some(Goal::AtMost(300.0)),
        note: format!("resident then: {:.1} MB (goal ≤ 40)", median(memory)),
        ..Row::new("`loggia up` on an empty folder until ready", "ms", median(times))
    })
}

/// A fixed number of statements through both depths and both protocols, counted in the log.
fn counted(sides: &Sides, plan: &Plan) -> Result<Vec<Row>> {
    eprintln!("measuring: every statement is in the log");
    let mut sent = 0;
    for side in [Side::Kernel, Side::Disk] {
        let environment = sides.environment(side)?;
        let each = plan.checked.to_string();
        for protocol in ["simple", "prepared"] {
            let arguments = ["-S", "-c", "8", "-j", "2", "-M", protocol, "-t", &each];
            sent += pgbench::run(&sides.server, &environment, &arguments)?.transactions;
        }
    }
    let statements = sides.gateway.statements()?;
    let of_pgbench = statements
        .iter()
        .filter(|statement| statement.text.as_deref().is_some_and(|text| text.starts_with(SELECT)));
    let recorded = of_pgbench.count() as u64;
    ensure!(recorded == sent, "{sent} statements were sent, {recorded} are in the log");
    Ok(vec![Row {
        goal: Some(Goal::AtLeast(100.0)),
        note: format!("{sent} sent, {recorded} in the log"),
        ..Row::new("statements recorded", "%", 100.0 * recorded as f64 / sent as f64)
    }])
}

/// One row for each depth, from what was measured.
fn both_depths(sides: &Sides, figures: &Figures, name: &str, unit: &str) -> Vec<Row> {
    [(Side::Kernel, "kernel"), (Side::Disk, "disk")]
        .into_iter()
        .filter_map(|(side, depth)| {
            let ours = figures.of(side)?;
            Some(Row {
                direct: figures.of(Side::Direct),
                direct_plain: figures.of(Side::Plain),
                peer: figures.of(Side::Peer),
                peer_name: figures.of(Side::Peer).map(|_| sides.peer_name.clone()),
                depth: Some(depth.into()),
                note: figures.syncs(side),
                ..Row::new(name, unit, ours)
            })
        })
        .collect()
}

fn selects(
    sides: &Sides,
    plan: &Plan,
    protocol: &str,
    reach: Option<f64>,
    goal: f64,
) -> Result<Vec<Row>> {
    let name = format!("pgbench -S -c 8 -j 2, {protocol}");
    eprintln!("measuring: {name}");
    let seconds = plan.seconds.to_string();
    let arguments = ["-S", "-c", "8", "-j", "2", "-M", protocol, "-T", &seconds];
    let figures = sides.compare(&ALL, plan.rounds, |_, environment| {
        Ok(pgbench::run(&sides.server, environment, &arguments)?.tps)
    })?;
    let mut rows = both_depths(sides, &figures, &name, "tps");
    if let Some(kernel) = rows.first_mut() {
        kernel.reach = reach.map(Goal::Ratio);
        kernel.goal = Some(Goal::Ratio(goal));
    }
    Ok(rows)
}

/// One client: the latency of each statement.
fn latency(sides: &Sides, plan: &Plan) -> Result<Vec<Row>> {
    eprintln!("measuring: latency of one client");
    let mut p99 = Vec::new();
    let seconds = plan.seconds.div_ceil(2);
    let figures = sides.compare(&ALL, plan.rounds, |side, environment| {
        let sorted = pgbench::latencies(&sides.server, environment, seconds)?;
        let at = |share: usize| sorted.get(sorted.len() * share / 100).copied().unwrap_or(0) as f64;
        p99.push((side, at(99)));
        Ok(at(50))
    })?;
    let p99 = Figures::plain(p99);
    let mut rows = Vec::new();
    for (name, figures, added) in [("p50", &figures, 60.0), ("p99", &p99, 300.0)] {
        let name = format!("pgbench -S -c 1, latency {name}");
        let mut both = both_depths(sides, figures, &name, "µs");
        if let Some(kernel) = both.first_mut() {
            kernel.goal = kernel.direct.map(|direct| Goal::AtMost(direct + added));
        }
        rows.extend(both);
    }
    Ok(rows)
}

fn tpc_b(sides: &Sides, plan: &Plan) -> Result<Vec<Row>> {
    let name = "pgbench -c 8 -j 2 (TPC-B-like)";
    eprintln!("measuring: {name}");
    let seconds = plan.seconds.to_string();
    let arguments = ["-c", "8", "-j", "2", "-T", &seconds];
    let figures = sides.compare(&WITH_TLS, plan.rounds, |_, environment| {
        Ok(pgbench::run(&sides.server, environment, &arguments)?.tps)
    })?;
    let mut rows = both_depths(sides, &figures, name, "tps");
    for row in &mut rows {
        row.goal = Some(Goal::Ratio(0.8));
    }
    Ok(rows)
}

fn connects(sides: &Sides, plan: &Plan) -> Result<Vec<Row>> {
    let name = "new connections with TLS (pgbench -C -S -c 2)";
    eprintln!("measuring: {name}");
    let seconds = plan.seconds.to_string();
    let arguments = ["-C", "-S", "-c", "2", "-j", "2", "-T", &seconds];
    let figures = sides.compare(&WITH_TLS, plan.rounds, |_, environment| {
        Ok(pgbench::run(&sides.server, environment, &arguments)?.tps)
    })?;
    let mut rows = both_depths(sides, &figures, name, "1/s");
    for row in &mut rows {
        row.reach = Some(Goal::Ratio(0.7));
        row.goal = Some(Goal::Ratio(0.8));
    }
    Ok(rows)
}

fn copies(sides: &Sides, plan: &Plan) -> Result<Vec<Row>> {
    let name = "96 MB COPY TO STDOUT (psql)";
    eprintln!("measuring: {name}");
    let figures = sides.compare(&ALL, plan.rounds, |_, environment| {
        Ok(pgbench::COPY_MB / pgbench::copy_out(&sides.server, environment)?.as_secs_f64())
    })?;
    let mut rows = both_depths(sides, &figures, name, "MB/s");
    for row in &mut rows {
        row.reach = Some(Goal::Ratio(0.7));
        row.goal = Some(Goal::Ratio(0.8));
    }
    Ok(rows)
}

/// The log of all that verifies.
fn verified(sides: &Sides) -> Result<Row> {
    eprintln!("measuring: loggia verify of this run's log");
    let started = pgbench::now();
    let verified = sides.gateway.verify(&[])?;
    let seconds = started.elapsed().as_secs_f64();
    ensure!(verified.exit_code == Some(0), "the log of this run: {}", verified.text);
    let entries = verified.report.pointer("/epochs/0/size").and_then(serde_json::Value::as_u64);
    let entries = entries.unwrap_or(0) as f64;
    Ok(Row {
        note: format!("{entries} entries: intact"),
        ..Row::new("`loggia verify` of this run's log", "entries/s", entries / seconds)
    })
}
