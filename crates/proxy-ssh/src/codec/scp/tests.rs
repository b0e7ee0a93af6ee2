//! Tests of the observer of scp: real runs, and those who try to slip past.

use super::*;
use crate::codec::fuzz::{Seen, Trace, follow_scp, recording};
use crate::codec::operation::{Content, Run};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// What was seen, a line for each action and finding. The command's path is /srv/demo.
fn said(trace: Trace) -> Vec<String> {
    let lines = trace.unwrap().into_iter().filter_map(|seen| match seen {
        Seen::Action(operation, _, bytes) => {
            let mut path =
                operation.path.map_or(String::new(), |path| path.escape_ascii().to_string());
            if let Some(name) = operation.name {
                path += &format!(": {}", name.escape_ascii());
            }
            let times = if operation.attributes.times.is_some() { " times" } else { "" };
            let line = bytes.trim_ascii_end().escape_ascii();
            Some(format!("{} {path}{times} <{line}>", operation.kind.name()))
        }
        Seen::Found(found) => {
            let outcome = found.outcome;
            let status = outcome.status.map(|status| (status.code, status.text));
            let bytes = outcome.read.bytes + outcome.written.bytes;
            let whole = [outcome.read, outcome.written]
                .iter()
                .any(|content| matches!(content.run, Run::InOrder { whole: true, .. }));
            let whole = if whole { " whole" } else { "" };
            Some(format!("{}: {status:?} {bytes}{whole}", found.action))
        }
        _ => None,
    });
    lines.collect()
}

fn recorded(name: &str, direction: Direction) -> Vec<String> {
    said(follow_scp(direction, &recording(name), [usize::MAX; 2]))
}

#[test]
fn a_tree_goes_up() {
    let seen = recorded("scp-up-tree.recording", Direction::Receive);
    let ok = "Some((0, b\"\"))";
    // As the folder listed them.
    let mut expected = vec![
        "mkdir /srv/demo: tree times <D0755 0 tree>".to_owned(),
        "mkdir /srv/demo: tree/sub times <D0755 0 sub>".to_owned(),
        "receive /srv/demo: tree/sub/empty times <C0644 0 empty>".to_owned(),
        "mkdir /srv/demo: tree/sub/deep times <D0755 0 deep>".to_owned(),
        "receive /srv/demo: tree/sub/deep/short.bin times <C0644 12345 short.bin>".to_owned(),
        "receive /srv/demo: tree/notes.txt times <C0644 800 notes.txt>".to_owned(),
        "receive /srv/demo: notes.txt times <C0644 800 notes.txt>".to_owned(),
    ];
    for (key, bytes) in [(0, 0), (1, 0), (3, 0)] {
        expected.push(format!("{key}: {ok} {bytes}"));
    }
    for (key, bytes) in [(2, 0), (4, 12345), (5, 800), (6, 800)] {
        expected.push(format!("{key}: {ok} {bytes} whole"));
    }
    let (mut seen, mut expected) = (seen, expected);
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
fn a_tree_comes_down() {
    let mut scp = Scp::<usize>::new(Direction::Send, &["/srv/demo/tree/".into()], false);
    assert_eq!((scp.base.clone(), scp.names(b"tree")), ("/srv/demo/".into(), b"tree".to_vec()));
    scp.directories.push(Directory { name: "tree".into(), key: None });
    assert_eq!(scp.names(b"a"), b"tree/a");
    let seen = recorded("scp-down-tree.recording", Direction::Send);
    assert!(seen.contains(&"list /srv/tree times <D0755 0 tree>".to_owned()), "{seen:#?}");
    assert!(
        seen.contains(
            &"send /srv/tree/sub/deep/short.bin times <C0644 12345 short.bin>".to_owned()
        )
    );
    assert!(seen.contains(&"4: Some((0, b\"\")) 12345 whole".to_owned()), "{seen:#?}");
    let seen = recorded("scp-down-glob.recording", Direction::Send);
    assert_eq!(
        seen,
        [
            "send /srv/notes.txt <C0644 800 notes.txt>",
            "0: Some((0, b\"\")) 800 whole",
            "send /srv/renamed.txt <C0644 800 renamed.txt>",
            "1: Some((0, b\"\")) 800 whole",
        ]
    );
    assert_eq!(recorded("scp-down-missing.recording", Direction::Send), [""; 0]);
}

#[test]
fn where_a_file_lands_is_told_where_it_is_known_and_else_what_is_known() {
    let lands = |base: &'static str, into_directory: bool| {
        let mut scp = Scp::new(Direction::Receive, &[base.into()], into_directory);
        scp.sink(b"\0").unwrap();
        let steps = source(&mut scp, b"C0644 5 x\n");
        let [Step::Action(action)] = &steps[..] else { panic!("{steps:?}") };
        let text = |it: &Option<Bytes>| it.as_ref().map(|it| it.escape_ascii().to_string());
        (text(&action.operation.path).unwrap(), text(&action.operation.name))
    };
    // An existing folder, or the file's new name.
    for base in ["/srv/x", "/srv/y", "x", "/srv/x/", "..x", "/srv/.x", "~"] {
        assert_eq!(lands(base, false), (base.to_owned(), Some("x".to_owned())));
    }
    for (base, path) in
        [(".", "./x"), ("/", "/x"), ("/srv/..", "/srv/../x"), ("..", "../x"), ("a/.", "a/./x")]
    {
        assert_eq!(lands(base, false), (path.to_owned(), None));
    }
    assert_eq!(lands("/srv/x", true), ("/srv/x/x".to_owned(), None));
}

