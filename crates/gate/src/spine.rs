//! One connection, from the first byte to the last record. Read [`Spine::walk`] from top to
//! bottom: the phases have the names that documents, events and metrics use.
//!
//! The spine reads and writes no protocol, and looks into no action: in *relay* it only waits, and
//! what happens there goes through the [`Watch`]. It ends no session either; who does (a lock, a
//! limit, an operator) tells the registry in [`crate::Sessions`], and the front end hears it.

use crate::limits::Limits;
use crate::metrics::GateMetrics;
use crate::proof::{Dial, Permit, Receipt};
use crate::protocol::{Dialled, EndReason, Ended, OpenFailure, Opened, Opening, Protocol};
use crate::refusal::{
    Refusal, denied, identity_late, target_late, unknown_account, unknown_resource,
};
use crate::sessions::{EndNotice, Live, Sessions};
use crate::sources::Place;
use crate::strangers::Strangers;
use crate::target::TargetWriter;
use crate::watch::{Watch, WatchParts};
use futures::FutureExt;
use loggia_model::catalogue::Kind;
use loggia_model::decision::{Action, Ask, Decision};
use loggia_model::event::{Role, SessionSlot};
use loggia_model::id::{EventId, SessionId};
use loggia_model::port::{Append, AppendError, Decide, Identify, Recordings, Resolve};
use loggia_model::resource::Depth;
use loggia_model::{Actor, Fault, Mint, PublicError, Source};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// How long a new session waits for a paused ledger.
const ADMIT_WAIT_MAX: Duration = Duration::from_secs(2);

/// What the spine is composed of; `server` names the implementations.
pub struct SpineParts {
    /// Credential to actor.
    pub identify: Arc<dyn Identify>,
    /// Policies.
    pub decide: Arc<dyn Decide>,
    /// Resources and locks.
    pub resolve: Arc<dyn Resolve>,
    /// The ledger.
    pub append: Arc<dyn Append>,
    /// Recordings.
    pub recordings: Arc<dyn Recordings>,
    /// Time, randomness, ids.
    pub mint: Mint,
    /// The open sessions.
    pub sessions: Arc<Sessions>,
    /// Counters.
    pub metrics: GateMetrics,
    /// Limits.
    pub limits: Limits,
}

/// The way that every connection walks.
pub struct Spine {
    pub(crate) parts: SpineParts,
    pub(crate) strangers: Mutex<Strangers>,
}

/// What *decide* yields.
pub(crate) struct Allowed {
    pub(crate) permit: Arc<Permit>,
    pub(crate) depth: Depth,
}

impl Spine {
    /// A spine of these parts.
    pub fn new(parts: SpineParts) -> Self {
        Self { parts, strangers: Mutex::new(Strangers::default()) }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.parts.limits
    }

