#!/usr/bin/env python3
"""What hot standby costs: the same writes on a standalone server and on a pair, in turns, in one run.

    bench/replication.py [--seconds 5] [--repeat 5] [--sync-mode semi_sync]

Latency: one client's median write, in loopback round trips more than standalone's. CPU: of all members together, for a
write of 64 clients, as a multiple of standalone's; counted over whole runs by the log entries that they left.
The server is build/bench/nornicdb (NORNICDB_BINARY names another). Needs Go for the client.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests"))
sys.path.insert(0, os.path.join(TOP, "bench"))
BUILD = os.path.join(TOP, "build", "bench")
os.environ.setdefault("NORNICDB_BINARY", os.path.join(BUILD, "nornicdb"))
from harness import PASSWORD, USER, HotStandby, Server, free_port  # noqa: E402
from run import build_go  # noqa: E402

ROUND_TRIPS_MORE = 1.5
CPU_TIMES = 1.8


def round_trip_ms(seconds):
    line = subprocess.run([os.path.join(BUILD, "bench/floor"), "-", str(seconds)], capture_output=True, text=True, check=True).stdout
    return json.loads(line)["p50_ms"]


def measure(program, target, members, workload, seconds):
    """One run of a workload against `target`: the client's figures, and CPU of all members for each log entry."""
    index = target.replication()["commit_index"]
    cpu = sum(member.cpu_seconds() for member in members)
    out = subprocess.run([program, "-uri", target.bolt_uri, "-user", USER, "-pass", PASSWORD, "-pid", str(target.pid), "-only", workload,
                          "-seconds", str(seconds), "-repeat", "1", "-loaded", "-warm", "0.5"], capture_output=True, text=True, check=True).stdout
    cpu = sum(member.cpu_seconds() for member in members) - cpu
    writes = target.replication()["commit_index"] - index
    figures = json.loads(out.strip().splitlines()[-1])
    if figures["wrong"] or figures.get("errors"):
        sys.exit(f"{workload}: wrong answers or errors: {figures}")
    return figures["p50_ms"], figures["per_second"], cpu / max(1, writes) * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--sync-mode", default="semi_sync")
    arguments = parser.parse_args()
    program = build_go()
    if program is None:
        sys.exit("this benchmark needs Go")
    alone_ms, pair_ms, alone_cpu, pair_cpu, alone_rate, pair_rate, trips = [], [], [], [], [], [], []
    with Server(bolt_port=free_port(), http_port=free_port()) as alone, HotStandby(sync_mode=arguments.sync_mode) as pair:
        primary, members = pair.primary(), pair.data_members()
        for _ in range(arguments.repeat):
            trips.append(round_trip_ms(1))
            ms, _, _ = measure(program, alone, [alone], "write1_raw", arguments.seconds)
            alone_ms.append(ms)
            ms, _, _ = measure(program, primary, members, "write1_raw", arguments.seconds)
            pair_ms.append(ms)
            _, rate, cpu = measure(program, alone, [alone], "write64_raw", arguments.seconds)
            alone_rate.append(rate)
            alone_cpu.append(cpu)
            _, rate, cpu = measure(program, primary, members, "write64_raw", arguments.seconds)
            pair_rate.append(rate)
            pair_cpu.append(cpu)
            print(f"round trip {trips[-1]:.3f} ms; one client: alone {alone_ms[-1]:.3f} ms, pair {pair_ms[-1]:.3f} ms; 64 clients: alone "
                  f"{alone_rate[-1]:,.0f}/s, {alone_cpu[-1]:.1f} µs; pair {pair_rate[-1]:,.0f}/s, {pair_cpu[-1]:.1f} µs", flush=True)
    trip, more = statistics.median(trips), statistics.median(pair_ms) - statistics.median(alone_ms)
    times = statistics.median(pair_cpu) / statistics.median(alone_cpu)
    for ok, line in ((more / trip <= ROUND_TRIPS_MORE, f"one client's write takes {more:+.3f} ms, {more / trip:+.2f} round trips of {trip:.3f} ms, more than "
                      f"standalone's {statistics.median(alone_ms):.3f} ms (at most {ROUND_TRIPS_MORE})"),
                     (times <= CPU_TIMES, f"a write of 64 clients costs {times:.2f} × the CPU of standalone's, both members together (at most {CPU_TIMES})")):
        print(("met     " if ok else "NOT MET ") + line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
