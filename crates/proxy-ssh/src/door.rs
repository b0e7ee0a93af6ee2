//! The door to a client: the SSH handshake up to the point where somebody has proved something,
//! then everything that the client asks for, handed to the relay in order.
//!
//! The library calls [`Door`] from its own task. A call that proves an identity waits there until
//! the spine has decided, dialled and recorded: the client is told that it is signed in only once
//! its session exists.

use crate::cord::Cord;
use crate::flow::{Pressure, Queue, Weigh};
use crate::jump::Jump;
use crate::outgoing::Terminal;
use crate::upstream;
use bytes::Bytes;
use loggia_gate::{OpenFailure, Opening};
use loggia_model::port::{HostKeys, Identify};
use loggia_model::resource::Address;
use loggia_model::{Credential, Mint, PublicError, Secret, Source};
use parking_lot::Mutex;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::{Algorithm, Certificate};
use russh::server::{
    self, Auth, ChannelOpenHandle, Handle, Msg, Response, RunningSession, Session,
    VerifiedPublicKey,
};
use russh::{
    Channel, ChannelId, ChannelWriteHalf, Disconnect, Limits, MethodKind, MethodSet, Pty, Sig,
    SshId,
};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// A host certificate is used this long before another one is made.
const CERTIFICATE_RENEWED_US: i64 = 24 * 3_600 * 1_000_000;
/// Bytes that are read of somebody who is not identified yet.
const STRANGER_BYTES_MAX: u64 = 512 * 1024;
/// Keys and passwords that one connection may try.
const ATTEMPTS_MAX: usize = 20;
/// Things that a client asks for which wait for the relay.
const EVENTS_MAX: usize = 16;
/// The longest name of a signal, in bytes. The longest that RFC 4254 has is four.
const SIGNAL_BYTES_MAX: usize = 32;
/// Letters of what is never passed on that are told in its event.
const REFUSED_CHARS_MAX: usize = 1024;
/// How long the last words to a client may take: they wait behind what it has not read yet.
const LAST_WORDS_MAX: Duration = Duration::from_secs(5);
/// How long a client that was told everything is given to hang up by itself.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// What the door is made of.
pub(crate) struct DoorParts {
    /// Who somebody is.
    pub(crate) identify: Arc<dyn Identify>,
    /// This gateway's host key and certificates.
    pub(crate) host_keys: Arc<dyn HostKeys>,
    /// The names that clients know it by.
    pub(crate) names: Vec<String>,
    /// Time.
    pub(crate) mint: Mint,
    /// What the library needs to know, with a host certificate that was made then.
    pub(crate) config: Mutex<(Arc<server::Config>, i64)>,
}

impl DoorParts {
    /// The configuration for a client that wants `host`, or this gateway by one of its names.
    ///
    /// # Errors
    /// Where no host certificate can be made.
    pub(crate) fn config(&self, host: Option<&str>) -> Result<Arc<server::Config>, PublicError> {
        if let Some(host) = host {
            return config(&*self.host_keys, &[host.to_owned()]).map(Arc::new);
        }
        let now_us = self.mint.now_us();
        let mut held = self.config.lock();
        if now_us.saturating_sub(held.1) > CERTIFICATE_RENEWED_US {
            *held = (Arc::new(config(&*self.host_keys, &self.names)?), now_us);
        }
        Ok(Arc::clone(&held.0))
    }
}

/// The library's configuration, with this gateway's host key and its certificate for `names`.
///
/// # Errors
/// Where the host key cannot be used.
pub(crate) fn config(keys: &dyn HostKeys, names: &[String]) -> Result<server::Config, PublicError> {
    let unusable = |error: russh::keys::ssh_key::Error| {
        PublicError::new(
            "host_key",
            loggia_model::Fault::Gateway,
            "the gateway's SSH host key cannot be used",
        )
        .hint("see keys/ssh-host.key in the data folder")
        .cause(error)
    };
    let key = PrivateKey::from_openssh(keys.host_key().reveal()).map_err(unusable)?;
    let certificate = keys.host_certificate(names)?;
    let certificate = Certificate::from_openssh(&certificate).map_err(unusable)?;
    let mut preferred = upstream::algorithms();
    preferred.key = Cow::Owned(vec![Algorithm::Ed25519]);
    preferred.host_key_certificates = Cow::Owned(vec![Algorithm::Ed25519]);
    let mut methods = MethodSet::empty();
    methods.push(MethodKind::PublicKey);
    methods.push(MethodKind::KeyboardInteractive);
    Ok(server::Config {
        server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-Loggia")),
        methods,
        // Failed passwords are slowed down where they are judged.
        auth_rejection_time: Duration::ZERO,
        keys: vec![key],
        certificates: vec![certificate],
        limits: Limits::new(upstream::REKEY_BYTES, upstream::REKEY_BYTES, upstream::REKEY_INTERVAL),
        window_size: upstream::WINDOW_BYTES,
        maximum_packet_size: upstream::PACKET_BYTES_MAX,
        preferred,
        max_auth_attempts: ATTEMPTS_MAX,
        inactivity_timeout: None,
        keepalive_interval: Some(upstream::KEEPALIVE_INTERVAL),
        keepalive_max: upstream::KEEPALIVES_MAX,
        ..server::Config::default()
    })
}