    /// The open sessions.
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.parts.sessions
    }

    /// Walks one connection through all phases. `waiting` are its places among the connections
    /// that are not identified yet; they are given back once somebody is known.
    pub(crate) async fn walk<P: Protocol>(
        &self,
        protocol: &P,
        socket: TcpStream,
        peer: SocketAddr,
        waiting: (OwnedSemaphorePermit, Place),
    ) {
        let source = Source { peer };

        // open: who claims to be there, what do they want.
        let opened = self.open(protocol, socket, source).await;
        let (opening, mut client) = match opened {
            Ok(Opened::Session { opening, client }) => (opening, client),
            Ok(Opened::Done) => return,
            Err(failure) => return self.stranger(protocol.name(), peer, &failure),
        };

        let source = opening.source.unwrap_or(source);
        let peer = source.peer;

        // identify: the credential becomes exactly one actor.
        let identified = self.identify(&opening, source).await;
        let actor = match identified {
            Ok(actor) => actor,
            Err(error) => {
                let claimed = Some(opening.address.person.clone().unwrap_or_default());
                let failure = OpenFailure { reason: error.code, claimed };
                self.stranger(protocol.name(), peer, &failure);
                return protocol.refuse(client, &error).await;
            }
        };
        drop(waiting);

        // decide, record: a permit and the receipt of `session.start`, or a refusal on record.
        let (allowed, start, mut watch) = match self.admit(protocol, &actor, &opening, source).await
        {
            Ok(admitted) => admitted,
            Err(refusal) => {
                let error = refusal.error.clone();
                self.record_refusal(protocol.name(), &actor, &opening, source, refusal);
                return protocol.refuse(client, &error).await;
            }
        };

        // dial, relay, close.
        let dialled = timeout(
            self.parts.limits.dial_wait_max,
            AssertUnwindSafe(protocol.dial(&mut client, watch.dial())).catch_unwind(),
        )
        .await;
        let ended = match dialled {
            Ok(Ok(Ok(dialled))) => self.relay(protocol, client, dialled, &mut watch).await,
            Ok(Ok(Err(error))) => self.not_reached(protocol, client, &allowed, error).await,
            Ok(Err(_panic)) => {
                tracing::error!(protocol = protocol.name(), "dialling panicked");
                Ended::uncounted(EndReason::Panic)
            }
            Err(_late) => {
                let error = target_late(allowed.permit.resource());
                self.not_reached(protocol, client, &allowed, error).await
            }
        };
        self.close(watch, start, ended).await;
    }

    async fn open<P: Protocol>(
        &self,
        protocol: &P,
        socket: TcpStream,
        source: Source,
    ) -> Result<Opened<P::Client>, OpenFailure> {
        let opening = AssertUnwindSafe(protocol.open(socket, source)).catch_unwind();
        match timeout(self.parts.limits.open_wait_max, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(_panic)) => Err(OpenFailure { reason: "panic", claimed: None }),
            Err(_late) => Err(OpenFailure { reason: "timeout", claimed: None }),
        }
    }

    async fn identify(&self, opening: &Opening, source: Source) -> Result<Actor, PublicError> {
        let identify = self.parts.identify.identify(&opening.credential, &source);
        let identify = AssertUnwindSafe(identify).catch_unwind();
        match timeout(self.parts.limits.open_wait_max, identify).await {
            Ok(Ok(identified)) => identified,
            // Late, or it panicked: nobody is let in either way.
            Ok(Err(_)) | Err(_) => Err(identity_late()),
        }
    }

    /// decide and record: asks locks and policies, then makes `session.start` durable.
    async fn admit<P: Protocol>(
        &self,
        protocol: &P,
        actor: &Actor,
        opening: &Opening,
        source: Source,
    ) -> Result<(Allowed, EventId, Watch), Refusal> {
        let allowed = self.decide(protocol.name(), actor, opening, source)?;
        let (unix_ms, random) = self.parts.mint.id_parts();
        let session = SessionId::from_parts(unix_ms, random);
        let draft = self.session_start(protocol.name(), session, &allowed, opening, source);
        let start = draft.id();
        let encoded = draft.encode().map_err(AppendError::Draft)?;

        // If we crash after this append, the next boot ends the session on record: it never began.
        let drafts = std::slice::from_ref(&encoded);
        let appended = match self.parts.append.append(drafts) {
            // A disk that is behind for a moment is no reason to turn somebody away.
            Err(AppendError::Paused(_)) if self.parts.append.resumed(ADMIT_WAIT_MAX).await => {
                self.parts.append.append(drafts)?
            }
            other => other?,
        };
        let on_disk = self.parts.append.on_disk(&appended).await?;
        let receipt = Receipt::new(on_disk);

        let live = Arc::new(self.live(session, start, &allowed, source));
        self.parts.sessions.insert(Arc::clone(&live));
        self.parts.metrics.sessions.inc();
        self.parts.metrics.sessions_open.inc();
        let watch = Watch::new(WatchParts {
            append: Arc::clone(&self.parts.append),
            decide: Arc::clone(&self.parts.decide),
            mint: self.parts.mint.clone(),
            metrics: self.parts.metrics.clone(),
            limits: self.parts.limits,
            depth: allowed.depth,
            dial: Dial::new(Arc::clone(&allowed.permit), receipt, session),
            live,
            recordings: Arc::clone(&self.parts.recordings),
        });
        Ok((allowed, start, watch))
    }

    fn decide(
        &self,
        protocol: &'static str,
        actor: &Actor,
        opening: &Opening,
        source: Source,
    ) -> Result<Allowed, Refusal> {
        let wanted = &opening.address;
        if wanted.person.as_ref().is_some_and(|person| *person != actor.name) {
            return Err(PublicError::new(
                "wrong_person",
                Fault::Client,
                "the user name says another person than the credential",
            )
            .hint("leave the person out of the user name, or `loggia login` as that person")
            .into());
        }
        let resource = self
            .parts
            .resolve
            .resource(&wanted.resource)
            .filter(|resource| resource.protocol == protocol)
            .ok_or_else(|| unknown_resource(&wanted.resource))?;
        let refuse = |error: PublicError, decision: Option<Decision>| Refusal {
            error,
            decision,
            resource: Some(Arc::clone(&resource)),
        };
        let Some(account) = resource.account(wanted.account.as_deref()).cloned() else {
            return Err(refuse(unknown_account(&resource, wanted.account.as_deref()), None));
        };
        if let Some(lock) = self.parts.resolve.lock(actor, Some(&resource)) {
            let error =
                PublicError::new("locked", Fault::Policy, format!("locked: {}", lock.reason))
                    .detail(format!("lock {}", lock.lock))
                    .hint("ask an administrator; `loggia lock ls` shows what is locked");
            return Err(refuse(error, None));
        }
        let database = opening.database.clone().or_else(|| resource.database.clone());
        let decision = self.parts.decide.decide(&Ask {
            actor,
            action: Action::Connect,
            resource: Some(&resource),
            account: Some(&account.name),
            database: database.as_deref(),
            source_ip: source.peer.ip(),
            time_us: self.parts.mint.now_us(),
        });
        self.report_policy_errors(&decision);
        let depth = resource.depth.max(decision.obligations.depth.unwrap_or(Depth::Kernel));
        let account_name = account.name.clone();
        Permit::from_decision(decision, actor.clone(), Arc::clone(&resource), account, database)
            .map(|permit| Allowed { permit: Arc::new(permit), depth })
            .map_err(|decision| {
                refuse(denied(actor, &resource, &account_name, &decision), Some(decision))
            })
    }

    async fn relay<P: Protocol>(
        &self,
        protocol: &P,
        client: P::Client,
        dialled: Dialled<P::Reader, P::Writer, P::Greeting>,
        watch: &mut Watch,
    ) -> Ended {
        let mut writer = TargetWriter::new(dialled.writer, watch.dial());
        if let Some(frame_bytes) = protocol.frame_bytes() {
            writer = writer.in_frames(frame_bytes);
        }
        let target = Dialled { reader: dialled.reader, writer, greeting: dialled.greeting };
        let relay = protocol.relay(client, target, watch);
        match AssertUnwindSafe(relay).catch_unwind().await {
            Ok(ended) => ended,
            Err(_panic) => {
                tracing::error!(protocol = protocol.name(), "a session panicked and was ended");
                Ended::uncounted(EndReason::Panic)
            }
        }
    }

    /// The session started on record, but the target was not reached: the client is told, and the
    /// end of the session says why.
    async fn not_reached<P: Protocol>(
        &self,
        protocol: &P,
        client: P::Client,
        allowed: &Allowed,
        error: PublicError,
    ) -> Ended {
        tracing::warn!(
            resource = allowed.permit.resource().name,
            code = error.code,
            cause = error.cause.as_deref().unwrap_or(""),
            "the target was not reached"
        );
        self.parts.metrics.refused_with(error.code);
        let notice = EndNotice { code: error.code, reason: error.message.clone(), by: None };
        protocol.refuse(client, &error).await;
        Ended::uncounted(EndReason::Ordered(notice))
    }

    /// close: `session.end` uses the room that `session.start` reserved, so it is written also
    /// when the ledger is paused. If we crash before it, the next boot writes it.
    async fn close(&self, watch: Watch, start: EventId, ended: Ended) {
        let dial = watch.dial().clone();
        let session = watch.session();
        let actions = watch.actions();
        let recording = watch.end_recording().await;
        let results_unrecorded = watch.close();
        self.parts.sessions.remove(session);
        self.parts.metrics.sessions_open.dec();
        self.parts.metrics.ended_with(ended.reason.code());
        if let EndReason::ProtocolError(why) = &ended.reason {
            tracing::info!(%session, why, "a session broke its protocol");
        }
        if ended.reason == EndReason::Misframed {
            tracing::error!(%session, "a frame was kept from the middle of another; a fault of Loggia");
        }
        let slot = SessionSlot { id: session, context: Some(start), role: Role::End };
        let mut draft = self
            .parts
            .mint
            .draft(Kind::SessionEnd)
            .actor(dial.permit().actor().id)
            .session(slot)
            .set("/detail/reason", ended.reason.code())
            .set("/detail/actions", actions)
            .set("/detail/bytes_in", ended.bytes_in)
            .set("/detail/bytes_out", ended.bytes_out);
        if let Some(recording) = recording {
            draft = draft
                .set("/detail/recording_frames", recording.state.frames)
                .set("/detail/recording_bytes", recording.state.bytes)
                .set("/detail/recording_root", hex::encode(recording.state.root));
            if let Some((bytes, hash)) = recording.beyond {
                draft = draft
                    .set("/detail/recording_beyond_bytes", bytes)
                    .set("/detail/recording_beyond_sha256", hex::encode(hash));
            }
        }
        if results_unrecorded > 0 {
            draft = draft.set("/detail/results_unrecorded", results_unrecorded);
        }
        if let EndReason::Ordered(notice) = ended.reason {
            draft = draft.set("/detail/note", notice.reason).set_some("/detail/by", notice.by);
        }
        let written = match draft.encode() {
            Ok(draft) => self.parts.append.append(&[draft]),
            Err(error) => Err(AppendError::Draft(error)),
        };
        if let Err(error) = written {
            // The next boot finds the session open and ends it on record.
            tracing::error!(%session, %error, "the end of a session could not be written");
        }
    }

    fn live(&self, id: SessionId, start: EventId, allowed: &Allowed, source: Source) -> Live {
        let now_us = self.parts.mint.now_us();
        let permit = &allowed.permit;
        Live {
            id,
            start,
            actor: permit.actor().clone(),
            resource: Arc::clone(permit.resource()),
            account: permit.account().name.clone(),
            database: permit.database().map(str::to_owned),
            peer: source.peer,
            started_us: now_us,
            limits: self.parts.limits.session.with(permit.decision().obligations),
            last_action_us: AtomicI64::new(now_us),
            actions: AtomicU64::new(0),
            recorded_bytes: AtomicU64::new(0),
            end: tokio::sync::watch::channel(None).0,
        }
    }

    /// Ends what limits, expiry and locks demand. Called several times a second.
    pub fn sweep(&self) {
        self.parts.sessions.sweep(self.parts.mint.now_us(), &*self.parts.resolve);
    }
}
