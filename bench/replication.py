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

from run import BUILD, build_go, figures_of  # First: it says where the rest is.
from harness import HotStandby, Server, free_port

ROUND_TRIPS_MORE = 1.5
CPU_TIMES = 1.8


def round_trip_ms(seconds):
    line = subprocess.run([os.path.join(BUILD, "bench/floor"), "-", str(seconds)], capture_output=True, text=True, check=True).stdout
    return json.loads(line)["p50_ms"]


def measure(program, target, members, workload, seconds):
    """One run of a workload against `target`: the client's figures, and CPU of all members for each log entry."""
    index = target.replication()["commit_index"]
    cpu = sum(member.cpu_seconds() for member in members)
    figures = figures_of(program, target, str(target.pid), workload, seconds, 0.5)
    cpu = sum(member.cpu_seconds() for member in members) - cpu
    writes = target.replication()["commit_index"] - index
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
