//! The way to the target.

use crate::proof::{Dial, Recorded};
use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use std::io;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Writes to a target. Takes [`Recorded`] frames and nothing else: bytes where the target is a
/// stream of them, messages where it is a [`MessageSink`].
#[derive(Debug)]
pub struct TargetWriter<W> {
    inner: W,
    waiting: BytesMut,
    bytes_written: u64,
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
        Self { inner, waiting: BytesMut::new(), bytes_written: 0 }
    }
}

impl<W: MessageSink> TargetWriter<W> {
    /// Sends recorded messages, in order.
    pub async fn send(&mut self, recorded: Recorded<W::Message>) -> io::Result<()> {
        for message in recorded.frames {
            self.inner.send(message).await?;
        }
        Ok(())
    }
}

impl<W: AsyncWrite + Unpin> TargetWriter<W> {
    /// Puts recorded frames behind what waits already. Does not write yet.
    pub fn queue(&mut self, recorded: Recorded) {
        for frame in recorded.frames {
            self.waiting.extend_from_slice(&frame);
        }
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
