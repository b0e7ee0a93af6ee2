use super::backend::{self, Authentication, TransactionStatus};
use super::encode::{self, Report, Severity};
use super::frame::{Decoder, Frame, HEADER_BYTES, Inbound, Limits, Taking};
use super::frontend::{self, Bind, Message, Named, Parameter, Parse};
use super::fuzz::{fuzz_one, read_client, read_server};
use super::scan::{Piece, READ_BYTES_MAX, Scanner};
use super::startup::{self, CancelKey, Start, Startup};
use super::*;
use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

fn wire(tag: u8, body: &[u8]) -> Vec<u8> {
    Frame::of(tag, body).into_wire().to_vec()
}

fn decode_all(decoder: &mut Decoder<()>, bytes: &[u8]) -> Vec<Inbound<()>> {
    let mut buffer = BytesMut::from(bytes);
    let mut all = Vec::new();
    while let Some(next) = decoder.next(&mut buffer, || Taking::For(())).unwrap() {
        all.push(next);
    }
    assert!(buffer.is_empty(), "{} bytes left", buffer.len());
    all
}

#[test]
fn messages_of_a_client_read_as_the_protocol_says() {
    let read = |tag, body: &[u8]| {
        let frame = Frame::of(tag, body);
        format!("{:?}", frontend::parse(&frame).unwrap())
    };
    let show = |message: Message<'_>| format!("{message:?}");
    assert_eq!(read(b'Q', b"select 1\0"), show(Message::Query(b"select 1")));
    let frame = Frame::of(b'P', b"S_1\0select $1\0\0\x02\0\0\0\x17\xff\0\0\0");
    let Message::Parse(Parse { name: b"S_1", text: b"select $1", types }) =
        frontend::parse(&frame).unwrap()
    else {
        panic!()
    };
    assert_eq!(types.iter().collect::<Vec<_>>(), [23, 0xff00_0000]);
    let mut bind = b"p\0S_1\0\0\x03\0\0\0\x01\0\0\0\x03".to_vec();
    bind.extend_from_slice(b"\0\0\0\x02ab\0\0\0\x01\xff\xff\xff\xff\xff\0\x01\0\x01");
    let frame = Frame::of(b'B', &bind);
    let Message::Bind(bind) = frontend::parse(&frame).unwrap() else { panic!() };
    let Bind { portal: b"p", statement: b"S_1", parameters, result_formats } = bind else {
        panic!("{bind:?}")
    };
    assert_eq!(parameters, [Parameter::Text(b"ab"), Parameter::Binary(b"\xff"), Parameter::Null]);
    assert_eq!(result_formats.iter().collect::<Vec<_>>(), [1]);
    assert_eq!(
        read(b'E', b"p\0\0\0\0\x64"),
        show(Message::Execute { portal: b"p", rows_max: 100 })
    );
    assert_eq!(read(b'D', b"Sx\0"), show(Message::Describe(Named::Statement(b"x"))));
    assert_eq!(read(b'C', b"P\0"), show(Message::Close(Named::Portal(b""))));
    assert_eq!(
        read(b'F', b"\0\0\x08\x98\0\x01\0\x01\0\x01\0\0\0\x02hi\0\x01"),
        show(Message::FunctionCall {
            oid: 2200,
            arguments: vec![Parameter::Binary(b"hi")],
            result_format: 1
        })
    );
    assert_eq!(read(b'f', b"no\0"), show(Message::CopyFail(b"no")));
    assert_eq!(read(b'S', b""), show(Message::Sync));
    assert_eq!(read(b'!', b"?"), show(Message::Opaque(b'!')));
}

