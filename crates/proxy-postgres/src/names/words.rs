//! What the text of a statement may do to names.
//!
//! A name made by SQL (`PREPARE`, `DECLARE … CURSOR`, a cursor variable in a function) must never
//! be taken for the one that a Parse or Bind made. Names can be freed unseen (in a function), but
//! they are dangerous only once SQL makes them anew; so this looks for what makes names, and for
//! what runs text that is not there to be looked at (`EXECUTE`, `DO`, `CALL`).
//!
//! It errs on one side only. It looks for words anywhere in the text, in strings and comments too,
//! because what counts as a string depends on settings that the session can change. Only a text
//! that is in its entirety a plain `PREPARE name AS …` or `EXECUTE name …` is read more closely.
//! The price of a false alarm is an execution that is recorded as unresolved, with its name.
//!
//! Out of reach without analysis: a function that was made in another session, called by a plain
//! `SELECT` (or by a trigger, a view, an operator), and prepares a statement or opens a cursor under
//! a name that this session used before. To doubt names behind every call would leave few of them,
//! and would still not see what calls without a word; so this is said of the record instead.
//! Once a session may have made functions itself, any of its statements may run them: from then on
//! no name keeps its meaning beyond the next statement.

/// Which names a statement may have made when it has run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Touches {
    /// None.
    #[default]
    Nothing,
    /// The prepared statement of this name.
    Statement(Vec<u8>),
    /// Any portal.
    Portals,
    /// Any name at all.
    Everything,
}

/// Whether a text may begin a COPY that the client sends data for. (`COPY t FROM STDOUT` is one
/// too.) Looks for less than the words, so that nothing can hide them.
pub fn may_copy(text: &[u8]) -> bool {
    let holds = |wanted: &[u8], first: [u8; 2]| {
        let [lower, upper] = first;
        memchr::memchr2_iter(lower, upper, text).any(|at| {
            let found = text.get(at..at + wanted.len());
            found.is_some_and(|found| found.eq_ignore_ascii_case(wanted))
        })
    };
    holds(b"copy", *b"cC") && holds(b"std", *b"sS")
}

/// Whether a text may leave behind code that a later statement can run without a word of it: a
/// function that it defines itself.
pub fn defines_code(text: &[u8]) -> bool {
    let (mut makes, mut code) = (false, false);
    let mut rest = text;
    while let Some((word, behind)) = next_word(rest) {
        rest = behind;
        // Most words begin with another letter.
        if !matches!(
            word,
            [b'A' | b'C' | b'E' | b'F' | b'P' | b'R', ..]
                | [b'a' | b'c' | b'e' | b'f' | b'p' | b'r', ..]
        ) {
            continue;
        }
        let is = |known: &&str| word.eq_ignore_ascii_case(known.as_bytes());
        makes |= ["CREATE", "ALTER"].iter().any(&is);
        code |= ["FUNCTION", "PROCEDURE", "ROUTINE", "EXTENSION"].iter().any(is);
    }
    makes && code
}

/// Words after which names may have been made.
const WORDS: &[&str] = &["PREPARE", "EXECUTE", "DECLARE", "OPEN", "CALL", "DO"];

/// What a text may do to names.
pub fn touches(text: &[u8]) -> Touches {
    let mut touches = Touches::Nothing;
    let mut words = Words { text, at: 0 };
    while let Some((word, at)) = words.next() {
        match word {
            // INSERT … ON CONFLICT DO NOTHING/UPDATE, CREATE RULE … DO ALSO/INSTEAD.
            "DO" if followed_by(text, at + 2, &["NOTHING", "UPDATE", "ALSO", "INSTEAD"]) => {}
            "DECLARE" | "OPEN" => touches = Touches::Portals,
            "PREPARE" if followed_by(text, at + 7, &["TRANSACTION"]) => {}
            "PREPARE" | "EXECUTE" => return plain(text).unwrap_or(Touches::Everything),
            _ => return Touches::Everything,
        }
    }
    touches
}

/// Finds [`WORDS`] that stand alone, in upper or lower case.
struct Words<'a> {
    text: &'a [u8],
    at: usize,
}

