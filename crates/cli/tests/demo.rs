//! The demonstration, played to its end: every step of it checks what it comes to. What it promises
//! over SSH is looked at once more here.

use std::path::Path;

use loggia_testkit::{demo, openssh};

#[test]
fn every_step_of_the_demonstration_does_what_it_should() {
    let left = demo::run(Path::new(env!("CARGO_BIN_EXE_loggia")), true).unwrap();
    let Some(left) = left else {
        let why = openssh::available().expect_err("there is a server, and SSH was not shown");
        eprintln!("SKIPPED: NOTHING WAS CHECKED OVER SSH: {why:#}");
        return;
    };

    // What the host executed is on record, and nothing else is.
    assert_eq!(left.executed, left.recorded);
    for command in ["tail -n 2 access.log", "grep teapot access.log"] {
        assert!(left.executed.iter().any(|it| it == command), "{:?}", left.executed);
    }
    assert!(!left.executed.iter().any(|it| it == "cat shop.conf"), "bob's was not permitted");

    // The tunnel to the database is an event.
    assert_eq!(left.refused_forwards, [left.database]);

    // The replay has what was typed and what came of it, and not what was typed without echo.
    assert!(left.told.len() > 2, "{:?}", left.told);
    for line in &left.told {
        assert!(left.replayed.contains(line), "`{line}` is missing in:\n{}", left.replayed);
        assert!(left.typed.contains(line), "`{line}` is missing in:\n{}", left.typed);
    }
    for shown in ["203.0.113.20 POST /order 500", "order_timeout_s = 30"] {
        assert!(left.seen.contains(shown) && left.replayed.contains(shown), "{}", left.replayed);
    }
    assert_eq!(left.passphrase.len(), 24);
    assert!(left.seen.contains("24 letters") && !left.replayed.contains(&left.passphrase));
    assert!(!left.typed.contains(&left.passphrase));

    // Both commands, the shell, and what was said of the files that scp and sftp transferred.
    assert_eq!(left.recordings_checked, 5);
}
