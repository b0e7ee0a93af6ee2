//! Where one message ends and the next begins is the same for the gateway and for the target,
//! whatever happens in the middle of one. The server's own log (`log_statement = 'all'`) is the
//! judge: nothing stands in it that is not on record.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(missing_docs, unreachable_pub, dead_code, reason = "a test")]

mod gateway;
mod wire;

use gateway::Gateway;
use loggia_gate::EndNotice;
use loggia_model::decision::Action;
use loggia_model::resource::Depth;
use loggia_testkit::{Postgres, PostgresOptions};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use wire::{Accepted, Client, cut, frame, head, parse, query, run, target};

/// One server for all tests of this file; each test has an application name of its own.
fn real() -> &'static Postgres {
    static TARGET: LazyLock<Postgres> = LazyLock::new(|| {
        let target = Postgres::start(PostgresOptions::default()).unwrap();
        target.execute("create table t (a int); create table effects (a text)").unwrap();
        target
    });
    &TARGET
}

/// What the server says it ran in a session of this name.
fn ran(application: &str) -> Vec<String> {
    let all = real().logged().unwrap().into_iter();
    all.filter(|statement| statement.application == application).map(|s| s.text).collect()
}

/// The texts on record.
fn recorded(gateway: &Gateway) -> Vec<String> {
    let events = gateway.events().into_iter();
    let told = events.filter(|seen| matches!(seen.kind(), "sql.statement" | "sql.prepare"));
    told.map(|seen| seen.text("/detail/text")).collect()
}

/// Everything that the server ran under this name is on record, and nothing had an effect.
fn assert_all_on_record(gateway: &Gateway, application: &str) {
    let recorded = recorded(gateway);
    for text in ran(application) {
        assert!(recorded.contains(&text), "the target ran {text:?}; on record: {recorded:?}");
    }
    let effects = format!("select count(*) from effects where a = '{application}'");
    assert_eq!(real().execute(&effects).unwrap(), "0", "something ran that is not on record");
}

const CUT_BYTES: usize = 1000;

/// Begins a COPY that fails while a CopyData message of [`CUT_BYTES`] is under way, of which the
/// last 990 bytes are sent behind the server's error.
fn fail_in_the_middle_of_a_message(client: &mut Client) {
    client.send(&query("copy t from stdin"));
    client.until(b'G');
    let mut burst = frame(b'd', b"bad\n");
    burst.extend_from_slice(&head(b'd', CUT_BYTES));
    burst.extend_from_slice(&[b'x'; 10]);
    client.send(&burst);
    client.until(b'Z');
    client.send(&[b'y'; CUT_BYTES - 10]);
}

/// A Parse of a harmless text that is filled up so that its parameter types begin where a
/// CopyData message of which 990 bytes are missing would end; they hold `hidden`.
fn parse_around(hidden: &[u8]) -> Vec<u8> {
    let mut types = hidden.to_vec();
    let padding = (4 - (hidden.len() + 5) % 4) % 4;
    types.extend_from_slice(&frame(b'd', &vec![0; padding]));
    let before = 5 + "\0select 1 --\0".len() + 2;
    let text = format!("select 1 --{}", ".".repeat(CUT_BYTES - 10 - before));
    let message = parse("", &text, &types);
    assert!(message[CUT_BYTES - 10..].starts_with(hidden));
    message
}

#[test]
fn a_copy_that_fails_in_the_middle_of_a_message_hides_no_query_in_a_later_one() {
    let gateway = Gateway::start(real(), Depth::Kernel, "hidden query");
    let mut client = Client::connect(&gateway);
    fail_in_the_middle_of_a_message(&mut client);
    let hidden = query("insert into effects values ('hidden query')");
    client.send(&[parse_around(&hidden), frame(b'S', b"")].concat());
    client.until(b'Z');
    client.send(&frame(b'X', b""));
    assert_all_on_record(&gateway, "hidden query");
}

