//! What can be reached, and the address grammar by which a client names it.

use crate::id::ResourceId;
use std::fmt;

/// How safe a record is before its action is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Depth {
    /// Written to the write-ahead log: survives the death of our processes, not of the machine.
    Kernel,
    /// fdatasync has returned.
    Disk,
}

impl Depth {
    /// The word in the log and in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Disk => "disk",
        }
    }
}

/// How the leg to the target is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpstreamTls {
    /// Certificate and name are verified. The default.
    VerifyFull,
    /// Encrypted, the certificate is not looked at. `doctor` reports it.
    Unverified,
    /// Not encrypted. `doctor` reports it.
    Off,
}

impl UpstreamTls {
    /// The word in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VerifyFull => "verify-full",
            Self::Unverified => "unverified",
            Self::Off => "off",
        }
    }
}

/// Where a secret comes from. The secret itself is never in configuration or the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// An environment variable of the gateway.
    Env(String),
    /// A file that only the gateway can read; a trailing newline does not count.
    File(String),
}

impl std::str::FromStr for SecretRef {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.to_owned())),
            // The text may be the secret itself, so it is not repeated.
            _ => Err("a secret is given by reference: env:NAME or file:PATH".to_owned()),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
        }
    }
}

/// An account on a target and how the gateway signs in as it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name on the target.
    pub name: String,
    /// The password; absent where the target trusts the gateway's address or certificate.
    pub password: Option<SecretRef>,
    /// A private key in OpenSSH's format, for SSH.
    pub key: Option<SecretRef>,
    /// Whether the gateway signs in with a certificate that it mints for each session, with person
    /// and session in its key id; the target trusts the gateway's authority for targets. For SSH.
    pub certificate: bool,
}

impl Account {
    /// An account with nothing to sign in with yet.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), password: None, key: None, certificate: false }
    }
}

/// Something that can be reached through the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its id.
    pub id: ResourceId,
    /// Its name; matches `[a-z0-9._-]+`.
    pub name: String,
    /// `postgres` or `ssh`.
    pub protocol: String,
    /// Host name or address of the target.
    pub host: String,
    /// Port of the target.
    pub port: u16,
    /// How the leg to it is protected.
    pub tls: UpstreamTls,
    /// PEM file with the certificate authorities for it; absent: the system's.
    pub ca_file: Option<String>,
    /// For SSH: the host keys of the target, each as `TYPE BASE64`, or the authorities for it, each
    /// as `@cert-authority TYPE BASE64`. A host that shows another key is not signed in to.
    pub host_keys: Vec<String>,
    /// The accounts; the first is the default.
    pub accounts: Vec<Account>,
    /// The database when the client names none.
    pub database: Option<String>,
    /// How safe records are before actions are forwarded.
    pub depth: Depth,
    /// Labels for policies: name and value, sorted.
    pub labels: Vec<(String, String)>,
}

impl Resource {
    /// The account of this name, or the first where none is asked for.
    pub fn account(&self, wanted: Option<&str>) -> Option<&Account> {
        match wanted {
            None => self.accounts.first(),
            Some(name) => self.accounts.iter().find(|account| account.name == name),
        }
    }
}

/// Whether a text can be the name of a resource, person, service or group.
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

/// A user name as every protocol carries it: `[PERSON+][ACCOUNT~]RESOURCE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The person, where the user name says one; it must be the one the credential names.
    pub person: Option<String>,
    /// The account on the target; any characters.
    pub account: Option<String>,
    /// The resource.
    pub resource: String,
}

/// Why a user name is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` does not name a resource; write RESOURCE or ACCOUNT~RESOURCE")]
pub struct AddressError(pub String);

impl std::str::FromStr for Address {
    type Err = AddressError;

    /// The resource stands after the last `~`, or, where there is none, after the last `+`.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError(text.chars().take(80).collect());
        let (before, resource) = match text.rsplit_once('~') {
            Some((before, resource)) => (Some(before), resource),
            None => match text.rsplit_once('+') {
                Some((person, resource)) => {
                    return Self::checked(Some(person), None, resource).ok_or_else(error);
                }
                None => (None, text),
            },
        };
        let (person, account) = match before {
            None => (None, None),
            // A leading person is a name; whatever else stands before `+` belongs to the account.
            Some(before) => match before.split_once('+') {
                Some((person, account)) if is_name(person) => (Some(person), Some(account)),
                _ => (None, Some(before)),
            },
        };
        Self::checked(person, account, resource).ok_or_else(error)
    }
}

impl Address {
    fn checked(person: Option<&str>, account: Option<&str>, resource: &str) -> Option<Self> {
        let good = is_name(resource)
            && person.is_none_or(is_name)
            && account.is_none_or(|account| !account.is_empty());
        good.then(|| Self {
            person: person.map(str::to_owned),
            account: account.map(str::to_owned),
            resource: resource.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<(Option<String>, Option<String>, String)> {
        text.parse::<Address>().ok().map(|a| (a.person, a.account, a.resource))
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn addresses_read_as_the_grammar_says() {
        assert_eq!(address("shop"), Some((None, None, "shop".into())));
        assert_eq!(address("app~shop"), Some((None, some("app"), "shop".into())));
        assert_eq!(address("alice+shop"), Some((some("alice"), None, "shop".into())));
        assert_eq!(address("alice+app~shop"), Some((some("alice"), some("app"), "shop".into())));
        assert_eq!(address("a~b~shop"), Some((None, some("a~b"), "shop".into())));
        assert_eq!(address("Weird User~shop"), Some((None, some("Weird User"), "shop".into())));
        assert_eq!(address("Big+odd~shop"), Some((None, some("Big+odd"), "shop".into())));
        for bad in ["", "~shop", "app~", "Shop", "shop/x", "+shop", "app~sh op"] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_secret_given_in_clear_is_refused_without_being_repeated() {
        let refused = "hunter2".parse::<SecretRef>().unwrap_err();
        assert!(!refused.contains("hunter2"));
        assert_eq!("env:PGPASS".parse(), Ok(SecretRef::Env("PGPASS".into())));
    }
}
