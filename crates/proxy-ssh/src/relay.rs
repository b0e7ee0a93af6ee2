//! *relay*: one SSH connection. Each channel of the client is served by itself, with a connection
//! to the target of its own, so that one that stands still holds up no other.

use crate::channel::{self, ClientLeg};
use crate::door::{Client, ClientAsks, NeverPassed};
use crate::forward;
use crate::jump::Jumps;
use crate::upstream::{self, Upstream, UpstreamParts};
use futures::stream::{FuturesUnordered, StreamExt};
use loggia_gate::{EndNotice, EndReason, Ended, Unrecorded, Watch};
use loggia_model::PublicError;
use loggia_model::catalogue::Kind;
use loggia_model::port::Resolve;
use parking_lot::Mutex;
use russh::Disconnect;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Channels of one connection at a time.
const CHANNELS_MAX: usize = 64;
/// Refusals that are being recorded at a time beside them; then the client is not read on.
const REFUSALS_MAX: usize = 16;
/// Connections to the target that are dialled at a time for one session.
const DIALLING_MAX: usize = 4;
/// Connections to the target that are kept for the next channel.
const IDLE_MAX: usize = 2;
/// How long channels may take to say goodbye when the client is gone. Each of them gives up what
/// runs in it before that ([`channel::CLOSE_WAIT_MAX`]) and has time left for its result.
const SERVE_OUT_MAX: Duration = channel::CLOSE_WAIT_MAX.saturating_add(Duration::from_secs(3));
/// How long channels may take to say goodbye once the session is ordered to end.
const GOODBYE_MAX: Duration = Duration::from_secs(4);

/// What a relay needs beside its two legs.
pub(crate) struct RelayParts<'a> {
    pub(crate) upstream: &'a UpstreamParts,
    /// Told when a shell with a terminal begins.
    pub(crate) notice: &'a str,
    /// Ways back to this gateway's own door.
    pub(crate) jumps: &'a Jumps,
    /// What can be reached.
    pub(crate) resolve: &'a dyn Resolve,
}

/// Why a session stops.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The client is gone, or said goodbye.
    ClientClosed,
    /// The session was ordered to end.
    Ordered(EndNotice),
    /// What it does cannot be recorded.
    Unrecordable(Unrecorded),
}

impl From<Unrecorded> for Stop {
    fn from(error: Unrecorded) -> Self {
        Self::Unrecordable(error)
    }
}

/// Bytes of a session's channels.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
}

/// Connections to the target of one session.
pub(crate) struct Pool<'a> {
    watch: &'a Watch,
    parts: &'a UpstreamParts,
    idle: Mutex<Vec<Upstream>>,
    /// Several channels that open at once must not look like a flood to the target.
    dialling: Semaphore,
}

impl Pool<'_> {
    /// One that nobody uses, or a new one.
    pub(crate) async fn take(&self) -> Result<Upstream, PublicError> {
        // Never closed: the permit is always had, sooner or later.
        let _turn = self.dialling.acquire().await;
        while let Some(idle) = { self.idle.lock().pop() } {
            if idle.is_alive() {
                return Ok(idle);
            }
        }
        upstream::dial(self.watch.dial(), self.parts).await
    }

    /// Takes one back that is of use for another channel.
    pub(crate) fn give_back(&self, upstream: Upstream) {
        let mut idle = self.idle.lock();
        if upstream.is_alive() && idle.len() < IDLE_MAX {
            idle.push(upstream);
        }
    }
}

/// Serves a session until it is over.
pub(crate) async fn run(
    mut client: Client,
    first: Upstream,
    watch: &Watch,
    parts: RelayParts<'_>,
) -> Ended {
    client.let_in();
    let totals = Totals::default();
    let pool = Pool {
        watch,
        parts: parts.upstream,
        idle: Mutex::new(vec![first]),
        dialling: Semaphore::new(DIALLING_MAX),
    };
    let leg = ClientLeg { handle: client.handle.clone(), pressure: Arc::clone(&client.pressure) };
    let stop = {
        let (listening, gone) = (Mutex::default(), CancellationToken::new());
        let serving = Serving {
            watch,
            parts: &parts,
            pool: &pool,
            client: &leg,
            totals: &totals,
            listening: &listening,
            gone: &gone,
        };
        serving.serve(&mut client).await
    };
    // A session that is ordered to end while the ledger is paused ends by that order.
    let stop = match (stop, watch.end_ordered()) {
        (Stop::Unrecordable(_), Some(notice)) => Stop::Ordered(notice),
        (stop, _) => stop,
    };
    let (reason, words) = match stop {
        Stop::ClientClosed => (EndReason::ClientClosed, None),
        Stop::Ordered(notice) => {
            let words = format!("Loggia ended this session: {}", notice.reason);
            (EndReason::Ordered(notice), Some(words))
        }
        Stop::Unrecordable(error) => {
            tracing::warn!(%error, "a session ends because it cannot be recorded");
            (EndReason::Unrecordable, Some(UNRECORDABLE.to_owned()))
        }
    };
    match words {
        Some(words) => client.hang_up(Disconnect::ByApplication, words).await,
        None => drop(client),
    }
    Ended {
        reason,
        bytes_in: totals.bytes_in.load(Ordering::Relaxed),
        bytes_out: totals.bytes_out.load(Ordering::Relaxed),
    }
}

