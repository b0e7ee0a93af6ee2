//! A recording as the gateway writes it, played and exported.

use super::player::Player;
use super::script::{Script, Source};
use super::told::Told;
use super::*;
use loggia_api::audit::AuditEvent;
use loggia_model::id::EventId;
use loggia_model::port::{Recordings, Tape, TapeState};
use loggia_model::recording::Direction;
use loggia_model::{Clock, Entropy, Mint};
use loggia_recordings::RecordingFolder;
use loggia_tlog::Hash;
use loggia_verify::recording::check::Claim;
use loggia_verify::recording::reader::Held;
use serde_json::{Value, json};
use std::fs::File;
use std::sync::Arc;

const SALT: [u8; 32] = [6; 32];
const STARTED_US: i64 = 1_790_000_000_000_000;

struct Fixed;

impl Clock for Fixed {
    fn now_us(&self) -> i64 {
        STARTED_US
    }
}

impl Entropy for Fixed {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(3);
    }
}

struct World {
    data: tempfile::TempDir,
    session: SessionId,
    path: PathBuf,
    states: Vec<TapeState>,
}

fn action(number: u64) -> EventId {
    EventId::from_parts(number, [number as u8; 10])
}

impl World {
    fn new(record: impl FnOnce(&mut dyn Tape)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let keys = data.path().join("keys");
        std::fs::create_dir(&keys).unwrap();
        let mint = Mint::new(Arc::new(Fixed), Arc::new(Fixed));
        let folder =
            RecordingFolder::open(data.path(), &keys, &mint, Arc::new(|why| panic!("{why}")))
                .unwrap();
        let session = SessionId::from_parts(7, [7; 10]);
        let mut tape = folder.begin(session, &SALT, STARTED_US).unwrap();
        record(&mut *tape);
        tape.syncer()().unwrap();
        let states = vec![tape.state()];
        Self { path: folder.path(session), data, session, states }
    }

    /// A shell in which somebody types a command and a password, and a command beside it.
    fn terminal() -> Self {
        Self::new(|tape| {
            let under = |tape: &mut dyn Tape, at, number| {
                tape.write(at, Direction::Action, action(number).to_string().as_bytes()).unwrap();
            };
            let size =
                |columns: u32, rows: u32| [columns.to_be_bytes(), rows.to_be_bytes()].concat();
            under(tape, 0, 1);
            tape.write(0, Direction::Resize, &size(40, 4)).unwrap();
            tape.write(100_000, Direction::Output, b"\x1b[32m$\x1b[0m ").unwrap();
            tape.write_sealed(1_000_000, 0, b"sudo id\r").unwrap();
            tape.write(1_050_000, Direction::Output, b"sudo id\r\nPassword: ").unwrap();
            tape.disclose(1_060_000, 0).unwrap();
            tape.write_sealed(4_000_000, 1, b"hunter2\r").unwrap();
            under(tape, 4_100_000, 2);
            tape.write(4_200_000, Direction::Output, b"one\ntwo\n").unwrap();
            tape.write(4_300_000, Direction::Error, b"and wrong\n").unwrap();
            tape.write(4_300_000, Direction::Exit, &0u32.to_be_bytes()).unwrap();
            under(tape, 9_000_000, 1);
            tape.write(9_000_000, Direction::Output, "\r\nuid=0(root) gr\u{fc}n\r\n".as_bytes())
                .unwrap();
            tape.write(9_500_000, Direction::Resize, &size(60, 5)).unwrap();
            tape.write(60_000_000, Direction::Output, b"$ \x1b]52;c;aGk=\x07exit\r\n").unwrap();
        })
    }

    fn source(&self) -> Source {
        let claim = |state: &TapeState| Claim {
            frames: state.frames,
            bytes: Some(state.bytes),
            root: Hash(state.root),
        };
        let claims = self.states.iter().map(claim).collect();
        let held = Held { session: self.session, salt: SALT, claims };
        let leaves = Some(self.path.with_extension("leaves"));
        Source { file: File::open(&self.path).unwrap(), held, leaves, limited: false }
    }

