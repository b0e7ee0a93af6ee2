//! Clients that people use: multiplexed and by way of others, git, rsync, Ansible, and libraries.

use super::*;
use loggia_testkit::openssh::{sha256_of, write_payload};
use loggia_testkit::parts;
use std::path::Path;

#[test]
fn sessions_over_one_connection_are_kept_apart() {
    let Some(world) = world() else { return };
    let socket = world.host.folder().join("control");
    let path = format!("ControlPath={}", socket.display());
    let shared = |more: &[&str]| {
        let mut command = world.clients("alice").ssh();
        command.args(["-o", &path]).args(more);
        command
    };
    let mut first = shared(&["-o", "ControlMaster=yes", "-N", "kernel"]);
    let mut first = first.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the connection is shared", Duration::from_secs(30), || socket.exists().then_some(()));
    std::thread::scope(|scope| {
        for n in 0..12 {
            let mut command = shared(&["-o", "ControlMaster=no", "kernel"]);
            command.arg(format!("cat; echo {n} >&2; exit {n}"));
            scope.spawn(move || {
                let input = vec![b'a' + n as u8; 300_000];
                let ran = finish(&mut command, &input, PATIENCE).unwrap();
                assert_eq!((ran.status, ran.stderr), (Some(n), format!("{n}\n")));
                assert_eq!(ran.stdout, input);
            });
        }
    });
    let mut shell = Terminal::start(&shared(&["-tt", "kernel"])).unwrap();
    shell.wait_for("$ ", PATIENCE).unwrap();
    shell.send("echo in the shell; exit 5\r").unwrap();
    assert_eq!(shell.wait_end(PATIENCE).unwrap(), Some(5));
    first.kill().unwrap();
    first.wait().unwrap();
    world.expect(13, "ssh.result");
    world.expect(1, "session.end");
    assert_eq!(world.events("session.start").len(), 1, "one connection is one session");
    assert_eq!(world.events("ssh.exec").len(), 12);
    let recorded = world.texts("ssh.exec", "/detail/command");
    let mut executed = world.host.executed().unwrap();
    executed.sort();
    let mut sorted = recorded.clone();
    sorted.sort();
    assert_eq!(sorted, executed);
    world.verify();
}

#[test]
fn a_jump_through_the_gateway_to_one_of_its_resources_is_recorded_inside() {
    let Some(world) = world() else { return };
    let ran = world.ssh(&["-J", "kernel", "disk", "echo inside; exit 6"]);
    assert_eq!((ran.status, ran.text().as_str()), (Some(6), "inside"), "{}", ran.stderr);
    let exec = world.expect(1, "ssh.exec").pop().unwrap();
    let starts = world.events("session.start");
    let start = starts.iter().find(|it| it.session() == exec.session()).unwrap();
    assert_eq!(start.text("/resource/name"), Some("disk"));
    assert_eq!(exec.text("/detail/command"), Some("echo inside; exit 6"));
    world.verify();
}

const FORWARDS: &str = r#"
@id("forwards")
permit (principal, action, resource is Loggia::Resource);
@id("administrators")
permit (principal, action, resource is Loggia::System) when { principal.admin };
"#;

#[test]
fn forwards_that_a_policy_permits_are_recorded_with_destination_and_bytes() {
    let world = world_with(|options, _| options.policies = Some(FORWARDS.to_owned()));
    let Some(world) = world else { return };
    // What answers behind the host: its own server, which says who it is.
    let destination = format!("127.0.0.1:{}", world.host.port);
    let ran = world.ssh(&["-W", &destination, "kernel"]);
    assert!(ran.text().starts_with("SSH-2.0-OpenSSH"), "{ran:?}");
    let forward = world.expect(1, "ssh.forward").pop().unwrap();
    assert_eq!(forward.text("/detail/direction"), Some("local"));
    assert_eq!(forward.text("/detail/host"), Some("127.0.0.1"));
    assert_eq!(number(&forward, "/detail/port"), Some(i64::from(world.host.port)));
    let result = world.expect(1, "ssh.result").pop().unwrap();
    assert!(number(&result, "/outcome/bytes_out").unwrap() >= ran.stdout.len() as i64);
    assert!(number(&result, "/outcome/duration_us").is_some());
    world.verify();
}

