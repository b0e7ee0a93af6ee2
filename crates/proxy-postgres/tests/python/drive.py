"""Drives a session with psycopg (libpq's newest), close to the protocol. Asserts what the client
sees; what is on record is checked by the test that runs this."""

import os
import socket
import ssl
import struct
import sys

import psycopg
from psycopg import pq

OK = pq.ExecStatus.COMMAND_OK
ROWS = pq.ExecStatus.TUPLES_OK
FATAL = pq.ExecStatus.FATAL_ERROR
ABORTED = pq.ExecStatus.PIPELINE_ABORTED
SYNC = pq.ExecStatus.PIPELINE_SYNC


def connect(extra=""):
    return psycopg.connect(extra, autocommit=True)


def value(result):
    assert result.status == ROWS, (result.status, result.error_message)
    return result.get_value(0, 0)


def collect(raw, syncs):
    """All results of a pipeline up to so many Syncs."""
    results = []
    while syncs:
        result = raw.get_result()
        if result is None:
            continue
        results.append(result)
        syncs -= result.status == SYNC
    return results


def attacks():
    raw = connect().pgconn
    assert raw.prepare(b"s", b"select 'good'").status == OK
    assert raw.prepare(b"s", b"select 'evil'").status == FATAL
    assert value(raw.exec_prepared(b"s", [])) == b"good"
    raw.exec_(b"deallocate s; prepare s as select 'made by SQL'")
    assert value(raw.exec_prepared(b"s", [])) == b"made by SQL"
    raw.exec_(b"deallocate s")
    assert raw.prepare(b"s", b"select 'again'").status == OK
    assert value(raw.exec_prepared(b"s", [])) == b"again"
    # The server cuts names to 63 bytes.
    short, long = b"n" * 63, b"n" * 70
    assert raw.prepare(short, b"select 'short'").status == OK
    raw.exec_(b'deallocate "' + short + b'"')
    assert raw.prepare(long, b"select 'long'").status == OK
    assert value(raw.exec_prepared(short, [])) == b"long"


def functions():
    raw = connect().pgconn
    assert raw.prepare(b"s2", b"select 'recorded'").status == OK
    assert value(raw.exec_prepared(b"s2", [])) == b"recorded"
    made = raw.exec_(
        b"create function pg_temp.f(a text) returns void language plpgsql"
        b" as $f$ begin execute a; end $f$"
    )
    assert made.status == OK, made.error_message
    # Words in pieces, so that no text says what it does.
    for piece in (b"'deal' || 'locate s2'", b"'pre' || 'pare s2 as select $x$unseen$x$'"):
        assert raw.prepare(b"s3", b"select 'fresh'").status in (OK, FATAL)
        assert raw.exec_(b"select pg_temp.f(" + piece + b")").status == ROWS
    assert value(raw.exec_prepared(b"s2", [])) == b"unseen"
    # A name of that moment is certain.
    assert raw.prepare(b"s4", b"select 'certain'").status == OK
    assert value(raw.exec_prepared(b"s4", [])) == b"certain"


def skipped():
    raw = connect().pgconn
    raw.nonblocking = 1
    raw.enter_pipeline_mode()
    raw.send_prepare(b"bad", b"selec")
    raw.send_flush_request()
    raw.flush()
    for n in range(200_000):
        raw.send_describe_prepared(b"bad")
        if n % 1000 == 0:
            raw.flush()
    raw.pipeline_sync()
    while raw.flush():
        pass
    raw.nonblocking = 0
    statuses = [result.status for result in collect(raw, 1)]
    assert statuses[0] == FATAL and set(statuses[1:-1]) == {ABORTED}, statuses[:3]
    raw.exit_pipeline_mode()
    assert value(raw.exec_(b"select 1")) == b"1"


def message(tag, body=b""):
    return tag + struct.pack("!I", len(body) + 4) + body


def raw_session():
    """A session without libpq: what one sends in one burst is one's own choice."""
    plain = socket.create_connection((os.environ["PGHOSTADDR"], int(os.environ["PGPORT"])), 20)
    plain.sendall(struct.pack("!II", 8, 80877103))
    assert plain.recv(1) == b"S"
    context = ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"])
    wire = context.wrap_socket(plain, server_hostname="localhost")
    start = struct.pack("!I", 196608) + b"user\0" + os.environ["PGUSER"].encode() + b"\0\0"
    wire.sendall(struct.pack("!I", len(start) + 4) + start)
    wire.sendall(message(b"p", os.environ["PGPASSWORD"].encode() + b"\0"))
    answers(wire, 1)
    return wire


def answers(wire, ready):
    """Type and body of all messages up to so many ReadyForQuery."""
    stream, got = wire.makefile("rb", buffering=0), []

    def exactly(count):
        data = b""
        while len(data) < count:
            piece = stream.read(count - len(data))
            assert piece, ("the session ended", got)
            data += piece
        return data

    while ready:
        tag = exactly(1)
        got.append((tag, exactly(struct.unpack("!I", exactly(4))[0] - 4)))
        ready -= tag == b"Z"
    return got


