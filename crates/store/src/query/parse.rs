//! From tokens to what must hold.

use super::lex::{Token, What, Word, tokens};
use super::value::{Bounds, Net, Pattern, count, duration_us, moment_us, size_bytes};
use super::{DEPTH_MAX, Expr, FIELDS, Query, QueryError, TERMS_MAX, TEXT_BYTES_MAX, Term};
use crate::record::UNREADABLE;
use loggia_model::Kind;
use loggia_model::catalogue::Effect;
use loggia_model::id::{EventId, SessionId};

/// How the outcome of an event is called in the log.
const OUTCOMES: &[&str] = &["ok", "error", "denied", "partial", "cancelled", "unknown"];
const QUOTE_HINT: &str = "to look for the text itself, put it in quotes";

/// Reads a query. `now_us` (microseconds since 1970) is what `since:1h` counts back from.
pub fn parse(text: &str, now_us: i64) -> Result<Query, QueryError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(QueryError::new(1, 1, format!("a query has at most {TEXT_BYTES_MAX} bytes")));
    }
    let tokens = tokens(text)?;
    let end = text.chars().count() + 1;
    let mut parser = Parser { tokens: &tokens, place: 0, end, now_us, terms: 0 };
    let expr = if tokens.is_empty() { Expr::All(Vec::new()) } else { parser.any(0)? };
    if let Some(token) = parser.peek() {
        // Only a closing parenthesis ends `any` before the end.
        return Err(QueryError::new(token.column, 1, "this parenthesis closes nothing")
            .hint("remove it, or put it in quotes to look for it"));
    }
    Ok(Query { expr, text: text.to_owned() })
}

struct Parser<'a> {
    tokens: &'a [Token],
    place: usize,
    end: usize,
    now_us: i64,
    terms: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.place)
    }

    fn next(&mut self) -> Option<&'a Token> {
        let token = self.tokens.get(self.place);
        self.place += 1;
        token
    }

    fn any(&mut self, depth: usize) -> Result<Expr, QueryError> {
        let mut parts = vec![self.all(depth)?];
        while self.peek().is_some_and(|token| token.what == What::Or) {
            self.next();
            parts.push(self.all(depth)?);
        }
        Ok(one_or(parts, Expr::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Expr, QueryError> {
        let mut parts = Vec::new();
        while let Some(token) = self.peek() {
            if matches!(token.what, What::Or | What::Close) {
                break;
            }
            parts.push(self.one(depth)?);
        }
        if parts.is_empty() {
            let (column, width, message) = match self.peek() {
                Some(token) if token.what == What::Or => {
                    (token.column, 2, "nothing stands before this OR")
                }
                Some(token) => (token.column, 1, "something to look for is missing here"),
                None => (self.end, 1, "the query ends where something to look for is needed"),
            };
            return Err(QueryError::new(column, width, message)
                .hint("to look for the word itself, put it in quotes: \"OR\""));
        }
        // What is cheap to look at goes first; the order does not matter otherwise.
        parts.sort_by_key(
            |part| !matches!(part, Expr::Term(term) if !matches!(term, Term::Text(_))),
        );
        Ok(one_or(parts, Expr::All))
    }

    fn one(&mut self, depth: usize) -> Result<Expr, QueryError> {
        let Some(token) = self.next() else {
            return Err(QueryError::new(self.end, 1, "something to look for is missing here"));
        };
        if depth >= DEPTH_MAX {
            let message = format!("nested more than {DEPTH_MAX} deep");
            return Err(QueryError::new(token.column, token.width, message));
        }
        match &token.what {
            What::Not => {
                let adjacent = self.peek().is_some_and(|next| next.column == token.column + 1);
                if !adjacent || self.peek().is_some_and(|next| matches!(next.what, What::Close)) {
                    return Err(QueryError::new(token.column, 1, "this - negates nothing").hint(
                        "write it right before what must not be: -outcome:ok; \
                         to look for it, put it in quotes: \"-\"",
                    ));
                }
                Ok(Expr::Not(Box::new(self.one(depth + 1)?)))
            }
            What::Open => {
                let inner = self.any(depth + 1)?;
                match self.next() {
                    Some(close) if close.what == What::Close => Ok(inner),
                    _ => Err(QueryError::new(token.column, 1, "this parenthesis is never closed")),
                }
            }
            What::Word(word) => {
                self.terms += 1;
                if self.terms > TERMS_MAX {
                    let message = format!("a query has at most {TERMS_MAX} terms");
                    return Err(QueryError::new(token.column, token.width, message));
                }
                term(word, token, self.now_us).map(Expr::Term)
            }
            // `all` stops before these.
            What::Or | What::Close => {
                Err(QueryError::new(token.column, token.width, "something is missing before this"))
            }
        }
    }
}

fn one_or(mut parts: Vec<Expr>, many: impl Fn(Vec<Expr>) -> Expr) -> Expr {
    match (parts.len(), parts.pop()) {
        (1, Some(one)) => one,
        (_, last) => {
            parts.extend(last);
            many(parts)
        }
    }
}

/// Lower case, runs of white space as one blank: how text is compared.
pub(crate) fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    fold_into(text, &mut folded);
    folded
}

/// Appends the folded text.
pub(crate) fn fold_into(text: &str, folded: &mut String) {
    let mut blank = false;
    for letter in text.chars() {
        if letter.is_whitespace() {
            blank = true;
            continue;
        }
        if blank {
            folded.push(' ');
            blank = false;
        }
        if letter.is_ascii() {
            folded.push(letter.to_ascii_lowercase());
        } else {
            folded.extend(letter.to_lowercase());
        }
    }
    if blank {
        folded.push(' ');
    }
}

fn term(word: &Word, token: &Token, now_us: i64) -> Result<Term, QueryError> {
    let Some(field) = &word.field else {
        if word.value.trim().is_empty() {
            return Err(QueryError::new(token.column, token.width, "these quotes are empty"));
        }
        return Ok(Term::Text(folded(&word.value)));
    };
    let name = field.to_ascii_lowercase();
    if word.value.is_empty() {
        let known = FIELDS.iter().find(|known| known.name == name);
        let error = QueryError::new(word.value_column, 1, format!("`{field}:` needs a value"));
        return Err(match known {
            Some(known) => error.hint(format!("{}, such as {}", known.values, known.example)),
            None => error,
        });
    }
    let value = Value { word };
    match name.as_str() {
        "actor" => Ok(Term::Actor(value.pattern())),
        "kind" => value.kind(),
        "resource" => Ok(Term::Resource(value.pattern())),
        "account" => Ok(Term::Account(value.pattern())),
        "session" => value.session(),
        "id" => value.read("id", |text| text.parse::<EventId>().ok()).map(Term::Id),
        "outcome" => {
            value.choice("outcome", OUTCOMES, |word| *word).map(|word| Term::Outcome(word))
        }
        "decision" => value
            .choice("decision", &["allow", "deny"], |word| *word)
            .map(|word| Term::Allowed(*word == "allow")),
        "effect" => value.choice("effect", &Effect::ALL, |e| e.as_str()).map(|e| Term::Effect(*e)),
        "source" => value.read("source", Net::parse).map(Term::Source),
        "sqlstate" => Ok(Term::Sqlstate(value.pattern())),
        "since" => value.read("since", |text| moment_us(text, now_us)).map(Term::Since),
        "until" => value.read("until", |text| moment_us(text, now_us)).map(Term::Until),
        "exit" => value.read("exit", |text| Bounds::parse(text, count)).map(Term::Exit),
        "rows" => value.read("rows", |text| Bounds::parse(text, count)).map(Term::Rows),
        "duration" => {
            value.read("duration", |text| Bounds::parse(text, duration_us)).map(Term::DurationUs)
        }
        "bytes" => value.read("bytes", |text| Bounds::parse(text, size_bytes)).map(Term::Bytes),
        _ => {
            let message = format!("there is no field `{field}`");
            let hint = match nearest(&name, FIELDS.iter().map(|field| field.name)) {
                Some(near) => format!("did you mean `{near}:`? {QUOTE_HINT}"),
                None => {
                    let names: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
                    format!("fields are {}; {QUOTE_HINT}", names.join(", "))
                }
            };
            Err(QueryError::new(token.column, field.chars().count() + 1, message).hint(hint))
        }
    }
}

fn nearest<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|name| (strsim::damerau_levenshtein(text, name), name));
    scored.filter(|(distance, _)| *distance <= 1 + text.len() / 4).min().map(|(_, name)| name)
}

