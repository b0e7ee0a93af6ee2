//! The ports: what `identity` keeps here, and the questions of every session.

use crate::change::{Control, applied};
use crate::error::{corrupt, state};
use crate::snapshot::{Snapshot, column, parsed};
use async_trait::async_trait;
use loggia_model::decision::{Ask, Decision, Effect, Obligations};
use loggia_model::id::{ActorId, CredentialId, EventId, PersonId, ServiceId};
use loggia_model::port::{
    CredentialRecord, Decide, Directory, IdentityRecord, LockNotice, PersonVerifier, Resolve,
    StateError,
};
use loggia_model::resource::Resource;
use loggia_model::{Actor, ActorType, Authn, Secret};
use std::sync::Arc;

/// How long a credential is remembered after its end, in microseconds: 30 days.
const CREDENTIAL_KEPT_US: i64 = 30 * 86_400 * 1_000_000;

impl Control {
    /// All resources, by name.
    pub fn resources(&self) -> Vec<Arc<Resource>> {
        self.now().resources.values().cloned().collect()
    }
}

impl Resolve for Control {
    fn resource(&self, name: &str) -> Option<Arc<Resource>> {
        self.now().resources.get(name).cloned()
    }

    fn lock(&self, actor: &Actor, resource: Option<&Resource>) -> Option<LockNotice> {
        let now = self.now();
        let lock = now.lock_for(actor, resource, self.inner.mint.now_us())?;
        Some(LockNotice { lock: lock.id.to_string(), reason: lock.reason.clone() })
    }
}

impl Decide for Control {
    /// Answers with the identity's standing of now, not of its sign-in: a group that was left, an
    /// administrator who is none any more and a disabled identity show in the next answer.
    fn decide(&self, ask: &Ask<'_>) -> Decision {
        let now = self.now();
        match now.identities.get(&ask.actor.id) {
            Some(known) if known.disabled => nobody(&now),
            Some(known) if known.groups == ask.actor.groups && known.admin == ask.actor.admin => {
                now.policies.decide(ask)
            }
            Some(known) => {
                let actor =
                    Actor { groups: known.groups.clone(), admin: known.admin, ..ask.actor.clone() };
                now.policies.decide(&Ask { actor: &actor, ..*ask })
            }
            // Other kinds of identities are not kept in this database.
            None => match ask.actor.actor_type() {
                ActorType::Human | ActorType::Service => nobody(&now),
                _ => now.policies.decide(ask),
            },
        }
    }

    fn generation(&self) -> u64 {
        self.now().generation
    }
}

/// The answer to somebody who is no identity of this Loggia, or no longer one.
fn nobody(now: &Snapshot) -> Decision {
    Decision {
        effect: Effect::Deny,
        policies: Vec::new(),
        policy_set: now.policies.hash().to_owned(),
        obligations: Obligations::default(),
        errors: Vec::new(),
        reuse_us_max: i64::MAX,
    }
}

#[async_trait]
impl Directory for Control {
    async fn person_by_name(&self, name: &str) -> Result<Option<PersonId>, StateError> {
        Ok(self.now().by_name.get(name).and_then(|id| match id {
            ActorId::Person(person) => Some(*person),
            _ => None,
        }))
    }

    async fn service_by_name(&self, name: &str) -> Result<Option<(ServiceId, String)>, StateError> {
        let now = self.now();
        Ok(now.identity(name).and_then(|identity| match identity.id {
            ActorId::Service(service) => Some((service, identity.public_key.clone()?)),
            _ => None,
        }))
    }

    async fn identity(&self, id: ActorId) -> Result<Option<IdentityRecord>, StateError> {
        Ok(self.now().identities.get(&id).map(|identity| IdentityRecord {
            id,
            name: identity.name.clone(),
            groups: identity.groups.clone(),
            admin: identity.admin,
            disabled: identity.disabled,
        }))
    }

    async fn verifier(&self, person: PersonId) -> Result<Option<PersonVerifier>, StateError> {
        let row = sqlx::query("select password_hash, totp_seed from verifiers where person = ?")
            .bind(person.to_string())
            .fetch_optional(&self.inner.pool)
            .await
            .map_err(state)?;
        let secret = |text: Option<String>| text.map(Secret::new);
        row.map(|row| {
            Ok(PersonVerifier {
                password_hash: secret(column(&row, "password_hash")?),
                totp_seed: secret(column(&row, "totp_seed")?),
            })
        })
        .transpose()
    }

    async fn spend_totp_step(&self, person: PersonId, step: u64) -> Result<bool, StateError> {
        let step = i64::try_from(step).map_err(|_| corrupt("time step", "too large"))?;
        // One statement, so that of two logins with the same code one wins.
        let query = "update verifiers set totp_step = ?1 \
                     where person = ?2 and (totp_step is null or totp_step < ?1)";
        let done = sqlx::query(query)
            .bind(step)
            .bind(person.to_string())
            .execute(&self.inner.pool)
            .await
            .map_err(state)?;
        Ok(done.rows_affected() == 1)
    }

    async fn enrolment(
        &self,
        code_digest: &str,
        now_us: i64,
    ) -> Result<Option<PersonId>, StateError> {
        let query = "select person from enrolments join people on people.id = person \
                     where code_digest = ? and used = 0 and expires_us > ? and disabled = 0";
        let row = sqlx::query(query)
            .bind(code_digest)
            .bind(now_us)
            .fetch_optional(&self.inner.pool)
            .await
            .map_err(state)?;
        row.map(|row| parsed(&row, "person")).transpose()
    }

