//! A recording from the gateway: brought over whole, into a file without a name, before any of it
//! is shown.

use super::script::Source;
use super::told::Told;
use crate::environment;
use crate::fail::{Done, Fail};
use loggia_api::audit::{EventQuery, LIMIT_MAX, Order};
use loggia_api::recordings::{RecordingClaim, RecordingHead, RecordingNote};
use loggia_client::{Client, ClientError, RecordingPart};
use loggia_tlog::Hash;
use loggia_verify::recording::check::Claim;
use loggia_verify::recording::reader::Held;
use std::io::Write;

/// Brings the recording of a session over, and what is told of its actions.
pub(super) async fn fetch(client: &Client, id: &str) -> Done<(Source, Told)> {
    let spooled = |error| Fail::new(format!("there is no room for the recording: {error}"));
    let mut stream = client.recording(id).await?;
    let mut file = environment::unnamed_file().map_err(spooled)?;
    let (mut held, mut limited) = (None, false);
    while let Some(part) = stream.next().await? {
        match part {
            RecordingPart::File(bytes) => file.write_all(&bytes).map_err(spooled)?,
            RecordingPart::Note(RecordingNote::Head(head)) => {
                held = Some(held_to(&head)?);
                limited = head.limited;
            }
            RecordingPart::Note(RecordingNote::End(end)) if end.reason == "complete" => {}
            RecordingPart::Note(RecordingNote::End(end)) => return Err(Fail::new(end.message)),
        }
    }
    let held = held.ok_or_else(|| Fail::new("the gateway did not say what the ledger has"))?;
    if held.session.to_string() != id {
        return Err(Fail::new("the gateway answered with another session's recording"));
    }
    let told = told(client, id).await?;
    Ok((Source { file, held, leaves: None, limited }, told))
}

fn held_to(head: &RecordingHead) -> Done<Held> {
    let nonsense = || Fail::new("the gateway said something of the recording that makes no sense");
    let mut salt = [0; 32];
    let hex = head.salt.as_deref().unwrap_or_default();
    hex::decode_to_slice(hex, &mut salt).map_err(|_| nonsense())?;
    let claim = |claim: &RecordingClaim| {
        let root = Hash::from_hex(&claim.root).map_err(|_| nonsense())?;
        Ok(Claim { frames: claim.frames, bytes: claim.bytes, root })
    };
    let claims = head.claims.iter().map(claim).collect::<Done<_>>()?;
    Ok(Held { session: head.session.parse().map_err(|_| nonsense())?, salt, claims })
}

/// What is told of a session's actions; nothing where the reader may not search.
pub(super) async fn told(client: &Client, id: &str) -> Done<Told> {
    let mut query = EventQuery {
        q: format!("session:{id} kind:ssh.*"),
        limit: Some(LIMIT_MAX),
        cursor: None,
        order: Order::Oldest,
    };
    let mut events = Vec::new();
    loop {
        match client.search(&query).await {
            Ok(page) => {
                events.extend(page.items);
                query.cursor = page.next;
            }
            Err(ClientError::Problem(problem)) if problem.status == 403 => break,
            Err(error) => return Err(error.into()),
        }
        if query.cursor.is_none() {
            break;
        }
    }
    Ok(Told::new(id.to_owned(), events))
}
