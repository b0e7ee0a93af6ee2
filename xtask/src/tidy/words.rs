//! Names that say nothing, work that is not done, and traces of one machine.

use super::Finding;
use super::source::{Source, is_word, line_of, words};

/// A room needs a name that says what is in it.
const BANNED_NAMES: &[&str] =
    &["common", "core", "util", "utils", "helper", "helpers", "misc", "v2"];

/// What marks unfinished work. Written in two parts, so that this file passes.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
];

/// Folders that exist on somebody's machine only.
const MACHINE_FOLDERS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];

/// Who or what wrote a line is not part of what it says.
const WRITERS: &[&str] = &[
    concat!("clau", "de"),
    concat!("anthro", "pic"),
    concat!("chat", "gpt"),
    concat!("open", "ai"),
    concat!("copi", "lot"),
];

/// Files with text that people wrote.
const EXTENSIONS: &[&str] =
    &["rs", "md", "toml", "sh", "py", "go", "java", "sql", "cedar", "yml", "yaml", "txt"];

/// Whether the words of this file are checked.
pub(crate) fn applies_to(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    extension.is_none_or(|extension| EXTENSIONS.contains(&extension))
        && !path.split('/').any(|part| part == "corpus")
}

/// Finds marks of unfinished work, absolute paths of a machine, and writers' names.
pub(crate) fn banned_words(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |position, message: String| {
        findings.push(Finding::new(path, line_of(text, position), message));
    };
    for word in UNFINISHED {
        // A mark that ends with `!` has no word boundary behind it.
        let bare = word.trim_end_matches('!');
        for position in words(text, bare) {
            if text.get(position..).is_some_and(|rest| rest.starts_with(word)) {
                found(position, format!("unfinished: `{word}`; finish it or leave it out"));
            }
        }
    }
    for folder in MACHINE_FOLDERS {
        for (position, _) in text.match_indices(folder) {
            let before = position.checked_sub(1).and_then(|at| text.as_bytes().get(at));
            if !before.is_some_and(|&byte| is_word(byte) || b".~}-/*".contains(&byte)) {
                found(position, format!("`{folder}` is a folder of somebody's machine"));
            }
        }
    }
    let lower = text.to_ascii_lowercase();
    for name in WRITERS {
        for position in words(&lower, name) {
            found(position, format!("`{name}` has no place in the text"));
        }
    }
    findings
}

/// Finds folders and files with a name that says nothing.
pub(crate) fn banned_file_names(path: &str) -> Vec<Finding> {
    path.split('/')
        .map(|part| part.split('.').next().unwrap_or(part))
        .filter(|part| BANNED_NAMES.contains(part))
        .map(|part| Finding::new(path, 1, nothing_is_called(part)))
        .collect()
}

/// Finds modules with a name that says nothing.
pub(crate) fn banned_module_names(path: &str, source: &Source) -> Vec<Finding> {
    let code = &source.code;
    words(code, "mod")
        .filter_map(|position| {
            let rest = code.get(position + 3..)?.trim_start();
            let end = rest.bytes().position(|byte| !is_word(byte))?;
            let name = rest.get(..end).filter(|name| BANNED_NAMES.contains(name))?;
            Some(Finding::new(path, line_of(code, position), nothing_is_called(name)))
        })
        .collect()
}

fn nothing_is_called(name: &str) -> String {
    format!("nothing is called `{name}` here: say what is in it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<usize> {
        banned_words("a.rs", text).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn unfinished_work_is_found() {
        for mark in UNFINISHED {
            assert_eq!(found(&format!("fine\n// {mark}: x\n")), [2], "{mark}");
            assert_eq!(found(&format!("A{}A", mark.trim_end_matches('!'))), [0; 0], "{mark}");
        }
        assert_eq!(found("a todo list; unimplemented"), [0; 0]);
    }

    #[test]
    fn machine_paths_are_found() {
        for folder in MACHINE_FOLDERS {
            assert_eq!(found(&format!("let x = \"{folder}x\";")), [1], "{folder}");
            assert_eq!(found(&format!("see https://example.com{folder}")), [0; 0], "{folder}");
        }
        assert_eq!(found("~/.cache {folder}/work.txt rework/it"), [0; 0]);
    }

    #[test]
    fn writers_are_found() {
        for name in WRITERS {
            assert_eq!(found(&name.to_uppercase()), [1], "{name}");
        }
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        for name in BANNED_NAMES {
            assert_eq!(banned_file_names(&format!("crates/{name}/src/lib.rs")).len(), 1, "{name}");
            assert_eq!(banned_file_names(&format!("crates/gate/src/{name}.rs")).len(), 1, "{name}");
            let text = format!("fn a() {{}}\npub(crate) mod {name};\n");
            let source = Source::read("a.rs", &text);
            assert_eq!(banned_module_names("a.rs", &source).len(), 1, "{name}");
        }
        assert_eq!(banned_file_names("crates/score/src/encore.rs"), []);
    }

    #[test]
    fn corpora_and_locks_are_not_read() {
        assert!(applies_to("crates/gate/src/lib.rs"));
        assert!(applies_to(".ci/run"));
        assert!(!applies_to("fuzz/corpus/codec/a.txt"));
        assert!(!applies_to("Cargo.lock"));
    }
}
