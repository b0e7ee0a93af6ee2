//! What a client is told, in the protocol's own words: SQLSTATE, message, detail, hint.

use crate::codec::encode::{Report, Severity};
use loggia_model::{Fault, PublicError};

/// invalid_authorization_specification.
pub(crate) const INVALID_AUTHORIZATION: &str = "28000";
/// protocol_violation.
pub(crate) const PROTOCOL_VIOLATION: &str = "08P01";
/// insufficient_privilege.
pub(crate) const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// program_limit_exceeded.
pub(crate) const LIMIT_EXCEEDED: &str = "54000";
/// admin_shutdown: clients know it as "the session was ended from outside".
pub(crate) const ADMIN_SHUTDOWN: &str = "57P01";
/// disk_full.
pub(crate) const DISK_FULL: &str = "53100";
/// system_error: a failure of the gateway itself.
pub(crate) const SYSTEM_ERROR: &str = "58000";
/// successful_completion, which every notice carries.
pub(crate) const SUCCESS: &str = "00000";

/// The SQLSTATE for an error that keeps a client from having a session.
fn sqlstate(error: &PublicError) -> &'static str {
    match error.code {
        "unknown_resource" | "unknown_database" => "3D000",
        "unknown_account" | "wrong_person" => INVALID_AUTHORIZATION,
        "denied" | "locked" => INSUFFICIENT_PRIVILEGE,
        "unrecordable" => DISK_FULL,
        "limit" => "53300",
        "target_down" => "08001",
        "target_tls" | "target_auth" | "target_refused" => "08004",
        _ => match error.fault {
            Fault::Client => INVALID_AUTHORIZATION,
            Fault::Policy => INSUFFICIENT_PRIVILEGE,
            Fault::Target => "08001",
            Fault::Gateway => SYSTEM_ERROR,
        },
    }
}

/// The report of an error that ends a connection.
pub(crate) fn fatal(error: &PublicError) -> Report {
    Report {
        severity: Severity::Fatal,
        sqlstate: sqlstate(error),
        message: error.message.clone(),
        detail: error.detail.clone(),
        hint: error.hint.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_never_told() {
        let error = PublicError::new("target_down", Fault::Target, "no way through")
            .detail("more")
            .hint("do this")
            .cause("10.0.0.7:5432: connection refused");
        let report = fatal(&error);
        assert_eq!(report.sqlstate, "08001");
        assert!(!format!("{report:?}").contains("10.0.0.7"));
    }
}
