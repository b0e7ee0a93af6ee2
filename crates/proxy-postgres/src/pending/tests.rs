//! Sequences as a PostgreSQL server sends them; `Talk` plays both sides.

use super::*;
use crate::codec::encode::{self, Severity};
use crate::codec::frame::{Decoder, Frame, HEADER_BYTES, Inbound, Limits, Taking};
use crate::codec::frontend::{self, Message};
use bytes::BytesMut;
use loggia_model::id::EventId;

/// Numbers stand for actions. Each client message that begins an action gets the next number.
#[derive(Default)]
struct Talk {
    pending: Pending<u32>,
    actions: u32,
    now_us: i64,
    passages: Vec<Passage>,
}

fn event(number: u32) -> EventId {
    EventId::from_parts(u64::from(number), [0; 10])
}

impl Talk {
    fn client(&mut self, tag: u8, body: &[u8]) -> &mut Self {
        self.now_us += 10;
        let frame = Frame::of(tag, body);
        match frontend::parse(&frame).unwrap() {
            Message::Query(text) => {
                let action = self.action();
                self.pending.query(action, text, self.now_us);
            }
            Message::Parse(parse) => {
                let action = self.action();
                self.pending.parse(action, event(action), parse.name, parse.text, self.now_us);
            }
            Message::Bind(bind) => {
                let of = self.pending.statement(bind.statement);
                assert_ne!(of, Found::Wait);
                let action = self.action();
                self.pending.bind(action, bind.portal, of, self.now_us);
            }
            Message::Execute { portal, .. } => {
                let of = self.pending.portal(portal);
                assert_ne!(of, Found::Wait);
                match self.pending.run(of) {
                    Run::First(_) => self.pending.execute_first(of, self.now_us),
                    Run::Again(_) | Run::Unknown => {
                        let action = self.action();
                        self.pending.fetch(action, of, self.now_us);
                    }
                }
            }
            Message::Describe(_) => self.pending.describe(self.now_us),
            Message::Close(named) => self.pending.close(named, self.now_us),
            Message::FunctionCall { .. } => {
                let action = self.action();
                self.pending.call(action, self.now_us);
            }
            Message::Sync => self.pending.sync(self.now_us),
            Message::CopyDone | Message::CopyFail(_) => match self.pending.taking() {
                Taking::For(_) => self.pending.copy_end(self.now_us),
                other => assert_eq!(other, Taking::Nothing, "it waits for an answer"),
            },
            Message::Flush | Message::Terminate => {}
            Message::Opaque(_) => {
                let mut buffer = BytesMut::from(&frame.wire()[..]);
                let mut decoder = Decoder::new(Limits::default());
                match decoder.next(&mut buffer, || self.pending.taking()).unwrap() {
                    Some(Inbound::Copy { of, piece }) => self.pending.copy_data(of, &piece),
                    other => assert_eq!(other, None, "it waits for an answer"),
                }
            }
        }
        self
    }

    fn action(&mut self) -> u32 {
        self.actions += 1;
        self.actions
    }

    fn server(&mut self, tag: u8, body: &[u8]) -> &mut Self {
        self.now_us += 5;
        let bytes = HEADER_BYTES + body.len();
        match tag {
            b'D' => self.pending.answer_bytes(bytes),
            b'd' => self.pending.answer_copy_data(body, true, bytes),
            _ => {
                let passage = self.pending.answer(tag, body, bytes, self.now_us).unwrap();
                self.passages.push(passage);
            }
        }
        self
    }

    fn error(&mut self, sqlstate: &str) -> &mut Self {
        let body = format!("SERROR\0VERROR\0C{sqlstate}\0Mno\0\0");
        self.server(b'E', body.as_bytes())
    }

    fn ready(&mut self, status: &[u8]) -> &mut Self {
        self.server(b'Z', status)
    }

    /// Action, status and tags of every outcome so far.
    fn outcomes(&mut self) -> Vec<(u32, Status, String)> {
        let all = std::iter::from_fn(|| self.pending.take_outcome());
        all.map(|outcome| {
            let tags: Vec<_> = outcome
                .commands
                .iter()
                .map(|command| String::from_utf8(command.tag.clone()).unwrap())
                .collect();
            (outcome.of, outcome.status, tags.join(","))
        })
        .collect()
    }
}

fn told(of: u32, status: Status, tags: &str) -> (u32, Status, String) {
    (of, status, tags.to_owned())
}

