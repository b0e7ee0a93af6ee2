//! What can go wrong with control state, and whose fault it was.

use crate::declaration::DeclarationErrors;
use loggia_model::port::{AppendError, StateError};
use loggia_model::{Fault, PublicError};
use loggia_policy::PolicyErrors;

/// Why a change or a question about control state failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// There is no such thing.
    #[error("there is no {what} named `{name}`")]
    NotFound {
        /// What was looked for: person, service, group, resource, lock.
        what: &'static str,
        /// The name as given.
        name: String,
        /// The nearest name that exists, where one is near.
        nearest: Option<String>,
    },
    /// The wish does not go together with what is there.
    #[error("{message}")]
    Conflict {
        /// One sentence.
        message: String,
        /// What to do.
        hint: String,
    },
    /// The wish itself is not well-formed.
    #[error("{message}")]
    Invalid {
        /// One sentence.
        message: String,
        /// What to do.
        hint: String,
    },
    /// The declaration is not well-formed.
    #[error("the declaration is not taken")]
    Declaration(#[from] DeclarationErrors),
    /// The policies do not compile.
    #[error("the policies are not taken")]
    Policies(#[from] PolicyErrors),
    /// The change could not be recorded, so it did not happen.
    #[error("the change could not be recorded: {0}")]
    NotRecorded(#[from] AppendError),
    /// The change is recorded, but the control database did not take it: it did not happen.
    #[error("the change was recorded but did not take effect: {0}")]
    NotApplied(StateError),
    /// The control database does not answer; nothing was recorded.
    #[error(transparent)]
    State(#[from] StateError),
    /// The change broke off: a mistake in the program.
    #[error("the change broke off: {0}")]
    Broken(String),
}

/// The hint of what is not found.
fn did_you_mean(nearest: Option<String>) -> Option<String> {
    nearest.map(|name| format!("did you mean `{name}`?"))
}

impl From<ControlError> for PublicError {
    fn from(error: ControlError) -> Self {
        let message = error.to_string();
        match error {
            ControlError::NotFound { nearest, .. } => {
                let mut public = Self::new("not_found", Fault::Client, message);
                public.hint = did_you_mean(nearest);
                public
            }
            ControlError::Conflict { hint, .. } => {
                Self::new("conflict", Fault::Client, message).hint(hint)
            }
            ControlError::Invalid { hint, .. } => {
                Self::new("invalid", Fault::Client, message).hint(hint)
            }
            ControlError::Declaration(errors) => Self::new("invalid", Fault::Client, message)
                .detail(errors.to_string())
                .hint("nothing was changed; correct the files and plan again"),
            ControlError::Policies(errors) => Self::new("invalid", Fault::Client, message)
                .detail(errors.to_string())
                .hint("nothing was changed; correct the policies and plan again"),
            ControlError::NotRecorded(cause) => {
                Self::new("ledger", Fault::Gateway, "the change could not be recorded")
                    .detail("nothing was changed")
                    .hint("see the gateway's own log; `loggia doctor` on its machine")
                    .cause(cause)
                    .retry()
            }
            ControlError::NotApplied(cause) => Self::new(
                "state",
                Fault::Gateway,
                "the change was recorded but did not take effect",
            )
            .detail("the next start of the gateway records that it did not")
            .hint("see the gateway's own log; `loggia doctor` on its machine")
            .cause(cause)
            .retry(),
            ControlError::State(error) => error.into(),
            ControlError::Broken(cause) => {
                Self::new("internal", Fault::Gateway, "the change broke off").cause(cause)
            }
        }
    }
}

/// What SQLite said, as the port's error.
pub(crate) fn state(error: sqlx::Error) -> StateError {
    StateError(error.to_string())
}

/// A row of the database that this program cannot have written.
pub(crate) fn corrupt(what: &str, text: &str) -> StateError {
    StateError(format!("a stored {what} is not readable: `{}`", text.escape_debug()))
}

/// The nearest of the known names, where one is near enough to be meant.
pub(crate) fn nearest<'a>(
    wanted: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let near = known.into_iter().map(|name| (strsim::damerau_levenshtein(wanted, name), name));
    let (distance, name) = near.min()?;
    (distance <= 2 && distance < wanted.chars().count()).then_some(name)
}
