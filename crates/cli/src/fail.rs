//! How a command fails: what is said, and the exit code.

use loggia_client::ClientError;
use std::io::Write;
use std::process::ExitCode;

/// A negative answer or a failure.
const FAILURE: u8 = 1;
/// Used wrongly.
pub(crate) const USAGE: u8 = 2;
/// Denied by policy.
const DENIED: u8 = 3;
/// Sign-in needed.
const SIGN_IN: u8 = 4;
/// Unreachable or timed out.
const UNREACHABLE: u8 = 5;

/// What was read is not what the ledger says.
pub(crate) const TAMPERED: u8 = 10;
/// Something of what the ledger says is missing.
pub(crate) const INCOMPLETE: u8 = 11;

/// The exit codes, for the help.
pub(crate) const EXIT_CODES: &str = "Exit codes:
  0    done
  1    a negative answer or a failure
  2    used wrongly
  3    denied by policy
  4    sign-in needed
  5    unreachable or timed out
  130  interrupted";

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) struct Fail {
    exit: u8,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

/// What a command gives.
pub(crate) type Done<T = ()> = Result<T, Fail>;

impl Fail {
    /// A failure, exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { exit: FAILURE, message: message.into(), detail: None, hint: None }
    }

    /// Used wrongly, exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: USAGE, ..Self::new(message) }
    }

    /// Sign-in needed, exit code 4.
    pub(crate) fn sign_in(message: impl Into<String>) -> Self {
        Self { exit: SIGN_IN, ..Self::new(message) }
    }

    /// A failure with an exit code of its own.
    pub(crate) fn with_exit(exit: u8, message: impl Into<String>) -> Self {
        Self { exit, ..Self::new(message) }
    }

    /// A verdict of `verify` that was already told on standard output.
    pub(crate) fn verdict(exit: u8) -> Self {
        Self { exit, ..Self::new("") }
    }

    /// Unreachable, exit code 5.
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self { exit: UNREACHABLE, ..Self::new(message) }
    }

    /// Nobody reads the output any more, which is fine: nothing is said, exit code 0.
    pub(crate) fn reader_gone() -> Self {
        Self { exit: 0, ..Self::new("") }
    }

    /// With more about it, a line each.
    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says it on standard error: what, details, a blank line, what to do.
    pub(crate) fn report(&self) -> ExitCode {
        if self.message.is_empty() {
            return ExitCode::from(self.exit);
        }
        let mut said = format!("error: {}\n", crate::text::safe(&self.message));
        for line in self.detail.iter().flat_map(|detail| detail.lines()) {
            said.push_str(&format!("  {}\n", crate::text::safe(line)));
        }
        if let Some(hint) = &self.hint {
            said.push_str(&format!("\nhint: {}\n", crate::text::safe(hint)));
        }
        // There is nobody left to tell when this fails.
        let _ = std::io::stderr().write_all(said.as_bytes());
        ExitCode::from(self.exit)
    }
}

impl From<ClientError> for Fail {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::Problem(problem) => match (problem.status, problem.code.as_str()) {
                (_, "bad_query" | "bad_request") => USAGE,
                (_, "timeout") => UNREACHABLE,
                (_, "tampered") => TAMPERED,
                (_, "missing") => INCOMPLETE,
                (401, _) => SIGN_IN,
                (403, _) => DENIED,
                _ => FAILURE,
            },
            ClientError::Unreachable { .. }
            | ClientError::TimedOut { .. }
            | ClientError::Lost { .. } => UNREACHABLE,
            ClientError::Address(_) => USAGE,
            ClientError::Credential(_) => SIGN_IN,
            ClientError::Untrusted { .. } | ClientError::Answer { .. } => FAILURE,
        };
        let hint = error.hint();
        let sign_in = (exit == SIGN_IN).then(|| "sign in with: loggia login".to_owned());
        let detail = match &error {
            ClientError::Problem(problem) => problem.detail.clone(),
            _ => None,
        };
        Self { exit, message: error.to_string(), detail, hint: hint.or(sign_in) }
    }
}

impl From<anyhow::Error> for Fail {
    fn from(error: anyhow::Error) -> Self {
        let fail = Self::new(format!("{error:#}"));
        match error.downcast_ref::<loggia_server::Hinted>() {
            Some(hinted) => fail.hint(hinted.hint.clone()),
            None => fail,
        }
    }
}
