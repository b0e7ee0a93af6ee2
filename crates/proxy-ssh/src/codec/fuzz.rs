//! Entries for fuzzing: the observers over any bytes of both sides, whole and in pieces.
//!
//! An input is a byte that says how long the pieces are, and segments: two bytes, whose first bit
//! says which side speaks and whose others how long it is, and the bytes.

use super::command;
use super::echo::{Echo, VERDICTS_MAX};
use super::operation::{Finding, Step};
use super::scp::{Direction, Scp};
use super::sftp::{Requests, Sftp};
use bytes::Bytes;

/// Runs the SFTP observer over `data`. Panics only where the codec has a fault: on a panic of its
/// own, when pieces change what is found, or when bytes are lost.
pub fn fuzz_sftp(data: &[u8]) {
    let (piece, segments) = input(data);
    let whole = follow_sftp(&segments, usize::MAX);
    assert!(whole == follow_sftp(&segments, piece), "pieces changed what was found in SFTP");
}

/// Runs the scp observer over `data`, in both directions; and the reader of commands. Panics only
/// where the codec has a fault.
pub fn fuzz_scp(data: &[u8]) {
    let (piece, segments) = input(data);
    for direction in [Direction::Receive, Direction::Send] {
        // Answers come one byte at a time: what a sink that knows the future says at once depends
        // on what a source may say in between.
        let whole = follow_scp(direction, &segments, [usize::MAX, 1]);
        let pieces = follow_scp(direction, &segments, [piece, 1]);
        assert!(whole == pieces, "pieces changed what was found in scp");
    }
    for (_, segment) in segments {
        command::parse(&segment);
    }
}

/// Runs the observer of echo over `data`, whose first side types. Panics only where the codec has
/// a fault: on a panic of its own, or when a typed byte or the verdict on a line is lost.
pub fn fuzz_echo(data: &[u8]) {
    let (_, segments) = input(data);
    let mut echo = Echo::new();
    let (mut ended, mut verdicts) = (Vec::new(), Vec::new());
    let mut open = None;
    for (typed, segment) in segments {
        if !typed {
            verdicts.extend(echo.output(&segment).into_iter().map(|verdict| verdict.line));
            continue;
        }
        let pieces = echo.typed(&segment);
        let joined: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes.iter().copied()).collect();
        assert!(joined == segment, "typed bytes were lost");
        for piece in pieces {
            if let Some(line) = open.replace(piece.line)
                && line != piece.line
                && ended.last() != Some(&line)
            {
                ended.push(line);
            }
            if piece.ends {
                ended.push(piece.line);
                open = None;
            }
        }
    }
    ended.extend(open);
    verdicts.extend(echo.finish().into_iter().map(|verdict| verdict.line));
    assert!(ended.is_sorted() && verdicts.is_sorted(), "lines or verdicts are out of order");
    let all = ended.len() > VERDICTS_MAX || verdicts == ended;
    assert!(all, "not each line has one verdict");
}

/// Reads an input.
pub(super) fn input(data: &[u8]) -> (usize, Vec<(bool, Vec<u8>)>) {
    let (piece, mut data) = data.split_first().map_or((1, data), |(first, rest)| (*first, rest));
    let mut segments = Vec::new();
    while let Some((head, rest)) = data.split_first_chunk() {
        let head = u16::from_be_bytes(*head);
        let length = usize::from(head & 0x7fff).min(rest.len());
        let (segment, rest) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        segments.push((head & 0x8000 == 0, segment.to_vec()));
        data = rest;
    }
    (usize::from(piece).max(1), segments)
}

/// What was seen, in a form in which pieces do not show: neighbouring bytes of one action are
/// joined. The key of an action is its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// Bytes of an action, or of none.
    Bytes(Option<usize>, Vec<u8>),
    /// An action with its operation, the one it works on, and its bytes.
    Action(Box<super::operation::Operation>, Option<usize>, Vec<u8>),
    /// An operation that was refused.
    Refused(Box<super::operation::Operation>),
    /// A finding.
    Found(Box<Finding<usize>>),
    /// At the end, all that one side of SFTP said but the content of files: the client, or not.
    Control(bool, Vec<u8>),
}

