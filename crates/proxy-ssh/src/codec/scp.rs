//! Follows one run of scp's own protocol, which `scp -O` and older clients speak over an exec
//! channel.
//!
//! There is no specification; the source is `source` and `sink` in OpenSSH's `scp.c`. The side
//! that has the files, the *source*, sends control lines and data; the other, the *sink*, answers
//! each of them with a zero byte, or with an error line. `scp -t` makes the target the sink,
//! `scp -f` the source.
//!
//! Whether bytes behind a file's control line are its data depends on the sink's answer: after an
//! error the source goes on with the next line. So the observer holds what comes behind a line
//! until its answer has come. A source waits for it anyway; one that does not is slowed down, and
//! cannot pass off a control line as data.

mod line;
mod sink;

#[cfg(test)]
mod tests;

use super::Malformed;
use super::operation::{Action, Attributes, Denial, Finding, Kind, Operation, Outcome, Status};
use super::operation::{Step, Ticket};
use super::tally::Tally;
use bytes::{BufMut, Bytes, BytesMut};
use line::{Entry, Line};
use sink::Answers;
use std::collections::VecDeque;

/// The longest control line with its end, in bytes. OpenSSH cuts lines at this length.
pub const LINE_BYTES_MAX: usize = 2047;
/// Bytes that may be held while an answer is awaited.
pub const HELD_BYTES_MAX: usize = 4 << 20;
/// Held bytes from which on [`Scp::is_full`] asks for a pause.
pub const HELD_BYTES_SOFT_MAX: usize = 256 << 10;
/// Names of the directories that a transfer is in, together, in bytes. `PATH_MAX` is 4,096.
const DIRECTORIES_BYTES_MAX: usize = 16 << 10;

/// Which way the files go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `scp -t`: the target receives files, the client is the source.
    Receive,
    /// `scp -f`: the target sends files, the target is the source.
    Send,
}

/// The observer of one run of scp.
///
/// The path of an operation is put together from the command's path and the names in the control
/// lines. For a target that receives, only the target knows whether the path in the command is a
/// directory, into which a file is put under its name, or the new name of the file. Unless the
/// command says that it is one, both are told apart: [`Operation::path`] and [`Operation::name`].
#[derive(Debug)]
pub struct Scp<K> {
    direction: Direction,
    base: Bytes,
    /// Whether names stand behind the base for sure.
    into_base: bool,
    inside: Inside,
    /// What the sink has to answer before the source's stream goes on.
    awaited: Option<Awaited>,
    answers: Answers,
    held: VecDeque<Bytes>,
    held_bytes: usize,
    /// The beginning of a line that has not come whole.
    line: BytesMut,
    times: Option<(u64, u64)>,
    directories: Vec<Directory<K>>,
    directories_bytes: usize,
    current: Option<Current<K>>,
    /// What is to be said and was not yet.
    found: Vec<Finding<K>>,
    /// The two sides are out of step, and cannot be brought back.
    torn: bool,
    tickets: u64,
}

/// Where in the source's stream the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// At or in a control line.
    Line,
    /// In the data of a file.
    Data { left: u64 },
    /// At the byte behind the data, or in the error line in its place.
    End,
    /// In something that is not this protocol, to the end.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Start,
    Times,
    File { bytes: u64 },
    Directory,
    Content,
    Leave,
}

#[derive(Debug)]
struct Directory<K> {
    name: Bytes,
    key: Option<K>,
}

/// The action that goes on.
#[derive(Debug)]
struct Current<K> {
    ticket: u64,
    key: Option<K>,
    name: Bytes,
    size: Option<u64>,
    content: Tally,
    trouble: Option<Status>,
}

impl<K: Clone> Scp<K> {
    /// At the beginning of a run whose command names these paths, and says whether they have to
    /// be directories; see [`super::command::Command::Scp`].
    pub fn new(direction: Direction, paths: &[Bytes], into_directory: bool) -> Self {
        // Which of several paths a file belongs to cannot be told.
        let [path] = paths else { return Self::from(direction, Bytes::new(), true) };
        let mut base = path.to_vec();
        let into_base = match direction {
            Direction::Receive => into_directory || is_directory(path),
            Direction::Send => {
                // What is sent is named by the last part of the path, or matches it.
                let end = base.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
                base.truncate(end);
                base.truncate(memchr::memrchr(b'/', &base).map_or(0, |slash| slash + 1));
                true
            }
        };
        Self::from(direction, base.into(), into_base)
    }