    fn script(&self, silent: bool) -> Script {
        let silent = silent.then(|| {
            let key = silent_key(&self.data.path().join("keys/silent.key")).unwrap();
            key.session(&SALT)
        });
        Script::load(self.source(), 2_000_000, silent).unwrap()
    }
}

fn event(number: u64, kind: &str, detail: Value, outcome: Value) -> AuditEvent {
    AuditEvent {
        id: action(number).to_string(),
        kind: kind.to_owned(),
        detail: detail.as_object().unwrap().clone(),
        outcome: outcome.as_object().unwrap().clone(),
        ..AuditEvent::default()
    }
}

fn told_of(world: &World) -> Told {
    let shell = json!({"terminal": true, "columns": 40, "rows": 4});
    let events = vec![
        event(1, "ssh.shell", shell, json!({"status": "ok", "duration_us": 60_000_000})),
        event(2, "ssh.exec", json!({"command": "make \u{1b}[2Jtest"}), json!({"status": "ok"})),
    ];
    Told::new(world.session.to_string(), events)
}

#[test]
fn an_export_is_an_asciicast_of_each_action_in_turn_without_what_stayed_silent() {
    let world = World::terminal();
    let script = world.script(false);
    let scenes: Vec<&Scene> = script.scenes.iter().collect();
    let mut out = Vec::new();
    export::cast(&script, &scenes, &told_of(&world), Some(2_000_000), &mut out).unwrap();
    insta::assert_snapshot!("asciicast", String::from_utf8(out).unwrap());
}

#[test]
fn the_silent_key_opens_what_was_typed_without_echo() {
    let world = World::terminal();
    let typed = |silent: bool| {
        let script = world.script(silent);
        let mut reader = script.read(&script.scenes[0]);
        let mut typed = Vec::new();
        while let Some((number, _, frame)) = reader.next_frame().unwrap() {
            if let loggia_verify::recording::Content::Sealed { line, sealed } = frame.content() {
                let (bytes, echoed) = script.typed(Some(action(1)), line, number, sealed);
                typed.push((bytes.map(|bytes| String::from_utf8(bytes).unwrap()), echoed));
            }
        }
        typed
    };
    let echoed = (Some("sudo id\r".to_owned()), true);
    assert_eq!(typed(false), [echoed.clone(), (None, false)]);
    assert_eq!(typed(true), [echoed, (Some("hunter2\r".to_owned()), false)]);
}

#[test]
fn an_altered_recording_is_refused_with_its_place_and_a_shorter_one_is_said_to_be() {
    let world = World::terminal();
    let genuine = std::fs::read(&world.path).unwrap();
    let mut altered = genuine.clone();
    let at = altered.windows(9).position(|bytes| bytes == b"and wrong").unwrap();
    altered[at] ^= 1;
    std::fs::write(&world.path, altered).unwrap();
    let refused = Script::load(world.source(), 0, None).err().unwrap();
    let said = format!("{refused:?}");
    assert!(said.contains(&format!("frame 10 (byte {}, ", at - 13)), "{said}");
    assert!(said.contains("exit: 10"), "{said}");

    std::fs::write(&world.path, &genuine[..at]).unwrap();
    let script = world.script(false);
    assert!(matches!(script.ending, Ending::CutShort { frames: 9, proven: 0, claimed: 15 }));
    assert_eq!(verdict(&script), "INCOMPLETE: cut short, 9 frames of 15; 0 of them are verified");
}

