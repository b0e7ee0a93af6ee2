//! Reads statements back from PostgreSQL's log.

/// The value of `log_line_prefix`: time, process, session, user, database and
/// application, each followed by a tab. The server writes no control character of
/// an application name, and starts only continuation lines with a tab, so a client
/// cannot forge a line.
pub(super) const PREFIX: &str = r"%m\t%p\t%c\t%u\t%d\t%a\t";

/// How many fields [`PREFIX`] has.
const PREFIX_FIELDS: usize = 6;

/// How a statement reached the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatementKind {
    /// One Query message of the simple protocol; its text may hold several statements.
    Simple,
    /// The first Execute of a portal.
    Execute {
        /// The prepared statement's name, `<unnamed>` for the unnamed one, with
        /// `/portal` behind it when the portal has a name.
        name: String,
    },
    /// A later Execute of the same portal, which only fetches more rows.
    Fetch {
        /// As in [`StatementKind::Execute`].
        name: String,
    },
}

/// A statement that the server says it received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedStatement {
    /// When it was logged, as the server wrote it (UTC, milliseconds).
    pub time: String,
    /// The server process that ran it.
    pub pid: u32,
    /// The server's id of the connection, unique also when process ids repeat.
    pub session: String,
    /// The database role.
    pub user: String,
    /// The database.
    pub database: String,
    /// The client's application name.
    pub application: String,
    /// How it came.
    pub kind: StatementKind,
    /// Its text.
    pub text: String,
    /// Parameter values as the server renders them (`$1 = '42', $2 = NULL`), if any.
    pub parameters: Option<String>,
}

/// The statements in the text of a log that was written with the kit's prefix.
///
/// A last line without its end (the server is writing it) is left out.
pub fn parse(log: &str) -> Vec<LoggedStatement> {
    let mut statements: Vec<LoggedStatement> = Vec::new();
    for record in records(log) {
        let Some((fields, message)) = split_prefix(&record) else { continue };
        if let Some(detail) = message.strip_prefix("DETAIL:  parameters: ") {
            // The server writes it directly behind the statement, in the same call.
            if let Some(last) = statements.last_mut() {
                last.parameters = Some(detail.to_string());
            }
            continue;
        }
        let Some((kind, text)) = statement(message) else { continue };
        let [time, pid, session, user, database, application] = fields;
        let Ok(pid) = pid.parse() else { continue };
        statements.push(LoggedStatement {
            time: time.to_string(),
            pid,
            session: session.to_string(),
            user: user.to_string(),
            database: database.to_string(),
            application: application.to_string(),
            kind,
            text: text.to_string(),
            parameters: None,
        });
    }
    statements
}

/// Joins continuation lines (which start with a tab) to the line they continue.
fn records(log: &str) -> Vec<String> {
    let whole = log.rfind('\n').and_then(|end| log.get(..end)).unwrap_or_default();
    let mut records: Vec<String> = Vec::new();
    for line in whole.split('\n') {
        match (line.strip_prefix('\t'), records.last_mut()) {
            (Some(rest), Some(record)) => {
                record.push('\n');
                record.push_str(rest);
            }
            _ => records.push(line.to_string()),
        }
    }
    records
}

/// Splits a record into the fields of the prefix and the message.
fn split_prefix(record: &str) -> Option<([&str; PREFIX_FIELDS], &str)> {
    let mut parts = record.splitn(PREFIX_FIELDS + 1, '\t');
    let mut fields = [""; PREFIX_FIELDS];
    for field in &mut fields {
        *field = parts.next()?;
    }
    Some((fields, parts.next()?))
}

/// The statement in a message, if it is about one.
fn statement(message: &str) -> Option<(StatementKind, &str)> {
    let message = message.strip_prefix("LOG:  ")?;
    if let Some(text) = message.strip_prefix("statement: ") {
        return Some((StatementKind::Simple, text));
    }
    if let Some(rest) = message.strip_prefix("execute fetch from ") {
        let (name, text) = rest.split_once(": ")?;
        return Some((StatementKind::Fetch { name: name.to_string() }, text));
    }
    let (name, text) = message.strip_prefix("execute ")?.split_once(": ")?;
    Some((StatementKind::Execute { name: name.to_string() }, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(application: &str, message: &str) -> String {
        format!("2026-01-01 10:00:00.000 UTC\t42\tabc.1\talice\tshop\t{application}\t{message}\n")
    }

    #[test]
    fn reads_simple_extended_and_fetch() {
        let log = [
            line("psql", "LOG:  statement: SELECT 1"),
            line("app", "LOG:  execute <unnamed>: SELECT $1"),
            line("app", "DETAIL:  parameters: $1 = 'x'"),
            line("app", "LOG:  execute fetch from s/p: SELECT 2"),
            line("app", "LOG:  connection received: host=127.0.0.1"),
            line("app", "ERROR:  syntax error at or near \"x\""),
            line("app", "STATEMENT:  x"),
        ]
        .concat();
        let found = parse(&log);
        assert_eq!(found.len(), 3);
        assert_eq!((&found[0].kind, found[0].text.as_str()), (&StatementKind::Simple, "SELECT 1"));
        assert_eq!(found[0].user, "alice");
        assert_eq!(found[0].pid, 42);
        assert_eq!(found[1].kind, StatementKind::Execute { name: "<unnamed>".into() });
        assert_eq!(found[1].parameters.as_deref(), Some("$1 = 'x'"));
        assert_eq!(found[2].kind, StatementKind::Fetch { name: "s/p".into() });
    }

    #[test]
    fn keeps_newlines_and_tabs_of_a_statement() {
        let log = line("psql", "LOG:  statement: SELECT 1,\n\t\t2\n\t") + &line("psql", "LOG:  x");
        assert_eq!(parse(&log)[0].text, "SELECT 1,\n\t2\n");
    }

    #[test]
    fn a_statement_cannot_forge_another() {
        let forged = "LOG:  statement: a\n\t2026-01-01 10:00:00.000 UTC\t1\tx\tbob\td\ta\tLOG:  \
                      statement: b";
        assert_eq!(parse(&line("psql", forged)).len(), 1);
    }

    #[test]
    fn an_unfinished_last_line_is_left_out() {
        let log = line("psql", "LOG:  statement: SELECT 1");
        assert_eq!(parse(log.trim_end()).len(), 0);
        assert_eq!(parse("").len(), 0);
    }
}
