#!/usr/bin/env python3
"""What a client is told of its transactions when members change roles or stop: the right code, on the same connection, in time.

Raft: transactions that are open while their leader steps down; a COMMIT that has no majority while its server is stopped, or is cut off;
waits that a RESET ends; a statement of many transactions that loses its leader in the middle; clients that think, while the server is to stop;
entries for which a majority has no room for longer than anybody waits.
"""
import contextlib
import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, RaftCluster, Server, run_scenes, wait_for  # noqa: E402
from disk_full_test import small_disk, write_ballast  # noqa: E402
from ha_common import UNKNOWN_CODES  # noqa: E402
from raft_common import differences  # noqa: E402
from raw_bolt import COMMIT, PULL, RESET, RUN, BoltError, Connection, Disconnected  # noqa: E402

TRANSIENT = "Neo.TransientError."
NOT_A_LEADER = "Neo.ClientError.Cluster.NotALeader"


def connect(member, **hello):
    return Connection(member._wanted_ports["BOLT"] or member.bolt_port, member.host, timeout=60, **hello)


def code_of(work):
    try:
        work()
    except BoltError as error:
        return error.code
    except Disconnected:
        return "disconnected"
    return ""


def step_down(cluster, leader):
    cluster.transfer()
    return cluster.leader(but=leader)


def roles(checks, cluster):
    leader = cluster.leader()
    routing = {"address": "x:1"}
    with connect(leader, routing=routing) as writes, connect(leader, routing=routing) as writes_later, connect(leader) as direct, \
            connect(leader, routing=routing) as reads, connect(leader, routing=routing) as streams:
        for connection in (writes, writes_later, direct):
            connection.begin()
            connection.run("CREATE (:Open)")
        reads.begin(mode="r")
        reads.run("MATCH (n) RETURN count(n)")
        streams.send(RUN, "UNWIND range(1, 100) AS i RETURN i", {}, {"mode": "r"})
        streams.send(PULL, {"n": 10})
        streams.flush()
        streams.answer()
        rows = []
        streams.answer(rows)
        new = step_down(cluster, leader)
        codes = [code_of(lambda: writes.run("CREATE (:Open)")), code_of(writes_later.commit), code_of(lambda: direct.run("CREATE (:Open)"))]
        checks.check(codes[0] == codes[1] == NOT_A_LEADER and codes[2] in (NOT_A_LEADER, TRANSIENT + "General.DatabaseUnavailable"),
                     f"step-down: open write transactions end with the code that sends a driver to the next leader {codes}")
        alive = [c.run("RETURN 1", None, mode="r").rows for c in (writes, writes_later, direct)]
        reads.run("MATCH (n) RETURN count(n)")
        bookmark = reads.commit().get("bookmark")
        streams.send(PULL, {"n": -1})
        streams.flush()
        streams.answer(rows)
        checks.check(alive == [[[1]]] * 3 and bookmark and [r for [r] in rows] == list(range(1, 101)),
                     "step-down: the connections stay, readers and open results go on")
    with connect(new) as connection:
        found = connection.run("MATCH (n:Open) RETURN count(n)").rows
    checks.check(found == [[0]], f"step-down: nothing of them was written {found}")


def waits(checks, cluster):
    leader = cluster.leader()
    with connect(leader) as connection:
        bookmark = connection.run("CREATE (:W)").summary["bookmark"]
        prefix, history, index, term = bookmark.split(":")
        later = f"{prefix}:{history}:{int(index) + 100000}:{term}"
        for what, extra in (("RUN", {"bookmarks": [later], "mode": "r"}), ("a RUN that writes", {"bookmarks": [later]})):
            connection.send(RUN, "RETURN 1", {}, extra)
            connection.flush()
            time.sleep(0.3)
            began = time.monotonic()
            connection.send(RESET)
            connection.flush()
            code = code_of(connection.answer)
            connection.answer()
            took = time.monotonic() - began
            again = connection.run("RETURN 1", None, mode="r").rows
            checks.check(code == "Neo.ClientError.Transaction.Terminated" and took < 1 and again == [[1]],
                         f"RESET: {what} that waits for a bookmark ends at once {code} {took * 1000:.0f} ms")


