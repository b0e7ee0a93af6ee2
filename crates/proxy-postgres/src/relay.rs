//! *relay*: one session, in one task. For each action of the client observe, decide, record,
//! forward; for each answer observe, forward, record the result.
//!
//! At `kernel` depth a statement costs no switch of tasks: the write to the log is a call, and
//! both directions are served by the loop below. Neither side is read while the other is behind.

mod answers;
mod goodbye;
mod intake;
mod outgoing;
mod refusals;
mod requests;

#[cfg(test)]
mod model;

use crate::cancels::{CancelAsk, Registration};
use crate::codec::encode::{self, Report, Severity};
use crate::codec::frame::Limits;
use crate::codec::scan::Scanner;
use crate::codec::startup::CancelKey;
use crate::frontend::Client;
use crate::refusal::SUCCESS;
use crate::upstream::{Greeting, TargetStream, TargetTls};
use answers::make_room;
use bytes::{Buf, BytesMut};
use goodbye::Farewell;
use intake::Intake;
use loggia_gate::{
    ActionRef, Dialled, EndNotice, EndReason, EndSignal, Ended, Misframed, TargetWriter,
    Unrecorded, Watch,
};
use loggia_model::{Fault, PublicError};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

/// Bytes that may wait to be written to one side before the other is no longer read.
const WAITING_BYTES_MAX: usize = 256 * 1024;
/// Room that is made for one read of the client, in bytes.
const CLIENT_READ_BYTES: usize = 16 * 1024;
/// Room that is made for one read of the target, in bytes.
const TARGET_READ_BYTES: usize = 32 * 1024;

/// The target's leg as the spine gives it.
pub(crate) type Target =
    Dialled<ReadHalf<TargetStream>, TargetWriter<WriteHalf<TargetStream>>, Greeting>;

/// What a relay needs beside its two legs.
pub(crate) struct RelayParts {
    /// The session's cancel key.
    pub(crate) registration: Registration,
    /// TLS towards targets, to cancel.
    pub(crate) tls: Arc<TargetTls>,
    /// What the client is told when the session begins.
    pub(crate) notice: String,
    /// Sizes of the client's messages.
    pub(crate) messages: Limits,
    /// A name that no prepared statement has.
    pub(crate) nonexistent: Vec<u8>,
}

/// Why the loop stops.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The client is gone, or said goodbye.
    ClientClosed,
    /// The target is gone.
    TargetClosed,
    /// The session was ordered to end.
    Ordered(EndNotice),
    /// What it does cannot be recorded.
    Unrecordable(PublicError),
    /// One side broke the protocol, or did something that is not let through.
    Broken {
        /// What the client is told.
        report: Report,
        /// For the gateway's own log.
        why: String,
    },
    /// What would have gone to the target does not stand where a message begins: a mistake here.
    Misframed(Misframed),
}

impl From<Misframed> for Stop {
    fn from(error: Misframed) -> Self {
        Self::Misframed(error)
    }
}

impl From<Unrecorded> for Stop {
    fn from(error: Unrecorded) -> Self {
        let public = PublicError::new(
            "unrecordable",
            Fault::Gateway,
            "what this session does cannot be recorded any more, so it ends here",
        )
        .hint(
            "the gateway's disk may be full; `loggia doctor` on its machine tells. Then try again",
        )
        .cause(error);
        Self::Unrecordable(public)
    }
}

/// One session under way.
pub(crate) struct Relay<'a> {
    watch: &'a mut Watch,
    ended: Pin<Box<dyn Future<Output = EndNotice> + Send>>,
    parts: RelayParts,
    intake: Intake<ActionRef>,
    target_key: Option<CancelKey>,
    last_cancel: Option<Instant>,

    client_read: ReadHalf<TlsStream<TcpStream>>,
    client_write: WriteHalf<TlsStream<TcpStream>>,
    client_in: BytesMut,
    client_out: BytesMut,
    /// Whether something was written to the client that may not be flushed yet.
    client_dirty: bool,
    client_bytes: u64,
    /// Whether there is more to take of the client once answers have come.
    stalled: bool,
    /// Whether the client has said goodbye.
    goodbye: bool,

    target_read: ReadHalf<TargetStream>,
    target_in: BytesMut,
    target_out: TargetWriter<WriteHalf<TargetStream>>,
    /// Whether something was queued for the target that may not be flushed yet.
    target_dirty: bool,
    scanner: Scanner,
    /// Whose turn it is to be read first.
    client_first: bool,
}

