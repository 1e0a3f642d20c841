#!/usr/bin/env python3
"""Measures the machine's floor, then the server under every workload, and prints a table with the ratios that
matter. All figures of one table come from one run, since machines differ and so do their hours.

    bench/run.py [--only write1_raw,floor,…] [--seconds 5] [--repeat 3] [--micro] [--json FILE] [--peer URI --peer-pid PID]

Neo4j's figures were taken once, on a machine of this kind. With --peer a Neo4j that runs here (empty, without
authentication) does each workload in turns with the server, and the shares are of what that needs: then they hold on a
slow day, too.

The server is build/bench/nornicdb (NORNICDB_BINARY names another), its data lies in build/test-data. The
through-a-driver part needs Go; without it the floor, the start and the memory are measured.
"""
import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests"))
BUILD = os.path.join(TOP, "build", "bench")
os.environ.setdefault("NORNICDB_BINARY", os.path.join(BUILD, "nornicdb"))
from harness import PASSWORD, USER, Server, free_port, go_environment, process_rss, work_folder  # noqa: E402
from raw_bolt import Connection, Disconnected  # noqa: E402

# Server CPU in microseconds an operation or row of Neo4j Community 5.26.30, measured by the same workloads on a machine of
# two cores (docs/benchmarks.md), and the share of it that we allow ourselves.
NEO4J_CPU = {
    "point1": 241, "point64": 187, "point1_raw": 183, "point64_raw": 151, "write1": 433, "write64": 270, "write1_raw": 421,
    "write64_raw": 242, "upd": 1105, "hop3": 947, "agg20k": 8000, "agg100k": 38000, "stream": 2.2, "stream_raw": 1.7,
    "bulk": 6.3, "rels": 17.6,
}
SHARE = {name: 0.5 if name == "hop3" else 0.2 for name in NEO4J_CPU}
FLOOR_SHARE = 0.70
GROUP_COMMIT_GAIN = 5
START_SECONDS = 0.2
IDLE_MIB = 50
STREAM_SECONDS = 1.5


def build_go():
    """The path of the Go program, or None if it cannot be built here."""
    if shutil.which("go") is None:
        return None
    program = os.path.join(TOP, "build/go/bench")
    done = subprocess.run(["go", "build", "-o", program, "."], cwd=os.path.join(TOP, "bench/driver"), env=go_environment(),
                          capture_output=True, text=True)
    if done.returncode != 0:
        print("the Go program cannot be built here: " + " | ".join(done.stderr.strip().splitlines()[-3:]))
        return None
    return program


def figures_of(program, target, pids, workload, seconds, warm):
    """One run of a workload by the Go program against `target`, CPU counted over `pids`; ends the script at a wrong answer."""
    out = subprocess.run([program, "-uri", target.bolt_uri, "-user", USER, "-pass", PASSWORD, "-pid", pids, "-only", workload,
                          "-seconds", str(seconds), "-repeat", "1", "-loaded", "-warm", str(warm)],
                         capture_output=True, text=True, check=True).stdout
    figures = json.loads(out.strip().splitlines()[-1])
    if figures["wrong"] or figures.get("errors"):
        sys.exit(f"{workload}: wrong answers or errors: {figures}")
    return figures


def floor(seconds):
    line = subprocess.run([os.path.join(BUILD, "bench/floor"), work_folder(), str(seconds)], capture_output=True, text=True,
                          check=True).stdout
    return json.loads(line)


def start_to_answer(server):
    """Seconds from the start of the process to its first answered query."""
    server.spawn()
    while True:
        try:
            with Connection(server._wanted_ports["BOLT"], timeout=10) as connection:
                connection.run("RETURN 1")
            return time.monotonic() - server.spawned_at
        except Disconnected:
            if not server.running():
                raise
            time.sleep(0.001)


def of_server(server):
    return ["-uri", server.bolt_uri, "-user", USER, "-pass", PASSWORD, "-pid", str(server.pid)]