    async fn enrol(
        &self,
        person: PersonId,
        code_digest: &str,
        verifier: PersonVerifier,
        change: EventId,
    ) -> Result<bool, StateError> {
        let writing = self.inner.writing().await;
        let now_us = self.inner.mint.now_us();
        let person = person.to_string();
        let mut db = self.inner.pool.begin_with("begin immediate").await.map_err(state)?;
        let query = "update enrolments set used = 1 where code_digest = ? and person = ? \
                     and used = 0 and expires_us > ? \
                     and exists (select 1 from people where id = person and disabled = 0)";
        let spent = sqlx::query(query)
            .bind(code_digest)
            .bind(&person)
            .bind(now_us)
            .execute(&mut *db)
            .await
            .map_err(state)?;
        if spent.rows_affected() != 1 {
            // Dropping the transaction takes it back.
            return Ok(false);
        }
        let query = "insert into verifiers (person, password_hash, totp_seed) values (?, ?, ?) \
                     on conflict (person) do update set password_hash = excluded.password_hash, \
                     totp_seed = excluded.totp_seed, totp_step = null";
        sqlx::query(query)
            .bind(&person)
            .bind(verifier.password_hash.as_ref().map(Secret::reveal))
            .bind(verifier.totp_seed.as_ref().map(Secret::reveal))
            .execute(&mut *db)
            .await
            .map_err(state)?;
        applied(&mut db, change, now_us).await?;
        let next = Snapshot::load(&mut db, Some(&writing.now)).await?;
        db.commit().await.map_err(state)?;
        writing.in_force(next);
        Ok(true)
    }

    async fn add_credential(&self, record: CredentialRecord) -> Result<(), StateError> {
        let log_index = i64::try_from(record.log_index)
            .map_err(|_| corrupt("log index", &record.log_index.to_string()))?;
        let mut db = self.inner.pool.begin_with("begin immediate").await.map_err(state)?;
        // Whoever was disabled between their sign-in and this moment gets no credential.
        let query = "insert into credentials \
                     (id, digest, actor, authn, expires_us, revoked, log_index) \
                     select ?1, ?2, ?3, ?4, ?5, ?6, ?7 where exists \
                     (select 1 from people where id = ?3 and disabled = 0 union all \
                      select 1 from services where id = ?3 and disabled = 0)";
        let added = sqlx::query(query)
            .bind(record.id.to_string())
            .bind(&record.digest)
            .bind(record.actor.to_string())
            .bind(record.authn)
            .bind(record.expires_us)
            .bind(record.revoked)
            .bind(log_index)
            .execute(&mut *db)
            .await
            .map_err(state)?;
        if added.rows_affected() != 1 {
            return Err(StateError(format!("{} is unknown or disabled", record.actor)));
        }
        sqlx::query("delete from credentials where expires_us < ?")
            .bind(self.inner.mint.now_us() - CREDENTIAL_KEPT_US)
            .execute(&mut *db)
            .await
            .map_err(state)?;
        db.commit().await.map_err(state)
    }

    async fn credential(&self, digest: &str) -> Result<Option<CredentialRecord>, StateError> {
        let query = "select id, digest, actor, authn, expires_us, revoked, log_index \
                     from credentials where digest = ?";
        let row = sqlx::query(query)
            .bind(digest)
            .fetch_optional(&self.inner.pool)
            .await
            .map_err(state)?;
        row.map(|row| {
            let log_index: i64 = column(&row, "log_index")?;
            Ok(CredentialRecord {
                id: parsed(&row, "id")?,
                actor: parsed(&row, "actor")?,
                digest: column(&row, "digest")?,
                authn: authn_word(column(&row, "authn")?)?,
                expires_us: column(&row, "expires_us")?,
                revoked: column(&row, "revoked")?,
                log_index: u64::try_from(log_index)
                    .map_err(|_| corrupt("log index", &log_index.to_string()))?,
            })
        })
        .transpose()
    }

    async fn ssh_key(&self, digest: &str) -> Result<Option<ActorId>, StateError> {
        Ok(self.now().by_ssh_key.get(digest).copied())
    }

    async fn revoke_credentials(&self, actor: ActorId) -> Result<Vec<CredentialId>, StateError> {
        let query = "update credentials set revoked = 1 where actor = ? and revoked = 0 \
                     and expires_us > ? returning id";
        let rows = sqlx::query(query)
            .bind(actor.to_string())
            .bind(self.inner.mint.now_us())
            .fetch_all(&self.inner.pool)
            .await
            .map_err(state)?;
        rows.iter().map(|row| parsed(row, "id")).collect()
    }
}

/// The word as the log has it, from a stored one.
fn authn_word(stored: &str) -> Result<&'static str, StateError> {
    let all = [
        Authn::ClientCertificate,
        Authn::Token,
        Authn::SshCertificate,
        Authn::SshKey,
        Authn::PasswordTotp,
        Authn::KeyChallenge,
        Authn::Enrolment,
        Authn::CancelKey,
        Authn::Local,
    ];
    let found = all.into_iter().map(Authn::as_str).find(|word| *word == stored);
    found.ok_or_else(|| corrupt("authn", stored))
}
