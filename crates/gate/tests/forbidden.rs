//! What the types of the spine forbid does not compile.

#[test]
fn nobody_else_makes_permits_receipts_or_recorded_frames() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/forbidden/*.rs");
}