/// The value of a field, being read.
struct Value<'a> {
    word: &'a Word,
}

impl Value<'_> {
    fn wrong(&self, message: impl Into<String>) -> QueryError {
        let quotes = if self.word.quoted { 2 } else { 0 };
        let width = self.word.value.chars().count() + quotes;
        QueryError::new(self.word.value_column, width, message)
    }

    fn pattern(&self) -> Pattern {
        Pattern::new(&self.word.value, self.word.quoted)
    }

    fn read<T>(&self, field: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, QueryError> {
        read(&self.word.value).ok_or_else(|| {
            let known = FIELDS.iter().find(|known| known.name == field);
            let error = self.wrong(format!("`{}` is no value of `{field}:`", self.word.value));
            match known {
                Some(known) => error.hint(format!("{}, such as {}", known.values, known.example)),
                None => error,
            }
        })
    }

    fn choice<'c, T>(
        &self,
        field: &str,
        choices: &'c [T],
        name: impl Fn(&T) -> &'static str,
    ) -> Result<&'c T, QueryError> {
        let wanted = self.word.value.to_ascii_lowercase();
        if let Some(choice) = choices.iter().find(|choice| name(choice) == wanted) {
            return Ok(choice);
        }
        let error = self.wrong(format!("`{}` is no value of `{field}:`", self.word.value));
        let names: Vec<&str> = choices.iter().map(&name).collect();
        Err(match nearest(&wanted, names.iter().copied()) {
            Some(near) => error.hint(format!("did you mean `{field}:{near}`?")),
            None => error.hint(format!("one of {}", names.join(", "))),
        })
    }

    fn kind(&self) -> Result<Term, QueryError> {
        let pattern = self.pattern();
        let codes = || Kind::ALL.iter().map(|kind| kind.code()).chain([UNREADABLE]);
        if codes().any(|code| pattern.matches(code)) {
            return Ok(Term::Kind(pattern));
        }
        let error = self.wrong(format!("there is no kind of event `{}`", self.word.value));
        Err(match nearest(pattern.start(), codes()) {
            Some(near) => error.hint(format!("did you mean `kind:{near}`?")),
            None => error.hint(
                "kinds are such as sql.statement, ssh.exec, session.start, auth.login; \
                                a star stands for the rest: sql.*",
            ),
        })
    }

    fn session(&self) -> Result<Term, QueryError> {
        let pattern = self.pattern();
        if pattern.whole().is_none_or(|id| id.parse::<SessionId>().is_ok()) {
            return Ok(Term::Session(pattern));
        }
        Err(self
            .wrong(format!("`{}` is not the id of a session", self.word.value))
            .hint("an id has 29 characters and begins with se_; a shortened one ends in *"))
    }
}
