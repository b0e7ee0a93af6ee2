//! What reaches the target, cut into messages anew, is what is on record: a client that says
//! anything, cut anywhere, a server that answers whenever it likes.

mod target;

use super::Stop;
use super::intake::{Desk, Intake, Pause};
use super::outgoing::Outgoing;
use crate::codec::frame::{Frame, Limits};
use crate::pending::{Outcome, Status};
use bytes::BytesMut;
use loggia_gate::{FrameClass, Unrecorded, WireFrame};
use loggia_model::catalogue::Kind;
use loggia_model::decision::{Action, Decision, Effect, Obligations};
use loggia_model::id::EventId;
use loggia_model::seal::Seed;
use loggia_model::{EventDraft, Value};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use target::Target;

const LIMITS: Limits = Limits { action_bytes_max: 300, neutral_bytes_max: 120 };

/// The batch of a session, without a session.
#[derive(Default)]
struct Shelf {
    events: std::cell::Cell<u64>,
    /// Everything that may be forwarded and is no COPY data: type byte, and the text where it is a
    /// statement's. Of actions as on record.
    told: Vec<(u8, String)>,
    /// The texts of the Queries among them.
    queries: HashMap<EventId, String>,
    stream: Vec<u8>,
    /// Bytes that are due of the message under way.
    due: usize,
}

impl Shelf {
    fn put(&mut self, frame: Outgoing) {
        let (class, lead) = (frame.class(), frame.lead_bytes());
        let wire = frame.into_wire();
        assert_eq!(lead, self.due.min(wire.len()), "{class:?} begins inside a message");
        let mut due = self.due - lead;
        let mut rest = &wire[lead..];
        while !rest.is_empty() {
            assert_eq!(due, 0);
            let whole = 1 + u32::from_be_bytes(*rest[1..].first_chunk().unwrap()) as usize;
            due = whole.saturating_sub(rest.len());
            rest = &rest[whole.min(rest.len())..];
        }
        assert!(due == 0 || class == FrameClass::Part, "{class:?} is cut");
        self.due = due;
        self.stream.extend_from_slice(&wire);
    }
}

fn denied(action: Action) -> Unrecorded {
    let decision = Decision {
        effect: Effect::Deny,
        policies: Vec::new(),
        policy_set: "00".into(),
        obligations: Obligations::default(),
        errors: Vec::new(),
        reuse_us_max: 0,
    };
    Unrecorded::Denied(action, Box::new(decision))
}

/// The text that an event tells, as its disclosure has it.
fn text_of(draft: EventDraft) -> String {
    let disclosure = draft.encode().unwrap().disclosure;
    if disclosure.is_empty() {
        return String::new();
    }
    let Value::Object(all) = Value::parse(&disclosure).unwrap() else { panic!() };
    let Some(Value::Object(values)) = all.get("values") else { panic!() };
    values.get("/detail/text").map(|text| text.display().into_owned()).unwrap_or_default()
}

impl Desk for Shelf {
    type Action = EventId;

    fn event(action: &EventId) -> EventId {
        *action
    }

    fn draft(&self, kind: Kind) -> EventDraft {
        self.events.set(self.events.get() + 1);
        let id = EventId::from_parts(self.events.get(), [0; 10]);
        EventDraft::new(kind, id, Seed::from_random([0; 32]))
    }

    fn record(
        &mut self,
        action: Action,
        draft: EventDraft,
        frame: Outgoing,
    ) -> Result<EventId, Unrecorded> {
        let (id, kind) = (draft.id(), draft.kind());
        let text = text_of(draft);
        if text.starts_with("denied") {
            return Err(denied(action));
        }
        let tag = match kind {
            Kind::SqlPrepare => b'P',
            Kind::SqlFetch => b'E',
            Kind::SqlStatement if text.is_empty() => b'B',
            Kind::SqlStatement => b'Q',
            other => panic!("{}", other.code()),
        };
        if tag == b'Q' {
            self.queries.insert(id, text.clone());
        }
        self.told.push((tag, text));
        self.put(frame);
        Ok(id)
    }

    fn part_of(&mut self, _: &EventId, frame: Outgoing) -> Result<(), Unrecorded> {
        let begun = self.stream.len();
        let inside = self.due > 0;
        self.put(frame);
        if !inside && self.stream.get(begun) == Some(&b'E') {
            self.told.push((b'E', String::new()));
        }
        Ok(())
    }

    fn neutral(&mut self, frame: Outgoing) -> Result<(), Unrecorded> {
        assert_eq!(frame.class(), FrameClass::Neutral);
        self.put(frame);
        Ok(())
    }
}

