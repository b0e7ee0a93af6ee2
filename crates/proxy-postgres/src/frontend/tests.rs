use super::*;
use crate::codec::backend;
use bytes::{BufMut, Bytes};
use loggia_testkit::Authority;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientStream;

struct Door {
    config: Arc<ServerConfig>,
    roots: RootCertStore,
    authority: Authority,
}

impl Door {
    fn new() -> Self {
        let authority = Authority::new("test").unwrap();
        let issued = authority.issue(&["localhost"]).unwrap();
        let (chain, key) = parse(&issued.certificate_pem, &issued.key_pem);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(parse_certificate(&authority.certificate_pem())).unwrap();
        Self { config: server_config(provider, chain, key).unwrap(), roots, authority }
    }

    /// A connection to the door, and what the door made of it.
    async fn knock(&self) -> (TcpStream, tokio::task::JoinHandle<Result<Arrival, OpenFailure>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let config = Arc::clone(&self.config);
        let limits = OpenLimits {
            step_wait_max: Duration::from_millis(300),
            wait_max: Duration::from_secs(2),
        };
        (client, tokio::spawn(async move { open(socket, &config, limits).await }))
    }

    async fn tls(
        &self,
        socket: TcpStream,
        identity: Option<&str>,
        alpn: &[&[u8]],
    ) -> io::Result<ClientStream<TcpStream>> {
        let builder = ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(self.roots.clone());
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(name) => {
                // Issued by an authority that nobody here knows: judged later, in *identify*.
                let issued = Authority::new("other").unwrap().issue(&[name]).unwrap();
                let (chain, key) = parse(&issued.certificate_pem, &issued.key_pem);
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, socket).await
    }
}

fn parse_certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn parse(certificate: &str, key: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    (vec![parse_certificate(certificate)], PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
}

fn start(minor: u16, pairs: &[(&str, &str)]) -> BytesMut {
    let text = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let parameters = pairs.iter().map(|(name, value)| (text(name), text(value))).collect();
    let mut out = BytesMut::new();
    encode::startup(&mut out, &Start { minor, parameters });
    out
}

async fn ask_for_tls(socket: &mut TcpStream) {
    let mut out = BytesMut::new();
    encode::ssl_request(&mut out);
    socket.write_all(&out).await.unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), b'S');
}

async fn all(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said).await;
    said
}

