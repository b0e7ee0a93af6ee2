//! Control state on a database in a temporary folder, with a ledger that only remembers.

mod ports;
mod state;

use crate::{ChangeBy, Control, Declaration, DeclaredFile, EnrolmentCodes, NewPerson};
use async_trait::async_trait;
use loggia_model::event::{Draft, Event, LeafHash, Stamp};
use loggia_model::id::{ActorId, EventId, PersonId};
use loggia_model::port::{Append, AppendError, Appended, Directory, OnDisk, PersonVerifier};
use loggia_model::seal::Disclosure;
use loggia_model::{Actor, Authn, Clock, Entropy, Kind, Mint, Secret, Source, Value};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// A clock that stands until it is set, microseconds since 1970.
pub(crate) struct Hand(pub(crate) AtomicI64);

impl Clock for Hand {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Counts instead of being random.
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        // In every part of the buffer: a caller may cut several values out of one call.
        let number = self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        for chunk in buffer.rchunks_mut(number.len()) {
            for (to, from) in chunk.iter_mut().rev().zip(number.iter().rev()) {
                *to = *from;
            }
        }
    }
}

/// What the ledger does with the next events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Takes,
    RefusesAppend,
    LosesBeforeDisk,
    Paused,
}

type Disclosed = Vec<(String, Value)>;

/// A ledger that remembers what it was given, read back as an auditor would.
pub(crate) struct Remembering {
    /// Each event with its disclosed fields: pointer and value.
    events: Mutex<Vec<(Event, Disclosed)>>,
    pub(crate) mood: Mutex<Mood>,
}

impl Remembering {
    /// The events so far.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().iter().map(|(event, _)| event.clone()).collect()
    }

    /// `change name` of every config.change so far.
    pub(crate) fn changes(&self) -> Vec<String> {
        let events = self.events.lock();
        let changes = events.iter().filter(|(it, _)| it.known_kind() == Some(Kind::ConfigChange));
        changes
            .map(|(event, open)| {
                let name = open.iter().find(|(path, _)| path == "/detail/name");
                let name = name.and_then(|(_, name)| name.as_str()).unwrap_or("-");
                format!("{} {name}", event.text("/detail/change").unwrap())
            })
            .collect()
    }

    /// The disclosed value of a sealed field of the last event.
    pub(crate) fn last_open(&self, pointer: &str) -> Option<Value> {
        let events = self.events.lock();
        let (_, open) = events.last()?;
        open.iter().find(|(path, _)| path == pointer).map(|(_, value)| value.clone())
    }
}

#[async_trait]
impl Append for Remembering {
    fn append(&self, drafts: &[Draft]) -> Result<Appended, AppendError> {
        match *self.mood.lock() {
            Mood::RefusesAppend => return Err(AppendError::Closed("test".into())),
            Mood::Paused => return Err(AppendError::Paused("test")),
            Mood::Takes | Mood::LosesBeforeDisk => {}
        }
        let mut events = self.events.lock();
        let mut hash = LeafHash([0; 32]);
        for draft in drafts {
            let seq = events.len() as u64 + 1;
            let node = "nd_00000000000000000000000000";
            let mut leaf = Vec::new();
            draft.stamp(&Stamp { time_us: 1, node, boot: 1, seq, session: None }, &mut leaf);
            hash = LeafHash::of(&leaf);
            let event = Event::parse(&leaf).unwrap();
            let open = match event.sealed() {
                Some(sealed) => Disclosure::open(&draft.disclosure, sealed).unwrap().values,
                None => Vec::new(),
            };
            events.push((event, open));
        }
        Ok(Appended { boot: 1, seq: events.len() as u64, leaf_hash: hash, time_us: 1 })
    }

    fn append_soon(&self, draft: Draft) -> Result<(), AppendError> {
        self.append(&[draft]).map(drop)
    }

    async fn on_disk(&self, appended: &Appended) -> Result<OnDisk, AppendError> {
        if *self.mood.lock() == Mood::LosesBeforeDisk {
            return Err(AppendError::Closed("the disk is gone".into()));
        }
        Ok(OnDisk { index: appended.seq - 1, leaf_hash: appended.leaf_hash })
    }

    async fn resumed(&self, _wait_max: Duration) -> bool {
        // The pause ends while one waits.
        *self.mood.lock() = Mood::Takes;
        true
    }

    fn origin(&self) -> String {
        "loggia.internal/main/test/e1".into()
    }
}

