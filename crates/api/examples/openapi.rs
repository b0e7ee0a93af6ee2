//! Prints the OpenAPI document, for `docs/reference/openapi.json`.

use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = loggia_api::openapi::document().to_pretty_json()?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
