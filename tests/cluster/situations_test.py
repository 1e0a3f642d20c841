#!/usr/bin/env python3
"""What drivers do, one situation a check, with a client that says exactly what it is told to: the situations of the drivers' own
conformance scripts (routing, retry, disconnects, home database, re-authentication, time-outs, notifications, results), against a
standalone server and each member of a Raft group. The state machine alone is tests/bolt/situations_test.cc.
"""
import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, HotStandby, RaftCluster, Server, run_scenes, wait_for  # noqa: E402
from raw_bolt import (BEGIN, COMMIT, Connection, DISCARD, Disconnected, FAILURE, GOODBYE, IGNORED, LOGON, PULL, RECORD,  # noqa: E402
                      RESET, ROLLBACK, ROUTE, RUN, SUCCESS, BoltError)

LOGOFF, TELEMETRY = 0x6B, 0x54
KINDS = {SUCCESS: "SUCCESS", FAILURE: "FAILURE", IGNORED: "IGNORED"}
VERSIONS = [(3, 0), (4, 0), (4, 1), (4, 2), (4, 3), (4, 4), (5, 0), (5, 1), (5, 2), (5, 3), (5, 4), (5, 6), (5, 7), (5, 8)]
ENDLESS = "UNWIND range(1, 1000000000) AS x UNWIND range(1, 1000) AS y WITH x WHERE x % 7 = 8 RETURN count(x)"
PERSON = "CREATE (:Person {name: 'a'})"
ALL = {"n": -1}


class Wire(Connection):
    """One connection; say() pipelines requests and gives what answers each: (kind, metadata, rows)."""

    def say(self, *requests):
        for request in requests:
            self.send(*request)
        self.flush()
        return [self._summary() for _ in requests]

    def _summary(self):
        rows = []
        while True:
            message = self.receive()
            if message.tag == RECORD:
                rows.append(message.fields[0])
            else:
                return KINDS[message.tag], (message.fields or [{}])[0], rows

    def kinds(self, *requests):
        """The kinds alone; codes of failures."""
        return [code_of(answer) if answer[0] == "FAILURE" else answer[0] for answer in self.say(*requests)]

    def works(self):
        return self.kinds((RESET,), (RUN, "RETURN 1", {}, {}), (PULL, ALL)) == ["SUCCESS"] * 3

    def ended(self):
        """Whether the server closes it without a word."""
        try:
            self.receive()
        except Disconnected:
            return True
        return False


def code_of(answer):
    return answer[1].get("code") or answer[1]["neo4j_code"]


def wire(server, version=(5, 4), **more):
    return Wire(server._wanted_ports["BOLT"] or server.bolt_port, server.host, version=version, timeout=40, **more)


def run(query, parameters=None, **extra):
    return (RUN, query, parameters or {}, extra)


def count(server, label):
    with wire(server) as connection:
        return connection.say(run(f"MATCH (n:{label}) RETURN count(n)"), (PULL, ALL))[1][2][0][0]


# ---- A standalone server ----

def versions(checks, server):
    for version in VERSIONS:
        pull = (PULL,) if version < (4, 0) else (PULL, ALL)
        with wire(server, version) as c:
            auto = c.say(run("UNWIND [1, 2] AS x RETURN x"), pull)
            tx = c.say((BEGIN, {}), run("RETURN 1"), pull, (COMMIT,), (BEGIN, {}), (ROLLBACK,)) + c.say((RESET,))
            checks.check([a[0] for a in auto + tx] == ["SUCCESS"] * 9 and auto[1][2] == [[1], [2]] and "bookmark" in auto[1][1]
                         and "bookmark" in tx[3][1] and c.hello["server"].startswith("Neo4j/"),
                         f"Bolt {version[0]}.{version[1]}: an autocommit statement, two transactions, RESET")


