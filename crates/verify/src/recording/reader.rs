//! Reads a recording from its bytes, frame by frame, in flat memory, and checks it on the way.

use super::check::{Altered, Check, Claim, Ending, Place};
use super::{
    FRAME_BYTES_MAX, Frame, HEAD_BYTES, HEADER_BYTES_MAX, Head, Header, Leaves, Malformed,
};
use loggia_model::id::SessionId;
use loggia_tlog::{CompactRange, Hash};
use std::io::{ErrorKind, Read, Seek};

/// Bytes that are asked of the source at a time.
const READ_BYTES: usize = 256 << 10;

/// Why a recording cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system, or whoever brings the bytes, refused.
    #[error("the recording cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// It is none.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It ends within its header.
    #[error("the recording is cut short within its header")]
    NoHeader,
    /// It is not what the ledger says.
    #[error(transparent)]
    Altered(#[from] Altered),
}

/// What a recording is held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The session whose recording it is.
    pub session: SessionId,
    /// The salt, from the ledger's `recording.begun`.
    pub salt: [u8; 32],
    /// What the ledger says of it, in any order.
    pub claims: Vec<Claim>,
}

/// A recording that is being read.
pub struct Reader<R> {
    source: R,
    buffer: Vec<u8>,
    /// What of the buffer is not taken yet.
    begin: usize,
    end: usize,
    header: Header,
    check: Check,
    ending: Option<Ending>,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn open(mut source: R, held: Held) -> Result<Self, ReadError> {
        let mut buffer = vec![0; READ_BYTES];
        let mut end = 0;
        let (header, length) = loop {
            let known = buffer.get(..end).unwrap_or_default();
            match Header::decode(known) {
                Ok(Some(found)) => break found,
                Ok(None) if end <= HEADER_BYTES_MAX => {}
                Ok(None) => return Err(ReadError::NoHeader),
                // The ledger says that there is a recording: this is it no more.
                Err(malformed) => return Err(Altered::header(malformed.to_string()).into()),
            }
            match fill(&mut source, buffer.get_mut(end..).unwrap_or_default())? {
                0 => return Err(ReadError::NoHeader),
                more => end += more,
            }
        };
        let bytes = buffer.get(..length).unwrap_or_default();
        let check = Check::begin(bytes, held.session, &held.salt, held.claims)?;
        Ok(Self { source, buffer, begin: length, end, header, check, ending: None })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next frame, and where it stands. `None` at the end, which [`ending`](Self::ending)
    /// then tells.
    ///
    /// # Errors
    /// [`ReadError`]: neither this frame nor, from the place that is named on, those before are
    /// to be believed.
    pub fn next_frame(&mut self) -> Result<Option<(Place, Frame<'_>)>, ReadError> {
        if self.ending.is_some() {
            return Ok(None);
        }
        loop {
            let bytes = self.buffer.get(self.begin..self.end).unwrap_or_default();
            match Frame::decode(bytes) {
                // Decoded once more below: the borrow of one found here would outlive the loop.
                Ok(Some(_)) => break,
                Ok(None) => {
                    if self.more()? == 0 {
                        let behind = (self.end - self.begin) as u64;
                        self.ending = Some(self.check.end(behind)?);
                        return Ok(None);
                    }
                }
                Err(malformed) => {
                    self.check.malformed(malformed)?;
                    let behind = self.rest()?;
                    self.ending = Some(self.check.end(behind)?);
                    return Ok(None);
                }
            }
        }
        let bytes = self.buffer.get(self.begin..self.end).unwrap_or_default();
        let Some(frame) = Frame::decode(bytes)? else { return Ok(None) };
        self.begin += frame.raw.len();
        self.check.frame(&frame)?;
        Ok(Some((self.check.here(), frame)))
    }

    /// Reads to the end and says what that is.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn finish(mut self) -> Result<(Ending, Check), ReadError> {
        loop {
            if self.next_frame()?.is_none()
                && let Some(ending) = self.ending
            {
                return Ok((ending, self.check));
            }
        }
    }

