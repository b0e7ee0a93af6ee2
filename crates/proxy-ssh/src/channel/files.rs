//! File transfers: each operation is an event before its bytes go on, each file's content is
//! hashed and counted into its result. All else that is said is on tape before it goes on; of a
//! program that the client chose, the content too.

use super::content::{Content, Kept, Speaks, Transfer};
use super::running::Running;
use super::start::denial;
use crate::codec::Malformed;
use crate::codec::files::Files;
use crate::codec::operation::Kind as FileKind;
use crate::codec::operation::{Denial, Finding, Operation, Refusal, Run, Step};
use crate::codec::scp::Direction;
use crate::codec::sftp::{Answers, Requests};
use crate::forward::refused;
use crate::outgoing::{Message, Outgoing};
use crate::relay::Stop;
use bytes::Bytes;
use loggia_gate::{ActionRef, Batch, Recorded, Stream, Unrecorded};
use loggia_model::catalogue::{Effect, Kind};
use loggia_model::{EventDraft, Value};
use std::io;
use tokio::sync::MutexGuard;

impl Running<'_> {
    /// What the client sent on a channel of files.
    pub(super) async fn client_files(
        &self,
        files: &Transfer,
        bytes: Bytes,
    ) -> Result<io::Result<()>, Stop> {
        self.on_tape(files, Stream::Input, &bytes, Kept::All).await?;
        let sent = match files.speaks {
            Speaks::Sftp => match files.sftp(|sftp| sftp.requests(bytes)) {
                Some(Ok(Requests { steps, control })) => {
                    self.on_tape(files, Stream::Input, &control, Kept::AllButContent).await?;
                    self.pass_to_target(files, steps).await?
                }
                Some(Err(malformed)) => return self.not_understood(&malformed).await,
                None => return Ok(Ok(())),
            },
            Speaks::Scp(Direction::Receive) => self.scp_source(files, bytes).await?,
            // The client is the sink: it answers, and what it answers sets free what was held.
            Speaks::Scp(Direction::Send) => {
                let frame = Outgoing::of(Message::Data(bytes.clone()));
                let recorded = self.session.watch.counted(&self.action, frame)?;
                let sent = self.send(recorded).await;
                self.scp_sink(files, &bytes).await?;
                sent
            }
        };
        while files.observe(|observer| observer.is_full()).unwrap_or(false) {
            self.progress.notified().await;
        }
        Ok(sent)
    }

    /// What the target sent on a channel of files.
    pub(super) async fn target_files(&self, files: &Transfer, bytes: Bytes) -> Result<(), Stop> {
        self.on_tape(files, Stream::Output, &bytes, Kept::All).await?;
        match files.speaks {
            // Under the lock of the way to the client, so that a refusal of ours never lands in
            // the middle of an answer.
            Speaks::Sftp => return self.sftp_answers(files, bytes).await,
            Speaks::Scp(Direction::Send) => drop(self.scp_source(files, bytes).await?),
            Speaks::Scp(Direction::Receive) => {
                self.write_client(bytes.clone()).await;
                self.scp_sink(files, &bytes).await?;
            }
        }
        self.progress.notify_one();
        Ok(())
    }

    /// Puts what is said on tape, where this much of it is kept: all as it comes, or what the
    /// observer says is not content.
    async fn on_tape(
        &self,
        files: &Transfer,
        stream: Stream,
        bytes: &[u8],
        kept: Kept,
    ) -> Result<(), Stop> {
        if files.kept != kept || bytes.is_empty() {
            return Ok(());
        }
        Ok(self.session.watch.said(&self.action, stream, bytes).await?)
    }

    /// What the side says that has the files, to the other side. The observer stops at each
    /// action until it is recorded, so it is asked until it has nothing more.
    async fn scp_source(&self, files: &Transfer, chunk: Bytes) -> Result<io::Result<()>, Stop> {
        let mut chunk = Some(chunk);
        loop {
            let steps = files.scp(|scp| scp.source(chunk.take().unwrap_or_default()));
            let steps = match steps {
                Some(Ok(steps)) if !steps.is_empty() => steps,
                Some(Err(malformed)) => return self.not_understood(&malformed).await,
                _ => return Ok(Ok(())),
            };
            if files.speaks == Speaks::Scp(Direction::Send) {
                self.pass_to_client(files, steps).await?;
                continue;
            }
            let sent = self.pass_to_target(files, steps).await?;
            if sent.is_err() {
                return Ok(sent);
            }
        }
    }

    /// What the side answered that receives the files; it is passed on already.
    async fn scp_sink(&self, files: &Transfer, bytes: &Bytes) -> Result<(), Stop> {
        match files.scp(|scp| scp.sink(bytes)) {
            Some(Ok(found)) => self.results(found).await?,
            Some(Err(malformed)) => {
                let _ = self.not_understood(&malformed).await?;
                return Ok(());
            }
            None => {}
        }
        let _ = self.scp_source(files, Bytes::new()).await?;
        Ok(())
    }

    async fn sftp_answers(&self, files: &Transfer, bytes: Bytes) -> Result<(), Stop> {
        let writing = self.to_client.lock().await;
        let Answers { found, control } = match files.sftp(|sftp| sftp.answers(&bytes)) {
            Some(Ok(answers)) => answers,
            Some(Err(malformed)) => {
                drop(writing);
                let _ = self.not_understood(&malformed).await?;
                return Ok(());
            }
            None => return Ok(()),
        };
        self.on_tape(files, Stream::Output, &control, Kept::AllButContent).await?;
        let sending = self.client.write.data_bytes(bytes);
        let _ = self.session.client.pressure.sending(sending).await;
        self.write_denials(files, &writing).await;
        drop(writing);
        self.progress.notify_one();
        self.results(found).await
    }

    /// Records the actions among the steps, all with one append, and sends them on.
    async fn pass_to_target(
        &self,
        files: &Transfer,
        steps: Vec<Step<ActionRef>>,
    ) -> Result<io::Result<()>, Stop> {
        if steps.is_empty() {
            return Ok(Ok(()));
        }
        let mut refusals = Vec::new();
        let recorded = {
            let mut batch = self.session.watch.batch();
            for step in steps {
                self.add_step(files, &mut batch, step, &mut refusals)?;
            }
            batch.commit().await?
        };
        let sent = self.send(recorded).await;
        self.tell_refusals(files, refusals).await?;
        Ok(sent)
    }

    fn add_step(
        &self,
        files: &Transfer,
        batch: &mut Batch<'_, Message>,
        step: Step<ActionRef>,
        refusals: &mut Vec<Refused>,
    ) -> Result<(), Stop> {
        match step {
            Step::Neutral(bytes) => batch.neutral(Outgoing::harmless(bytes))?,
            Step::Part { action, bytes } => {
                batch.part_of(&action, Outgoing::of(Message::Data(bytes)))?;
            }
            Step::Action(action) => {
                let draft = self.describe(&action.operation, action.on.as_ref());
                match batch.record(files.asks_for(), draft, Outgoing::acting(action.bytes)) {
                    Ok(given) => files.recorded(action.ticket, given),
                    Err(error @ (Unrecorded::Denied(..) | Unrecorded::TooLarge(_))) => {
                        let denial = files.denied(action.ticket, &words_of(&error));
                        self.answer_instead(batch, denial)?;
                        let why = Why::Unrecorded(error);
                        refusals.push(Refused { operation: action.operation, why });
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Step::Refused { operation, why, denial } => {
                self.answer_instead(batch, denial)?;
                refusals.push(Refused { operation, why: Why::Observer(why) });
            }
        }
        Ok(())
    }

    fn answer_instead(&self, batch: &mut Batch<'_, Message>, denial: Denial) -> Result<(), Stop> {
        self.denials.lock().push(denial.to_client);
        if !denial.to_target.is_empty() {
            batch.neutral(Outgoing::harmless(denial.to_target))?;
        }
        Ok(())
    }

    async fn tell_refusals(&self, files: &Transfer, refusals: Vec<Refused>) -> Result<(), Stop> {
        for Refused { operation, why } in refusals {
            let asked = operation.path.as_ref().unwrap_or(&operation.request);
            let text = Value::text(asked);
            match why {
                Why::Unrecorded(error) => refused(self.session, "file", text, error).await?,
                Why::Observer(why) => {
                    let draft = self
                        .session
                        .watch
                        .draft(Kind::SshRefused)
                        .set("/detail/request", "file")
                        .set("/detail/reason", reason(why))
                        .set("/detail/text", text);
                    self.session.watch.refused(draft).await?;
                }
            }
        }
        let writing = self.to_client.lock().await;
        self.write_denials(files, &writing).await;
        Ok(())
    }

    /// Tells the client what stands in the place of answers, where it fits between two. The guard
    /// is that of the way to the client.
    async fn write_denials(&self, files: &Transfer, _writing: &MutexGuard<'_, ()>) {
        if !files.observe(|observer| observer.between_answers()).unwrap_or(true) {
            return;
        }
        let denials = std::mem::take(&mut *self.denials.lock());
        for denial in denials {
            let sending = self.client.write.data_bytes(denial);
            let _ = self.session.client.pressure.sending(sending).await;
        }
    }

    /// scp from the target: what it sends is recorded before the client gets it.
    async fn pass_to_client(
        &self,
        files: &Transfer,
        steps: Vec<Step<ActionRef>>,
    ) -> Result<(), Stop> {
        for step in steps {
            match step {
                Step::Neutral(bytes) | Step::Part { bytes, .. } => self.write_client(bytes).await,
                Step::Action(action) => {
                    let draft = self.describe(&action.operation, action.on.as_ref());
                    let mut batch = self.session.watch.batch();
                    // The frame is empty: nothing of it goes to the target.
                    let nothing = Outgoing::acting(Bytes::new());
                    match batch.record(files.asks_for(), draft, nothing) {
                        Ok(given) => {
                            let _: Recorded<Message> = batch.commit().await?;
                            files.recorded(action.ticket, given);
                            self.write_client(action.bytes).await;
                        }
                        Err(error @ (Unrecorded::Denied(..) | Unrecorded::TooLarge(_))) => {
                            let denial = files.denied(action.ticket, &words_of(&error));
                            self.answer_instead(&mut batch, denial)?;
                            let _ = self.send(batch.commit().await?).await;
                            let why = Why::Unrecorded(error);
                            let refused = Refused { operation: action.operation, why };
                            self.tell_refusals(files, vec![refused]).await?;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                Step::Refused { operation, why, denial } => {
                    let mut batch = self.session.watch.batch();
                    self.answer_instead(&mut batch, denial)?;
                    let _ = self.send(batch.commit().await?).await;
                    let why = Why::Observer(why);
                    self.tell_refusals(files, vec![Refused { operation, why }]).await?;
                }
            }
        }
        Ok(())
    }

    /// Bytes that are no file transfer: nothing more of them goes on, the channel ends.
    async fn not_understood(&self, malformed: &Malformed) -> Result<io::Result<()>, Stop> {
        tracing::info!(%malformed, "a file transfer was not understood");
        let draft = self
            .session
            .watch
            .draft(Kind::SshRefused)
            .set("/detail/request", "file")
            .set("/detail/reason", "malformed");
        self.session.watch.refused(draft).await?;
        let text = format!("Loggia: this file transfer is not understood: {malformed}\r\n");
        let _ = self.client.write.extended_data_bytes(1, text.into_bytes()).await;
        let _ = self.send_neutral(Message::Close).await?;
        // The library hears nothing more of a channel that it has closed: this ends the output.
        self.says.close();
        Ok(Err(io::ErrorKind::InvalidData.into()))
    }

    /// Records what became of operations.
    async fn results(&self, found: Vec<Finding<ActionRef>>) -> Result<(), Stop> {
        for finding in found {
            let draft = self.result(finding);
            self.session.watch.result(draft).await?;
        }
        Ok(())
    }

    /// The channel is over: what is to be said of files that were not closed. Said once.
    pub(super) fn files_left(&self) -> Vec<EventDraft> {
        let Content::Files(files) = &self.content else { return Vec::new() };
        let observer = files.observer.lock().take();
        let found = observer.map(Files::finish).unwrap_or_default();
        found.into_iter().map(|finding| self.result(finding)).collect()
    }

    fn describe(&self, operation: &Operation, on: Option<&ActionRef>) -> EventDraft {
        let of = on.map_or(self.action.event(), ActionRef::event).to_string();
        let text = |bytes: &Bytes| Value::text(bytes);
        let mut draft = self
            .session
            .watch
            .draft(Kind::FileOperation)
            .effects(effects(operation.kind))
            .set("/detail/of", of)
            .set("/detail/operation", operation.kind.name())
            .set_some("/detail/path", operation.path.as_ref().map(text))
            .set_some("/detail/name", operation.name.as_ref().map(text))
            .set_some("/detail/path_to", operation.path_to.as_ref().map(text))
            .set_some("/detail/mode", operation.attributes.mode_text())
            .set_some("/detail/size", operation.attributes.size)
            .set_some("/detail/flags", operation.flags.map(|flags| flags.to_string()));
        if operation.kind == FileKind::Other {
            let name = operation.request.get(..128).unwrap_or(&operation.request);
            draft = draft.set("/detail/request", Value::text(name));
        }
        draft
    }

    fn result(&self, finding: Finding<ActionRef>) -> EventDraft {
        let outcome = finding.outcome;
        let status = outcome.trouble.as_ref().or(outcome.status.as_ref());
        let failed = status.filter(|status| !status.is_ok());
        let word = match (&failed, outcome.complete) {
            (Some(_), _) => "error",
            (None, true) => "ok",
            (None, false) => "unknown",
        };
        // Of a file that was both written and read, what was written.
        let content = match outcome.written.run {
            Run::Nothing => &outcome.read,
            _ => &outcome.written,
        };
        let part = content.sha256_of_part();
        let mut draft = self
            .session
            .watch
            .draft(Kind::FileResult)
            .set("/detail/of", finding.action.event().to_string())
            .set("/outcome/status", word)
            .set_some("/outcome/code", failed.map(|status| status.code.to_string()))
            .set_some("/outcome/message", failed.map(|status| Value::text(&status.text)))
            .set_some("/outcome/sha256", content.sha256_of_whole().map(hex::encode))
            .set_some("/outcome/part_sha256", part.map(|(_, sha256)| hex::encode(sha256)))
            .set_some("/outcome/part_from", part.and_then(|(from, _)| from))
            .set_some("/outcome/size", outcome.size)
            .set_some("/outcome/mode", outcome.mode.map(|mode| format!("{:04o}", mode & 0o7777)));
        if outcome.read.run != Run::Nothing {
            draft = draft.set("/outcome/bytes_read", outcome.read.bytes);
        }
        if outcome.written.run != Run::Nothing {
            draft = draft.set("/outcome/bytes_written", outcome.written.bytes);
        }
        if !outcome.complete {
            draft = draft.set("/outcome/incomplete", true);
        }
        draft
    }
}

/// An operation that was not passed on.
struct Refused {
    operation: Operation,
    why: Why,
}

enum Why {
    /// A policy denies it, or it is too large for its event.
    Unrecorded(Unrecorded),
    /// The observer cannot follow it.
    Observer(Refusal),
}

/// The reason in the words of the events.
fn reason(why: Refusal) -> &'static str {
    match why {
        Refusal::TooManyOpen => "limit",
        Refusal::UnknownHandle => "handle",
        Refusal::OtherVersion => "version",
    }
}

fn words_of(error: &Unrecorded) -> String {
    match error {
        Unrecorded::Denied(action, decision) => format!("Loggia: {}", denial(*action, decision)),
        _ => "Loggia: this is too large to be recorded".to_owned(),
    }
}

fn effects(kind: FileKind) -> Vec<Effect> {
    match kind {
        FileKind::OpenRead | FileKind::List | FileKind::Send => vec![Effect::Read],
        FileKind::Remove | FileKind::RemoveDirectory => vec![Effect::Delete],
        FileKind::SetAttributes => vec![Effect::Privilege, Effect::Write],
        FileKind::Other => vec![Effect::Unknown],
        _ => vec![Effect::Write],
    }
}