#[test]
fn a_port_that_the_target_chose_is_on_record() {
    let world = world_with(|options, _| options.policies = Some(FORWARDS.to_owned()));
    let Some(world) = world else { return };
    let back = format!("0:127.0.0.1:{}", world.host.port);
    let ran = world.ssh(&["-R", &back, "kernel", "true"]);
    succeeded("listening", &ran);
    let told = ran.stderr.split("Allocated port ").nth(1).unwrap();
    let port = told.split(' ').next().unwrap().parse().unwrap();
    let forward = world.expect(1, "ssh.forward").pop().unwrap();
    assert_eq!(number(&forward, "/detail/port"), Some(0));
    let id = forward.event.id.to_string();
    let results = world.expect(2, "ssh.result");
    let result = results.iter().find(|it| it.text("/detail/of") == Some(&id)).unwrap();
    assert_eq!(number(result, "/outcome/port"), Some(port));
    world.verify();
}

#[test]
fn git_clones_and_pushes() {
    let Some(world) = world() else { return };
    let made = "git init -q --bare work.git && git clone -q work.git seed 2>/dev/null && cd seed && \
                git -c user.name=n -c user.email=e commit -q --allow-empty -m first && git push -q";
    succeeded("making a repository", &world.ssh(&["kernel", made]));
    let clients = world.clients("alice");
    let clone = world.host.folder().join("clone");
    let git = |arguments: &[&str]| {
        let mut command = clients.git();
        command.args(["-c", "user.name=n", "-c", "user.email=e"]).args(arguments);
        succeeded("git", &finish(&mut command, b"", PATIENCE).unwrap());
    };
    let at = clone.display().to_string();
    git(&["clone", "-q", "kernel:work.git", &at]);
    write_payload(&clone.join("large"), 5, 3).unwrap();
    git(&["-C", &at, "add", "large"]);
    git(&["-C", &at, "commit", "-q", "-m", "second"]);
    git(&["-C", &at, "push", "-q"]);
    let log = world.ssh(&["kernel", "git -C work.git log --format=%s"]);
    assert_eq!(log.text(), "second\nfirst", "{}", log.stderr);
    let execs = world.events("ssh.exec");
    let programs: Vec<_> =
        execs.iter().filter(|it| it.text("/detail/program") == Some("git")).collect();
    let commands: Vec<_> = programs.iter().filter_map(|it| it.text("/detail/command")).collect();
    assert!(commands.iter().any(|it| it.contains("git-upload-pack")), "{commands:?}");
    assert!(commands.iter().any(|it| it.contains("git-receive-pack")), "{commands:?}");
    world.verify();
}

#[test]
fn rsync_goes_both_ways_with_byte_counts() {
    let Some(world) = world() else { return };
    if Command::new("rsync").arg("--version").output().is_err() {
        eprintln!(
            "SKIPPED: rsync is not installed, NOTHING WAS CHECKED: `cargo xtask test` gets it"
        );
        return;
    }
    let from = world.host.folder().join("from");
    let back = world.host.folder().join("back");
    std::fs::create_dir(&from).unwrap();
    for n in 0..20 {
        write_payload(&from.join(format!("file-{n}")), 1, n).unwrap();
    }
    let clients = world.clients("alice");
    let rsync = |from: &str, to: &str| {
        let mut command = clients.rsync();
        command.args(["-a", "--delete", from, to]);
        succeeded("rsync", &finish(&mut command, b"", PATIENCE).unwrap());
    };
    rsync(&format!("{}/", from.display()), "kernel:there/");
    rsync("kernel:there/", &format!("{}/", back.display()));
    for n in 0..20 {
        let name = format!("file-{n}");
        assert_eq!(sha256_of(&from.join(&name)).unwrap(), sha256_of(&back.join(&name)).unwrap());
    }
    let results = world.expect(2, "ssh.result");
    assert!(number(&results[0], "/outcome/bytes_in").unwrap() > 20 << 20);
    assert!(number(&results[1], "/outcome/bytes_out").unwrap() > 20 << 20);
    let execs = world.events("ssh.exec");
    assert!(execs.iter().all(|it| it.text("/detail/program") == Some("rsync")));
    world.verify();
}

/// The interpreter with the SSH libraries, or `None` after a loud line.
pub(super) fn python() -> Option<PathBuf> {
    match parts::python_ssh() {
        Ok(python) => Some(python),
        Err(why) => {
            eprintln!("SKIPPED: the Python clients are not there, NOTHING WAS CHECKED: {why:#}");
            None
        }
    }
}

fn program_beside(python: &Path, name: &str) -> Command {
    let mut command = Command::new(python.with_file_name(name));
    for name in ["SSH_AUTH_SOCK", "SSH_ASKPASS", "DISPLAY"] {
        command.env_remove(name);
    }
    command
}