const PARSE: &[u8] = b"\0select 1\0\0\0";
const COPY: &[u8] = b"\0copy t from stdin\0\0\0";
const BIND: &[u8] = b"\0\0\0\0\0\0\0\0";
const EXECUTE: &[u8] = b"\0\0\0\0\0";
const ROW: &[u8] = b"\0\x01\0\0\0\x011";

#[test]
fn a_query_gives_rows_bytes_and_duration() {
    let mut talk = Talk::default();
    talk.client(b'Q', b"select 1\0").server(b'T', b"..").server(b'D', ROW).server(b'D', ROW);
    assert!(talk.outcomes().is_empty(), "not before ReadyForQuery");
    talk.server(b'C', b"SELECT 2\0").ready(b"I");
    let outcome = talk.pending.take_outcome().unwrap();
    assert_eq!((outcome.of, outcome.status, outcome.rows()), (1, Status::Ok, Some(2)));
    assert_eq!(outcome.bytes, 7 + 12 + 12 + 14 + 6);
    assert_eq!(outcome.duration_us, 25, "five messages, five apart");
    assert_eq!(talk.pending.unanswered(), 0);
}

#[test]
fn several_commands_in_one_query_are_told_one_by_one() {
    let mut talk = Talk::default();
    talk.client(b'Q', b"begin; insert ...; select 1/0\0");
    talk.server(b'C', b"BEGIN\0").server(b'C', b"INSERT 0 3\0").error("22012").ready(b"E");
    assert_eq!(talk.outcomes(), [told(1, Status::Error, "BEGIN,INSERT 0 3")]);
    assert_eq!(talk.pending.transaction(), TransactionStatus::Failed);
    talk.client(b'Q', b"\0").server(b'I', b"").ready(b"E");
    assert_eq!(talk.outcomes(), [told(2, Status::Ok, "")]);
    let many = COMMANDS_MAX + 3;
    talk.client(b'Q', b"...\0");
    for _ in 0..many {
        talk.server(b'C', b"INSERT 0 1\0");
    }
    talk.ready(b"I");
    let outcome = talk.pending.take_outcome().unwrap();
    assert_eq!((outcome.commands.len(), outcome.commands_more), (COMMANDS_MAX, 3));
}

#[test]
fn bind_and_its_first_execute_are_one_action() {
    let mut talk = Talk::default();
    talk.client(b'P', PARSE).client(b'B', BIND).client(b'D', b"P\0").client(b'E', EXECUTE);
    talk.client(b'S', b"");
    talk.server(b'1', b"").server(b'2', b"").server(b'T', b"..").server(b'D', ROW);
    talk.server(b'C', b"SELECT 1\0").ready(b"I");
    assert_eq!(talk.outcomes(), [told(2, Status::Ok, "SELECT 1")]);
    assert_eq!(talk.pending.unanswered(), 0);
}

#[test]
fn a_portal_that_is_fetched_in_parts_has_an_action_for_each_later_part() {
    let mut talk = Talk::default();
    talk.client(b'Q', b"begin\0").server(b'C', b"BEGIN\0").ready(b"T");
    talk.client(b'P', PARSE).client(b'B', b"p\0\0\0\0\0\0\0\0").client(b'E', b"p\0\0\0\0\x01");
    talk.client(b'S', b"");
    talk.server(b'1', b"").server(b'2', b"").server(b'D', ROW).server(b's', b"").ready(b"T");
    talk.client(b'E', b"p\0\0\0\0\x01").client(b'S', b"");
    talk.server(b'D', ROW).server(b'C', b"SELECT 1\0").ready(b"T");
    assert_eq!(
        talk.outcomes(),
        [
            told(1, Status::Ok, "BEGIN"),
            told(3, Status::Partial, ""),
            told(4, Status::Ok, "SELECT 1")
        ]
    );
}

#[test]
fn after_an_error_everything_up_to_sync_was_not_executed() {
    let mut talk = Talk::default();
    for _ in 0..3 {
        talk.client(b'P', PARSE).client(b'B', BIND).client(b'E', EXECUTE);
    }
    talk.client(b'S', b"").client(b'P', PARSE).client(b'S', b"");
    talk.server(b'1', b"").server(b'2', b"").server(b'C', b"INSERT 0 1\0");
    talk.server(b'1', b"").server(b'2', b"").error("23505").ready(b"I").server(b'1', b"");
    talk.ready(b"I");
    assert_eq!(
        talk.outcomes(),
        [
            told(2, Status::Ok, "INSERT 0 1"),
            told(4, Status::Error, ""),
            told(5, Status::NotExecuted, ""),
            told(6, Status::NotExecuted, ""),
        ]
    );
    assert_eq!(talk.pending.unanswered(), 0);
}

