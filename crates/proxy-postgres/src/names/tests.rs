use super::*;

fn event(number: u8) -> EventId {
    EventId::from_parts(u64::from(number), [number; 10])
}

fn known(found: Found<Prepared>) -> Option<EventId> {
    match found {
        Found::Known(prepared) => Some(prepared.event),
        Found::Unresolved => None,
        Found::Wait => panic!("must wait"),
    }
}

/// A session in which `S` was prepared and confirmed.
fn with_s() -> Names {
    let mut names = Names::default();
    prepare(&mut names, b"S", 1);
    names
}

fn prepare(names: &mut Names, name: &[u8], number: u8) {
    let ticket = names.parse(name, b"select 1", event(number));
    names.sync();
    names.settle_statement(&ticket, true);
}

#[test]
fn a_parse_that_fails_as_duplicate_keeps_the_old_text() {
    let mut names = with_s();
    let ticket = names.parse(b"S", b"drop table t", event(2));
    assert_eq!(known(names.statement(b"S")), Some(event(2)), "tentative in its own group");
    names.sync();
    assert_eq!(names.statement(b"S"), Found::Wait, "unanswered in an earlier group");
    names.settle_statement(&ticket, false);
    assert_eq!(known(names.statement(b"S")), Some(event(1)));
}

#[test]
fn a_name_is_used_anew_after_close() {
    let mut names = with_s();
    let close = names.close_statement(b"S");
    assert_eq!(known(names.statement(b"S")), None, "closed in this group");
    let parse = names.parse(b"S", b"select 2", event(2));
    assert_eq!(known(names.statement(b"S")), Some(event(2)));
    names.sync();
    names.settle_statement(&close, true);
    assert_eq!(names.statement(b"S"), Found::Wait);
    names.settle_statement(&parse, true);
    assert_eq!(known(names.statement(b"S")), Some(event(2)));
}

#[test]
fn a_close_that_is_skipped_leaves_the_name() {
    let mut names = with_s();
    let close = names.close_statement(b"S");
    names.sync();
    names.settle_statement(&close, false);
    assert_eq!(known(names.statement(b"S")), Some(event(1)));
}

#[test]
fn of_several_groups_on_their_way_each_is_settled_by_itself() {
    let mut names = Names::default();
    let first = names.parse(b"S", b"select 1", event(1));
    names.sync();
    let second = names.parse(b"S", b"select 2", event(2));
    names.sync();
    names.settle_statement(&first, true);
    assert_eq!(names.statement(b"S"), Found::Wait);
    names.settle_statement(&second, false);
    assert_eq!(known(names.statement(b"S")), Some(event(1)));
}

#[test]
fn names_that_nobody_parsed_are_unresolved() {
    let names = Names::default();
    assert_eq!(names.statement(b"made_by_sql"), Found::Unresolved);
    assert_eq!(names.portal(b"cursor"), Found::Unresolved);
}

#[test]
fn prepare_in_sql_takes_the_meaning_of_its_name_alone() {
    let mut names = with_s();
    prepare(&mut names, b"s2", 2);
    names.query(b"prepare s2 as delete from t");
    assert_eq!(known(names.statement(b"s2")), None);
    assert_eq!(known(names.statement(b"S")), Some(event(1)), "names are case sensitive");
    names.query(b"PREPARE \"S\" as delete from t");
    assert_eq!(known(names.statement(b"S")), None);
}

#[test]
fn deallocating_and_preparing_under_the_same_name_is_not_mistaken_for_the_old_text() {
    let mut names = with_s();
    names.query(b"deallocate all; prepare \"S\" as delete from t");
    assert_eq!(known(names.statement(b"S")), None);
    prepare(&mut names, b"S", 3);
    assert_eq!(known(names.statement(b"S")), Some(event(3)), "a new Parse gives it meaning again");
}

#[test]
fn code_that_is_not_there_to_be_read_takes_the_meaning_of_every_name() {
    for text in [&b"call p()"[..], b"do $$ begin perform f(); end $$", b"discard all; do 'x'"] {
        let mut names = with_s();
        names.query(text);
        assert_eq!(known(names.statement(b"S")), None);
    }
    let mut names = with_s();
    names.call();
    assert_eq!(known(names.statement(b"S")), None);
}

#[test]
fn a_prepare_that_was_parsed_takes_meaning_each_time_its_portal_runs() {
    let mut names = with_s();
    let evil = names.parse(b"E", b"prepare \"S\" as delete from t", event(2));
    names.settle_statement(&evil, true);
    let bind = names.bind(b"p", names.statement(b"E"), 1);
    names.settle_portal(&bind, true);
    assert_eq!(known(names.statement(b"S")), None, "the Bind may run it already");
    // Freed unseen and parsed again; then the portal runs and makes the name by SQL.
    prepare(&mut names, b"S", 3);
    assert_eq!(known(names.statement(b"S")), Some(event(3)));
    names.execute(names.portal(b"p"));
    assert_eq!(known(names.statement(b"S")), None);
}

