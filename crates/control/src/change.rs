//! How control state changes: recorded first, then written, then in force.
//!
//! A crash at each point leaves behind:
//! 1. before the events are on disk: nothing, or events that the log may lose with the machine;
//! 2. after that, before the commit: events whose change never came. The next boot finds them by
//!    [`Control::unapplied`] and records `config.not_applied`;
//! 3. after the commit: the change. It is in force again as soon as the database is opened.

use crate::database;
use crate::edit::Edit;
use crate::error::{ControlError, state};
use crate::snapshot::Snapshot;
use arc_swap::ArcSwap;
use loggia_model::id::{ActorId, CredentialId, EventId, NodeId};
use loggia_model::port::{Append, AppendError, StateError};
use loggia_model::{Actor, Authn, Draft, EventDraft, Kind, Mint, Source};
use loggia_policy::PolicyErrors;
use sqlx::{SqliteConnection, SqlitePool};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

/// How long a change waits for a paused ledger, and for its events to be on disk.
const LEDGER_WAIT_MAX: Duration = Duration::from_secs(10);
/// Events handed to the ledger at a time.
const APPEND_MAX: usize = 64;

/// Who changes something.
#[derive(Debug, Clone, Default)]
pub struct ChangeBy {
    /// The identity, where somebody signed in for it.
    pub actor: Option<Actor>,
    /// From where.
    pub source: Option<Source>,
    /// Whether an identity attests it; false for root on the gateway's own machine.
    pub attested: bool,
}

impl ChangeBy {
    /// Root on the gateway's own machine, for whom nobody signed in: the node acts, as
    /// `local-root`, unattested.
    pub fn local_root(node: NodeId) -> Self {
        let actor = Actor {
            id: ActorId::Node(node),
            name: "local-root".to_owned(),
            authn: Authn::Local,
            credential: None,
            expires_us: None,
            groups: Vec::new(),
            admin: false,
        };
        Self { actor: Some(actor), source: None, attested: false }
    }

    /// Fills in who and from where.
    fn sign(&self, draft: EventDraft) -> EventDraft {
        let mut draft = draft;
        if let Some(actor) = &self.actor {
            draft = draft.by(actor);
        }
        if let Some(source) = &self.source {
            draft = draft.out_of(source);
        }
        draft
    }
}

/// Control state: the database and what is in force of it. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) pool: SqlitePool,
    pub(crate) mint: Mint,
    append: Arc<dyn Append>,
    now: ArcSwap<Snapshot>,
    /// Held from the look at what is in force until what follows from it is in force.
    writing: Mutex<()>,
}

/// The right to change something: nothing else changes meanwhile.
pub(crate) struct Writing<'a> {
    pub(crate) inner: &'a Inner,
    pub(crate) now: Arc<Snapshot>,
    _alone: MutexGuard<'a, ()>,
}

/// What stands in the events of a change beside the change itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Why<'a> {
    /// The stated reason.
    pub(crate) reason: Option<&'a str>,
    /// SHA-256 of the declaration, lower-case hex.
    pub(crate) digest: Option<&'a str>,
}

impl Control {
    /// Opens the control database at `path`, making it where it is absent. Changes are recorded
    /// through `append`; time and ids come from `mint`.
    ///
    /// # Errors
    /// Where the file cannot be opened, is no control database, or is of a newer program.
    pub async fn open(
        path: &Path,
        mint: Mint,
        append: Arc<dyn Append>,
    ) -> Result<Self, StateError> {
        let pool = database::open(path).await?;
        let mut db = pool.acquire().await.map_err(state)?;
        let snapshot = Snapshot::load(&mut db, None).await?;
        drop(db);
        let now = ArcSwap::from_pointee(snapshot);
        let inner = Inner { pool, mint, append, now, writing: Mutex::new(()) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Closes the database, waiting for what is under way.
    pub async fn close(&self) {
        let _alone = self.inner.writing.lock().await;
        self.inner.pool.close().await;
    }

    /// Whether the database answers; for readiness.
    pub async fn ping(&self) -> Result<(), StateError> {
        sqlx::query("select 1").execute(&self.inner.pool).await.map_err(state).map(drop)
    }

    /// Why the stored policies are not in force (everything is denied then), if they are not.
    pub fn policy_errors(&self) -> Option<PolicyErrors> {
        self.now().policy_errors.clone()
    }

    /// Of these ids of `config.change` events, those whose change the database does not hold, in
    /// the order given.
    ///
    /// # Errors
    /// Where the database does not answer.
    pub async fn unapplied(&self, ids: &[EventId]) -> Result<Vec<EventId>, StateError> {
        let mut missing = Vec::new();
        for id in ids {
            let query = sqlx::query("select 1 from changes where event = ?").bind(id.to_string());
            if query.fetch_optional(&self.inner.pool).await.map_err(state)?.is_none() {
                missing.push(*id);
            }
        }
        Ok(missing)
    }

    /// Microseconds since 1970, by the clock that locks and codes end by.
    pub(crate) fn now_us(&self) -> i64 {
        self.inner.mint.now_us()
    }

    pub(crate) fn now(&self) -> Arc<Snapshot> {
        self.inner.now.load_full()
    }

    /// Runs `work` to its end even when the caller goes away in the middle: a change that is
    /// recorded must not be left hanging because a client closed its connection.
    pub(crate) async fn to_the_end<T, F>(&self, work: F) -> Result<T, ControlError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ControlError>> + Send + 'static,
    {
        tokio::spawn(work).await.map_err(|error| ControlError::Broken(error.to_string()))?
    }
}

impl Inner {
    pub(crate) async fn writing(&self) -> Writing<'_> {
        let alone = self.writing.lock().await;
        Writing { inner: self, now: self.now.load_full(), _alone: alone }
    }
}

impl<'a> Writing<'a> {
    /// Nothing changes for as long as this is held.
    pub(crate) fn into_guard(self) -> MutexGuard<'a, ()> {
        self._alone
    }
}

