//! The front end as the spine sees it.

use crate::cancels::Cancels;
use crate::codec::frame;
use crate::frontend::{self, Arrival, Client, OpenLimits};
use crate::refusal;
use crate::relay::{self, RelayParts, Target};
use crate::upstream::{self, Greeting, TargetStream, TargetTls};
use async_trait::async_trait;
use loggia_gate::{Dial, Dialled, Ended, FrameBytes, OpenFailure, Opened, Protocol, Watch};
use loggia_model::port::Secrets;
use loggia_model::{Mint, PublicError, Source};
use rustls::ServerConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::TcpStream;

/// What the front end is composed of; `server` names the implementations.
pub struct PostgresParts {
    /// TLS towards clients; see [`frontend::server_config`].
    pub tls: Arc<ServerConfig>,
    /// TLS towards targets.
    pub target_tls: Arc<TargetTls>,
    /// Passwords of accounts.
    pub secrets: Arc<dyn Secrets>,
    /// Time and randomness.
    pub mint: Mint,
    /// Told at the start of every session: that everything is recorded.
    pub notice: String,
    /// Limits.
    pub limits: PostgresLimits,
}

/// Limits of the front end.
#[derive(Debug, Clone, Copy)]
pub struct PostgresLimits {
    /// Before the client is identified.
    pub open: OpenLimits,
    /// For reaching a target and signing in, in all.
    pub dial_wait_max: Duration,
    /// Sizes of a client's messages. More than [`crate::codec::ACTION_BYTES_MAX`] of an action
    /// cannot be recorded, whatever stands here.
    pub messages: frame::Limits,
}

impl Default for PostgresLimits {
    fn default() -> Self {
        Self {
            open: OpenLimits::default(),
            dial_wait_max: Duration::from_secs(10),
            messages: frame::Limits::default(),
        }
    }
}

/// The PostgreSQL front end.
pub struct Postgres {
    parts: PostgresParts,
    cancels: Arc<Cancels>,
}

impl Postgres {
    /// A front end of these parts.
    pub fn new(parts: PostgresParts) -> Self {
        Self { parts, cancels: Arc::default() }
    }
}

#[async_trait]
impl Protocol for Postgres {
    type Client = Box<Client>;
    type Reader = ReadHalf<TargetStream>;
    type Writer = WriteHalf<TargetStream>;
    type Greeting = Greeting;

    fn name(&self) -> &'static str {
        "postgres"
    }

    fn frame_bytes(&self) -> Option<FrameBytes> {
        Some(frame::frame_bytes)
    }

    async fn open(
        &self,
        socket: TcpStream,
        source: Source,
    ) -> Result<Opened<Self::Client>, OpenFailure> {
        match frontend::open(socket, &self.parts.tls, self.parts.limits.open).await? {
            Arrival::Client(opening, client) => Ok(Opened::Session { opening, client }),
            Arrival::Cancel(key, waiting) => {
                let known = self.cancels.ask(&key, source).await;
                // Only now is the connection closed, which is what the requester waits for.
                waiting.close().await;
                if known {
                    Ok(Opened::Done)
                } else {
                    Err(OpenFailure { reason: "cancel_key", claimed: None })
                }
            }
        }
    }

    async fn refuse(&self, mut client: Self::Client, error: &PublicError) {
        frontend::tell(&mut client.stream, &refusal::fatal(error)).await;
    }

    async fn dial(
        &self,
        client: &mut Self::Client,
        dial: &Dial,
    ) -> Result<Dialled<Self::Reader, Self::Writer, Self::Greeting>, PublicError> {
        let password = match &dial.permit().account().password {
            Some(reference) => Some(self.parts.secrets.resolve(reference)?),
            None => None,
        };
        let (stream, greeting) = upstream::dial(
            dial,
            &client.start,
            client.replication(),
            password.as_ref(),
            &self.parts.target_tls,
            self.parts.limits.dial_wait_max,
        )
        .await?;
        let (reader, writer) = tokio::io::split(stream);
        Ok(Dialled { reader, writer, greeting })
    }

    async fn relay(&self, client: Self::Client, target: Target, watch: &mut Watch) -> Ended {
        let random: [u8; 16] = self.parts.mint.random();
        let parts = RelayParts {
            registration: self.cancels.register(&self.parts.mint),
            tls: Arc::clone(&self.parts.target_tls),
            notice: self.parts.notice.clone(),
            messages: self.parts.limits.messages,
            nonexistent: format!("loggia_refused_{}", hex::encode(random)).into_bytes(),
        };
        relay::run(*client, target, watch, parts).await
    }
}
