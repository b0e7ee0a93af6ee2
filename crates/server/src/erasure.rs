//! Erasure and retention: what is destroyed, in which order, and what is on record of it.
//!
//! The ledger destroys keys, disclosures and large values; recordings their folder; followers
//! forget. Before all of it stands the event that orders it, after it the one that says what was
//! destroyed. If we crash in between, the next boot finds the order and carries it out.

use crate::authorize::{by, record};
use crate::config::RetentionConfig;
use axum::extract::State;
use axum::routing::post;
use axum::{Extension, Json, Router};
use loggia_api::Problem;
use loggia_api::audit::REASON_BYTES_MAX;
use loggia_api::retention as api;
use loggia_control::{Control, Hold};
use loggia_gate::Sessions;
use loggia_ledger::{Doomed, Keep, Ledger, LedgerError, Met, Ordered};
use loggia_model::catalogue::Kind;
use loggia_model::decision::Action;
use loggia_model::id::ActorId;
use loggia_model::port::{AppendError, Authorize, Caller};
use loggia_model::{EventDraft, Fault, Mint, PublicError, Value};
use loggia_recordings::RecordingFolder;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a caller waits for the end of it; it goes on all the same.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(20);
/// From the start to the first run of retention, and from one to the next.
const FIRST_RUN_AFTER: Duration = Duration::from_secs(600);
const RUN_EVERY: Duration = Duration::from_secs(86_400);
/// Why an erasure stops half-way where its subject came in between the check and the order.
const OPENED_MEANWHILE: &str = "a session of theirs was opened meanwhile and is recorded";
/// How often the holds may change while what they meet is looked up.
const TRIES: usize = 5;

/// Carries out what is to be destroyed, one order at a time.
pub(crate) struct Erasures {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) control: Control,
    pub(crate) recordings: Arc<RecordingFolder>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) mint: Mint,
    pub(crate) retention: RetentionConfig,
    pub(crate) alone: tokio::sync::Mutex<()>,
}

/// What the routes need.
#[derive(Clone)]
pub(crate) struct ErasureApi {
    pub(crate) erasures: Arc<Erasures>,
    pub(crate) authorize: Arc<dyn Authorize>,
}

/// `POST /v1/erasures`, `POST /v1/retention/run`.
pub(crate) fn routes(api: ErasureApi) -> Router {
    Router::new()
        .route(api::ERASURES, post(erase))
        .route(api::RETENTION_RUN, post(run_retention))
        .with_state(api)
}

async fn erase(
    State(api): State<ErasureApi>,
    Extension(caller): Extension<Caller>,
    Json(request): Json<api::Erase>,
) -> Result<Json<api::Erased>, Problem> {
    api.authorize.authorize(&caller, Action::DataErase, api::ERASURES).await?;
    if request.reason.trim().is_empty() || request.reason.len() > REASON_BYTES_MAX {
        let message = format!("a reason of 1 to {REASON_BYTES_MAX} bytes is needed");
        return Err(PublicError::new("invalid", Fault::Client, message)
            .hint("it is recorded with who asked for the erasure")
            .into());
    }
    let (subject, _) = api.erasures.control.subject(&request.subject).map_err(PublicError::from)?;
    let (erasures, dry_run) = (Arc::clone(&api.erasures), request.dry_run);
    // To the end, even when the client goes away.
    let work = tokio::spawn(async move {
        match dry_run {
            true => erasures.would_erase(subject).await,
            false => erasures.erase(subject, request.reason, &caller).await,
        }
    });
    Ok(Json(match answer(work).await? {
        Some(done) => done,
        None => erased("running", subject, None, Met::default()),
    }))
}

async fn run_retention(
    State(api): State<ErasureApi>,
    Extension(caller): Extension<Caller>,
    Json(request): Json<api::RunRetention>,
) -> Result<Json<api::RetentionRun>, Problem> {
    api.authorize.authorize(&caller, Action::DataErase, api::RETENTION_RUN).await?;
    let erasures = Arc::clone(&api.erasures);
    let work = tokio::spawn(async move { erasures.retain(Some(&caller), request.dry_run).await });
    let running = |(what, until_us)| part(what, "running", until_us, None, Met::default());
    Ok(Json(match answer(work).await? {
        Some(done) => done,
        None => {
            api::RetentionRun { parts: api.erasures.periods().into_iter().map(running).collect() }
        }
    }))
}