    fn from(direction: Direction, base: Bytes, into_base: bool) -> Self {
        Self {
            direction,
            base,
            into_base,
            inside: Inside::Line,
            awaited: Some(Awaited::Start),
            answers: Answers::new(direction),
            held: VecDeque::new(),
            held_bytes: 0,
            line: BytesMut::new(),
            times: None,
            directories: Vec::new(),
            directories_bytes: 0,
            current: None,
            found: Vec::new(),
            torn: false,
            tickets: 0,
        }
    }

    /// Cuts what the source sent into steps: the client for [`Direction::Receive`], the target for
    /// [`Direction::Send`]. All of `chunk` is taken; what is not in a step yet is held. To be
    /// called with nothing after each [`Scp::sink`] and [`Scp::denied`], which may set free what
    /// was held, and until no steps come: a call ends at an action, whose key has to be known
    /// before it goes on.
    pub fn source(&mut self, chunk: Bytes) -> Result<Vec<Step<K>>, Malformed> {
        if self.torn {
            return Err(Malformed::Unasked);
        }
        self.held_bytes += chunk.len();
        if self.held_bytes > HELD_BYTES_MAX {
            return Err(Malformed::Held);
        }
        if !chunk.is_empty() {
            self.held.push_back(chunk);
        }
        // A client may have answered before it was asked.
        self.settle()?;
        let mut steps = Vec::new();
        while self.awaited.is_none()
            && !matches!(steps.last(), Some(Step::Action(_)))
            && let Some(chunk) = self.held.pop_front()
        {
            self.held_bytes -= chunk.len();
            let rest = self.one(chunk, &mut steps)?;
            if !rest.is_empty() {
                self.held_bytes += rest.len();
                self.held.push_front(rest);
            }
        }
        Ok(steps)
    }

    /// Looks at what the sink answered, which is to be passed on unchanged, whatever is found.
    pub fn sink(&mut self, chunk: &[u8]) -> Result<Vec<Finding<K>>, Malformed> {
        let mut chunk = chunk;
        while !chunk.is_empty() {
            self.answers.take(&mut chunk)?;
            self.settle()?;
        }
        Ok(std::mem::take(&mut self.found))
    }

    /// Tells under which key an action was recorded. To be called before the next bytes of either
    /// side.
    pub fn recorded(&mut self, ticket: Ticket, key: K) {
        if let Some(current) = self.current.as_mut().filter(|current| current.ticket == ticket.0) {
            current.key = Some(key);
        }
    }

    /// An action is not passed on. Both sides go on as if the other had refused it.
    pub fn denied(&mut self, ticket: Ticket, text: &str) -> Denial {
        let mut error = BytesMut::new();
        error.put_u8(1);
        // A control character, above all a line feed, would mean something to scp.
        let safe = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
        error.extend_from_slice(safe.take(400).collect::<String>().as_bytes());
        error.put_u8(b'\n');
        let error = error.freeze();
        if self.current.take_if(|current| current.ticket == ticket.0).is_none() {
            return Denial { to_client: Bytes::new(), to_target: Bytes::new() };
        }
        self.awaited = None;
        // An answer that the target has already is not the one that it is to be told: it goes on.
        self.torn = self.direction == Direction::Send && !self.answers.is_empty();
        let to_target = match self.direction {
            Direction::Receive => Bytes::new(),
            Direction::Send => error.clone(),
        };
        Denial { to_client: error, to_target }
    }

    /// Whether so much is held that the caller should pause to read from the source.
    pub fn is_full(&self) -> bool {
        self.held_bytes >= HELD_BYTES_SOFT_MAX
    }

    /// The channel is over: what was not said yet, at last of the action that is not over.
    pub fn finish(mut self) -> Vec<Finding<K>> {
        let mut found = std::mem::take(&mut self.found);
        if let Some(current) = self.current.take()
            && let Some(action) = current.key.clone()
        {
            found.push(Finding { action, outcome: self.outcome(current, false, None) });
        }
        found
    }

    /// Puts the front of `chunk` into a step; yields what is left of it.
    fn one(&mut self, mut chunk: Bytes, steps: &mut Vec<Step<K>>) -> Result<Bytes, Malformed> {
        match self.inside {
            Inside::Line | Inside::End => {
                if self.inside == Inside::End && self.line.is_empty() && chunk.first() == Some(&0) {
                    let end = chunk.split_to(1);
                    self.content_over(end, None, steps);
                    return Ok(chunk);
                }
                match self.whole_line(&mut chunk)? {
                    None => {}
                    Some(line) if self.inside == Inside::End => {
                        let code = line.first().map_or(2, |code| u32::from(*code));
                        let end = line.len().saturating_sub(1).clamp(1, Status::TEXT_BYTES_MAX);
                        let text = Bytes::copy_from_slice(line.get(1..end).unwrap_or_default());
                        self.content_over(line, Some(Status { code, text }), steps);
                    }
                    Some(line) => self.control(line, steps)?,
                }
            }
            Inside::Data { left } => {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
                let piece = chunk.split_to(length);
                let left = left - length as u64;
                if let Some(current) = &mut self.current {
                    // In order by nature: nothing is ever kept early.
                    let at = current.content.next();
                    current.content.take(at, &piece, &mut 0);
                    current.content.arrived(length as u64);
                }
                steps.push(self.part(piece));
                self.inside = if left == 0 { Inside::End } else { Inside::Data { left } };
            }
            Inside::Lost => steps.push(self.part(chunk.split_to(chunk.len()))),
        }
        Ok(chunk)
    }

