// Drives a session with pgx. Everything about the connection stands in the PG* variables, as for
// libpq. Asserts what the client sees; what is on record is checked by the test that runs this.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// No wait here is longer.
const patience = 30 * time.Second

func main() {
	ctx, done := context.WithTimeout(context.Background(), 2*time.Minute)
	defer done()
	conn := connect(ctx)
	protocols(ctx, conn)
	prepared(ctx, conn)
	batches(ctx, conn)
	transactions(ctx, conn)
	copies(ctx, conn)
	mistakes(ctx, conn)
	notifications(ctx, conn)
	cancels(ctx, conn)
	must(conn.Close(ctx))
	fmt.Println("done")
}

func connect(ctx context.Context) *pgx.Conn {
	config, err := pgx.ParseConfig("")
	must(err)
	// A context that ends cancels the statement and keeps the connection.
	config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: patience}
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	must(err)
	return conn
}

func protocols(ctx context.Context, conn *pgx.Conn) {
	modes := []pgx.QueryExecMode{
		pgx.QueryExecModeSimpleProtocol,
		pgx.QueryExecModeExec,
		pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeCacheDescribe,
		pgx.QueryExecModeCacheStatement,
	}
	for place, mode := range modes {
		var sum int
		text := fmt.Sprintf("select $1::int + $2::int as mode_%d", place)
		must(conn.QueryRow(ctx, text, mode, 40, 2).Scan(&sum))
		check(sum == 42, "%v gave %d", mode, sum)
	}
	var null *string
	must(conn.QueryRow(ctx, "select $1::text", nil).Scan(&null))
	check(null == nil, "NULL came back as %v", null)
	var raw []byte
	must(conn.QueryRow(ctx, "select $1::bytea", []byte{0, 0xff}).Scan(&raw))
	check(bytes.Equal(raw, []byte{0, 0xff}), "bytes came back as %x", raw)
}

func prepared(ctx context.Context, conn *pgx.Conn) {
	_, err := conn.Prepare(ctx, "doubled", "select $1::int * 2")
	must(err)
	for n := range 5 {
		var got int
		must(conn.QueryRow(ctx, "doubled", n).Scan(&got))
		check(got == 2*n, "the prepared statement gave %d for %d", got, n)
	}
	// The cache of statements: prepared once, run often.
	for n := range 5 {
		var got int
		must(conn.QueryRow(ctx, "select $1::int + 1 as cached", n).Scan(&got))
		check(got == n+1, "the cached statement gave %d for %d", got, n)
	}
	must(conn.Deallocate(ctx, "doubled"))
}

func batches(ctx context.Context, conn *pgx.Conn) {
	batch := &pgx.Batch{}
	for n := range 100 {
		batch.Queue("select $1::int as in_a_batch", n)
	}
	results := conn.SendBatch(ctx, batch)
	for n := range 100 {
		var got int
		must(results.QueryRow().Scan(&got))
		check(got == n, "place %d of the batch gave %d", n, got)
	}
	must(results.Close())

	// An error in the middle: what is behind it is not run. Not a constant, or the server would
	// fail in planning and not log the statement.
	batch = &pgx.Batch{}
	batch.Queue("select 'before'")
	batch.Queue("select $1::int / (random() * 0)::int", 1)
	batch.Queue("select 'behind'")
	results = conn.SendBatch(ctx, batch)
	_, err := results.Exec()
	must(err)
	_, err = results.Exec()
	is(err, "22012")
	check(results.Close() != nil, "the batch as a whole failed")
}

func transactions(ctx context.Context, conn *pgx.Conn) {
	_, err := conn.Exec(ctx, "create temp table kept (n int primary key)")
	must(err)
	insert := func(tx pgx.Tx, n int) error {
		_, err := tx.Exec(ctx, "insert into kept values ($1)", n)
		return err
	}
	must(pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return insert(tx, 1) }))
	rolledBack := errors.New("rolled back")
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		must(insert(tx, 2))
		return rolledBack
	})
	check(errors.Is(err, rolledBack), "the transaction ended with %v", err)
	// A savepoint saves the transaction around a statement that fails.
	must(pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		is(pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error { return insert(inner, 1) }), "23505")
		return insert(tx, 3)
	}))
	var rows string
	must(conn.QueryRow(ctx, "select string_agg(n::text, ',' order by n) from kept").Scan(&rows))
	check(rows == "1,3", "kept is %s", rows)
}

func copies(ctx context.Context, conn *pgx.Conn) {
	_, err := conn.Exec(ctx, "create temp table bulk (n int, t text)")
	must(err)
	row := func(n int) ([]any, error) { return []any{n, strings.Repeat("x", 100)}, nil }
	copied, err := conn.CopyFrom(
		ctx, pgx.Identifier{"bulk"}, []string{"n", "t"}, pgx.CopyFromSlice(10_000, row))
	must(err)
	check(copied == 10_000, "%d rows were copied in", copied)
	var out bytes.Buffer
	tag, err := conn.PgConn().CopyTo(ctx, &out, "copy bulk to stdout")
	must(err)
	check(tag.RowsAffected() == 10_000 && out.Len() > 1_000_000, "%v, %d bytes", tag, out.Len())
	_, err = conn.PgConn().CopyFrom(ctx, strings.NewReader("no number\tx\n"), "copy bulk from stdin")
	is(err, "22P02")
}

func mistakes(ctx context.Context, conn *pgx.Conn) {
	_, err := conn.Exec(ctx, "select * from no_such_table")
	is(err, "42P01")
	_, err = conn.Exec(ctx, "select * from no_such_table", pgx.QueryExecModeSimpleProtocol)
	is(err, "42P01")
	_, err = conn.Exec(ctx, "select $1::int / (random() * 0)::int", 1)
	is(err, "22012")
	_, err = conn.Exec(ctx, "select 'in step'")
	must(err)
}

func notifications(ctx context.Context, conn *pgx.Conn) {
	_, err := conn.Exec(ctx, "listen from_go")
	must(err)
	speaker := connect(ctx)
	_, err = speaker.Exec(ctx, "select pg_notify('from_go', $1)", "hello")
	must(err)
	must(speaker.Close(ctx))
	waits, done := context.WithTimeout(ctx, patience)
	defer done()
	notice, err := conn.WaitForNotification(waits)
	must(err)
	check(notice.Payload == "hello", "the notification says %q", notice.Payload)
}

func cancels(ctx context.Context, conn *pgx.Conn) {
	began := time.Now()
	brief, done := context.WithTimeout(ctx, 500*time.Millisecond)
	_, err := conn.Exec(brief, "select pg_sleep(60)")
	done()
	is(err, "57014")
	check(time.Since(began) < patience, "cancelled after %v", time.Since(began))
	_, err = conn.Exec(ctx, "select 'after the cancel'")
	must(err)
}

// Fails unless the error is the server's, with this SQLSTATE.
func is(err error, sqlstate string) {
	var server *pgconn.PgError
	check(errors.As(err, &server), "SQLSTATE %s was wanted, there was %v", sqlstate, err)
	check(server.Code == sqlstate, "SQLSTATE %s was wanted, there was %v", sqlstate, err)
}

func must(err error) {
	check(err == nil, "%v", err)
}

func check(holds bool, format string, arguments ...any) {
	if !holds {
		panic(fmt.Sprintf(format, arguments...))
	}
}

func init() {
	if os.Getenv("PGSSLMODE") != "verify-full" {
		panic("PGSSLMODE must be verify-full")
	}
}