def go_bench(program, target, extra, name=""):
    """Runs the Go program; echoes and returns its measurements."""
    command = [program, *target, *extra]
    measurements = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            m = json.loads(line)
            measurements.append(m)
            print(f"  {name}{m['workload']:12} {m['per_second']:12,.0f} {m['unit']}/s  p50 {m['p50_ms']:9.3f} ms  p99 {m['p99_ms']:9.3f} ms  "
                  f"server {m['server_cpu_us']:9.2f} µs each, {m['server_resident_mib']} MiB"
                  + (f"  WRONG {m['wrong']}" if m["wrong"] else "") + (f"  ERRORS {m['errors']}" if m.get("errors") else ""), flush=True)
    if process.returncode != 0:
        print(f"  the Go program ended with status {process.returncode}")
    return measurements


def in_turns(program, server, peer, options, workloads, first, measure_floor):
    """One repetition of each workload by the server and then by the peer; the measurements of both."""
    ours, theirs = [], []
    for number, workload in enumerate(workloads):
        if workload == "write1_raw":
            measure_floor()
        loaded = ["-only", workload, "-repeat", "1", *(["-loaded"] if number or not first else [])]
        ours += go_bench(program, of_server(server), [*options, *loaded, "-warm", "0.5"])
        # Its virtual machine compiles what it has seen often.
        theirs += go_bench(program, peer, [*options, *loaded, "-warm", "8" if first else "2"], "peer ")
    return ours, theirs


def by_workload(measurements):
    rows = {}
    for m in measurements:
        rows.setdefault(m["workload"], []).append(m)
    return rows