def in_parts(checks, cluster):
    """A statement that commits as it goes loses its leader: it must not look as if it could be run again."""
    leader = cluster.leader()
    with connect(leader) as connection:
        outcome = []

        def work():
            outcome.append(code_of(lambda: connection.run(
                "UNWIND range(1, 200000) AS i CALL { WITH i CREATE (:Part {i: i}) } IN TRANSACTIONS OF 10 ROWS")))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        wait_for(lambda: connect_count(leader) > 20, 60, "some parts")
        step_down(cluster, leader)
        thread.join(60)
    left = connect_count(cluster.leader())
    checks.check(outcome and outcome[0] in UNKNOWN_CODES and 0 < left < 200000,
                 f"in parts: {left} rows are there, and the code is not one of a statement that did nothing {outcome}")


def connect_count(member):
    with connect(member) as connection:
        return connection.run("MATCH (p:Part) RETURN count(p)", None, mode="r").rows[0][0]


def commit_without_majority(checks):
    """SIGTERM while a COMMIT waits for members that do not answer: the client is told before its socket ends."""
    with RaftCluster(3, election="20s", heartbeat="100ms", environment={"NORNICDB_SHUTDOWN_TIMEOUT": "2s"}) as cluster:
        leader = cluster.leader()
        others = cluster.followers()
        with connect(leader) as connection:
            connection.begin()
            connection.run("CREATE (:Maybe)")
            for member in others:
                member.pause()
            connection.send(COMMIT)
            connection.flush()
            time.sleep(0.3)
            stopping = threading.Thread(target=leader.stop, daemon=True)
            began = time.monotonic()
            stopping.start()
            code = code_of(connection.answer)
            took = time.monotonic() - began
        for member in others:
            member.resume()
        stopping.join(30)
        checks.check(code in UNKNOWN_CODES and took < 8, f"stop: a COMMIT without an outcome is answered as unknown before the socket ends {code} {took:.1f} s")


def cut_off(checks):
    """A leader that is cut off hears that another leads: what it could not replicate is not committed, and a driver is sent to that one."""
    with RaftCluster(3, links=True) as cluster:
        leader = cluster.leader()
        with connect(leader, routing={"address": "x:1"}) as routed, connect(leader) as direct:
            for connection in (routed, direct):
                connection.begin()
                connection.run("CREATE (:CutOff)")
            cluster.links.isolate(leader.name)
            for connection in (routed, direct):
                connection.send(COMMIT)
                connection.flush()
            new = cluster.leader(but=leader)
            cluster.links.heal()
            codes = [code_of(connection.answer) for connection in (routed, direct)]
        checks.check(codes == [NOT_A_LEADER, TRANSIENT + "Transaction.Outdated"],
                     f"cut off: a driver that goes by tables is told to ask for a new one, another to try again {codes}")
        with connect(new) as connection:
            found = connection.run("MATCH (n:CutOff) RETURN count(n)").rows
        checks.check(found == [[0]], f"cut off: nothing of them was written {found}")


def thinkers(checks, cluster):
    """Clients with open transactions that ask for nothing do not hold up a stop."""
    for member, what in ((cluster.leader(), "the leader"), (cluster.followers()[0], "a follower that passes them on")):
        with connect(member) as one, connect(member) as busy:
            one.begin()
            one.run("CREATE (:Thought)")
            status, said = member.http("POST", "/db/neo4j/query/v2/tx", {"statement": "RETURN 1", "accessMode": "READ"})
            busy.begin(mode="r")
            stopping = threading.Thread(target=member.stop, daemon=True)
            began = time.monotonic()
            stopping.start()
            answered, ended = 0, None
            while ended is None and time.monotonic() - began < 2.5:
                try:
                    busy.run("RETURN 1")
                    answered += 1
                except (BoltError, Disconnected) as error:
                    ended = error
                time.sleep(0.05)
            busy.close()
            stopping.join(30)
            took = time.monotonic() - began
            gone = code_of(one.commit)
        checks.check(took < 15 and gone == "disconnected" and status == 202 and answered > 2 and ended is None,
                     f"stop: {what} ends after {took:.1f} s of 20, though transactions are open; one that is used goes on ({answered}) {gone} {status} {ended}")
        member.start()
        cluster.wait_until_ready()
    with connect(cluster.leader()) as connection:
        found = connection.run("MATCH (n:Thought) RETURN count(n)").rows
    checks.check(found == [[0]], "stop: and nothing of them is written")


def alone(checks):
    with Server(environment={"NORNICDB_SHUTDOWN_TIMEOUT": "20s"}) as server:
        with connect(server) as connection:
            connection.begin()
            connection.run("CREATE (:Thought)")
            began = time.monotonic()
            server.stop()
            took = time.monotonic() - began
        checks.check(took < 8, f"stop: a standalone server does not wait for a client that thinks: {took:.1f} s")


