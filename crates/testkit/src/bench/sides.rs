//! The sides of the comparison, all over one PostgreSQL server on one machine.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::pgbench::{self, Environment};
use super::row::median;
use crate::gateway::{self, GatewayOptions, GatewayUnderTest};
use crate::pgbouncer::{Pgbouncer, PgbouncerOptions};
use crate::postgres::{Postgres, PostgresOptions};

/// Who signs in through Loggia.
const PERSON: &str = "alice";

/// A way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Directly, with TLS.
    Direct,
    /// Directly, without TLS.
    Plain,
    /// Through pgbouncer, TLS on both sides.
    Peer,
    /// Through Loggia, TLS on both sides, `kernel` depth.
    Kernel,
    /// Through Loggia, TLS on both sides, `disk` depth.
    Disk,
}

pub(super) const ALL: [Side; 5] = [Side::Direct, Side::Plain, Side::Peer, Side::Kernel, Side::Disk];
/// The sides that use TLS.
pub(super) const WITH_TLS: [Side; 4] = [Side::Direct, Side::Peer, Side::Kernel, Side::Disk];

/// Everything that runs for the comparison.
pub(super) struct Sides {
    pub(super) gateway: GatewayUnderTest,
    pub(super) peer_name: String,
    bouncer: Pgbouncer,
    pub(super) server: Postgres,
}

impl Sides {
    /// Starts the server, fills it, starts pgbouncer and Loggia.
    pub(super) fn start() -> Result<Self> {
        let server = Postgres::start(PostgresOptions::for_benchmarks())?;
        pgbench::make_tables(&server)?;
        let bouncer = Pgbouncer::start(&server, &PgbouncerOptions::default())?;
        let gateway = GatewayUnderTest::start(GatewayOptions::over(&server, gateway::program()?))?;
        let version = pgbench::version(Path::new("/usr/sbin/pgbouncer"))?;
        let peer_name = format!("pgbouncer {version}");
        Ok(Self { gateway, peer_name, bouncer, server })
    }

    /// The environment for libpq programs on a side.
    pub(super) fn environment(&self, side: Side) -> Result<Environment> {
        Ok(match side {
            Side::Direct => self.server.psql_env(),
            Side::Plain => {
                let mut plain = self.server.psql_env();
                plain.retain(|(name, _)| *name != "PGSSLMODE");
                plain.push(("PGSSLMODE", "disable".into()));
                plain
            }
            Side::Peer => self.bouncer.psql_env(),
            Side::Kernel => self.gateway.psql_env(PERSON, "kernel", None)?,
            Side::Disk => self.gateway.psql_env(PERSON, "disk", None)?,
        })
    }

    /// Measures the sides in turn, `rounds` times.
    pub(super) fn compare(
        &self,
        sides: &[Side],
        rounds: usize,
        mut measure: impl FnMut(Side, &Environment) -> Result<f64>,
    ) -> Result<Figures> {
        let mut all = Vec::new();
        let mut syncs = Vec::new();
        for _ in 0..rounds {
            for side in sides {
                let environment = self.environment(*side)?;
                let before = Syncs::of(&self.gateway)?;
                all.push((*side, measure(*side, &environment)?));
                syncs.push((*side, Syncs::of(&self.gateway)?.since(&before)));
            }
        }
        Ok(Figures { all, syncs })
    }
}

/// What was measured, by side.
pub(super) struct Figures {
    all: Vec<(Side, f64)>,
    syncs: Vec<(Side, Syncs)>,
}

impl Figures {
    /// Figures of which nothing else is known.
    pub(super) fn plain(all: Vec<(Side, f64)>) -> Self {
        Self { all, syncs: Vec::new() }
    }

    /// The median of a side; `None` where it was not measured.
    pub(super) fn of(&self, side: Side) -> Option<f64> {
        let figures: Vec<f64> =
            self.all.iter().filter(|(of, _)| *of == side).map(|(_, figure)| *figure).collect();
        (!figures.is_empty()).then(|| median(figures))
    }

    /// What the ledger synced while a side was measured, in words.
    pub(super) fn syncs(&self, side: Side) -> String {
        let of_side = self.syncs.iter().filter(|(of, _)| *of == side).map(|(_, syncs)| syncs);
        of_side.fold(Syncs::default(), |sum, syncs| sum.and(syncs)).to_text()
    }
}

/// The ledger's flushes to disk, from its metrics.
#[derive(Debug, Clone, Default)]
struct Syncs {
    count: f64,
    /// Upper bound in seconds, and how many flushes lagged at most so much.
    lags: Vec<(f64, f64)>,
}

impl Syncs {
    fn of(gateway: &GatewayUnderTest) -> Result<Self> {
        let (_, text) = gateway.get("/metrics")?;
        let count = gateway.metric("loggia_ledger_syncs_total")?;
        let lags = text.lines().filter_map(|line| {
            let rest = line.strip_prefix("loggia_ledger_sync_lag_seconds_bucket{le=\"")?;
            let (bound, count) = rest.split_once("\"} ")?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, count.parse().ok()?))
        });
        let count = count.context("the ledger's metrics do not count its syncs")?;
        Ok(Self { count, lags: lags.collect() })
    }

    fn combined(&self, other: &Self, with: impl Fn(f64, f64) -> f64) -> Self {
        if self.lags.is_empty() {
            return Self { count: with(0.0, other.count), lags: other.lags.clone() };
        }
        let lags = self.lags.iter().zip(&other.lags);
        let lags = lags.map(|((bound, one), (_, two))| (*bound, with(*one, *two)));
        Self { count: with(self.count, other.count), lags: lags.collect() }
    }

    fn since(&self, before: &Self) -> Self {
        self.combined(before, |now, then| now - then)
    }

    fn and(self, other: &Self) -> Self {
        self.combined(other, |one, two| one + two)
    }

    /// The bound below which this share of the flushes lagged, in ms.
    fn lag_ms(&self, share: f64) -> Option<f64> {
        let (_, all) = self.lags.last()?;
        let (bound, _) = self.lags.iter().find(|(_, count)| *count >= share * all)?;
        Some(bound * 1e3)
    }

    fn to_text(&self) -> String {
        match (self.lag_ms(0.5), self.lag_ms(0.99)) {
            (Some(p50), Some(p99)) => {
                format!("{:.0} syncs, lag p50 ≤ {p50:.1} ms, p99 ≤ {p99:.1} ms", self.count)
            }
            _ => format!("{:.0} syncs", self.count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lags_are_read_off_the_buckets() {
        let syncs = Syncs {
            count: 10.0,
            lags: vec![(0.001, 4.0), (0.002, 9.0), (0.004, 10.0), (f64::INFINITY, 10.0)],
        };
        assert_eq!(syncs.lag_ms(0.5), Some(2.0));
        assert_eq!(syncs.lag_ms(0.99), Some(4.0));
        let none = syncs.since(&syncs);
        assert_eq!(none.count, 0.0);
        assert!(syncs.clone().and(&none).to_text().starts_with("10 syncs, lag p50 ≤ 2.0 ms"));
    }
}
