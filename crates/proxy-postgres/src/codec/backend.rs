//! What a server's messages say. Everything is borrowed from the body.

use super::CodecError;
use super::reader::Reader;

/// The state that ReadyForQuery tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// Not in a transaction.
    Idle,
    /// In a transaction.
    Open,
    /// In a transaction that failed.
    Failed,
}

/// Reads the body of ReadyForQuery.
pub fn ready_for_query(body: &[u8]) -> Result<TransactionStatus, CodecError> {
    match body {
        b"I" => Ok(TransactionStatus::Idle),
        b"T" => Ok(TransactionStatus::Open),
        b"E" => Ok(TransactionStatus::Failed),
        _ => Err(CodecError::Malformed("ReadyForQuery")),
    }
}

/// Reads the body of CommandComplete: the tag, and the rows where it ends with their number, such
/// as `INSERT 0 5`.
pub fn command_complete(body: &[u8]) -> Result<(&[u8], Option<u64>), CodecError> {
    let mut reader = Reader::new(body, "CommandComplete");
    let tag = reader.string()?;
    let last = tag.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    let rows = std::str::from_utf8(last).ok().and_then(|number| number.parse().ok());
    Ok((tag, rows))
}

/// The fields of an ErrorResponse or NoticeResponse that Loggia reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ErrorFields<'a> {
    /// `V`, or `S` of servers before 9.6: ERROR, FATAL, PANIC, …
    pub severity: &'a [u8],
    /// SQLSTATE.
    pub sqlstate: &'a [u8],
    /// The message.
    pub message: &'a [u8],
    /// More of it.
    pub detail: &'a [u8],
    /// What to do.
    pub hint: &'a [u8],
}

impl ErrorFields<'_> {
    /// Whether the server ends the session with it.
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity, b"FATAL" | b"PANIC")
    }
}

/// Reads the body of an ErrorResponse or NoticeResponse. A body that is cut gives the fields that
/// are whole; a message that is cut gives what is there.
pub fn error_fields(body: &[u8]) -> ErrorFields<'_> {
    let mut fields = ErrorFields::default();
    let mut local_severity: &[u8] = b"";
    let mut reader = Reader::new(body, "ErrorResponse");
    while let Ok(code) = reader.byte()
        && code != 0
    {
        let rest = reader.rest();
        let (value, whole) = match reader.string() {
            Ok(value) => (value, true),
            Err(_) => (rest, false),
        };
        match code {
            b'V' => fields.severity = value,
            b'S' => local_severity = value,
            b'C' => fields.sqlstate = value,
            b'M' => fields.message = value,
            b'D' => fields.detail = value,
            b'H' => fields.hint = value,
            _ => {}
        }
        if !whole {
            break;
        }
    }
    if fields.severity.is_empty() {
        fields.severity = local_severity;
    }
    fields
}

/// What a server asks of a client that signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// Signed in.
    Ok,
    /// The password as it is.
    CleartextPassword,
    /// The password, hashed with this salt.
    Md5Password([u8; 4]),
    /// SASL, with one of these mechanisms.
    Sasl(Vec<&'a [u8]>),
    /// The next step of SASL.
    SaslContinue(&'a [u8]),
    /// The last step of SASL.
    SaslFinal(&'a [u8]),
    /// Something that Loggia does not do (GSSAPI, SSPI, …), by its number.
    Other(u32),
}

/// Reads the body of an Authentication message.
pub fn authentication(body: &[u8]) -> Result<Authentication<'_>, CodecError> {
    let mut reader = Reader::new(body, "Authentication");
    Ok(match reader.u32()? {
        0 => Authentication::Ok,
        3 => Authentication::CleartextPassword,
        5 => {
            let salt = reader.u32()?.to_be_bytes();
            Authentication::Md5Password(salt)
        }
        10 => {
            let mut mechanisms = Vec::new();
            loop {
                match reader.string()? {
                    b"" => break Authentication::Sasl(mechanisms),
                    mechanism => mechanisms.push(mechanism),
                }
            }
        }
        11 => Authentication::SaslContinue(reader.rest()),
        12 => Authentication::SaslFinal(reader.rest()),
        other => Authentication::Other(other),
    })
}

/// Reads the body of ParameterStatus: name and value.
pub fn parameter_status(body: &[u8]) -> Result<(&[u8], &[u8]), CodecError> {
    let mut reader = Reader::new(body, "ParameterStatus");
    let name = reader.string()?;
    let value = reader.string()?;
    reader.end()?;
    Ok((name, value))
}

/// Reads the body of BackendKeyData: process number and secret.
pub fn backend_key_data(body: &[u8]) -> Result<(u32, &[u8]), CodecError> {
    let mut reader = Reader::new(body, "BackendKeyData");
    let process = reader.u32()?;
    let secret = reader.rest();
    if (4..=super::startup::CANCEL_KEY_BYTES_MAX).contains(&secret.len()) {
        Ok((process, secret))
    } else {
        Err(reader.malformed())
    }
}

/// Reads the body of NegotiateProtocolVersion: the newest minor version, and the extensions that
/// the server does not know.
pub fn negotiate_protocol_version(body: &[u8]) -> Result<(u32, Vec<&[u8]>), CodecError> {
    let mut reader = Reader::new(body, "NegotiateProtocolVersion");
    let minor = reader.u32()?;
    let count = reader.u32()?;
    let mut unknown = Vec::new();
    for _ in 0..count {
        // Ends at the first name that is not there, so the count alone costs nothing.
        unknown.push(reader.string()?);
    }
    Ok((minor, unknown))
}

/// Reads the body of a CopyInResponse, CopyOutResponse or CopyBothResponse: whether the data is
/// binary, and the number of columns.
pub fn copy_response(body: &[u8]) -> Result<(bool, u16), CodecError> {
    let mut reader = Reader::new(body, "CopyResponse");
    let binary = reader.byte()? != 0;
    let columns = reader.u16()?;
    reader.take(usize::from(columns) * 2)?;
    reader.end()?;
    Ok((binary, columns))
}
