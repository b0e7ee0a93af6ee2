//! How many connections each source has at a door, so that one source cannot take all the room.

use crate::strangers::source_of;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Counts connections by source: an IPv4 address, or the first 64 bits of an IPv6 address. Holds
/// no more sources than there are connections.
#[derive(Debug, Clone)]
pub struct Sources {
    max: u32,
    open: Arc<Mutex<HashMap<IpAddr, u32>>>,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub struct Place {
    source: IpAddr,
    open: Arc<Mutex<HashMap<IpAddr, u32>>>,
}

impl Sources {
    /// At most `max` connections of one source at a time.
    pub fn new(max: u32) -> Self {
        Self { max, open: Arc::default() }
    }

    /// A place for a connection; `None` where its source has all of its places taken.
    pub fn enter(&self, ip: IpAddr) -> Option<Place> {
        let source = source_of(ip);
        let mut open = self.open.lock();
        let count = open.entry(source).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Place { source, open: Arc::clone(&self.open) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        if let Some(count) = open.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_cannot_take_the_places_of_another() {
        let sources = Sources::new(2);
        let (a, b): (IpAddr, IpAddr) = ("127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap());
        let first = sources.enter(a).unwrap();
        let _second = sources.enter(a).unwrap();
        assert!(sources.enter(a).is_none());
        assert!(sources.enter(b).is_some());
        drop(first);
        assert!(sources.enter(a).is_some());
        assert_eq!(sources.open.lock().len(), 1, "who left is forgotten");
    }
}
