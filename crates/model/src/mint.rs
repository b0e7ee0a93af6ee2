//! Time and randomness as parameters, and what is made of both: ids and event drafts.

use crate::catalogue::Kind;
use crate::event::EventDraft;
use crate::id::EventId;
use crate::seal::Seed;
use std::sync::Arc;

/// The wall clock.
pub trait Clock: Send + Sync {
    /// Microseconds since 1970. May go backwards when the machine's clock is set.
    fn now_us(&self) -> i64;
}

/// A cryptographic source of randomness.
pub trait Entropy: Send + Sync {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}

/// Makes ids and drafts. Cheap to clone.
#[derive(Clone)]
pub struct Mint {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Mint {
    /// From the two sources that everything else is made of.
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { clock, entropy }
    }

    /// Microseconds since 1970.
    pub fn now_us(&self) -> i64 {
        self.clock.now_us()
    }

    /// Random bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }

    /// The two parameters of every id's `from_parts`: milliseconds and random bytes.
    pub fn id_parts(&self) -> (u64, [u8; 10]) {
        (u64::try_from(self.clock.now_us() / 1000).unwrap_or(0), self.random())
    }

    /// A new event of this kind, with an id and a seed of its own.
    pub fn draft(&self, kind: Kind) -> EventDraft {
        // One call for both: on every statement, calls into the operating system count.
        let random: [u8; 42] = self.random();
        let id = random.first_chunk().copied().unwrap_or_default();
        let seed = random.last_chunk().copied().unwrap_or_default();
        let unix_ms = u64::try_from(self.clock.now_us() / 1000).unwrap_or(0);
        EventDraft::new(kind, EventId::from_parts(unix_ms, id), Seed::from_random(seed))
    }
}
