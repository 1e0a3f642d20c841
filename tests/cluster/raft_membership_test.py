#!/usr/bin/env python3
"""Membership as an operator changes it, over HTTP and by procedures, while clients write.

A member that is added takes part once it has caught up; a wrong address never costs the quorum; one that was removed learns of
it and disturbs nobody; the leader can be removed, too; the least possible number of members stays.
"""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, RaftCluster, driver_python, free_port, run_scenes, wait_for  # noqa: E402

driver_python()
from ha_common import DriverWriters, Ledger, prepare  # noqa: E402
from raft_common import write  # noqa: E402
from raw_bolt import BoltError, Connection  # noqa: E402

VOTES = ("leader", "follower", "candidate")


def procedure(member, call, parameters=None):
    with Connection(member.bolt_port, member.host, timeout=30) as connection:
        answer = connection.run(call, parameters)
        return [dict(zip(answer.fields, row)) for row in answer.rows]


def wait_for_role(cluster, name, roles, seconds=20):
    return wait_for(lambda: cluster.roles().get(name) in roles, seconds, f"{name} as {roles}")


def writes_go_on(checks, writers, what):
    moment = time.monotonic()
    wait_for(lambda: writers.all_write(moment), 20, f"writes: {what}")
    checks.check(True, f"{what}: writes go on")


def by_http(checks, cluster, writers):
    member = cluster.add("node-4")
    member.start()
    status, answer = cluster.post("/admin/cluster/add", {"node_id": "node-4", "address": cluster.address("node-4")})
    checks.check(status == 200, f"/admin/cluster/add: {status} {answer.get('message') or answer}")
    wait_for_role(cluster, "node-4", VOTES)
    checks.check(True, "it caught up and votes")
    answers = []

    def again():  # 503: the change that made it a voter is not done with yet.
        answers.append(cluster.post("/admin/cluster/add", {"node_id": "node-4", "address": cluster.address("node-4")}))
        return answers[-1][0] != 503
    wait_for(again, 20, "an answer to adding it again")
    status, answer = answers[-1]
    checks.check(status in (200, 400, 409), f"adding it again does no harm: {status} {answer.get('message') or answer.get('reason')}")
    writes_go_on(checks, writers, "four members")

    follower = cluster.followers()[0]
    status, answer = cluster.post("/admin/cluster/add", {"node_id": "node-9", "address": "127.0.0.1:1"}, member=follower)
    checks.check(status == 409 and answer.get("leader"), f"a follower names the leader: {status} {answer.get('reason')}")


def wrong_address(checks, cluster, writers):
    """Four voters, three are a majority: a fifth voter that does not exist would make it three of five, and two lost too many."""
    status, answer = cluster.post("/admin/cluster/add", {"node_id": "node-9", "address": f"127.0.0.1:{free_port()}"})
    print(f"        a wrong address: {status} {answer.get('message') or answer.get('reason')}")
    time.sleep(1)
    role = cluster.roles().get("node-9")
    checks.check(role not in VOTES, f"a member with a wrong address does not vote: {role}")
    lost = [m for m in cluster.followers() if m.name != "node-4"][0]
    lost.kill()
    writes_go_on(checks, writers, "a wrong address and one member lost")
    lost.start()
    cluster.wait_until_ready()
    if role is not None:
        status, answer = cluster.post("/admin/cluster/remove", {"node_id": "node-9"})
        checks.check(status == 200, f"it can be removed: {status} {answer.get('message') or answer.get('reason')}")
    checks.check("node-9" not in cluster.roles(), "and is gone")
    for body in ({"node_id": "x"}, {"address": "127.0.0.1:1"}, {"node_id": "x", "address": "nonsense"},
                 {"node_id": "x", "address": "127.0.0.1:1", "role": "king"}, {"node_id": 5.5, "address": "127.0.0.1:1"}):
        status, answer = cluster.post("/admin/cluster/add", body)
        checks.check(status == 400, f"{body}: {status} {answer}")
    status, answer = cluster.post("/admin/cluster/remove", {"node_id": "nobody"})
    checks.check(status in (400, 404, 409), f"removing nobody: {status} {answer.get('reason') or answer}")