/// What a client says on a channel, in order. Where something is asked for, the client's answer
/// waits in `reply`; dropped, it is no.
#[derive(Debug)]
pub(crate) enum ClientSays {
    Terminal {
        terminal: Terminal,
        reply: oneshot::Sender<bool>,
    },
    Environment {
        name: String,
        value: String,
        reply: oneshot::Sender<bool>,
    },
    Agent {
        reply: oneshot::Sender<bool>,
    },
    X11 {
        single: bool,
        protocol: String,
        cookie: String,
        screen: u32,
        reply: oneshot::Sender<bool>,
    },
    Shell {
        reply: oneshot::Sender<bool>,
    },
    Exec {
        command: Bytes,
        reply: oneshot::Sender<bool>,
    },
    Subsystem {
        name: String,
        reply: oneshot::Sender<bool>,
    },
    Data(Bytes),
    Resize {
        columns: u32,
        rows: u32,
        pixels: (u32, u32),
    },
    Signal(Sig),
    Eof,
    Close,
}

impl Weigh for ClientSays {
    fn bytes(&self) -> usize {
        match self {
            Self::Terminal { terminal, .. } => terminal.bytes(),
            Self::Environment { name, value, .. } => name.len() + value.len(),
            Self::X11 { protocol, cookie, .. } => protocol.len() + cookie.len(),
            Self::Exec { command, .. } => command.len(),
            Self::Subsystem { name, .. } => name.len(),
            Self::Data(bytes) => bytes.len(),
            Self::Signal(Sig::Custom(name)) => name.len(),
            Self::Agent { .. }
            | Self::Shell { .. }
            | Self::Resize { .. }
            | Self::Signal(_)
            | Self::Eof
            | Self::Close => 0,
        }
    }
}

/// A channel that the client opens.
pub(crate) struct ClientChannel {
    pub(crate) id: ChannelId,
    pub(crate) write: ChannelWriteHalf<Msg>,
    pub(crate) says: Arc<Queue<ClientSays>>,
    pub(crate) reply: ChannelOpenHandle,
}

/// What a client asks for outside of its channels.
pub(crate) enum ClientAsks {
    /// A channel for a program.
    Session(ClientChannel),
    /// A connection through the target.
    Connect { channel: ClientChannel, host: String, port: u32, origin: (String, u32) },
    /// To listen on the target; the answer is the port.
    Listen { address: String, port: u32, reply: oneshot::Sender<Option<u32>> },
    /// No more to listen on the target.
    Unlisten { address: String, port: u32, reply: oneshot::Sender<bool> },
    /// Something that is never passed on; it was refused already.
    Refused(NeverPassed),
}

/// Something that a client asked for and that is never passed on, whoever asks.
#[derive(Debug)]
pub(crate) struct NeverPassed {
    /// The word for it in `ssh.refused`.
    pub(crate) request: &'static str,
    /// The reason there.
    pub(crate) reason: &'static str,
    /// What was asked for, cut.
    pub(crate) text: String,
}

/// The client's leg.
pub struct Client {
    pub(crate) handle: Handle,
    pub(crate) asks: mpsc::Receiver<ClientAsks>,
    pub(crate) pressure: Arc<Pressure>,
    pub(crate) cord: Cord,
    verdict: Option<oneshot::Sender<bool>>,
    running: RunningSession<Door>,
}

impl Client {
    /// The client is told that it is signed in.
    pub(crate) fn let_in(&mut self) {
        self.cord.lift_limit();
        if let Some(verdict) = self.verdict.take() {
            let _ = verdict.send(true);
        }
    }

