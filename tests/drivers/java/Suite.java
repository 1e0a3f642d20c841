// The official Java driver against a running server; a plain program, so that nothing but the driver is fetched.
// Reads NORNICDB_URI, _USER, _PASSWORD and, to watch the server's memory, NORNICDB_PID.

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.OffsetTime;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.logging.Level;
import java.util.logging.Logger;
import java.util.stream.IntStream;
import org.neo4j.driver.AccessMode;
import org.neo4j.driver.AuthToken;
import org.neo4j.driver.AuthTokens;
import org.neo4j.driver.Bookmark;
import org.neo4j.driver.Config;
import org.neo4j.driver.Driver;
import org.neo4j.driver.GraphDatabase;
import org.neo4j.driver.Record;
import org.neo4j.driver.Result;
import org.neo4j.driver.Session;
import org.neo4j.driver.SessionConfig;
import org.neo4j.driver.Transaction;
import org.neo4j.driver.TransactionConfig;
import org.neo4j.driver.Value;
import org.neo4j.driver.Values;
import org.neo4j.driver.exceptions.Neo4jException;
import org.neo4j.driver.exceptions.TransientException;
import org.neo4j.driver.summary.QueryType;
import org.neo4j.driver.summary.ResultSummary;

public final class Suite {
    private static final String URI = System.getenv("NORNICDB_URI");
    private static final AuthToken AUTH = AuthTokens.basic(setting("NORNICDB_USER"), setting("NORNICDB_PASSWORD"));
    private static final int PID = Integer.parseInt(Objects.requireNonNullElse(System.getenv("NORNICDB_PID"), "0"));
    private static final long LOST_MEMORY_BYTES = 64L << 20;
    private static final Logger QUIET = Logger.getLogger("org.neo4j.driver"); // Held, or its level is forgotten.

    private static Driver driver;
    private static int passed;
    private static int failed;

    private interface Work {
        void run() throws Exception;
    }

    private static String setting(String name) {
        return Objects.requireNonNullElse(System.getenv(name), "admin");
    }

    private static void test(String name, Work work) {
        long start = System.nanoTime();
        try {
            work.run();
            ++passed;
            System.out.printf("ok      %s (%.1f s)%n", name, (System.nanoTime() - start) / 1e9);
        } catch (Throwable error) {
            ++failed;
            System.out.printf("FAILED  %s: %s%n", name, error);
            Arrays.stream(error.getStackTrace()).filter(f -> f.getClassName().startsWith("Suite")).limit(4)
                    .forEach(f -> System.out.println("        at line " + f.getLineNumber()));
        }
    }

    private static void equal(Object got, Object want) {
        if (!Objects.equals(got, want)) {
            throw new AssertionError("got " + got + ", want " + want);
        }
    }

