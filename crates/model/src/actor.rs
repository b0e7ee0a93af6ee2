//! Who acts, and with what they proved it.

use crate::id::{ActorId, CredentialId};
use crate::secret::Secret;
use std::net::SocketAddr;

/// What kind of identity acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActorType {
    /// A person.
    Human,
    /// A service account.
    Service,
    /// A run of a pipeline.
    Pipeline,
    /// A third party.
    ThirdParty,
    /// An AI agent.
    Agent,
    /// The gateway itself.
    System,
}

impl ActorType {
    /// The word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Service => "service",
            Self::Pipeline => "pipeline",
            Self::ThirdParty => "third_party",
            Self::Agent => "agent",
            Self::System => "system",
        }
    }

    /// The type that goes with an id.
    pub const fn of(id: ActorId) -> Self {
        match id {
            ActorId::Person(_) => Self::Human,
            ActorId::Service(_) => Self::Service,
            ActorId::Pipeline(_) => Self::Pipeline,
            ActorId::ThirdParty(_) => Self::ThirdParty,
            ActorId::Agent(_) => Self::Agent,
            ActorId::Node(_) => Self::System,
        }
    }
}

/// How an actor was authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Authn {
    /// A client certificate that Loggia issued.
    ClientCertificate,
    /// An opaque token that Loggia issued.
    Token,
    /// An OpenSSH certificate that Loggia issued.
    SshCertificate,
    /// An SSH key that is registered for the actor.
    SshKey,
    /// Password and one-time code.
    PasswordTotp,
    /// A signed challenge of a service account's key.
    KeyChallenge,
    /// A one-time enrolment code.
    Enrolment,
    /// The cancel key of a running PostgreSQL session.
    CancelKey,
    /// Root on the gateway's own machine; marked unattested.
    Local,
}

impl Authn {
    /// The word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientCertificate => "client_certificate",
            Self::Token => "token",
            Self::SshCertificate => "ssh_certificate",
            Self::SshKey => "ssh_key",
            Self::PasswordTotp => "password_totp",
            Self::KeyChallenge => "key_challenge",
            Self::Enrolment => "enrolment",
            Self::CancelKey => "cancel_key",
            Self::Local => "local",
        }
    }
}

/// An identified actor: exactly one named identity. There is no way to make an anonymous one.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The pseudonym that stands in the log.
    pub id: ActorId,
    /// The name; sealed in the log.
    pub name: String,
    /// How it was authenticated.
    pub authn: Authn,
    /// The credential, where it was one that Loggia issued.
    pub credential: Option<CredentialId>,
    /// End of the credential's validity, microseconds since 1970. Live sessions end then.
    pub expires_us: Option<i64>,
    /// The groups it belongs to, sorted.
    pub groups: Vec<String>,
    /// Whether it administers this Loggia.
    pub admin: bool,
}

impl Actor {
    /// The kind of identity.
    pub fn actor_type(&self) -> ActorType {
        ActorType::of(self.id)
    }
}

/// What a connection brought to prove who is there.
#[derive(Debug, Clone)]
pub enum Credential {
    /// Possession of the private key of this certificate was proved in TLS. Chain, validity and
    /// revocation are judged in *identify*.
    ClientCertificate {
        /// DER, leaf first.
        chain: Vec<Vec<u8>>,
    },
    /// An opaque token.
    Token(Secret),
    /// Possession of the private key of this OpenSSH certificate was proved in the SSH handshake.
    /// Authority, type, principals, validity, options and revocation are judged in *identify*.
    SshCertificate {
        /// The certificate as it stands in an authorized line: `TYPE BASE64`.
        openssh: String,
    },
    /// Possession of the private key of this SSH key was proved in the SSH handshake.
    SshKey {
        /// The key as it stands in an authorized line: `TYPE BASE64`.
        openssh: String,
    },
    /// A person's password and one-time code, for protocols that can ask for both.
    PasswordTotp {
        /// Name of the person.
        name: String,
        /// The password.
        password: Secret,
        /// What the authenticator shows now: 6 digits.
        code: Secret,
    },
}

/// Where a connection came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The peer's address.
    pub peer: SocketAddr,
}
