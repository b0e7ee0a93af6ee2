//! What a client starts on a channel: a shell, a command, a subsystem. The event comes first.

use super::content::Content;
use super::{Ends, Prepared};
use crate::codec::command::{self, Command};
use crate::forward::refused;
use crate::outgoing::{Message, Outgoing};
use crate::relay::Stop;
use bytes::Bytes;
use loggia_gate::{ActionRef, Unrecorded};
use loggia_model::catalogue::Kind;
use loggia_model::decision::Action;
use loggia_model::{EventDraft, Value};
use tokio::sync::oneshot;

/// What runs.
pub(super) struct Started {
    pub(super) action: ActionRef,
    pub(super) content: Content,
}

/// A program that is asked for.
struct Wanted {
    action: Action,
    draft: EventDraft,
    frame: Outgoing,
    content: Content,
    /// The word in `ssh.refused`.
    request: &'static str,
    /// What was asked for, where it was refused.
    text: Value,
}

impl Ends<'_> {
    pub(super) async fn shell(
        &mut self,
        prepared: Prepared,
        reply: oneshot::Sender<bool>,
    ) -> Result<Option<Started>, Stop> {
        let content = Content::interactive(prepared.terminal.is_some());
        let draft = self.session.watch.draft(Kind::SshShell).set("/detail/recorded", "all");
        let wanted = Wanted {
            action: Action::SshShell,
            draft: prepared.describe(draft),
            frame: Outgoing::of(Message::Shell),
            content,
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
    ) -> Result<Option<Started>, Stop> {
        let terminal = prepared.terminal.is_some();
        // In a terminal what goes both ways is text for people, whatever the command is.
        let known = if terminal { Command::Other } else { command::parse(&text) };
        let (name, content) = match known {
            Command::Other => ("other", Content::interactive(terminal)),
            Command::Rsync { .. } => ("rsync", Content::counted()),
            Command::Git { .. } => ("git", Content::counted()),
            Command::SftpServer => ("sftp", Content::sftp()),
            Command::Scp { direction, paths, into_directory, .. } => {
                ("scp", Content::scp(direction, &paths, into_directory))
            }
        };
        let recorded = if content.is_taped() { "all" } else { "counts" };
        let draft = self
            .session
            .watch
            .draft(Kind::SshExec)
            .set("/detail/command", Value::text(&text))
            .set("/detail/program", name)
            .set("/detail/recorded", recorded);
        let wanted = Wanted {
            action: Action::SshExec,
            draft: prepared.describe(draft),
            frame: Outgoing::of(Message::Exec(text.clone())),
            content,
            request: "exec",
            text: Value::text(&text),
        };
        self.start(wanted, reply).await
    }

    pub(super) async fn subsystem(
        &mut self,
        name: String,
        reply: oneshot::Sender<bool>,
    ) -> Result<Option<Started>, Stop> {
        let draft = self
            .session
            .watch
            .draft(Kind::SshSubsystem)
            .set("/detail/name", name.chars().take(128).collect::<String>());
        let text = Value::from(name.as_str());
        let wanted = if name == "sftp" {
            Wanted {
                action: Action::SshSftp,
                draft,
                frame: Outgoing::of(Message::Subsystem(name)),
                content: Content::sftp(),
                request: "subsystem",
                text,
            }
        } else {
            Wanted {
                action: Action::SshOpaque,
                draft,
                frame: Outgoing::opaque(name),
                content: Content::counted(),
                request: "subsystem",
                text,
            }
        };
        self.start(wanted, reply).await
    }

    async fn start(
        &mut self,
        wanted: Wanted,
        reply: oneshot::Sender<bool>,
    ) -> Result<Option<Started>, Stop> {
        let Wanted { action, draft, frame, content, request, text } = wanted;
        let tape = content.is_taped();
        match self.begin(action, draft, frame, tape).await? {
            Ok(action) => {
                let good = self.answered().await;
                let _ = reply.send(good);
                if good {
                    return Ok(Some(Started { action, content }));
                }
                self.report_refusal_of_target(&action).await?;
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

    async fn report_refusal_of_target(&self, action: &ActionRef) -> Result<(), Stop> {
        let draft = self
            .session
            .watch
            .draft(Kind::SshResult)
            .set("/detail/of", action.event().to_string())
            .set("/outcome/status", "error")
            .set("/outcome/message", "the target refused the request");
        Ok(self.session.watch.result(draft).await?)
    }
}

/// What a person is told whom a policy keeps from something.
pub(super) fn denial(action: Action, decision: &loggia_model::decision::Decision) -> String {
    let why = if decision.policies.is_empty() {
        "no policy permits it".to_owned()
    } else {
        format!("forbidden by {}", decision.policies.join(", "))
    };
    format!("`{}` is not allowed here: {why}\r\n  ask an administrator for access", action.as_str())
}

impl Prepared {
    /// What was prepared, in the event of what is started with it.
    fn describe(&self, draft: EventDraft) -> EventDraft {
        let mut draft = draft.set("/detail/terminal", self.terminal.is_some());
        if let Some(terminal) = &self.terminal {
            draft = draft
                .set("/detail/columns", terminal.columns)
                .set("/detail/rows", terminal.rows)
                .set("/detail/term", terminal.term.as_str());
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
