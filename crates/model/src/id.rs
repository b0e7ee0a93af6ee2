//! Typed identifiers: a prefix that names the kind of thing, and a UUIDv7.
//!
//! Text form: TypeID (`ev_01h455vb4pex5vsknk084sn02q`): prefix, `_`, and 26 characters of
//! Crockford's base 32 in lower case for the 128 bits of an RFC 9562 UUID version 7.
//! An id never needs a clock or a source of randomness of its own: both are parameters.

use std::fmt;
use std::str::FromStr;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Length of the part behind the prefix.
const SUFFIX_LEN: usize = 26;

/// Why a text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The prefix is missing or names another kind of thing.
    #[error("an id that begins with `{wanted}_` is needed here, found `{found}`")]
    WrongPrefix {
        /// The prefix of the wanted kind.
        wanted: &'static str,
        /// The text as given, cut to 40 characters.
        found: String,
    },
    /// The part behind the prefix is not 26 characters of lower-case base 32.
    #[error("`{0}` is not a well-formed id")]
    Malformed(String),
}

/// Makes the 128 bits of a UUIDv7 from a wall clock and 10 random bytes.
fn uuid_v7(unix_ms: u64, random: [u8; 10]) -> u128 {
    let mut tail = [0u8; 16];
    if let Some(to) = tail.last_chunk_mut() {
        *to = random;
    }
    let low = u128::from_be_bytes(tail);
    let version = 0x7u128 << 76;
    let variant = 0b10u128 << 62;
    let cleared = low & !(0xf_u128 << 76) & !(0b11_u128 << 62);
    (u128::from(unix_ms & 0xffff_ffff_ffff) << 80) | cleared | version | variant
}

/// The value of each letter of the alphabet; [`NO_DIGIT`] for all other bytes.
const DIGITS: [u8; 256] = digits();
const NO_DIGIT: u8 = 0xff;

const fn digits() -> [u8; 256] {
    let mut digits = [NO_DIGIT; 256];
    let mut alphabet: &[u8] = ALPHABET;
    let mut value = 0;
    while let [letter, rest @ ..] = alphabet {
        if let [slot, ..] = digits.split_at_mut(*letter as usize).1 {
            *slot = value;
        }
        alphabet = rest;
        value += 1;
    }
    digits
}

/// The 26 letters. Ids stand in every event several times, so this counts.
fn letters(bits: u128) -> [u8; SUFFIX_LEN] {
    let mut letters = [b'0'; SUFFIX_LEN];
    // The last 24 letters are two words of 60 bits: a shift of 128 bits costs several of 64.
    let words = [bits >> 60, bits].map(|word| word as u64 & ((1 << 60) - 1));
    let mut rest = bits >> 120;
    for slot in letters.iter_mut().take(2).rev() {
        *slot = letter(rest as u64);
        rest >>= 5;
    }
    let halves = letters.get_mut(2..).unwrap_or_default().chunks_exact_mut(12);
    for (half, mut word) in halves.zip(words) {
        for slot in half.iter_mut().rev() {
            *slot = letter(word);
            word >>= 5;
        }
    }
    letters
}

fn letter(bits: u64) -> u8 {
    ALPHABET.get((bits & 31) as usize).copied().unwrap_or(b'0')
}

fn write_suffix(bits: u128, out: &mut impl fmt::Write) -> fmt::Result {
    out.write_str(std::str::from_utf8(&letters(bits)).unwrap_or_default())
}

fn parse_suffix(text: &str) -> Option<u128> {
    if text.len() != SUFFIX_LEN || text.as_bytes().first().is_none_or(|first| *first > b'7') {
        return None;
    }
    let mut bits = 0u128;
    for letter in text.bytes() {
        let digit = DIGITS.get(usize::from(letter)).filter(|digit| **digit != NO_DIGIT)?;
        bits = (bits << 5) | u128::from(*digit);
    }
    Some(bits)
}

/// Defines one typed id. The list is append-only: a prefix is never used again.
macro_rules! typed_ids {
    ($($(#[$meta:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// What the text form begins with, without the `_`.
            pub const PREFIX: &'static str = $prefix;

            /// A new id from the wall clock (milliseconds since 1970) and 10 random bytes.
            pub fn from_parts(unix_ms: u64, random: [u8; 10]) -> Self {
                Self(uuid_v7(unix_ms, random))
            }

            /// Appends the text form.
            pub fn write(self, out: &mut Vec<u8>) {
                out.extend_from_slice(concat!($prefix, "_").as_bytes());
                out.extend_from_slice(&letters(self.0));
            }

            /// The wall clock in the id, in milliseconds since 1970.
            pub fn unix_ms(self) -> u64 {
                (self.0 >> 80) as u64
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($prefix, "_"))?;
                write_suffix(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let Some(suffix) = text.strip_prefix(concat!($prefix, "_")) else {
                    return Err(IdError::WrongPrefix {
                        wanted: $prefix,
                        found: text.chars().take(40).collect(),
                    });
                };
                parse_suffix(suffix)
                    .map(Self)
                    .ok_or_else(|| IdError::Malformed(text.chars().take(40).collect()))
            }
        }
    )*};
}

