//! `ssh -J`: a client that reaches through one session for another host that is known here gets
//! to that host by this gateway too, with a session of its own: nothing passes unread.
//!
//! The inner connection comes in by the gateway's own listener, so that it walks the spine like
//! any other. Where it really comes from is kept here until it arrives.

use loggia_model::Source;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream};

/// Inner connections that may be on their way at a time.
const UNDER_WAY_MAX: usize = 256;

/// An inner connection on its way.
#[derive(Debug, Clone)]
pub(crate) struct Jump {
    /// Where the client is.
    pub(crate) source: Source,
    /// The name under which it wants the host, where this gateway stands in for it.
    pub(crate) host: Option<String>,
}

/// Inner connections between their dialling and their arrival.
#[derive(Debug)]
pub(crate) struct Jumps {
    own: SocketAddr,
    names: Vec<String>,
    under_way: Mutex<HashMap<SocketAddr, Jump>>,
}

impl Jumps {
    /// For a gateway that listens at `own` and is known by `names`.
    pub(crate) fn new(own: SocketAddr, names: Vec<String>) -> Self {
        let ip = match own.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        Self { own: SocketAddr::new(ip, own.port()), names, under_way: Mutex::default() }
    }

    /// Whether this is the gateway's own door.
    pub(crate) fn is_own(&self, host: &str, port: u32) -> bool {
        port == u32::from(self.own.port())
            && (self.names.iter().any(|name| name.eq_ignore_ascii_case(host))
                || host.parse() == Ok(self.own.ip()))
    }

    /// Dials the gateway's own door for a client.
    pub(crate) async fn dial(&self, jump: Jump) -> io::Result<TcpStream> {
        let socket = match self.own.ip() {
            IpAddr::V4(_) => TcpSocket::new_v4()?,
            IpAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.bind(SocketAddr::new(self.own.ip(), 0))?;
        let from = socket.local_addr()?;
        {
            let mut under_way = self.under_way.lock();
            if under_way.len() >= UNDER_WAY_MAX {
                return Err(io::ErrorKind::ResourceBusy.into());
            }
            under_way.insert(from, jump);
        }
        let connected = socket.connect(self.own).await;
        if connected.is_err() {
            self.under_way.lock().remove(&from);
        }
        connected
    }

    /// The inner connection that arrives from this address, where it is one.
    pub(crate) fn arrived(&self, peer: SocketAddr) -> Option<Jump> {
        self.under_way.lock().remove(&peer)
    }
}
