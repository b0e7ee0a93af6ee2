//! A full recording and a full disk.

use super::*;
use loggia_testkit::{SmallDisk, Workspace};

/// How long a session is paused before it is ended, in seconds.
const PAUSE_S: u64 = 4;

#[test]
fn beyond_its_limit_a_recording_keeps_hashes_and_counts_and_says_so() {
    let world = world_with(|options, _| {
        *options = options.clone().setting("session", "recording_mib = 1");
    });
    let Some(world) = world else { return };
    let ran = world.ssh(&["kernel", "head -c 5M /dev/zero; exit 2"]);
    assert_eq!((ran.status, ran.stdout.len()), (Some(2), 5 << 20), "{}", ran.stderr);
    let result = world.expect(1, "ssh.result").pop().unwrap();
    assert_eq!(number(&result, "/outcome/bytes_out"), Some(5 << 20));
    assert_eq!(world.expect(1, "recording.limited").len(), 1);
    world.verify();
}

#[test]
fn a_full_disk_holds_a_terminal_back_and_then_ends_it_and_recovers_by_itself() {
    let folder = Workspace::new("ssh-full-disk").unwrap();
    let mut disk = match SmallDisk::mount(&folder.join("disk")) {
        Ok(disk) => disk,
        Err(why) => {
            eprintln!("SKIPPED: NOTHING WAS CHECKED: {why:#} (this needs root)");
            return;
        }
    };
    let world = world_with(|options, _| {
        options.data = Some(disk.path().join("data"));
        *options = options
            .clone()
            .setting("ledger", "segment_mib = 1")
            .setting("session", &format!("pause_seconds = {PAUSE_S}"));
    });
    let Some(world) = world else { return };
    let pauses = || world.gateway.metric("loggia_gate_pauses_total").unwrap().unwrap_or(0.0);
    let mut shell = world.shell("kernel");
    shell.send("echo before-$((1 + 1))\r").unwrap();
    shell.wait_for("before-2", PATIENCE).unwrap();
    disk.fill().unwrap();
    let before = pauses();
    // What was laid out before the disk was full is used up first.
    shell.send("seq 1 1000000\r").unwrap();
    until("a pause", Duration::from_secs(60), || (pauses() > before).then_some(()));
    disk.clear().unwrap();
    shell.send("echo after-$((1 + 1))\r").unwrap();
    shell.wait_for("after-2", PATIENCE).unwrap();

    disk.fill().unwrap();
    shell.send("seq 1 1000000\r").unwrap();
    shell.wait_for("cannot be recorded any more", PATIENCE).unwrap();
    assert_ne!(shell.wait_end(PATIENCE).unwrap(), Some(0));
    disk.clear().unwrap();
    until("it recovers by itself", Duration::from_secs(30), || world.gateway.ready().then_some(()));
    succeeded("a new session", &world.ssh(&["disk", "true"]));
    let reasons = world.texts("session.end", "/detail/reason");
    assert!(reasons.iter().any(|it| it == "unrecordable"), "{reasons:?}");
    world.verify();
}