impl Words<'_> {
    fn next(&mut self) -> Option<(&'static str, usize)> {
        let mut rest = self.text.get(self.at..)?;
        while let Some((word, behind)) = next_word(rest) {
            rest = behind;
            let known = match word.len() {
                2 | 4 | 7 => WORDS.iter().find(|known| word.eq_ignore_ascii_case(known.as_bytes())),
                _ => None,
            };
            if let Some(known) = known {
                self.at = self.text.len() - behind.len();
                return Some((known, self.at - word.len()));
            }
        }
        self.at = self.text.len();
        None
    }
}

/// The next word, and what stands behind it.
fn next_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let begin = text.iter().position(|byte| is_part_of_word(*byte))?;
    let text = text.get(begin..)?;
    let length = text.iter().position(|byte| !is_part_of_word(*byte)).unwrap_or(text.len());
    text.split_at_checked(length)
}

/// Letters, digits, `_`, and every byte beyond ASCII. `$` is not: `$do$` must not hide a word.
fn is_part_of_word(byte: u8) -> bool {
    const PARTS: [bool; 256] = {
        let mut parts = [false; 256];
        let mut slots: &mut [bool] = &mut parts;
        let mut byte = 0u8;
        while let [slot, rest @ ..] = slots {
            *slot = byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
            slots = rest;
            byte = byte.wrapping_add(1);
        }
        parts
    };
    PARTS.get(usize::from(byte)).copied().unwrap_or(true)
}

/// Whether the next word, behind white space alone, is one of these.
fn followed_by(text: &[u8], at: usize, words: &[&str]) -> bool {
    let rest = text.get(at..).unwrap_or_default().trim_ascii_start();
    let length = rest.iter().take_while(|byte| is_part_of_word(**byte)).count();
    let next = rest.get(..length).unwrap_or_default();
    words.iter().any(|word| next.eq_ignore_ascii_case(word.as_bytes()))
}

