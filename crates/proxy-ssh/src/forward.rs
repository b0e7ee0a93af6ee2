//! Connections through a target: denied unless a policy permits them, recorded with destination,
//! bytes and duration. What is inside is not read.

mod pipe;

use crate::channel::CLOSE_WAIT_MAX;
use crate::door::{ClientChannel, ClientSays};
use crate::due::Due;
use crate::flow::{Pressure, Queue};
use crate::jump::Jump;
use crate::outgoing::{ChannelWriter, Message, Outgoing, Reached, ThroughWriter};
use crate::relay::{Serving, Stop};
use crate::upstream::{TargetOpens, TargetWants, Upstream};
use bytes::{Bytes, BytesMut};
use futures::stream::{FuturesUnordered, StreamExt};
use loggia_gate::{Recorded, TargetWriter, Unrecorded};
use loggia_model::catalogue::Kind;
use loggia_model::decision::Action;
use loggia_model::{EventDraft, Value};
use parking_lot::Mutex;
use pipe::{ClientEnd, TargetEnd, pipe};
use russh::ChannelOpenFailure;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

/// How long a target may take to reach where a client wants to.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long an inner connection may take from its dialling to the first word of the own door.
const ARRIVE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Room that is made for one read, in bytes.
const PIECE_BYTES: usize = 32 * 1024;
/// Connections at a time that come back by one port that a target listens on.
const BACK_MAX: usize = 32;

/// A connection from the client to somewhere behind the target.
pub(crate) async fn connect(
    session: Serving<'_>,
    channel: ClientChannel,
    host: String,
    port: u32,
    origin: (String, u32),
) -> Result<(), Stop> {
    let draft = session
        .watch
        .draft(Kind::SshForward)
        .set("/detail/direction", "local")
        .set("/detail/host", host.as_str())
        .set("/detail/port", port)
        .set("/detail/origin", format!("{}:{}", origin.0, origin.1));
    if let Some(jump) = jump_to(session, &host, port) {
        return jump_back(session, channel, draft.set("/detail/direction", "jump"), jump).await;
    }
    let wanted = format!("{host}:{port}");
    let message = Message::Connect { host, port, origin };
    let upstream = match session.watch.permits(Action::SshForward) {
        Ok(()) => match session.pool.take().await {
            Ok(upstream) => upstream,
            Err(error) => {
                channel.reply.reject(failure(2, &error.message)).await;
                return Ok(());
            }
        },
        Err(error) => {
            refused(session, "forward", wanted, error).await?;
            let why = "Loggia: no policy permits to forward connections here";
            channel.reply.reject(failure(1, why)).await;
            return Ok(());
        }
    };
    let (due, reached) = through(session, &upstream, Action::SshForward, draft, message).await?;
    let target = match reached {
        Reached::Channel(target) => target,
        reached => {
            let why = "the target cannot reach it";
            report(due, Some(why)).await?;
            channel.reply.reject(failure(2, why)).await;
            // One that did not answer may still open the channel, and nobody would follow it.
            if matches!(reached, Reached::Refused) {
                session.pool.give_back(upstream);
            }
            return Ok(());
        }
    };
    let (write, says) = upstream.follow(target);
    let writer = TargetWriter::new(ChannelWriter(write), session.watch.dial());
    channel.reply.accept().await;
    let client =
        ClientEnd { write: channel.write, says: channel.says, pressure: &session.client.pressure };
    let target = TargetEnd { writer, says, pressure: &upstream.pressure };
    pipe(session, &due, client, target).await?;
    report(due, None).await?;
    session.pool.give_back(upstream);
    Ok(())
}

/// The way back to this gateway's own door, where a client wants a host that is known here.
fn jump_to(session: Serving<'_>, host: &str, port: u32) -> Option<Jump> {
    let source = session.watch.source();
    if session.parts.jumps.is_own(host, port) {
        return Some(Jump { source, host: None });
    }
    let known = session.parts.resolve.resource(host)?;
    let fits = known.protocol == "ssh" && (port == 22 || port == u32::from(known.port));
    fits.then(|| Jump { source, host: Some(host.to_owned()) })
}

