//! Bulk and many at once: all end with the right bytes and status, and the hash on record is the
//! file's.

use super::*;
use loggia_testkit::openssh::{sha256_of, write_payload};
use std::io::Read;

/// Bytes of standard output, counted as they come.
fn counted(mut command: Command) -> (usize, Option<i32>) {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut block = vec![0; 1 << 18];
    let mut bytes = 0;
    while let Ok(read @ 1..) = output.read(&mut block) {
        bytes += read;
    }
    (bytes, child.wait().unwrap().code())
}

#[test]
fn half_a_gigabyte_comes_down_whole() {
    let Some(world) = world() else { return };
    let mut command = world.clients("alice").ssh();
    command.args(["kernel", "head -c 500M /dev/zero"]);
    assert_eq!(counted(command), (500 << 20, Some(0)));
    let result = world.expect(1, "ssh.result").pop().unwrap();
    assert_eq!(number(&result, "/outcome/bytes_out"), Some(500 << 20));
    world.verify();
}

#[test]
fn half_a_gigabyte_goes_up_and_down_by_scp_and_sftp_and_its_hash_is_on_record() {
    let Some(world) = world() else { return };
    let local = world.host.folder().join("local");
    let back = world.host.folder().join("back");
    let hash = write_payload(&local, 500, 1).unwrap();
    let clients = world.clients("alice");
    let returned = |how: &str| {
        assert_eq!(sha256_of(&world.host.home().join("there")).unwrap(), hash, "{how}: up");
        assert_eq!(sha256_of(&back).unwrap(), hash, "{how}: down");
        std::fs::remove_file(&back).unwrap();
        std::fs::remove_file(world.host.home().join("there")).unwrap();
    };
    for protocol in [&[][..], &["-O"]] {
        let mut up = clients.scp();
        up.args(protocol).arg(&local).arg("kernel:there");
        succeeded("scp up", &finish(&mut up, b"", PATIENCE).unwrap());
        let mut down = clients.scp();
        down.args(protocol).arg("kernel:there").arg(&back);
        succeeded("scp down", &finish(&mut down, b"", PATIENCE).unwrap());
        returned("scp");
    }
    let batch = world.host.folder().join("batch");
    let lines = format!("put {} there\nget there {}\n", local.display(), back.display());
    std::fs::write(&batch, lines).unwrap();
    let ran = finish(clients.sftp(&batch).arg("kernel"), b"", PATIENCE).unwrap();
    succeeded("sftp", &ran);
    returned("sftp");

    let results = world.expect(6, "file.result");
    let hashed: Vec<_> =
        results.iter().filter(|it| it.text("/outcome/sha256") == Some(&hash)).collect();
    assert_eq!(hashed.len(), 6, "{results:?}");
    let operations = world.events("file.operation");
    for result in hashed {
        let of = result.text("/detail/of").unwrap();
        let operation = operations.iter().find(|it| it.event.id.to_string() == of).unwrap();
        // Whether the place that scp's own protocol names is a folder, only the host knows.
        let path = operation.text("/detail/path").unwrap();
        assert!(path.ends_with("there") || path == "there/local", "{path}");
        let bytes =
            [number(result, "/outcome/bytes_read"), number(result, "/outcome/bytes_written")];
        assert!(bytes.contains(&Some(500 << 20)), "{bytes:?}");
    }
    world.verify();
}

#[test]
fn a_hundred_times_fifty_megabytes_come_down_whole() {
    let Some(world) = world() else { return };
    let clients = world.clients("alice");
    std::thread::scope(|scope| {
        for resource in ["kernel", "disk"] {
            let clients = &clients;
            scope.spawn(move || {
                for n in 0..50 {
                    let mut command = clients.ssh();
                    command.args([resource, &format!("head -c 50M /dev/zero; exit {n}")]);
                    assert_eq!(counted(command), (50 << 20, Some(n)), "{resource}");
                }
            });
        }
    });
    assert_eq!(world.expect(100, "ssh.result").len(), 100);
    world.verify();
}

#[test]
fn fifty_sessions_at_once_are_not_starved_by_a_bulk_stream() {
    let Some(world) = world() else { return };
    let mut bulk = world.clients("bob").ssh();
    let mut bulk = bulk
        .args(["kernel", "cat /dev/zero"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let clients = world.clients("alice");
    let mut shells: Vec<Terminal> =
        (0..50).map(|_| Terminal::start(clients.ssh().args(["-tt", "kernel"])).unwrap()).collect();
    for (n, shell) in shells.iter_mut().enumerate() {
        shell.wait_for("$ ", PATIENCE).unwrap();
        shell.send(&format!("echo shell-$(({n} + 1000))\r")).unwrap();
    }
    for (n, shell) in shells.iter_mut().enumerate() {
        shell.wait_for(&format!("shell-{}", n + 1000), PATIENCE).unwrap();
        shell.send(&format!("exit {}\r", n + 1)).unwrap();
    }
    for (n, shell) in shells.iter_mut().enumerate() {
        assert_eq!(shell.wait_end(PATIENCE).unwrap(), Some(n as i32 + 1));
    }
    assert!(bulk.try_wait().unwrap().is_none(), "the bulk stream goes on");
    bulk.kill().unwrap();
    bulk.wait().unwrap();
    assert_eq!(world.expect(50, "ssh.shell").len(), 50);
    let typed = world.host.typed().unwrap();
    assert_eq!(typed.iter().filter(|line| line.starts_with("echo shell-")).count(), 50);
    world.verify();
}

#[test]
fn a_reader_that_stops_holds_the_target_back() {
    let Some(world) = world() else { return };
    let (before, _) = world.gateway.memory().unwrap();
    let mut command = world.clients("alice").ssh();
    // The target says how far it came; the client reads nothing.
    let mut child = command
        .args(["kernel", "dd if=/dev/zero bs=1M count=400 2>/dev/null; touch done"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(5));
    assert!(!world.host.home().join("done").exists(), "the target was held back");
    let (now, _) = world.gateway.memory().unwrap();
    assert!(now.saturating_sub(before) < 100 << 20, "from {before} to {now} bytes of memory");
    let mut output = child.stdout.take().unwrap();
    let mut block = vec![0; 1 << 18];
    let mut bytes = 0;
    while let Ok(read @ 1..) = output.read(&mut block) {
        bytes += read;
    }
    assert_eq!(bytes, 400 << 20);
    assert!(child.wait().unwrap().success());
    assert!(world.host.home().join("done").exists());
}

#[test]
fn keys_are_changed_in_the_middle_of_a_stream() {
    let Some(world) = world() else { return };
    let local = world.host.folder().join("local");
    let hash = write_payload(&local, 30, 5).unwrap();
    let clients = world.clients("alice");
    let mut up = clients.scp();
    up.args(["-o", "RekeyLimit=1M"]).arg(&local).arg("kernel:there");
    succeeded("up", &finish(&mut up, b"", PATIENCE).unwrap());
    assert_eq!(sha256_of(&world.host.home().join("there")).unwrap(), hash);
    let mut down = clients.ssh();
    down.args(["-v", "-o", "RekeyLimit=1M", "kernel", "cat there | sha256sum; cat there"]);
    let ran = finish(&mut down, b"", PATIENCE).unwrap();
    succeeded("down", &ran);
    assert_eq!(ran.stdout.len(), hash.len() + 4 + (30 << 20));
    assert!(ran.stdout.starts_with(hash.as_bytes()));
    let changes = ran.stderr.matches("SSH2_MSG_NEWKEYS received").count();
    assert!(changes > 5, "{changes} key exchanges");
    world.verify();
}
