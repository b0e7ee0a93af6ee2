//! What the gateway says itself, to a client or to a target.

use super::startup::{CANCEL_REQUEST, CancelKey, GSSENC_REQUEST, SSL_REQUEST, Start, VERSION_3_0};
use bytes::{BufMut, BytesMut};

/// Appends a message: type byte, length, and the body that `fill` writes (shorter than 1 GiB).
pub fn message(out: &mut BytesMut, tag: u8, fill: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    with_length(out, fill);
}

/// Appends a length that counts itself, and the body that `fill` writes.
fn with_length(out: &mut BytesMut, fill: impl FnOnce(&mut BytesMut)) {
    let at = out.len();
    out.put_u32(0);
    fill(out);
    let length = u32::try_from(out.len() - at).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(at..at + 4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

/// Appends a text without its zero bytes, which no string of the protocol can hold, and the zero
/// byte that ends it.
fn put_string(out: &mut BytesMut, text: &[u8]) {
    out.extend(text.iter().filter(|byte| **byte != 0));
    out.put_u8(0);
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The session goes on.
    Error,
    /// The session ends.
    Fatal,
    /// Only told.
    Notice,
}

impl Severity {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Notice => "NOTICE",
        }
    }
}

/// What an ErrorResponse or NoticeResponse says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How bad it is; a notice becomes a NoticeResponse.
    pub severity: Severity,
    /// SQLSTATE, five characters.
    pub sqlstate: &'static str,
    /// One sentence.
    pub message: String,
    /// More of it.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

/// Appends an ErrorResponse, or a NoticeResponse where the severity is Notice.
pub fn report(out: &mut BytesMut, report: &Report) {
    let tag = if report.severity == Severity::Notice { b'N' } else { b'E' };
    message(out, tag, |out| {
        let fields = [
            (b'S', Some(report.severity.as_str())),
            (b'V', Some(report.severity.as_str())),
            (b'C', Some(report.sqlstate)),
            (b'M', Some(report.message.as_str())),
            (b'D', report.detail.as_deref()),
            (b'H', report.hint.as_deref()),
        ];
        for (code, value) in fields {
            if let Some(value) = value {
                out.put_u8(code);
                put_string(out, value.as_bytes());
            }
        }
        out.put_u8(0);
    });
}

/// Appends AuthenticationOk.
pub fn authentication_ok(out: &mut BytesMut) {
    message(out, b'R', |out| out.put_u32(0));
}

/// Appends AuthenticationCleartextPassword.
pub fn authentication_cleartext_password(out: &mut BytesMut) {
    message(out, b'R', |out| out.put_u32(3));
}

/// Appends ParameterStatus.
pub fn parameter_status(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    message(out, b'S', |out| {
        put_string(out, name);
        put_string(out, value);
    });
}

/// Appends BackendKeyData.
pub fn backend_key_data(out: &mut BytesMut, key: &CancelKey) {
    message(out, b'K', |out| {
        out.put_u32(key.process);
        out.extend_from_slice(&key.secret);
    });
}

/// Appends ReadyForQuery outside a transaction.
pub fn ready_for_query_idle(out: &mut BytesMut) {
    message(out, b'Z', |out| out.put_u8(b'I'));
}

/// Appends NegotiateProtocolVersion: we speak 3.0 and know none of these extensions.
pub fn negotiate_protocol_version<'a>(out: &mut BytesMut, unknown: impl Iterator<Item = &'a [u8]>) {
    message(out, b'v', |out| {
        out.put_u32(VERSION_3_0);
        let at = out.len();
        out.put_u32(0);
        let mut count: u32 = 0;
        for name in unknown {
            put_string(out, name);
            count += 1;
        }
        if let Some(field) = out.get_mut(at..at + 4) {
            field.copy_from_slice(&count.to_be_bytes());
        }
    });
}

/// Appends an SSLRequest.
pub fn ssl_request(out: &mut BytesMut) {
    with_length(out, |out| out.put_u32(SSL_REQUEST));
}

/// Appends a GSSENCRequest.
pub fn gssenc_request(out: &mut BytesMut) {
    with_length(out, |out| out.put_u32(GSSENC_REQUEST));
}

/// Appends a CancelRequest.
pub fn cancel_request(out: &mut BytesMut, key: &CancelKey) {
    with_length(out, |out| {
        out.put_u32(CANCEL_REQUEST);
        out.put_u32(key.process);
        out.extend_from_slice(&key.secret);
    });
}

/// Appends a StartupMessage of protocol 3.
pub fn startup(out: &mut BytesMut, start: &Start) {
    with_length(out, |out| {
        out.put_u32(VERSION_3_0 | u32::from(start.minor));
        for (name, value) in &start.parameters {
            put_string(out, name);
            put_string(out, value);
        }
        out.put_u8(0);
    });
}

/// Appends a PasswordMessage.
pub fn password(out: &mut BytesMut, password: &[u8]) {
    message(out, b'p', |out| put_string(out, password));
}

/// Appends a SASLInitialResponse.
pub fn sasl_initial_response(out: &mut BytesMut, mechanism: &str, data: &[u8]) {
    message(out, b'p', |out| {
        put_string(out, mechanism.as_bytes());
        out.put_u32(u32::try_from(data.len()).unwrap_or(u32::MAX));
        out.extend_from_slice(data);
    });
}

/// Appends a SASLResponse.
pub fn sasl_response(out: &mut BytesMut, data: &[u8]) {
    message(out, b'p', |out| out.extend_from_slice(data));
}

/// Appends a Describe of a prepared statement.
pub fn describe_statement(out: &mut BytesMut, name: &[u8]) {
    message(out, b'D', |out| {
        out.put_u8(b'S');
        put_string(out, name);
    });
}

/// Appends a Sync.
pub fn sync(out: &mut BytesMut) {
    message(out, b'S', |_| {});
}

/// Appends a Terminate.
pub fn terminate(out: &mut BytesMut) {
    message(out, b'X', |_| {});
}
