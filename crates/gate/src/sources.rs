//! Who has places at a door, by source, so that neither one source nor a few take all the room.

use crate::strangers::source_of;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

/// Counts connections by source: an IPv4 address, or the first 64 bits of an IPv6 address. Holds
/// no more sources than there are connections.
#[derive(Debug, Clone)]
pub struct Sources {
    max: usize,
    of_source_max: usize,
    open: Arc<Mutex<Open>>,
}

/// How a connection is made to end when its place is wanted for another.
pub struct HangUp(Box<dyn FnOnce() + Send>);

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub struct Place {
    source: IpAddr,
    number: u64,
    open: Arc<Mutex<Open>>,
}

/// Of each source its connections, oldest first.
#[derive(Debug, Default)]
struct Open {
    by_source: HashMap<IpAddr, BTreeMap<u64, Option<HangUp>>>,
    last: u64,
    count: usize,
}

impl HangUp {
    /// Shuts the connection down under whoever has it: they meet its end, as if the client had
    /// gone, so that nothing is left half done. None where the process may open no more files.
    pub fn of(socket: &impl AsFd) -> Option<Self> {
        let twin = std::net::TcpStream::from(socket.as_fd().try_clone_to_owned().ok()?);
        Some(Self(Box::new(move || {
            // A connection that is gone already needs no end.
            let _ = twin.shutdown(std::net::Shutdown::Both);
        })))
    }
}

impl fmt::Debug for HangUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HangUp")
    }
}

impl Sources {
    /// At most `of_source_max` connections of one source at a time.
    pub fn new(of_source_max: usize) -> Self {
        Self::bounded(usize::MAX, of_source_max)
    }

    /// The same, and at most `max` in all: for one more, the oldest of the source that has most
    /// must go. Who takes long is the one to lose, and never before those who hold more.
    pub fn bounded(max: usize, of_source_max: usize) -> Self {
        Self { max, of_source_max, open: Arc::default() }
    }

    /// A place for a connection; `None` where its source has all of its places taken, or nobody
    /// can be made to go. With `hang_up` it may be made to go itself while it has the place.
    pub fn enter(&self, ip: IpAddr, hang_up: Option<HangUp>) -> Option<Place> {
        let source = source_of(ip);
        let mut open = self.open.lock();
        if open.by_source.get(&source).is_some_and(|it| it.len() >= self.of_source_max) {
            return None;
        }
        let gone = if open.count >= self.max { Some(open.make_room(source)?) } else { None };
        let number = open.enter(source, hang_up);
        drop(open);
        if let Some(HangUp(hang_up)) = gone {
            hang_up();
        }
        Some(Place { source, number, open: Arc::clone(&self.open) })
    }
}

impl Open {
    fn enter(&mut self, source: IpAddr, hang_up: Option<HangUp>) -> u64 {
        self.last += 1;
        self.count += 1;
        self.by_source.entry(source).or_default().insert(self.last, hang_up);
        self.last
    }

    fn leave(&mut self, source: IpAddr, number: u64) -> Option<HangUp> {
        let of_source = self.by_source.get_mut(&source)?;
        let left = of_source.remove(&number)?;
        self.count -= 1;
        if of_source.is_empty() {
            self.by_source.remove(&source);
        }
        left
    }

    /// Takes the place of the oldest that can be made to go, of the source that has most, the one
    /// that `comer` asks for counted in.
    fn make_room(&mut self, comer: IpAddr) -> Option<HangUp> {
        let oldest = |(source, places): (&IpAddr, &BTreeMap<u64, Option<HangUp>>)| {
            let (number, _) = places.iter().find(|(_, hang_up)| hang_up.is_some())?;
            let held = places.len() + usize::from(*source == comer);
            Some((held, std::cmp::Reverse(*number), *source))
        };
        let fullest = self.by_source.iter().filter_map(oldest).max();
        let (_, std::cmp::Reverse(number), source) = fullest?;
        self.leave(source, number)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whoever was made to go has no place any more. The way to hang up is dropped unused, and
        // outside the lock, for it closes a file.
        let left = self.open.lock().leave(self.source, self.number);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn source(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    #[test]
    fn one_source_cannot_take_the_places_of_another() {
        let sources = Sources::new(2);
        let (a, b) = (source(1), source(2));
        let first = sources.enter(a, None).unwrap();
        let _second = sources.enter(a, None).unwrap();
        assert!(sources.enter(a, None).is_none());
        assert!(sources.enter(b, None).is_some());
        drop(first);
        assert!(sources.enter(a, None).is_some());
        assert_eq!(sources.open.lock().by_source.len(), 1, "who left is forgotten");
    }

    #[test]
    fn a_few_sources_that_hold_every_place_lose_them_to_those_who_come() {
        let sources = Sources::bounded(8, 4);
        let gone = Arc::new(Mutex::new(Vec::new()));
        let enter = |n: u8, of: u8| {
            let gone = Arc::clone(&gone);
            let hang_up = HangUp(Box::new(move || gone.lock().push((n, of))));
            sources.enter(source(n), Some(hang_up))
        };
        let _held: Vec<Place> =
            (0..4).flat_map(|of| [enter(1, of), enter(2, of)]).flatten().collect();
        let _third = enter(3, 0).unwrap();
        assert_eq!(*gone.lock(), [(1, 0)], "the oldest of those who hold most");
        let _fourth = enter(4, 0).unwrap();
        assert_eq!(*gone.lock(), [(1, 0), (2, 0)]);
        let _again = enter(1, 9).unwrap();
        assert_eq!(gone.lock().last(), Some(&(1, 1)), "who comes back displaces their own");
        assert_eq!(sources.open.lock().count, 8);
        // However often they come back, nobody goes who holds less.
        let mut flood: Vec<Option<Place>> = Vec::new();
        for round in 0..100 {
            flood.push(enter(1 + round % 2, 100 + round));
        }
        assert!(gone.lock().iter().all(|(n, _)| *n <= 2), "{:?}", gone.lock());
        drop(flood);
        assert!(sources.open.lock().count <= 8);
    }

    #[test]
    fn where_every_source_has_one_the_oldest_goes_and_without_a_way_nobody() {
        let sources = Sources::bounded(2, 2);
        let gone = Arc::new(AtomicUsize::new(0));
        let counted = || {
            let gone = Arc::clone(&gone);
            Some(HangUp(Box::new(move || {
                gone.fetch_add(1, Ordering::SeqCst);
            })))
        };
        let _stays = sources.enter(source(1), None).unwrap();
        let goes = sources.enter(source(2), counted()).unwrap();
        let third = sources.enter(source(3), None).unwrap();
        assert_eq!(gone.load(Ordering::SeqCst), 1);
        assert!(sources.enter(source(4), counted()).is_none(), "nobody can be made to go");
        drop(goes);
        assert_eq!(sources.open.lock().count, 2, "a place that was taken is not given back twice");
        drop(third);
        let identified = sources.enter(source(5), counted()).unwrap();
        drop(identified);
        assert_eq!(gone.load(Ordering::SeqCst), 1, "whoever left their place is left alone");
    }

    #[test]
    fn hanging_up_ends_the_connection_for_both() {
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(door.local_addr().unwrap()).unwrap();
        let (mut accepted, _) = door.accept().unwrap();
        let HangUp(hang_up) = HangUp::of(&accepted).unwrap();
        hang_up();
        assert_eq!(accepted.read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    }
}