/// `ssh -J`: the inner connection becomes a session of its own, under its own policies. This one
/// only carries it, which is recorded.
async fn jump_back(
    session: Serving<'_>,
    channel: ClientChannel,
    draft: EventDraft,
    jump: Jump,
) -> Result<(), Stop> {
    // Nothing of it goes to this session's target.
    let nothing = Outgoing::acting(Bytes::new());
    let (action, _) = session.watch.record(Action::Connect, draft, nothing).await?;
    let due = Due::of(session.watch, action);
    let dialled = timeout(CONNECT_WAIT_MAX, session.parts.jumps.dial(jump)).await;
    let Ok(Ok((socket, under_way))) = dialled else {
        channel.reply.reject(failure(2, "the gateway's own door cannot be reached")).await;
        return report(due, Some("not reached")).await;
    };
    channel.reply.accept().await;
    let (mut read, mut write) = socket.into_split();
    let inward = async {
        while let Some(says) = channel.says.pop().await {
            match says {
                ClientSays::Data(bytes) => {
                    due.bytes_in.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    if write.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
                ClientSays::Eof => drop(write.shutdown().await),
                _ => break,
            }
        }
        drop(write);
    };
    let outward = async {
        let mut buffer = BytesMut::new();
        // The door speaks first. Whether it does, or closes, or is silent: once that is known
        // nobody is under way any more.
        let mut arrived = timeout(ARRIVE_WAIT_MAX, read.read_buf(&mut buffer)).await;
        drop(under_way);
        while matches!(arrived, Ok(Ok(1..))) {
            due.bytes_out.fetch_add(buffer.len() as u64, Ordering::Relaxed);
            let bytes = buffer.split().freeze();
            let sending = channel.write.data_bytes(bytes);
            if session.client.pressure.sending(sending).await.is_err() {
                break;
            }
            buffer.reserve(PIECE_BYTES);
            arrived = Ok(read.read_buf(&mut buffer).await);
        }
        let _ = channel.write.close().await;
    };
    let mut end = session.watch.end_signal();
    tokio::select! {
        _ = end.ended() => {}
        () = session.gone.cancelled() => {}
        _ = async { tokio::join!(inward, outward) } => {}
    }
    channel.says.abandon();
    report(due, None).await
}

/// The target listens on a port for the client, for as long as the session lasts.
pub(crate) async fn listen(
    session: Serving<'_>,
    address: String,
    port: u32,
    reply: oneshot::Sender<Option<u32>>,
) -> Result<(), Stop> {
    let wanted = format!("{address}:{port}");
    if let Err(error) = session.watch.permits(Action::SshForward) {
        return refused(session, "forward", wanted, error).await;
    }
    let Ok(mut upstream) = session.pool.take().await else { return Ok(()) };
    let draft = session
        .watch
        .draft(Kind::SshForward)
        .set("/detail/direction", "remote")
        .set("/detail/host", address.as_str())
        .set("/detail/port", port);
    let message = Message::Listen { address: address.clone(), port };
    let (due, reached) = through(session, &upstream, Action::SshForward, draft, message).await?;
    let Reached::Port(given) = reached else {
        return report(due, Some("the target does not listen")).await;
    };
    let port = if port == 0 { given } else { port };
    let stop = Arc::new(Notify::new());
    session.listening.lock().insert((address.clone(), port), Arc::clone(&stop));
    upstream.let_open(true);
    let _ = reply.send(Some(port));
    let served = tokio::select! {
        served = serve_back(session, &mut upstream.opens, &upstream.pressure) => served,
        () = stop.notified() => Ok(()),
        () = session.gone.cancelled() => Ok(()),
    };
    upstream.let_open(false);
    session.listening.lock().remove(&(address.clone(), port));
    let mut batch = session.watch.batch();
    batch.neutral(Outgoing::of(Message::Unlisten { address, port }))?;
    let recorded = batch.commit().await?;
    send_through(session, &upstream, recorded).await;
    let draft = due.draft("ok").set("/outcome/port", port);
    due.say(draft).await?;
    served
}

/// Passes on what a target opens towards the client, until the target or the session ends.
pub(crate) async fn serve_back(
    session: Serving<'_>,
    opens: &mut mpsc::Receiver<TargetOpens>,
    pressure: &Arc<Pressure>,
) -> Result<(), Stop> {
    let mut end = session.watch.end_signal();
    let mut open = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            _ = end.ended() => return Ok(()),
            Some(done) = open.next(), if !open.is_empty() => done?,
            opened = opens.recv(), if open.len() < BACK_MAX => match opened {
                Some(opened) => open.push(back(session, opened, Arc::clone(pressure))),
                None => return Ok(()),
            }
        }
    }
}

