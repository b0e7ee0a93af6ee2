//! The recording of a session: what was typed and what came back, frame by frame, written before
//! it is forwarded, its root in the ledger while it grows.
//!
//! The file is begun with the session's first recorded action, after `recording.begun` with its
//! salt is safe. A crash between the two leaves an event that claims no frames. A crash later
//! leaves frames behind the last root: the next boot takes them up as they stand on disk.

use crate::proof::{FrameClass, Placed, Recorded, RecordedAction, WireFrame};
use crate::watch::{Unrecorded, Watch};
use loggia_model::catalogue::Kind;
use loggia_model::port::{Tape, TapeError, TapeState};
use loggia_model::recording::Direction;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The recording's root goes into the ledger at the latest when this much was written since.
const ROOT_BYTES_MAX: u64 = 1 << 20;
/// The recording's root goes into the ledger this often while it grows.
const ROOT_INTERVAL: Duration = Duration::from_secs(1);
/// Between two tries to write to a full disk.
const FULL_RETRY: Duration = Duration::from_millis(200);

/// Who says something in a session, where it is recorded in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The client, to a program without a terminal.
    Input,
    /// The target.
    Output,
    /// The target, on standard error.
    Error,
}

impl Stream {
    const fn direction(self) -> Direction {
        match self {
            Self::Input => Direction::Input,
            Self::Output => Direction::Output,
            Self::Error => Direction::Error,
        }
    }
}

/// The recording of a session, where it has begun.
#[derive(Default)]
pub(crate) struct Recording {
    tape: Mutex<Option<Running>>,
    /// Held by the channel that begins it; another that begins at the same time waits for it.
    beginning: tokio::sync::Mutex<()>,
    /// Much was written since the last root.
    root_due: Notify,
}

struct Running {
    tape: Box<dyn Tape>,
    begun_us: i64,
    /// The action that frames are written under now.
    under: Option<RecordedAction>,
    /// Where it stood at the last root.
    rooted: TapeState,
    bytes_max: u64,
    beyond: Option<Beyond>,
}

/// What came after the recording had reached its limit: hashed and counted, and not kept.
struct Beyond {
    bytes: u64,
    hash: Sha256,
    /// Whether the event that says so is written.
    said: bool,
}

/// What goes into a recording.
enum Frame<'a> {
    Plain(Direction, &'a [u8]),
    Sealed(u64, &'a [u8]),
    Disclosed(u64),
}

impl Frame<'_> {
    /// What was said, where the frame is not about it.
    fn said(&self) -> Option<&[u8]> {
        match self {
            Frame::Plain(Direction::Output | Direction::Error | Direction::Input, bytes)
            | Frame::Sealed(_, bytes) => Some(bytes),
            Frame::Plain(..) | Frame::Disclosed(_) => None,
        }
    }
}

impl Running {
    /// What all frames go through: the limit, the action they belong to, the file.
    fn write(
        &mut self,
        now_us: i64,
        action: &RecordedAction,
        frame: &Frame<'_>,
    ) -> Result<(), TapeError> {
        if self.tape.state().bytes >= self.bytes_max || self.beyond.is_some() {
            let beyond = self.beyond.get_or_insert_with(|| Beyond {
                bytes: 0,
                hash: Sha256::new(),
                said: false,
            });
            if let Some(bytes) = frame.said() {
                beyond.bytes += bytes.len() as u64;
                beyond.hash.update(bytes);
            }
            return Ok(());
        }
        let at_us = u64::try_from(now_us.saturating_sub(self.begun_us)).unwrap_or(0);
        if self.under != Some(*action) {
            self.tape.write(at_us, Direction::Action, action.event().to_string().as_bytes())?;
            self.under = Some(*action);
        }
        match frame {
            Frame::Plain(direction, bytes) => self.tape.write(at_us, *direction, bytes),
            Frame::Sealed(line, bytes) => self.tape.write_sealed(at_us, *line, bytes),
            Frame::Disclosed(line) => self.tape.disclose(at_us, *line),
        }
    }
}

/// How a recording ended.
pub(crate) struct RecordingEnd {
    pub(crate) state: TapeState,
    /// Bytes that came after its limit, and their SHA-256.
    pub(crate) beyond: Option<(u64, [u8; 32])>,
}