/// What the work came to; `None` where it takes longer than a caller waits. It goes on then, and
/// the gateway's log says what went wrong, as nobody else is told any more.
async fn answer<T: Send + 'static>(
    mut work: JoinHandle<Result<T, PublicError>>,
) -> Result<Option<T>, PublicError> {
    match tokio::time::timeout(ANSWER_WAIT_MAX, &mut work).await {
        Ok(done) => done.map_err(|error| broken(&error))?.map(Some),
        Err(_late) => {
            tokio::spawn(async move {
                let done = work.await.unwrap_or_else(|error| Err(broken(&error)));
                if let Err(error) = done {
                    let cause = error.cause.as_deref().unwrap_or_default();
                    tracing::error!(%error, cause, "an erasure that nobody waits for failed");
                }
            });
            Ok(None)
        }
    }
}

impl Erasures {
    async fn would_erase(&self, subject: ActorId) -> Result<api::Erased, PublicError> {
        let keeps = keeps(&self.control.holds());
        let met = self.survey(Doomed::Subject(subject), keeps).await?;
        Ok(erased("would_erase", subject, None, met))
    }

    async fn erase(
        &self,
        subject: ActorId,
        reason: String,
        caller: &Caller,
    ) -> Result<api::Erased, PublicError> {
        let _alone = self.alone.lock().await;
        let doomed = Doomed::Subject(subject);
        for _ in 0..TRIES {
            let seen = self.control.holds();
            let met = self.survey(doomed, keeps(&seen)).await?;
            self.refuse_if_held(subject, &met, caller).await?;
            self.refuse_if_open(subject, caller).await?;
            // No hold is added from here until the order is on record.
            let standing = self.control.standing_holds().await;
            if standing.holds != seen {
                continue;
            }
            let draft = by(self.mint.draft(Kind::ErasureStarted), caller)
                .set("/detail/subject", subject.to_string())
                .set("/intent/reason", reason.as_str());
            let order = self.ledger.begin_erasure(doomed, draft).await.map_err(unrecordable)?;
            drop(standing);
            let met = self.carry_out(order, Vec::new(), Some(caller), false).await?;
            return Ok(erased("erased", subject, Some(&order), met));
        }
        Err(PublicError::new("conflict", Fault::Client, "the legal holds change all the time")
            .hint("try again in a moment")
            .retry())
    }

    async fn refuse_if_held(
        &self,
        subject: ActorId,
        met: &Met,
        caller: &Caller,
    ) -> Result<(), PublicError> {
        if met.holds.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = met.holds.iter().map(String::as_str).collect();
        let message = format!("legal hold {} keeps this from being erased", ids.join(", "));
        let holds = Value::Array(met.holds.iter().map(|id| Value::from(id.as_str())).collect());
        self.refused(subject, "held", Some(holds), caller).await?;
        Err(PublicError::new("held", Fault::Policy, message)
            .hint("`loggia hold ls` shows why; nothing was destroyed"))
    }

