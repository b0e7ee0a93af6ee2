//! The front end as the spine sees it.

use crate::door::{self, Client, DoorParts};
use crate::jump::Jumps;
use crate::relay::{self, RelayParts};
use crate::upstream::{self, Upstream, UpstreamParts};
use async_trait::async_trait;
use loggia_gate::{Dial, Dialled, Ended, OpenFailure, Opened, Protocol, TargetWriter, Watch};
use loggia_model::port::{HostKeys, Identify, Resolve, Secrets, SessionKeys};
use loggia_model::{Mint, PublicError, Source};
use parking_lot::Mutex;
use russh::Disconnect;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// For reaching a target and signing in, in all.
const DIAL_WAIT_MAX: Duration = Duration::from_secs(12);

/// What the front end is composed of; `server` names the implementations.
pub struct SshParts {
    /// Who somebody is: asked for each key that a client tries.
    pub identify: Arc<dyn Identify>,
    /// This gateway's host key and certificates.
    pub host_keys: Arc<dyn HostKeys>,
    /// The names under which clients know this gateway.
    pub names: Vec<String>,
    /// Where it listens: `ssh -J` comes in there again.
    pub own: SocketAddr,
    /// What can be reached.
    pub resolve: Arc<dyn Resolve>,
    /// Keys for one session on targets that trust this gateway's authority.
    pub session_keys: Arc<dyn SessionKeys>,
    /// Keys and passwords of accounts.
    pub secrets: Arc<dyn Secrets>,
    /// Time and randomness.
    pub mint: Mint,
    /// Told when a shell with a terminal begins: that everything is recorded.
    pub notice: String,
}

/// The SSH front end.
pub struct Ssh {
    door: DoorParts,
    upstream: UpstreamParts,
    jumps: Jumps,
    resolve: Arc<dyn Resolve>,
    notice: String,
}

impl Ssh {
    /// A front end of these parts.
    ///
    /// # Errors
    /// Where the host key cannot be used.
    pub fn new(parts: SshParts) -> Result<Self, PublicError> {
        let config = door::config(&*parts.host_keys, &parts.names)?;
        let made_us = parts.mint.now_us();
        Ok(Self {
            jumps: Jumps::new(parts.own, parts.names.clone()),
            resolve: parts.resolve,
            door: DoorParts {
                identify: parts.identify,
                host_keys: parts.host_keys,
                names: parts.names,
                mint: parts.mint.clone(),
                config: Mutex::new((Arc::new(config), made_us)),
            },
            upstream: UpstreamParts {
                secrets: parts.secrets,
                keys: parts.session_keys,
                mint: parts.mint,
                dial_wait_max: DIAL_WAIT_MAX,
            },
            notice: parts.notice,
        })
    }
}

#[async_trait]
impl Protocol for Ssh {
    type Client = Client;
    /// What a target says comes by channel.
    type Reader = ();
    /// Each channel has a way of its own to the target.
    type Writer = ();
    type Greeting = Upstream;

    fn name(&self) -> &'static str {
        "ssh"
    }

    fn comes_from(&self, peer: SocketAddr) -> SocketAddr {
        self.jumps.source(peer).unwrap_or(peer)
    }

    async fn open(
        &self,
        socket: TcpStream,
        source: Source,
    ) -> Result<Opened<Self::Client>, OpenFailure> {
        let (opening, client) =
            door::open(socket, source, self.jumps.arrived(source.peer), &self.door).await?;
        Ok(Opened::Session { opening, client })
    }

    async fn refuse(&self, client: Self::Client, error: &PublicError) {
        let words = format!("Loggia: {}", door::words(error));
        client.hang_up(Disconnect::ByApplication, words).await;
    }

    async fn dial(
        &self,
        _client: &mut Self::Client,
        dial: &Dial,
    ) -> Result<Dialled<Self::Reader, Self::Writer, Self::Greeting>, PublicError> {
        let upstream = upstream::dial(dial, &self.upstream).await?;
        Ok(Dialled { reader: (), writer: (), greeting: upstream })
    }

    async fn relay(
        &self,
        client: Self::Client,
        target: Dialled<Self::Reader, TargetWriter<Self::Writer>, Self::Greeting>,
        watch: &mut Watch,
    ) -> Ended {
        let parts = RelayParts {
            upstream: &self.upstream,
            notice: &self.notice,
            jumps: &self.jumps,
            resolve: &*self.resolve,
        };
        relay::run(client, target.greeting, watch, parts).await
    }
}
