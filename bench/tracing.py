#!/usr/bin/env python3
"""What tracing costs: standalone servers without it, with a collector that is down, and with one that is slow.

    bench/tracing.py [--rounds 7] [--turns 8] [--seconds 0.4] [--only point64_raw,write64_raw,write1_raw]
    bench/tracing.py --instructions 500

Each is asked for everything to be traced (OTEL_TRACES_SAMPLER_ARG=1, the default); wanted is at least 0.98 of the throughput without tracing.

The first form compares many short turns, since neighbours take more than 2 % of a machine from one second to the next: in each turn all servers
run the workload one after the other, in changing order, and what is compared is the CPU time (user and system, to the nanosecond) an operation
costs the server, with that of the same turn without tracing. One process differs from another of the same program by some percent, for as long
as it runs (where its memory lies), so the servers are started anew for each round, and beside the three runs a fourth, again without tracing: its
ratio shows what the measurement cannot tell from nothing. Printed is the median of all turns' ratios, and between which values it is with 95 %;
that follows from the ranks of the rounds' medians alone, without an assumption about the noise. Throughput is printed likewise. Needs Go for the
client.

The second counts instead: instructions in user space of so many statements of one client, under valgrind's callgrind, less those of the
server when idle, the median of seven rounds. That has little noise, and leaves out what the kernel and the caches do. Needs valgrind and strip.

The server is build/bench/nornicdb (NORNICDB_BINARY names another).
"""
import argparse
import glob
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from run import build_go, figures_of  # First: it says where the rest is.
from harness import Server, binary, free_port, wait_for, work_folder
from otlp import Collector
from raft import load_points
from raw_bolt import Connection

WANTED = 0.98
ROUNDS = 7
RING = 8192  # Spans that wait at most (docs/tracing.md): full, before anything is measured.
STATEMENTS = {"point": ("MATCH (p:P {id: $id}) RETURN p.v", lambda n: {"id": n % 1000}),
              "write": ("CREATE (:W {id: $id, v: 'value'})", lambda n: {"id": n})}


def interval(values):
    """Median, and the values between which it is with 95 %: those at the ranks that a fair coin leaves out in 2.5 % on either side."""
    values, n = sorted(values), len(values)
    below, low = 0.5 ** n, 0
    while below + math.comb(n, low + 1) * 0.5 ** n <= 0.025:
        low += 1
        below += math.comb(n, low) * 0.5 ** n
    return statistics.median(values), values[low], values[n - 1 - low]