    /// Takes a line with its end off the front, once it is there.
    fn whole_line(&mut self, chunk: &mut Bytes) -> Result<Option<Bytes>, Malformed> {
        let end = memchr::memchr(b'\n', chunk).map(|end| end + 1);
        let length = self.line.len() + end.unwrap_or(chunk.len());
        if length > LINE_BYTES_MAX {
            if self.direction == Direction::Receive || self.inside == Inside::End {
                return Err(Malformed::Line("it is too long"));
            }
            let mut whole = self.line.split();
            whole.extend_from_slice(&chunk.split_to(chunk.len()));
            return Ok(Some(whole.freeze()));
        }
        let piece = chunk.split_to(end.unwrap_or(chunk.len()));
        if end.is_some() && self.line.is_empty() {
            return Ok(Some(piece));
        }
        self.line.extend_from_slice(&piece);
        Ok(end.map(|_| self.line.split().freeze()))
    }

    /// A control line of the source.
    fn control(&mut self, bytes: Bytes, steps: &mut Vec<Step<K>>) -> Result<(), Malformed> {
        let parsed = match bytes.len() {
            0..=LINE_BYTES_MAX => line::parse(&bytes),
            _ => Err("it is too long"),
        };
        let line = match parsed {
            Ok(line) => line,
            Err(why) if self.direction == Direction::Receive => return Err(Malformed::Line(why)),
            // What a login script or the shell of the target prints is for the client to see.
            Err(_) => {
                let operation = Operation::new(Kind::Other, bytes.clone());
                self.inside = Inside::Lost;
                self.action(operation, Bytes::new(), None, bytes, steps);
                return Ok(());
            }
        };
        match line {
            Line::File(entry) => {
                self.awaited = Some(Awaited::File { bytes: entry.bytes });
                let kind = match self.direction {
                    Direction::Receive => Kind::Receive,
                    Direction::Send => Kind::Send,
                };
                self.entry(kind, entry, bytes, steps);
            }
            Line::Directory(entry) => {
                self.awaited = Some(Awaited::Directory);
                let kind = match self.direction {
                    Direction::Receive => Kind::MakeDirectory,
                    Direction::Send => Kind::List,
                };
                self.entry(kind, entry, bytes, steps);
            }
            Line::Times(times) => {
                self.times = Some(times);
                self.awaited = Some(Awaited::Times);
                steps.push(Step::Neutral(bytes));
            }
            Line::Leave => {
                self.awaited = Some(Awaited::Leave);
                let key = self.directories.last().and_then(|directory| directory.key.clone());
                steps.push(step(key, bytes));
            }
            Line::Error => steps.push(Step::Neutral(bytes)),
        }
        Ok(())
    }

    fn entry(&mut self, kind: Kind, entry: Entry, bytes: Bytes, steps: &mut Vec<Step<K>>) {
        let is_file = matches!(kind, Kind::Receive | Kind::Send);
        let size = is_file.then_some(entry.bytes);
        let mut operation = Operation::new(kind, bytes.slice(..bytes.len().saturating_sub(1)));
        let names = self.names(&entry.name);
        if self.into_base {
            operation.path = Some(join(&self.base, &names).into());
        } else {
            operation.path = Some(self.base.clone());
            operation.name = Some(names.into());
        }
        let (times, mode) = (self.times.take(), Some(entry.mode));
        operation.attributes = Attributes { size, mode, times, ..Attributes::default() };
        self.action(operation, entry.name, size, bytes, steps);
    }

    fn action(
        &mut self,
        operation: Operation,
        name: Bytes,
        size: Option<u64>,
        bytes: Bytes,
        steps: &mut Vec<Step<K>>,
    ) {
        self.tickets += 1;
        let ticket = self.tickets;
        // A copy: a slice would keep its chunk alive.
        let name = Bytes::copy_from_slice(&name);
        let content = Tally::default();
        self.current = Some(Current { ticket, key: None, name, size, content, trouble: None });
        steps.push(Step::Action(Action { ticket: Ticket(ticket), operation, on: None, bytes }));
    }