def removal(checks, cluster, writers):
    status, answer = cluster.post("/admin/cluster/remove", {"node_id": "node-4"})
    checks.check(status == 200, f"/admin/cluster/remove: {status} {answer.get('message') or answer.get('reason')}")
    checks.check("node-4" not in cluster.roles(), "it is no member any more")
    gone = cluster["node-4"]
    try:
        wait_for(lambda: any(word in gone.replication()["reason"] for word in ("remov", "taken out", "no member")), 10)
    except TimeoutError:
        checks.check(False, "the removed one does not know")
    said = gone.replication()
    checks.check(said["state"] != "ready", f"the removed one knows: {said['state']}: {said['reason']}")
    code, seconds = write(gone)
    checks.check(code != "" and seconds < 2, f"it takes no writes: {code}")
    term = cluster.leader().replication()["term"]
    gone.kill()
    gone.start()
    time.sleep(3)
    checks.check(cluster.leader().replication()["term"] == term, "and disturbs nobody, also after a restart")
    gone.kill()
    del cluster.members["node-4"]
    writes_go_on(checks, writers, "after a removal")


def leader_removed(checks, cluster, writers):
    member = cluster.add("node-5", join=["node-1"])
    member.start()
    wait_for_role(cluster, "node-5", VOTES)
    old = cluster.wait_until_ready()
    status, answer = cluster.post("/admin/cluster/remove", {"node_id": old.name}, member=old)
    checks.check(status == 200, f"the leader removes itself: {status} {answer.get('message') or answer.get('reason')}")
    cluster.leader(but=old)
    writes_go_on(checks, writers, "without the old leader")
    checks.check(old.name not in cluster.roles(), "it is no member any more")
    wait_for(lambda: not old.replication()["accepts_writes"], 10)
    # It comes back under its name, as an empty one.
    old.kill()
    old.wipe()
    status, answer = cluster.post("/admin/cluster/add", {"node_id": old.name, "address": cluster.address(old.name)})
    checks.check(status in (200, 409, 503), f"it is asked for again before it runs: {status} {answer.get('message') or answer.get('reason')}")
    old.start()
    if status != 200:
        status, answer = cluster.post("/admin/cluster/add", {"node_id": old.name, "address": cluster.address(old.name)})
        checks.check(status == 200, f"and again: {status} {answer}")
    wait_for_role(cluster, old.name, VOTES)
    cluster.wait_until_ready()


def by_procedures(checks, cluster, writers):
    leader = cluster.wait_until_ready()
    rows = procedure(leader, "CALL db.bolt.listRaftNodes()")
    checks.check(len(rows) == 4, f"db.bolt.listRaftNodes: {rows[:1]}")
    rows = procedure(leader, "CALL db.bolt.getRaftStatus()")
    checks.check(len(rows) >= 1, f"db.bolt.getRaftStatus: {rows[:1]}")
    for call in ("CALL dbms.cluster.overview()", "CALL dbms.cluster.role('neo4j')", "CALL dbms.listServers()", "SHOW SERVERS"):
        try:
            rows = procedure(leader, call)
            checks.check(len(rows) >= 1, f"{call}: {len(rows)} rows")
        except BoltError as error:
            checks.check(False, f"{call}: {error}")
    learner = cluster.add("learner-1", role="learner")
    learner.start()
    procedure(leader, "CALL db.bolt.addRaftLearnerNode($id, '127.0.0.1', $bolt, $port)",
              {"id": "learner-1", "bolt": learner._wanted_ports["BOLT"], "port": cluster.cluster_ports["learner-1"]})
    wait_for_role(cluster, "learner-1", ("learner",))
    index = leader.replication()["commit_index"]
    wait_for(lambda: learner.replication()["applied_index"] >= index, 20, "the learner's data")
    checks.check(True, "addRaftLearnerNode: it follows")
    voter = cluster.add("node-6")
    voter.start()
    procedure(leader, "CALL db.bolt.addRaftNode($id, '127.0.0.1', $bolt, $port)",
              {"id": "node-6", "bolt": voter._wanted_ports["BOLT"], "port": cluster.cluster_ports["node-6"]})
    wait_for_role(cluster, "node-6", VOTES)
    checks.check(True, "addRaftNode: it votes")
    for name in ("learner-1", "node-6"):
        procedure(cluster.leader(), "CALL db.bolt.removeRaftNode($id)", {"id": name})
        wait_for(lambda name=name: name not in cluster.roles(), 10, f"{name} gone")
        cluster[name].kill()
        del cluster.members[name]
    checks.check(True, "removeRaftNode: they are gone")
    writes_go_on(checks, writers, "procedures")


