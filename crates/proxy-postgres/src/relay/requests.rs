//! From the client to the target: observe, decide, record, forward.

use super::outgoing::Outgoing;
use super::{Relay, Stop};
use crate::codec::CodecError;
use crate::codec::encode::{Report, Severity};
use crate::codec::frame::{CopyPiece, Frame, Inbound};
use crate::codec::frontend::{self, Bind, Message, Parameter, Parse};
use crate::names::Found;
use crate::pending::{Hold, Pending, Run, UNANSWERED_MAX};
use crate::refusal::{INSUFFICIENT_PRIVILEGE, LIMIT_EXCEEDED, PROTOCOL_VIOLATION};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use loggia_gate::{ActionRef, Batch, FrameClass, Unrecorded};
use loggia_model::catalogue::Kind;
use loggia_model::decision::{Action, Decision};
use loggia_model::{EventDraft, Value};

/// A message that is not forwarded.
pub(super) struct Refusal {
    pub(super) tag: u8,
    pub(super) bytes: usize,
    /// Stable code in `sql.refused`.
    pub(super) reason: &'static str,
    pub(super) text: Option<Value>,
    pub(super) decision: Option<Box<Decision>>,
    pub(super) report: Report,
}

/// What became of one message.
enum Fate {
    /// It is in the batch, or needs no forwarding.
    Taken,
    /// It has to wait for an answer.
    Wait(Inbound),
    /// It is refused; the session goes on.
    Refused(Box<Refusal>),
    /// It is refused, and the session ends.
    Broken(Box<Refusal>),
    /// It is in the batch, and the last one.
    Goodbye,
}

impl Relay<'_> {
    /// Takes what was read of the client as far as it is whole: records all of it with one append
    /// and forwards it with one write.
    pub(super) async fn requests(&mut self) -> Result<(), Stop> {
        self.stalled = false;
        loop {
            let now_us = self.watch.now_us();
            let mut batch = self.watch.batch();
            let mut refused = None;
            loop {
                if self.pending.unanswered() >= UNANSWERED_MAX {
                    self.stalled = true;
                    break;
                }
                let next = match self.held.take() {
                    Some(held) => Some(held),
                    None => self.decoder.next(&mut self.client_in).map_err(client_broke)?,
                };
                let Some(next) = next else { break };
                match take(&mut self.pending, &mut batch, next, now_us)? {
                    Fate::Taken => {}
                    Fate::Wait(held) => {
                        self.held = Some(held);
                        self.stalled = true;
                        break;
                    }
                    Fate::Refused(refusal) => {
                        refused = Some((refusal, false));
                        break;
                    }
                    Fate::Broken(refusal) => {
                        refused = Some((refusal, true));
                        break;
                    }
                    Fate::Goodbye => {
                        self.goodbye = true;
                        break;
                    }
                }
            }
            if !batch.is_empty() {
                // A crash here leaves nothing: neither recorded nor forwarded.
                let recorded = batch.commit().await?;
                // A crash here leaves reports of actions whose outcome is unknown.
                self.target_out.queue(recorded);
                self.target_dirty = true;
            }
            match refused {
                None => return Ok(()),
                Some((refusal, ends)) => self.refuse(*refusal, ends).await?,
            }
        }
    }

    /// Records that a message was refused; then the client is told, in its turn.
    async fn refuse(&mut self, refusal: Refusal, ends: bool) -> Result<(), Stop> {
        let draft = refused_draft(self.watch.draft(Kind::SqlRefused), &refusal);
        self.watch.refused(draft).await?;
        if ends {
            let why = format!("message {:?}: {}", char::from(refusal.tag), refusal.report.message);
            return Err(Stop::Broken { report: refusal.report, why });
        }
        if self.pending.skipping() {
            // After an error nobody is told anything of what comes before the Sync.
            return Ok(());
        }
        let now_us = self.watch.now_us();
        // A Query or FunctionCall is answered with a ReadyForQuery, which takes a Sync here.
        let with_sync = matches!(refusal.tag, b'Q' | b'F');
        let mut batch = self.watch.batch();
        batch.neutral(Outgoing::refused(&self.parts.nonexistent, with_sync))?;
        self.pending.refused(refusal.report, now_us);
        if with_sync {
            self.pending.sync(now_us);
        }
        self.target_out.queue(batch.commit().await?);
        self.target_dirty = true;
        Ok(())
    }
}

