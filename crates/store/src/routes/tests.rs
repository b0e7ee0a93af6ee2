use super::*;
use crate::sessions::LiveSession;
use crate::store::Config;
use crate::testlog::{Scene, T0_US, person};
use async_trait::async_trait;
use axum::http::{Request as HttpRequest, StatusCode};
use futures::StreamExt;
use loggia_model::actor::{Actor, Authn, Source};
use loggia_model::event::Stamp;
use loggia_model::id::ActorId;
use loggia_model::mint::{Clock, Entropy};
use loggia_model::port::{Appended, Committed, Follow, OnDisk};
use loggia_model::{Draft, LeafHash};
use parking_lot::Mutex;
use serde_json::Value;
use tower::ServiceExt;

struct Fixed;

impl Clock for Fixed {
    fn now_us(&self) -> i64 {
        T0_US + 1_000_000
    }
}

impl Entropy for Fixed {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(7);
    }
}

#[derive(Default)]
struct Recorder {
    drafts: Mutex<Vec<Draft>>,
    paused: bool,
}

#[async_trait]
impl Append for Recorder {
    fn append(&self, drafts: &[Draft]) -> Result<Appended, AppendError> {
        if self.paused {
            return Err(AppendError::Paused("no room"));
        }
        self.drafts.lock().extend_from_slice(drafts);
        Ok(Appended { boot: 1, seq: 1, leaf_hash: LeafHash([0; 32]), time_us: 0 })
    }

    fn append_soon(&self, draft: Draft) -> Result<(), AppendError> {
        self.append(&[draft]).map(|_| ())
    }

    async fn on_disk(&self, appended: &Appended) -> Result<OnDisk, AppendError> {
        Ok(OnDisk { index: appended.seq, leaf_hash: appended.leaf_hash })
    }

    async fn resumed(&self, _wait_max: Duration) -> bool {
        false
    }

    fn origin(&self) -> String {
        "loggia.internal/main/test/e1".into()
    }
}

/// Lets this one in.
struct Only(ActorId);

#[async_trait]
impl Authorize for Only {
    async fn authorize(
        &self,
        caller: &Caller,
        action: Action,
        _route: &'static str,
    ) -> Result<(), PublicError> {
        if caller.actor.id == self.0 {
            return Ok(());
        }
        Err(PublicError::new("denied", Fault::Policy, format!("not {}", action.as_str())))
    }
}

struct Running(Vec<LiveSession>);

impl LiveSessions for Running {
    fn live(&self) -> Vec<LiveSession> {
        self.0.clone()
    }
}

struct Setup {
    recorder: Arc<Recorder>,
    store: Arc<Store>,
    router: Router,
}

fn setup(scene: &Scene, live: Vec<LiveSession>, paused: bool) -> Setup {
    let recorder = Arc::new(Recorder { paused, ..Recorder::default() });
    let store = Arc::new(Store::new(scene.log.clone(), Config::default()));
    store.apply(&scene.all());
    let mint = Mint::new(Arc::new(Fixed), Arc::new(Fixed));
    let append: Arc<dyn Append> = recorder.clone();
    let audit =
        Audit::new(store.clone(), append, Arc::new(Only(person(9))), Arc::new(Running(live)), mint);
    Setup { recorder, store, router: routes(audit) }
}

fn caller(number: u8, expires_us: Option<i64>) -> Caller {
    Caller {
        actor: Actor {
            id: person(number),
            name: "carol".into(),
            authn: Authn::Token,
            credential: None,
            expires_us,
            groups: Vec::new(),
            admin: false,
        },
        source: Source { peer: "127.0.0.1:4000".parse().unwrap() },
    }
}

