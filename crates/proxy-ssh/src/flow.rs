//! Queues between the tasks of the SSH library and those of a session, with back-pressure that
//! cannot lock up.
//!
//! The library hands over what it read before it reads on, and windows are granted as soon as data
//! came. So the only way to hold a peer back is not to read on. But the library's task is also
//! what hears that the peer has room again; a session that waits for this room while the task waits
//! for the session would wait for ever (`cat` with much going both ways). Therefore the task may
//! wait only while nobody waits for room at the same peer, or when very much is queued.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use tokio::sync::Notify;

/// A queue with more than this holds its peer back.
const QUEUE_BYTES_MAX: usize = 1 << 20;
/// Where all queues of a connection hold more than this, one that is over its own bound holds the
/// peer back whatever else waits. A peer that sends this much and takes nothing itself stands still
/// until it does.
const CONNECTION_BYTES_MAX: usize = 64 << 20;

/// Behind something of this length others take their turn before it goes on: a stream would
/// otherwise keep the thread for megabytes, and keystrokes of other sessions would wait for it.
const TURN_BYTES: usize = 8 << 10;

/// What an item weighs beside its bytes, so that many small ones count too.
const ITEM_BYTES: usize = 128;

/// What somebody can say. A queue asks each item itself what it weighs, so that nothing comes in
/// that weighs less than the memory that it takes.
pub(crate) trait Weigh {
    /// Bytes behind it: of data, and of each text.
    fn bytes(&self) -> usize;
}

/// How one connection stands: what is queued of its peer, who waits for room at it.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    queued: AtomicUsize,
    waiting: AtomicUsize,
    changed: Notify,
}

impl Pressure {
    /// Sends something to the peer; while this waits for room, the peer is read on.
    pub(crate) async fn sending<T>(&self, send: impl Future<Output = T>) -> T {
        let mut send = pin!(send);
        let at_once = std::future::poll_fn(|context| Poll::Ready(send.as_mut().poll(context)));
        if let Poll::Ready(sent) = at_once.await {
            return sent;
        }
        self.waiting.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_waiters();
        let _waiting = Waiting(self);
        send.await
    }

    fn holds_back(&self, queue_bytes: usize) -> bool {
        let queued = self.queued.load(Ordering::Acquire);
        let waited_for = self.waiting.load(Ordering::Acquire) > 0;
        queue_bytes > QUEUE_BYTES_MAX && (!waited_for || queued > CONNECTION_BYTES_MAX)
    }
}

/// Somebody waits for room at the peer.
struct Waiting<'a>(&'a Pressure);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a peer says on one channel, in order.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    items: Mutex<VecDeque<(T, usize)>>,
    bytes: AtomicUsize,
    closed: AtomicBool,
    /// Whether what was taken last was long.
    turn_over: AtomicBool,
    arrived: Notify,
    pressure: Arc<Pressure>,
}

impl<T: Weigh> Queue<T> {
    pub(crate) fn new(pressure: Arc<Pressure>) -> Arc<Self> {
        Arc::new(Self {
            items: Mutex::default(),
            bytes: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            turn_over: AtomicBool::new(false),
            arrived: Notify::new(),
            pressure,
        })
    }

    /// Puts something behind the rest, then waits until the peer may be read on.
    pub(crate) async fn push(&self, item: T) {
        let bytes = item.bytes().saturating_add(ITEM_BYTES);
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        self.items.lock().push_back((item, bytes));
        self.pressure.queued.fetch_add(bytes, Ordering::AcqRel);
        let mut queued = self.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        self.arrived.notify_one();
        if bytes > TURN_BYTES {
            tokio::task::yield_now().await;
        }
        while self.pressure.holds_back(queued) && !self.closed.load(Ordering::Acquire) {
            let mut changed = pin!(self.pressure.changed.notified());
            changed.as_mut().enable();
            queued = self.bytes.load(Ordering::Acquire);
            if !self.pressure.holds_back(queued) {
                return;
            }
            changed.await;
            queued = self.bytes.load(Ordering::Acquire);
        }
    }