#[test]
fn a_copy_that_fails_in_the_middle_of_a_message_swaps_no_text_of_a_statement() {
    let gateway = Gateway::start(real(), Depth::Kernel, "swapped text");
    let mut client = Client::connect(&gateway);
    fail_in_the_middle_of_a_message(&mut client);
    let evil =
        "with x as (insert into effects values ('swapped text') returning 1) select 1 from x";
    client.send(&[parse_around(&parse("", evil, b"")), run("")].concat());
    client.until(b'Z');
    assert_eq!(client.run("select 2").first().unwrap().0, b'T', "the session goes on");
    client.send(&frame(b'X', b""));
    assert_all_on_record(&gateway, "swapped text");
}

#[test]
fn the_tail_of_a_message_whose_head_came_before_the_copy_is_no_message() {
    let gateway = Gateway::start(real(), Depth::Kernel, "tail");
    let mut client = Client::connect(&gateway);
    let tail = [frame(b'c', b""), query("insert into effects values ('tail')")].concat();
    let mut burst = query("copy t from stdin");
    (0..20).for_each(|_| burst.extend_from_slice(&frame(b'S', b"")));
    burst.extend_from_slice(&head(b'd', 10 + tail.len()));
    burst.extend_from_slice(&[b'x'; 10]);
    client.send(&burst);
    client.until(b'G');
    client.send(&tail);
    client.send(&[frame(b'c', b""), query("select 'behind it'")].concat());
    let heard = client.until(b'Z');
    assert_eq!(heard[0].0, b'E', "all of it was data, and no number: {heard:?}");
    client.until(b'Z');
    client.send(&frame(b'X', b""));
    assert_all_on_record(&gateway, "tail");
    assert!(ran("tail").contains(&"select 'behind it'".to_owned()), "{:?}", ran("tail"));
}

#[test]
fn the_types_that_choose_what_runs_are_on_record() {
    let target = real();
    target
        .execute(
            "create function chosen(int) returns text language sql as $$ select 'number' $$; \
             create function chosen(text) returns text language sql as $$ select 'text' $$",
        )
        .unwrap();
    let gateway = Gateway::start(target, Depth::Kernel, "types");
    let mut client = Client::connect(&gateway);
    for (oid, answer) in [(23u32, "number"), (25, "text")] {
        let parse = parse("", "select chosen($1)", &oid.to_be_bytes());
        let bind = frame(b'B', b"\0\0\0\0\0\x01\0\0\0\x017\0\x01\0\x01");
        let execute = frame(b'E', b"\0\0\0\0\0");
        client.send(&[parse, bind, execute, frame(b'S', b"")].concat());
        let heard = client.until(b'Z');
        let row = heard.iter().find(|(tag, _)| *tag == b'D').unwrap();
        assert!(row.1.ends_with(answer.as_bytes()), "{heard:?}");
    }
    client.send(&frame(b'X', b""));
    let prepared = gateway.of_kind("sql.prepare");
    let types: Vec<String> = prepared.iter().map(|seen| seen.text("/detail/types")).collect();
    assert_eq!(types, ["[23]", "[25]"], "the text alone is the same");
    let bound = gateway.of_kind("sql.statement");
    assert!(bound.iter().all(|seen| seen.text("/detail/result_formats") == "[1]"));
}

/// What SECURITY.md says of names: Loggia follows one as far as the session itself makes it. The
/// target's own log tells what ran.
#[test]
fn a_name_that_code_of_others_replaced_shows_in_the_targets_own_log_alone() {
    let target = real();
    target
        .execute(
            "create function replace_it() returns int language plpgsql as $$ begin \
             execute 'deallocate s1'; execute 'prepare s1 as select ''replaced'''; return 1; end $$",
        )
        .unwrap();
    let gateway = Gateway::start(target, Depth::Kernel, "replaced");
    let mut client = Client::connect(&gateway);
    client.send(&[parse("s1", "select 1", b""), frame(b'S', b"")].concat());
    client.until(b'Z');
    client.run("select replace_it()");
    client.send(&run("s1"));
    client.until(b'Z');
    client.send(&frame(b'X', b""));
    let prepared = gateway.of_kind("sql.prepare");
    let bound = gateway.of_kind("sql.statement");
    assert_eq!(bound[1].text("/detail/prepared"), prepared[0].event.id.to_string());
    let ran = ran("replaced");
    assert!(ran.last().unwrap().contains("select 'replaced'"), "{ran:?}");
}