#[test]
fn actions_are_played_apart_and_what_is_idle_is_cut() {
    let world = World::terminal();
    let script = world.script(false);
    assert_eq!(script.scenes.len(), 2);
    // 0, 0.1, 1.0, 1.05, 1.06, then 4.0, 9.0 and 60.0 after no more than 2 seconds each.
    assert_eq!(script.scenes[0].played_us, 1_060_000 + 2_000_000 + 2_000_000 + 500_000 + 2_000_000);
    assert_eq!(script.scenes[1].played_us, 100_000);
    assert_eq!(verdict(&script), "verified: 15 frames, as the ledger has them");
    let limited = Source { limited: true, ..world.source() };
    let said = verdict(&Script::load(limited, 0, None).unwrap());
    assert!(said.ends_with("what came later was counted, and not kept"), "{said}");
    assert_eq!(chosen(&script, Some("2")).unwrap()[0].action, Some(action(2)));
    let id = action(1).to_string();
    assert_eq!(chosen(&script, Some(&id)).unwrap()[0].action, Some(action(1)));
    assert!(chosen(&script, Some("3")).is_err() && chosen(&script, Some("0")).is_err());
}

fn shown(player: &Player<'_>) -> String {
    player.screen.text().trim_end().to_owned()
}

#[test]
fn the_player_shows_each_moment_whichever_way_it_is_reached() {
    let world = World::terminal();
    let script = world.script(false);
    let scene = &script.scenes[0];
    let mut player = Player::new(&script, scene, (40, 4), true, 2_000_000);
    assert!(player.run_to(500_000, usize::MAX).unwrap());
    assert_eq!(shown(&player), "$");
    assert!(player.run_to(3_060_000, usize::MAX).unwrap());
    assert_eq!(shown(&player), "$ sudo id\npassword:");
    assert_eq!(player.unseen.as_deref(), Some("8 bytes"));
    assert_eq!(player.next_us().unwrap(), Some(5_060_000));
    assert!(player.run_to(u64::MAX, usize::MAX).unwrap());
    let end = shown(&player);
    assert!(end.ends_with("$ exit"), "{end:?}");
    assert_eq!((player.next_us().unwrap(), player.screen.size()), (None, (60, 5)));
    player.rewind_for(1_050_000);
    assert!(player.run_to(1_050_000, usize::MAX).unwrap());
    assert_eq!(shown(&player), "$ sudo id\npassword:");
    assert_eq!(player.screen.size(), (40, 4));
    player.rewind_for(0);
    assert!(player.search("UID=0").unwrap());
    assert_eq!(player.at_us, 5_060_000);
    assert!(!player.search("uid=0").unwrap(), "only once");
}

#[test]
fn going_back_in_much_output_shows_the_same_as_playing_there() {
    let world = World::new(|tape| {
        for number in 0..4_000u64 {
            let line = format!("{number:>6} {}\r\n", "x".repeat(400));
            tape.write(number * 1_000, Direction::Output, line.as_bytes()).unwrap();
        }
    });
    let script = world.script(false);
    let scene = &script.scenes[0];
    let new = || Player::new(&script, scene, (80, 24), true, u64::MAX);
    let mut player = new();
    assert!(!player.run_to(u64::MAX, 100_000).unwrap(), "in bursts");
    assert!(player.run_to(u64::MAX, usize::MAX).unwrap());
    for at_us in [3_999_000, 3_000_500, 1_234_000, 1_000, 0] {
        player.rewind_for(at_us);
        assert!(player.at_us + 700_000 > at_us, "not from the beginning: {}", player.at_us);
        player.run_to(at_us, usize::MAX).unwrap();
        let mut straight = new();
        straight.run_to(at_us, usize::MAX).unwrap();
        assert_eq!(shown(&player), shown(&straight), "{at_us}");
    }
}

#[test]
fn a_headline_says_what_was_done_and_commands_no_terminal() {
    let world = World::terminal();
    let told = told_of(&world);
    assert_eq!(told.headline(Some(action(1))), "ssh.shell ok terminal 40×4 1 min 0 s");
    assert_eq!(told.headline(Some(action(2))), "ssh.exec ok make \\u{1b}[2Jtest");
    assert_eq!(told.headline(Some(action(3))), action(3).to_string());
    assert_eq!(
        (told.terminal(Some(action(1))), told.terminal(Some(action(3)))),
        (Some(true), None)
    );
    assert_eq!(told.size(Some(action(1))), Some((40, 4)));
}