#[test]
fn something_behind_the_last_field_is_refused_because_it_would_not_be_recorded() {
    for (tag, body) in [
        (b'Q', &b"select 1\0; drop table x\0"[..]),
        (b'P', b"\0select 1\0\0\0x"),
        (b'B', b"\0\0\0\0\0\0\0\0x"),
        (b'E', b"\0\0\0\0\0x"),
        (b'D', b"S\0x"),
        (b'S', b"x"),
        (b'F', b"\0\0\0\x01\0\0\0\0\0\0x"),
    ] {
        let frame = Frame::of(tag, body);
        assert!(frontend::parse(&frame).is_err(), "{}", char::from(tag));
    }
}

#[test]
fn an_action_that_is_too_large_is_reported_at_its_header_and_thrown_away() {
    let mut decoder = Decoder::new(Limits::default());
    let mut buffer = BytesMut::new();
    buffer.put_u8(b'Q');
    buffer.put_u32(u32::try_from(ACTION_BYTES_MAX).unwrap() + 4);
    let told = decoder.next(&mut buffer, || Taking::For(())).unwrap();
    assert_eq!(told, Some(Inbound::TooLarge { tag: b'Q', bytes: ACTION_BYTES_MAX + 5 }));
    let mut left = ACTION_BYTES_MAX;
    while left > 0 {
        let chunk = left.min(1 << 20);
        buffer.extend_from_slice(&vec![b'x'; chunk]);
        assert_eq!(decoder.next(&mut buffer, || Taking::For(())).unwrap(), None);
        assert!(buffer.is_empty(), "nothing is kept");
        left -= chunk;
    }
    let next = decode_all(&mut decoder, &wire(b'S', b""));
    assert!(matches!(next.as_slice(), [Inbound::Frame(frame)] if frame.tag() == b'S'));
}

#[test]
fn copy_data_is_never_collected() {
    let mut decoder = Decoder::new(Limits::default());
    let mut stream = wire(b'd', b"abc");
    stream.extend_from_slice(&wire(b'd', b"de"));
    stream.extend_from_slice(&wire(b'c', b""));
    let mut buffer = BytesMut::from(&stream[..9]);
    let Some(Inbound::Copy { piece: first, .. }) =
        decoder.next(&mut buffer, || Taking::For(())).unwrap()
    else {
        panic!()
    };
    assert_eq!((first.messages(), first.wire().len()), (1, 8));
    buffer.extend_from_slice(&stream[9..14]);
    let Some(Inbound::Copy { piece: second, .. }) =
        decoder.next(&mut buffer, || Taking::For(())).unwrap()
    else {
        panic!()
    };
    assert_eq!(second.payloads().collect::<Vec<_>>(), [b"d"]);
    buffer.extend_from_slice(&stream[14..]);
    let Some(Inbound::Copy { piece: third, .. }) =
        decoder.next(&mut buffer, || Taking::For(())).unwrap()
    else {
        panic!()
    };
    assert_eq!(third.payloads().collect::<Vec<_>>(), [b"e"]);
    assert_eq!(third.messages(), 0);
    assert!(matches!(decoder.next(&mut buffer, || Taking::For(())), Ok(Some(Inbound::Frame(_)))));
}

