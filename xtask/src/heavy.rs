//! The second tier of tests: drivers of other languages.
//!
//! `cargo xtask test --parts heavy` sets `LOGGIA_PARTS=heavy` for the tests, which
//! then also run what needs Go (pgx) or Java (pgjdbc). Here it is only looked
//! whether the tool chains are there: each such test fetches its own driver with the
//! tool chain's ordinary client, into the cache that `LOGGIA_CACHE` names, and is
//! skipped with a loud line where its tool chain is missing.

use std::path::Path;

use anyhow::Result;

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

/// Says which of the heavy tests cannot run. Tool chains are large, so they are named and not
/// installed.
pub(crate) fn prepare(cache: &Path) -> Result<()> {
    std::fs::create_dir_all(cache)?;
    for chain in TOOL_CHAINS.iter().filter(|chain| find_program(chain.program).is_none()) {
        eprintln!(
            "      SKIPPED: the tests with {} will NOT run: no `{}` here (Debian: {})",
            chain.language, chain.program, chain.package
        );
    }
    eprintln!("      drivers are fetched into {}", cache.display());
    Ok(())
}
