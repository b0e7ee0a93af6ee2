//! What a declaration would change, and changing it.

use crate::change::{ChangeBy, Control, Why};
use crate::declaration::{At, Declaration, DeclarationError, DeclarationErrors};
use crate::edit::{Edit, Enrolment};
use crate::error::{ControlError, nearest};
use crate::people::ENROLMENT_US;
use crate::snapshot::Snapshot;
use loggia_model::decision::{Action, Ask, Effect};
use loggia_model::id::{ActorId, PersonId, ResourceId, ServiceId};
use loggia_model::resource::Resource;
use loggia_model::{Actor, Mint, Secret, Value};
use loggia_policy::PolicySet;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Makes the codes by which new people take up their accounts.
pub trait EnrolmentCodes: Send + Sync {
    /// A new code: its text, which is shown once, and the SHA-256 of its secret in lower-case
    /// hex, which is kept.
    fn issue(&self) -> (Secret, String);
}

/// One change that a declaration asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedChange {
    /// What: `resource.put`, `resource.remove`, …; see the catalogue's `config.change`.
    pub change: &'static str,
    /// The name of what changes.
    pub name: String,
    /// What is there now, where something is; no secrets.
    pub before: Option<Value>,
    /// What will be there, where something will; no secrets.
    pub after: Option<Value>,
}

/// What a declaration would change, if it were applied now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The changes, in the order in which they are recorded.
    pub changes: Vec<PlannedChange>,
    /// What a person should know beside them.
    pub notes: Vec<String>,
    /// SHA-256 over the declaration and the changes, lower-case hex: the plan that was looked at
    /// is the plan that is applied, or nothing is.
    pub digest: String,
}

/// What was changed.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The plan that was carried out.
    pub plan: Plan,
    /// The new people: name, and the code by which they take up their account.
    pub enrolments: Vec<(String, Secret)>,
    /// End of the codes' validity, microseconds since 1970.
    pub enrolments_expire_us: i64,
}

impl Control {
    /// What the declaration would change, if it were applied now by `by`.
    ///
    /// # Errors
    /// Where the declaration does not fit what is there, or its policies do not compile.
    pub fn plan(&self, declaration: &Declaration, by: &ChangeBy) -> Result<Plan, ControlError> {
        let planning = Planning::new(&self.now(), declaration, by, &self.inner.mint)?;
        Ok(planning.plan)
    }

    /// Applies a declaration: all of it or, on any error, nothing. Each change is an event of its
    /// own before it takes effect. `expected` is the digest of the plan that was looked at; none
    /// takes whatever the plan is now.
    ///
    /// # Errors
    /// As [`Control::plan`]; where the plan is another by now; where the change fails.
    pub async fn apply(
        &self,
        declaration: Declaration,
        by: ChangeBy,
        expected: Option<String>,
        codes: Arc<dyn EnrolmentCodes>,
    ) -> Result<Applied, ControlError> {
        let control = self.clone();
        self.to_the_end(async move {
            let writing = control.inner.writing().await;
            let mint = &control.inner.mint;
            let mut planning = Planning::new(&writing.now, &declaration, &by, mint)?;
            if expected.is_some_and(|expected| expected != planning.plan.digest) {
                return Err(ControlError::Conflict {
                    message: "the plan is another by now, so nothing was changed".to_owned(),
                    hint: "look at it again with `loggia plan`, then apply that".to_owned(),
                });
            }
            let expires_us = mint.now_us() + ENROLMENT_US;
            let enrolments = planning.issue(codes.as_ref(), expires_us);
            let why = Why { reason: None, digest: Some(declaration.digest()) };
            if !planning.edits.is_empty() {
                writing.commit(&planning.edits, &by, why).await?;
            }
            Ok(Applied { plan: planning.plan, enrolments, enrolments_expire_us: expires_us })
        })
        .await
    }
}

/// A plan while it is made.
struct Planning {
    edits: Vec<Edit>,
    plan: Plan,
}

impl Planning {
    fn new(
        now: &Snapshot,
        declaration: &Declaration,
        by: &ChangeBy,
        mint: &Mint,
    ) -> Result<Self, ControlError> {
        let mut making =
            Making { now, declaration, mint, edits: vec![], notes: vec![], wrong: vec![] };
        let coming = making.identities();
        let groups = making.groups(&coming);
        making.resources();
        let policies = making.policies()?;
        if !making.wrong.is_empty() {
            making.wrong.sort();
            return Err(DeclarationErrors(making.wrong).into());
        }
        making.still_allowed(by, &groups, &policies);
        let (edits, notes) = (making.edits, making.notes);
        let changes = edits
            .iter()
            .map(|edit| PlannedChange {
                change: edit.word(),
                name: edit.name().unwrap_or_default().to_owned(),
                before: edit.before(now),
                after: edit.after(now, &edits),
            })
            .collect();
        let digest = plan_digest(declaration.digest(), &changes);
        Ok(Self { edits, plan: Plan { changes, notes, digest } })
    }