    private static void check(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError(what);
        }
    }

    private static ResultSummary run(String query, Object... keysAndValues) {
        try (Session session = driver.session()) {
            return session.run(query, Values.parameters(keysAndValues)).consume();
        }
    }

    private static Value one(String query, Object... keysAndValues) {
        try (Session session = driver.session()) {
            return session.run(query, Values.parameters(keysAndValues)).single().get(0);
        }
    }

    private static void echoes(Object value) {
        equal(one("RETURN $x AS x", "x", value), Values.value(value));
    }

    private static void stores(Object value) {
        echoes(value);
        run("CREATE (:JavaStored {x: $x})", "x", value);
        Record record;
        try (Session session = driver.session()) {
            record = session.run("MATCH (n:JavaStored) RETURN n.x, n").single();
        }
        run("MATCH (n:JavaStored) DELETE n");
        equal(record.get(0), Values.value(value));
        equal(record.get(1).asNode().get("x"), Values.value(value));
    }

    private static Neo4jException fails(String code, Work work) throws Exception {
        try {
            work.run();
        } catch (Neo4jException error) {
            equal(error.code(), code);
            return error;
        }
        throw new AssertionError("it should have failed with " + code);
    }

    private static long residentBytes() throws Exception {
        for (String line : Files.readAllLines(Path.of("/proc/" + PID + "/status"))) {
            if (line.startsWith("VmRSS:")) {
                return Long.parseLong(line.split("\\s+")[1]) * 1024;
            }
        }
        return 0;
    }

    private static void values() {
        test("null and booleans", () -> {
            echoes(null);
            stores(true);
            stores(false);
        });
        test("integers at every width and edge", () -> {
            for (int bits : new int[] {4, 7, 8, 15, 16, 31, 32, 53, 62}) {
                long edge = 1L << bits;
                for (long value : new long[] {edge - 1, edge, -edge, -edge - 1}) {
                    echoes(value);
                }
            }
            stores(Long.MAX_VALUE);
            stores(Long.MIN_VALUE);
            stores(0L);
        });
        test("floats", () -> {
            for (double value : new double[] {0.0, 1.0, 1.5, -2.25, Double.MAX_VALUE, Double.MIN_VALUE,
                Double.POSITIVE_INFINITY, Double.NEGATIVE_INFINITY}) {
                stores(value);
            }
            check(Double.isNaN(one("RETURN $x AS x", "x", Double.NaN).asDouble()), "NaN");
        });
        test("strings", () -> {
            for (String value : List.of("", "a", "x".repeat(15), "x".repeat(16), "x".repeat(255), "x".repeat(256),
                    "žluťoučký kůň", "日本語", "🙂👩‍👩‍👧", "a\0b", "'\"\\`\n\t", "ü".repeat(35_000))) {
                stores(value);
            }
        });
        test("bytes", () -> {
            for (int length : new int[] {0, 1, 255, 256, 70_000}) {
                byte[] value = new byte[length];
                for (int i = 0; i < length; ++i) {
                    value[i] = (byte) (i * 7);
                }
                check(Arrays.equals(one("RETURN $x AS x", "x", value).asByteArray(), value), length + " bytes");
            }
        });
        test("lists, maps and nesting", () -> {
            stores(List.of(1L, 2L));
            stores(List.of("a", "b"));
            stores(List.of(1.5, 2.5));
            echoes(List.of());
            echoes(IntStream.range(0, 70_000).boxed().toList());
            echoes(Map.of());
            echoes(Map.of("a", List.of(Map.of("b", Arrays.asList(null, true, List.of(1.5, Map.of("ü", "x")))))));
            Map<String, Object> wide = new LinkedHashMap<>();
            IntStream.range(0, 300).forEach(i -> wide.put("k" + i, i));
            echoes(wide);
        });
        test("temporal values", () -> {
            stores(LocalDate.of(2024, 2, 29));
            stores(LocalDate.of(1, 1, 1));
            stores(LocalTime.of(12, 34, 56, 123456789));
            stores(OffsetTime.of(12, 34, 56, 7, ZoneOffset.ofHours(-11)));
            stores(LocalDateTime.of(2024, 7, 14, 1, 2, 3, 456789012));
            stores(LocalDateTime.of(1950, 1, 1, 0, 0, 0, 1));
            stores(ZonedDateTime.of(2024, 7, 14, 1, 2, 3, 4, ZoneOffset.ofHoursMinutes(5, 30)));
            stores(ZonedDateTime.of(2024, 7, 14, 1, 2, 3, 4, ZoneId.of("Europe/Stockholm")));
            stores(Values.isoDuration(14, 3, 5, 6).asIsoDuration());
            stores(Values.isoDuration(-1, 40, -1, 5).asIsoDuration());
            equal(one("RETURN datetime('2024-07-14T01:02:03[Europe/Stockholm]')").asZonedDateTime(),
                    ZonedDateTime.of(2024, 7, 14, 1, 2, 3, 0, ZoneId.of("Europe/Stockholm")));
        });
        test("points", () -> {
            stores(Values.point(7203, 1.5, -2.5).asPoint());
            stores(Values.point(4326, 12.5, 55.7).asPoint());
            stores(Values.point(9157, 1.5, 2.5, 3.5).asPoint());
            stores(Values.point(4979, 12.5, 55.7, 8.5).asPoint());
        });
        test("nodes, relationships and paths", () -> {
            try (Session session = driver.session()) {
                Record record = session.run(
                        "CREATE p = (a:JavaA:JavaB {name: 'a'})-[r:JAVA_KNOWS {since: 2020}]->(b:JavaC) RETURN a, r, p").single();
                var node = record.get("a").asNode();
                var relationship = record.get("r").asRelationship();
                var path = record.get("p").asPath();
                check(node.hasLabel("JavaA") && node.hasLabel("JavaB"), "labels");
                equal(node.asMap(), Map.of("name", "a"));
                equal(relationship.type(), "JAVA_KNOWS");
                equal(relationship.startNodeElementId(), node.elementId());
                equal(path.length(), 1);
                equal(path.start().elementId(), node.elementId());
                equal(path.relationships().iterator().next().elementId(), relationship.elementId());
                equal(one("MATCH (n) WHERE elementId(n) = $id RETURN n.name", "id", node.elementId()).asString(), "a");
            }
            run("MATCH (n:JavaA)-->(m) DETACH DELETE n, m");
        });
    }

    private static int count() {
        return one("MATCH (n:JavaT) RETURN count(n)").asInt();
    }

    private static void clear() {
        run("MATCH (n:JavaT) DETACH DELETE n");
    }

    private static void transactions() {
        test("commit makes visible and rollback does not", () -> {
            clear();
            try (Session session = driver.session()) {
                try (Transaction tx = session.beginTransaction()) {
                    tx.run("CREATE (:JavaT)").consume();
                    equal(count(), 0);
                    tx.commit();
                }
                equal(count(), 1);
                try (Transaction tx = session.beginTransaction()) {
                    tx.run("CREATE (:JavaT)").consume();
                    tx.rollback();
                }
                try (Transaction tx = session.beginTransaction()) {
                    tx.run("CREATE (:JavaT)").consume();
                }
            }
            equal(count(), 1);
        });
        test("managed functions run again after a transient error", () -> {
            clear();
            AtomicInteger tries = new AtomicInteger();
            try (Session session = driver.session()) {
                session.executeWriteWithoutResult(tx -> {
                    tx.run("CREATE (:JavaT)").consume();
                    if (tries.incrementAndGet() < 2) {
                        throw new TransientException("Neo.TransientError.General.MadeUp", "made up");
                    }
                });
                equal(session.executeRead(tx -> tx.run("MATCH (n:JavaT) RETURN count(n)").single().get(0).asInt()), 1);
            }
            equal(tries.get(), 2);
        });
        test("executableQuery", () -> {
            clear();
            var result = driver.executableQuery("CREATE (n:JavaT {a: $a}) RETURN n.a AS a").withParameters(Map.of("a", "x")).execute();
            equal(result.records().get(0).get("a").asString(), "x");
            equal(result.summary().counters().nodesCreated(), 1);
        });
        test("a write in read mode is refused", () -> {
            clear();
            try (Session session = driver.session(SessionConfig.builder().withDefaultAccessMode(AccessMode.READ).build())) {
                fails("Neo.ClientError.Statement.AccessMode", () -> session.run("CREATE (:JavaT)").consume());
            }
            equal(count(), 0);
        });
        test("an error spoils the transaction and the session goes on", () -> {
            clear();
            try (Session session = driver.session()) {
                try (Transaction tx = session.beginTransaction()) {
                    tx.run("CREATE (:JavaT)").consume();
                    fails("Neo.ClientError.Statement.SyntaxError", () -> tx.run("WRONG").consume());
                    try {
                        tx.commit();
                    } catch (RuntimeException expected) {
                        // The driver refuses to commit a failed transaction.
                    }
                }
                equal(session.run("RETURN 1").single().get(0).asInt(), 1);
            }
            equal(count(), 0);
        });
        test("read, modify, write loses nothing", () -> {
            clear();
            run("CREATE (:JavaT {n: 0})");
            inParallel(4, i -> {
                try (Session session = driver.session()) {
                    for (int k = 0; k < 10; ++k) {
                        session.executeWriteWithoutResult(tx -> {
                            int n = tx.run("MATCH (c:JavaT) RETURN c.n").single().get(0).asInt();
                            tx.run("MATCH (c:JavaT) SET c.n = $n", Map.of("n", n + 1)).consume();
                        });
                    }
                }
            });
            equal(one("MATCH (c:JavaT) RETURN c.n").asInt(), 40);
        });
    }

    private interface Numbered {
        void run(int i) throws Exception;
    }

    private static void inParallel(int clients, Numbered work) throws Exception {
        var pool = Executors.newFixedThreadPool(clients);
        try {
            List<Future<?>> running = new ArrayList<>();
            for (int i = 0; i < clients; ++i) {
                int number = i;
                running.add(pool.submit(() -> {
                    work.run(number);
                    return null;
                }));
            }
            for (Future<?> one : running) {
                one.get(5, TimeUnit.MINUTES);
            }
        } finally {
            pool.shutdownNow();
        }
    }

    private static void streams() {
        test("a million records in constant memory", () -> {
            long startBytes = PID > 0 ? residentBytes() : 0;
            long peakBytes = 0;
            long count = 0;
            long total = 0;
            try (Session session = driver.session()) {
                Result result = session.run("UNWIND range(1, 1000000) AS i RETURN i, 'row ' + i AS text");
                while (result.hasNext()) {
                    total += result.next().get(0).asLong();
                    if (++count % 50_000 == 0 && PID > 0) {
                        peakBytes = Math.max(peakBytes, residentBytes());
                    }
                }
            }
            equal(count, 1_000_000L);
            equal(total, 500_000_500_000L);
            check(peakBytes - startBytes < LOST_MEMORY_BYTES, "the server grew by " + (peakBytes - startBytes) + " bytes");
        });
        test("consume discards the rest", () -> {
            try (Session session = driver.session(SessionConfig.builder().withFetchSize(100).build())) {
                Result result = session.run("UNWIND range(1, 100000000) AS i RETURN i");
                for (int i = 1; i <= 250; ++i) {
                    equal(result.next().get(0).asInt(), i);
                }
                result.consume();
                equal(session.run("RETURN 1").single().get(0).asInt(), 1);
            }
        });
        test("closing a session in mid stream", () -> {
            try (Session session = driver.session(SessionConfig.builder().withFetchSize(10).build())) {
                equal(session.run("UNWIND range(1, 1000000) AS i RETURN i").next().get(0).asInt(), 1);
            }
            equal(one("RETURN 1").asInt(), 1);
        });
        test("a transaction timeout ends a long query", () -> {
            try (Session session = driver.session()) {
                fails("Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration",
                        () -> session.run("UNWIND range(1, 1000000000) AS i WITH i WHERE i % 7 = 9 RETURN count(i)",
                                TransactionConfig.builder().withTimeout(Duration.ofMillis(500)).build()).consume());
            }
        });
    }

    private static void errors() {
        Map<String, Object> map = new HashMap<>(Map.of("a", 1));
        String[][] rows = {
            {"syntax error", "RETURN 1 +", "Neo.ClientError.Statement.SyntaxError", "line 1, column"},
            {"undefined variable", "RETURN nope", "Neo.ClientError.Statement.SyntaxError", "`nope` not defined"},
            {"missing parameter", "RETURN $missing", "Neo.ClientError.Statement.ParameterMissing", "missing"},
            {"division by zero", "RETURN 1 / 0", "Neo.ClientError.Statement.ArithmeticError", "zero"},
            {"map as a property", "CREATE (:JavaE {x: $m})", "Neo.ClientError.Statement.TypeError", "Property values"},
            {"unknown procedure", "CALL nope.proc()", "Neo.ClientError.Procedure.ProcedureNotFound", "nope.proc"},
        };
        for (String[] row : rows) {
            test(row[0], () -> {
                Neo4jException error = row[1].contains("$m}") ? fails(row[2], () -> run(row[1], "m", map)) : fails(row[2], () -> run(row[1]));
                check(error.getMessage().contains(row[3]), error.getMessage());
                equal(one("RETURN 1").asInt(), 1);
            });
        }
        test("constraint violation", () -> {
            run("CREATE CONSTRAINT java_unique IF NOT EXISTS FOR (n:JavaU) REQUIRE n.k IS UNIQUE");
            run("MERGE (:JavaU {k: 1})");
            fails("Neo.ClientError.Schema.ConstraintValidationFailed", () -> run("CREATE (:JavaU {k: 1})"));
            run("DROP CONSTRAINT java_unique");
            run("MATCH (n:JavaU) DELETE n");
        });
        test("wrong password", () -> {
            try (Driver other = GraphDatabase.driver(URI, AuthTokens.basic("admin", "wrong password"))) {
                fails("Neo.ClientError.Security.Unauthorized", other::verifyConnectivity);
            }
            driver.verifyConnectivity();
        });
    }

    private static void bookmarks() {
        test("a chain of sessions sees what came before", () -> {
            java.util.Set<Bookmark> bookmarks = java.util.Set.of();
            for (int i = 0; i < 20; ++i) {
                try (Session session = driver.session(SessionConfig.builder().withBookmarks(bookmarks).build())) {
                    equal(session.run("MATCH (n:JavaBm) RETURN count(n)").single().get(0).asInt(), i);
                    session.run("CREATE (:JavaBm)").consume();
                    bookmarks = session.lastBookmarks();
                    equal(bookmarks.size(), 1);
                }
            }
            run("MATCH (n:JavaBm) DELETE n");
        });
        test("a garbage bookmark is refused", () -> {
            try (Session session = driver.session(SessionConfig.builder().withBookmarks(Bookmark.from("garbage")).build())) {
                fails("Neo.ClientError.Transaction.InvalidBookmark", () -> session.run("RETURN 1").consume());
            }
        });
    }

    private static void connections() {
        test("routing scheme", () -> {
            try (Driver routed = GraphDatabase.driver(URI.replace("bolt://", "neo4j://"), AUTH)) {
                routed.verifyConnectivity();
                routed.executableQuery("CREATE (:JavaR)").execute();
                try (Session session = routed.session(SessionConfig.builder().withDefaultAccessMode(AccessMode.READ)
                        .withBookmarks(routed.executableQueryBookmarkManager().getBookmarks()).build())) {
                    equal(session.run("MATCH (n:JavaR) RETURN count(n)").single().get(0).asInt(), 1);
                }
            }
            run("MATCH (n:JavaR) DELETE n");
        });
        test("500 sessions at once write and read", () -> {
            int sessions = 500;
            CountDownLatch ready = new CountDownLatch(sessions);
            inParallel(sessions, i -> {
                try (Session session = driver.session()) {
                    try (Transaction tx = session.beginTransaction()) {
                        tx.run("CREATE (:JavaMany {i: $i})", Map.of("i", i)).consume();
                        ready.countDown();
                        check(ready.await(2, TimeUnit.MINUTES), "not all sessions got a connection");
                        tx.commit();
                    }
                    equal(session.run("MATCH (n:JavaMany {i: $i}) RETURN n.i", Map.of("i", i)).single().get(0).asInt(), i);
                }
            });
            equal(one("MATCH (n:JavaMany) RETURN count(DISTINCT n.i)").asInt(), sessions);
            run("MATCH (n:JavaMany) DELETE n");
        });
    }

    private static void summaries() {
        test("counters and query type", () -> {
            ResultSummary summary = run("CREATE (:JavaS {a: 1, b: 2})-[:R {c: 3}]->(:JavaS:JavaS2)");
            var counters = summary.counters();
            equal(List.of(counters.nodesCreated(), counters.relationshipsCreated(), counters.propertiesSet(), counters.labelsAdded()),
                    List.of(2, 1, 3, 3));
            equal(summary.queryType(), QueryType.WRITE_ONLY);
            equal(summary.database().name(), "neo4j");
            equal(run("MATCH (n:JavaS) DETACH DELETE n").counters().nodesDeleted(), 2);
            check(!run("RETURN 1").counters().containsUpdates(), "RETURN 1 contains no updates");
        });
        test("notification of an unknown label", () -> check(
                run("MATCH (n:JavaNeverSeen) RETURN n").gqlStatusObjects().stream().anyMatch(s -> s.gqlStatus().equals("01N50")),
                "no 01N50"));
        test("explain and profile", () -> {
            check(run("EXPLAIN MATCH (n:JavaX) RETURN n").plan().operatorType().startsWith("ProduceResults"), "root operator");
            equal(run("PROFILE UNWIND [1, 2, 3] AS x RETURN x").profile().records(), 3L);
        });
    }

    public static void main(String[] arguments) {
        QUIET.setLevel(Level.SEVERE);
        driver = GraphDatabase.driver(URI, AUTH, Config.builder().withMaxConnectionPoolSize(600)
                .withConnectionAcquisitionTimeout(2, TimeUnit.MINUTES).build());
        values();
        transactions();
        streams();
        errors();
        bookmarks();
        connections();
        summaries();
        driver.close();
        System.out.printf("%d passed, %d failed, 0 skipped%n", passed, failed);
        System.exit(failed > 0 ? 1 : 0);
    }
}
