use super::*;
use proptest::prelude::*;

/// 2026-11-02T12:00:00Z.
const NOW_US: i64 = 1_793_620_800_000_000;
const HOUR_US: i64 = 3_600_000_000;

fn expr(text: &str) -> Expr {
    parse(text, NOW_US).unwrap_or_else(|e| panic!("{text}: {e}")).expr
}

fn term(text: &str) -> Term {
    match expr(text) {
        Expr::Term(term) => term,
        other => panic!("{text}: {other:?}"),
    }
}

fn text(text: &str) -> Expr {
    Expr::Term(Term::Text(text.to_owned()))
}

fn error(text: &str) -> QueryError {
    parse(text, NOW_US).expect_err(text)
}

#[test]
fn terms_next_to_each_other_must_all_hold_and_or_binds_weaker() {
    assert_eq!(expr(""), Expr::All(vec![]));
    assert_eq!(expr("  "), Expr::All(vec![]));
    assert_eq!(expr("a b"), Expr::All(vec![text("a"), text("b")]));
    assert_eq!(expr("a b OR c"), Expr::Any(vec![Expr::All(vec![text("a"), text("b")]), text("c")]));
    assert_eq!(
        expr("a (b OR -c)"),
        Expr::All(vec![text("a"), Expr::Any(vec![text("b"), Expr::Not(Box::new(text("c")))])])
    );
    assert_eq!(expr("or"), text("or"), "only OR in capitals is a word of the language");
    assert_eq!(expr("\"OR\""), text("or"));
}

