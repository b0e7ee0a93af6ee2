//! *accept*: one listener, bounded.

use crate::protocol::Protocol;
use crate::sources::Sources;
use crate::spine::Spine;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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
    let unidentified = Arc::new(Semaphore::new(spine.limits().unidentified_max));
    let sources = Sources::new(spine.limits().unidentified_of_source_max);
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
        let (Ok(place), Ok(waiting), Some(of_source)) = (
            Arc::clone(&room).try_acquire_owned(),
            Arc::clone(&unidentified).try_acquire_owned(),
            sources.enter(from.ip()),
        ) else {
            // Closing at once is the cheapest answer there is, and a flood must stay cheap.
            spine.turned_away(protocol.name(), from);
            continue;
        };
        let (protocol, spine) = (Arc::clone(&protocol), Arc::clone(&spine));
        running.spawn(async move {
            let _ = socket.set_nodelay(true);
            spine.walk(&*protocol, socket, peer, (waiting, of_source)).await;
            drop(place);
        });
    }
}