    async fn refuse_if_open(&self, subject: ActorId, caller: &Caller) -> Result<(), PublicError> {
        let open = self.sessions.list().into_iter().filter(|view| view.actor.id == subject);
        let ids: Vec<String> = open.map(|view| view.id.to_string()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.refused(subject, "open_sessions", None, caller).await?;
        let message = format!("they have open sessions: {}", ids.join(", "));
        Err(PublicError::new("open_sessions", Fault::Client, message)
            .hint("lock them out first (`loggia lock add person:NAME`); nothing was destroyed"))
    }

    async fn refused(
        &self,
        subject: ActorId,
        reason: &'static str,
        holds: Option<Value>,
        caller: &Caller,
    ) -> Result<(), PublicError> {
        let draft = by(self.mint.draft(Kind::ErasureRefused), caller)
            .set("/detail/subject", subject.to_string())
            .set("/detail/reason", reason)
            .set_some("/detail/holds", holds)
            .set("/outcome/status", "denied");
        record(&*self.ledger, draft).await.map(drop)
    }

    /// What has a period, and until when what it meets goes.
    fn periods(&self) -> Vec<(&'static str, i64)> {
        let now_us = self.mint.now_us();
        let until = |days: u32| now_us - i64::from(days) * 86_400_000_000;
        let disclosures = self.retention.disclosures.map(|days| ("disclosures", until(days.0)));
        let recordings = self.retention.recordings.map(|days| ("recordings", until(days.0)));
        disclosures.into_iter().chain(recordings).collect()
    }

    /// Destroys what is older than its period; without a caller it is the gateway itself.
    async fn retain(
        &self,
        caller: Option<&Caller>,
        dry_run: bool,
    ) -> Result<api::RetentionRun, PublicError> {
        let _alone = self.alone.lock().await;
        let mut run = api::RetentionRun::default();
        for (what, until_us) in self.periods() {
            let doomed = match what {
                "recordings" => Doomed::RecordingsUntil(until_us),
                _ => Doomed::DisclosuresUntil(until_us),
            };
            let seen = self.control.holds();
            let mut met = self.survey(doomed, keeps(&seen)).await?;
            met.recordings.retain(|session| {
                self.recordings.path(*session).exists() && !self.sessions.is_open(*session)
            });
            let nothing =
                met.disclosures == 0 && (met.recordings.is_empty() || what != "recordings");
            if dry_run || nothing {
                let state = if nothing { "nothing" } else { "would_destroy" };
                run.parts.push(part(what, state, until_us, None, met));
                continue;
            }
            let standing = self.control.standing_holds().await;
            let keeps = keeps(&standing.holds);
            let holds = keeps.iter().map(|keep| Value::from(keep.id.as_str())).collect();
            let draft = self
                .signed(self.mint.draft(Kind::RetentionStarted), caller)
                .set("/detail/what", what)
                .set("/detail/until_us", Value::Int(until_us))
                .set("/detail/holds", Value::Array(holds));
            let order = self.ledger.begin_erasure(doomed, draft).await.map_err(unrecordable)?;
            // A hold that comes now is too late for what is ordered: nobody waits for the end of it
            // to change something.
            drop(standing);
            let met = self.carry_out(order, keeps, caller, false).await?;
            run.parts.push(part(what, "destroyed", until_us, Some(&order), met));
        }
        Ok(run)
    }

    /// The rest of an order that is on record, up to the event that says what was destroyed.
    async fn carry_out(
        &self,
        order: Ordered,
        keeps: Vec<Keep>,
        caller: Option<&Caller>,
        resumed: bool,
    ) -> Result<Met, PublicError> {
        let ledger = Arc::clone(&self.ledger);
        let work = tokio::task::spawn_blocking(move || ledger.destroy(&order, &keeps));
        let mut met = work.await.map_err(|error| broken(&error))?.map_err(unfinished)?;
        let of_recordings = !matches!(order.doomed, Doomed::DisclosuresUntil(_));
        let mut destroyed = Vec::new();
        for session in met.recordings.iter().filter(|_| of_recordings) {
            // Never the file of a session that goes on: what it records would be nowhere.
            if self.sessions.is_open(*session) {
                match order.doomed {
                    Doomed::Subject(_) => return Err(unfinished(OPENED_MEANWHILE)),
                    // Retention comes to it when it has ended.
                    _ => continue,
                }
            }
            match self.recordings.destroy(*session) {
                Ok(true) => destroyed.push(*session),
                Ok(false) => {}
                Err(error) => return Err(unfinished(error)),
            }
        }
        met.recordings = destroyed;
        let draft = self.signed(self.done(&order, &met), caller);
        let draft = draft.set_some("/detail/resumed", resumed.then_some(true));
        record(&*self.ledger, draft).await?;
        Ok(met)
    }

    fn done(&self, order: &Ordered, met: &Met) -> EventDraft {
        let recordings = met.recordings.len() as u64;
        let (draft, what) = match order.doomed {
            Doomed::Subject(subject) => {
                let pending = met.pending.iter().map(|name| Value::from(*name)).collect();
                return self
                    .mint
                    .draft(Kind::ErasureDone)
                    .set("/detail/of", order.event.to_string())
                    .set("/detail/subject", subject.to_string())
                    .set("/detail/disclosures", met.disclosures)
                    .set("/detail/blobs", met.blobs)
                    .set("/detail/recordings", recordings)
                    .set("/detail/sessions", met.sessions)
                    .set("/detail/keys", met.keys)
                    .set("/detail/pending", Value::Array(pending));
            }
            Doomed::DisclosuresUntil(_) => (self.mint.draft(Kind::RetentionDone), "disclosures"),
            Doomed::RecordingsUntil(_) => (self.mint.draft(Kind::RetentionDone), "recordings"),
        };
        draft
            .set("/detail/of", order.event.to_string())
            .set("/detail/what", what)
            .set("/detail/disclosures", met.disclosures)
            .set("/detail/blobs", met.blobs)
            .set("/detail/recordings", recordings)
            .set("/detail/held", met.held)
    }

    fn signed(&self, draft: EventDraft, caller: Option<&Caller>) -> EventDraft {
        match caller {
            Some(caller) => by(draft, caller),
            None => draft.actor(ActorId::Node(self.ledger.node())),
        }
    }

    async fn survey(&self, doomed: Doomed, keeps: Vec<Keep>) -> Result<Met, PublicError> {
        let ledger = Arc::clone(&self.ledger);
        let work = tokio::task::spawn_blocking(move || ledger.survey(doomed, &keeps));
        work.await.map_err(|error| broken(&error))?.map_err(|error: LedgerError| {
            PublicError::new("ledger", Fault::Gateway, "the ledger could not be read")
                .hint("`loggia fsck` on the gateway's machine names damaged places")
                .cause(error)
        })
    }

    /// Finishes what the last boot ordered and did not carry out.
    async fn resume(&self) {
        let _alone = self.alone.lock().await;
        for order in self.ledger.opening().unfinished.clone() {
            let keeps = keeps(&self.control.holds());
            // An erasure was let through by the holds of its time; one that came since is too late.
            let keeps = if matches!(order.doomed, Doomed::Subject(_)) { Vec::new() } else { keeps };
            match self.carry_out(order, keeps, None, true).await {
                Ok(met) => tracing::info!(
                    order = %order.event,
                    disclosures = met.disclosures,
                    "an erasure that the last boot began is finished"
                ),
                Err(error) => {
                    let cause = error.cause.as_deref().unwrap_or_default();
                    tracing::error!(order = %order.event, %error, cause, "an erasure is unfinished");
                }
            }
        }
    }

    /// Finishes what was begun, then runs retention once a day.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        self.resume().await;
        let mut wait = FIRST_RUN_AFTER;
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
            wait = RUN_EVERY;
            if let Err(error) = self.retain(None, false).await {
                let cause = error.cause.as_deref().unwrap_or_default();
                tracing::error!(%error, cause, "retention did not run");
            }
        }
    }
}

