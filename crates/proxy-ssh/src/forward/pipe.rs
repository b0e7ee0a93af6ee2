//! Bytes both ways between a channel of the client and one of the target, counted.

use super::CLOSE_WAIT_MAX;
use crate::flow::{Pressure, Queue};
use crate::front::ClientSays;
use crate::outgoing::{ChannelWriter, Message, Outgoing};
use crate::relay::{Serving, Stop};
use crate::upstream::TargetSays;
use loggia_gate::{ActionRef, TargetWriter};
use russh::ChannelWriteHalf;
use russh::server::Msg;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::timeout;

/// The client's end.
pub(super) struct ClientEnd<'a> {
    pub(super) write: ChannelWriteHalf<Msg>,
    pub(super) says: Arc<Queue<ClientSays>>,
    pub(super) pressure: &'a Pressure,
}

/// The target's end.
pub(super) struct TargetEnd<'a> {
    pub(super) writer: TargetWriter<ChannelWriter>,
    pub(super) says: Arc<Queue<TargetSays>>,
    pub(super) pressure: &'a Pressure,
}

/// Passes bytes both ways until both sides have closed. Gives bytes in and out.
pub(super) async fn pipe(
    session: Serving<'_>,
    action: &ActionRef,
    client: ClientEnd<'_>,
    target: TargetEnd<'_>,
) -> Result<(u64, u64), Stop> {
    let TargetEnd { mut writer, says, pressure } = target;
    let (bytes_in, bytes_out) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut end = session.watch.end_signal();
    {
        let inward = inward(session, action, &client.says, (&mut writer, pressure), &bytes_in);
        let mut inward = pin!(inward);
        let mut outward = pin!(outward(session, &client, &says, &bytes_out));
        tokio::select! {
            _ = end.ended() => {}
            // The client's own closing is its answer to ours.
            () = &mut outward => drop(timeout(CLOSE_WAIT_MAX, inward).await),
            done = &mut inward => {
                done?;
                let _ = timeout(CLOSE_WAIT_MAX, outward).await;
            }
        }
    }
    client.says.abandon();
    says.abandon();
    Ok((bytes_in.load(Ordering::Relaxed), bytes_out.load(Ordering::Relaxed)))
}

/// What the client says, to the target.
async fn inward(
    session: Serving<'_>,
    action: &ActionRef,
    says: &Queue<ClientSays>,
    (writer, pressure): (&mut TargetWriter<ChannelWriter>, &Pressure),
    bytes_in: &AtomicU64,
) -> Result<(), Stop> {
    loop {
        let message = match says.pop().await {
            Some(ClientSays::Data(bytes)) => {
                bytes_in.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                session.totals.bytes_in.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                let part = session.watch.counted(action, Outgoing::of(Message::Data(bytes)))?;
                match pressure.sending(writer.send(part)).await {
                    Ok(()) => continue,
                    Err(_) => Message::Close,
                }
            }
            Some(ClientSays::Eof) => Message::Eof,
            Some(_) | None => Message::Close,
        };
        let over = matches!(message, Message::Close);
        let mut batch = session.watch.batch();
        batch.neutral(Outgoing::of(message))?;
        let sent = writer.send(batch.commit().await?).await;
        if over || sent.is_err() {
            return Ok(());
        }
    }
}

/// What the target says, to the client.
async fn outward(
    session: Serving<'_>,
    client: &ClientEnd<'_>,
    says: &Queue<TargetSays>,
    bytes_out: &AtomicU64,
) {
    while let Some(says) = says.pop().await {
        let sent = match says {
            TargetSays::Output(bytes) | TargetSays::Error(bytes) => {
                bytes_out.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                session.totals.bytes_out.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                client.pressure.sending(client.write.data_bytes(bytes)).await
            }
            TargetSays::Eof => client.write.eof().await,
            TargetSays::Close | TargetSays::Gone => break,
            _ => Ok(()),
        };
        if sent.is_err() {
            break;
        }
    }
    let _ = client.write.close().await;
}
