//! The API's door: TLS, who is there, then the routes of all rooms.

use crate::compose::Parts;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use loggia_api::Problem;
use loggia_gate::Sources;
use loggia_model::port::Caller;
use loggia_model::{Credential, Fault, PublicError, Secret, Source};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 1_024;
/// Connections of one source at a time.
const CONNECTIONS_OF_SOURCE_MAX: u32 = 256;
/// Connections for metrics at a time.
const PLAIN_CONNECTIONS_MAX: usize = 64;
/// How long one of them may last.
const PLAIN_TIME_MAX: Duration = Duration::from_secs(300);
/// For the TLS handshake.
const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(5);
/// For the head of a request.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long an answer in the making may go on after a shutdown was asked for.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// What TLS says of the peer of a connection.
#[derive(Clone)]
struct Peer {
    source: Source,
    chain: Arc<Vec<Vec<u8>>>,
}

/// The routes of all rooms, with those that need a known caller behind the check.
pub(crate) fn router(parts: &Arc<Parts>) -> Router {
    let known = Router::new()
        .merge(loggia_identity::routes(Arc::clone(&parts.sign_in)))
        .merge(loggia_control::routes(Arc::clone(&parts.control_api)))
        .merge(loggia_store::routes(parts.store_api.clone()))
        .merge(loggia_recordings::routes(parts.recordings_api.clone()))
        .merge(crate::live::routes(Arc::clone(parts)))
        .merge(crate::erasure::routes(parts.erasure_api.clone()))
        .merge(crate::receipt::routes(Arc::clone(parts)))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(parts), identify));
    Router::new()
        .merge(loggia_identity::public_routes(Arc::clone(&parts.sign_in)))
        .merge(crate::health::routes(Arc::clone(parts)))
        .route("/openapi.json", axum::routing::get(crate::openapi::document))
        .merge(known)
        .fallback(not_found)
}

async fn not_found() -> Response {
    let error = PublicError::new("not_found", Fault::Client, "there is no such route")
        .hint("/openapi.json describes what there is");
    Problem::from(error).into_response()
}

/// Accepts connections until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    parts: Arc<Parts>,
    running: TaskTracker,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(Arc::clone(&parts.api_tls));
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let sources = Sources::new(CONNECTIONS_OF_SOURCE_MAX);
    let router = router(&parts);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the API could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (Ok(place), Some(of_source)) =
            (Arc::clone(&room).try_acquire_owned(), sources.enter(peer.ip()))
        else {
            parts.spine.stranger_at("api", peer, "too_many_connections");
            continue;
        };
        let (acceptor, router) = (acceptor.clone(), router.clone());
        let (parts, stop) = (Arc::clone(&parts), stop.clone());
        running.spawn(async move {
            connection(&parts, acceptor, socket, peer, router, stop).await;
            drop((place, of_source));
        });
    }
}

async fn connection(
    parts: &Parts,
    acceptor: TlsAcceptor,
    socket: TcpStream,
    peer: SocketAddr,
    router: Router,
    stop: CancellationToken,
) {
    let _ = socket.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_WAIT_MAX, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(_)) => return parts.spine.stranger_at("api", peer, "tls"),
        Err(_) => return parts.spine.stranger_at("api", peer, "timeout"),
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let chain = Arc::new(chain.iter().map(|der| der.to_vec()).collect());
    let source = Source { peer };
    let service = router.layer(Extension(Peer { source, chain })).layer(Extension(source));
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2".as_slice());
    speak(stream, http2, service, stop).await;
}

/// Answers requests on one connection until it ends or the gateway does. A connection that says
/// nothing is closed: by HTTP/1's wait for a head, by HTTP/2's pings.
async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    http2: bool,
    router: Router,
    stop: CancellationToken,
) {
    let (io, service) = (TokioIo::new(stream), TowerToHyperService::new(router));
    // How the client ends its connection is its own affair.
    if http2 {
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).max_concurrent_streams(64);
        builder.keep_alive_interval(HEAD_WAIT_MAX).keep_alive_timeout(HEAD_WAIT_MAX);
        let connection = builder.serve_connection(io, service);
        tokio::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => {}
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(GOODBYE_MAX, connection).await;
            }
        }
    } else {
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT_MAX);
        let connection = builder.serve_connection(io, service);
        tokio::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => {}
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(GOODBYE_MAX, connection).await;
            }
        }
    }
}

/// Serves metrics and health in plain HTTP, within the same bounds as the API.
pub(crate) async fn serve_plain(
    listener: TcpListener,
    router: Router,
    running: TaskTracker,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(PLAIN_CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((socket, _)) => {
                let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
                let (router, stop) = (router.clone(), stop.clone());
                running.spawn(async move {
                    let spoken = speak(socket, false, router, stop);
                    let _ = tokio::time::timeout(PLAIN_TIME_MAX, spoken).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the metrics listener could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Turns the credential of a request into a [`Caller`], or refuses.
async fn identify(
    State(parts): State<Arc<Parts>>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let credential = match credential_of(&request, &peer) {
        Ok(credential) => credential,
        Err(error) => {
            parts.spine.stranger_at("api", peer.source.peer, error.code);
            return Problem::from(error).into_response();
        }
    };
    match parts.identify.identify(&credential, &peer.source).await {
        Ok(actor) => {
            request.extensions_mut().insert(Caller { actor, source: peer.source });
            next.run(request).await
        }
        Err(error) => {
            parts.spine.stranger_at("api", peer.source.peer, error.code);
            Problem::from(unauthenticated(error)).into_response()
        }
    }
}

/// A refused credential is 401 whatever its reason; the reason stays readable.
fn unauthenticated(error: PublicError) -> PublicError {
    if error.fault == Fault::Gateway {
        return error;
    }
    PublicError { code: "unauthenticated", ..error }
}

fn credential_of(request: &Request, peer: &Peer) -> Result<Credential, PublicError> {
    if let Some(header) = request.headers().get(AUTHORIZATION) {
        let token = header.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
        return token
            .map(|token| Credential::Token(Secret::new(token.trim().to_owned())))
            .ok_or_else(|| no_credential("the Authorization header has no bearer token"));
    }
    if peer.chain.is_empty() {
        return Err(no_credential("this needs a token or a client certificate"));
    }
    Ok(Credential::ClientCertificate { chain: peer.chain.to_vec() })
}

fn no_credential(message: &str) -> PublicError {
    PublicError::new("unauthenticated", Fault::Client, message).hint("`loggia login` gives one")
}
