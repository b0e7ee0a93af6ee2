//! Login protection: whoever fails must wait, longer each time; and what strangers can cause to be
//! written is bounded.
//!
//! Failures count for the name that was typed and for the source (an IPv4 address, the first 64
//! bits of an IPv6 one). Five are free; then the wait doubles from one second, up to a minute for
//! a name, and up to a quarter of an hour for a source. An attempt counts when it begins, so that
//! many at once are no way around. Time is a parameter; memory is bounded.
//!
//! From where somebody proved who they are before, what others fail at under their name from
//! elsewhere does not count: a few sources could otherwise keep a person out for as long as they
//! like. There they have a wait of their own. This is remembered for 30 days, and until the
//! gateway ends.

use loggia_model::resource::is_name;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

/// Failures without a wait.
const FREE_FAILURES: u32 = 5;
/// Longest wait for a name, in seconds.
const NAME_WAIT_S_MAX: i64 = 60;
/// Longest wait for a source, in seconds.
const SOURCE_WAIT_S_MAX: i64 = 900;
/// How long it is remembered from where somebody proved who they are, in seconds.
const PROVED_S: i64 = 30 * 86_400;
/// Failures are forgotten after this long without one.
const FORGET_S: i64 = 3_600;
/// Names and sources that are told apart, each.
const ENTRIES_MAX: usize = 10_000;
const SECOND_US: i64 = 1_000_000;

/// A source: an IPv4 address, or the first 64 bits of an IPv6 address.
fn source_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

/// Too soon; the caller may try again after this many seconds, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter {
    /// Seconds to wait.
    pub seconds: u64,
}

/// Who tries, as the throttle counts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    name: Option<String>,
    source: IpAddr,
}

impl Attempt {
    /// An attempt to guess this person's password from this address. All texts that cannot be a
    /// name count as one.
    pub fn as_name(name: &str, ip: IpAddr) -> Self {
        let name = if is_name(name) { name } else { "" };
        Self { name: Some(name.to_owned()), source: source_of(ip) }
    }

    /// An attempt where nothing can be guessed (a signature, a secret of 256 bits): only the source
    /// counts, so that strangers cannot keep a service out by failing under its name.
    pub fn from(ip: IpAddr) -> Self {
        Self { name: None, source: source_of(ip) }
    }
}

/// A name, and a source from where its holder proved who they are.
type Home = (String, IpAddr);

/// Remembers failures.
#[derive(Debug)]
pub struct Throttle {
    names: Table<String>,
    sources: Table<IpAddr>,
    /// Failures under a name at home; those elsewhere are in `names`.
    homes: Table<Home>,
    /// When somebody last proved who they are at home, microseconds since 1970.
    proved: HashMap<Home, i64>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            names: Table::new(NAME_WAIT_S_MAX),
            sources: Table::new(SOURCE_WAIT_S_MAX),
            homes: Table::new(NAME_WAIT_S_MAX),
            proved: HashMap::new(),
        }
    }
}

impl Throttle {
    /// Begins an attempt and counts it as failed until [`Self::succeeded`] or [`Self::undone`] says
    /// otherwise. An attempt that must wait does not count.
    pub fn begin(&mut self, attempt: &Attempt, now_us: i64) -> Result<(), RetryAfter> {
        let home = self.home(attempt, now_us);
        let by_name = match (&home, &attempt.name) {
            (Some(home), _) => self.homes.wait_us(home, now_us),
            (None, Some(name)) => self.names.wait_us(name, now_us),
            (None, None) => 0,
        };
        let wait_us = by_name.max(self.sources.wait_us(&attempt.source, now_us));
        if wait_us > 0 {
            let seconds = (wait_us + SECOND_US - 1) / SECOND_US;
            return Err(RetryAfter { seconds: u64::try_from(seconds).unwrap_or(1) });
        }
        match (home, &attempt.name) {
            (Some(home), _) => self.homes.count(home, now_us),
            (None, Some(name)) => self.names.count(name.clone(), now_us),
            (None, None) => {}
        }
        self.sources.count(attempt.source, now_us);
        Ok(())
    }

    /// The attempt succeeded: the name starts afresh, here; the source keeps its other failures, so
    /// that an account of one's own is no way to guess at others.
    pub fn succeeded(&mut self, attempt: &Attempt, now_us: i64) {
        match (self.home(attempt, now_us), &attempt.name) {
            // What others do elsewhere goes on to count, there.
            (Some(home), _) => drop(self.homes.entries.remove(&home)),
            (None, Some(name)) => drop(self.names.entries.remove(name)),
            (None, None) => {}
        }
        self.sources.uncount(&attempt.source);
        if let Some(name) = &attempt.name {
            self.proved_from(name, attempt.source, now_us);
        }
    }

