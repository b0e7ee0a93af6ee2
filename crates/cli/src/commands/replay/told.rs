//! What the ledger tells of a recording's actions: which command, how large the terminal, how it
//! went.

use super::screen::SIZE_DEFAULT;
use super::script::Scene;
use crate::commands::shown;
use crate::out::Out;
use crate::text;
use loggia_api::audit::AuditEvent;
use loggia_model::id::EventId;
use serde_json::Value;
use std::collections::HashMap;

/// What is told of the actions of one session.
#[derive(Default)]
pub(super) struct Told {
    /// Id of the session.
    pub(super) session: String,
    /// By the id of the event.
    events: HashMap<String, AuditEvent>,
}

impl Told {
    /// From the events of the session's actions, as far as they could be read.
    pub(super) fn new(session: String, events: Vec<AuditEvent>) -> Self {
        let events = events.into_iter().map(|event| (event.id.clone(), event)).collect();
        Self { session, events }
    }

    fn event(&self, action: Option<EventId>) -> Option<&AuditEvent> {
        self.events.get(&action?.to_string())
    }

    /// A title for the whole.
    pub(super) fn title(&self) -> String {
        let first = self.events.values().next();
        let who = first.and_then(|event| event.actor.as_ref()?.name.clone());
        let name = |event: &AuditEvent| Some(event.resource.get("name")?.as_str()?.to_owned());
        let parts = [who, first.and_then(name), Some(self.session.clone())];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        text::line(&parts.join(" "))
    }

    /// What an action was, in a line.
    pub(super) fn headline(&self, action: Option<EventId>) -> String {
        let Some(event) = self.event(action) else {
            let id = action.map(|action| action.to_string());
            return id.unwrap_or_else(|| "before the first action".to_owned());
        };
        let what = shown::tail(Out { json: false, color: false }, event, None, "");
        // Kind, how it went, what; blanks that make columns elsewhere are of no use here.
        let words: Vec<&str> = what.split_whitespace().collect();
        format!("{} {}", text::line(&event.kind), words.join(" "))
    }

    /// Whether an action has a terminal, where that is told.
    pub(super) fn terminal(&self, action: Option<EventId>) -> Option<bool> {
        let event = self.event(action)?;
        // A command without one does not say so.
        Some(event.detail.get("terminal").and_then(Value::as_bool).unwrap_or(false))
    }

    /// Columns and rows of an action's terminal when it began, where they are told.
    pub(super) fn size(&self, action: Option<EventId>) -> Option<(u32, u32)> {
        let event = self.event(action)?;
        let number = |name: &str| {
            let value = event.detail.get(name).and_then(Value::as_u64)?;
            u32::try_from(value).ok().filter(|number| *number > 0)
        };
        number("columns").zip(number("rows"))
    }

    /// The same of what was recorded under an action, from what the recording itself shows where
    /// nothing is told.
    pub(super) fn terminal_of(&self, scene: &Scene) -> bool {
        self.terminal(scene.action).unwrap_or(scene.terminal)
    }

    /// See [`Self::terminal_of`].
    pub(super) fn size_of(&self, scene: &Scene) -> (u32, u32) {
        self.size(scene.action).or(scene.size).unwrap_or(SIZE_DEFAULT)
    }
}
