//! The sessions that are open now: what they are, and how to end one.

use crate::limits::SessionLimits;
use loggia_model::Actor;
use loggia_model::id::{CredentialId, EventId, SessionId};
use loggia_model::port::Resolve;
use loggia_model::resource::Resource;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use tokio::sync::watch;

/// Credentials that ended and are remembered, so that whoever was identified by one a moment before
/// gets no session by it.
const ENDED_MAX: usize = 4_096;

/// An order to end a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndNotice {
    /// The code in `session.end`: ended, locked, expired, logged_out, idle_limit, time_limit,
    /// bytes_limit or shutdown.
    pub code: &'static str,
    /// The reason, shown to the person.
    pub reason: String,
    /// Id of the operator, where one gave the order.
    pub by: Option<String>,
}

/// What an open session shares between its relay and the rest.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) id: SessionId,
    pub(crate) start: EventId,
    pub(crate) actor: Actor,
    pub(crate) resource: Arc<Resource>,
    pub(crate) account: String,
    pub(crate) database: Option<String>,
    pub(crate) peer: std::net::SocketAddr,
    pub(crate) started_us: i64,
    pub(crate) limits: SessionLimits,
    pub(crate) last_action_us: AtomicI64,
    pub(crate) actions: AtomicU64,
    pub(crate) recorded_bytes: AtomicU64,
    pub(crate) end: watch::Sender<Option<EndNotice>>,
}

impl Live {
    /// Orders the end; the first order stands.
    fn order(&self, notice: EndNotice) {
        self.end.send_if_modified(|standing| match standing {
            Some(_) => false,
            None => {
                *standing = Some(notice);
                true
            }
        });
    }

    /// What the passing of time and the growth of the record demand.
    fn due(&self, now_us: i64) -> Option<EndNotice> {
        let notice = |code, reason: String| Some(EndNotice { code, reason, by: None });
        let seconds = |us: i64| us / 1_000_000;
        if self.actor.expires_us.is_some_and(|expires| now_us >= expires) {
            return notice("expired", "your credential has expired".to_owned());
        }
        if now_us - self.started_us >= self.limits.session_us_max {
            let max = seconds(self.limits.session_us_max);
            return notice("time_limit", format!("sessions here last at most {max} s"));
        }
        if now_us - self.last_action_us.load(Ordering::Relaxed) >= self.limits.idle_us_max {
            let max = seconds(self.limits.idle_us_max);
            return notice("idle_limit", format!("nothing was done for {max} s"));
        }
        if self.recorded_bytes.load(Ordering::Relaxed) >= self.limits.recorded_bytes_max {
            let max = self.limits.recorded_bytes_max;
            return notice("bytes_limit", format!("a session's record is limited to {max} bytes"));
        }
        None
    }
}

/// An open session as others see it.
#[derive(Debug, Clone)]
pub struct SessionView {
    /// The session.
    pub id: SessionId,
    /// Who.
    pub actor: Actor,
    /// To what.
    pub resource: Arc<Resource>,
    /// With which account.
    pub account: String,
    /// In which database.
    pub database: Option<String>,
    /// From where.
    pub peer: std::net::SocketAddr,
    /// Since when, microseconds since 1970.
    pub started_us: i64,
    /// Time of the last action, microseconds since 1970.
    pub last_action_us: i64,
    /// Actions so far.
    pub actions: u64,
}

/// The open sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    open: Mutex<HashMap<SessionId, Arc<Live>>>,
    /// The last that ended, oldest first, each with the order for its sessions.
    ended: Mutex<VecDeque<(CredentialId, EndNotice)>>,
}

impl Sessions {
    pub(crate) fn insert(&self, live: Arc<Live>) {
        self.open.lock().insert(live.id, Arc::clone(&live));
        // Only now, so that a credential that ends meanwhile meets it here or among the open ones.
        let Some(credential) = live.actor.credential else { return };
        let ended = self.ended.lock().iter().find(|(id, _)| *id == credential).cloned();
        if let Some((_, notice)) = ended {
            live.order(notice);
        }
    }

    pub(crate) fn remove(&self, id: SessionId) {
        self.open.lock().remove(&id);
    }