    /// Gives every new person a code.
    fn issue(&mut self, codes: &dyn EnrolmentCodes, expires_us: i64) -> Vec<(String, Secret)> {
        let mut all = Vec::new();
        for edit in &mut self.edits {
            if let Edit::AddPerson { name, enrolment, .. } = edit {
                let (code, code_digest) = codes.issue();
                *enrolment = Some(Enrolment { code_digest, expires_us });
                all.push((name.clone(), code));
            }
        }
        all
    }
}

/// SHA-256 over what is declared and what it changes, each part preceded by its length (8 bytes,
/// big-endian). The ids of new things are not in it: they are given anew each time.
fn plan_digest(declaration: &str, changes: &Vec<PlannedChange>) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    };
    add(declaration.as_bytes());
    for change in changes {
        add(change.change.as_bytes());
        add(change.name.as_bytes());
        for value in [&change.before, &change.after] {
            add(&value.as_ref().map(Value::to_bytes).unwrap_or_default());
        }
    }
    hex::encode(hash.finalize())
}

struct Making<'a> {
    now: &'a Snapshot,
    declaration: &'a Declaration,
    mint: &'a Mint,
    edits: Vec<Edit>,
    notes: Vec<String>,
    wrong: Vec<DeclarationError>,
}

/// The members of each group as they will be.
type Groups = BTreeMap<String, BTreeSet<ActorId>>;

