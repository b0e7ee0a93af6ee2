//! Following a recording while it is written.

use loggia_verify::recording::{
    Direction, FRAME_BYTES_MAX, Frame, HEAD_BYTES, HEADER_BYTES_MAX, Head, Header,
};
use std::fs::File;
use std::io::{BufReader, Error, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Of what was recorded before somebody began to watch, so many bytes are shown.
const BACK_BYTES: u64 = 1 << 20;
/// Bytes that are read at a time; the longest frame fits.
const READ_BYTES: usize = FRAME_BYTES_MAX + HEAD_BYTES;

/// A recording that grows.
pub(crate) struct Follow {
    path: PathBuf,
    file: Option<File>,
    /// Where the next frame begins.
    offset: u64,
    /// Frames that say whose action it is and how large the terminal, sent first.
    before: Vec<u8>,
    buffer: Vec<u8>,
}

impl Follow {
    /// Follows the file at `path`, which need not be there yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None, offset: 0, before: Vec::new(), buffer: Vec::new() }
    }

    /// What was written since the last call: the header first, then whole frames. Empty where
    /// nothing was.
    pub(crate) fn more(&mut self) -> Result<Vec<u8>, Error> {
        if self.file.is_none() && !self.begin()? {
            return Ok(Vec::new());
        }
        if !self.before.is_empty() {
            return Ok(std::mem::take(&mut self.before));
        }
        let Some(file) = &self.file else { return Ok(Vec::new()) };
        self.buffer.resize(READ_BYTES, 0);
        let read = read_at(file, &mut self.buffer, self.offset)?;
        let mut rest = self.buffer.get(..read).unwrap_or_default();
        // Of a frame that is just being written the beginning may be there.
        while let Some(frame) = Frame::decode(rest).map_err(wrong)? {
            rest = rest.get(frame.raw.len()..).unwrap_or_default();
        }
        let whole = read - rest.len();
        self.offset += whole as u64;
        Ok(self.buffer.get(..whole).unwrap_or_default().to_vec())
    }

    /// Opens the file and finds where to begin; false where it is not there yet.
    fn begin(&mut self) -> Result<bool, Error> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut head = vec![0; HEADER_BYTES_MAX];
        let known = read_at(&file, &mut head, 0)?;
        head.truncate(known);
        let Some((_, length)) = Header::decode(&head).map_err(wrong)? else { return Ok(false) };
        head.truncate(length);
        let end = file.metadata()?.len();
        self.offset = length as u64;
        if end.saturating_sub(self.offset) > BACK_BYTES {
            self.skip(&mut file, end - BACK_BYTES, &mut head)?;
        }
        self.before = head;
        self.file = Some(file);
        Ok(true)
    }

    /// Goes on to the first frame that begins at `until` or later, and keeps of those before it
    /// the last that say whose action it is and how large the terminal.
    fn skip(&mut self, file: &mut File, until: u64, kept: &mut Vec<u8>) -> Result<(), Error> {
        file.seek(SeekFrom::Start(self.offset))?;
        let mut reader = BufReader::with_capacity(64 << 10, file);
        let (mut action, mut size) = (Vec::new(), Vec::new());
        while self.offset < until {
            let mut raw = [0; HEAD_BYTES];
            reader.read_exact(&mut raw)?;
            let head = Head::decode(&raw).map_err(wrong)?;
            let keep = match head.direction {
                Direction::Action => Some(&mut action),
                Direction::Resize => Some(&mut size),
                _ => None,
            };
            match keep {
                Some(keep) => {
                    keep.clear();
                    keep.extend_from_slice(&raw);
                    let length = u64::from(head.length);
                    (&mut reader).take(length).read_to_end(keep)?;
                }
                None => reader.seek_relative(i64::from(head.length))?,
            }
            self.offset += HEAD_BYTES as u64 + u64::from(head.length);
        }
        kept.append(&mut action);
        kept.append(&mut size);
        Ok(())
    }
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
    let mut read = 0;
    while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

fn wrong(malformed: loggia_verify::recording::Malformed) -> Error {
    Error::new(ErrorKind::InvalidData, malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::SilentKey;
    use crate::tape::{FileTape, no_fault};
    use loggia_model::id::{EventId, SessionId};
    use loggia_model::port::Tape;
    use std::io::Write;

    fn frames(bytes: &[u8]) -> Vec<(char, usize)> {
        let mut rest = bytes;
        let mut found = Vec::new();
        while let Some(frame) = Frame::decode(rest).unwrap() {
            found.push((char::from(frame.direction.letter()), frame.bytes.len()));
            rest = &rest[frame.raw.len()..];
        }
        assert!(rest.is_empty(), "whole frames only");
        found
    }

    fn tape(dir: &std::path::Path) -> (FileTape, PathBuf) {
        let session = SessionId::from_parts(1, [2; 10]);
        let key = SilentKey::new([1; 32]).session(&[3; 32]);
        let tape = FileTape::create(dir.into(), no_fault(), session, &[3; 32], key, 0).unwrap();
        (tape, dir.join(format!("{session}.rec")))
    }

    #[test]
    fn frames_come_whole_as_they_are_written_from_before_the_file_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(format!("{}.rec", SessionId::from_parts(1, [2; 10])));
        let mut follow = Follow::new(path.clone());
        assert!(follow.more().unwrap().is_empty());
        let (mut tape, _) = tape(dir.path());
        let header = follow.more().unwrap();
        assert_eq!(Header::decode(&header).unwrap().unwrap().1, header.len());
        assert!(follow.more().unwrap().is_empty());
        tape.write(1, Direction::Output, b"one").unwrap();
        tape.write(2, Direction::Error, b"three").unwrap();
        assert_eq!(frames(&follow.more().unwrap()), [('o', 3), ('e', 5)]);
        // Half of a frame is not shown, and is shown once it is whole.
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        let mut raw = Head::of(3, Direction::Output, b"four").unwrap().encode().to_vec();
        raw.extend_from_slice(b"four");
        file.write_all(&raw[..15]).unwrap();
        assert!(follow.more().unwrap().is_empty());
        file.write_all(&raw[15..]).unwrap();
        assert_eq!(frames(&follow.more().unwrap()), [('o', 4)]);
    }

    #[test]
    fn of_a_long_recording_the_last_part_is_shown_with_its_action_and_size() {
        let dir = tempfile::tempdir().unwrap();
        let (mut tape, path) = tape(dir.path());
        let action = EventId::from_parts(1, [1; 10]).to_string();
        tape.write(0, Direction::Action, action.as_bytes()).unwrap();
        tape.write(0, Direction::Resize, &[0, 0, 0, 80, 0, 0, 0, 24]).unwrap();
        for _ in 0..100 {
            tape.write(1, Direction::Output, &[b'x'; 32 << 10]).unwrap();
        }
        let mut follow = Follow::new(path);
        let first = follow.more().unwrap();
        let (_, header) = Header::decode(&first).unwrap().unwrap();
        assert_eq!(frames(&first[header..]), [('c', action.len()), ('r', 8)]);
        let mut shown = Vec::new();
        loop {
            let more = follow.more().unwrap();
            if more.is_empty() {
                break;
            }
            shown.extend(frames(&more));
        }
        assert_eq!(shown, vec![('o', 32 << 10); 31]);
    }
}
