#!/usr/bin/env python3
"""HTTP administration against real members of each mode: probes of load balancers, Neo4j's endpoints, who led when and why, and every
answer against docs/openapi.json.

Environment: NORNICDB_ONLY=standalone,hot_standby,raft,multi_region picks modes.
"""
import json
import os
import sys
import urllib.request
from datetime import datetime, timezone

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, HotStandby, MultiRegion, RaftCluster, Server, run_scenes, wait_for  # noqa: E402
from openapi import OpenApi  # noqa: E402

API = OpenApi()
READS = ["/", "/health", "/live", "/ready", "/leader", "/primary", "/replica", "/metrics", "/openapi.json", "/admin/cluster/status",
         "/admin/cluster/history", "/admin/replication/lag", "/admin/wal/position", "/admin/raft/state", "/admin/region/status",
         "/info/peers", "/dbms/cluster/status", "/db/neo4j/cluster/writable", "/db/neo4j/cluster/read-only",
         "/db/neo4j/cluster/available", "/db/neo4j/cluster/status", "/db/manage/server/causalclustering/writable",
         "/db/manage/server/causalclustering/read-only", "/db/manage/server/causalclustering/available",
         "/db/manage/server/causalclustering/status"]


def ask(checks, member, method, path, body=None):
    """Status and body; checks them against the document, silently where they fit."""
    status, answer = member.http(method, path, body, seconds=30)
    found = API.problems(method, path, status, answer)
    if found:
        checks.check(False, "; ".join(found[:4]))
    return status, answer


def all_reads(checks, member, what):
    failed = checks.failed
    for path in READS:
        ask(checks, member, "GET", path)
    checks.check(checks.failed == failed, f"{what}: {len(READS)} paths answer as docs/openapi.json says")


def probes(member):
    """What load balancers see: the paths that answer 200."""
    return {path for path in ("/live", "/ready", "/leader", "/primary", "/replica") if member.http("GET", path)[0] == 200}


LEADS = {"/live", "/ready", "/leader", "/primary"}
FOLLOWS = {"/live", "/ready", "/replica"}


def come_to_be(checks, condition, what):
    """A busy machine may make a member fall silent for a moment."""
    try:
        checks.check(wait_for(condition, 20), what)
    except TimeoutError:
        checks.check(False, what)


def words(member, database="neo4j"):
    """Neo4j's three endpoints: {name: (status, body)}."""
    return {name: member.http("GET", f"/db/{database}/cluster/{name}") for name in ("writable", "read-only", "available")}


WRITER = {"writable": (200, True), "read-only": (404, False), "available": (200, True)}
READER = {"writable": (404, False), "read-only": (200, True), "available": (200, True)}


def history(checks, member):
    return ask(checks, member, "GET", "/admin/cluster/history")[1]


def is_recent(text):
    then = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    return abs((datetime.now(timezone.utc) - then).total_seconds()) < 120


def standalone(checks):
    with Server() as server:
        all_reads(checks, server, "standalone")
        with urllib.request.urlopen(server.http_url + "/openapi.json", timeout=10) as answer, open(API.path, "rb") as file:
            checks.check(answer.read() == file.read(), "/openapi.json is docs/openapi.json, byte for byte")
        checks.check(probes(server) == LEADS, "a standalone server is ready, live and takes writes")
        checks.check(words(server) == WRITER, "it is writable to Neo4j's load balancers")
        said = history(checks, server)
        checks.check(said["leader"] == said["node_id"] and is_recent(said["since"]), "it leads since it started")
        status, peers = ask(checks, server, "GET", "/info/peers")
        checks.check(status == 200 and [p["state"] for p in peers] == ["LEADER"], "/info/peers has itself")
        checks.check(ask(checks, server, "GET", "/db/nope/cluster/writable")[0] == 404, "another database is not there")
        for path, body in (("/admin/cluster/add", {"node_id": "x", "address": "y:1"}), ("/admin/cluster/transfer-leadership", {}),
                           ("/admin/raft/step-down", {}), ("/admin/region/promote", {})):
            status, said = ask(checks, server, "POST", path, body)
            checks.check(status in (400, 409), f"{path} is refused with {status} where there are no members")
        checks.check(ask(checks, server, "POST", "/leader")[0] == 405 and ask(checks, server, "GET", "/admin/nope")[0] == 404,
                     "wrong methods and paths are told apart")