/// What happened next.
enum Happened {
    Ended(EndNotice),
    CancelAsked(Option<CancelAsk>),
    ClientWritten(io::Result<()>),
    TargetWritten(io::Result<()>),
    ClientRead(io::Result<usize>),
    TargetRead(io::Result<usize>),
}

/// Serves a session until it is over.
pub(crate) async fn run(
    client: Client,
    target: Target,
    watch: &mut Watch,
    parts: RelayParts,
) -> Ended {
    let replication = client.replication().is_some();
    let mut relay = Relay::new(client, target, watch, parts);
    let stop = match relay.serve(replication).await {
        Ok(never) => match never {},
        Err(stop) => stop,
    };
    // A session that is ordered to end while the ledger is paused ends by that order.
    let stop = match (stop, relay.watch.end_ordered()) {
        (Stop::Unrecordable(_), Some(notice)) => Stop::Ordered(notice),
        (stop, _) => stop,
    };
    let bytes_in = relay.target_out.bytes_written();
    let reason = reason_of(&stop);
    let farewell = Farewell::of(stop);
    let bytes_out = relay.say_goodbye(farewell).await;
    Ended { reason, bytes_in, bytes_out }
}

fn reason_of(stop: &Stop) -> EndReason {
    match stop {
        Stop::ClientClosed => EndReason::ClientClosed,
        Stop::TargetClosed => EndReason::TargetClosed,
        Stop::Ordered(notice) => EndReason::Ordered(notice.clone()),
        Stop::Unrecordable(error) => {
            let cause = error.cause.as_deref().unwrap_or_default();
            tracing::warn!(cause, "a session ends because it cannot be recorded");
            EndReason::Unrecordable
        }
        Stop::Broken { why, .. } => EndReason::ProtocolError(why.clone()),
        Stop::Misframed(error) => {
            tracing::error!(%error, "a session ends because a message was not sent on whole");
            EndReason::Misframed
        }
    }
}

impl<'a> Relay<'a> {
    fn new(client: Client, target: Target, watch: &'a mut Watch, parts: RelayParts) -> Self {
        let Greeting { parameters, key, notices, rest } = target.greeting;
        let mut client_out = BytesMut::with_capacity(1024);
        encode::authentication_ok(&mut client_out);
        for (name, value) in &parameters {
            encode::parameter_status(&mut client_out, name, value);
        }
        encode::backend_key_data(&mut client_out, &parts.registration.key);
        client_out.extend_from_slice(&notices);
        encode::report(
            &mut client_out,
            &Report {
                severity: Severity::Notice,
                sqlstate: SUCCESS,
                message: parts.notice.clone(),
                // With it the person can take the receipt of the session.
                detail: Some(format!("session {}", watch.session())),
                hint: None,
            },
        );
        encode::ready_for_query_idle(&mut client_out);
        let (client_read, client_write) = tokio::io::split(client.stream);
        Self {
            ended: Box::pin(ended(watch.end_signal())),
            watch,
            intake: Intake::new(parts.messages),
            parts,
            target_key: key,
            last_cancel: None,
            client_read,
            client_write,
            client_in: client.buffer,
            client_out,
            client_dirty: false,
            client_bytes: 0,
            stalled: false,
            goodbye: false,
            target_read: target.reader,
            target_in: rest,
            target_out: target.writer,
            target_dirty: false,
            scanner: Scanner::default(),
            client_first: true,
        }
    }

    /// The loop. It only ever ends with a reason.
    async fn serve(&mut self, replication: bool) -> Result<std::convert::Infallible, Stop> {
        if replication {
            self.opaque("replication", 0).await?;
        }
        // Both may have come with the opening already.
        self.answers().await?;
        self.requests().await?;
        loop {
            if self.goodbye {
                return Err(Stop::ClientClosed);
            }
            match self.next().await {
                Happened::Ended(notice) => return Err(Stop::Ordered(notice)),
                Happened::CancelAsked(Some(ask)) => self.cancel_asked(ask).await?,
                Happened::CancelAsked(None) => {}
                Happened::ClientWritten(Ok(())) | Happened::TargetWritten(Ok(())) => {}
                Happened::ClientRead(Ok(1..)) => {
                    self.requests().await?;
                    self.write_target_now()?;
                    // What the server skips is known without an answer.
                    self.results().await?;
                    self.client_first = false;
                }
                Happened::TargetRead(Ok(1..)) => {
                    self.answers().await?;
                    // The client first: it can go on while we write down what it got.
                    self.write_client_now()?;
                    self.results().await?;
                    if self.stalled {
                        self.requests().await?;
                    }
                    self.client_first = true;
                }
                Happened::ClientRead(_) | Happened::ClientWritten(Err(_)) => {
                    return Err(Stop::ClientClosed);
                }
                Happened::TargetRead(_) | Happened::TargetWritten(Err(_)) => {
                    return Err(Stop::TargetClosed);
                }
            }
        }
    }

