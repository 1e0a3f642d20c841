#!/usr/bin/env python3
"""A member that takes no writes runs them at the one that does (NORNICDB_FOLLOWER_WRITES), for clients of scheme bolt://.

Raft with three members, then a hot standby, each asked over bolt:// through one that does not lead: autocommit statements, explicit
transactions, long results, errors; then the leader is killed while clients write (NORNICDB_ROUNDS, default 3): every outcome that
was told is right and nothing is there twice. Then `reject`, and two regions of which one takes the schema.
"""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, Clients, HotStandby, MultiRegion, PASSWORD, RaftCluster, USER, driver_python, run_scenes, wait_for  # noqa: E402
from ha_common import DirectWriter, Ledger, UNKNOWN_CODES, numbers, prepare  # noqa: E402
from raw_bolt import BoltError, Connection  # noqa: E402

driver_python()
import neo4j  # noqa: E402  pylint: disable=wrong-import-position,import-error

ROUNDS = int(os.environ.get("NORNICDB_ROUNDS", "3"))
FORWARD = {"NORNICDB_FOLLOWER_WRITES": "forward"}
REFUSAL = ("No write operations are allowed directly on this database. Writes must pass through the leader. The role of this server "
           "is: FOLLOWER")


def connect(member):
    return neo4j.GraphDatabase.driver(member.bolt_uri, auth=(USER, PASSWORD))


def code_of(work):
    try:
        work()
    except neo4j.exceptions.Neo4jError as error:
        return error.code
    return ""


def statements(checks, what, asked, leader):
    with connect(asked) as driver, driver.session() as session:
        result = session.run("CREATE (p:P {name: $name, at: datetime('2026-01-02T03:04:05Z')}) RETURN p", name="Ann")
        node = result.single()["p"]
        summary = result.consume()
        checks.check(node["name"] == "Ann" and node.labels == {"P"} and summary.counters.nodes_created == 1
                     and summary.query_type == "rw" and summary.database == "neo4j",
                     f"{what}: an autocommit write answers with its node, counters, type and database")
        session.run("CREATE CONSTRAINT one IF NOT EXISTS FOR (p:P) REQUIRE p.name IS UNIQUE").consume()
        transaction = session.begin_transaction()
        transaction.run("CREATE (:P {name: 'Bob'})")
        seen = transaction.run("MATCH (p:P) RETURN count(p)").single()[0]
        transaction.commit()
        transaction = session.begin_transaction()
        transaction.run("CREATE (:P {name: 'Cid'})").consume()
        transaction.rollback()
        checks.check(seen == 2 and session.run("MATCH (p:P) RETURN count(p)").single()[0] == 2,
                     f"{what}: an explicit transaction sees its own writes, is committed or rolled back")
        managed = session.execute_write(lambda t: t.run("MERGE (p:P {name: 'Dan'}) RETURN p.name").single()[0])
        checks.check(managed == "Dan", f"{what}: a transaction function writes")

        codes = [code_of(lambda: session.run("CREATE (:P {name: 'Ann'})").consume()),
                 code_of(lambda: session.run("CREATE (:P {name: 1 / 0})").consume()),
                 code_of(lambda: session.run("CREATE (:P").consume()),
                 code_of(lambda: session.execute_write(lambda t: t.run("CREATE (:P {name: 'Bob'})").consume()))]
        checks.check(codes == ["Neo.ClientError.Schema.ConstraintValidationFailed", "Neo.ClientError.Statement.ArithmeticError",
                               "Neo.ClientError.Statement.SyntaxError", "Neo.ClientError.Schema.ConstraintValidationFailed"],
                     f"{what}: errors of the leader keep their codes {codes}")
        slow = neo4j.Query("UNWIND range(1, 100000000000) AS i WITH max(i) AS m CREATE (:No {m: m})", timeout=0.3)
        began = time.monotonic()
        code = code_of(lambda: session.run(slow).consume())
        checks.check(code == "Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration" and time.monotonic() - began < 5,
                     f"{what}: the client's time-out holds there: {code}")
    streaming(checks, what, asked)
    identity(checks, what, asked, leader)
    monotonic(checks, what, asked)


