//! The way to the target.

use crate::proof::{Dial, FrameClass, Placed, Recorded};
use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use std::io;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Writes to a target. Takes [`Recorded`] frames and nothing else: bytes where the target is a
/// stream of them, messages where it is a [`MessageSink`].
#[derive(Debug)]
pub struct TargetWriter<W> {
    inner: W,
    waiting: BytesMut,
    bytes_written: u64,
    frames: Option<Frames>,
}

/// The length of the frame that begins here, its header included; `None` where its header is not
/// whole.
pub type FrameBytes = fn(&[u8]) -> Option<usize>;

/// Something would have gone to the target that does not stand where a frame begins, or that is
/// not as long as it says. Then the target would read other frames than those on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misframed {
    /// A frame, or what goes on with another one than is under way.
    #[error("{lead_bytes} bytes go on with a frame of which {due_bytes} bytes are due")]
    Misplaced {
        /// Bytes that are due of the frame under way; 0 between frames.
        due_bytes: usize,
        /// Bytes that go on with a frame, as what was refused says.
        lead_bytes: usize,
    },
    /// It ends in a frame's header, or it is no bulk data and ends in the middle of a frame.
    #[error("a frame is not whole")]
    Cut,
    /// Nothing more is taken after that.
    #[error("the stream has no known boundaries any more")]
    Lost,
}

/// Where a stream stands between its frames: counted from the bytes themselves, so that it holds
/// whatever a codec and its relay think.
#[derive(Debug)]
struct Frames {
    frame_bytes: FrameBytes,
    due_bytes: usize,
    lost: bool,
}

impl Frames {
    fn take(&mut self, frame: &Placed<Bytes>) -> Result<(), Misframed> {
        if self.lost {
            return Err(Misframed::Lost);
        }
        let taken = self.due_after(frame);
        match taken {
            Ok(due_bytes) => self.due_bytes = due_bytes,
            Err(_) => self.lost = true,
        }
        taken.map(|_| ())
    }

    /// The bytes that are due behind this one.
    fn due_after(&self, frame: &Placed<Bytes>) -> Result<usize, Misframed> {
        let (due_bytes, lead_bytes) = (self.due_bytes, frame.lead_bytes);
        // What has no bytes stands for something else than a frame.
        if frame.wire.is_empty() && lead_bytes == 0 {
            return Ok(due_bytes);
        }
        let goes_on = due_bytes.min(frame.wire.len());
        if lead_bytes != goes_on || (lead_bytes > 0 && frame.class != FrameClass::Part) {
            return Err(Misframed::Misplaced { due_bytes, lead_bytes });
        }
        let mut due_bytes = due_bytes - lead_bytes;
        let mut rest = frame.wire.get(lead_bytes..).unwrap_or_default();
        while !rest.is_empty() {
            let whole = (self.frame_bytes)(rest).filter(|bytes| *bytes > 0);
            let whole = whole.ok_or(Misframed::Cut)?;
            let there = whole.min(rest.len());
            due_bytes = whole - there;
            rest = rest.get(there..).unwrap_or_default();
        }
        if due_bytes > 0 && frame.class != FrameClass::Part {
            return Err(Misframed::Cut);
        }
        Ok(due_bytes)
    }
}

/// A way to a target that takes whole messages, because a library of the protocol writes them.
#[async_trait]
pub trait MessageSink: Send {
    /// A message.
    type Message: Send;
    /// Sends one; waits while the target takes no more.
    async fn send(&mut self, message: Self::Message) -> io::Result<()>;
}

impl<W> TargetWriter<W> {
    /// Takes the writing half of a connection that was dialled with `_dial`.
    pub fn new(inner: W, _dial: &Dial) -> Self {
        Self { inner, waiting: BytesMut::new(), bytes_written: 0, frames: None }
    }

    /// From here on holds that what goes to the target is whole frames of this length.
    pub(crate) fn in_frames(self, frame_bytes: FrameBytes) -> Self {
        let frames = Frames { frame_bytes, due_bytes: 0, lost: false };
        Self { frames: Some(frames), ..self }
    }
}

impl<W: MessageSink> TargetWriter<W> {
    /// Sends recorded messages, in order.
    pub async fn send(&mut self, recorded: Recorded<W::Message>) -> io::Result<()> {
        for frame in recorded.frames {
            self.inner.send(frame.wire).await?;
        }
        Ok(())
    }
}

impl<W: AsyncWrite + Unpin> TargetWriter<W> {
    /// Puts recorded frames behind what waits already. Does not write yet.
    ///
    /// Takes all of them or, where one does not stand where it says, none, and then nothing any
    /// more: the session must end. What was recorded of them stands without an outcome.
    pub fn queue(&mut self, recorded: Recorded) -> Result<(), Misframed> {
        if let Some(frames) = &mut self.frames {
            recorded.frames.iter().try_for_each(|frame| frames.take(frame))?;
        }
        for frame in recorded.frames {
            self.waiting.extend_from_slice(&frame.wire);
        }
        Ok(())
    }

    /// Whether a frame can begin now: none is under way.
    pub fn is_at_boundary(&self) -> bool {
        self.frames.as_ref().is_none_or(|frames| frames.due_bytes == 0 && !frames.lost)
    }