def down_to_one(checks, cluster, writers):
    """Four are reduced to one, each step with a majority."""
    leader = cluster.wait_until_ready()
    for member in [m for m in cluster.data_members() if m is not leader]:
        status, answer = cluster.post("/admin/cluster/remove", {"node_id": member.name}, member=leader)
        if not checks.check(status == 200, f"{member.name} leaves: {status} {answer.get('message') or answer.get('reason')}"):
            return
        member.stop()
        del cluster.members[member.name]
    writes_go_on(checks, writers, "one member")
    status, answer = cluster.post("/admin/cluster/remove", {"node_id": leader.name}, member=leader)
    checks.check(status in (400, 409), f"the last one stays: {status} {answer.get('reason')}")


def leaving(checks):
    """NORNICDB_CLUSTER_LEAVE_ON_STOP: a member that stops is taken out, unless too few of those that stay answer."""
    with RaftCluster(3, environment={"NORNICDB_CLUSTER_LEAVE_ON_STOP": "true"}) as cluster:
        cluster.wait_until_ready()
        leaves, silent = cluster.followers()
        silent.pause()  # The leader has heard it a moment ago.
        began = time.monotonic()
        status = leaves.stop()
        took = time.monotonic() - began
        silent.resume()
        leaves.start()
        cluster.wait_until_ready()
        checks.check(status == 0 and cluster.roles().get(leaves.name) in VOTES,
                     f"one that stops while another is silent stays a member: {cluster.roles()}, {took:.1f} s")
        began = time.monotonic()
        status = leaves.stop()
        took = time.monotonic() - began
        checks.check(status == 0 and leaves.name not in cluster.roles() and took < 3,
                     f"one that stops is taken out where the others answer: {cluster.roles()}, {took:.1f} s")
        code, _ = write(cluster.leader(), "CREATE (:Left)")
        checks.check(not code, f"and the two go on {code}")


def priority(checks):
    """NORNICDB_CLUSTER_RAFT_PRIORITY: who should lead is changed by a restart, and Neo4j's refuse_to_be_leader is 0."""
    with RaftCluster(3, election="500ms", heartbeat="50ms") as cluster:
        wanted = cluster.followers()[0]

        def restart(member, number):
            member.stop()
            member._environment["NORNICDB_CLUSTER_RAFT_PRIORITY"] = number
            member.start()
        restart(wanted, "200")
        leads = wait_for(lambda: cluster.leader() is wanted, 20, "the preferred member as leader")
        checks.check(leads, "one that is started again with a higher priority leads")
        restart(wanted, "0")
        wait_for(lambda: wanted.replication() and wanted.replication()["role"] == "follower" and cluster.leader() is not wanted, 20,
                 "another leader")

        def refused():
            _, answer = cluster.post("/admin/raft/transfer-leadership", {"target": wanted.name}, member=cluster.leader())
            return "has priority 0" in str(answer)
        checks.check(wait_for(refused, 20, "a refusal"), "with 0 it may not, also where it is asked to")
        restart(wanted, "100")
        cluster.wait_until_ready()

        def taken():
            status, _ = cluster.post("/admin/raft/transfer-leadership", {"target": wanted.name}, member=cluster.leader())
            return status == 200
        checks.check(wait_for(taken, 20, "leadership handed over"), "and may again with 100")


def main():
    checks = Checks()
    ledger = Ledger()
    run_scenes(checks, (leaving, priority))
    with RaftCluster(3, election="500ms", heartbeat="50ms") as cluster:
        prepare(cluster.leader())
        with DriverWriters(cluster, ledger, 2, pause=0.01) as writers:
            run_scenes(checks, (by_http, wrong_address, removal, leader_removed, by_procedures, down_to_one), cluster, writers)
        problems = ledger.problems(cluster.leader())
    checks.check(not problems, f"all of {len(ledger.acknowledged)} acknowledged writes are there, once {problems or ''}")
    checks.check(not ledger.errors, f"no client saw an error {ledger.errors[:3] or ''}")
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