def hot_standby(checks):
    with HotStandby(witness=True) as pair:
        primary, standby, witness = pair.primary(), pair.standby(), pair["w"]
        for member, what in ((primary, "primary"), (standby, "standby"), (witness, "witness")):
            all_reads(checks, member, what)
        come_to_be(checks, lambda: probes(primary) == LEADS and probes(standby) == FOLLOWS and probes(witness) == {"/live", "/ready"},
                   "probes tell primary, standby and witness apart")
        come_to_be(checks, lambda: words(primary) == WRITER and words(standby) == READER, "so do Neo4j's endpoints")
        ask(checks, witness, "POST", "/admin/promote")
        ask(checks, standby, "POST", "/admin/cluster/add", {"node_id": "c", "address": "c:7688"})
        status, said = ask(checks, standby, "POST", "/admin/promote")
        checks.check(status == 200 and said["promoted"] is True, "the standby is promoted")
        pair.wait_until_synced()
        new, old = history(checks, standby), history(checks, primary)
        checks.check(new["leader"] == "b" and new["changes"][0]["to"] == "b" and new["changes"][0]["from"] == "a"
                     and "operator asked" in new["reason"], f"the new primary says why: {new['reason']!r}")
        checks.check(old["changes"][0]["to"] == "b" and "handed over to 'b'" in old["reason"], f"the old one, too: {old['reason']!r}")
        standby.kill()
        said = wait_for(lambda: (h := history(checks, primary))["leader"] == "a" and h, 20, "the failover")
        checks.check("silent" in said["reason"], f"a failover says that the primary was silent: {said['reason']!r}")
        checks.check(any("Leader: 'a' after 'b'" in line and "silent" in line for line in primary.log), "a line of the log says it, too")
        wait_for(lambda: history(checks, witness)["changes"][0]["to"] == "a", 20, "the witness to hear of it")
        status, said = ask(checks, primary, "GET", "/ready")
        checks.check(status in (200, 503), "a primary alone says whether it can work")
        standby.start()
        pair.wait_until_synced()


def kept(member):
    """The changes in its file; none while that is torn."""
    try:
        with open(member.data_dir + "/leaders.json", encoding="utf-8") as file:
            return json.load(file)["changes"]
    except ValueError:
        return []


