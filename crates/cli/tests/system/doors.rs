//! Malformed bytes at every listener: nothing falls over, and strangers cannot fill the log.

use super::*;
use std::io::{Read, Write};
use std::net::TcpStream;

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

fn throw(port: u16, bytes: &[u8]) {
    let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)) else { return };
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    socket.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    if socket.write_all(bytes).is_ok() {
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let mut answer = [0; 512];
        while matches!(socket.read(&mut answer), Ok(1..)) {}
    }
}

#[test]
fn malformed_bytes_at_every_listener_are_bounded_and_harmless() {
    let gateway = gateway();
    let (before, _) = gateway.memory().unwrap();
    let mut random = Random(0x5eed_1234_9876_fedc);
    let mut sent = 0;
    for round in 0..60 {
        let len = (random.next() % 3_000) as usize;
        let mut cases = vec![random.bytes(len)];
        // A start-up packet that promises more than it brings, a huge one, TLS that is none.
        cases.push([&[0, 0, 0x20, 0, 0, 3, 0, 0][..], &random.bytes(40)].concat());
        cases.push(vec![0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0]);
        cases.push([&[0x16, 3, 1, 2, 0, 1][..], &random.bytes(200)].concat());
        cases.push([&[0, 0, 0, 8, 4, 210, 22, 47][..], &random.bytes(100)].concat());
        // A request to cancel with a key that nobody has.
        cases.push([&[0, 0, 0, 16, 4, 210, 22, 46][..], &random.bytes(8)].concat());
        cases
            .push(format!("GET /{round} HTTP/1.1\r\nHost: x\r\n{}", "A: b\r\n".repeat(500)).into());
        for case in cases {
            for port in [gateway.ports.postgres, gateway.ports.api, gateway.ports.metrics] {
                throw(port, &case);
                sent += 1;
            }
        }
    }
    let output = psql(&gateway, "alice", "disk").args(["-c", "select 'alive'"]).output().unwrap();
    assert_eq!(stdout(&output), "alive", "{}", stderr(&output));
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
    let (after, _) = gateway.memory().unwrap();
    assert!(after < before + (64 << 20), "{before} bytes, then {after}");
    let events = gateway.events().unwrap();
    let singly = events.iter().filter(|event| event.kind() == "stranger.refused").count();
    // Ten of a source and minute; the rounds may lie in up to three minutes.
    assert!((1..=30).contains(&singly), "{singly} events for {sent} connections");
}

#[test]
fn a_silent_client_does_not_hold_a_place_for_ever() {
    let gateway = gateway();
    let silent = |port: u16, begin: &[u8]| {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.write_all(begin).unwrap();
        let begin = Instant::now();
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert!(begin.elapsed() < Duration::from_secs(16), "{port}: {:?}", begin.elapsed());
    };
    silent(gateway.ports.postgres, b"");
    silent(gateway.ports.api, b"");
    silent(gateway.ports.metrics, b"");
    silent(gateway.ports.metrics, b"GET /metr");
    let refused = until("an event says so", Duration::from_secs(10), || {
        let found = count(&gateway, "stranger.refused", "/detail/reason", "timeout");
        (found > 1).then_some(found)
    });
    assert_eq!(refused, 2, "PostgreSQL and API");
}

#[test]
fn one_source_cannot_take_all_the_places_of_the_unidentified() {
    let gateway = gateway();
    let held: Vec<TcpStream> = (0..200)
        .filter_map(|_| TcpStream::connect(("127.0.0.1", gateway.ports.postgres)).ok())
        .collect();
    // From another address of this machine, which is another source.
    let output = psql(&gateway, "alice", "disk")
        .env("PGHOSTADDR", "127.0.0.1")
        .args(["-c", "select 1"])
        .output()
        .unwrap();
    let told = stderr(&output);
    assert!(!output.status.success(), "the same source is over its share: {told}");
    drop(held);
    let again = until("places are given back", Duration::from_secs(10), || {
        let output = psql(&gateway, "alice", "disk").args(["-c", "select 2"]).output().unwrap();
        output.status.success().then(|| stdout(&output))
    });
    assert_eq!(again, "2");
}

/// Connections to a listener from another address of this machine, which is another source.
fn from_source(n: u8, port: u16, count: usize) -> Vec<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let one = || -> std::io::Result<TcpStream> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, n], 0).into())?;
        let to = ([127, 0, 0, 1], port).into();
        runtime.block_on(socket.connect(to))?.into_std()
    };
    let held: Vec<TcpStream> = (0..count).filter_map(|_| one().ok()).collect();
    assert_eq!(held.len(), count, "connecting from 127.0.0.{n}");
    held
}

#[test]
fn a_few_sources_cannot_close_a_door_for_the_others() {
    let gateway = gateway();
    let ports = gateway.ports;
    let flood = |port: u16, each: usize| -> Vec<TcpStream> {
        (2..=5).flat_map(|n| from_source(n, port, each)).collect()
    };
    let mut held = flood(ports.postgres, 64);
    let output = psql(&gateway, "alice", "disk").args(["-c", "select 1"]).output().unwrap();
    assert_eq!(stdout(&output), "1", "PostgreSQL: {}", stderr(&output));

    held.extend(flood(ports.api, 256));
    let output = gateway.run(Some("alice"), &["whoami"]).unwrap();
    assert!(output.status.success(), "API: {}", stderr(&output));

    held.extend(flood(ports.metrics, 64));
    assert!(gateway.ready(), "metrics");
    drop(held);
}

#[test]
fn a_name_that_somebody_else_leads_here_is_not_answered_under() {
    let gateway = gateway();
    let asked = |host: &str| {
        let mut socket = TcpStream::connect(("127.0.0.1", gateway.ports.metrics)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    };
    let port = gateway.ports.metrics;
    assert!(asked(&format!("localhost:{port}")).contains("loggia_"));
    let refused = asked(&format!("attacker.example:{port}"));
    assert!(refused.starts_with("HTTP/1.1 421 ") && !refused.contains("loggia_"), "{refused}");
}