    /// Tells the client why the connection ends, and ends it.
    pub(crate) async fn hang_up(mut self, reason: Disconnect, words: String) {
        if let Some(verdict) = self.verdict.take() {
            let _ = verdict.send(false);
        }
        let saying = self.handle.disconnect(reason, words, String::new());
        let _ = timeout(LAST_WORDS_MAX, saying).await;
        // The client closes its side once it has read that; whatever it does, the cord ends it.
        let _ = timeout(LINGER_MAX, &mut self.running).await;
    }
}

/// What a public error is in the words of a disconnection: one text for people.
pub(crate) fn words(error: &PublicError) -> String {
    let mut text = error.message.clone();
    for more in [&error.detail, &error.hint].into_iter().flatten() {
        text.push_str("\n  ");
        text.push_str(more);
    }
    text
}

/// Somebody who proved something, and waits.
struct Presented {
    credential: Credential,
    address: Address,
    verdict: oneshot::Sender<bool>,
}

/// What was tried before that was no good, for the event about the stranger.
#[derive(Debug, Default)]
struct Tried {
    reason: Option<&'static str>,
    claimed: Option<String>,
}

/// Reads the opening of a connection.
pub(crate) async fn open<S>(
    socket: S,
    source: Source,
    jump: Option<Jump>,
    parts: &DoorParts,
) -> Result<(Box<Opening>, Client), OpenFailure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let host = jump.as_ref().and_then(|jump| jump.host.as_deref());
    let config = parts.config(host).map_err(|error| {
        tracing::error!(%error, cause = error.cause.as_deref(), "no host certificate");
        OpenFailure { reason: error.code, claimed: None }
    })?;
    let source = jump.as_ref().map_or(source, |jump| jump.source);
    let (socket, cord) = Cord::around(socket, STRANGER_BYTES_MAX);
    let (presented, mut proof) = mpsc::channel(1);
    let (asks_in, asks) = mpsc::channel(EVENTS_MAX);
    let pressure = Arc::new(Pressure::default());
    let tried = Arc::new(Mutex::new(Tried::default()));
    let door = Door {
        identify: Arc::clone(&parts.identify),
        source,
        presented: Some(presented),
        tried: Arc::clone(&tried),
        asks: asks_in,
        channels: HashMap::new(),
        pressure: Arc::clone(&pressure),
        asked: Asked::default(),
    };
    let failure = |fallback: &'static str| {
        let tried = tried.lock();
        OpenFailure { reason: tried.reason.unwrap_or(fallback), claimed: tried.claimed.clone() }
    };
    let started = server::run_stream(config, socket, door).await;
    let mut running = started.map_err(|_| failure("malformed"))?;
    let presented = tokio::select! {
        presented = proof.recv() => presented,
        ended = &mut running => {
            return Err(failure(if ended.is_ok() { "closed" } else { "malformed" }));
        }
    };
    let Presented { credential, address, verdict } = presented.ok_or_else(|| failure("closed"))?;
    let opening = Opening {
        credential,
        address,
        database: None,
        application: None,
        options: None,
        source: jump.map(|jump| jump.source),
    };
    let client =
        Client { handle: running.handle(), asks, pressure, cord, verdict: Some(verdict), running };
    Ok((Box::new(opening), client))
}

/// What was asked in a keyboard-interactive dialogue.
#[derive(Debug, Default)]
struct Asked {
    questions: bool,
    person: bool,
}

/// One client's door, as the library sees it.
pub(crate) struct Door {
    identify: Arc<dyn Identify>,
    source: Source,
    /// Taken by the first who proves something.
    presented: Option<mpsc::Sender<Presented>>,
    tried: Arc<Mutex<Tried>>,
    asks: mpsc::Sender<ClientAsks>,
    channels: HashMap<ChannelId, Arc<Queue<ClientSays>>>,
    pressure: Arc<Pressure>,
    asked: Asked,
}

impl Drop for Door {
    fn drop(&mut self) {
        for queue in self.channels.values() {
            queue.close();
        }
    }
}

impl Door {
    /// The user name as an address. An unreadable one is remembered for the event.
    fn address(&self, user: &str) -> Option<Address> {
        let address = user.parse::<Address>();
        let mut tried = self.tried.lock();
        tried.claimed = Some(user.chars().take(128).collect());
        if address.is_err() {
            tried.reason = Some("bad_address");
        }
        address.ok()
    }

