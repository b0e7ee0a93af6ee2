//! The closed catalogue of events: one stable code for each kind, what its fields mean, which of
//! them are sealed, and a real example. The reference documentation is generated from it.
//!
//! A field that is not listed here cannot be written: [`crate::event::EventDraft::set`] refuses it.

use crate::value::Value;

/// What an event does to the world, for policies, searches and alerts. A closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each name says all there is to say")]
pub enum Effect {
    Config,
    Delete,
    Execute,
    Export,
    Privilege,
    Read,
    Secret,
    Session,
    Unknown,
    Write,
}

impl Effect {
    /// All of them, in the order of their words.
    pub const ALL: [Self; 10] = [
        Self::Config,
        Self::Delete,
        Self::Execute,
        Self::Export,
        Self::Privilege,
        Self::Read,
        Self::Secret,
        Self::Session,
        Self::Unknown,
        Self::Write,
    ];

    /// The word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Delete => "delete",
            Self::Execute => "execute",
            Self::Export => "export",
            Self::Privilege => "privilege",
            Self::Read => "read",
            Self::Secret => "secret",
            Self::Session => "session",
            Self::Unknown => "unknown",
            Self::Write => "write",
        }
    }
}

/// One field of a kind.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// RFC 6901 pointer of the field in the event.
    pub pointer: &'static str,
    /// Whether it stands behind a commitment.
    pub sealed: bool,
    /// What it means, with its unit.
    pub meaning: &'static str,
}

const fn plain(pointer: &'static str, meaning: &'static str) -> Field {
    Field { pointer, sealed: false, meaning }
}

const fn sealed(pointer: &'static str, meaning: &'static str) -> Field {
    Field { pointer, sealed: true, meaning }
}

/// Fields that any kind may carry. A session's `session.start` states them once; another event
/// of the session repeats only what differs.
pub const COMMON_FIELDS: &[Field] = &[
    sealed("/actor/name", "name of the actor"),
    plain("/actor/type", "human, service, pipeline, third_party, agent or system"),
    plain(
        "/actor/authn",
        "how the actor was authenticated: client_certificate, token, ssh_certificate, ssh_key, password_totp, key_challenge, enrolment, cancel_key or local",
    ),
    plain("/actor/credential", "id of the credential"),
    plain("/actor/on_behalf_of", "id of the identity for whom the actor acts"),
    plain("/decision/effect", "allow or deny"),
    plain("/decision/policies", "ids of the policies that decided"),
    plain("/decision/policy_set", "hash of the policy set (hex)"),
    sealed("/intent/reason", "the stated reason"),
    plain("/intent/ticket", "ticket number"),
    plain("/resource/id", "id of the resource"),
    plain("/resource/name", "name of the resource"),
    plain("/resource/protocol", "postgres or ssh"),
    plain("/resource/account", "account used on the target"),
    plain("/resource/database", "database that was asked for"),
    sealed("/source/ip", "address the actor came from"),
    plain("/source/port", "port the actor came from"),
    plain("/outcome/status", "ok, error, denied, partial, cancelled or unknown"),
    plain("/outcome/code", "stable code of a failure"),
    plain("/outcome/duration_us", "microseconds from forwarding to the end of the answer"),
];

/// What the catalogue knows of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// The code in the log.
    pub code: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// The usual effects; a front end may give others.
    pub effects: &'static [Effect],
    /// The fields of this kind beside [`COMMON_FIELDS`].
    pub fields: &'static [Field],
    /// An example of values for a real event: pointer and value as JSON.
    pub example: &'static [(&'static str, &'static str)],
}

macro_rules! catalogue {
    ($($name:ident = $code:literal, $summary:literal, [$($effect:ident),*], [$($field:expr),* $(,)?], [$(($pointer:literal, $value:literal)),* $(,)?];)*) => {
        /// The kind of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "the catalogue's summary says what each kind is")]
        pub enum Kind { $($name),* }

        impl Kind {
            /// Every kind, in the order of the reference.
            pub const ALL: &'static [Kind] = &[$(Kind::$name),*];

            /// What the catalogue says of this kind.
            pub const fn spec(self) -> &'static Spec {
                match self {
                    $(Kind::$name => {
                        const SPEC: &Spec = &Spec {
                            code: $code,
                            summary: $summary,
                            effects: &[$(Effect::$effect),*],
                            fields: &[$($field),*],
                            example: &[$(($pointer, $value)),*],
                        };
                        SPEC
                    })*
                }
            }
        }
    };
}

