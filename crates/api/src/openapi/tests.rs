//! The document holds the contract, and its committed copy equals it.

use super::*;
use crate::{audit, control, identity};

/// Every path that a module of the contract declares, read from its source.
fn declared(source: &str) -> Vec<&str> {
    let constants = source.lines().filter(|line| line.starts_with("pub const "));
    constants.filter_map(|line| line.split('"').nth(1)).filter(|it| it.starts_with('/')).collect()
}

#[test]
fn every_path_of_the_contract_stands_in_the_document() {
    let document = document();
    let known = |path: &str| document.paths.paths.contains_key(path);
    let sources = [
        include_str!("../audit.rs"),
        include_str!("../control.rs"),
        include_str!("../identity.rs"),
    ];
    let paths: Vec<&str> = sources.into_iter().flat_map(declared).collect();
    for one in [audit::SESSION_END, control::LOCK, identity::LOGIN] {
        assert!(paths.contains(&one), "the constants are not found in the source: {one}");
    }
    for path in paths {
        assert!(known(path), "{path} is not described");
    }
    assert!(known("/healthz") && known("/readyz"));
}

#[test]
fn every_route_has_a_description_and_says_how_it_fails() {
    let text = serde_json::to_value(document()).unwrap();
    for (path, methods) in text["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path}");
            assert!(operation["tags"].is_array(), "{method} {path}");
            let failure = &operation["responses"]["default"]["$ref"];
            assert_eq!(failure, "#/components/responses/Problem", "{method} {path}");
            let open = operation["security"] == serde_json::json!([{}]);
            assert_eq!(operation["responses"]["401"].is_null(), open, "{method} {path}");
        }
    }
    // Links of the source's own documentation lead nowhere in this one.
    assert!(!text.to_string().contains("[`"), "a description has a link into the source");
}

#[test]
fn the_committed_copy_is_this_document() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/openapi.json");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let now = document().to_pretty_json().unwrap() + "\n";
    assert!(
        committed == now,
        "docs/reference/openapi.json is behind the contract; write it anew with\n  \
         cargo run -q -p loggia-api --example openapi > docs/reference/openapi.json"
    );
}
