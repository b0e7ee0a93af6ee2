use super::*;
use crate::trust::SeenAuthority;
use loggia_api::audit::TailLine;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Authority { certificate, issuer: Issuer::new(params, key) }
}

impl Authority {
    fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.certificate.der()).into()
    }

    fn server(&self, name: &str) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let chain = vec![leaf.der().clone(), self.certificate.der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap()
    }
}

/// Answers each connection with these bytes and remembers what was sent.
async fn serve(config: ServerConfig, answer: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(socket).await else { continue };
            let mut buffer = vec![0; 65_536];
            let read = stream.read(&mut buffer).await.unwrap_or(0);
            seen.lock().unwrap().push(String::from_utf8_lossy(&buffer[..read]).into_owned());
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (address, requests)
}

const WHO: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n\
    {\"actor\":\"pe_1\",\"name\":\"al\",\"type\":\"human\",\"groups\":[],\"admin\":true,\"authn\":\"token\",\"source\":\"\"}";

fn client(address: &str, trust: &Trust) -> Client {
    Client::new(address, trust, &Auth::Token(Secret::new("tok".into()))).unwrap()
}

#[tokio::test]
async fn a_server_is_known_by_its_authority_or_by_the_fingerprint_and_nothing_else() {
    let (ours, other) = (authority(), authority());
    let (address, requests) = serve(ours.server("localhost"), WHO).await;

    let who = client(&address, &Trust::Authority(ours.certificate.pem())).whoami().await.unwrap();
    assert_eq!(who.name, "al");
    assert!(requests.lock().unwrap()[0].contains("authorization: Bearer tok"));

    let seen = SeenAuthority::default();
    let trust = Trust::Fingerprint(ours.sha256(), seen.clone());
    assert!(seen.der().is_none());
    client(&address, &trust).whoami().await.unwrap();
    assert_eq!(seen.der().unwrap(), ours.certificate.der().as_ref());

    let sent = requests.lock().unwrap().len();
    let unseen = SeenAuthority::default();
    for trust in [
        Trust::Authority(other.certificate.pem()),
        Trust::Fingerprint(other.sha256(), unseen.clone()),
    ] {
        let error = client(&address, &trust).whoami().await.unwrap_err();
        assert!(matches!(error, ClientError::Untrusted { .. }), "{error:?}");
        assert!(error.hint().unwrap().contains("enrolment code"));
    }
    assert!(unseen.der().is_none());
    assert_eq!(requests.lock().unwrap().len(), sent, "nothing was sent");
}

#[tokio::test]
async fn the_right_authority_does_not_make_up_for_another_name() {
    let ours = authority();
    let (address, requests) = serve(ours.server("elsewhere.example"), WHO).await;
    let seen = SeenAuthority::default();
    let error = client(&address, &Trust::Fingerprint(ours.sha256(), seen.clone()))
        .whoami()
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Untrusted { .. }), "{error:?}");
    assert!(seen.der().is_none() && requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_problem_keeps_its_hint_and_other_errors_say_what_they_are() {
    let ours = authority();
    let trust = Trust::Authority(ours.certificate.pem());
    let (address, _) = serve(
        ours.server("localhost"),
        "HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\n\
         {\"type\":\"x\",\"title\":\"no\",\"status\":403,\"code\":\"denied\",\"hint\":\"ask\"}",
    )
    .await;
    let error = client(&address, &trust).whoami().await.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.hint().as_deref()), ("no", Some("ask")));
    let (address, _) = serve(
        ours.server("localhost"),
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<html>hello</html>",
    )
    .await;
    let error = client(&address, &trust).whoami().await.unwrap_err();
    assert!(matches!(error, ClientError::Answer { .. }), "{error:?}");

    let (address, _) = serve(
        ours.server("localhost"),
        "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"actor\":",
    )
    .await;
    let error = client(&address, &trust).whoami().await.unwrap_err();
    assert!(matches!(error, ClientError::Lost { .. }), "{error:?}");

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = client(&format!("localhost:{}", closed.port()), &trust).whoami().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    for bad in ["", "a b", "http://x:1", "x/y", "me@x:1", "x:99999"] {
        let made = Client::new(bad, &trust, &Auth::Nobody);
        assert!(matches!(made, Err(ClientError::Address(_))), "{bad}");
    }
}

#[tokio::test]
async fn a_tail_gives_line_after_line_and_knows_its_end() {
    let ours = authority();
    let (address, requests) = serve(
        ours.server("localhost"),
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n\n{\"skipped\":3}\n\n{\"ended\":\"locked\"}\n",
    )
    .await;
    let client = client(&address, &Trust::Authority(ours.certificate.pem()));
    let mut tail = client.tail(&TailQuery { q: "a & b".into() }).await.unwrap();
    assert_eq!(tail.next().await.unwrap(), Some(TailLine::Skipped { skipped: 3 }));
    assert_eq!(tail.next().await.unwrap(), Some(TailLine::Ended { ended: "locked".into() }));
    assert_eq!(tail.next().await.unwrap(), None);
    assert!(requests.lock().unwrap()[0].starts_with("GET /v1/events/tail?q=a+%26+b "));
}

#[test]
fn a_part_of_a_path_stays_one_step() {
    let base = Url::parse("https://x:1").unwrap();
    let made = url(&base, "/v1/people/{name}/disable", &["a/../b?c"]).unwrap();
    assert_eq!(made.as_str(), "https://x:1/v1/people/a%2F..%2Fb%3Fc/disable");
    assert_eq!(url(&base, LOCK, &[".."]), None);
    assert_eq!(url(&base, LOCK, &[""]), None);
}
