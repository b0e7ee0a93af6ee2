//! SSH: unmodified clients, a real OpenSSH server, and its own witnesses.

mod clients;
mod control;
mod limits;
mod recordings;
mod refusals;
mod replay;
mod slipping_past;
mod traffic;
mod ways_in;

use super::*;
use loggia_testkit::gateway::RecordedEvent;
use loggia_testkit::openssh::{Ran, Terminal, finish, programs};
use loggia_testkit::{OpenSsh, Sshd, SshdOptions};

/// How long a client may take; only a hang comes near.
const PATIENCE: Duration = Duration::from_secs(300);

/// A gateway in front of a host. The gateway is dropped first.
struct World {
    gateway: GatewayUnderTest,
    host: Sshd,
}

/// The host, or `None` after a loud line when this machine has no OpenSSH server.
fn host(options: SshdOptions) -> Option<Sshd> {
    match programs() {
        Ok(_) => Some(Sshd::start(options).unwrap()),
        Err(why) => {
            eprintln!("SKIPPED: NOTHING WAS CHECKED: {why:#}");
            None
        }
    }
}

/// Everybody may use `kernel` and `disk`, both over one host.
fn world() -> Option<World> {
    world_with(|_, _| ())
}

fn world_with(change: impl FnOnce(&mut GatewayOptions, &Sshd)) -> Option<World> {
    let host = host(SshdOptions::default())?;
    let mut options = GatewayOptions::over_ssh(&host, program());
    change(&mut options, &host);
    Some(World { gateway: GatewayUnderTest::start(options).unwrap(), host })
}

impl World {
    fn clients(&self, person: &str) -> OpenSsh {
        self.gateway.open_ssh(person).unwrap()
    }

    /// `ssh ARGUMENTS` as alice, to its end.
    fn ssh(&self, arguments: &[&str]) -> Ran {
        self.ssh_as("alice", arguments)
    }

    fn ssh_as(&self, person: &str, arguments: &[&str]) -> Ran {
        finish(self.clients(person).ssh().args(arguments), b"", PATIENCE).unwrap()
    }

    /// A shell in a terminal, as alice, at its prompt.
    fn shell(&self, resource: &str) -> Terminal {
        let mut command = self.clients("alice").ssh();
        let mut terminal = Terminal::start(command.arg(resource)).unwrap();
        terminal.wait_for("$ ", PATIENCE).unwrap();
        terminal
    }

    fn events(&self, kind: &str) -> Vec<RecordedEvent> {
        let mut events = self.gateway.events().unwrap();
        events.retain(|event| event.kind() == kind);
        events
    }

    /// The texts of this field of all events of a kind.
    fn texts(&self, kind: &str, pointer: &str) -> Vec<String> {
        let events = self.events(kind);
        events.iter().filter_map(|event| event.text(pointer)).map(str::to_owned).collect()
    }

    /// Waits for events of a kind, which may come a moment after the client has ended.
    fn expect(&self, count: usize, kind: &str) -> Vec<RecordedEvent> {
        until(&format!("{count} {kind}"), Duration::from_secs(30), || {
            let events = self.events(kind);
            (events.len() >= count).then_some(events)
        })
    }

    /// The log and all recordings are intact.
    fn verify(&self) {
        let verified = self.gateway.verify(&[]).unwrap();
        assert_eq!(verified.exit_code, Some(0), "{}", verified.text);
    }
}

fn succeeded(what: &str, ran: &Ran) {
    assert!(ran.succeeded(), "{what} ended with {:?}: {}", ran.status, ran.stderr);
}

fn number(event: &RecordedEvent, pointer: &str) -> Option<i64> {
    match event.value(pointer) {
        Some(loggia_model::Value::Int(number)) => Some(*number),
        _ => None,
    }
}