    /// Bytes that wait to be written. A front end stops reading from its client while this is
    /// large: that is the back-pressure.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes written so far.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// Writes some of what waits and flushes when all is written. Safe to drop half-way: what was
    /// written is accounted for. Returns at once when nothing waits.
    pub async fn write_some(&mut self) -> io::Result<()> {
        if self.waiting.has_remaining() {
            let written = self.inner.write(&self.waiting).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.waiting.advance(written);
            self.bytes_written += written as u64;
        }
        if self.waiting.is_empty() { self.inner.flush().await } else { Ok(()) }
    }

    /// Writes all that waits.
    pub async fn write_all(&mut self) -> io::Result<()> {
        while self.waiting.has_remaining() {
            self.write_some().await?;
        }
        self.inner.flush().await
    }

    /// Says goodbye on the transport: sends what a close needs (TLS close_notify, FIN). Errors
    /// do not matter any more.
    pub async fn shutdown(&mut self) {
        let _ = self.inner.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One byte that says how many follow.
    fn counted(front: &[u8]) -> Option<usize> {
        front.first().map(|length| 1 + usize::from(*length))
    }

    fn frames() -> Frames {
        Frames { frame_bytes: counted, due_bytes: 0, lost: false }
    }

    fn placed(class: FrameClass, lead_bytes: usize, wire: &'static [u8]) -> Placed<Bytes> {
        Placed { class, lead_bytes, wire: Bytes::from_static(wire) }
    }

    #[test]
    fn whole_frames_and_bulk_data_in_pieces_are_taken() {
        let mut frames = frames();
        for frame in [
            placed(FrameClass::Action, 0, b"\x02ab"),
            placed(FrameClass::Part, 0, b"\x01a\x04bc"),
            placed(FrameClass::Opaque, 0, b""),
            placed(FrameClass::Part, 1, b"d"),
            placed(FrameClass::Part, 1, b"e\x00\x01"),
            placed(FrameClass::Part, 1, b"f"),
            placed(FrameClass::Neutral, 0, b"\x00\x01g"),
        ] {
            assert_eq!(frames.take(&frame), Ok(()), "{frame:?}");
        }
        assert_eq!(frames.due_bytes, 0);
    }

    #[test]
    fn nothing_begins_in_the_middle_of_a_frame_and_nothing_goes_on_with_none() {
        let cut = placed(FrameClass::Part, 0, b"\x04ab");
        for class in [FrameClass::Action, FrameClass::Part, FrameClass::Neutral] {
            let mut frames = frames();
            assert_eq!(frames.take(&cut), Ok(()));
            let misplaced = Misframed::Misplaced { due_bytes: 2, lead_bytes: 0 };
            assert_eq!(frames.take(&placed(class, 0, b"\x01x")), Err(misplaced), "{class:?}");
            let tail = placed(FrameClass::Part, 2, b"cd");
            assert_eq!(frames.take(&tail), Err(Misframed::Lost), "nothing more is taken");
        }
        // The tail of a frame whose head did not go out.
        let misplaced = Misframed::Misplaced { due_bytes: 0, lead_bytes: 2 };
        assert_eq!(frames().take(&placed(FrameClass::Part, 2, b"\x01x")), Err(misplaced));
        // More than was due, said to go on with it.
        let mut frames = frames();
        assert_eq!(frames.take(&cut), Ok(()));
        let misplaced = Misframed::Misplaced { due_bytes: 2, lead_bytes: 3 };
        assert_eq!(frames.take(&placed(FrameClass::Part, 3, b"cde")), Err(misplaced));
    }

    #[test]
    fn only_bulk_data_may_be_cut_and_never_in_a_header() {
        for class in [FrameClass::Action, FrameClass::Neutral, FrameClass::Opaque] {
            assert_eq!(frames().take(&placed(class, 0, b"\x02a")), Err(Misframed::Cut));
        }
        let no_header: FrameBytes = |front| (front.len() > 1).then_some(2);
        let mut frames = Frames { frame_bytes: no_header, due_bytes: 0, lost: false };
        assert_eq!(frames.take(&placed(FrameClass::Part, 0, b"abc")), Err(Misframed::Cut));
    }

    proptest! {
        /// Whatever is taken reads as the frames that were meant, up to one that is cut.
        #[test]
        fn what_is_taken_begins_where_it_says(
            pieces in proptest::collection::vec(
                (any::<bool>(), 0usize..4, proptest::collection::vec(0u8..4, 1..8)),
                0..12,
            ),
        ) {
            let mut frames = frames();
            let (mut stream, mut begun) = (Vec::new(), Vec::new());
            for (part, lead_bytes, wire) in pieces {
                let class = if part { FrameClass::Part } else { FrameClass::Action };
                let frame = Placed { class, lead_bytes, wire: Bytes::from(wire) };
                if frames.take(&frame).is_err() {
                    break;
                }
                if lead_bytes < frame.wire.len() {
                    begun.push(stream.len() + lead_bytes);
                }
                stream.extend_from_slice(&frame.wire);
            }
            let (mut at, mut boundaries) = (0, Vec::new());
            while at < stream.len() {
                boundaries.push(at);
                at += counted(&stream[at..]).unwrap();
            }
            prop_assert!(begun.iter().all(|place| boundaries.contains(place)));
        }
    }
}
