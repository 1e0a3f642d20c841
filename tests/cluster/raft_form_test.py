#!/usr/bin/env python3
"""A Raft group forms in any order of starts, once, and takes in whoever comes: settings as spec and docs/modes/raft.md have them.

Each case ends with all members on one history showing the same data.
"""
import itertools
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, RaftCluster, Server, run_scenes, wait_for, work_folder  # noqa: E402
from raft_common import contents, differences, kept, local_read, write  # noqa: E402


def note(cluster, text):
    """A node with this text, written through the leader."""
    def wrote():
        code, _ = write(cluster.leader(), "CREATE (:Note {text: $text})", {"text": text})
        return code == ""
    wait_for(wrote, 20, "a write")


def notes(member):
    return {row[0] for row in local_read(member, "MATCH (n:Note) RETURN n.text")}


def finish(checks, cluster, what, history=None, wanted=()):
    """One group, the same data everywhere, what was written there."""
    cluster.wait_until_ready()
    differs = differences(cluster)
    checks.check(not differs, f"{what}: all members show the same {differs}")
    lacking = set(wanted) - notes(cluster.leader())
    checks.check(not lacking, f"{what}: what was written is there {lacking or ''}")
    return kept(history, cluster, checks, what)


def any_order(checks):
    names = ["node-1", "node-2", "node-3"]
    took, bad = [], []
    for order in itertools.permutations(names):
        with RaftCluster(3, start=False) as cluster:
            for name in order[:2]:
                cluster[name].start()
            began = time.monotonic()
            # A majority is enough, if the one that makes the group is among it.
            if "node-1" in order[:2]:
                cluster.leader()
                took.append(time.monotonic() - began)
                note(cluster, "early")
            cluster[order[2]].start()
            cluster.wait_until_ready()
            note(cluster, "late")
            cluster.wait_until_ready()
            found = differences(cluster)
            said = [cluster[name].replication() for name in names]
            if found or len({r["history"] for r in said}) != 1 or len(cluster.status()["members"]) != 3:
                bad.append((order, found, said))
    checks.check(not bad, f"any order of starts makes one group of three {bad or ''}")
    checks.check(max(took) < 5, f"two of three make it: {', '.join(f'{t:.2f}' for t in took)} s")


def alone_makes_nothing(checks):
    with RaftCluster(3, start=False) as cluster:
        cluster["node-1"].start()
        time.sleep(2.5)
        said = cluster["node-1"].replication()
        code, seconds = write(cluster["node-1"])
        checks.check(said["role"] != "leader" and not said["accepts_writes"], f"one of three makes no group alone: {said['role']}")
        checks.check(code.startswith("Neo.TransientError.") and seconds < 2, f"and says so to a client: {code} after {seconds:.2f} s")
        checks.check(bool(said["reason"]), f"and in its status: {said['state']}: {said['reason']}")


def one_of_one(checks):
    with RaftCluster(1) as cluster:
        note(cluster, "alone")
        history = cluster.leader().replication()["history"]
        cluster["node-1"].kill()
        cluster["node-1"].start()
        finish(checks, cluster, "a group of one", history, ["alone"])


def two_bootstraps(checks):
    bad = []
    for _ in range(2):
        with RaftCluster(3, bootstrap=("node-1", "node-2", "node-3")) as cluster:
            note(cluster, "x")
            cluster.wait_until_ready()
            if differences(cluster) or len({m.replication()["history"] for m in cluster.data_members()}) != 1:
                bad.append(cluster.said())
    checks.check(not bad, f"BOOTSTRAP=true on all of them makes one group {bad or ''}")


def two_bootstraps_apart(checks):
    """Two that may make a group do not hear each other; the third hears both."""
    with RaftCluster(3, bootstrap=("node-1", "node-2"), links=True, start=False) as cluster:
        cluster.links.cut("node-1", "node-2")
        cluster.start("node-3", "node-1", "node-2")
        taken, until = {}, time.monotonic() + 2
        while time.monotonic() < until:
            for member in cluster.data_members():
                if write(member, "CREATE (:Early)")[0] == "":
                    taken[member.name] = taken.get(member.name, 0) + 1
            time.sleep(0.02)
        checks.check(len(taken) == 1, f"one of two that do not hear each other makes the group: {taken}")
        cluster.links.heal()
        leader = cluster.wait_until_ready()
        count = local_read(leader, "MATCH (n:Early) RETURN count(n)")[0][0]
        checks.check(count == sum(taken.values()), f"and the other one joins it; all {sum(taken.values())} writes are there: {count}")
        finish(checks, cluster, "two bootstraps that were apart")


