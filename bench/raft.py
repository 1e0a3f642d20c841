#!/usr/bin/env python3
"""What three Raft members on one machine cost: writes beside the bare protocol, reads beside a standalone server, in turns.

    bench/raft.py [--seconds 5] [--repeat 3] [--only write,read,forward]

Latency: one client's median write as a multiple of the quorum floor's (bench/floor/quorum_floor.cc). CPU: of all three
members together, per operation, for 64 and 256 clients' writes and 64 clients' linearizable reads on the leader. Causal reads
on a follower are held against a standalone server's. Forwarding: one client's median write on a follower, less that on the leader, in
loopback round trips from core to core (and of one core), all in turns of a few operations (bench/forward). Figures of peers
are in docs/benchmarks.md.
The server is build/bench/nornicdb (NORNICDB_BINARY names another). Needs Go for the client, but for forwarding.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

from run import BUILD, build_go, figures_of  # First: it says where the rest is.
from harness import PASSWORD, USER, RaftCluster, Server, free_port, work_folder
from raw_bolt import Connection

FLOOR_TIMES = 1.3
WRITE_CPU = 75      # µs, 64 clients; hashicorp/raft with raft-wal 80, etcd 195, the floor 13.5 on a quiet machine
READ_CPU = 60       # µs; etcd 61 to 73
STANDALONE_SHARE = 0.9
FORWARD_ROUND_TRIPS = 1.5
POINTS = 100_000


def floor(clients, seconds):
    return json.loads(subprocess.run([os.path.join(BUILD, "bench/quorum_floor"), work_folder(), str(seconds), str(clients)],
                                     capture_output=True, text=True, check=True).stdout)


def forward(leader, follower, seconds):
    where = [f"{member.host}:{member.bolt_port}" for member in (leader, follower)]
    return json.loads(subprocess.run([os.path.join(BUILD, "bench/forward_bench"), *where, USER, PASSWORD, str(seconds)],
                                     capture_output=True, text=True, check=True).stdout)


def measure(program, target, members, workload, seconds):
    pids = ",".join(str(member.pid) for member in members)
    figures = figures_of(program, target, pids, workload, seconds, 1)
    return {"p50_ms": figures["p50_ms"], "p99_ms": figures["p99_ms"], "per_second": figures["per_second"], "cpu_us": figures["server_cpu_us"]}


def load_points(server):
    with Connection(server.bolt_port) as connection:
        connection.run("CREATE INDEX IF NOT EXISTS FOR (n:P) ON (n.id)")
        connection.run("CREATE INDEX IF NOT EXISTS FOR (n:W) ON (n.id)")
        for first in range(0, POINTS, 10_000):
            connection.run("UNWIND range($a, $b) AS i CREATE (:P {id: i, v: 'value-' + toString(i)})", {"a": first, "b": first + 9_999})
        connection.run("CALL db.awaitIndexes(300)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default="write,read,forward")
    arguments = parser.parse_args()
    program = build_go()
    if program is None and arguments.only != "forward":
        sys.exit("this benchmark needs Go")
    rows, hops = {}, []

    def note(name, figures):
        rows.setdefault(name, []).append(figures)
        print(f"  {name:28} {figures['per_second']:10,.0f}/s  p50 {figures['p50_ms']:7.3f}  p99 {figures['p99_ms']:7.3f} ms  "
              f"CPU {figures['cpu_us']:7.1f} µs", flush=True)

    with Server(bolt_port=free_port(), http_port=free_port()) as alone, \
            RaftCluster(3, environment={"NORNICDB_FOLLOWER_WRITES": "forward"}) as cluster:
        leader = cluster.wait_until_ready()
        members, follower = cluster.data_members(), cluster.followers()[0]
        if "read" in arguments.only:
            load_points(alone)
            load_points(leader)
            cluster.wait_until_ready()
        for _ in range(arguments.repeat):
            if "write" in arguments.only:
                for clients in (1, 64, 256):
                    note(f"floor, {clients} clients", floor(clients, arguments.seconds))
                    note(f"raft, {clients} clients", measure(program, leader, members, f"write{clients}_raw", arguments.seconds))
            if "forward" in arguments.only:
                hops.append(forward(leader, follower, arguments.seconds))
                print(f"  {json.dumps(hops[-1])}", flush=True)
                for clients in (1, 64) if program else ():
                    note(f"on the leader, {clients} clients", measure(program, leader, members, f"write{clients}_raw", arguments.seconds))
                    note(f"forwarded, {clients} clients", measure(program, follower, members, f"write{clients}_raw", arguments.seconds))
            if "read" in arguments.only:
                note("linearizable on the leader", measure(program, leader, members, "point64_raw", arguments.seconds))
                note("linearizable, 1 client", measure(program, leader, members, "point1_raw", arguments.seconds))
                note("standalone", measure(program, alone, [alone], "causal64_raw", arguments.seconds))
                note("causal on a follower", measure(program, follower, members, "causal64_raw", arguments.seconds))

    def median(name, key):
        return statistics.median(figures[key] for figures in rows[name])

    print(f"\n{'medians':28} {'per second':>11} {'p50 ms':>8} {'p99 ms':>8} {'CPU µs':>8}")
    for name in rows:
        print(f"{name:28} {median(name, 'per_second'):11,.0f} {median(name, 'p50_ms'):8.3f} {median(name, 'p99_ms'):8.3f} {median(name, 'cpu_us'):8.1f}")
    verdicts = []
    if "write" in arguments.only:
        times = median("raft, 1 clients", "p50_ms") / median("floor, 1 clients", "p50_ms")
        verdicts.append((times <= FLOOR_TIMES, f"one client's write takes {times:.2f} × the floor's (at most {FLOOR_TIMES})"))
        cpu = median("raft, 64 clients", "cpu_us")
        verdicts.append((cpu <= WRITE_CPU, f"a write of 64 clients costs {cpu:.1f} µs of CPU over all members (at most {WRITE_CPU})"))
    if "read" in arguments.only:
        cpu = median("linearizable on the leader", "cpu_us")
        verdicts.append((cpu <= READ_CPU, f"a linearizable read on the leader costs {cpu:.1f} µs of CPU over all members (at most {READ_CPU})"))
        share = median("causal on a follower", "per_second") / median("standalone", "per_second")
        verdicts.append((share >= STANDALONE_SHARE, f"causal reads on a follower: {share:.0%} of a standalone server's rate (at least {STANDALONE_SHARE:.0%})"))
    if "forward" in arguments.only:
        own, passed_on, trip, beside = (statistics.median(hop[key] for hop in hops)
                                        for key in ("own_us", "forwarded_us", "round_trip_us", "same_core_us"))
        more = (passed_on - own) / trip
        verdicts.append((more <= FORWARD_ROUND_TRIPS, f"a forwarded write takes {passed_on:.0f} µs, the leader's own {own:.0f}: {more:.2f} loopback round trips of "
                                                      f"{trip:.1f} µs more (at most {FORWARD_ROUND_TRIPS}; {(passed_on - own) / beside:.1f} of {beside:.1f} µs on one core)"))
    for ok, line in verdicts:
        print(("met     " if ok else "NOT MET ") + line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
