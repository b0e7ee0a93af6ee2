//! The keys by which running sessions can be cancelled.
//!
//! A request to cancel carries nothing but such a key, so the keys that clients get are random
//! and ours; the target's own never leave the gateway.

use crate::codec::startup::CancelKey;
use bytes::Bytes;
use loggia_model::{Mint, Source};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Requests that wait for one session at a time.
const WAITING_MAX: usize = 4;
/// How long a requester is kept for the answer that its request was carried out.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);

/// A request to cancel, on its way to the session.
#[derive(Debug)]
pub(crate) struct CancelAsk {
    /// Who asks, as far as that is known.
    pub(crate) source: Source,
    /// Dropped once the target has carried it out, or will not.
    pub(crate) done: oneshot::Sender<()>,
}

/// The keys of the sessions that run.
#[derive(Debug, Default)]
pub(crate) struct Cancels {
    open: Mutex<HashMap<CancelKey, mpsc::Sender<CancelAsk>>>,
}

/// A session's key, valid until this is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) key: CancelKey,
    pub(crate) asks: mpsc::Receiver<CancelAsk>,
    cancels: Arc<Cancels>,
}

impl Cancels {
    /// Gives a session a key of 64 random bits.
    pub(crate) fn register(self: &Arc<Self>, mint: &Mint) -> Registration {
        let (sender, asks) = mpsc::channel(WAITING_MAX);
        let mut open = self.open.lock();
        let key = loop {
            let process = u32::from_be_bytes(mint.random());
            let secret = Bytes::copy_from_slice(&mint.random::<4>());
            let key = CancelKey { process, secret };
            // Clients take process 0 for "none".
            if process != 0 && !open.contains_key(&key) {
                break key;
            }
        };
        open.insert(key.clone(), sender);
        Registration { key, asks, cancels: Arc::clone(self) }
    }

    /// Passes a request on to its session and waits until it is carried out. `false` where no
    /// session has this key, or its requests pile up.
    pub(crate) async fn ask(&self, key: &CancelKey, source: Source) -> bool {
        let Some(session) = self.open.lock().get(key).cloned() else { return false };
        let (done, answered) = oneshot::channel();
        if session.try_send(CancelAsk { source, done }).is_err() {
            return false;
        }
        let _ = timeout(ANSWER_WAIT_MAX, answered).await;
        true
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.cancels.open.lock().remove(&self.key);
    }
}