#[test]
fn ansible_pings_and_copies() {
    let Some(world) = world() else { return };
    let Some(python) = python() else { return };
    let folder = world.host.folder();
    let file = folder.join("to-copy");
    let hash = write_payload(&file, 3, 9).unwrap();
    let settings = folder.join("ansible.cfg");
    std::fs::write(&settings, "").unwrap();
    let ansible = |module: &[&str]| {
        let mut command = program_beside(&python, "ansible");
        command.args(["all", "-i", "kernel,"]).args(module);
        command
            .env("ANSIBLE_SSH_ARGS", format!("-F {}", world.clients("alice").config.display()))
            .env("ANSIBLE_HOME", folder.join("ansible"))
            .env("ANSIBLE_LOCAL_TEMP", folder.join("ansible-temporary"))
            .env("ANSIBLE_PYTHON_INTERPRETER", "/usr/bin/python3")
            .env("ANSIBLE_CONFIG", &settings)
            .env("LC_ALL", "C.UTF-8");
        let ran = finish(&mut command, b"", PATIENCE).unwrap();
        assert!(ran.succeeded(), "{}\n{}", ran.text(), ran.stderr);
        ran.text()
    };
    assert!(ansible(&["-m", "ping"]).contains("\"ping\": \"pong\""));
    let copied = ansible(&["-m", "copy", "-a", &format!("src={} dest=copied", file.display())]);
    assert!(copied.contains("CHANGED"), "{copied}");
    assert_eq!(sha256_of(&world.host.home().join("copied")).unwrap(), hash);
    let hashes = world.texts("file.result", "/outcome/sha256");
    assert!(hashes.contains(&hash), "{hashes:?}");
    world.verify();
}

const PARAMIKO: &str = r#"
import hashlib, os, sys, paramiko
config = paramiko.SSHConfig.from_path(sys.argv[1]).lookup("kernel")
client = paramiko.SSHClient()
client.load_host_keys(sys.argv[2])
client.set_missing_host_key_policy(paramiko.RejectPolicy())
client.connect(config["hostname"], port=int(config["port"]), username=config["user"],
               key_filename=config["identityfile"], look_for_keys=False, allow_agent=False)
stdin, stdout, stderr = client.exec_command("cat; echo err >&2; exit 7")
stdin.write("hello"); stdin.channel.shutdown_write()
assert stdout.read() == b"hello" and stderr.read() == b"err\n"
assert stdout.channel.recv_exit_status() == 7
sftp = client.open_sftp()
data = os.urandom(3_000_000)
with sftp.open("paramiko", "wb") as file:
    file.set_pipelined(True)
    file.write(data)
with sftp.open("paramiko", "rb") as file:
    file.prefetch()
    assert file.read() == data
sftp.rename("paramiko", "renamed"); sftp.mkdir("folder"); sftp.rmdir("folder"); sftp.chmod("renamed", 0o600)
assert "renamed" in sftp.listdir(".")
sftp.remove("renamed")
shell = client.invoke_shell(width=100, height=30)
shell.send(b"stty size; exit 4\n")
assert shell.recv_exit_status() == 4
out = b""
while True:
    block = shell.recv(65536)
    if not block: break
    out += block
assert b"30 100" in out, out
print(hashlib.sha256(data).hexdigest())
"#;

const ASYNCSSH: &str = r#"
import asyncio, hashlib, os, sys, asyncssh
async def main():
    async with asyncssh.connect("kernel", config=[sys.argv[1]], known_hosts=sys.argv[2],
                                agent_path=None) as connection:
        done = await connection.run("cat; echo err >&2; exit 7", input="hello")
        assert (done.stdout, done.stderr, done.exit_status) == ("hello", "err\n", 7), done
        many = await asyncio.gather(*(connection.run(f"echo {n}; exit {n}") for n in range(20)))
        assert [(d.stdout, d.exit_status) for d in many] == [(f"{n}\n", n) for n in range(20)]
        data = os.urandom(3_000_000)
        async with connection.start_sftp_client() as sftp:
            async with sftp.open("asyncssh", "wb") as file:
                await file.write(data)
            async with sftp.open("asyncssh", "rb") as file:
                assert await file.read() == data
            await sftp.rename("asyncssh", "renamed")
            assert "renamed" in await sftp.listdir(".")
            await sftp.remove("renamed")
        done = await connection.run("stty size; exit 4", term_type="xterm", term_size=(100, 30))
        assert "30 100" in done.stdout and done.exit_status == 4, done
        print(hashlib.sha256(data).hexdigest())
asyncio.run(main())
"#;