#[test]
fn what_the_host_executed_is_on_record_with_who_and_what_came_of_it() {
    let Some(world) = world() else { return };
    let ran = world.ssh(&["kernel", "echo out; echo err >&2; cat; exit 3"]);
    assert_eq!((ran.status, ran.text().as_str()), (Some(3), "out"), "{}", ran.stderr);
    assert_eq!(ran.stderr, "err\n");
    let mut clients = Vec::new();
    for n in 0..24 {
        let (person, resource) = (["alice", "bob"][n % 2], ["kernel", "disk"][n / 2 % 2]);
        let mut command = world.clients(person).ssh();
        command.args([resource, &format!("sleep 0.$((RANDOM % 9)); echo {n}; exit {n}")]);
        clients.push((n, command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap()));
    }
    for (n, client) in clients {
        let output = client.wait_with_output().unwrap();
        assert_eq!(stdout(&output), n.to_string());
        assert_eq!(output.status.code(), Some(n as i32));
    }
    world.expect(25, "ssh.result");
    let mut executed = world.host.executed().unwrap();
    let mut recorded = world.texts("ssh.exec", "/detail/command");
    executed.sort();
    recorded.sort();
    assert_eq!(executed, recorded, "what was executed, and nothing else, is on record");
    for event in world.events("ssh.exec") {
        assert!(event.text("/actor/id").unwrap().starts_with("pe_"));
        let id = event.event.id.to_string();
        let results = world.events("ssh.result");
        let result = results.iter().find(|it| it.text("/detail/of") == Some(&id));
        let result = result.unwrap_or_else(|| panic!("no result of {id}"));
        let command = event.text("/detail/command").unwrap();
        let status = command.rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(number(result, "/outcome/exit_status"), Some(status), "{command}");
    }
    let starts = world.events("session.start");
    assert!(starts.iter().all(|it| it.text("/actor/authn") == Some("ssh_certificate")));
    let found = until("the search finds it", Duration::from_secs(5), || {
        let found = world.gateway.search("alice", "actor:bob kind:ssh.exec").unwrap();
        (found.len() == 12).then_some(found)
    });
    assert!(found.iter().all(|event| event["resource"]["protocol"] == "ssh"));
    world.verify();
}

#[test]
fn a_shell_has_its_size_its_signals_and_its_end() {
    let Some(world) = world() else { return };
    let mut shell = world.shell("disk");
    shell.send("stty size\r").unwrap();
    shell.wait_for("24 80", PATIENCE).unwrap();
    shell.resize(132, 43).unwrap();
    until("the size arrives", Duration::from_secs(20), || {
        shell.send("stty size\r").unwrap();
        shell.wait_for("43 132", Duration::from_secs(1)).ok()
    });
    shell.send("sleep 1000\r").unwrap();
    until("it runs", Duration::from_secs(20), || {
        world.host.typed().unwrap().contains(&"sleep 1000".to_owned()).then_some(())
    });
    shell.send("\u{3}").unwrap();
    shell.wait_for("$ ", PATIENCE).unwrap();
    shell.send("kill -TERM $$; kill -KILL $$\r").unwrap();
    // OpenSSH's client has 255 for a signal.
    assert_eq!(shell.wait_end(PATIENCE).unwrap(), Some(255));
    let result = world.expect(1, "ssh.result").pop().unwrap();
    assert_eq!(result.text("/outcome/exit_signal"), Some("KILL"));
    let shells = world.events("ssh.shell");
    assert_eq!(shells.len(), 1);
    assert_eq!(number(&shells[0], "/detail/columns"), Some(80));
    assert_eq!(shells[0].text("/detail/term"), Some("xterm"));
    world.verify();
}

#[test]
fn variables_and_a_shell_without_a_terminal_pass() {
    let Some(world) = world() else { return };
    let mut command = world.clients("alice").ssh();
    command.env("LC_LOGGIA", "föö bär").args(["-o", "SendEnv=LC_LOGGIA", "-T", "kernel"]);
    let ran = finish(&mut command, b"echo \"$LC_LOGGIA\"\nexit 9\n", PATIENCE).unwrap();
    assert_eq!((ran.status, ran.text().as_str()), (Some(9), "föö bär"), "{}", ran.stderr);
    let shell = world.expect(1, "ssh.shell").pop().unwrap();
    assert!(format!("{:?}", shell.value("/detail/environment")).contains("LC_LOGGIA"));
    world.verify();
}
