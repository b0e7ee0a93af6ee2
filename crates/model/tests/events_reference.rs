//! The reference of events is the catalogue, and nothing else.

#[path = "../examples/events_md.rs"]
#[allow(dead_code, reason = "the example's own `main` is not called here")]
mod events_md;

#[test]
fn the_committed_page_is_the_catalogue() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/events.md");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == events_md::page().unwrap(),
        "docs/reference/events.md is behind the catalogue; write it anew with\n  \
         cargo run -q -p loggia-model --example events_md > docs/reference/events.md"
    );
}