/// A client that began a COPY and sent the first ten bytes of a message of so many.
fn in_the_middle_of_a_message(gateway: &Gateway, bytes: usize) -> Client {
    let mut client = Client::connect(gateway);
    client.send(&query("copy t from stdin"));
    client.until(b'G');
    client.send(&[head(b'd', bytes), vec![b'x'; 10]].concat());
    client
}

/// Plays a target that copies. Gives all that came, once the gateway has closed its side; says on
/// the way when the piece of a message is there.
fn copying_target(gateway: &Gateway) -> (JoinHandle<Vec<u8>>, Receiver<()>) {
    let (said, heard) = channel();
    let part = move |mut accepted: Accepted| {
        let stream = accepted.read_until(Vec::new(), |stream| !cut(stream).0.is_empty());
        accepted.send(&frame(b'G', b"\0\0\0"));
        let stream = accepted.read_until(stream, |stream| stream.ends_with(b"xxxxxxxxxx"));
        said.send(()).unwrap();
        accepted.read_to_the_end(stream)
    };
    (target(gateway, part), heard)
}

/// The target got the Query and what the client sent of its message, and not a byte more: no word
/// of goodbye that it would take for data, or for the beginning of another message.
fn assert_ends_where_it_was_cut(stream: &[u8]) {
    let (messages, rest) = cut(stream);
    let tags: Vec<u8> = messages.iter().map(|(tag, _)| *tag).collect();
    assert_eq!(tags, [b'Q'], "{}", stream.escape_ascii());
    assert!(rest.starts_with(b"d") && rest.len() == 15, "{}", rest.escape_ascii());
}

#[test]
fn a_client_that_goes_in_the_middle_of_a_message_leaves_it_cut() {
    for bytes in [11, 13, 15, 1000] {
        let gateway = Gateway::start(real(), Depth::Kernel, "gone");
        let (target, arrived) = copying_target(&gateway);
        let client = in_the_middle_of_a_message(&gateway, bytes);
        arrived.recv().unwrap();
        client.vanish();
        assert_ends_where_it_was_cut(&target.join().unwrap());
        let ended = gateway.of_kind("session.end");
        assert_eq!(ended[0].text("/detail/reason"), "client_closed");
    }
}

#[test]
fn an_order_to_end_in_the_middle_of_a_message_leaves_it_cut() {
    for bytes in [11, 13, 15, 1000] {
        let gateway = Gateway::start(real(), Depth::Kernel, "ordered");
        let (target, arrived) = copying_target(&gateway);
        let mut client = in_the_middle_of_a_message(&gateway, bytes);
        arrived.recv().unwrap();
        let notice = EndNotice { code: "locked", reason: "enough".into(), by: None };
        assert!(gateway.sessions.end(gateway.sessions.list()[0].id, notice));
        let (heard, rest) = client.until_the_end();
        assert!(heard.last().is_some_and(|(tag, _)| *tag == b'E') && rest.is_empty(), "{heard:?}");
        drop(client);
        assert_ends_where_it_was_cut(&target.join().unwrap());
        let ended = gateway.of_kind("session.end");
        assert_eq!(ended[0].text("/detail/reason"), "locked");
    }
}

fn tags(messages: &[(u8, Vec<u8>)]) -> Vec<u8> {
    messages.iter().map(|(tag, _)| *tag).collect()
}

/// What the last message, an ErrorResponse, says.
fn last_words(messages: &[(u8, Vec<u8>)]) -> String {
    let (tag, body) = messages.last().unwrap();
    assert_eq!(*tag, b'E');
    String::from_utf8_lossy(body).into_owned()
}

