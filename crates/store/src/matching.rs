//! Whether an event is what a query looks for.

use crate::query::{Expr, Pattern, Query, Term};
use crate::record::{Record, UNREADABLE, effect_bit};
use loggia_model::id::SessionId;
use memchr::memmem::Finder;

/// A query made ready to be compared with many events.
pub(crate) struct Matcher {
    expr: Ready,
    wants_results: bool,
}

enum Ready {
    All(Vec<Ready>),
    Any(Vec<Ready>),
    Not(Box<Ready>),
    Text(Box<Finder<'static>>),
    Session(SessionId),
    Term(Term),
}

impl Matcher {
    pub(crate) fn new(query: &Query) -> Self {
        Self { expr: ready(&query.expr), wants_results: query.wants_results() }
    }

    /// Whether the record is to be shown: one that stands with another only where it is asked for.
    pub(crate) fn finds(&self, record: &Record) -> bool {
        (self.wants_results || !record.beside) && self.matches(record)
    }

    /// Whether the query holds for the record.
    pub(crate) fn matches(&self, record: &Record) -> bool {
        holds(&self.expr, record)
    }

    /// Whether results are asked for by themselves.
    pub(crate) fn wants_results(&self) -> bool {
        self.wants_results
    }
}

fn ready(expr: &Expr) -> Ready {
    match expr {
        Expr::All(parts) => Ready::All(parts.iter().map(ready).collect()),
        Expr::Any(parts) => Ready::Any(parts.iter().map(ready).collect()),
        Expr::Not(inner) => Ready::Not(Box::new(ready(inner))),
        Expr::Term(Term::Text(text)) => {
            Ready::Text(Box::new(Finder::new(text.as_bytes()).into_owned()))
        }
        Expr::Term(Term::Session(pattern)) => match pattern.whole().map(str::parse) {
            Some(Ok(session)) => Ready::Session(session),
            _ => Ready::Term(Term::Session(pattern.clone())),
        },
        Expr::Term(term) => Ready::Term(term.clone()),
    }
}

fn holds(expr: &Ready, record: &Record) -> bool {
    match expr {
        Ready::All(parts) => parts.iter().all(|part| holds(part, record)),
        Ready::Any(parts) => parts.iter().any(|part| holds(part, record)),
        Ready::Not(inner) => !holds(inner, record),
        Ready::Text(finder) => has_text(finder, record),
        Ready::Session(session) => record.session == Some(*session),
        Ready::Term(term) => term_holds(term, record),
    }
}

/// In the event itself, its session's circumstances, its prepared statement, its result.
fn has_text(finder: &Finder<'_>, record: &Record) -> bool {
    let is_in = |text: &str| finder.find(text.as_bytes()).is_some();
    is_in(&record.text)
        || record.prepared.as_ref().is_some_and(|prepared| is_in(&prepared.text))
        || record.result.as_ref().is_some_and(|result| is_in(&result.text))
        || record.context.as_ref().is_some_and(|context| is_in(&context.text))
}

fn term_holds(term: &Term, record: &Record) -> bool {
    let context = record.context.as_ref().map(|context| &context.facts);
    let own = &record.facts;
    let is = |pattern: &Pattern, text: Option<&str>| text.is_some_and(|text| pattern.matches(text));
    match term {
        // `Ready::Text` is compared elsewhere.
        Term::Text(_) => false,
        Term::Actor(pattern) => {
            let name = own.actor_name.as_deref().or(context.and_then(|c| c.actor_name.as_deref()));
            is(pattern, name)
                || (pattern.looks_like_id()
                    && record.actor.is_some_and(|actor| pattern.matches(&actor.to_string())))
        }
        Term::Kind(pattern) => pattern.matches(&record.code),
        Term::Resource(pattern) => {
            let name = own.resource.as_deref().or(context.and_then(|c| c.resource.as_deref()));
            let id = own.resource_id.as_deref().or(context.and_then(|c| c.resource_id.as_deref()));
            is(pattern, name) || is(pattern, id)
        }
        Term::Account(pattern) => {
            is(pattern, own.account.as_deref().or(context.and_then(|c| c.account.as_deref())))
        }
        Term::Session(pattern) => {
            record.session.is_some_and(|session| pattern.matches(&session.to_string()))
        }
        Term::Id(id) => record.id == Some(*id),
        Term::Outcome(word) => match record.outcome().status {
            Some(status) => status == *word,
            None => *word == "unknown" && record.awaits_result(),
        },
        Term::Allowed(allowed) => own.allowed.or(context.and_then(|c| c.allowed)) == Some(*allowed),
        Term::Effect(effect) => record.effects & effect_bit(*effect) != 0,
        Term::Source(net) => {
            own.ip.or(context.and_then(|c| c.ip)).is_some_and(|ip| net.contains(ip))
        }
        Term::Sqlstate(pattern) => is(pattern, record.outcome().sqlstate.as_deref()),
        Term::Since(us) => record.time_us >= *us,
        Term::Until(us) => record.time_us < *us,
        Term::Exit(bounds) => record.outcome().exit.is_some_and(|exit| bounds.contains(exit)),
        Term::Rows(bounds) => record.outcome().rows.is_some_and(|rows| bounds.contains(rows)),
        Term::DurationUs(bounds) => {
            record.outcome().duration_us.is_some_and(|took| bounds.contains(took))
        }
        Term::Bytes(bounds) => record.outcome().bytes.is_some_and(|bytes| bounds.contains(bytes)),
    }
}

/// What the bytes of a leaf must hold for the query to find its event; empty where nothing can be
/// said. Saves reading entries that cannot match.
pub(crate) fn needles(query: &Query) -> Vec<Finder<'static>> {
    let needle = |term: &Term| match term {
        Term::Id(id) => Some(format!("\"id\":\"{id}\"")),
        Term::Session(pattern) => pattern.whole().map(|id| format!("\"id\":\"{id}\"")),
        Term::Kind(pattern) => {
            let code = pattern.whole().filter(|code| *code != UNREADABLE);
            code.map(|code| format!("\"kind\":\"{code}\""))
        }
        _ => None,
    };
    let needles = query.required().filter_map(needle);
    needles.map(|needle| Finder::new(needle.as_bytes()).into_owned()).collect()
}
