//! The reference of the query language lists every field as the language has it.

use loggia_store::query::{FIELDS, parse};

const PAGE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/query-language.md"));

#[test]
fn every_field_stands_on_the_page() {
    for field in FIELDS {
        let row = format!("| `{}` | {} | `{}` |", field.name, field.values, field.example);
        assert!(PAGE.contains(&row), "docs/reference/query-language.md has no row\n{row}");
    }
    let rows = PAGE.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, FIELDS.len(), "the page has a row for a field that there is not");
}

#[test]
fn every_example_of_the_page_can_be_asked() {
    let examples = PAGE.split("## Examples").nth(1).unwrap();
    let block = examples.split("```").nth(1).unwrap();
    for query in block.lines().skip(1).filter(|line| !line.is_empty()) {
        parse(query, 0).unwrap_or_else(|error| panic!("{query}: {error}"));
    }
}