fn client_broke(error: CodecError) -> Stop {
    Stop::Broken {
        report: fatal(PROTOCOL_VIOLATION, format!("the client broke the protocol: {error}"), None),
        why: format!("the client: {error}"),
    }
}

pub(super) fn fatal(sqlstate: &'static str, message: String, hint: Option<&str>) -> Report {
    Report {
        severity: Severity::Fatal,
        sqlstate,
        message,
        detail: None,
        hint: hint.map(str::to_owned),
    }
}

/// Lets a message through that need not wait for the end of a COPY; tells the fate of one that
/// must, or that comes behind a COPY of which nobody can know how it stands.
fn after_copy(
    pending: &mut Pending<ActionRef>,
    batch: &mut Batch<'_>,
    next: Inbound,
    now_us: i64,
) -> Result<Result<Inbound, Fate>, Stop> {
    let goes_with_copy = match &next {
        Inbound::Copy(_) => true,
        Inbound::Frame(frame) => matches!(frame.tag(), b'c' | b'f' | b'H' | b'S' | b'X'),
        Inbound::TooLarge { .. } => false,
    };
    if goes_with_copy {
        return Ok(Ok(next));
    }
    match pending.hold(now_us) {
        Hold::Free => return Ok(Ok(next)),
        Hold::Wait => {}
        Hold::Doubtful => return Ok(Err(behind_a_broken_copy(&next))),
        Hold::Flush => batch.neutral(Outgoing::message(Frame::of(b'H', b"")))?,
        Hold::CopyFail(action) => {
            let fail = Frame::of(b'f', b"another message came before the end of the COPY\0");
            batch.part_of(&action, Outgoing::message(fail))?;
        }
    }
    Ok(Err(Fate::Wait(next)))
}

/// Puts one message into the batch.
fn take(
    pending: &mut Pending<ActionRef>,
    batch: &mut Batch<'_>,
    next: Inbound,
    now_us: i64,
) -> Result<Fate, Stop> {
    let next = match after_copy(pending, batch, next, now_us)? {
        Ok(next) => next,
        Err(fate) => return Ok(fate),
    };
    let frame = match next {
        Inbound::Frame(frame) => frame,
        Inbound::Copy(piece) => return copy_data(pending, batch, piece),
        Inbound::TooLarge { tag, bytes } => return Ok(too_large(tag, bytes, None)),
    };
    let message = match frontend::parse(&frame) {
        Ok(message) => message,
        Err(error) => return Ok(malformed(frame.tag(), frame.wire().len(), error)),
    };
    let taken = match message {
        Message::Query(text) => query(pending, batch, &frame, text, now_us),
        Message::Parse(parse) => prepare(pending, batch, &frame, &parse, now_us),
        Message::Bind(bind) => {
            let of = pending.statement(bind.statement);
            if of == Found::Wait {
                return Ok(Fate::Wait(Inbound::Frame(frame)));
            }
            bind_portal(pending, batch, &frame, &bind, of, now_us)
        }
        Message::Execute { portal, rows_max } => {
            if pending.portal(portal) == Found::Wait {
                return Ok(Fate::Wait(Inbound::Frame(frame)));
            }
            execute(pending, batch, &frame, portal, rows_max, now_us)
        }
        Message::FunctionCall { oid, arguments } => {
            call(pending, batch, &frame, oid, &arguments, now_us)
        }
        Message::CopyDone | Message::CopyFail(_) => match pending.copy_action() {
            Some(action) => {
                pending.copy_end(now_us);
                batch.part_of(&action, Outgoing::message(frame.clone()))
            }
            // The server ignores the end of a COPY that failed already.
            None => Ok(()),
        },
        Message::Sync => {
            pending.sync(now_us);
            batch.neutral(Outgoing::message(frame.clone()))
        }
        Message::Describe(_) => {
            pending.describe(now_us);
            batch.neutral(Outgoing::message(frame.clone()))
        }
        Message::Close(named) => {
            pending.close(named, now_us);
            batch.neutral(Outgoing::message(frame.clone()))
        }
        Message::Flush => batch.neutral(Outgoing::message(frame.clone())),
        Message::Terminate => {
            batch.neutral(Outgoing::message(frame.clone()))?;
            return Ok(Fate::Goodbye);
        }
        Message::Opaque(_) => opaque(batch, &frame),
    };
    match taken {
        Ok(()) => Ok(Fate::Taken),
        Err(error) => not_recorded(&frame, error),
    }
}

