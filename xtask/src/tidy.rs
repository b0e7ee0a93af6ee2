//! The house rules that a program can check.
//!
//! Each rule is a pure function from paths and texts to findings, in a file of its
//! own, with tests that show it failing. What the compiler and clippy check is not
//! repeated here.

mod attributes;
mod documents;
mod events;
mod graph;
mod lengths;
mod source;
mod words;

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Result, bail};

use crate::repository;
use source::Source;

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    /// Counted from 1.
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_string(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// A text file of the repository.
#[derive(Debug)]
pub(crate) struct File {
    /// Relative to the root, with slashes.
    path: String,
    text: String,
}

/// Checks the whole repository.
pub(crate) fn run() -> Result<()> {
    let paths = repository::files()?;
    let files: Vec<File> = paths
        .iter()
        .filter_map(|path| {
            // What is not UTF-8 (corpora, pictures) has no text to check.
            let text = std::fs::read_to_string(repository::root().join(path)).ok()?;
            Some(File { path: path.clone(), text })
        })
        .collect();
    let findings = check(&paths, &files);
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings in {} files", findings.len(), files.len());
    }
    eprintln!("      tidy: {} files, nothing to complain about", files.len());
    Ok(())
}

/// Applies every rule; the findings are sorted by place.
fn check(paths: &[String], files: &[File]) -> BTreeSet<Finding> {
    let mut findings = BTreeSet::new();
    let known: BTreeSet<&str> = paths.iter().map(String::as_str).collect();
    let manifests: Vec<&File> = files.iter().filter(|file| is_manifest(&file.path)).collect();
    findings.extend(graph::check(&manifests));
    findings.extend(documents::missing_crate_docs(&manifests, files));
    for path in paths {
        findings.extend(words::banned_file_names(path));
    }
    for file in files {
        let (path, text) = (file.path.as_str(), file.text.as_str());
        if words::applies_to(path) {
            findings.extend(words::banned_words(path, text));
        }
        if path.ends_with(".md") {
            findings.extend(documents::broken_links(path, text, &known));
        }
    }
    let sources: Vec<(&str, Source)> = files
        .iter()
        .filter(|file| file.path.ends_with(".rs"))
        .map(|file| (file.path.as_str(), Source::read(&file.path, &file.text)))
        .collect();
    for (path, source) in &sources {
        findings.extend(lengths::check(path, source));
        findings.extend(attributes::check(path, source));
        findings.extend(words::banned_module_names(path, source));
    }
    findings.extend(events::check(files, &sources));
    findings
}

/// Whether this is the manifest of a workspace member.
fn is_manifest(path: &str) -> bool {
    path == "xtask/Cargo.toml" || (path.starts_with("crates/") && path.ends_with("/Cargo.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }

    #[test]
    fn every_rule_is_applied() {
        let manifest = "[package]\nname = \"loggia-gate\"\n[lints]\nworkspace = true\n\
                        [dependencies]\nloggia-ledger.workspace = true\n";
        let long = "x\n".repeat(lengths::FILE_LINES + 1);
        let unfinished =
            concat!("//! Docs.\n// TO", "DO: later\n#[allow(dead_code)]\nmod utils {}\n");
        let files = [
            file("crates/gate/Cargo.toml", manifest),
            file("crates/gate/src/lib.rs", unfinished),
            file("crates/gate/src/common.rs", &long),
            file("README.md", "[gone](gone.md)\n"),
        ];
        let paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
        let found: Vec<String> = check(&paths, &files).iter().map(ToString::to_string).collect();
        let all = found.join("\n");
        for part in [
            "README.md:1: the link `gone.md`",
            "crates/gate/Cargo.toml:6: loggia-gate (level 2) must not see loggia-ledger",
            "crates/gate/src/common.rs:1: nothing is called `common`",
            "crates/gate/src/common.rs:801: a file of 801 lines",
            "crates/gate/src/lib.rs:2: unfinished",
            "crates/gate/src/lib.rs:3: an exception from a lint says its reason",
            "crates/gate/src/lib.rs:4: nothing is called `utils`",
        ] {
            assert!(all.contains(part), "{part} is not in:\n{all}");
        }
        assert_eq!(found.len(), 7, "{all}");
    }
}
