//! `bench ssh`: OpenSSH's clients through Loggia, beside the same clients directly.

mod measure;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use self::measure::{Crowd, Way, percentile};
use super::row::{Goal, Row, median};
use super::{Options, print};
use crate::deadline::wait_until;
use crate::gateway::{self, GatewayOptions, GatewayUnderTest};
use crate::openssh::{Sshd, SshdOptions, write_payload};

/// Who signs in through Loggia.
const PERSON: &str = "alice";
/// How long the result of the last upload may take.
const RESULT_WAIT_MAX: Duration = Duration::from_secs(10);
/// Sessions beside the one that is typed in.
const CROWD: usize = 50;

/// A way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Direct,
    /// Through Loggia, `kernel` depth.
    Kernel,
    /// Through Loggia, `disk` depth.
    Disk,
}

const ALL: [Side; 3] = [Side::Direct, Side::Kernel, Side::Disk];

/// How much is measured.
struct Plan {
    rounds: usize,
    connects: usize,
    mib: usize,
    keystrokes: usize,
    idle: usize,
}

impl Plan {
    fn of(options: Options) -> Self {
        if options.quick {
            Self { rounds: 1, connects: 3, mib: 50, keystrokes: 100, idle: 50 }
        } else {
            Self { rounds: 3, connects: 15, mib: 500, keystrokes: 1_000, idle: 500 }
        }
    }
}

/// Measures everything and prints it. Fails where bytes are missing or the log does not verify.
pub fn run(options: Options) -> Result<Vec<Row>> {
    let plan = Plan::of(options);
    eprintln!("starting sshd, Loggia; clients: {} ...", measure::version()?);
    let sides = Sides::start(plan.mib)?;
    let mut rows = connects(&sides, &plan)?;
    rows.extend(transfers(&sides, &plan)?);
    rows.extend(echoes(&sides, &plan, "alone", None)?);
    rows.extend(echoes(&sides, &plan, "beside 50 sessions and a bulk copy", Some(CROWD))?);
    rows.push(idle(&sides, &plan)?);
    rows.push(verified(&sides)?);
    print(&rows, options);
    Ok(rows)
}

/// Everything that runs for the comparison.
struct Sides {
    gateway: GatewayUnderTest,
    server: Sshd,
    payload: PathBuf,
    sha256: String,
}

impl Sides {
    fn start(mib: usize) -> Result<Self> {
        let server = Sshd::start(SshdOptions::default())?;
        let payload = server.folder().join("payload");
        let sha256 = write_payload(&payload, mib, 1)?;
        let gateway =
            GatewayUnderTest::start(GatewayOptions::over_ssh(&server, gateway::program()?))?;
        Ok(Self { gateway, server, payload, sha256 })
    }

    fn way(&self, side: Side) -> Result<Way> {
        let host = match side {
            Side::Direct => {
                return Ok(Way { clients: self.server.direct(), host: "target".into() });
            }
            Side::Kernel => "kernel",
            Side::Disk => "disk",
        };
        Ok(Way { clients: self.gateway.open_ssh(PERSON)?, host: host.into() })
    }

    /// Measures the sides in turn, `rounds` times.
    fn compare(
        &self,
        rounds: usize,
        mut measure: impl FnMut(&Way) -> Result<f64>,
    ) -> Result<Figures> {
        let mut figures = Figures::default();
        for _ in 0..rounds {
            for side in ALL {
                figures.add(side, measure(&self.way(side)?)?);
            }
        }
        Ok(figures)
    }
}

/// What was measured, by side.
#[derive(Default)]
struct Figures {
    all: Vec<(Side, f64)>,
}

impl Figures {
    fn add(&mut self, side: Side, figure: f64) {
        self.all.push((side, figure));
    }

    fn of(&self, side: Side) -> f64 {
        median(self.all.iter().filter(|(of, _)| *of == side).map(|(_, it)| *it).collect())
    }

    /// One row for each depth; the goals are those of `kernel`.
    fn rows(&self, name: &str, unit: &str, reach: Option<Goal>, goal: Option<Goal>) -> Vec<Row> {
        let row = |side, depth: &str| Row {
            direct: Some(self.of(Side::Direct)),
            depth: Some(depth.into()),
            ..Row::new(name, unit, self.of(side))
        };
        let kernel = Row { reach, goal, ..row(Side::Kernel, "kernel") };
        vec![kernel, row(Side::Disk, "disk")]
    }
}

fn connects(sides: &Sides, plan: &Plan) -> Result<Vec<Row>> {
    let name = "ssh HOST true";
    eprintln!("measuring: {name}");
    let figures = sides.compare(plan.connects, measure::connect)?;
    let (reach, goal) = (Goal::RatioAtMost(1.2), Goal::RatioAtMost(1.0));
    Ok(figures.rows(name, "ms", Some(reach), Some(goal)))
}