def legacy(checks, server):
    with wire(server, (3, 0)) as c:
        table = c.say(run("CALL dbms.cluster.routing.getRoutingTable({context})", {"context": {}}), (PULL,))
        checks.check(table[0][1].get("fields") == ["ttl", "servers"] and {s["role"] for s in table[1][2][0][1]} == {"WRITE", "READ", "ROUTE"},
                     f"Bolt 3: the routing table is asked for by procedure, its parameter in braces {table}")
        twice = c.say(run("RETURN $x", {"x": 1}), (PULL,), run("", {"x": 2}), (PULL,))
        checks.check([twice[1][2], twice[3][2]] == [[[1]], [[2]]], "Bolt 3: an empty statement is the last one again")
        made = c.say(run("CREATE (n:Old {name: {name}, at: datetime('2026-01-02T03:04:05+01:00')}) RETURN n", {"name": "x"}), (PULL,))
        node = made[1][2][0][0]
        checks.check(node.tag == 0x4E and len(node.fields) == 3 and node.fields[2]["at"].tag == 0x46
                     and made[1][1]["stats"] == {"nodes-created": 1, "labels-added": 1, "properties-set": 2},
                     f"Bolt 3: nodes have three fields, date-times are local, counters are numbers {made}")


def databases(checks, server):
    with wire(server, (5, 8), routing={"address": "x:1"}) as c:
        checks.check(c.hello["hints"].get("ssr.enabled") is True and ":" in c.logon["advertised_address"],
                     "home database cache: 5.8 is told ssr.enabled and the advertised address")
        said = c.say((BEGIN, {}), (ROLLBACK,), run("RETURN 1"), (PULL, ALL), (ROUTE, {}, [], {}))
        checks.check([said[0][1]["db"], said[2][1]["db"], said[4][1]["rt"]["db"]] == ["neo4j"] * 3,
                     "home database: BEGIN, RUN and ROUTE name it where the client names none")
        said = c.say((BEGIN, {"db": "neo4j"}), (ROLLBACK,), (ROUTE, {}, [], {"db": "default"}))
        checks.check("db" not in said[0][1] and said[2][1]["rt"]["db"] == "default",
                     "home database: a named one is not repeated; an alias' table goes by the alias, under which drivers look for it")
        wanted = "Neo.ClientError.Database.DatabaseNotFound"
        for what, request in (("ROUTE", (ROUTE, {}, [], {"db": "nowhere"})), ("BEGIN", (BEGIN, {"db": "nowhere"})),
                              ("RUN", run("RETURN 1", db="nowhere"))):
            said = c.kinds(request, run("RETURN 1"), (PULL, ALL))
            checks.check(said == [wanted, "IGNORED", "IGNORED"] and c.works(), f"unknown database in {what}: {said}, then it goes on")
        for what, request in (("BEGIN", (BEGIN, {"imp_user": "bob"})), ("RUN", run("RETURN 1", imp_user="bob")),
                              ("ROUTE", (ROUTE, {}, [], {"imp_user": "bob"}))):
            said = c.kinds(request)[0]
            checks.check(said.startswith("Neo.ClientError.") and c.works(), f"impersonation in {what} is refused, not passed over: {said}")
        wanted = "Neo.ClientError.Transaction.InvalidBookmark"
        for what, request in (("BEGIN", (BEGIN, {"bookmarks": ["FB:nonsense"]})), ("RUN", run("RETURN 1", bookmarks=["FB:nonsense"])),
                              ("ROUTE", (ROUTE, {}, ["FB:nonsense"], {}))):
            said = c.kinds(request)
            checks.check(said == [wanted] and c.works(), f"a bookmark that is none in {what}: {said}, then it goes on")
        bookmark = c.say(run(PERSON), (PULL, ALL))[1][1]["bookmark"]
        said = c.kinds((BEGIN, {"bookmarks": [bookmark, bookmark]}), (ROLLBACK,))
        checks.check(said == ["SUCCESS"] * 2, "bookmarks: a list of them is taken")


def access_modes(checks, server):
    with wire(server) as c:
        said = c.kinds(run(PERSON, mode="r"), (PULL, ALL))
        checks.check(said == ["Neo.ClientError.Statement.AccessMode", "IGNORED"] and c.works(), f"a write in an autocommit statement of mode r: {said}")
        said = c.kinds((BEGIN, {"mode": "r"}), run(PERSON), (PULL, ALL), (COMMIT,))
        checks.check(said == ["SUCCESS", "Neo.ClientError.Statement.AccessMode", "IGNORED", "IGNORED"] and c.works(),
                     f"a write in a transaction of mode r: {said}")