    /// Somebody proved to hold a key. A client tries one key after another, so one that is not
    /// known is no reason to send it away.
    async fn proved(&mut self, user: &str, credential: Credential) -> Auth {
        let Some(address) = self.address(user) else { return Auth::reject() };
        if let Err(error) = self.identify.identify(&credential, &self.source).await {
            self.tried.lock().reason = Some(error.code);
            // Whoever holds what was once good is told so; only the end of a connection carries
            // words, so no further key is tried then.
            if !matches!(error.code, "expired" | "revoked" | "disabled") {
                return Auth::reject();
            }
        }
        self.present(address, credential).await
    }

    /// Hands a credential to the spine and waits for what comes of it.
    async fn present(&mut self, address: Address, credential: Credential) -> Auth {
        let Some(presented) = self.presented.take() else { return Auth::reject() };
        let (verdict, decided) = oneshot::channel();
        if presented.send(Presented { credential, address, verdict }).await.is_err() {
            return Auth::reject();
        }
        match decided.await {
            Ok(true) => Auth::Accept,
            Ok(false) | Err(_) => Auth::reject(),
        }
    }

    fn channel(&mut self, channel: Channel<Msg>, reply: ChannelOpenHandle) -> ClientChannel {
        let id = channel.id();
        let says = Queue::new(Arc::clone(&self.pressure));
        self.channels.insert(id, Arc::clone(&says));
        // What is said comes by this handler; the library's own queue would be bounded in
        // messages and could lock up.
        let (_, write) = channel.split();
        ClientChannel { id, write, says, reply }
    }

    async fn say(&self, channel: ChannelId, says: ClientSays) {
        if let Some(queue) = self.channels.get(&channel) {
            queue.push(says).await;
        }
    }

    /// Hands on that something was asked for that is never passed on, so that it is on record.
    async fn never_passed(&self, request: &'static str, reason: &'static str, text: &str) {
        let text = text.chars().take(REFUSED_CHARS_MAX).collect();
        let refused = ClientAsks::Refused(NeverPassed { request, reason, text });
        let _ = self.asks.send(refused).await;
    }

    /// Hands on what a channel asks for and answers the client with what comes of it. The client
    /// is read on only then: answers must stay in the order of the questions.
    async fn ask(
        &self,
        channel: ChannelId,
        session: &mut Session,
        says: impl FnOnce(oneshot::Sender<bool>) -> ClientSays,
    ) -> Result<(), russh::Error> {
        let (reply, answer) = oneshot::channel();
        self.say(channel, says(reply)).await;
        match answer.await {
            Ok(true) => session.channel_success(channel),
            Ok(false) | Err(_) => session.channel_failure(channel),
        }
    }
}

impl server::Handler for Door {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let Ok(openssh) = key.public_key.to_openssh() else { return Ok(Auth::reject()) };
        let openssh = without_comment(&openssh);
        Ok(self.proved(user, Credential::SshKey { openssh }).await)
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, Self::Error> {
        let Ok(openssh) = certificate.to_openssh() else { return Ok(Auth::reject()) };
        let openssh = without_comment(&openssh);
        Ok(self.proved(user, Credential::SshCertificate { openssh }).await)
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let Some(address) = self.address(user) else { return Ok(Auth::reject()) };
        let Some(mut answers) = response.filter(|_| self.asked.questions) else {
            let person = address.person.is_none();
            self.asked = Asked { questions: true, person };
            return Ok(questions(person));
        };
        let mut answer = || {
            let bytes = answers.next()?;
            String::from_utf8(bytes.to_vec()).ok()
        };
        let name = if self.asked.person { answer() } else { address.person.clone() };
        self.asked = Asked::default();
        let (Some(name), Some(password), Some(code)) = (name, answer(), answer()) else {
            return Ok(Auth::reject());
        };
        let credential = Credential::PasswordTotp {
            name: name.trim().to_owned(),
            password: Secret::new(password),
            code: Secret::new(code.trim().to_owned()),
        };
        Ok(self.present(address, credential).await)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let channel = self.channel(channel, reply);
        // Nobody there any more: the reply is dropped, which is a refusal.
        let _ = self.asks.send(ClientAsks::Session(channel)).await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        from: &str,
        from_port: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let channel = self.channel(channel, reply);
        let (host, origin) = (host.to_owned(), (from.to_owned(), from_port));
        let _ = self.asks.send(ClientAsks::Connect { channel, host, port, origin }).await;
        Ok(())
    }