fn transfers(sides: &Sides, plan: &Plan) -> Result<Vec<Row>> {
    let mib = plan.mib;
    let mut rows = Vec::new();
    let name = format!("bulk down, {mib} MiB, recorded");
    eprintln!("measuring: {name}");
    let figures = sides.compare(plan.rounds, |way| measure::bulk_down(way, mib))?;
    let (reach, goal) = (Goal::Ratio(0.6), Goal::Ratio(0.85));
    rows.extend(figures.rows(&name, "MB/s", Some(reach), Some(goal)));
    for (name, upload) in [
        ("scp up", measure::scp_up as fn(&Way, &std::path::Path, usize) -> Result<f64>),
        ("sftp up", measure::sftp_up),
    ] {
        let name = format!("{name}, {mib} MiB, with its SHA-256");
        eprintln!("measuring: {name}");
        let figures = sides.compare(plan.rounds, |way| upload(way, &sides.payload, mib))?;
        let (reach, goal) = (Goal::Ratio(0.6), Goal::Ratio(0.9));
        rows.extend(figures.rows(&name, "MB/s", Some(reach), Some(goal)));
    }
    // scp and sftp, at both depths.
    let expected = plan.rounds * 4;
    // A client is gone before the result of what it did last is written.
    let mut hashed = 0;
    let waited = wait_until("the files' hashes are on record", RESULT_WAIT_MAX, || {
        let events = sides.gateway.events()?;
        let hash = Some(sides.sha256.as_str());
        hashed = events.iter().filter(|event| event.text("/outcome/sha256") == hash).count();
        Ok(hashed == expected)
    });
    waited.with_context(|| format!("{expected} uploads, but {hashed} events with the hash"))?;
    Ok(rows)
}

/// From a keystroke to its echo.
fn echoes(sides: &Sides, plan: &Plan, how: &str, crowd: Option<usize>) -> Result<Vec<Row>> {
    eprintln!("measuring: the echo of a keystroke, {how}");
    let (mut p50, mut p99) = (Figures::default(), Figures::default());
    for _ in 0..plan.rounds {
        for side in ALL {
            let way = sides.way(side)?;
            let crowd = match crowd {
                Some(count) => Some(Crowd::idle(&way, &sides.server, count)?.with_bulk(&way)?),
                None => None,
            };
            let times = measure::echoes(&way, plan.keystrokes)?;
            drop(crowd);
            p50.add(side, percentile(&times, 50));
            p99.add(side, percentile(&times, 99));
        }
    }
    let (direct_p50, direct_p99) = (p50.of(Side::Direct), p99.of(Side::Direct));
    let mut rows = p50.rows(
        &format!("echo of a keystroke, p50, {how}"),
        "µs",
        None,
        Some(Goal::AtMost(direct_p50 + 300.0)),
    );
    let added = Goal::AtMost(direct_p99 + 3_000.0);
    let name = format!("echo of a keystroke, p99, {how}");
    rows.extend(p99.rows(&name, "µs", Some(added), Some(added)));
    Ok(rows)
}

/// What a session that does nothing takes of the gateway's memory.
fn idle(sides: &Sides, plan: &Plan) -> Result<Row> {
    let count = plan.idle;
    eprintln!("measuring: memory of {count} idle sessions");
    let way = sides.way(Side::Kernel)?;
    let (before, _) = sides.gateway.memory()?;
    let crowd = Crowd::idle(&way, &sides.server, count)?;
    let (after, _) = sides.gateway.memory()?;
    drop(crowd);
    let each = after.saturating_sub(before) as f64 / count as f64 / 1e3;
    Ok(Row {
        depth: Some("kernel".into()),
        reach: Some(Goal::AtMost(400.0)),
        goal: Some(Goal::AtMost(200.0)),
        note: format!("{count} shells: from {:.1} to {:.1} MB", mb(before), mb(after)),
        ..Row::new("memory per idle recorded session", "KB", each)
    })
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// The log and the recordings of all that verify.
fn verified(sides: &Sides) -> Result<Row> {
    eprintln!("measuring: loggia verify of this run's log and recordings");
    let started = measure::now();
    let verified = sides.gateway.verify(&[])?;
    let seconds = started.elapsed().as_secs_f64();
    ensure!(verified.exit_code == Some(0), "the log of this run: {}", verified.text);
    let entries = verified.report.pointer("/epochs/0/size").and_then(serde_json::Value::as_u64);
    let entries = entries.context("the report names no size")? as f64;
    Ok(Row {
        note: format!("{entries} entries: intact"),
        ..Row::new("`loggia verify` of this run's log", "entries/s", entries / seconds)
    })
}
