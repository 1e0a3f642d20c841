#!/usr/bin/env python3
"""A follower that was away and an empty one catch up under load, without hurting the leader's writes.

NORNICDB_ENTRIES (default 20000) is how many entries the follower misses, NORNICDB_GIB (default 0.05) the data that the empty one
lacks; it is cut off NORNICDB_CUTS (default 2) times on its way. The p99 of the leader's writes is compared with that before.
"""
import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, RaftCluster, wait_for  # noqa: E402
from ha_snapshot_test import GIB, Load, count, fill  # noqa: E402
from raft_common import differences  # noqa: E402
from raw_bolt import Connection  # noqa: E402

ENTRIES = int(os.environ.get("NORNICDB_ENTRIES", "20000"))
CUTS = int(os.environ.get("NORNICDB_CUTS", "2"))
QUIET_SECONDS = float(os.environ.get("NORNICDB_QUIET_SECONDS", "3"))
P99_RATIO = 2.0
# Two busy cores and a fraction of a scheduler's slice: twice of that says nothing.
P99_FLOOR = 0.010 if GIB >= 1 or ENTRIES >= 1_000_000 else 0.100


def many_entries(member, entries, clients=16):
    """So many log entries, as fast as it goes."""
    def run(c):
        with Connection(member.bolt_port) as connection:
            for i in range(c, entries, clients):
                connection.run("MERGE (n:E {c: $c}) SET n.i = $i", {"c": c, "i": i})
    threads = [threading.Thread(target=run, args=(c,)) for c in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def settle(members):
    """Until the stores have sorted what was loaded: members that nobody asks for anything take a tenth of a core together."""
    def used():
        return sum(member.cpu_seconds() for member in members)

    def quiet():
        before = used()
        time.sleep(2)  # The time over which the processor's work is measured.
        return used() - before < 0.2
    wait_for(quiet, 300, "members with nothing to do")


def under_load(checks, cluster, leader, name, what, on_the_way=lambda member, began: None):
    """Starts a member that is behind, with clients at work; returns seconds until it is with the others.

    It is cut off until it has started: what a process costs that starts beside the leader is not what its catching up costs.
    """
    member = cluster[name]
    others = [other.name for other in cluster.data_members() if other is not member]
    for other in others:
        cluster.links.cut(other, name)
    member.start()
    with Load(leader) as load:
        time.sleep(1)  # What the load itself wakes up is over.
        began_quiet = time.monotonic()
        time.sleep(QUIET_SECONDS)
        before = leader.replication()
        began = time.monotonic()
        peaks = [0, 0]
        cluster.links.heal()

        def there():
            on_the_way(member, began)
            peaks[:] = [max(peaks[0], leader.rss_bytes()), max(peaks[1], member.rss_bytes())]
            said = member.replication()
            return said and said["state"] == "ready" and said["applied_index"] >= before["commit_index"]
        wait_for(there, 60 + 200 * GIB + ENTRIES / 2000, f"{name} with the others")
        ended = time.monotonic()
        time.sleep(0.3)
    quiet, during = load.p99(began_quiet, began), load.p99(began, ended)
    checks.check(not load.errors, f"{what}: no error of a client {load.errors[:2] or ''}")
    checks.check(during <= max(P99_RATIO * quiet, P99_FLOOR),
                 f"{what}, {ended - began:.1f} s: p99 of a write quiet {quiet * 1000:.1f} ms, meanwhile {during * 1000:.1f} ms")
    checks.check(leader.replication()["role"] == "leader" and leader.replication()["term"] == before["term"], f"{what}: the leader stayed")
    checks.check(max(peaks) < (1 << 30), f"{what}: memory is bounded: leader {peaks[0] >> 20}, it {peaks[1] >> 20} MiB")


def main():
    checks = Checks()
    with RaftCluster(3, links=True, environment={"NORNICDB_CACHE_SIZE": "256MiB"}) as cluster:
        leader = cluster.leader()
        with Connection(leader.bolt_port) as connection:
            connection.run("CREATE CONSTRAINT e IF NOT EXISTS FOR (n:E) REQUIRE n.c IS UNIQUE")
        away, empty = cluster.followers()[0], cluster.followers()[1]
        away.kill()
        began = time.monotonic()
        many_entries(leader, ENTRIES)
        print(f"        {ENTRIES} entries in {time.monotonic() - began:.1f} s")
        under_load(checks, cluster, leader, away.name, f"a follower that missed {ENTRIES} entries")
        cluster.wait_until_ready()

        fill(leader, GIB)
        cluster.wait_until_ready(120)
        empty.kill()
        empty.wipe()
        settle([leader, away])
        total, cuts = GIB * (1 << 30), [0]

        def cut(member, began):
            if cuts[0] < CUTS:
                received = (member.metric("nornicdb_replication_snapshot_received_bytes_total") if member.running() else 0) or 0
                if received > total * (cuts[0] + 1) / (CUTS + 2) * 0.5:
                    cluster.links.cut(leader.name, member.name)
                    cluster.links.heal()
                    cuts[0] += 1
        under_load(checks, cluster, leader, empty.name, f"an empty one that lacks {GIB} GiB", cut)
        checks.check(cuts[0] == CUTS, f"it was cut off {cuts[0]} times on its way")
        cluster.wait_until_ready()
        wait_for(lambda: len({str(count(m)) for m in cluster.data_members()}) == 1, 60, "the same on all members")
        checks.check(True, "all show the same")
        if GIB < 1:
            rows = differences(cluster)
            checks.check(not rows, f"to the last property {rows}")
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