impl Making<'_> {
    /// New people and service accounts; gives their ids by name. Those who are there stay as they
    /// are: rights and keys of somebody who can sign in are changed by name, not by a file.
    fn identities(&mut self) -> BTreeMap<String, ActorId> {
        let mut coming = BTreeMap::new();
        for person in &self.declaration.people {
            let name = &person.name.value;
            match self.now.identity(name) {
                None => {
                    let (unix_ms, random) = self.mint.id_parts();
                    let id = PersonId::from_parts(unix_ms, random);
                    coming.insert(name.clone(), ActorId::Person(id));
                    let (name, admin) = (name.clone(), person.admin);
                    self.edits.push(Edit::AddPerson { id, name, admin, enrolment: None });
                }
                Some(known) if !matches!(known.id, ActorId::Person(_)) => {
                    self.taken(&person.name, "a service account");
                }
                Some(known) if known.admin != person.admin => self.notes.push(format!(
                    "person {name} is there with admin = {}; a declaration does not change that",
                    known.admin
                )),
                Some(_) => {}
            }
        }
        for service in &self.declaration.services {
            let name = &service.name.value;
            match self.now.identity(name) {
                None => {
                    let (unix_ms, random) = self.mint.id_parts();
                    let id = ServiceId::from_parts(unix_ms, random);
                    coming.insert(name.clone(), ActorId::Service(id));
                    let public_key = service.public_key.clone();
                    self.edits.push(Edit::AddService { id, name: name.clone(), public_key });
                }
                Some(known) if !matches!(known.id, ActorId::Service(_)) => {
                    self.taken(&service.name, "a person");
                }
                Some(known) if known.public_key.as_deref() != Some(&service.public_key) => {
                    self.notes.push(format!(
                        "service {name} is there with another key; a declaration does not change it"
                    ));
                }
                Some(_) => {}
            }
        }
        coming
    }

    fn taken(&mut self, name: &At<String>, by: &str) {
        let message = format!("the name `{}` is that of {by} already", name.value);
        self.wrong.push(name.error(message, Some("choose another".to_owned())));
    }

    /// Groups: the declared members, and the people who are declared to be in them. A group that
    /// only people speak of keeps the members it has.
    fn groups(&mut self, coming: &BTreeMap<String, ActorId>) -> Groups {
        let known = |name: &str| coming.get(name).or_else(|| self.now.by_name.get(name)).copied();
        let names = || coming.keys().chain(self.now.by_name.keys()).map(String::as_str);
        let mut wanted: Groups = BTreeMap::new();
        let mut wrong = Vec::new();
        for group in &self.declaration.groups {
            let members = wanted.entry(group.name.value.clone()).or_default();
            for member in &group.members {
                match known(&member.value) {
                    Some(id) => drop(members.insert(id)),
                    None => wrong.push(unknown("person or service", member, names())),
                }
            }
        }
        let declared: BTreeSet<String> = wanted.keys().cloned().collect();
        for person in &self.declaration.people {
            for group in &person.groups {
                let kept = self.now.groups.get(&group.value).filter(|_| !self.declaration.prune);
                let members = match (wanted.get_mut(&group.value), kept) {
                    (Some(members), _) => members,
                    (None, Some(kept)) => {
                        wanted.entry(group.value.clone()).or_insert_with(|| kept.clone())
                    }
                    (None, None) => {
                        let all = declared.iter().chain(self.now.groups.keys());
                        wrong.push(unknown("group", group, all.map(String::as_str)));
                        continue;
                    }
                };
                members.extend(known(&person.name.value));
            }
        }
        self.wrong.extend(wrong);
        for (name, members) in &wanted {
            if self.now.groups.get(name) != Some(members) {
                let (name, members) = (name.clone(), members.clone());
                self.edits.push(Edit::PutGroup { name, members });
            }
        }
        let mut in_force = wanted.clone();
        for (name, members) in
            self.now.groups.iter().filter(|(name, _)| !wanted.contains_key(*name))
        {
            if self.declaration.prune {
                self.edits.push(Edit::RemoveGroup { name: name.clone() });
            } else {
                in_force.insert(name.clone(), members.clone());
                self.stays("group", name);
            }
        }
        in_force
    }

    fn resources(&mut self) {
        let mut declared = BTreeSet::new();
        for resource in &self.declaration.resources {
            declared.insert(&resource.value.name);
            let known = self.now.resources.get(&resource.value.name);
            let id = known.map_or_else(
                || {
                    let (unix_ms, random) = self.mint.id_parts();
                    ResourceId::from_parts(unix_ms, random)
                },
                |known| known.id,
            );
            let resource = Resource { id, ..resource.value.clone() };
            if known.map(AsRef::as_ref) != Some(&resource) {
                self.edits.push(Edit::PutResource(resource));
            }
        }
        for (name, resource) in self.now.resources.iter().filter(|(it, _)| !declared.contains(it)) {
            if self.declaration.prune {
                self.edits.push(Edit::RemoveResource(resource.as_ref().clone()));
            } else {
                self.stays("resource", name);
            }
        }
    }

    /// Policies; gives the set that will be in force. It is compiled as a whole, so that a file
    /// that stays and one that comes fit each other.
    fn policies(&mut self) -> Result<PolicySet, ControlError> {
        let declared = &self.declaration.policies;
        let mut in_force = declared.clone();
        for (name, text) in declared {
            if self.now.policy_files.get(name) != Some(text) {
                self.edits.push(Edit::PutPolicy { name: name.clone(), text: text.clone() });
            }
        }
        for (name, text) in
            self.now.policy_files.iter().filter(|(it, _)| !declared.contains_key(*it))
        {
            if self.declaration.prune {
                self.edits.push(Edit::RemovePolicy { name: name.clone() });
            } else {
                in_force.insert(name.clone(), text.clone());
                self.stays("policy file", name);
            }
        }
        let all: Vec<(&String, &String)> = in_force.iter().collect();
        let set = PolicySet::compile(&all)?;
        self.notes.extend(set.warnings().iter().map(|warning| format!("policy {warning}")));
        Ok(set)
    }

    fn stays(&mut self, what: &str, name: &str) {
        self.notes.push(format!(
            "{what} {name} is not in the declaration and stays; prune = true would remove it"
        ));
    }

    /// Says so where whoever applies this could not apply anything any more.
    fn still_allowed(&mut self, by: &ChangeBy, groups: &Groups, policies: &PolicySet) {
        let (Some(actor), Some(source)) = (&by.actor, &by.source) else {
            return;
        };
        let of = groups.iter().filter(|(_, members)| members.contains(&actor.id));
        let then = Actor { groups: of.map(|(name, _)| name.clone()).collect(), ..actor.clone() };
        let ask = Ask {
            actor: &then,
            action: Action::ConfigApply,
            resource: None,
            account: None,
            database: None,
            source_ip: source.peer.ip(),
            time_us: self.mint.now_us(),
        };
        if policies.decide(&ask).effect == Effect::Deny {
            self.notes.push(format!("after this, {} may not apply declarations", actor.name));
        }
    }
}

fn unknown<'a>(
    what: &str,
    name: &At<String>,
    known: impl Iterator<Item = &'a str>,
) -> DeclarationError {
    let hint = nearest(&name.value, known).map(|near| format!("did you mean `{near}`?"));
    name.error(format!("there is no {what} named `{}`", name.value), hint)
}
