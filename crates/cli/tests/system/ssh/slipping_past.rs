//! Clients that try to do something without its record: by what they send themselves, byte for
//! byte, and by programs of their own on the host that only have a familiar name.

use super::clients::{python, script};
use super::*;
use sha2::{Digest, Sha256};
use std::os::unix::fs::PermissionsExt;

/// Speaks SSH by a library and SFTP by hand.
const BY_HAND: &str = r#"
import os, socket, struct, sys, time, paramiko
from paramiko.common import cMSG_CHANNEL_REQUEST
config = paramiko.SSHConfig.from_path(sys.argv[1]).lookup("kernel")

def connect(source="127.0.0.1"):
    door = (config["hostname"], int(config["port"]))
    transport = paramiko.Transport(socket.create_connection(door, source_address=(source, 0)))
    file = config["identityfile"][0]
    key = paramiko.Ed25519Key.from_private_key_file(file)
    key.load_certificate(file + "-cert.pub")
    transport.start_client(timeout=60)
    transport.auth_publickey(config["user"], key)
    return transport

def string(data):
    data = data.encode() if isinstance(data, str) else data
    return struct.pack(">I", len(data)) + data
def packet(kind, body): return struct.pack(">IB", len(body) + 1, kind) + body
def request(kind, number, body): return packet(kind, struct.pack(">I", number) + body)
INIT = packet(1, struct.pack(">I", 3))
def opening(number, path, flags): return request(3, number, string(path) + struct.pack(">II", flags, 0))
def closing(number, handle): return request(4, number, string(handle))
def reading(number, handle, at, length): return request(5, number, string(handle) + struct.pack(">QI", at, length))
def writing(number, handle, at, data): return request(6, number, string(handle) + struct.pack(">Q", at) + string(data))

class Sftp:
    def __init__(self, transport, start):
        self.transport, self.channel = transport, transport.open_session()
        self.channel.settimeout(60)
        start(self.channel)
    def exactly(self, length):
        data = b""
        while len(data) < length:
            more = self.channel.recv(length - len(data))
            if not more: raise EOFError(data)
            data += more
        return data
    def answer(self): return self.exactly(struct.unpack(">I", self.exactly(4))[0])
    def ask(self, *packets):
        self.channel.sendall(b"".join(packets))
        return [self.answer() for _ in packets]
    def handle(self, number, path, flags):
        (answer,) = self.ask(opening(number, path, flags))
        assert answer[0] == 102, answer
        return answer[9:]

def sftp(prepare=lambda channel: None):
    def start(channel):
        prepare(channel)
        channel.invoke_subsystem("sftp")
    speaks = Sftp(connect(), start)
    speaks.ask(INIT)
    return speaks

def code(answer):
    assert answer[0] == 101, answer
    return struct.unpack(">I", answer[5:9])[0]

def channel_request(channel, name, fields):
    message = paramiko.Message()
    message.add_byte(cMSG_CHANNEL_REQUEST)
    message.add_int(channel.remote_chanid)
    message.add_string(name)
    message.add_boolean(True)
    for field in fields:
        (message.add_int if isinstance(field, int) else message.add_string)(field)
    channel._event_pending()
    channel.transport._send_user_message(message)
    channel._wait_for_event()
"#;

/// Runs a script in this language to its end.
fn by_hand(world: &World, text: &str) -> Option<String> {
    let python = python()?;
    let ran = script(world, &python, &[BY_HAND, text].concat());
    assert!(ran.succeeded(), "{}\n{}", ran.text(), ran.stderr);
    Some(ran.text())
}

fn refused_for(world: &World, reason: &str) -> RecordedEvent {
    until(&format!("ssh.refused with {reason}"), Duration::from_secs(20), || {
        let mut events = world.events("ssh.refused");
        events.retain(|event| event.text("/detail/reason") == Some(reason));
        events.pop()
    })
}

