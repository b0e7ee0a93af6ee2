//! What a client starts on a channel: a shell, a command, a subsystem. The event comes first.

use super::content::{Content, Kept};
use super::{Answer, Ends, Prepared};
use crate::codec::command;
use crate::due::Due;
use crate::forward::refused;
use crate::outgoing::{Message, Outgoing};
use crate::relay::Stop;
use bytes::Bytes;
use loggia_gate::Unrecorded;
use loggia_model::catalogue::Kind;
use loggia_model::decision::Action;
use loggia_model::{EventDraft, Value};
use tokio::sync::oneshot;

/// What runs.
pub(super) struct Started<'a> {
    pub(super) due: Due<'a>,
    pub(super) content: Content,
    /// Its size at the start, where it has a terminal: columns and rows.
    pub(super) size: Option<(u32, u32)>,
}

/// A program that is asked for.
struct Wanted {
    action: Action,
    draft: EventDraft,
    frame: Outgoing,
    content: Content,
    size: Option<(u32, u32)>,
    /// The word in `ssh.refused`.
    request: &'static str,
    /// What was asked for, where it was refused.
    text: Value,
}

impl<'a> Ends<'a> {
    pub(super) async fn shell(
        &mut self,
        prepared: Prepared,
        reply: oneshot::Sender<bool>,
    ) -> Result<Option<Started<'a>>, Stop> {
        let content = Content::plain(prepared.terminal.is_some());
        let draft = self.session.watch.draft(Kind::SshShell);
        let draft = draft.set("/detail/recorded", content.recorded());
        let wanted = Wanted {
            action: Action::SshShell,
            draft: prepared.describe(draft),
            frame: Outgoing::of(Message::Shell),
            content,
            size: prepared.size(),
            request: "shell",
            text: Value::from("shell"),
        };
        let started = self.start(wanted, reply).await?;
        if started.is_some() && prepared.terminal.is_some() {
            let notice = format!("{}\r\n", self.session.parts.notice);
            let _ = self.client.write.data_bytes(notice.into_bytes()).await;
        }
        Ok(started)
    }

    pub(super) async fn exec(
        &mut self,
        prepared: Prepared,
        text: Bytes,
        reply: oneshot::Sender<bool>,
    ) -> Result<Option<Started<'a>>, Stop> {
        let terminal = prepared.terminal.is_some();
        // In a terminal what goes both ways is text for people, whatever the command is.
        let (name, content) = if terminal {
            ("other", Content::plain(true))
        } else {
            Content::of_command(&command::parse(&text))
        };
        let draft = self
            .session
            .watch
            .draft(Kind::SshExec)
            .set("/detail/command", Value::text(&text))
            .set("/detail/program", name)
            .set("/detail/recorded", content.recorded());
        let wanted = Wanted {
            action: Action::SshExec,
            draft: prepared.describe(draft),
            frame: Outgoing::of(Message::Exec(text.clone())),
            content,
            size: prepared.size(),
            request: "exec",
            text: Value::text(&text),
        };
        self.start(wanted, reply).await
    }

    pub(super) async fn subsystem(
        &mut self,
        prepared: Prepared,
        name: String,
        reply: oneshot::Sender<bool>,
    ) -> Result<Option<Started<'a>>, Stop> {
        // A terminal changes what goes through it as its modes say: what the target would read is
        // not what is read here. Nobody needs it, so nobody gets it.
        if prepared.terminal.is_some() {
            return self.not_in_a_terminal(&name, reply).await.map(|()| None);
        }
        let draft = self
            .session
            .watch
            .draft(Kind::SshSubsystem)
            .set("/detail/name", name.chars().take(128).collect::<String>());
        let text = Value::from(name.as_str());
        let (action, frame, content) = if name == "sftp" {
            let content = Content::sftp(Kept::AllButContent);
            (Action::SshSftp, Outgoing::of(Message::Subsystem(name)), content)
        } else {
            (Action::SshOpaque, Outgoing::opaque(name), Content::plain(false))
        };
        let draft = prepared.describe(draft).set("/detail/recorded", content.recorded());
        let size = None;
        let wanted = Wanted { action, draft, frame, content, size, request: "subsystem", text };
        self.start(wanted, reply).await
    }

    async fn not_in_a_terminal(
        &mut self,
        name: &str,
        reply: oneshot::Sender<bool>,
    ) -> Result<(), Stop> {
        let draft = self
            .session
            .watch
            .draft(Kind::SshRefused)
            .set("/detail/request", "subsystem")
            .set("/detail/reason", "terminal")
            .set("/detail/text", name);
        self.session.watch.refused(draft).await?;
        self.turn_away(reply, "a subsystem is not started in a terminal; ask for none").await;
        Ok(())
    }

    async fn start(
        &mut self,
        wanted: Wanted,
        reply: oneshot::Sender<bool>,
    ) -> Result<Option<Started<'a>>, Stop> {
        let Wanted { action, draft, frame, content, size, request, text } = wanted;
        match self.begin(action, draft, frame).await? {
            Ok(due) => {
                let answer = self.answered().await;
                let _ = reply.send(answer == Answer::Yes);
                match answer {
                    Answer::Yes => return Ok(Some(Started { due, content, size })),
                    Answer::No => {
                        let draft = due.draft("error");
                        let why = "the target refused the request";
                        due.say(draft.set("/outcome/message", why)).await?;
                    }
                    // What came of it is not known, which its result says by itself.
                    Answer::None => drop(due),
                }
                Ok(None)
            }
            Err(error) => {
                let words = match &error {
                    Unrecorded::Denied(action, decision) => denial(*action, decision),
                    _ => "this command is too large to be recorded, so it is not run".to_owned(),
                };
                refused(self.session, request, text, error).await?;
                self.turn_away(reply, &words).await;
                Ok(None)
            }
        }
    }
}

/// What a person is told whom a policy keeps from something.
pub(super) fn denial(action: Action, decision: &loggia_model::decision::Decision) -> String {
    let why = decision.why_denied();
    format!("`{}` is not allowed here: {why}\r\n  ask an administrator for access", action.as_str())
}

impl Prepared {
    fn size(&self) -> Option<(u32, u32)> {
        self.terminal.as_ref().map(|terminal| (terminal.columns, terminal.rows))
    }

    /// What was prepared, in the event of what is started with it.
    fn describe(&self, draft: EventDraft) -> EventDraft {
        let mut draft = draft.set("/detail/terminal", self.terminal.is_some());
        if let Some(terminal) = &self.terminal {
            draft = draft
                .set("/detail/columns", terminal.columns)
                .set("/detail/rows", terminal.rows)
                .set("/detail/term", terminal.term.as_str());
            let modes = terminal.modes.iter();
            let modes: Vec<Value> = modes
                .map(|(mode, value)| {
                    Value::from(vec![Value::from(*mode as u32), Value::from(*value)])
                })
                .collect();
            draft = draft.set("/detail/modes", modes);
        }
        if self.environment.is_empty() {
            return draft;
        }
        let pairs: Vec<Value> = self
            .environment
            .iter()
            .map(|(name, value)| {
                Value::from(vec![Value::from(name.as_str()), Value::from(value.as_str())])
            })
            .collect();
        draft.set("/detail/environment", pairs)
    }
}