async fn ask(setup: &Setup, who: Caller, uri: &str) -> (StatusCode, Value) {
    let router = setup.router.clone().layer(Extension(who));
    let request = HttpRequest::get(uri).body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

impl Setup {
    /// What was recorded, read back as the log would hold it.
    fn reads(&self) -> Vec<crate::record::Opened> {
        let open = |draft: &Draft| {
            let node = "nd_01h455vb4pex5vsknk084sn02q";
            let mut leaf = Vec::new();
            let stamp = Stamp { time_us: 1, node, boot: 1, seq: 1, session: None };
            draft.stamp(&stamp, &mut leaf);
            let entry = Committed {
                index: 0,
                leaf_hash: LeafHash::of(&leaf),
                leaf: leaf.into(),
                disclosure: draft.disclosure.clone(),
            };
            crate::record::Opened::read(&entry).unwrap()
        };
        self.recorder.drafts.lock().iter().map(open).collect()
    }
}

fn scene() -> (Scene, SessionId) {
    let mut scene = Scene::new();
    let mut session = scene.start(1, "alice", "shop", "10.0.0.1");
    for number in 0..5 {
        let id = scene.statement(&mut session, &format!("select {number}"));
        scene.result(&mut session, id, number);
    }
    let other = scene.start(2, "bob", "shop", "10.0.0.2");
    assert_ne!(other.id, session.id);
    scene.end(&mut session);
    (scene, session.id)
}

#[tokio::test]
async fn a_search_is_answered_in_pages_and_each_is_recorded_with_its_query_sealed() {
    let (scene, _) = scene();
    let setup = setup(&scene, vec![], false);
    let uri = "/v1/events?q=kind:sql.statement%20actor:alice&limit=3";
    let (status, page) = ask(&setup, caller(9, None), uri).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(page["matched"], 3);
    assert_eq!(page["items"][0]["detail"]["text"], "select 4");
    assert_eq!(page["items"][0]["outcome"]["tag"], "SELECT 4");
    assert_eq!(page["log_size"], 13);
    let next = page["next"].as_str().unwrap();
    let (_, page) = ask(&setup, caller(9, None), &format!("{uri}&cursor={next}")).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    assert!(page.get("next").is_none());

    let reads = setup.reads();
    assert_eq!(reads.len(), 2);
    let read = &reads[0];
    assert_eq!(read.event.kind, "audit.read");
    assert_eq!(read.event.actor, Some(person(9)));
    assert_eq!(read.event.whole.at("/detail/query"), None, "the query is sealed");
    let value = |pointer: &str| read.at(pointer).unwrap().display().into_owned();
    assert_eq!(value("/detail/query"), "kind:sql.statement actor:alice");
    assert_eq!(value("/outcome/rows"), "3");
    assert_eq!(value("/actor/name"), "carol");
    assert_eq!(value("/source/ip"), "127.0.0.1");
}

#[tokio::test]
async fn what_cannot_be_recorded_or_is_denied_is_not_shown() {
    let (scene, id) = scene();
    let session = format!("/v1/sessions/{id}");
    for uri in ["/v1/events", "/v1/events/tail", "/v1/sessions", "/v1/sessions?live=true", &session]
    {
        let paused = setup(&scene, vec![], true);
        let (status, problem) = ask(&paused, caller(9, None), uri).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{uri}");
        assert_eq!(problem["code"], "unrecordable");
        let setup = setup(&scene, vec![], false);
        let (status, problem) = ask(&setup, caller(1, None), uri).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{uri}");
        assert_eq!(problem["code"], "denied");
        assert!(setup.reads().is_empty());
    }
}

#[tokio::test]
async fn wrong_questions_are_told_what_is_wrong_with_them() {
    let (scene, _) = scene();
    let setup = setup(&scene, vec![], false);
    for (uri, code, wanted) in [
        ("/v1/events?q=actr:alice", "bad_query", "column 1"),
        ("/v1/events?limit=0", "bad_request", "1 to 1000"),
        ("/v1/events?limit=many", "bad_request", "limit"),
        ("/v1/events?cursor=x", "bad_request", "cursor"),
        ("/v1/events?order=best", "bad_request", "order"),
        ("/v1/events?colour=blue", "bad_request", "colour"),
        ("/v1/sessions/ev_1", "bad_request", "se_"),
    ] {
        let (status, problem) = ask(&setup, caller(9, None), uri).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{uri}");
        assert_eq!(problem["code"], code, "{uri}");
        assert!(problem["title"].as_str().unwrap().contains(wanted), "{uri}: {problem}");
    }
    let (_, problem) = ask(&setup, caller(9, None), "/v1/events?q=actr:alice").await;
    assert_eq!(problem["detail"], "actr:alice\n^^^^^");
    let (status, _) =
        ask(&setup, caller(9, None), "/v1/sessions/se_01h455vb4pex5vsknk084sn02q").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(setup.reads().is_empty());
}

#[tokio::test]
async fn sessions_are_listed_live_or_all_and_each_has_its_timeline() {
    let (scene, id) = scene();
    let running = vec![
        LiveSession { id: SessionId::from_parts(1, [1; 10]), actions: 4 },
        LiveSession { id, actions: 7 },
    ];
    let setup = setup(&scene, running, false);
    let (_, page) = ask(&setup, caller(9, None), "/v1/sessions?limit=1").await;
    assert_eq!(page["items"][0]["actor"]["name"], "bob");
    assert_eq!(page["items"][0]["state"], "open");
    let next = format!("/v1/sessions?limit=1&cursor={}", page["next"].as_str().unwrap());
    let (_, page) = ask(&setup, caller(9, None), &next).await;
    assert_eq!(page["items"][0]["id"], id.to_string());
    assert_eq!(page["items"][0]["end_reason"], "client_closed");
    assert!(page.get("next").is_none());
    let (_, page) = ask(&setup, caller(9, None), "/v1/sessions?live=true").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    assert_eq!(page["items"][1]["actions"], 4, "known to the gate alone");

    let (_, timeline) = ask(&setup, caller(9, None), &format!("/v1/sessions/{id}?limit=4")).await;
    let kinds: Vec<&str> =
        timeline["items"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["session.start", "sql.statement", "sql.statement", "sql.statement"]);
    assert_eq!(timeline["items"][2]["outcome"]["rows"], 1);
    assert_eq!(timeline["session"]["resource"]["name"], "shop");
    let next = timeline["next"].as_str().unwrap();
    let rest = format!("/v1/sessions/{id}?cursor={next}");
    let (_, timeline) = ask(&setup, caller(9, None), &rest).await;
    assert_eq!(timeline["items"].as_array().unwrap().len(), 3);
    assert_eq!(timeline["items"][2]["kind"], "session.end");
    assert!(timeline.get("next").is_none());
    let read = setup.reads().pop().unwrap();
    assert_eq!(read.at("/detail/session").unwrap().as_str(), Some(id.to_string().as_str()));
}

#[tokio::test]
async fn a_tail_begins_now_beats_and_ends_with_the_credential() {
    let (mut scene, _) = scene();
    let setup = setup(&scene, vec![], false);
    let router = setup.router.clone().layer(Extension(caller(9, Some(T0_US))));
    let request = HttpRequest::get("/v1/events/tail?q=drop").body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], NDJSON);
    assert_eq!(setup.reads().len(), 1);
    let mut lines = response.into_body().into_data_stream();
    let line = lines.next().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&line).contains("expired"), "{line:?}");
    assert!(lines.next().await.is_none());

    let router = setup.router.clone().layer(Extension(caller(9, None)));
    let request = HttpRequest::get("/v1/events/tail?q=drop").body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let mut lines = response.into_body().into_data_stream();
    assert_eq!(lines.next().await.unwrap().unwrap().as_ref(), b"\n");
    let before = scene.all().len();
    let mut session = scene.start(3, "dan", "shop", "10.0.0.3");
    scene.statement(&mut session, "select 1");
    scene.statement(&mut session, "drop table x");
    setup.store.apply(&scene.all()[before..]);
    let line = lines.next().await.unwrap().unwrap();
    let event: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(event["detail"]["text"], "drop table x");
    assert_eq!(event["actor"]["name"], "dan");
}
