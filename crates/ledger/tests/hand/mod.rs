//! A clock and a source of randomness that a test moves by hand: each look at the clock is 7 µs
//! later, each random number the next of a fixed row.

use loggia_model::{Clock, Entropy, Mint};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

pub(crate) struct Hand {
    pub(crate) now_us: AtomicI64,
    count: AtomicU64,
}

impl Hand {
    /// With the row from `count` on, and a mint that looks at this clock.
    pub(crate) fn new(count: u64) -> (Arc<Self>, Mint) {
        let now_us = AtomicI64::new(1_790_000_000_000_000);
        let hand = Arc::new(Self { now_us, count: AtomicU64::new(count) });
        let mint = Mint::new(Arc::clone(&hand) as _, Arc::clone(&hand) as _);
        (hand, mint)
    }
}

impl Clock for Hand {
    fn now_us(&self) -> i64 {
        self.now_us.fetch_add(7, Ordering::Relaxed)
    }
}

impl Entropy for Hand {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let next =
                self.count.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            chunk.copy_from_slice(&next.to_le_bytes()[..chunk.len()]);
        }
    }
}
