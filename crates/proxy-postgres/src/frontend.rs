//! The leg to the client, up to the verdict: TLS, start-up packet, credential.
//!
//! Everything here is bounded: bytes by the codec, packets by count, time by step and in all.
//! Nobody is known yet, so every refusal says no more than what the client did wrong.

mod tls;

#[cfg(test)]
mod tests;

pub use tls::{ALPN, server_config};

use crate::codec::encode::{self, Report, Severity};
use crate::codec::frame::{Decoder, Inbound, Limits, Taking};
use crate::codec::startup::{self, CancelKey, Start, Startup};
use crate::codec::{CodecError, PRE_AUTH_BYTES_MAX};
use crate::refusal::{INVALID_AUTHORIZATION, PROTOCOL_VIOLATION};
use bytes::BytesMut;
use loggia_gate::{OpenFailure, Opening};
use loggia_model::resource::Address;
use loggia_model::{Credential, Secret, Value};
use rustls::ServerConfig;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The first byte of a TLS handshake record: the client begins with TLS at once (PostgreSQL 17).
const TLS_HANDSHAKE: u8 = 0x16;
/// Requests for encryption before the start-up message at most: one for GSSAPI, one for TLS.
const REQUESTS_MAX: usize = 3;
/// How long a refusal may take to be delivered.
const REFUSAL_WAIT_MAX: Duration = Duration::from_secs(3);

/// How long a client may take before it is identified.
#[derive(Debug, Clone, Copy)]
pub struct OpenLimits {
    /// For one step: a packet, the TLS handshake, the password.
    pub step_wait_max: Duration,
    /// For all steps together.
    pub wait_max: Duration,
}

impl Default for OpenLimits {
    fn default() -> Self {
        Self { step_wait_max: Duration::from_secs(3), wait_max: Duration::from_secs(10) }
    }
}

/// A client that has said what it wants and waits for the verdict.
#[derive(Debug)]
pub struct Client {
    /// The connection, inside TLS.
    pub stream: TlsStream<TcpStream>,
    /// What was read of it beyond the start.
    pub buffer: BytesMut,
    /// Its start-up message.
    pub start: Start,
}

impl Client {
    /// The kind of replication that the client asks for. Whatever is not plainly "no" counts.
    pub fn replication(&self) -> Option<&[u8]> {
        let no: &[&[u8]] = &[b"false", b"off", b"no", b"0", b""];
        let asked = self.start.get("replication")?;
        (!no.iter().any(|no| asked.eq_ignore_ascii_case(no))).then_some(asked)
    }
}

/// What a connection turned out to be.
#[derive(Debug)]
pub enum Arrival {
    /// A client that wants a session.
    Client(Box<Opening>, Box<Client>),
    /// A request to cancel. The requester waits for the connection to be closed.
    Cancel(CancelKey, Waiting),
}

/// The connection of a request to cancel. The requester waits until it is closed.
#[derive(Debug)]
pub enum Waiting {
    /// In clear, as older clients ask.
    Plain(TcpStream),
    /// Inside TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Waiting {
    /// Closes it in good order: newer clients take the end of TLS without a goodbye for a failure.
    pub async fn close(self) {
        let _ = match self {
            Self::Plain(mut socket) => timeout(REFUSAL_WAIT_MAX, socket.shutdown()).await,
            Self::Tls(mut stream) => timeout(REFUSAL_WAIT_MAX, stream.shutdown()).await,
        };
    }
}

/// Reads a connection up to the point where the verdict is due.
pub async fn open(
    socket: TcpStream,
    config: &Arc<ServerConfig>,
    limits: OpenLimits,
) -> Result<Arrival, OpenFailure> {
    let deadline = Instant::now() + limits.wait_max;
    let steps = Steps { step_wait_max: limits.step_wait_max, deadline };
    let mut buffer = BytesMut::with_capacity(1024);
    let (socket, at_once) = match encrypted(socket, &mut buffer, &steps).await? {
        Plain::Tls { socket, at_once } => (socket, at_once),
        Plain::Cancel(key, socket) => {
            return Ok(Arrival::Cancel(key, Waiting::Plain(socket)));
        }
    };
    let acceptor = TlsAcceptor::from(Arc::clone(config));
    let mut stream = steps.run(acceptor.accept(socket), "tls").await?;
    // A client that begins with TLS at once must say that it means PostgreSQL: otherwise a browser
    // could be made to speak to us.
    if at_once && stream.get_ref().1.alpn_protocol() != Some(ALPN) {
        return Err(failure("tls", None));
    }
    let start = match steps.packet(&mut stream, &mut buffer).await? {
        Startup::Start(start) => start,
        Startup::Cancel(key) => {
            return Ok(Arrival::Cancel(key, Waiting::Tls(Box::new(stream))));
        }
        Startup::Version(version) => {
            tell(&mut stream, &wrong_version(version)).await;
            return Err(failure("version", None));
        }
        Startup::Ssl | Startup::Gssenc => return Err(failure("malformed", None)),
    };
    greet(stream, buffer, start, &steps).await
}