#[test]
fn what_copy_data_is_taken_for_is_decided_at_the_head_of_each_message() {
    let mut stream = wire(b'd', b"abcd");
    stream.extend_from_slice(&wire(b'd', b"efgh"));
    stream.extend_from_slice(&wire(b'S', b""));
    for (first, second) in [
        (Taking::For(1), Taking::For(2)),
        (Taking::For(1), Taking::Nothing),
        (Taking::Nothing, Taking::For(2)),
        (Taking::NotYet, Taking::NotYet),
    ] {
        let mut decoder = Decoder::new(Limits::default());
        let mut buffer = BytesMut::from(&stream[..7]);
        let begun = decoder.next(&mut buffer, || first).unwrap();
        assert_eq!(begun == Some(Inbound::CopyWaits), first == Taking::NotYet);
        assert_eq!(matches!(begun, Some(Inbound::Copy { of: 1, .. })), first == Taking::For(1));
        buffer.extend_from_slice(&stream[7..]);
        // From here on the answer is another; it counts from the next message on.
        let mut out = begun.into_iter().collect::<Vec<_>>();
        while let Some(next) = decoder.next(&mut buffer, || second).unwrap() {
            out.push(next);
            if out.last() == Some(&Inbound::CopyWaits) {
                break;
            }
        }
        let mut data = (Vec::new(), Vec::new());
        for next in &out {
            if let Inbound::Copy { of, piece } = next {
                let data = if *of == 1 { &mut data.0 } else { &mut data.1 };
                data.extend_from_slice(piece.wire());
            }
        }
        let whole = |taking, range| if matches!(taking, Taking::For(_)) { range } else { 0..0 };
        assert_eq!(data.0, stream[whole(first, 0..9)], "{first:?}, then {second:?}");
        assert_eq!(data.1, stream[whole(second, 9..18)], "{first:?}, then {second:?}");
        let sync = matches!(out.last(), Some(Inbound::Frame(frame)) if frame.tag() == b'S');
        assert_eq!(sync, first != Taking::NotYet);
    }
}

#[test]
fn lengths_that_no_message_has_are_errors() {
    for length in [0u32, 3, 0x4000_0000, u32::MAX] {
        let mut bytes = BytesMut::from(&b"Q"[..]);
        bytes.put_u32(length);
        let error = CodecError::Length { tag: b'Q', length };
        let mut decoder = Decoder::new(Limits::default());
        assert_eq!(decoder.next(&mut bytes.clone(), || Taking::For(())), Err(error));
        assert_eq!(Scanner::default().next(&bytes), Err(error));
    }
    for length in [0u32, 7, 10_241] {
        let mut bytes = BytesMut::new();
        bytes.put_u32(length);
        assert_eq!(startup::decode(&mut bytes), Err(CodecError::Length { tag: 0, length }));
    }
}

#[test]
fn start_up_packets_read_as_the_protocol_says() {
    let mut bytes = BytesMut::new();
    encode::ssl_request(&mut bytes);
    encode::gssenc_request(&mut bytes);
    let key = CancelKey { process: 7, secret: Bytes::from_static(b"1234") };
    encode::cancel_request(&mut bytes, &key);
    let pair = |name: &'static str, value: &'static str| {
        (Bytes::from_static(name.as_bytes()), Bytes::from_static(value.as_bytes()))
    };
    let parameters = vec![pair("user", "shop"), pair("_pq_.x", "1"), pair("user", "app~shop")];
    let start = Start { minor: 2, parameters };
    encode::startup(&mut bytes, &start);
    assert_eq!(startup::decode(&mut bytes), Ok(Some(Startup::Ssl)));
    assert_eq!(startup::decode(&mut bytes), Ok(Some(Startup::Gssenc)));
    assert_eq!(startup::decode(&mut bytes), Ok(Some(Startup::Cancel(key))));
    assert_eq!(startup::decode(&mut bytes), Ok(Some(Startup::Start(start.clone()))));
    assert_eq!(startup::decode(&mut bytes), Ok(None));
    assert_eq!(start.get("user"), Some(&b"app~shop"[..]), "the last one counts, as in the server");
    assert_eq!(start.extensions().count(), 1);
    let mut old = BytesMut::from(&[0, 0, 0, 8, 0, 2, 0, 0][..]);
    assert_eq!(startup::decode(&mut old), Ok(Some(Startup::Version(0x0002_0000))));
}

#[test]
fn a_cancel_key_is_not_printed() {
    let key = CancelKey { process: 4711, secret: Bytes::from_static(b"hunter22") };
    assert!(!format!("{key:?}").contains("4711"));
    assert!(!format!("{key:?}").contains("hunter"));
}

