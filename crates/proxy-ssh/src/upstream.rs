//! The leg to a target: reach it, know it by its host key, sign in with what the gateway has.

mod host_key;
mod sign_in;

use crate::flow::{Pressure, Queue, Weigh};
use bytes::Bytes;
use host_key::HostKeyRule;
use loggia_gate::Dial;
use loggia_model::port::{Secrets, SessionKeys};
use loggia_model::{Fault, Mint, PublicError};
use parking_lot::Mutex;
use russh::client::{self, ChannelOpenHandle, DisconnectReason, Handle, Msg, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{
    Channel, ChannelId, ChannelWriteHalf, Limits, Preferred, Sig, SshId, cipher, compression, kex,
    mac,
};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Window of a channel, in bytes: what may be under way for a round trip.
pub(crate) const WINDOW_BYTES: u32 = 4 << 20;
/// The longest packet that either side is asked to send, in bytes.
pub(crate) const PACKET_BYTES_MAX: u32 = 65_535;
/// New keys after so many bytes in one direction (RFC 4253 section 9, RFC 4344 section 3.2).
pub(crate) const REKEY_BYTES: usize = 1 << 30;
/// New keys after this time (RFC 4253 section 9).
pub(crate) const REKEY_INTERVAL: Duration = Duration::from_secs(3_600);
/// A peer that says nothing is asked whether it is there.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
/// Unanswered questions until a peer counts as gone.
pub(crate) const KEEPALIVES_MAX: usize = 3;
/// Tries to reach a target that closes the connection at once, and the wait after the first.
const TRIES_MAX: u32 = 5;
const RETRY_WAIT: Duration = Duration::from_millis(150);
/// Channels that a target may open at a time on one connection.
const OPENED_MAX: usize = 16;

/// What the algorithms are, in order. The first cipher is the fastest where the processor has
/// instructions for AES; with it also the client's and the target's share of the work is less.
pub(crate) fn algorithms() -> Preferred {
    Preferred {
        kex: Cow::Borrowed(&[
            kex::MLKEM768X25519_SHA256,
            kex::CURVE25519,
            kex::CURVE25519_PRE_RFC_8731,
            kex::EXTENSION_SUPPORT_AS_CLIENT,
            kex::EXTENSION_SUPPORT_AS_SERVER,
            kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
            kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
        ]),
        cipher: Cow::Borrowed(&[
            cipher::AES_128_GCM,
            cipher::AES_256_GCM,
            cipher::CHACHA20_POLY1305,
            cipher::AES_256_CTR,
            cipher::AES_128_CTR,
        ]),
        mac: Cow::Borrowed(&[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM]),
        compression: Cow::Borrowed(&[compression::NONE]),
        ..Preferred::DEFAULT
    }
}

/// What a leg to a target needs beside the permission to dial.
pub(crate) struct UpstreamParts {
    pub(crate) secrets: Arc<dyn Secrets>,
    pub(crate) keys: Arc<dyn SessionKeys>,
    pub(crate) mint: Mint,
    pub(crate) dial_wait_max: Duration,
}

/// What a target says on a channel.
#[derive(Debug)]
pub(crate) enum TargetSays {
    Output(Bytes),
    Error(Bytes),
    Success,
    Failure,
    ExitStatus(u32),
    ExitSignal {
        signal: Sig,
        core_dumped: bool,
        message: String,
    },
    Eof,
    Close,
    /// The connection is gone.
    Gone,
}

impl Weigh for TargetSays {
    fn bytes(&self) -> usize {
        match self {
            Self::Output(bytes) | Self::Error(bytes) => bytes.len(),
            Self::ExitSignal { signal: Sig::Custom(name), message, .. } => {
                name.len() + message.len()
            }
            Self::ExitSignal { message, .. } => message.len(),
            Self::Success
            | Self::Failure
            | Self::ExitStatus(_)
            | Self::Eof
            | Self::Close
            | Self::Gone => 0,
        }
    }
}

/// Why a target opens a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TargetWants {
    /// Somebody connected to a port that the target listens on for the client.
    Forwarded { address: String, port: u32, from: String, from_port: u32 },
    /// The client's agent.
    Agent,
    /// The client's display.
    X11 { from: String, from_port: u32 },
}

