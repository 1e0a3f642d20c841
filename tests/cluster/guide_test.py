#!/usr/bin/env python3
"""The clustering guide in the order of its pages, against real clusters of each mode: what it starts, every command, endpoint, metric and
recipe, and what it says will be seen.

Commands are run as the page has them, by bash with curl and jq, with the ports of this test and a password in them. Containers are processes
here: `docker stop` is SIGTERM, `docker restart` stop and start, `docker logs` the process's output. Where this server deliberately needs a
step that the page lacks, the check says so.

Environment: NORNICDB_ONLY=hot_standby,raft,multi_region picks modes.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, HotStandby, MultiRegion, PASSWORD, RaftCluster, Server, ServerFailed, USER, binary, free_port, run_scenes, wait_for, work_folder  # noqa: E402
from raw_bolt import Connection  # noqa: E402
from tls_common import cluster_tls, have_openssl, make_certificates  # noqa: E402

# The guide's clients write wherever they are connected.
FORWARD = {"NORNICDB_FOLLOWER_WRITES": "forward"}


class Page:
    """Runs the page's command lines: `hosts` says which member its "localhost:7475" or "eu-west-node1:7474" is."""

    def __init__(self, checks, hosts):
        self._checks, self._hosts = checks, hosts

    def run(self, command):
        """Exit status and output."""
        def real(match):
            return self._hosts[match.group(1)].http_url
        line = re.sub(r"http://([\w.-]+:\d+)", real, command)
        line = re.sub(r"\bcurl\b(?: -s\b)?", f"curl -sS -m 20 -u {USER}:{PASSWORD}", line)
        done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout

    def json(self, command):
        code, out = self.run(command)
        try:
            return json.loads(out)
        except ValueError:
            self._checks.check(False, f"`{command}` ends with {code} and no JSON: {out[:200]!r}")
            return {}

    def shows(self, command, fields, what=None):
        """The answer has these fields with these values (a type: of that kind; a function: which holds)."""
        said = self.json(command)
        wrong = list(differences(fields, said, "$"))
        self._checks.check(not wrong, f"`{command}` {what or 'gives what the page shows'}{': ' + '; '.join(wrong) if wrong else ''}")
        return said


def differences(wanted, got, at):
    if isinstance(wanted, dict):
        if not isinstance(got, dict):
            yield f"{at} is {got!r}"
            return
        for name, value in wanted.items():
            if name not in got:
                yield f"{at}.{name} is missing"
            else:
                yield from differences(value, got[name], f"{at}.{name}")
    elif isinstance(wanted, list):
        if not isinstance(got, list) or len(got) != len(wanted):
            yield f"{at} is {got!r}"
            return
        for number, (one, other) in enumerate(zip(wanted, got)):
            yield from differences(one, other, f"{at}[{number}]")
    elif isinstance(wanted, type):
        if not isinstance(got, wanted):
            yield f"{at} is {got!r}, no {wanted.__name__}"
    elif callable(wanted):
        if not wanted(got):
            yield f"{at} is {got!r}"
    elif got != wanted:
        yield f"{at} is {got!r}, not {wanted!r}"


def metrics(checks, page, host, lines):
    """The page's lines: name and labels are there, and a value that is written stands there, too."""
    _, text = page.run(f"curl http://{host}/metrics")
    have = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    missing = []
    for line in lines:
        name, _, value = line.partition(" ")
        if name not in have and not any(known.startswith(name + "{") for known in have):
            missing.append(name)
        elif value and float(have.get(name, "nan")) != float(value):
            missing.append(f"{name} is {have.get(name)}, not {value}")
    checks.check(not missing, f"/metrics has {', '.join(line.split('{')[0].split(' ')[0] for line in lines)}{': ' + str(missing) if missing else ''}")


REFERENCE = ["nornicdb_replication_lag_seconds", "nornicdb_cluster_leader_changes_total", "nornicdb_wal_position", "nornicdb_peer_healthy",
             "nornicdb_replication_bytes_total"]


def write(member, query="CREATE (n:Person {name: $name})", name="Alice"):
    with Connection(member.bolt_port, timeout=30) as connection:
        connection.run(query, {"name": name})


def people(member):
    with Connection(member.bolt_port, timeout=30) as connection:
        return connection.run("MATCH (n:Person) RETURN count(n)", None, mode="r").rows[0][0]


