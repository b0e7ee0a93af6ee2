//! `ssh -J`: a client that reaches through one session for another host that is known here gets
//! to that host by this gateway too, with a session of its own: nothing passes unread.
//!
//! The inner connection comes in by the gateway's own listener, so that it walks the spine like
//! any other. Where it really comes from is kept here until it arrives, or is turned away.

use loggia_model::Source;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// Inner connections by the address that they come from, each with the number of its dialling:
/// the system gives an address to the next one as soon as it is free.
type Underway = Arc<Mutex<HashMap<SocketAddr, (u64, Jump)>>>;

/// Inner connections between their dialling and their arrival.
#[derive(Debug)]
pub(crate) struct Jumps {
    own: SocketAddr,
    names: Vec<String>,
    under_way: Underway,
    dialled: AtomicU64,
}

/// An inner connection on its way. Dropped, it is not any more: whether it has arrived, was
/// turned away at the door, or never got there.
#[derive(Debug)]
pub(crate) struct UnderWay {
    all: Underway,
    from: SocketAddr,
    number: u64,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        if all.get(&self.from).is_some_and(|(number, _)| *number == self.number) {
            all.remove(&self.from);
        }
    }
}

impl Jumps {
    /// For a gateway that listens at `own` and is known by `names`.
    pub(crate) fn new(own: SocketAddr, names: Vec<String>) -> Self {
        let ip = match own.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let own = SocketAddr::new(ip, own.port());
        Self { own, names, under_way: Underway::default(), dialled: AtomicU64::new(0) }
    }

    /// Whether this is the gateway's own door.
    pub(crate) fn is_own(&self, host: &str, port: u32) -> bool {
        port == u32::from(self.own.port())
            && (self.names.iter().any(|name| name.eq_ignore_ascii_case(host))
                || host.parse() == Ok(self.own.ip()))
    }

    /// Dials the gateway's own door for a client. What says that it is under way has to be kept
    /// until the door has spoken, or closed.
    pub(crate) async fn dial(&self, jump: Jump) -> io::Result<(TcpStream, UnderWay)> {
        let socket = match self.own.ip() {
            IpAddr::V4(_) => TcpSocket::new_v4()?,
            IpAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.bind(SocketAddr::new(self.own.ip(), 0))?;
        let under_way = self.begin(socket.local_addr()?, jump)?;
        Ok((socket.connect(self.own).await?, under_way))
    }

    fn begin(&self, from: SocketAddr, jump: Jump) -> io::Result<UnderWay> {
        let number = self.dialled.fetch_add(1, Ordering::Relaxed);
        let mut all = self.under_way.lock();
        if all.len() >= UNDER_WAY_MAX {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        all.insert(from, (number, jump));
        Ok(UnderWay { all: Arc::clone(&self.under_way), from, number })
    }

    /// Where the client of an inner connection from this address is, before the connection is let
    /// in.
    pub(crate) fn source(&self, peer: SocketAddr) -> Option<SocketAddr> {
        self.under_way.lock().get(&peer).map(|(_, jump)| jump.source.peer)
    }

    /// The inner connection that arrives from this address, where it is one.
    pub(crate) fn arrived(&self, peer: SocketAddr) -> Option<Jump> {
        self.under_way.lock().remove(&peer).map(|(_, jump)| jump)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jumps() -> Jumps {
        Jumps::new("127.0.0.1:7022".parse().unwrap(), Vec::new())
    }

    fn jump() -> Jump {
        Jump { source: Source { peer: "192.0.2.1:5".parse().unwrap() }, host: None }
    }

    fn from(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn who_never_arrives_leaves_nothing_behind() {
        let jumps = jumps();
        for round in 0..3 {
            let held: Vec<UnderWay> = (0..UNDER_WAY_MAX as u16)
                .map(|port| jumps.begin(from(port), jump()).unwrap())
                .collect();
            assert!(jumps.begin(from(9_999), jump()).is_err(), "{round}");
            drop(held);
        }
        assert_eq!(jumps.under_way.lock().len(), 0);
        assert!(jumps.arrived(from(1)).is_none(), "nobody gets the source of another");
    }

    #[test]
    fn an_address_that_is_given_again_belongs_to_the_next_one() {
        let jumps = jumps();
        let first = jumps.begin(from(1), jump()).unwrap();
        assert_eq!(jumps.source(from(1)), Some(jump().source.peer));
        assert!(jumps.arrived(from(1)).is_some());
        let second = jumps.begin(from(1), jump()).unwrap();
        drop(first);
        assert!(jumps.arrived(from(1)).is_some(), "the first one took only itself away");
        drop(second);
    }
}