/// What a connection is before TLS.
enum Plain {
    /// TLS comes next, or began at once.
    Tls { socket: TcpStream, at_once: bool },
    /// A request to cancel in clear, as older clients send it.
    Cancel(CancelKey, TcpStream),
}

/// Answers requests for encryption until TLS begins.
async fn encrypted(
    mut socket: TcpStream,
    buffer: &mut BytesMut,
    steps: &Steps,
) -> Result<Plain, OpenFailure> {
    let mut first = [0; 1];
    let peeked = steps.run(socket.peek(&mut first), "closed").await?;
    if peeked == 0 {
        return Err(failure("closed", None));
    }
    if first == [TLS_HANDSHAKE] {
        return Ok(Plain::Tls { socket, at_once: true });
    }
    for _ in 0..REQUESTS_MAX {
        match steps.packet(&mut socket, buffer).await? {
            Startup::Ssl => {
                // What came in clear behind the request must not be taken for what is said
                // inside TLS.
                if !buffer.is_empty() {
                    return Err(failure("malformed", None));
                }
                steps.run(socket.write_all(b"S"), "closed").await?;
                return Ok(Plain::Tls { socket, at_once: false });
            }
            Startup::Gssenc => steps.run(socket.write_all(b"N"), "closed").await?,
            Startup::Cancel(key) => return Ok(Plain::Cancel(key, socket)),
            Startup::Version(version) => {
                tell(&mut socket, &wrong_version(version)).await;
                return Err(failure("version", None));
            }
            Startup::Start(start) => {
                tell(&mut socket, &no_tls()).await;
                return Err(failure("no_tls", claimed(&start)));
            }
        }
    }
    Err(failure("malformed", None))
}

/// The start-up message is read: finds out what the client wants, and with what credential.
async fn greet(
    mut stream: TlsStream<TcpStream>,
    mut buffer: BytesMut,
    start: Start,
    steps: &Steps,
) -> Result<Arrival, OpenFailure> {
    let mut out = BytesMut::new();
    if start.minor > 0 || start.extensions().next().is_some() {
        let unknown = start.extensions().map(AsRef::as_ref);
        encode::negotiate_protocol_version(&mut out, unknown);
    }
    let wanted = match wanted(&start) {
        Ok(wanted) => wanted,
        Err(report) => {
            encode::report(&mut out, &report);
            send_last(&mut stream, &out).await;
            return Err(failure("address", claimed(&start)));
        }
    };
    let (_, connection) = stream.get_ref();
    let chain: Vec<Vec<u8>> = connection
        .peer_certificates()
        .unwrap_or_default()
        .iter()
        .map(|certificate| certificate.to_vec())
        .collect();
    let credential = if chain.is_empty() {
        encode::authentication_cleartext_password(&mut out);
        steps.send(&mut stream, &mut out).await?;
        Credential::Token(password(&mut stream, &mut buffer, &start, steps).await?)
    } else {
        if !out.is_empty() {
            steps.send(&mut stream, &mut out).await?;
        }
        Credential::ClientCertificate { chain }
    };
    let text = |name| start.get(name).map(|value| String::from_utf8_lossy(value).into_owned());
    let opening = Opening {
        credential,
        address: wanted.address,
        database: wanted.database,
        application: text("application_name"),
        options: Some(options(&start)),
        source: None,
    };
    let client = Client { stream, buffer, start };
    Ok(Arrival::Client(Box::new(opening), Box::new(client)))
}

/// Reads the PasswordMessage.
async fn password(
    stream: &mut TlsStream<TcpStream>,
    buffer: &mut BytesMut,
    start: &Start,
    steps: &Steps,
) -> Result<Secret, OpenFailure> {
    let limits =
        Limits { action_bytes_max: PRE_AUTH_BYTES_MAX, neutral_bytes_max: PRE_AUTH_BYTES_MAX };
    let mut decoder = Decoder::new(limits);
    let frame = loop {
        // COPY data has no place here: it is met like everything else that is no password.
        match decoder.next(buffer, || Taking::For(())) {
            Ok(Some(Inbound::Frame(frame))) if frame.tag() == b'p' => break frame,
            Ok(None) if buffer.len() <= PRE_AUTH_BYTES_MAX => {
                // A client that has to ask a person hangs up here and comes back.
                let read = steps.run(stream.read_buf(buffer), "no_credential").await;
                if !matches!(read, Ok(1..)) {
                    return Err(failure("no_credential", claimed(start)));
                }
            }
            _ => return Err(failure("malformed", claimed(start))),
        }
    };
    let text = frame.body().strip_suffix(b"\0").and_then(|text| std::str::from_utf8(text).ok());
    let token = text.filter(|token| !token.is_empty() && !token.contains('\0'));
    match token {
        Some(token) => Ok(Secret::new(token.to_owned())),
        None => Err(failure("malformed", claimed(start))),
    }
}

