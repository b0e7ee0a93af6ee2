//! What becomes of a client's messages: observe, decide, record, forward. Without I/O: reports and
//! bytes are handed to a [`Desk`], which is the batch of a session, or that of a test.
//!
//! A message goes on whole or not at all. That is decided once: of one that is collected, when it
//! is whole; of COPY data at its head, where the decoder keeps the decision until the message ends.

use super::Stop;
use super::outgoing::Outgoing;
use super::refusals::{
    Refusal, behind_a_broken_copy, client_broke, malformed, not_recorded, tag_text, too_large,
};
use crate::codec::frame::{Decoder, Frame, Inbound, Limits, Taking};
use crate::codec::frontend::{self, Bind, Message, Parameter, Parse};
use crate::names::Found;
use crate::pending::{Hold, Pending, Run, UNANSWERED_MAX};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use loggia_gate::Unrecorded;
use loggia_model::catalogue::Kind;
use loggia_model::decision::Action;
use loggia_model::id::EventId;
use loggia_model::{EventDraft, Value};

/// Where reports and what they allow to be forwarded are put, in order.
pub(super) trait Desk {
    /// An action that was reported.
    type Action: Copy + PartialEq;
    /// The id of its event.
    fn event(action: &Self::Action) -> EventId;
    /// An event of the session.
    fn draft(&self, kind: Kind) -> EventDraft;
    /// Puts an action with its report.
    fn record(
        &mut self,
        action: Action,
        draft: EventDraft,
        frame: Outgoing,
    ) -> Result<Self::Action, Unrecorded>;
    /// Puts bulk data of an action.
    fn part_of(&mut self, action: &Self::Action, frame: Outgoing) -> Result<(), Unrecorded>;
    /// Puts a message without an effect of its own.
    fn neutral(&mut self, frame: Outgoing) -> Result<(), Unrecorded>;
}

/// Why nothing more is taken of the client for now.
#[derive(Debug)]
pub(super) enum Pause {
    /// The next message is not whole.
    ForBytes,
    /// Answers of the target have to come first.
    ForAnswers,
    /// A message is refused; the session goes on.
    Refused(Box<Refusal>),
    /// A message is refused, and the session ends.
    Broken(Box<Refusal>),
    /// The client has said goodbye.
    Goodbye,
}

/// What became of one message.
enum Fate<A> {
    /// It is on the desk, or needs no forwarding.
    Taken,
    /// It has to wait for an answer.
    Wait(Inbound<A>),
    /// Nothing comes behind it for now.
    Pause(Pause),
}

/// The client's side of a session, as far as it is known without I/O.
#[derive(Debug)]
pub(super) struct Intake<A> {
    decoder: Decoder<A>,
    /// A message that waits for an answer.
    held: Option<Inbound<A>>,
    /// What was forwarded and is not answered yet.
    pub(super) pending: Pending<A>,
}

impl<A: Copy + PartialEq> Intake<A> {
    pub(super) fn new(limits: Limits) -> Self {
        Self { decoder: Decoder::new(limits), held: None, pending: Pending::default() }
    }

    /// Puts on the desk what was read of the client, as far as it is whole and may go on.
    pub(super) fn gather(
        &mut self,
        read: &mut BytesMut,
        desk: &mut impl Desk<Action = A>,
        now_us: i64,
    ) -> Result<Pause, Stop> {
        loop {
            if self.pending.unanswered() >= UNANSWERED_MAX {
                return Ok(Pause::ForAnswers);
            }
            let next = match self.held.take() {
                Some(held) => Some(held),
                None => {
                    let taking = || self.pending.taking();
                    self.decoder.next(read, taking).map_err(client_broke)?
                }
            };
            let Some(next) = next else { return Ok(Pause::ForBytes) };
            match take(&mut self.pending, desk, next, now_us)? {
                Fate::Taken => {}
                Fate::Wait(held) => {
                    // The decoder itself holds COPY data, and asks anew.
                    self.held = Some(held).filter(|held| *held != Inbound::CopyWaits);
                    return Ok(Pause::ForAnswers);
                }
                Fate::Pause(pause) => return Ok(pause),
            }
        }
    }

    /// A message was refused: puts something in its place on the desk which the server answers
    /// with an error, so that the client is told in its turn.
    pub(super) fn refused(
        &mut self,
        refusal: Refusal,
        nonexistent: &[u8],
        desk: &mut impl Desk<Action = A>,
        now_us: i64,
    ) -> Result<(), Stop> {
        if self.pending.skipping() {
            // After an error nobody is told anything of what comes before the Sync.
            return Ok(());
        }
        // A Query or FunctionCall is answered with a ReadyForQuery, which takes a Sync here.
        let with_sync = matches!(refusal.tag, b'Q' | b'F');
        desk.neutral(Outgoing::refused(nonexistent, with_sync))?;
        self.pending.refused(refusal.report, now_us);
        if with_sync {
            self.pending.sync(now_us);
        }
        Ok(())
    }
}

/// When a message may go on.
enum Turn {
    Now,
    Later,
    Never(Pause),
}