#[test]
fn an_answer_in_place_of_a_long_one_leaves_nothing_of_that() {
    let gateway = Gateway::start(real(), Depth::Kernel, "long");
    let long = [b"SERROR\0C26000\0M", &vec![b'y'; 300_000][..], b"\0\0"].concat();
    let target = target(&gateway, move |mut accepted: Accepted| {
        let synced = |stream: &[u8]| cut(stream).0.iter().any(|(tag, _)| *tag == b'S');
        let stream = accepted.read_until(Vec::new(), synced);
        accepted.send(&[frame(b'E', &long), frame(b'Z', b"I")].concat());
        accepted.read_to_the_end(stream)
    });
    let mut client = Client::connect(&gateway);
    gateway.world.deny(Action::SqlExecute);
    let heard = client.run("select 1");
    assert_eq!(tags(&heard), [b'E', b'Z'], "the rest of the long one is not there");
    assert!(last_words(&heard[..1]).contains("you may not do this here"));
    client.send(&frame(b'X', b""));
    drop(client);
    target.join().unwrap();
}

#[test]
fn an_answer_that_is_refused_is_not_passed_on_in_part() {
    let gateway = Gateway::start(real(), Depth::Kernel, "both");
    let target = target(&gateway, |mut accepted: Accepted| {
        let stream = accepted.read_until(Vec::new(), |stream| !cut(stream).0.is_empty());
        accepted.send(&[head(b'W', 100), vec![0; 30]].concat());
        accepted.read_to_the_end(stream)
    });
    let mut client = Client::connect(&gateway);
    gateway.world.deny(Action::SqlOpaque);
    client.send(&query("start_replication slot s logical 0/0"));
    let (heard, rest) = client.until_the_end();
    assert!(tags(&heard) == [b'E'] && rest.is_empty(), "{heard:?}, {}", rest.escape_ascii());
    assert!(last_words(&heard).contains("replication is opaque"));
    drop(client);
    target.join().unwrap();
}

#[test]
fn what_a_broken_target_said_before_is_passed_on_whole() {
    let gateway = Gateway::start(real(), Depth::Kernel, "broken");
    let (saw, seen) = channel();
    let target = target(&gateway, move |mut accepted: Accepted| {
        let stream = accepted.read_until(Vec::new(), |stream| !cut(stream).0.is_empty());
        let row = frame(b'D', b"\0\x01\0\0\0\x05hello");
        accepted.send(&[&frame(b'T', b"\0\0")[..], &row[..8]].concat());
        seen.recv().unwrap();
        // The rest of the row, and in the same breath an answer to nothing.
        accepted.send(&[&row[8..], &frame(b'1', &[0; 40])[..20]].concat());
        accepted.read_to_the_end(stream)
    });
    let mut client = Client::connect(&gateway);
    client.send(&query("select 'hello'"));
    client.until(b'T');
    saw.send(()).unwrap();
    let (heard, rest) = client.until_the_end();
    assert!(tags(&heard) == [b'D', b'E'] && rest.is_empty(), "{heard:?}, {}", rest.escape_ascii());
    assert!(last_words(&heard).contains("broke the PostgreSQL protocol"));
    drop(client);
    target.join().unwrap();
    let ended = gateway.of_kind("session.end");
    assert_eq!(ended[0].text("/detail/reason"), "protocol_error");
}

