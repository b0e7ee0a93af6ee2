//! Kills the gateway, fills its disk, and counts what is missing.
//!
//! The witness is the target: PostgreSQL logs each statement that it received, and knows nothing
//! of Loggia. Whatever stands in that log must stand in the ledger, whatever happened to the
//! gateway. `cargo xtask torture` runs this; tests call [`kill_rounds`] and [`full_disk_rounds`].

pub mod coverage;
mod full_disk;
mod kill;
mod load;
mod promises;
mod ssh;

use std::fmt;
use std::time::Duration;

pub use full_disk::{FullDiskCounts, full_disk_rounds};
pub use kill::kill_rounds;
pub use ssh::{SshKillCounts, ssh_kill_rounds};

/// What the kill rounds found. Everything that must not be is an error instead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KillCounts {
    /// How often the gateway was killed.
    pub rounds: u64,
    /// Statements in the target's own log.
    pub received: u64,
    /// Statements in the ledger.
    pub recorded: u64,
    /// Sessions that were cut off.
    pub sessions_cut: u64,
    /// Credentials that were issued, each bound to an entry that was checked.
    pub credentials: u64,
    /// Checkpoints that were seen before a kill and are still contained.
    pub checkpoints: u64,
    /// How often the whole log was verified.
    pub verified: u64,
    /// The longest time from the start of the process until it was ready again.
    pub slowest_recovery: Duration,
}

impl fmt::Display for KillCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "kill rounds: {} kills, {} statements received by the target, {} recorded, 0 missing, \
             {} sessions cut, {} credentials and {} checkpoints kept, {} verifications intact, \
             slowest recovery {} ms",
            self.rounds,
            self.received,
            self.recorded,
            self.sessions_cut,
            self.credentials,
            self.checkpoints,
            self.verified,
            self.slowest_recovery.as_millis()
        )
    }
}

/// Numbers from a seed, so that a run can be repeated (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Yes, once in so many times.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.next().is_multiple_of(times.max(1))
    }

    /// A time between the two.
    pub(crate) fn between_ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.next() % (to - from).max(1))
    }
}
