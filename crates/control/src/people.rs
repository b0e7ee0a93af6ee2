//! People and service accounts: add, list, disable.

use crate::change::{ChangeBy, Control, Why, Writing};
use crate::edit::{Edit, Enrolment};
use crate::error::{ControlError, nearest};
use crate::lock::{Lock, LockTarget};
use crate::snapshot::{Identity, Snapshot};
use loggia_model::id::{ActorId, CredentialId, LockId, PersonId, ServiceId};
use loggia_model::resource::is_name;
use std::collections::BTreeSet;

/// How long an enrolment code is good, in microseconds: 24 hours.
pub const ENROLMENT_US: i64 = 24 * 3600 * 1_000_000;
/// The longest public key of a service account, in bytes of PEM.
const KEY_BYTES_MAX: usize = 8 * 1024;

/// A person who is to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPerson {
    /// Their name: `[a-z0-9._-]+`.
    pub name: String,
    /// Whether they administer this Loggia.
    pub admin: bool,
    /// The groups they are put into; each must exist.
    pub groups: Vec<String>,
    /// Whether they must be somebody new, of whom nothing is known: see
    /// [`Control::is_spoken_for`]. For whoever may add people and not give them rights.
    pub newcomer: bool,
    /// SHA-256 of their enrolment code's secret, lower-case hex.
    pub code_digest: String,
    /// End of the code's validity, microseconds since 1970; see [`ENROLMENT_US`].
    pub expires_us: i64,
}

/// What disabling an identity ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disabled {
    /// The identity.
    pub id: ActorId,
    /// The credentials that were valid until now.
    pub credentials: Vec<CredentialId>,
}

impl Disabled {
    /// The identity as a lock without end, for whatever ends live sessions by a lock. It is not
    /// stored: a disabled identity is denied everything as it is.
    pub fn as_lock(&self, reason: String, now_us: i64) -> Lock {
        Lock {
            id: LockId::from_parts(u64::try_from(now_us / 1000).unwrap_or(0), [0; 10]),
            target: LockTarget::Identity(self.id),
            reason,
            created_us: now_us,
            expires_us: None,
            created_by: None,
        }
    }
}

impl Control {
    /// All people, by name.
    pub fn people(&self) -> Vec<Identity> {
        self.identities(|id| matches!(id, ActorId::Person(_)))
    }

    /// All service accounts, by name.
    pub fn services(&self) -> Vec<Identity> {
        self.identities(|id| matches!(id, ActorId::Service(_)))
    }

    fn identities(&self, wanted: impl Fn(&ActorId) -> bool) -> Vec<Identity> {
        let now = self.now();
        let ids = now.by_name.values().filter(|id| wanted(id));
        ids.filter_map(|id| now.identities.get(id).cloned()).collect()
    }

    /// Adds a person, who takes up their account with the code whose digest is given. A person
    /// who was added before and has not enrolled yet gets the new code in place of the old one,
    /// unless a newcomer is wanted.
    ///
    /// # Errors
    /// Where the name is taken or no name, a group does not exist, or the change fails.
    pub async fn add_person(&self, new: NewPerson, by: ChangeBy) -> Result<Identity, ControlError> {
        let control = self.clone();
        self.to_the_end(async move {
            let writing = control.inner.writing().await;
            let edits = new_person(&writing, &new)?;
            writing.commit(&edits, &by, Why::default()).await?;
            control.known(&new.name, "person")
        })
        .await
    }

    /// Lets a person no longer in: credentials end, every answer is deny. Their name stays taken.
    ///
    /// # Errors
    /// Where there is no such person, they are disabled already, or the change fails.
    pub async fn disable_person(
        &self,
        name: &str,
        reason: Option<String>,
        by: ChangeBy,
    ) -> Result<Disabled, ControlError> {
        self.disable(name.to_owned(), "person", reason, by).await
    }

    /// Whether whoever takes up an account of this name gets more than a newcomer has: a person
    /// who was added before waits to enrol, and may have been given groups and keys since; or a
    /// policy that is in force writes the name out, as in `principal.name == "alice"`.
    pub fn is_spoken_for(&self, name: &str) -> bool {
        self.now().is_spoken_for(name)
    }