/// Runs a script of a library that reads no `@cert-authority` lines: it gets the known host keys
/// in a file of its own.
pub(super) fn script(world: &World, python: &Path, script: &str) -> Ran {
    let known = world.host.folder().join("known_hosts_of_the_gateway");
    let scanned = Command::new("ssh-keyscan")
        .args(["-t", "ed25519", "-p", &world.gateway.ports.ssh.to_string(), "localhost"])
        .output()
        .unwrap();
    std::fs::write(&known, &scanned.stdout).unwrap();
    let mut command = program_beside(python, "python");
    command.args(["-c", script]).arg(&world.clients("alice").config).arg(&known);
    finish(&mut command, b"", PATIENCE).unwrap()
}

/// Runs a script that prints the hash of a file that it put and got.
fn library(text: &str, operations: &[&str]) {
    let Some(world) = world() else { return };
    let Some(python) = python() else { return };
    let ran = script(&world, &python, text);
    assert!(ran.succeeded(), "{}\n{}", ran.text(), ran.stderr);
    let hash = ran.text();
    let hashes = world.texts("file.result", "/outcome/sha256");
    assert_eq!(hashes.iter().filter(|it| **it == hash).count(), 2, "{hash} in {hashes:?}");
    let seen = world.texts("file.operation", "/detail/operation");
    for operation in operations {
        assert!(seen.iter().any(|it| it == operation), "no {operation} in {seen:?}");
    }
    world.verify();
}

#[test]
fn paramiko_does_everything_it_does_directly() {
    library(
        PARAMIKO,
        &["open_write", "open_read", "rename", "mkdir", "rmdir", "setstat", "list", "remove"],
    );
}

const SIGNALS: &str = r#"
import asyncio, sys, asyncssh
async def main():
    async with asyncssh.connect("kernel", config=[sys.argv[1]], known_hosts=sys.argv[2],
                                agent_path=None) as connection:
        for send, name in (("INT", "INT"), ("TERM", "TERM"), ("KILL", "KILL")):
            process = await connection.create_process("echo runs; exec sleep 1000")
            # Before it runs, an sshd that is busy has nobody to give the signal to.
            assert await process.stdout.readline() == "runs\n"
            process.send_signal(send)
            await process.wait()
            assert process.exit_signal and process.exit_signal[0] == name, process.exit_signal
        print("done")
asyncio.run(main())
"#;

#[test]
fn signals_reach_the_program_and_are_on_record() {
    // OpenSSH sends none to what its witness executes.
    let Some(host) = host(SshdOptions { unwitnessed: true, ..SshdOptions::default() }) else {
        return;
    };
    let gateway = GatewayUnderTest::start(GatewayOptions::over_ssh(&host, program())).unwrap();
    let world = World { gateway, host };
    let Some(python) = python() else { return };
    let ran = script(&world, &python, SIGNALS);
    assert!(ran.succeeded(), "{}\n{}", ran.text(), ran.stderr);
    assert_eq!(world.texts("ssh.signal", "/detail/signal"), ["INT", "TERM", "KILL"]);
    world.expect(3, "ssh.result");
    assert_eq!(world.texts("ssh.result", "/outcome/exit_signal"), ["INT", "TERM", "KILL"]);
    world.verify();
}

#[test]
fn asyncssh_does_everything_it_does_directly() {
    library(ASYNCSSH, &["open_write", "open_read", "rename", "list", "remove"]);
}

/// What the auditor warns of in every key exchange but the newest. OpenSSH's clients before 9.9
/// have none of those in common with the gateway.
const CLASSICAL: &str = "does not provide protection against post-quantum attacks";

#[test]
fn the_auditor_finds_nothing_above_info() {
    let Some(world) = world() else { return };
    let Some(python) = python() else { return };
    let mut command = program_beside(&python, "ssh-audit");
    command.args(["-j", "-p", &world.gateway.ports.ssh.to_string(), "127.0.0.1"]);
    let ran = finish(&mut command, b"", PATIENCE).unwrap();
    let report: serde_json::Value = serde_json::from_str(&ran.text()).unwrap();
    let mut findings = Vec::new();
    for kind in ["kex", "key", "enc", "mac"] {
        for algorithm in report[kind].as_array().unwrap() {
            for level in ["fail", "warn"] {
                for note in algorithm["notes"][level].as_array().into_iter().flatten() {
                    if note.as_str() != Some(CLASSICAL) {
                        findings.push(format!("{kind} {}: {note}", algorithm["algorithm"]));
                    }
                }
            }
        }
    }
    assert!(findings.is_empty(), "{findings:#?}");
    assert_eq!(report["kex"][0]["algorithm"], "mlkem768x25519-sha256", "the first choice");
}
