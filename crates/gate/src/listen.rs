//! *accept*: one listener, bounded.

use crate::protocol::Protocol;
use crate::sources::{HangUp, Sources};
use crate::spine::Spine;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections that lost their place before they were identified and have not ended yet, at a time.
const ENDING_MAX: usize = 64;

/// Accepts connections until `stop`, each walking the spine in a task of its own, at most
/// `connections_max` at a time. Returns once no connection is accepted any more; the tracker knows
/// those that still run.
pub async fn listen<P: Protocol>(
    listener: TcpListener,
    protocol: Arc<P>,
    spine: Arc<Spine>,
    running: TaskTracker,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(spine.limits().connections_max));
    let limits = *spine.limits();
    let unidentified = Arc::new(Semaphore::new(limits.unidentified_max + ENDING_MAX));
    let sources = Sources::bounded(limits.unidentified_max, limits.unidentified_of_source_max);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: wait for some connection to end.
                tracing::warn!(%error, listener = protocol.name(), "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let from = protocol.comes_from(peer);
        let places = || {
            let place = Arc::clone(&room).try_acquire_owned().ok()?;
            let waiting = Arc::clone(&unidentified).try_acquire_owned().ok()?;
            // Last, because it may make somebody else go.
            let of_source = sources.enter(from.ip(), Some(HangUp::of(&socket)?))?;
            Some((place, (waiting, of_source)))
        };
        let Some((place, waiting)) = places() else {
            // Closing at once is the cheapest answer there is, and a flood must stay cheap.
            spine.turned_away(protocol.name(), from);
            continue;
        };
        let (protocol, spine) = (Arc::clone(&protocol), Arc::clone(&spine));
        running.spawn(async move {
            let _ = socket.set_nodelay(true);
            spine.walk(&*protocol, socket, peer, waiting).await;
            drop(place);
        });
    }
}