def environments(slow):
    return {"off": {}, "down": {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"},
            "slow": {"OTEL_EXPORTER_OTLP_ENDPOINT": slow.endpoint}}


def fill_ring(server):
    """Until no trace is begun for want of room."""
    with Connection(server.bolt_port) as connection:
        def full():
            for _ in range(RING // 20):
                connection.run("RETURN 1")
            return server.metric("nornicdb_traces_dropped_total") > 0
        wait_for(full, 600, "a ring that is full")


def by_turns(arguments, slow):
    program = build_go()
    if program is None:
        sys.exit("this benchmark needs Go")
    workloads = arguments.only.split(",")
    found = {}  # {(workload, kind, what): [a list of ratios for each round]}
    used = {}   # {(workload, kind): CPU time an operation}
    for number in range(arguments.rounds):
        kinds = {**environments(slow), "again": {}}
        servers = {kind: Server(bolt_port=free_port(), environment=kinds[kind]).start() for kind in sorted(kinds, reverse=number % 2 == 1)}
        try:
            for kind, server in servers.items():
                load_points(server)
                if "OTEL_EXPORTER_OTLP_ENDPOINT" in kinds[kind]:
                    fill_ring(server)
            for workload in workloads:
                for turn in range(arguments.turns):
                    order = list(servers)[turn % 4:] + list(servers)[:turn % 4]
                    seen = {kind: figures_of(program, servers[kind], str(servers[kind].pid), workload, arguments.seconds, 0.1) for kind in order}
                    for kind, figures in seen.items():
                        used.setdefault((workload, kind), []).append(figures["server_cpu_us"])
                        for what in ("server_cpu_us", "per_second"):
                            rounds = found.setdefault((workload, kind, what), [])
                            if len(rounds) == number:
                                rounds.append([])
                            rounds[number].append(figures[what] / seen["off"][what])
        finally:
            for server in servers.values():
                server.__exit__(None, None, None)
        print(f"  round {number + 1} of {arguments.rounds}", flush=True)
    ok = True
    for workload in workloads:
        for kind in ("again", "down", "slow"):
            told = {}
            for what in ("server_cpu_us", "per_second"):
                rounds = found[workload, kind, what]
                _, low, high = interval([statistics.median(ratios) for ratios in rounds])
                told[what] = [round(v, 4) for v in (statistics.median(r for ratios in rounds for r in ratios), low, high)]
            if kind != "again":
                ok = ok and told["server_cpu_us"][0] <= 1 / WANTED
            print(json.dumps({"workload": workload, "collector": kind, "cpu_ratio": told["server_cpu_us"], "throughput_ratio": told["per_second"],
                              "cpu_us": round(statistics.median(used[workload, kind]), 2),
                              "cpu_us_off": round(statistics.median(used[workload, "off"]), 2)}), flush=True)
    return ok


class Counted:
    """A server under callgrind, and the instructions that a piece of work costs it."""

    def __init__(self, environment):
        self._folder = tempfile.mkdtemp(prefix="callgrind-", dir=work_folder())
        self.server = Server(bolt_port=free_port(), environment=environment, start_seconds=120)
        # Valgrind stumbles over the debug information of later compilers than itself, and counts without it.
        self.server.binary = os.path.join(self._folder, "nornicdb")
        subprocess.run(["strip", "-o", self.server.binary, binary()], check=True)
        self.server.prefix = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={self._folder}/out", "--"]

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *_):
        self.server.__exit__(None, None, None)
        shutil.rmtree(self._folder, ignore_errors=True)

    def of(self, work):
        """Instructions and seconds."""
        self._control("-z")
        began = time.monotonic()
        work()
        seconds = time.monotonic() - began
        for old in glob.glob(f"{self._folder}/out.*"):
            shutil.move(old, old.replace("/out.", "/old."))
        self._control("-d")
        dump = wait_for(lambda: glob.glob(f"{self._folder}/out.*"), 60, "a dump of callgrind")
        with open(dump[0], encoding="utf-8", errors="replace") as file:
            return int(re.search(r"^(?:totals|summary): (\d+)", file.read(), re.MULTILINE).group(1)), seconds

    def _control(self, what):
        subprocess.run(["callgrind_control", what, str(self.server.pid)], check=True, capture_output=True, timeout=60)


def by_instructions(arguments, slow):
    if not shutil.which("valgrind"):
        sys.exit("this measurement needs valgrind")
    counts = {}
    for kind, environment in environments(slow).items():
        with Counted(environment) as counted, Connection(counted.server.bolt_port, timeout=120) as connection:
            connection.run("CREATE INDEX FOR (n:P) ON (n.id)")
            connection.run("UNWIND range(0, 999) AS i CREATE (:P {id: i, v: 'value-' + toString(i)})")
            connection.run("CALL db.awaitIndexes(300)")
            if kind != "off":
                fill_ring(counted.server)
            for name, (text, parameters) in STATEMENTS.items():
                def work(count, text=text, parameters=parameters):
                    for n in range(count):
                        connection.run(text, parameters(n))
                work(200)
                idle, idle_seconds = counted.of(lambda: time.sleep(3))
                rounds = []
                for _ in range(ROUNDS):  # What only now and then comes, such as a checkpoint, is in none of the median's.
                    busy, seconds = counted.of(lambda: work(arguments.instructions))
                    rounds.append((busy - idle / idle_seconds * seconds) / arguments.instructions)
                counts[kind, name] = statistics.median(rounds)
                print(f"  {name}, {kind}: {sorted(round(r) for r in rounds)}", flush=True)
    ok = True
    for name in STATEMENTS:
        for kind in ("down", "slow"):
            ratio = counts[kind, name] / counts["off", name]
            ok = ok and ratio <= 1 / WANTED
            print(json.dumps({"statement": name, "collector": kind, "instructions": round(counts[kind, name]),
                              "instructions_off": round(counts["off", name]), "ratio": round(ratio, 4)}), flush=True)
    return ok


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--only", default="point64_raw,write64_raw,write1_raw")
    parser.add_argument("--instructions", type=int, metavar="STATEMENTS", help="count instead of measuring")
    arguments = parser.parse_args()
    with Collector() as slow:
        slow.delay = 10
        return 0 if (by_instructions if arguments.instructions else by_turns)(arguments, slow) else 1


if __name__ == "__main__":
    sys.exit(main())
