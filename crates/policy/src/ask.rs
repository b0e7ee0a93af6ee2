//! From a question to Cedar's request and entities, and from Cedar's answer to a decision.

use crate::compile::PolicySet;
use cedar_policy::{
    Authorizer, Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicyId, Request,
    RestrictedExpression,
};
use loggia_model::ActorType;
use loggia_model::decision::{Action, Ask, Decision, Effect, Obligations};
use loggia_model::resource::Resource;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use time::OffsetDateTime;

/// How long an answer may be used again where the policies read the time, in microseconds.
const REUSE_WITH_TIME_US: i64 = 1_000_000;

/// Names that every question needs, parsed once.
struct Names {
    person: EntityTypeName,
    service: EntityTypeName,
    pipeline: EntityTypeName,
    third_party: EntityTypeName,
    agent: EntityTypeName,
    group: EntityTypeName,
    resource: EntityTypeName,
    system: EntityUid,
    actions: Vec<(Action, EntityUid)>,
}

static NAMES: LazyLock<Option<Names>> = LazyLock::new(|| {
    let name = |text: &str| text.parse::<EntityTypeName>().ok();
    let action = name("Loggia::Action")?;
    let actions = Action::ALL.iter().map(|(it, code, _)| (*it, uid(&action, code))).collect();
    Some(Names {
        person: name("Loggia::Person")?,
        service: name("Loggia::Service")?,
        pipeline: name("Loggia::Pipeline")?,
        third_party: name("Loggia::ThirdParty")?,
        agent: name("Loggia::Agent")?,
        group: name("Loggia::Group")?,
        resource: name("Loggia::Resource")?,
        system: uid(&name("Loggia::System")?, "loggia"),
        actions,
    })
});

impl Names {
    /// The entity type of an actor. The node itself has none: it is not subject to policies and
    /// no policy can allow it anything.
    fn principal(&self, actor: ActorType) -> Option<&EntityTypeName> {
        match actor {
            ActorType::Human => Some(&self.person),
            ActorType::Service => Some(&self.service),
            ActorType::Pipeline => Some(&self.pipeline),
            ActorType::ThirdParty => Some(&self.third_party),
            ActorType::Agent => Some(&self.agent),
            ActorType::System => None,
        }
    }

    fn action(&self, wanted: Action) -> Option<&EntityUid> {
        self.actions.iter().find(|(action, _)| *action == wanted).map(|(_, uid)| uid)
    }
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

impl PolicySet {
    /// The answer to a question: allow where a permit is satisfied, no forbid is, and every policy
    /// could be evaluated; otherwise deny. Never panics, never blocks.
    pub fn decide(&self, ask: &Ask<'_>) -> Decision {
        let mut decision = Decision {
            effect: Effect::Deny,
            policies: Vec::new(),
            policy_set: self.hash.clone(),
            obligations: Obligations::default(),
            errors: Vec::new(),
            reuse_us_max: if self.reads_time { REUSE_WITH_TIME_US } else { i64::MAX },
        };
        if self.set.is_empty() || ask.actor.actor_type() == ActorType::System {
            return decision;
        }
        let (request, entities) = match self.question(ask) {
            Ok(question) => question,
            Err(message) => {
                // No policy was asked, so the error stands under the action's name.
                decision.errors.push((ask.action.as_str().to_owned(), message));
                return decision;
            }
        };
        let answer = Authorizer::new().is_authorized(&request, &self.set, &entities);
        for error in answer.diagnostics().errors() {
            let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
            let id: &PolicyId = error.policy_id();
            decision.errors.push((id.to_string(), error.inner().to_string()));
        }
        decision.errors.sort();
        let allowed = answer.decision() == cedar_policy::Decision::Allow;
        if allowed && !decision.errors.is_empty() {
            // Cedar passes over what it cannot evaluate; here the error decides, and it is named.
            return decision;
        }
        let decided: Vec<&PolicyId> = answer.diagnostics().reason().collect();
        decision.policies = decided.iter().map(ToString::to_string).collect();
        decision.policies.sort();
        if allowed {
            decision.effect = Effect::Allow;
            decision.obligations = decided
                .iter()
                .filter_map(|id| self.obligations.get(*id))
                .fold(Obligations::default(), |all, one| all.and(*one));
        }
        decision
    }

    fn question(&self, ask: &Ask<'_>) -> Result<(Request, Entities), String> {
        let names = NAMES.as_ref().ok_or("the names of entities cannot be read")?;
        let principal = principal(names, ask)?;
        let principal_uid = principal.uid();
        let mut entities = vec![principal];
        let resource_uid = if ask.action.on_resource() {
            let resource = ask.resource.ok_or("no resource is named")?;
            let entity = resource_entity(names, resource)?;
            let uid = entity.uid();
            entities.push(entity);
            uid
        } else {
            names.system.clone()
        };
        let action = names.action(ask.action).ok_or("the action has no name")?.clone();
        // Entities and request are built to the schema by this file (a test holds both against
        // it), so they are not checked against it on every question.
        let request = Request::new(principal_uid, action, resource_uid, self.context(ask)?, None)
            .map_err(|error| error.to_string())?;
        let entities =
            Entities::from_entities(entities, None).map_err(|error| error.to_string())?;
        Ok((request, entities))
    }

