#!/usr/bin/env python3
"""The simulator as a suite: replays regressions.txt, runs seeds for a while, and tries every mutation.

Environment: NORNICDB_SIM (the binary; default build/release/tests/sim/nornic_sim, built if it is not named),
NORNICDB_SIM_SECONDS (of ordinary seeds, default 60), NORNICDB_SEED (the first of them, default 1), JOBS.
"""
import os
import shlex
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import mutations  # noqa: E402
import seeds  # noqa: E402


def regressions(binary):
    """Yields (line, passed) for each line of regressions.txt."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "regressions.txt")
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            options = line.split("#")[0].strip()
            if options:
                done = subprocess.run([binary, *shlex.split(options)], capture_output=True, text=True, errors="replace")
                if done.returncode != 0:
                    print(done.stdout)
                yield line.strip(), done.returncode == 0


def main():
    binary = seeds.binary()
    passed = failed = 0
    for line, ok in regressions(binary):
        passed, failed = passed + ok, failed + (not ok)
        print(f"{'ok    ' if ok else 'FAILED'} {line}", flush=True)

    first = int(os.environ.get("NORNICDB_SEED", "1"))
    seconds = float(os.environ.get("NORNICDB_SIM_SECONDS", "60"))
    for mode in seeds.MODES:
        result = seeds.run(binary, mode=mode, first=first, count=10 ** 9, seconds=seconds * seeds.MODES[mode])
        print(result.summary(), flush=True)
        passed, failed = passed + (not result.failures), failed + len(result.failures)
        if result.missing_marks():
            failed += 1
            print(f"FAILED {mode}: these branches were never met: " + ", ".join(result.missing_marks()))

    began = time.monotonic()
    for name, caught in mutations.run_all(binary):
        passed, failed = passed + (caught is not None), failed + (caught is None)
    for name, harmless in mutations.run_masked(binary):
        passed, failed = passed + harmless, failed + (not harmless)
    print(f"mutations took {time.monotonic() - began:.0f} s")
    print(f"{passed} passed, {failed} failed, 0 skipped", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