def over_restarts(checks, cluster, member, leader):
    """Who led before is still known after a restart, and what a crash tore does no harm."""
    before = history(checks, member)
    member.stop()
    member.start()
    cluster.wait_until_ready()
    after = wait_for(lambda: (h := history(checks, member))["leader"] == leader and h, 20, "the member to hear of the leader again")
    old = [change for change in after["changes"] if change["at"] < after["started"]]
    checks.check(old == before["changes"] and len(after["changes"]) > len(old), f"a restart leaves the {len(old)} changes before it in the history")
    checks.check((after["since"], after["reason"]) == (before["since"], before["reason"]), "and who leads since when")
    wait_for(lambda: len(kept(member)) == len(after["changes"]), 10, "what was seen in the file")
    member.kill()
    with open(member.data_dir + "/leaders.json", "r+b") as file:
        file.truncate(os.path.getsize(file.name) // 2)
    member.start()
    cluster.wait_until_ready()
    said = history(checks, member)
    checks.check(said["leader"] == leader and all(change["at"] >= said["started"] for change in said["changes"])
                 and any("leaders.json' is damaged" in line for line in member.log), "a torn file is left out with a line of the log")
    wait_for(lambda: len(kept(member)) == len(said["changes"]), 10, "the file to be whole again")


def raft(checks):
    with RaftCluster(3, witness=True) as cluster:
        leader = cluster.leader()
        follower = cluster.followers()[0]
        for member, what in ((leader, "leader"), (follower, "follower"), (cluster["witness-1"], "witness of a group")):
            all_reads(checks, member, what)
        come_to_be(checks, lambda: probes(leader) == LEADS and probes(follower) == FOLLOWS, "probes tell leader and follower apart")
        come_to_be(checks, lambda: words(leader) == WRITER and words(follower) == READER, "so do Neo4j's endpoints")
        status, said = ask(checks, follower, "GET", "/leader")
        checks.check(status == 503 and said["leader"] == leader.name and said["leader_http_address"] == leader.http_url.removeprefix("http://"),
                     "a follower says where the leader is")
        status, said = ask(checks, follower, "GET", "/db/manage/server/causalclustering/status")
        checks.check(said["leader"] == leader.name and said["memberId"] == follower.name and len(said["votingMembers"]) == 4
                     and said["millisSinceLastLeaderMessage"] < 5000 and said["core"] is said["healthy"] is True,
                     "Neo4j's status of a member")
        first = history(checks, leader)
        checks.check(first["leader"] == leader.name and is_recent(first["since"]), f"the leader knows since when: {first['reason']!r}")
        # Every command, where it is refused and where it is done.
        for path, body in (("/admin/cluster/add", {"node_id": "node-9", "address": "127.0.0.1:1"}), ("/admin/cluster/remove", {"node_id": "x"}),
                           ("/admin/raft/step-down", {})):
            status, said = ask(checks, follower, "POST", path, body)
            checks.check(status == 409 and said["leader_http_address"], f"{path} on a follower names the leader")
        for path, body in (("/admin/cluster/add", {"node_id": "", "address": "?"}), ("/admin/cluster/remove", {"node_id": "nobody"}),
                           ("/admin/cluster/transfer-leadership", {"target": "nobody"}), ("/admin/promote", {"force": "x"})):
            checks.check(ask(checks, leader, "POST", path, body)[0] == 400, f"{path} refuses nonsense with 400")
        checks.check(ask(checks, leader, "POST", "/admin/raft/snapshot")[0] == 200, "a snapshot is written")
        cluster.add("learner-1", role="learner").start()
        status, said = ask(checks, leader, "POST", "/admin/cluster/add",
                           {"node_id": "learner-1", "address": cluster.address("learner-1"), "role": "learner"})
        checks.check(status == 200, f"a learner is added: {said}")
        wait_for(lambda: probes(cluster["learner-1"]) == FOLLOWS, 20, "the learner to follow")
        all_reads(checks, cluster["learner-1"], "learner")
        checks.check(ask(checks, leader, "POST", "/admin/cluster/remove", {"node_id": "learner-1"})[0] == 200, "and removed")
        cluster["learner-1"].kill()
        del cluster.members["learner-1"]
        status, said = ask(checks, follower, "POST", "/admin/transfer-leadership")
        checks.check(status == 409, "a follower has no leadership to hand over")
        target = follower.name
        status, said = ask(checks, leader, "POST", "/admin/raft/transfer-leadership", {"target": target})
        checks.check(status == 200 and said["transferred"] is True, "leadership is handed over")
        cluster.wait_until_ready()
        for member in (m for m in cluster.data_members() if m.name.startswith("node")):
            said = history(checks, member)
            checks.check(said["leader"] == target and said["changes"][0]["from"] == leader.name and target in said["reason"]
                         and "leadership over" in said["reason"], f"{member.name} says why {target} leads: {said['reason']!r}")
        over_restarts(checks, cluster, next(m for m in cluster.data_members() if m.name not in (target, leader.name)), target)
        follower.kill()
        new = cluster.leader(but=follower)
        said = history(checks, new)
        checks.check(said["changes"][0]["from"] == target and ("broke" in said["reason"] or "silent" in said["reason"]),
                     f"after a kill: {said['reason']!r}")
        status, said = ask(checks, new, "POST", "/admin/raft/step-down")
        checks.check(status == 200, "the leader steps down")
        wait_for(lambda: history(checks, new)["changes"][0]["to"] not in (None, new.name), 10, "another leader")
        checks.check("it handed leadership over" in history(checks, new)["reason"], f"and says so: {history(checks, new)['reason']!r}")
        follower.start()
        cluster.wait_until_ready()
        for member in cluster.running():
            if member.name not in (cluster.leader().name, "witness-1"):
                member.kill()
        last = [m for m in cluster.data_members() if m.running()]
        wait_for(lambda: all(m.http("GET", "/leader")[0] == 503 for m in last), 20, "the leader to notice")
        for member in last:
            all_reads(checks, member, "without a majority")
            come_to_be(checks, lambda m=member: probes(m) == {"/live"}, "without a majority a member lives and is nothing else")
            said = history(checks, member)
            checks.check(said["leader"] is None and is_recent(said["since"]) and "majority" in said["reason"] and said["changes"][0]["to"] is None, f"nobody leads, and it says since when and why: {said['reason']!r}")


def multi_region(checks):
    with MultiRegion(("east", "west"), 1) as world:
        east, west = world["east"].leader(), world["west"].leader()
        for member, what in ((east, "east"), (west, "west")):
            all_reads(checks, member, f"region {what}")
        come_to_be(checks, lambda: probes(east) == LEADS and probes(west) == LEADS, "each region's leader takes writes")
        status, said = ask(checks, west, "POST", "/admin/region/promote")
        checks.check(status == 200 and said["promoted"] is True, "a region is promoted")
        wait_for(lambda: world.status("east")["primary"] == "west", 20, "the other to hear of it")
        status, said = ask(checks, east, "GET", "/admin/region/status")
        checks.check(status == 200 and next(r for r in said["regions"] if r["name"] == "west")["leader_http_address"], "it names the other's leader")
        checks.check(ask(checks, west, "POST", "/admin/region/drop", {"region": "east"})[0] == 400, "a drop wants the name twice")


def main():
    checks = Checks()
    if run_scenes(checks, (standalone, hot_standby, raft, multi_region)):
        missing = API.operations() - {(method, template) for method, template, _ in API.seen}
        missing -= {operation for operation in missing if "/query/" in operation[1]}  # The drivers' suites and tests/http have these.
        checks.check(not missing, f"every operation of the document was met{': not ' + str(sorted(missing)) if missing else ''}")
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
