//! The control lines of scp.

use bytes::Bytes;

/// A control line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// `C`: a file, whose data follows.
    File(Entry),
    /// `D`: a directory, whose entries follow.
    Directory(Entry),
    /// `E`: the directory is over.
    Leave,
    /// `T`: last access and last modification of what the next line names, in seconds.
    Times((u64, u64)),
    /// The source could not send something; nobody answers.
    Error,
}

/// What a line says of a file or directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) mode: u32,
    pub(super) bytes: u64,
    pub(super) name: Bytes,
}

/// Reads a line with its end. An error says what OpenSSH's sink would stumble over.
pub(super) fn parse(line: &Bytes) -> Result<Line, &'static str> {
    let body = line.len().saturating_sub(1);
    let Some((&letter, fields)) = line.get(..body).and_then(<[u8]>::split_first) else {
        return Err("it is empty");
    };
    match letter {
        b'C' => entry(line, fields).map(Line::File),
        b'D' => entry(line, fields).map(Line::Directory),
        b'E' => Ok(Line::Leave),
        b'T' => times(fields).map(Line::Times),
        1 | 2 => Ok(Line::Error),
        _ => Err("it is no control line"),
    }
}

/// Four octal digits, a size, a name.
fn entry(line: &Bytes, fields: &[u8]) -> Result<Entry, &'static str> {
    let (mode, rest) = fields.split_at_checked(4).ok_or("it has no mode")?;
    if !mode.iter().all(|digit| (b'0'..=b'7').contains(digit)) {
        return Err("its mode is not octal");
    }
    let mode = mode.iter().fold(0, |mode, digit| mode * 8 + u32::from(digit - b'0'));
    let rest = rest.strip_prefix(b" ").ok_or("its mode is not four digits")?;
    let (bytes, name) = number(rest).ok_or("its size is no number")?;
    if i64::try_from(bytes).is_err() {
        return Err("its size is out of range");
    }
    let name = name.strip_prefix(b" ").ok_or("it has no name")?;
    Ok(Entry { mode, bytes, name: line.slice_ref(name) })
}

/// Seconds and microseconds of the last modification, then of the last access.
fn times(fields: &[u8]) -> Result<(u64, u64), &'static str> {
    let times = || {
        let (modified, rest) = number(fields)?;
        let (_, rest) = number(rest.strip_prefix(b" ")?)?;
        let (accessed, rest) = number(rest.strip_prefix(b" ")?)?;
        let (_, rest) = number(rest.strip_prefix(b" ")?)?;
        rest.is_empty().then_some((accessed, modified))
    };
    times().ok_or("its times are no numbers")
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(digits)?;
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &'static str) -> Result<Line, &'static str> {
        parse(&Bytes::from_static(line.as_bytes()))
    }

    #[test]
    fn lines_that_scp_sends() {
        let name = Bytes::from_static(b"a b.txt");
        let entry = Entry { mode: 0o640, bytes: 12, name: name.clone() };
        assert_eq!(parsed("C0640 12 a b.txt\n"), Ok(Line::File(entry)));
        let entry = Entry { mode: 0o2755, bytes: 0, name };
        assert_eq!(parsed("D2755 0 a b.txt\n"), Ok(Line::Directory(entry)));
        assert_eq!(parsed("E\n"), Ok(Line::Leave));
        assert_eq!(
            parsed("T1700000000 0 1700000001 0\n"),
            Ok(Line::Times((1700000001, 1700000000)))
        );
        assert_eq!(parsed("\x01scp: no\n"), Ok(Line::Error));
    }

    #[test]
    fn lines_that_no_scp_sends() {
        for line in [
            "\n",
            "C\n",
            "C644 1 a\n",
            "C0644  1 a\n",
            "C0648 1 a\n",
            "C0644 -1 a\n",
            "C0644 1\n",
            "C0644 99999999999999999999 a\n",
            "C0644 9223372036854775808 a\n",
            "T1 0 2\n",
            "T1 0 2 0 \n",
            "X\n",
            " C0644 1 a\n",
            "\0C0644 1 a\n",
        ] {
            assert!(parsed(line).is_err(), "{line:?}");
        }
    }
}
