//! Holds a recording to what the ledger claims of it, frame by frame.
//!
//! The ledger claims: after so many frames the file was so long and the tree had this root. Where
//! the file says otherwise, it was altered somewhere between the last claim that held and that
//! place. The hashes of all leaves, where the writer left them beside the file and they lead to
//! the claimed root, tell the very frame: [`pinpoint`].

use super::{Frame, HEAD_BYTES, Header, Leaves, Malformed};
use loggia_model::id::SessionId;
use loggia_tlog::{CompactRange, Hash};
use std::fmt;

/// What the ledger says of a recording: at some moment it had become this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Number of frames.
    pub frames: u64,
    /// Length of the file in bytes, where it is told.
    pub bytes: Option<u64>,
    /// Root over header and frames.
    pub root: Hash,
}

/// A frame in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Its number, from 1; 0 is the header.
    pub frame: u64,
    /// The offset in the file at which it begins.
    pub offset: u64,
    /// Microseconds since the recording began.
    pub at_us: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.at_us / 1_000_000, self.at_us / 1_000 % 1_000);
        write!(f, "frame {} (byte {}, {seconds}.{millis:03} s)", self.frame, self.offset)
    }
}

/// The recording is not what the ledger says: between these two frames, both included.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", place(first, last))]
pub struct Altered {
    /// The first frame that nothing vouches for.
    pub first: Place,
    /// The frame at which it showed.
    pub last: Place,
    /// What showed.
    pub why: String,
    /// The claim that does not hold, where the salt is the recording's.
    pub claim: Option<Claim>,
}

fn place(first: &Place, last: &Place) -> String {
    match (first.frame, last.frame) {
        (0, 0) => "the header was altered".to_owned(),
        (from, to) if from == to => format!("{first} was altered"),
        (0, _) => format!("altered between the header and {last}"),
        _ => format!("altered between {first} and {last}"),
    }
}

impl Altered {
    pub(super) fn header(why: impl Into<String>) -> Self {
        let place = Place::default();
        Self { first: place, last: place, why: why.into(), claim: None }
    }

    /// With the very frame that was found to be another one.
    pub fn at(self, place: Place) -> Self {
        Self { first: place, last: place, ..self }
    }
}

/// How a recording ends, seen with the ledger's claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With the last frame that the ledger claims.
    Proven,
    /// Behind the last claim there is more, which nothing vouches for.
    Tail {
        /// The last frame that is claimed.
        proven: u64,
        /// Whole frames behind it.
        frames: u64,
        /// Bytes behind those that are no whole frame.
        torn_bytes: u64,
    },
    /// There is less than the ledger claims.
    CutShort {
        /// Whole frames that there are.
        frames: u64,
        /// Those of them that a root vouches for.
        proven: u64,
        /// Frames that the ledger claims.
        claimed: u64,
    },
}

/// A recording that is being read.
#[derive(Debug)]
pub struct Check {
    leaves: Leaves,
    range: CompactRange,
    claims: Vec<Claim>,
    /// Number of claims that held.
    held: usize,
    /// The last frame taken, and where it ends.
    here: Place,
    end: u64,
    /// The last frame that a claim vouches for, and the first that none does yet.
    proven: Place,
    unproven: Option<Place>,
}

impl Check {
    /// Begins with the header, given as its bytes. `claims` may come in any order.
    ///
    /// # Errors
    /// [`Altered`]: the header is not that of this session's recording.
    pub fn begin(
        header: &[u8],
        session: SessionId,
        salt: &[u8; 32],
        mut claims: Vec<Claim>,
    ) -> Result<Self, Altered> {
        let read =
            Header::decode(header).map_err(|malformed| Altered::header(malformed.to_string()))?;
        let Some((read, length)) = read.filter(|(_, length)| *length == header.len()) else {
            return Err(Altered::header("it is torn"));
        };
        if read.session != session {
            return Err(Altered::header(format!("it is that of {}", read.session)));
        }
        let leaves = Leaves::new(salt);
        if read.commitment != leaves.commitment() {
            return Err(Altered::header("it is not made with the salt that the ledger has"));
        }
        claims.sort_by_key(|claim| claim.frames);
        let mut range = CompactRange::new();
        range.append(leaves.of_header(header));
        let mut check = Self {
            leaves,
            range,
            claims,
            held: 0,
            here: Place::default(),
            end: length as u64,
            proven: Place::default(),
            unproven: Some(Place::default()),
        };
        check.hold()?;
        Ok(check)
    }