/// Whether a message need not wait for the end of a COPY, has to, or comes behind a COPY of which
/// nobody can know how it stands.
fn turn<D: Desk>(
    pending: &mut Pending<D::Action>,
    desk: &mut D,
    next: &Inbound<D::Action>,
    now_us: i64,
) -> Result<Turn, Unrecorded> {
    let goes_with_copy = match next {
        Inbound::Copy { .. } => true,
        Inbound::CopyWaits | Inbound::TooLarge { .. } => false,
        Inbound::Frame(frame) => match frame.tag() {
            b'c' | b'f' => pending.taking() != Taking::NotYet,
            tag => matches!(tag, b'H' | b'S' | b'X'),
        },
    };
    if goes_with_copy {
        return Ok(Turn::Now);
    }
    match pending.hold(now_us) {
        Hold::Free => return Ok(Turn::Now),
        Hold::Wait => {}
        Hold::Doubtful => return Ok(Turn::Never(behind_a_broken_copy(next))),
        Hold::Flush => desk.neutral(Outgoing::message(Frame::of(b'H', b"")))?,
        Hold::CopyFail(action) => {
            let fail = Frame::of(b'f', b"another message came before the end of the COPY\0");
            desk.part_of(&action, Outgoing::message(fail))?;
        }
    }
    Ok(Turn::Later)
}

/// Puts one message on the desk.
fn take<D: Desk>(
    pending: &mut Pending<D::Action>,
    desk: &mut D,
    next: Inbound<D::Action>,
    now_us: i64,
) -> Result<Fate<D::Action>, Stop> {
    match turn(pending, desk, &next, now_us)? {
        Turn::Now => {}
        Turn::Later => return Ok(Fate::Wait(next)),
        Turn::Never(pause) => return Ok(Fate::Pause(pause)),
    }
    let frame = match next {
        Inbound::Frame(frame) => frame,
        Inbound::Copy { of, piece } => {
            pending.copy_data(of, &piece);
            desk.part_of(&of, Outgoing::copy(piece))?;
            return Ok(Fate::Taken);
        }
        Inbound::CopyWaits => return Ok(Fate::Wait(next)),
        Inbound::TooLarge { tag, bytes } => return Ok(Fate::Pause(too_large(tag, bytes, None))),
    };
    let message = match frontend::parse(&frame) {
        Ok(message) => message,
        Err(error) => return Ok(Fate::Pause(malformed(&frame, error))),
    };
    let taken = match message {
        Message::Query(text) => query(pending, desk, &frame, text, now_us),
        Message::Parse(parse) => prepare(pending, desk, &frame, &parse, now_us),
        Message::Bind(bind) => {
            let of = pending.statement(bind.statement);
            if of == Found::Wait {
                return Ok(Fate::Wait(Inbound::Frame(frame)));
            }
            bind_portal(pending, desk, &frame, &bind, of, now_us)
        }
        Message::Execute { portal, rows_max } => {
            if pending.portal(portal) == Found::Wait {
                return Ok(Fate::Wait(Inbound::Frame(frame)));
            }
            execute(pending, desk, &frame, portal, rows_max, now_us)
        }
        Message::FunctionCall { oid, arguments, result_format } => {
            call(pending, desk, &frame, (oid, &arguments, result_format), now_us)
        }
        Message::CopyDone | Message::CopyFail(_) => copy_end(pending, desk, &frame, now_us),
        Message::Sync => {
            pending.sync(now_us);
            neutral(desk, &frame)
        }
        Message::Describe(_) => {
            pending.describe(now_us);
            neutral(desk, &frame)
        }
        Message::Close(named) => {
            pending.close(named, now_us);
            neutral(desk, &frame)
        }
        Message::Flush => neutral(desk, &frame),
        Message::Terminate => {
            neutral(desk, &frame)?;
            return Ok(Fate::Pause(Pause::Goodbye));
        }
        Message::Opaque(_) => opaque(desk, &frame),
    };
    match taken {
        Ok(()) => Ok(Fate::Taken),
        Err(error) => not_recorded(&frame, error).map(Fate::Pause),
    }
}

fn query<D: Desk>(
    pending: &mut Pending<D::Action>,
    desk: &mut D,
    frame: &Frame,
    text: &[u8],
    now_us: i64,
) -> Result<(), Unrecorded> {
    let draft = desk.draft(Kind::SqlStatement).set("/detail/text", Value::text(text));
    let action = desk.record(Action::SqlExecute, draft, Outgoing::message(frame.clone()))?;
    pending.query(action, text, now_us);
    Ok(())
}

fn prepare<D: Desk>(
    pending: &mut Pending<D::Action>,
    desk: &mut D,
    frame: &Frame,
    parse: &Parse<'_>,
    now_us: i64,
) -> Result<(), Unrecorded> {
    let draft = desk
        .draft(Kind::SqlPrepare)
        .set("/detail/text", Value::text(parse.text))
        .set_some("/detail/name", named(parse.name))
        .set_some("/detail/types", numbers(parse.types.iter()));
    let event = draft.id();
    let action = desk.record(Action::SqlExecute, draft, Outgoing::message(frame.clone()))?;
    pending.parse(action, event, parse.name, parse.text, now_us);
    Ok(())
}