def streaming(checks, what, asked):
    with connect(asked) as driver, driver.session(fetch_size=700) as session:
        total = 100_000
        found = [r["i"] for r in session.run("UNWIND range(1, $n) AS i CREATE (n:Big {i: i}) RETURN n.i AS i", n=total)]
        checks.check(found == list(range(1, total + 1)), f"{what}: {total} records of a write arrive in order")
        transaction = session.begin_transaction()
        first = transaction.run("MATCH (n:Big) RETURN n.i AS i ORDER BY i")
        some = [next(iter(first))["i"] for _ in range(10)]
        second = [r[0] for r in transaction.run("UNWIND range(1, 5) AS i RETURN i")]
        rest = [r["i"] for r in first]
        transaction.commit()
        checks.check(some + rest == list(range(1, total + 1)) and second == [1, 2, 3, 4, 5],
                     f"{what}: results of one transaction stay open side by side")
        deleted = session.run("MATCH (n:Big) DELETE n").consume().counters.nodes_deleted
        checks.check(deleted == total, f"{what}: and all are deleted")


def identity(checks, what, asked, leader):
    with connect(leader) as boss, boss.session(database="system") as session:
        session.run("CREATE USER eve IF NOT EXISTS SET PASSWORD 'long enough' CHANGE NOT REQUIRED").consume()
    wait_for(lambda: logs_in(asked), 20, "the user on the other member")
    with neo4j.GraphDatabase.driver(asked.bolt_uri, auth=("eve", "long enough")) as driver, driver.session() as session:
        transaction = session.begin_transaction(metadata={"app": "forwarded", "traceparent": "00-1-2-01"})
        transaction.run("CREATE (:Eve)").consume()
        with connect(leader) as boss, boss.session() as look:
            rows = look.run("SHOW TRANSACTIONS YIELD username, metaData WHERE metaData.app = 'forwarded' RETURN *").data()
            agents = look.run("CALL dbms.listConnections() YIELD userAgent, username").data()
        transaction.rollback()
    checks.check([r["username"] for r in rows] == ["eve"] and rows[0]["metaData"]["traceparent"] == "00-1-2-01",
                 f"{what}: it runs there as the client's own user, with its metadata {rows}")
    checks.check(any(a["username"] == "eve" and a["userAgent"].startswith("nornicdb-forward/") for a in agents),
                 f"{what}: the connection says that it forwards, and for whom")


def logs_in(member):
    try:
        with Connection(member.bolt_port, member.host, "eve", "long enough"):
            return True
    except BoltError:
        return False


def monotonic(checks, what, asked):
    with Connection(asked.bolt_port, asked.host) as connection:
        behind = 0
        for n in range(1, 301):
            connection.run("MERGE (m:Mono) SET m.n = $n", {"n": n})
            behind += connection.run("MATCH (m:Mono) RETURN m.n", None, mode="r").rows != [[n]]
    checks.check(behind == 0, f"{what}: reads on the connection see its 300 writes without bookmarks")
    done = asked.metric('nornicdb_forwarded_statements_total{outcome="done"}')
    checks.check(done and done >= 300, f"{what}: {done} statements were counted as forwarded")


def over_http(checks, what, asked, leader):
    """The Query API asks one member and cannot be told of another."""
    def query(statement, path="/db/neo4j/query/v2", **more):
        return asked.http("POST", path, {"statement": statement, **more}, seconds=30)

    status, said = query("CREATE (n:Http {n: 1}) RETURN n.n", includeCounters=True)
    read = query("MATCH (n:Http) RETURN count(n)", accessMode="READ", bookmarks=said["bookmarks"])
    checks.check(status == 202 and said["data"]["values"] == [[1]] and said["counters"]["nodesCreated"] == 1 and
                 read[1]["data"]["values"] == [[1]], f"{what}: over HTTP a write answers with its rows, counters and a bookmark {status} {said}")
    status, begun = query("CREATE (:Http {n: 2})", "/db/neo4j/query/v2/tx")
    path = f"/db/neo4j/query/v2/tx/{begun['transaction']['id']}"
    inside = query("MATCH (n:Http) RETURN count(n)", path)[1]["data"]["values"]
    with connect(leader) as boss, boss.session() as look:
        outside = look.run("MATCH (n:Http) RETURN count(n)").single()[0]
    status, done = asked.http("POST", path + "/commit", {})
    seen = query("MATCH (n:Http) RETURN count(n)", bookmarks=done["bookmarks"])[1]["data"]["values"]
    _, other = query("CREATE (:Http {n: 3})", "/db/neo4j/query/v2/tx")
    asked.http("DELETE", f"/db/neo4j/query/v2/tx/{other['transaction']['id']}")
    left = query("MATCH (n:Http) RETURN count(n)")[1]["data"]["values"]
    checks.check(inside == [[2]] and outside == 1 and status == 202 and seen == left == [[2]],
                 f"{what}: and an explicit transaction is committed or rolled back there {inside} {outside} {seen} {left}")
    status, said = query("CREATE (:Http {n: 1 / 0})")
    checks.check(status == 400 and said["errors"][0]["code"] == "Neo.ClientError.Statement.ArithmeticError",
                 f"{what}: over HTTP, too, errors of the leader keep their codes {status}")