fn keeps(holds: &[Hold]) -> Vec<Keep> {
    let keep = |hold: &Hold| Keep {
        id: hold.id.to_string(),
        actor: hold.scope.identity,
        session: hold.scope.session,
        resource: hold.scope.resource.clone(),
        from_us: hold.scope.from_us,
        to_us: hold.scope.to_us,
    };
    holds.iter().map(keep).collect()
}

fn erased(state: &str, subject: ActorId, order: Option<&Ordered>, met: Met) -> api::Erased {
    api::Erased {
        state: state.to_owned(),
        subject: subject.to_string(),
        event: order.map(|order| order.event.to_string()),
        disclosures: met.disclosures,
        blobs: met.blobs,
        recordings: met.recordings.len() as u64,
        sessions: met.sessions,
        keys: met.keys,
        holds: met.holds.into_iter().collect(),
        pending: met.pending.into_iter().map(str::to_owned).collect(),
    }
}

fn part(
    what: &str,
    state: &str,
    until_us: i64,
    order: Option<&Ordered>,
    met: Met,
) -> api::RetentionPart {
    let recordings = if what == "recordings" { met.recordings.len() as u64 } else { 0 };
    api::RetentionPart {
        what: what.to_owned(),
        state: state.to_owned(),
        until_us,
        event: order.map(|order| order.event.to_string()),
        disclosures: met.disclosures,
        blobs: met.blobs,
        recordings,
        held: met.held,
        holds: met.holds.into_iter().collect(),
    }
}

fn unrecordable(error: AppendError) -> PublicError {
    PublicError::new("unrecordable", Fault::Gateway, "nothing can be recorded, so nothing is done")
        .hint("the gateway's disk may be full; `loggia doctor` on its machine tells")
        .cause(error)
        .retry()
}

fn unfinished(error: impl std::fmt::Display) -> PublicError {
    PublicError::new("unfinished", Fault::Gateway, "the erasure is on record and not finished")
        .hint("the next start of the gateway finishes it; its own log says what went wrong")
        .cause(error)
}

fn broken(error: &tokio::task::JoinError) -> PublicError {
    PublicError::new("internal", Fault::Gateway, "the erasure broke off")
        .hint("the next start of the gateway finishes what is on record")
        .cause(error)
}
