//! The levels of the crate graph: a crate sees only lower levels.

use super::{File, Finding};

/// The level of what composes everything: only these name implementations.
const IMPLEMENTATION: u8 = 3;

/// The rooms of the house by level. A crate that is not here has no place yet.
const LEVELS: &[(&str, u8)] = &[
    ("model", 0),
    ("tlog", 0),
    ("policy", 1),
    ("verify", 1),
    ("api", 1),
    ("gate", 2),
    ("client", 2),
    ("identity", IMPLEMENTATION),
    ("ledger", IMPLEMENTATION),
    ("recordings", IMPLEMENTATION),
    ("store", IMPLEMENTATION),
    ("detect", IMPLEMENTATION),
    ("notify", IMPLEMENTATION),
    ("intake", IMPLEMENTATION),
    ("export", IMPLEMENTATION),
    ("control", IMPLEMENTATION),
    ("sensor", IMPLEMENTATION),
    ("server", 4),
    ("agent", 5),
    ("cli", 5),
    (TESTKIT, 5),
];

/// The test kit: a dev-dependency of everything, a dependency of nothing.
const TESTKIT: &str = "testkit";

fn level(room: &str) -> Option<u8> {
    if room.starts_with("proxy-") {
        return Some(IMPLEMENTATION);
    }
    LEVELS.iter().find(|(name, _)| *name == room).map(|(_, level)| *level)
}

/// Checks the manifests of all members.
pub(crate) fn check(manifests: &[&File]) -> Vec<Finding> {
    manifests.iter().flat_map(|file| check_manifest(&file.path, &file.text)).collect()
}

fn check_manifest(path: &str, text: &str) -> Vec<Finding> {
    let manifest: toml::Table = match text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![Finding::new(path, 1, format!("not TOML: {error}"))],
    };
    let mut findings = Vec::new();
    let lints = manifest.get("lints").and_then(|lints| lints.get("workspace"));
    if lints.and_then(toml::Value::as_bool) != Some(true) {
        let message = "the workspace's lints hold everywhere: [lints] workspace = true";
        findings.push(Finding::new(path, 1, message));
    }
    let name = manifest.get("package").and_then(|package| package.get("name"));
    let name = name.and_then(toml::Value::as_str).unwrap_or_default();
    if path == "xtask/Cargo.toml" {
        let message =
            |dependency| format!("xtask is built first and sees no crate of ours: {dependency}");
        let ours = ours(&manifest).into_iter();
        findings.extend(
            ours.map(|(_, room)| {
                Finding::new(path, line_of_dependency(text, &room), message(room))
            }),
        );
        return findings;
    }
    let folder = path.strip_prefix("crates/").and_then(|rest| rest.split('/').next());
    let folder = folder.unwrap_or_default();
    if name != format!("loggia-{folder}") {
        let message = format!("folder = crate: the package of {folder} is loggia-{folder}");
        findings.push(Finding::new(path, 1, message));
    }
    let Some(own_level) = level(folder) else {
        let message = format!("`{folder}` has no level: give it one in xtask/src/tidy/graph.rs");
        findings.push(Finding::new(path, 1, message));
        return findings;
    };
    for (kind, room) in ours(&manifest) {
        if let Some(message) = edge(folder, own_level, kind, &room) {
            findings.push(Finding::new(path, line_of_dependency(text, &room), message));
        }
    }
    findings
}

/// What is wrong with the edge from `folder` to `room`, if anything.
fn edge(folder: &str, own_level: u8, kind: Kind, room: &str) -> Option<String> {
    if room == TESTKIT {
        let message = "loggia-testkit is a dev-dependency, never part of the product";
        return (kind == Kind::Normal).then(|| message.to_string());
    }
    let Some(their_level) = level(room) else {
        return Some(format!("loggia-{room} has no level: give it one in xtask/src/tidy/graph.rs"));
    };
    if their_level < own_level {
        return None;
    }
    let why = match (own_level, their_level) {
        (IMPLEMENTATION, IMPLEMENTATION) => {
            "crates of this level meet as events, through ports, or in server"
        }
        (_, IMPLEMENTATION) => "only server, cli and agent name implementations",
        _ => "a crate sees only lower levels",
    };
    Some(format!(
        "loggia-{folder} (level {own_level}) must not see loggia-{room} (level {their_level}): {why}"
    ))
}

