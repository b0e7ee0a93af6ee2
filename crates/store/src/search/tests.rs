use super::*;
use crate::query;
use crate::store::Config;
use crate::testlog::{Scene, T0_US, person};
use loggia_model::port::Follow;
use proptest::prelude::*;

fn store(scene: &Scene, memory_bytes_max: usize) -> Store {
    let store = Store::new(scene.log.clone(), Config { memory_bytes_max, ..Config::default() });
    follow(&store, scene);
    store
}

fn follow(store: &Store, scene: &Scene) {
    let from = store.cursor() as usize;
    store.apply(&scene.all()[from..]);
}

fn page(store: &Store, q: &str, limit: usize, from: Option<u64>, order: Order) -> Found {
    let query = query::parse(q, T0_US + 3_600_000_000).unwrap_or_else(|e| panic!("{q}: {e}"));
    store.search(&Request { query, limit, from, order }, &Arc::default()).unwrap()
}

fn found(store: &Store, q: &str) -> Vec<AuditEvent> {
    page(store, q, 1_000, None, Order::Newest).items
}

fn texts(events: &[AuditEvent]) -> Vec<&str> {
    events.iter().map(|e| e.detail.get("text").and_then(|t| t.as_str()).unwrap_or("-")).collect()
}

/// Two people, statements that succeed, fail and never answer, one prepared.
fn morning() -> Scene {
    let mut scene = Scene::new();
    let mut alice = scene.start(1, "alice", "shop", "10.1.2.3");
    let mut bob = scene.start(2, "bob", "billing", "192.0.2.7");
    let good = scene.statement(&mut alice, "select *\n  from Orders");
    let bad = scene.statement(&mut bob, "drop table nowhere");
    scene.result(&mut alice, good, 150);
    scene.failure(&mut bob, bad, "table \"nowhere\" does not exist");
    let prepared = scene.in_session(&mut alice, Kind::SqlPrepare, |draft| {
        draft.set("/detail/text", "update stock set n = $1").set("/detail/name", "S_1")
    });
    let bound = scene.in_session(&mut alice, Kind::SqlStatement, |draft| {
        draft
            .set("/detail/prepared", prepared.to_string())
            .set("/detail/parameters", vec![loggia_model::Value::from("7")])
    });
    scene.result(&mut alice, bound, 1);
    scene.statement(&mut bob, "select pg_sleep(100)");
    scene.end(&mut alice);
    let refused = scene.draft(Kind::SessionRefused).actor(person(2));
    scene.add(
        refused
            .set("/actor/name", "bob")
            .set("/detail/reason", "denied")
            .set("/decision/effect", "deny")
            .set("/outcome/status", "denied"),
    );
    scene
}

/// All in memory, half in memory, nothing in memory.
fn stores(scene: &Scene) -> [Store; 3] {
    [store(scene, 1 << 20), store(scene, 15_000), store(scene, 1)]
}

#[test]
fn an_action_is_found_by_its_result_its_session_and_its_prepared_text() {
    let scene = morning();
    for store in stores(&scene) {
        let all = |q: &str| found(&store, q);
        assert_eq!(texts(&all("outcome:error kind:sql.statement")), ["drop table nowhere"]);
        assert_eq!(texts(&all("sqlstate:42P01")), ["drop table nowhere"]);
        assert_eq!(texts(&all("\"does not exist\"")), ["drop table nowhere"]);
        assert_eq!(texts(&all("rows:>100")), ["select *\n  from Orders"]);
        assert_eq!(texts(&all("duration:150ms bytes:1500")), ["select *\n  from Orders"]);
        assert_eq!(texts(&all("\"SELECT * from orders\"")), ["select *\n  from Orders"]);
        assert_eq!(
            texts(&all("kind:sql.statement actor:Alice")),
            ["update stock set n = $1", "select *\n  from Orders"]
        );
        assert_eq!(
            texts(&all("\"update stock\" kind:sql.statement outcome:ok")),
            ["update stock set n = $1"]
        );
        assert_eq!(texts(&all("outcome:unknown")), ["select pg_sleep(100)"]);
        assert_eq!(texts(&all("source:10.0.0.0/8 resource:shop account:app stock")).len(), 2);
        assert_eq!(all("decision:deny actor:bob").len(), 1);
        assert_eq!(all("kind:session.* psql").len(), 2);
        assert_eq!(all("effect:session").len(), 4);
        assert_eq!(texts(&all("kind:sql.* -outcome:ok actor:bob")).len(), 2);
        assert_eq!(texts(&all("actor:alice nowhere")).len(), 0);
    }
}