impl Writing<'_> {
    /// Records the edits, writes them in one transaction, and puts them in force: all or none.
    /// Gives the ids of the credentials that ended with it.
    pub(crate) async fn commit(
        self,
        edits: &[Edit],
        by: &ChangeBy,
        why: Why<'_>,
    ) -> Result<Vec<CredentialId>, ControlError> {
        let mut drafts = Vec::with_capacity(edits.len());
        let mut changes = Vec::with_capacity(edits.len());
        let mut ended = Vec::new();
        for edit in edits {
            let draft = self.draft(edit, edits, by, why);
            changes.push(draft.id());
            drafts.push(draft.encode().map_err(AppendError::Draft)?);
            if let Some(actor) = edit.disables() {
                for id in self.valid_credentials(actor).await? {
                    drafts.push(self.revocation(id, by).encode().map_err(AppendError::Draft)?);
                    ended.push(id);
                }
            }
        }
        self.record(&drafts).await?;
        if let Err(error) = self.apply(edits, &changes).await {
            self.reload().await;
            return Err(ControlError::NotApplied(error));
        }
        Ok(ended)
    }

    /// After a failed transaction: a commit may have reached the disk although its answer was an
    /// error, and what is in force must be what the database holds. Where it cannot be read, what
    /// was in force stays.
    async fn reload(&self) {
        let Ok(mut db) = self.inner.pool.acquire().await else {
            return;
        };
        match Snapshot::load(&mut db, Some(&self.now)).await {
            Ok(next) => self.in_force(next),
            Err(error) => tracing::error!(%error, "control state could not be read again"),
        }
    }

    fn draft(&self, edit: &Edit, all: &[Edit], by: &ChangeBy, why: Why<'_>) -> EventDraft {
        let draft = self.inner.mint.draft(Kind::ConfigChange);
        by.sign(draft)
            .set("/detail/change", edit.word())
            .set_some("/detail/object", edit.object())
            .set_some("/detail/name", edit.name())
            .set_some("/detail/before", edit.before(&self.now))
            .set_some("/detail/after", edit.after(&self.now, all))
            .set("/detail/attested", by.attested)
            .set_some("/detail/digest", why.digest)
            .set_some("/intent/reason", why.reason)
    }

    fn revocation(&self, id: CredentialId, by: &ChangeBy) -> EventDraft {
        let draft = self.inner.mint.draft(Kind::CredentialRevoked);
        by.sign(draft).set("/detail/credential", id.to_string()).set("/detail/reason", "disabled")
    }

    async fn valid_credentials(&self, actor: ActorId) -> Result<Vec<CredentialId>, StateError> {
        let query = "select id from credentials where actor = ? and revoked = 0 and expires_us > ?";
        let rows = sqlx::query(query)
            .bind(actor.to_string())
            .bind(self.inner.mint.now_us())
            .fetch_all(&self.inner.pool)
            .await
            .map_err(state)?;
        rows.iter().map(|row| crate::snapshot::parsed(row, "id")).collect()
    }

    /// Returns when every draft is on disk in the ledger. Where a later part fails, the earlier
    /// ones stay in the log as changes that never came, and the next boot says so.
    async fn record(&self, drafts: &[Draft]) -> Result<(), AppendError> {
        let append = &self.inner.append;
        let late = || AppendError::Closed("no answer in time".to_owned());
        for part in drafts.chunks(APPEND_MAX) {
            let appended = match append.append(part) {
                Err(AppendError::Paused(why)) => {
                    if !append.resumed(LEDGER_WAIT_MAX).await {
                        return Err(AppendError::Paused(why));
                    }
                    append.append(part)?
                }
                other => other?,
            };
            let on_disk = append.on_disk(&appended);
            tokio::time::timeout(LEDGER_WAIT_MAX, on_disk).await.map_err(|_| late())??;
        }
        Ok(())
    }

    /// The transaction. What will be in force is read inside it, so that after the commit nothing
    /// is left that could fail.
    async fn apply(&self, edits: &[Edit], changes: &[EventId]) -> Result<(), StateError> {
        let now_us = self.inner.mint.now_us();
        let mut db = self.inner.pool.begin_with("begin immediate").await.map_err(state)?;
        for edit in edits {
            edit.write(&mut db, now_us).await?;
            if let Some(actor) = edit.disables() {
                sqlx::query("update credentials set revoked = 1 where actor = ?")
                    .bind(actor.to_string())
                    .execute(&mut *db)
                    .await
                    .map_err(state)?;
            }
        }
        for change in changes {
            applied(&mut db, *change, now_us).await?;
        }
        let next = Snapshot::load(&mut db, Some(&self.now)).await?;
        db.commit().await.map_err(state)?;
        self.in_force(next);
        Ok(())
    }

    pub(crate) fn in_force(&self, next: Snapshot) {
        self.inner.now.store(Arc::new(next));
    }
}

/// Notes in the transaction of a change which event recorded it.
pub(crate) async fn applied(
    db: &mut SqliteConnection,
    event: EventId,
    now_us: i64,
) -> Result<(), StateError> {
    sqlx::query("insert into changes (event, applied_us) values (?, ?)")
        .bind(event.to_string())
        .bind(now_us)
        .execute(db)
        .await
        .map_err(state)
        .map(drop)
}