/// How a dependency is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Part of what is built, or of building it.
    Normal,
    /// For tests only.
    Dev,
}

/// The rooms of ours that a manifest names.
fn ours(manifest: &toml::Table) -> Vec<(Kind, String)> {
    let mut found = Vec::new();
    let tables = std::iter::once(manifest).chain(
        manifest
            .get("target")
            .and_then(toml::Value::as_table)
            .into_iter()
            .flat_map(|targets| targets.values().filter_map(toml::Value::as_table)),
    );
    for table in tables {
        for (section, kind) in [
            ("dependencies", Kind::Normal),
            ("build-dependencies", Kind::Normal),
            ("dev-dependencies", Kind::Dev),
        ] {
            let dependencies = table.get(section).and_then(toml::Value::as_table);
            for (key, value) in dependencies.into_iter().flatten() {
                let package = value.get("package").and_then(toml::Value::as_str).unwrap_or(key);
                if let Some(room) = package.strip_prefix("loggia-") {
                    found.push((kind, room.to_string()));
                }
            }
        }
    }
    found
}

/// The line of a manifest that names a room of ours.
fn line_of_dependency(text: &str, room: &str) -> usize {
    let name = format!("loggia-{room}");
    let names = |line: &str| {
        let key = line.trim_start();
        let behind = key.strip_prefix(name.as_str()).map(|rest| rest.trim_start_matches('"'));
        behind.is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
    };
    text.lines().position(names).map_or(1, |position| position + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(folder: &str, dependencies: &str) -> Vec<String> {
        let text = format!(
            "[package]\nname = \"loggia-{folder}\"\n[lints]\nworkspace = true\n{dependencies}"
        );
        check_manifest(&format!("crates/{folder}/Cargo.toml"), &text)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn lower_levels_are_fine() {
        let server =
            "[dependencies]\nloggia-ledger.workspace = true\nloggia-model.workspace = true\n";
        assert_eq!(findings("server", server), [""; 0]);
        let gate = "[dependencies]\nloggia-policy.workspace = true\n[dev-dependencies]\n\
                    loggia-testkit.workspace = true\n";
        assert_eq!(findings("gate", gate), [""; 0]);
    }

    #[test]
    fn siblings_and_upward_edges_are_found() {
        let expect = |folder: &str, dependencies: &str, part: &str| {
            let found = findings(folder, dependencies).join("\n");
            assert!(found.contains(part), "{part} is not in `{found}`");
        };
        expect("store", "[dependencies]\nloggia-ledger.workspace = true\n", "meet as events");
        expect(
            "proxy-ssh",
            "[dev-dependencies]\nloggia-identity.workspace = true\n",
            "meet as events",
        );
        expect("gate", "[dependencies]\nloggia-ledger.workspace = true\n", "name implementations");
        expect("tlog", "[dependencies]\nloggia-model.workspace = true\n", "only lower levels");
        expect("verify", "[dependencies]\nloggia-api.workspace = true\n", "Cargo.toml:6: ");
        expect("api", "[dependencies]\nshort = { package = \"loggia-gate\" }\n", "lower levels");
        expect(
            "ledger",
            "[target.'cfg(unix)'.dependencies]\nloggia-store.workspace = true\n",
            "meet",
        );
        expect("server", "[dependencies]\nloggia-testkit.workspace = true\n", "dev-dependency");
        expect("attic", "", "has no level");
        expect("gate", "[dependencies]\nloggia-attic.workspace = true\n", "has no level");
    }

    #[test]
    fn names_and_lints_are_checked() {
        let found = check_manifest("crates/gate/Cargo.toml", "[package]\nname = \"gate\"\n");
        let text: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(text.join("\n").contains("[lints] workspace = true"), "{text:?}");
        assert!(text.join("\n").contains("loggia-gate"), "{text:?}");
        let xtask = "[package]\nname = \"xtask\"\n[lints]\nworkspace = true\n[dependencies]\n\
                     loggia-model.workspace = true\n";
        assert_eq!(check_manifest("xtask/Cargo.toml", xtask).len(), 1);
    }
}
