//! Every crate says what it is, and links in the documents lead somewhere.

use std::collections::BTreeSet;

use super::{File, Finding};

/// Finds crates and binaries whose first line is not documentation (`//!`).
pub(crate) fn missing_crate_docs(manifests: &[&File], files: &[File]) -> Vec<Finding> {
    let folders = manifests.iter().filter_map(|file| file.path.strip_suffix("Cargo.toml"));
    let mut findings = Vec::new();
    for folder in folders {
        let roots = files.iter().filter(|file| {
            let inside = file.path.strip_prefix(folder).and_then(|rest| rest.strip_prefix("src/"));
            inside.is_some_and(|inside| match inside.strip_prefix("bin/") {
                Some(binary) => binary.ends_with(".rs") && !binary.contains('/'),
                None => inside == "lib.rs" || inside == "main.rs",
            })
        });
        for root in roots {
            if !root.text.starts_with("//!") {
                let message = "a crate begins with what it is: `//! ...` in the first line";
                findings.push(Finding::new(&root.path, 1, message));
            }
        }
    }
    findings
}

/// Finds links to files of the repository that are not there.
pub(crate) fn broken_links(path: &str, text: &str, known: &BTreeSet<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
            continue;
        }
        if in_code {
            continue;
        }
        for target in targets(&without_code(line)) {
            if !resolves(path, &target, known) {
                let message = format!("the link `{target}` leads nowhere");
                findings.push(Finding::new(path, index + 1, message));
            }
        }
    }
    findings
}

/// A line with what stands between backticks taken out.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("")
}

/// The link targets of a line: `[text](target)` and `[name]: target`.
fn targets(line: &str) -> Vec<String> {
    let inline = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let reference = line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]: "))
        .and_then(|(_, target)| target.split_whitespace().next());
    inline.chain(reference).map(ToString::to_string).collect()
}

/// Whether a target is elsewhere, or a file or folder that is there.
fn resolves(path: &str, target: &str, known: &BTreeSet<&str>) -> bool {
    let target = target.trim_matches(['<', '>']);
    let file = target.split('#').next().unwrap_or(target);
    if file.is_empty() || target.contains("://") || target.starts_with("mailto:") {
        return true;
    }
    let mut parts: Vec<&str> = match file.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => path.split('/').collect(),
    };
    parts.pop();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return false;
                }
            }
            part => parts.push(part),
        }
    }
    let wanted = parts.join("/");
    let folder = format!("{wanted}/");
    wanted.is_empty()
        || known.contains(wanted.as_str())
        || known.range(folder.as_str()..).next().is_some_and(|next| next.starts_with(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> Vec<usize> {
        let known = ["README.md", "docs/guides/psql.md", "crates/gate/src/lib.rs"].into();
        broken_links(path, text, &known).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn broken_links_are_found() {
        assert_eq!(broken("README.md", "one\n[x](docs/gone.md) and [y](README.md)\n"), [2]);
        assert_eq!(broken("docs/guides/psql.md", "[x](../../README.md#top) [y](../up.md)"), [1]);
        assert_eq!(broken("README.md", "[x]: gone.md \"title\""), [1]);
        assert_eq!(broken("README.md", "[x](../../outside.md)"), [1]);
    }

    #[test]
    fn whole_links_code_and_other_sites_pass() {
        let text = "[a](docs/guides/psql.md) [b](crates/gate) [c](#here) [d](https://example.com/x)\n\
                    `[e](gone.md)`\n```\n[f](gone.md)\n```\n[g]: ./README.md\n";
        assert_eq!(broken("README.md", text), [0; 0]);
    }

    #[test]
    fn a_crate_without_docs_is_found() {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let manifest = file("crates/gate/Cargo.toml", "");
        let files = [
            file("crates/gate/src/lib.rs", "pub mod x;\n"),
            file("crates/gate/src/bin/tool.rs", "//! A tool.\n"),
            file("crates/gate/src/x.rs", "\n"),
        ];
        let found = missing_crate_docs(&[&manifest], &files);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "crates/gate/src/lib.rs");
    }
}
