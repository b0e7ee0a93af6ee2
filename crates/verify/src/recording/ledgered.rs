//! What the ledger says of a recording, gathered from the events of its session.

use super::check::Claim;
use super::reader::Held;
use loggia_model::catalogue::Kind;
use loggia_model::event::Event;
use loggia_model::id::SessionId;
use loggia_model::seal::Disclosure;
use loggia_model::value::Object;
use loggia_tlog::Hash;

/// What the ledger says of the recording of one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledgered {
    /// Whether one was begun.
    pub begun: bool,
    /// Its salt; none where it was erased, or its disclosure is not what the log committed to.
    pub salt: Option<[u8; 32]>,
    /// What it had become, and when the ledger said so.
    pub claims: Vec<Claim>,
    /// Whether it reached its limit: what came later was hashed and counted.
    pub limited: bool,
    /// Whether the session has ended.
    pub ended: bool,
}

impl Ledgered {
    /// Whether events of this kind say something of recordings.
    pub const fn concerns(kind: Kind) -> bool {
        matches!(
            kind,
            Kind::RecordingBegun | Kind::RecordingGrown | Kind::RecordingLimited | Kind::SessionEnd
        )
    }

    /// Takes an event of the session; `disclosure` is what is disclosed of it, empty for nothing.
    pub fn take(&mut self, event: &Event, disclosure: &[u8]) {
        match event.known_kind() {
            Some(Kind::RecordingBegun) => {
                self.begun = true;
                self.salt = salt(event, disclosure);
            }
            Some(Kind::RecordingGrown) => {
                self.claims.extend(claim(event, ["frames", "bytes", "root"]));
            }
            Some(Kind::RecordingLimited) => self.limited = true,
            Some(Kind::SessionEnd) => {
                self.ended = true;
                let members = ["recording_frames", "recording_bytes", "recording_root"];
                self.claims.extend(claim(event, members));
            }
            _ => {}
        }
    }

    /// Adds what is said later.
    pub fn add(&mut self, later: &Self) {
        self.begun |= later.begun;
        self.salt = later.salt.or(self.salt);
        self.claims.extend_from_slice(&later.claims);
        self.limited |= later.limited;
        self.ended |= later.ended;
    }

    /// What its file is held to; none where nothing can be held against it.
    pub fn held(&self, session: SessionId) -> Option<Held> {
        let salt = self.salt.filter(|_| self.begun)?;
        Some(Held { session, salt, claims: self.claims.clone() })
    }
}

fn salt(event: &Event, disclosure: &[u8]) -> Option<[u8; 32]> {
    let none = Object::new();
    let open = Disclosure::open(disclosure, event.sealed().unwrap_or(&none)).ok()?;
    let (_, value) = open.values.iter().find(|(pointer, _)| pointer == "/detail/salt")?;
    let mut salt = [0; 32];
    hex::decode_to_slice(value.as_str()?, &mut salt).ok()?;
    Some(salt)
}

fn claim(event: &Event, [frames, bytes, root]: [&str; 3]) -> Option<Claim> {
    let detail = event.whole.get("detail")?;
    let count = |member| u64::try_from(detail.get(member)?.as_int()?).ok();
    let root = Hash::from_hex(detail.get(root)?.as_str()?).ok()?;
    Some(Claim { frames: count(frames)?, bytes: count(bytes), root })
}
