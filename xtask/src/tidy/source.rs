//! Rust source made searchable: comments and literals blanked, tests marked.
//!
//! Not a parser. It knows just enough of the language to tell code from text, and
//! keeps every line where it was.

/// A Rust file.
#[derive(Debug)]
pub(crate) struct Source {
    /// How many lines the file has.
    pub(crate) lines: usize,
    /// The code with comments, strings and character literals blanked.
    pub(crate) code: String,
    /// The same, with test modules and test functions blanked too.
    pub(crate) code_without_tests: String,
}

impl Source {
    /// Reads a file; everything in a file of tests counts as test.
    pub(crate) fn read(path: &str, text: &str) -> Self {
        let code = blank_text(text);
        let code_without_tests =
            if is_test_path(path) { String::new() } else { blank_tests(&code) };
        Self { lines: text.lines().count(), code, code_without_tests }
    }
}

/// Whether a file holds nothing of the product (tests, examples), by its path.
fn is_test_path(path: &str) -> bool {
    let test_folder = |part| ["tests", "benches", "examples", "fuzz"].contains(&part);
    path.ends_with("/tests.rs") || path.split('/').any(test_folder)
}

/// The line, counted from 1, of a byte position.
pub(crate) fn line_of(text: &str, position: usize) -> usize {
    text.bytes().take(position).filter(|&byte| byte == b'\n').count() + 1
}

/// Whether a byte can be part of an identifier.
pub(crate) fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

/// The positions of `word` where it is not part of a longer word.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(position, _)| position).filter(move |&position| {
        let bytes = text.as_bytes();
        let before = position.checked_sub(1).and_then(|at| bytes.get(at));
        let after = bytes.get(position + word.len());
        !before.is_some_and(|&byte| is_word(byte)) && !after.is_some_and(|&byte| is_word(byte))
    })
}

/// The position behind the bracket that closes the one at `open`; the end of the
/// text when none does.
pub(crate) fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (position, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return position + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// Where the body of the item at `start` opens, or `None` when the item ends with
/// a semicolon.
pub(crate) fn body(code: &str, start: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (position, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'{' if depth == 0 => return Some(position),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Replaces comments and literals by spaces.
fn blank_text(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let after_word = out.last().is_some_and(|&byte| is_word(byte));
        let length = opaque(rest, after_word);
        if length == 0 {
            out.extend(rest.first());
            at += 1;
            continue;
        }
        out.extend(rest.iter().take(length).map(|&byte| if byte == b'\n' { byte } else { b' ' }));
        at += length;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Replaces items behind `#[cfg(test)]` and test attributes by spaces.
fn blank_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    for attribute in ["#[cfg(test)]", "#[cfg(all(test", "#[test]", "#[tokio::test"] {
        for (start, _) in code.match_indices(attribute) {
            let after = closing(code, start + 1);
            let Some(open) = body(code, after) else { continue };
            let end = closing(code, open);
            for byte in out.iter_mut().take(end).skip(start).filter(|byte| **byte != b'\n') {
                *byte = b' ';
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The length of the comment or literal that `rest` starts with, 0 for code.
fn opaque(rest: &[u8], after_word: bool) -> usize {
    if rest.starts_with(b"//") {
        return rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return block_comment(rest);
    }
    if rest.starts_with(b"\"") {
        return quoted(rest, 0);
    }
    if rest.starts_with(b"'") {
        return character(rest);
    }
    if after_word {
        return 0;
    }
    // What may stand before a quote: b, c, r, br, cr, and hashes for raw strings.
    let prefix = rest.iter().take_while(|byte| b"bcr".contains(byte)).take(2).count();
    let raw = rest.iter().take(prefix).any(|&byte| byte == b'r');
    let hashes = rest.iter().skip(prefix).take_while(|&&byte| byte == b'#').count();
    match rest.get(prefix + if raw { hashes } else { 0 }) {
        Some(b'"') if prefix > 0 && raw => raw_string(rest, prefix + hashes, hashes),
        Some(b'"') if prefix == 1 => quoted(rest, prefix),
        Some(b'\'') if rest.starts_with(b"b'") => 1 + character(rest.get(1..).unwrap_or_default()),
        _ => 0,
    }
}

/// The length of a block comment; they nest.
fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0usize, 0usize);
    while let Some(pair) = rest.get(at..at + 2) {
        match pair {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth.saturating_sub(1), at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// The length of a string whose opening quote is at `open`.
fn quoted(rest: &[u8], open: usize) -> usize {
    let mut escaped = false;
    for (position, byte) in rest.iter().enumerate().skip(open + 1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return position + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a raw string whose opening quote is at `open`.
fn raw_string(rest: &[u8], open: usize, hashes: usize) -> usize {
    let mut end = vec![b'"'];
    end.resize(hashes + 1, b'#');
    let inside = rest.get(open + 1..).unwrap_or_default();
    match inside.windows(end.len()).position(|window| window == end) {
        Some(position) => open + 1 + position + end.len(),
        None => rest.len(),
    }
}

/// The length of a character literal, 0 for a lifetime.
fn character(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        let close = rest.iter().skip(3).position(|&byte| byte == b'\'');
        return close.map_or(rest.len(), |position| position + 4);
    }
    // A character of UTF-8 is at most four bytes long.
    let close = (2..=5).find(|&at| rest.get(at) == Some(&b'\''));
    match close {
        Some(2) => 3,
        Some(at) if rest.get(1).is_some_and(|byte| !byte.is_ascii()) => at + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_comments_and_literals_only() {
        let text = "let a = \"fn x() { \\\" }\"; // fn y()\nlet b = r#\"}\"#; /* { /* } */ { */ let c = b'{';\n\
                    let d: &'static str = 'x'; let e = '\\''; let r#fn = br##\"\"#\"##; let f = 'é';";
        let code = blank_text(text);
        assert_eq!(code.lines().count(), text.lines().count());
        for gone in ["fn x", "fn y", "{", "}", "'x'", "\"", "é"] {
            assert!(!code.contains(gone), "{gone} is in {code}");
        }
        for kept in ["let a", "let b", "let c", "&'static str", "let e =", "r#fn", "let f"] {
            assert!(code.contains(kept), "{kept} is not in {code}");
        }
    }

    #[test]
    fn blanks_tests() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\nfn c() {}\n\
                    #[test]\n#[ignore]\nfn d() { { } }\nfn e() {}\n";
        let code = Source::read("crates/gate/src/lib.rs", text).code_without_tests;
        for (name, there) in [("a", true), ("b", false), ("c", true), ("d", false), ("e", true)] {
            assert_eq!(code.contains(&format!("fn {name}")), there, "{name} in {code}");
        }
        assert_eq!(Source::read("tests/whole.rs", text).code_without_tests, "");
        assert_eq!(Source::read("crates/gate/src/relay/tests.rs", text).code_without_tests, "");
    }

    #[test]
    fn finds_whole_words() {
        assert_eq!(words("fn fnord _fn fn", "fn").collect::<Vec<_>>(), [0, 13]);
    }
}
