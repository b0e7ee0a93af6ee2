//! What an outsider is told when something does not work.
//!
//! Four questions, always answered: whose fault was it, is it worth trying again, what may the
//! outsider know, and what can they do. The internal cause is kept apart and never shown.

use std::fmt;

/// Whose fault it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The client sent or asked something wrong.
    Client,
    /// The rules say no.
    Policy,
    /// The target, or the way to it.
    Target,
    /// Loggia itself.
    Gateway,
}

/// An error as an outsider sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicError {
    /// Stable code, such as `target_down`; stands in events and metrics.
    pub code: &'static str,
    /// Whose fault it was.
    pub fault: Fault,
    /// Whether the same request can succeed later without a change.
    pub retry: bool,
    /// One sentence for people.
    pub message: String,
    /// More of it, where that helps.
    pub detail: Option<String>,
    /// What to do: the one command or setting that helps.
    pub hint: Option<String>,
    /// What really happened; for the log of the gateway alone.
    pub cause: Option<String>,
}

impl PublicError {
    /// An error with neither detail, hint nor cause, not worth trying again.
    pub fn new(code: &'static str, fault: Fault, message: impl Into<String>) -> Self {
        Self {
            code,
            fault,
            retry: false,
            message: message.into(),
            detail: None,
            hint: None,
            cause: None,
        }
    }

    /// With more for people.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With what really happened, which is not shown.
    pub fn cause(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Worth trying again later.
    pub fn retry(mut self) -> Self {
        self.retry = true;
        self
    }
}

impl fmt::Display for PublicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PublicError {}
