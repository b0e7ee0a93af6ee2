//! The query language, from text to [`Expr`]. Pure: the time is a parameter.
//!
//! ```text
//! query  = any
//! any    = all { "OR" all }
//! all    = one { one }                       terms next to each other must all hold
//! one    = "-" one | "(" any ")" | [ field ":" ] value
//! value  = word | '"' … '"'                  \" and \\ inside quotes
//! ```
//!
//! Text without a field is looked for in every string of an event, upper and lower case alike,
//! any run of white space being one blank. [`FIELDS`] lists the fields.

mod lex;
mod parse;
mod value;

#[cfg(test)]
mod tests;

pub use parse::parse;
pub(crate) use parse::{fold_into, folded};
pub use value::{Bounds, Net, Pattern};

use loggia_model::Kind;
use loggia_model::catalogue::Effect;
use loggia_model::id::EventId;
use std::fmt;

/// A query is at most this long, in bytes.
pub const TEXT_BYTES_MAX: usize = loggia_api::audit::QUERY_BYTES_MAX;
/// A query has at most this many terms.
pub const TERMS_MAX: usize = 200;
/// Parentheses and negations are nested at most this deep.
pub const DEPTH_MAX: usize = 32;

/// A field of the language.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name, before the colon.
    pub name: &'static str,
    /// What its value may be.
    pub values: &'static str,
    /// An example.
    pub example: &'static str,
}

const fn field(name: &'static str, values: &'static str, example: &'static str) -> Field {
    Field { name, values, example }
}

/// Every field, in the order of the reference.
pub const FIELDS: &[Field] = &[
    field("actor", "name or id of who acted; may end in *", "actor:alice"),
    field("kind", "code of the event; may end in *", "kind:sql.*"),
    field("resource", "name or id of a resource; may end in *", "resource:shop"),
    field("account", "account on the target; may end in *", "account:app"),
    field("session", "id of a session; may end in *", "session:se_01h455*"),
    field("id", "id of an event", "id:ev_01h455vb4pex5vsknk084sn02q"),
    field("outcome", "ok, error, denied, partial, cancelled or unknown", "outcome:error"),
    field("decision", "allow or deny", "decision:deny"),
    field(
        "effect",
        "config, delete, execute, export, privilege, read, secret, session, unknown or write",
        "effect:write",
    ),
    field("source", "address or network the actor came from", "source:10.0.0.0/8"),
    field("sqlstate", "SQLSTATE of an error; may end in *", "sqlstate:42*"),
    field("exit", "exit status of a program; with >, >=, <, <= or a..b", "exit:>0"),
    field("since", "time ago, date or RFC 3339 time; inclusive", "since:1h"),
    field("until", "time ago, date or RFC 3339 time; exclusive", "until:2026-11-01"),
    field("rows", "number of rows; with >, >=, <, <= or a..b", "rows:>100"),
    field("duration", "how long it took; with >, >=, <, <= or a..b", "duration:>1s"),
    field("bytes", "bytes of the answer; with >, >=, <, <= or a..b", "bytes:>1MiB"),
];

/// A query that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// What must hold.
    pub expr: Expr,
    /// The query as it was typed.
    pub text: String,
}

/// What must hold for an event to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// All of them; of none: every event.
    All(Vec<Expr>),
    /// At least one of them.
    Any(Vec<Expr>),
    /// The contrary.
    Not(Box<Expr>),
    /// One term.
    Term(Term),
}

/// One term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    /// Stands somewhere in the event: lower case, white space as single blanks.
    Text(String),
    /// Name or id of the actor.
    Actor(Pattern),
    /// Code of the kind.
    Kind(Pattern),
    /// Name or id of the resource.
    Resource(Pattern),
    /// Account on the target.
    Account(Pattern),
    /// Id of the session.
    Session(Pattern),
    /// Id of the event.
    Id(EventId),
    /// How it went: a word of the log.
    Outcome(&'static str),
    /// What was decided: `true` for allow.
    Allowed(bool),
    /// One of its effects.
    Effect(Effect),
    /// Where the actor came from.
    Source(Net),
    /// SQLSTATE of the error.
    Sqlstate(Pattern),
    /// Exit status of a program.
    Exit(Bounds),
    /// At this time or later, microseconds since 1970.
    Since(i64),
    /// Before this time, microseconds since 1970.
    Until(i64),
    /// Number of rows.
    Rows(Bounds),
    /// Microseconds that it took.
    DurationUs(Bounds),
    /// Bytes of the answer.
    Bytes(Bounds),
}

/// Why a text is not a query, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryError {
    /// Where it goes wrong: characters from 1.
    pub column: usize,
    /// How many characters are wrong, at least 1.
    pub width: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl QueryError {
    fn new(column: usize, width: usize, message: impl Into<String>) -> Self {
        Self { column, width: width.max(1), message: message.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The query with the wrong place marked below it: two lines.
    pub fn marked(&self, text: &str) -> String {
        let line: String =
            text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        let indent = " ".repeat(self.column.saturating_sub(1));
        format!("{line}\n{indent}{}", "^".repeat(self.width))
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.message)
    }
}

impl std::error::Error for QueryError {}

impl Query {
    /// The terms that every event found must satisfy, as far as the shape of the query shows it.
    pub fn required(&self) -> impl Iterator<Item = &Term> {
        let all: &[Expr] = match &self.expr {
            Expr::All(all) => all,
            one => std::slice::from_ref(one),
        };
        all.iter().filter_map(|expr| match expr {
            Expr::Term(term) => Some(term),
            _ => None,
        })
    }

    /// The earliest time an event found can have, microseconds since 1970.
    pub fn since_us(&self) -> Option<i64> {
        let since = |term: &Term| if let Term::Since(us) = term { Some(*us) } else { None };
        self.required().filter_map(since).max()
    }

    /// The time before which every event found is, microseconds since 1970.
    pub fn until_us(&self) -> Option<i64> {
        let until = |term: &Term| if let Term::Until(us) = term { Some(*us) } else { None };
        self.required().filter_map(until).min()
    }

    /// Whether results are asked for by themselves. Otherwise they are found with their actions,
    /// and that a recording grew is shown with its session.
    pub fn wants_results(&self) -> bool {
        let beside = |kind: &&Kind| kind.is_result() || **kind == Kind::RecordingGrown;
        self.expr.any_term(&|term| match term {
            Term::Id(_) => true,
            Term::Kind(pattern) => {
                Kind::ALL.iter().filter(beside).any(|kind| pattern.is_exactly(kind.code()))
            }
            _ => false,
        })
    }
}

impl Expr {
    fn any_term(&self, is: &dyn Fn(&Term) -> bool) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(|part| part.any_term(is)),
            Self::Not(inner) => inner.any_term(is),
            Self::Term(term) => is(term),
        }
    }
}
