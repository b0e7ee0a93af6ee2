//! The recordings beside the log, held to what the log says of them: each when its session has
//! ended, the others at the end.

use super::bundle::Problem;
use super::{VerifyError, relative};
use crate::erased::{AllGone, GoneOne};
use crate::folder::{FolderError, LogFolder};
use crate::recording::check::{Altered, Ending};
use crate::recording::ledgered::Ledgered;
use crate::recording::reader::{Held, ReadError, Reader, pinpoint};
use crate::report::{Place, Recordings as Counts, Verdict};
use loggia_model::id::SessionId;
use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The recordings of one epoch.
pub(super) struct Recordings<'a> {
    root: &'a Path,
    /// Where they lie; none where they are not to be checked.
    dir: Option<PathBuf>,
    /// Whether they should be here: this is a gateway's own data folder, or has some.
    expected: bool,
    open: HashMap<SessionId, (Ledgered, GoneOne)>,
    /// Those that are not there though the log says that they were.
    pub(super) gone: AllGone,
    pub(super) problems: Vec<Problem>,
    pub(super) counts: Counts,
}

impl<'a> Recordings<'a> {
    /// Those beside `folder`, an epoch's.
    pub(super) fn new(root: &'a Path, folder: &LogFolder, wanted: bool) -> Self {
        // data/ledger/e1
        let data = folder.dir().parent().and_then(Path::parent);
        let dir = data.map(|data| data.join("recordings"));
        let own = data.is_some_and(|data| data.join("control.db").exists());
        let expected = own || dir.as_deref().is_some_and(Path::is_dir);
        let (problems, counts) = (Vec::new(), Counts::default());
        let (open, gone) = (HashMap::new(), AllGone::default());
        Self { root, dir: dir.filter(|_| wanted), expected, open, gone, problems, counts }
    }

    /// Takes what an event says, in the order of the log; `place` is where it begins to be said.
    pub(super) fn take(
        &mut self,
        session: SessionId,
        said: &Ledgered,
        place: &GoneOne,
    ) -> Result<(), VerifyError> {
        if self.dir.is_none() || !(said.begun || self.open.contains_key(&session)) {
            return Ok(());
        }
        let (known, _) = self.open.entry(session).or_insert_with(|| (Ledgered::default(), *place));
        known.add(said);
        if !known.ended {
            return Ok(());
        }
        match self.open.remove(&session) {
            Some((ledgered, place)) => self.check(session, &ledgered, &place),
            None => Ok(()),
        }
    }

    /// Checks those of sessions that have not ended.
    pub(super) fn finish(&mut self) -> Result<(), VerifyError> {
        let mut open: Vec<_> = std::mem::take(&mut self.open).into_iter().collect();
        open.sort_by_key(|(session, _)| *session);
        open.iter().try_for_each(|(session, (said, place))| self.check(*session, said, place))
    }

    fn check(
        &mut self,
        session: SessionId,
        ledgered: &Ledgered,
        begun: &GoneOne,
    ) -> Result<(), VerifyError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let path = dir.join(format!("{session}.rec"));
        let Some(held) = ledgered.held(session) else {
            self.counts.undisclosed += 1;
            return Ok(());
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.missing(&path, ledgered, begun);
                return Ok(());
            }
            Err(source) => return Err(FolderError::Read { path, source }.into()),
        };
        self.counts.checked += 1;
        let place = Place::file(relative(self.root, &path));
        match read(&file, &path, held)? {
            Ok(Ending::Proven) => {}
            Ok(Ending::Tail { .. }) => self.counts.unproven_tails += 1,
            Ok(Ending::CutShort { frames, proven, claimed }) => {
                let what = format!(
                    "cut short: it has {frames} frames of {claimed}, of which {proven} are proven"
                );
                self.problems.push((Verdict::Incomplete, place, what));
            }
            Err(altered) => {
                let offset = usize::try_from(altered.first.offset).unwrap_or(usize::MAX);
                let what = altered.to_string();
                self.problems.push((Verdict::Tampered, place.at_offset(offset), what));
            }
        }
        Ok(())
    }

    fn missing(&mut self, path: &Path, ledgered: &Ledgered, begun: &GoneOne) {
        // A gateway that died between the event and the file left none.
        if ledgered.claims.is_empty() {
            return;
        }
        if self.expected {
            self.gone.add(*begun, Some(relative(self.root, path)));
        } else {
            self.counts.elsewhere += 1;
        }
    }
}

/// How a recording ends, or where it was altered.
fn read(file: &File, path: &Path, held: Held) -> Result<Result<Ending, Altered>, VerifyError> {
    let (salt, claims) = (held.salt, held.claims.len());
    let claimed = held.claims.iter().map(|claim| claim.frames).max().unwrap_or(0);
    let failed = |source| FolderError::Read { path: path.to_owned(), source };
    match Reader::open(file, held).and_then(Reader::finish) {
        Ok((ending, _)) => Ok(Ok(ending)),
        Err(ReadError::Altered(altered)) => {
            let found = altered.claim.as_ref().and_then(|claim| {
                let leaves = File::open(path.with_extension("leaves")).ok()?;
                pinpoint(File::open(path).ok()?, leaves, &salt, claim)
            });
            Ok(Err(match found {
                Some(place) => altered.at(place),
                None => altered,
            }))
        }
        // Without a claim it may never have been written whole.
        Err(ReadError::NoHeader) if claims == 0 => Ok(Ok(Ending::Proven)),
        Err(ReadError::NoHeader | ReadError::Malformed(_)) => {
            Ok(Ok(Ending::CutShort { frames: 0, proven: 0, claimed }))
        }
        Err(ReadError::Io(source)) => Err(failed(source).into()),
    }
}
