//! Asks and their answers, the authorization matrix, and what must hold for any policies.

use crate::PolicySet;
use loggia_model::decision::{Action, Ask, Decision, Effect, Obligations};
use loggia_model::id::{ActorId, NodeId, PersonId, ResourceId, ServiceId};
use loggia_model::resource::{Depth, Resource, UpstreamTls};
use loggia_model::{Actor, Authn};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};

const MATRIX_POLICIES: &str = include_str!("../testdata/matrix.cedar");
const MATRIX: &str = include_str!("../testdata/authz-matrix.txt");
/// 2026-09-21 14:13:20 UTC, a Monday.
const NOW_US: i64 = 1_790_000_000_000_000;

fn person(name: &str, groups: &[&str]) -> Actor {
    Actor {
        id: ActorId::Person(PersonId::from_parts(1, [name.len() as u8; 10])),
        name: name.to_owned(),
        authn: Authn::ClientCertificate,
        credential: None,
        expires_us: None,
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        admin: false,
    }
}

fn service(name: &str) -> Actor {
    Actor { id: ActorId::Service(ServiceId::from_parts(1, [7; 10])), ..person(name, &[]) }
}

fn admin() -> Actor {
    Actor { admin: true, ..person("root", &[]) }
}

fn resource(name: &str, labels: &[(&str, &str)]) -> Resource {
    Resource {
        id: ResourceId::from_parts(1, [3; 10]),
        name: name.to_owned(),
        protocol: "postgres".to_owned(),
        host: "db.internal".to_owned(),
        port: 5432,
        tls: UpstreamTls::VerifyFull,
        ca_file: None,
        host_keys: Vec::new(),
        accounts: Vec::new(),
        database: None,
        depth: Depth::Disk,
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    }
}

fn ask<'a>(actor: &'a Actor, action: Action, resource: &'a Resource) -> Ask<'a> {
    Ask {
        actor,
        action,
        resource: action.on_resource().then_some(resource),
        account: Some("readonly"),
        database: Some("shop"),
        source_ip: IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)),
        time_us: NOW_US,
    }
}