impl Watch {
    /// Begins the session's recording, where it has not begun: the first of several channels
    /// does, the others write to the same file. To be called before the action is committed that
    /// will be recorded in it.
    pub async fn begin_recording(&self) -> Result<(), Unrecorded> {
        let _beginning = self.recording.beginning.lock().await;
        if self.recording.tape.lock().is_some() {
            return Ok(());
        }
        let salt: [u8; 32] = self.parts.mint.random();
        let draft = self
            .draft(Kind::RecordingBegun)
            .set("/detail/version", 1u32)
            .set("/detail/salt", hex::encode(salt));
        self.append_ahead(&[draft.encode().map_err(Unrecorded::TooLarge)?]).await?;
        let begun_us = self.now_us();
        let begin = || self.parts.recordings.begin(self.session(), &salt, begun_us);
        let tape = self.once_there_is_room(begin).await?;
        let rooted = tape.state();
        let bytes_max = self.parts.live.limits.recording_bytes_max;
        let running = Running { tape, begun_us, under: None, rooted, bytes_max, beyond: None };
        *self.recording.tape.lock() = Some(running);
        Ok(())
    }

    /// Records bulk input of an action and gives the frame back to be forwarded.
    pub async fn input<F: WireFrame>(
        &self,
        action: &RecordedAction,
        bytes: &[u8],
        frame: F,
    ) -> Result<Recorded<F::Wire>, Unrecorded> {
        self.on_tape(action, Frame::Plain(Direction::Input, bytes)).await?;
        part(frame)
    }

    /// Records what was typed in a terminal, sealed under the key of its `line`, and gives the
    /// frame back to be forwarded.
    pub async fn typed<F: WireFrame>(
        &self,
        action: &RecordedAction,
        pieces: &[(u64, &[u8])],
        frame: F,
    ) -> Result<Recorded<F::Wire>, Unrecorded> {
        for (line, bytes) in pieces {
            self.on_tape(action, Frame::Sealed(*line, bytes)).await?;
        }
        part(frame)
    }

    /// Gives a frame of an action's bulk data back to be forwarded. The front end hashes and
    /// counts it into the action's result, so that nothing is left to do here with the action: it
    /// is asked for as the proof that it is on record.
    pub fn counted<F: WireFrame>(
        &self,
        _action: &RecordedAction,
        frame: F,
    ) -> Result<Recorded<F::Wire>, Unrecorded> {
        part(frame)
    }

    /// Discloses a line that was echoed.
    pub async fn disclose(&self, action: &RecordedAction, line: u64) -> Result<(), Unrecorded> {
        self.on_tape(action, Frame::Disclosed(line)).await
    }

    /// Records what was said, before it is passed on: to the client, or to the target in frames
    /// that come from a batch.
    pub async fn said(
        &self,
        action: &RecordedAction,
        stream: Stream,
        bytes: &[u8],
    ) -> Result<(), Unrecorded> {
        self.on_tape(action, Frame::Plain(stream.direction(), bytes)).await
    }

    /// Records that the client's terminal has another size, before the target is told.
    pub async fn resized(
        &self,
        action: &RecordedAction,
        columns: u32,
        rows: u32,
    ) -> Result<(), Unrecorded> {
        let size = [columns.to_be_bytes(), rows.to_be_bytes()].concat();
        self.on_tape(action, Frame::Plain(Direction::Resize, &size)).await
    }

    /// Records that a program ended, with its exit status or by a signal, before the client is
    /// told.
    pub async fn exited(
        &self,
        action: &RecordedAction,
        exit_status: Option<u32>,
    ) -> Result<(), Unrecorded> {
        let status = exit_status.map(u32::to_be_bytes);
        let status = status.as_ref().map_or(&[][..], |status| status);
        self.on_tape(action, Frame::Plain(Direction::Exit, status)).await
    }

    /// Puts the recording's root into the ledger each second, or when a MiB was written, for as
    /// long as it grows. A front end waits for this beside everything else; it ends only with what
    /// keeps the session from being recorded.
    pub async fn keep_recording(&self) -> Unrecorded {
        loop {
            let due = self.recording.root_due.notified();
            let _ = tokio::time::timeout(ROOT_INTERVAL, due).await;
            if let Err(error) = self.write_root().await {
                return error;
            }
        }
    }

