//! Compares the target's own log with the ledger.

use std::collections::HashMap;

use anyhow::{Result, bail};
use loggia_model::Value;

use crate::gateway::RecordedStatement;
use crate::postgres::{LoggedStatement, StatementKind};

/// How many missing statements an error names.
const NAMED: usize = 10;

/// A statement as both sides know it: its text and, where it was bound, its parameters as
/// PostgreSQL prints them.
type Key = (String, Option<String>);

/// Fails, naming them, where the target received statements that the ledger does not have. Counts
/// repeat: a statement that was received twice must have been recorded twice.
///
/// Later fetches from a portal are not statements of their own and are left out.
pub fn nothing_missing(received: &[LoggedStatement], recorded: &[RecordedStatement]) -> Result<()> {
    let mut counts: HashMap<Key, i64> = HashMap::new();
    for statement in recorded {
        // A name that SQL made (PREPARE) has no text in the ledger; nothing here uses one.
        let Some(text) = &statement.text else { continue };
        let parameters = statement.parameters.as_deref().map(rendered);
        *counts.entry((text.clone(), parameters)).or_default() += 1;
    }
    let mut missing = Vec::new();
    for statement in received {
        let bound = match statement.kind {
            StatementKind::Simple => None,
            StatementKind::Execute { .. } => Some(statement.parameters.clone().unwrap_or_default()),
            StatementKind::Fetch { .. } => continue,
        };
        let left = counts.entry((statement.text.clone(), bound)).or_default();
        *left -= 1;
        if *left < 0 {
            missing.push(format!(
                "{} {:?} {} {}",
                statement.time,
                statement.kind,
                statement.text,
                statement.parameters.as_deref().unwrap_or_default()
            ));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let named: Vec<&str> = missing.iter().take(NAMED).map(String::as_str).collect();
    bail!(
        "{} of {} statements that the target received are not in the ledger:\n{}",
        missing.len(),
        received.len(),
        named.join("\n")
    )
}

/// Parameters as PostgreSQL prints them: `$1 = '42', $2 = NULL`.
fn rendered(parameters: &[Value]) -> String {
    let shown = parameters.iter().enumerate().map(|(place, value)| match value.as_str() {
        Some(text) => format!("${} = '{}'", place + 1, text.replace('\'', "''")),
        None => format!("${} = NULL", place + 1),
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(text: &str, parameters: Option<&str>) -> LoggedStatement {
        let kind = match parameters {
            None => StatementKind::Simple,
            Some(_) => StatementKind::Execute { name: "s".into() },
        };
        LoggedStatement {
            time: String::new(),
            pid: 1,
            session: String::new(),
            user: String::new(),
            database: String::new(),
            application: String::new(),
            kind,
            text: text.into(),
            parameters: parameters.map(Into::into),
        }
    }

    fn recorded(text: &str, parameters: Option<Vec<Value>>) -> RecordedStatement {
        RecordedStatement {
            index: 0,
            id: String::new(),
            session: String::new(),
            actor: String::new(),
            text: Some(text.into()),
            parameters,
        }
    }

    #[test]
    fn each_statement_is_needed_as_often_as_it_was_received() {
        let twice = [received("a", None), received("a", None)];
        let once = [recorded("a", None)];
        let said = nothing_missing(&twice, &once).unwrap_err().to_string();
        assert!(said.starts_with("1 of 2 statements"), "{said}");
        nothing_missing(&twice, &[once[0].clone(), once[0].clone()]).unwrap();
        nothing_missing(&[], &once).unwrap();
    }

    #[test]
    fn parameters_count_and_are_compared_as_the_server_prints_them() {
        let null = Value::object([("null", Value::Bool(true))]);
        let values = vec![Value::Str("it's".into()), null];
        let ledger = [recorded("a", Some(values))];
        nothing_missing(&[received("a", Some("$1 = 'it''s', $2 = NULL"))], &ledger).unwrap();
        nothing_missing(&[received("a", Some("$1 = 'its', $2 = NULL"))], &ledger).unwrap_err();
        nothing_missing(&[received("a", None)], &ledger).unwrap_err();
    }
}