/// A client, a gateway, a server, and what is on its way.
struct World {
    client: VecDeque<Vec<u8>>,
    read: BytesMut,
    intake: Intake<EventId>,
    shelf: Shelf,
    target: Target,
    stalled: bool,
    over: bool,
    outcomes: Vec<Outcome<EventId>>,
}

impl World {
    fn new(client: VecDeque<Vec<u8>>) -> Self {
        Self {
            client,
            read: BytesMut::new(),
            intake: Intake::new(LIMITS),
            shelf: Shelf::default(),
            target: Target::default(),
            stalled: false,
            over: false,
            outcomes: Vec::new(),
        }
    }

    /// A piece of the client's stream comes in, unless the gateway does not read now.
    fn hear(&mut self) -> bool {
        if self.stalled || self.over {
            return false;
        }
        let Some(piece) = self.client.pop_front() else { return false };
        self.read.extend_from_slice(&piece);
        self.gather();
        true
    }

    /// As the relay does it, but for the ledger.
    fn gather(&mut self) {
        self.stalled = false;
        while !self.over {
            let pause = self.intake.gather(&mut self.read, &mut self.shelf, 0);
            match pause {
                Ok(Pause::ForBytes) => break,
                Ok(Pause::ForAnswers) => {
                    self.stalled = true;
                    break;
                }
                Ok(Pause::Refused(refusal)) => {
                    self.intake.refused(*refusal, b"nonexistent", &mut self.shelf, 0).unwrap();
                }
                Ok(Pause::Broken(_) | Pause::Goodbye) | Err(Stop::Broken { .. }) => {
                    self.over = true;
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        self.target.input.append(&mut self.shelf.stream);
        self.outcomes.extend(std::iter::from_fn(|| self.intake.pending.take_outcome()));
    }

    /// An answer of the server comes in.
    fn answer(&mut self) -> bool {
        let Some((tag, body)) = self.target.sent.pop_front() else { return false };
        let pending = &mut self.intake.pending;
        if tag == b'd' {
            pending.answer_copy_data(&body, true, body.len());
        } else {
            pending.answer(tag, &body, body.len(), 0).unwrap();
        }
        self.outcomes.extend(std::iter::from_fn(|| self.intake.pending.take_outcome()));
        if self.stalled {
            self.gather();
        }
        true
    }

    /// Whatever can still happen, happens.
    fn settle(&mut self) {
        while self.target.step() || self.answer() || self.hear() {}
    }
}

/// What the server got, as the record tells it: of what has an effect, type and text.
fn acts(got: &[target::Said]) -> Vec<(u8, String)> {
    let text = |body: &[u8], place: usize| {
        let text = body.split(|byte| *byte == 0).nth(place).unwrap();
        String::from_utf8(text.to_vec()).unwrap()
    };
    let acts = got.iter().filter(|(tag, _)| b"QPBEF".contains(tag));
    let told = acts.map(|(tag, body)| match tag {
        b'Q' => (*tag, text(body, 0)),
        b'P' => (*tag, text(body, 1)),
        _ => (*tag, String::new()),
    });
    told.collect()
}

fn wire(tag: u8, body: &[u8]) -> Vec<u8> {
    Frame::of(tag, body).into_wire().to_vec()
}

fn text() -> impl Strategy<Value = String> {
    let words = vec![
        "select 1",
        "select 1",
        "copy from stdin",
        "copy from stdin",
        "copy from stdin",
        "twice copy stdin",
        "out copy stdout",
        "late copy stdin",
        "fails",
        "fails copy std",
        "nothing copy std",
        "denied",
        "denied copy std",
        "bad",
    ];
    (proptest::sample::select(words), 0u32..1_000_000)
        .prop_map(|(words, number)| format!("{words} {number}"))
}

fn name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["", "", "a"])
}

/// Bytes that are messages, where they are not taken for data.
fn hidden() -> impl Strategy<Value = Vec<u8>> {
    let message = prop_oneof![
        (0u32..1_000_000).prop_map(|number| wire(b'Q', format!("hidden {number}\0").as_bytes())),
        (0u32..1_000_000)
            .prop_map(|number| wire(b'P', format!("\0hidden {number}\0\0\0").as_bytes())),
        proptest::sample::select(vec![
            wire(b'c', b""),
            wire(b'S', b""),
            wire(b'f', b"\0"),
            wire(b'd', b"bad"),
            wire(b'B', b"\0\0\0\0\0\0\0\0"),
            wire(b'E', b"\0\0\0\0\0"),
        ]),
    ];
    proptest::collection::vec(message, 0..4).prop_map(|messages| messages.concat())
}

/// One message, or a few that belong together.
struct Wire(Vec<u8>);

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

fn said() -> impl Strategy<Value = Wire> {
    messages().prop_map(Wire)
}

fn messages() -> impl Strategy<Value = Vec<u8>> {
    let fixed = |tag, body: &'static [u8]| Just(wire(tag, body));
    prop_oneof![
        4 => text().prop_map(|text| wire(b'Q', format!("{text}\0").as_bytes())),
        3 => (name(), text())
            .prop_map(|(name, text)| wire(b'P', format!("{name}\0{text}\0\0\0").as_bytes())),
        3 => (name(), name()).prop_map(|(portal, name)| {
            wire(b'B', format!("{portal}\0{name}\0\0\0\0\0\0\0").as_bytes())
        }),
        3 => name().prop_map(|portal| wire(b'E', format!("{portal}\0\0\0\0\0").as_bytes())),
        2 => text().prop_map(|text| {
            let parse = wire(b'P', format!("\0{text}\0\0\0").as_bytes());
            [parse, wire(b'B', b"\0\0\0\0\0\0\0\0"), wire(b'E', b"\0\0\0\0\0")].concat()
        }),
        4 => hidden().prop_map(|data| wire(b'd', &data)),
        3 => hidden().prop_map(|data| wire(b'd', &[b"bad", &data[..]].concat())),
        3 => fixed(b'c', b""),
        1 => fixed(b'f', b"no\0"),
        4 => fixed(b'S', b""),
        1 => (1usize..30).prop_map(|count| wire(b'S', b"").repeat(count)),
        1 => fixed(b'H', b""),
        1 => name().prop_map(|name| wire(b'D', format!("S{name}\0").as_bytes())),
        1 => name().prop_map(|name| wire(b'C', format!("S{name}\0").as_bytes())),
        1 => (300usize..400).prop_map(|length| wire(b'Q', &vec![b'x'; length])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn what_the_target_reads_is_what_is_on_record(
        script in proptest::collection::vec(said(), 1..25),
        cuts in proptest::collection::vec(1usize..40, 1..20),
        turns in proptest::collection::vec(0u8..8, 1..60),
        last_cut in 0usize..30,
    ) {
        let mut stream: Vec<u8> = script.iter().flat_map(|said| said.0.clone()).collect();
        stream.truncate(stream.len() - last_cut.min(stream.len()));
        let mut client = VecDeque::new();
        for cut in cuts.iter().cycle() {
            if stream.is_empty() {
                break;
            }
            let rest = stream.split_off((*cut).min(stream.len()));
            client.push_back(std::mem::replace(&mut stream, rest));
        }
        let mut world = World::new(client);
        for turn in turns.iter().cycle().take(400) {
            match turn {
                0..=2 => world.hear(),
                3..=5 => world.target.step(),
                _ => world.answer(),
            };
        }
        world.settle();
        let waits = !world.over && (world.stalled || !world.client.is_empty());
        prop_assert!(!waits, "the session waits for an answer that never comes");
        // What the server keeps back until somebody asks for it.
        world.target.flush();
        world.settle();
        prop_assert_eq!(acts(&world.target.got), world.shelf.told.clone());
        prop_assert!(
            world.target.input.is_empty() || world.target.input[0] == b'd' || world.target.closed,
            "only COPY data may be cut: {:?}", world.target.input
        );
        let outcomes = || world.outcomes.iter();
        // COPY data that counts is what the server took, and nothing else.
        let copied = outcomes().filter(|outcome| outcome.status == Status::Ok);
        let copied: Vec<_> = copied
            .filter_map(|outcome| outcome.copied.as_ref())
            .map(|copied| (copied.bytes, copied.sha256()))
            .collect();
        let took = world.target.copied.iter();
        let took: Vec<_> =
            took.map(|data| (data.len() as u64, Sha256::digest(data).into())).collect();
        prop_assert_eq!(copied, took);
        // What ran is told to have run, and what did not is not.
        let ran = outcomes().filter(|outcome| outcome.status != Status::NotExecuted);
        let ran: Vec<_> = ran
            .filter_map(|outcome| {
                let text = world.shelf.queries.get(&outcome.of)?.clone();
                Some((text, outcome.status == Status::Ok))
            })
            .collect();
        prop_assert_eq!(ran, world.target.queries.clone());
    }
}
