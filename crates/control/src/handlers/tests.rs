//! The routes as a client meets them.

use super::*;
use crate::LockTarget;
use crate::keys::tests::{ED25519, FINGERPRINT, OTHER};
use crate::tests::{House, PUBLIC_KEY};
use axum::body::Body as Bytes;
use axum::http::{Method, StatusCode, header};
use http_body_util::BodyExt;
use loggia_model::Source;
use loggia_model::decision::{Ask, Effect};
use loggia_model::port::Decide;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower::ServiceExt;

/// Asks the policies in force, and remembers what it refused.
struct ByPolicy {
    control: Control,
    refused: Mutex<Vec<&'static str>>,
}

#[async_trait]
impl Authorize for ByPolicy {
    async fn authorize(
        &self,
        caller: &Caller,
        action: Action,
        route: &'static str,
    ) -> Result<(), PublicError> {
        let ask = Ask {
            actor: &caller.actor,
            action,
            resource: None,
            account: None,
            database: None,
            source_ip: caller.source.peer.ip(),
            time_us: 0,
        };
        if self.control.decide(&ask).effect == Effect::Allow {
            return Ok(());
        }
        self.refused.lock().push(route);
        Err(PublicError::new("denied", Fault::Policy, "you may not do this"))
    }
}

#[derive(Default)]
struct Cutting(Mutex<Vec<(LockTarget, String)>>);

#[async_trait]
impl Cut for Cutting {
    async fn cut(&self, lock: &Lock) {
        self.0.lock().push((lock.target.clone(), lock.reason.clone()));
    }
}

struct Site {
    house: House,
    router: Router,
    authorize: Arc<ByPolicy>,
    cut: Arc<Cutting>,
}