#[test]
fn text_is_folded_and_may_hold_what_sql_holds() {
    assert_eq!(expr("\"DROP  \n Table\""), text("drop table"));
    assert_eq!(expr("count(*)"), text("count(*)"));
    assert_eq!(expr("(count(*))"), text("count(*)"));
    assert_eq!(expr(r#""say \"hi\" \\ \n""#), text(r#"say "hi" \ \n"#));
    assert_eq!(expr("12:30"), text("12:30"));
    assert_eq!(expr("ÄRGER"), text("ärger"));
    assert_eq!(expr("a-b"), text("a-b"));
}

#[test]
fn the_example_of_every_field_is_a_query() {
    for field in FIELDS {
        let query = parse(field.example, NOW_US).unwrap_or_else(|e| panic!("{}: {e}", field.name));
        assert!(field.example.starts_with(&format!("{}:", field.name)));
        assert!(matches!(query.expr, Expr::Term(_)), "{}", field.name);
    }
}

#[test]
fn patterns_match_whole_or_by_their_beginning() {
    let Term::Actor(alice) = term("actor:Alice") else { panic!() };
    assert!(alice.matches("alice") && alice.matches("ALICE") && !alice.matches("alice2"));
    let Term::Kind(sql) = term("kind:sql.*") else { panic!() };
    assert!(sql.matches("sql.statement") && !sql.matches("session.start"));
    let Term::Actor(star) = term("actor:\"a*\"") else { panic!() };
    assert!(star.matches("a*") && !star.matches("ab"), "a quoted star is a star");
    let Term::Account(umlaut) = term("account:ÄR*") else { panic!() };
    assert!(umlaut.matches("ärger") && !umlaut.matches("arger"));
}

#[test]
fn times_are_ago_a_day_or_exact() {
    assert_eq!(term("since:1h"), Term::Since(NOW_US - HOUR_US));
    assert_eq!(term("since:1h30m"), Term::Since(NOW_US - HOUR_US * 3 / 2));
    assert_eq!(term("until:2026-11-02"), Term::Until(NOW_US - 12 * HOUR_US));
    assert_eq!(term("since:2026-11-02T12:00:00Z"), Term::Since(NOW_US));
    assert_eq!(term("since:2026-11-02T13:00:00.5+01:00"), Term::Since(NOW_US + 500_000));
    let query = parse("since:2h since:1h x until:1m", NOW_US).unwrap();
    assert_eq!(query.since_us(), Some(NOW_US - HOUR_US));
    assert_eq!(query.until_us(), Some(NOW_US - HOUR_US / 60));
    assert_eq!(parse("since:1h OR x", NOW_US).unwrap().since_us(), None);
}

#[test]
fn numbers_have_units_and_ranges() {
    let bounds = |min, max| Bounds { min, max };
    assert_eq!(term("rows:>100"), Term::Rows(bounds(101, u64::MAX)));
    assert_eq!(term("rows:5"), Term::Rows(bounds(5, 5)));
    assert_eq!(term("rows:10..20"), Term::Rows(bounds(10, 20)));
    assert_eq!(term("rows:<=1_000"), Term::Rows(bounds(0, 1_000)));
    assert_eq!(term("duration:>=1.5s"), Term::DurationUs(bounds(1_500_000, u64::MAX)));
    assert_eq!(term("duration:<250ms"), Term::DurationUs(bounds(0, 249_999)));
    assert_eq!(term("bytes:>1MiB"), Term::Bytes(bounds((1 << 20) + 1, u64::MAX)));
    assert_eq!(term("bytes:2kB..1g"), Term::Bytes(bounds(2_000, 1 << 30)));
}

#[test]
fn networks_hold_their_addresses() {
    let holds = |net: &str, address: &str| match term(&format!("source:{net}")) {
        Term::Source(net) => net.contains(address.parse().unwrap()),
        other => panic!("{other:?}"),
    };
    assert!(holds("10.0.0.0/8", "10.200.3.4") && !holds("10.0.0.0/8", "11.0.0.1"));
    assert!(holds("10.1.2.3", "::ffff:10.1.2.3"), "an address mapped into IPv6 is the same");
    assert!(holds("0.0.0.0/0", "192.0.2.1") && !holds("0.0.0.0/0", "2001:db8::1"));
    assert!(holds("2001:db8::/32", "2001:db8:1::2") && !holds("2001:db8::/32", "2001:db9::1"));
}

#[test]
fn errors_point_at_the_place_and_say_what_to_write() {
    for (query, column, message, hint) in [
        ("actr:alice", 1, "no field `actr`", "did you mean `actor:`?"),
        ("drop http://x", 6, "no field `http`", "quotes"),
        ("kind:sql.statment", 6, "sql.statment", "did you mean `kind:sql.statement`?"),
        ("a outcome:eror", 11, "eror", "did you mean `outcome:error`?"),
        ("outcome:weird", 9, "weird", "one of ok, error"),
        ("source:10.0.0.0/40", 8, "10.0.0.0/40", "10.0.0.0/8"),
        ("since:yesterday", 7, "yesterday", "since:1h"),
        ("rows:many", 6, "many", "rows:>100"),
        ("duration:5", 10, "`5`", "duration:>1s"),
        ("id:ev_1", 4, "ev_1", "id:ev_"),
        ("session:1234", 9, "not the id of a session", "se_"),
        ("actor:", 7, "needs a value", "actor:alice"),
        ("(a b", 1, "never closed", ""),
        ("a b)", 4, "closes nothing", "quotes"),
        ("a OR", 5, "ends where", ""),
        ("OR a", 1, "before this OR", "\"OR\""),
        ("a () b", 4, "missing", ""),
        ("ä \"b", 3, "never closed", "\\\""),
        ("a - b", 3, "negates nothing", "-outcome:ok"),
        ("\"\"", 1, "empty", ""),
    ] {
        let error = error(query);
        assert_eq!(error.column, column, "{query}: {error}");
        assert!(error.message.contains(message), "{query}: {error}");
        let given = error.hint.clone().unwrap_or_default();
        assert!(given.contains(hint), "{query}: {given}");
        assert_eq!(error.marked(query).lines().count(), 2);
    }
    assert_eq!(error("a outcome:eror").marked("a outcome:eror"), "a outcome:eror\n          ^^^^");
}

#[test]
fn a_query_is_bounded_in_length_terms_and_depth() {
    assert!(parse(&"x".repeat(TEXT_BYTES_MAX + 1), 0).is_err());
    assert!(parse(&"x ".repeat(TERMS_MAX + 1), 0).is_err());
    assert!(parse(&"(".repeat(4_000), 0).is_err());
    assert!(parse(&format!("{}x", "-".repeat(4_000)), 0).is_err());
    assert!(parse(&"x ".repeat(TERMS_MAX), 0).is_ok());
}

#[test]
fn results_are_asked_for_by_name_only() {
    for (text, wants) in [
        ("kind:sql.*", false),
        ("kind:sql.result", true),
        ("-kind:sql.result", true),
        ("kind:sql.statement outcome:error", false),
        ("id:ev_01h455vb4pex5vsknk084sn02q", true),
    ] {
        assert_eq!(parse(text, 0).unwrap().wants_results(), wants, "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_query_or_an_error_within_it(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn anything_like_a_query_is_one_or_an_error_within_it(
        parts in proptest::collection::vec(
            "(-|\\(|\\)|OR|\"|\\\\|[a-z]{1,9}:|actor:|kind:|rows:|since:|bytes:|duration:|source:|>|<=|\\.\\.|sql\\.\\*|[0-9.]{1,21}|[smhdk]|é| )",
            0..12,
        ),
    ) {
        check(&parts.concat())?;
    }

    #[test]
    fn a_quoted_text_is_found_as_it_is(text in "[^\\s\"\\\\]{1,30}") {
        let query = parse(&format!("\"{text}\""), NOW_US).unwrap();
        prop_assert_eq!(query.expr, Expr::Term(Term::Text(super::parse::folded(&text))));
    }
}

fn check(text: &str) -> Result<(), TestCaseError> {
    if let Err(error) = parse(text, NOW_US) {
        let letters = text.chars().count();
        prop_assert!((1..=letters + 1).contains(&error.column), "{:?}: {}", text, error);
        prop_assert!(error.column + error.width <= letters + 2, "{:?}: {:?}", text, error);
    }
    Ok(())
}
