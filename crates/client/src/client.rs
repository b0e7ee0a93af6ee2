//! The calls.

use crate::error::ClientError;
use crate::recording::RecordingStream;
use crate::tail::TailStream;
use crate::trust::{Identity, Trust, tls_config};
use loggia_api::Problem;
use loggia_api::audit::{
    EVENTS, EVENTS_TAIL, EndSession, EventPage, EventQuery, Receipt, SESSION, SESSION_END,
    SESSION_RECEIPT, SESSIONS, SessionEnding, SessionPage, SessionQuery, TailQuery, Timeline,
    TimelineQuery,
};
use loggia_api::control::{
    APPLY, AddKey, AddLock, AddPerson, AddService, Applied, Apply, Declaration, Disable, Disabled,
    KEY, KEYS, Key, Keys, LOCK, LOCKS, Lock, Locks, PEOPLE, PERSON_DISABLE, PLAN, Page, People,
    PersonAdded, Plan, RESOURCES, Resources, SERVICE_DISABLE, SERVICES, Service, Services,
};
use loggia_api::identity::{
    Challenge, ENROL_BEGIN, ENROL_FINISH, EnrolBegin, EnrolBegun, EnrolFinish, LOGIN, LOGOUT,
    LoggedOut, Login, SERVICE_CERTIFY, SERVICE_CHALLENGE, SSH_TRUST, ServiceCertify,
    ServiceChallenge, SignedIn, SshTrust, WHOAMI, WhoAmI,
};
use loggia_api::recordings::{RECORDING, WATCH};
use loggia_api::retention::{
    AddHold, ERASURES, Erase, Erased, HOLD_REMOVE, HOLDS, Hold, Holds, RETENTION_RUN, RemoveHold,
    RetentionRun, RunRetention,
};
use loggia_model::Secret;
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// An answer is at most this long, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// A search may take ten seconds and wait five for its turn.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// Who calls.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Nobody yet: enrolment and login.
    Nobody,
    /// The holder of an opaque token.
    Token(Secret),
    /// The holder of a client certificate and its key, PEM.
    Certificate {
        /// The certificate.
        certificate_pem: String,
        /// Its private key.
        key_pem: Secret,
    },
}

/// A client of one server.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    address: String,
    token: Option<Secret>,
}

