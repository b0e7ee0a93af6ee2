//! Reading a recording part by part.

use crate::client::failure;
use crate::error::ClientError;
use bytes::{Bytes, BytesMut};
use loggia_api::recordings::{PART_HEAD_BYTES, PartHead, PartKind, RecordingNote};
use std::time::Duration;

/// The server shows that it lives every ten seconds.
const SILENCE_MAX: Duration = Duration::from_secs(40);

/// A part of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordingPart {
    /// What is said of it.
    Note(RecordingNote),
    /// Bytes of its file.
    File(Bytes),
}

/// A recording as it comes.
pub struct RecordingStream {
    response: reqwest::Response,
    address: String,
    buffer: BytesMut,
    ended: bool,
}

impl RecordingStream {
    pub(crate) fn new(response: reqwest::Response, address: String) -> Self {
        Self { response, address, buffer: BytesMut::new(), ended: false }
    }

    /// Waits for the next part; `None` behind the note of the end.
    ///
    /// Fails when the connection is lost, also in good order before the end, or silent for 40
    /// seconds.
    pub async fn next(&mut self) -> Result<Option<RecordingPart>, ClientError> {
        while !self.ended {
            if let Some((kind, content)) = self.part()? {
                match kind {
                    PartKind::Beat => {}
                    PartKind::File => return Ok(Some(RecordingPart::File(content))),
                    PartKind::Note => {
                        let note = serde_json::from_slice(&content);
                        let note: RecordingNote = note.map_err(|error| self.wrong(error))?;
                        self.ended = matches!(note, RecordingNote::End(_));
                        return Ok(Some(RecordingPart::Note(note)));
                    }
                }
                continue;
            }
            let more = tokio::time::timeout(SILENCE_MAX, self.response.chunk()).await;
            let more = more.map_err(|_| ClientError::TimedOut { address: self.address.clone() })?;
            match more.map_err(|error| failure(&self.address, error))? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => {
                    let cause = "it ended in the middle".to_owned();
                    return Err(ClientError::Lost { address: self.address.clone(), cause });
                }
            }
        }
        Ok(None)
    }

    /// Takes a whole part off the buffer.
    fn part(&mut self) -> Result<Option<(PartKind, Bytes)>, ClientError> {
        let Some(head) = self.buffer.first_chunk::<PART_HEAD_BYTES>() else { return Ok(None) };
        let head = PartHead::decode(*head).ok_or_else(|| self.wrong("a part of no known kind"))?;
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        if self.buffer.len() - PART_HEAD_BYTES < length {
            return Ok(None);
        }
        let mut part = self.buffer.split_to(PART_HEAD_BYTES + length);
        Ok(Some((head.kind, part.split_off(PART_HEAD_BYTES).freeze())))
    }

    fn wrong(&self, cause: impl std::fmt::Display) -> ClientError {
        ClientError::Answer { address: self.address.clone(), cause: cause.to_string() }
    }
}
