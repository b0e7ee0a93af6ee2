//! What goes to a target, and which class it is of. The library writes whole messages, so a frame
//! here is a message and not bytes.

use async_trait::async_trait;
use bytes::Bytes;
use loggia_gate::{FrameClass, MessageSink, WireFrame};
use russh::client::{Handle, Msg};
use russh::{ChannelWriteHalf, Pty, Sig};
use std::io;

use crate::upstream::TargetHandler;

/// A terminal as the client asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terminal {
    pub(crate) term: String,
    pub(crate) columns: u32,
    pub(crate) rows: u32,
    pub(crate) pixels: (u32, u32),
    pub(crate) modes: Vec<(Pty, u32)>,
}

impl Terminal {
    /// The memory behind it, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.term.len() + self.modes.len() * size_of::<(Pty, u32)>()
    }
}

/// One message to a target.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Terminal(Terminal),
    Environment {
        name: String,
        value: String,
    },
    Shell,
    Exec(Bytes),
    Subsystem(String),
    Agent,
    X11 {
        single: bool,
        protocol: String,
        cookie: String,
        screen: u32,
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
    /// Listen on the target.
    Listen {
        address: String,
        port: u32,
    },
    /// Stop listening on the target.
    Unlisten {
        address: String,
        port: u32,
    },
    /// A connection from the target to somewhere.
    Connect {
        host: String,
        port: u32,
        origin: (String, u32),
    },
}

impl Message {
    /// The class of each type of message. Whatever begins something, sends a signal or reaches
    /// through the target is an action; input is part of the action that reads it.
    pub(crate) fn class(&self) -> FrameClass {
        match self {
            Self::Shell
            | Self::Exec(_)
            | Self::Subsystem(_)
            | Self::Agent
            | Self::X11 { .. }
            | Self::Signal(_)
            | Self::Listen { .. }
            | Self::Connect { .. } => FrameClass::Action,
            Self::Data(_) => FrameClass::Part,
            Self::Terminal(_)
            | Self::Environment { .. }
            | Self::Resize { .. }
            | Self::Eof
            | Self::Close
            | Self::Unlisten { .. } => FrameClass::Neutral,
        }
    }
}

/// A message on its way, with the class that the observer of its content gave it: in an SFTP
/// channel a request to remove a file is data, and an action.
#[derive(Debug)]
pub(crate) struct Outgoing {
    class: FrameClass,
    message: Message,
}

impl Outgoing {
    /// A message whose type says what it is.
    pub(crate) fn of(message: Message) -> Self {
        Self { class: message.class(), message }
    }

    /// Data that ask for something by themselves.
    pub(crate) fn acting(bytes: Bytes) -> Self {
        Self { class: FrameClass::Action, message: Message::Data(bytes) }
    }

    /// Data of a protocol of files without an effect of their own. They are on tape already, like
    /// all that is said in a channel: see `channel/files.rs`.
    pub(crate) fn harmless(bytes: Bytes) -> Self {
        Self { class: FrameClass::Neutral, message: Message::Data(bytes) }
    }

    /// A subsystem that nobody here can read.
    pub(crate) fn opaque(name: String) -> Self {
        Self { class: FrameClass::Opaque, message: Message::Subsystem(name) }
    }
}

impl WireFrame for Outgoing {
    type Wire = Message;

    fn class(&self) -> FrameClass {
        self.class
    }

    fn into_wire(self) -> Message {
        self.message
    }
}

/// The way into one channel of a target.
pub(crate) struct ChannelWriter(pub(crate) ChannelWriteHalf<Msg>);

#[async_trait]
impl MessageSink for ChannelWriter {
    type Message = Message;

    async fn send(&mut self, message: Message) -> io::Result<()> {
        let channel = &self.0;
        let sent = match message {
            Message::Terminal(Terminal { term, columns, rows, pixels: (x, y), modes }) => {
                channel.request_pty(true, &term, columns, rows, x, y, &modes).await
            }
            Message::Environment { name, value } => channel.set_env(false, name, value).await,
            Message::Shell => channel.request_shell(true).await,
            Message::Exec(command) => channel.exec(true, command.to_vec()).await,
            Message::Subsystem(name) => channel.request_subsystem(true, name).await,
            Message::Agent => channel.agent_forward(true).await,
            Message::X11 { single, protocol, cookie, screen } => {
                channel.request_x11(true, single, protocol, cookie, screen).await
            }
            Message::Data(bytes) => channel.data_bytes(bytes).await,
            Message::Resize { columns, rows, pixels: (x, y) } => {
                channel.window_change(columns, rows, x, y).await
            }
            Message::Signal(signal) => channel.signal(signal).await,
            Message::Eof => channel.eof().await,
            Message::Close => channel.close().await,
            Message::Listen { .. } | Message::Unlisten { .. } | Message::Connect { .. } => {
                return Err(io::ErrorKind::Unsupported.into());
            }
        };
        sent.map_err(io::Error::other)
    }
}

/// What came of reaching through a target.
#[derive(Default)]
pub(crate) enum Reached {
    /// Nothing yet.
    #[default]
    Nothing,
    /// A channel to where the client wanted to.
    Channel(russh::Channel<Msg>),
    /// The target listens on this port.
    Port(u32),
    /// The target says no.
    Refused,
}

/// The way through a target: to other hosts, or to listen on it. What came of the last message
/// stands in the slot.
pub(crate) struct ThroughWriter<'a> {
    pub(crate) handle: &'a Handle<TargetHandler>,
    pub(crate) slot: &'a parking_lot::Mutex<Reached>,
}

#[async_trait]
impl MessageSink for ThroughWriter<'_> {
    type Message = Message;

    async fn send(&mut self, message: Message) -> io::Result<()> {
        let reached = match message {
            Message::Connect { host, port, origin: (from, from_port) } => self
                .handle
                .channel_open_direct_tcpip(host, port, from, from_port)
                .await
                .map(Reached::Channel),
            Message::Listen { address, port } => {
                self.handle.tcpip_forward(address, port).await.map(Reached::Port)
            }
            Message::Unlisten { address, port } => {
                self.handle.cancel_tcpip_forward(address, port).await.map(|()| Reached::Nothing)
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        *self.slot.lock() = reached.unwrap_or(Reached::Refused);
        Ok(())
    }
}
