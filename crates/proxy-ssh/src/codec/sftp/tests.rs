//! Tests of the SFTP observer: a real client and server, and those who try to slip past.

use super::*;
use crate::codec::fuzz::{Seen, follow_sftp, recording};
use crate::codec::operation::{Action, Content, Kind, Outcome, Refusal, Run, Status};
use bytes::BufMut;
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;

mod lagging;

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn packet(kind: u8, fields: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.put_u32(fields.len() as u32 + 1);
    packet.put_u8(kind);
    packet.extend_from_slice(fields);
    packet
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

fn request(kind: u8, id: u32, fields: &[&[u8]]) -> Vec<u8> {
    packet(kind, &[&id.to_be_bytes()[..], &fields.concat()].concat())
}

fn open(id: u32, path: &[u8], flags: u32) -> Vec<u8> {
    request(3, id, &[&string(path), &flags.to_be_bytes(), &[0; 4]])
}

fn close(id: u32, handle: &[u8]) -> Vec<u8> {
    request(4, id, &[&string(handle)])
}

fn read(id: u32, handle: &[u8], at: u64, length: u32) -> Vec<u8> {
    request(5, id, &[&string(handle), &at.to_be_bytes(), &length.to_be_bytes()])
}

fn write(id: u32, handle: &[u8], at: u64, data: &[u8]) -> Vec<u8> {
    request(6, id, &[&string(handle), &at.to_be_bytes(), &string(data)])
}

fn handle(id: u32, handle: &[u8]) -> Vec<u8> {
    request(packet::HANDLE, id, &[&string(handle)])
}

fn data(id: u32, bytes: &[u8]) -> Vec<u8> {
    request(packet::DATA, id, &[&string(bytes)])
}

fn status(id: u32, code: u32) -> Vec<u8> {
    packet::status(id, code, "text").to_vec()
}

const WRITES: u32 = 2 | 8 | 16;

/// An observer with a caller that records everything; keys count up from 0.
#[derive(Default)]
struct Followed {
    sftp: Sftp<usize>,
    actions: usize,
}

impl Followed {
    fn client(&mut self, bytes: &[u8]) -> Result<Vec<Step<usize>>, Malformed> {
        let Requests { steps, .. } = self.sftp.requests(Bytes::copy_from_slice(bytes))?;
        for step in &steps {
            if let Step::Action(action) = step {
                self.sftp.recorded(action.ticket, self.actions);
                self.actions += 1;
            }
        }
        Ok(steps)
    }

    fn action(&mut self, bytes: &[u8]) -> Action<usize> {
        match self.client(bytes).unwrap().remove(0) {
            Step::Action(action) => action,
            other => panic!("not an action: {other:?}"),
        }
    }

    fn part(&mut self, bytes: &[u8]) -> usize {
        match &self.client(bytes).unwrap()[..] {
            [Step::Part { action, bytes: passed }] => {
                assert_eq!(passed, bytes);
                *action
            }
            other => panic!("not one part: {other:?}"),
        }
    }

    fn server(&mut self, bytes: &[u8]) -> Vec<Finding<usize>> {
        self.sftp.answers(bytes).unwrap().found
    }

    /// A file that is open under `name`.
    fn opened(&mut self, id: u32, name: &[u8], flags: u32) -> usize {
        let key = self.actions;
        self.action(&open(id, b"/file", flags));
        assert_eq!(self.server(&handle(id, name)), vec![]);
        key
    }

    /// Closes it.
    fn closed(&mut self, id: u32, name: &[u8]) -> Outcome {
        self.part(&close(id, name));
        let found = self.server(&status(id, 0));
        assert_eq!(found.len(), 1);
        found[0].outcome.clone()
    }
}

fn said(seen: &[Seen]) -> Vec<String> {
    let path = |path: &Option<Bytes>| match path {
        Some(path) => format!(" {}", path.escape_ascii()),
        None => String::new(),
    };
    let lines = seen.iter().filter_map(|seen| match seen {
        Seen::Action(operation, on, _) => {
            let Kind::Other = operation.kind else {
                let (kind, from, to) = (operation.kind.name(), &operation.path, &operation.path_to);
                let on = on.map(|on| format!(" on {on}")).unwrap_or_default();
                let flags = operation.flags.map(|flags| format!(" {flags}")).unwrap_or_default();
                let mode = operation.attributes.mode_text();
                let mode = mode.map(|mode| format!(" {mode}")).unwrap_or_default();
                return Some(format!("{kind}{}{}{flags}{mode}{on}", path(from), path(to)));
            };
            Some(format!("other {}", operation.request.escape_ascii()))
        }
        Seen::Found(found) => {
            let outcome = &found.outcome;
            let code = outcome.status.as_ref().map(|status| status.code);
            let mut line = format!("{}: {}", found.action, status_name(code.unwrap_or(99)));
            for (way, content) in [("read", outcome.read), ("wrote", outcome.written)] {
                if let Run::InOrder { whole, from, .. } = content.run {
                    let whole = if whole { " whole" } else { "" };
                    line += &format!(" {way} {} from {from:?}{whole}", content.bytes);
                }
            }
            if outcome.entries > 0 {
                line += &format!(" entries {}", outcome.entries);
            }
            Some(line)
        }
        _ => None,
    });
    lines.collect()
}

#[test]
fn a_session_of_openssh() {
    let seen = follow_sftp(&recording("sftp.recording"), usize::MAX).unwrap();
    let expected = include_str!("../../../testdata/sftp.expected");
    assert_eq!(said(&seen), expected.lines().collect::<Vec<_>>());
}

#[test]
fn the_hash_is_that_of_the_file() {
    let segments = recording("sftp.recording");
    let seen = follow_sftp(&segments, usize::MAX).unwrap();
    let notes = sha256(&b"the quick brown fox\n".repeat(40));
    let hash_of = |kind: Kind, name: &[u8]| {
        let actions = seen.iter().filter_map(|seen| match seen {
            Seen::Action(operation, ..) => Some(operation),
            _ => None,
        });
        let key = actions
            .clone()
            .position(|operation| {
                operation.kind == kind && operation.path.as_ref().unwrap().ends_with(name)
            })
            .unwrap();
        let outcome = seen.iter().find_map(|seen| match seen {
            Seen::Found(found) if found.action == key => Some(found.outcome.clone()),
            _ => None,
        });
        let outcome = outcome.unwrap();
        outcome.read.sha256_of_whole().or(outcome.written.sha256_of_whole())
    };
    assert_eq!(hash_of(Kind::OpenWrite, b"notes.txt"), Some(notes));
    assert_eq!(hash_of(Kind::OpenRead, b"notes.txt"), Some(notes));
    assert_eq!(hash_of(Kind::OpenWrite, b"empty"), Some(sha256(b"")));
    assert_eq!(hash_of(Kind::OpenRead, b"empty"), Some(sha256(b"")));
    let copy = hash_of(Kind::OpenWrite, b"copy.bin");
    assert!(copy.is_some() && copy == hash_of(Kind::OpenRead, b"copy.bin"));
}

#[test]
fn all_bytes_are_passed_on_as_they_came() {
    let segments = recording("sftp.recording");
    let seen = follow_sftp(&segments, usize::MAX).unwrap();
    let passed: Vec<u8> = seen
        .iter()
        .flat_map(|seen| match seen {
            Seen::Bytes(_, bytes) | Seen::Action(_, _, bytes) => bytes.clone(),
            _ => Vec::new(),
        })
        .collect();
    let sent: Vec<u8> = segments
        .iter()
        .filter(|(client, _)| *client)
        .flat_map(|(_, bytes)| bytes.clone())
        .collect();
    assert!(passed == sent);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// However the bytes are cut, the same is seen.
    #[test]
    fn pieces_do_not_show(piece in 1..5000usize) {
        let segments = recording("sftp.recording");
        prop_assert!(follow_sftp(&segments, usize::MAX) == follow_sftp(&segments, piece));
    }
}

#[test]
fn a_cut_at_every_byte_does_not_show() {
    let client = [open(1, b"/a", WRITES), request(14, 2, &[&string(b"/d"), &[0; 4]])].concat();
    let writes =
        [write(3, b"h", 0, b"hello"), write(4, b"h", 5, b" there"), close(5, b"h")].concat();
    let segments = vec![
        (true, client),
        (false, [handle(1, b"h"), status(2, 4)].concat()),
        (true, writes),
        (false, [status(3, 0), status(4, 0), status(5, 0)].concat()),
    ];
    let whole = follow_sftp(&segments, usize::MAX).unwrap();
    for segment in 0..segments.len() {
        for cut in 1..segments[segment].1.len() {
            let mut cut_segments = segments.clone();
            let (side, bytes) = cut_segments.remove(segment);
            let (first, second) = bytes.split_at(cut);
            cut_segments.insert(segment, (side, second.to_vec()));
            cut_segments.insert(segment, (side, first.to_vec()));
            assert_eq!(follow_sftp(&cut_segments, usize::MAX).unwrap(), whole, "{segment} {cut}");
        }
    }
}

#[test]
fn data_is_passed_on_before_the_packet_is_whole_and_shares_its_memory() {
    let mut followed = Followed::default();
    let key = followed.opened(1, b"h", WRITES);
    let whole = write(2, b"h", 0, &[7; 1000]);
    assert_eq!(followed.part(&whole[..100]), key);
    let chunk = Bytes::copy_from_slice(&whole[100..]);
    let Requests { steps, control } = followed.sftp.requests(chunk.clone()).unwrap();
    assert_eq!(control, "", "it is content of a file, all of it");
    let [Step::Part { action, bytes }] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!((*action, bytes.as_ptr(), bytes.len()), (key, chunk.as_ptr(), chunk.len()));
    followed.server(&status(2, 0));
    let found = followed.closed(3, b"h");
    assert_eq!(found.written.sha256_of_whole(), Some(sha256(&[7; 1000])));
    assert_eq!(found.size, Some(1000));
}

#[test]
fn a_client_that_offers_more_is_held_to_version_3() {
    let mut sftp = Sftp::<()>::new();
    let init = packet(packet::INIT, b"\0\0\0\x06\0\0\0\x01a\0\0\0\x01b");
    let Requests { steps, control } = sftp.requests(init.clone().into()).unwrap();
    assert_eq!(control, init, "what the client said");
    let passed = packet(packet::INIT, b"\0\0\0\x03\0\0\0\x01a\0\0\0\x01b");
    assert_eq!(steps, vec![Step::Neutral(passed.into())]);
    assert_eq!(sftp.answers(&packet(packet::VERSION, b"\0\0\0\x03rest")).unwrap().found, []);
    let newer = packet(packet::VERSION, b"\0\0\0\x04");
    assert_eq!(sftp.answers(&newer), Err(Malformed::Version(4)));
}

#[test]
fn reads_out_of_order_are_put_in_order() {
    let mut followed = Followed::default();
    followed.opened(1, b"h", 1);
    for (id, at) in [(2, 0), (3, 4), (4, 8), (5, 12)] {
        followed.part(&read(id, b"h", at, 4));
    }
    followed.server(&[data(4, b"ijkl"), data(3, b"efgh")].concat());
    followed.server(&[status(5, 1), data(2, b"abcd")].concat());
    let found = followed.closed(6, b"h");
    let sha256 = sha256(b"abcdefghijkl");
    let run = Run::InOrder { from: Some(0), whole: true, sha256 };
    assert_eq!(found.read, Content { bytes: 12, run });
    assert_eq!((found.size, found.written), (Some(12), Content::default()));
}

#[test]
fn a_read_of_a_part_is_a_part_and_here_and_there_has_no_hash() {
    let mut followed = Followed::default();
    followed.opened(1, b"h", 1);
    followed.part(&read(2, b"h", 100, 4));
    followed.server(&data(2, b"abcd"));
    let run = Run::InOrder { from: Some(100), whole: false, sha256: sha256(b"abcd") };
    assert_eq!(followed.closed(3, b"h").read, Content { bytes: 4, run });
    followed.opened(1, b"h", 1);
    for (id, at) in [(2, 8), (3, 0)] {
        followed.part(&read(id, b"h", at, 4));
        followed.server(&data(id, b"abcd"));
    }
    assert_eq!(followed.closed(4, b"h").read, Content { bytes: 8, run: Run::Scattered });
}

#[test]
fn a_write_that_fails_leaves_no_hash_and_says_why() {
    let mut followed = Followed::default();
    followed.opened(1, b"h", WRITES);
    followed.part(&write(2, b"h", 0, b"abcd"));
    followed.part(&write(3, b"h", 4, b"efgh"));
    followed.server(&[status(2, 0), status(3, 4)].concat());
    let found = followed.closed(4, b"h");
    assert_eq!(found.written, Content { bytes: 4, run: Run::Scattered });
    assert_eq!(found.trouble.unwrap(), Status { code: 4, text: "text".into() });
    assert!(found.complete && found.status.unwrap().is_ok());
}

#[test]
fn what_is_appended_is_hashed_without_a_place() {
    let mut followed = Followed::default();
    followed.opened(1, b"h", 2 | 4);
    for (id, at) in [(2, 0), (3, 0), (4, 77)] {
        followed.part(&write(id, b"h", at, b"ab"));
        followed.server(&status(id, 0));
    }
    let found = followed.closed(5, b"h");
    let run = Run::InOrder { from: None, whole: false, sha256: sha256(b"ababab") };
    assert_eq!((found.written, found.size), (Content { bytes: 6, run }, None));
}

#[test]
fn sizes_and_modes_come_from_attributes() {
    let mut followed = Followed::default();
    followed.opened(1, b"h", WRITES);
    followed.part(&write(2, b"h", 0, b"abcd"));
    followed.server(&status(2, 0));
    let attributes = b"\0\0\0\x05\0\0\0\0\0\0\0\x02\0\0\x81\xa4";
    let action = followed.action(&request(10, 3, &[&string(b"h"), attributes]));
    assert_eq!((action.on, action.operation.path), (Some(0), Some("/file".into())));
    assert_eq!(action.operation.attributes.mode_text().unwrap(), "0644");
    assert_eq!(followed.server(&status(3, 0)).len(), 1);
    assert!(matches!(
        &followed.client(&request(8, 4, &[&string(b"h")])).unwrap()[..],
        [Step::Neutral(_)]
    ));
    followed.server(&request(packet::ATTRS, 4, &[attributes]));
    let found = followed.closed(5, b"h");
    assert_eq!((found.size, found.mode), (Some(2), Some(0o100644)));
    assert_eq!(found.written.run, Run::Scattered, "the file was cut behind what was written");
}

#[test]
fn a_copy_on_the_target_spoils_the_hash_of_what_it_writes() {
    let mut followed = Followed::default();
    followed.opened(1, b"a", 1);
    followed.opened(2, b"b", WRITES);
    let fields = [&string(b"copy-data")[..], &string(b"a"), &[0; 16], &string(b"b"), &[0; 8]];
    let action = followed.action(&request(200, 3, &fields));
    assert_eq!((action.operation.kind, action.on), (Kind::Copy, Some(1)));
    followed.server(&status(3, 0));
    assert_eq!(followed.closed(4, b"b").written.run, Run::Scattered);
}

#[test]
fn a_request_id_stands_for_one_request() {
    let mut followed = Followed::default();
    followed.client(&open(7, b"/a", 1)).unwrap();
    for again in [open(7, b"/b", 1), request(17, 7, &[&string(b"/a")]), read(7, b"h", 0, 1)] {
        assert_eq!(followed.client(&again), Err(Malformed::Reused(7)));
    }
    followed.server(&handle(7, b"h"));
    followed.client(&request(17, 7, &[&string(b"/a")])).unwrap();
    assert_eq!(followed.client(&write(7, b"h", 0, b"x")), Err(Malformed::Reused(7)));
}

#[test]
fn an_answer_to_nothing_changes_nothing() {
    let mut followed = Followed::default();
    followed.opened(1, b"h", WRITES);
    let answers = [status(9, 0), handle(9, b"h"), data(9, b"x"), request(104, 9, &[&[0; 4]])];
    assert_eq!(followed.server(&answers.concat()), vec![]);
    assert_eq!(followed.closed(2, b"h").written, content_of_empty());
}

fn content_of_empty() -> Content {
    Content { bytes: 0, run: Run::InOrder { from: Some(0), whole: true, sha256: sha256(b"") } }
}

#[test]
fn an_answer_of_the_wrong_type_ends_its_action_and_opens_nothing() {
    let mut followed = Followed::default();
    followed.action(&open(1, b"/a", 1));
    followed.action(&request(13, 2, &[&string(b"/a")]));
    let found = followed.server(&[data(1, b"x"), handle(2, b"h")].concat());
    let codes: Vec<u32> =
        found.into_iter().map(|found| found.outcome.status.unwrap().code).collect();
    assert_eq!(codes, [Status::STRANGE, Status::STRANGE]);
    assert!(is_unknown(&followed.client(&write(3, b"h", 0, b"x")).unwrap()[0], "write"));
}

#[test]
fn a_handle_given_again_is_another_file() {
    let mut followed = Followed::default();
    let first = followed.opened(1, b"h", WRITES);
    followed.part(&write(2, b"h", 0, b"ab"));
    followed.server(&status(2, 0));
    followed.action(&open(3, b"/b", WRITES));
    let found = followed.server(&handle(3, b"h"));
    assert_eq!((found[0].action, found[0].outcome.complete), (first, false));
    assert_eq!(followed.part(&write(4, b"h", 0, b"cd")), first + 1);
    followed.server(&status(4, 0));
    assert_eq!(followed.closed(5, b"h").written.sha256_of_whole(), Some(sha256(b"cd")));
}

#[test]
fn a_guessed_handle_goes_nowhere() {
    let mut followed = Followed::default();
    // The target would open the file and take the write, before anybody here knows.
    let guess = [open(1, b"/a", WRITES), write(2, b"\0\0\0\0", 0, b"evil")].concat();
    let steps = followed.client(&guess).unwrap();
    let [Step::Action(_), refused] = &steps[..] else { panic!("{steps:?}") };
    assert!(is_unknown(refused, "write"), "{refused:?}");
    // The number of what was refused is free again.
    followed.server(&handle(1, b"\0\0\0\0"));
    followed.part(&write(2, b"\0\0\0\0", 0, b"good"));
    followed.server(&status(2, 0));
    assert_eq!(followed.closed(3, b"\0\0\0\0").written.sha256_of_whole(), Some(sha256(b"good")));
}

/// Whether it is refused because its handle stands for nothing.
fn is_unknown(step: &Step<usize>, request: &str) -> bool {
    matches!(step, Step::Refused { operation, why: Refusal::UnknownHandle, .. }
        if operation.request == request)
}

#[test]
fn a_handle_is_over_when_its_closing_is_sent() {
    let mut followed = Followed::default();
    followed.opened(1, b"h", WRITES);
    followed.part(&close(2, b"h"));
    followed.action(&open(3, b"/other", WRITES));
    let attributes = b"\0\0\0\x04\0\0\x09\xff";
    let copy = [&string(b"copy-data")[..], &string(b"h"), &[0; 16], &string(b"h"), &[0; 8]];
    for (request, bytes) in [
        ("write", write(4, b"h", 0, b"evil")),
        ("read", read(4, b"h", 0, 1)),
        ("fsetstat", request(10, 4, &[&string(b"h"), attributes])),
        ("fstat", request(8, 4, &[&string(b"h")])),
        ("readdir", request(12, 4, &[&string(b"h")])),
        ("close", close(4, b"h")),
        ("copy-data", request(200, 4, &copy)),
        ("fsync@openssh.com", request(200, 4, &[&string(b"fsync@openssh.com"), &string(b"h")])),
    ] {
        let steps = followed.client(&bytes).unwrap();
        assert!(is_unknown(&steps[0], request), "{request}: {steps:?}");
    }
    let found = followed.server(&[status(2, 0), handle(3, b"h")].concat());
    assert_eq!((found[0].action, found[0].outcome.complete), (0, true));
    assert_eq!(followed.part(&write(5, b"h", 0, b"good")), 1);
}

#[test]
fn what_is_not_content_of_a_file_is_told_apart() {
    let mut followed = Followed::default();
    followed.opened(1, b"h", WRITES | 1);
    let asked = [
        request(17, 2, &[&string(b"anything")]),
        write(3, b"h", 0, b"CONTENT"),
        request(6, 4, &[&string(b"h"), &[0; 8], &string(b"CONTENT"), b"behind"]),
        read(5, b"h", 0, 7),
        write(6, b"other", 0, b"no content"),
    ];
    let control = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
    let requests = followed.sftp.requests(asked.concat().into()).unwrap();
    let said = control(requests.control);
    assert!(!said.contains("CONTENT") && said.contains("behind"), "{said}");
    assert!(said.contains("anything") && said.contains("no content"), "{said}");
    assert_eq!(said.len(), asked.concat().len() - 2 * 7);
    let told = [data(9, b"to nothing"), data(2, b"to a stat"), data(5, b"CONTENT")];
    let answers = followed.sftp.answers(&told.concat()).unwrap();
    let said = control(answers.control);
    assert!(said.contains("to nothing") && said.contains("to a stat"), "{said}");
    assert!(!said.contains("CONTENT"));
    // More than was asked for is no answer of a target that speaks SFTP.
    followed.part(&read(7, b"h", 0, 4));
    let answers = followed.sftp.answers(&data(7, b"CONTENT and a report")).unwrap();
    assert!(control(answers.control).contains("a report"));
}

#[test]
fn another_version_is_not_asked_for() {
    let mut followed = Followed::default();
    let select = request(200, 1, &[&string(b"version-select"), &string(b"6")]);
    let steps = followed.client(&select).unwrap();
    let [Step::Refused { why: Refusal::OtherVersion, denial, .. }] = &steps[..] else {
        panic!("{steps:?}")
    };
    let [0, 0, 0, _, packet::STATUS, 0, 0, 0, 1, 0, 0, 0, 8, ..] = denial.to_client[..] else {
        panic!("{denial:?}")
    };
}

#[test]
fn a_file_that_was_not_emptied_is_not_known_as_a_whole() {
    for flags in [2, 2 | 32, 2 | 8, 1 | 16, 16 | 8] {
        let mut followed = Followed::default();
        followed.opened(1, b"h", flags);
        followed.part(&write(2, b"h", 0, b"evi"));
        followed.server(&status(2, 0));
        let found = followed.closed(3, b"h");
        assert_eq!((found.size, found.written.sha256_of_whole()), (None, None), "{flags}");
        assert_eq!(found.written.sha256_of_part(), Some((Some(0), sha256(b"evi"))), "{flags}");
    }
    for flags in [2 | 16, 2 | 8 | 32, 3 | 8 | 16] {
        let mut followed = Followed::default();
        followed.opened(1, b"h", flags);
        followed.part(&write(2, b"h", 0, b"all"));
        followed.server(&status(2, 0));
        let found = followed.closed(3, b"h");
        let whole = (Some(3), Some(sha256(b"all")));
        assert_eq!((found.size, found.written.sha256_of_whole()), whole, "{flags}");
    }
}

#[test]
fn a_file_that_is_cut_behind_what_was_written_is_known_as_a_whole() {
    let cut =
        |id, size: u64| request(10, id, &[&string(b"h"), &1u32.to_be_bytes(), &size.to_be_bytes()]);
    let written = |sizes: &[u64], first: &[u8]| {
        let mut followed = Followed::default();
        // As OpenSSH's scp does it: what was there is not emptied.
        followed.opened(1, b"h", 2 | 8);
        followed.part(&write(2, b"h", 0, first));
        followed.server(&status(2, 0));
        for size in sizes {
            followed.action(&cut(3, *size));
            followed.server(&status(3, 0));
        }
        followed.closed(4, b"h")
    };
    let whole = |outcome: Outcome| (outcome.size, outcome.written.sha256_of_whole());
    assert_eq!(whole(written(&[4], b"abcd")), (Some(4), Some(sha256(b"abcd"))));
    assert_eq!(whole(written(&[9, 4], b"abcd")), (Some(4), Some(sha256(b"abcd"))));
    assert_eq!(whole(written(&[9], b"abcd")), (Some(9), None));
    // Cut to less and made longer again, it holds zeros.
    assert_eq!(whole(written(&[2, 4], b"abcd")), (Some(4), None));
    // What was kept because it came before its turn counts too.
    let mut followed = Followed::default();
    followed.opened(1, b"h", 2 | 8);
    followed.part(&write(2, b"h", 0, b""));
    followed.part(&write(3, b"h", 4, b"efgh"));
    followed.server(&[status(2, 0), status(3, 0)].concat());
    followed.action(&cut(4, 4));
    followed.server(&status(4, 0));
    followed.part(&write(5, b"h", 0, b"abcd"));
    followed.server(&status(5, 0));
    assert_eq!(followed.closed(6, b"h").written.run, Run::Scattered);
}

#[test]
fn a_size_is_told_only_where_nothing_else_changes_it_meanwhile() {
    let cut = |id| request(10, id, &[&string(b"h"), b"\0\0\0\x01\0\0\0\0\0\0\0\x02"]);
    let told = |id| request(packet::ATTRS, id, &[b"\0\0\0\x01\0\0\0\0\0\0\0\x07"]);
    // Answers in the order in which they came, and in another one.
    for swapped in [false, true] {
        let mut followed = Followed::default();
        followed.opened(1, b"h", WRITES);
        followed.part(&write(2, b"h", 0, b"abcd"));
        followed.action(&cut(3));
        let (first, second) = if swapped { (3, 2) } else { (2, 3) };
        followed.server(&[status(first, 0), status(second, 0)].concat());
        let size = if swapped { None } else { Some(2) };
        let found = followed.closed(4, b"h");
        assert_eq!((found.size, found.written.run), (size, Run::Scattered), "{swapped}");
    }
    let mut followed = Followed::default();
    followed.opened(1, b"h", 3);
    followed.client(&request(8, 2, &[&string(b"h")])).unwrap();
    followed.part(&write(3, b"h", 0, b"abcd"));
    followed.server(&[told(2), status(3, 0)].concat());
    assert_eq!(followed.closed(4, b"h").size, None);
    // Cut, and the channel ends before anybody knows.
    let mut followed = Followed::default();
    followed.opened(1, b"h", WRITES);
    followed.part(&write(2, b"h", 0, b"abcd"));
    followed.server(&status(2, 0));
    followed.action(&cut(3));
    let found = followed.sftp.finish();
    assert_eq!((found[0].outcome.size, found[0].outcome.written.run), (None, Run::Scattered));
}

#[test]
fn a_file_is_over_when_its_last_answer_is_there() {
    let mut followed = Followed::default();
    followed.opened(1, b"h", 1);
    followed.part(&read(2, b"h", 0, 4));
    followed.part(&close(3, b"h"));
    assert_eq!(followed.server(&status(3, 0)), vec![]);
    let found = followed.server(&data(2, b"abcd"));
    assert_eq!(found[0].outcome.read.bytes, 4);
}

#[test]
fn what_never_ends_is_said_at_the_end() {
    let mut followed = Followed::default();
    followed.opened(1, b"h", WRITES);
    followed.part(&write(2, b"h", 0, b"abcd"));
    followed.server(&status(2, 0));
    followed.part(&write(3, b"h", 4, b"efgh"));
    followed.action(&request(13, 4, &[&string(b"/a")]));
    let found = followed.sftp.finish();
    assert_eq!(found.iter().map(|found| found.action).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(found[0].outcome.written, Content { bytes: 4, run: Run::Scattered });
    assert!(!found[0].outcome.complete && found[0].outcome.status.is_none());
    assert_eq!(found[1].outcome, Outcome::default());
}

#[test]
fn a_denied_action_is_answered_and_forgotten() {
    let mut followed = Followed::default();
    let path = b"\xff\xfe/odd";
    let action = followed.action(&open(1, path, 1));
    assert_eq!(action.operation.path.as_deref(), Some(&path[..]), "bytes, not text");
    let denial = followed.sftp.denied(action.ticket, "no");
    assert_eq!(denial.to_client, packet::status(1, packet::PERMISSION_DENIED, "no"));
    assert!(denial.to_target.is_empty() && followed.sftp.between_answers());
    followed.opened(1, b"h", 1);
    assert_eq!(followed.sftp.denied(action.ticket, "no").to_client, "");
    followed.server(&data(5, b"x")[..9]);
    assert!(!followed.sftp.between_answers());
}

#[test]
fn an_opening_too_many_is_refused_as_openssh_does() {
    let mut followed = Followed::default();
    for id in 0..HANDLES_MAX as u32 {
        followed.opened(id, &id.to_be_bytes(), 1);
    }
    let steps = followed.client(&open(9999, b"/more", 1)).unwrap();
    let [Step::Refused { operation, why: Refusal::TooManyOpen, denial }] = &steps[..] else {
        panic!("{steps:?}")
    };
    assert_eq!(operation.path.as_deref(), Some(&b"/more"[..]));
    let [0, 0, 0, _, packet::STATUS, 0, 0, 0x27, 0x0f, 0, 0, 0, 4, ..] = denial.to_client[..]
    else {
        panic!("{denial:?}")
    };
    followed.closed(1, &5u32.to_be_bytes());
    followed.opened(9999, b"h", 1);
}

#[test]
fn lengths_and_fields_that_make_no_sense() {
    let requests = |bytes: &[u8]| Followed::default().client(bytes);
    assert_eq!(requests(&[0, 0, 0, 0, 3]), Err(Malformed::Length { length: 0 }));
    assert_eq!(requests(b"Last login"), Err(Malformed::Length { length: 0x4c61_7374 }));
    let long = ((COLLECTED_BYTES_MAX - 3) as u32).to_be_bytes();
    assert!(requests(&[&long[..], &[3]].concat()).is_err());
    assert_eq!(requests(&[0, 0, 0, 1, 3]), Err(Malformed::Fields("request")));
    let short = request(3, 1, &[&[0, 0, 0, 9, 1]]);
    assert_eq!(requests(&short), Err(Malformed::Fields("OPEN")));
    let mut followed = Followed::default();
    followed.opened(1, b"h", WRITES);
    let lies = request(6, 2, &[&string(b"h"), &[0; 8], &[0, 0, 0, 9, 1]]);
    assert_eq!(followed.client(&lies), Err(Malformed::Fields("WRITE")));
    let answers = |bytes: &[u8]| Sftp::<()>::new().answers(bytes);
    assert_eq!(answers(b"\0\0\0\x04....."), Err(Malformed::Length { length: 4 }));
    let lies = request(packet::DATA, 2, &[&[0, 0, 0, 9, 1]]);
    assert_eq!(answers(&lies), Err(Malformed::Fields("DATA")));
}

#[test]
fn what_stands_behind_the_data_is_passed_on_and_not_hashed() {
    let mut followed = Followed::default();
    followed.opened(1, b"h", WRITES);
    followed.part(&request(6, 2, &[&string(b"h"), &[0; 8], &string(b"abcd"), b"junk"]));
    followed.server(&status(2, 0));
    assert_eq!(followed.closed(3, b"h").written.sha256_of_whole(), Some(sha256(b"abcd")));
}

#[test]
fn what_nobody_knows_is_an_action() {
    let mut followed = Followed::default();
    let action = followed.action(&request(200, 1, &[&string(b"x@example.com"), b"body"]));
    assert_eq!(
        (action.operation.kind, action.operation.request),
        (Kind::Other, "x@example.com".into())
    );
    assert_eq!(action.operation.body, "body");
    assert_eq!(followed.server(&request(201, 1, &[b"reply"])).len(), 1);
    assert_eq!(followed.action(&request(99, 2, &[b"body"])).operation.request, "type 99");
    // OpenSSH does not answer it: its id is free.
    assert_eq!(followed.action(&request(99, 2, &[])).operation.kind, Kind::Other);
}

#[test]
fn requests_without_answers_have_a_bound() {
    let mut sftp = Sftp::<()>::new();
    let stat = |id: u32| request(17, id, &[&string(b"/")]);
    for id in 0..OUTSTANDING_HARD_MAX as u32 {
        assert_eq!(sftp.is_full(), id as usize >= OUTSTANDING_MAX);
        sftp.requests(stat(id).into()).unwrap();
    }
    assert_eq!(sftp.requests(stat(u32::MAX).into()), Err(Malformed::Outstanding));
}
