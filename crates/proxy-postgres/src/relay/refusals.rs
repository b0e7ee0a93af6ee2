//! What is not forwarded, and what its client is told.

use super::Stop;
use super::intake::Pause;
use crate::codec::CodecError;
use crate::codec::encode::{Report, Severity};
use crate::codec::frame::{Frame, Inbound};
use crate::codec::frontend::{self, Message, Parse};
use crate::refusal::{INSUFFICIENT_PRIVILEGE, LIMIT_EXCEEDED, PROTOCOL_VIOLATION};
use loggia_gate::{FrameClass, Unrecorded};
use loggia_model::decision::{Action, Decision};
use loggia_model::{EventDraft, Value};

/// A message that is not forwarded.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) tag: u8,
    pub(super) bytes: usize,
    /// Stable code in `sql.refused`.
    pub(super) reason: &'static str,
    pub(super) text: Option<Value>,
    pub(super) decision: Option<Box<Decision>>,
    pub(super) report: Report,
}

pub(super) fn client_broke(error: CodecError) -> Stop {
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

/// Why a message did not get into the batch, as far as that is about the message alone.
pub(super) fn not_recorded(frame: &Frame, error: Unrecorded) -> Result<Pause, Stop> {
    let (tag, bytes) = (frame.tag(), frame.wire().len());
    match error {
        Unrecorded::Denied(Action::SqlOpaque, decision) => {
            let message = format!("Loggia does not know message {}", tag_text(tag));
            let hint = "it is let through only where policy allows sql.opaque on this resource";
            Ok(Pause::Broken(Box::new(Refusal {
                tag,
                bytes,
                reason: "opaque",
                text: None,
                decision: Some(decision),
                report: fatal(PROTOCOL_VIOLATION, message, Some(hint)),
            })))
        }
        Unrecorded::Denied(action, decision) => {
            Ok(Pause::Refused(Box::new(denied(frame, action, decision))))
        }
        Unrecorded::TooLarge(_) => Ok(too_large(tag, bytes, text_of(frame))),
        // A mistake of the relay, or nothing is recorded any more.
        error => Err(Stop::from(error)),
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

pub(super) fn too_large(tag: u8, bytes: usize, text: Option<Value>) -> Pause {
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
    if action { Pause::Refused(refusal) } else { Pause::Broken(refusal) }
}

/// A COPY failed, the client sent a Sync before its data, and now goes on without waiting for an
/// answer or sending another: nobody but the server knows whether it runs this or skips it.
pub(super) fn behind_a_broken_copy<A>(next: &Inbound<A>) -> Pause {
    let (tag, bytes) = match next {
        Inbound::Frame(frame) => (frame.tag(), frame.wire().len()),
        Inbound::TooLarge { tag, bytes } => (*tag, *bytes),
        Inbound::Copy { piece, .. } => (b'd', piece.wire().len()),
        Inbound::CopyWaits => (b'd', 0),
    };
    let message = "after a COPY that failed, a message came before the server was in step again";
    let hint = "send a Sync after the end of the COPY, or wait for the server's answer";
    Pause::Broken(Box::new(Refusal {
        tag,
        bytes,
        reason: "protocol_error",
        text: None,
        decision: None,
        report: fatal(PROTOCOL_VIOLATION, message.to_owned(), Some(hint)),
    }))
}

pub(super) fn malformed(frame: &Frame, error: CodecError) -> Pause {
    Pause::Broken(Box::new(Refusal {
        tag: frame.tag(),
        bytes: frame.wire().len(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_bytes_that_cannot_be_printed_are_numbers() {
        assert_eq!((tag_text(b'W'), tag_text(0)), ("W".to_owned(), "0x00".to_owned()));
    }
}