const DECLARED: &str = "
    [[resource]]
    name = \"shop\"
    protocol = \"postgres\"
    address = \"db.internal:5432\"
    account = [{ name = \"app\" }, { name = \"readonly\" }]
    [[resource]]
    name = \"mail\"
    protocol = \"postgres\"
    address = \"mail.internal:5432\"
    account = [{ name = \"app\" }]
    [[group]]
    name = \"staff\"
    members = [\"alice\"]
    [[person]]
    name = \"alice\"
";
const POLICY: &str = "permit(principal in Loggia::Group::\"staff\", action == Loggia::Action::\"connect\", \
    resource == Loggia::Resource::\"shop\") when { context has account && context.account == \"readonly\" };";

impl Site {
    async fn new() -> Self {
        let house = House::new().await;
        house.person("ada", true).await;
        house.apply(&[("a.toml", DECLARED), ("a.cedar", POLICY)]).await;
        let control = house.control.clone();
        let authorize =
            Arc::new(ByPolicy { control: control.clone(), refused: Mutex::new(vec![]) });
        let cut = Arc::new(Cutting::default());
        let router = routes(Arc::new(ControlApi {
            control,
            authorize: authorize.clone(),
            codes: house.codes.clone(),
            cut: cut.clone(),
            protocols: vec!["postgres", "ssh"],
        }));
        Self { house, router, authorize, cut }
    }

    /// Calls a route as somebody, or as nobody.
    async fn call(
        &self,
        who: Option<&str>,
        how: (&str, &str),
        body: Option<Value>,
    ) -> (u16, Value) {
        let method = Method::from_bytes(how.0.as_bytes()).unwrap();
        let mut request = Request::builder().method(method).uri(how.1);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Bytes::empty, |body| Bytes::from(body.to_string()));
        let mut request = request.body(body).unwrap();
        if let Some(name) = who {
            let source = Source { peer: "127.0.0.1:1".parse().unwrap() };
            request.extensions_mut().insert(Caller { actor: self.house.actor(name), source });
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        if status != StatusCode::OK {
            let kind = response.headers().get(header::CONTENT_TYPE).cloned();
            assert_eq!(kind.unwrap(), "application/problem+json", "{how:?}");
        }
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status.as_u16(), serde_json::from_slice(&bytes).unwrap())
    }

    async fn ada(&self, how: (&str, &str), body: Option<Value>) -> (u16, Value) {
        self.call(Some("ada"), how, body).await
    }
}

#[tokio::test]
async fn without_a_caller_and_without_a_right_nothing_is_done() {
    let site = Site::new().await;
    let everything = [
        ("GET", "/v1/people", None),
        ("POST", "/v1/people", Some(json!({"name": "bob"}))),
        ("POST", "/v1/people/alice/disable", None),
        ("GET", "/v1/services", None),
        ("POST", "/v1/services", Some(json!({"name": "ci", "public_key": PUBLIC_KEY}))),
        ("POST", "/v1/services/ci/disable", None),
        ("POST", "/v1/keys", Some(json!({"name": "alice", "public_key": ED25519}))),
        ("DELETE", "/v1/keys/SHA256:x%2Fy", None),
        ("GET", "/v1/locks", None),
        ("POST", "/v1/locks", Some(json!({"target": {"type": "all"}, "reason": "r"}))),
        ("DELETE", "/v1/locks/lk_01h455vb4pex5vsknk084sn02q", None),
        ("POST", "/v1/plan", Some(json!({"files": []}))),
        ("POST", "/v1/apply", Some(json!({"files": [], "digest": ""}))),
    ];
    let changes = site.house.ledger.changes();
    for (method, path, body) in everything.clone() {
        let (status, problem) = site.call(None, (method, path), body.clone()).await;
        assert_eq!((status, problem["code"].as_str()), (401, Some("unauthenticated")), "{path}");
        let (status, problem) = site.call(Some("alice"), (method, path), body).await;
        assert_eq!((status, problem["code"].as_str()), (403, Some("denied")), "{path}");
    }
    assert_eq!(site.authorize.refused.lock().len(), everything.len());
    assert_eq!(site.house.ledger.changes(), changes);
    assert_eq!(site.call(None, ("GET", "/v1/resources"), None).await.0, 401);
}

#[tokio::test]
async fn people_are_added_listed_and_disabled() {
    let site = Site::new().await;
    let new = json!({"name": "bob", "groups": ["staff"]});
    let (status, added) = site.ada(("POST", "/v1/people"), Some(new)).await;
    assert_eq!((status, added["enrolment_code"].as_str()), (200, Some("code-1")));
    assert_eq!(added["person"]["groups"], json!(["staff"]));
    let names = |list: &Value| -> Vec<String> {
        let people = list["people"].as_array().unwrap().iter();
        people.map(|it| it["name"].as_str().unwrap().to_owned()).collect()
    };
    let (_, all) = site.ada(("GET", "/v1/people"), None).await;
    assert_eq!(
        (names(&all), all.get("next")),
        (vec!["ada".into(), "alice".into(), "bob".into()], None)
    );
    let (_, first) = site.ada(("GET", "/v1/people?limit=2"), None).await;
    assert_eq!((names(&first).len(), first["next"].as_str()), (2, Some("alice")));
    let (_, rest) = site.ada(("GET", "/v1/people?after=alice"), None).await;
    assert_eq!((names(&rest), rest.get("next")), (vec!["bob".to_owned()], None));

    let why = Some(json!({"reason": "gone"}));
    assert_eq!(site.ada(("POST", "/v1/people/bob/disable"), why).await.0, 200);
    assert_eq!(site.ada(("POST", "/v1/people/alice/disable"), None).await.0, 200);
    let cut: Vec<String> = site.cut.0.lock().iter().map(|(_, reason)| reason.clone()).collect();
    assert_eq!(cut, ["gone", "the account was disabled"]);
    let (status, problem) = site.ada(("POST", "/v1/people/bop/disable"), None).await;
    assert_eq!((status, problem["hint"].as_str()), (404, Some("did you mean `bob`?")));
}

/// What a helper may do who may not apply declarations, and to whom a policy gives something by name.
const HELPERS: &str = "permit(principal in Loggia::Group::\"staff\", action in \
    [Loggia::Action::\"people.manage\", Loggia::Action::\"services.manage\", \
    Loggia::Action::\"locks.manage\"], resource); \
    permit(principal, action == Loggia::Action::\"connect\", resource) \
    when { principal.name == \"eve\" };";

#[tokio::test]
async fn whoever_may_only_add_people_takes_over_nobody_who_was_given_something() {
    let site = Site::new().await;
    let more = format!(
        "{DECLARED}\n[[group]]\nname = \"dba\"\nmembers = [\"newdba\"]\n\
         [[person]]\nname = \"newdba\"\n[[person]]\nname = \"plain\"\n"
    );
    site.house.apply(&[("a.toml", &more), ("a.cedar", POLICY), ("b.cedar", HELPERS)]).await;
    let changes = site.house.ledger.changes();
    // By group; by a policy that may name them tomorrow; by a policy that names them today.
    for name in ["newdba", "plain", "eve"] {
        let new = Some(json!({"name": name}));
        let (status, problem) = site.call(Some("alice"), ("POST", "/v1/people"), new).await;
        assert_eq!((status, problem["code"].as_str()), (403, Some("denied")), "{name}");
    }
    let new = Some(json!({"name": "eve", "public_key": PUBLIC_KEY}));
    assert_eq!(site.call(Some("alice"), ("POST", "/v1/services"), new).await.0, 403);
    assert_eq!(site.house.ledger.changes(), changes);

    let add = |name: &str| Some(json!({"name": name}));
    assert_eq!(site.call(Some("alice"), ("POST", "/v1/people"), add("bob")).await.0, 200);
    let (status, taken) = site.call(Some("alice"), ("POST", "/v1/people"), add("bob")).await;
    assert_eq!((status, &taken["code"]), (403, &json!("denied")), "a new code is a matter for ada");
    for name in ["newdba", "plain", "eve", "bob"] {
        assert_eq!(site.ada(("POST", "/v1/people"), add(name)).await.0, 200, "{name}");
    }
}

#[tokio::test]
async fn malformed_requests_are_problems_too() {
    let site = Site::new().await;
    for (how, body) in [
        (("POST", "/v1/people"), Some(json!({"name": "bob", "admn": true}))),
        (("POST", "/v1/people"), Some(json!({"name": "Bob"}))),
        (("POST", "/v1/people"), None),
        (("GET", "/v1/people?limit=0"), None),
        (("GET", "/v1/people?limit=many"), None),
        (("GET", "/v1/people?page=2"), None),
        (("DELETE", "/v1/locks/nonsense"), None),
    ] {
        let (status, problem) = site.ada(how, body).await;
        assert_eq!((status, problem["code"].as_str()), (400, Some("invalid")), "{how:?}");
    }
}

#[tokio::test]
async fn services_are_added_listed_and_disabled() {
    let site = Site::new().await;
    let new = json!({"name": "ci", "public_key": PUBLIC_KEY});
    assert_eq!(site.ada(("POST", "/v1/services"), Some(new.clone())).await.0, 200);
    assert_eq!(site.ada(("POST", "/v1/services"), Some(new)).await.0, 409);
    let (_, all) = site.ada(("GET", "/v1/services"), None).await;
    assert_eq!(all["services"][0]["public_key"], json!(PUBLIC_KEY));
    assert_eq!(site.ada(("POST", "/v1/services/ci/disable"), None).await.0, 200);
    let (_, all) = site.ada(("GET", "/v1/services"), None).await;
    assert_eq!(all["services"][0]["disabled"], json!(true));
}

#[tokio::test]
async fn keys_are_registered_listed_and_removed() {
    let site = Site::new().await;
    let new = json!({"name": "alice", "public_key": format!("{ED25519} laptop")});
    let (status, key) = site.ada(("POST", "/v1/keys"), Some(new.clone())).await;
    assert_eq!((status, key["fingerprint"].as_str()), (200, Some(FINGERPRINT)));
    assert_eq!((key["owner"].as_str(), key["owner_type"].as_str()), (Some("alice"), Some("human")));
    assert_eq!(site.ada(("POST", "/v1/keys"), Some(new)).await.0, 409);
    let weak = json!({"name": "alice", "public_key": "ssh-dss AAAA"});
    assert_eq!(site.ada(("POST", "/v1/keys"), Some(weak)).await.0, 400);
    let other = json!({"name": "ada", "public_key": OTHER});
    assert_eq!(site.ada(("POST", "/v1/keys"), Some(other)).await.0, 200);

    let (_, all) = site.ada(("GET", "/v1/keys"), None).await;
    let owners = |list: &Value| -> Vec<String> {
        let keys = list["keys"].as_array().unwrap().iter();
        keys.map(|it| it["owner"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(owners(&all), ["ada", "alice"]);
    let (_, own) = site.call(Some("alice"), ("GET", "/v1/keys"), None).await;
    assert_eq!(owners(&own), ["alice"], "others' keys are not for everybody");
    let (_, first) = site.ada(("GET", "/v1/keys?limit=1"), None).await;
    let next = first["next"].as_str().unwrap().replace(' ', "%20").replace('+', "%2B");
    let (_, rest) = site.ada(("GET", &format!("/v1/keys?after={next}")), None).await;
    assert_eq!((owners(&first), owners(&rest)), (vec!["ada".into()], vec!["alice".into()]));

    let path = format!("/v1/keys/{}", FINGERPRINT.replace('/', "%2F"));
    let (status, removed) = site.ada(("DELETE", &path), None).await;
    assert_eq!((status, removed["owner"].as_str()), (200, Some("alice")));
    assert_eq!(site.ada(("DELETE", &path), None).await.0, 404);
}

#[tokio::test]
async fn whoever_may_not_list_all_sees_what_they_can_use() {
    let site = Site::new().await;
    let (_, all) = site.ada(("GET", "/v1/resources"), None).await;
    assert_eq!(all["resources"].as_array().unwrap().len(), 2);
    assert_eq!(all["resources"][1]["address"], json!("db.internal:5432"));
    assert_eq!(all["resources"][1]["connect"], json!(false), "an administrator connects nowhere");
    let (_, mine) = site.call(Some("alice"), ("GET", "/v1/resources"), None).await;
    assert_eq!(mine["resources"].as_array().unwrap().len(), 1);
    let shop = &mine["resources"][0];
    assert_eq!((shop["name"].as_str(), shop.get("address")), (Some("shop"), None));
    assert_eq!((&shop["accounts"], &shop["connect"]), (&json!(["readonly"]), &json!(true)));
    assert_eq!(site.authorize.refused.lock().len(), 0);
}

#[tokio::test]
async fn locks_cut_sessions_and_go_away() {
    let site = Site::new().await;
    let target = json!({"type": "person", "name": "alice"});
    let new = json!({"target": target, "reason": "drill", "duration_s": 60});
    let (status, lock) = site.ada(("POST", "/v1/locks"), Some(new)).await;
    assert_eq!((status, &lock["target"]), (200, &target));
    assert_eq!(lock["created_by"], json!("ada"));
    let alice = LockTarget::Identity(site.house.actor("alice").id);
    assert_eq!(*site.cut.0.lock(), [(alice, "drill".to_owned())]);
    let (_, all) = site.ada(("GET", "/v1/locks"), None).await;
    assert_eq!(all["locks"], json!([lock]));
    let path = format!("/v1/locks/{}", lock["id"].as_str().unwrap());
    assert_eq!(site.ada(("DELETE", &path), None).await.0, 200);
    assert_eq!(site.ada(("DELETE", &path), None).await.0, 404);
    let unknown = json!({"target": {"type": "group", "name": "stuff"}, "reason": "r"});
    assert_eq!(site.ada(("POST", "/v1/locks"), Some(unknown)).await.0, 404);
    assert_eq!(site.cut.0.lock().len(), 1);
}

#[tokio::test]
async fn an_administrator_is_locked_out_only_by_who_may_change_policies_and_the_last_by_nobody() {
    let site = Site::new().await;
    let more = format!(
        "{DECLARED}\n[[group]]\nname = \"admins\"\nmembers = [\"ada\"]\n\
         [[group]]\nname = \"idle\"\nmembers = [\"bob\"]\n[[person]]\nname = \"bob\"\n"
    );
    site.house.apply(&[("a.toml", &more), ("a.cedar", POLICY), ("b.cedar", HELPERS)]).await;
    site.house.enrolled("ada").await;
    site.house.person("eva", true).await;
    let lock = |kind: &str, name: &str| {
        Some(json!({"target": {"type": kind, "name": name}, "reason": "r"}))
    };
    for (kind, name) in [("person", "ada"), ("group", "admins")] {
        let how = ("POST", "/v1/locks");
        let (status, problem) = site.call(Some("alice"), how, lock(kind, name)).await;
        assert_eq!((status, &problem["code"]), (403, &json!("denied")), "{name}");
        let (status, problem) = site.call(Some("eva"), how, lock(kind, name)).await;
        assert_eq!((status, &problem["code"]), (409, &json!("conflict")), "eva has not enrolled");
    }
    assert_eq!(site.cut.0.lock().len(), 0);
    site.house.enrolled("eva").await;
    let (status, first) =
        site.call(Some("eva"), ("POST", "/v1/locks"), lock("group", "admins")).await;
    assert_eq!(status, 200, "{first}");
    let (status, problem) = site.ada(("POST", "/v1/people/eva/disable"), None).await;
    assert_eq!((status, &problem["code"]), (409, &json!("conflict")), "ada is locked");
    let people = lock("group", "idle");
    assert_eq!(site.call(Some("alice"), ("POST", "/v1/locks"), people).await.0, 200);
}

#[tokio::test]
async fn what_was_planned_is_applied() {
    let site = Site::new().await;
    let more = format!("{DECLARED}\n[[person]]\nname = \"carol\"\n");
    let files = json!([{"name": "a.toml", "text": more}, {"name": "a.cedar", "text": POLICY}]);
    let (status, plan) = site.ada(("POST", "/v1/plan"), Some(json!({"files": files}))).await;
    assert_eq!(status, 200);
    assert_eq!(plan["changes"][0]["change"], json!("person.add"));
    let stale = json!({"files": files, "digest": "0000"});
    assert_eq!(site.ada(("POST", "/v1/apply"), Some(stale)).await.0, 409);
    let apply = json!({"files": files, "digest": plan["digest"]});
    let (status, applied) = site.ada(("POST", "/v1/apply"), Some(apply)).await;
    assert_eq!((status, &applied["plan"]), (200, &plan));
    assert_eq!(applied["enrolments"][0]["name"], json!("carol"));

    let wrong = json!({"files": [{"name": "a.toml", "text": "\nprun = true"}]});
    let (status, problem) = site.ada(("POST", "/v1/plan"), Some(wrong)).await;
    assert_eq!((status, problem["code"].as_str()), (400, Some("invalid")));
    assert!(problem["detail"].as_str().unwrap().starts_with("a.toml:2:1: "), "{problem}");
}