    /// Waits for whatever happens next.
    async fn next(&mut self) -> Happened {
        let reads_client = !self.stalled && self.target_out.waiting_bytes() < WAITING_BYTES_MAX;
        let reads_target = self.client_out.len() < WAITING_BYTES_MAX;
        if reads_client {
            make_room(&mut self.client_in, CLIENT_READ_BYTES);
        }
        if reads_target {
            make_room(&mut self.target_in, TARGET_READ_BYTES);
        }
        let reads = Reads { client: reads_client, target: reads_target };
        std::future::poll_fn(|cx| self.poll_next(cx, reads)).await
    }

    /// Looks whether anything happened. Everything that is polled here keeps where it was in the
    /// relay itself, so that a future can be dropped half-way without loss.
    fn poll_next(&mut self, cx: &mut Context<'_>, reads: Reads) -> Poll<Happened> {
        if let Poll::Ready(notice) = self.ended.as_mut().poll(cx) {
            return Poll::Ready(Happened::Ended(notice));
        }
        if let Poll::Ready(ask) = self.parts.registration.asks.poll_recv(cx) {
            return Poll::Ready(Happened::CancelAsked(ask));
        }
        if (self.client_dirty || !self.client_out.is_empty())
            && let Poll::Ready(written) = self.poll_write_client(cx)
        {
            return Poll::Ready(Happened::ClientWritten(written));
        }
        if self.target_dirty
            && let Poll::Ready(written) = self.poll_write_target(cx)
        {
            return Poll::Ready(Happened::TargetWritten(written));
        }
        // In turns, so that neither side is starved by the other.
        for client in [self.client_first, !self.client_first] {
            let read = match client {
                true if reads.client => pin!(self.client_read.read_buf(&mut self.client_in))
                    .poll(cx)
                    .map(Happened::ClientRead),
                false if reads.target => pin!(self.target_read.read_buf(&mut self.target_in))
                    .poll(cx)
                    .map(Happened::TargetRead),
                _ => Poll::Pending,
            };
            if read.is_ready() {
                return read;
            }
        }
        Poll::Pending
    }

    fn poll_write_client(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(write_client(
            &mut self.client_write,
            &mut self.client_out,
            &mut self.client_bytes,
            &mut self.client_dirty,
        ))
        .poll(cx)
    }

    fn poll_write_target(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(write_target(&mut self.target_out, &mut self.target_dirty)).poll(cx)
    }

    /// Writes to the client what it takes at once.
    fn write_client_now(&mut self) -> Result<(), Stop> {
        // Who is to be woken is told at the next turn of the loop, which tries again.
        match self.poll_write_client(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(_)) => Err(Stop::ClientClosed),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    /// Writes to the target what it takes at once.
    fn write_target_now(&mut self) -> Result<(), Stop> {
        if !self.target_dirty {
            return Ok(());
        }
        match self.poll_write_target(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(_)) => Err(Stop::TargetClosed),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }
}

/// A loop that keeps this future does not enter itself anew among those who wait, at each turn.
async fn ended(mut signal: EndSignal) -> EndNotice {
    signal.ended().await
}

/// Which sides may be read now.
#[derive(Clone, Copy)]
struct Reads {
    client: bool,
    target: bool,
}

/// Writes what waits for the client and flushes. Dropped half-way, it goes on where it was.
async fn write_client(
    writer: &mut WriteHalf<TlsStream<TcpStream>>,
    out: &mut BytesMut,
    written: &mut u64,
    dirty: &mut bool,
) -> io::Result<()> {
    while !out.is_empty() {
        let bytes = writer.write(out).await?;
        if bytes == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        out.advance(bytes);
        *written += bytes as u64;
        *dirty = true;
    }
    writer.flush().await?;
    *dirty = false;
    Ok(())
}

/// Writes what waits for the target and flushes. Dropped half-way, it goes on where it was.
async fn write_target(
    writer: &mut TargetWriter<WriteHalf<TargetStream>>,
    dirty: &mut bool,
) -> io::Result<()> {
    loop {
        writer.write_some().await?;
        if writer.waiting_bytes() == 0 {
            *dirty = false;
            return Ok(());
        }
    }
}
