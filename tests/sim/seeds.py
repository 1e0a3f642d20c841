"""Runs of nornic_sim over many seeds, some processes at a time; used by run.py and mutations.py.

As a program: seeds.py [--mode M] [--first N] [--count N] [--seconds S] [--mutation NAME] [--all]
prints each failing seed once and how often each branch was met (--all).
"""
import argparse
import collections
import concurrent.futures
import os
import re
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
MODES = {"raft": 0.4, "ha_standby": 0.3, "standalone": 0.1, "multi_region": 0.2}  # and their shares of the time
CHUNK = 100
REGIONS_CHUNK = 10  # its worlds are several
MARKS_SEEDS = 2000  # so many must meet every branch of marks.txt
FAILED = re.compile(r"FAILED seed (\d+): (.*)")
MARK = re.compile(r" *(\d+) (\S.*)")
SUMMARY = re.compile(r"(\d+) seeds in .*?(\d+) writes acknowledged, digest ([0-9a-f]+)")


def binary():
    named = os.environ.get("NORNICDB_SIM")
    if named:
        return named
    subprocess.run([os.path.join(TOP, "scripts/build"), "release", "nornic_sim"], check=True)
    return os.path.join(TOP, "build/release/tests/sim/nornic_sim")


class Result:
    def __init__(self, mode, first):
        self.mode, self.first = mode, first
        self.seeds = self.writes = 0
        self.failures = {}  # seed: what
        self.marks = collections.Counter()
        self.seconds = 0.0

    def missing_marks(self):
        """Branches that so many seeds must have met and did not."""
        if self.seeds < MARKS_SEEDS:
            return []
        missing = []
        with open(os.path.join(HERE, "marks.txt"), encoding="utf-8") as lines:
            for line in lines:
                mode, _, mark = line.split("#")[0].strip().partition(": ")
                if mode == self.mode and not any(mark in met for met in self.marks):
                    missing.append(mark)
        return missing

    def summary(self):
        return (f"{self.mode}: {self.seeds} seeds from {self.first} in {self.seconds:.0f} s "
                f"({60 * self.seeds / max(self.seconds, 0.001):.0f} a minute), {self.writes} writes acknowledged, "
                f"{len(self.failures)} failed")


def run(program, mode="ha_standby", first=1, count=1000, seconds=None, mutation=None, stop_at_failure=False, extra=()):
    """Runs seeds until `count` or `seconds` are used up; prints failures as they come, unless they are wanted."""
    result = Result(mode, first)
    began = time.monotonic()
    lock = threading.Lock()
    position = [first]

    def next_chunk():
        with lock:
            late = seconds is not None and time.monotonic() - began >= seconds
            if late or position[0] >= first + count or (stop_at_failure and result.failures):
                return None
            start = position[0]
            position[0] = min(start + (REGIONS_CHUNK if mode == "multi_region" else CHUNK), first + count)
            return start, position[0]

    def take(text, status, start):
        """Adds a process's output up; returns the seed that ended it, or None."""
        died_at = None
        with lock:
            for line in text.splitlines():
                if found := FAILED.match(line):
                    seed, what = int(found[1]), found[2]
                    result.failures[seed] = what
                    died_at = seed
                    if mutation is None:
                        print(f"FAILED seed {seed} of {mode}: {what}", flush=True)
                elif found := SUMMARY.match(line):
                    result.seeds += int(found[1])
                    result.writes += int(found[2])
                elif found := MARK.fullmatch(line):
                    result.marks[found[2]] += int(found[1])
            if status in (0, 1):
                return None
            if died_at is None:
                died_at = start
                result.failures[start] = f"ended with status {status} and no word"
                print(f"FAILED seed {start} or later of {mode}: the process ended with status {status}", flush=True)
            result.seeds += died_at - start + 1
        return died_at

    def work():
        while (chunk := next_chunk()) is not None:
            start, end = chunk
            while start < end:
                command = [program, f"--mode={mode}", f"--first={start}", f"--seeds={end - start}", "--marks",
                           "--keep-going", *extra]
                if mutation is not None:
                    command.append(f"--mutation={mutation}")
                done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                      errors="replace", check=False)
                died_at = take(done.stdout, done.returncode, start)
                if died_at is None:
                    break
                start = died_at + 1

    workers = int(os.environ.get("JOBS") or os.cpu_count() or 2)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(work) for _ in range(workers)]:
            future.result()
    result.seconds = time.monotonic() - began
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", default="ha_standby", choices=MODES)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--mutation")
    parser.add_argument("--all", action="store_true", help="print how often each branch was met")
    parser.add_argument("--twice", action="store_true", help="each seed twice; their digests must agree")
    arguments = parser.parse_args()
    result = run(binary(), arguments.mode, arguments.first, arguments.count, arguments.seconds, arguments.mutation,
                 extra=("--twice",) if arguments.twice else ())
    if arguments.all:
        for mark, times in sorted(result.marks.items()):
            print(f"{times:9} {mark}")
    if arguments.mutation:
        for seed, what in sorted(result.failures.items()):
            print(f"seed {seed}: {what}")
    print(result.summary())
    for mark in result.missing_marks() if arguments.mutation is None else ():
        print(f"never met: {mark}")
    return 1 if result.failures or (arguments.mutation is None and result.missing_marks()) else 0


if __name__ == "__main__":
    sys.exit(main())