/// A channel that a target opens.
pub(crate) struct TargetOpens {
    pub(crate) wants: TargetWants,
    pub(crate) channel: ChannelWriteHalf<Msg>,
    pub(crate) says: Followed,
    pub(crate) reply: ChannelOpenHandle,
}

type Registry = Arc<Mutex<HashMap<ChannelId, Line>>>;

/// What a target says on one channel. It begins when the target confirms the channel: a server
/// that speaks first may have spoken, and closed, before somebody follows.
struct Line {
    says: Arc<Queue<TargetSays>>,
    followed: bool,
    closed: bool,
}

impl Line {
    fn new(pressure: &Arc<Pressure>, followed: bool) -> Self {
        Self { says: Queue::new(Arc::clone(pressure)), followed, closed: false }
    }
}

/// What a target says on a channel that somebody follows. Dropped, nobody does any more, and
/// nothing of the channel is kept, whether the target closes it or not.
pub(crate) struct Followed {
    says: Arc<Queue<TargetSays>>,
    channel: ChannelId,
    channels: Registry,
}

impl Deref for Followed {
    type Target = Queue<TargetSays>;

    fn deref(&self) -> &Self::Target {
        &self.says
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.says.abandon();
        let mut channels = self.channels.lock();
        if channels.get(&self.channel).is_some_and(|line| Arc::ptr_eq(&line.says, &self.says)) {
            channels.remove(&self.channel);
        }
    }
}

/// A connection to a target, signed in.
pub struct Upstream {
    pub(crate) handle: Handle<TargetHandler>,
    pub(crate) pressure: Arc<Pressure>,
    channels: Registry,
    /// What the target opens; nobody listens until a policy has permitted it.
    pub(crate) opens: mpsc::Receiver<TargetOpens>,
    may_open: Arc<AtomicBool>,
}

impl Upstream {
    /// A session channel on it, which asks for nothing yet.
    pub(crate) async fn open_session(
        &self,
    ) -> Result<(ChannelWriteHalf<Msg>, Followed), russh::Error> {
        let channel = self.handle.channel_open_session().await?;
        Ok(self.follow(channel))
    }

    /// Follows what the target says on a channel that is open.
    pub(crate) fn follow(&self, channel: Channel<Msg>) -> (ChannelWriteHalf<Msg>, Followed) {
        let id = channel.id();
        let says = {
            let mut channels = self.channels.lock();
            let line =
                channels.entry(channel.id()).or_insert_with(|| Line::new(&self.pressure, true));
            line.followed = true;
            let (says, closed) = (Arc::clone(&line.says), line.closed);
            if closed {
                channels.remove(&channel.id());
            }
            says
        };
        // What is said comes by the handler; the library's own queue would be bounded in messages
        // and could lock up.
        let (_, write) = channel.split();
        (write, Followed { says, channel: id, channels: Arc::clone(&self.channels) })
    }

    /// From here on the target may open channels towards the client, or no longer.
    pub(crate) fn let_open(&self, may_open: bool) {
        self.may_open.store(may_open, Ordering::Release);
    }

    /// Whether it can be used for another channel.
    pub(crate) fn is_alive(&self) -> bool {
        !self.handle.is_closed()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // Nobody will follow these any more, and the library's task must not wait for it.
        for line in self.channels.lock().values().filter(|line| !line.followed) {
            line.says.abandon();
        }
    }
}

