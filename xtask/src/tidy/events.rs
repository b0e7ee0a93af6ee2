//! The catalogue of events is closed and alive: each kind is recorded by somebody,
//! and the reference names it.

use super::source::{Source, words};
use super::{File, Finding};

/// Where the catalogue is.
const CATALOGUE: &str = "crates/model/src/catalogue.rs";

/// The page that describes every kind.
const REFERENCE: &str = "docs/reference/events.md";

/// Finds kinds that no code outside `model` names, and kinds that the reference,
/// where there is one, does not describe.
pub(crate) fn check(files: &[File], sources: &[(&str, Source)]) -> Vec<Finding> {
    let Some(catalogue) = files.iter().find(|file| file.path == CATALOGUE) else {
        return Vec::new();
    };
    let reference = files.iter().find(|file| file.path == REFERENCE);
    let others: Vec<&Source> = sources
        .iter()
        .filter(|(path, _)| path.starts_with("crates/") && !path.starts_with("crates/model/"))
        .map(|(_, source)| source)
        .collect();
    let mut findings = Vec::new();
    for kind in kinds(&catalogue.text) {
        let named =
            |source: &&Source| words(&source.code_without_tests, kind.name).next().is_some();
        if !others.iter().any(named) {
            let message = format!("nothing records `{}`: an event that never comes", kind.code);
            findings.push(Finding::new(CATALOGUE, kind.line, message));
        }
        if reference.is_some_and(|page| !page.text.contains(&format!("`{}`", kind.code))) {
            let message = format!("{REFERENCE} does not describe `{}`", kind.code);
            findings.push(Finding::new(CATALOGUE, kind.line, message));
        }
    }
    findings
}

/// An entry of the catalogue.
struct Kind<'a> {
    name: &'a str,
    code: &'a str,
    line: usize,
}

/// The entries: lines `Name = "code", "summary", ...` of the macro's call.
fn kinds(text: &str) -> impl Iterator<Item = Kind<'_>> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let (name, rest) = line.trim_start().split_once(" = \"")?;
        let (code, rest) = rest.split_once('"')?;
        let is_name = name.starts_with(|first: char| first.is_ascii_uppercase())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_entry = is_name && code.contains('.') && rest.starts_with(',');
        is_entry.then_some(Kind { name, code, line: index + 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(code: &str, reference: &str) -> Vec<String> {
        let catalogue = "catalogue! {\n    NodeBoot = \"node.boot\", \"It starts.\", [],\n    \
                         SqlFetch = \"sql.fetch\",\n        \"More rows.\", [],\n}\n";
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let files = [file(CATALOGUE, catalogue), file(REFERENCE, reference)];
        let path = "crates/ledger/src/lib.rs";
        let sources = [
            (path, Source::read(path, code)),
            (CATALOGUE, Source::read(CATALOGUE, "fn f() { Kind::NodeBoot; Kind::SqlFetch; }")),
        ];
        check(&files, &sources).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_kind_that_nobody_records_is_found() {
        let both = "`node.boot` `sql.fetch`";
        assert_eq!(found("fn f() { Kind::NodeBoot; Kind::SqlFetch; }", both), [""; 0]);
        let one = found("fn f() { Kind::NodeBoot; }\n#[test]\nfn t() { Kind::SqlFetch; }", both);
        assert_eq!(one.len(), 1);
        assert!(one[0].contains("catalogue.rs:3: nothing records `sql.fetch`"), "{one:?}");
    }

    #[test]
    fn a_kind_that_the_reference_leaves_out_is_found() {
        let found = found("fn f() { Kind::NodeBoot; Kind::SqlFetch; }", "`node.boot` sql.fetch");
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("does not describe `sql.fetch`"), "{found:?}");
    }
}
