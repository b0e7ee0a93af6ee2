//! The packets before a session: the only messages without a type byte.

use super::reader::Reader;
use super::{CodecError, PRE_AUTH_BYTES_MAX};
use bytes::{Bytes, BytesMut};

/// Protocol version 3.0.
pub const VERSION_3_0: u32 = 0x0003_0000;
/// Protocol version 3.2 (PostgreSQL 18): longer cancel keys.
pub const VERSION_3_2: u32 = 0x0003_0002;
/// SSLRequest.
pub const SSL_REQUEST: u32 = 80_877_103;
/// GSSENCRequest.
pub const GSSENC_REQUEST: u32 = 80_877_104;
/// CancelRequest.
pub const CANCEL_REQUEST: u32 = 80_877_102;
/// A cancel key is at most this long, in bytes (protocol 3.2).
pub const CANCEL_KEY_BYTES_MAX: usize = 256;

/// What a client may open a connection with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Startup {
    /// It asks for TLS.
    Ssl,
    /// It asks for GSSAPI encryption.
    Gssenc,
    /// It asks to cancel what runs in another session.
    Cancel(CancelKey),
    /// It wants a session.
    Start(Start),
    /// It speaks another version of the protocol.
    Version(u32),
}

/// The process number and secret by which a session can be cancelled.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CancelKey {
    /// The process number; for our own keys random as well.
    pub process: u32,
    /// The secret: 4 bytes in protocol 3.0, up to 256 in 3.2.
    pub secret: Bytes,
}

impl std::fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CancelKey(…)")
    }
}

/// A StartupMessage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The minor version of protocol 3 that is asked for.
    pub minor: u16,
    /// The parameters in the order sent. They may say one name twice; the last one counts.
    pub parameters: Vec<(Bytes, Bytes)>,
}

impl Start {
    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.parameters.iter().rfind(|(known, _)| known == name.as_bytes());
        found.map(|(_, value)| value.as_ref())
    }

    /// The protocol extensions asked for (`_pq_.…`). Loggia knows none.
    pub fn extensions(&self) -> impl Iterator<Item = &Bytes> {
        self.parameters.iter().map(|(name, _)| name).filter(|name| name.starts_with(b"_pq_."))
    }
}

/// Takes a start-up packet off the front of `buffer`; `None` when more bytes are needed.
pub fn decode(buffer: &mut BytesMut) -> Result<Option<Startup>, CodecError> {
    let Some(field) = buffer.first_chunk() else { return Ok(None) };
    let length = u32::from_be_bytes(*field);
    let whole = length as usize;
    if !(8..=PRE_AUTH_BYTES_MAX).contains(&whole) {
        return Err(CodecError::Length { tag: 0, length });
    }
    if buffer.len() < whole {
        return Ok(None);
    }
    let packet = buffer.split_to(whole).freeze();
    parse(&packet.slice(4..)).map(Some)
}

fn parse(packet: &Bytes) -> Result<Startup, CodecError> {
    let mut reader = Reader::new(packet, "start-up");
    let code = reader.u32()?;
    match code {
        SSL_REQUEST => reader.end().map(|()| Startup::Ssl),
        GSSENC_REQUEST => reader.end().map(|()| Startup::Gssenc),
        CANCEL_REQUEST => {
            let process = reader.u32()?;
            let secret = reader.rest();
            if !(4..=CANCEL_KEY_BYTES_MAX).contains(&secret.len()) {
                return Err(reader.malformed());
            }
            Ok(Startup::Cancel(CancelKey { process, secret: packet.slice_ref(secret) }))
        }
        version if version >> 16 == 3 => {
            let minor = (version & 0xffff) as u16;
            parse_parameters(packet, reader)
                .map(|parameters| Startup::Start(Start { minor, parameters }))
        }
        version => Ok(Startup::Version(version)),
    }
}

/// Pairs of strings, ended by a zero byte that is the last of the packet.
fn parse_parameters(
    packet: &Bytes,
    mut reader: Reader<'_>,
) -> Result<Vec<(Bytes, Bytes)>, CodecError> {
    let mut parameters = Vec::new();
    loop {
        let name = reader.string()?;
        if name.is_empty() {
            reader.end()?;
            return Ok(parameters);
        }
        let value = reader.string()?;
        parameters.push((packet.slice_ref(name), packet.slice_ref(value)));
    }
}