/// All that the recordings hold in clear, both ways.
fn on_tape(world: &World) -> String {
    let folder = world.gateway.data.join("recordings");
    let mut all = String::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().extension().is_some_and(|it| it == "rec") {
            all += &String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap());
        }
    }
    all
}

/// A program of the account's own.
fn install(world: &World, name: &str, text: &str) {
    let path = world.host.home().join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn no_subsystem_runs_in_a_terminal_whose_modes_change_what_the_observer_read() {
    let Some(world) = world() else { return };
    let text = r#"
modes = [(30,0),(33,0),(34,0),(35,1),(36,0),(38,0),(39,0),(40,0),(50,0),(51,0),(53,0),(54,0),(55,0),(59,0),(70,0),(72,0)]
transport = connect()
channel = transport.open_session()
channel.settimeout(20)
channel_request(channel, "pty-req", ["xterm", 80, 24, 0, 0, b"".join(struct.pack(">BI", *mode) for mode in modes) + b"\0"])
try:
    channel.invoke_subsystem("sftp")
    time.sleep(0.5)
    # The terminal drops 0D: what is a STAT here is a MKDIR there.
    hidden = struct.pack(">BI", 14, 0x01020304) + string("hidden") + struct.pack(">I", 0)
    inner = request(17, 0x77, string("/tmp/"))
    channel.sendall(INIT)
    channel.sendall(struct.pack(">IB", 0x10d, 17) + hidden.ljust(0x10c, b"Z"))
    channel.sendall(packet(17, inner))
    while channel.recv(1000): pass
except (EOFError, OSError, paramiko.SSHException): pass
time.sleep(1)
"#;
    if by_hand(&world, text).is_none() {
        return;
    }
    assert!(!world.host.home().join("hidden").exists(), "done without a record");
    let refused = refused_for(&world, "terminal");
    assert_eq!(refused.text("/detail/request"), Some("subsystem"));
    assert_eq!(refused.text("/detail/text"), Some("sftp"));
    assert!(world.events("ssh.subsystem").is_empty());
    world.verify();
}

#[test]
fn a_handle_that_is_over_or_guessed_stands_for_nothing() {
    let Some(world) = world() else { return };
    let text = r#"
speaks = sftp()
handle = speaks.handle(1, "/etc/hostname", 1)
ends, opens, writes = speaks.ask(closing(2, handle), opening(3, "second", 0x1a), writing(4, handle, 0, b"hidden"))
codes = sorted(code(answer) for answer in (ends, opens, writes) if answer[0] == 101)
assert codes == [0, 4], (ends, opens, writes)
# What it stands for now is known now.
again = [answer[9:] for answer in (ends, opens, writes) if answer[0] == 102][0]
assert code(speaks.ask(writing(5, again, 0, b"seen"))[0]) == 0
assert code(speaks.ask(closing(6, again))[0]) == 0
third = speaks.handle(7, "third", 0x1a)
answers = speaks.ask(closing(8, third), opening(9, "second", 1), request(10, 10, string(third) + struct.pack(">II", 4, 0o4777)))
assert sorted(code(answer) for answer in answers if answer[0] == 101) == [0, 4], answers
# A closing that is guessed would take the next file's handle away unseen.
answers = speaks.ask(closing(11, b"\0\0\0\7"), request(12, 12, string(b"\0\0\0\7")), request(8, 13, string(b"\0\0\0\7")))
assert [code(answer) for answer in answers] == [4, 4, 4], answers
speaks.channel.close(); time.sleep(1)
"#;
    if by_hand(&world, text).is_none() {
        return;
    }
    let second = world.host.home().join("second");
    assert_eq!(std::fs::read_to_string(&second).unwrap(), "seen");
    assert_eq!(std::fs::metadata(&second).unwrap().permissions().mode() & 0o7000, 0);
    let operations = world.events("file.operation");
    let opened = |path: &str| {
        let found = operations.iter().find(|it| it.text("/detail/path") == Some(path)).unwrap();
        found.event.id.to_string()
    };
    world.expect(1, "ssh.result");
    let results = world.events("file.result");
    let result = |path: &str| {
        let of = opened(path);
        results.iter().find(|it| it.text("/detail/of") == Some(&of)).unwrap()
    };
    assert_eq!(number(result("/etc/hostname"), "/outcome/bytes_written"), None);
    assert_eq!(number(result("second"), "/outcome/bytes_written"), Some(4));
    let mut told = world.events("ssh.refused");
    told.retain(|it| it.text("/detail/reason") == Some("handle"));
    let told: Vec<_> = told.iter().filter_map(|it| it.text("/detail/text")).collect();
    assert_eq!(told, ["write", "fsetstat", "close", "readdir", "fstat"]);
    world.verify();
}

#[test]
fn a_program_that_only_has_a_familiar_name_hides_nothing() {
    let Some(world) = world() else { return };
    install(&world, "rsync", "#!/bin/bash\nexec bash\n");
    install(&world, "git-upload-pack", "#!/bin/bash\nread line; echo \"said $line\" >&2\n");
    install(
        &world,
        "sftp-server",
        "#!/usr/bin/python3
import sys, struct, subprocess
i, o = sys.stdin.buffer, sys.stdout.buffer
def say(body): o.write(struct.pack('>I', len(body)) + body); o.flush()
while len(head := i.read(4)) == 4:
    body = i.read(struct.unpack('>I', head)[0])
    if body[0] == 1: say(b'\\2\\0\\0\\0\\3'); continue
    if body[0] == 3: say(b'\\x66' + body[1:5] + struct.pack('>I', 1) + b'h'); continue
    command = body[9:] if body[0] == 17 else body[9 + 1 + 8 + 4:]
    said = subprocess.run(command, shell=True, capture_output=True).stdout
    if body[0] == 6: say(b'\\x65' + body[1:5] + struct.pack('>III', 0, 0, 0)); continue
    say(b'\\x68' + body[1:5] + struct.pack('>II', 1, len(said)) + said + struct.pack('>II', 0, 0))
",
    );
    let run = |command: &str, input: &[u8]| {
        let mut ssh = world.clients("alice").ssh();
        finish(ssh.args(["kernel", command]), input, PATIENCE).unwrap()
    };
    let ran = run("./rsync --server . .", b"echo by-$((6 * 7))-rsync\n");
    assert_eq!(ran.text(), "by-42-rsync", "{}", ran.stderr);
    let ran = run("./git-upload-pack x", b"by-git\n");
    assert_eq!(ran.stderr, "said by-git\n");
    let text = r#"
speaks = Sftp(connect(), lambda channel: channel.exec_command("./sftp-server"))
speaks.ask(INIT)
(said,) = speaks.ask(request(17, 1, string("echo by-$((6 * 7))-stat")))
assert b"by-42-stat" in said, said
(answer,) = speaks.ask(opening(2, "x", 0x1a))
assert answer[0] == 102, answer
assert code(speaks.ask(writing(3, b"h", 0, b"echo by-$((6 * 7))-write > by-write"))[0]) == 0
speaks.channel.close(); time.sleep(1)
"#;
    if by_hand(&world, text).is_none() {
        return;
    }
    world.expect(3, "session.end");
    assert!(world.host.home().join("by-write").exists());
    let tape = on_tape(&world);
    for passed in [
        "echo by-$((6 * 7))-rsync",
        "by-42-rsync",
        "by-git",
        "said by-git",
        "echo by-$((6 * 7))-stat",
        "by-42-stat",
        "echo by-$((6 * 7))-write",
    ] {
        assert!(tape.contains(passed), "`{passed}` is on no tape");
    }
    let recorded = world.texts("ssh.exec", "/detail/recorded");
    assert_eq!(recorded, ["all"; 3]);
    world.verify();
}

#[test]
fn of_the_sftp_subsystem_all_but_the_content_of_files_is_on_tape() {
    let Some(world) = world() else { return };
    let text = r#"
speaks = sftp(lambda channel: channel.set_environment_variable("LC_LOGGIA", "before the subsystem"))
speaks.ask(request(17, 1, string("asked for without an event")))
handle = speaks.handle(2, "there", 0x1b)
assert code(speaks.ask(writing(3, handle, 0, b"content of a file"))[0]) == 0
assert speaks.ask(reading(4, handle, 0, 100))[0][0] == 103
speaks.ask(closing(5, handle))
answer = speaks.ask(request(200, 6, string("version-select") + string("6")))[0]
assert code(answer) != 0
speaks.channel.close(); time.sleep(1)
"#;
    if by_hand(&world, text).is_none() {
        return;
    }
    world.expect(1, "session.end");
    let tape = on_tape(&world);
    assert!(tape.contains("asked for without an event"));
    assert!(!tape.contains("content of a file"), "half a gigabyte would be, too");
    let subsystem = world.expect(1, "ssh.subsystem").pop().unwrap();
    assert_eq!(subsystem.text("/detail/recorded"), Some("all_but_content"));
    assert!(format!("{:?}", subsystem.value("/detail/environment")).contains("LC_LOGGIA"));
    let refused = refused_for(&world, "version");
    assert_eq!(refused.text("/detail/text"), Some("version-select"));
    world.verify();
}

#[test]
fn who_hangs_up_erases_no_result() {
    let Some(world) = world() else { return };
    let text = r#"
speaks = sftp()
handle = speaks.handle(1, "left", 0x1a)
assert code(speaks.ask(writing(2, handle, 0, b"not closed"))[0]) == 0
command = speaks.transport.open_session()
command.exec_command("sleep 3600")
through = speaks.transport.open_channel("direct-tcpip", (config["hostname"], int(config["port"])), ("192.0.2.1", 5))
assert through.recv(3) == b"SSH"
speaks.transport.sock.close()
os._exit(0)
"#;
    if by_hand(&world, text).is_none() {
        return;
    }
    world.expect(1, "session.end");
    let file = world.expect(1, "file.result").pop().unwrap();
    assert_eq!(number(&file, "/outcome/bytes_written"), Some(10));
    assert_eq!(file.text("/outcome/sha256"), None, "nobody said that it was all");
    let results = world.texts("ssh.result", "/detail/of");
    for kind in ["ssh.subsystem", "ssh.exec", "ssh.forward"] {
        let id = world.expect(1, kind).pop().unwrap().event.id.to_string();
        assert!(results.contains(&id), "no result of {kind} in {results:?}");
    }
    world.verify();
}

#[test]
fn connections_that_only_knock_leave_the_way_open_for_others() {
    let Some(world) = world() else { return };
    let text = r#"
import logging
logging.disable(50)
transports = [connect("127.0.0.2") for _ in range(6)]
def jump(transport):
    try:
        channel = transport.open_channel("direct-tcpip", (config["hostname"], int(config["port"])), ("192.0.2.1", 5), timeout=30)
        channel.settimeout(10)
        return channel
    except paramiko.SSHException:
        return None
held = [jump(transports[n // 50]) for n in range(80)]
# They count as where they come from: nobody else is kept out.
connect().close()
knocked = 0
for transport in transports[2:]:
    for _ in range(60):
        channel = jump(transport)
        knocked += 1
        if channel: held.append(channel)
for transport in transports: transport.close()
print(knocked)
time.sleep(1)
channel = jump(connect())
assert channel and channel.recv(3) == b"SSH"
"#;
    if by_hand(&world, text).is_none() {
        return;
    }
    let ran = world.ssh(&["-J", "kernel", "disk", "echo inside"]);
    assert_eq!(ran.text(), "inside", "{}", ran.stderr);
}

#[test]
fn a_name_of_a_signal_takes_no_memory() {
    let Some(world) = world() else { return };
    let (before, _) = world.gateway.memory().unwrap();
    let text = r#"
import threading
transport = connect()
channel = transport.open_session()
channel.exec_command("sleep 60")
channel.settimeout(3)
sent = 0
try:
    while sent < 2_500_000: sent += channel.send(b"x" * 30000)
except socket.timeout: pass
def flood():
    for _ in range(1000):
        message = paramiko.Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(channel.remote_chanid)
        message.add_string("signal")
        message.add_boolean(False)
        message.add_string(b"Z" * 200_000)
        transport._send_message(message)
thread = threading.Thread(target=flood, daemon=True)
thread.start()
thread.join(60)
os._exit(0)
"#;
    if by_hand(&world, text).is_none() {
        return;
    }
    let (_, now) = world.gateway.memory().unwrap();
    let grown = now.saturating_sub(before);
    assert!(grown < 50 << 20, "from {before} to {now} bytes of memory");
}

#[test]
fn hashes_and_sizes_claim_no_more_than_was_seen() {
    let Some(world) = world() else { return };
    let text = r#"
speaks = sftp()
handle = speaks.handle(1, "long", 0x1a)
speaks.ask(writing(2, handle, 0, b"A" * 100)); speaks.ask(closing(3, handle))
handle = speaks.handle(4, "long", 0x22)
speaks.ask(writing(5, handle, 0, b"evi")); speaks.ask(closing(6, handle))
handle = speaks.handle(7, "cut", 0x1a)
speaks.ask(writing(8, handle, 0, b"0123456789"))
speaks.ask(request(10, 9, string(handle) + struct.pack(">IQ", 1, 4))); speaks.ask(closing(10, handle))
handle = speaks.handle(11, "long", 1)
speaks.ask(reading(12, handle, 0, 10)); speaks.ask(closing(13, handle))
speaks.channel.close(); time.sleep(1)
"#;
    if by_hand(&world, text).is_none() {
        return;
    }
    world.expect(1, "ssh.result");
    let results = world.events("file.result");
    let results: Vec<_> = results
        .iter()
        .filter(|it| {
            it.value("/outcome/bytes_written").is_some()
                || it.value("/outcome/bytes_read").is_some()
        })
        .collect();
    let [whole, part, cut, read] = results[..] else { panic!("{results:?}") };
    let hash = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    assert_eq!(whole.text("/outcome/sha256"), Some(hash(&[b'A'; 100]).as_str()));
    assert_eq!(part.text("/outcome/sha256"), None);
    assert_eq!(part.text("/outcome/part_sha256"), Some(hash(b"evi").as_str()));
    assert_eq!(
        (number(part, "/outcome/part_from"), number(part, "/outcome/size")),
        (Some(0), None)
    );
    assert_eq!((cut.text("/outcome/sha256"), cut.text("/outcome/part_sha256")), (None, None));
    assert_eq!(read.text("/outcome/sha256"), None);
    assert_eq!(number(read, "/outcome/bytes_read"), Some(10));
    assert!(read.text("/outcome/part_sha256").is_some());
    world.verify();
}

#[test]
fn what_is_never_passed_on_is_refused_on_record() {
    let Some(world) = world() else { return };
    let text = r#"
transport = connect()
def streamlocal():
    message = paramiko.Message()
    message.add_byte(paramiko.common.cMSG_CHANNEL_OPEN)
    message.add_string("direct-streamlocal@openssh.com")
    message.add_int(77); message.add_int(1 << 20); message.add_int(1 << 15)
    message.add_string("/run/secret.sock"); message.add_string(""); message.add_int(0)
    transport._send_message(message)
streamlocal()
assert transport.global_request("streamlocal-forward@openssh.com", ["/run/listen.sock"]) is None
time.sleep(1)
"#;
    if by_hand(&world, text).is_none() {
        return;
    }
    until("both are on record", Duration::from_secs(20), || {
        let texts = world.texts("ssh.refused", "/detail/text");
        let all = ["/run/secret.sock", "/run/listen.sock"];
        all.iter().all(|it| texts.iter().any(|text| text == it)).then_some(())
    });
    assert_eq!(refused_for(&world, "unsupported").text("/detail/request"), Some("forward"));
    world.verify();
}
