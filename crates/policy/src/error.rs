//! What is wrong with a policy, and where.

use cedar_policy::ffi::DetailedError;
use std::fmt;

/// One thing that is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyError {
    /// Name of the file, as it was given.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead, where that is known.
    pub hint: Option<String>,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Why policies were not taken: everything that is wrong with them, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PolicyErrors(pub Vec<PolicyError>);

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, error) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl PolicyError {
    /// An error at a byte of a file's text.
    pub(crate) fn at(
        file: &str,
        text: &str,
        byte: usize,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Self {
        let (line, column) = position(text, byte);
        Self { file: file.to_owned(), line, column, message: message.into(), hint }
    }

    /// What Cedar says, at the place it names, or else at `fallback` (a byte).
    pub(crate) fn of_cedar(
        file: &str,
        text: &str,
        fallback: usize,
        error: &DetailedError,
    ) -> Vec<Self> {
        let byte = error.source_locations.first().map_or(fallback, |label| label.loc.start);
        let label = error.source_locations.first().and_then(|label| label.label.as_deref());
        let message = match label {
            Some(label) if !error.message.contains(label) => format!("{}: {label}", error.message),
            _ => error.message.clone(),
        };
        let mut all = vec![Self::at(file, text, byte, message, error.help.clone())];
        for related in &error.related {
            all.extend(Self::of_cedar(file, text, byte, related));
        }
        all
    }
}

/// Line and column, both from 1, of a byte.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte.min(text.len())).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    (line, before.chars().count() - before.get(..line_start).unwrap_or("").chars().count() + 1)
}