#[tokio::test]
async fn a_token_inside_tls_names_what_is_wanted() {
    let door = Door::new();
    let (mut socket, opened) = door.knock().await;
    let mut request = BytesMut::new();
    encode::gssenc_request(&mut request);
    socket.write_all(&request).await.unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), b'N');
    ask_for_tls(&mut socket).await;
    let mut stream = door.tls(socket, None, &[]).await.unwrap();
    let pairs = [("user", "app~shop"), ("database", "app~shop"), ("application_name", "psql")];
    stream.write_all(&start(0, &pairs)).await.unwrap();
    let mut asked = [0; 9];
    stream.read_exact(&mut asked).await.unwrap();
    assert_eq!(asked, *b"R\0\0\0\x08\0\0\0\x03");
    let mut out = BytesMut::new();
    encode::password(&mut out, b"tok_1");
    stream.write_all(&out).await.unwrap();
    let Ok(Ok(Arrival::Client(opening, _client))) = opened.await else { panic!() };
    assert!(matches!(&opening.credential, Credential::Token(token) if token.reveal() == "tok_1"));
    assert_eq!(opening.address, "app~shop".parse().unwrap());
    assert_eq!(opening.database, None, "libpq's default does not count");
    assert_eq!(opening.application.as_deref(), Some("psql"));
    let options = opening.options.unwrap().to_bytes();
    assert!(options.starts_with(br#"[["user","app~shop"],"#));
}

#[tokio::test]
async fn a_certificate_is_taken_from_whoever_holds_its_key_also_with_tls_at_once() {
    let door = Door::new();
    let (socket, opened) = door.knock().await;
    let mut stream = door.tls(socket, Some("alice"), &[ALPN]).await.unwrap();
    stream.write_all(&start(0, &[("user", "shop"), ("database", "db")])).await.unwrap();
    let Ok(Ok(Arrival::Client(opening, client))) = opened.await else { panic!() };
    let Credential::ClientCertificate { chain } = opening.credential else { panic!() };
    assert_eq!(chain.len(), 1);
    assert_eq!(opening.database.as_deref(), Some("db"));
    assert_eq!(client.start.get("user"), Some(&b"shop"[..]));
}

#[tokio::test]
async fn tls_at_once_must_say_that_it_means_postgresql() {
    let door = Door::new();
    let (socket, opened) = door.knock().await;
    let _stream = door.tls(socket, None, &[]).await;
    assert_eq!(opened.await.unwrap().unwrap_err().reason, "tls");
    let (socket, opened) = door.knock().await;
    assert!(door.tls(socket, None, &[b"http/1.1"]).await.is_err());
    assert_eq!(opened.await.unwrap().unwrap_err().reason, "tls");
}

#[tokio::test]
async fn newer_versions_and_extensions_are_negotiated_down() {
    let door = Door::new();
    let (socket, opened) = door.knock().await;
    let mut stream = door.tls(socket, Some("alice"), &[ALPN]).await.unwrap();
    stream.write_all(&start(2, &[("user", "shop"), ("_pq_.fast", "on")])).await.unwrap();
    let mut header = [0; 5];
    stream.read_exact(&mut header).await.unwrap();
    let mut body = vec![0; usize::from(header[4]) - 4];
    stream.read_exact(&mut body).await.unwrap();
    assert_eq!(header[0], b'v');
    let (newest, unknown) = backend::negotiate_protocol_version(&body).unwrap();
    assert_eq!((newest, unknown), (startup::VERSION_3_0, vec![&b"_pq_.fast"[..]]));
    assert!(matches!(opened.await, Ok(Ok(Arrival::Client(..)))));
}

#[tokio::test]
async fn without_tls_the_client_is_told_how() {
    let door = Door::new();
    let (mut socket, opened) = door.knock().await;
    socket.write_all(&start(0, &[("user", "shop")])).await.unwrap();
    let said = all(&mut socket).await;
    let fields = backend::error_fields(&said[5..]);
    assert_eq!((said[0], fields.sqlstate), (b'E', &b"28000"[..]));
    assert!(String::from_utf8_lossy(fields.hint).contains("sslmode=require"));
    let failure = opened.await.unwrap().unwrap_err();
    assert_eq!((failure.reason, failure.claimed.as_deref()), ("no_tls", Some("shop")));
}

#[tokio::test]
async fn a_user_name_that_is_no_address_is_explained() {
    let door = Door::new();
    let (socket, opened) = door.knock().await;
    let mut stream = door.tls(socket, Some("alice"), &[ALPN]).await.unwrap();
    stream.write_all(&start(0, &[("user", "Not A Name")])).await.unwrap();
    let said = all(&mut stream).await;
    let fields = backend::error_fields(&said[5..]);
    assert!(String::from_utf8_lossy(fields.hint).contains("ACCOUNT~RESOURCE"));
    assert_eq!(opened.await.unwrap().unwrap_err().reason, "address");
}

#[tokio::test]
async fn what_stands_in_clear_behind_the_request_for_tls_is_never_read_as_said_inside() {
    let door = Door::new();
    let (mut socket, opened) = door.knock().await;
    let mut out = BytesMut::new();
    encode::ssl_request(&mut out);
    out.extend_from_slice(&start(0, &[("user", "shop")]));
    socket.write_all(&out).await.unwrap();
    assert_eq!(opened.await.unwrap().unwrap_err().reason, "malformed");
}

#[tokio::test]
async fn a_request_to_cancel_needs_no_tls() {
    let door = Door::new();
    let (mut socket, opened) = door.knock().await;
    let key = CancelKey { process: 7, secret: Bytes::from_static(b"abcd") };
    let mut out = BytesMut::new();
    encode::cancel_request(&mut out, &key);
    socket.write_all(&out).await.unwrap();
    let Ok(Ok(Arrival::Cancel(got, waiting))) = opened.await else { panic!() };
    assert_eq!(got, key);
    waiting.close().await;
    assert_eq!(all(&mut socket).await, b"");
}

#[tokio::test]
async fn malformed_silent_and_endless_openings_end_soon() {
    let door = Door::new();
    let mut requests = BytesMut::new();
    for _ in 0..5 {
        encode::gssenc_request(&mut requests);
    }
    let mut huge = BytesMut::new();
    huge.put_u32(1 << 30);
    let old = BytesMut::from(&[0, 0, 0, 8, 0, 2, 0, 0][..]);
    for (bytes, reason) in [
        (BytesMut::from("GET / HTTP/1.1\r\n\r\n"), "malformed"),
        (huge, "malformed"),
        (old, "version"),
        (requests, "malformed"),
        (BytesMut::from(&[0][..]), "timeout"),
        (BytesMut::from(&[TLS_HANDSHAKE, 3, 1][..]), "timeout"),
        (BytesMut::from(&[TLS_HANDSHAKE, 9, 9, 9, 9, 9, 9][..]), "tls"),
    ] {
        let (mut socket, opened) = door.knock().await;
        socket.write_all(&bytes).await.unwrap();
        let failure = opened.await.unwrap().unwrap_err();
        assert_eq!(failure.reason, reason, "{bytes:?}");
    }
    let (socket, opened) = door.knock().await;
    drop(socket);
    assert_eq!(opened.await.unwrap().unwrap_err().reason, "closed");
}

#[tokio::test]
async fn a_client_that_hangs_up_at_the_password_is_no_fault() {
    let door = Door::new();
    for (said, reason) in [
        (&b""[..], "no_credential"),
        (b"p\0\0\0\x05\0", "malformed"),
        (b"p\0\0\0\x04", "malformed"),
        (b"Q\0\0\0\x05\0", "malformed"),
        (b"p\0\xff\0\0", "malformed"),
    ] {
        let (mut socket, opened) = door.knock().await;
        ask_for_tls(&mut socket).await;
        let mut stream = door.tls(socket, None, &[]).await.unwrap();
        stream.write_all(&start(0, &[("user", "shop")])).await.unwrap();
        stream.read_exact(&mut [0; 9]).await.unwrap();
        stream.write_all(said).await.unwrap();
        stream.shutdown().await.unwrap();
        let failure = opened.await.unwrap().unwrap_err();
        assert_eq!((failure.reason, failure.claimed.as_deref()), (reason, Some("shop")));
    }
    drop(door.authority);
}