def failures(checks, server):
    with wire(server) as c:
        everything = [run("RETURN 1"), (PULL, ALL), (DISCARD, ALL), (BEGIN, {}), (COMMIT,), (ROLLBACK,), (ROUTE, {}, [], {}), (LOGOFF,)]
        said = c.kinds(run("RETRUN 1"))
        checks.check(said == ["Neo.ClientError.Statement.SyntaxError"] and c.kinds(*everything) == ["IGNORED"] * len(everything),
                     "after a failure each request is ignored")
        checks.check(c.works(), "and RESET ends that")
        said = c.kinds((BEGIN, {}), run(PERSON.replace("Person", "Failed")), (PULL, ALL), run("RETURN 1 / 0"), (PULL, ALL), (COMMIT,))
        checks.check(said[:3] == ["SUCCESS"] * 3 and "Neo.ClientError.Statement.ArithmeticError" in said and said[-1] == "IGNORED"
                     and c.works() and count(server, "Failed") == 0, f"a statement that fails takes its transaction along: {said}")
        said = c.kinds((BEGIN, {}), run("MATCH (n:Nobody) RETURN n"), (PULL, ALL), (PULL, {"n": -1, "qid": 7}))
        checks.check(said[-1].startswith("Neo.ClientError.") and c.works(), f"a statement of another number: {said}")
    with wire(server) as c:
        said = c.kinds((COMMIT,))
        checks.check(said == ["Neo.ClientError.Request.Invalid"] and c.ended(), "COMMIT without a transaction is answered, then the connection ends")


def results(checks, server):
    with wire(server) as c:
        said = c.say(run("UNWIND range(1, 5) AS x RETURN x"), (PULL, {"n": 2}), (PULL, {"n": 2}), (DISCARD, ALL))
        checks.check([s[2] for s in said] == [[], [[1], [2]], [[3], [4]], []] and said[1][1] == {"has_more": True}
                     and "bookmark" in said[3][1], "fetch size: a result in pieces, the rest thrown away")
        said = c.say((BEGIN, {}), run("UNWIND range(1, 3) AS x RETURN x"), run("RETURN 'b'"), (PULL, {"n": 1, "qid": 0}),
                     (PULL, {"n": -1, "qid": 1}), (PULL, {"n": -1, "qid": 0}), (COMMIT,))
        checks.check([s[2] for s in said[3:6]] == [[[1]], [["b"]], [[2], [3]]], "two results of one transaction, in turns")
        said = c.kinds((BEGIN, {}), run("UNWIND range(1, 3) AS x CREATE (n:Left {x: x}) RETURN n"), (PULL, {"n": 1}), (COMMIT,))
        checks.check(said == ["SUCCESS"] * 4 and count(server, "Left") == 3, "COMMIT with a result half read writes all of it")


def endless_ones(server):
    """How many of them run."""
    with wire(server) as other:
        return other.say(run("SHOW TRANSACTIONS YIELD currentQuery WHERE currentQuery STARTS WITH 'UNWIND range(1, 1000000000)' RETURN count(*)"),
                         (PULL, ALL))[1][2][0][0]


def summaries(checks, server):
    with wire(server) as c:
        kinds = {"RETURN 1": "r", "CREATE (:Kind)": "w", "CREATE (n:Kind) RETURN n": "rw", "CREATE INDEX kind IF NOT EXISTS FOR (n:Kind) ON (n.k)": "s"}
        said = {text: c.say(run(text), (PULL, ALL))[1][1] for text in kinds}
        checks.check({text: s["type"] for text, s in said.items()} == kinds, f"a summary tells of which type its statement is {said}")
        updates = {text: s.get("stats", {}).get("contains-updates", False) for text, s in said.items()}
        checks.check(updates == {text: kind != "r" for text, kind in kinds.items()}, f"and what it changed, if anything {updates}")
        said = c.say(run("EXPLAIN MATCH (n:Kind) RETURN n"), (PULL, ALL), run("PROFILE MATCH (n:Kind) RETURN n"), (PULL, ALL))
        checks.check("plan" in said[1][1] and said[1][2] == [] and "profile" in said[3][1] and len(said[3][2]) == 2, "a plan, a profile")
        said = c.say((BEGIN, {"mode": "r"}), run("MATCH (n:Kind) RETURN n"), (PULL, ALL), (COMMIT,), run("RETURN 1", mode="r"), (PULL, ALL))
        checks.check("bookmark" not in said[2][1] and said[3][1].get("bookmark") == said[5][1].get("bookmark") is not None,
                     f"transactions that only read have a bookmark, statements in them have none {said}")
    with wire(server) as c:
        checks.check(c.kinds(*[(TELEMETRY, api) for api in range(4)]) == ["SUCCESS"] * 4 and c.works(), "telemetry of each interface is taken")


