//! The values of fields: patterns, networks, times, durations, sizes.

use std::net::IpAddr;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

/// A text that is looked for as a whole, or by how it begins; upper and lower case alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    prefix: bool,
}

impl Pattern {
    /// A star at the end stands for anything, unless the value was quoted.
    pub(super) fn new(value: &str, quoted: bool) -> Self {
        match value.strip_suffix('*') {
            Some(start) if !quoted => Self { text: start.to_lowercase(), prefix: true },
            _ => Self { text: value.to_lowercase(), prefix: false },
        }
    }

    /// Whether the text is what is looked for.
    pub fn matches(&self, text: &str) -> bool {
        if text.is_ascii() {
            let head = if self.prefix { text.get(..self.text.len()) } else { Some(text) };
            return head.is_some_and(|head| head.eq_ignore_ascii_case(&self.text));
        }
        let lower = text.to_lowercase();
        if self.prefix { lower.starts_with(&self.text) } else { lower == self.text }
    }

    /// Whether this text alone is looked for.
    pub fn is_exactly(&self, text: &str) -> bool {
        !self.prefix && self.text == text
    }

    /// The text, where it is looked for as a whole; lower case.
    pub fn whole(&self) -> Option<&str> {
        (!self.prefix).then_some(self.text.as_str())
    }

    /// Whether it can be the beginning of an id: two letters and `_`.
    pub(crate) fn looks_like_id(&self) -> bool {
        self.text.as_bytes().get(2) == Some(&b'_') || (self.prefix && self.text.len() < 3)
    }

    /// How it begins, or all of it; lower case.
    pub(super) fn start(&self) -> &str {
        &self.text
    }
}

/// An address, or all addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net {
    bits: u128,
    mask: u128,
    v4: bool,
}

fn bits_of(address: IpAddr) -> (u128, bool) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), true),
        IpAddr::V6(v6) => (v6.to_bits(), false),
    }
}

impl Net {
    /// Reads `10.0.0.0/8`, `10.1.2.3`, `2001:db8::/32`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let (bits, v4) = bits_of(address.parse().ok()?);
        let width = if v4 { 32 } else { 128 };
        let prefix = prefix.unwrap_or(width);
        if prefix > width {
            return None;
        }
        let all = if v4 { u128::from(u32::MAX) } else { u128::MAX };
        let mask = if prefix == 0 { 0 } else { (all << (width - prefix)) & all };
        Some(Self { bits: bits & mask, mask, v4 })
    }

    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (bits, v4) = bits_of(address);
        v4 == self.v4 && bits & self.mask == self.bits
    }
}

/// A range of numbers, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
}

impl Bounds {
    /// Whether the number is in it.
    pub fn contains(&self, number: u64) -> bool {
        (self.min..=self.max).contains(&number)
    }

    /// Reads `>a`, `>=a`, `<a`, `<=a`, `a..b` or `a`, where `number` reads one number.
    pub(super) fn parse(text: &str, number: impl Fn(&str) -> Option<u64>) -> Option<Self> {
        let whole = |min, max| Some(Self { min, max });
        if let Some(rest) = text.strip_prefix(">=") {
            return whole(number(rest)?, u64::MAX);
        }
        if let Some(rest) = text.strip_prefix("<=") {
            return whole(0, number(rest)?);
        }
        if let Some(rest) = text.strip_prefix('>') {
            return whole(number(rest)?.checked_add(1)?, u64::MAX);
        }
        if let Some(rest) = text.strip_prefix('<') {
            return whole(0, number(rest)?.checked_sub(1)?);
        }
        if let Some((min, max)) = text.split_once("..") {
            return whole(number(min)?, number(max)?);
        }
        let exact = number(text.strip_prefix('=').unwrap_or(text))?;
        whole(exact, exact)
    }
}

/// A whole number; `_` between digits does not count.
pub(super) fn count(text: &str) -> Option<u64> {
    let digits = text.replace('_', "");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// A number with a unit behind it, once or several times (`1h30m`), summed in the unit's base.
fn with_units(text: &str, unit: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let mut rest = text;
    let mut sum = 0u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at_checked(digits)?;
        let letters = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (name, next) = behind.split_at_checked(letters)?;
        sum = sum.checked_add(scaled(number, unit(name)?)?)?;
        rest = next;
    }
    (!text.is_empty()).then_some(sum)
}

/// A decimal number times a whole one, without going through floating point.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 9 || fraction.contains('.') || (number.contains('.') && fraction.is_empty())
    {
        return None;
    }
    let whole: u128 = whole.parse().ok()?;
    let parts = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let scaled = (whole.checked_mul(parts)? + fraction).checked_mul(u128::from(unit))? / parts;
    u64::try_from(scaled).ok()
}

/// A duration in microseconds: `250ms`, `1.5s`, `1h30m`.
pub(super) fn duration_us(text: &str) -> Option<u64> {
    with_units(text, |unit| {
        Some(match unit {
            "us" | "µs" => 1,
            "ms" => 1_000,
            "s" => 1_000_000,
            "m" | "min" => 60_000_000,
            "h" => 3_600_000_000,
            "d" => 86_400_000_000,
            "w" => 604_800_000_000,
            _ => return None,
        })
    })
}

/// A size in bytes: `100`, `64k`, `1MiB`, `2GB`.
pub(super) fn size_bytes(text: &str) -> Option<u64> {
    let unit = |unit: &str| {
        Some(match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            _ => return None,
        })
    };
    count(text).or_else(|| with_units(text, unit))
}

/// A moment in microseconds since 1970: so long ago, the beginning of a day (UTC), or a time
/// with its offset (RFC 3339).
pub(super) fn moment_us(text: &str, now_us: i64) -> Option<i64> {
    if let Some(ago) = duration_us(text) {
        return Some(now_us.saturating_sub(i64::try_from(ago).ok()?));
    }
    if let Ok(day) = Date::parse(text, format_description!("[year]-[month]-[day]")) {
        return Some(day.midnight().assume_utc().unix_timestamp().saturating_mul(1_000_000));
    }
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(moment.unix_timestamp_nanos() / 1_000).ok()
}