def debugging(checks, page, host, leader, raft=True):
    """"Debugging Commands", in the page's order; what changes who leads comes last."""
    page.shows(f"curl http://{host}/admin/cluster/status | jq", {"leader": {"id": leader}})
    if raft:
        page.shows(f"curl http://{host}/admin/raft/state | jq", {"role": str, "term": int, "commit_index": int, "voters": list})
    page.shows(f"curl http://{host}/admin/replication/lag", {"lag_seconds": lambda s: s < 5, "members": list})
    page.shows(f"curl http://{host}/admin/wal/position", {"last_index": int, "commit_index": int, "applied_index": int})


def hot_standby(checks):
    environment = {**FORWARD, "NORNICDB_CLUSTER_HA_AUTO_FAILOVER": "true", "NORNICDB_CLUSTER_HA_WAL_BATCH_SIZE": "5000",
                   "NORNICDB_LOG_LEVEL": "debug", "NORNICDB_CLUSTER_DEBUG": "true"}
    with HotStandby(environment=environment, failover="2s") as pair:
        primary, standby = pair["a"], pair["b"]
        page = Page(checks, {"localhost:7474": primary, "localhost:7475": standby})
        # Docker health checks
        checks.check(page.run("curl -f http://localhost:7474/health")[0] == 0 and page.run("curl -f http://localhost:7475/health")[0] == 0,
                     "the health check passes on both")
        page.shows("curl http://localhost:7474/health",
                   {"status": "healthy", "replication": {"mode": "ha_standby", "node_id": "a", "role": "primary", "is_leader": True, "state": "ready",
                                                         "commit_index": int, "applied_index": int,
                                                         "peers": [{"id": "b", "address": str, "healthy": True}]}})
        page.shows("curl http://localhost:7475/health", {"replication": {"role": "standby", "is_leader": False}})
        # Client connection
        write(primary)
        write(standby)
        wait_for(lambda: people(standby) == 2, 10, "the standby to have both")
        checks.check(people(primary) == 2, "writes through either member are on both")
        metrics(checks, page, "localhost:7474",
                ['nornicdb_replication_mode{mode="ha_standby"} 1', "nornicdb_replication_is_leader 1", "nornicdb_replication_commit_index",
                 "nornicdb_replication_applied_index", "nornicdb_replication_lag_seconds", 'nornicdb_replication_peer_healthy{peer="b"} 1'])
        metrics(checks, page, "localhost:7475", ["nornicdb_replication_is_leader 0", *REFERENCE])
        debugging(checks, page, "localhost:7474", "a", raft=False)
        # Manual failover
        page.shows("curl -X POST http://localhost:7475/admin/promote", {"promoted": True})
        pair.wait_until_synced()
        page.shows("curl http://localhost:7475/health", {"replication": {"role": "primary", "is_leader": True}}, "is the primary now")
        page.shows("curl -X POST http://localhost:7474/admin/promote", {"promoted": True}, "hands it back")
        pair.wait_until_synced()
        # …or via environment variable on restart
        standby.stop()
        standby._environment["NORNICDB_CLUSTER_HA_ROLE"] = "primary"
        standby.start()
        wait_for(lambda: (standby.replication() or {}).get("role") == "primary", 20, "the restarted one to lead")
        checks.check(True, "a standby that is restarted with NORNICDB_CLUSTER_HA_ROLE=primary is the primary")
        pair.wait_until_synced()
        primary, standby = standby, primary
        page = Page(checks, {"localhost:7474": primary, "localhost:7475": standby})
        # Failover operations: manual
        checks.check(primary.stop() == 0, "1. the primary stops gracefully")
        page.shows("curl -X POST http://localhost:7475/admin/promote", {"promoted": True}, "2. the standby is promoted")
        write(standby)
        primary.start()
        wait_for(lambda: (primary.replication() or {}).get("role") == "standby", 20, "the old primary to follow")
        checks.check(True, "4. the old primary detects that it is no longer the primary")
        pair.wait_until_synced()
        # Automatic
        standby.kill()
        wait_for(lambda: (primary.replication() or {}).get("is_leader"), 20, "the failover")
        write(primary)
        checks.check(people(primary) == 4, "a standby promotes itself after FAILOVER_TIMEOUT, and nothing is lost")
        # Troubleshooting
        checks.check(any(re.search("failover|promot", line, re.I) for line in primary.log), "`logs | grep -i failover` finds why")
        checks.check(any("debug" in line.lower() for line in primary.log), "NORNICDB_LOG_LEVEL=debug and NORNICDB_CLUSTER_DEBUG=true say more")
        standby.start()
        pair.wait_until_synced()
        code, out = page.run("curl http://localhost:7474/metrics | grep lag")
        checks.check(code == 0 and "nornicdb_replication_lag_seconds 0" in out, "`metrics | grep lag`")
    for mode in ("async", "sync"):
        with HotStandby(sync_mode=mode, environment=FORWARD) as pair:
            write(pair.primary())
            checks.check(pair["a"].replication()["sync_mode"] == mode, f"sync mode {mode}")
    with HotStandby(environment={"NORNICDB_CLUSTER_HA_AUTO_FAILOVER": "false"}) as pair:
        pair["a"].kill()
        wait_for(lambda: pair["b"].replication()["state"] == "primary_silent", 20, "the standby to notice")
        page = Page(checks, {"localhost:7475": pair["b"]})
        checks.check(wait_for(lambda: "AUTO_FAILOVER is false" in pair["b"].replication()["reason"], 10, "the reason"),
                     "without AUTO_FAILOVER it says that it waits for an operator")
        page.shows("curl -X POST http://localhost:7475/admin/promote", {"promoted": True}, "is the way on")


