//! Followers: each in a thread of its own, so that a slow one holds up neither the others nor
//! the ledger. One that falls behind is fed from files; nothing is dropped.

use crate::error::LedgerError;
use crate::ledger::read_anywhere;
use crate::shared::{Fed, Shared};
use loggia_model::port::Follow;
use parking_lot::Mutex;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

/// Entries that a follower is given at a time.
const BATCH_ENTRIES: usize = 4_096;
/// How often a follower looks for new entries.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Feeds a follower until the ledger closes, with all that was on disk by then.
pub(crate) fn run(shared: &Arc<Shared>, follower: &dyn Follow, feeding: &Mutex<()>) {
    let mut told = false;
    loop {
        let goes_on = shared.sleep(LOOK_INTERVAL);
        match feed(shared, follower, feeding) {
            Ok(()) => told = false,
            Err(error) if !std::mem::replace(&mut told, true) => {
                tracing::error!(follower = follower.name(), %error, "a follower cannot be fed");
            }
            Err(_) => {}
        }
        if !goes_on {
            return;
        }
    }
}

fn feed(
    shared: &Arc<Shared>,
    follower: &dyn Follow,
    feeding: &Mutex<()>,
) -> Result<(), LedgerError> {
    loop {
        let _feeding = feeding.lock();
        let entries = read_anywhere(shared, follower.cursor(), BATCH_ENTRIES)?;
        if entries.is_empty() {
            return Ok(());
        }
        follower.apply(&entries);
    }
}

/// Has every follower forget what was disclosed. Gives the names of those that did not come to it
/// by the deadline, or broke over it.
pub(crate) fn forget(shared: &Shared, wait_max: Duration) -> Vec<&'static str> {
    let followers = shared.followers.lock().clone();
    let since = tokio::time::Instant::now();
    let forgot = |fed: &Fed| {
        let left = wait_max.saturating_sub(since.elapsed());
        let Some(_feeding) = fed.feeding.try_lock_for(left) else { return false };
        std::panic::catch_unwind(AssertUnwindSafe(|| fed.follower.forget())).is_ok()
    };
    followers.iter().filter(|fed| !forgot(fed)).map(|fed| fed.follower.name()).collect()
}
