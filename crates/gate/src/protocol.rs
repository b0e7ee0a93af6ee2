//! What a front end brings.

use crate::proof::Dial;
use crate::sessions::EndNotice;
use crate::target::{FrameBytes, TargetWriter};
use crate::watch::Watch;
use async_trait::async_trait;
use loggia_model::resource::Address;
use loggia_model::{Credential, PublicError, Source, Value};
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// What a client wants, as far as its protocol says so before anything is decided.
#[derive(Debug)]
pub struct Opening {
    /// What it proves its identity with.
    pub credential: Credential,
    /// What it wants to reach.
    pub address: Address,
    /// The database, where it names one.
    pub database: Option<String>,
    /// What the client calls itself.
    pub application: Option<String>,
    /// Start-up parameters as sent: pairs of name and value.
    pub options: Option<Value>,
    /// Where the client really is, where it came through another session of this gateway.
    pub source: Option<Source>,
}

/// What came of reading the opening.
pub enum Opened<C> {
    /// A client that wants a session and waits for the verdict.
    Session {
        /// What it wants.
        opening: Box<Opening>,
        /// The client's leg, to go on with.
        client: C,
    },
    /// The connection wanted no session (such as a request to cancel) and is done.
    Done,
}

/// Why a connection ended before anyone was identified.
#[derive(Debug)]
pub struct OpenFailure {
    /// Stable code, such as `malformed`, `timeout`, `tls`, `no_tls`, `no_credential`.
    pub reason: &'static str,
    /// The user name or resource that was claimed, where one was.
    pub claimed: Option<String>,
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndReason {
    /// The client closed the connection.
    ClientClosed,
    /// The target closed the connection.
    TargetClosed,
    /// Loggia ended it: a limit, a lock, an operator, a shutdown.
    Ordered(EndNotice),
    /// What it did could not be recorded any more.
    Unrecordable,
    /// One side broke the protocol; the text is for the gateway's log.
    ProtocolError(String),
    /// A frame would have begun in the middle of another: a mistake of the front end, which
    /// [`TargetWriter`] kept from the target.
    Misframed,
    /// The front end panicked.
    Panic,
}

impl EndReason {
    /// The code in `session.end`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::TargetClosed => "target_closed",
            Self::Ordered(notice) => notice.code,
            Self::Unrecordable => "unrecordable",
            Self::ProtocolError(_) => "protocol_error",
            Self::Misframed => "gateway_fault",
            Self::Panic => "panic",
        }
    }
}

/// What a relay reports when it is over.
#[derive(Debug)]
pub struct Ended {
    /// Why.
    pub reason: EndReason,
    /// Bytes from the client to the target.
    pub bytes_in: u64,
    /// Bytes from the target to the client.
    pub bytes_out: u64,
}

impl Ended {
    /// Over, with no bytes that anybody counted: nothing went either way, or what counted them is
    /// gone.
    pub(crate) fn uncounted(reason: EndReason) -> Self {
        Self { reason, bytes_in: 0, bytes_out: 0 }
    }
}

/// A target that was reached and signed in to.
pub struct Dialled<R, W, G> {
    /// What the target says.
    pub reader: R,
    /// The way to the target; from here on only recorded frames go in.
    pub writer: W,
    /// What the front end keeps of the greeting.
    pub greeting: G,
}

/// A protocol's front end.
#[async_trait]
pub trait Protocol: Send + Sync + 'static {
    /// The client's leg once the opening is read.
    type Client: Send;
    /// The reading half of the target's leg.
    type Reader: Send;
    /// The writing half of the target's leg: bytes, or a [`crate::MessageSink`].
    type Writer: Send;
    /// What is kept of the target's greeting.
    type Greeting: Send;

    /// The name of the listener in events and metrics, such as `postgres`.
    fn name(&self) -> &'static str;

    /// How long a frame to the target is, where the target is a stream of bytes that is cut into
    /// frames: with it the [`TargetWriter`] holds on its own that none begins inside another.
    fn frame_bytes(&self) -> Option<FrameBytes> {
        None
    }

    /// Where a connection really comes from that was accepted from `peer`: another place where
    /// this front end dialled its own listener for a client of its own. Places before sign-in are
    /// shared out by this.
    fn comes_from(&self, peer: SocketAddr) -> SocketAddr {
        peer
    }

    /// *open*: reads just enough to know who claims to be there and what they want. Bounded in
    /// bytes by the front end, in time by the spine too.
    async fn open(
        &self,
        socket: TcpStream,
        source: Source,
    ) -> Result<Opened<Self::Client>, OpenFailure>;

    /// Tells the client in its protocol's own words why it is not let through, and closes.
    async fn refuse(&self, client: Self::Client, error: &PublicError);

    /// *dial*: reaches the target and signs in. The handshake is the gateway's own; nothing the
    /// client sent as an action goes to the target here.
    async fn dial(
        &self,
        client: &mut Self::Client,
        dial: &Dial,
    ) -> Result<Dialled<Self::Reader, Self::Writer, Self::Greeting>, PublicError>;

    /// *relay*: until one side closes, the watch says that the session must end, or something
    /// breaks. On an order to end: cancels what runs on the target (recorded), tells the client
    /// the reason, closes.
    async fn relay(
        &self,
        client: Self::Client,
        target: Dialled<Self::Reader, TargetWriter<Self::Writer>, Self::Greeting>,
        watch: &mut Watch,
    ) -> Ended;
}
