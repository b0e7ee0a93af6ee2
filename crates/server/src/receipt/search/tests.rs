//! Looks through logs that count how much of them is read.

use super::*;
use bytes::Bytes;
use loggia_model::event::{LeafHash, Role, SessionSlot, Stamp};
use loggia_model::id::PersonId;
use loggia_model::port::Committed;
use loggia_model::{Clock, Entropy, EventDraft, Mint};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

const NOW_US: i64 = 1_790_000_000_000_000;

struct Still;

impl Clock for Still {
    fn now_us(&self) -> i64 {
        NOW_US
    }
}

struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        let number = self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        buffer.iter_mut().zip(number.iter().cycle()).for_each(|(to, from)| *to = *from);
    }
}

/// A log that is as long as it says; between its few events stand others that say nothing.
struct Log {
    size: u64,
    events: Vec<(u64, Bytes)>,
    /// The time of an entry by its index.
    time_us: fn(u64) -> i64,
    read: AtomicU64,
    mint: Mint,
}

impl Log {
    fn new(size: u64, time_us: fn(u64) -> i64) -> Self {
        let mint = Mint::new(Arc::new(Still), Arc::new(Counting(AtomicU64::new(1))));
        Self { size, events: Vec::new(), time_us, read: AtomicU64::new(0), mint }
    }

    fn leaf(&self, draft: EventDraft, index: u64) -> Bytes {
        let draft = draft.encode().unwrap();
        let session = draft.session.map(|_| (index, None));
        let stamp = Stamp {
            time_us: (self.time_us)(index),
            node: "nd_00000000000000000000000000",
            boot: 1,
            seq: index + 1,
            session,
        };
        let mut leaf = Vec::new();
        draft.stamp(&stamp, &mut leaf);
        leaf.into()
    }

    fn put(&mut self, index: u64, kind: Kind, session: SessionId, role: Role) {
        let context = (kind != Kind::SessionStart).then(|| self.mint.draft(kind).id());
        let draft = self.mint.draft(kind).actor(actor());
        let draft = draft.session(SessionSlot { id: session, context, role });
        let leaf = self.leaf(draft, index);
        self.events.push((index, leaf));
    }
}

impl ReadLog for Log {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, from: u64, max: usize) -> Result<Vec<Committed>, PublicError> {
        let to = self.size.min(from + max as u64);
        self.read.fetch_add(to - from, Ordering::SeqCst);
        let filler = |index| self.leaf(self.mint.draft(Kind::NodeHeartbeat), index);
        let entry = |index| {
            let known = self.events.iter().find(|(at, _)| *at == index);
            // One entry is asked for its time; of many only those that are wanted matter.
            let leaf = known.map(|(_, leaf)| leaf.clone());
            let leaf = leaf.unwrap_or_else(|| if max == 1 { filler(index) } else { Bytes::new() });
            Committed { index, leaf_hash: LeafHash([0; 32]), leaf, disclosure: Bytes::new() }
        };
        Ok((from..to).map(entry).collect())
    }
}

fn actor() -> ActorId {
    ActorId::Person(PersonId::from_parts(1, [7; 10]))
}

/// A session whose id was made this long after the beginning of the log.
fn session(seconds: u64) -> SessionId {
    SessionId::from_parts(NOW_US as u64 / 1_000 + seconds * 1_000, [9; 10])
}

/// A thousand entries a second.
fn steady(index: u64) -> i64 {
    NOW_US + index as i64 * 1_000
}

/// What a look finds, and how many entries it read.
fn looked<T>(log: &Log, look: impl FnOnce(&Search<'_>) -> T, id: SessionId) -> (T, u64) {
    let gone = AtomicBool::new(false);
    let before = log.read.load(Ordering::SeqCst);
    let found = look(&Search::new(log, id, &gone));
    (found, log.read.load(Ordering::SeqCst) - before)
}

#[test]
fn what_an_id_says_leads_to_the_session_wherever_it_is() {
    let mut log = Log::new(30_000_000, steady);
    log.put(5_000_300, Kind::SessionStart, session(5_000), Role::Start);
    log.put(5_400_000, Kind::SessionEnd, session(5_000), Role::End);
    let (found, read) = looked(&log, |search| search.nearby().unwrap(), session(5_000));
    assert_eq!(found, Some(Start { index: 5_000_300, actor: Some(actor()) }));
    assert!(read < 2 * NEARBY_MAX, "{read}");
    let (end, _) = looked(&log, |search| search.end_behind(5_000_300).unwrap(), session(5_000));
    assert_eq!(end, Some(5_400_000));
}

#[test]
fn an_id_that_nobody_has_costs_little_whatever_time_it_says() {
    let log = Log::new(30_000_000, steady);
    for seconds in [0, 12_345, 29_999, 1_000_000_000] {
        let (found, read) = looked(&log, |search| search.nearby().unwrap(), session(seconds));
        assert!(found.is_none() && read <= 2 * NEARBY_MAX + 100, "{seconds}: {read}");
    }
}

#[test]
fn where_the_clock_was_set_back_the_newest_are_found_and_older_ones_with_leave() {
    // The session was made an hour ahead of all that came later.
    let mut log = Log::new(500_000, |index| {
        NOW_US + index as i64 * 1_000 - if index > 300_000 { 3_600_000_000 } else { 0 }
    });
    log.put(499_000, Kind::SessionStart, session(4_000), Role::Start);
    let (found, _) = looked(&log, |search| search.nearby().unwrap(), session(4_000));
    assert_eq!(found.map(|start| start.index), Some(499_000));

    let mut log = Log::new(500_000, steady);
    log.put(200_000, Kind::SessionStart, session(4_000), Role::Start);
    let (found, _) = looked(&log, |search| search.nearby().unwrap(), session(4_000));
    assert_eq!(found, None);
    let (found, _) = looked(&log, |search| search.anywhere().unwrap(), session(4_000));
    assert_eq!(found.map(|start| start.index), Some(200_000));
}

#[test]
fn nobody_looks_on_for_who_is_gone() {
    let log = Log::new(30_000_000, steady);
    let gone = AtomicBool::new(true);
    assert_eq!(Search::new(&log, session(1), &gone).anywhere().unwrap(), None);
    assert_eq!(log.read.load(Ordering::SeqCst), 0);
}
