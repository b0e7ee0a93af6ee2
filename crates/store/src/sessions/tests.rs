use super::*;
use crate::store::Config;
use crate::testlog::Scene;
use loggia_model::port::Follow;

fn store(scene: &Scene, memory_bytes_max: usize) -> Store {
    let store = Store::new(scene.log.clone(), Config { memory_bytes_max, ..Config::default() });
    store.apply(&scene.all()[store.cursor() as usize..]);
    store
}

#[test]
fn a_timeline_is_the_same_from_memory_and_from_the_log_however_it_is_paged() {
    let mut scene = Scene::new();
    let mut alice = scene.start(1, "alice", "shop", "10.0.0.1");
    let mut bob = scene.start(2, "bob", "shop", "10.0.0.2");
    for number in 0..700 {
        scene.now_us += 1_000_000;
        let one = scene.statement(&mut alice, &format!("select {number}"));
        let two = scene.statement(&mut bob, "select 2");
        scene.result(&mut bob, two, 1);
        if number % 3 > 0 {
            scene.result(&mut alice, one, 1);
        }
    }
    scene.end(&mut alice);
    scene.statement(&mut bob, "select 3");
    let whole = store(&scene, 1 << 30);
    let wanted = whole.timeline(alice.id, None, 10_000, &[], &Arc::default()).unwrap();
    assert_eq!(wanted.items.len(), 702);
    assert_eq!(wanted.session.state, SessionState::Ended);
    assert_eq!(wanted.items[2].outcome["status"], "ok");
    assert!(wanted.items[1].outcome.is_empty(), "it never had a result");
    for memory in [1, 300_000] {
        let part = store(&scene, memory);
        assert!(part.oldest_in_memory() > 0);
        let (mut items, mut from) = (Vec::new(), None);
        loop {
            let page = part.timeline(alice.id, from, 97, &[], &Arc::default()).unwrap();
            assert_eq!(page.session.started_us, wanted.session.started_us);
            assert_eq!(page.session.actor, wanted.session.actor);
            items.extend(page.items);
            let Some(next) = page.next else { break };
            from = u64::from_str_radix(&next[1..], 16).ok();
        }
        assert_eq!(items, wanted.items);
    }
}

#[test]
fn sessions_that_began_before_what_is_in_memory_are_listed_with_their_ends() {
    let mut scene = Scene::new();
    let mut open = scene.start(9, "zoe", "shop", "10.0.0.9");
    for number in 0..300u32 {
        let mut session = scene.start((number % 7) as u8, "alice", "shop", "10.0.0.1");
        scene.statement(&mut session, "select 1");
        scene.statement(&mut open, "select 2");
        if number != 17 {
            scene.end(&mut session);
        }
    }
    let whole = store(&scene, 1 << 30);
    let list =
        |store: &Store, below, limit| store.sessions(below, limit, &[], &Arc::default()).unwrap();
    let wanted = list(&whole, None, 1_000);
    assert_eq!((wanted.items.len(), wanted.next), (301, None));
    let running = wanted.items.iter().filter(|one| one.state == SessionState::Open).count();
    assert_eq!(running, 2);
    for memory in [1, 100_000] {
        let part = store(&scene, memory);
        let (mut items, mut below) = (Vec::new(), None);
        loop {
            let page = list(&part, below, 40);
            items.extend(page.items);
            below = page.next;
            if below.is_none() {
                break;
            }
        }
        assert_eq!(items, wanted.items);
    }
}

#[test]
fn a_session_that_is_not_in_the_log_is_not_found() {
    let mut scene = Scene::new();
    scene.start(1, "alice", "shop", "10.0.0.1");
    let none = SessionId::from_parts(5, [5; 10]);
    let error = store(&scene, 1).timeline(none, None, 1, &[], &Arc::default()).unwrap_err();
    assert_eq!(error.code, "not_found");
}
