//! A PostgreSQL server as far as it matters where a message begins: it cuts what it gets into
//! messages itself, copies, skips, throws away, and keeps answers back until they are flushed.

use std::collections::{HashMap, VecDeque};

/// A message: its type byte and its body.
pub(super) type Said = (u8, Vec<u8>);

const ERROR: &[u8] = b"SERROR\0VERROR\0C42601\0Mno\0\0";

/// What is left to do of a statement.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Select,
    CopyIn,
    CopyOut,
    Fail,
}

/// What runs, as far as it came.
#[derive(Default)]
struct Run {
    /// The text of a Query; an Execute has none here.
    query: Option<String>,
    left: VecDeque<Stage>,
    /// COPY data that passed, where any did.
    data: Option<Vec<u8>>,
}

#[derive(Default)]
pub(super) struct Target {
    /// Bytes that came and are not a whole message yet.
    pub(super) input: Vec<u8>,
    /// Every message, as cut here.
    pub(super) got: Vec<Said>,
    /// COPY data of every statement that went well and had any.
    pub(super) copied: Vec<Vec<u8>>,
    /// Every Query that ran, and whether it went well.
    pub(super) queries: Vec<(String, bool)>,
    /// Answers that went out.
    pub(super) sent: VecDeque<Said>,
    buffered: VecDeque<Said>,
    statements: HashMap<Vec<u8>, Vec<u8>>,
    /// What is left to run of each portal; `None` where it ran.
    portals: HashMap<Vec<u8>, Option<Vec<Stage>>>,
    skips: bool,
    copy: Option<Run>,
    pub(super) closed: bool,
}

/// What a statement does: the words that stand for it are those that Loggia looks for.
fn stages(text: &[u8]) -> Vec<Stage> {
    let text = String::from_utf8_lossy(text);
    match text.split_whitespace().next() {
        Some("copy") => vec![Stage::CopyIn],
        Some("twice") => vec![Stage::CopyIn, Stage::Select, Stage::CopyIn],
        Some("out") => vec![Stage::CopyOut],
        Some("late") => vec![Stage::CopyIn, Stage::Fail],
        Some("fails") => vec![Stage::Fail],
        _ => vec![Stage::Select],
    }
}

/// The strings at the front of a body.
fn strings(body: &[u8]) -> Vec<Vec<u8>> {
    body.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

impl Target {
    /// Reads one message, if a whole one is there.
    pub(super) fn step(&mut self) -> bool {
        let Some(length) = self.input.get(1..5).and_then(|field| field.first_chunk()) else {
            return false;
        };
        let end = 1 + u32::from_be_bytes(*length) as usize;
        if self.closed || self.input.len() < end {
            return false;
        }
        let (tag, body) = (self.input[0], self.input[5..end].to_vec());
        self.input.drain(..end);
        self.got.push((tag, body.clone()));
        match self.copy.take() {
            Some(copy) => self.within_copy(copy, tag, &body),
            None if self.skips && !matches!(tag, b'S' | b'X') => {}
            None => self.take(tag, &body),
        }
        true
    }

    fn say(&mut self, tag: u8, body: &[u8]) {
        self.buffered.push_back((tag, body.to_vec()));
    }

    pub(super) fn flush(&mut self) {
        self.sent.append(&mut self.buffered);
    }

    fn ready(&mut self) {
        self.portals.clear();
        self.say(b'Z', b"I");
        self.flush();
    }

    fn fail(&mut self, run: &Run) {
        self.say(b'E', ERROR);
        self.flush();
        match &run.query {
            Some(text) => {
                self.queries.push((text.clone(), false));
                self.ready();
            }
            None => self.skips = true,
        }
    }

    fn within_copy(&mut self, mut copy: Run, tag: u8, body: &[u8]) {
        match tag {
            b'd' if body.starts_with(b"bad") => self.fail(&copy),
            b'd' => {
                copy.data.get_or_insert_default().extend_from_slice(body);
                self.copy = Some(copy);
            }
            b'H' | b'S' => self.copy = Some(copy),
            b'c' => {
                self.say(b'C', b"COPY 1\0");
                self.run(copy);
            }
            b'f' | b'X' => self.fail(&copy),
            other => panic!("{:?} was lost within a COPY", char::from(other)),
        }
    }

    fn take(&mut self, tag: u8, body: &[u8]) {
        match tag {
            b'Q' => {
                self.statements.remove(&b""[..]);
                self.portals.remove(&b""[..]);
                let text = &strings(body)[0];
                let query = Some(String::from_utf8_lossy(text).into_owned());
                self.run(Run { query, left: stages(text).into(), data: None });
            }
            b'P' => {
                let texts = strings(body);
                let known = !texts[0].is_empty() && self.statements.contains_key(&texts[0]);
                // Several statements cannot be prepared at once.
                let one = stages(&texts[1]).len() == 1;
                if known || !one || texts[1].starts_with(b"bad") {
                    return self.fail(&Run::default());
                }
                self.statements.insert(texts[0].clone(), texts[1].clone());
                self.say(b'1', b"");
            }
            b'B' => {
                let names = strings(body);
                let open = !names[0].is_empty() && self.portals.contains_key(&names[0]);
                match self.statements.get(&names[1]) {
                    Some(text) if !open => {
                        let stages = stages(text);
                        self.portals.insert(names[0].clone(), Some(stages));
                        self.say(b'2', b"");
                    }
                    _ => self.fail(&Run::default()),
                }
            }
            b'E' => match self.portals.get_mut(&strings(body)[0]).map(Option::take) {
                Some(Some(stages)) => self.run(Run { left: stages.into(), ..Run::default() }),
                Some(None) => self.say(b'C', b"SELECT 0\0"),
                None => self.fail(&Run::default()),
            },
            b'D' if self.statements.contains_key(&strings(&body[1..])[0]) => {
                self.say(b't', b"\0\0");
                self.say(b'n', b"");
            }
            b'D' => self.fail(&Run::default()),
            b'C' => {
                self.statements.remove(&strings(&body[1..])[0]);
                self.say(b'3', b"");
            }
            b'S' => {
                self.skips = false;
                self.ready();
            }
            b'H' => self.flush(),
            b'X' => self.closed = true,
            // Thrown away: the rest of a COPY that failed.
            b'd' | b'c' | b'f' => {}
            other => panic!("a message of type {:?}", char::from(other)),
        }
    }

    fn run(&mut self, mut run: Run) {
        while let Some(stage) = run.left.pop_front() {
            match stage {
                Stage::Select => self.say(b'C', b"SELECT 1\0"),
                Stage::CopyOut => {
                    self.say(b'H', b"\0\0\0");
                    self.say(b'd', b"row");
                    self.say(b'c', b"");
                    self.say(b'C', b"COPY 1\0");
                    run.data.get_or_insert_default().extend_from_slice(b"row");
                }
                Stage::CopyIn => {
                    self.say(b'G', b"\0\0\0");
                    self.flush();
                    self.copy = Some(run);
                    return;
                }
                Stage::Fail => return self.fail(&run),
            }
        }
        self.copied.extend(run.data);
        if let Some(text) = run.query {
            self.queries.push((text, true));
            self.ready();
        }
    }
}
