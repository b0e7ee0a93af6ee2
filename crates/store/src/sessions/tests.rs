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

/// A session over SSH: a shell with its recording, a file that was transferred meanwhile.
fn on_a_host(scene: &mut Scene) -> crate::testlog::Session {
    let mut session = scene.start(1, "alice", "web-1", "10.0.0.1");
    let shell = scene.in_session(&mut session, Kind::SshShell, |draft| {
        draft.set("/detail/terminal", true).set("/detail/columns", 80u32)
    });
    scene.in_session(&mut session, Kind::RecordingBegun, |draft| {
        draft.set("/detail/salt", "00".repeat(32)).set("/detail/version", 1u32)
    });
    let subsystem = scene
        .in_session(&mut session, Kind::SshSubsystem, |draft| draft.set("/detail/name", "sftp"));
    for number in 0..300u32 {
        scene.now_us += 1_000_000;
        scene.in_session(&mut session, Kind::RecordingGrown, |draft| {
            draft.set("/detail/frames", number).set("/detail/bytes", number * 100)
        });
    }
    let file = scene.in_session(&mut session, Kind::FileOperation, |draft| {
        draft
            .set("/detail/of", subsystem.to_string())
            .set("/detail/operation", "open_write")
            .set("/detail/path", "/srv/Release.tar")
    });
    scene.in_session(&mut session, Kind::FileResult, |draft| {
        draft
            .set("/detail/of", file.to_string())
            .set("/outcome/status", "ok")
            .set("/outcome/bytes_written", 5_000_000u32)
    });
    for (of, status) in [(subsystem, 0u32), (shell, 130)] {
        scene.in_session(&mut session, Kind::SshResult, |draft| {
            draft
                .set("/detail/of", of.to_string())
                .set("/outcome/status", if status == 0 { "ok" } else { "error" })
                .set("/outcome/exit_status", status)
        });
    }
    scene.in_session(&mut session, Kind::SessionEnd, |draft| {
        draft
            .set("/detail/reason", "client_closed")
            .set("/detail/recording_frames", 300u32)
            .set("/detail/recording_bytes", 30_000u32)
    });
    session
}

#[test]
fn what_was_done_on_a_host_is_one_timeline_with_results_and_without_how_its_recording_grew() {
    let mut scene = Scene::new();
    scene.start(2, "bob", "shop", "10.0.0.2");
    let session = on_a_host(&mut scene);
    for memory in [1 << 30, 100_000, 1] {
        let store = store(&scene, memory);
        let timeline = store.timeline(session.id, None, 1_000, &[], &Arc::default()).unwrap();
        let told: Vec<_> = timeline
            .items
            .iter()
            .map(|item| (item.kind.as_str(), item.outcome.get("status").and_then(|s| s.as_str())))
            .collect();
        let expected = [
            ("session.start", None),
            ("ssh.shell", Some("error")),
            ("recording.begun", None),
            ("ssh.subsystem", Some("ok")),
            ("file.operation", Some("ok")),
            ("session.end", None),
        ];
        assert_eq!(told, expected, "memory {memory}");
        assert_eq!(timeline.items[1].outcome["exit_status"], 130);
        assert_eq!(timeline.items[4].outcome["bytes_written"], 5_000_000);
        assert_eq!(timeline.session.recording_frames, Some(300));
        assert_eq!(timeline.session.recording_bytes, Some(30_000));
    }
}

#[test]
fn the_entries_of_a_session_are_visited_in_order_to_its_end() {
    let mut scene = Scene::new();
    let mut bob = scene.start(2, "bob", "shop", "10.0.0.2");
    scene.statement(&mut bob, "select 1");
    let session = on_a_host(&mut scene);
    scene.statement(&mut bob, "select 2");
    let visited = |store: &Store, id| {
        let mut kinds = Vec::new();
        let wanted = |kind| matches!(kind, Kind::RecordingBegun | Kind::SessionEnd);
        store.visit_session(id, &wanted, &Arc::default(), &mut |entry| {
            kinds.push(Event::parse(&entry.leaf).unwrap().kind);
        })?;
        Ok::<_, PublicError>(kinds)
    };
    for memory in [1 << 30, 1] {
        let store = store(&scene, memory);
        assert_eq!(visited(&store, session.id).unwrap(), ["recording.begun", "session.end"]);
        assert_eq!(visited(&store, bob.id).unwrap(), [""; 0]);
        let none = SessionId::from_parts(5, [5; 10]);
        assert_eq!(visited(&store, none).unwrap_err().code, "not_found");
    }
}

#[test]
fn what_was_done_on_a_host_is_found_by_path_exit_status_and_bytes() {
    let mut scene = Scene::new();
    on_a_host(&mut scene);
    let found = |store: &Store, q: &str| {
        let request = crate::search::Request {
            query: crate::query::parse(q, 0).unwrap(),
            limit: 1_000,
            from: None,
            order: loggia_api::audit::Order::Oldest,
        };
        let found = store.search(&request, &Arc::default()).unwrap();
        found.items.iter().map(|item| item.kind.clone()).collect::<Vec<_>>()
    };
    for memory in [1 << 30, 1] {
        let store = store(&scene, memory);
        assert_eq!(found(&store, "/srv/release.tar"), ["file.operation"]);
        assert_eq!(found(&store, "exit:>0"), ["ssh.shell"]);
        assert_eq!(found(&store, "kind:ssh.* outcome:ok"), ["ssh.subsystem"]);
        assert_eq!(found(&store, "bytes:>1MB"), ["file.operation"]);
        assert_eq!(found(&store, "kind:recording.*"), ["recording.begun"]);
        assert_eq!(found(&store, "kind:recording.grown").len(), 300);
        assert_eq!(found(&store, "kind:ssh.result").len(), 2);
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
