//! Clients and targets that say whatever a test wants, byte by byte. They cut and join frames with
//! code of their own: what the gateway takes for a frame is what is tested.

use crate::gateway::Gateway;
use loggia_model::resource::UpstreamTls;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Nothing that is waited for takes this long.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// A message with its header.
pub fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    [&head(tag, body.len())[..], body].concat()
}

/// The header of a message whose body has this length.
pub fn head(tag: u8, body_bytes: usize) -> Vec<u8> {
    let length = u32::try_from(body_bytes + 4).unwrap();
    [&[tag][..], &length.to_be_bytes()].concat()
}

/// A Query.
pub fn query(text: &str) -> Vec<u8> {
    frame(b'Q', format!("{text}\0").as_bytes())
}

/// A Parse of the unnamed statement, with these parameter types.
pub fn parse(name: &str, text: &str, types: &[u8]) -> Vec<u8> {
    assert_eq!(types.len() % 4, 0);
    let count = u16::try_from(types.len() / 4).unwrap().to_be_bytes();
    frame(b'P', &[format!("{name}\0{text}\0").as_bytes(), &count, types].concat())
}

/// A Bind without parameters of this statement to the unnamed portal, its Execute, and a Sync.
pub fn run(name: &str) -> Vec<u8> {
    let bind = frame(b'B', format!("\0{name}\0\0\0\0\0\0\0").as_bytes());
    [bind, frame(b'E', b"\0\0\0\0\0"), frame(b'S', b"")].concat()
}

/// Cuts a stream into whole messages; what is left ends in the middle of one.
pub fn cut(mut stream: &[u8]) -> (Vec<(u8, Vec<u8>)>, &[u8]) {
    let mut messages = Vec::new();
    while let Some((tag, length)) = stream.split_first().and_then(|(tag, rest)| {
        let length = u32::from_be_bytes(*rest.first_chunk()?);
        Some((*tag, usize::try_from(length).unwrap()))
    }) && let Some(body) = stream.get(5..=length)
    {
        messages.push((tag, body.to_vec()));
        stream = &stream[1 + length..];
    }
    (messages, stream)
}

/// A client, signed in.
pub struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    heard: Vec<u8>,
}

impl Client {
    /// Signs in under the gateway's name as application.
    pub fn connect(gateway: &Gateway) -> Self {
        Self::connect_with(gateway, &[])
    }

    /// The same with further start-up parameters.
    pub fn connect_with(gateway: &Gateway, parameters: &[(&str, &str)]) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
        socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]).unwrap();
        let mut answer = [0];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"S");
        let mut roots = RootCertStore::empty();
        let authority = gateway.folder.join("gateway-ca.pem");
        roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut client = Self { stream: StreamOwned::new(tls, socket), heard: Vec::new() };
        let application = gateway.env().into_iter().find(|(name, _)| *name == "PGAPPNAME");
        let application = application.unwrap().1;
        let mut start = vec![0, 3, 0, 0];
        let ours = [("user", "shop"), ("application_name", application.as_str())];
        for (name, value) in ours.iter().chain(parameters) {
            start.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
        }
        start.push(0);
        let length = u32::try_from(start.len() + 4).unwrap().to_be_bytes();
        client.send(&[&length[..], &start].concat());
        assert_eq!(client.read().unwrap().0, b'R');
        client.send(&frame(b'p', b"alices-token\0"));
        client.until(b'Z');
        client
    }

    /// Sends these bytes in one TLS record (where they are few enough).
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    /// The same; `false` where the gateway has closed the connection.
    pub fn tries_to_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).is_ok()
    }

    /// The next message; `None` at the end of the connection.
    pub fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            let (messages, _) = cut(&self.heard);
            if let Some((tag, body)) = messages.into_iter().next() {
                self.heard.drain(..5 + body.len());
                return Some((tag, body));
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    panic!("nothing came; heard so far: {:?}", String::from_utf8_lossy(&self.heard))
                }
                Err(_) => return None,
                Ok(read) => self.heard.extend_from_slice(&buffer[..read]),
            }
        }
    }

    /// Messages up to the first of this type, which is the last of them.
    pub fn until(&mut self, tag: u8) -> Vec<(u8, Vec<u8>)> {
        let mut messages = Vec::new();
        loop {
            let message = self.read().unwrap_or_else(|| panic!("the end came: {messages:?}"));
            messages.push(message);
            if messages.last().is_some_and(|(known, _)| *known == tag) {
                return messages;
            }
        }
    }

    /// Messages up to the end of the connection, and what was left of a message that was cut.
    pub fn until_the_end(&mut self) -> (Vec<(u8, Vec<u8>)>, Vec<u8>) {
        let messages = std::iter::from_fn(|| self.read()).collect();
        (messages, std::mem::take(&mut self.heard))
    }

    /// Runs a Query to its ReadyForQuery.
    pub fn run(&mut self, text: &str) -> Vec<(u8, Vec<u8>)> {
        self.send(&query(text));
        self.until(b'Z')
    }

    /// Goes without a word.
    pub fn vanish(self) {
        let _ = self.stream.sock.shutdown(Shutdown::Both);
    }
}

/// A connection that a made-up target accepted and let in.
pub struct Accepted(pub TcpStream);

impl Accepted {
    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Reads until the stream so far is as a test wants it; gives all of it.
    pub fn read_until(&mut self, mut heard: Vec<u8>, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut buffer = [0; 4096];
        while !enough(&heard) {
            let read = self.0.read(&mut buffer).unwrap();
            assert!(read > 0, "the gateway closed: {:?}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&buffer[..read]);
        }
        heard
    }

    /// Reads whatever comes until the gateway closes its side.
    pub fn read_to_the_end(&mut self, mut heard: Vec<u8>) -> Vec<u8> {
        let _ = self.0.read_to_end(&mut heard);
        heard
    }
}

/// Puts a made-up target behind the gateway's resource, in clear. It lets one session in and plays
/// its part; what it gives back is what the test looks at.
pub fn target<T: Send + 'static>(
    gateway: &Gateway,
    part: impl FnOnce(Accepted) -> T + Send + 'static,
) -> JoinHandle<T> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    gateway.world.change_resource(|resource| {
        resource.host = "127.0.0.1".into();
        resource.port = port;
        resource.tls = UpstreamTls::Off;
    });
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
        let mut length = [0; 4];
        socket.read_exact(&mut length).unwrap();
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap();
        socket.read_exact(&mut vec![0; length - 4]).unwrap();
        let mut accepted = Accepted(socket);
        accepted.send(&[frame(b'R', &[0; 4]), frame(b'Z', b"I")].concat());
        part(accepted)
    })
}
