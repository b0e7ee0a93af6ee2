//! A program that runs: input one way, output the other, each recorded before it is passed on.
//!
//! Both directions run in one task and meet at two locks. That of the way to the target is held for
//! every message there. That of the way to the client is held for what stands in the channel's one
//! stream of data: output, and the answers that we give in a target's place, which must not land in
//! the middle of one of its own. Standard error, exit status and the end of the output are messages
//! of their own, which nothing can tear apart, and go without it. Each lock is held while something
//! is sent, never while something is awaited from the other side.

use super::content::Content;
use super::start::Started;
use super::{CLOSE_WAIT_MAX, Ends};
use crate::codec::echo::LineVerdict;
use crate::door::ClientSays;
use crate::due::{Due, say_now};
use crate::forward;
use crate::outgoing::{ChannelWriter, Message, Outgoing};
use crate::relay::{Serving, Stop};
use crate::upstream::{Followed, TargetOpens, TargetSays, Upstream};
use bytes::Bytes;
use loggia_gate::{EndNotice, Recorded, RecordedAction, Stream, TargetWriter};
use loggia_model::EventDraft;
use loggia_model::catalogue::Kind;
use parking_lot::Mutex as Lock;
use russh::Sig;
use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

/// How long the end of the output waits for the end of the program, where the client may still
/// send input; where it has no more, it waits until the program ends.
const EOF_WAIT: Duration = Duration::from_millis(300);
/// How long the last words of an ordered end may take on one channel.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// What a target said of the end of a program.
#[derive(Debug, Default)]
pub(super) struct Exit {
    status: Option<u32>,
    signal: Option<String>,
}

/// A program under way.
pub(super) struct Running<'a> {
    pub(super) session: Serving<'a>,
    pub(super) action: RecordedAction,
    /// Taken by its result.
    due: Lock<Option<Due<'a>>>,
    /// Results that were found at the end and are not on record yet.
    unsaid: Lock<VecDeque<EventDraft>>,
    pub(super) content: Content,
    pub(super) client: &'a super::ClientEnd,
    pub(super) upstream: &'a Upstream,
    pub(super) says: &'a Followed,
    pub(super) to_target: Mutex<&'a mut TargetWriter<ChannelWriter>>,
    /// Held while something is put into the stream of data to the client.
    pub(super) to_client: Mutex<()>,
    /// What the client is to be told in place of an answer, once it fits between two.
    pub(super) denials: Lock<Vec<Bytes>>,
    /// An answer came; whoever paused may go on.
    pub(super) progress: Notify,
    pub(super) exit: Lock<Exit>,
    /// Whether more than one silent line in a row is on record.
    silent: AtomicBool,
    /// Whether the client has no more input.
    input_over: AtomicBool,
    /// Whether the target has no more output.
    output_over: AtomicBool,
}

/// Why both directions are over.
enum Over {
    /// The target closed the channel, or the connection.
    Target,
    /// The client did not wait for it.
    Client,
    /// The session was ordered to end.
    Ordered(EndNotice),
    /// It cannot go on.
    Stopped(Stop),
}

impl<'a> Ends<'a> {
    /// Until the program ends, with its result on record.
    pub(super) async fn run(&mut self, started: Started<'a>) -> Result<(), Stop> {
        let Started { due, content, size } = started;
        // What the target opens is received here while everything else of the connection is shared:
        // the receiver is taken out of it for as long, and another stands in its place.
        let nothing_opens = mpsc::channel(1).1;
        let mut opens = std::mem::replace(&mut self.upstream.opens, nothing_opens);
        let running = self.running(due, content);
        if let Some((columns, rows)) = size {
            running.session.watch.resized(&running.action, columns, rows).await?;
        }
        let served = match running.until_over(&mut opens).await {
            Over::Stopped(stop) => Err(stop),
            Over::Target => running.report(None).await,
            Over::Client => {
                running.close_target().await;
                running.report(None).await
            }
            Over::Ordered(notice) => {
                running.ordered(&notice).await;
                running.report(Some("cancelled")).await
            }
        };
        drop(running);
        self.upstream.opens = opens;
        served
    }