#[test]
fn a_file_that_the_target_refuses() {
    assert_eq!(
        recorded("scp-up-refused.recording", Direction::Receive),
        [
            "receive /srv/demo: notes.txt <C0644 800 notes.txt>",
            "0: Some((1, b\"scp: /srv/demo/block/notes.txt: Is a directory\")) 0",
            "receive /srv/demo: empty <C0644 0 empty>",
            "1: Some((0, b\"\")) 0 whole",
        ]
    );
}

#[test]
fn the_hash_is_that_of_the_file() {
    let notes = b"the quick brown fox\n".repeat(40);
    for (name, direction) in
        [("scp-up-one.recording", Direction::Receive), ("scp-down-glob.recording", Direction::Send)]
    {
        let seen = follow_scp(direction, &recording(name), [usize::MAX; 2]).unwrap();
        let found = seen.iter().find_map(|seen| match seen {
            Seen::Found(found) => Some(found.outcome.clone()),
            _ => None,
        });
        let found = found.unwrap();
        let hash = found.read.sha256_of_whole().or(found.written.sha256_of_whole());
        assert_eq!((hash, found.size), (Some(sha256(&notes)), Some(800)));
    }
}

#[test]
fn all_bytes_are_passed_on_as_they_came() {
    for (name, direction) in RECORDINGS {
        let segments = recording(name);
        let seen = follow_scp(direction, &segments, [usize::MAX; 2]).unwrap();
        let passed = seen.iter().flat_map(|seen| match seen {
            Seen::Bytes(_, bytes) | Seen::Action(_, _, bytes) => bytes.clone(),
            _ => Vec::new(),
        });
        let source = direction == Direction::Receive;
        let sent = segments.iter().filter(|(client, _)| *client == source);
        let sent: Vec<u8> = sent.flat_map(|(_, bytes)| bytes.clone()).collect();
        assert!(passed.collect::<Vec<u8>>() == sent, "{name}");
    }
}

const RECORDINGS: [(&str, Direction); 6] = [
    ("scp-up-tree.recording", Direction::Receive),
    ("scp-up-one.recording", Direction::Receive),
    ("scp-up-refused.recording", Direction::Receive),
    ("scp-down-tree.recording", Direction::Send),
    ("scp-down-glob.recording", Direction::Send),
    ("scp-down-missing.recording", Direction::Send),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// However the bytes are cut, the same is seen.
    #[test]
    fn pieces_do_not_show(piece in 1..500usize, recorded in 0..RECORDINGS.len()) {
        let (name, direction) = RECORDINGS[recorded];
        let segments = recording(name);
        let whole = follow_scp(direction, &segments, [usize::MAX; 2]);
        prop_assert!(whole.is_some() && whole == follow_scp(direction, &segments, [piece; 2]));
    }
}

fn receiving() -> Scp<usize> {
    let mut scp = Scp::new(Direction::Receive, &["/srv".into()], true);
    assert_eq!(scp.sink(b"\0"), Ok(vec![]));
    scp
}

/// Gives bytes of the source, and tells a key for each action.
fn source(scp: &mut Scp<usize>, bytes: &[u8]) -> Vec<Step<usize>> {
    let mut all = Vec::new();
    let mut next = Bytes::copy_from_slice(bytes);
    loop {
        let steps = scp.source(std::mem::take(&mut next)).unwrap();
        for step in &steps {
            if let Step::Action(action) = step {
                scp.recorded(action.ticket, action.ticket.0 as usize);
            }
        }
        if steps.is_empty() {
            return all;
        }
        all.extend(steps);
    }
}