def lives(checks):
    """What happens to a group over the years."""
    with RaftCluster(3) as cluster:
        note(cluster, "first")
        history = finish(checks, cluster, "formed", None, ["first"])
        term = cluster.leader().replication()["term"]

        for member in cluster.data_members():
            member.kill()
        cluster.start()
        cluster.wait_until_ready()
        note(cluster, "after kill -9 of all")
        checks.check(cluster.leader().replication()["term"] > term, "the term rose over a restart of all")
        finish(checks, cluster, "BOOTSTRAP stayed set", history, ["first", "after kill -9 of all"])

        for name, what in (("node-3", "a wiped member"), ("node-1", "the wiped one that has BOOTSTRAP=true")):
            cluster[name].kill()
            note(cluster, f"without {name}")
            cluster[name].wipe()
            cluster[name].start()
            note(cluster, f"with {name}")
            finish(checks, cluster, f"{what} joins", history, ["first", f"without {name}", f"with {name}"])
            checks.check(wait_for(lambda name=name: cluster.roles().get(name) in ("leader", "follower"), 20), f"{what} votes again")

        for name in ("node-2", cluster.leader().name):
            cluster[name].stop()
            cluster.move(name)
            cluster[name].start()
            finish(checks, cluster, f"{name} has another address", history, ["first"])
            known = lambda name=name: {m["id"]: m["address"] for m in cluster.status()["members"]}.get(name)
            try:
                wait_for(lambda name=name: known() == cluster.address(name), 10)
            except TimeoutError:
                pass  # The check says it.
            checks.check(known() == cluster.address(name), f"and the group knows it: {known()}")
        for member in cluster.data_members():
            member.stop()
        cluster.start()
        finish(checks, cluster, "and after a restart of all", history, ["first"])

        newcomer = cluster.add("node-4", join=[cluster.followers()[0].name])
        newcomer.start()
        wait_for(lambda: cluster.roles().get("node-4") in ("leader", "follower"), 30, "node-4 as a voter")
        finish(checks, cluster, "a fourth that knows one address joins", history, ["first"])

        learner = cluster.add("learner-1", role="learner", join=["node-1", "node-2"])
        learner.start()
        wait_for(lambda: cluster.roles().get("learner-1") == "learner", 30, "the learner")
        finish(checks, cluster, "a learner joins", history, ["first"])
        time.sleep(1)
        checks.check(cluster.roles()["learner-1"] == "learner", "and stays one")
        code, _ = write(learner)
        checks.check(code == "Neo.ClientError.Cluster.NotALeader", f"it takes no writes: {code}")


def from_standalone(checks):
    """The data of a server that ran alone is the group's."""
    folder = tempfile.mkdtemp(prefix="server-", dir=work_folder())
    with Server(folder, environment={"NORNICDB_CLUSTER_NODE_ID": "node-1"}) as alone:
        code, _ = write(alone_at(alone), "UNWIND range(1, 1000) AS i CREATE (:Old {i: i, text: 'from before'})")
        checks.check(code == "", f"a standalone server has data {code}")
        alone.stop()
    cluster = RaftCluster(3, start=False)
    cluster["node-1"].data_dir = folder
    with cluster:
        cluster.start()
        cluster.wait_until_ready()
        note(cluster, "new")
        finish(checks, cluster, "a bootstrap with data", None, ["new"])
        counts = {m.name: local_read(m, "MATCH (o:Old) RETURN count(o), sum(o.i)")[0] for m in cluster.data_members()}
        checks.check(set(map(tuple, counts.values())) == {(1000, 500500)}, f"its data is kept and everywhere: {counts}")

        # One that has data of its own is not taken in, and loses nothing.
        stranger_folder = tempfile.mkdtemp(prefix="server-", dir=work_folder())
        with Server(stranger_folder, environment={"NORNICDB_CLUSTER_NODE_ID": "node-4"}) as stranger:
            write(alone_at(stranger), "CREATE (:Own {x: 1})")
            stranger.stop()
        member = cluster.add("node-4", join=["node-1"])
        member.data_dir = stranger_folder
        member.start()
        wait_for(lambda: "data" in (member.replication() or {"reason": ""})["reason"], 10, "the reason")
        said = member.replication()
        checks.check(local_read(member, "MATCH (o:Own) RETURN count(o)") == [[1]], "one with other data keeps it")
        checks.check(bool(said["reason"]), f"and says what is wrong: {said['state']}: {said['reason']}")
        members = [m for m in cluster.running() if m is not member]
        code, _ = write(cluster.wait_until_ready(members=members), "CREATE (:After)")
        checks.check(code == "" and cluster.roles().get("node-4") not in ("leader", "follower"), f"the group goes on without it {code}")


def alone_at(server):
    server._wanted_ports["BOLT"] = server.bolt_port
    return server


def with_witness(checks):
    with RaftCluster(2, witness=True) as cluster:
        note(cluster, "three voices")
        history = finish(checks, cluster, "two and a witness", None, ["three voices"])
        checks.check(cluster.roles().get("witness-1") == "witness", f"status calls it that: {cluster.roles()}")
        old = cluster.leader()
        old.kill()
        new = cluster.leader(but=old)
        checks.check(not new.name.startswith("witness"), f"the other one with data leads: {new.name}")
        note(cluster, "with the witness")
        old.start()
        cluster.wait_until_ready()
        cluster["witness-1"].kill()
        note(cluster, "without the witness")
        cluster["witness-1"].start()
        finish(checks, cluster, "two and a witness, each lost once", history,
               ["three voices", "with the witness", "without the witness"])


def main():
    checks = Checks()
    run_scenes(checks, (alone_makes_nothing, any_order, one_of_one, two_bootstraps, two_bootstraps_apart, lives, from_standalone, with_witness))
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