    fn running(&mut self, due: Due<'a>, content: Content) -> Running<'_> {
        Running {
            session: self.session,
            action: due.action(),
            due: Lock::new(Some(due)),
            unsaid: Lock::default(),
            content,
            client: &self.client,
            upstream: &self.upstream,
            says: &self.says,
            to_target: Mutex::new(&mut self.target),
            to_client: Mutex::new(()),
            denials: Lock::default(),
            progress: Notify::new(),
            exit: Lock::default(),
            silent: AtomicBool::new(false),
            input_over: AtomicBool::new(false),
            output_over: AtomicBool::new(false),
        }
    }
}

impl Running<'_> {
    /// Both directions, until there is a reason to stop.
    async fn until_over(&self, opens: &mut mpsc::Receiver<TargetOpens>) -> Over {
        let mut end = self.session.watch.end_signal();
        let mut input = pin!(self.input());
        let mut output = pin!(self.output());
        let pressure = Arc::clone(&self.upstream.pressure);
        let back = async {
            match forward::serve_back(self.session, opens, &pressure).await {
                Ok(()) => std::future::pending().await,
                Err(stop) => stop,
            }
        };
        // Whatever stands still: a client that is gone is waited for only so long.
        let gone = async {
            self.session.gone.cancelled().await;
            tokio::time::sleep(CLOSE_WAIT_MAX).await;
        };
        tokio::select! {
            biased;
            notice = end.ended() => Over::Ordered(notice),
            () = gone => Over::Client,
            stop = back => Over::Stopped(stop),
            done = &mut output => done.map_or_else(Over::Stopped, |()| Over::Target),
            done = &mut input => match done {
                Err(stop) => Over::Stopped(stop),
                // The client closed: the program is given time to notice and to end.
                Ok(()) => match timeout(CLOSE_WAIT_MAX, output).await {
                    Ok(Ok(())) => Over::Target,
                    Ok(Err(stop)) => Over::Stopped(stop),
                    Err(_late) => Over::Client,
                },
            },
        }
    }

    /// Everything that the client says, until it closes the channel.
    async fn input(&self) -> Result<(), Stop> {
        while let Some(says) = self.client.says.pop().await {
            let sent = match says {
                ClientSays::Data(bytes) => self.client_data(bytes).await?,
                ClientSays::Eof => {
                    self.input_over.store(true, Ordering::Release);
                    self.send_neutral(Message::Eof).await?
                }
                ClientSays::Resize { columns, rows, pixels } => {
                    if matches!(self.content, Content::Terminal(_)) {
                        self.session.watch.resized(&self.action, columns, rows).await?;
                    }
                    self.send_neutral(Message::Resize { columns, rows, pixels }).await?
                }
                ClientSays::Signal(signal) => self.signal(signal, "client").await?,
                ClientSays::Close => break,
                // One channel starts one program; dropped, the answer is no.
                _ => Ok(()),
            };
            if sent.is_err() {
                // The target's end of it tells why.
                std::future::pending::<()>().await;
            }
        }
        self.client_over().await
    }

    /// The client closed. The library hears nothing more of a channel that it has closed: where
    /// the end of the input is the end of the program, or the program is about to end, that is
    /// waited for.
    async fn client_over(&self) -> Result<(), Stop> {
        if self.content.is_files() || self.output_over.load(Ordering::Acquire) {
            if !self.input_over.load(Ordering::Acquire) {
                let _ = self.send_neutral(Message::Eof).await?;
            }
            return Ok(());
        }
        let _ = self.send_neutral(Message::Close).await?;
        self.says.close();
        Ok(())
    }

    /// Whatever runs does not end by itself.
    async fn close_target(&self) {
        let closing = async {
            let _ = self.send_neutral(Message::Close).await;
        };
        let _ = timeout(LAST_WORDS_MAX, closing).await;
    }

