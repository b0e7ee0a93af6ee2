//! The reference of policies says what the code says.

use loggia_model::decision::Action;
use loggia_policy::{BUILTIN, PolicySet, SCHEMA};

const PAGE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/policies.md"));

#[test]
fn schema_builtin_policies_and_actions_stand_on_the_page() {
    assert!(PAGE.contains(SCHEMA), "docs/reference/policies.md has another schema");
    assert!(PAGE.contains(BUILTIN), "docs/reference/policies.md has other built-in policies");
    for (_, name, meaning) in Action::ALL {
        let row = format!("| `{name}` | {meaning} |");
        assert!(PAGE.contains(&row), "docs/reference/policies.md has no row\n{row}");
    }
}

#[test]
fn every_policy_in_the_documents_compiles() {
    let guide = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guides/policies.md"));
    let mut policies = 0;
    for (name, page) in [("policies.md", PAGE), ("guide", guide)] {
        for block in page.split("```cedar\n").skip(1) {
            let text = block.split("```").next().unwrap();
            if text == SCHEMA || text == BUILTIN {
                continue;
            }
            PolicySet::compile(&[("page.cedar", text)])
                .unwrap_or_else(|errors| panic!("{name}: {errors}\n{text}"));
            policies += 1;
        }
    }
    assert!(policies > 3, "the documents have lost their examples");
}
