//! Whether the gateway is alive, and whether it really can do its work.

use crate::compose::Parts;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value};
use std::net::IpAddr;
use std::sync::Arc;

/// Who is told whether the gateway is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Anybody who reaches the API: what is not well, without why.
    Strangers,
    /// Whoever watches this machine: why, too.
    Operators,
}

#[derive(Clone)]
struct Health {
    parts: Arc<Parts>,
    told: Told,
}

/// `GET /healthz` and `GET /readyz`, on the API.
pub(crate) fn routes(parts: Arc<Parts>) -> Router {
    checks(parts, Told::Strangers)
}

fn checks(parts: Arc<Parts>, told: Told) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(Health { parts, told })
}

/// Metrics and the same two checks over plain HTTP, for the machine that watches this one. `names`
/// are those under which this gateway is reached.
pub(crate) fn metrics_router(parts: Arc<Parts>, names: &[String]) -> Router {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(&parts))
        .merge(checks(parts, Told::Operators));
    under_own_names(routes, names)
}

/// Answers only where the request names this gateway: a page in a browser of this network that has
/// a name of its own lead here (DNS rebinding) would otherwise read the answers.
fn under_own_names(routes: Router, names: &[String]) -> Router {
    let names: Arc<[String]> = names.into();
    let check = |State(names): State<Arc<[String]>>, request: Request, next: Next| async move {
        if is_own(request.headers(), &names) {
            return next.run(request).await;
        }
        let told = "this is not the host that the request names; `names` in the configuration has \
                    those of this gateway, and addresses and localhost are always good\n";
        (StatusCode::MISDIRECTED_REQUEST, told).into_response()
    };
    routes.layer(from_fn_with_state(names, check))
}

/// Whether the host that is asked for is an address, `localhost` or one of the names. Browsers
/// always name one.
fn is_own(headers: &HeaderMap, names: &[String]) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else { return false };
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok()
        || bare.eq_ignore_ascii_case("localhost")
        || names.iter().any(|name| name.eq_ignore_ascii_case(bare))
}

/// Ready means: an event would be recorded now, and the control database answers.
async fn ready(State(Health { parts, told }): State<Health>) -> Response {
    let ledger = parts.ledger.readiness().map_err(|error| error.to_string());
    let control = parts.control.ping().await.map_err(|error| error.to_string());
    let policies = match parts.control.policy_errors() {
        None => Ok(()),
        Some(errors) => Err(errors.to_string()),
    };
    let dead = parts.ledger.metrics().followers_dead.get();
    let views = if dead == 0 { Ok(()) } else { Err(format!("{dead} followers broke")) };
    let checks =
        [("views", views), ("ledger", ledger), ("control", control), ("policies", policies)];
    let status = if checks.iter().all(|(_, check)| check.is_ok()) {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    // What is promised stays promised without them: they are told of, and stop nothing.
    let witnesses = crate::witnesses::standing(&parts.ledger.witnesses());
    let none = || Ok(crate::witnesses::NONE);
    let witnesses = witnesses.map_or_else(none, |standing| standing.map(|()| OK));
    let checkpoints = parts
        .ledger
        .unpublished()
        .map_or(Ok(OK), |(since, why)| Err(format!("none for {} s: {why}", since.as_secs())));
    let checks = checks.into_iter().map(|(name, check)| (name, check.map(|()| OK)));
    let stop_nothing = [("witnesses", witnesses), ("checkpoints", checkpoints)];
    let body = report(checks.chain(stop_nothing), told);
    (status, Json(body)).into_response()
}

const OK: &str = "ok";

/// What is told of each check.
fn report<'a>(
    checks: impl Iterator<Item = (&'a str, Result<&'a str, String>)>,
    told: Told,
) -> Map<String, Value> {
    let word = |check: Result<&str, String>| match (check, told) {
        (Ok(word), _) => word.to_owned(),
        (Err(why), Told::Operators) => why,
        (Err(_), Told::Strangers) => "not well".to_owned(),
    };
    checks.map(|(name, check)| (name.to_owned(), word(check).into())).collect()
}

async fn metrics(State(parts): State<Arc<Parts>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &parts.registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(axum::http::header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use tower::ServiceExt;

    #[test]
    fn why_something_is_not_well_is_for_operators_alone() {
        let why = "/var/lib/loggia/data: No space left on device (os error 28)";
        let checks = || [("control", Ok(OK)), ("ledger", Err(why.to_owned()))].into_iter();
        let told = report(checks(), Told::Strangers);
        assert_eq!((&told["control"], &told["ledger"]), (&OK.into(), &"not well".into()));
        assert_eq!(report(checks(), Told::Operators)["ledger"], why);
    }

    #[tokio::test]
    async fn only_the_gateways_own_names_are_answered_under() {
        let routes = Router::new().route("/", get(|| async { "here" }));
        let routes = under_own_names(routes, &["Gate.example".to_owned(), "::1".to_owned()]);
        let status = async |host: Option<&str>| {
            let mut request = Request::builder().uri("/");
            if let Some(host) = host {
                request = request.header(header::HOST, host);
            }
            let request = request.body(Body::empty()).unwrap();
            routes.clone().oneshot(request).await.unwrap().status()
        };
        for own in [
            "localhost:7464",
            "127.0.0.1:7464",
            "[::1]:7464",
            "10.2.3.4",
            "gate.example:7464",
            "GATE.EXAMPLE",
        ] {
            assert_eq!(status(Some(own)).await, StatusCode::OK, "{own}");
        }
        assert_eq!(status(None).await, StatusCode::OK);
        for other in
            ["attacker.example:7464", "localhost.attacker.example", "gate.example.", "", "?"]
        {
            assert_eq!(status(Some(other)).await, StatusCode::MISDIRECTED_REQUEST, "{other}");
        }
    }
}
