#!/usr/bin/env python3
"""Builds and runs every test suite and sums them up; `make test` is this.

Each suite is a command whose last line is "N passed, N failed, N skipped". The last line printed here is the
sum in the same words, and the exit status is 1 if anything failed. A suite whose toolchain cannot be had counts
as one skipped test and says why.

Environment: JOBS (parallel compilations), NORNICDB_TCK_DIR (the folder of the openCypher scenarios),
NORNICDB_KILLS (rounds of the kill test, default 20), NORNICDB_ROUNDS (of the failover tests, default 5, Raft 3), NORNICDB_GIB
(data of the snapshot tests, default 0.05), NORNICDB_SIM_SECONDS (of simulated histories, default 60), NORNICDB_SEED (the first of
them), NORNICDB_CHAOS_SECONDS (default 40), NORNICDB_CUT_SECONDS (between regions, default 8), NORNICDB_SECONDS (of drivers under faults in each mode,
default 12), NORNICDB_OLD_BINARY (an earlier server, for the rolling upgrade).
"""
import argparse
import collections
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LAST_LINE = re.compile(r"(\d+) passed, (\d+) failed, (\d+) skipped")
Count = collections.namedtuple("Count", "passed failed skipped")
# A suite that takes longer hangs; ctest's limit for a room is in tests/CMakeLists.txt.
SCRIPT_SECONDS = 900 + 2 * int(float(os.environ.get("NORNICDB_CHAOS_SECONDS", "0"))) + 4 * int(float(os.environ.get("NORNICDB_SECONDS", "0")))

# ThreadSanitizer cannot see into Debian's uninstrumented RocksDB.
SANITIZER_ENV = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "ignore_noninstrumented_modules=1:second_deadlock_stack=1",
}


def jobs():
    return os.environ.get("JOBS") or str(os.cpu_count() or 2)


def room_tests(preset, targets):
    """Builds a preset's targets and runs its test binaries through ctest; counts GoogleTest's single tests."""
    if subprocess.run([os.path.join(TOP, "scripts/build"), preset, *targets]).returncode != 0:
        print(f"the {preset} build failed")
        return Count(0, 1, 0)
    folder = os.path.join(TOP, "build", preset)
    results = os.path.join(folder, "test-results")
    shutil.rmtree(results, ignore_errors=True)
    junit = os.path.join(results, "ctest.xml")
    os.makedirs(results)
    environment = dict(os.environ, GTEST_OUTPUT=f"json:{results}/", **SANITIZER_ENV)
    subprocess.run(["ctest", "--test-dir", folder, "--output-on-failure", "-j", jobs(), "--output-junit", junit],
                   env=environment)
    if not os.path.exists(junit):
        return Count(0, 1, 0)
    passed = failed = skipped = 0
    for case in ET.parse(junit).getroot().iter("testcase"):
        name, ok = case.get("name"), case.get("status") == "run"
        report = os.path.join(results, f"{name}_test.json")
        if os.path.exists(report):
            with open(report, encoding="utf-8") as handle:
                tests = [t for suite in json.load(handle)["testsuites"] for t in suite["testsuite"]]
            bad = sum("failures" in t for t in tests)
            idle = sum(t["result"] == "SKIPPED" or t["status"] == "NOTRUN" for t in tests)
            passed, skipped = passed + len(tests) - bad - idle, skipped + idle
            # A binary that failed without a failing test leaked or died at its end.
            failed += bad or (not ok)
        else:
            passed, failed = passed + ok, failed + (not ok)
    return Count(passed, failed, skipped)


def script(*command):
    """Runs a suite, echoing it; its count is its last line. One that hangs is killed with all it started."""
    process = subprocess.Popen([sys.executable, "-u", *command], cwd=TOP, stdout=subprocess.PIPE, env=dict(os.environ, **SANITIZER_ENV),
                               stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True)

    def kill():
        print(f"{command[0]}: no end after {SCRIPT_SECONDS} s; killed", flush=True)
        os.killpg(process.pid, signal.SIGKILL)

    watchdog = threading.Timer(SCRIPT_SECONDS, kill)
    watchdog.daemon = True
    watchdog.start()
    last = None
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
            last = LAST_LINE.fullmatch(line.strip()) or last
        status = process.wait()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        watchdog.cancel()
    if last is None:
        print(f"{command[0]}: ended with status {status} and without a count")
        return Count(0, 1, 0)
    count = Count(*map(int, last.groups()))
    if status != 0 and count.failed == 0:
        print(f"{command[0]}: ended with status {status}")
        return count._replace(failed=1)
    return count