fn query(
    pending: &mut Pending<ActionRef>,
    batch: &mut Batch<'_>,
    frame: &Frame,
    text: &[u8],
    now_us: i64,
) -> Result<(), Unrecorded> {
    let draft = batch.draft(Kind::SqlStatement).set("/detail/text", Value::text(text));
    let action = batch.record(Action::SqlExecute, draft, Outgoing::message(frame.clone()))?;
    pending.query(action, text, now_us);
    Ok(())
}

fn prepare(
    pending: &mut Pending<ActionRef>,
    batch: &mut Batch<'_>,
    frame: &Frame,
    parse: &Parse<'_>,
    now_us: i64,
) -> Result<(), Unrecorded> {
    let draft = batch
        .draft(Kind::SqlPrepare)
        .set("/detail/text", Value::text(parse.text))
        .set_some("/detail/name", named(parse.name));
    let event = draft.id();
    let action = batch.record(Action::SqlExecute, draft, Outgoing::message(frame.clone()))?;
    pending.parse(action, event, parse.name, parse.text, now_us);
    Ok(())
}

fn bind_portal(
    pending: &mut Pending<ActionRef>,
    batch: &mut Batch<'_>,
    frame: &Frame,
    bind: &Bind<'_>,
    of: Found<crate::names::Prepared>,
    now_us: i64,
) -> Result<(), Unrecorded> {
    let draft = batch.draft(Kind::SqlStatement).set_some("/detail/portal", named(bind.portal));
    let draft = match of {
        Found::Known(prepared) => draft.set("/detail/prepared", prepared.event.to_string()),
        Found::Unresolved | Found::Wait => {
            draft.set("/detail/unresolved", true).set("/detail/name", Value::text(bind.statement))
        }
    };
    let draft = draft.set_some("/detail/parameters", values(&bind.parameters));
    let action = batch.record(Action::SqlExecute, draft, Outgoing::message(frame.clone()))?;
    pending.bind(action, bind.portal, of, now_us);
    Ok(())
}

fn execute(
    pending: &mut Pending<ActionRef>,
    batch: &mut Batch<'_>,
    frame: &Frame,
    portal: &[u8],
    rows_max: i32,
    now_us: i64,
) -> Result<(), Unrecorded> {
    let found = pending.portal(portal);
    let of = match pending.run(found) {
        Run::First(action) => {
            batch.part_of(&action, Outgoing::first_execute(frame.clone()))?;
            pending.execute_first(found, now_us);
            return Ok(());
        }
        Run::Again(action) => Some(action.event().to_string()),
        Run::Unknown => None,
    };
    let draft = batch
        .draft(Kind::SqlFetch)
        .set_some("/detail/of", of)
        .set_some("/detail/portal", named(portal))
        .set("/detail/rows_max", u32::try_from(rows_max).unwrap_or(0));
    let action = batch.record(Action::SqlExecute, draft, Outgoing::message(frame.clone()))?;
    pending.fetch(action, found, now_us);
    Ok(())
}