class Managed(Clients):
    """Threads of transaction functions over bolt:// to one member; what each was told in the end."""

    _patience = 120  # a transaction function may go on trying for 90

    def __init__(self, asked, ledger, count, first):
        self._asked, self._ledger = asked, ledger
        super().__init__(*((self._write, w) for w in range(first, first + count)))

    def _write(self, w):
        s = 0
        with neo4j.GraphDatabase.driver(self._asked.bolt_uri, auth=(USER, PASSWORD), max_transaction_retry_time=90) as driver, \
                driver.session() as session:
            while not self._stop.is_set():
                s += 1
                began = time.monotonic()
                try:
                    session.execute_write(lambda t, n=s: t.run("CREATE (:W {w: $w, s: $s})", w=w, s=n).consume())
                except neo4j.exceptions.Neo4jError as error:
                    if error.code in UNKNOWN_CODES:
                        self._ledger.doubt((w, s))
                    else:
                        self._ledger.complain(f"writer {w}, number {s}: {error.code}: {error.message}")
                except neo4j.exceptions.DriverError as error:
                    self._ledger.complain(f"writer {w}, number {s}: {type(error).__name__}: {error}")
                else:
                    self._ledger.acknowledge((w, s), began)
                time.sleep(0.002)


def kills(checks, what, asked, leader_of, ready):
    """`asked` lives through all of it; whoever leads is killed."""
    prepare(asked)
    ledger = Ledger()
    with DirectWriter([asked], ledger, 1) as one, DirectWriter([asked], ledger, 2) as two, Managed(asked, ledger, 2, 10):
        for _ in range(ROUNDS):
            before = len(ledger.snapshot()[0])
            wait_for(lambda least=before + 100: len(ledger.snapshot()[0]) > least, 60, "writes")
            victim = leader_of()
            victim.kill()
            killed = time.monotonic()
            wait_for(lambda moment=killed: ledger.first_after(moment), 60, "a write after the kill")
            victim.start()
            ready()
    acknowledged, unknown = ledger.snapshot()
    problems = []
    wait_for(lambda: not set(acknowledged) - set(numbers(asked)), 30, "all acknowledged writes")
    problems += ledger.problems(asked)
    phantom = set(numbers(asked)) - set(acknowledged) - unknown
    codes = sorted({code for writer in (one, two) for _, code, _ in writer.refusals})
    checks.check(not problems, f"{what}: {len(acknowledged)} acknowledged writes are there once, after {ROUNDS} kills {problems}")
    checks.check(not phantom, f"{what}: nothing is there that was said not to be ({len(unknown)} unknown) {sorted(phantom)[:3]}")
    checks.check(not ledger.errors, f"{what}: transaction functions hide the kills {ledger.errors[:3]}")
    checks.check(all(code in UNKNOWN_CODES or code.startswith("Neo.TransientError.") for code in codes),
                 f"{what}: refusals of autocommit writes are transient or unknown {codes}")