typed_ids! {
    /// A person.
    PersonId = "pe";
    /// A service account.
    ServiceId = "sv";
    /// A run of a pipeline.
    PipelineId = "pi";
    /// A third party.
    ThirdPartyId = "tp";
    /// An AI agent.
    AgentId = "ag";
    /// A gateway node.
    NodeId = "nd";
    /// A resource: what can be reached.
    ResourceId = "re";
    /// A session: one authenticated walk through the gateway.
    SessionId = "se";
    /// An event in the ledger.
    EventId = "ev";
    /// A credential that Loggia issued.
    CredentialId = "cr";
    /// A request for access.
    RequestId = "rq";
    /// A grant.
    GrantId = "gr";
    /// A lock.
    LockId = "lk";
    /// A legal hold.
    HoldId = "ho";
}

/// Who acts: exactly one named identity, or the node itself. There is no anonymous variant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActorId {
    /// A person.
    Person(PersonId),
    /// A service account.
    Service(ServiceId),
    /// A run of a pipeline.
    Pipeline(PipelineId),
    /// A third party.
    ThirdParty(ThirdPartyId),
    /// An AI agent.
    Agent(AgentId),
    /// The gateway node, acting by itself.
    Node(NodeId),
}

impl ActorId {
    /// Appends the text form.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Person(id) => id.write(out),
            Self::Service(id) => id.write(out),
            Self::Pipeline(id) => id.write(out),
            Self::ThirdParty(id) => id.write(out),
            Self::Agent(id) => id.write(out),
            Self::Node(id) => id.write(out),
        }
    }
}

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(id) => id.fmt(f),
            Self::Service(id) => id.fmt(f),
            Self::Pipeline(id) => id.fmt(f),
            Self::ThirdParty(id) => id.fmt(f),
            Self::Agent(id) => id.fmt(f),
            Self::Node(id) => id.fmt(f),
        }
    }
}

impl fmt::Debug for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ActorId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        match text.split_once('_').map(|(prefix, _)| prefix) {
            Some("pe") => text.parse().map(Self::Person),
            Some("sv") => text.parse().map(Self::Service),
            Some("pi") => text.parse().map(Self::Pipeline),
            Some("tp") => text.parse().map(Self::ThirdParty),
            Some("ag") => text.parse().map(Self::Agent),
            Some("nd") => text.parse().map(Self::Node),
            _ => Err(IdError::Malformed(text.chars().take(40).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_typeid_specifications_example_reads_and_writes() {
        // From the TypeID specification: 01890a5d-ac96-774b-bcce-b302099a8057.
        let id = EventId(0x01890a5d_ac96_774b_bcce_b302099a8057);
        assert_eq!(id.to_string(), "ev_01h455vb4pex5vsknk084sn02q");
        assert_eq!("ev_01h455vb4pex5vsknk084sn02q".parse::<EventId>(), Ok(id));
    }

    #[test]
    fn an_id_of_another_kind_is_refused_and_says_which_is_wanted() {
        let person = PersonId::from_parts(1, [7; 10]).to_string();
        let refused = person.parse::<EventId>().unwrap_err().to_string();
        assert!(refused.contains("`ev_`"), "{refused}");
        assert!("ev_81h455vb4pex5vsknk084sn02q".parse::<EventId>().is_err(), "129th bit");
        assert!("ev_01H455VB4PEX5VSKNK084SN02Q".parse::<EventId>().is_err(), "upper case");
    }

    proptest! {
        #[test]
        fn ids_round_trip_and_carry_version_and_time(ms in 0u64..1 << 48, random: [u8; 10]) {
            let id = EventId::from_parts(ms, random);
            prop_assert_eq!(id.to_string().parse::<EventId>().unwrap(), id);
            prop_assert_eq!(id.unix_ms(), ms);
            prop_assert_eq!((id.0 >> 76) & 0xf, 7);
            prop_assert_eq!((id.0 >> 62) & 0b11, 0b10);
            let mut written = Vec::new();
            id.write(&mut written);
            prop_assert_eq!(written, id.to_string().into_bytes());
        }
    }
}