def copy_bursts():
    wire = raw_session()
    wire.sendall(message(b"Q", b"create temp table t (a int)\0"))
    answers(wire, 1)
    # One column of one byte, where an int4 has four: SQLSTATE 08P01, which SQL raised.
    bad = b"PGCOPY\n\xff\r\n\0" + struct.pack("!II", 0, 0) + struct.pack("!hi", 1, 1) + b"x"
    parse = lambda text: message(b"P", b"s\0" + text + b"\0\0\0")
    bind = message(b"B", b"\0s\0\0\0\0\0\0\0") + message(b"E", b"\0\0\0\0\0")
    copy = message(b"Q", b"copy t from stdin binary\0") + message(b"d", bad)
    for end in (message(b"c"), b""):
        wire.sendall(parse(b"select 'old'") + message(b"S"))
        answers(wire, 1)
        burst = copy + end + message(b"C", b"Ss\0") + parse(b"select 'new'") + bind + message(b"S")
        wire.sendall(burst)
        got = answers(wire, 2)
        errors = [body for tag, body in got if tag == b"E"]
        assert len(errors) == 1, got
        assert b"C08P01\0" in errors[0], errors
        assert any(tag == b"D" and body.endswith(b"new") for tag, body in got), got
        wire.sendall(message(b"C", b"Ss\0") + message(b"S"))
        answers(wire, 1)
    # A COPY that the client never ends, and a message that has no place in it.
    wire.sendall(message(b"Q", b"copy t from stdin\0") + message(b"Q", b"select 'after'\0"))
    got = answers(wire, 2)
    assert [body for tag, body in got if tag == b"C"] == [b"SELECT 1\0"], got
    wire.sendall(message(b"X"))


def pipelines():
    raw = connect().pgconn
    raw.enter_pipeline_mode()
    raw.send_prepare(b"p", b"select $1::int + 1")
    raw.send_query_prepared(b"p", [b"1"])
    raw.pipeline_sync()
    # The Parse is unanswered when this is sent.
    raw.send_query_prepared(b"p", [b"2"])
    raw.pipeline_sync()
    raw.send_query_params(b"select 1/0", [])
    raw.send_query_prepared(b"p", [b"3"])
    raw.pipeline_sync()
    raw.send_query_prepared(b"p", [b"4"], param_formats=None, result_format=1)
    raw.pipeline_sync()
    statuses = [result.status for result in collect(raw, 4)]
    assert statuses == [OK, ROWS, SYNC, ROWS, SYNC, FATAL, ABORTED, SYNC, ROWS, SYNC], statuses


def a_refusal_within_a_pipeline():
    connection = connect()
    connection.execute("create table refused (a text)")
    raw = connection.pgconn
    raw.enter_pipeline_mode()
    raw.send_query_params(b"insert into refused values ('before')", [])
    raw.send_query_params(b"insert into refused values ($1)", [b"x" * (17 << 20)])
    raw.send_query_params(b"insert into refused values ('after')", [])
    raw.pipeline_sync()
    results = collect(raw, 1)
    assert [result.status for result in results] == [OK, FATAL, ABORTED, SYNC]
    assert results[1].error_field(pq.DiagnosticField.SQLSTATE) == b"54000"
    raw.exit_pipeline_mode()
    rows = connection.execute("select count(*) from refused").fetchone()
    assert rows == (0,), "a refusal fails the transaction, as an error of the server would"


def large_pipeline():
    with connect() as connection:
        connection.execute("create table many (a int, b text)")
        with connection.pipeline(), connection.cursor() as cursor:
            rows = [(n, "x" * 100) for n in range(5000)]
            cursor.executemany("insert into many values (%s, %s)", rows)
        assert connection.execute("select count(*) from many").fetchone() == (5000,)


def copies():
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("create table copied_by_python (a int, b text)")
        with cursor.copy("copy copied_by_python from stdin") as copy:
            for n in range(1000):
                copy.write_row((n, "row"))
        with cursor.copy("copy copied_by_python to stdout") as copy:
            assert sum(1 for _ in copy.rows()) == 1000
        try:
            with cursor.copy("copy copied_by_python from stdin") as copy:
                copy.write("not a number\trow\n")
        except psycopg.errors.InvalidTextRepresentation:
            pass
        assert cursor.execute("select 'in step'").fetchone() == ("in step",)


def notifications():
    with connect() as listener, connect() as speaker:
        listener.execute("listen news")
        speaker.execute("notify news, 'hello'")
        for notice in listener.notifies(timeout=5, stop_after=1):
            assert notice.payload == "hello"
            return
        raise AssertionError("no notification came")


def cursors():
    with psycopg.connect("") as connection:
        with connection.cursor(name="c") as cursor:
            cursor.execute("select generate_series(1, 100)")
            assert len(cursor.fetchmany(10)) == 10
            assert len(cursor.fetchall()) == 90


def other_doors():
    for extra in ("max_protocol_version=latest", "sslnegotiation=direct"):
        assert connect(extra).execute("select 1").fetchone() == (1,)


def cancel():
    connection = connect()
    raw = connection.pgconn
    raw.send_query(b"select pg_sleep(60)")
    raw.flush()
    canceller = raw.cancel_conn()
    canceller.blocking()
    result = raw.get_result()
    assert result.error_field(pq.DiagnosticField.SQLSTATE) == b"57014", result.error_message


globals()[sys.argv[1]]()