#[test]
fn a_parse_or_bind_that_fails_says_so_once() {
    let mut talk = Talk::default();
    talk.client(b'P', PARSE).client(b'B', BIND).client(b'E', EXECUTE).client(b'S', b"");
    talk.error("42601").ready(b"I");
    assert_eq!(
        talk.outcomes(),
        [told(1, Status::Error, ""), told(2, Status::NotExecuted, "")],
        "the Execute is part of the Bind"
    );
    talk.client(b'P', PARSE).client(b'B', BIND).client(b'E', EXECUTE).client(b'S', b"");
    talk.server(b'1', b"").error("22P02").ready(b"I");
    assert_eq!(talk.outcomes(), [told(4, Status::Error, "")]);
}

#[test]
fn a_bind_without_execute_went_well_when_its_portal_ends() {
    let mut talk = Talk::default();
    talk.client(b'P', PARSE).client(b'B', BIND).client(b'S', b"");
    talk.server(b'1', b"").server(b'2', b"");
    assert!(talk.outcomes().is_empty());
    talk.ready(b"I");
    assert_eq!(talk.outcomes(), [told(2, Status::Ok, "")]);
}

#[test]
fn an_error_at_the_end_of_the_implicit_transaction_belongs_to_its_last_action() {
    let mut talk = Talk::default();
    talk.client(b'P', PARSE).client(b'B', BIND).client(b'E', EXECUTE).client(b'S', b"");
    talk.server(b'1', b"").server(b'2', b"").server(b'C', b"INSERT 0 1\0").error("23503");
    talk.ready(b"I");
    assert_eq!(talk.outcomes(), [told(2, Status::Ok, "INSERT 0 1"), told(2, Status::Error, "")]);
}

#[test]
fn a_query_behind_a_failed_group_without_sync_is_skipped_too() {
    let mut talk = Talk::default();
    talk.client(b'P', PARSE).client(b'Q', b"select 1\0").client(b'S', b"");
    talk.error("42601").ready(b"I");
    assert_eq!(talk.outcomes(), [told(1, Status::Error, ""), told(2, Status::NotExecuted, "")]);
}

#[test]
fn a_cancelled_action_says_so() {
    let mut talk = Talk::default();
    talk.client(b'Q', b"select pg_sleep(9)\0").error("57014").ready(b"I");
    assert_eq!(talk.outcomes(), [told(1, Status::Cancelled, "")]);
}

#[test]
fn copy_in_is_hashed_and_counted_without_headers() {
    let mut talk = Talk::default();
    talk.client(b'Q', b"copy t from stdin\0").server(b'G', b"\0\0\0");
    talk.client(b'd', b"a\n").client(b'd', b"b\n").client(b'c', b"");
    talk.server(b'C', b"COPY 2\0").ready(b"I");
    let outcome = talk.pending.take_outcome().unwrap();
    let copied = outcome.copied.unwrap();
    assert_eq!((copied.bytes, copied.messages, outcome.status), (4, 2, Status::Ok));
    let expected = "911169ddaaf146aff539f58c26c489af3b892dff0fe283c1c264c65ae5aa59a2";
    assert_eq!(hex::encode(copied.sha256()), expected, "sha256 of a\\nb\\n");
    assert_eq!(talk.pending.unanswered(), 0);
}

#[test]
fn copy_out_is_hashed_and_counted_without_headers() {
    let mut talk = Talk::default();
    talk.client(b'Q', b"copy t to stdout\0").server(b'H', b"\0\0\0");
    talk.server(b'd', b"a\n").server(b'd', b"b\n").server(b'c', b"");
    talk.server(b'C', b"COPY 2\0").ready(b"I");
    let outcome = talk.pending.take_outcome().unwrap();
    assert_eq!(outcome.copied.map(|copied| (copied.bytes, copied.messages)), Some((4, 2)));
}

