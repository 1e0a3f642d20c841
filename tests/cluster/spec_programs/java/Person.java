import java.util.logging.Level;
import java.util.logging.Logger;
import org.neo4j.driver.v1.AccessMode;
import org.neo4j.driver.v1.AuthTokens;
import org.neo4j.driver.v1.Driver;
import org.neo4j.driver.v1.GraphDatabase;
import org.neo4j.driver.v1.Record;
import org.neo4j.driver.v1.Session;
import org.neo4j.driver.v1.StatementResult;
import org.neo4j.driver.v1.Values;

/** The four applications of the course with the driver that it names: Person testRead|testWrite|addPerson|readPerson scheme port [name]. */
public class Person {
    private static String create(Session session, String name) {
        session.run("CREATE (a:Person {name: {name}, title: {title}})", Values.parameters("name", name, "title", "King")).consume();
        Record record = session.run("MATCH (a:Person) WHERE a.name = {name} RETURN a.name AS name, a.title AS title LIMIT 1",
                                    Values.parameters("name", name)).single();
        return record.get("title").asString() + " " + record.get("name").asString();
    }

    private static String find(Session session, String name) {
        StatementResult result = session.run("MATCH (a:Person {name: {name}}) RETURN coalesce(a.title + ' ', '') + a.name LIMIT 1",
                                             Values.parameters("name", name));
        return result.hasNext() ? result.next().get(0).asString() : null;
    }

    public static void main(String[] arguments) {
        String what = arguments[0];
        String uri = arguments[1] + "://localhost:" + arguments[2];
        System.out.println("driverString is " + uri);
        Logger.getLogger("").setLevel(Level.WARNING);
        try (Driver driver = GraphDatabase.driver(uri, AuthTokens.basic("admin", "admin"));
             Session session = driver.session(what.equals("testRead") || what.equals("readPerson") ? AccessMode.READ : AccessMode.WRITE)) {
            if (what.equals("testRead")) {
                System.out.println("***** " + find(session, "Tom Hanks") + " found in Movie database.");
            } else if (what.equals("readPerson")) {
                String found = find(session, arguments[3]);
                System.out.println(found == null ? "***** Record not found" : "***** Record found: " + found);
            } else {
                System.out.println("***** Record created: " + create(session, what.equals("addPerson") ? arguments[3] : "Arthur"));
            }
        } catch (RuntimeException error) {
            System.out.println("Cannot write to this server!");
            System.out.println(error);
        }
    }
}
