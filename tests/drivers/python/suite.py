"""The official Python driver against a running server: every value type, transactions, streams, errors, bookmarks.

Reads NORNICDB_URI, NORNICDB_USER, NORNICDB_PASSWORD and, to watch the server's memory, NORNICDB_PID.
"""
import concurrent.futures
import datetime
import os
import sys
import threading
import time
import unittest

import neo4j
import pytz  # The driver's own time zone library.
from neo4j import READ_ACCESS, WRITE_ACCESS, GraphDatabase, Query, unit_of_work
from neo4j.exceptions import AuthError, ClientError, ConstraintError, CypherSyntaxError, Neo4jError
from neo4j.graph import Node, Path, Relationship
from neo4j.spatial import CartesianPoint, WGS84Point
from neo4j.time import Date, DateTime, Duration, Time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
from harness import process_rss  # noqa: E402

URI = os.environ["NORNICDB_URI"]
AUTH = (os.environ.get("NORNICDB_USER", "admin"), os.environ.get("NORNICDB_PASSWORD", "admin"))
PID = int(os.environ.get("NORNICDB_PID", "0"))
ROUTED = URI.replace("bolt://", "neo4j://")
LOST_MEMORY_BYTES = 64 << 20


class Suite(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.driver = GraphDatabase.driver(URI, auth=AUTH, max_connection_pool_size=600)
        cls.driver.verify_connectivity()

    @classmethod
    def tearDownClass(cls):
        cls.driver.close()

    def one(self, query, **parameters):
        with self.driver.session() as session:
            return session.run(query, parameters).single(strict=True)[0]

    def same(self, value):
        """The value comes back through a parameter, and through a stored property where that is allowed."""
        got = self.one("RETURN $x AS x", x=value)
        self.assertEqual(got, value)
        self.assertIs(type(got), type(value))
        return got

    def stored(self, value):
        self.same(value)
        with self.driver.session() as session:
            session.run("CREATE (:PyStored {x: $x})", x=value).consume()
            got = session.run("MATCH (n:PyStored) RETURN n.x, n").single(strict=True)
            session.run("MATCH (n:PyStored) DELETE n").consume()
        self.assertEqual(got[0], value)
        self.assertEqual(got[1]["x"], value)


class Values(Suite):
    def test_null_and_booleans(self):
        self.same(None)
        self.stored(True)
        self.stored(False)

    def test_integers_at_every_width_and_edge(self):
        for bits in (4, 7, 8, 15, 16, 31, 32, 53, 63):
            for value in (1 << bits) - 1, -(1 << bits), -(1 << bits) - 1, 1 << bits:
                if -(1 << 63) <= value < 1 << 63:
                    self.same(value)
        for value in (0, -1, -16, -17, 127, 128, -(1 << 63), (1 << 63) - 1):
            self.stored(value)

    def test_floats(self):
        for value in (0.0, 1.5, -2.25, 1e308, 5e-324, float("inf"), float("-inf"), 0.1):
            self.stored(value)
        got = self.one("RETURN $x AS x", x=float("nan"))
        self.assertNotEqual(got, got)

    def test_strings(self):
        for value in ("", "a", "x" * 15, "x" * 16, "x" * 255, "x" * 256, "žluťoučký kůň", "日本語", "🙂👩‍👩‍👧", "a\0b",
                      "'\"\\`\n\t"):
            self.stored(value)
        self.stored("ü" * 35_000)  # 70,000 bytes: more than one chunk.
        self.same("x" * 5_000_000)

    def test_bytes(self):
        for value in (b"", b"\0\xff", bytes(range(256)), b"z" * 70_000):
            self.assertEqual(bytes(self.one("RETURN $x AS x", x=value)), value)

    def test_lists(self):
        for value in ([], [1, 2, 3], ["a"] * 16, list(range(300)), list(range(70_000)), [None, True, 1, 1.5, "x", [], {}]):
            self.same(value)
        self.stored([1, 2, 3])
        self.stored(["a", "b"])
        self.stored([1.5, 2.5])
        self.stored([True, False])

    def test_maps_and_nesting(self):
        for value in ({}, {"a": 1}, {f"k{i}": i for i in range(20)}, {f"k{i}": i for i in range(300)},
                      {"a": [{"b": {"c": [1, [2, [3, {"d": None}]]]}}], "ü": "x"}, {"": 1}):
            self.same(value)

    def test_date(self):
        for value in (Date(2024, 2, 29), Date(1, 1, 1), Date(9999, 12, 31), Date(1969, 12, 31)):
            self.stored(value)
        self.assertEqual(self.one("RETURN date('2024-02-29') AS d"), Date(2024, 2, 29))
        self.assertEqual(self.one("RETURN $d = date('2024-02-29') AS same", d=datetime.date(2024, 2, 29)), True)

    def test_times(self):
        self.stored(Time(12, 34, 56, 123456789))
        self.stored(Time(0, 0, 0, 0))
        for hours in (0, 2, -11):
            zone = pytz.FixedOffset(60 * hours)
            got = self.one("RETURN $x AS x", x=Time(12, 34, 56, 789, tzinfo=zone))
            self.assertEqual((got.hour_minute_second_nanosecond, got.utcoffset()),
                             ((12, 34, 56, 789), datetime.timedelta(hours=hours)))

    def test_datetimes(self):
        self.stored(DateTime(2024, 7, 14, 1, 2, 3, 456789012))
        self.stored(DateTime(1950, 1, 1, 0, 0, 0, 1))
        zone = pytz.FixedOffset(330)
        got = self.one("RETURN $x AS x", x=DateTime(2024, 7, 14, 1, 2, 3, 4, tzinfo=zone))
        self.assertEqual(got.iso_format(), "2024-07-14T01:02:03.000000004+05:30")
        got = self.one("RETURN datetime('2024-07-14T01:02:03[Europe/Stockholm]') AS x")
        self.assertEqual(got.iso_format(), "2024-07-14T01:02:03.000000000+02:00")
        self.assertEqual(str(got.tzinfo), "Europe/Stockholm")
        again = self.one("RETURN $x AS x", x=got)
        self.assertEqual((again, str(again.tzinfo)), (got, "Europe/Stockholm"))

    def test_duration(self):
        for value in (Duration(), Duration(months=14, days=3, seconds=5, nanoseconds=6), Duration(seconds=-1, nanoseconds=-5),
                      Duration(months=-1, days=40)):
            self.stored(value)
        self.assertEqual(self.one("RETURN duration('P1Y2M3DT4H5M6.5S') AS d"),
                         Duration(years=1, months=2, days=3, hours=4, minutes=5, seconds=6, milliseconds=500))

    def test_points(self):
        for value in (CartesianPoint((1.5, -2)), CartesianPoint((1, 2, 3)), WGS84Point((12.5, 55.7)), WGS84Point((12.5, 55.7, 8))):
            got = self.one("RETURN $x AS x", x=value)
            self.assertEqual((got.srid, tuple(got)), (value.srid, tuple(map(float, value))))
        got = self.one("RETURN point({x: 1, y: 2}) AS p")
        self.assertEqual((got.srid, got.x, got.y), (7203, 1.0, 2.0))

    def test_nodes_relationships_and_paths(self):
        with self.driver.session() as session:
            node, relationship, path = session.run(
                "CREATE p = (a:PyA:PyB {name: 'a', n: 1})-[r:PY_KNOWS {since: 2020}]->(b:PyC) RETURN a, r, p").single(strict=True)
            self.assertIsInstance(node, Node)
            self.assertEqual((node.labels, dict(node)), (frozenset({"PyA", "PyB"}), {"name": "a", "n": 1}))
            self.assertIsInstance(relationship, Relationship)
            self.assertEqual((relationship.type, dict(relationship)), ("PY_KNOWS", {"since": 2020}))
            self.assertEqual(relationship.start_node.element_id, node.element_id)
            self.assertIsInstance(path, Path)
            self.assertEqual((len(path), path.start_node.element_id, path.relationships[0].element_id),
                             (1, node.element_id, relationship.element_id))
            by_id = session.run("MATCH (n) WHERE elementId(n) = $id RETURN n.name", id=node.element_id).single(strict=True)[0]
            self.assertEqual(by_id, "a")
            back = session.run("MATCH p = (:PyC)<-[:PY_KNOWS]-(:PyA) RETURN p").single(strict=True)[0]
            self.assertEqual(back.end_node["name"], "a")
            self.assertEqual(back.relationships[0].start_node.element_id, node.element_id)
            session.run("MATCH (n:PyA)-[*0..1]-(m) DETACH DELETE n, m").consume()


class Transactions(Suite):
    def setUp(self):
        with self.driver.session() as session:
            session.run("MATCH (n:PyT) DETACH DELETE n").consume()

    def count(self):
        return self.one("MATCH (n:PyT) RETURN count(n) AS c")

    def test_commit_makes_visible_and_rollback_does_not(self):
        with self.driver.session() as session:
            tx = session.begin_transaction()
            tx.run("CREATE (:PyT {a: 1})")
            self.assertEqual(tx.run("MATCH (n:PyT) RETURN count(n)").single()[0], 1)
            self.assertEqual(self.count(), 0)
            tx.commit()
            self.assertEqual(self.count(), 1)
            tx = session.begin_transaction()
            tx.run("CREATE (:PyT {a: 2})").consume()
            tx.rollback()
        self.assertEqual(self.count(), 1)

    def test_leaving_a_transaction_open_rolls_it_back(self):
        with self.driver.session() as session:
            session.begin_transaction().run("CREATE (:PyT)").consume()
        self.assertEqual(self.count(), 0)

    def test_managed_functions_run_again_after_a_transient_error(self):
        tries = []

        def work(tx):
            tries.append(1)
            tx.run("CREATE (:PyT)").consume()
            if len(tries) < 3:
                raise neo4j.exceptions.TransientError("made up")
            return tx.run("MATCH (n:PyT) RETURN count(n)").single()[0]

        with GraphDatabase.driver(URI, auth=AUTH) as driver, driver.session() as session:
            self.assertEqual(session.execute_write(work), 1)
        self.assertEqual((len(tries), self.count()), (3, 1))

    def test_execute_read_and_execute_query(self):
        with self.driver.session() as session:
            session.execute_write(lambda tx: tx.run("CREATE (:PyT {a: 1})").consume())
            self.assertEqual(session.execute_read(lambda tx: tx.run("MATCH (n:PyT) RETURN n.a").single()[0]), 1)
        records, summary, keys = self.driver.execute_query("MATCH (n:PyT) RETURN n.a AS a", routing_=neo4j.RoutingControl.READ)
        self.assertEqual(([r["a"] for r in records], keys), ([1], ["a"]))
        self.assertEqual(summary.query_type, "r")

    def test_a_write_in_read_mode_is_refused(self):
        with self.driver.session(default_access_mode=READ_ACCESS) as session:
            with self.assertRaises(Neo4jError) as caught:
                session.run("CREATE (:PyT)").consume()
        self.assertEqual(caught.exception.code, "Neo.ClientError.Statement.AccessMode")
        self.assertEqual(self.count(), 0)

    def test_an_error_spoils_the_transaction_and_the_session_goes_on(self):
        with self.driver.session() as session:
            tx = session.begin_transaction()
            tx.run("CREATE (:PyT)").consume()
            with self.assertRaises(CypherSyntaxError):
                tx.run("THIS IS WRONG").consume()
            with self.assertRaises(Exception):
                tx.commit()
            self.assertEqual(session.run("RETURN 1").single()[0], 1)
        self.assertEqual(self.count(), 0)

    def test_several_results_open_in_one_transaction(self):
        with self.driver.session(fetch_size=10) as session, session.begin_transaction() as tx:
            first = tx.run("UNWIND range(1, 100) AS i RETURN i")
            second = tx.run("UNWIND range(101, 200) AS i RETURN i")
            pairs = [(a[0], b[0]) for a, b in zip(first, second)]
            self.assertEqual(pairs[-1], (100, 200))

    def test_read_modify_write_loses_nothing(self):
        with self.driver.session() as session:
            session.run("CREATE (:PyT {n: 0})").consume()

        def add(tx):
            n = tx.run("MATCH (c:PyT) RETURN c.n").single()[0]
            tx.run("MATCH (c:PyT) SET c.n = $n", n=n + 1).consume()

        def client():
            with self.driver.session() as session:
                for _ in range(10):
                    session.execute_write(add)

        threads = [threading.Thread(target=client) for _ in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        self.assertEqual(self.one("MATCH (c:PyT) RETURN c.n AS n"), 40)


class Streams(Suite):
    def test_a_million_records_in_constant_memory(self):
        with self.driver.session() as session:
            session.run("UNWIND range(1, 1000) AS i RETURN i").consume()
            before = process_rss(PID) if PID else 0
            count = total = peak = 0
            for record in session.run("UNWIND range(1, 1000000) AS i RETURN i, 'row ' + i AS text"):
                count += 1
                total += record[0]
                if PID and count % 50_000 == 0:
                    peak = max(peak, process_rss(PID))
        self.assertEqual((count, total), (1_000_000, 500_000_500_000))
        if PID:
            self.assertLess(peak - before, LOST_MEMORY_BYTES)

    def test_a_slow_reader_holds_the_server_back(self):
        with self.driver.session(fetch_size=100) as session:
            result = session.run("UNWIND range(1, 100000000) AS i RETURN i")
            iterator = iter(result)
            self.assertEqual([next(iterator)[0] for _ in range(250)], list(range(1, 251)))
            start = time.monotonic()
            result.consume()  # DISCARD: the rest is not computed for us to read.
            self.assertLess(time.monotonic() - start, 60)
            self.assertEqual(session.run("RETURN 1").single()[0], 1)

    def test_closing_a_session_in_mid_stream(self):
        session = self.driver.session(fetch_size=10)
        result = session.run("UNWIND range(1, 1000000) AS i RETURN i")
        self.assertEqual(next(iter(result))[0], 1)
        session.close()
        self.assertEqual(self.one("RETURN 1 AS x"), 1)

    def test_a_transaction_timeout_ends_a_long_query(self):
        start = time.monotonic()
        with self.driver.session() as session, self.assertRaises(ClientError) as caught:
            session.run(Query("UNWIND range(1, 1000000000) AS i WITH i WHERE i % 7 = 9 RETURN count(i)", timeout=0.5)).consume()
        self.assertEqual(caught.exception.code, "Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration")
        self.assertLess(time.monotonic() - start, 10)

    def test_unit_of_work_timeout_and_metadata(self):
        @unit_of_work(timeout=5, metadata={"who": "suite"})
        def work(tx):
            return tx.run("RETURN 1").single()[0]
        with self.driver.session() as session:
            self.assertEqual(session.execute_read(work), 1)


class Errors(Suite):
    def fails(self, code, query, **parameters):
        with self.driver.session() as session:
            with self.assertRaises(Neo4jError) as caught:
                session.run(query, parameters).consume()
            self.assertEqual(session.run("RETURN 1").single()[0], 1)  # The session goes on.
        self.assertEqual(caught.exception.code, code)
        return caught.exception

    def test_syntax_error_has_position_and_caret(self):
        error = self.fails("Neo.ClientError.Statement.SyntaxError", "RETURN 1 +")
        self.assertIn("line 1, column", error.message)
        self.assertIn("^", error.message)

    def test_undefined_variable(self):
        self.assertIn("`nope` not defined", self.fails("Neo.ClientError.Statement.SyntaxError", "RETURN nope").message)

    def test_missing_parameter(self):
        self.assertIn("missing", self.fails("Neo.ClientError.Statement.ParameterMissing", "RETURN $missing").message)

    def test_arithmetic_and_type_errors(self):
        self.fails("Neo.ClientError.Statement.ArithmeticError", "RETURN 1 / 0")
        self.fails("Neo.ClientError.Statement.TypeError", "CREATE (:PyE {x: $m})", m={"a": 1})

    def test_unknown_procedure(self):
        self.fails("Neo.ClientError.Procedure.ProcedureNotFound", "CALL nope.proc()")

    def test_constraint_violation(self):
        with self.driver.session() as session:
            session.run("CREATE CONSTRAINT py_unique IF NOT EXISTS FOR (n:PyU) REQUIRE n.k IS UNIQUE").consume()
            session.run("MERGE (:PyU {k: 1})").consume()
            with self.assertRaises(ConstraintError) as caught:
                session.run("CREATE (:PyU {k: 1})").consume()
            self.assertEqual(caught.exception.code, "Neo.ClientError.Schema.ConstraintValidationFailed")
            self.assertIn("already exists with label `PyU` and property `k` = 1", caught.exception.message)
            session.run("DROP CONSTRAINT py_unique").consume()
            session.run("MATCH (n:PyU) DELETE n").consume()

    def test_delete_of_a_node_with_relationships(self):
        with self.driver.session() as session:
            session.run("CREATE (:PyD)-[:R]->(:PyD)").consume()
            with self.assertRaises(ConstraintError) as caught:
                session.run("MATCH (n:PyD)-[:R]->() DELETE n").consume()
            self.assertIn("still has relationships", caught.exception.message)
            session.run("MATCH (n:PyD) DETACH DELETE n").consume()

    def test_wrong_password(self):
        with GraphDatabase.driver(URI, auth=(AUTH[0], "wrong password")) as driver, self.assertRaises(AuthError) as caught:
            driver.verify_connectivity()
        self.assertEqual(caught.exception.code, "Neo.ClientError.Security.Unauthorized")
        self.driver.verify_connectivity()

    def test_unknown_database(self):
        with self.driver.session(database="nope") as session, self.assertRaises(ClientError) as caught:
            session.run("RETURN 1").consume()
        self.assertEqual(caught.exception.code, "Neo.ClientError.Database.DatabaseNotFound")


class Bookmarks(Suite):
    def test_a_chain_of_sessions_sees_what_came_before(self):
        bookmarks = None
        for i in range(20):
            with self.driver.session(bookmarks=bookmarks) as session:
                self.assertEqual(session.run("MATCH (n:PyBm) RETURN count(n)").single()[0], i)
                session.run("CREATE (:PyBm)").consume()
                bookmarks = session.last_bookmarks()
                self.assertEqual(len(bookmarks.raw_values), 1)
        with self.driver.session(bookmarks=bookmarks, default_access_mode=READ_ACCESS) as session:
            self.assertEqual(session.run("MATCH (n:PyBm) RETURN count(n)").single()[0], 20)
        with self.driver.session() as session:
            session.run("MATCH (n:PyBm) DELETE n").consume()

    def test_bookmarks_of_two_sessions_combine(self):
        with self.driver.session() as a, self.driver.session() as b:
            a.run("CREATE (:PyBm2)").consume()
            b.run("CREATE (:PyBm2)").consume()
            both = a.last_bookmarks() + b.last_bookmarks()
        with self.driver.session(bookmarks=both) as session:
            self.assertEqual(session.run("MATCH (n:PyBm2) DELETE n RETURN count(n)").single()[0], 2)

    def test_garbage_is_refused(self):
        with self.driver.session(bookmarks=neo4j.Bookmarks.from_raw_values(["garbage"])) as session:
            with self.assertRaises(ClientError) as caught:
                session.run("RETURN 1").consume()
        self.assertEqual(caught.exception.code, "Neo.ClientError.Transaction.InvalidBookmark")


class Connections(Suite):
    def test_routing_scheme(self):
        with GraphDatabase.driver(ROUTED, auth=AUTH) as driver:
            driver.verify_connectivity()
            self.assertTrue(driver.get_server_info().agent.startswith("Neo4j/"))
            with driver.session(default_access_mode=WRITE_ACCESS) as session:
                session.run("CREATE (:PyR)").consume()
            with driver.session(default_access_mode=READ_ACCESS) as session:
                self.assertEqual(session.run("MATCH (n:PyR) RETURN count(n)").single()[0], 1)
            driver.execute_query("MATCH (n:PyR) DELETE n")

    def test_500_sessions_at_once_write_and_read(self):
        sessions = 500
        ready = threading.Barrier(sessions, timeout=120)

        def work(i):
            with self.driver.session() as session:
                session.run("RETURN 1").consume()  # Each holds a connection of its own from here on.
                tx = session.begin_transaction()
                tx.run("CREATE (:PyMany {i: $i})", i=i).consume()
                ready.wait()
                tx.commit()
                return session.run("MATCH (n:PyMany {i: $i}) RETURN n.i", i=i).single(strict=True)[0]

        with concurrent.futures.ThreadPoolExecutor(sessions) as pool:
            self.assertEqual(sorted(pool.map(work, range(sessions))), list(range(sessions)))
        self.assertEqual(self.one("MATCH (n:PyMany) RETURN count(DISTINCT n.i) AS c"), sessions)
        with self.driver.session() as session:
            session.run("MATCH (n:PyMany) DELETE n").consume()


class Summaries(Suite):
    def test_counters_and_query_type(self):
        with self.driver.session() as session:
            summary = session.run("CREATE (:PyS {a: 1, b: 2})-[:R {c: 3}]->(:PyS:PyS2)").consume()
            counters = summary.counters
            self.assertEqual((counters.nodes_created, counters.relationships_created, counters.properties_set,
                              counters.labels_added, counters.contains_updates), (2, 1, 3, 3, True))
            self.assertEqual((summary.query_type, summary.database), ("w", "neo4j"))
            counters = session.run("MATCH (n:PyS) DETACH DELETE n").consume().counters
            self.assertEqual((counters.nodes_deleted, counters.relationships_deleted), (2, 1))
            summary = session.run("RETURN 1").consume()
            self.assertEqual((summary.query_type, summary.counters.contains_updates), ("r", False))
            self.assertGreaterEqual(summary.result_available_after, 0)
            counters = session.run("CREATE INDEX py_index FOR (n:PyS) ON (n.a)").consume().counters
            self.assertEqual(counters.indexes_added, 1)
            self.assertEqual(session.run("DROP INDEX py_index").consume().counters.indexes_removed, 1)

    def test_notification_of_an_unknown_label(self):
        with self.driver.session() as session:
            summary = session.run("MATCH (n:PyNeverSeen) RETURN n").consume()
        codes = [status.gql_status for status in summary.gql_status_objects]
        self.assertIn("01N50", codes)
        self.assertIn("02000", codes)
        with self.driver.session(notifications_min_severity="OFF") as session:
            self.assertFalse(session.run("MATCH (n:PyNeverSeen) RETURN n").consume().notifications)

    def test_explain_and_profile(self):
        with self.driver.session() as session:
            result = session.run("EXPLAIN MATCH (n:PyX) RETURN n")
            self.assertEqual(list(result), [])
            plan = result.consume().plan
            self.assertTrue(plan["operatorType"].startswith("ProduceResults"))
            self.assertIn("children", plan)
            profile = session.run("PROFILE UNWIND [1, 2, 3] AS x RETURN x").consume().profile
            self.assertEqual(profile["rows"], 3)
            self.assertIn("dbHits", profile)


class Result(unittest.TextTestResult):
    def startTest(self, test):
        super().startTest(test)
        self._began = time.monotonic()

    def stopTest(self, test):
        took = time.monotonic() - self._began
        if took > 5:
            self.stream.writeln(f"    ({test.id()} took {took:.1f} s)")
        super().stopTest(test)


if __name__ == "__main__":
    loader = unittest.TestLoader()
    if len(sys.argv) > 1:
        suite = loader.loadTestsFromNames(sys.argv[1:], sys.modules["__main__"])
    else:
        suite = loader.loadTestsFromModule(sys.modules["__main__"])
    outcome = unittest.TextTestRunner(sys.stdout, verbosity=2, resultclass=Result).run(suite)
    bad = len(outcome.failures) + len(outcome.errors)
    print(f"{outcome.testsRun - bad - len(outcome.skipped)} passed, {bad} failed, {len(outcome.skipped)} skipped")
    sys.exit(1 if bad else 0)
