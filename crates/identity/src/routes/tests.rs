use super::*;
use crate::testing::{World, source};
use axum::body::{Body as HttpBody, to_bytes};
use axum::http::{Request, StatusCode};
use loggia_model::Credential;
use loggia_model::port::Identify;
use tower::ServiceExt;

async fn call(router: &Router, method: &str, path: &str, body: String) -> (Response, String) {
    let request = Request::builder().method(method).uri(path).body(HttpBody::from(body)).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, 1 << 20).await.unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    (Response::from_parts(parts, HttpBody::empty()), text)
}

fn public(world: &World) -> Router {
    public_routes(Arc::clone(&world.sign_in)).layer(Extension(source("10.0.0.1")))
}

#[tokio::test]
async fn a_login_over_http_gives_credentials_that_no_cache_keeps() {
    let world = World::new().await;
    let body = serde_json::to_string(&world.login()).unwrap();
    let (response, text) = call(&public(&world), "POST", contract::LOGIN, body).await;
    assert_eq!(response.status(), StatusCode::OK, "{text}");
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    let answer: contract::SignedIn = serde_json::from_str(&text).unwrap();

    let token = Credential::Token(answer.token.unwrap());
    let from = source("10.0.0.1");
    let actor = world.identifier.identify(&token, &from).await.unwrap();
    let mine = routes(Arc::clone(&world.sign_in)).layer(Extension(Caller { actor, source: from }));
    let (response, text) = call(&mine, "GET", contract::WHOAMI, String::new()).await;
    assert_eq!(response.status(), StatusCode::OK);
    let me: contract::WhoAmI = serde_json::from_str(&text).unwrap();
    assert_eq!((me.name.as_str(), me.actor_type.as_str()), ("alice", "human"));
    assert_eq!((me.authn.as_str(), me.source.as_str()), ("token", "10.0.0.1"));
    let (_, text) = call(&mine, "POST", contract::LOGOUT, String::new()).await;
    assert_eq!(text, r#"{"revoked":2}"#);
}

#[tokio::test]
async fn refusals_are_problems_and_a_throttled_caller_is_told_when_to_come_back() {
    let world = World::new().await;
    let mut login = world.login();
    login.code = loggia_model::Secret::new("000000".into());
    let body = serde_json::to_string(&login).unwrap();
    let router = public(&world);
    for _ in 0..5 {
        let (response, text) = call(&router, "POST", contract::LOGIN, body.clone()).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert!(text.contains("name, password or code is wrong"), "{text}");
        assert!(!text.contains("wrong_code"), "the reason is for the log: {text}");
    }
    let (response, text) = call(&router, "POST", contract::LOGIN, body).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    assert!(text.contains(r#""retry":true"#), "{text}");
}

#[tokio::test]
async fn malformed_bodies_are_refused_without_being_repeated() {
    let world = World::new().await;
    let router = public(&world);
    let secret_in_bad_json = r#"{"name":"alice","password":"hunter2hunter2""#.to_owned();
    let secret_in_wrong_field = r#"{"name":"alice","password":["hunter2"],"code":1}"#.to_owned();
    let unknown_field = r#"{"name":"alice","admin":true}"#.to_owned();
    let huge = format!(r#"{{"name":"{}"}}"#, "x".repeat(BODY_BYTES_MAX));
    let bad = [String::new(), secret_in_bad_json, secret_in_wrong_field, unknown_field, huge];
    for body in bad {
        for path in [contract::LOGIN, contract::ENROL_FINISH, contract::SERVICE_CERTIFY] {
            let (response, text) = call(&router, "POST", path, body.clone()).await;
            assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{path}: {text}");
            assert!(text.contains("bad_request") && !text.contains("hunter2"), "{text}");
        }
    }
    assert!(world.log.events().is_empty());
    let challenge = r#"{"name":"robot"}"#.to_owned();
    let (response, _) = call(&router, "POST", contract::SERVICE_CHALLENGE, challenge).await;
    assert_eq!(response.status(), StatusCode::OK);
}
