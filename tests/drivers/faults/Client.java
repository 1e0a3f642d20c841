// The Java driver's client under faults; README.md says what all of them do.

import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import java.util.logging.Level;
import java.util.logging.Logger;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.neo4j.driver.AuthTokens;
import org.neo4j.driver.Bookmark;
import org.neo4j.driver.BookmarkManager;
import org.neo4j.driver.BookmarkManagerConfig;
import org.neo4j.driver.BookmarkManagers;
import org.neo4j.driver.Config;
import org.neo4j.driver.Driver;
import org.neo4j.driver.GraphDatabase;
import org.neo4j.driver.QueryConfig;
import org.neo4j.driver.Record;
import org.neo4j.driver.RoutingControl;
import org.neo4j.driver.Session;
import org.neo4j.driver.SessionConfig;
import org.neo4j.driver.exceptions.Neo4jException;
import org.neo4j.driver.net.ServerAddress;

public final class Client {
    private static final String NAME = System.getenv("NORNICDB_NAME");
    private static final long PAUSE_MS = Long.parseLong(System.getenv("NORNICDB_PAUSE_MS"));
    private static final String COUNT = "MATCH (c:Counter {id: $worker}) SET c.n = c.n + 1";
    private static final String CREATE = "CREATE (:Write {id: $id, attempt: $attempt})";
    private static final String LOOK = "OPTIONAL MATCH (w:Write {id: $id}) WITH count(w) AS there "
            + "MATCH (c:Counter {id: $worker}) RETURN there, c.n AS count";
    private static final Logger QUIET = Logger.getLogger("org.neo4j"); // Held, or its level is forgotten.

    private static Driver driver;
    private static volatile boolean stopped;

    private static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private static String named(Throwable error) {
        String code = error instanceof Neo4jException failed ? failed.code() : "";
        String out = error.getClass().getSimpleName() + " " + code + ": " + error.getMessage();
        return error.getCause() == null ? out : out + " <- " + named(error.getCause());
    }

    private static String quoted(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            out.append(c < ' ' || c == '"' || c == '\\' || c > '~' ? String.format("\\u%04x", (int) c) : String.valueOf(c));
        }
        return out.append('"').toString();
    }

    private static String now() {
        return String.format(Locale.ROOT, "%.3f", System.currentTimeMillis() / 1e3);
    }

    private static final class Worker {
        private final int number;
        private final int kind;
        private final String id;
        private final BookmarkManager manager;
        private Set<Bookmark> bookmarks;
        private int attempts;
        private int acknowledged;

        Worker(int number) {
            this.number = number;
            kind = number % 3;
            id = NAME + "-" + number;
            driver.executableQuery("MERGE (c:Counter {id: $worker}) SET c.n = 0").withParameters(Map.of("worker", id)).execute();
            bookmarks = driver.executableQueryBookmarkManager().getBookmarks();
            manager = BookmarkManagers.defaultManager(BookmarkManagerConfig.builder().withInitialBookmarks(bookmarks).build());
        }

        private <T> T inSession(Function<Session, T> work) {
            SessionConfig.Builder config = SessionConfig.builder();
            config = kind == 1 ? config.withDatabase("neo4j").withBookmarkManager(manager) : config.withBookmarks(bookmarks);
            try (Session session = driver.session(config.build())) {
                T result = work.apply(session);
                bookmarks = session.lastBookmarks();
                return result;
            }
        }

        private static Map<String, Object> with(Map<String, Object> parameters, int attempt) {
            Map<String, Object> out = new HashMap<>(parameters);
            out.put("attempt", attempt);
            return out;
        }

        private void write(Map<String, Object> parameters) {
            if (kind == 0) {
                driver.executableQuery(COUNT + " " + CREATE).withParameters(with(parameters, 0)).execute();
                return;
            }
            inSession(session -> session.executeWrite(transaction -> {
                ++attempts;
                transaction.run(COUNT, parameters).consume();
                return transaction.run(CREATE, with(parameters, attempts)).consume();
            }));
        }

        private Record read(Map<String, Object> parameters) {
            if (kind == 0) {
                QueryConfig readers = QueryConfig.builder().withRouting(RoutingControl.READ).build();
                return driver.executableQuery(LOOK).withParameters(parameters).withConfig(readers).execute().records().get(0);
            }
            return inSession(session -> session.executeRead(transaction -> transaction.run(LOOK, parameters).single()));
        }

        private void round(int round) {
            Map<String, Object> parameters = Map.of("worker", id, "id", id + "-" + round);
            String began = now();
            String written = "";
            String failed = "";
            String seen = "";
            attempts = 0;
            try {
                write(parameters);
                ++acknowledged;
            } catch (Exception error) {
                written = named(error);
            }
            try {
                Record record = read(parameters);
                seen = ", \"there\": " + record.get("there").asInt() + ", \"count\": " + record.get("count").asInt();
            } catch (Exception error) {
                failed = named(error);
            }
            say("{\"worker\": " + number + ", \"number\": " + round + ", \"began\": " + began + ", \"attempts\": " + attempts
                    + ", \"write\": " + quoted(written) + ", \"read\": " + quoted(failed) + seen + ", \"ended\": " + now()
                    + ", \"acknowledged\": " + acknowledged + "}");
        }

        void run() {
            try {
                for (int round = 1; !stopped; ++round) {
                    round(round);
                    Thread.sleep(PAUSE_MS);
                }
            } catch (InterruptedException error) {
                Thread.currentThread().interrupt();
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        QUIET.setLevel(Level.OFF); // It tells of each retry; that is what it is for.
        Set<ServerAddress> members = Arrays.stream(System.getenv("NORNICDB_MEMBERS").split(",")).map(member -> {
            String[] parts = member.split(":");
            return ServerAddress.of(parts[0], Integer.parseInt(parts[1]));
        }).collect(Collectors.toSet());
        Config config = Config.builder().withResolver(
                address -> address.host().equals("cluster") ? members : Set.of(address)).build();
        driver = GraphDatabase.driver("neo4j://cluster:7687",
                AuthTokens.basic(System.getenv("NORNICDB_USER"), System.getenv("NORNICDB_PASSWORD")), config);
        List<Worker> workers = IntStream.range(0, Integer.parseInt(System.getenv("NORNICDB_WORKERS"))).mapToObj(Worker::new).toList();
        List<Thread> threads = workers.stream().map(worker -> new Thread(worker::run)).toList();
        say("{\"ready\": true}");
        threads.forEach(Thread::start);
        System.in.read();
        stopped = true;
        for (Thread thread : threads) {
            thread.join();
        }
        driver.close();
        say("{\"done\": true}");
    }
}