    fn context(&self, ask: &Ask<'_>) -> Result<Context, String> {
        let ip = ask.source_ip.to_canonical().to_string();
        let mut pairs = vec![
            ("source_ip".to_owned(), RestrictedExpression::new_ip(ip)),
            ("authn".to_owned(), text(ask.actor.authn.as_str())),
        ];
        if self.reads_time {
            pairs.push(("time".to_owned(), RestrictedExpression::new_datetime(utc(ask.time_us)?)));
        }
        if let Some(account) = ask.account {
            pairs.push(("account".to_owned(), text(account)));
        }
        if let Some(database) = ask.database {
            pairs.push(("database".to_owned(), text(database)));
        }
        Context::from_pairs(pairs).map_err(|error| error.to_string())
    }
}

fn principal(names: &Names, ask: &Ask<'_>) -> Result<Entity, String> {
    let actor = ask.actor;
    let kind = names.principal(actor.actor_type()).ok_or("the node is not subject to policies")?;
    let attributes = HashMap::from([
        ("name".to_owned(), text(&actor.name)),
        ("admin".to_owned(), RestrictedExpression::new_bool(actor.admin)),
        ("type".to_owned(), text(actor.actor_type().as_str())),
    ]);
    let groups: HashSet<EntityUid> =
        actor.groups.iter().map(|group| uid(&names.group, group)).collect();
    Entity::new(uid(kind, &actor.id.to_string()), attributes, groups)
        .map_err(|error| error.to_string())
}

fn resource_entity(names: &Names, resource: &Resource) -> Result<Entity, String> {
    let labels = resource.labels.iter().map(|(key, value)| text(&format!("{key}={value}")));
    let attributes = HashMap::from([
        ("name".to_owned(), text(&resource.name)),
        ("protocol".to_owned(), text(&resource.protocol)),
        ("labels".to_owned(), RestrictedExpression::new_set(labels)),
    ]);
    Entity::new(uid(&names.resource, &resource.name), attributes, HashSet::new())
        .map_err(|error| error.to_string())
}

/// The time as Cedar's `datetime` reads it: UTC, to the millisecond.
fn utc(time_us: i64) -> Result<String, String> {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time_us) * 1000)
        .map_err(|error| error.to_string())?;
    Ok(format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.millisecond()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_for_cedar() {
        assert_eq!(utc(0).unwrap(), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(1_790_000_000_123_456).unwrap(), "2026-09-21T14:13:20.123Z");
        assert_eq!(utc(-1).unwrap(), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn questions_are_as_the_schema_says() {
        use loggia_model::id::{ActorId, PersonId, ResourceId};
        let set = PolicySet::compile(&[(
            "a.cedar",
            "permit(principal, action, resource) when { context.time > datetime(\"2000-01-01\") };",
        )])
        .unwrap();
        let actor = loggia_model::Actor {
            id: ActorId::Person(PersonId::from_parts(1, [2; 10])),
            name: "alice".into(),
            authn: loggia_model::Authn::Token,
            credential: None,
            expires_us: None,
            groups: vec!["a".into(), "b".into()],
            admin: false,
        };
        let resource = Resource {
            id: ResourceId::from_parts(1, [3; 10]),
            name: "shop".into(),
            protocol: "postgres".into(),
            host: "h".into(),
            port: 1,
            tls: loggia_model::resource::UpstreamTls::VerifyFull,
            ca_file: None,
            host_keys: Vec::new(),
            accounts: vec![],
            database: None,
            depth: loggia_model::resource::Depth::Disk,
            labels: vec![("env".into(), "prod".into())],
        };
        let schema = cedar_policy::Schema::from_cedarschema_str(crate::SCHEMA).unwrap().0;
        for (action, _, _) in Action::ALL {
            for some in [None, Some("x")] {
                let ask = Ask {
                    actor: &actor,
                    action: *action,
                    resource: Some(&resource),
                    account: some,
                    database: some,
                    source_ip: "::1".parse().unwrap(),
                    time_us: 1,
                };
                let (request, entities) = set.question(&ask).unwrap();
                let uid = |it: Option<&EntityUid>| it.unwrap().clone();
                Request::new(
                    uid(request.principal()),
                    uid(request.action()),
                    uid(request.resource()),
                    set.context(&ask).unwrap(),
                    Some(&schema),
                )
                .unwrap();
                Entities::from_entities(entities.iter().cloned(), Some(&schema)).unwrap();
            }
        }
    }

    #[test]
    fn the_names_that_every_question_needs_exist() {
        assert!(NAMES.is_some());
    }
}