#[test]
fn a_sync_within_copy_in_is_not_answered() {
    // As libpq does it: PQsendQueryParams ends with a Sync, PQputCopyEnd sends another.
    let mut talk = Talk::default();
    talk.client(b'P', COPY).client(b'B', BIND).client(b'E', EXECUTE).client(b'S', b"");
    talk.server(b'1', b"").server(b'2', b"").server(b'G', b"\0\0\0");
    talk.client(b'd', b"a\n").client(b'c', b"").client(b'S', b"");
    talk.server(b'C', b"COPY 1\0").ready(b"I");
    assert_eq!(talk.outcomes(), [told(2, Status::Ok, "COPY 1")]);
    assert_eq!(talk.pending.unanswered(), 0);
}

#[test]
fn a_copy_in_that_breaks_leaves_the_rest_in_step() {
    // The client goes on sending; the server ignores it.
    let mut talk = Talk::default();
    talk.client(b'Q', b"copy t from stdin\0").server(b'G', b"\0\0\0").client(b'd', b"x\n");
    talk.error("22P02").ready(b"I");
    assert_eq!(talk.pending.taking(), Taking::Nothing, "what comes now belongs to nothing");
    talk.client(b'c', b"").client(b'Q', b"select 1\0");
    talk.server(b'C', b"SELECT 1\0").ready(b"I");
    assert_eq!(talk.outcomes(), [told(1, Status::Error, ""), told(2, Status::Ok, "SELECT 1")]);

    // The same in the extended protocol, with both Syncs.
    let mut talk = Talk::default();
    talk.client(b'P', COPY).client(b'B', BIND).client(b'E', EXECUTE).client(b'S', b"");
    talk.server(b'1', b"").server(b'2', b"").server(b'G', b"\0\0\0");
    talk.client(b'd', b"x\n").client(b'c', b"").client(b'S', b"");
    talk.error("22P02").ready(b"I");
    talk.client(b'Q', b"select 1\0").server(b'C', b"SELECT 1\0").ready(b"I");
    assert_eq!(talk.outcomes(), [told(2, Status::Error, ""), told(3, Status::Ok, "SELECT 1")]);
    assert_eq!(talk.pending.unanswered(), 0);
}

#[test]
fn nothing_goes_out_behind_what_may_begin_a_copy() {
    // Whatever SQL raises, even as if it were a broken protocol: nothing was behind it.
    for sqlstate in ["08P01", "22P02"] {
        let mut talk = Talk::default();
        assert_eq!(talk.pending.hold(0), Hold::Free);
        talk.client(b'Q', b"copy t from stdin binary\0");
        assert_eq!(talk.pending.taking(), Taking::NotYet, "data waits too");
        assert_eq!(talk.pending.hold(0), Hold::Flush);
        assert_eq!(talk.pending.hold(0), Hold::Wait, "asked once");
        talk.server(b'G', b"\0\0\0").client(b'd', b"bad").client(b'c', b"");
        assert_eq!(talk.pending.taking(), Taking::NotYet, "data behind the end waits again");
        assert_eq!(talk.pending.hold(0), Hold::Flush, "the client has ended it");
        assert_eq!(talk.pending.hold(0), Hold::Wait);
        talk.error(sqlstate);
        assert_eq!(talk.pending.hold(0), Hold::Wait);
        talk.ready(b"I");
        assert_eq!(talk.pending.hold(0), Hold::Free);
        talk.client(b'P', PARSE).client(b'S', b"").server(b'1', b"").ready(b"I");
        assert_eq!(talk.outcomes(), [told(1, Status::Error, "")]);
    }
    // A client that does not end its COPY does not wait for ever.
    let mut talk = Talk::default();
    talk.client(b'P', COPY).client(b'B', BIND).client(b'E', EXECUTE);
    assert_eq!(talk.pending.hold(0), Hold::Flush);
    talk.server(b'1', b"").server(b'2', b"").server(b'G', b"\0\0\0");
    assert_eq!(talk.pending.hold(0), Hold::CopyFail(2));
    assert_eq!(talk.pending.hold(0), Hold::Wait);
    talk.error("57014");
    assert_eq!(talk.pending.hold(0), Hold::Free);
    talk.client(b'P', PARSE).client(b'S', b"").ready(b"I");
    assert_eq!(talk.outcomes(), [told(2, Status::Cancelled, ""), told(3, Status::NotExecuted, "")]);
}

