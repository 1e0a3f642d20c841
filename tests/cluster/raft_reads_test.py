#!/usr/bin/env python3
"""Reads in access mode WRITE are linearizable on every member: nobody sees less than anybody was shown before.

One client lets a number grow, others read it on each member as fast as they can, while the leader's disk or a follower's is slow,
links are, leadership moves, and the leader is stopped and goes on. NORNICDB_READ_SECONDS (default 3) for each.
"""
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, RaftCluster, wait_for, work_folder  # noqa: E402
from raft_common import Register  # noqa: E402
from sync_fault_test import build, say  # noqa: E402

SECONDS = float(os.environ.get("NORNICDB_READ_SECONDS", "3"))


def nothing(_, __):
    time.sleep(SECONDS)


def slow_disk_of(pick):
    def run(cluster, disks):
        name = pick(cluster).name
        say(disks[name], "slow")
        time.sleep(SECONDS)
        say(disks[name], "work")
    return run


def slow_links(cluster, _):
    leader = cluster.leader()
    for member, seconds in zip(cluster.followers(), (0.0, 0.03)):
        cluster.links.delay(leader.name, member.name, seconds)
    time.sleep(SECONDS)
    cluster.links.heal()


def transfers(cluster, _):
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        leads = cluster.leaders()
        if leads:
            cluster.post("/admin/cluster/transfer-leadership", {}, leads[-1][1])
        time.sleep(0.2)


def stopped_and_going_on(cluster, _):
    """Whoever is asked when the leader goes on asks one that does not know yet that it is no leader any more."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        leader = cluster.leader()
        leader.pause()
        cluster.leader(but=leader)
        time.sleep(0.2)
        leader.resume()
        time.sleep(0.2)


def main():
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="reads-", dir=work_folder()) as folder:
        library = build(folder)
        with RaftCluster(3, links=True, election="500ms", heartbeat="50ms", start=False) as cluster:
            disks = {name: os.path.join(folder, name) for name in cluster.members}
            for name, member in cluster.members.items():
                say(disks[name], "work")
                member._environment.update(LD_PRELOAD=library, FAULTY_SYNC=disks[name])
            cluster.start()
            for what, run in (("calm", nothing), ("the leader's disk is slow", slow_disk_of(RaftCluster.leader)),
                              ("a follower's disk is slow", slow_disk_of(lambda c: c.followers()[0])), ("links are slow", slow_links),
                              ("leadership moves", transfers), ("the leader stops and goes on", stopped_and_going_on)):
                cluster.wait_until_ready()
                with Register(cluster.data_members(), pause=0.0005) as register:
                    wait_for(lambda register=register: register.acknowledged, what="a write")
                    run(cluster, disks)
                checks.check(not register.stale and all(register.reads.values()),
                             f"{what}: no stale read of {register.reads}, {register.acknowledged} writes {register.stale[:3] or ''}")
                # The next number is higher than all of this one's.
                cluster.wait_until_ready()
                Register.SET = Register.SET.replace(":Register", ":Register_")
                Register.GET = Register.GET.replace(":Register", ":Register_")
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
