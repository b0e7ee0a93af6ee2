//! Prints how long one decision takes beside twenty policies, in microseconds. The goal is below
//! 50 in an optimised build: `cargo run --profile demo -p loggia-policy --example decide`.

use loggia_model::decision::{Action, Ask};
use loggia_model::id::{ActorId, PersonId, ResourceId};
use loggia_model::resource::{Depth, Resource, UpstreamTls};
use loggia_model::{Actor, Authn};
use loggia_policy::{PolicyErrors, PolicySet};

const ROUNDS: u32 = 10_000;

#[expect(clippy::disallowed_methods, reason = "this program measures time")]
fn main() -> Result<(), PolicyErrors> {
    let mut text = String::new();
    for number in 0..20 {
        text.push_str(&format!(
            "permit(principal in Loggia::Group::\"g{number}\", action == \
             Loggia::Action::\"connect\", resource) when {{ \
             resource.labels.contains(\"team={number}\") && \
             context.source_ip.isInRange(ip(\"10.0.0.0/8\")) }};\n"
        ));
    }
    let set = PolicySet::compile(&[("twenty.cedar", text)])?;
    let actor = Actor {
        id: ActorId::Person(PersonId::from_parts(1, [2; 10])),
        name: "alice".to_owned(),
        authn: Authn::Token,
        credential: None,
        expires_us: None,
        groups: (0..5).map(|number| format!("g{number}")).collect(),
        admin: false,
    };
    let resource = Resource {
        id: ResourceId::from_parts(1, [3; 10]),
        name: "shop".to_owned(),
        protocol: "postgres".to_owned(),
        host: "db.internal".to_owned(),
        port: 5432,
        tls: UpstreamTls::VerifyFull,
        ca_file: None,
        host_keys: Vec::new(),
        accounts: Vec::new(),
        database: None,
        depth: Depth::Disk,
        labels: vec![("team".to_owned(), "3".to_owned()), ("env".to_owned(), "prod".to_owned())],
    };
    let ask = Ask {
        actor: &actor,
        action: Action::Connect,
        resource: Some(&resource),
        account: Some("app"),
        database: Some("shop"),
        source_ip: [10, 1, 2, 3].into(),
        time_us: 0,
    };
    let begin = std::time::Instant::now();
    for _ in 0..ROUNDS {
        std::hint::black_box(set.decide(std::hint::black_box(&ask)));
    }
    println!("{:.1} µs for each decision", begin.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
    Ok(())
}
