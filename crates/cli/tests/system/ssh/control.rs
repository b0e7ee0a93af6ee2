//! Live control: watching, ending, locking; effective within a second, shown and recorded.

use super::*;

fn live_session(world: &World, person: &str) -> String {
    until("the session is listed", Duration::from_secs(10), || {
        let listed =
            world.gateway.succeed(Some("alice"), &["session", "ls", "--live", "--json"]).unwrap();
        let mut lines =
            listed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let mine = lines.find(|session| session["actor"]["name"] == person)?;
        Some(mine["id"].as_str().unwrap().to_owned())
    })
}

/// A shell of bob's in which something runs.
fn busy_shell(world: &World) -> Terminal {
    let mut command = world.clients("bob").ssh();
    let mut shell = Terminal::start(command.arg("kernel")).unwrap();
    shell.wait_for("$ ", PATIENCE).unwrap();
    shell.send("echo begun; sleep 1000\r").unwrap();
    until("it runs", Duration::from_secs(20), || {
        world.host.typed().unwrap().contains(&"echo begun; sleep 1000".to_owned()).then_some(())
    });
    shell
}

#[test]
fn an_operator_watches_a_terminal_and_ends_it_and_the_person_is_told_who_and_why() {
    let Some(world) = world() else { return };
    let mut shell = busy_shell(&world);
    let id = live_session(&world, "bob");
    let mut watching =
        Terminal::start(world.gateway.command(Some("alice")).args(["session", "watch", &id]))
            .unwrap();
    watching.wait_for("begun", PATIENCE).unwrap();
    shell.send("typed while somebody watches").unwrap();
    watching.wait_for("typed while somebody watches", PATIENCE).unwrap();
    assert!(
        world.texts("audit.read", "/detail/route").contains(&"watch".to_owned()),
        "watching is recorded"
    );
    let begin = Instant::now();
    world
        .gateway
        .succeed(Some("alice"), &["session", "end", &id, "--reason", "maintenance at noon"])
        .unwrap();
    assert_ne!(shell.wait_end(PATIENCE).unwrap(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    let told = shell.shown();
    assert!(told.contains("alice ended this session: maintenance at noon"), "{told}");
    watching.wait_end(PATIENCE).unwrap();
    until("its command ends", Duration::from_secs(10), || (!world.host.busy()).then_some(()));
    let ended = world.expect(1, "session.end").pop().unwrap();
    assert_eq!(ended.text("/detail/reason"), Some("ended"));
    let denied = world.gateway.run(Some("bob"), &["session", "watch", &id]).unwrap();
    assert_eq!(denied.status.code(), Some(3), "{}", stderr(&denied));
    world.verify();
}

#[test]
fn a_lock_cuts_a_terminal_and_keeps_new_ones_out_until_it_is_removed() {
    let Some(world) = world() else { return };
    let mut shell = busy_shell(&world);
    let added = world
        .gateway
        .succeed(
            Some("alice"),
            &["lock", "add", "person:bob", "--reason", "laptop stolen", "--json"],
        )
        .unwrap();
    let lock: serde_json::Value = serde_json::from_str(added.trim()).unwrap();
    assert_ne!(shell.wait_end(PATIENCE).unwrap(), Some(0));
    assert!(shell.shown().contains("laptop stolen"), "{}", shell.shown());
    let refused = world.ssh_as("bob", &["kernel", "true"]);
    assert!(!refused.succeeded());
    assert!(refused.stderr.contains("laptop stolen"), "{}", refused.stderr);
    succeeded("alice", &world.ssh(&["kernel", "true"]));
    world.gateway.succeed(Some("alice"), &["lock", "rm", lock["id"].as_str().unwrap()]).unwrap();
    succeeded("bob", &world.ssh_as("bob", &["kernel", "true"]));
    assert_eq!(
        world.texts("session.end", "/detail/reason").iter().filter(|it| *it == "locked").count(),
        1
    );
    world.verify();
}
