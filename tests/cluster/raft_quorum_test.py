#!/usr/bin/env python3
"""Two of three members are killed: reads stay, writes answer a transient error at once, status says what is missing; then one returns."""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import PASSWORD, USER, Checks, RaftCluster, driver_python, wait_for  # noqa: E402

driver_python()
import neo4j  # noqa: E402
from raft_common import TRANSIENT, differences, local_read, write  # noqa: E402

AT_ONCE = 0.5


def without_quorum(checks, cluster, stays, what):
    killed = [m for m in cluster.members.values() if m is not stays]
    for member in killed:
        member.kill()
    began = time.monotonic()
    wait_for(lambda: not (stays.replication() or {"accepts_writes": True})["accepts_writes"], 10, "the end of writes")
    took = time.monotonic() - began
    code, seconds = write(stays)
    checks.check(code.startswith(TRANSIENT) and seconds < AT_ONCE, f"{what}: a write is refused at once: {code} after "
                                                                   f"{seconds * 1000:.0f} ms, from {took:.2f} s on")
    with neo4j.GraphDatabase.driver(stays.neo4j_uri, auth=(USER, PASSWORD), max_transaction_retry_time=1) as driver:
        rows, _, _ = driver.execute_query("MATCH (n:Kept) RETURN count(n) AS c", routing_=neo4j.RoutingControl.READ)
        checks.check(rows[0]["c"] == 10, f"{what}: a driver still reads")
        try:
            with driver.session() as session:
                session.execute_write(lambda transaction: transaction.run("CREATE (:Lost)").consume())
            checks.check(False, f"{what}: a driver's write went through")
        except (neo4j.exceptions.Neo4jError, neo4j.exceptions.DriverError) as error:
            checks.check(True, f"{what}: a driver's write fails in the end: {type(error).__name__}: {str(error)[:100]}")
    rows = local_read(stays, "MATCH (n:Kept) RETURN count(n)")
    checks.check(rows == [[10]], f"{what}: reads go on")
    said = wait_for(lambda: (r := stays.replication()) and r["state"] == "no_quorum" and r or None, 10, "no_quorum")
    checks.check(any(m.name in said["reason"] for m in killed), f"{what}: status names who is missing: {said['reason']}")
    status, answer = stays.http("GET", "/ready")
    checks.check(status == 503, f"{what}: /ready says it, too: {status} {answer}")
    return killed


def main():
    checks = Checks()
    with RaftCluster(3, election="500ms", heartbeat="50ms") as cluster:
        code, _ = write(cluster.wait_until_ready(), "UNWIND range(1, 10) AS i CREATE (:Kept {i: i})")
        checks.check(code == "", f"data {code}")
        cluster.wait_until_ready()
        for what, pick in (("the leader stays", cluster.leader), ("a follower stays", lambda: cluster.followers()[0])):
            stays = pick()
            killed = without_quorum(checks, cluster, stays, what)
            began = time.monotonic()
            killed[0].start()
            def takes_a_write():
                leads = [m for m in cluster.running() if (m.replication() or {}).get("accepts_writes")]
                return leads and write(leads[0])[0] == ""
            wait_for(takes_a_write, 20, "a write")
            checks.check(True, f"{what}: with one more, writes go on after {time.monotonic() - began:.2f} s")
            killed[1].start()
            cluster.wait_until_ready()
            differs = differences(cluster)
            checks.check(not differs, f"{what}: all show the same in the end {differs}")
        lost = local_read(cluster.leader(), "MATCH (n:Lost) RETURN count(n)")
        checks.check(lost == [[0]], f"what was refused did not happen: {lost}")

        # All at once, as in a power cut.
        for member in cluster.members.values():
            member.kill()
        cluster.start()
        cluster.wait_until_ready()
        rows = local_read(cluster.leader(), "MATCH (n:Kept) RETURN count(n)")
        checks.check(rows == [[10]], "kill -9 of all loses nothing")
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