    /// All data of a file has gone by.
    fn content_over(&mut self, end: Bytes, trouble: Option<Status>, steps: &mut Vec<Step<K>>) {
        if let Some(current) = &mut self.current {
            current.trouble = trouble;
        }
        steps.push(self.part(end));
        self.inside = Inside::Line;
        self.awaited = Some(Awaited::Content);
    }

    /// A step of bytes that belong to the action that goes on.
    fn part(&self, bytes: Bytes) -> Step<K> {
        step(self.current.as_ref().and_then(|current| current.key.clone()), bytes)
    }

    /// Lets what is awaited be answered, as long as there are answers.
    fn settle(&mut self) -> Result<(), Malformed> {
        while let Some(status) = self.answers.next(self.awaited.is_some())? {
            let ok = status.is_ok();
            match self.awaited.take() {
                None => self.unasked(status)?,
                Some(Awaited::Start) => {}
                Some(Awaited::Times) => self.times = self.times.filter(|_| ok),
                Some(Awaited::File { bytes: 0 }) if ok => self.inside = Inside::End,
                Some(Awaited::File { bytes }) if ok => self.inside = Inside::Data { left: bytes },
                Some(Awaited::Directory) if ok => {
                    self.enter()?;
                    self.over(status);
                }
                Some(Awaited::File { .. } | Awaited::Directory | Awaited::Content) => {
                    self.over(status);
                }
                Some(Awaited::Leave) => {
                    let left = self.directories.pop();
                    self.directories_bytes -= left.map_or(0, |directory| directory.name.len());
                }
            }
        }
        Ok(())
    }

    /// An answer to nothing. An error may come at any time, from a target that gives up or from
    /// an old one that says two things about one file; a success never does.
    fn unasked(&mut self, status: Status) -> Result<(), Malformed> {
        if status.is_ok() {
            return Err(Malformed::Unasked);
        }
        if let Some(current) = &mut self.current {
            current.trouble.get_or_insert(status);
        }
        Ok(())
    }

    fn enter(&mut self) -> Result<(), Malformed> {
        let Some(current) = &self.current else { return Ok(()) };
        self.directories_bytes += current.name.len();
        // A name of no length costs as much.
        if self.directories_bytes + self.directories.len() > DIRECTORIES_BYTES_MAX {
            return Err(Malformed::Line("directories are too deep"));
        }
        let (name, key) = (current.name.clone(), current.key.clone());
        self.directories.push(Directory { name, key });
        Ok(())
    }

    /// The action that goes on is over.
    fn over(&mut self, status: Status) {
        let Some(current) = self.current.take() else { return };
        let Some(action) = current.key.clone() else { return };
        let outcome = self.outcome(current, true, Some(status));
        self.found.push(Finding { action, outcome });
    }

    fn outcome(&self, current: Current<K>, complete: bool, status: Option<Status>) -> Outcome {
        let Current { mut content, trouble, size, .. } = current;
        if trouble.is_some() {
            // After an error a source sends zeros to the announced size.
            content.scatter(&mut 0);
        }
        let accepted = complete && status.as_ref().is_some_and(Status::is_ok);
        let whole = accepted && size == Some(content.next());
        let content = content.finish(whole, &mut 0);
        let mut outcome = Outcome { complete, status, trouble, ..Outcome::default() };
        match self.direction {
            Direction::Receive => outcome.written = content,
            Direction::Send => outcome.read = content,
        }
        outcome.size = size.filter(|_| whole);
        outcome
    }

    /// The names of the directories that the transfer is in, and this one.
    fn names(&self, name: &[u8]) -> Vec<u8> {
        let names = self.directories.iter().map(|directory| directory.name.as_ref());
        names.chain([name]).fold(Vec::new(), |path, name| join(&path, name))
    }
}

/// Whether a path is a directory wherever it exists.
fn is_directory(path: &[u8]) -> bool {
    let last = memchr::memrchr(b'/', path).and_then(|slash| path.get(slash + 1..));
    matches!(last.unwrap_or(path), b"." | b"..") || path == b"/"
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let slash: &[u8] = if path.is_empty() || path.ends_with(b"/") { b"" } else { b"/" };
    [path, slash, name].concat()
}

fn step<K>(key: Option<K>, bytes: Bytes) -> Step<K> {
    match key {
        Some(action) => Step::Part { action, bytes },
        None => Step::Neutral(bytes),
    }
}