/// All that was seen; `None` when it was malformed somewhere.
pub(super) type Trace = Option<Vec<Seen>>;

#[derive(Default)]
struct Tracer {
    seen: Vec<Seen>,
    actions: usize,
}

impl Tracer {
    fn bytes(&mut self, action: Option<usize>, bytes: &[u8]) {
        match self.seen.last_mut() {
            Some(Seen::Bytes(before, joined)) if *before == action => {
                joined.extend_from_slice(bytes);
            }
            _ => self.seen.push(Seen::Bytes(action, bytes.to_vec())),
        }
    }

    /// Takes steps; `recorded` tells the observer the key of an action.
    fn steps(
        &mut self,
        steps: Vec<Step<usize>>,
        mut recorded: impl FnMut(super::operation::Ticket, usize),
    ) {
        for step in steps {
            match step {
                Step::Neutral(bytes) => self.bytes(None, &bytes),
                Step::Part { action, bytes } => self.bytes(Some(action), &bytes),
                Step::Action(action) => {
                    recorded(action.ticket, self.actions);
                    self.actions += 1;
                    let operation = Box::new(action.operation);
                    self.seen.push(Seen::Action(operation, action.on, action.bytes.to_vec()));
                }
                Step::Refused { operation, .. } => {
                    self.seen.push(Seen::Refused(Box::new(operation)));
                }
            }
        }
    }
}

/// Follows SFTP, each segment in pieces of this length.
pub(super) fn follow_sftp(segments: &[(bool, Vec<u8>)], piece: usize) -> Trace {
    let mut sftp = Sftp::new();
    let mut tracer = Tracer::default();
    let (mut asked, mut told) = (Vec::new(), Vec::new());
    for (client, segment) in segments {
        for bytes in segment.chunks(piece) {
            if *client {
                let Requests { steps, control } =
                    sftp.requests(Bytes::copy_from_slice(bytes)).ok()?;
                asked.extend_from_slice(&control);
                tracer.steps(steps, |ticket, key| sftp.recorded(ticket, key));
            } else {
                let answers = sftp.answers(bytes).ok()?;
                told.extend_from_slice(&answers.control);
                tracer.seen.extend(answers.found.into_iter().map(found));
            }
        }
    }
    tracer.seen.extend(sftp.finish().into_iter().map(found));
    tracer.seen.extend([Seen::Control(true, asked), Seen::Control(false, told)]);
    Some(tracer.seen)
}

/// Follows scp, what the source and the sink say each in pieces of this length.
pub(super) fn follow_scp(
    direction: Direction,
    segments: &[(bool, Vec<u8>)],
    [source_piece, sink_piece]: [usize; 2],
) -> Trace {
    let mut scp = Scp::new(direction, &[Bytes::from_static(b"/srv/demo")], false);
    let mut tracer = Tracer::default();
    for (client, segment) in segments {
        let is_source = *client == (direction == Direction::Receive);
        for bytes in segment.chunks(if is_source { source_piece } else { sink_piece }) {
            let mut next = Bytes::new();
            if is_source {
                next = Bytes::copy_from_slice(bytes);
            } else {
                tracer.seen.extend(scp.sink(bytes).ok()?.into_iter().map(found));
            }
            loop {
                let steps = scp.source(std::mem::take(&mut next)).ok()?;
                if steps.is_empty() {
                    break;
                }
                tracer.steps(steps, |ticket, key| scp.recorded(ticket, key));
            }
        }
    }
    tracer.seen.extend(scp.finish().into_iter().map(found));
    Some(tracer.seen)
}

fn found(finding: Finding<usize>) -> Seen {
    Seen::Found(Box::new(finding))
}

/// Reads a recording of a real client and server: for each segment a letter that says who speaks
/// (`c`, `s`), its length in four bytes, and the bytes.
#[cfg(test)]
pub(super) fn recording(name: &str) -> Vec<(bool, Vec<u8>)> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    let data = std::fs::read(path).unwrap();
    let mut rest = &data[..];
    let mut segments = Vec::new();
    while let Some((head, behind)) = rest.split_first_chunk::<5>() {
        let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
        segments.push((head[0] == b'c', behind[..length].to_vec()));
        rest = &behind[length..];
    }
    segments
}