def interrupted(checks, server):
    with wire(server) as c:
        c.send(BEGIN, {})
        c.send(*run("CREATE (:Reset)"))
        c.send(PULL, ALL)
        c.send(*run(ENDLESS))
        c.send(PULL, ALL)
        c.flush()
        wait_for(lambda: endless_ones(server) == 1, 10, "a statement that runs")
        early = [c._summary()[0] for _ in range(4)]
        checks.check(early == ["SUCCESS"] * 4 and endless_ones(server) == 1, "what comes before a request that takes long is answered meanwhile")
        began = time.monotonic()
        c.send(RESET)
        c.flush()
        failed, reset = c._summary(), c._summary()
        checks.check(code_of(failed) == "Neo.ClientError.Transaction.Terminated" and reset[0] == "SUCCESS" and time.monotonic() - began < 5
                     and c.works() and count(server, "Reset") == 0, f"RESET ends a statement that runs and its transaction: {failed}")
        said = c.kinds((BEGIN, {"tx_timeout": 100}), run(ENDLESS), (PULL, ALL))
        checks.check(said[-1] == "Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration" and c.works(),
                     f"a transaction's own time-out: {said}")
        said = c.kinds(run(ENDLESS, tx_timeout=100), (PULL, ALL))
        checks.check(said[-1] == "Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration" and c.works(),
                     f"an autocommit statement's time-out: {said}")
        said = c.kinds((BEGIN, {"tx_timeout": 0}), run("RETURN 1"), (PULL, ALL), (COMMIT,))
        checks.check(said == ["SUCCESS"] * 4, "a time-out of 0 is none")
        shown = c.say((BEGIN, {"tx_metadata": {"app": "situations"}}), run("SHOW TRANSACTIONS YIELD metaData"), (PULL, ALL), (ROLLBACK,))
        checks.check([{"app": "situations"}] in shown[2][2], f"a transaction's metadata is shown: {shown[2]}")


def lost(checks, server):
    """A client that goes in the middle leaves nothing behind: others get its locks at once."""
    with wire(server) as c:
        c.say(run("CREATE (:Held {v: 0})"), (PULL, ALL))

    def take():
        with wire(server) as other:
            return other.say(run("MATCH (n:Held) SET n.v = n.v + 1 RETURN n.v", tx_timeout=10000), (PULL, ALL))[1]
    for what, leave in (("closes its socket", lambda c: None), ("says GOODBYE", lambda c: (c.send(GOODBYE), c.flush())),
                        ("stops in the middle of a message", lambda c: c._socket.sendall(b"\0\x40\xb3\x10"))):
        c = wire(server)
        c.say((BEGIN, {}), run("MATCH (n:Held) SET n.v = 100"), (PULL, ALL))
        leave(c)
        c.close()
        said = take()
        checks.check(said[0] == "SUCCESS" and said[2][0][0] < 100, f"a client that {what} in a transaction leaves no lock and no change: {said}")
    c = wire(server)
    c.send(*run(ENDLESS))
    c.send(PULL, ALL)
    c.flush()
    wait_for(lambda: endless_ones(server) == 1, 10, "a statement that runs")
    c.close()
    try:
        wait_for(lambda: endless_ones(server) == 0, 5, "the end of its statement")
        checks.check(True, "a client that goes while its statement runs ends it")
    except TimeoutError as late:
        checks.check(False, f"a client that goes while its statement runs ends it: {late}")
    c = wire(server)
    said = c.kinds(run(PERSON.replace("Person", "Last")))
    c.send(PULL, ALL)
    c.send(GOODBYE)
    c.flush()
    c._summary()
    checks.check(said == ["SUCCESS"] and c.ended() and count(server, "Last") == 1, "what was sent before GOODBYE is done and answered")