    /// Adds a service account with its public key: SPKI in PEM. `newcomer` is as
    /// [`NewPerson::newcomer`].
    ///
    /// # Errors
    /// Where the name is taken or no name, the key is none, or the change fails.
    pub async fn add_service(
        &self,
        name: &str,
        public_key: &str,
        newcomer: bool,
        by: ChangeBy,
    ) -> Result<Identity, ControlError> {
        let (control, name) = (self.clone(), name.to_owned());
        let public_key = public_key_pem(public_key)?;
        self.to_the_end(async move {
            let writing = control.inner.writing().await;
            check_name(&name)?;
            if writing.now.by_name.contains_key(&name) {
                return Err(taken(&name));
            }
            if newcomer && writing.now.is_spoken_for(&name) {
                return Err(spoken_for(&name));
            }
            let (unix_ms, random) = writing.inner.mint.id_parts();
            let id = ServiceId::from_parts(unix_ms, random);
            let edit = Edit::AddService { id, name: name.clone(), public_key };
            writing.commit(&[edit], &by, Why::default()).await?;
            control.known(&name, "service")
        })
        .await
    }

    /// Lets a service account no longer in; as [`Control::disable_person`].
    ///
    /// # Errors
    /// Where there is no such service account, it is disabled already, or the change fails.
    pub async fn disable_service(
        &self,
        name: &str,
        reason: Option<String>,
        by: ChangeBy,
    ) -> Result<Disabled, ControlError> {
        self.disable(name.to_owned(), "service", reason, by).await
    }

    async fn disable(
        &self,
        name: String,
        what: &'static str,
        reason: Option<String>,
        by: ChangeBy,
    ) -> Result<Disabled, ControlError> {
        let control = self.clone();
        self.to_the_end(async move {
            let writing = control.inner.writing().await;
            let known = control.known(&name, what)?;
            if known.disabled {
                let hint = "there is nothing to do".to_owned();
                let message = format!("`{name}` is disabled already");
                return Err(ControlError::Conflict { message, hint });
            }
            let now_us = writing.inner.mint.now_us();
            if known.admin && !writing.now.another_admin(now_us, |it| it.id == known.id) {
                return Err(only_administrator(&name));
            }
            let edit = match known.id {
                ActorId::Person(id) => Edit::DisablePerson { id, name },
                ActorId::Service(id) => Edit::DisableService { id, name },
                _ => return Err(ControlError::Broken("an identity of another kind".to_owned())),
            };
            let why = Why { reason: reason.as_deref(), digest: None };
            let credentials = writing.commit(&[edit], &by, why).await?;
            Ok(Disabled { id: known.id, credentials })
        })
        .await
    }

    /// The person or service account of this name.
    pub(crate) fn known(&self, name: &str, what: &'static str) -> Result<Identity, ControlError> {
        let now = self.now();
        let of_kind = |id: &ActorId| match what {
            "person" => matches!(id, ActorId::Person(_)),
            _ => matches!(id, ActorId::Service(_)),
        };
        let found = now.identity(name).filter(|identity| of_kind(&identity.id)).cloned();
        found.ok_or_else(|| {
            let names = now.by_name.iter().filter(|(_, id)| of_kind(id));
            not_found(what, name, names.map(|(name, _)| name.as_str()))
        })
    }
}

impl Snapshot {
    /// Whether somebody administers this Loggia and can come in, beside those who are about to be
    /// kept out: without one nobody could ever manage it again.
    pub(crate) fn another_admin(&self, now_us: i64, kept_out: impl Fn(&Identity) -> bool) -> bool {
        let locked = |it: &Identity| {
            let mut locks = self.locks.iter().filter(|lock| lock.in_force(now_us));
            locks.any(|lock| lock.meets(it.id, &it.groups, None))
        };
        let mut admins = self.identities.values().filter(|it| it.admin && it.enrolled);
        admins.any(|it| !it.disabled && !kept_out(it) && !locked(it))
    }

    fn is_spoken_for(&self, name: &str) -> bool {
        if let Some(known) = self.identity(name) {
            return !known.enrolled && !known.disabled;
        }
        // A name needs no escapes, so whoever means it in a policy writes it like this.
        let written = format!("\"{name}\"");
        self.policy_files.values().any(|text| text.contains(&written))
    }
}

