// Drives a session with pgjdbc. Takes the address of the database as its only argument. Asserts
// what the client sees; what is on record is checked by the test that runs this.

import java.io.StringReader;
import java.io.StringWriter;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.Arrays;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.PGStatement;

public final class Drive {
    /** No wait here is longer. */
    private static final int PATIENCE_MS = 30_000;

    public static void main(String[] arguments) throws Exception {
        String url = arguments[0] + "&ApplicationName=" + System.getenv("PGAPPNAME");
        for (String mode : new String[] {"simple", "extended", "extendedCacheEverything"}) {
            try (Connection connection = DriverManager.getConnection(url + "&preferQueryMode=" + mode)) {
                values(connection, mode);
                mistakes(connection);
            }
        }
        try (Connection connection = DriverManager.getConnection(url)) {
            prepared(connection);
            batches(connection);
            transactions(connection);
            cursors(connection);
            copies(connection);
            notifications(connection, url);
            cancels(connection);
        }
        System.out.println("done");
    }

    private static void values(Connection connection, String mode) throws SQLException {
        String text = "select ?::int + ?::int as " + mode;
        try (PreparedStatement sum = connection.prepareStatement(text)) {
            sum.setInt(1, 40);
            sum.setInt(2, 2);
            check(one(sum.executeQuery()).equals("42"), "the sum");
        }
        try (PreparedStatement back = connection.prepareStatement("select ?::text")) {
            back.setString(1, null);
            check(one(back.executeQuery()) == null, "NULL");
            back.setString(1, "it's");
            check(one(back.executeQuery()).equals("it's"), "a quote");
        }
        try (PreparedStatement back = connection.prepareStatement("select ?::bytea")) {
            byte[] raw = {0, (byte) 0xff};
            back.setBytes(1, raw);
            try (ResultSet rows = back.executeQuery()) {
                rows.next();
                check(Arrays.equals(rows.getBytes(1), raw), "bytes");
            }
        }
    }

    private static void mistakes(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            fails("42P01", () -> statement.execute("select * from no_such_table"));
            // Not a constant, or the server would fail in planning and not log the statement.
            fails("22012", () -> statement.execute("select 1 / (random() * 0)::int"));
            check(one(statement.executeQuery("select 'in step'")).equals("in step"), "in step");
        }
    }

    private static void prepared(Connection connection) throws SQLException {
        try (PreparedStatement doubled = connection.prepareStatement("select ?::int * 2")) {
            for (int n = 0; n < 12; n++) {
                doubled.setInt(1, n);
                check(one(doubled.executeQuery()).equals(Integer.toString(2 * n)), "doubled");
            }
            // From the fifth execution on it has a name on the server.
            check(doubled.unwrap(PGStatement.class).isUseServerPrepare(), "prepared on the server");
        }
    }

    private static void batches(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute("create temp table kept (n int primary key)");
        }
        try (PreparedStatement insert =
                connection.prepareStatement("insert into kept values (?)")) {
            for (int n = 100; n < 200; n++) {
                insert.setInt(1, n);
                insert.addBatch();
            }
            check(Arrays.stream(insert.executeBatch()).sum() == 100, "the rows of the batch");
            for (int n : new int[] {200, 100, 201}) {
                insert.setInt(1, n);
                insert.addBatch();
            }
            try {
                insert.executeBatch();
                throw new AssertionError("a batch with a double key went through");
            } catch (BatchUpdateException error) {
                check("23505".equals(error.getSQLState()), error.toString());
            }
        }
    }

    private static void transactions(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.execute("delete from kept");
            statement.execute("insert into kept values (1)");
            connection.commit();
            statement.execute("insert into kept values (2)");
            connection.rollback();
            Savepoint before = connection.setSavepoint();
            fails("23505", () -> statement.execute("insert into kept values (1)"));
            connection.rollback(before);
            statement.execute("insert into kept values (3)");
            connection.commit();
            String kept = "select string_agg(n::text, ',' order by n) from kept";
            check(one(statement.executeQuery(kept)).equals("1,3"), "what was kept");
        }
        connection.commit();
        connection.setAutoCommit(true);
    }

    /** Rows in pieces: one Bind, several Executes of its portal. */
    private static void cursors(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.setFetchSize(10);
            int seen = 0;
            try (ResultSet rows = statement.executeQuery("select generate_series(1, 35)")) {
                while (rows.next()) {
                    seen++;
                }
            }
            check(seen == 35, "rows in pieces: " + seen);
        }
        connection.commit();
        connection.setAutoCommit(true);
    }

    private static void copies(Connection connection) throws Exception {
        try (Statement statement = connection.createStatement()) {
            statement.execute("create temp table bulk (n int, t text)");
        }
        var copies = connection.unwrap(PGConnection.class).getCopyAPI();
        StringBuilder rows = new StringBuilder();
        for (int n = 0; n < 10_000; n++) {
            rows.append(n).append('\t').append("x".repeat(100)).append('\n');
        }
        long in = copies.copyIn("copy bulk from stdin", new StringReader(rows.toString()));
        check(in == 10_000, "rows copied in: " + in);
        StringWriter back = new StringWriter();
        long out = copies.copyOut("copy bulk to stdout", back);
        check(out == 10_000 && back.toString().length() == rows.length(), "rows copied out: " + out);
        var bad = new StringReader("no number\tx\n");
        fails("22P02", () -> copies.copyIn("copy bulk from stdin", bad));
    }

    private static void notifications(Connection connection, String url) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute("listen from_java");
        }
        try (Connection speaker = DriverManager.getConnection(url);
                Statement statement = speaker.createStatement()) {
            statement.execute("notify from_java, 'hello'");
        }
        PGNotification[] heard =
                connection.unwrap(PGConnection.class).getNotifications(PATIENCE_MS);
        check(heard.length == 1 && heard[0].getParameter().equals("hello"), "the notification");
    }

    private static void cancels(Connection connection) throws SQLException {
        long began = System.nanoTime();
        try (Statement statement = connection.createStatement()) {
            statement.setQueryTimeout(1);
            fails("57014", () -> statement.execute("select pg_sleep(60)"));
            check(System.nanoTime() - began < PATIENCE_MS * 1_000_000L, "cancelled in time");
            statement.setQueryTimeout(0);
            statement.execute("select 'after the cancel'");
        }
    }

    private interface Attempt {
        void run() throws Exception;
    }

    /** Fails unless the attempt fails with this SQLSTATE. */
    private static void fails(String sqlstate, Attempt attempt) {
        try {
            attempt.run();
        } catch (SQLException error) {
            check(sqlstate.equals(error.getSQLState()), sqlstate + " was wanted: " + error);
            return;
        } catch (Exception error) {
            throw new AssertionError(error);
        }
        throw new AssertionError(sqlstate + " was wanted, and nothing failed");
    }

    private static String one(ResultSet rows) throws SQLException {
        try (rows) {
            check(rows.next(), "a row");
            return rows.getString(1);
        }
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
