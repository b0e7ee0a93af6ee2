//! Connections that are held and not used, on a clock that runs ahead while everybody waits.

use super::*;
use axum::routing::{get, post};
use std::net::{IpAddr, Ipv4Addr};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Longer than anything here may last.
const FOR_EVER: Duration = Duration::from_secs(3_600);

async fn whole(body: Result<Bytes, axum::extract::rejection::BytesRejection>) -> Response {
    match body {
        Ok(body) => format!("{} bytes", body.len()).into_response(),
        Err(_) => axum::http::StatusCode::BAD_REQUEST.into_response(),
    }
}

fn routes() -> Router {
    Router::new()
        .route("/", get(|| async { "here" }))
        .route("/", post(whole))
        .layer(axum::middleware::map_request(|request| in_time(request, BODY_WAIT_MAX)))
}

/// The client's end of a connection that is spoken to until `over`.
fn spoken_to(over: impl Future<Output = ()> + Send + 'static) -> DuplexStream {
    let (client, server) = tokio::io::duplex(64 * 1024);
    tokio::spawn(speak(server, false, routes(), over));
    client
}

fn waiting() -> Arc<Waiting> {
    let sources = Sources::bounded(1, 1);
    Waiting::new(sources.enter(IpAddr::V4(Ipv4Addr::LOCALHOST), None).unwrap())
}

/// What comes until the connection is closed, and after how long it was.
async fn to_the_end(client: &mut DuplexStream) -> (String, Duration) {
    let begin = tokio::time::Instant::now();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(FOR_EVER, client.read_to_end(&mut answer)).await;
    read.expect("the connection is held").unwrap();
    (String::from_utf8(answer).unwrap(), begin.elapsed())
}

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 16000\r\n\r\n{";

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_holds_no_place() {
    let mut client = spoken_to(std::future::pending());
    client.write_all(HEAD).await.unwrap();
    let (answer, after) = to_the_end(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(after <= BODY_WAIT_MAX + Duration::from_secs(1), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_in_drops_holds_no_place() {
    let client = spoken_to(std::future::pending());
    let (mut answers, mut asks) = tokio::io::split(client);
    tokio::spawn(async move {
        asks.write_all(HEAD).await?;
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            asks.write_all(b" ").await?;
        }
        #[expect(unreachable_code, reason = "names the type of the error")]
        Ok::<(), std::io::Error>(())
    });
    let mut answer = Vec::new();
    let read = tokio::time::timeout(FOR_EVER, answers.read_to_end(&mut answer)).await;
    read.expect("the connection is held").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_in_time_is_whole() {
    let mut client = spoken_to(std::future::pending());
    client.write_all(HEAD).await.unwrap();
    tokio::time::sleep(BODY_WAIT_MAX / 2).await;
    client.write_all(&[b' '; 15_999]).await.unwrap();
    let (answer, _) = to_the_end(&mut client).await;
    assert!(answer.ends_with("16000 bytes"), "{answer}");
}

/// Asks again and again, as one who holds a connection would; gives how often there was an answer.
async fn ask_on(mut client: DuplexStream, asks: usize) -> usize {
    for ask in 0..asks {
        let asked = client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut answer = [0; 1024];
        if asked.is_err() || !matches!(client.read(&mut answer).await, Ok(1..)) {
            return ask;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    asks
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_nobody_is_identified_ends_however_busy_it_is() {
    let waits = waiting();
    let client = spoken_to(async move { waits.too_long().await });
    assert!((1..=7).contains(&ask_on(client, 1_000).await));

    let known = waiting();
    known.over();
    assert!(known.place.lock().is_none(), "the place is for others");
    let client = spoken_to(async move { known.too_long().await });
    assert_eq!(ask_on(client, 1_000).await, 1_000);
}