/// Codes that count.
#[derive(Default)]
pub(crate) struct CountingCodes(AtomicU64);

impl EnrolmentCodes for CountingCodes {
    fn issue(&self) -> (Secret, String) {
        let number = self.0.fetch_add(1, Ordering::SeqCst);
        (Secret::new(format!("code-{number}")), format!("digest-{number}"))
    }
}

/// A database, a ledger and a clock.
pub(crate) struct House {
    pub(crate) control: Control,
    pub(crate) ledger: Arc<Remembering>,
    pub(crate) clock: Arc<Hand>,
    pub(crate) mint: Mint,
    pub(crate) codes: Arc<CountingCodes>,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) const NOW_US: i64 = 1_790_000_000_000_000;

impl House {
    pub(crate) async fn new() -> Self {
        let ledger =
            Arc::new(Remembering { events: Mutex::new(Vec::new()), mood: Mutex::new(Mood::Takes) });
        let clock = Arc::new(Hand(AtomicI64::new(NOW_US)));
        let mint = Mint::new(clock.clone(), Arc::new(Counting(AtomicU64::new(1))));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.db");
        let control = Control::open(&path, mint.clone(), ledger.clone()).await.unwrap();
        let codes = Arc::default();
        Self { control, ledger, clock, mint, codes, folder }
    }

    /// Closes the database and opens it again, as the next start does.
    pub(crate) async fn reopened(self) -> Self {
        self.control.close().await;
        let path = self.folder.path().join("control.db");
        let control = Control::open(&path, self.mint.clone(), self.ledger.clone()).await.unwrap();
        Self { control, ..self }
    }

    pub(crate) fn later(&self, us: i64) {
        self.clock.0.fetch_add(us, Ordering::SeqCst);
    }

    /// Adds a person; their code's digest is `code-of-NAME`.
    pub(crate) async fn person(&self, name: &str, admin: bool) -> ActorId {
        let added = self.control.add_person(new_person(name, admin), root()).await.unwrap();
        added.id
    }

    /// A person takes up their account.
    pub(crate) async fn enrolled(&self, name: &str) {
        let ActorId::Person(id) = self.actor(name).id else { panic!("{name} is no person") };
        let verifier = PersonVerifier { password_hash: None, totp_seed: None };
        let event = EventId::from_parts(2, self.mint.id_parts().1);
        let code = format!("code-of-{name}");
        assert!(self.control.enrol(id, &code, verifier, event).await.unwrap());
    }

    /// Applies files as they are.
    pub(crate) async fn apply(&self, files: &[(&str, &str)]) -> crate::Applied {
        let declaration = declaration(files);
        self.control.apply(declaration, root(), None, self.codes.clone()).await.unwrap()
    }

    /// Who somebody is after signing in.
    pub(crate) fn actor(&self, name: &str) -> Actor {
        let now = self.control.now();
        let identity = now.identity(name).unwrap();
        Actor {
            id: identity.id,
            name: identity.name.clone(),
            authn: Authn::ClientCertificate,
            credential: None,
            expires_us: None,
            groups: identity.groups.clone(),
            admin: identity.admin,
        }
    }
}

pub(crate) fn new_person(name: &str, admin: bool) -> NewPerson {
    NewPerson {
        name: name.into(),
        admin,
        groups: Vec::new(),
        newcomer: false,
        code_digest: format!("code-of-{name}"),
        expires_us: NOW_US + crate::ENROLMENT_US,
    }
}

pub(crate) fn declaration(files: &[(&str, &str)]) -> Declaration {
    let files: Vec<DeclaredFile> = files
        .iter()
        .map(|(name, text)| DeclaredFile { name: (*name).into(), text: (*text).into() })
        .collect();
    Declaration::parse(&files, &["postgres", "ssh"]).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Root on the gateway's own machine.
pub(crate) fn root() -> ChangeBy {
    ChangeBy::default()
}

/// An administrator who signed in.
pub(crate) fn signed_in() -> ChangeBy {
    let actor = Actor {
        id: ActorId::Person(PersonId::from_parts(1, [9; 10])),
        name: "ada".into(),
        authn: Authn::ClientCertificate,
        credential: None,
        expires_us: None,
        groups: Vec::new(),
        admin: true,
    };
    let source = Source { peer: "10.1.2.3:4567".parse().unwrap() };
    ChangeBy { actor: Some(actor), source: Some(source), attested: true }
}

/// A public key as OpenSSL writes it (P-256).
pub(crate) const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9
q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==
-----END PUBLIC KEY-----
";
