//! Bytes both ways between a channel of the client and one of the target, counted.

use super::CLOSE_WAIT_MAX;
use crate::door::ClientSays;
use crate::due::Due;
use crate::flow::{Pressure, Queue};
use crate::outgoing::{ChannelWriter, Message, Outgoing};
use crate::relay::{Serving, Stop};
use crate::upstream::{Followed, TargetSays};
use loggia_gate::TargetWriter;
use russh::ChannelWriteHalf;
use russh::server::Msg;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
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
    pub(super) says: Followed,
    pub(super) pressure: &'a Pressure,
}

/// Passes bytes both ways until both sides have closed, and counts them into the result.
pub(super) async fn pipe(
    session: Serving<'_>,
    due: &Due<'_>,
    client: ClientEnd<'_>,
    target: TargetEnd<'_>,
) -> Result<(), Stop> {
    let TargetEnd { mut writer, says, pressure } = target;
    let mut end = session.watch.end_signal();
    {
        let inward = inward(session, due, &client.says, (&mut writer, pressure));
        let mut inward = pin!(inward);
        let mut outward = pin!(outward(session, due, &client, &says));
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
    Ok(())
}

/// What the client says, to the target.
async fn inward(
    session: Serving<'_>,
    due: &Due<'_>,
    says: &Queue<ClientSays>,
    (writer, pressure): (&mut TargetWriter<ChannelWriter>, &Pressure),
) -> Result<(), Stop> {
    loop {
        let message = match says.pop().await {
            Some(ClientSays::Data(bytes)) => {
                due.bytes_in.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                session.totals.bytes_in.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                let part = Outgoing::of(Message::Data(bytes));
                let part = session.watch.counted(&due.action(), part)?;
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
    due: &Due<'_>,
    client: &ClientEnd<'_>,
    says: &Queue<TargetSays>,
) {
    while let Some(says) = says.pop().await {
        let sent = match says {
            TargetSays::Output(bytes) | TargetSays::Error(bytes) => {
                due.bytes_out.fetch_add(bytes.len() as u64, Ordering::Relaxed);
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