fn compile(text: &str) -> PolicySet {
    PolicySet::compile(&[("test.cedar", text)]).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The answer of one policy text for alice (group `staff`) who wants to connect to `shop`.
fn decide(text: &str) -> Decision {
    let alice = person("alice", &["staff"]);
    compile(text).decide(&ask(&alice, Action::Connect, &resource("shop", &[("env", "prod")])))
}

const CONNECT: &str = "action == Loggia::Action::\"connect\"";

#[test]
fn conditions_see_actor_resource_and_circumstances() {
    for (condition, expected) in [
        ("principal.name == \"alice\"", Effect::Allow),
        ("principal.name == \"bob\"", Effect::Deny),
        ("principal.type == \"human\"", Effect::Allow),
        ("principal.admin", Effect::Deny),
        ("principal in Loggia::Group::\"staff\"", Effect::Allow),
        ("principal in Loggia::Group::\"board\"", Effect::Deny),
        ("resource == Loggia::Resource::\"shop\"", Effect::Allow),
        ("resource.name == \"shop\" && resource.protocol == \"postgres\"", Effect::Allow),
        ("resource.labels.contains(\"env=prod\")", Effect::Allow),
        ("resource.labels.contains(\"env=test\")", Effect::Deny),
        ("context.source_ip.isInRange(ip(\"10.0.0.0/8\"))", Effect::Allow),
        ("context.source_ip.isLoopback()", Effect::Deny),
        ("context.authn == \"client_certificate\"", Effect::Allow),
        ("context has account && context.account == \"readonly\"", Effect::Allow),
        ("context has database && context.database == \"other\"", Effect::Deny),
        ("context.time < datetime(\"2026-09-21T14:13:20.001Z\")", Effect::Allow),
        ("context.time < datetime(\"2026-09-21T14:13:20Z\")", Effect::Deny),
        ("context.time.toTime() > duration(\"8h\")", Effect::Allow),
    ] {
        let decision = decide(&format!(
            "@id(\"it\") permit(principal, {CONNECT}, resource) when {{ {condition} }};"
        ));
        assert_eq!(decision.effect, expected, "{condition}: {decision:?}");
        assert_eq!(decision.errors, [], "{condition}");
        let named: &[&str] = if expected == Effect::Allow { &["it"] } else { &[] };
        assert_eq!(decision.policies, named, "{condition}");
    }
}

#[test]
fn a_mapped_ipv4_address_is_judged_as_ipv4() {
    let set = compile(&format!(
        "permit(principal, {CONNECT}, resource) when {{ context.source_ip.isInRange(ip(\"10.0.0.0/8\")) }};"
    ));
    let (alice, shop) = (person("alice", &[]), resource("shop", &[]));
    let mut mapped = ask(&alice, Action::Connect, &shop);
    mapped.source_ip = IpAddr::V6(Ipv4Addr::new(10, 1, 2, 3).to_ipv6_mapped());
    assert_eq!(set.decide(&mapped).effect, Effect::Allow);
}

#[test]
fn any_evaluation_error_is_a_deny_that_names_the_policy() {
    let decision = decide(&format!(
        "permit(principal, {CONNECT}, resource);\n\
         @id(\"overflows\") permit(principal, {CONNECT}, resource) when {{ 9223372036854775807 + 1 == 0 }};"
    ));
    assert_eq!(decision.effect, Effect::Deny);
    assert_eq!(decision.errors.len(), 1);
    assert_eq!(decision.errors[0].0, "overflows");
    assert_eq!(decision.policies, [""; 0]);
    assert_eq!(decision.obligations, Obligations::default());
}

#[test]
fn a_forbid_wins_and_is_named() {
    let decision = decide(&format!(
        "permit(principal, {CONNECT}, resource);\n@id(\"no\") forbid(principal, {CONNECT}, resource);"
    ));
    assert_eq!((decision.effect, decision.policies), (Effect::Deny, vec!["no".to_owned()]));
}

#[test]
fn obligations_of_all_satisfied_permits_add_up_and_the_strictest_wins() {
    let decision = decide(&format!(
        "@depth(\"kernel\") @idle(\"15m\") @recorded(\"1GiB\") permit(principal, {CONNECT}, resource);\n\
         @depth(\"disk\") @idle(\"1h\") @session(\"8h\") permit(principal, {CONNECT}, resource);\n\
         @idle(\"1s\") permit(principal, {CONNECT}, resource) when {{ principal.admin }};"
    ));
    let expected = Obligations {
        depth: Some(Depth::Disk),
        idle_s_max: Some(900),
        session_s_max: Some(28_800),
        recorded_bytes_max: Some(1 << 30),
    };
    assert_eq!((decision.effect, decision.obligations), (Effect::Allow, expected));
    assert_eq!(decision.policies, ["test.cedar#1", "test.cedar#2"]);
}

#[test]
fn how_long_an_answer_may_be_kept_depends_on_whether_the_time_is_read() {
    let timeless = decide(&format!("permit(principal, {CONNECT}, resource);"));
    assert_eq!(timeless.reuse_us_max, i64::MAX);
    let timed = decide(&format!(
        "permit(principal, {CONNECT}, resource);\n\
         forbid(principal, action, resource) when {{ context.time > datetime(\"2030-01-01\") }};"
    ));
    assert_eq!(timed.reuse_us_max, 1_000_000);
}

#[test]
fn the_node_itself_a_missing_resource_and_an_empty_set_are_denied() {
    let shop = resource("shop", &[]);
    let everything = compile("permit(principal, action, resource);");
    let node = Actor { id: ActorId::Node(NodeId::from_parts(1, [1; 10])), ..admin() };
    let root = admin();
    let nowhere = Ask { resource: None, ..ask(&root, Action::Connect, &shop) };
    assert_eq!(everything.decide(&ask(&root, Action::Connect, &shop)).effect, Effect::Allow);
    assert_eq!(everything.decide(&ask(&node, Action::EventsRead, &shop)).effect, Effect::Deny);
    let decision = everything.decide(&nowhere);
    assert_eq!(decision.effect, Effect::Deny);
    assert_eq!(decision.errors, [("connect".to_owned(), "no resource is named".to_owned())]);
    for (action, _, _) in Action::ALL {
        assert_eq!(PolicySet::empty().decide(&ask(&root, *action, &shop)).effect, Effect::Deny);
    }
}

/// What compiling the text says, one error a line.
fn errors(text: &str) -> String {
    match PolicySet::compile(&[("a.cedar", text)]) {
        Ok(_) => panic!("this compiles: {text}"),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn errors_name_file_line_column_and_what_was_meant() {
    for (text, parts) in [
        (
            "permit(principal, action, resource);\npermit(principal, action resource);",
            vec!["a.cedar:2:"],
        ),
        (
            "permit(principal, action == Loggia::Action::\"conect\", resource);",
            vec!["a.cedar:1:", "conect", "Loggia::Action::\"connect\""],
        ),
        (
            "// one\n\npermit(principal, action == Loggia::Action::\"connect\", resource)\nwhen { resource.lables.contains(\"a\") };",
            vec!["a.cedar:4:8:", "lables", "labels"],
        ),
        (
            "permit(principal is Loggia::Persn, action, resource);",
            vec!["a.cedar:1:", "Loggia::Person"],
        ),
        (
            "permit(principal, action, resource == Loggia::System::\"logia\");",
            vec!["a.cedar:1:", "logia"],
        ),
        (
            "\n  @idel(\"15m\")\npermit(principal, action, resource);",
            vec!["a.cedar:2:3:", "did you mean `@idle`"],
        ),
        (
            "@id(\"x\")\n@idle(\"15\")\npermit(principal, action, resource);",
            vec!["a.cedar:2:1:", "`15` is not a duration"],
        ),
        (
            "@depth(\"memory\") permit(principal, action, resource);",
            vec!["a.cedar:1:1:", "@depth(\"disk\")"],
        ),
        ("@recorded permit(principal, action, resource);", vec!["a.cedar:1:1:", "is not a size"]),
        (
            "@idle(\"15m\") forbid(principal, action, resource);",
            vec!["a.cedar:1:1:", "stands on a forbid"],
        ),
        (
            "@id(\"x\") permit(principal, action, resource);\n@id(\"x\") forbid(principal, action, resource);",
            vec!["a.cedar:2:1:", "two policies are named `x`"],
        ),
        ("@id(\"builtin.mine\") permit(principal, action, resource);", vec!["compiled in"]),
        ("@id(\"two words\") permit(principal, action, resource);", vec!["cannot name a policy"]),
        ("\npermit(principal == ?principal, action, resource);", vec!["a.cedar:2:1:", "template"]),
        (
            "permit(principal, action, resource) when { context.account == \"x\" };",
            vec!["a.cedar:1:", "account", "has"],
        ),
    ] {
        let said = errors(text);
        for part in parts {
            assert!(said.contains(part), "`{part}` is missing in: {said}\nfor: {text}");
        }
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once_and_names_must_differ() {
    let said = errors(
        "@idel(\"1m\") permit(principal, action, resource);\n@depth(\"x\") permit(principal, action, resource);",
    );
    assert_eq!(said.lines().count(), 2, "{said}");
    let twice = PolicySet::compile(&[("a.cedar", ""), ("a.cedar", "")]).unwrap_err();
    assert!(twice.to_string().contains("two files have this name"));
    let large = " ".repeat(crate::TEXT_BYTES_MAX + 1);
    assert!(PolicySet::compile(&[("a.cedar", large)]).is_err());
}

#[test]
fn the_hash_is_of_names_and_texts_whatever_their_order() {
    let hash = |files: &[(&str, &str)]| PolicySet::compile(files).unwrap().hash().to_owned();
    let (a, b) = (("a.cedar", "// a"), ("b.cedar", "// b"));
    assert_eq!(hash(&[a, b]), hash(&[b, a]));
    assert_eq!(hash(&[a]).len(), 64);
    assert_ne!(hash(&[a]), hash(&[a, b]));
    assert_ne!(hash(&[]), PolicySet::empty().hash());
}

#[test]
fn a_condition_that_is_never_true_is_a_warning() {
    let set = compile(
        "permit(principal, action, resource) when { principal is Loggia::Person && principal is Loggia::Service };",
    );
    assert_eq!(set.warnings().len(), 1, "{:?}", set.warnings());
    assert_eq!(set.warnings()[0].line, 1);
}

/// The matrix as text: a row for each action (for actions on a resource: and resource), a column
/// for each role.
fn matrix() -> String {
    let set = PolicySet::compile(&[("matrix.cedar", MATRIX_POLICIES)]).unwrap();
    let roles = [
        ("administrator", admin()),
        ("operator", person("olga", &["operators"])),
        ("developer", person("dora", &["developers"])),
        ("auditor", person("adam", &["auditors"])),
        ("nobody", person("nick", &[])),
        ("enrolling", Actor { authn: Authn::Enrolment, ..person("olga", &["operators"]) }),
        ("billing", service("billing")),
        ("replica", service("replica")),
    ];
    let resources =
        [resource("shop-prod", &[("env", "prod")]), resource("shop-test", &[("env", "test")])];
    let mut out = format!("{:<22}", "action");
    for (role, _) in &roles {
        out.push_str(&format!(" {role:<13}"));
    }
    for (action, name, _) in Action::ALL {
        let on: &[Resource] = if action.on_resource() { &resources } else { &resources[..1] };
        for target in on {
            let row = if action.on_resource() {
                format!("{name} {}", target.name)
            } else {
                (*name).to_owned()
            };
            out = format!("{}\n{row:<22}", out.trim_end());
            for (_, actor) in &roles {
                out.push_str(&format!(
                    " {:<13}",
                    match set.decide(&ask(actor, *action, target)).effect {
                        Effect::Allow => "allow",
                        Effect::Deny => "-",
                    }
                ));
            }
        }
    }
    format!("{}\n", out.trim_end())
}

#[test]
fn the_authorization_matrix_is_as_reviewed() {
    let actual = matrix();
    let differs: Vec<String> = MATRIX
        .lines()
        .zip(actual.lines())
        .filter(|(reviewed, now)| reviewed != now)
        .map(|(reviewed, now)| format!("- {reviewed}\n+ {now}"))
        .collect();
    assert!(
        MATRIX == actual,
        "testdata/authz-matrix.txt differs:\n{}\n\nthe whole of it now:\n{actual}",
        differs.join("\n")
    );
}

/// One policy, allowing or forbidding, with a scope and a condition from small lists.
fn policy(effect: &'static str) -> impl Strategy<Value = String> {
    let principal = prop::sample::select(vec![
        "principal",
        "principal is Loggia::Person",
        "principal in Loggia::Group::\"a\"",
        "principal is Loggia::Service",
    ]);
    let action = prop::sample::select(vec![
        "action",
        "action == Loggia::Action::\"connect\"",
        "action in [Loggia::Action::\"events.read\", Loggia::Action::\"config.apply\"]",
    ]);
    let condition = prop::sample::select(vec![
        "true",
        "principal.admin",
        "principal.name == \"alice\"",
        "context.authn == \"token\"",
        "context has account && context.account == \"app\"",
        "context.time > datetime(\"2000-01-01\")",
        "principal.name like \"*a*\"",
        "9223372036854775807 + (if principal.admin then 1 else 0) > 0",
    ]);
    (principal, action, condition).prop_map(move |(principal, action, condition)| {
        format!("{effect}({principal}, {action}, resource) when {{ {condition} }};\n")
    })
}

fn anyone() -> impl Strategy<Value = Actor> {
    let authn = prop::sample::select(vec![Authn::Token, Authn::ClientCertificate, Authn::Local]);
    let group = prop::sample::select(vec!["a", "b", ""]);
    let name = prop_oneof![Just("alice".to_owned()), ".{0,12}"];
    (name, any::<bool>(), any::<bool>(), group, authn).prop_map(
        |(name, admin, human, group, authn)| {
            let base = if human { person(&name, &[group]) } else { service(&name) };
            Actor { admin, authn, groups: vec![group.to_owned()], ..base }
        },
    )
}

fn any_action() -> impl Strategy<Value = Action> {
    let all: Vec<Action> = Action::ALL.iter().map(|(action, _, _)| *action).collect();
    prop::sample::select(all)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn compiling_any_text_never_panics(text in "\\PC{0,80}", tail in "[a-z@(){};\"=&|,:. \n]{0,80}") {
        let _ = PolicySet::compile(&[("a.cedar", format!("{text}\npermit(principal, action, resource){tail};"))]);
    }

    #[test]
    fn a_forbid_wins_and_adding_one_never_allows(
        permits in prop::collection::vec(policy("permit"), 0..4),
        forbids in prop::collection::vec(policy("forbid"), 0..3),
        one_more in policy("forbid"),
        actor in anyone(),
        action in any_action(),
        account in prop::option::of(".{0,8}"),
        time_us: i64,
    ) {
        let shop = resource("shop", &[("env", "prod")]);
        let question = Ask { account: account.as_deref(), time_us, ..ask(&actor, action, &shop) };
        let before = compile(&format!("{}{}", permits.concat(), forbids.concat()));
        let after = compile(&format!("{}{}{one_more}", permits.concat(), forbids.concat()));
        let (was, is) = (before.decide(&question), after.decide(&question));
        prop_assert!(!(was.effect == Effect::Deny && is.effect == Effect::Allow), "{was:?} {is:?}");
        let forbidden = compile(&format!("{}forbid(principal, action, resource);", permits.concat()));
        prop_assert_eq!(forbidden.decide(&question).effect, Effect::Deny);
        prop_assert_eq!(PolicySet::empty().decide(&question).effect, Effect::Deny);
        for decision in [was, is] {
            prop_assert!(decision.errors.is_empty() || decision.effect == Effect::Deny);
        }
    }
}