#[test]
fn nothing_goes_on_before_the_sink_has_answered() {
    let mut scp = Scp::<usize>::new(Direction::Receive, &["/srv".into()], true);
    // All at once, as a careless program sends it.
    assert_eq!(source(&mut scp, b"C0644 5 a\nhello\0C0600 0 b\n\0"), vec![]);
    scp.sink(b"\0").unwrap();
    let steps = source(&mut scp, b"");
    assert!(matches!(&steps[..], [Step::Action(action)] if action.bytes == "C0644 5 a\n"));
    scp.sink(b"\0").unwrap();
    let steps = source(&mut scp, b"");
    let part = |bytes: &'static str| Step::Part { action: 1, bytes: bytes.into() };
    assert_eq!(steps, [part("hello"), part("\0")]);
    let found = scp.sink(b"\0").unwrap();
    assert_eq!(found[0].outcome.written.sha256_of_whole(), Some(sha256(b"hello")));
    assert_eq!(source(&mut scp, b"").len(), 1);
}

#[test]
fn a_refused_file_has_no_data() {
    let mut scp = receiving();
    // Who knows that the first file is refused could pass off the second as its data.
    source(&mut scp, b"C0644 9 /no\nC0644 0 b\n");
    let found = scp.sink(b"\x01scp: /no: Permission").unwrap();
    assert_eq!(found, vec![]);
    let found = scp.sink(b" denied\n").unwrap();
    let status = found[0].outcome.status.clone().unwrap();
    assert_eq!((status.code, status.text), (1, "scp: /no: Permission denied".into()));
    let steps = source(&mut scp, b"");
    let [Step::Action(action)] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!(action.operation.path.as_deref(), Some(&b"/srv/b"[..]));
}

#[test]
fn a_source_that_could_not_read_its_file_leaves_no_hash() {
    let mut scp = receiving();
    source(&mut scp, b"C0644 4 a\n");
    scp.sink(b"\0").unwrap();
    source(&mut scp, b"\0\0\0\0\x01a: Input/output error\n");
    let found = scp.sink(b"\0").unwrap();
    let outcome = &found[0].outcome;
    assert_eq!(outcome.written, Content { bytes: 4, run: Run::Scattered });
    assert_eq!(outcome.trouble.as_ref().unwrap().text, "a: Input/output error");
}

#[test]
fn an_error_after_the_data_is_in_the_finding() {
    let mut scp = receiving();
    source(&mut scp, b"C0644 4 a\n");
    scp.sink(b"\0").unwrap();
    source(&mut scp, b"data\0");
    let found = scp.sink(b"\x01scp: a: No space left on device\n").unwrap();
    let outcome = &found[0].outcome;
    assert_eq!(outcome.status.as_ref().unwrap().code, 1);
    let run = Run::InOrder { from: Some(0), whole: false, sha256: sha256(b"data") };
    assert_eq!((outcome.written.run, outcome.size), (run, None));
}

#[test]
fn a_run_that_breaks_off() {
    let mut scp = receiving();
    source(&mut scp, b"C0644 9 a\n");
    scp.sink(b"\0").unwrap();
    source(&mut scp, b"data");
    let found = scp.finish();
    assert!(!found[0].outcome.complete && found[0].outcome.written.bytes == 4);
    let mut scp = receiving();
    source(&mut scp, b"C0644 9 a\n");
    assert_eq!(scp.finish()[0].outcome, Outcome::default());
    assert_eq!(receiving().finish(), vec![]);
}

#[test]
fn lines_and_answers_that_make_no_sense() {
    assert_eq!(
        receiving().source("C06441 1 a\n".into()),
        Err(Malformed::Line("its mode is not four digits"))
    );
    assert_eq!(
        receiving().source("GET / HTTP/1.1\n".into()),
        Err(Malformed::Line("it is no control line"))
    );
    let long = vec![b'C'; LINE_BYTES_MAX + 1];
    assert_eq!(receiving().source(long.into()), Err(Malformed::Line("it is too long")));
    assert_eq!(receiving().sink(b"\0"), Err(Malformed::Unasked));
    // An error may come at any time.
    assert_eq!(receiving().sink(b"\x02lost\n"), Ok(vec![]));
    let mut held = Scp::<usize>::new(Direction::Receive, &[], false);
    assert_eq!(held.source(vec![0; HELD_BYTES_MAX].into()), Ok(vec![]));
    assert!(held.is_full());
    assert_eq!(held.source("x".into()), Err(Malformed::Held));
    let mut deep = receiving();
    let line = format!("D0755 0 {}\n", "d".repeat(1000));
    for _ in 0..16 {
        source(&mut deep, line.as_bytes());
        assert!(deep.sink(b"\0").is_ok());
    }
    source(&mut deep, line.as_bytes());
    assert_eq!(deep.sink(b"\0"), Err(Malformed::Line("directories are too deep")));
}