#[test]
fn data_is_for_the_copy_that_the_server_has_begun_and_for_no_other() {
    let mut talk = Talk::default();
    talk.client(b'Q', b"select 1\0");
    assert_eq!(talk.pending.taking(), Taking::Nothing, "this begins no COPY");
    talk.server(b'C', b"SELECT 1\0").ready(b"I");
    // However many Syncs are behind the message that begins one.
    talk.client(b'Q', b"copy t from stdin; copy t from stdin\0");
    for _ in 0..100 {
        talk.client(b'S', b"");
    }
    assert_eq!(talk.pending.taking(), Taking::NotYet);
    talk.server(b'G', b"\0\0\0").client(b'd', b"a\n").client(b'c', b"");
    assert_eq!(talk.pending.taking(), Taking::NotYet);
    talk.server(b'C', b"COPY 1\0");
    assert_eq!(talk.pending.taking(), Taking::NotYet, "another may begin");
    talk.server(b'G', b"\0\0\0").client(b'd', b"b\n").client(b'c', b"");
    talk.server(b'C', b"COPY 1\0").ready(b"I");
    assert_eq!(talk.pending.taking(), Taking::Nothing);
    let outcome = talk.pending.take_outcome().unwrap();
    assert!(outcome.copied.is_none());
    let copied = talk.pending.take_outcome().unwrap().copied.unwrap();
    assert_eq!((copied.bytes, copied.messages), (4, 2));
    // What the client says while the server copies out is no part of what is copied.
    talk.client(b'Q', b"copy t to stdout\0").server(b'H', b"\0\0\0");
    assert_eq!(talk.pending.taking(), Taking::NotYet);
    talk.server(b'd', b"a\n").server(b'c', b"").server(b'C', b"COPY 1\0").ready(b"I");
    assert_eq!(talk.pending.take_outcome().unwrap().copied.map(|copied| copied.bytes), Some(2));
}

#[test]
fn what_is_left_of_a_message_when_its_copy_breaks_counts_for_nothing() {
    let mut talk = Talk::default();
    talk.client(b'Q', b"copy t from stdin\0").server(b'G', b"\0\0\0");
    let mut decoder = Decoder::new(Limits::default());
    let mut buffer = BytesMut::from(&b"d\0\0\0\x08ab"[..]);
    let begun = decoder.next(&mut buffer, || talk.pending.taking()).unwrap();
    let Some(Inbound::Copy { of, piece }) = begun else { panic!("{begun:?}") };
    talk.pending.copy_data(of, &piece);
    talk.error("22P02");
    buffer.extend_from_slice(b"cd");
    let rest = decoder.next(&mut buffer, || talk.pending.taking()).unwrap();
    let Some(Inbound::Copy { of, piece }) = rest else { panic!("it goes on all the same") };
    talk.pending.copy_data(of, &piece);
    talk.ready(b"I");
    let copied = talk.pending.take_outcome().unwrap().copied.unwrap();
    assert_eq!((copied.bytes, copied.messages), (2, 1));
}

#[test]
fn a_copy_that_nobody_saw_begin_is_a_broken_target() {
    let mut talk = Talk::default();
    talk.client(b'Q', b"select 1\0").client(b'Q', b"select 2\0");
    assert_eq!(talk.pending.answer(b'G', b"\0\0\0", 8, 0), Err(Mismatch(b'G')));
}

#[test]
fn what_is_skipped_behind_a_copy_is_not_guessed() {
    // A trigger fails before the server has read the Sync: it answers it, and skips no more.
    let mut talk = Talk::default();
    talk.client(b'P', COPY).client(b'B', BIND).client(b'E', EXECUTE).client(b'S', b"");
    talk.server(b'1', b"").server(b'2', b"").server(b'G', b"\0\0\0").error("08P01");
    assert_eq!(talk.pending.hold(0), Hold::Doubtful);
    talk.ready(b"I");
    assert_eq!(talk.pending.hold(0), Hold::Free);
    talk.client(b'Q', b"select 1\0").server(b'C', b"SELECT 1\0").ready(b"I");
    assert_eq!(talk.outcomes(), [told(2, Status::Error, ""), told(3, Status::Ok, "SELECT 1")]);
}

#[test]
fn however_much_is_skipped_before_a_sync_does_not_fill_the_queue() {
    let mut talk = Talk::default();
    talk.client(b'P', PARSE).error("42601");
    for _ in 0..200_000 {
        talk.client(b'D', b"S\0");
    }
    assert_eq!(talk.outcomes(), [told(1, Status::Error, "")]);
    for _ in 0..2000 {
        talk.client(b'B', BIND).client(b'E', EXECUTE);
        let skipped = |(_, status, _): &(u32, Status, String)| *status == Status::NotExecuted;
        assert!(talk.outcomes().iter().all(skipped));
    }
    assert_eq!((talk.pending.unanswered(), talk.pending.binds.len()), (0, 0));
    talk.client(b'S', b"").ready(b"I");
    talk.client(b'Q', b"select 1\0").server(b'C', b"SELECT 1\0").ready(b"I");
    assert_eq!(talk.outcomes(), [told(talk.actions, Status::Ok, "SELECT 1")]);
}

