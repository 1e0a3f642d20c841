#!/usr/bin/env python3
"""The openCypher scenarios against a fresh server, held by a ratchet.

failures.txt lists the scenarios known to fail; one that is not listed and fails is a failure of this test. After an
improvement `run.py --update` takes the ones that pass now off the list; it adds none (--accept does, and is a
decision to defend in the commit). At least PASS_SHARE of all scenarios that ran must pass.

The kit is a folder with tck_run.py, features/ and graphs/: NORNICDB_TCK_DIR names it, else a folder tck/ of any
neighbour of the checkout is taken. Without a kit the test is skipped. Known failures count as skipped.
Further arguments go to tck_run.py: run.py --only 'Match1' --show-query
"""
import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "drivers"))
import run as drivers  # noqa: E402  (tests/drivers/run.py)
from harness import PASSWORD, TOP, USER, Server  # noqa: E402

RATCHET = os.path.join(HERE, "failures.txt")
PASS_SHARE = 0.85
HEADER = """# openCypher scenarios that are known to fail. tests/tck/run.py holds this list: it may only shrink.
# Shorten it with tests/tck/run.py --update.
"""


def kit():
    named = os.environ.get("NORNICDB_TCK_DIR")
    candidates = [named] if named else sorted(glob.glob(os.path.join(os.path.dirname(TOP), "*", "tck")))
    for folder in candidates:
        if os.path.isfile(os.path.join(folder, "tck_run.py")) and os.path.isdir(os.path.join(folder, "features")):
            return folder
    return None


def read_ratchet():
    try:
        with open(RATCHET, encoding="utf-8") as handle:
            return {line.rstrip("\n") for line in handle if line.strip() and not line.startswith("#")}
    except FileNotFoundError:
        return set()


def write_ratchet(names):
    with open(RATCHET, "w", encoding="utf-8") as handle:
        handle.write(HEADER + "".join(name + "\n" for name in sorted(names)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="take scenarios that pass now off the list")
    parser.add_argument("--accept", action="store_true", help="write the list anew from this run")
    arguments, passed_on = parser.parse_known_args()
    folder = kit()
    if folder is None:
        print("skipped: no openCypher kit; NORNICDB_TCK_DIR names one\n0 passed, 0 failed, 1 skipped")
        return 0
    try:
        python = drivers.python_venv()
    except drivers.Missing as why:
        print(f"skipped: {why}\n0 passed, 0 failed, 1 skipped")
        return 0

    with Server() as server, tempfile.TemporaryDirectory() as scratch:
        report = os.path.join(scratch, "report.json")
        expected = os.path.join(scratch, "expected.txt")
        with open(expected, "w", encoding="utf-8") as handle:
            handle.write("".join(name + "\n" for name in read_ratchet()))
        subprocess.run([python, os.path.join(folder, "tck_run.py"), "--uri", server.bolt_uri, "--user", USER,
                        "--password", PASSWORD, "--features", os.path.join(folder, "features"),
                        "--graphs", os.path.join(folder, "graphs"), "--json", report, "--expect", expected,
                        *([] if passed_on else ["--quiet", "--folders"]), *passed_on],
                       env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        if not os.path.exists(report):
            print("the runner wrote no report\n0 passed, 1 failed, 0 skipped")
            return 1
        with open(report, encoding="utf-8") as handle:
            results = json.load(handle)
        died = not server.running()
        if died:
            print("the server died; its last lines:\n" + server.log_tail())

    known = read_ratchet()
    passed = {r["id"] for r in results if r["status"] == "passed"}
    reasons = {r["id"]: r["reason"] for r in results if r["status"] == "failed"}
    broken = sorted(set(reasons) - known)
    fixed = sorted(known & passed)
    for name in broken[:50]:
        print(f"FAILED  {name}\n        {reasons[name]}")
    if fixed and not arguments.update and not arguments.accept:
        print(f"{len(fixed)} scenarios of failures.txt pass now; take them off with tests/tck/run.py --update")
    if arguments.accept and not passed_on:
        write_ratchet(reasons)
        broken = []
    elif arguments.update:
        write_ratchet(known - passed)
    failed = len(broken) + died
    share = len(passed) / max(1, len(passed) + len(reasons))
    print(f"{100 * share:.2f} % of {len(passed) + len(reasons)} scenarios pass; {len(reasons)} fail, "
          f"{len(set(reasons) & known)} of them known")
    if not passed_on and share < PASS_SHARE:
        print(f"FAILED  at least {100 * PASS_SHARE:.0f} % must pass")
        failed += 1
    idle = sum(r["status"] == "skipped" for r in results) + len(set(reasons) & known)
    print(f"{len(passed)} passed, {failed} failed, {idle} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
