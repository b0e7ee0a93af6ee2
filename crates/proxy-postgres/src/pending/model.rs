//! A model of the server: random conversations, with answers that come as late as they like. What
//! an execution is taken for must be what the server runs, or unresolved; every action that was
//! sent must get the outcome that the server gave it.

use super::*;
use crate::codec::backend::TransactionStatus;
use crate::names::Found;
use loggia_model::id::EventId;
use proptest::prelude::*;
use std::collections::{HashMap, VecDeque};

/// What the client sends; `fails` where the server finds a fault of its own.
#[derive(Debug, Clone)]
enum Said {
    Parse { name: u8, fails: bool },
    Bind { portal: u8, name: u8, fails: bool },
    Execute { portal: u8, fails: bool },
    CloseStatement(u8),
    ClosePortal(u8),
    Describe { fails: bool },
    Query { fails: bool },
    Prepare { name: u8 },
    Deallocate { name: u8 },
    Sync,
}

/// What a statement's name means to the server: the action that parsed it, or SQL.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Text {
    Parsed(u32),
    Sql,
}

fn name_of(number: u8) -> &'static [u8] {
    [&b""[..], b"a", b"b"][usize::from(number % 3)]
}

fn event(action: u32) -> EventId {
    EventId::from_parts(u64::from(action), [0; 10])
}

/// A message on its way, with the action it stands for and what we took it for.
struct Sent {
    said: Said,
    action: u32,
    taken_for: Option<Text>,
    first: bool,
}

#[derive(Default)]
struct Server {
    statements: HashMap<u8, Text>,
    portals: HashMap<u8, (u32, Text)>,
    skips: bool,
    expected: Vec<(u32, Status)>,
}

