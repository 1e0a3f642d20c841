#!/usr/bin/env python3
"""What lies between two regions of three members on one machine: how fast their stream is, and what it costs a local write.

    bench/regions.py [--seconds 5] [--repeat 3] [--only stream,latency]

Stream: with the link cut, 64 clients write in one region as fast as it commits; then the link heals and nobody writes. Entries a
second until the other region has all, over what the region committed a second: the stream keeps up where that is at least 1.
Latency: one client's median write with the link as it is and with 100 ms of round trip, in turns (async).
The server is build/bench/nornicdb (NORNICDB_BINARY names another). Needs Go for the client.
"""
import argparse
import os
import statistics
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests"))
sys.path.insert(0, os.path.join(TOP, "tests", "cluster"))
sys.path.insert(0, os.path.join(TOP, "bench"))
os.environ.setdefault("NORNICDB_BINARY", os.path.join(TOP, "build", "bench", "nornicdb"))
from harness import MultiRegion, wait_for  # noqa: E402
from region_common import run  # noqa: E402
from run import build_go, figures_of  # noqa: E402

KEEPS_UP = 1.0
LATENCY_TIMES = 1.05
ROUND_TRIP = 0.1


def write(program, region, clients, seconds):
    members = region.data_members()
    return figures_of(program, region.leader(), ",".join(str(m.pid) for m in members), f"write{clients}_raw", seconds, 1)


def stream(program, world, seconds):
    east, west = world["east"], world["west"]
    world.wait_until_caught_up()
    world.cut("east", "west")
    before = east.leader().replication()["commit_index"]
    committed = write(program, east, 64, seconds)["per_second"]
    missing = east.leader().replication()["commit_index"] - before
    world.heal()
    # The clock starts when the stream does, not while connections are made: lag is what its first batch said.
    began, lag = None, 0
    while began is None:
        lag = world.lag("west") or 0
        if 0 < lag < missing:
            began = time.monotonic()
    wait_for(lambda: world.lag("west") == 0, 300, "the other region has all")
    shipped = lag / max(time.monotonic() - began, 1e-3)
    rows = [run(region.leader(), "MATCH (n:W) RETURN count(n)")[0] for region in (east, west)]
    if rows[0] != rows[1]:
        sys.exit(f"the regions differ: {rows}")
    return committed, shipped, lag, missing


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default="stream,latency")
    arguments = parser.parse_args()
    program = build_go()
    if program is None:
        sys.exit("this benchmark needs Go")
    verdicts = []
    with MultiRegion() as world:
        world.wait_until_caught_up()
        if "latency" in arguments.only:
            near, far = [], []
            for _ in range(arguments.repeat):
                for delay, into in ((0, near), (ROUND_TRIP / 2, far)):
                    world.delay("east", "west", delay)
                    world.wait_until_caught_up()
                    into.append(write(program, world["east"], 1, arguments.seconds)["p50_ms"])
                    print(f"  one client, {2000 * delay:3.0f} ms between regions   p50 {into[-1]:7.3f} ms", flush=True)
            world.delay("east", "west", 0)
            times = statistics.median(far) / statistics.median(near)
            verdicts.append((times <= LATENCY_TIMES, f"a local write takes {times:.3f} × with {ROUND_TRIP * 1000:.0f} ms between regions "
                                                     f"(at most {LATENCY_TIMES})"))
        if "stream" in arguments.only:
            shares = []
            for _ in range(arguments.repeat):
                committed, shipped, lag, missing = stream(program, world, arguments.seconds)
                shares.append(shipped / committed)
                print(f"  committed {committed:9,.0f}/s, shipped {shipped:9,.0f}/s ({lag:,} of {missing:,} entries timed)", flush=True)
            share = statistics.median(shares)
            verdicts.append((share >= KEEPS_UP, f"the stream is {share:.2f} × as fast as the region commits (at least {KEEPS_UP})"))
    for ok, line in verdicts:
        print(("met     " if ok else "NOT MET ") + line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
