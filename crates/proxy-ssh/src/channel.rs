//! One session channel: what the client prepares (terminal, environment), what it starts, and what
//! then goes both ways until it ends.

mod content;
mod files;
mod running;
mod start;

use crate::door::{ClientChannel, ClientSays};
use crate::due::Due;
use crate::flow::Pressure;
use crate::forward::refused;
use crate::outgoing::{ChannelWriter, Message, Outgoing, Terminal};
use crate::relay::{Serving, Stop};
use crate::upstream::{Followed, TargetSays, Upstream};
use loggia_gate::{TargetWriter, Unrecorded};
use loggia_model::EventDraft;
use loggia_model::catalogue::Kind;
use loggia_model::decision::Action;
use russh::ChannelOpenFailure;
use russh::server::Handle;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long a target may take to answer a request of a channel.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);
/// Environment variables of one channel.
const VARIABLES_MAX: usize = 128;
/// Their names and values together, in bytes.
const VARIABLES_BYTES_MAX: usize = 32 * 1024;
/// How long the target may take to close a channel after the client has.
pub(crate) const CLOSE_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a client may take to hear why what it started does not run.
const TURN_AWAY_MAX: Duration = Duration::from_secs(10);
/// The exit status of what was not let through, as shells use it: found, and not executed.
const REFUSED_STATUS: u32 = 126;

/// The client's leg, as channels share it.
pub(crate) struct ClientLeg {
    pub(crate) handle: Handle,
    pub(crate) pressure: Arc<Pressure>,
}

/// What was prepared before a program starts.
#[derive(Default)]
struct Prepared {
    /// A terminal that was asked for and not refused.
    terminal: Option<Terminal>,
    environment: Vec<(String, String)>,
    environment_bytes: usize,
}

/// What a target says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    /// Nothing, in time: what it did is not known, and a later answer would be taken for that to
    /// the next request. The channel has to end.
    None,
}

/// A channel with its two ends.
struct Ends<'a> {
    session: Serving<'a>,
    client: ClientEnd,
    upstream: Upstream,
    target: TargetWriter<ChannelWriter>,
    says: Followed,
}

/// The client's end once the channel is open.
struct ClientEnd {
    id: russh::ChannelId,
    write: russh::ChannelWriteHalf<russh::server::Msg>,
    says: Arc<crate::flow::Queue<ClientSays>>,
}

/// Serves a channel from its opening to its end.
pub(crate) async fn serve(session: Serving<'_>, channel: ClientChannel) -> Result<(), Stop> {
    let ClientChannel { id, write, says, reply } = channel;
    let upstream = match session.pool.take().await {
        Ok(upstream) => upstream,
        Err(error) => {
            let reason = crate::door::words(&error);
            reply.reject(ChannelOpenFailure::Other { code: 2, reason }).await;
            return Ok(());
        }
    };
    let Ok((target, heard)) = upstream.open_session().await else {
        let reason = "the target opens no more sessions".to_owned();
        reply.reject(ChannelOpenFailure::Other { code: 4, reason }).await;
        return Ok(());
    };
    reply.accept().await;
    let ends = Ends {
        session,
        client: ClientEnd { id, write, says },
        upstream,
        target: TargetWriter::new(ChannelWriter(target), session.watch.dial()),
        says: heard,
    };
    ends.serve().await
}

impl<'a> Ends<'a> {
    async fn serve(mut self) -> Result<(), Stop> {
        let mut end = self.session.watch.end_signal();
        let started = tokio::select! {
            biased;
            _ = end.ended() => Ok(None),
            started = self.prepare() => started,
        };
        let served = match started {
            Ok(Some(started)) => self.run(started).await,
            Ok(None) => Ok(()),
            Err(stop) => Err(stop),
        };
        // What stops the session is told by the end of the connection; a client that sees its
        // channel closed first does not wait for that.
        if served.is_ok() {
            let _ = self.client.write.close().await;
        }
        self.client.says.abandon();
        self.upstream.let_open(false);
        self.session.pool.give_back(self.upstream);
        served
    }

