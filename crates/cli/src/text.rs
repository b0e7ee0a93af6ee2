//! Text as people read it. What comes from elsewhere never reaches a terminal as it is: a
//! statement or a name may hold what a terminal obeys.

use std::fmt::Write;

/// Whether a letter changes how others are shown instead of being shown: controls, marks of
/// direction, line separators, and what of Unicode's format characters no script is written with.
pub(crate) fn is_command(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{061c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// The text with whatever a terminal would obey written out.
pub(crate) fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_command(letter) {
            let _ = write!(safe, "{}", letter.escape_default());
        } else {
            safe.push(letter);
        }
    }
    safe
}

/// The text in one line: white space as single blanks, the rest made safe.
pub(crate) fn line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    safe(&words.join(" "))
}

/// The same, with the blanks at its beginning kept.
pub(crate) fn line_indented(text: &str) -> String {
    let indent: String = text.chars().take_while(|letter| *letter == ' ').collect();
    indent + &line(text)
}

/// At most so many letters, with a mark where some are missing.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// A number with its thousands apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Tenths of a unit, as people write them.
fn tenths(number: u64, unit: u64) -> String {
    let tenths = number.saturating_mul(10) / unit;
    if tenths >= 100 || tenths.is_multiple_of(10) {
        (tenths / 10).to_string()
    } else {
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

/// A duration in its largest fitting unit.
pub(crate) fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", tenths(us, 1_000)),
        1_000_000..60_000_000 => format!("{} s", tenths(us, 1_000_000)),
        60_000_000..3_600_000_000 => {
            format!("{} min {} s", us / 60_000_000, us / 1_000_000 % 60)
        }
        3_600_000_000..86_400_000_000 => {
            format!("{} h {} min", us / 3_600_000_000, us / 60_000_000 % 60)
        }
        _ => format!("{} d {} h", us / 86_400_000_000, us / 3_600_000_000 % 24),
    }
}

/// A size in its largest fitting unit.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", tenths(bytes, 1 << 10)),
        1_048_576..1_073_741_824 => format!("{} MiB", tenths(bytes, 1 << 20)),
        _ => format!("{} GiB", tenths(bytes, 1 << 30)),
    }
}

/// A time of the API (RFC 3339 with microseconds) to the millisecond, UTC.
pub(crate) fn moment(rfc3339: &str) -> String {
    match (rfc3339.get(..10), rfc3339.get(11..23)) {
        (Some(day), Some(time)) => format!("{day} {time}Z"),
        _ => safe(rfc3339),
    }
}

/// Microseconds since 1970 as a time to the second, UTC.
pub(crate) fn moment_of(time_us: i64) -> String {
    let format =
        time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");
    time::OffsetDateTime::from_unix_timestamp(time_us / 1_000_000)
        .ok()
        .and_then(|time| time.format(format).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        assert_eq!(safe("a\u{1b}[2Jb\u{7f}\u{9b}c"), "a\\u{1b}[2Jb\\u{7f}\\u{9b}c");
        assert_eq!(safe("user\u{202e}cod"), "user\\u{202e}cod");
        for hidden in ['\u{61c}', '\u{200f}', '\u{2069}', '\u{2028}', '\u{e0041}', '\u{2060}'] {
            assert_eq!(safe(&format!("a{hidden}b")), format!("a{}b", hidden.escape_default()));
        }
        assert_eq!(line(" select 1,\n\t2 \r\n"), "select 1, 2");
        assert_eq!(safe("Ärger 漢字"), "Ärger 漢字");
    }

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!((count(7).as_str(), count(1_234_567).as_str()), ("7", "1,234,567"));
        assert_eq!(duration(999), "999 µs");
        assert_eq!(duration(3_140), "3.1 ms");
        assert_eq!(duration(12_300_000), "12 s");
        assert_eq!(duration(61_000_000), "1 min 1 s");
        assert_eq!(duration(90_000_000_000), "1 d 1 h");
        assert_eq!((bytes(1_023).as_str(), bytes(1_536).as_str()), ("1023 B", "1.5 KiB"));
        assert_eq!(moment("2026-11-23T04:11:02.123456Z"), "2026-11-23 04:11:02.123Z");
        assert_eq!(moment_of(0), "1970-01-01 00:00:00Z");
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüx", 3), "äö…");
    }
}
