use super::*;
use crate::codec::encode::{Report, Severity};
use loggia_model::id::ResourceId;
use std::sync::Arc;
use tokio::net::TcpListener;

fn resource(port: u16, tls: UpstreamTls) -> Resource {
    Resource {
        id: ResourceId::from_parts(1, [0; 10]),
        name: "shop".into(),
        protocol: "postgres".into(),
        host: "127.0.0.1".into(),
        port,
        tls,
        ca_file: None,
        host_keys: Vec::new(),
        accounts: Vec::new(),
        database: None,
        depth: loggia_model::resource::Depth::Disk,
        labels: Vec::new(),
    }
}

fn tls() -> TargetTls {
    TargetTls::new(Arc::new(rustls::crypto::aws_lc_rs::default_provider())).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

fn start() -> Start {
    let pair = |name: &str, value: &str| {
        (Bytes::copy_from_slice(name.as_bytes()), Bytes::copy_from_slice(value.as_bytes()))
    };
    Start {
        minor: 2,
        parameters: vec![
            pair("user", "app~shop"),
            pair("database", "other"),
            pair("replication", "database"),
            pair("application_name", "psql"),
            pair("_pq_.x", "1"),
        ],
    }
}

#[test]
fn user_database_and_replication_are_ours_to_set() {
    let ours = start_for(&start(), "app", Some("shop"), None);
    let names: Vec<_> = ours.parameters.iter().map(|(name, _)| name.as_ref()).collect();
    assert_eq!(names, [&b"user"[..], b"database", b"application_name"]);
    assert_eq!((ours.get("user"), ours.get("database")), (Some(&b"app"[..]), Some(&b"shop"[..])));
    assert_eq!(ours.minor, 0);
}

/// A target that says these things after the start-up message, one after each message it gets.
async fn target(answers: Vec<BytesMut>) -> Resource {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        for answer in answers {
            if socket.read(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
            socket.write_all(&answer).await.unwrap();
        }
        let _ = socket.read(&mut buffer).await;
    });
    resource(port, UpstreamTls::Off)
}

async fn sign_in_to(
    answers: Vec<BytesMut>,
    password: Option<&str>,
) -> Result<Greeting, PublicError> {
    let resource = target(answers).await;
    let mut stream = connect(&resource, &tls(), soon()).await.unwrap();
    let password = password.map(|password| Secret::new(password.to_owned()));
    let start = start_for(&start(), "app", None, None);
    sign_in::sign_in(&mut stream, &resource, &start, "app", password.as_ref()).await
}

fn message(tag: u8, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    encode::message(&mut out, tag, |out| out.extend_from_slice(body));
    out
}

fn error(sqlstate: &'static str) -> BytesMut {
    let mut out = BytesMut::new();
    let report = Report {
        severity: Severity::Fatal,
        sqlstate,
        message: "said so".into(),
        detail: None,
        hint: None,
    };
    encode::report(&mut out, &report);
    out
}

#[tokio::test]
async fn a_target_that_lets_us_in_gives_its_settings_and_key() {
    let mut greeting = message(b'R', &[0; 4]);
    encode::parameter_status(&mut greeting, b"server_version", b"15.4");
    greeting.extend_from_slice(&message(b'N', b"SNOTICE\0Mhello\0\0"));
    let key = CancelKey { process: 7, secret: Bytes::from_static(b"abcd") };
    encode::backend_key_data(&mut greeting, &key);
    encode::ready_for_query_idle(&mut greeting);
    greeting.extend_from_slice(b"A");
    let greeting = sign_in_to(vec![greeting], None).await.unwrap();
    assert_eq!(greeting.key, Some(key));
    assert_eq!(greeting.parameters.len(), 1);
    assert_eq!(greeting.notices[0], b'N');
    assert_eq!(&greeting.rest[..], b"A");
}

#[tokio::test]
async fn what_goes_wrong_at_sign_in_is_told_by_whose_fault_it_is() {
    for (answer, code, fault) in [
        (error("28P01"), "target_auth", Fault::Target),
        (error("3D000"), "unknown_database", Fault::Client),
        (error("53300"), "target_down", Fault::Target),
        (error("42501"), "target_refused", Fault::Target),
        (message(b'R', &[0, 0, 0, 3]), "target_auth", Fault::Target),
        (message(b'R', &[0, 0, 0, 7]), "target_auth", Fault::Target),
        (message(b'Y', b""), "target_down", Fault::Target),
        (BytesMut::from(&[b'R', 0xff, 0xff, 0xff, 0xff][..]), "target_down", Fault::Target),
    ] {
        let refused = sign_in_to(vec![answer], Some("secret")).await.unwrap_err();
        assert_eq!((refused.code, refused.fault), (code, fault), "{refused:?}");
        assert!(!format!("{refused:?}").contains("secret"));
        assert!(refused.cause.is_some(), "{code}");
    }
}

#[tokio::test]
async fn a_target_that_says_much_before_it_is_ready_is_not_listened_to() {
    let mut much = message(b'R', &[0; 4]);
    let notice = message(b'N', &[b"SNOTICE\0M", &[b'x'; 60_000][..], b"\0\0"].concat());
    for _ in 0..5 {
        much.extend_from_slice(&notice);
    }
    let mut enough = much.clone();
    enough.truncate(much.len() - notice.len());
    for (greeting, lets_in) in [(enough, true), (much, false)] {
        let mut greeting = greeting;
        encode::ready_for_query_idle(&mut greeting);
        let signed_in = sign_in_to(vec![greeting], None).await;
        assert_eq!(signed_in.is_ok(), lets_in, "{signed_in:?}");
        assert!(signed_in.is_ok_and(|greeting| greeting.notices.len() > 240_000) == lets_in);
    }
}

#[tokio::test]
async fn a_target_that_does_not_show_that_it_knows_the_password_is_not_trusted() {
    let answers = vec![message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"), message(b'R', &[0; 4])];
    let refused = sign_in_to(answers, Some("secret")).await.unwrap_err();
    assert_eq!(refused.code, "target_auth");
    assert!(refused.cause.unwrap().contains("SCRAM"));
}

#[tokio::test]
async fn a_target_without_tls_is_refused_unless_the_resource_says_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 8];
        socket.read_exact(&mut request).await.unwrap();
        socket.write_all(b"N").await.unwrap();
    });
    let refused = connect(&resource(port, UpstreamTls::VerifyFull), &tls(), soon()).await;
    assert_eq!(refused.unwrap_err().code, "target_tls");
}

#[tokio::test]
async fn a_target_that_is_not_there_or_says_nothing_is_down() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (silent, tls) = (resource(port, UpstreamTls::VerifyFull), tls());
    let late = connect(&silent, &tls, Instant::now() + Duration::from_millis(50)).await;
    assert_eq!(late.unwrap_err().code, "target_down");
    drop(listener);
    let refused = connect(&resource(port, UpstreamTls::Off), &tls, soon()).await.unwrap_err();
    assert!(refused.code == "target_down" && refused.retry);
}