def figures(measurements):
    """One line of the table, behind the name."""
    def median(key):
        return statistics.median(m[key] for m in measurements)

    return (f"{median('per_second'):12,.0f} {max(m['per_second'] for m in measurements):12,.0f} {median('p50_ms'):9.3f} "
            f"{median('p99_ms'):9.3f} {median('server_cpu_us'):9.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="comma list of workloads")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--micro", action="store_true", help="the micro-benchmarks too")
    parser.add_argument("--json", help="also write every measurement there")
    parser.add_argument("--peer", metavar="URI", help="a Neo4j on this machine to compare with")
    parser.add_argument("--peer-pid", metavar="PID", help="its process id")
    arguments = parser.parse_args()
    if bool(arguments.peer) != bool(arguments.peer_pid):
        parser.error("--peer and --peer-pid go together")
    peer = ["-uri", arguments.peer, "-pid", arguments.peer_pid] if arguments.peer else None
    chosen = [name for name in arguments.only.split(",") if name]
    program = build_go()

    port = free_port()
    with contextlib.ExitStack() as stack:
        server = Server(bolt_port=port, http_port=free_port())
        stack.push(server)  # Ends it on every way out; start_to_answer() is what starts it.
        empty_start = start_to_answer(server)
        time.sleep(3)
        idle_mib = process_rss(server.pid) / (1 << 20)
        print(f"empty: first answer after {empty_start * 1e3:.0f} ms, idle memory {idle_mib:.1f} MiB")
        measurements, peers, floors = [], [], []

        def measure_floor():
            floors.append(floor(arguments.seconds)["per_second"])
            print(f"floor: {floors[-1]:,.0f} a second")

        if program:
            options = ["-seconds", str(arguments.seconds)]
            only = ["-only", ",".join(chosen)] if chosen else []
            for repetition in range(arguments.repeat):
                # Between repetitions, so that floor and writes see the same minutes of the disk.
                if peer:
                    ours, theirs = in_turns(program, server, peer, options, [w for w in NEO4J_CPU if w in (chosen or NEO4J_CPU)],
                                            not repetition, measure_floor)
                    measurements += ours
                    peers += theirs
                    continue
                if not chosen or "floor" in chosen or "write1_raw" in chosen:
                    measure_floor()
                measurements += go_bench(program, of_server(server), [*options, *only, "-repeat", "1",
                                                                      *(["-loaded", "-warm", "0.5"] if repetition else [])])
        else:
            floors = [floor(arguments.seconds)["per_second"] for _ in range(arguments.repeat)]
        server.stop(120)
        full_start = start_to_answer(server)
        server.kill()
        killed_start = start_to_answer(server)

    rows, peer_rows = by_workload(measurements), by_workload(peers)
    rate = {name: statistics.median(m["per_second"] for m in ms) for name, ms in rows.items()}
    cpu = {name: statistics.median(m["server_cpu_us"] for m in ms) for name, ms in rows.items()}
    neo4j_cpu = NEO4J_CPU | {name: statistics.median(m["server_cpu_us"] for m in ms)
                             for name, ms in peer_rows.items() if name in NEO4J_CPU}
    verdicts = []

    def verdict(what, value, ok, wanted):
        verdicts.append(ok)
        print(f"{'met    ' if ok else 'NOT MET'}  {what:46} {value:>26}   {wanted}")

    header = f"{'median/s':>12} {'best/s':>12} {'p50 ms':>9} {'p99 ms':>9} {'CPU µs':>9}"
    print(f"\n{'workload':12} {header} {'of Neo4j':>9}")
    for name, ms in rows.items():
        share = f"{cpu[name] / neo4j_cpu[name]:9.1%}" if name in neo4j_cpu else " " * 9
        print(f"{name:12} {figures(ms)} {share}")
    if peers:
        print(f"\n{'Neo4j':12} {header}")
        for name, ms in peer_rows.items():
            print(f"{name:12} {figures(ms)}")
    print()
    if floors:
        print(f"floor (one round trip and one fdatasync): median {statistics.median(floors):,.0f}, best {max(floors):,.0f} a second")
    if floors and "write1_raw" in rate:
        ratio = rate["write1_raw"] / statistics.median(floors)
        verdict("one client's durable writes, of the floor", f"{ratio:.1%}", ratio >= FLOOR_SHARE, f"at least {FLOOR_SHARE:.0%}")
    if "write1_raw" in rate and "write64_raw" in rate:
        gain = rate["write64_raw"] / rate["write1_raw"]
        verdict("64 clients' durable writes, of one client's", f"{gain:.1f} ×", gain >= GROUP_COMMIT_GAIN, f"at least {GROUP_COMMIT_GAIN} ×")
    for what, seconds in (("empty", empty_start), ("after a clean stop", full_start), ("after kill -9", killed_start)):
        verdict(f"start to first answer, {what}", f"{seconds * 1e3:.0f} ms", seconds < START_SECONDS, f"under {START_SECONDS * 1e3:.0f} ms")
    verdict("idle memory", f"{idle_mib:.1f} MiB", idle_mib < IDLE_MIB, f"under {IDLE_MIB} MiB")
    if "stream_raw" in rows:
        seconds = statistics.median(m["seconds"] for m in rows["stream_raw"])
        verdict("1,000,000 streamed integers", f"{seconds:.2f} s", seconds < STREAM_SECONDS, f"under {STREAM_SECONDS} s")
    for name in NEO4J_CPU:
        if name in cpu:
            share = cpu[name] / neo4j_cpu[name]
            verdict(f"{name}: server CPU, of Neo4j's", f"{cpu[name]:.1f} of {neo4j_cpu[name]:,.1f} µs, {share:.1%}", share < SHARE[name], f"under {SHARE[name]:.0%}")
    wrong = sum(m["wrong"] for m in measurements) + sum(len(m.get("errors") or {}) for m in measurements)
    verdict("wrong answers and errors", str(wrong), wrong == 0, "none")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as handle:
            json.dump({"floors": floors, "measurements": measurements, "start_seconds": [empty_start, full_start, killed_start],
                       "idle_mib": idle_mib}, handle, indent=1)
    if arguments.micro and os.path.exists(os.path.join(BUILD, "bench/micro_bench")):
        print(flush=True)
        subprocess.run([os.path.join(BUILD, "bench/micro_bench"), "--benchmark_min_time=0.2"], check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