SUITES = collections.OrderedDict([
    ("check", lambda: script("scripts/check_includes.py")),
    ("release", lambda: room_tests("release", ["all"])),
    ("dev", lambda: room_tests("dev", ["tests"])),
    ("sim", lambda: script("tests/sim/run.py")),
    ("python", lambda: script("tests/drivers/run.py", "python")),
    ("javascript", lambda: script("tests/drivers/run.py", "javascript")),
    ("go", lambda: script("tests/drivers/run.py", "go")),
    ("java", lambda: script("tests/drivers/run.py", "java")),
    ("tck", lambda: script("tests/tck/run.py")),
    ("kill", lambda: script("tests/cluster/kill_test.py")),
    ("counter", lambda: script("tests/cluster/counter_test.py")),
    ("mixed", lambda: script("tests/cluster/mixed_test.py")),
    ("disk_full", lambda: script("tests/cluster/disk_full_test.py")),
    ("nonsense", lambda: script("tests/cluster/nonsense_test.py")),
    ("merge", lambda: script("tests/cluster/merge_test.py")),
    ("sync_fault", lambda: script("tests/cluster/sync_fault_test.py")),
    ("shell", lambda: script("tests/cluster/shell_test.py")),
    ("admin", lambda: script("tests/cluster/admin_test.py")),
    ("commands", lambda: script("tests/cluster/commands_test.py")),
    ("guide", lambda: script("tests/cluster/guide_test.py")),
    ("ha_failover", lambda: script("tests/cluster/ha_failover_test.py")),
    ("ha_partition", lambda: script("tests/cluster/ha_partition_test.py")),
    ("ha_switch", lambda: script("tests/cluster/ha_switch_test.py")),
    ("ha_snapshot", lambda: script("tests/cluster/ha_snapshot_test.py")),
    ("raft_form", lambda: script("tests/cluster/raft_form_test.py")),
    ("raft_failover", lambda: script("tests/cluster/raft_failover_test.py")),
    ("raft_partition", lambda: script("tests/cluster/raft_partition_test.py")),
    ("raft_membership", lambda: script("tests/cluster/raft_membership_test.py")),
    ("raft_quorum", lambda: script("tests/cluster/raft_quorum_test.py")),
    ("raft_reads", lambda: script("tests/cluster/raft_reads_test.py")),
    ("raft_recover", lambda: script("tests/cluster/raft_recover_test.py")),
    ("raft_catch_up", lambda: script("tests/cluster/raft_catch_up_test.py")),
    ("raft_upgrade", lambda: script("tests/cluster/raft_upgrade_test.py")),
    ("forward", lambda: script("tests/cluster/forward_test.py")),
    ("routing", lambda: script("tests/cluster/routing_test.py")),
    ("consistency", lambda: script("tests/cluster/consistency_test.py")),
    ("monotonic", lambda: script("tests/cluster/monotonic_test.py")),
    ("outcomes", lambda: script("tests/cluster/outcomes_test.py")),
    ("log", lambda: script("tests/cluster/log_test.py")),
    ("trace", lambda: script("tests/cluster/trace_test.py")),
    ("raft_chaos", lambda: script("tests/cluster/raft_chaos_test.py")),
    ("driver_faults", lambda: script("tests/cluster/driver_faults_test.py")),
    ("region", lambda: script("tests/cluster/region_test.py")),
    ("region_life", lambda: script("tests/cluster/region_life_test.py")),
    ("wire", lambda: script("tests/cluster/wire_test.py")),
    ("metrics", lambda: script("tests/cluster/metrics_test.py")),
    ("compose", lambda: script("tests/cluster/compose_test.py")),
    ("situations", lambda: script("tests/cluster/situations_test.py")),
    ("spec_programs", lambda: script("tests/cluster/spec_programs_test.py")),
])
# Suites that only run when they are named.
EXTRA = {
    "tsan": lambda: room_tests("tsan", ["tests"]),
    "tiny": lambda: room_tests("tiny", ["tests"]),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="comma list of suites: " + ", ".join([*SUITES, *EXTRA]))
    parser.add_argument("--skip", default="", help="comma list of suites to leave out")
    arguments = parser.parse_args()
    chosen = [name for name in (arguments.only.split(",") if arguments.only else SUITES)
              if name not in arguments.skip.split(",")]
    unknown = [name for name in chosen if name not in SUITES and name not in EXTRA]
    if unknown:
        parser.error("no such suite: " + ", ".join(unknown))
    if "release" not in chosen and any(name in SUITES and name not in ("check", "dev") for name in chosen):
        subprocess.run([os.path.join(TOP, "scripts/build"), "release", "nornicdb"], check=True)

    rows, total = [], Count(0, 0, 0)
    for name in chosen:
        print(f"\n=== {name} ===", flush=True)
        start = time.monotonic()
        count = {**SUITES, **EXTRA}[name]()
        rows.append((name, count, time.monotonic() - start))
        total = Count(*(a + b for a, b in zip(total, count)))
    print(f"\n{'suite':12} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}")
    for name, count, seconds in rows:
        print(f"{name:12} {count.passed:7} {count.failed:7} {count.skipped:8} {seconds:8.0f}")
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped", flush=True)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