/// Reads a text that is one plain `PREPARE name …` or `EXECUTE name …`: one statement, no other
/// of the words, nothing that could be a comment or a second statement.
fn plain(text: &[u8]) -> Option<Touches> {
    let text = text.trim_ascii();
    let text = text.strip_suffix(b";").unwrap_or(text).trim_ascii_end();
    let verb = text.get(..7)?;
    let rest = text.get(7..)?;
    let alone = Words { text: rest, at: 0 }.next().is_none();
    let one = !rest.contains(&b';') && !contains(rest, b"--") && !contains(rest, b"/*");
    if !alone || !one || !rest.first().is_some_and(u8::is_ascii_whitespace) {
        return None;
    }
    if verb.eq_ignore_ascii_case(b"EXECUTE") {
        return Some(Touches::Nothing);
    }
    if !verb.eq_ignore_ascii_case(b"PREPARE") {
        return None;
    }
    let rest = rest.trim_ascii_start();
    match rest.strip_prefix(b"\"") {
        Some(quoted) => {
            let end = quoted.iter().position(|byte| *byte == b'"')?;
            let after = quoted.get(end + 1..)?;
            // `""` in a quoted name stands for one quote; such a name is not read.
            let name = quoted.get(..end)?;
            (after.first() != Some(&b'"')).then(|| Touches::Statement(name.to_vec()))
        }
        None => {
            let end = rest.iter().take_while(|byte| is_part_of_word(**byte)).count();
            let name = rest.get(..end).filter(|name| name.is_ascii() && !name.is_empty())?;
            // `U&"…"` and names with `$` are not read.
            let after = rest.get(end)?;
            let ends = after.is_ascii_whitespace() || *after == b'(';
            ends.then(|| Touches::Statement(name.to_ascii_lowercase()))
        }
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same looks, plainly: every word, every place.
    fn plainly(text: &[u8]) -> (Vec<&'static str>, bool, bool) {
        let part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        let words: Vec<Vec<u8>> =
            text.split(|byte| !part(*byte)).map(<[u8]>::to_ascii_uppercase).collect();
        let known = |word: &Vec<u8>| WORDS.iter().find(|known| known.as_bytes() == word).copied();
        let any = |wanted: &[&str]| words.iter().any(|w| wanted.iter().any(|k| k.as_bytes() == w));
        let code =
            any(&["CREATE", "ALTER"]) && any(&["FUNCTION", "PROCEDURE", "ROUTINE", "EXTENSION"]);
        let upper = text.to_ascii_uppercase();
        let copies = contains(&upper, b"COPY") && contains(&upper, b"STD");
        (words.iter().filter_map(known).collect(), code, copies)
    }

    proptest::proptest! {
        #[test]
        fn no_word_escapes_the_quick_look(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "prepare", "EXECUTE", "Do", "call", "open", "declare", "create", "ALTER",
                    "function", "Procedure", "routine", "extension", "copy", "STD", "s", "x",
                    " ", "_", "$", "\n", ";", "9", "\u{e9}", "\"",
                ]),
                0..12,
            )
        ) {
            let text = pieces.concat();
            let text = text.as_bytes();
            let mut words = Words { text, at: 0 };
            let found = std::iter::from_fn(|| words.next()).map(|(word, at)| {
                assert!(text[at..].to_ascii_uppercase().starts_with(word.as_bytes()));
                word
            });
            let found: Vec<_> = found.collect();
            proptest::prop_assert_eq!((found, defines_code(text), may_copy(text)), plainly(text));
        }
    }

    fn touched(text: &str) -> Touches {
        touches(text.as_bytes())
    }

    fn statement(name: &str) -> Touches {
        Touches::Statement(name.as_bytes().to_vec())
    }

    #[test]
    fn ordinary_statements_touch_no_names() {
        for text in [
            "select 1",
            "insert into t values ($1) on conflict do nothing",
            "insert into t values ($1) on conflict (a) DO\n UPDATE set a = 2",
            "DEALLOCATE S_1",
            "discard all",
            "select * from prepared_things where dodo = 'x' and my_call = 3",
            "PREPARE TRANSACTION 'x'",
            "execute s1(1, 'a')",
            "",
        ] {
            assert_eq!(touched(text), Touches::Nothing, "{text}");
        }
    }

    #[test]
    fn what_may_copy_or_leave_code_behind_is_seen() {
        for text in ["copy t from stdin", "COPY/**/t from STDOUT", "select 1;cOpY t from stdin"] {
            assert!(may_copy(text.as_bytes()), "{text}");
        }
        assert!(!may_copy(b"copy t from '/tmp/x'") && !may_copy(b"select 1"));
        for text in ["create function f()", "CREATE/**/OR REPLACE\nProcedure p", "alter routine r"]
        {
            assert!(defines_code(text.as_bytes()), "{text}");
        }
        assert!(!defines_code(b"create table functions (a int)"));
    }

    #[test]
    fn a_plain_prepare_touches_its_name_alone() {
        assert_eq!(touched("prepare S1 as select 1"), statement("s1"));
        assert_eq!(touched(" PREPARE\n\"S_1\" (int) AS select $1 ; "), statement("S_1"));
        assert_eq!(touched("PREPARE s(int) as delete from t"), statement("s"));
    }

    #[test]
    fn whatever_could_hide_a_name_touches_everything() {
        for text in [
            "prepare/**/s1 as select 1",
            "prepare \"a\"\"b\" as select 1",
            "prepare U&\"\\0061\" as select 1",
            "prepare a$b as select 1",
            "prepare a as select 1; prepare b as select 2",
            "prepare a as select 1 -- \n; select 2",
            "select 1; prepare a as select 1",
            "do $$ begin execute 'x'; end $$",
            "DO E'\\x45XECUTE'",
            "DO/**/NOTHING",
            "call p()",
            "$do$ x",
            "create function f() returns void language plpgsql as 'begin execute x; end'",
            "'; prepare a as select 1; --",
        ] {
            assert_eq!(touched(text), Touches::Everything, "{text}");
        }
    }

    #[test]
    fn cursors_touch_portals() {
        assert_eq!(touched("declare c cursor for select 1"), Touches::Portals);
        assert_eq!(touched("begin; DECLARE \"p1\" CURSOR FOR SELECT 1"), Touches::Portals);
        assert_eq!(touched("declare c cursor for select 1; call p()"), Touches::Everything);
    }
}
