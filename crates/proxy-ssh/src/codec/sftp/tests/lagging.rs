//! A target that lags behind its client, as each does: it gives its handles out anew, the lowest
//! first, like OpenSSH's server, and its answers are late. Whatever a client sends meanwhile, what
//! is done to a file is on record as done to that file.

use super::*;

/// What a client sends; handles are those that the target gives, guessed or told.
#[derive(Debug, Clone)]
enum Sent {
    Open,
    Close(u32),
    Write(u32),
    Adjust(u32),
    Read(u32),
}

/// One moment.
#[derive(Debug, Clone)]
enum Moment {
    Client(Sent),
    /// The target does what it was asked for first.
    Target,
    /// Its first answer arrives.
    Answer,
}

fn moments() -> impl Strategy<Value = Vec<Moment>> {
    let handle = || 0..3u32;
    let sent = prop_oneof![
        3 => Just(Sent::Open),
        2 => handle().prop_map(Sent::Close),
        3 => handle().prop_map(Sent::Write),
        1 => handle().prop_map(Sent::Adjust),
        1 => handle().prop_map(Sent::Read),
    ];
    let moment = prop_oneof![
        4 => sent.prop_map(Moment::Client),
        3 => Just(Moment::Target),
        3 => Just(Moment::Answer),
    ];
    prop::collection::vec(moment, 0..60)
}

/// The target: which opening each handle stands for.
#[derive(Default)]
struct Target {
    asked: VecDeque<(Option<usize>, Vec<u8>)>,
    open: [Option<usize>; 4],
    answers: VecDeque<Vec<u8>>,
}

impl Target {
    /// Does one thing, and holds it to what is on record of it.
    fn act(&mut self) {
        let Some((on_record, packet)) = self.asked.pop_front() else { return };
        let id = u32::from_be_bytes(packet[5..9].try_into().unwrap());
        let handle = packet.get(13..17).map(|it| u32::from_be_bytes(it.try_into().unwrap()));
        let slot = handle.filter(|handle| *handle < 4).map_or(3, |handle| handle as usize);
        let answer = match packet[4] {
            3 => {
                let free = self.open.iter().take(3).position(Option::is_none);
                match free {
                    Some(free) => {
                        self.open[free] = on_record;
                        super::handle(id, &(free as u32).to_be_bytes())
                    }
                    None => status(id, 4),
                }
            }
            kind => {
                let stands_for = self.open[slot];
                let code = if stands_for.is_some() { 0 } else { 4 };
                if stands_for.is_some() {
                    assert_eq!(on_record, stands_for, "request {kind} is booked on another file");
                }
                if kind == 4 {
                    self.open[slot] = None;
                }
                if kind == 5 && code == 0 { data(id, b"d") } else { status(id, code) }
            }
        };
        self.answers.push_back(answer);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn whatever_is_done_to_a_file_is_booked_on_it(moments in moments()) {
        let mut followed = Followed::default();
        let mut target = Target::default();
        let mut id = 0;
        for moment in moments {
            match moment {
                Moment::Target => target.act(),
                Moment::Answer => {
                    if let Some(answer) = target.answers.pop_front() {
                        followed.server(&answer);
                    }
                }
                Moment::Client(sent) => {
                    id += 1;
                    let handle = |handle: u32| handle.to_be_bytes();
                    let packet = match sent {
                        Sent::Open => open(id, b"/file", WRITES | 1),
                        Sent::Close(which) => close(id, &handle(which)),
                        Sent::Write(which) => write(id, &handle(which), 0, b"x"),
                        Sent::Read(which) => read(id, &handle(which), 0, 1),
                        Sent::Adjust(which) => {
                            let fields = [&string(&handle(which))[..], &[0, 0, 0, 4, 0, 0, 1, 0xff]];
                            request(10, id, &fields)
                        }
                    };
                    for step in followed.client(&packet).unwrap() {
                        let (on_record, bytes) = match step {
                            Step::Part { action, bytes } => (Some(action), bytes),
                            Step::Action(action) if action.operation.kind == Kind::OpenWrite => {
                                (Some(followed.actions - 1), action.bytes)
                            }
                            Step::Action(action) => (action.on, action.bytes),
                            Step::Neutral(bytes) => (None, bytes),
                            Step::Refused { why, .. } => {
                                prop_assert_eq!(why, Refusal::UnknownHandle);
                                continue;
                            }
                        };
                        target.asked.push_back((on_record, bytes.to_vec()));
                    }
                }
            }
        }
        while !target.asked.is_empty() {
            target.act();
        }
    }
}