/// One connection from the target back to the client.
async fn back(
    session: Serving<'_>,
    opens: TargetOpens,
    pressure: Arc<Pressure>,
) -> Result<(), Stop> {
    let TargetOpens { wants, channel, says, reply } = opens;
    let direction = match &wants {
        TargetWants::Forwarded { .. } => "remote",
        TargetWants::Agent => "agent",
        TargetWants::X11 { .. } => "x11",
    };
    let action = match direction {
        "agent" => Action::SshAgent,
        "x11" => Action::SshX11,
        _ => Action::SshForward,
    };
    if let Err(error) = session.watch.permits(action) {
        return refused(session, direction, direction, error).await;
    }
    let handle = &session.client.handle;
    // By which of the ports that the target listens on it comes.
    let by = match &wants {
        TargetWants::Forwarded { address, port, .. } => Some((address.clone(), *port)),
        _ => None,
    };
    let (opened, origin) = match wants {
        TargetWants::Forwarded { address, port, from, from_port } => {
            let origin = format!("{from}:{from_port}");
            let opened = handle.channel_open_forwarded_tcpip(address, port, from, from_port);
            (opened.await, origin)
        }
        TargetWants::Agent => (handle.channel_open_agent().await, String::new()),
        TargetWants::X11 { from, from_port } => {
            let origin = format!("{from}:{from_port}");
            (handle.channel_open_x11(from, from_port).await, origin)
        }
    };
    // The client's side is asked first, which reaches nothing on the target; what the client
    // then sends there is what the event stands for.
    let Ok(client) = opened else { return Ok(()) };
    let draft = session
        .watch
        .draft(Kind::SshForward)
        .set("/detail/direction", direction)
        .set_some("/detail/host", by.as_ref().map(|(address, _)| address.as_str()))
        .set_some("/detail/port", by.as_ref().map(|(_, port)| *port))
        .set("/detail/origin", origin);
    let nothing = Outgoing::acting(Bytes::new());
    let (action, nothing) = session.watch.record(action, draft, nothing).await?;
    let due = Due::of(session.watch, action);
    let mut writer = TargetWriter::new(ChannelWriter(channel), session.watch.dial());
    let _ = writer.send(nothing).await;
    reply.accept().await;
    let (read, write) = client.split();
    let says = TargetEnd { writer, says, pressure: &pressure };
    let from_client = Queue::new(Arc::clone(&session.client.pressure));
    let client =
        ClientEnd { write, says: Arc::clone(&from_client), pressure: &session.client.pressure };
    // A channel that this side opened speaks by the library's own queue.
    let pump = pump(read, from_client);
    let pipe = pipe(session, &due, client, says);
    let (piped, ()) = tokio::join!(pipe, pump);
    piped?;
    report(due, None).await
}

async fn pump(mut read: russh::ChannelReadHalf, says: Arc<Queue<ClientSays>>) {
    while let Some(message) = read.wait().await {
        match message {
            russh::ChannelMsg::Data { data } => {
                says.push(ClientSays::Data(data)).await;
            }
            russh::ChannelMsg::Eof => says.push(ClientSays::Eof).await,
            russh::ChannelMsg::Close => break,
            _ => {}
        }
    }
    says.push(ClientSays::Close).await;
    says.close();
}

/// Records that the session reaches through its target, and does it.
async fn through<'a>(
    session: Serving<'a>,
    upstream: &Upstream,
    action: Action,
    draft: EventDraft,
    message: Message,
) -> Result<(Due<'a>, Reached), Stop> {
    let (action, recorded) = session.watch.record(action, draft, Outgoing::of(message)).await?;
    let due = Due::of(session.watch, action);
    Ok((due, send_through(session, upstream, recorded).await))
}

/// Sends a recorded message about other hosts and gives what came of it.
async fn send_through(
    session: Serving<'_>,
    upstream: &Upstream,
    recorded: Recorded<Message>,
) -> Reached {
    let slot = Mutex::new(Reached::Nothing);
    let writer = ThroughWriter { handle: &upstream.handle, slot: &slot };
    let mut writer = TargetWriter::new(writer, session.watch.dial());
    let _ = timeout(CONNECT_WAIT_MAX, writer.send(recorded)).await;
    drop(writer);
    slot.into_inner()
}

/// Records how a forwarded connection ended.
async fn report(due: Due<'_>, trouble: Option<&str>) -> Result<(), Stop> {
    let draft = due.draft(if trouble.is_some() { "error" } else { "ok" });
    Ok(due.say(draft.set_some("/outcome/message", trouble)).await?)
}

/// Records that something was not let through. Only a denial is an answer; anything else that
/// kept it from being recorded ends the session.
pub(crate) async fn refused(
    session: Serving<'_>,
    request: &'static str,
    wanted: impl Into<Value>,
    error: Unrecorded,
) -> Result<(), Stop> {
    let (reason, decision) = match error {
        Unrecorded::Denied(_, decision) => ("denied", Some(decision)),
        Unrecorded::TooLarge(_) => ("too_large", None),
        other => return Err(other.into()),
    };
    let mut draft = session
        .watch
        .draft(Kind::SshRefused)
        .set("/detail/request", request)
        .set("/detail/reason", reason);
    // What is too large to be recorded is so here too.
    if reason != "too_large" {
        draft = draft.set("/detail/text", wanted);
    }
    if let Some(decision) = decision {
        draft = draft.decided(&decision);
    }
    Ok(session.watch.refused(draft).await?)
}

fn failure(code: u32, reason: &str) -> ChannelOpenFailure {
    ChannelOpenFailure::Other { code, reason: reason.to_owned() }
}