#[test]
fn what_the_gateway_says_reads_back() {
    let mut out = BytesMut::new();
    encode::report(
        &mut out,
        &Report {
            severity: Severity::Fatal,
            sqlstate: "28000",
            message: "TLS\0 is needed".into(),
            detail: None,
            hint: Some("sslmode=require".into()),
        },
    );
    let fields = backend::error_fields(&out[HEADER_BYTES..]);
    assert!(out[0] == b'E' && fields.is_fatal());
    assert_eq!(fields.sqlstate, b"28000");
    assert_eq!(fields.message, b"TLS is needed");
    assert_eq!(fields.hint, b"sslmode=require");

    let body = |fill: &dyn Fn(&mut BytesMut)| {
        let mut out = BytesMut::new();
        fill(&mut out);
        assert_eq!(u32::from_be_bytes(*out[1..].first_chunk().unwrap()) as usize, out.len() - 1);
        out[HEADER_BYTES..].to_vec()
    };
    let ok = body(&encode::authentication_ok);
    assert_eq!(backend::authentication(&ok), Ok(Authentication::Ok));
    let clear = body(&encode::authentication_cleartext_password);
    assert_eq!(backend::authentication(&clear), Ok(Authentication::CleartextPassword));
    let status = body(&|out| encode::parameter_status(out, b"TimeZone", b"UTC"));
    assert_eq!(backend::parameter_status(&status), Ok((&b"TimeZone"[..], &b"UTC"[..])));
    let key = CancelKey { process: 9, secret: Bytes::from_static(b"abcd") };
    let data = body(&|out| encode::backend_key_data(out, &key));
    assert_eq!(backend::backend_key_data(&data), Ok((9, &b"abcd"[..])));
    let ready = body(&encode::ready_for_query_idle);
    assert_eq!(backend::ready_for_query(&ready), Ok(TransactionStatus::Idle));
    let names = [&b"_pq_.a"[..], b"_pq_.b"];
    let version = body(&|out| encode::negotiate_protocol_version(out, names.into_iter()));
    assert_eq!(
        backend::negotiate_protocol_version(&version),
        Ok((startup::VERSION_3_0, names.to_vec()))
    );
}

