//! A client's socket with a cord: pulled, the connection ends, wherever the SSH library stands.
//! Before somebody is identified it also bounds what is read.

use futures::task::AtomicWaker;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Shared by the socket and whoever may end it. Pulled when it is dropped.
#[derive(Debug)]
pub(crate) struct Cord(Arc<State>);

#[derive(Debug)]
struct State {
    pulled: AtomicBool,
    read: AtomicU64,
    read_max: AtomicU64,
    waker: AtomicWaker,
}

impl Cord {
    /// A cord around a socket of which at most `read_max` bytes are read until
    /// [`Self::lift_limit`].
    pub(crate) fn around<S>(socket: S, read_max: u64) -> (Corded<S>, Self) {
        let state = Arc::new(State {
            pulled: AtomicBool::new(false),
            read: AtomicU64::new(0),
            read_max: AtomicU64::new(read_max),
            waker: AtomicWaker::new(),
        });
        (Corded { socket, state: Arc::clone(&state) }, Self(state))
    }

    /// Somebody is identified: reads without a bound from here on.
    pub(crate) fn lift_limit(&self) {
        self.0.read_max.store(u64::MAX, Ordering::Relaxed);
    }
}

impl Drop for Cord {
    fn drop(&mut self) {
        self.0.pulled.store(true, Ordering::Release);
        self.0.waker.wake();
    }
}

/// The socket.
#[derive(Debug)]
pub(crate) struct Corded<S> {
    socket: S,
    state: Arc<State>,
}

impl<S> Corded<S> {
    fn check(&self) -> io::Result<()> {
        if self.state.pulled.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Corded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.state.waker.register(context.waker());
        self.check()?;
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(context, buffer);
        let read = (buffer.filled().len() - before) as u64;
        let total = self.state.read.fetch_add(read, Ordering::Relaxed) + read;
        if total > self.state.read_max.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_pulled_cord_ends_a_read_that_waits() {
        let (near, _far) = tokio::io::duplex(64);
        let (mut corded, cord) = Cord::around(near, 1_000);
        let reading = tokio::spawn(async move { corded.read_u8().await });
        tokio::task::yield_now().await;
        drop(cord);
        let error = reading.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn a_stranger_is_read_up_to_the_limit() {
        let (near, mut far) = tokio::io::duplex(64);
        let (mut corded, cord) = Cord::around(near, 4);
        far.write_all(b"12345678").await.unwrap();
        let mut buffer = [0; 8];
        assert!(corded.read_exact(&mut buffer).await.is_err());
        cord.lift_limit();
        far.write_all(b"12345678").await.unwrap();
        assert!(corded.read_exact(&mut buffer).await.is_ok());
    }
}