def too_large(checks, cluster):
    mib = "x" * (1 << 20)
    leader = cluster.leader()
    with connect(leader) as client:
        code = code_of(lambda: client.run("UNWIND range(1, $n) AS i CREATE (:Large {t: $t})", {"n": 70, "t": mib}))
        checks.check(code == "Neo.ClientError.General.InvalidArguments", f"too large: what no message could carry is refused, and not retried: {code}")
        client.run("UNWIND range(1, $n) AS i CREATE (:Large {t: $t})", {"n": 36, "t": mib})
        rows = client.run("MATCH (n:Large) RETURN count(n)").rows
        checks.check(rows == [[36]], f"too large: nothing of it is there, and one that fits is committed: {rows}")
    applied = leader.replication()["applied_index"]
    behind = [m for m in cluster.members.values() if not wait_for(lambda m=m: m.replication()["applied_index"] >= applied, 20, "the others")]
    checks.check(not behind and cluster.leader() is leader, "too large: all members have that, under the same leader")


def unsettled(checks):
    """A majority's disks are full: an outcome is unknown, but its entry is in the leader's log and is applied once there is room."""
    with contextlib.ExitStack() as stack:
        cluster = RaftCluster(3)
        ballasts = []
        for name in ("node-2", "node-3"):
            folder = stack.enter_context(small_disk())
            if folder is None:
                checks.skip("unsettled: mounting small disks is not allowed here")
                return
            cluster.members[name].data_dir = os.path.join(folder, "data")
            ballasts.append((os.path.join(folder, "ballast"), folder))
        stack.enter_context(cluster)
        leader = cluster.leader()
        first, second, filling = (stack.enter_context(connect(leader)) for _ in range(3))
        first.run("CREATE CONSTRAINT one IF NOT EXISTS FOR (n:One) REQUIRE n.k IS UNIQUE")
        first.run("CREATE (:One {k: 1})")
        codes = {}

        def run(what, connection, query):
            codes[what] = code_of(lambda: connection.run(query, {"t": "x" * (256 << 10)}))

        def fill():
            while "fill" not in codes or not codes["fill"]:
                progress.append(None)
                run("fill", filling, "CREATE (:Fill {t: $t})")
        progress = []
        for ballast, folder in ballasts:
            write_ballast(ballast, folder)
        threads = [threading.Thread(target=fill)]
        threads[0].start()
        seen = [0, 0.0]

        def stands():  # for longer than a write takes
            if len(progress) != seen[0]:
                seen[:] = len(progress), time.monotonic()
            return time.monotonic() - seen[1] > 3
        wait_for(stands, 120, "followers without room")
        for what, connection, query in (("delete", first, "MATCH (n:One {k: 1}) DETACH DELETE n"), ("create", second, "CREATE (:One {k: 2})")):
            threads.append(threading.Thread(target=run, args=(what, connection, query)))
            threads[-1].start()
        for thread in threads:
            thread.join(60)
        checks.check(set(codes.values()) == set(UNKNOWN_CODES), f"unsettled: what is in the log of the leader alone ends as unknown: {codes}")
        # What they wrote is still theirs: it will be applied.
        waits = [code_of(lambda q=q: first.run(q, tx_timeout=1000)) for q in (
            "MATCH (n:One {k: 1}) SET n.again = true", "MATCH (n:One {k: 1}) DETACH DELETE n", "CREATE (:One {k: 2})")]
        checks.check(all("TransactionTimedOut" in code for code in waits), f"unsettled: who writes the same waits for it: {waits}")
        for ballast, _ in ballasts:
            os.remove(ballast)
        wait_for(lambda: (said := leader.replication()) and said["applied_index"] >= said["last_log_index"], 60, "the entries")
        leads = cluster.wait_until_ready()
        with connect(leads) as client:
            rows = client.run("MATCH (n:One) RETURN n.k").rows
            again = code_of(lambda: client.run("CREATE (:One {k: 2})"))
            client.run("MATCH (n:One {k: 2}) SET n.later = true")
        checks.check(rows == [[2]] and "ConstraintValidationFailed" in again, f"unsettled: both are there once there is room: {rows} {again}")
        cluster.wait_until_ready()
        checks.check(not differences(cluster), "unsettled: all members show the same")


def main():
    checks = Checks()
    run_scenes(checks, (alone,))
    with RaftCluster(3, environment={"NORNICDB_SHUTDOWN_TIMEOUT": "20s", "NORNICDB_FOLLOWER_WRITES": "forward"}) as cluster:
        run_scenes(checks, (roles, waits, in_parts, thinkers, too_large), cluster)
    run_scenes(checks, (commit_without_majority, cut_off, unsettled))
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