fn new_person(writing: &Writing<'_>, new: &NewPerson) -> Result<Vec<Edit>, ControlError> {
    check_name(&new.name)?;
    let now = &writing.now;
    if new.newcomer && now.is_spoken_for(&new.name) {
        return Err(spoken_for(&new.name));
    }
    let id = match now.identity(&new.name) {
        None => {
            let (unix_ms, random) = writing.inner.mint.id_parts();
            PersonId::from_parts(unix_ms, random)
        }
        Some(known) => match known.id {
            ActorId::Person(id) if may_be_added_again(known, new) => id,
            _ => return Err(taken(&new.name)),
        },
    };
    let enrolment = Enrolment { code_digest: new.code_digest.clone(), expires_us: new.expires_us };
    let mut edits = vec![Edit::AddPerson {
        id,
        name: new.name.clone(),
        admin: new.admin,
        enrolment: Some(enrolment),
    }];
    for group in new.groups.iter().collect::<BTreeSet<_>>() {
        let names = now.groups.keys().map(String::as_str);
        let members = now.groups.get(group).ok_or_else(|| not_found("group", group, names))?;
        let mut members = members.clone();
        if members.insert(ActorId::Person(id)) {
            edits.push(Edit::PutGroup { name: group.clone(), members });
        }
    }
    Ok(edits)
}

/// Somebody whose code ran out is added again; anything else would be a change of rights that
/// nobody asked for in so many words.
fn may_be_added_again(known: &Identity, new: &NewPerson) -> bool {
    !known.enrolled && !known.disabled && known.admin == new.admin
}

pub(crate) fn not_found<'a>(
    what: &'static str,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> ControlError {
    let nearest = nearest(name, known).map(str::to_owned);
    ControlError::NotFound { what, name: name.to_owned(), nearest }
}

fn taken(name: &str) -> ControlError {
    ControlError::Conflict {
        message: format!("the name `{name}` is taken"),
        hint: "no name is given twice, nor to a person and a service account; choose another"
            .to_owned(),
    }
}

/// Only where a name came to mean something between the look at it and the change.
fn spoken_for(name: &str) -> ControlError {
    ControlError::Conflict {
        message: format!("the name `{name}` stands for rights by now"),
        hint: "ask for it again, as somebody who may apply declarations".to_owned(),
    }
}

/// The refusal to keep the last administrator out.
pub(crate) fn only_administrator(name: &str) -> ControlError {
    ControlError::Conflict {
        message: format!("`{name}` is the only administrator who can come in"),
        hint: "add another administrator first, and let them enrol; or take their lock away"
            .to_owned(),
    }
}

/// Whether the text can be a name.
pub(crate) fn check_name(name: &str) -> Result<(), ControlError> {
    if is_name(name) {
        return Ok(());
    }
    let shown: String = name.chars().take(40).collect();
    Err(ControlError::Invalid {
        message: format!("`{}` cannot be a name", shown.escape_debug()),
        hint: "a name is 1 to 128 of a-z, 0-9, `.`, `_` and `-`".to_owned(),
    })
}

/// A public key in PEM, in its one form: label `PUBLIC KEY`, lines of 64, `\n`.
pub(crate) fn public_key_pem(text: &str) -> Result<String, ControlError> {
    let wrong = |message: &str| ControlError::Invalid {
        message: message.to_owned(),
        hint: "a public key is `-----BEGIN PUBLIC KEY-----` and what follows, as \
               `openssl pkey -pubout` writes it"
            .to_owned(),
    };
    if text.len() > KEY_BYTES_MAX {
        return Err(wrong("the public key is too long"));
    }
    let parsed = pem::parse(text).map_err(|_| wrong("the public key is not PEM"))?;
    if parsed.tag().contains("PRIVATE") {
        return Err(wrong("this is a private key; it stays where it is, and nobody else sees it"));
    }
    // A SubjectPublicKeyInfo is a SEQUENCE (RFC 5280 section 4.1); `identity` judges the key.
    if parsed.tag() != "PUBLIC KEY" || parsed.contents().first() != Some(&0x30) {
        return Err(wrong("this is not a public key"));
    }
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    Ok(pem::encode_config(&parsed, config))
}