fn bind_portal<D: Desk>(
    pending: &mut Pending<D::Action>,
    desk: &mut D,
    frame: &Frame,
    bind: &Bind<'_>,
    of: Found<crate::names::Prepared>,
    now_us: i64,
) -> Result<(), Unrecorded> {
    let draft = desk.draft(Kind::SqlStatement).set_some("/detail/portal", named(bind.portal));
    let draft = match of {
        Found::Known(prepared) => draft.set("/detail/prepared", prepared.event.to_string()),
        Found::Unresolved | Found::Wait => {
            draft.set("/detail/unresolved", true).set("/detail/name", Value::text(bind.statement))
        }
    };
    let draft = draft
        .set_some("/detail/parameters", values(&bind.parameters))
        .set_some("/detail/result_formats", formats(bind.result_formats.iter()));
    let action = desk.record(Action::SqlExecute, draft, Outgoing::message(frame.clone()))?;
    pending.bind(action, bind.portal, of, now_us);
    Ok(())
}

fn execute<D: Desk>(
    pending: &mut Pending<D::Action>,
    desk: &mut D,
    frame: &Frame,
    portal: &[u8],
    rows_max: i32,
    now_us: i64,
) -> Result<(), Unrecorded> {
    let found = pending.portal(portal);
    let of = match pending.run(found) {
        Run::First(action) => {
            desk.part_of(&action, Outgoing::first_execute(frame.clone()))?;
            pending.execute_first(found, now_us);
            return Ok(());
        }
        Run::Again(action) => Some(D::event(&action).to_string()),
        Run::Unknown => None,
    };
    let draft = desk
        .draft(Kind::SqlFetch)
        .set_some("/detail/of", of)
        .set_some("/detail/portal", named(portal))
        .set("/detail/rows_max", u32::try_from(rows_max).unwrap_or(0));
    let action = desk.record(Action::SqlExecute, draft, Outgoing::message(frame.clone()))?;
    pending.fetch(action, found, now_us);
    Ok(())
}

fn call<D: Desk>(
    pending: &mut Pending<D::Action>,
    desk: &mut D,
    frame: &Frame,
    (oid, arguments, result_format): (u32, &[Parameter<'_>], u16),
    now_us: i64,
) -> Result<(), Unrecorded> {
    let draft = desk
        .draft(Kind::SqlCall)
        .set("/detail/oid", oid)
        .set_some("/detail/arguments", values(arguments))
        .set_some("/detail/result_formats", formats(std::iter::once(result_format)));
    let action = desk.record(Action::SqlExecute, draft, Outgoing::message(frame.clone()))?;
    pending.call(action, now_us);
    Ok(())
}

fn copy_end<D: Desk>(
    pending: &mut Pending<D::Action>,
    desk: &mut D,
    frame: &Frame,
    now_us: i64,
) -> Result<(), Unrecorded> {
    // The server ignores the end of a COPY that failed already.
    let Taking::For(action) = pending.taking() else { return Ok(()) };
    pending.copy_end(now_us);
    desk.part_of(&action, Outgoing::message(frame.clone()))
}

fn neutral(desk: &mut impl Desk, frame: &Frame) -> Result<(), Unrecorded> {
    desk.neutral(Outgoing::message(frame.clone()))
}

fn opaque<D: Desk>(desk: &mut D, frame: &Frame) -> Result<(), Unrecorded> {
    let draft = desk
        .draft(Kind::SqlOpaque)
        .set("/detail/message", tag_text(frame.tag()))
        .set("/detail/bytes", frame.wire().len() as u64);
    desk.record(Action::SqlOpaque, draft, Outgoing::message(frame.clone())).map(|_| ())
}

/// A name, unless it is the empty one of unnamed statements and portals.
fn named(name: &[u8]) -> Option<Value> {
    (!name.is_empty()).then(|| Value::text(name))
}

/// Numbers as a value, unless there are none.
fn numbers(numbers: impl Iterator<Item = u32>) -> Option<Value> {
    let numbers: Vec<Value> = numbers.map(Value::from).collect();
    (!numbers.is_empty()).then_some(Value::Array(numbers))
}

/// Formats of results, unless all is text: that needs no word.
fn formats(formats: impl Iterator<Item = u16>) -> Option<Value> {
    let formats: Vec<u32> = formats.map(u32::from).collect();
    let any = formats.iter().any(|format| *format != 0);
    if any { numbers(formats.into_iter()) } else { None }
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
    fn types_and_formats_are_told_where_they_say_something() {
        let json = |value: Option<Value>| value.map(|value| value.to_bytes());
        assert_eq!(
            json(numbers([23, 0, u32::MAX].into_iter())),
            Some(b"[23,0,4294967295]".to_vec())
        );
        assert_eq!(numbers([].into_iter()), None);
        assert_eq!(json(formats([0, 1].into_iter())), Some(b"[0,1]".to_vec()));
        assert_eq!((formats([0, 0].into_iter()), formats([].into_iter())), (None, None));
    }
}