def deadlock(checks, server):
    one, other = wire(server), wire(server)
    one.say(run("CREATE (:A {v: 0}), (:B {v: 0})"), (PULL, ALL))
    one.say((BEGIN, {}), run("MATCH (n:A) SET n.v = 1"), (PULL, ALL))
    other.say((BEGIN, {}), run("MATCH (n:B) SET n.v = 2"), (PULL, ALL))
    answers = {}

    def cross(name, connection, label):
        answers[name] = connection.kinds(run(f"MATCH (n:{label}) SET n.v = 3"), (PULL, ALL))
        connection.kinds((COMMIT,) if answers[name] == ["SUCCESS"] * 2 else (RESET,))
    threads = [threading.Thread(target=cross, args=args) for args in (("one", one, "B"), ("other", other, "A"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    codes = [kind for kinds in answers.values() for kind in kinds if kind.startswith("Neo.")]
    checks.check(len(answers) == 2 and len(codes) == 1 and codes[0].startswith("Neo.TransientError."),
                 f"of two transactions that wait for each other one is told to try again: {answers}")
    one.close()
    other.close()


def authentication(checks, server):
    with wire(server) as admin:
        admin.say(run("CREATE USER bob SET PASSWORD 'bob-password' CHANGE NOT REQUIRED", db="system"), (PULL, ALL))
    bob = {"scheme": "basic", "principal": "bob", "credentials": "bob-password"}
    with wire(server) as c:
        said = c.say((LOGOFF,), (LOGON, bob), (BEGIN, {}), run("SHOW CURRENT USER YIELD user"), (PULL, ALL), (COMMIT,))
        checks.check([s[0] for s in said] == ["SUCCESS"] * 6 and said[4][2] == [["bob"]],
                     f"a user is changed in one pipeline with the next transaction: {said}")
        for request in ((LOGOFF,), (LOGON, {**bob, "credentials": "wrong"})):
            said = c.kinds(request)
        checks.check(said == ["Neo.ClientError.Security.Unauthorized"] and c.ended(), f"a wrong password is answered, then the connection ends: {said}")
    for version in ((4, 4), (5, 8), (3, 0)):
        try:
            wire(server, version, user=f"nobody-{version[0]}", password="wrong")
            said = ""
        except BoltError as error:
            said = error.code
        checks.check(said == "Neo.ClientError.Security.Unauthorized", f"a wrong password at the first login of {version}: {said}")


def notifications(checks, server):
    unknown = run("MATCH (n:NoSuchLabel) RETURN n")
    with wire(server) as c:
        told = c.say(unknown, (PULL, ALL))[1][1].get("notifications")
    with wire(server, notifications_minimum_severity="OFF") as c:
        silent = c.say(unknown, (PULL, ALL))[1][1].get("notifications")
        again = c.say((RUN, unknown[1], {}, {"notifications_minimum_severity": "WARNING"}), (PULL, ALL))[1][1].get("notifications")
    checks.check(told and again and silent is None, "notifications: by default, off by HELLO, on again by RUN")
    with wire(server, (5, 6), notifications_minimum_severity="OFF") as c:
        statuses = c.say(unknown, (PULL, ALL))[1][1]["statuses"]
    checks.check([s["gql_status"] for s in statuses] == ["02000"], "statuses: the one that says how it ended stays")


# ---- A Raft group ----

def table_of(answer):
    """role -> addresses of a ROUTE's or a procedure's answer."""
    return {server["role"]: server["addresses"] for server in answer}


def asked_in_each_way(member):
    """The table as each generation of drivers asks for it."""
    context = {"address": "x:1"}
    out = {}
    with wire(member, (3, 0)) as c:
        out["3"] = c.say(run("CALL dbms.cluster.routing.getRoutingTable({context})", {"context": {}}), (PULL,))[1][2][0][1]
    with wire(member, (4, 2), routing=context) as c:
        out["4.2"] = c.say(run("CALL dbms.routing.getRoutingTable($context, $database)", {"context": context, "database": "neo4j"},
                               mode="r", db="system"), (PULL, ALL))[1][2][0][1]
    with wire(member, (4, 3), routing=context) as c:
        out["4.3"] = c.say((ROUTE, context, [], "neo4j"))[0][1]["rt"]["servers"]
    for version in ((4, 4), (5, 8)):
        with wire(member, version, routing=context) as c:
            out[str(version)] = c.say((ROUTE, context, [], {"db": "neo4j"}))[0][1]["rt"]["servers"]
    return {version: table_of(servers) for version, servers in out.items()}


def tables_agree(checks, names, members, writer):
    """Each member, whatever its role, tells each generation of drivers the same."""
    address = {id(m): f"{m.host}:{m._wanted_ports['BOLT']}" for m in members}
    for name, member in names.items():
        if member not in members:
            continue
        tables = {}

        def good(member=member, tables=tables):
            tables.update(asked_in_each_way(member))
            return all(len(t) == 3 and t["WRITE"] == [address[id(writer)]] and set(t["ROUTE"]) == set(address.values())
                       and set(t["READ"]) >= set(address.values()) - {address[id(writer)]} for t in tables.values())
        try:
            wait_for(good, 10, "a table with all members")
            checks.check(True, f"routing: {name} tells each generation of drivers the same")
        except TimeoutError:
            checks.check(False, f"routing: {name} tells each generation of drivers the same: {tables}")


def voter_that_follows(cluster):
    return next(m for m in cluster.followers() if m.name.startswith("node"))


def routing(checks, cluster):
    leader = cluster.leader()
    tables_agree(checks, cluster.members, cluster.data_members(), leader)
    follower = voter_that_follows(cluster)
    with wire(follower, (5, 8), routing={"address": "x:1"}) as c:
        said = c.say(run(PERSON), (PULL, ALL))
        checks.check(code_of(said[0]) == "Neo.ClientError.Cluster.NotALeader" and said[0][1]["diagnostic_record"].get("_idempotent") is True,
                     f"routing: a writer that leads no more says so, and that nothing was done: {said[0]}")
        said = c.kinds((RESET,), (BEGIN, {"mode": "r"}), run("RETURN 1"), (PULL, ALL), (COMMIT,))
        checks.check(said == ["SUCCESS"] * 5, f"routing: and goes on as a reader on that connection: {said}")
    with wire(follower, (5, 8), routing={"address": "x:1"}) as c:
        said = c.kinds((BEGIN, {}), run(PERSON), (PULL, ALL))
        checks.check(said == ["Neo.ClientError.Cluster.NotALeader", "IGNORED", "IGNORED"], f"routing: the same to a pipelined BEGIN: {said}")
    with wire(leader, (5, 8), routing={"address": "x:1"}) as c:
        bookmark = c.say(run("CREATE (:Seen)"), (PULL, ALL))[1][1]["bookmark"]
    with wire(follower, (5, 8), routing={"address": "x:1"}) as c:
        said = c.say((BEGIN, {"mode": "r", "bookmarks": [bookmark]}), run("MATCH (n:Seen) RETURN count(n)"), (PULL, ALL))
        checks.check(said[2][2] == [[1]], "causal chaining: a reader shows what the bookmark is of")


def server_side_routing(checks, cluster):
    """HELLO without `routing`: the member that is asked sees to it that a write gets where it belongs."""
    follower = voter_that_follows(cluster)
    for version in ((3, 0), (4, 4), (5, 8)):
        pull = (PULL,) if version < (4, 0) else (PULL, ALL)
        with wire(follower, version) as c:
            said = c.kinds(run("CREATE (:Passed)"), pull, (BEGIN, {}), run("CREATE (:Passed)"), pull, (COMMIT,))
            checks.check(said == ["SUCCESS"] * 6, f"server-side routing, Bolt {version[0]}.{version[1]}: a follower passes writes on: {said}")
            seen = c.say(run("MATCH (n:Passed) RETURN count(n)"), pull)[1][2][0][0]
            checks.check(seen == 2, f"and the same connection sees them: {seen}")
            c.say(run("MATCH (n:Passed) DELETE n"), pull)
    with wire(follower, (5, 8), routing={}) as c:
        said = c.kinds(run("CREATE (:Passed)"), (PULL, ALL))
        checks.check(said == ["Neo.ClientError.Cluster.NotALeader", "IGNORED"], f"a driver that routes is told who writes: {said}")


def step_down(checks, cluster):
    """Each of these is a code that drivers retry, on a connection that stays."""
    leader = cluster.leader()
    transactions = {"RUN": run("CREATE (:Late)"), "COMMIT": (COMMIT,)}
    open_ones = {}
    for name in transactions:
        open_ones[name] = wire(leader, (5, 8), routing={"address": "x:1"})
        open_ones[name].say((BEGIN, {}), run("CREATE (:Late)"), (PULL, ALL))
    target = voter_that_follows(cluster)
    cluster.transfer(target.name)
    wait_for(lambda: cluster.leader() is not leader, 20, "another leader")
    for name, connection in open_ones.items():
        said = connection.kinds(transactions[name]) + connection.kinds((RESET,))
        retried = said[0].startswith("Neo.TransientError.") or said[0] == "Neo.ClientError.Cluster.NotALeader"
        checks.check(retried and said[1] == "SUCCESS", f"a transaction of a leader that stepped down ends at its {name}: {said}")
        said = connection.kinds((BEGIN, {"mode": "r"}), run("RETURN 1"), (PULL, ALL), (COMMIT,))
        checks.check(said == ["SUCCESS"] * 4, f"and its connection reads on: {said}")
        connection.close()
    cluster.wait_until_ready()
    with wire(cluster.leader()) as c:
        checks.check(c.say(run("MATCH (n:Late) RETURN count(n)"), (PULL, ALL))[1][2] == [[0]], "and nothing of it was written")


def minority(checks, cluster):
    left = voter_that_follows(cluster)
    for member in cluster.data_members():
        if member is not left:
            member.kill()
    own = f"{left.host}:{left._wanted_ports['BOLT']}"

    def alone():
        tables = asked_in_each_way(left)
        return all(t["WRITE"] == [] and own in t["READ"] and own in t["ROUTE"] for t in tables.values()) and tables
    try:
        wait_for(alone, 30, "a table without writers")
        began = time.monotonic()
        alone()
        checks.check(time.monotonic() - began < 5, "routing: a member of a minority tells each generation at once that nobody writes")
    except TimeoutError as late:
        checks.check(False, f"routing: a member of a minority: {late}: {asked_in_each_way(left)}")
    with wire(left, (5, 8), routing={"address": "x:1"}) as c:
        said = c.kinds((BEGIN, {})) + c.kinds((RESET,), (BEGIN, {"mode": "r"}), run("MATCH (n:Seen) RETURN n"), (PULL, ALL), (COMMIT,))
        checks.check(said[0] == "Neo.TransientError.General.DatabaseUnavailable" and said[1:] == ["SUCCESS"] * 5,
                     f"a minority refuses a writer for the time being, and reads: {said}")


def main():
    checks = Checks()
    with Server() as server:
        run_scenes(checks, (versions, legacy, databases, access_modes, failures, results, summaries, interrupted, lost, deadlock, authentication,
                            notifications), server)
        checks.check(server.running() and server.stop() == 0, "the server stops cleanly")
    with Server(environment={"NORNICDB_READ_ONLY": "true"}) as server, wire(server, (3, 0)) as c:
        table = c.say(run("CALL dbms.cluster.routing.getRoutingTable({context})", {"context": {}}), (PULL,))
        checks.check(table[1][0] == "SUCCESS" and len(table[1][2]) == 1, "Bolt 3: a server that only reads gives its table, too")
    with HotStandby() as pair:
        tables_agree(checks, pair.members, pair.data_members(), pair.primary())
    with RaftCluster(3, learners=1, environment={"NORNICDB_FOLLOWER_WRITES": "forward"}) as cluster:
        run_scenes(checks, (routing, server_side_routing, step_down, minority), cluster)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