    /// Takes the next frame.
    ///
    /// # Errors
    /// [`Altered`]: the ledger claims something else; nothing from the first place that it names
    /// on is to be believed.
    pub fn frame(&mut self, frame: &Frame<'_>) -> Result<(), Altered> {
        let offset = self.end;
        self.here = Place { frame: self.here.frame + 1, offset, at_us: frame.at_us };
        self.end += frame.raw.len() as u64;
        self.unproven.get_or_insert(self.here);
        // A frame that was read has a whole head.
        let Some((head, bytes)) = frame.raw.split_first_chunk::<HEAD_BYTES>() else {
            return Err(self.altered("a frame without a head"));
        };
        self.range.append(self.leaves.of_frame(head, bytes));
        self.hold()
    }

    /// What stands behind the frames taken so far is no frame.
    ///
    /// # Errors
    /// [`Altered`] where the ledger claims more frames; otherwise the rest is a tail.
    pub fn malformed(&mut self, why: Malformed) -> Result<(), Altered> {
        if self.next_claim().is_none() {
            return Ok(());
        }
        self.here = Place { frame: self.here.frame + 1, offset: self.end, at_us: self.here.at_us };
        self.unproven.get_or_insert(self.here);
        Err(self.altered(why.to_string()))
    }

    /// Says how it ends; `behind` bytes follow that are no whole frame.
    ///
    /// # Errors
    /// [`Altered`]: the file is as long as claimed and does not have the frames.
    pub fn end(&mut self, behind: u64) -> Result<Ending, Altered> {
        let (frames, proven) = (self.here.frame, self.proven.frame);
        if let Some(next) = self.next_claim() {
            if next.bytes.is_some_and(|bytes| self.end + behind >= bytes) {
                self.here = Place { frame: frames + 1, offset: self.end, at_us: self.here.at_us };
                self.unproven.get_or_insert(self.here);
                return Err(self.altered("a frame that reaches beyond the claimed length"));
            }
            let claimed = self.claims.last().map_or(0, |claim| claim.frames);
            return Ok(Ending::CutShort { frames, proven, claimed });
        }
        if frames == proven && behind == 0 {
            return Ok(Ending::Proven);
        }
        Ok(Ending::Tail { proven, frames: frames - proven, torn_bytes: behind })
    }

    /// The last frame taken.
    pub fn here(&self) -> Place {
        self.here
    }

    /// Length of header and frames so far, in bytes.
    pub fn bytes(&self) -> u64 {
        self.end
    }

    /// Root over header and frames so far.
    pub fn root(&self) -> Hash {
        self.range.root()
    }

    /// The last frame that a claim vouches for.
    pub fn proven(&self) -> Place {
        self.proven
    }

    fn next_claim(&self) -> Option<Claim> {
        self.claims.get(self.held).copied()
    }

    /// Checks the claims over as many frames as there are now.
    fn hold(&mut self) -> Result<(), Altered> {
        while let Some(claim) = self.next_claim() {
            if claim.bytes.is_some_and(|bytes| self.end > bytes) {
                return Err(self.altered("it has fewer frames in the claimed length"));
            }
            if claim.frames > self.here.frame {
                return Ok(());
            }
            if claim.bytes.is_some_and(|bytes| self.end != bytes) {
                return Err(self.altered("its frames are shorter than claimed"));
            }
            if claim.root != self.range.root() {
                return Err(self.altered("the ledger's root is that of other frames"));
            }
            self.held += 1;
            self.proven = self.here;
            self.unproven = None;
        }
        Ok(())
    }

    fn altered(&self, why: impl Into<String>) -> Altered {
        let first = self.unproven.unwrap_or(self.here);
        Altered { first, last: self.here, why: why.into(), claim: self.next_claim() }
    }
}