    /// How it ends, once the last frame was read.
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// How far it has come.
    pub fn check(&self) -> &Check {
        &self.check
    }

    /// Reads more behind what is not taken yet; gives how much, 0 at the end of the source.
    fn more(&mut self) -> Result<usize, ReadError> {
        if self.begin > 0 {
            self.buffer.copy_within(self.begin..self.end, 0);
            self.end -= self.begin;
            self.begin = 0;
        }
        if self.end == self.buffer.len() {
            // Only a frame longer than the buffer comes here; a head tells its length, at most
            // FRAME_BYTES_MAX.
            self.buffer.resize(HEAD_BYTES + FRAME_BYTES_MAX, 0);
        }
        let more = fill(&mut self.source, self.buffer.get_mut(self.end..).unwrap_or_default())?;
        self.end += more;
        Ok(more)
    }

    /// Reads what is left and gives its length, what is not taken yet included.
    fn rest(&mut self) -> Result<u64, ReadError> {
        let known = (self.end - self.begin) as u64;
        let behind = std::io::copy(&mut self.source, &mut std::io::sink())?;
        Ok(known + behind)
    }
}

fn fill(source: &mut impl Read, into: &mut [u8]) -> Result<usize, std::io::Error> {
    loop {
        match source.read(into) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Finds the very frame that is not the genuine one, with the leaf hashes that the writer left
/// beside the file: 32 bytes for the header, then for each frame. They are believed only where
/// they lead to the claimed root. `None` where they do not, or where every frame is as they say.
pub fn pinpoint(
    recording: impl Read,
    mut leaves: impl Read + Seek,
    salt: &[u8; 32],
    claim: &Claim,
) -> Option<Place> {
    let mut listed = std::io::BufReader::new(&mut leaves);
    let mut range = CompactRange::new();
    for _ in 0..=claim.frames {
        range.append(read_hash(&mut listed)?);
    }
    if range.root() != claim.root {
        return None;
    }
    drop(listed);
    leaves.rewind().ok()?;
    differing(std::io::BufReader::new(recording), std::io::BufReader::new(leaves), salt, claim)
}

fn differing(
    mut recording: impl Read,
    mut listed: impl Read,
    salt: &[u8; 32],
    claim: &Claim,
) -> Option<Place> {
    let keyed = Leaves::new(salt);
    let mut place = Place::default();
    let mut bytes = read_header(&mut recording)?;
    if keyed.of_header(&bytes) != read_hash(&mut listed)? {
        return Some(place);
    }
    place.offset = bytes.len() as u64;
    for frame in 1..=claim.frames {
        place.frame = frame;
        let genuine = read_hash(&mut listed)?;
        let mut raw = [0; HEAD_BYTES];
        recording.read_exact(&mut raw).ok()?;
        let Ok(head) = Head::decode(&raw) else { return Some(place) };
        let length = usize::try_from(head.length).unwrap_or(FRAME_BYTES_MAX);
        bytes.clear();
        bytes.resize(length, 0);
        if recording.read_exact(&mut bytes).is_err() || keyed.of_frame(&raw, &bytes) != genuine {
            return Some(place);
        }
        place.at_us = head.at_us;
        place.offset += (HEAD_BYTES + length) as u64;
    }
    None
}

fn read_hash(source: &mut impl Read) -> Option<Hash> {
    let mut hash = [0; 32];
    source.read_exact(&mut hash).ok()?;
    Some(Hash(hash))
}

fn read_header(source: &mut impl Read) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES_MAX);
    while bytes.len() < HEADER_BYTES_MAX {
        let mut byte = [0];
        source.read_exact(&mut byte).ok()?;
        bytes.extend_from_slice(&byte);
        match Header::decode(&bytes) {
            Ok(Some(_)) => return Some(bytes),
            Ok(None) => {}
            Err(_) => return None,
        }
    }
    None
}