    async fn client_data(&self, bytes: Bytes) -> Result<io::Result<()>, Stop> {
        if let Some(due) = &*self.due.lock() {
            due.bytes_in.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        self.session.totals.bytes_in.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let watch = self.session.watch;
        let recorded = match &self.content {
            Content::Terminal(echo) => {
                let typed: Vec<(u64, &[u8])> = echo
                    .lock()
                    .typed(&bytes)
                    .iter()
                    .map(|piece| (piece.line, piece.bytes))
                    .collect();
                let frame = Outgoing::of(Message::Data(bytes.clone()));
                watch.typed(&self.action, &typed, frame).await?
            }
            Content::Piped => {
                let frame = Outgoing::of(Message::Data(bytes.clone()));
                watch.input(&self.action, &bytes, frame).await?
            }
            Content::Files(transfer) => return self.client_files(transfer, bytes).await,
        };
        Ok(self.send(recorded).await)
    }

    /// Everything that the target says, until it closes the channel.
    ///
    /// A client that has no more input closes its channel at the end of the output, and the
    /// library answers that at once: what came later, such as an exit status, would be lost. So
    /// the end of the output waits for the end of the program.
    async fn output(&self) -> Result<(), Stop> {
        let write = &self.client.write;
        let mut eof_due: Option<Instant> = None;
        let mut eof_sent = false;
        loop {
            let says = match eof_due {
                None => self.says.pop().await,
                Some(due) => match timeout_at(due, self.says.pop()).await {
                    Ok(says) => says,
                    Err(_late) if self.input_over.load(Ordering::Acquire) => {
                        eof_due = Some(due + EOF_WAIT);
                        continue;
                    }
                    Err(_late) => {
                        (eof_due, eof_sent) = (None, true);
                        let _ = write.eof().await;
                        continue;
                    }
                },
            };
            let Some(says) = says else { return Ok(()) };
            match says {
                TargetSays::Output(bytes) => self.target_data(bytes).await?,
                TargetSays::Error(bytes) => self.target_error(bytes).await?,
                TargetSays::Eof => {
                    self.output_over.store(true, Ordering::Release);
                    eof_due = Some(Instant::now() + EOF_WAIT);
                }
                TargetSays::ExitStatus(status) => {
                    self.session.watch.exited(&self.action, Some(status)).await?;
                    self.exit.lock().status = Some(status);
                    let _ = write.exit_status(status).await;
                }
                TargetSays::ExitSignal { signal, core_dumped, message } => {
                    self.session.watch.exited(&self.action, None).await?;
                    self.exit.lock().signal = Some(signal_name(&signal));
                    let (handle, id) = (&self.session.client.handle, self.client.id);
                    let lang = String::new();
                    let _ =
                        handle.exit_signal_request(id, signal, core_dumped, message, lang).await;
                }
                TargetSays::Success | TargetSays::Failure => {}
                TargetSays::Close | TargetSays::Gone => {
                    if !eof_sent {
                        let _ = write.eof().await;
                    }
                    return Ok(());
                }
            }
        }
    }

    async fn target_error(&self, bytes: Bytes) -> Result<(), Stop> {
        self.count_out(bytes.len());
        self.session.watch.said(&self.action, Stream::Error, &bytes).await?;
        let sending = self.client.write.extended_data_bytes(1, bytes);
        let _ = self.session.client.pressure.sending(sending).await;
        Ok(())
    }

    async fn target_data(&self, bytes: Bytes) -> Result<(), Stop> {
        self.count_out(bytes.len());
        match &self.content {
            Content::Terminal(echo) => {
                self.session.watch.said(&self.action, Stream::Output, &bytes).await?;
                let (verdicts, silent_lines) = {
                    let mut echo = echo.lock();
                    (echo.output(&bytes), echo.silent_run())
                };
                self.disclose(verdicts).await?;
                self.note_silence(silent_lines).await?;
            }
            Content::Piped => {
                self.session.watch.said(&self.action, Stream::Output, &bytes).await?;
            }
            Content::Files(transfer) => return self.target_files(transfer, bytes).await,
        }
        self.write_client(bytes).await;
        Ok(())
    }

    /// Lines that the terminal showed may be read in a replay.
    async fn disclose(&self, verdicts: Vec<LineVerdict>) -> Result<(), Stop> {
        for verdict in verdicts.into_iter().filter(|verdict| verdict.echoed) {
            self.session.watch.disclose(&self.action, verdict.line).await?;
        }
        Ok(())
    }

    /// One silent line is a password; more in a row is worth an event, once.
    async fn note_silence(&self, lines: u32) -> Result<(), Stop> {
        if lines <= 1 {
            self.silent.store(false, Ordering::Relaxed);
            return Ok(());
        }
        if self.silent.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let draft = self
            .session
            .watch
            .draft(Kind::SshSilent)
            .set("/detail/of", self.action.event().to_string())
            .set("/detail/lines", lines);
        Ok(self.session.watch.result(draft).await?)
    }

    fn count_out(&self, bytes: usize) {
        if let Some(due) = &*self.due.lock() {
            due.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        self.session.totals.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Sends to the client; where it is gone, its closing of the channel tells.
    pub(super) async fn write_client(&self, bytes: Bytes) {
        let _writing = self.to_client.lock().await;
        let sending = self.client.write.data_bytes(bytes);
        let _ = self.session.client.pressure.sending(sending).await;
    }

    pub(super) async fn send(&self, recorded: Recorded<Message>) -> io::Result<()> {
        let mut target = self.to_target.lock().await;
        self.upstream.pressure.sending(target.send(recorded)).await
    }

    pub(super) async fn send_neutral(&self, message: Message) -> Result<io::Result<()>, Stop> {
        let mut batch = self.session.watch.batch();
        batch.neutral(Outgoing::of(message))?;
        Ok(self.send(batch.commit().await?).await)
    }

    async fn signal(&self, signal: Sig, by: &'static str) -> Result<io::Result<()>, Stop> {
        let mut batch = self.session.watch.batch();
        let draft = batch
            .draft(Kind::SshSignal)
            .set("/detail/of", self.action.event().to_string())
            .set("/detail/signal", signal_name(&signal))
            .set("/detail/by", by);
        batch.cancel(draft, Outgoing::of(Message::Signal(signal)))?;
        Ok(self.send(batch.commit().await?).await)
    }

    /// The session is ordered to end: what runs is told to stop, the person is told why.
    async fn ordered(&self, notice: &EndNotice) {
        let by = match notice.code {
            "locked" => "lock",
            "ended" | "shutdown" => "operator",
            _ => "limit",
        };
        let stopping = async {
            if let Err(error) = self.signal(Sig::TERM, by).await {
                tracing::warn!(?error, "a signal to what a session runs could not be recorded");
            }
            let _ = self.send_neutral(Message::Close).await;
        };
        let _ = timeout(LAST_WORDS_MAX, stopping).await;
        let text = format!("\r\nLoggia ended this session: {}\r\n", notice.reason);
        let telling = async {
            let write = &self.client.write;
            if matches!(self.content, Content::Terminal(_)) {
                let _ = write.data_bytes(text.into_bytes()).await;
            } else {
                let _ = write.extended_data_bytes(1, text.into_bytes()).await;
            }
        };
        let _ = timeout(LAST_WORDS_MAX, telling).await;
    }

    /// What the program gave, and its files.
    async fn report(&self, status: Option<&'static str>) -> Result<(), Stop> {
        self.unsaid.lock().extend(self.files_left());
        while let Some(draft) = { self.unsaid.lock().pop_front() } {
            self.session.watch.result(draft).await?;
        }
        if let Content::Terminal(echo) = &self.content {
            let verdicts = echo.lock().finish();
            self.disclose(verdicts).await?;
        }
        let Some(due) = self.due.lock().take() else { return Ok(()) };
        let draft = self.result_of_program(&due, status);
        Ok(due.say(draft).await?)
    }

    fn result_of_program(&self, due: &Due<'_>, status: Option<&'static str>) -> EventDraft {
        let exit = std::mem::take(&mut *self.exit.lock());
        let status = status.unwrap_or(match (exit.status, &exit.signal) {
            (Some(0), _) => "ok",
            (None, None) => "unknown",
            _ => "error",
        });
        due.draft(status)
            .set_some("/outcome/exit_status", exit.status)
            .set_some("/outcome/exit_signal", exit.signal)
    }
}

impl Drop for Running<'_> {
    /// Wherever it ends: what was found of files is not lost. The result of the program follows
    /// by itself.
    fn drop(&mut self) {
        let unsaid = std::mem::take(&mut *self.unsaid.lock());
        for draft in unsaid.into_iter().chain(self.files_left()) {
            say_now(self.session.watch, draft);
        }
    }
}

/// The name of a signal, without SIG.
fn signal_name(signal: &Sig) -> String {
    match signal {
        Sig::Custom(name) => name.chars().take(32).collect(),
        known => format!("{known:?}"),
    }
}