struct Wanted {
    address: Address,
    database: Option<String>,
}

/// What the start-up message asks for.
fn wanted(start: &Start) -> Result<Wanted, Report> {
    let user = start.get("user").unwrap_or_default();
    let user = std::str::from_utf8(user).map_err(|_| bad_address("it is not UTF-8".to_owned()))?;
    let address = user.parse::<Address>().map_err(|error| bad_address(error.to_string()))?;
    // libpq's default for the database is the user name.
    let database = start
        .get("database")
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .filter(|name| !name.is_empty() && name != user);
    Ok(Wanted { address, database })
}

/// The start-up parameters as pairs, in the order sent.
fn options(start: &Start) -> Value {
    let pairs = start.parameters.iter();
    Value::Array(
        pairs
            .map(|(name, value)| Value::Array(vec![Value::text(name), Value::text(value)]))
            .collect(),
    )
}

fn claimed(start: &Start) -> Option<String> {
    let user = start.get("user")?;
    Some(String::from_utf8_lossy(user).chars().take(128).collect())
}

fn failure(reason: &'static str, claimed: Option<String>) -> OpenFailure {
    OpenFailure { reason, claimed }
}

fn fatal(sqlstate: &'static str, message: String, hint: &str) -> Report {
    Report {
        severity: Severity::Fatal,
        sqlstate,
        message,
        detail: None,
        hint: Some(hint.to_owned()),
    }
}

fn no_tls() -> Report {
    fatal(
        INVALID_AUTHORIZATION,
        "Loggia speaks only TLS".to_owned(),
        "connect with sslmode=verify-full (or at least sslmode=require); `loggia pg-config` writes it",
    )
}

fn wrong_version(version: u32) -> Report {
    let (major, minor) = (version >> 16, version & 0xffff);
    fatal(
        PROTOCOL_VIOLATION,
        format!("protocol {major}.{minor} is not spoken here; 3.0 is"),
        "use a client of PostgreSQL 7.4 or newer",
    )
}

fn bad_address(why: String) -> Report {
    fatal(
        INVALID_AUTHORIZATION,
        format!("the user name does not say what to connect to: {why}"),
        "user=RESOURCE or user=ACCOUNT~RESOURCE; `loggia resource ls` lists what you can reach",
    )
}

/// Tells a connection why it ends. Whether it arrives does not matter any more.
pub async fn tell(stream: &mut (impl AsyncWrite + Unpin), report: &Report) {
    let mut out = BytesMut::new();
    encode::report(&mut out, report);
    send_last(stream, &out).await;
}

async fn send_last(stream: &mut (impl AsyncWrite + Unpin), out: &BytesMut) {
    let sending = async {
        stream.write_all(out).await?;
        stream.flush().await?;
        stream.shutdown().await
    };
    let _ = timeout(REFUSAL_WAIT_MAX, sending).await;
}

/// Runs steps within their time.
struct Steps {
    step_wait_max: Duration,
    deadline: Instant,
}

impl Steps {
    async fn run<T>(
        &self,
        step: impl Future<Output = io::Result<T>>,
        reason: &'static str,
    ) -> Result<T, OpenFailure> {
        let deadline = self.deadline.min(Instant::now() + self.step_wait_max);
        match timeout_at(deadline, step).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                tracing::debug!(%error, reason, "a connection ended before it was identified");
                Err(failure(reason, None))
            }
            Err(_late) => Err(failure("timeout", None)),
        }
    }

    /// The next start-up packet.
    async fn packet(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        buffer: &mut BytesMut,
    ) -> Result<Startup, OpenFailure> {
        let reading = async {
            loop {
                match startup::decode(buffer) {
                    Ok(Some(packet)) => return Ok(Ok(packet)),
                    Ok(None) => {}
                    Err(error) => return Ok(Err(error)),
                }
                // The codec takes no packet beyond its limit, so the buffer stays small.
                if stream.read_buf(buffer).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        };
        let read: Result<Startup, CodecError> = self.run(reading, "closed").await?;
        match read {
            Ok(packet) => Ok(packet),
            Err(error) => {
                let report = fatal(
                    PROTOCOL_VIOLATION,
                    format!("this is not the PostgreSQL protocol: {error}"),
                    "the gateway's PostgreSQL port takes PostgreSQL clients only",
                );
                tell(stream, &report).await;
                Err(failure("malformed", None))
            }
        }
    }

    async fn send(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        out: &mut BytesMut,
    ) -> Result<(), OpenFailure> {
        let sending = async {
            stream.write_all(out).await?;
            stream.flush().await
        };
        self.run(sending, "closed").await?;
        out.clear();
        Ok(())
    }
}