RAFT_SETTINGS = {**FORWARD, "NORNICDB_CLUSTER_RAFT_CLUSTER_ID": "my-cluster", "NORNICDB_CLUSTER_RAFT_SNAPSHOT_INTERVAL": "300",
                 "NORNICDB_CLUSTER_RAFT_SNAPSHOT_THRESHOLD": "10000", "NORNICDB_CLUSTER_RAFT_TRAILING_LOGS": "10000",
                 "NORNICDB_CLUSTER_RAFT_MAX_APPEND_ENTRIES": "64"}


def raft(checks):
    with RaftCluster(3, environment=RAFT_SETTINGS) as cluster:
        nodes = [cluster[f"node-{n}"] for n in (1, 2, 3)]
        page = Page(checks, {f"localhost:{7473 + n}": node for n, node in enumerate(nodes, 1)})
        leader = cluster.leader()
        other = [m.name for m in nodes if m is not leader]
        at = f"localhost:{7474 + nodes.index(leader)}"
        page.shows("curl http://localhost:7474/admin/cluster/status",
                   {"cluster_id": "my-cluster", "mode": "raft", "leader": {"id": leader.name, "address": cluster.address(leader.name)},
                    "members": [{"id": m.name, "address": cluster.address(m.name), "state": "leader" if m is leader else "follower", "healthy": True}
                                for m in nodes],
                    "commit_index": int, "term": int})
        page.shows(f"curl http://{at}/health",
                   {"status": "healthy", "replication": {"mode": "raft", "node_id": leader.name, "role": "leader", "is_leader": True, "state": "ready",
                                                         "commit_index": int, "applied_index": int,
                                                         "peers": lambda p: sorted(x["id"] for x in p if x["healthy"]) == other}})
        for node in nodes:
            write(node)
        wait_for(lambda: {people(node) for node in nodes} == {3}, 10, "all to have all")
        checks.check(True, "writes through any member are on all")
        metrics(checks, page, at,
                ['nornicdb_replication_mode{mode="raft"} 1', "nornicdb_replication_is_leader 1", "nornicdb_replication_commit_index",
                 "nornicdb_replication_applied_index", "nornicdb_replication_lag_seconds", "nornicdb_raft_term",
                 *(f'nornicdb_replication_peer_healthy{{peer="{name}"}} 1' for name in other), *REFERENCE])
        # Adding/removing nodes, run on the leader
        cluster.add("node-4").start()
        page.shows(f"curl -X POST http://{at}/admin/cluster/add -H \"Content-Type: application/json\" "
                   f"-d '{{\"node_id\": \"node-4\", \"address\": \"{cluster.address('node-4')}\"}}'", {"added": True})
        wait_for(lambda: cluster.roles().get("node-4") == "follower", 20, "node-4 to vote")
        page.shows(f"curl -X POST http://{at}/admin/cluster/remove -H \"Content-Type: application/json\" -d '{{\"node_id\": \"node-4\"}}'",
                   {"removed": True})
        wait_for(lambda: "node-4" not in cluster.roles(), 20, "node-4 to be gone")
        cluster["node-4"].kill()
        del cluster.members["node-4"]
        # Raft failover
        page.shows(f"curl http://{at}/admin/cluster/status | jq '.leader'", {"id": leader.name})
        page.shows(f"curl -X POST http://{at}/admin/cluster/transfer-leadership", {"transferred": True})
        new = cluster.leader(but=leader)
        checks.check(new is not leader, "another one leads")
        cluster.wait_until_ready()
        # Troubleshooting: cluster won't form, split-brain, lag
        checks.check(not any(" error " in line.lower() for node in nodes for line in node.log), "`logs | grep -i error` finds nothing")
        code, out = page.run("for port in 7474 7475 7476; do\n  echo \"Node on port $port:\"\n"
                             + "".join(f"  [ $port = {7473 + n} ] && curl http://localhost:{7473 + n}/health | jq '.replication'\n" for n in (1, 2, 3))
                             + "done; true")
        checks.check(code == 0 and out.count('"is_leader": true') == 1, "one of three says that it leads")
        new.stop()
        new.start()
        cluster.wait_until_ready()
        checks.check(True, "a restart of the leader makes another one lead, and it comes back")
        debugging(checks, page, "localhost:7474", cluster.leader().name)
        at = f"localhost:{7474 + nodes.index(cluster.leader())}"
        page.shows(f"curl -X POST http://{at}/admin/raft/step-down", {"stepped_down": True})
        cluster.wait_until_ready()
        leader = cluster.leader()
        at = f"localhost:{7474 + nodes.index(leader)}"
        target = next(m.name for m in nodes if m is not leader)
        page.shows(f"curl -X POST http://{at}/admin/raft/transfer-leadership -H \"Content-Type: application/json\" -d '{{\"target\": \"{target}\"}}'",
                   {"transferred": True})
        cluster.wait_until_ready()
        checks.check(cluster.leader().name == target, f"{target} leads")
        page.shows("curl -X POST http://localhost:7474/admin/raft/snapshot", {"snapshot": True})
        # Recovering from complete cluster loss
        for node in nodes:
            node.kill()
        nodes[0].start()
        time.sleep(1.5)  # The page waits for a leader here. One of three must not be one; it says so.
        checks.check(nodes[0].replication()["state"] == "no_quorum", "one of three does not lead alone")
        nodes[1].start()
        nodes[2].start()
        cluster.wait_until_ready()
        page.shows("curl http://localhost:7474/admin/cluster/status", {"leader": {"id": str}, "members": lambda m: all(x["healthy"] for x in m)},
                   "is healthy after a complete loss")
        checks.check({people(node) for node in nodes} == {3}, "and has everything")
        # Restoring from backup
        backup = nodes[0].data_dir + ".backup.tar.gz"
        for node in nodes:
            node.stop()
        subprocess.run(["tar", "-czf", backup, "-C", nodes[0].data_dir, "."], check=True)
        cluster.start()
        cluster.wait_until_ready()
        write(cluster.leader(), name="after the backup")
        for node in nodes:
            node.stop()
            shutil.rmtree(node.data_dir)
            os.makedirs(node.data_dir)
        subprocess.run(["tar", "-xzf", backup, "-C", nodes[0].data_dir], check=True)
        os.unlink(backup)
        # Two of three disks are new: that is a lost majority, of which nobody can tell whether it acknowledged more than the backup
        # has. As the page has it, the cluster says so and waits; one line more says that the backup is meant.
        cluster.start()
        said = wait_for(lambda: (r := nodes[0].replication())["state"] == "no_quorum" and "lost their disks" in r["reason"] and r, 10,
                        "the restored member's word")
        checks.check("recover" in said["how_to"], f"4. restored as on the page, it does not lead, and says why and how it would: {said['reason']}")
        for node in nodes:
            node.stop()
        for node in nodes[1:]:
            node.wipe()
        unbound = subprocess.run([binary(), "unbind", "--yes", "--data-dir", nodes[0].data_dir], capture_output=True, text=True, check=False)
        checks.check(unbound.returncode == 0, f"2a. not on the page: nornicdb unbind {unbound.stdout if unbound.returncode else ''}")
        cluster.start()
        cluster.wait_until_ready()
        wait_for(lambda: {people(node) for node in nodes} == {3}, 20, "all to have the backup")
        checks.check(True, "a backup is restored on the bootstrap node and the others get it")
    with tempfile.TemporaryDirectory(dir=work_folder()) as folder:
        if not have_openssl():
            checks.skip("no openssl to make certificates with")
        else:
            make_certificates(folder)
            with RaftCluster(3, environment={**RAFT_SETTINGS, **cluster_tls(folder, "good"), "NORNICDB_CLUSTER_REPLICATION_SECRET": ""}) as cluster:
                write(cluster.leader())
                said = cluster.status()
                checks.check(said["tls"] is True and said["cluster_auth"] != "none", f"TLS between the members, as the page sets it: {said['cluster_auth']}")
    for settings, words in (({"ELECTION_TIMEOUT": "150ms", "HEARTBEAT_TIMEOUT": "100ms"}, "2 ×"), ({"PEERS": "x"}, "RAFT_PEERS")):
        member = Server(environment={"NORNICDB_CLUSTER_MODE": "raft", "NORNICDB_CLUSTER_BIND_ADDR": f"127.0.0.1:{free_port()}",
                                     **{f"NORNICDB_CLUSTER_RAFT_{name}": value for name, value in settings.items()}})
        try:
            with member:
                checks.check(False, f"{settings} starts")
        except ServerFailed as refused:
            checks.check("NORNICDB_CLUSTER_RAFT" in str(refused), f"{settings} is refused with a line that says why ({words})")