type Answers = Vec<(u8, &'static [u8])>;
const ERROR: (u8, &[u8]) = (b'E', b"SERROR\0VERROR\0C42601\0Mno\0\0");
const READY: (u8, &[u8]) = (b'Z', b"I");

impl Server {
    /// Does what a message asks, as PostgreSQL would; gives the answers.
    fn take(&mut self, sent: &Sent) -> Answers {
        if self.skips && !matches!(sent.said, Said::Sync) {
            let acts = !matches!(
                sent.said,
                Said::CloseStatement(_) | Said::ClosePortal(_) | Said::Describe { .. }
            );
            if acts && !(sent.first && self.bind_undone(sent.action)) {
                self.tell(sent.action, Status::NotExecuted);
            }
            return Vec::new();
        }
        match sent.said {
            Said::Parse { name, fails } => {
                if name == 0 {
                    self.statements.remove(&0);
                }
                if fails || self.statements.contains_key(&name) {
                    return self.fail(Some(sent.action));
                }
                self.statements.insert(name, Text::Parsed(sent.action));
                vec![(b'1', b"")]
            }
            Said::Bind { portal, name, fails } => {
                let text = self.statements.get(&name).copied();
                let taken = portal != 0 && self.portals.contains_key(&portal);
                let Some(text) = text.filter(|_| !fails && !taken) else {
                    return self.fail(Some(sent.action));
                };
                assert!(
                    sent.taken_for.is_none() || sent.taken_for == Some(text),
                    "{:?} is taken for {:?}, the server runs {text:?}",
                    sent.said,
                    sent.taken_for
                );
                if let Some((replaced, _)) = self.portals.insert(portal, (sent.action, text)) {
                    self.ended(replaced);
                }
                vec![(b'2', b"")]
            }
            Said::Execute { portal, fails } => {
                let Some((bind, _)) = self.portals.get(&portal).copied().filter(|_| !fails) else {
                    return self.fail(Some(sent.action));
                };
                assert!(!sent.first || bind == sent.action, "the first Execute of another Bind");
                self.expected.push((sent.action, Status::Ok));
                vec![(b'C', b"SELECT 1\0")]
            }
            Said::CloseStatement(name) => {
                self.statements.remove(&name);
                vec![(b'3', b"")]
            }
            Said::ClosePortal(portal) => {
                if let Some((bind, _)) = self.portals.remove(&portal) {
                    self.ended(bind);
                }
                vec![(b'3', b"")]
            }
            Said::Describe { fails: true } => self.fail(None),
            Said::Describe { fails: false } => vec![(b't', b""), (b'n', b"")],
            Said::Query { .. } | Said::Prepare { .. } | Said::Deallocate { .. } => self.query(sent),
            Said::Sync => {
                self.skips = false;
                self.transaction_ends();
                vec![READY]
            }
        }
    }

    fn query(&mut self, sent: &Sent) -> Answers {
        self.statements.remove(&0);
        if let Some((bind, _)) = self.portals.remove(&0) {
            self.ended(bind);
        }
        let fine = match sent.said {
            Said::Prepare { name } => {
                name != 0
                    && self.statements.insert(name, Text::Sql).is_none_or(|before| {
                        self.statements.insert(name, before);
                        false
                    })
            }
            Said::Deallocate { name } => self.statements.remove(&name).is_some(),
            Said::Query { fails } => !fails,
            _ => true,
        };
        self.transaction_ends();
        let (status, answer) =
            if fine { (Status::Ok, (b'C', &b"SELECT 1\0"[..])) } else { (Status::Error, ERROR) };
        self.expected.push((sent.action, status));
        vec![answer, READY]
    }

    fn fail(&mut self, action: Option<u32>) -> Answers {
        self.skips = true;
        if let Some(action) = action {
            self.tell(action, Status::Error);
        }
        vec![ERROR]
    }

    /// Of a Bind and its first Execute, what came of the latter counts.
    fn tell(&mut self, action: u32, status: Status) {
        self.expected.retain(|(known, _)| *known != action);
        self.expected.push((action, status));
    }

    fn bind_undone(&self, bind: u32) -> bool {
        let mut told = self.expected.iter().filter(|(action, _)| *action == bind);
        told.any(|(_, status)| *status != Status::Ok)
    }

    fn transaction_ends(&mut self) {
        let ended: Vec<u32> = self.portals.drain().map(|(_, (bind, _))| bind).collect();
        ended.into_iter().for_each(|bind| self.ended(bind));
    }

    /// A portal ended: where it was never executed, its Bind went well and was all that ran.
    fn ended(&mut self, bind: u32) {
        if !self.expected.iter().any(|(action, _)| *action == bind) {
            self.expected.push((bind, Status::Ok));
        }
    }
}

/// Both sides, and what is on its way between them.
#[derive(Default)]
struct World {
    pending: Pending<u32>,
    server: Server,
    asked: VecDeque<Sent>,
    answers: VecDeque<(u8, &'static [u8])>,
    actions: u32,
    outcomes: Vec<(u32, Status)>,
}

impl World {
    /// One thing more happens on the way: the server takes a message, or an answer comes in.
    fn step(&mut self) -> bool {
        if let Some((tag, body)) = self.answers.pop_front() {
            self.pending.answer(tag, body, 5 + body.len(), 0).unwrap();
        } else if let Some(sent) = self.asked.pop_front() {
            self.answers.extend(self.server.take(&sent));
        } else {
            return false;
        }
        while let Some(outcome) = self.pending.take_outcome() {
            self.outcomes.push((outcome.of, outcome.status));
        }
        true
    }

    /// The client sends a message, as soon as it need not wait.
    fn send(&mut self, said: &Said) {
        let mut sent = Sent { said: said.clone(), action: 0, taken_for: None, first: false };
        let text = |action: u32| format!("select {action}").into_bytes();
        match said {
            Said::Parse { name, .. } => {
                sent.action = self.action();
                let (action, name) = (sent.action, name_of(*name));
                self.pending.parse(action, event(action), name, &text(action), 0);
            }
            Said::Bind { portal, name, .. } => {
                while self.pending.statement(name_of(*name)) == Found::Wait {
                    assert!(self.step(), "waits for an answer that never comes");
                }
                let of = self.pending.statement(name_of(*name));
                if let Found::Known(prepared) = of {
                    let action = (1..=self.actions).find(|n| event(*n) == prepared.event);
                    sent.taken_for = action.map(Text::Parsed);
                }
                sent.action = self.action();
                self.pending.bind(sent.action, name_of(*portal), of, 0);
            }
            Said::Execute { portal, .. } => {
                while self.pending.portal(name_of(*portal)) == Found::Wait {
                    assert!(self.step(), "waits for an answer that never comes");
                }
                let of = self.pending.portal(name_of(*portal));
                if let Run::First(bind) = self.pending.run(of) {
                    (sent.action, sent.first) = (bind, true);
                    self.pending.execute_first(of, 0);
                } else {
                    sent.action = self.action();
                    self.pending.fetch(sent.action, of, 0);
                }
            }
            Said::CloseStatement(name) => {
                self.pending.close(Named::Statement(name_of(*name)), 0);
            }
            Said::ClosePortal(name) => self.pending.close(Named::Portal(name_of(*name)), 0),
            Said::Describe { .. } => self.pending.describe(0),
            Said::Query { .. } => self.query(&mut sent, "select 1".to_owned()),
            Said::Prepare { name } => {
                let name = String::from_utf8_lossy(name_of(*name));
                self.query(&mut sent, format!("prepare {name} as select 2"));
            }
            Said::Deallocate { name } => {
                let name = String::from_utf8_lossy(name_of(*name));
                self.query(&mut sent, format!("deallocate {name}"));
            }
            Said::Sync => self.pending.sync(0),
        }
        self.asked.push_back(sent);
    }

    fn query(&mut self, sent: &mut Sent, text: String) {
        sent.action = self.action();
        self.pending.query(sent.action, text.as_bytes(), 0);
    }

    fn action(&mut self) -> u32 {
        self.actions += 1;
        self.actions
    }
}

fn said() -> impl Strategy<Value = Said> {
    let name = || 0u8..3;
    let fails = || proptest::bool::weighted(0.15);
    prop_oneof![
        4 => (name(), fails()).prop_map(|(name, fails)| Said::Parse { name, fails }),
        5 => (name(), name(), fails())
            .prop_map(|(portal, name, fails)| Said::Bind { portal, name, fails }),
        5 => (name(), fails()).prop_map(|(portal, fails)| Said::Execute { portal, fails }),
        2 => name().prop_map(Said::CloseStatement),
        1 => name().prop_map(Said::ClosePortal),
        1 => fails().prop_map(|fails| Said::Describe { fails }),
        1 => fails().prop_map(|fails| Said::Query { fails }),
        1 => (1u8..3).prop_map(|name| Said::Prepare { name }),
        1 => name().prop_map(|name| Said::Deallocate { name }),
        4 => Just(Said::Sync),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn what_we_take_it_for_is_what_the_server_runs(
        conversation in proptest::collection::vec((said(), 0usize..4), 1..60),
    ) {
        let mut world = World::default();
        for (said, steps) in &conversation {
            world.send(said);
            for _ in 0..*steps {
                world.step();
            }
        }
        world.send(&Said::Sync);
        while world.step() {}
        prop_assert_eq!(world.pending.unanswered(), 0);
        prop_assert_eq!(world.pending.transaction(), TransactionStatus::Idle);
        world.outcomes.sort_by_key(|(action, _)| *action);
        world.server.expected.sort_by_key(|(action, _)| *action);
        prop_assert_eq!(&world.outcomes, &world.server.expected);
        let mut told: Vec<u32> = world.outcomes.iter().map(|(action, _)| *action).collect();
        told.dedup();
        prop_assert_eq!(told.len(), world.outcomes.len(), "an outcome was told twice");
    }
}
