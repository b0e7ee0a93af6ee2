//! The second tier of tests: drivers of other languages.
//!
//! `cargo xtask test --parts heavy` sets `LOGGIA_PARTS=heavy` for the tests, which
//! then also run what needs Go (pgx) or Java (pgjdbc). Here it is only checked
//! that the tool chains are there: each such test fetches its own driver with the
//! tool chain's ordinary client, into the cache that `LOGGIA_CACHE` names.

use std::path::Path;

use anyhow::{Result, bail};

use crate::repository::find_program;

/// A tool chain that heavy tests use.
struct ToolChain {
    language: &'static str,
    program: &'static str,
    package: &'static str,
}

const TOOL_CHAINS: &[ToolChain] = &[
    ToolChain { language: "Go (pgx)", program: "go", package: "golang-go" },
    ToolChain { language: "Java (pgjdbc)", program: "javac", package: "default-jdk-headless" },
    ToolChain { language: "Java (pgjdbc)", program: "mvn", package: "maven" },
];

/// Makes sure that the heavy tests have what they need. These are large, so they
/// are named and not installed.
pub(crate) fn prepare(cache: &Path) -> Result<()> {
    let missing: Vec<String> = TOOL_CHAINS
        .iter()
        .filter(|chain| find_program(chain.program).is_none())
        .map(|chain| {
            format!("{} for {} (Debian: {})", chain.program, chain.language, chain.package)
        })
        .collect();
    if !missing.is_empty() {
        bail!("`--parts heavy` needs what is not here: {}", missing.join(", "));
    }
    std::fs::create_dir_all(cache)?;
    eprintln!("      Go and Java are there; drivers are fetched into {}", cache.display());
    Ok(())
}
