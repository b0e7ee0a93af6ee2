//! Measurements side by side: direct connections, pgbouncer, Loggia at both depths, in one run.
//!
//! Sides take turns (A B C A B C …), so that what else the machine does meets them alike, and
//! medians are compared. `cargo xtask bench` runs this; see `benches/README.md`.

pub mod ledger;
mod pgbench;
pub mod postgres;
mod row;
mod sides;
pub mod ssh;

pub use row::{Goal, Row};

/// How to measure.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// End within a minute: fewer rounds, shorter ones.
    pub quick: bool,
    /// One JSON object a line instead of a table.
    pub json: bool,
}

/// Prints the rows as they are wanted.
pub fn print(rows: &[Row], options: Options) {
    if options.json {
        for row in rows {
            println!("{}", row.to_json());
        }
    } else {
        print!("{}", row::table(rows));
    }
}