fn call(
    pending: &mut Pending<ActionRef>,
    batch: &mut Batch<'_>,
    frame: &Frame,
    oid: u32,
    arguments: &[Parameter<'_>],
    now_us: i64,
) -> Result<(), Unrecorded> {
    let draft = batch
        .draft(Kind::SqlCall)
        .set("/detail/oid", oid)
        .set_some("/detail/arguments", values(arguments));
    let action = batch.record(Action::SqlExecute, draft, Outgoing::message(frame.clone()))?;
    pending.call(action, now_us);
    Ok(())
}

fn copy_data(
    pending: &mut Pending<ActionRef>,
    batch: &mut Batch<'_>,
    piece: CopyPiece,
) -> Result<Fate, Stop> {
    // Without a COPY the server throws the data away, as it does after a COPY that failed.
    if let Some(action) = pending.copy_action() {
        pending.copy_data(&piece);
        batch.part_of(&action, Outgoing::copy(piece))?;
    }
    Ok(Fate::Taken)
}

fn opaque(batch: &mut Batch<'_>, frame: &Frame) -> Result<(), Unrecorded> {
    let draft = batch
        .draft(Kind::SqlOpaque)
        .set("/detail/message", tag_text(frame.tag()))
        .set("/detail/bytes", frame.wire().len() as u64);
    batch.record(Action::SqlOpaque, draft, Outgoing::message(frame.clone())).map(|_| ())
}

/// Why a message did not get into the batch, as far as that is about the message alone.
fn not_recorded(frame: &Frame, error: Unrecorded) -> Result<Fate, Stop> {
    let (tag, bytes) = (frame.tag(), frame.wire().len());
    match error {
        Unrecorded::Denied(Action::SqlOpaque, decision) => {
            let message = format!("Loggia does not know message {}", tag_text(tag));
            let hint = "it is let through only where policy allows sql.opaque on this resource";
            Ok(Fate::Broken(Box::new(Refusal {
                tag,
                bytes,
                reason: "opaque",
                text: None,
                decision: Some(decision),
                report: fatal(PROTOCOL_VIOLATION, message, Some(hint)),
            })))
        }
        Unrecorded::Denied(action, decision) => {
            Ok(Fate::Refused(Box::new(denied(frame, action, decision))))
        }
        Unrecorded::TooLarge(_) => Ok(too_large(tag, bytes, text_of(frame))),
        error @ (Unrecorded::WrongClass(_) | Unrecorded::Ledger(_) | Unrecorded::Recording(_)) => {
            Err(Stop::from(error))
        }
    }
}

fn denied(frame: &Frame, action: Action, decision: Box<Decision>) -> Refusal {
    let why = if decision.policies.is_empty() {
        "no policy permits it".to_owned()
    } else {
        format!("forbidden by {}", decision.policies.join(", "))
    };
    Refusal {
        tag: frame.tag(),
        bytes: frame.wire().len(),
        reason: "denied",
        text: text_of(frame),
        decision: Some(decision),
        report: Report {
            severity: Severity::Error,
            sqlstate: INSUFFICIENT_PRIVILEGE,
            message: format!("you may not do this here ({})", action.as_str()),
            detail: Some(why),
            hint: Some("ask an administrator for access".to_owned()),
        },
    }
}

fn too_large(tag: u8, bytes: usize, text: Option<Value>) -> Fate {
    let action = crate::codec::class::class_of(tag) == FrameClass::Action;
    let report = Report {
        severity: if action { Severity::Error } else { Severity::Fatal },
        sqlstate: LIMIT_EXCEEDED,
        message: format!("a message of {bytes} bytes is too large to be recorded"),
        detail: Some(format!("at most {} bytes are", crate::codec::ACTION_BYTES_MAX)),
        hint: Some("send large values in parts, or load them with COPY".to_owned()),
    };
    // A text that is too large for a report is not repeated in the report of its refusal.
    let text = text.filter(|text| text.as_str().is_some_and(|text| text.len() < 1 << 20));
    let refusal =
        Box::new(Refusal { tag, bytes, reason: "too_large", text, decision: None, report });
    if action { Fate::Refused(refusal) } else { Fate::Broken(refusal) }
}

/// A COPY failed, the client sent a Sync before its data, and now goes on without waiting for an
/// answer or sending another: nobody but the server knows whether it runs this or skips it.
fn behind_a_broken_copy(next: &Inbound) -> Fate {
    let (tag, bytes) = match next {
        Inbound::Frame(frame) => (frame.tag(), frame.wire().len()),
        Inbound::TooLarge { tag, bytes } => (*tag, *bytes),
        Inbound::Copy(piece) => (b'd', piece.wire().len()),
    };
    let message = "after a COPY that failed, a message came before the server was in step again";
    let hint = "send a Sync after the end of the COPY, or wait for the server's answer";
    Fate::Broken(Box::new(Refusal {
        tag,
        bytes,
        reason: "protocol_error",
        text: None,
        decision: None,
        report: fatal(PROTOCOL_VIOLATION, message.to_owned(), Some(hint)),
    }))
}

fn malformed(tag: u8, bytes: usize, error: CodecError) -> Fate {
    Fate::Broken(Box::new(Refusal {
        tag,
        bytes,
        reason: "protocol_error",
        text: None,
        decision: None,
        report: fatal(PROTOCOL_VIOLATION, format!("the client broke the protocol: {error}"), None),
    }))
}

/// The statement of a message, where it has one.
fn text_of(frame: &Frame) -> Option<Value> {
    match frontend::parse(frame) {
        Ok(Message::Query(text) | Message::Parse(Parse { text, .. })) => Some(Value::text(text)),
        _ => None,
    }
}

pub(super) fn refused_draft(draft: EventDraft, refusal: &Refusal) -> EventDraft {
    let draft = draft
        .set("/detail/message", tag_text(refusal.tag))
        .set("/detail/bytes", refusal.bytes as u64)
        .set("/detail/reason", refusal.reason)
        .set_some("/detail/text", refusal.text.clone());
    let Some(decision) = &refusal.decision else { return draft };
    let policies: Vec<Value> =
        decision.policies.iter().map(|id| Value::from(id.as_str())).collect();
    draft
        .set("/decision/effect", decision.effect.as_str())
        .set("/decision/policies", policies)
        .set("/decision/policy_set", decision.policy_set.as_str())
}

/// A type byte as people write it.
pub(super) fn tag_text(tag: u8) -> String {
    if tag.is_ascii_graphic() { char::from(tag).to_string() } else { format!("0x{tag:02x}") }
}

/// A name, unless it is the empty one of unnamed statements and portals.
fn named(name: &[u8]) -> Option<Value> {
    (!name.is_empty()).then(|| Value::text(name))
}

/// Parameters as values, unless there are none.
fn values(parameters: &[Parameter<'_>]) -> Option<Value> {
    let value = |parameter: &Parameter<'_>| match parameter {
        Parameter::Null => Value::object([("null", Value::Bool(true))]),
        Parameter::Text(text) => Value::text(text),
        Parameter::Binary(bytes) => Value::object([("b64", Value::Str(STANDARD.encode(bytes)))]),
    };
    (!parameters.is_empty()).then(|| Value::Array(parameters.iter().map(value).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_keep_their_kind() {
        let all = [
            Parameter::Text(b"a"),
            Parameter::Null,
            Parameter::Binary(b"a"),
            Parameter::Text(b"\xff"),
        ];
        let json = values(&all).unwrap().to_bytes();
        let expected = br#"["a",{"null":true},{"b64":"YQ=="},{"b64":"/w=="}]"#;
        assert_eq!(json, expected);
        assert_eq!(values(&[]), None);
    }

    #[test]
    fn type_bytes_that_cannot_be_printed_are_numbers() {
        assert_eq!((tag_text(b'W'), tag_text(0)), ("W".to_owned(), "0x00".to_owned()));
    }
}
