//! The flusher: makes what was written durable, many events with one fdatasync.
//!
//! It begins at the latest 10 ms after the first write, at once when somebody waits for the disk.
//! While one fdatasync runs, the next batch gathers: that is the group commit.

use crate::shared::Shared;
use loggia_model::port::AppendError;
use std::sync::Arc;
use std::time::Duration;

/// From the first write to the begin of the fdatasync at the latest.
const BEGIN_WAIT_MAX: Duration = Duration::from_millis(10);

/// Runs until the ledger is closed and nothing is left to do.
pub(crate) fn run(shared: &Arc<Shared>) {
    while wait_for_work(shared) {
        if flush(shared).is_err() {
            return;
        }
    }
}

/// Waits until there is something to make durable; `false` when the ledger is closed.
fn wait_for_work(shared: &Arc<Shared>) -> bool {
    let mut sequencer = shared.sequencer.lock();
    loop {
        let closed = sequencer.closed.is_some();
        if sequencer.has_work() {
            if sequencer.urgent || closed {
                return true;
            }
            // Not urgent: let a few more gather. A wake-up means that it became urgent.
            let timed_out = shared.work.wait_for(&mut sequencer, BEGIN_WAIT_MAX).timed_out();
            if timed_out || sequencer.urgent {
                return true;
            }
        } else if closed {
            return false;
        } else {
            shared.work.wait(&mut sequencer);
        }
    }
}

/// One round. On return everything that was written before the call is on disk. A failure is
/// fatal, whoever runs the round: what was written may not be on disk, no second try can tell, and
/// whoever saw a receipt would be lied to.
pub(crate) fn flush(shared: &Arc<Shared>) -> Result<(), AppendError> {
    round(shared).inspect_err(|error| shared.fatal(&error.to_string()))
}

fn round(shared: &Arc<Shared>) -> Result<(), AppendError> {
    let _in_order = shared.flushing.lock();
    let unsynced = shared.sequencer.lock().take_unsynced()?;
    let closed = |error: std::io::Error| AppendError::Closed(format!("fdatasync failed: {error}"));
    for (file, path) in &unsynced.files {
        shared.disk.sync_data(file, path).map_err(closed)?;
        shared.metrics.syncs.inc();
    }
    // A crash before this may lose the name of a new segment and all in it; nobody was told yet.
    if unsynced.names_changed {
        shared.disk.sync_folder(shared.segments.folder()).map_err(closed)?;
        shared.metrics.syncs.inc();
    }
    if let Some(since) = unsynced.since {
        shared.metrics.note_lag(since.elapsed());
    }
    shared.tail.push(unsynced.entries);
    shared.sequencer.lock().syncing_since = None;
    shared.note_backlog();
    shared.on_disk.send_replace(unsynced.size);
    Ok(())
}