    /// The attempt failed by no fault of the caller: it does not count.
    pub fn undone(&mut self, attempt: &Attempt, now_us: i64) {
        match (self.home(attempt, now_us), &attempt.name) {
            (Some(home), _) => self.homes.uncount(&home),
            (None, Some(name)) => self.names.uncount(name),
            (None, None) => {}
        }
        self.sources.uncount(&attempt.source);
    }

    /// Somebody of this name proved who they are from this address, by whatever means.
    pub fn proved(&mut self, name: &str, ip: IpAddr, now_us: i64) {
        self.proved_from(name, source_of(ip), now_us);
    }

    fn proved_from(&mut self, name: &str, source: IpAddr, now_us: i64) {
        let home = (name.to_owned(), source);
        if !self.proved.contains_key(&home) && self.proved.len() >= ENTRIES_MAX {
            let longest_ago = self.proved.iter().min_by_key(|(_, proved_us)| **proved_us);
            if let Some(home) = longest_ago.map(|(home, _)| home.clone()) {
                self.proved.remove(&home);
            }
        }
        self.proved.insert(home, now_us);
    }

    /// The attempt's name and source, where the one was proved from the other.
    fn home(&self, attempt: &Attempt, now_us: i64) -> Option<Home> {
        let home = (attempt.name.clone()?, attempt.source);
        let proved_us = *self.proved.get(&home)?;
        (now_us.saturating_sub(proved_us) <= PROVED_S * SECOND_US).then_some(home)
    }
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last_us: i64,
}

#[derive(Debug)]
struct Table<K> {
    entries: HashMap<K, Failures>,
    wait_s_max: i64,
}

impl<K: Eq + Hash + Clone> Table<K> {
    fn new(wait_s_max: i64) -> Self {
        Self { entries: HashMap::new(), wait_s_max }
    }

    fn wait_us(&mut self, key: &K, now_us: i64) -> i64 {
        let Some(failures) = self.entries.get_mut(key) else { return 0 };
        // Where the clock was set back, the wait begins again and does not last until the old time.
        failures.last_us = failures.last_us.min(now_us);
        if forgotten(failures, now_us) {
            self.entries.remove(key);
            return 0;
        }
        let Some(beyond) = failures.count.checked_sub(FREE_FAILURES) else { return 0 };
        let wait_s = 1_i64.checked_shl(beyond.min(30)).unwrap_or(i64::MAX).min(self.wait_s_max);
        (failures.last_us.saturating_add(wait_s * SECOND_US)).saturating_sub(now_us).max(0)
    }

    fn count(&mut self, key: K, now_us: i64) {
        if !self.entries.contains_key(&key) && self.entries.len() >= ENTRIES_MAX {
            self.make_room(now_us);
        }
        let failures = self.entries.entry(key).or_insert(Failures { count: 0, last_us: now_us });
        failures.count = failures.count.saturating_add(1);
        failures.last_us = now_us;
    }

    fn uncount(&mut self, key: &K) {
        if let Some(failures) = self.entries.get_mut(key) {
            failures.count = failures.count.saturating_sub(1);
            if failures.count == 0 {
                self.entries.remove(key);
            }
        }
    }

    /// Forgets what is old; failing that, the one with the fewest failures, so that a flood of new
    /// names does not free a name that is under attack.
    fn make_room(&mut self, now_us: i64) {
        self.entries.retain(|_, failures| !forgotten(failures, now_us));
        if self.entries.len() < ENTRIES_MAX {
            return;
        }
        let least = self.entries.iter().min_by_key(|(_, f)| (f.count, f.last_us));
        if let Some(key) = least.map(|(key, _)| key.clone()) {
            self.entries.remove(&key);
        }
    }
}

fn forgotten(failures: &Failures, now_us: i64) -> bool {
    now_us.saturating_sub(failures.last_us) > FORGET_S * SECOND_US
}

/// Failures of one source that are written one by one in a minute.
const WRITTEN_PER_SOURCE_MAX: u32 = 10;
/// Failures that are written one by one in a minute, in all.
const WRITTEN_PER_MINUTE_MAX: u32 = 600;
/// Sources that are told apart in a minute.
const WRITTEN_SOURCES_MAX: usize = 4_096;
/// A minute, in microseconds.
const MINUTE_US: i64 = 60 * SECOND_US;

/// Decides which failures become events of their own and counts the rest.
#[derive(Debug, Default)]
pub struct FailureEvents {
    minute: i64,
    written: u32,
    by_source: HashMap<IpAddr, u32>,
    counted_minute: i64,
    counted: u64,
    counted_sources: HashSet<IpAddr>,
}

