//! The demonstration, played to its end: every step of it checks what it comes to.

use std::path::Path;

#[test]
fn every_step_of_the_demonstration_does_what_it_should() {
    loggia_testkit::demo::run(Path::new(env!("CARGO_BIN_EXE_loggia")), true).unwrap();
}
