//! A full recording and a full disk.

use super::*;

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
    assert_eq!(world.events("recording.limited").len(), 1);
    world.verify();
}
