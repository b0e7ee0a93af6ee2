//! Why a call gave no answer.

use loggia_api::Problem;

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server said why.
    #[error("{}", .0.title)]
    Problem(Box<Problem>),
    /// Nothing answers at the address.
    #[error("{address} cannot be reached: {cause}")]
    Unreachable {
        /// `HOST:PORT`.
        address: String,
        /// What the network said.
        cause: String,
    },
    /// The connection was lost in the middle of an answer.
    #[error("the connection to {address} was lost: {cause}")]
    Lost {
        /// `HOST:PORT`.
        address: String,
        /// What the network said.
        cause: String,
    },
    /// No answer in time.
    #[error("{address} did not answer in time")]
    TimedOut {
        /// `HOST:PORT`.
        address: String,
    },
    /// Whoever answers is not the server that is trusted. Nothing was sent.
    #[error("{address} is not the Loggia that is trusted here: {cause}")]
    Untrusted {
        /// `HOST:PORT`.
        address: String,
        /// What is wrong with its certificate.
        cause: String,
    },
    /// Not an address.
    #[error("`{0}` is not an address; write HOST:PORT")]
    Address(String),
    /// A certificate or key on this side cannot be used.
    #[error("{0}")]
    Credential(String),
    /// The answer is not what the contract says.
    #[error("{address} answered with something that Loggia does not say: {cause}")]
    Answer {
        /// `HOST:PORT`.
        address: String,
        /// What is wrong with it.
        cause: String,
    },
}

impl ClientError {
    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Problem(problem) => problem.hint.clone(),
            Self::Unreachable { .. } => {
                Some("is the gateway running (loggia up), and is this its address?".to_owned())
            }
            Self::Lost { .. } => {
                Some("is the gateway being restarted? try again in a moment".to_owned())
            }
            Self::TimedOut { .. } => {
                Some("try again; if it stays so, see the gateway's own log".to_owned())
            }
            Self::Untrusted { .. } => Some(
                "if the gateway was set up anew, ask its administrator for a new enrolment code; \
                 otherwise somebody may stand between you and it"
                    .to_owned(),
            ),
            Self::Address(_) => Some("such as gateway.example.org:7443".to_owned()),
            Self::Credential(_) => Some("sign in again: loggia login".to_owned()),
            Self::Answer { .. } => {
                Some("is it a Loggia, and not much newer or older than this program?".to_owned())
            }
        }
    }
}
