//! Exceptions from lints: each has a reason, and time, randomness and environment
//! are read only where the house allows it.

use super::Finding;
use super::source::{Source, closing, line_of};

/// Where clocks and environment may be read (invariant I2): the composition roots,
/// the test kit, the automation.
const MAY_READ_THE_WORLD: &[&str] =
    &["crates/server/", "crates/cli/", "crates/agent/", "crates/testkit/", "xtask/"];

/// Finds exceptions without a reason, and exceptions from the bans of clippy.toml
/// where nobody may have one.
pub(crate) fn check(path: &str, source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let code = &source.code;
    for opening in ["#[expect(", "#![expect(", "#[allow(", "#![allow("] {
        for (start, _) in code.match_indices(opening) {
            let attribute = code.get(start..closing(code, start + 1)).unwrap_or_default();
            let line = line_of(code, start);
            if !attribute.contains("reason") {
                let message = "an exception from a lint says its reason: reason = \"...\"";
                findings.push(Finding::new(path, line, message));
            }
            let in_test = source.code_without_tests.get(start..start + 1) != Some("#");
            if attribute.contains("disallowed_methods") && !in_test && !may_read_the_world(path) {
                let message = "time, randomness and environment are parameters here: they are \
                               read only in server, cli, agent, testkit and xtask";
                findings.push(Finding::new(path, line, message));
            }
        }
    }
    findings
}

fn may_read_the_world(path: &str) -> bool {
    MAY_READ_THE_WORLD.iter().any(|folder| path.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<usize> {
        check(path, &Source::read(path, text)).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn an_exception_without_a_reason_is_found() {
        let text = "#![allow(dead_code)]\nfn a() {}\n#[expect(\n    clippy::x,\n)]\nfn b() {}\n\
                    #[expect(clippy::x, reason = \"y [z]\")]\nfn c() {}\n// #[allow(x)]\n";
        assert_eq!(findings("crates/gate/src/lib.rs", text), [3, 1]);
    }

    #[test]
    fn reading_the_clock_in_a_pure_room_is_found() {
        let text = "#[expect(clippy::disallowed_methods, reason = \"I want to\")]\nfn now() {}\n\
                    #[cfg(test)]\nmod tests {\n    \
                    #[expect(clippy::disallowed_methods, reason = \"a test\")]\n    fn t() {}\n}\n";
        assert_eq!(findings("crates/gate/src/lib.rs", text), [1]);
        assert_eq!(findings("crates/server/src/lib.rs", text), [0; 0]);
    }
}
