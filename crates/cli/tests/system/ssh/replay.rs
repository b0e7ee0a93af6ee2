//! Playing recordings: in a terminal, without a gateway, after one that was killed.

use super::*;

const SECRET: &str = "mauve teapot";

/// A shell in which a command ran and a secret was read without echo; its session, still open.
fn shell(world: &World) -> (Terminal, String) {
    let mut shell = world.shell("kernel");
    shell.send("echo first-$((40 + 2))\r").unwrap();
    shell.wait_for("first-42", PATIENCE).unwrap();
    shell.send("read -s -p Sec'ret: ' secret; echo; echo length ${#secret}\r").unwrap();
    shell.wait_for("Secret: ", PATIENCE).unwrap();
    shell.send(&format!("{SECRET}\r")).unwrap();
    shell.wait_for(&format!("length {}", SECRET.len()), PATIENCE).unwrap();
    let start = world.expect(1, "session.start").pop().unwrap();
    (shell, start.session().unwrap())
}

#[test]
fn a_terminal_is_played_again_found_in_and_read_without_a_gateway() {
    let Some(mut world) = world() else { return };
    let (mut shell, session) = shell(&world);
    shell.send("exit 0\r").unwrap();
    assert_eq!(shell.wait_end(PATIENCE).unwrap(), Some(0));
    world.expect(1, "session.end");

    let mut command = world.gateway.command(Some("alice"));
    let mut played = Terminal::start(command.args(["replay", &session, "--speed", "16"])).unwrap();
    played.wait_for("first-42", PATIENCE).unwrap();
    played.wait_for("end  ", PATIENCE).unwrap();
    played.send("\u{1b}[H/length 12\r").unwrap();
    played.wait_for("pause", PATIENCE).unwrap();
    played.send("/length 12\r").unwrap();
    played.wait_for("does not appear any more", PATIENCE).unwrap();
    played.send("q").unwrap();
    assert_eq!(played.wait_end(PATIENCE).unwrap(), Some(0));
    let shown = played.shown();
    assert!(shown.contains("ssh.shell ok terminal 80×24") && !shown.contains(SECRET), "{shown}");
    assert!(shown.contains("frames, as the ledger has them"), "{shown}");

    world.gateway.stop().unwrap();
    let place = world.gateway.data.join(&session).display().to_string();
    let key = world.gateway.key.clone();
    let offline = |more: &[&str]| {
        let arguments = [&["replay", &place, "--key", &key], more].concat();
        world.gateway.succeed(None, &arguments).unwrap()
    };
    let text = offline(&["--text"]);
    assert!(text.contains("\nfirst-42\n") && text.contains("\nSecret:\n"), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains(SECRET), "{text}");
    let typed = |more: &[&str]| {
        let lines = offline(&[&["--json"], more].concat());
        let frames = lines.lines().map(|line| serde_json::from_str(line).unwrap());
        let frames = frames.filter(|frame: &serde_json::Value| frame["kind"] == "typed");
        let data = |frame: serde_json::Value| Some(frame["data"].as_str()?.to_owned());
        frames.filter_map(data).collect::<String>()
    };
    let echoed = typed(&[]);
    assert!(echoed.contains("echo first-$((40 + 2))\r") && !echoed.contains(SECRET), "{echoed}");
    let silent = world.gateway.data.join("keys/silent.key").display().to_string();
    assert!(typed(&["--silent-key", &silent]).contains(SECRET));
}

#[test]
fn what_was_recorded_when_the_gateway_was_killed_is_taken_up_and_played() {
    let Some(mut world) = world() else { return };
    let (mut shell, session) = shell(&world);
    shell.send("echo last-$((6 * 7))\r").unwrap();
    shell.wait_for("last-42", PATIENCE).unwrap();
    world.gateway.kill_nine().unwrap();
    let _ = shell.wait_end(PATIENCE).unwrap();
    world.gateway.start_again().unwrap();
    let end = world.expect(1, "session.end").pop().unwrap();
    assert_eq!(end.text("/detail/reason"), Some("gateway_died"));
    let grown = world.events("recording.grown").pop().unwrap();
    let recovered = grown.value("/detail/recovered").is_some();
    assert_eq!(grown.session().unwrap(), session);
    world.verify();
    let text = world.gateway.succeed(Some("alice"), &["replay", &session, "--text"]).unwrap();
    assert!(text.contains("last-42"), "recovered: {recovered}: {text}");
    let timeline = world.gateway.succeed(Some("alice"), &["session", "show", &session]).unwrap();
    assert!(timeline.contains("gateway_died"), "{timeline}");
    assert_eq!(timeline.matches("recording.grown").count(), usize::from(recovered), "{timeline}");
}

#[test]
fn several_actions_of_one_session_are_played_in_turn_or_one_alone() {
    let Some(world) = world() else { return };
    let socket = world.host.folder().join("mux");
    let control = format!("ControlPath={}", socket.display());
    let master = ["-o", "ControlMaster=auto", "-o", "ControlPersist=20", "-o", &control];
    for command in ["printf 'one\\ntwo\\n'", "echo three >&2; exit 4"] {
        let arguments = [master.as_slice(), &["kernel", command]].concat();
        let _ = world.ssh(&arguments);
    }
    let _ = world.ssh(&["-o", &control, "-O", "exit", "kernel"]);
    let end = world.expect(1, "session.end").pop().unwrap();
    let session = end.session().unwrap();
    let replay = |more: &[&str]| {
        let arguments = [&["replay", &session, "--text"], more].concat();
        world.gateway.succeed(Some("alice"), &arguments).unwrap()
    };
    let all = replay(&[]);
    let lines: Vec<&str> = all.lines().collect();
    assert_eq!(lines.len(), 5, "{all}");
    assert!(lines[0].starts_with("== ssh.exec ok printf 'one\\ntwo\\n'"), "{all}");
    assert_eq!(lines[1..3], ["one", "two"]);
    assert!(lines[3].starts_with("== ssh.exec") && lines[3].contains("exit 4"), "{all}");
    assert_eq!(lines[4], "three");
    assert_eq!(replay(&["--action", "2"]), "three\n");
    let frames = ["replay", &session, "--json", "--action", "2"];
    let frames = world.gateway.succeed(Some("alice"), &frames).unwrap();
    let ends: Vec<serde_json::Value> = frames
        .lines()
        .map(|frame| serde_json::from_str(frame).unwrap())
        .filter(|frame: &serde_json::Value| frame["kind"] == "exit")
        .collect();
    assert_eq!((ends.len(), &ends[0]["status"]), (1, &4.into()), "{frames}");
    let none = world.gateway.run(Some("alice"), &["replay", &session, "--action", "7"]).unwrap();
    assert_eq!(none.status.code(), Some(2), "{}", stderr(&none));
}