/// What a client is told whose session cannot be recorded any more.
pub(crate) const UNRECORDABLE: &str = "what this session does cannot be recorded any more, so it ends here\n  the gateway's disk may \
     be full; `loggia doctor` on its machine tells. Then try again";

/// A session under way.
#[derive(Clone, Copy)]
pub(crate) struct Serving<'a> {
    pub(crate) watch: &'a Watch,
    pub(crate) parts: &'a RelayParts<'a>,
    pub(crate) pool: &'a Pool<'a>,
    pub(crate) client: &'a ClientLeg,
    pub(crate) totals: &'a Totals,
    /// Ports on which the target listens for the client: by address and port, how to stop it.
    pub(crate) listening: &'a Mutex<HashMap<(String, u32), Arc<Notify>>>,
    /// Cancelled when the client is gone.
    pub(crate) gone: &'a CancellationToken,
}

impl Serving<'_> {
    /// Serves channels until there is a reason to stop, then lets them say goodbye.
    async fn serve(self, client: &mut Client) -> Stop {
        let open = AtomicUsize::new(0);
        let mut channels = FuturesUnordered::new();
        let mut end = self.watch.end_signal();
        let mut keeping = pin!(self.watch.keep_recording());
        let stop = loop {
            tokio::select! {
                biased;
                notice = end.ended() => break Stop::Ordered(notice),
                error = &mut keeping => break Stop::Unrecordable(error),
                Some(done) = channels.next(), if !channels.is_empty() => {
                    open.fetch_sub(1, Ordering::Relaxed);
                    if let Err(stop) = done {
                        break stop;
                    }
                }
                asks = client.asks.recv(), if channels.len() < CHANNELS_MAX + REFUSALS_MAX => {
                    let Some(asks) = asks else { break Stop::ClientClosed };
                    let full = open.fetch_add(1, Ordering::Relaxed) >= CHANNELS_MAX;
                    let refused = matches!(asks, ClientAsks::Refused(_));
                    // Dropped, what was asked for is refused.
                    channels.push(self.answer((!full || refused).then_some(asks)));
                }
            }
        };
        self.gone.cancel();
        let goodbye = async {
            while let Some(done) = channels.next().await {
                if let Err(stop) = done {
                    tracing::debug!(?stop, "a channel ended in the end of its session");
                }
            }
        };
        match &stop {
            Stop::ClientClosed => drop(timeout(SERVE_OUT_MAX, goodbye).await),
            Stop::Ordered(_) => drop(timeout(GOODBYE_MAX, goodbye).await),
            // Nothing more is forwarded of what cannot be recorded.
            Stop::Unrecordable(_) => {}
        }
        stop
    }

    async fn answer(self, asks: Option<ClientAsks>) -> Result<(), Stop> {
        match asks {
            None => Ok(()),
            Some(ClientAsks::Session(channel)) => channel::serve(self, channel).await,
            Some(ClientAsks::Connect { channel, host, port, origin }) => {
                forward::connect(self, channel, host, port, origin).await
            }
            Some(ClientAsks::Listen { address, port, reply }) => {
                forward::listen(self, address, port, reply).await
            }
            Some(ClientAsks::Unlisten { address, port, reply }) => {
                let listening = self.listening.lock().remove(&(address, port));
                let _ = reply.send(listening.is_some());
                // Whoever serves it tells the target.
                listening.iter().for_each(|stop| stop.notify_one());
                Ok(())
            }
            Some(ClientAsks::Refused(NeverPassed { request, reason, text })) => {
                let draft = self
                    .watch
                    .draft(Kind::SshRefused)
                    .set("/detail/request", request)
                    .set("/detail/reason", reason)
                    .set("/detail/text", text);
                Ok(self.watch.refused(draft).await?)
            }
        }
    }
}
