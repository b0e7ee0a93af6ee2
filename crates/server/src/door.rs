//! The API's door: TLS, who is there, then the routes of all rooms.

use crate::compose::Parts;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use futures::{StreamExt, stream};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use loggia_api::Problem;
use loggia_gate::{HangUp, Place, Sources};
use loggia_model::port::Caller;
use loggia_model::{Credential, Fault, PublicError, Secret, Source};
use parking_lot::Mutex;
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
const CONNECTIONS_OF_SOURCE_MAX: usize = 256;
/// Of these, such on which nobody was identified yet.
const UNIDENTIFIED_MAX: usize = 256;
/// The same, of one source.
const UNIDENTIFIED_OF_SOURCE_MAX: usize = 64;
/// How long a connection lasts on which nobody is identified.
const UNIDENTIFIED_TIME_MAX: Duration = Duration::from_secs(30);
/// Connections in plain HTTP at a time.
const PLAIN_CONNECTIONS_MAX: usize = 64;
/// The same, of one source.
const PLAIN_CONNECTIONS_OF_SOURCE_MAX: usize = 16;
/// How long one of them may last.
const PLAIN_TIME_MAX: Duration = Duration::from_secs(60);
/// For the TLS handshake.
const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(5);
/// For the head of a request.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(10);
/// For the whole body of a request, where nobody is identified.
const BODY_WAIT_MAX: Duration = Duration::from_secs(10);
/// The same, of somebody who is known.
const KNOWN_BODY_WAIT_MAX: Duration = Duration::from_secs(60);
/// How long an answer in the making may go on after a shutdown was asked for.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// What TLS says of the peer of a connection.
#[derive(Clone)]
struct Peer {
    source: Source,
    chain: Arc<Vec<Vec<u8>>>,
    waiting: Arc<Waiting>,
}

/// A connection's place among those on which nobody was identified yet.
struct Waiting {
    place: Mutex<Option<Place>>,
    identified: CancellationToken,
}

impl Waiting {
    fn new(place: Place) -> Arc<Self> {
        Arc::new(Self { place: Mutex::new(Some(place)), identified: CancellationToken::new() })
    }

    /// Somebody is known: the place is free for others, and the connection may last.
    fn over(&self) {
        drop(self.place.lock().take());
        self.identified.cancel();
    }

    /// Returns when the connection has lasted too long for one on which nobody is known.
    async fn too_long(&self) {
        let identified = self.identified.cancelled();
        if tokio::time::timeout(UNIDENTIFIED_TIME_MAX, identified).await.is_ok() {
            std::future::pending().await
        }
    }
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
        .layer(axum::middleware::map_request(|request| in_time(request, KNOWN_BODY_WAIT_MAX)))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(parts), identify));
    Router::new()
        .merge(
            loggia_identity::public_routes(Arc::clone(&parts.sign_in))
                .layer(axum::middleware::map_request(|request| in_time(request, BODY_WAIT_MAX))),
        )
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

/// Gives the body of a request `wait_max` to be there as a whole: what comes later is an error in
/// the place of the rest, so that nobody holds a place by sending slowly.
async fn in_time(request: Request, wait_max: Duration) -> Request {
    let deadline = tokio::time::Instant::now() + wait_max;
    let rest = |body: Body| {
        stream::unfold(Some(body.into_data_stream()), move |rest| async move {
            let mut rest = rest?;
            match tokio::time::timeout_at(deadline, rest.next()).await {
                Ok(Some(part)) => Some((part.map_err(std::io::Error::other), Some(rest))),
                Ok(None) => None,
                Err(late) => Some((Err::<Bytes, _>(late.into()), None)),
            }
        })
    };
    request.map(|body| Body::from_stream(rest(body)))
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
    let unidentified = Sources::bounded(UNIDENTIFIED_MAX, UNIDENTIFIED_OF_SOURCE_MAX);
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
        let places = || {
            let place = Arc::clone(&room).try_acquire_owned().ok()?;
            let of_source = sources.enter(peer.ip(), None)?;
            // Last, because it may make somebody else go.
            let waiting = unidentified.enter(peer.ip(), Some(HangUp::of(&socket)?))?;
            Some(((place, of_source), Waiting::new(waiting)))
        };
        let Some((place, waiting)) = places() else {
            parts.spine.stranger_at("api", peer, "too_many_connections");
            continue;
        };
        let (acceptor, router) = (acceptor.clone(), router.clone());
        let (parts, stop) = (Arc::clone(&parts), stop.clone());
        running.spawn(async move {
            connection(&parts, acceptor, (socket, peer), waiting, router, stop).await;
            drop(place);
        });
    }
}

async fn connection(
    parts: &Parts,
    acceptor: TlsAcceptor,
    (socket, peer): (TcpStream, SocketAddr),
    waiting: Arc<Waiting>,
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
    let peer_known = Peer { source, chain, waiting: Arc::clone(&waiting) };
    let service = router.layer(Extension(peer_known)).layer(Extension(source));
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2".as_slice());
    let over = async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = waiting.too_long() => parts.spine.stranger_at("api", peer, "timeout"),
        }
    };
    speak(stream, http2, service, over).await;
}

/// Answers requests on one connection until it ends or `over` says so; what is being answered then
/// has [`GOODBYE_MAX`]. A connection that says nothing is closed: by HTTP/1's wait for a head, by
/// HTTP/2's pings.
async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    http2: bool,
    router: Router,
    over: impl Future<Output = ()>,
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
            () = over => {
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
            () = over => {
                connection.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(GOODBYE_MAX, connection).await;
            }
        }
    }
}

/// Serves a few routes in plain HTTP, within the same bounds as the API.
pub(crate) async fn serve_plain(
    listener: TcpListener,
    router: Router,
    running: TaskTracker,
    stop: CancellationToken,
) {
    let sources = Sources::bounded(PLAIN_CONNECTIONS_MAX, PLAIN_CONNECTIONS_OF_SOURCE_MAX);
    let router =
        router.layer(axum::middleware::map_request(|request| in_time(request, BODY_WAIT_MAX)));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((socket, peer)) => {
                let place = HangUp::of(&socket).and_then(|it| sources.enter(peer.ip(), Some(it)));
                let Some(place) = place else { continue };
                let (router, stop) = (router.clone(), stop.clone());
                running.spawn(async move {
                    let over = async {
                        let _ = tokio::time::timeout(PLAIN_TIME_MAX, stop.cancelled()).await;
                    };
                    speak(socket, false, router, over).await;
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
            peer.waiting.over();
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

#[cfg(test)]
mod tests;
