//! Reading a tail line by line.

use crate::client::failure;
use crate::error::ClientError;
use bytes::BytesMut;
use loggia_api::audit::TailLine;
use std::time::Duration;

/// A line of a tail is at most this long, in bytes.
const LINE_BYTES_MAX: usize = 8 << 20;
/// The server shows that it lives every ten seconds.
const SILENCE_MAX: Duration = Duration::from_secs(40);

/// Events as they happen.
pub struct TailStream {
    response: reqwest::Response,
    address: String,
    buffer: BytesMut,
}

impl TailStream {
    pub(crate) fn new(response: reqwest::Response, address: String) -> Self {
        Self { response, address, buffer: BytesMut::new() }
    }

    /// Waits for the next line; `None` where the server ended the tail.
    ///
    /// Fails when the connection is lost or silent for 40 seconds.
    pub async fn next(&mut self) -> Result<Option<TailLine>, ClientError> {
        loop {
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                let line = line.trim_ascii();
                if line.is_empty() {
                    continue;
                }
                return serde_json::from_slice(line).map(Some).map_err(|error| self.wrong(error));
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(self.wrong("a line that does not end"));
            }
            let more = tokio::time::timeout(SILENCE_MAX, self.response.chunk()).await;
            let more = more.map_err(|_| ClientError::TimedOut { address: self.address.clone() })?;
            match more.map_err(|error| failure(&self.address, error))? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }

    fn wrong(&self, cause: impl std::fmt::Display) -> ClientError {
        ClientError::Answer { address: self.address.clone(), cause: cause.to_string() }
    }
}
