//! No file over 800 lines, no function over 70.

use super::Finding;
use super::source::{Source, body, closing, is_word, line_of, words};

/// The most lines that a file may have. 500 are wished.
pub(crate) const FILE_LINES: usize = 800;

/// The most lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES: usize = 70;

/// Finds what is too long; functions in tests may be.
pub(crate) fn check(path: &str, source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if source.lines > FILE_LINES {
        let message = format!(
            "a file of {} lines, {FILE_LINES} are allowed: split it by what it is about",
            source.lines
        );
        findings.push(Finding::new(path, source.lines, message));
    }
    let code = &source.code_without_tests;
    for start in words(code, "fn") {
        let Some(name) = function_name(code, start) else { continue };
        let Some(open) = body(code, start) else { continue };
        let first = line_of(code, start);
        let lines = line_of(code, closing(code, open)) - first + 1;
        if lines > FUNCTION_LINES {
            let message = format!(
                "`{name}` has {lines} lines, {FUNCTION_LINES} are allowed: give parts names"
            );
            findings.push(Finding::new(path, first, message));
        }
    }
    findings
}

/// The name behind `fn`, or `None` for a function pointer type.
fn function_name(code: &str, start: usize) -> Option<&str> {
    let rest = code.get(start + 2..)?.trim_start();
    let end = rest.bytes().position(|byte| !is_word(byte))?;
    rest.get(..end).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<Finding> {
        check(path, &Source::read(path, text))
    }

    fn function(lines: usize) -> String {
        format!(
            "pub async fn f(a: [u8; 2]) -> fn(u8) -> u8 {{\n{}}}\n",
            "    x();\n".repeat(lines - 2)
        )
    }

    #[test]
    fn a_function_over_the_limit_is_found() {
        assert_eq!(findings("a.rs", &function(FUNCTION_LINES)), []);
        let found = findings("a.rs", &format!("// one\n{}", function(FUNCTION_LINES + 1)));
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().starts_with("a.rs:2: `f` has 71 lines"), "{}", found[0]);
    }

    #[test]
    fn tests_may_be_long() {
        let text = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(200));
        assert_eq!(findings("a.rs", &text), []);
    }

    #[test]
    fn a_declaration_has_no_length() {
        let text =
            format!("trait T {{\n    fn a(&self);\n{}}}\n", "    const A: u8;\n".repeat(100));
        assert_eq!(findings("a.rs", &text), []);
    }

    #[test]
    fn a_file_over_the_limit_is_found() {
        assert_eq!(findings("a.rs", &"\n".repeat(FILE_LINES)), []);
        assert_eq!(findings("tests/a.rs", &"\n".repeat(FILE_LINES + 1)).len(), 1);
    }
}