#[test]
fn what_a_login_script_prints_comes_to_the_client_as_one_action() {
    let mut scp = Scp::<usize>::new(Direction::Send, &["a".into()], false);
    scp.sink(b"\0").unwrap();
    let steps = source(&mut scp, b"Welcome to web-1!\nC0644 5 a\nhello\0");
    let [Step::Action(action), Step::Part { bytes, .. }] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!(
        (action.operation.kind, &action.bytes[..]),
        (Kind::Other, &b"Welcome to web-1!\n"[..])
    );
    assert_eq!(bytes, "C0644 5 a\nhello\0");
    let mut scp = Scp::<usize>::new(Direction::Send, &["a".into()], false);
    scp.sink(b"\0").unwrap();
    let long = vec![b'C'; LINE_BYTES_MAX + 1];
    assert!(matches!(&source(&mut scp, &long)[..], [Step::Action(action)] if action.bytes == long));
}

#[test]
fn a_client_may_answer_before_it_is_asked() {
    let mut scp = Scp::<usize>::new(Direction::Send, &["a".into()], false);
    scp.sink(b"\0\0\0\0").unwrap();
    let steps = source(&mut scp, b"C0644 5 a\nhello\0C0644 0 b\n");
    assert_eq!(steps.len(), 4);
    let found = scp.sink(b"\0").unwrap();
    assert_eq!(found[0].outcome.read.sha256_of_whole(), Some(sha256(b"hello")));
}

#[test]
fn a_denied_file_is_refused_in_scps_own_words() {
    let mut scp = receiving();
    let steps = scp.source("C0644 5 a\n".into()).unwrap();
    let [Step::Action(action)] = &steps[..] else { panic!("{steps:?}") };
    let denial = scp.denied(action.ticket, "not\nallowed");
    assert_eq!(
        (&denial.to_client[..], &denial.to_target[..]),
        (&b"\x01not allowed\n"[..], &b""[..])
    );
    // The client goes on with the next file.
    assert_eq!(source(&mut scp, b"C0644 0 b\n").len(), 1);

    let mut scp = Scp::<usize>::new(Direction::Send, &["a".into()], false);
    scp.sink(b"\0").unwrap();
    let steps = scp.source("C0644 5 a\n".into()).unwrap();
    let [Step::Action(action)] = &steps[..] else { panic!("{steps:?}") };
    let denial = scp.denied(action.ticket, "no");
    assert_eq!((denial.to_client, denial.to_target), ("\x01no\n".into(), "\x01no\n".into()));
    assert_eq!(source(&mut scp, b"C0644 0 b\n").len(), 1);

    // A client that has answered already gets nothing more.
    let mut scp = Scp::<usize>::new(Direction::Send, &["a".into()], false);
    scp.sink(b"\0\0").unwrap();
    let steps = scp.source("C0644 5 a\n".into()).unwrap();
    let [Step::Action(action)] = &steps[..] else { panic!("{steps:?}") };
    scp.denied(action.ticket, "no");
    assert_eq!(scp.source("hello\0".into()), Err(Malformed::Unasked));
}

#[test]
fn names_and_paths_are_bytes() {
    let mut scp = Scp::<usize>::new(Direction::Receive, &[Bytes::from_static(b"/\xff")], false);
    scp.sink(b"\0").unwrap();
    let steps = scp.source(Bytes::from_static(b"C0644 0 \xfe\n")).unwrap();
    let [Step::Action(action)] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!(action.operation.path.as_deref(), Some(&b"/\xff"[..]));
    assert_eq!(action.operation.name.as_deref(), Some(&b"\xfe"[..]));
    let sent = |paths: &[&'static str], name: &[u8]| {
        let paths: Vec<Bytes> =
            paths.iter().map(|path| Bytes::from_static(path.as_bytes())).collect();
        let scp = Scp::<()>::new(Direction::Send, &paths, false);
        join(&scp.base, &scp.names(name))
    };
    assert_eq!(sent(&["*.txt"], b"a.txt"), b"a.txt");
    assert_eq!(sent(&["/"], b"a"), b"a");
    assert_eq!(sent(&["/srv/a/"], b"a"), b"/srv/a");
    assert_eq!(sent(&["/a", "/b"], b"b"), b"b");
}