    /// Takes what came first; `None` once the queue is closed and empty. One taker at a time.
    pub(crate) async fn pop(&self) -> Option<T> {
        // Before something is taken: who waits no longer must not take it along.
        if self.turn_over.swap(false, Ordering::AcqRel) {
            tokio::task::yield_now().await;
        }
        loop {
            if let Some(item) = self.pop_now() {
                return Some(item);
            }
            if self.closed.load(Ordering::Acquire) {
                return self.pop_now();
            }
            self.arrived.notified().await;
        }
    }

    fn pop_now(&self) -> Option<T> {
        let (item, bytes) = self.items.lock().pop_front()?;
        if bytes > TURN_BYTES {
            self.turn_over.store(true, Ordering::Release);
        }
        let before = self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.pressure.queued.fetch_sub(bytes, Ordering::AcqRel);
        if before > QUEUE_BYTES_MAX {
            self.pressure.changed.notify_waiters();
        }
        Some(item)
    }

    /// Takes nothing more in; what is queued can still be taken.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.arrived.notify_one();
        self.pressure.changed.notify_waiters();
    }

    /// Takes nothing more in and forgets what is queued.
    pub(crate) fn abandon(&self) {
        self.close();
        while self.pop_now().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A number and a weight.
    #[derive(Debug, PartialEq)]
    struct Item(u8, usize);

    impl Weigh for Item {
        fn bytes(&self) -> usize {
            self.1
        }
    }

    const SOON: Duration = Duration::from_millis(50);

    async fn stands_still(queue: &Queue<Item>) -> bool {
        tokio::time::timeout(SOON, queue.push(Item(0, 1))).await.is_err()
    }

    #[tokio::test]
    async fn a_stream_gives_others_their_turn_between_its_pieces() {
        let queue = Queue::new(Arc::default());
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&turns);
        let other = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, Ordering::AcqRel);
                tokio::task::yield_now().await;
            }
        });
        for piece in 0..3 {
            queue.push(Item(piece, TURN_BYTES)).await;
        }
        let pushed = turns.load(Ordering::Acquire);
        assert!(pushed >= 3, "{pushed} turns while three pieces came");
        for piece in 0..3 {
            assert_eq!(queue.pop().await, Some(Item(piece, TURN_BYTES)));
        }
        assert!(turns.load(Ordering::Acquire) >= pushed + 2);
        other.abort();
    }

    #[tokio::test]
    async fn a_full_queue_holds_back_until_it_is_drained() {
        let pressure = Arc::new(Pressure::default());
        let queue = Queue::new(Arc::clone(&pressure));
        assert!(
            tokio::time::timeout(SOON, queue.push(Item(1, QUEUE_BYTES_MAX - ITEM_BYTES)))
                .await
                .is_ok()
        );
        assert!(stands_still(&queue).await);
        assert_eq!(queue.pop().await.map(|item| item.0), Some(1));
        assert!(!stands_still(&queue).await);
    }

    #[tokio::test]
    async fn nobody_is_held_back_while_somebody_waits_for_room_at_the_same_peer() {
        let pressure = Arc::new(Pressure::default());
        let queue = Queue::new(Arc::clone(&pressure));
        queue.push(Item(1, QUEUE_BYTES_MAX - ITEM_BYTES)).await;
        let other = Arc::clone(&pressure);
        let waits = tokio::spawn(async move { other.sending(std::future::pending::<()>()).await });
        tokio::task::yield_now().await;
        assert!(!stands_still(&queue).await, "this would lock up");
        queue.items.lock().push_back((Item(9, 0), CONNECTION_BYTES_MAX));
        pressure.queued.fetch_add(CONNECTION_BYTES_MAX, Ordering::AcqRel);
        assert!(stands_still(&queue).await, "memory has a bound");
        waits.abort();
    }

    #[tokio::test]
    async fn a_closed_queue_gives_what_it_has_and_then_nothing() {
        let queue = Queue::new(Arc::default());
        queue.push(Item(1, 1)).await;
        queue.close();
        queue.push(Item(2, 1)).await;
        assert_eq!((queue.pop().await, queue.pop().await), (Some(Item(1, 1)), None));
    }
}