def multi_region(checks):
    with MultiRegion(("us-east", "eu-west"), 3, environment={
            **FORWARD, "NORNICDB_CLUSTER_CROSS_REGION_MODE": "async", "NORNICDB_CLUSTER_CONFLICT_STRATEGY": "last_write_wins"}) as world:
        east, west = world["us-east"], world["eu-west"]
        page = Page(checks, {"localhost:7474": east["us-east-1"], "eu-west-node1:7474": west.leader()})
        page.shows("curl http://localhost:7474/health", {"status": "healthy", "replication": {"mode": "multi_region", "state": "ready",
                                                                                              "peers": lambda p: len(p) == 2}})
        page.shows("curl http://localhost:7474/admin/cluster/status",
                   {"mode": "multi_region", "leader": {"id": str, "address": str}, "members": lambda m: len(m) == 3, "term": int})
        metrics(checks, page, "localhost:7474", ['nornicdb_replication_mode{mode="multi_region"} 1', "nornicdb_raft_term", *REFERENCE])
        write(east.leader(), name="east")
        write(west.leader(), name="west")
        members = [m for region in (east, west) for m in region.data_members()]
        wait_for(lambda: {people(m) for m in members} == {2}, 20, "both regions to have both")
        checks.check(True, "both regions write, and both have both")
        east.leader().kill()
        write(east.leader(), name="east again")
        checks.check(True, "within a region Raft handles failover")
        wait_for(lambda: all(people(m) == 3 for m in west.data_members()), 20, "the other region to have it")
        page.shows("curl -X POST http://eu-west-node1:7474/admin/region/promote", {"promoted": True})
        wait_for(lambda: world.status("us-east")["primary"] == "eu-west", 20, "the other region to be notified")
        checks.check(world.status("eu-west")["primary"] == "eu-west", "the region is the primary one, and the other knows")
        debugging(checks, page, "eu-west-node1:7474", west.leader().name)
    with MultiRegion(("us-east", "eu-west"), 1, environment={"NORNICDB_CLUSTER_CROSS_REGION_MODE": "semi_sync",
                                                             "NORNICDB_CLUSTER_CONFLICT_STRATEGY": "manual"}) as world:
        write(world["us-east"].leader())
        checks.check(world["us-east"].leader().replication()["cross_region_mode"] == "semi_sync", "semi_sync between regions, manual conflicts")


def main():
    checks = Checks()
    if not shutil.which("curl") or not shutil.which("jq"):
        checks.skip("no curl or no jq, which the guide's commands are")
        return checks.close()
    run_scenes(checks, (hot_standby, raft, multi_region))
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