#[test]
fn a_function_call_is_an_action() {
    let mut talk = Talk::default();
    talk.client(b'F', b"\0\0\x08\x98\0\0\0\0\0\0").server(b'V', b"\0\0\0\x011").ready(b"I");
    assert_eq!(talk.outcomes(), [told(1, Status::Ok, "")]);
}

#[test]
fn notices_notifications_and_settings_answer_nothing() {
    let mut talk = Talk::default();
    talk.client(b'Q', b"listen x\0");
    talk.server(b'N', b"").server(b'A', b"").server(b'S', b"");
    talk.server(b'C', b"LISTEN\0").ready(b"I").server(b'A', b"");
    assert_eq!(talk.outcomes(), [told(1, Status::Ok, "LISTEN")]);
}

#[test]
fn a_server_that_says_goodbye_ends_what_runs() {
    let mut talk = Talk::default();
    let fatal = b"SFATAL\0VFATAL\0C57P01\0Mterminating\0\0";
    talk.server(b'E', fatal);
    assert!(talk.outcomes().is_empty());
    talk.client(b'Q', b"select 1\0").server(b'E', fatal);
    assert_eq!(talk.outcomes(), [told(1, Status::Error, "")]);
}

#[test]
fn a_refused_message_is_answered_in_its_turn_with_our_words() {
    let report = encode::Report {
        severity: Severity::Error,
        sqlstate: "54000",
        message: "too large".into(),
        detail: None,
        hint: None,
    };
    let mut talk = Talk::default();
    talk.client(b'P', PARSE).client(b'B', BIND).client(b'E', EXECUTE);
    talk.pending.refused(report.clone(), 0);
    talk.client(b'E', EXECUTE).client(b'S', b"");
    talk.server(b'1', b"").server(b'2', b"").server(b'C', b"SELECT 1\0").error("26000");
    assert_eq!(talk.passages.last(), Some(&Passage::Replace(Box::new(report.clone()))));
    talk.ready(b"I");
    assert_eq!(
        talk.outcomes(),
        [told(2, Status::Ok, "SELECT 1"), told(3, Status::NotExecuted, "")]
    );
    // Where the server skips it after an earlier error, nobody is told anything.
    talk.client(b'P', PARSE);
    talk.pending.refused(report, 0);
    talk.client(b'S', b"").error("42601");
    assert_eq!(talk.passages.last(), Some(&Passage::Forward));
    talk.ready(b"I");
    assert_eq!(talk.pending.unanswered(), 0);
}

#[test]
fn answers_to_nothing_are_a_broken_target() {
    let mut pending = Pending::<u32>::default();
    for tag in *b"123CIsGH" {
        let body: &[u8] = if tag == b'C' { b"SELECT 1\0" } else { b"" };
        assert_eq!(pending.answer(tag, body, 5, 0), Err(Mismatch(tag)), "{}", char::from(tag));
    }
    assert_eq!(pending.answer(b'W', b"", 5, 0), Ok(Passage::CopyBoth));
}

#[test]
fn names_follow_what_the_server_did_not_what_was_asked() {
    let mut talk = Talk::default();
    talk.client(b'P', b"S\0select 1\0\0\0").client(b'S', b"").server(b'1', b"").ready(b"I");
    // The second Parse of the name fails: what is bound is the first text.
    talk.client(b'P', b"S\0drop table t\0\0\0").client(b'S', b"");
    assert_eq!(talk.pending.statement(b"S"), Found::Wait);
    talk.error("42P05").ready(b"I");
    let Found::Known(prepared) = talk.pending.statement(b"S") else { panic!() };
    assert_eq!(prepared.event, event(1));
    // A group that breaks before its Parse was reached: the name was never made.
    talk.client(b'P', b"T\0...\0\0\0").client(b'P', b"U\0...\0\0\0").client(b'S', b"");
    talk.error("42601").ready(b"I");
    assert_eq!(talk.pending.statement(b"U"), Found::Unresolved);
}
