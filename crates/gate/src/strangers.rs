//! Events caused by strangers are bounded: the first ten of a source and minute are written one
//! by one, at most 600 a minute in all; the rest is counted and written as one event.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// Refusals of one source that are written one by one in a minute.
const PER_SOURCE_MAX: u32 = 10;
/// Refusals that are written one by one in a minute, in all.
const PER_MINUTE_MAX: u32 = 600;
/// Sources that are told apart in a minute; the memory of this is bounded.
const SOURCES_MAX: usize = 4_096;
const MINUTE_US: i64 = 60_000_000;

/// What was counted and not written, of one minute and listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Which door.
    pub listener: &'static str,
    /// Refusals beyond those written.
    pub count: u64,
    /// Different sources among them, at most [`SOURCES_MAX`].
    pub sources: u64,
}

/// Counts refusals. Pure: time is a parameter.
#[derive(Debug, Default)]
pub struct Strangers {
    minute: i64,
    written: u32,
    by_source: HashMap<IpAddr, u32>,
    counted: HashMap<&'static str, (u64, HashSet<IpAddr>)>,
}

/// A source: an IPv4 address, or the first 64 bits of an IPv6 address.
pub(crate) fn source_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_none() => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        other => other.to_canonical(),
    }
}

impl Strangers {
    /// Notes a refusal; `true` when it is to be written as an event of its own.
    pub fn note(&mut self, listener: &'static str, ip: IpAddr, now_us: i64) -> bool {
        let minute = now_us.div_euclid(MINUTE_US);
        if minute != self.minute {
            self.minute = minute;
            self.written = 0;
            self.by_source.clear();
        }
        let source = source_of(ip);
        let room = self.by_source.len() < SOURCES_MAX || self.by_source.contains_key(&source);
        if room && self.written < PER_MINUTE_MAX {
            let seen = self.by_source.entry(source).or_default();
            if *seen < PER_SOURCE_MAX {
                *seen += 1;
                self.written += 1;
                return true;
            }
        }
        let (count, sources) = self.counted.entry(listener).or_default();
        *count += 1;
        if sources.len() < SOURCES_MAX {
            sources.insert(source);
        }
        false
    }

    /// Takes what was counted, to be written as one event for each listener. Called once a minute
    /// and at shutdown.
    pub fn take_counted(&mut self) -> Vec<Counted> {
        let mut counted: Vec<Counted> = self
            .counted
            .drain()
            .map(|(listener, (count, sources))| Counted {
                listener,
                count,
                sources: sources.len() as u64,
            })
            .collect();
        counted.sort_by_key(|entry| entry.listener);
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn one_source_is_written_ten_times_a_minute_and_then_counted() {
        let mut strangers = Strangers::default();
        let written = (0..1_000).filter(|_| strangers.note("postgres", v4(1), 5)).count();
        assert_eq!(written, 10);
        let counted = strangers.take_counted();
        assert_eq!(counted, [Counted { listener: "postgres", count: 990, sources: 1 }]);
        assert!(strangers.take_counted().is_empty());
        assert!(strangers.note("postgres", v4(1), MINUTE_US + 5), "a new minute");
    }

    #[test]
    fn many_sources_are_bounded_together_and_nothing_is_lost_from_the_count() {
        let mut strangers = Strangers::default();
        let written = (0..10_000).filter(|n| strangers.note("api", v4(*n), 5)).count() as u64;
        assert_eq!(written, 600);
        let counted = strangers.take_counted();
        assert_eq!(counted[0].count + written, 10_000);
        assert_eq!(counted[0].sources, SOURCES_MAX as u64);
    }

    #[test]
    fn an_ipv6_source_is_its_first_64_bits() {
        let mut strangers = Strangers::default();
        let written = (0..100u128)
            .filter(|n| strangers.note("api", IpAddr::V6(((0xfe80u128 << 112) | n).into()), 5))
            .count();
        assert_eq!(written, 10);
        assert_eq!(source_of("::ffff:1.2.3.4".parse().unwrap()), v4(0x0102_0304));
    }
}