/// Reaches the target of a permit and signs in. Codes of the errors: `target_down`,
/// `target_host_key`, `target_auth`.
pub(crate) async fn dial(dial: &Dial, parts: &UpstreamParts) -> Result<Upstream, PublicError> {
    let resource = dial.permit().resource();
    let rule = HostKeyRule::of(resource, parts.mint.now_us().div_euclid(1_000_000))?;
    let config = Arc::new(config(&rule));
    let reaching = async {
        let mut tries = 1;
        loop {
            match reach(dial, &rule, &config).await {
                // An sshd that has many at its door drops some (MaxStartups); they may come again.
                Err(Unreached::Dropped(_)) if tries < TRIES_MAX => {
                    tokio::time::sleep(RETRY_WAIT * tries).await;
                    tries += 1;
                }
                Err(Unreached::Dropped(error) | Unreached::Refused(error)) => return Err(error),
                Ok(mut upstream) => {
                    sign_in::sign_in(&mut upstream.handle, dial, parts).await?;
                    return Ok(upstream);
                }
            }
        }
    };
    match timeout(parts.dial_wait_max, reaching).await {
        Ok(reached) => reached,
        Err(_late) => Err(down(&resource.name).cause("it did not answer in time")),
    }
}

/// Why a target was not reached.
enum Unreached {
    /// It closed the connection before it said anything of itself.
    Dropped(PublicError),
    /// There is no use in another try.
    Refused(PublicError),
}

/// One try to reach a target, up to the point where it is known by its host key.
async fn reach(
    dial: &Dial,
    rule: &HostKeyRule,
    config: &Arc<client::Config>,
) -> Result<Upstream, Unreached> {
    let resource = dial.permit().resource();
    let pressure = Arc::new(Pressure::default());
    let channels = Registry::default();
    let (opens_in, opens) = mpsc::channel(OPENED_MAX);
    let may_open = Arc::new(AtomicBool::new(false));
    let shown = Arc::new(Mutex::new(None));
    let handler = TargetHandler {
        rule: rule.clone(),
        shown: Arc::clone(&shown),
        channels: Arc::clone(&channels),
        pressure: Arc::clone(&pressure),
        opens: opens_in,
        may_open: Arc::clone(&may_open),
    };
    let address = (resource.host.as_str(), resource.port);
    let socket = TcpStream::connect(address)
        .await
        .map_err(|error| Unreached::Refused(down(&resource.name).cause(error)))?;
    let _ = socket.set_nodelay(true);
    let connected = client::connect_stream(Arc::clone(config), socket, handler).await;
    let handle = connected.map_err(|error| match shown.lock().take() {
        Some(fingerprint) => Unreached::Refused(host_key::wrong(&resource.name, fingerprint)),
        None => Unreached::Dropped(down(&resource.name).cause(error)),
    })?;
    Ok(Upstream { handle, pressure, channels, opens, may_open })
}

fn down(name: &str) -> PublicError {
    PublicError::new("target_down", Fault::Target, format!("`{name}` cannot be reached"))
        .hint("is the host up, and does its sshd listen? `loggia doctor` on the gateway tells")
        .retry()
}

fn config(rule: &HostKeyRule) -> client::Config {
    let mut preferred = algorithms();
    preferred.key = Cow::Owned(rule.key_algorithms());
    preferred.host_key_certificates = Cow::Owned(rule.certificate_algorithms());
    client::Config {
        client_id: SshId::Standard(Cow::Borrowed("SSH-2.0-Loggia")),
        limits: Limits::new(REKEY_BYTES, REKEY_BYTES, REKEY_INTERVAL),
        window_size: WINDOW_BYTES,
        maximum_packet_size: PACKET_BYTES_MAX,
        preferred,
        keepalive_interval: Some(KEEPALIVE_INTERVAL),
        keepalive_max: KEEPALIVES_MAX,
        ..client::Config::default()
    }
}

/// Hears what a target says.
pub(crate) struct TargetHandler {
    rule: HostKeyRule,
    /// The fingerprint of a host key that is not the declared one.
    shown: Arc<Mutex<Option<String>>>,
    channels: Registry,
    pressure: Arc<Pressure>,
    opens: mpsc::Sender<TargetOpens>,
    may_open: Arc<AtomicBool>,
}

impl TargetHandler {
    async fn say(&self, channel: ChannelId, says: TargetSays) {
        let queue = self.channels.lock().get(&channel).map(|line| Arc::clone(&line.says));
        if let Some(queue) = queue {
            queue.push(says).await;
        }
    }

