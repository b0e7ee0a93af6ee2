//! One space of names (prepared statements, or portals) as the server will see it, while changes
//! to it are on their way.
//!
//! A change is tentative from the moment its message is sent until the server answers it. Within
//! the same group of messages (up to a Sync) it counts already, because whatever uses it there is
//! skipped where it fails. Across groups nothing is known until the answer comes.

use std::collections::{HashMap, HashSet};

/// Names of one space that are followed at a time. A name beyond is unresolved.
pub const NAMES_MAX: usize = 65_536;
/// The server keeps this many bytes of a name (`NAMEDATALEN` - 1) and takes names that agree in
/// them for the same.
const NAME_BYTES_MAX: usize = 63;

/// What is known of a name that a message uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<T> {
    /// It means this.
    Known(T),
    /// It was made in a way that Loggia does not follow, or not at all.
    Unresolved,
    /// A change of it in an earlier group is unanswered: the message must wait.
    Wait,
}

/// What a name means; `None`: something unknown.
type Meaning<T> = Option<T>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change<T> {
    Set(Meaning<T>),
    Remove,
}

/// A change that waits for its answer. To be given back with [`Space::settle`].
#[derive(Debug, Clone)]
pub struct Ticket<T> {
    name: Box<[u8]>,
    change: Change<T>,
    /// Doubts that were known when the change was sent.
    doubts: u64,
    /// Whether the name is followed at all.
    followed: bool,
    /// What a shorter name meant that the server may take this one for.
    displaced: Option<T>,
}

impl<T: Copy> Ticket<T> {
    /// What the change would have made the name mean.
    pub(super) fn meaning(&self) -> Option<T> {
        match self.change {
            Change::Set(meaning) => meaning,
            Change::Remove => None,
        }
    }
}

#[derive(Debug)]
struct Slot<T> {
    /// What the server has confirmed: absent where there is no such name.
    settled: Option<Meaning<T>>,
    /// Changes on their way.
    waiting: u32,
    /// The last of them, and its group.
    last: Change<T>,
    last_group: u64,
    /// How often something may have made the name in a way that we do not follow.
    doubts: u64,
}

/// A space of names.
#[derive(Debug)]
pub(super) struct Space<T> {
    slots: HashMap<Box<[u8]>, Slot<T>>,
    /// Names that were changed since all were put in doubt: only they can still mean something.
    fresh: HashSet<Box<[u8]>>,
}

impl<T> Default for Space<T> {
    fn default() -> Self {
        Self { slots: HashMap::new(), fresh: HashSet::new() }
    }
}

impl<T: Copy> Space<T> {
    /// What `name` means to a message of `group`.
    pub(super) fn find(&self, name: &[u8], group: u64) -> Found<T> {
        if !is_followed(name) {
            return Found::Unresolved;
        }
        let Some(slot) = self.slots.get(name) else { return Found::Unresolved };
        let meaning = match (slot.waiting, slot.last) {
            (0, _) => slot.settled.flatten(),
            _ if slot.last_group != group => return Found::Wait,
            (_, Change::Set(meaning)) => meaning,
            (_, Change::Remove) => None,
        };
        meaning.map_or(Found::Unresolved, Found::Known)
    }

    /// A message of `group` makes `name` mean this.
    pub(super) fn set(&mut self, name: &[u8], meaning: T, group: u64) -> Ticket<T> {
        self.change(name, Change::Set(Some(meaning)), group)
    }

    /// A message of `group` ends `name`.
    pub(super) fn remove(&mut self, name: &[u8], group: u64) -> Ticket<T> {
        self.change(name, Change::Remove, group)
    }

    fn change(&mut self, name: &[u8], change: Change<T>, group: u64) -> Ticket<T> {
        let room = self.slots.len() < NAMES_MAX || self.slots.contains_key(name);
        if !is_followed(name) || !room {
            // The server may take the name for a shorter one that we follow.
            let displaced = name.get(..NAME_BYTES_MAX).and_then(|same| self.doubt(same));
            return Ticket { name: name.into(), change, doubts: 0, followed: false, displaced };
        }
        let slot = self.slots.entry(name.into()).or_insert(Slot {
            settled: None,
            waiting: 0,
            last: change,
            last_group: group,
            doubts: 0,
        });
        if !name.is_empty() && !self.fresh.contains(name) {
            self.fresh.insert(name.into());
        }
        slot.waiting += 1;
        slot.last = change;
        slot.last_group = group;
        Ticket { name: name.into(), change, doubts: slot.doubts, followed: true, displaced: None }
    }

    /// The server has done (`done`), refused or skipped a change. Changes are settled in the order
    /// they were sent. Gives what can no longer be found by its name.
    pub(super) fn settle(&mut self, ticket: &Ticket<T>, done: bool) -> [Option<T>; 2] {
        let lost = if done { ticket.meaning() } else { None };
        if !ticket.followed {
            return [lost, ticket.displaced];
        }
        let Some(slot) = self.slots.get_mut(&ticket.name) else { return [lost, None] };
        slot.waiting = slot.waiting.saturating_sub(1);
        let mut ended = [None, None];
        if done {
            let before = slot.settled.flatten();
            (slot.settled, ended) = match ticket.change {
                Change::Remove => (None, [before, None]),
                // Something may have made the name meanwhile: what it means is not known.
                Change::Set(_) if ticket.doubts != slot.doubts => (Some(None), [before, lost]),
                Change::Set(meaning) => (Some(meaning), [before, None]),
            };
        }
        if slot.waiting == 0 && slot.settled.is_none() {
            self.slots.remove(&ticket.name);
            self.fresh.remove(&ticket.name);
        }
        ended
    }

    /// `name` may mean something else from here on. Gives what it meant.
    pub(super) fn doubt(&mut self, name: &[u8]) -> Option<T> {
        self.slots.get_mut(name).and_then(Slot::put_in_doubt)
    }

    /// Every name but the unnamed one may mean something else from here on. Gives what they meant.
    pub(super) fn doubt_all(&mut self) -> Vec<T> {
        let fresh = std::mem::take(&mut self.fresh);
        fresh.iter().filter_map(|name| self.doubt(name)).collect()
    }

    /// Every name that the server has confirmed ends. Gives what they meant.
    pub(super) fn end_all(&mut self) -> Vec<T> {
        let ended = self.slots.values_mut().filter_map(|slot| slot.settled.take().flatten());
        let ended = ended.collect();
        self.slots.retain(|_, slot| slot.waiting > 0);
        self.fresh.retain(|name| self.slots.contains_key(name));
        ended
    }
}

impl<T: Copy> Slot<T> {
    /// What was confirmed and what is on its way both lose their meaning. Gives the former.
    fn put_in_doubt(&mut self) -> Option<T> {
        self.doubts += 1;
        if let Change::Set(meaning) = &mut self.last {
            *meaning = None;
        }
        self.settled.as_mut().and_then(Option::take)
    }
}

/// Whether two names that differ for us can never be the same for the server: it cuts names, and
/// it converts what is not ASCII from the client's encoding, in which one character can have
/// several forms.
fn is_followed(name: &[u8]) -> bool {
    name.len() <= NAME_BYTES_MAX && name.is_ascii()
}