    // Sockets by their path are not passed on; the reply is dropped, which is a refusal.
    async fn channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        path: &str,
        _refused_by_drop: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.never_passed("forward", "unsupported", path).await;
        Ok(())
    }

    async fn streamlocal_forward(
        &mut self,
        path: &str,
        _: &mut Session,
    ) -> Result<bool, Self::Error> {
        self.never_passed("forward", "unsupported", path).await;
        Ok(false)
    }

    // These channels are for a server to open.
    async fn channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        from: &str,
        _: u32,
        _refused_by_drop: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.never_passed("x11", "unsupported", from).await;
        Ok(())
    }

    async fn channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        _refused_by_drop: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.never_passed("forward", "unsupported", &format!("{host}:{port}")).await;
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.say(channel, ClientSays::Close).await;
        if let Some(queue) = self.channels.remove(&channel) {
            queue.close();
        }
        Ok(())
    }

    async fn channel_eof(
        &mut self,
        channel: ChannelId,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.say(channel, ClientSays::Eof).await;
        Ok(())
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.say(channel, ClientSays::Data(Bytes::copy_from_slice(data))).await;
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        pixels_x: u32,
        pixels_y: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let terminal = Terminal {
            term: term.to_owned(),
            columns,
            rows,
            pixels: (pixels_x, pixels_y),
            modes: modes.to_vec(),
        };
        self.ask(channel, session, |reply| ClientSays::Terminal { terminal, reply }).await
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        single: bool,
        protocol: &str,
        cookie: &str,
        screen: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let (protocol, cookie) = (protocol.to_owned(), cookie.to_owned());
        let says = |reply| ClientSays::X11 { single, protocol, cookie, screen, reply };
        self.ask(channel, session, says).await
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.ask(channel, session, |reply| ClientSays::Environment { name, value, reply }).await
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.ask(channel, session, |reply| ClientSays::Shell { reply }).await
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let command = Bytes::copy_from_slice(command);
        self.ask(channel, session, |reply| ClientSays::Exec { command, reply }).await
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let name = name.to_owned();
        self.ask(channel, session, |reply| ClientSays::Subsystem { name, reply }).await
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        columns: u32,
        rows: u32,
        pixels_x: u32,
        pixels_y: u32,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let pixels = (pixels_x, pixels_y);
        self.say(channel, ClientSays::Resize { columns, rows, pixels }).await;
        Ok(())
    }

    async fn agent_request(
        &mut self,
        channel: ChannelId,
        _: &mut Session,
    ) -> Result<bool, Self::Error> {
        let (reply, answer) = oneshot::channel();
        self.say(channel, ClientSays::Agent { reply }).await;
        Ok(answer.await.unwrap_or(false))
    }

    async fn signal(
        &mut self,
        channel: ChannelId,
        signal: Sig,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        match signal {
            Sig::Custom(name) if name.len() > SIGNAL_BYTES_MAX => {
                self.never_passed("signal", "malformed", &name).await;
            }
            signal => self.say(channel, ClientSays::Signal(signal)).await,
        }
        Ok(())
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        _: &mut Session,
    ) -> Result<bool, Self::Error> {
        let (reply, answer) = oneshot::channel();
        let listen = ClientAsks::Listen { address: address.to_owned(), port: *port, reply };
        if self.asks.send(listen).await.is_err() {
            return Ok(false);
        }
        match answer.await {
            Ok(Some(given)) => {
                *port = given;
                Ok(true)
            }
            Ok(None) | Err(_) => Ok(false),
        }
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        _: &mut Session,
    ) -> Result<bool, Self::Error> {
        let (reply, answer) = oneshot::channel();
        let unlisten = ClientAsks::Unlisten { address: address.to_owned(), port, reply };
        if self.asks.send(unlisten).await.is_err() {
            return Ok(false);
        }
        Ok(answer.await.unwrap_or(false))
    }
}

/// What a person without a key is asked.
fn questions(person: bool) -> Auth {
    let mut prompts = Vec::new();
    if person {
        prompts.push((Cow::Borrowed("Person: "), true));
    }
    prompts.push((Cow::Borrowed("Password: "), false));
    prompts.push((Cow::Borrowed("One-time code: "), false));
    Auth::Partial {
        name: Cow::Borrowed("Loggia"),
        instructions: Cow::Borrowed(
            "Everything you do through Loggia is recorded under your name before it happens.",
        ),
        prompts: Cow::Owned(prompts),
    }
}

/// `TYPE BASE64` of an authorized line.
fn without_comment(line: &str) -> String {
    line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}