#[test]
fn a_servers_sign_in_messages_read_as_the_protocol_says() {
    assert_eq!(
        backend::authentication(b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"),
        Ok(Authentication::Sasl(vec![b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"]))
    );
    assert_eq!(
        backend::authentication(b"\0\0\0\x05salt"),
        Ok(Authentication::Md5Password(*b"salt"))
    );
    assert_eq!(backend::authentication(b"\0\0\0\x07"), Ok(Authentication::Other(7)));
    assert!(backend::authentication(b"\0\0\0\x0aSCRAM").is_err());
    assert_eq!(backend::copy_response(b"\x01\0\x01\0\x01"), Ok((true, 1)));
}

#[test]
fn command_tags_give_their_rows() {
    for (tag, rows) in [
        ("SELECT 5", Some(5)),
        ("INSERT 0 12", Some(12)),
        ("COPY 3", Some(3)),
        ("CREATE TABLE", None),
        ("BEGIN", None),
    ] {
        let body = format!("{tag}\0");
        assert_eq!(backend::command_complete(body.as_bytes()), Ok((tag.as_bytes(), rows)));
    }
}

#[test]
fn rows_are_counted_a_run_at_a_time() {
    let mut stream = Vec::new();
    for _ in 0..100 {
        stream.extend_from_slice(&wire(b'D', b"\0\x01\0\0\0\x011"));
    }
    stream.extend_from_slice(&wire(b'C', b"SELECT 100\0"));
    let mut scanner = Scanner::default();
    let bytes = 100 * (HEADER_BYTES + 7);
    assert_eq!(scanner.next(&stream), Ok(Some(Piece::Rows { messages: 100, bytes })));
    let rest = &stream[bytes..];
    let whole = rest.len();
    let done = Piece::Message { tag: b'C', body: HEADER_BYTES..whole, bytes: whole };
    assert_eq!(scanner.next(rest), Ok(Some(done)));
}

#[test]
fn a_long_error_is_not_collected() {
    let mut body = b"SERROR\0C22000\0M".to_vec();
    body.resize(3 * READ_BYTES_MAX, b'x');
    let stream = wire(b'E', &body);
    let mut scanner = Scanner::default();
    assert_eq!(scanner.next(&stream[..1000]), Ok(None));
    let Some(Piece::Message { tag: b'E', body, bytes }) = scanner.next(&stream).unwrap() else {
        panic!()
    };
    assert_eq!(bytes, HEADER_BYTES + READ_BYTES_MAX);
    let fields = backend::error_fields(&stream[body]);
    assert_eq!((fields.sqlstate, fields.severity), (&b"22000"[..], &b"ERROR"[..]));
    assert!(fields.message.len() > 1000);
    let bytes_left = stream.len() - bytes;
    assert!(!scanner.is_at_boundary());
    let more = |passes| Piece::More { tag: b'E', bytes: bytes_left, passes };
    assert_eq!(scanner.next(&stream[bytes..]), Ok(Some(more(true))));
    assert!(scanner.is_at_boundary());

    // Where its head is not passed on, its tail is not either.
    assert!(scanner.next(&stream).unwrap().is_some());
    scanner.withhold();
    assert!(scanner.is_at_boundary(), "for what was passed on");
    assert_eq!(scanner.next(&stream[bytes..]), Ok(Some(more(false))));
    let ready = wire(b'Z', b"I");
    assert!(matches!(scanner.next(&ready), Ok(Some(Piece::Message { tag: b'Z', .. }))));
}

/// Streams that are mostly well-formed.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let tags = prop_oneof![
        proptest::sample::select(b"QPBEFdcfSHDCXp12ADTZENCGVsIt".to_vec()),
        any::<u8>()
    ];
    let message = (tags, proptest::collection::vec(any::<u8>(), 0..60));
    proptest::collection::vec(message, 0..12)
        .prop_map(|messages| messages.iter().flat_map(|(tag, body)| wire(*tag, body)).collect())
}

proptest! {
    #[test]
    fn any_split_of_a_stream_reads_the_same(
        stream in streams(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
    ) {
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        places.sort_unstable();
        let mut parts = Vec::new();
        let mut from = 0;
        for place in places {
            parts.push(&stream[from..place]);
            from = place;
        }
        parts.push(&stream[from..]);
        let (taken, thrown) = (Taking::For(()), Taking::Nothing);
        prop_assert_eq!(read_client(&[&stream], taken), read_client(&parts, taken));
        prop_assert_eq!(read_client(&[&stream], thrown), read_client(&parts, thrown));
        prop_assert_eq!(read_server(&[&stream]), read_server(&parts));
    }

    #[test]
    fn what_is_forwarded_is_what_came_in(stream in streams()) {
        let mut decoder = Decoder::new(Limits::default());
        let mut buffer = BytesMut::from(stream.as_slice());
        let mut out = Vec::new();
        while let Some(next) = decoder.next(&mut buffer, || Taking::For(())).unwrap() {
            match next {
                Inbound::Frame(frame) => out.extend_from_slice(frame.wire()),
                Inbound::Copy { piece, .. } => out.extend_from_slice(piece.wire()),
                Inbound::CopyWaits | Inbound::TooLarge { .. } => unreachable!("none is"),
            }
        }
        prop_assert_eq!(out, stream);
    }

    #[test]
    fn no_bytes_make_it_panic(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz_one(&data);
    }

    #[test]
    fn start_up_messages_round_trip(
        minor in any::<u16>(),
        pairs in proptest::collection::vec(("[a-z_.]{1,12}", "[^\0]{0,20}"), 0..8),
    ) {
        let parameters =
            pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let start = Start { minor, parameters };
        let mut bytes = BytesMut::new();
        encode::startup(&mut bytes, &start);
        prop_assert_eq!(startup::decode(&mut bytes), Ok(Some(Startup::Start(start))));
    }
}