def stopped(checks, asked, leader):
    """The leader does not answer any more, though its connections stand."""
    with Connection(asked.bolt_port, asked.host) as connection:
        connection.run("CREATE (:Paused {n: 0})")
        leader.pause()
        try:
            code, began = "", time.monotonic()
            try:
                connection.run("CREATE (:Paused {n: 1})")
            except BoltError as error:
                code = error.code
            took = time.monotonic() - began
            connection.run("CREATE (:Paused {n: 2})")
        finally:
            leader.resume()
        numbers_there = sorted(n for [n] in connection.run("MATCH (p:Paused) RETURN p.n").rows)
        checks.check(code in UNKNOWN_CODES and took < 10 and numbers_there in ([0, 2], [0, 1, 2]),
                     f"Raft: a write that a stopped leader had is unknown after {took:.1f} s, the next one is the next leader's "
                     f"{code} {numbers_there}")


def raft(checks):
    with RaftCluster(3, election="500ms", heartbeat="50ms", environment=FORWARD) as cluster:
        asked = cluster.followers()[0]
        statements(checks, "Raft", asked, cluster.leader())
        over_http(checks, "Raft", asked, cluster.leader())

        def leader():
            found = cluster.leader()
            if found is asked:  # It is to live.
                cluster.transfer()
                found = cluster.leader(but=asked)
            return found

        stopped(checks, asked, leader())
        cluster.wait_until_ready()
        kills(checks, "Raft", asked, leader, cluster.wait_until_ready)
        asked.stop()
        asked._environment["NORNICDB_FOLLOWER_WRITES"] = "reject"
        asked.start()
        cluster.wait_until_ready()
        if cluster.leader() is asked:
            cluster.transfer()
            cluster.leader(but=asked)
        refused = None
        with Connection(asked.bolt_port, asked.host) as connection:
            try:
                connection.run("CREATE (:P)")
            except BoltError as error:
                refused = error
        checks.check(refused and refused.code == "Neo.ClientError.Cluster.NotALeader" and refused.message.startswith(REFUSAL),
                     f"Raft: with reject the write is refused in the words of the guide: {refused}")


def standby(checks):
    with HotStandby(environment=FORWARD, witness=True) as pair:
        asked = pair.standby()
        statements(checks, "hot standby", asked, pair.primary())
        over_http(checks, "hot standby", asked, pair.primary())
        prepare(asked)
        ledger = Ledger()
        with DirectWriter([asked], ledger, 1), Managed(asked, ledger, 1, 10):
            wait_for(lambda: len(ledger.snapshot()[0]) > 100, 60, "writes")
            victim = pair.primary()
            victim.kill()
            killed = time.monotonic()
            wait_for(lambda: ledger.first_after(killed), 60, "a write after the kill")
            victim.start()
            pair.wait_until_synced()
        acknowledged, unknown = ledger.snapshot()
        problems = ledger.problems(asked) + ledger.errors
        phantom = set(numbers(asked)) - set(acknowledged) - unknown
        checks.check(not problems and not phantom,
                     f"hot standby: {len(acknowledged)} writes through it are there once after the primary was killed and it took over "
                     f"({len(unknown)} unknown) {problems} {sorted(phantom)[:3]}")
        # The other way round now.
        with Connection(victim.bolt_port, victim.host) as connection:
            connection.run("CREATE (:Back)")
        checks.check(pair.standby() is victim, "hot standby: the one that came back passes writes on, too")


def regions(checks):
    with MultiRegion(size=1, environment=FORWARD) as both:
        east, west = (both[name].leader() for name in ("east", "west"))
        with Connection(west.bolt_port, west.host) as connection:
            connection.run("CREATE CONSTRAINT far IF NOT EXISTS FOR (n:Far) REQUIRE n.id IS UNIQUE")
            seen = wait_for(lambda: connection.run("SHOW CONSTRAINTS YIELD name RETURN name", None, mode="r").rows, 20, "the schema")
            connection.run("CREATE (:Far {id: 1})")
        here = west.metric('nornicdb_forwarded_statements_total{outcome="done"}')
        there = east.metric('nornicdb_forwarded_statements_total{outcome="done"}')
        checks.check(seen == [["far"]] and (here, there) == (1, 0),
                     f"regions: schema is written in the primary region and arrives, data stays {seen} {here} {there}")


def main():
    checks = Checks()
    run_scenes(checks, (raft, standby, regions))
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