    /// The state at the end, durable, for `session.end`.
    pub(crate) async fn end_recording(&self) -> Option<RecordingEnd> {
        let unsaid = |running: &Running| running.beyond.as_ref().is_some_and(|it| !it.said);
        if self.recording.tape.lock().as_ref().is_some_and(unsaid)
            && let Err(error) = self.write_root().await
        {
            tracing::warn!(%error, "that a recording reached its limit could not be recorded");
        }
        let (end, syncer) = {
            let mut tape = self.recording.tape.lock();
            let running = tape.as_mut()?;
            let beyond = running.beyond.take();
            let beyond = beyond.map(|beyond| (beyond.bytes, beyond.hash.finalize().into()));
            (RecordingEnd { state: running.tape.state(), beyond }, running.tape.syncer())
        };
        durable(syncer).await.ok().map(|()| end)
    }

    async fn write_root(&self) -> Result<(), Unrecorded> {
        let (state, syncer, reached_limit) = {
            let mut tape = self.recording.tape.lock();
            let Some(running) = tape.as_mut() else { return Ok(()) };
            let state = running.tape.state();
            let reached_limit = running.beyond.as_ref().is_some_and(|beyond| !beyond.said);
            if state.frames == running.rooted.frames && !reached_limit {
                return Ok(());
            }
            if let Some(beyond) = &mut running.beyond {
                beyond.said = true;
            }
            (state, running.tape.syncer(), reached_limit)
        };
        // First the frames, then the root that claims them: a crash between the two leaves frames
        // without a root, never a root without its frames.
        durable(syncer).await.map_err(Unrecorded::Recording)?;
        let grown = self
            .draft(Kind::RecordingGrown)
            .set("/detail/frames", state.frames)
            .set("/detail/bytes", state.bytes)
            .set("/detail/root", hex::encode(state.root));
        self.result(grown).await?;
        if reached_limit {
            let draft = self.draft(Kind::RecordingLimited).set("/detail/bytes", state.bytes);
            self.result(draft).await?;
        }
        if let Some(running) = self.recording.tape.lock().as_mut() {
            running.rooted = state;
        }
        Ok(())
    }

    async fn on_tape(&self, action: &RecordedAction, frame: Frame<'_>) -> Result<(), Unrecorded> {
        let now_us = self.now_us();
        let attempt = || {
            let mut tape = self.recording.tape.lock();
            let running = tape
                .as_mut()
                .ok_or_else(|| TapeError::Broken("the recording was not begun".to_owned()))?;
            let before = running.tape.state().bytes;
            running.write(now_us, action, &frame)?;
            let after = running.tape.state().bytes;
            let live = &self.parts.live;
            live.recorded_bytes.fetch_add(after.saturating_sub(before), Ordering::Relaxed);
            Ok(after.saturating_sub(running.rooted.bytes) >= ROOT_BYTES_MAX)
        };
        if self.once_there_is_room(attempt).await? {
            self.recording.root_due.notify_one();
        }
        Ok(())
    }

    /// Tries again while the disk is full, for as long as a session may be paused.
    async fn once_there_is_room<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, TapeError>,
    ) -> Result<T, Unrecorded> {
        let mut full_since = None;
        loop {
            match attempt() {
                Ok(done) => return Ok(done),
                Err(full @ TapeError::Full(_)) => {
                    let since = *full_since.get_or_insert_with(|| {
                        self.parts.metrics.pauses.inc();
                        Instant::now()
                    });
                    let late = since.elapsed() >= self.parts.limits.pause_max;
                    if late || self.end_ordered().is_some() {
                        return Err(Unrecorded::Recording(full));
                    }
                    tokio::time::sleep(FULL_RETRY).await;
                }
                Err(broken) => return Err(Unrecorded::Recording(broken)),
            }
        }
    }
}

fn part<F: WireFrame>(frame: F) -> Result<Recorded<F::Wire>, Unrecorded> {
    match frame.class() {
        FrameClass::Part => Ok(Recorded { frames: vec![Placed::of(frame)] }),
        other => Err(Unrecorded::WrongClass(other)),
    }
}

async fn durable(
    syncer: Box<dyn FnOnce() -> Result<(), TapeError> + Send>,
) -> Result<(), TapeError> {
    match tokio::task::spawn_blocking(syncer).await {
        Ok(synced) => synced,
        Err(_) => Err(TapeError::Broken("its synchronisation did not return".to_owned())),
    }
}