catalogue! {
    NodeBoot = "node.boot", "A gateway node started on this log.", [Config],
        [plain("/detail/binary", "SHA-256 of the program, self-reported (hex)"),
         plain("/detail/version", "version of the program"),
         plain("/detail/config", "SHA-256 of the effective configuration, self-reported (hex)"),
         plain("/detail/clean", "whether the previous boot ended cleanly"),
         plain("/detail/checkpoint_copy", "ok or absent: the second place of the last checkpoint"),
         plain("/detail/previous_boot", "number of the previous boot"),
         plain("/detail/possible_gap", "after an unclean end: how the machine's death may have lost entries"),
         plain("/detail/recovered", "entries taken over from the write-ahead log"),
         plain("/detail/clock", "source of the wall clock"),
         plain("/detail/epoch", "number of the log's epoch")],
        [("/detail/version", "\"0.1.0\""), ("/detail/clean", "true"), ("/detail/epoch", "1")];
    NodeHeartbeat = "node.heartbeat", "The node is alive; counters since its boot.", [Session],
        [plain("/detail/sessions_open", "sessions open now"),
         plain("/detail/events", "events since boot"),
         plain("/detail/clock", "source of the wall clock"),
         plain("/detail/sync_lag_us", "largest time from write to disk since the last heartbeat, microseconds")],
        [("/detail/sessions_open", "3"), ("/detail/events", "4711")];
    NodeShutdown = "node.shutdown", "The node ended in good order.", [Config],
        [plain("/detail/reason", "why")],
        [("/detail/reason", "\"signal\"")];
    ClockStepped = "clock.stepped", "The wall clock went backwards by more than a second.", [Config],
        [plain("/detail/from_us", "last time stamped, microseconds since 1970"),
         plain("/detail/to_us", "time from here on, microseconds since 1970")],
        [("/detail/from_us", "1790000000000000"), ("/detail/to_us", "1789999990000000")];
    WitnessLagging = "witness.lagging", "A witness has not cosigned for longer than it may.", [Config],
        [plain("/detail/witness", "name of the witness in the configuration"),
         plain("/detail/cosigned_size", "entries of the last checkpoint that it cosigned"),
         plain("/detail/published_size", "entries of the last checkpoint"),
         plain("/detail/lag_s", "time since the first checkpoint that it has not cosigned was published, seconds"),
         plain("/detail/reason", "what its last answer was")],
        [("/detail/witness", "\"auditor\""), ("/detail/cosigned_size", "70000"), ("/detail/lag_s", "61"), ("/detail/reason", "\"unreachable\"")];
    WitnessRefused = "witness.refused", "A witness refused a checkpoint of this log, or answered falsely.", [Config],
        [plain("/detail/witness", "name of the witness in the configuration"),
         plain("/detail/size", "entries of the checkpoint"),
         plain("/detail/seen", "entries that the witness says it has seen"),
         plain("/detail/status", "HTTP status of its answer"),
         plain("/detail/reason", "stable code: fork, ahead, signature, unknown_log, malformed, false_answer")],
        [("/detail/witness", "\"auditor\""), ("/detail/size", "70000"), ("/detail/status", "422"), ("/detail/reason", "\"fork\"")];
    WitnessCosigns = "witness.cosigns", "A witness that lagged or refused cosigns again.", [Config],
        [plain("/detail/witness", "name of the witness in the configuration"),
         plain("/detail/cosigned_size", "entries of the checkpoint that it cosigned")],
        [("/detail/witness", "\"auditor\""), ("/detail/cosigned_size", "70060")];
    EpochClosed = "epoch.closed", "The last entry of a log's epoch; names the next.", [Config],
        [plain("/detail/origin", "origin of the next epoch"),
         plain("/detail/key", "verification key of the next epoch"),
         sealed("/detail/reason", "why the operator opened a new epoch")],
        [("/detail/origin", "\"loggia.internal/main/nd_01h455vb4pex5vsknk084sn02q/e2\""), ("/detail/reason", "\"restored from backup\"")];
    EpochOpened = "epoch.opened", "The first entry of a new epoch; names the one before.", [Config],
        [plain("/detail/origin", "origin of the previous epoch"),
         plain("/detail/key", "verification key of this epoch"),
         plain("/detail/previous_key", "verification key of the previous epoch"),
         plain("/detail/size", "size of the previous epoch's last checkpoint"),
         plain("/detail/root", "root of the previous epoch's last checkpoint (base64)"),
         sealed("/detail/reason", "why the operator opened a new epoch")],
        [("/detail/size", "70000"), ("/detail/reason", "\"restored from backup\"")];
    KeyRotated = "key.rotated", "The log goes on under a new key; the old and the new one sign that.", [Config],
        [plain("/detail/key", "the verification key from here on"),
         plain("/detail/previous_key", "the verification key until here"),
         plain("/detail/size", "entries of the log when both keys signed"),
         plain("/detail/root", "root of their tree (base64)"),
         plain("/detail/statement", "the statement as a signed note, with the signatures of both keys"),
         sealed("/detail/reason", "why the operator changed the key")],
        [("/detail/size", "70000"), ("/detail/reason", "\"yearly\"")];
    SignerFailed = "signer.failed", "The log's key does not sign; checkpoints wait, the log grows.", [Config],
        [plain("/detail/key", "id of the key"),
         plain("/detail/published_size", "entries of the last checkpoint"),
         plain("/detail/reason", "stable code: refused, slow, false_signature")],
        [("/detail/key", "\"e21d8431\""), ("/detail/published_size", "70000"), ("/detail/reason", "\"slow\"")];
    SignerRestored = "signer.restored", "The log's key signs again.", [Config],
        [plain("/detail/key", "id of the key"),
         plain("/detail/published_size", "entries of the last checkpoint before")],
        [("/detail/key", "\"e21d8431\""), ("/detail/published_size", "70000")];
    StrangerRefused = "stranger.refused", "A connection ended before anyone was identified.", [Session],
        [plain("/detail/listener", "which door"),
         plain("/detail/reason", "stable code of the refusal"),
         sealed("/detail/claimed", "who the stranger claimed to be")],
        [("/detail/listener", "\"postgres\""), ("/detail/reason", "\"malformed\""), ("/source/ip", "\"127.0.0.1\"")];
    StrangerSummary = "stranger.summary", "Refusals that were counted and not written one by one.", [Session],
        [plain("/detail/listener", "which door"),
         plain("/detail/count", "refusals in the minute beyond those written"),
         plain("/detail/sources", "number of different sources among them")],
        [("/detail/listener", "\"postgres\""), ("/detail/count", "1200"), ("/detail/sources", "3")];
    AuthLogin = "auth.login", "A person or service proved who they are.", [Session],
        [plain("/detail/method", "password_totp or key_challenge")],
        [("/detail/method", "\"password_totp\""), ("/outcome/status", "\"ok\"")];
    AuthLoginFailed = "auth.login_failed", "A login failed.", [Session],
        [plain("/detail/method", "password_totp, key_challenge or enrolment"),
         plain("/detail/reason", "stable code: wrong_password, wrong_code, code_used, wrong_signature, wrong_challenge, unknown, disabled or throttled"),
         sealed("/detail/claimed", "the user name as typed")],
        [("/detail/reason", "\"wrong_password\""), ("/detail/claimed", "\"alice\"")];
    AuthLogout = "auth.logout", "An identity gave its credentials back.", [Session],
        [plain("/detail/credentials", "number of credentials revoked")],
        [("/detail/credentials", "2")];
    AuthEnrolled = "auth.enrolled", "A person took up their account with an enrolment code.", [Session, Privilege],
        [], [("/outcome/status", "\"ok\"")];
    CredentialMinted = "credential.minted", "A short-lived credential is about to be issued; it carries this entry's index.", [Secret],
        [plain("/detail/credential", "id of the credential"),
         plain("/detail/type", "x509, ssh or token"),
         plain("/detail/serial", "serial number of the certificate (hex)"),
         plain("/detail/spki", "SHA-256 of the subject public key info (hex)"),
         plain("/detail/fingerprint", "fingerprint of the SSH key, as OpenSSH writes it"),
         plain("/detail/expires_us", "end of validity, microseconds since 1970")],
        [("/detail/type", "\"x509\""), ("/detail/expires_us", "1790028800000000")];
    CredentialRevoked = "credential.revoked", "A credential ended before its time.", [Secret],
        [plain("/detail/credential", "id of the credential"), plain("/detail/reason", "logout, disabled or operator")],
        [("/detail/reason", "\"logout\"")];
    SessionStart = "session.start", "A session was allowed and is about to be dialled.", [Session],
        [plain("/detail/protocol", "postgres or ssh"),
         plain("/detail/depth", "disk or kernel: how safe a record is before its action is forwarded"),
         sealed("/detail/application", "what the client calls itself"),
         sealed("/detail/options", "start-up parameters as sent")],
        [("/actor/name", "\"alice\""), ("/detail/protocol", "\"postgres\""), ("/detail/depth", "\"disk\""),
         ("/resource/name", "\"shop\""), ("/resource/account", "\"app\""), ("/decision/effect", "\"allow\"")];
    SessionContext = "session.context", "What `session.start` said has changed.", [Session], [],
        [("/resource/account", "\"readonly\"")];
    SessionRefused = "session.refused", "An identified actor was not let through.", [Session],
        [plain("/detail/reason", "stable code: denied, locked, wrong_person, unknown_resource, unknown_account or unrecordable"),
         sealed("/detail/wanted", "the resource as it was asked for"),
         sealed("/detail/cause", "what the target or the network said")],
        [("/detail/reason", "\"denied\""), ("/decision/effect", "\"deny\""), ("/outcome/status", "\"denied\"")];
    SessionEnd = "session.end", "The session is over; nothing was forwarded after this.", [Session],
        [plain("/detail/reason", "client_closed, target_closed, ended, locked, expired, logged_out, idle_limit, time_limit, bytes_limit, unrecordable, protocol_error, gateway_fault, panic, shutdown, target_down, target_tls, target_auth, target_refused or gateway_died"),
         plain("/detail/events", "events of the session before this one"),
         plain("/detail/actions", "actions forwarded"),
         plain("/detail/results_unrecorded", "results that could not be written one by one"),
         plain("/detail/bytes_in", "bytes from the client to the target"),
         plain("/detail/bytes_out", "bytes from the target to the client"),
         plain("/detail/recording_frames", "frames of the session's recording, where it has one"),
         plain("/detail/recording_bytes", "length of the recording's file, bytes"),
         plain("/detail/recording_root", "root of the session's recording (hex)"),
         plain("/detail/recording_beyond_bytes", "bytes that came after the recording's limit and are not kept"),
         plain("/detail/recording_beyond_sha256", "SHA-256 of these bytes (hex)"),
         plain("/detail/by", "id of the operator who ended it"),
         sealed("/detail/note", "the reason that was shown to the person")],
        [("/detail/reason", "\"client_closed\""), ("/detail/actions", "12"), ("/detail/bytes_in", "830"), ("/detail/bytes_out", "41200")];
    SqlPrepare = "sql.prepare", "A statement is about to be parsed and planned under a name.", [Unknown],
        [sealed("/detail/text", "the statement"),
         sealed("/detail/name", "name of the prepared statement; empty is the unnamed one"),
         sealed("/detail/types", "OIDs of the types that the client gives the parameters, in order; 0, and what is left out, the server infers")],
        [("/detail/text", "\"select * from orders where id = $1\""), ("/detail/name", "\"S_1\""), ("/detail/types", "[23]")];
    SqlStatement = "sql.statement", "A statement is about to be run: one Query message, or one Bind.", [Unknown],
        [sealed("/detail/text", "the statement (simple protocol)"),
         sealed("/detail/parameters", "the parameter values of a Bind, in order; a NULL is {\"null\":true}, a value in binary format is {\"b64\":…}"),
         sealed("/detail/result_formats", "formats of the result's columns as the client asked, where not all is text: 0 is text, 1 is binary; one number counts for all columns"),
         plain("/detail/prepared", "id of the sql.prepare whose text runs, as far as the name tells: code in the target that this session did not make can put another statement under it"),
         plain("/detail/unresolved", "true when the name was not made by a Parse that Loggia saw"),
         sealed("/detail/name", "name of the prepared statement, where it is unresolved"),
         sealed("/detail/portal", "name of the portal, where it has one")],
        [("/detail/text", "\"drop table orders\"")];
    SqlFetch = "sql.fetch", "More rows of a portal are about to be fetched.", [Unknown],
        [plain("/detail/of", "id of the sql.statement that opened the portal"),
         sealed("/detail/portal", "name of the portal"),
         plain("/detail/rows_max", "rows asked for; 0 is all")],
        [("/detail/rows_max", "100")];
    SqlCall = "sql.call", "A function is about to be called by the function call message.", [Unknown],
        [plain("/detail/oid", "OID of the function"), sealed("/detail/arguments", "the arguments, in order"),
         sealed("/detail/result_formats", "[1] where the client asked for the result in binary format")],
        [("/detail/oid", "2200"), ("/detail/arguments", "[\"1\"]")];
    SqlResult = "sql.result", "What an action gave.", [],
        [plain("/detail/of", "id of the action"),
         plain("/outcome/tag", "command tag of the server, such as SELECT 5"),
         plain("/outcome/rows", "rows returned or affected"),
         plain("/outcome/bytes", "bytes of the answer"),
         plain("/outcome/sqlstate", "SQLSTATE of an error"),
         sealed("/outcome/message", "message of an error"),
         plain("/outcome/commands", "for several commands in one message: tag and rows of each"),
         plain("/outcome/not_executed", "true: the server skipped it after an earlier error"),
         plain("/outcome/copied_bytes", "bytes of COPY data"),
         plain("/outcome/copied_rows", "CopyData messages"),
         plain("/outcome/copied_sha256", "running hash over the COPY data (hex)")],
        [("/outcome/status", "\"ok\""), ("/outcome/tag", "\"SELECT 5\""), ("/outcome/rows", "5"), ("/outcome/bytes", "214"), ("/outcome/duration_us", "310")];
    SqlCancel = "sql.cancel", "A running statement is about to be cancelled.", [Execute],
        [plain("/detail/of", "id of the action that was running"),
         plain("/detail/by", "client, limit, lock or operator")],
        [("/detail/by", "\"client\""), ("/actor/authn", "\"cancel_key\"")];
    SqlOpaque = "sql.opaque", "A message whose meaning Loggia does not know is about to be forwarded, because policy allows it.", [Unknown],
        [plain("/detail/message", "type byte of the message"), plain("/detail/bytes", "its length in bytes")],
        [("/detail/message", "\"W\""), ("/detail/bytes", "12")];
    SqlRefused = "sql.refused", "A message was not forwarded.", [Unknown],
        [plain("/detail/message", "type byte of the message"),
         plain("/detail/bytes", "its length in bytes"),
         plain("/detail/reason", "stable code: opaque, denied, too_large, protocol_error"),
         sealed("/detail/text", "the statement, where it is one")],
        [("/detail/reason", "\"too_large\""), ("/outcome/status", "\"denied\"")];
    SshShell = "ssh.shell", "A shell is about to be started on the target.", [Execute],
        [plain("/detail/terminal", "whether it has a terminal"),
         plain("/detail/columns", "columns of the terminal at the start"),
         plain("/detail/rows", "rows of the terminal at the start"),
         sealed("/detail/term", "type of the terminal, such as xterm"),
         sealed("/detail/modes", "modes of the terminal that were asked for: pairs of number (RFC 4254 section 8) and value"),
         sealed("/detail/environment", "environment variables that were asked for: pairs of name and value"),
         plain("/detail/recorded", "what the recording holds of it: all")],
        [("/detail/terminal", "true"), ("/detail/columns", "120"), ("/detail/rows", "40"), ("/detail/recorded", "\"all\"")];
    SshExec = "ssh.exec", "A command is about to be run on the target.", [Execute],
        [sealed("/detail/command", "the command as sent"),
         plain("/detail/program", "rsync, git, scp, sftp or other: what the command looks like. Another program may have that name"),
         plain("/detail/terminal", "whether it has a terminal"),
         plain("/detail/columns", "columns of the terminal at the start"),
         plain("/detail/rows", "rows of the terminal at the start"),
         sealed("/detail/term", "type of the terminal, such as xterm"),
         sealed("/detail/modes", "modes of the terminal that were asked for: pairs of number (RFC 4254 section 8) and value"),
         sealed("/detail/environment", "environment variables that were asked for: pairs of name and value"),
         plain("/detail/recorded", "what the recording holds of it: all")],
        [("/detail/command", "\"systemctl restart nginx\""), ("/detail/program", "\"other\""), ("/detail/recorded", "\"all\"")];
    SshSubsystem = "ssh.subsystem", "A subsystem is about to be started on the target.", [Execute],
        [plain("/detail/name", "name of the subsystem, such as sftp"),
         plain("/detail/terminal", "false: none is started in a terminal"),
         sealed("/detail/environment", "environment variables that were asked for: pairs of name and value"),
         plain("/detail/recorded", "what the recording holds of it: all, or all_but_content: of files that are read and written only size and SHA-256")],
        [("/detail/name", "\"sftp\""), ("/detail/recorded", "\"all_but_content\"")];
    SshForward = "ssh.forward", "A connection through the target is about to be opened, or a port on it listened on.", [Execute],
        [plain("/detail/direction", "local: from the client to behind the target; remote: from the target back; agent or x11: to the client's agent or display; jump: to another session of this gateway"),
         sealed("/detail/host", "host as the client named it"),
         plain("/detail/port", "port as the client named it; 0: the target chooses one, which the result names"),
         sealed("/detail/origin", "where the client says that the connection comes from")],
        [("/detail/direction", "\"local\""), ("/detail/host", "\"db.internal\""), ("/detail/port", "5432")];
    SshSignal = "ssh.signal", "A signal is about to be sent to what runs on the target.", [Execute],
        [plain("/detail/of", "id of the action that runs"),
         plain("/detail/signal", "name of the signal without SIG, such as TERM"),
         plain("/detail/by", "client, limit, lock or operator")],
        [("/detail/signal", "\"TERM\""), ("/detail/by", "\"client\"")];
    SshResult = "ssh.result", "What an action over SSH gave.", [],
        [plain("/detail/of", "id of the action"),
         plain("/outcome/exit_status", "exit status of the program"),
         plain("/outcome/exit_signal", "signal that ended the program"),
         plain("/outcome/bytes_in", "bytes of input that were forwarded"),
         plain("/outcome/bytes_out", "bytes of output, standard error included"),
         plain("/outcome/port", "port on which the target listened, where the action was to listen"),
         sealed("/outcome/message", "what the target said about a failure")],
        [("/outcome/status", "\"ok\""), ("/outcome/exit_status", "0"), ("/outcome/bytes_out", "5120"), ("/outcome/duration_us", "182000")];
    SshRefused = "ssh.refused", "A request of a session was not forwarded.", [Unknown],
        [plain("/detail/request", "what was asked for: shell, exec, subsystem, forward, agent, x11, signal or file"),
         plain("/detail/reason", "stable code: denied, opaque, too_large, limit, malformed, terminal (a subsystem in a terminal), handle (a file operation on a handle that stands for no open file), version (another version of SFTP) or unsupported (never passed on)"),
         sealed("/detail/text", "the command, destination, path or name that was asked for")],
        [("/detail/request", "\"forward\""), ("/detail/reason", "\"denied\""), ("/detail/text", "\"db.internal:5432\""), ("/outcome/status", "\"denied\"")];
    SshSilent = "ssh.silent", "More than one line was typed while the terminal did not echo.", [Secret],
        [plain("/detail/of", "id of the action that runs"), plain("/detail/lines", "silent lines in a row")],
        [("/detail/lines", "2")];
    FileOperation = "file.operation", "A file operation is about to be carried out on the target.", [Unknown],
        [plain("/detail/of", "id of the subsystem or command that it belongs to"),
         plain("/detail/operation", "open_read, open_write, list, remove, rename, mkdir, rmdir, setstat, symlink, link, copy, receive, send, directory or other"),
         sealed("/detail/path", "the path as the client named it"),
         sealed("/detail/name", "scp, where only the target knows whether the path is a folder: what is put into it, by its name with those of the folders that it is in. Where the path is none, it is the new name of the first of these"),
         sealed("/detail/path_to", "the second path of a rename, a link or a copy"),
         plain("/detail/mode", "permissions that were asked for, octal"),
         plain("/detail/size", "size that was announced, bytes"),
         plain("/detail/flags", "how a file is opened: read, write, append, create, truncate, exclusive"),
         plain("/detail/request", "name of an operation that is none of these")],
        [("/detail/operation", "\"open_write\""), ("/detail/path", "\"/srv/app/release.tar\""), ("/detail/mode", "\"0644\"")];
    FileResult = "file.result", "What a file operation gave.", [],
        [plain("/detail/of", "id of the file operation"),
         plain("/outcome/bytes_read", "bytes that were read"),
         plain("/outcome/bytes_written", "bytes that were written"),
         plain("/outcome/sha256", "SHA-256 of the file as it was transferred, where all of it was: read from its first byte to the end that the target told, or written from the first byte of an empty file, each byte once (hex)"),
         plain("/outcome/part_sha256", "SHA-256 of what was transferred, where it was one piece of the file and not known to be all of it: of what was written, if anything was, else of what was read (hex)"),
         plain("/outcome/part_from", "where in the file that piece begins, bytes; missing where it was added behind an end that is not known"),
         plain("/outcome/size", "size of the file, where the target told it or it follows from what was written, bytes"),
         plain("/outcome/mode", "permissions of the file, where the target told them, octal"),
         plain("/outcome/incomplete", "true: the file was never closed, or not transferred whole"),
         sealed("/outcome/message", "what the target said about a failure")],
        [("/outcome/status", "\"ok\""), ("/outcome/bytes_written", "500000000"), ("/outcome/sha256", "\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"")];
    RecordingBegun = "recording.begun", "The recording of a session begins.", [],
        [plain("/detail/version", "version of the recording's format"),
         sealed("/detail/salt", "salt of the recording, the key of its leaves (hex)")],
        [("/detail/version", "1"), ("/detail/salt", "\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"")];
    RecordingGrown = "recording.grown", "The recording has grown to this; these frames can no longer be changed unnoticed.", [],
        [plain("/detail/frames", "frames so far"),
         plain("/detail/bytes", "length of the file so far, bytes"),
         plain("/detail/root", "root over the frames (hex)"),
         plain("/detail/recovered", "true: found after the gateway had died, and taken up by the next boot")],
        [("/detail/frames", "4711"), ("/detail/bytes", "182044"), ("/detail/root", "\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"")];
    RecordingLimited = "recording.limited", "The recording has reached its limit: from here on bytes are hashed and counted, and not kept.", [],
        [plain("/detail/bytes", "length of the file, bytes")],
        [("/detail/bytes", "1073741824")];
    ConfigChange = "config.change", "A change of the control state is about to take effect.", [Config],
        [plain("/detail/change", "what: resource.put, resource.remove, person.add, person.disable, person.enrol, key.add, key.remove, service.add, service.disable, policy.put, policy.remove, lock.add, lock.remove, hold.add, hold.remove, group.put, group.remove"),
         plain("/detail/object", "id of what is changed"),
         sealed("/detail/name", "its name"),
         sealed("/detail/before", "what it was"),
         sealed("/detail/after", "what it will be; no secrets"),
         plain("/detail/attested", "false where nobody signed in for it: local-root"),
         plain("/detail/digest", "SHA-256 of the declaration (hex)")],
        [("/detail/change", "\"resource.put\""), ("/detail/name", "\"shop\"")];
    ConfigNotApplied = "config.not_applied", "A recorded change never reached the control database.", [Config],
        [plain("/detail/of", "id of the config.change")],
        [("/detail/of", "\"ev_01h455vb4pex5vsknk084sn02q\"")];
    ErasureStarted = "erasure.started", "What is disclosed and recorded of somebody is about to be destroyed: of every event before this one whose actor they are.", [Delete],
        [plain("/detail/subject", "id of the person, service account or other actor")],
        [("/detail/subject", "\"pe_01h455vb4pex5vsknk084sn02q\""), ("/intent/reason", "\"request under article 17\"")];
    ErasureDone = "erasure.done", "What an `erasure.started` announced is destroyed.", [Delete],
        [plain("/detail/of", "id of the erasure.started"),
         plain("/detail/subject", "id of the person, service account or other actor"),
         plain("/detail/disclosures", "events whose disclosures were destroyed"),
         plain("/detail/blobs", "large values that were destroyed"),
         plain("/detail/recordings", "recordings that were destroyed"),
         plain("/detail/sessions", "sessions that they were of"),
         plain("/detail/keys", "keys that were destroyed: with them every copy of what was sealed under them"),
         plain("/detail/pending", "names of the followers that have not taken the erasure in yet"),
         plain("/detail/resumed", "true: a boot finished what the one before it began")],
        [("/detail/subject", "\"pe_01h455vb4pex5vsknk084sn02q\""), ("/detail/disclosures", "4711"), ("/detail/blobs", "0"), ("/detail/recordings", "2"), ("/detail/sessions", "31"), ("/detail/keys", "1"), ("/detail/pending", "[]")];
    ErasureRefused = "erasure.refused", "An erasure was refused; nothing was destroyed.", [Delete],
        [plain("/detail/subject", "id of the person, service account or other actor"),
         plain("/detail/reason", "stable code: held or open_sessions"),
         plain("/detail/holds", "ids of the legal holds that it meets")],
        [("/detail/subject", "\"pe_01h455vb4pex5vsknk084sn02q\""), ("/detail/reason", "\"held\""), ("/detail/holds", "[\"ho_01h455vb4pex5vsknk084sn02q\"]"), ("/outcome/status", "\"denied\"")];
    RetentionStarted = "retention.started", "What is older than its period is about to be destroyed, but for what a legal hold keeps.", [Delete],
        [plain("/detail/what", "disclosures or recordings"),
         plain("/detail/until_us", "everything from before this time, microseconds since 1970"),
         plain("/detail/holds", "ids of the legal holds in force")],
        [("/detail/what", "\"disclosures\""), ("/detail/until_us", "1790000000000000"), ("/detail/holds", "[]")];
    RetentionDone = "retention.done", "What a `retention.started` announced is destroyed.", [Delete],
        [plain("/detail/of", "id of the retention.started"),
         plain("/detail/what", "disclosures or recordings"),
         plain("/detail/disclosures", "events whose disclosures were destroyed"),
         plain("/detail/blobs", "large values that were destroyed"),
         plain("/detail/recordings", "recordings that were destroyed"),
         plain("/detail/held", "events or recordings that a legal hold kept"),
         plain("/detail/resumed", "true: a boot finished what the one before it began")],
        [("/detail/what", "\"disclosures\""), ("/detail/disclosures", "70000"), ("/detail/blobs", "0"), ("/detail/held", "12")];
    SessionEndRequested = "session.end_requested", "An operator asked for a session to be ended.", [Session, Privilege],
        [plain("/detail/session", "id of the session"), sealed("/detail/reason", "why; shown to the person")],
        [("/detail/reason", "\"maintenance\"")];
    AuditRead = "audit.read", "Somebody read audit data.", [Read],
        [plain("/detail/route", "what was read: events, tail, sessions, session, receipt, recording or watch"),
         sealed("/detail/query", "the query as typed"),
         plain("/detail/session", "id of the session that was read"),
         plain("/outcome/rows", "events returned")],
        [("/detail/route", "\"events\""), ("/detail/query", "\"actor:alice drop\""), ("/outcome/rows", "4")];
    ApiDenied = "api.denied", "An identified actor asked the API for something policy does not allow.", [Read],
        [plain("/detail/route", "the route"), plain("/detail/action", "the action that was denied")],
        [("/detail/action", "\"events.read\""), ("/outcome/status", "\"denied\"")];
    PolicyError = "policy.error", "A policy could not be evaluated; the answer was deny.", [Config],
        [plain("/detail/policies", "ids of the policies that failed"), sealed("/detail/message", "what went wrong")],
        [("/detail/policies", "[\"policy0\"]")];
}

impl Kind {
    /// The code in the log, such as `sql.statement`.
    pub const fn code(self) -> &'static str {
        self.spec().code
    }

    /// The kind with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code)
    }

    /// Whether the event asks for nothing but that something stops: it is recorded, and no policy
    /// keeps anybody from it.
    pub const fn only_stops(self) -> bool {
        matches!(self, Self::SqlCancel | Self::SshSignal)
    }

    /// Whether the event is what an action of its session gave; `/detail/of` names the action.
    pub const fn is_result(self) -> bool {
        matches!(self, Self::SqlResult | Self::SshResult | Self::FileResult)
    }

    /// The field at `pointer`, where this kind may carry it.
    pub fn field(self, pointer: &str) -> Option<&'static Field> {
        let own = self.spec().fields.iter();
        own.chain(COMMON_FIELDS).find(|field| field.pointer == pointer)
    }

    /// The example as values.
    pub fn example(self) -> Vec<(&'static str, Value)> {
        let parse = |json: &str| Value::parse(json.as_bytes()).unwrap_or(Value::Bool(false));
        self.spec().example.iter().map(|(pointer, json)| (*pointer, parse(json))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_has_a_code_of_its_own_a_summary_and_a_true_example() {
        let mut codes = BTreeSet::new();
        for kind in Kind::ALL {
            let spec = kind.spec();
            assert!(codes.insert(spec.code), "{} stands twice", spec.code);
            assert!(spec.summary.ends_with('.'), "{}", spec.code);
            assert_eq!(Kind::from_code(spec.code), Some(*kind));
            assert!(!spec.example.is_empty(), "{} has no example", spec.code);
            for (pointer, json) in spec.example {
                assert!(kind.field(pointer).is_some(), "{}: {pointer} is not a field", spec.code);
                Value::parse(json.as_bytes())
                    .unwrap_or_else(|e| panic!("{}: {json}: {e}", spec.code));
            }
        }
    }

    #[test]
    fn every_effect_stands_once_in_the_order_of_the_words() {
        let words = Effect::ALL.map(Effect::as_str);
        assert!(words.is_sorted_by(|one, next| one < next), "{words:?}");
        for effect in Kind::ALL.iter().flat_map(|kind| kind.spec().effects) {
            assert!(Effect::ALL.contains(effect), "{effect:?}");
        }
    }

    #[test]
    fn fields_are_two_steps_deep_and_stand_once() {
        for kind in Kind::ALL {
            let mut seen = BTreeSet::new();
            for field in kind.spec().fields.iter().chain(COMMON_FIELDS) {
                assert_eq!(field.pointer.matches('/').count(), 2, "{}", field.pointer);
                assert!(seen.insert(field.pointer), "{}: {}", kind.code(), field.pointer);
            }
        }
    }
}
