#!/usr/bin/env python3
"""A majority is lost for good: an operator makes a new group from one member that is left, and old members can't slip back in."""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import PASSWORD, USER, Checks, RaftCluster, binary, driver_python, wait_for  # noqa: E402

driver_python()
import neo4j  # noqa: E402
from raft_common import differences, local_read, write  # noqa: E402

COUNT = "MATCH (n:Kept) RETURN count(n)"


def recover(member, *arguments, answer=""):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NORNICDB_")}
    done = subprocess.run([binary(), "recover", "--force-new-cluster", "--data-dir", member.data_dir, *arguments], input=answer,
                          env={**environment, **member._environment}, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def old_bookmark(member, bookmarks):
    """What a client is told who comes with a bookmark of the old group."""
    with neo4j.GraphDatabase.driver(member.bolt_uri, auth=(USER, PASSWORD)) as driver:
        try:
            with driver.session(bookmarks=bookmarks) as session:
                session.run("RETURN 1").consume()
            return ""
        except neo4j.exceptions.Neo4jError as error:
            return error.code


def main():
    checks = Checks()
    with RaftCluster(3, election="500ms", heartbeat="50ms") as cluster:
        leader = cluster.wait_until_ready()
        with neo4j.GraphDatabase.driver(leader.bolt_uri, auth=(USER, PASSWORD)) as driver, driver.session() as session:
            session.run("UNWIND range(1, 100) AS i CREATE (:Kept {i: i})").consume()
            bookmarks = session.last_bookmarks()
        cluster.wait_until_ready()
        time.sleep(1.2)  # Within an election time-out a disk has noted what is committed.
        history = leader.replication()["history"]
        left, stranger, emptied = cluster["node-2"], cluster["node-1"], cluster["node-3"]

        status, said = recover(left, "--yes")
        checks.check(status != 0, f"not while it runs: {status}: {said.strip().splitlines()[-1:]}")
        stranger.kill()
        emptied.kill()
        left.kill()
        status, said = recover(left, answer="something else\n")
        checks.check(status != 0 and "node-1" in said and "node-3" in said, f"another word than its name changes nothing; it says who is given up: {status}")
        print("        " + "\n        ".join(said.strip().splitlines()))
        left.start()
        time.sleep(1.5)
        checks.check(left.replication()["state"] == "no_quorum" and left.replication()["history"] == history, "and it starts as before")
        left.kill()
        status, said = recover(left, answer="node-2\n")
        checks.check(status == 0, f"its name does it: {status}: {said.strip().splitlines()[-1:]}")
        left.start()
        cluster.leader()
        code, _ = write(left, "CREATE (:After)")
        now = left.replication()
        checks.check(code == "" and local_read(left, COUNT) == [[100]], f"it leads, with all data {code}")
        checks.check(now["history"] != history, "the history is another one")
        code = old_bookmark(left, bookmarks)
        checks.check(code == "Neo.ClientError.Transaction.InvalidBookmark", f"a bookmark of the old one is told so: {code or 'taken'}")

        stranger.start()
        wait_for(lambda: (stranger.replication() or {}).get("state") == "foreign_data", 20, f"foreign_data: {stranger.replication()}")
        rows = local_read(stranger, COUNT)
        checks.check(rows == [[100]], f"an old member stays out and keeps its data: {rows}: {stranger.replication()['reason']}")
        checks.check(cluster.leader() is left and left.replication()["accepts_writes"], "and does not disturb")
        stranger.kill()
        stranger.wipe()
        emptied.wipe()
        for member in (stranger, emptied):
            member._environment.update(NORNICDB_CLUSTER_RAFT_JOIN=cluster.address("node-2"), NORNICDB_CLUSTER_RAFT_BOOTSTRAP="false")
            member.start()
            wait_for(lambda member=member: cluster.roles().get(member.name) in ("leader", "follower"), 30, f"{member.name} as a voter")
        cluster.wait_until_ready()
        differs = differences(cluster)
        checks.check(not differs and len(cluster.roles()) == 3, f"emptied ones join: {cluster.roles()} {differs}")
        left.kill()
        wait_for(lambda: write(cluster.leader())[0] == "", 20, "a write")
        checks.check(True, "and it is a group of three again: one may go")
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