#[test]
fn an_event_shows_what_was_joined_and_from_where() {
    let scene = morning();
    for store in stores(&scene) {
        let [event] = &found(&store, "sqlstate:42P01")[..] else { panic!() };
        let actor = event.actor.as_ref().unwrap();
        assert_eq!((actor.name.as_deref(), actor.authn.as_deref()), (Some("bob"), Some("token")));
        assert_eq!(event.resource["name"], "billing");
        assert_eq!(event.source["ip"], "192.0.2.7");
        assert_eq!(event.outcome["message"], "table \"nowhere\" does not exist");
        assert_eq!(event.result.as_ref().unwrap().index, 5);
        assert!(event.context.as_ref().unwrap().starts_with("ev_"));
        assert_eq!(event.time, "2026-09-21T14:13:20.000400Z");
        let [result] = &found(&store, "kind:sql.result outcome:error")[..] else { panic!() };
        assert_eq!(result.detail["of"], event.id.as_str());
        assert_eq!(found(&store, &format!("id:{}", event.id)), std::slice::from_ref(event));
        let session = &event.session.as_ref().unwrap().id;
        assert_eq!(found(&store, &format!("session:{session}")).len(), 3);
        assert_eq!(found(&store, &format!("session:{}*", &session[..29])).len(), 3);
    }
}

#[test]
fn what_was_erased_altered_or_cannot_be_read_is_said_and_not_hidden() {
    let mut scene = morning();
    scene.alter(2, |entry| entry.disclosure = Default::default());
    scene.alter(3, |entry| {
        let text = String::from_utf8(entry.disclosure.to_vec()).unwrap();
        entry.disclosure = text.replace("drop table", "keep table").into();
    });
    scene.raw(b"{\"not\":\"an event\"}".to_vec(), Vec::new());
    for store in stores(&scene) {
        let [erased] = &found(&store, "rows:150")[..] else { panic!() };
        assert_eq!(erased.erased, ["/detail/text"]);
        let [altered] = &found(&store, "outcome:error")[..] else { panic!() };
        assert!(altered.damage.as_ref().unwrap().contains("committed to"));
        assert!(!altered.detail.contains_key("text"), "what was not committed to is not shown");
        assert!(found(&store, "keep").is_empty());
        let [unreadable] = &found(&store, "kind:unreadable")[..] else { panic!() };
        assert!(unreadable.damage.is_some());
        assert_eq!(unreadable.index, 12);
    }
}

#[test]
fn a_search_by_time_begins_and_ends_where_the_time_says() {
    let mut scene = Scene::new();
    let mut session = scene.start(1, "alice", "shop", "10.1.2.3");
    for hour in 0..30 {
        scene.now_us = T0_US + hour * 3_600_000_000;
        for _ in 0..100 {
            scene.statement(&mut session, &format!("hour {hour}"));
        }
    }
    let store = store(&scene, 1);
    let window = "since:2026-09-22T00:00:00Z until:2026-09-22T01:00:00Z";
    for order in [Order::Newest, Order::Oldest] {
        let page = page(&store, window, 1_000, None, order);
        assert!(page.items.iter().all(|e| e.time.starts_with("2026-09-22T00")), "{order:?}");
        assert_eq!(page.items.len(), 100);
        assert!(page.scanned < 1_600, "{order:?} looked at {}", page.scanned);
        assert!(page.complete && page.next.is_none());
    }
}

#[test]
fn a_search_ends_when_it_takes_too_long_and_can_be_gone_on_with() {
    let mut scene = Scene::new();
    let mut session = scene.start(1, "alice", "shop", "10.1.2.3");
    for _ in 0..2_000 {
        scene.in_session(&mut session, Kind::SqlOpaque, |draft| draft);
    }
    let config = Config { memory_bytes_max: 1, scan_entries_max: 1_600, ..Config::default() };
    let store = Store::new(scene.log.clone(), config);
    let first = page(&store, "kind:session.start", 10, None, Order::Newest);
    assert!(first.items.is_empty() && !first.complete);
    let mut from = first.next;
    let mut last = None;
    for _ in 0..10 {
        let page = page(&store, "kind:session.start", 10, from, Order::Newest);
        from = page.next;
        last = page.items.first().cloned();
        if from.is_none() {
            break;
        }
    }
    assert_eq!(last.unwrap().kind, "session.start");
    let cancelled = Arc::new(AtomicBool::new(true));
    let query = query::parse("x", 0).unwrap();
    let request = Request { query, limit: 1, from: None, order: Order::Newest };
    let gone = store.search(&request, &cancelled).unwrap();
    assert!(!gone.complete && gone.scanned == 0);
}

