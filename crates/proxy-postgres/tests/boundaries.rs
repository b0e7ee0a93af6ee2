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
use loggia_model::resource::Depth;
use loggia_testkit::{Postgres, PostgresOptions};
use std::sync::LazyLock;
use wire::{Client, frame, head, parse, query, run};

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