    /// Number of open sessions.
    pub fn len(&self) -> usize {
        self.open.lock().len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this session is open.
    pub fn is_open(&self, id: SessionId) -> bool {
        self.open.lock().contains_key(&id)
    }

    /// The open sessions, oldest first.
    pub fn list(&self) -> Vec<SessionView> {
        let mut views: Vec<SessionView> = self
            .open
            .lock()
            .values()
            .map(|live| SessionView {
                id: live.id,
                actor: live.actor.clone(),
                resource: Arc::clone(&live.resource),
                account: live.account.clone(),
                database: live.database.clone(),
                peer: live.peer,
                started_us: live.started_us,
                last_action_us: live.last_action_us.load(Ordering::Relaxed),
                actions: live.actions.load(Ordering::Relaxed),
            })
            .collect();
        views.sort_by_key(|view| view.id);
        views
    }

    /// Orders the end of one session; `false` where it is not open.
    pub fn end(&self, id: SessionId, notice: EndNotice) -> bool {
        let live = self.open.lock().get(&id).cloned();
        live.inspect(|live| live.order(notice)).is_some()
    }

    /// Orders the end of every session that came in with one of these credentials, also of those
    /// that are about to be opened.
    pub fn end_of_credentials(&self, credentials: &[CredentialId], notice: &EndNotice) {
        let mut ended = self.ended.lock();
        ended.extend(credentials.iter().map(|id| (*id, notice.clone())));
        let beyond = ended.len().saturating_sub(ENDED_MAX);
        ended.drain(..beyond);
        drop(ended);
        let all: Vec<Arc<Live>> = self.open.lock().values().cloned().collect();
        let of_these = |live: &&Arc<Live>| {
            live.actor.credential.is_some_and(|credential| credentials.contains(&credential))
        };
        for live in all.iter().filter(of_these) {
            live.order(notice.clone());
        }
    }

    /// Whether this credential ended a short while ago; see [`Self::end_of_credentials`].
    pub fn has_ended(&self, credential: CredentialId) -> bool {
        self.ended.lock().iter().any(|(id, _)| *id == credential)
    }

    /// Orders the end of every session.
    pub fn end_all(&self, notice: &EndNotice) {
        let all: Vec<Arc<Live>> = self.open.lock().values().cloned().collect();
        for live in all {
            live.order(notice.clone());
        }
    }

    /// Orders the end of the sessions whose limits are reached, whose credential has expired, or
    /// that a lock or a disabled identity (`resolve`) forbids. Called several times a second.
    pub fn sweep(&self, now_us: i64, resolve: &dyn Resolve) {
        let all: Vec<Arc<Live>> = self.open.lock().values().cloned().collect();
        for live in all {
            let due = live.due(now_us).or_else(|| {
                let lock = resolve.lock(&live.actor, Some(&live.resource))?;
                Some(EndNotice { code: "locked", reason: lock.reason, by: Some(lock.lock) })
            });
            if let Some(notice) = due {
                live.order(notice);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use loggia_model::Authn;
    use loggia_model::id::{ActorId, PersonId, ResourceId};
    use loggia_model::resource::{Depth, UpstreamTls};

    fn credential(n: u8) -> CredentialId {
        CredentialId::from_parts(1, [n; 10])
    }

    fn live(n: u8, credential: Option<CredentialId>) -> Arc<Live> {
        let actor = Actor {
            id: ActorId::Person(PersonId::from_parts(1, [1; 10])),
            name: "alice".into(),
            authn: Authn::Token,
            credential,
            expires_us: None,
            groups: Vec::new(),
            admin: false,
        };
        let resource = Resource {
            id: ResourceId::from_parts(1, [1; 10]),
            name: "shop".into(),
            protocol: "postgres".into(),
            host: "db.internal".into(),
            port: 5432,
            tls: UpstreamTls::VerifyFull,
            ca_file: None,
            host_keys: Vec::new(),
            accounts: Vec::new(),
            database: None,
            depth: Depth::Disk,
            labels: Vec::new(),
        };
        Arc::new(Live {
            id: SessionId::from_parts(1, [n; 10]),
            start: EventId::from_parts(1, [n; 10]),
            actor,
            resource: Arc::new(resource),
            account: "app".into(),
            database: None,
            peer: "127.0.0.1:1".parse().unwrap(),
            started_us: 0,
            limits: SessionLimits::default(),
            last_action_us: AtomicI64::new(0),
            actions: AtomicU64::new(0),
            recorded_bytes: AtomicU64::new(0),
            end: watch::Sender::new(None),
        })
    }

    fn ordered(live: &Live) -> Option<&'static str> {
        live.end.borrow().as_ref().map(|notice| notice.code)
    }

    #[test]
    fn a_credential_that_ends_takes_its_sessions_with_it_and_those_on_their_way() {
        let sessions = Sessions::default();
        let open = [live(1, Some(credential(1))), live(2, Some(credential(2))), live(3, None)];
        open.iter().for_each(|live| sessions.insert(Arc::clone(live)));
        let notice = EndNotice { code: "logged_out", reason: "you logged out".into(), by: None };
        sessions.end_of_credentials(&[credential(1), credential(9)], &notice);
        assert_eq!(open.each_ref().map(|live| ordered(live)), [Some("logged_out"), None, None]);

        let late = live(4, Some(credential(9)));
        sessions.insert(Arc::clone(&late));
        assert_eq!(ordered(&late), Some("logged_out"), "identified before, opened after");
        assert!(sessions.has_ended(credential(9)) && !sessions.has_ended(credential(2)));
    }

    #[test]
    fn the_memory_of_ended_credentials_is_bounded() {
        let sessions = Sessions::default();
        let notice = EndNotice { code: "logged_out", reason: String::new(), by: None };
        let many: Vec<CredentialId> =
            (0..5_000).map(|ms| CredentialId::from_parts(ms, [0; 10])).collect();
        many.iter().for_each(|id| sessions.end_of_credentials(&[*id], &notice));
        assert_eq!(sessions.ended.lock().len(), ENDED_MAX);
        assert!(sessions.has_ended(many[4_999]) && !sessions.has_ended(many[0]));
    }
}