impl Client {
    /// A client of the server at `address` (`HOST:PORT`). Nothing is sent yet.
    ///
    /// Fails where the address, the authority, the certificate or the key cannot be used.
    pub fn new(address: &str, trust: &Trust, auth: &Auth) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address(address.to_owned());
        let plain = address.strip_prefix("https://").unwrap_or(address).trim_end_matches('/');
        let base = Url::parse(&format!("https://{plain}")).map_err(|_| wrong())?;
        let only_place = base.path() == "/" && base.query().is_none() && base.username().is_empty();
        if !only_place || base.port_or_known_default().is_none() || base.host_str().is_none() {
            return Err(wrong());
        }
        let (identity, token) = match auth {
            Auth::Nobody => (None, None),
            Auth::Token(token) => (None, Some(token.clone())),
            Auth::Certificate { certificate_pem, key_pem } => {
                (Some(Identity { certificate_pem, key_pem: key_pem.reveal() }), None)
            }
        };
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls_config(trust, identity)?)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIME_MAX)
            .user_agent(concat!("loggia/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ClientError::Credential(chain(&error)))?;
        Ok(Self { http, base, address: plain.to_owned(), token })
    }

    /// The server's address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// One page of events.
    pub async fn search(&self, query: &EventQuery) -> Result<EventPage, ClientError> {
        self.get(EVENTS, &[], query).await
    }

    /// Events from now on.
    pub async fn tail(&self, query: &TailQuery) -> Result<TailStream, ClientError> {
        let request = self.request(Method::GET, EVENTS_TAIL, &[])?.query(query);
        let response = self.begun(request).await?;
        Ok(TailStream::new(response, self.address.clone()))
    }

    /// The recording of a session, with what the ledger says of it.
    pub async fn recording(&self, id: &str) -> Result<RecordingStream, ClientError> {
        let response = self.begun(self.request(Method::GET, RECORDING, &[id])?).await?;
        Ok(RecordingStream::new(response, self.address.clone()))
    }

    /// The recording of a running session, as it is written.
    pub async fn watch(&self, id: &str) -> Result<RecordingStream, ClientError> {
        let response = self.begun(self.request(Method::GET, WATCH, &[id])?).await?;
        Ok(RecordingStream::new(response, self.address.clone()))
    }

    /// The beginning of an answer that comes bit by bit: only that has a deadline here, the stream
    /// has its own.
    async fn begun(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = tokio::time::timeout(ANSWER_TIME_MAX, request.send()).await;
        let response =
            response.map_err(|_| ClientError::TimedOut { address: self.address.clone() })?;
        let response = response.map_err(|error| failure(&self.address, error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.problem(response).await)
    }

    /// One page of sessions.
    pub async fn sessions(&self, query: &SessionQuery) -> Result<SessionPage, ClientError> {
        self.get(SESSIONS, &[], query).await
    }

    /// One page of a session's timeline.
    pub async fn session(&self, id: &str, query: &TimelineQuery) -> Result<Timeline, ClientError> {
        self.get(SESSION, &[id], query).await
    }

    /// The proof of a session's beginning and end.
    pub async fn receipt(&self, id: &str) -> Result<Receipt, ClientError> {
        self.get(SESSION_RECEIPT, &[id], &()).await
    }

    /// Ends a running session.
    pub async fn end_session(
        &self,
        id: &str,
        end: &EndSession,
    ) -> Result<SessionEnding, ClientError> {
        self.post(SESSION_END, &[id], end).await
    }

    /// Begins an enrolment.
    pub async fn enrol_begin(&self, begin: &EnrolBegin) -> Result<EnrolBegun, ClientError> {
        self.post(ENROL_BEGIN, &[], begin).await
    }

    /// Ends an enrolment.
    pub async fn enrol_finish(&self, finish: &EnrolFinish) -> Result<SignedIn, ClientError> {
        self.post(ENROL_FINISH, &[], finish).await
    }

    /// Signs a person in.
    pub async fn login(&self, login: &Login) -> Result<SignedIn, ClientError> {
        self.post(LOGIN, &[], login).await
    }

    /// What a service account has to sign.
    pub async fn challenge(&self, service: &ServiceChallenge) -> Result<Challenge, ClientError> {
        self.post(SERVICE_CHALLENGE, &[], service).await
    }

    /// Signs a service account in.
    pub async fn certify(&self, certify: &ServiceCertify) -> Result<SignedIn, ClientError> {
        self.post(SERVICE_CERTIFY, &[], certify).await
    }

    /// Who the caller is.
    pub async fn whoami(&self) -> Result<WhoAmI, ClientError> {
        self.get(WHOAMI, &[], &()).await
    }

    /// The public keys of the server's SSH authorities.
    pub async fn ssh_trust(&self) -> Result<SshTrust, ClientError> {
        self.get(SSH_TRUST, &[], &()).await
    }

    /// Gives the caller's credentials back.
    pub async fn logout(&self) -> Result<LoggedOut, ClientError> {
        self.post(LOGOUT, &[], &serde_json::json!({})).await
    }

    /// One page of people.
    pub async fn people(&self, page: &Page) -> Result<People, ClientError> {
        self.get(PEOPLE, &[], page).await
    }

    /// Adds a person.
    pub async fn add_person(&self, person: &AddPerson) -> Result<PersonAdded, ClientError> {
        self.post(PEOPLE, &[], person).await
    }

    /// Lets a person no longer in.
    pub async fn disable_person(&self, name: &str, why: &Disable) -> Result<Disabled, ClientError> {
        self.post(PERSON_DISABLE, &[name], why).await
    }

    /// One page of service accounts.
    pub async fn services(&self, page: &Page) -> Result<Services, ClientError> {
        self.get(SERVICES, &[], page).await
    }

    /// Adds a service account.
    pub async fn add_service(&self, service: &AddService) -> Result<Service, ClientError> {
        self.post(SERVICES, &[], service).await
    }

    /// Lets a service account no longer in.
    pub async fn disable_service(
        &self,
        name: &str,
        why: &Disable,
    ) -> Result<Disabled, ClientError> {
        self.post(SERVICE_DISABLE, &[name], why).await
    }

    /// One page of registered SSH keys.
    pub async fn keys(&self, page: &Page) -> Result<Keys, ClientError> {
        self.get(KEYS, &[], page).await
    }

    /// Registers an SSH key.
    pub async fn add_key(&self, key: &AddKey) -> Result<Key, ClientError> {
        self.post(KEYS, &[], key).await
    }

    /// Takes a registered SSH key away.
    pub async fn remove_key(&self, fingerprint: &str) -> Result<Key, ClientError> {
        self.send(self.request(Method::DELETE, KEY, &[fingerprint])?).await
    }

    /// One page of resources.
    pub async fn resources(&self, page: &Page) -> Result<Resources, ClientError> {
        self.get(RESOURCES, &[], page).await
    }

    /// One page of locks.
    pub async fn locks(&self, page: &Page) -> Result<Locks, ClientError> {
        self.get(LOCKS, &[], page).await
    }

    /// Adds a lock.
    pub async fn add_lock(&self, lock: &AddLock) -> Result<Lock, ClientError> {
        self.post(LOCKS, &[], lock).await
    }

    /// Takes a lock away.
    pub async fn remove_lock(&self, id: &str) -> Result<Lock, ClientError> {
        self.send(self.request(Method::DELETE, LOCK, &[id])?).await
    }

    /// One page of legal holds.
    pub async fn holds(&self, page: &Page) -> Result<Holds, ClientError> {
        self.get(HOLDS, &[], page).await
    }

    /// Adds a legal hold.
    pub async fn add_hold(&self, hold: &AddHold) -> Result<Hold, ClientError> {
        self.post(HOLDS, &[], hold).await
    }

    /// Takes a legal hold away.
    pub async fn remove_hold(&self, id: &str, why: &RemoveHold) -> Result<Hold, ClientError> {
        self.post(HOLD_REMOVE, &[id], why).await
    }

    /// Erases what is disclosed and recorded of somebody.
    pub async fn erase(&self, erase: &Erase) -> Result<Erased, ClientError> {
        self.post(ERASURES, &[], erase).await
    }

    /// Destroys what is older than its period.
    pub async fn run_retention(&self, run: &RunRetention) -> Result<RetentionRun, ClientError> {
        self.post(RETENTION_RUN, &[], run).await
    }

    /// What a declaration would change.
    pub async fn plan(&self, declaration: &Declaration) -> Result<Plan, ClientError> {
        self.post(PLAN, &[], declaration).await
    }

    /// Applies a declaration.
    pub async fn apply(&self, apply: &Apply) -> Result<Applied, ClientError> {
        self.post(APPLY, &[], apply).await
    }

    async fn get<Q: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        route: &str,
        parts: &[&str],
        query: &Q,
    ) -> Result<T, ClientError> {
        self.send(self.request(Method::GET, route, parts)?.query(query)).await
    }

    async fn post<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        route: &str,
        parts: &[&str],
        body: &B,
    ) -> Result<T, ClientError> {
        self.send(self.request(Method::POST, route, parts)?.json(body)).await
    }

    /// A request for a route of the contract, whose `{…}` steps are replaced by `parts`.
    fn request(
        &self,
        method: Method,
        route: &str,
        parts: &[&str],
    ) -> Result<RequestBuilder, ClientError> {
        let url = url(&self.base, route, parts)
            .ok_or_else(|| ClientError::Address(self.address.clone()))?;
        let request = self.http.request(method, url);
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token.reveal()),
            None => request,
        })
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = request
            .timeout(ANSWER_TIME_MAX)
            .send()
            .await
            .map_err(|error| failure(&self.address, error))?;
        if !response.status().is_success() {
            return Err(self.problem(response).await);
        }
        let body = self.body(response).await?;
        serde_json::from_slice(&body).map_err(|error| self.wrong(error))
    }

    async fn problem(&self, response: Response) -> ClientError {
        let status = response.status();
        let body = match self.body(response).await {
            Ok(body) => body,
            Err(error) => return error,
        };
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => ClientError::Problem(Box::new(problem)),
            Err(_) => self.wrong(format_args!("status {status} without a problem report")),
        }
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|error| failure(&self.address, error))?
        {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(self.wrong("an answer that does not end"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn wrong(&self, cause: impl std::fmt::Display) -> ClientError {
        ClientError::Answer { address: self.address.clone(), cause: cause.to_string() }
    }
}

fn url(base: &Url, route: &str, parts: &[&str]) -> Option<Url> {
    let mut url = base.clone();
    let mut parts = parts.iter();
    let mut path = url.path_segments_mut().ok()?;
    path.clear();
    for step in route.trim_start_matches('/').split('/') {
        // `push` escapes whatever is not part of one step.
        let step = if step.starts_with('{') { *parts.next()? } else { step };
        if matches!(step, "" | "." | "..") {
            return None;
        }
        path.push(step);
    }
    drop(path);
    Some(url)
}

/// What went wrong, from the innermost cause that says something.
fn chain(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// The TLS error that this is, by itself or inside errors of input and output, whose `source`
/// passes over what they hold.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut here = error;
    loop {
        if let Some(tls) = here.downcast_ref() {
            return Some(tls);
        }
        here = here.downcast_ref::<std::io::Error>()?.get_ref()?;
    }
}

pub(crate) fn failure(address: &str, error: reqwest::Error) -> ClientError {
    let address = address.to_owned();
    if error.is_timeout() {
        return ClientError::TimedOut { address };
    }
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    let mut lost = error.is_body();
    while let Some(inner) = cause {
        if let Some(rustls::Error::InvalidCertificate(what)) = tls_error(inner) {
            return ClientError::Untrusted { address, cause: what.to_string() };
        }
        lost |= inner.is::<std::io::Error>();
        cause = inner.source();
    }
    let cause = chain(&error);
    if error.is_connect() || error.is_request() {
        return ClientError::Unreachable { address, cause };
    }
    if lost {
        return ClientError::Lost { address, cause };
    }
    ClientError::Answer { address, cause }
}

#[cfg(test)]
mod tests;