    /// Until the client starts something; `None` where it closes before that, or what it wanted
    /// is not let through.
    async fn prepare(&mut self) -> Result<Option<start::Started<'a>>, Stop> {
        let mut prepared = Prepared::default();
        while let Some(says) = self.client.says.pop().await {
            match says {
                ClientSays::Terminal { terminal, reply } => {
                    let message = Message::Terminal(terminal.clone());
                    match self.neutral_request(message, reply).await? {
                        Answer::Yes => prepared.terminal = Some(terminal),
                        Answer::No => {}
                        // Whether there is a terminal now, nobody here knows.
                        Answer::None => return Ok(None),
                    }
                }
                ClientSays::Environment { name, value, reply } => {
                    self.environment(&mut prepared, name, value, reply).await?;
                }
                ClientSays::Agent { reply } => {
                    self.back_channel(Action::SshAgent, "agent", Message::Agent, reply).await?;
                }
                ClientSays::X11 { single, protocol, cookie, screen, reply } => {
                    let message = Message::X11 { single, protocol, cookie, screen };
                    self.back_channel(Action::SshX11, "x11", message, reply).await?;
                }
                ClientSays::Shell { reply } => return self.shell(prepared, reply).await,
                ClientSays::Exec { command, reply } => {
                    return self.exec(prepared, command, reply).await;
                }
                ClientSays::Subsystem { name, reply } => {
                    return self.subsystem(prepared, name, reply).await;
                }
                ClientSays::Resize { columns, rows, pixels } => {
                    if let Some(terminal) = &mut prepared.terminal {
                        (terminal.columns, terminal.rows, terminal.pixels) =
                            (columns, rows, pixels);
                        let _ =
                            self.send_neutral(Message::Resize { columns, rows, pixels }).await?;
                    }
                }
                ClientSays::Signal(_) | ClientSays::Eof => {}
                // Input before there is anything to read it.
                ClientSays::Data(_) | ClientSays::Close => return Ok(None),
            }
        }
        Ok(None)
    }

    async fn environment(
        &mut self,
        prepared: &mut Prepared,
        name: String,
        value: String,
        reply: oneshot::Sender<bool>,
    ) -> Result<(), Stop> {
        prepared.environment_bytes += name.len() + value.len();
        if prepared.environment.len() >= VARIABLES_MAX
            || prepared.environment_bytes > VARIABLES_BYTES_MAX
        {
            // Dropped, the answer is no.
            return Ok(());
        }
        // Whether the target takes a variable is its own affair (AcceptEnv); OpenSSH's client does
        // not ask, and is not held for it.
        prepared.environment.push((name.clone(), value.clone()));
        let _ = self.send_neutral(Message::Environment { name, value }).await?;
        let _ = reply.send(true);
        Ok(())
    }

    /// The client's agent or display, where a policy permits the target to use it.
    async fn back_channel(
        &mut self,
        action: Action,
        name: &'static str,
        message: Message,
        reply: oneshot::Sender<bool>,
    ) -> Result<(), Stop> {
        let draft = self.session.watch.draft(Kind::SshForward).set("/detail/direction", name);
        let mut batch = self.session.watch.batch();
        let recorded = match batch.record(action, draft, Outgoing::of(message)) {
            Ok(_) => batch.commit().await?,
            Err(error @ Unrecorded::Denied(..)) => {
                drop(batch);
                return refused(self.session, name, name, error).await;
            }
            Err(error) => return Err(error.into()),
        };
        let sent = self.target.send(recorded).await;
        let granted = sent.is_ok() && self.answered().await == Answer::Yes;
        self.upstream.let_open(granted);
        let _ = reply.send(granted);
        Ok(())
    }

    /// Passes a request without an effect of its own on, and its answer back.
    async fn neutral_request(
        &mut self,
        message: Message,
        reply: oneshot::Sender<bool>,
    ) -> Result<Answer, Stop> {
        let answer = match self.send_neutral(message).await? {
            Ok(()) => self.answered().await,
            Err(_) => Answer::None,
        };
        let _ = reply.send(answer == Answer::Yes);
        Ok(answer)
    }

    async fn send_neutral(&mut self, message: Message) -> Result<io::Result<()>, Stop> {
        let mut batch = self.session.watch.batch();
        batch.neutral(Outgoing::of(message))?;
        Ok(self.target.send(batch.commit().await?).await)
    }

    /// Waits for the target's answer to a request.
    async fn answered(&self) -> Answer {
        let answer = async {
            loop {
                match self.says.pop().await {
                    Some(TargetSays::Success) => return Answer::Yes,
                    Some(TargetSays::Failure) => return Answer::No,
                    None | Some(TargetSays::Close | TargetSays::Gone) => return Answer::None,
                    Some(_) => {}
                }
            }
        };
        timeout(ANSWER_WAIT_MAX, answer).await.unwrap_or(Answer::None)
    }

    /// Records an action and asks the target for it. What the target answers is for the caller to
    /// await and to pass on. An inner error is one that the client is told, and the session goes on.
    async fn begin(
        &mut self,
        action: Action,
        draft: EventDraft,
        frame: Outgoing,
    ) -> Result<Result<Due<'a>, Unrecorded>, Stop> {
        // Asked before the recording begins, so that what is denied leaves none.
        if let Err(error) = self.session.watch.permits(action) {
            return Ok(Err(error));
        }
        self.session.watch.begin_recording().await?;
        match self.session.watch.record(action, draft, frame).await {
            Ok((action, recorded)) => {
                let due = Due::of(self.session.watch, action);
                let _ = self.target.send(recorded).await;
                Ok(Ok(due))
            }
            Err(error @ (Unrecorded::Denied(..) | Unrecorded::TooLarge(_))) => Ok(Err(error)),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells a client why what it started does not run, where every client shows it: on standard
    /// error, with an exit status.
    async fn turn_away(&self, reply: oneshot::Sender<bool>, words: &str) {
        let _ = reply.send(true);
        let text = format!("Loggia: {words}\r\n");
        let write = &self.client.write;
        let saying = async {
            let _ = write.extended_data_bytes(1, text.into_bytes()).await;
            let _ = write.exit_status(REFUSED_STATUS).await;
            let _ = write.eof().await;
        };
        let _ = timeout(TURN_AWAY_MAX, saying).await;
    }
}