#[test]
fn replication_passes_in_both_directions_where_it_is_allowed() {
    let settings = vec![("wal_level".to_owned(), "logical".to_owned())];
    let options = PostgresOptions { settings, ..PostgresOptions::default() };
    let target = Postgres::start(options).unwrap();
    target.execute("create table r (a int)").unwrap();
    let gateway = Gateway::start(&target, Depth::Kernel, "replication");
    let receive = |arguments: &[&str]| {
        let mut command = std::process::Command::new("pg_recvlogical");
        command.args(["-d", "postgres", "--slot", "s", "--no-loop"]).args(arguments);
        command.envs(gateway.env()).output().unwrap()
    };
    let made = receive(&["--create-slot", "-P", "test_decoding"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let filled = "set synchronous_commit = on; insert into r select generate_series(1, 1000)";
    target.execute(filled).unwrap();
    let end = target.execute("select pg_current_wal_lsn()").unwrap();
    let received = receive(&["--start", "-f", "-", "--endpos", &end, "--status-interval", "1"]);
    let told = String::from_utf8_lossy(&received.stdout).into_owned();
    assert!(received.status.success(), "{}", String::from_utf8_lossy(&received.stderr));
    assert_eq!(told.matches("table public.r: INSERT").count(), 1000);
    // What the client said in its turn reached the target: it has taken the slot on.
    let confirmed = "select confirmed_flush_lsn >= '0/0' and restart_lsn is not null \
                     and confirmed_flush_lsn > restart_lsn from pg_replication_slots";
    assert_eq!(target.execute(confirmed).unwrap(), "t");
    let opaque = gateway.of_kind("sql.opaque");
    assert!(opaque.iter().any(|seen| seen.text("/detail/message") == "W"), "{opaque:?}");
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// Messages of a client that keeps to no order; each statement has a number of its own, and COPY
/// data holds messages that must never be taken for some.
fn anything(dice: &mut Dice, session: usize) -> Vec<u8> {
    let hidden = || query("insert into effects values ('anything')");
    let mut stream = Vec::new();
    for number in 0..30 {
        let mark = format!("/* {session}.{number} */");
        let name = ["", "a", "b"][dice.roll(3)];
        let text = ["select 1", "copy t from stdin", "select 1/0", "bad"][dice.roll(4)];
        let data = [&b"1\n"[..], b"bad\n", b""][dice.roll(3)];
        let message = match dice.roll(14) {
            0 | 1 => query(&format!("copy t from stdin {mark}")),
            2 => query(&format!("{text} {mark}")),
            3 | 4 => parse(name, &format!("{text} {mark}"), b""),
            5 | 6 => run(name),
            7 => frame(b'S', b"").repeat(1 + dice.roll(20)),
            8 => frame(b'c', b""),
            9 => frame(b'f', b"no\0"),
            10 => frame(b'd', data),
            11 => frame(b'd', &[data, &frame(b'c', b""), &hidden()].concat()),
            12 => frame(b'd', &[data, &vec![b'x'; dice.roll(90)], &hidden()].concat()),
            _ => frame(b'C', format!("S{name}\0").as_bytes()),
        };
        stream.extend_from_slice(&message);
    }
    [stream, frame(b'c', b""), frame(b'S', b""), frame(b'X', b"")].concat()
}

#[test]
fn whatever_a_client_says_in_whatever_pieces_the_target_runs_what_is_on_record() {
    let gateway = Gateway::start(real(), Depth::Kernel, "anything");
    let mut dice = Dice(1);
    for session in 0..60 {
        let stream = anything(&mut dice, session);
        let mut client = Client::connect(&gateway);
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((1 + dice.roll(120)).min(rest.len()));
            if !client.tries_to_send(piece) {
                break;
            }
            rest = behind;
            if dice.roll(3) == 0 {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
        let (heard, rest) = client.until_the_end();
        assert!(rest.is_empty(), "session {session}: {heard:?} {}", rest.escape_ascii());
    }
    assert_all_on_record(&gateway, "anything");
    let ended: Vec<String> =
        gateway.of_kind("session.end").iter().map(|seen| seen.text("/detail/reason")).collect();
    // A few come behind a COPY of which nobody knows how it ended, and are told so.
    assert!(ended.iter().all(|why| why == "client_closed" || why == "protocol_error"), "{ended:?}");
    assert!(ended.iter().filter(|why| *why == "client_closed").count() > 30, "{ended:?}");
    assert!(ran("anything").len() > 100, "{:?}", ran("anything").len());
}