/// One step of a made-up history.
#[derive(Debug, Clone)]
enum Step {
    Start(u8),
    Statement(u8, u8),
    Prepared(u8),
    Answer(u8, bool),
    End(u8),
    Other,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0u8..4).prop_map(Step::Start),
        (0u8..4, 0u8..5).prop_map(|(who, what)| Step::Statement(who, what)),
        (0u8..4).prop_map(Step::Prepared),
        (0u8..4, any::<bool>()).prop_map(|(who, good)| Step::Answer(who, good)),
        (0u8..4).prop_map(Step::End),
        Just(Step::Other),
    ];
    proptest::collection::vec(step, 1..70)
}

fn play(steps: &[Step]) -> Scene {
    let mut scene = Scene::new();
    let mut sessions: [Option<crate::testlog::Session>; 4] = [None; 4];
    let mut open: [Vec<EventId>; 4] = Default::default();
    let mut prepared: [Option<EventId>; 4] = [None; 4];
    for step in steps {
        let who = match step {
            Step::Start(who) | Step::Prepared(who) | Step::End(who) => *who as usize,
            Step::Statement(who, _) | Step::Answer(who, _) => *who as usize,
            Step::Other => {
                let draft = scene.draft(Kind::NodeHeartbeat);
                scene.add(draft.set("/detail/events", 1u32));
                continue;
            }
        };
        let mut session = sessions[who].unwrap_or_else(|| {
            let (name, ip) = (["ann", "ben", "cleo", "dan"][who], format!("10.0.{who}.1"));
            scene.start(who as u8, name, ["shop", "billing"][who % 2], &ip)
        });
        match step {
            Step::Statement(_, 4) => {
                let id = prepared[who].map_or_else(|| "ev_x".to_owned(), |id| id.to_string());
                open[who].push(scene.in_session(&mut session, Kind::SqlStatement, |draft| {
                    draft.set("/detail/prepared", id)
                }));
            }
            Step::Statement(_, what) => {
                let text = ["select 1", "drop table t", "insert into t", "vacuum"][*what as usize];
                open[who].push(scene.statement(&mut session, text));
            }
            Step::Prepared(_) => {
                prepared[who] = Some(scene.in_session(&mut session, Kind::SqlPrepare, |draft| {
                    draft.set("/detail/text", "select $1")
                }));
            }
            Step::Answer(_, good) if !open[who].is_empty() => {
                let of = open[who].remove(0);
                if *good {
                    scene.result(&mut session, of, 3);
                } else {
                    scene.failure(&mut session, of, "no");
                }
            }
            Step::End(_) => {
                scene.end(&mut session);
                open[who].clear();
                prepared[who] = None;
            }
            _ => {}
        }
        sessions[who] = (!matches!(step, Step::End(_))).then_some(session);
    }
    scene
}

fn all_pages(store: &Store, q: &str, limit: usize, order: Order) -> Vec<AuditEvent> {
    let mut all = Vec::new();
    let mut from = None;
    loop {
        let page = page(store, q, limit, from, order);
        assert!(page.complete && page.items.len() <= limit);
        all.extend(page.items);
        from = page.next;
        if from.is_none() {
            return all;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    /// Wherever the border between memory and log lies, however pages are cut, in either order.
    #[test]
    fn memory_and_log_give_the_same(steps in steps(), memory in 1usize..60_000, limit in 1usize..20) {
        let scene = play(&steps);
        let whole = store(&scene, 1 << 30);
        let parts = [store(&scene, memory), store(&scene, 1)];
        prop_assert_eq!(whole.oldest_in_memory(), 0);
        for q in [
            "", "outcome:error", "outcome:ok kind:sql.statement", "-outcome:ok", "outcome:unknown",
            "actor:ann drop", "resource:shop OR ben", "select", "kind:sql.result", "rows:3 -ann",
            "kind:session.*", "source:10.0.1.0/24 (drop OR vacuum)", "kind:sql.statement select",
        ] {
            let wanted = all_pages(&whole, q, 1_000, Order::Newest);
            for part in &parts {
                prop_assert_eq!(&all_pages(part, q, limit, Order::Newest), &wanted, "{}", q);
                let mut oldest = all_pages(part, q, limit, Order::Oldest);
                oldest.reverse();
                prop_assert_eq!(&oldest, &wanted, "{} from the oldest", q);
            }
        }
    }
}
