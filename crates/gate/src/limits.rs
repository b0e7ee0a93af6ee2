//! Every limit of the spine, with its default. Units stand in the names.

use loggia_model::decision::Obligations;
use std::time::Duration;

/// Limits of the listeners and of the way to a session.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections of one listener at a time, identified or not.
    pub connections_max: usize,
    /// Connections that have not been identified yet, at a time, per listener; for one more, the
    /// oldest of the source that has most is hung up on.
    pub unidentified_max: usize,
    /// The same, of one source: one more of it is turned away.
    pub unidentified_of_source_max: usize,
    /// From accept to the end of *open*, and once more for *identify*.
    pub open_wait_max: Duration,
    /// For *dial*.
    pub dial_wait_max: Duration,
    /// How long a session is paused for a ledger that takes no events before it is ended.
    pub pause_max: Duration,
    /// What holds for a session unless policy says otherwise.
    pub session: SessionLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            unidentified_max: 256,
            unidentified_of_source_max: 64,
            open_wait_max: Duration::from_secs(15),
            dial_wait_max: Duration::from_secs(15),
            pause_max: Duration::from_secs(30),
            session: SessionLimits::default(),
        }
    }
}

/// Limits of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Time without an action, in microseconds.
    pub idle_us_max: i64,
    /// Time in all, in microseconds.
    pub session_us_max: i64,
    /// Bytes that its events and its recording take; the session ends there.
    pub recorded_bytes_max: u64,
    /// Bytes that its recording takes; beyond, input and output are hashed and counted only.
    pub recording_bytes_max: u64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            idle_us_max: 8 * 3_600_000_000,
            session_us_max: 24 * 3_600_000_000,
            recorded_bytes_max: 8 << 30,
            recording_bytes_max: 1 << 30,
        }
    }
}

impl SessionLimits {
    /// With what policy obliges to in their place.
    pub fn with(self, obligations: Obligations) -> Self {
        let us =
            |seconds: u64| i64::try_from(seconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
        Self {
            idle_us_max: obligations.idle_s_max.map_or(self.idle_us_max, us),
            session_us_max: obligations.session_s_max.map_or(self.session_us_max, us),
            recorded_bytes_max: obligations.recorded_bytes_max.unwrap_or(self.recorded_bytes_max),
            recording_bytes_max: self.recording_bytes_max,
        }
    }
}
