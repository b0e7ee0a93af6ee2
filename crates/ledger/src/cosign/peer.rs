//! Where one witness stands.

use super::{CosignLimits, WitnessPeer};
use loggia_tlog::checkpoint::Cosignature;
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// What a witness last did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PeerState {
    /// Not asked yet.
    #[default]
    New,
    /// It cosigned.
    Cosigns,
    /// It did not answer.
    Unreachable,
    /// It refused, or answered falsely.
    Refuses,
}

impl PeerState {
    /// The word in events and in `/readyz`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "not_asked",
            Self::Cosigns => "cosigns",
            Self::Unreachable => "unreachable",
            Self::Refuses => "refuses",
        }
    }
}

/// Where a witness stands, for those who watch the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessStanding {
    /// Its name in the configuration.
    pub name: String,
    /// What it last did.
    pub state: PeerState,
    /// Why, where it does not cosign.
    pub why: Option<String>,
    /// Entries of the last checkpoint that it cosigned; 0 before the first.
    pub cosigned_size: u64,
    /// Time since the first checkpoint was published that it has not cosigned, seconds.
    pub lag_s: u64,
}

pub(super) struct Peer {
    pub(super) witness: WitnessPeer,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    state: PeerState,
    why: Option<String>,
    cosigned_size: u64,
    /// What the witness has seen last, as far as it said so.
    seen: Option<u64>,
    behind_since_us: Option<i64>,
    wait_until: Option<Instant>,
    silences: u32,
    /// Whether an event says that it lags.
    told_lagging: bool,
    /// For what an event says that it refuses.
    told_refusing: Option<&'static str>,
}

impl Peer {
    pub(super) fn new(witness: WitnessPeer) -> Self {
        Self { witness, inner: Mutex::default() }
    }

    /// Whether it has not cosigned this checkpoint and may be asked.
    pub(super) fn due(&self, size: u64, now_us: i64, now: Instant) -> bool {
        let mut inner = self.inner.lock();
        if inner.cosigned_size >= size && inner.state == PeerState::Cosigns {
            return false;
        }
        inner.behind_since_us.get_or_insert(now_us);
        inner.wait_until.is_none_or(|until| until <= now)
    }

    /// The size that it has seen last, as far as is known.
    pub(super) fn believed(&self) -> u64 {
        self.inner.lock().seen.unwrap_or(0)
    }

    /// It cosigned; whether an event had said that it does not.
    pub(super) fn cosigned(&self, size: u64) -> bool {
        let mut inner = self.inner.lock();
        let told = inner.told_lagging || inner.told_refusing.is_some();
        *inner = Inner {
            state: PeerState::Cosigns,
            cosigned_size: size,
            seen: Some(size),
            ..Inner::default()
        };
        told
    }

    pub(super) fn silent(&self, why: String, limits: CosignLimits, now: Instant) {
        let mut inner = self.inner.lock();
        let doubled = limits.silence_wait_min.saturating_mul(1 << inner.silences.min(16));
        inner.silences = inner.silences.saturating_add(1);
        inner.wait_until = Some(now + doubled.min(limits.wait_max));
        inner.state = PeerState::Unreachable;
        inner.why = Some(why);
    }

    /// It refused; whether that is news.
    pub(super) fn refused(&self, reason: &'static str, limits: CosignLimits, now: Instant) -> bool {
        let mut inner = self.inner.lock();
        inner.wait_until = Some(now + limits.wait_max);
        inner.state = PeerState::Refuses;
        inner.why = Some(reason.to_owned());
        // What it has seen is asked for again, because it may not be what it was.
        inner.seen = None;
        inner.told_refusing.replace(reason) != Some(reason)
    }

    /// Seconds since the first checkpoint was published that it has not cosigned.
    pub(super) fn lag_s(&self, size: u64, now_us: i64) -> u64 {
        let inner = self.inner.lock();
        match inner.behind_since_us {
            Some(since_us) if inner.cosigned_size < size => {
                u64::try_from(now_us.saturating_sub(since_us) / 1_000_000).unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// Whether it lags and nobody was told yet.
    pub(super) fn lags(&self, lag_s: u64, limits: CosignLimits) -> bool {
        let mut inner = self.inner.lock();
        let lags = Duration::from_secs(lag_s) > limits.lag_max;
        lags && !std::mem::replace(&mut inner.told_lagging, true)
    }

    pub(super) fn is_among(&self, taken: &[Cosignature]) -> bool {
        taken.iter().any(|one| {
            self.witness.keys.iter().any(|key| key.name() == one.name && key.id() == one.key_id)
        })
    }

    pub(super) fn standing(&self, size: u64, now_us: i64) -> WitnessStanding {
        let lag_s = self.lag_s(size, now_us);
        let inner = self.inner.lock();
        WitnessStanding {
            name: self.witness.name.clone(),
            state: inner.state,
            why: inner.why.clone(),
            cosigned_size: inner.cosigned_size,
            lag_s,
        }
    }
}