impl FailureEvents {
    /// Notes a failure; `true` when it is to be written as an event of its own.
    pub fn note(&mut self, ip: IpAddr, now_us: i64) -> bool {
        let minute = now_us.div_euclid(MINUTE_US);
        if minute != self.minute {
            self.minute = minute;
            self.written = 0;
            self.by_source.clear();
        }
        let source = source_of(ip);
        let known = self.by_source.contains_key(&source);
        if self.written < WRITTEN_PER_MINUTE_MAX
            && (known || self.by_source.len() < WRITTEN_SOURCES_MAX)
        {
            let seen = self.by_source.entry(source).or_default();
            if *seen < WRITTEN_PER_SOURCE_MAX {
                *seen += 1;
                self.written += 1;
                return true;
            }
        }
        self.counted_minute = minute;
        self.counted += 1;
        if self.counted_sources.len() < WRITTEN_SOURCES_MAX {
            self.counted_sources.insert(source);
        }
        false
    }

    /// Like [`Self::take_counted`], of minutes that are over.
    pub fn take_counted_before(&mut self, now_us: i64) -> Option<(u64, u64)> {
        let over = self.counted_minute != now_us.div_euclid(MINUTE_US);
        over.then(|| self.take_counted()).flatten()
    }

    /// Takes what was counted and not written: failures, and different sources among them.
    pub fn take_counted(&mut self) -> Option<(u64, u64)> {
        if self.counted == 0 {
            return None;
        }
        let sources = self.counted_sources.len() as u64;
        self.counted_sources.clear();
        Some((std::mem::take(&mut self.counted), sources))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const NOW_US: i64 = 1_790_000_000_000_000;

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(n))
    }

    fn fail(throttle: &mut Throttle, attempt: &Attempt, now_us: i64) -> u64 {
        throttle.begin(attempt, now_us).map_or_else(|wait| wait.seconds, |()| 0)
    }

    #[test]
    fn five_are_free_then_the_wait_doubles_up_to_a_minute_for_a_name() {
        let mut throttle = Throttle::default();
        let mut now_us = NOW_US;
        let mut waits = Vec::new();
        for n in 0..14 {
            // A new source each time: only the name counts.
            let attempt = Attempt::as_name("alice", v4(n));
            let wait = fail(&mut throttle, &attempt, now_us);
            waits.push(wait);
            now_us += i64::try_from(wait).unwrap() * SECOND_US;
            if wait > 0 {
                assert_eq!(fail(&mut throttle, &attempt, now_us - 1), 1, "a moment too early");
                assert_eq!(fail(&mut throttle, &attempt, now_us), 0);
            }
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(fail(&mut throttle, &Attempt::as_name("bob", v4(99)), now_us), 0);
    }

    #[test]
    fn a_source_waits_whatever_names_it_tries_and_a_whole_64_is_one_source() {
        let mut throttle = Throttle::default();
        for n in 0..5 {
            let ip: IpAddr = format!("2001:db8:1:2::{n}").parse().unwrap();
            assert_eq!(fail(&mut throttle, &Attempt::as_name(&format!("p{n}"), ip), NOW_US), 0);
        }
        let same: IpAddr = "2001:db8:1:2:ffff::1".parse().unwrap();
        let other: IpAddr = "2001:db8:1:3::1".parse().unwrap();
        assert_eq!(fail(&mut throttle, &Attempt::as_name("p9", same), NOW_US), 1);
        assert_eq!(fail(&mut throttle, &Attempt::from(same), NOW_US), 1);
        assert_eq!(fail(&mut throttle, &Attempt::as_name("p9", other), NOW_US), 0);
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(source_of(mapped), source_of("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn success_frees_the_name_and_not_the_source() {
        let mut throttle = Throttle::default();
        for _ in 0..4 {
            assert_eq!(fail(&mut throttle, &Attempt::as_name("victim", v4(1)), NOW_US), 0);
        }
        let own = Attempt::as_name("mallory", v4(1));
        assert_eq!(fail(&mut throttle, &own, NOW_US), 0);
        throttle.succeeded(&own, NOW_US);
        assert_eq!(fail(&mut throttle, &Attempt::as_name("victim", v4(1)), NOW_US), 0);
        assert_eq!(fail(&mut throttle, &Attempt::as_name("victim", v4(1)), NOW_US), 1);
        let person = Attempt::as_name("alice", v4(2));
        for _ in 0..20 {
            assert_eq!(fail(&mut throttle, &person, NOW_US), 0);
            throttle.succeeded(&person, NOW_US);
            assert_eq!(fail(&mut throttle, &person, NOW_US), 0);
            throttle.undone(&person, NOW_US);
        }
    }

    #[test]
    fn where_somebody_proved_who_they_are_others_cannot_keep_them_out() {
        let mut throttle = Throttle::default();
        let at_home = Attempt::as_name("alice", v4(1));
        assert_eq!(fail(&mut throttle, &at_home, NOW_US), 0);
        throttle.succeeded(&at_home, NOW_US);
        // Others use every moment at which the name need not wait.
        let mut now_us = NOW_US;
        for n in 0..500 {
            let wait = fail(&mut throttle, &Attempt::as_name("alice", v4(100 + n)), now_us);
            now_us += i64::try_from(wait).unwrap() * SECOND_US;
        }
        fail(&mut throttle, &Attempt::as_name("alice", v4(2)), now_us);
        assert_eq!(fail(&mut throttle, &Attempt::as_name("alice", v4(2)), now_us), 60);
        assert_eq!(fail(&mut throttle, &at_home, now_us), 0);
        throttle.succeeded(&at_home, now_us);
        assert_eq!(
            fail(&mut throttle, &Attempt::as_name("alice", v4(2)), now_us),
            60,
            "her success frees nobody else"
        );
        // At home the same waits hold, for her name alone.
        for _ in 0..5 {
            assert_eq!(fail(&mut throttle, &at_home, now_us), 0);
        }
        assert_eq!(fail(&mut throttle, &at_home, now_us), 1);
        let later = now_us + (PROVED_S + 1) * SECOND_US;
        assert_eq!(throttle.home(&at_home, later), None, "it is forgotten");
    }

    #[test]
    fn what_is_remembered_of_homes_is_bounded_and_the_oldest_goes() {
        let mut throttle = Throttle::default();
        for n in 0..11_000_u32 {
            throttle.proved("alice", v4(n), NOW_US + i64::from(n));
        }
        assert_eq!(throttle.proved.len(), ENTRIES_MAX);
        assert!(throttle.home(&Attempt::as_name("alice", v4(10_999)), NOW_US).is_some());
        assert!(throttle.home(&Attempt::as_name("alice", v4(999)), NOW_US).is_none());
    }

    #[test]
    fn failures_are_forgotten_and_a_clock_set_back_locks_nobody_out() {
        let mut throttle = Throttle::default();
        let attempt = Attempt::as_name("alice", v4(1));
        for _ in 0..5 {
            fail(&mut throttle, &attempt, NOW_US);
        }
        let earlier = NOW_US - 86_400 * SECOND_US;
        assert_eq!(fail(&mut throttle, &attempt, earlier), 1);
        assert_eq!(fail(&mut throttle, &attempt, earlier + SECOND_US), 0);
        assert_eq!(fail(&mut throttle, &attempt, NOW_US), 0, "a day later all is forgotten");
        assert_eq!(throttle.sources.entries[&v4(1)].count, 1);
    }

    #[test]
    fn a_flood_of_names_and_sources_is_bounded_and_frees_nobody_under_attack() {
        let mut throttle = Throttle::default();
        for n in 0..5 {
            fail(&mut throttle, &Attempt::as_name("alice", v4(n)), NOW_US);
        }
        for n in 0..11_000 {
            let name = format!("n{n}");
            fail(&mut throttle, &Attempt::as_name(&name, v4(1_000 + n)), NOW_US);
        }
        assert_eq!(throttle.names.entries.len(), ENTRIES_MAX);
        assert_eq!(throttle.sources.entries.len(), ENTRIES_MAX);
        assert_eq!(fail(&mut throttle, &Attempt::as_name("alice", v4(7)), NOW_US), 1);
        let odd = "x".repeat(100_000);
        assert_eq!(Attempt::as_name(&odd, v4(1)), Attempt::as_name("Not A Name", v4(1)));
    }

    #[test]
    fn events_of_failures_are_bounded_and_the_rest_is_counted() {
        let mut events = FailureEvents::default();
        assert_eq!((0..1_000).filter(|_| events.note(v4(1), NOW_US)).count(), 10);
        assert_eq!(events.take_counted_before(NOW_US), None);
        assert_eq!(events.take_counted_before(NOW_US + MINUTE_US), Some((990, 1)));
        assert_eq!(events.take_counted(), None);
        let written = (0..10_000).filter(|n| events.note(v4(*n), NOW_US)).count();
        assert_eq!(written, 590);
        assert_eq!(events.take_counted().unwrap().0, 10_000 - 590);
        assert!(events.note(v4(1), NOW_US + MINUTE_US));
    }
}