    async fn opened(&self, wants: TargetWants, channel: Channel<Msg>, reply: ChannelOpenHandle) {
        if !self.may_open.load(Ordering::Acquire) {
            return;
        }
        let line = Line::new(&self.pressure, true);
        let (id, queue) = (channel.id(), Arc::clone(&line.says));
        self.channels.lock().insert(id, line);
        let says = Followed { says: queue, channel: id, channels: Arc::clone(&self.channels) };
        let (_, channel) = channel.split();
        // Full, or nobody there: all of it is dropped, which is a refusal.
        let _ = self.opens.try_send(TargetOpens { wants, channel, says, reply });
    }
}

impl Drop for TargetHandler {
    fn drop(&mut self) {
        for line in self.channels.lock().values() {
            line.says.close();
        }
    }
}

impl client::Handler for TargetHandler {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let known = self.rule.knows(shown);
        if !known {
            let fingerprint = shown.public_key().fingerprint(Default::default());
            *self.shown.lock() = Some(fingerprint.to_string());
        }
        Ok(known)
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.say(channel, TargetSays::Output(Bytes::copy_from_slice(data))).await;
        Ok(())
    }

    async fn extended_data(
        &mut self,
        channel: ChannelId,
        _code: u32,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.say(channel, TargetSays::Error(Bytes::copy_from_slice(data))).await;
        Ok(())
    }

    async fn channel_success(
        &mut self,
        channel: ChannelId,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.say(channel, TargetSays::Success).await;
        Ok(())
    }

    async fn channel_failure(
        &mut self,
        channel: ChannelId,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.say(channel, TargetSays::Failure).await;
        Ok(())
    }

    async fn exit_status(
        &mut self,
        channel: ChannelId,
        exit_status: u32,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.say(channel, TargetSays::ExitStatus(exit_status)).await;
        Ok(())
    }

    async fn exit_signal(
        &mut self,
        channel: ChannelId,
        signal: Sig,
        core_dumped: bool,
        message: &str,
        _lang_tag: &str,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let message = message.to_owned();
        self.say(channel, TargetSays::ExitSignal { signal, core_dumped, message }).await;
        Ok(())
    }

    async fn channel_open_confirmation(
        &mut self,
        channel: ChannelId,
        _: u32,
        _: u32,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let mut channels = self.channels.lock();
        // The one who opened it may have been quicker.
        channels.entry(channel).or_insert_with(|| Line::new(&self.pressure, false));
        Ok(())
    }

    async fn channel_eof(
        &mut self,
        channel: ChannelId,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.say(channel, TargetSays::Eof).await;
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.say(channel, TargetSays::Close).await;
        let mut channels = self.channels.lock();
        if channels.get(&channel).is_some_and(|line| line.followed) {
            channels.remove(&channel);
        } else if let Some(line) = channels.get_mut(&channel) {
            line.closed = true;
        }
        Ok(())
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        address: &str,
        port: u32,
        from: &str,
        from_port: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let (address, from) = (address.to_owned(), from.to_owned());
        let wants = TargetWants::Forwarded { address, port, from, from_port };
        self.opened(wants, channel, reply).await;
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.opened(TargetWants::Agent, channel, reply).await;
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        channel: Channel<Msg>,
        from: &str,
        from_port: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let from = from.to_owned();
        self.opened(TargetWants::X11 { from, from_port }, channel, reply).await;
        Ok(())
    }

    // A target that wants anything else of its client does not get it.
    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        _refused_by_drop: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _refused_by_drop: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _refused_by_drop: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _refused_by_drop: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<Self::Error>,
    ) -> Result<(), Self::Error> {
        tracing::debug!(?reason, "a target closed the connection");
        let mut queues = Vec::new();
        self.channels.lock().retain(|_, line| {
            queues.push(Arc::clone(&line.says));
            line.closed = true;
            !line.followed
        });
        for queue in queues {
            queue.push(TargetSays::Gone).await;
            queue.close();
        }
        Ok(())
    }
}