#[test]
fn a_parse_on_its_way_while_sql_may_make_its_name_stays_unresolved() {
    let mut names = Names::default();
    let parse = names.parse(b"S", b"select 1", event(1));
    names.query(b"deallocate \"S\"; prepare \"S\" as delete from t");
    names.settle_statement(&parse, true);
    assert_eq!(known(names.statement(b"S")), None);
}

#[test]
fn names_that_the_server_takes_for_the_same_are_not_told_apart_by_us() {
    let cut = [b'a'; 63];
    let mut long = cut.to_vec();
    long.push(b'x');
    let mut names = Names::default();
    prepare(&mut names, &cut, 1);
    assert_eq!(known(names.statement(&cut)), Some(event(1)));
    // The server cuts the long name, so closing and parsing it replaces the short one.
    let close = names.close_statement(&long);
    assert_eq!(known(names.statement(&cut)), None, "in the same group already");
    names.settle_statement(&close, true);
    prepare(&mut names, &cut, 4);
    assert_eq!(known(names.statement(&cut)), Some(event(4)));
    prepare(&mut names, &long, 2);
    assert_eq!(known(names.statement(&long)), None);
    assert_eq!(known(names.statement(&cut)), None);
    // One character can have two forms in the client's encoding.
    prepare(&mut names, "é".as_bytes(), 3);
    assert_eq!(known(names.statement("é".as_bytes())), None);
}

#[test]
fn the_unnamed_statement_ends_with_a_query_and_sql_cannot_make_it() {
    let mut names = Names::default();
    prepare(&mut names, b"", 1);
    names.call();
    assert_eq!(known(names.statement(b"")), Some(event(1)));
    names.query(b"select 1");
    assert_eq!(known(names.statement(b"")), None);
}

#[test]
fn portals_end_when_replaced_closed_or_with_the_transaction() {
    let mut names = with_s();
    let bind = |names: &mut Names, portal: &[u8], number| {
        let ticket = names.bind(portal, names.statement(b"S"), number);
        names.settle_portal(&ticket, true);
    };
    bind(&mut names, b"", 1);
    bind(&mut names, b"", 2);
    assert_eq!(names.take_ended(), [1], "replaced");
    bind(&mut names, b"p", 3);
    let close = names.close_portal(b"p");
    names.settle_portal(&close, true);
    assert_eq!(names.take_ended(), [3], "closed");
    bind(&mut names, b"q", 4);
    let on_its_way = names.bind(b"r", names.statement(b"S"), 5);
    names.transaction_ended();
    let mut ended = names.take_ended();
    ended.sort_unstable();
    assert_eq!(ended, [2, 4]);
    assert_eq!(names.portal(b"q"), Found::Unresolved);
    names.settle_portal(&on_its_way, true);
    assert!(matches!(names.portal(b"r"), Found::Known(Portal { bind: 5, .. })));
}

#[test]
fn a_portal_that_fails_to_be_made_keeps_the_old_one() {
    let mut names = with_s();
    let first = names.bind(b"p", names.statement(b"S"), 1);
    names.settle_portal(&first, true);
    let second = names.bind(b"p", names.statement(b"S"), 2);
    names.sync();
    assert_eq!(names.portal(b"p"), Found::Wait);
    names.settle_portal(&second, false);
    assert!(matches!(names.portal(b"p"), Found::Known(Portal { bind: 1, .. })));
    assert!(names.take_ended().is_empty());
}

#[test]
fn a_cursor_of_the_same_name_is_not_mistaken_for_the_portal() {
    let mut names = with_s();
    let bind = names.bind(b"p", names.statement(b"S"), 1);
    names.settle_portal(&bind, true);
    names.query(b"close p; declare p cursor for select secret from vault");
    assert_eq!(names.portal(b"p"), Found::Unresolved);
    assert_eq!(names.take_ended(), [1]);
    assert_eq!(known(names.statement(b"S")), Some(event(1)), "cursors make no statements");
}

#[test]
fn names_are_followed_up_to_a_bound() {
    let mut names = Names::default();
    for number in 0..NAMES_MAX {
        let name = format!("s{number}");
        let ticket = names.parse(name.as_bytes(), b"", event(1));
        names.settle_statement(&ticket, true);
    }
    prepare(&mut names, b"one_more", 2);
    assert_eq!(known(names.statement(b"one_more")), None);
    assert_eq!(known(names.statement(b"s7")), Some(event(1)));
}

#[test]
fn where_the_session_made_a_function_no_name_outlives_the_next_statement() {
    let mut names = Names::default();
    names.query(b"create function pg_temp.f(a text) returns void as $$ x $$ language plpgsql");
    prepare(&mut names, b"S", 1);
    assert_eq!(known(names.statement(b"S")), Some(event(1)), "nothing ran since");
    names.query(b"select pg_temp.f(chr(100))");
    assert_eq!(known(names.statement(b"S")), None);
    prepare(&mut names, b"S", 2);
    let bind = names.bind(b"p", names.statement(b"S"), 7);
    names.settle_portal(&bind, true);
    assert!(matches!(names.portal(b"p"), Found::Known(Portal { bind: 7, .. })));
    names.execute(Found::Unresolved);
    assert_eq!(names.portal(b"p"), Found::Unresolved, "a cursor may have taken its name");
    assert_eq!(known(names.statement(b"S")), None);
}
