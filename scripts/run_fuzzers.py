#!/usr/bin/env python3
"""Runs each libFuzzer binary of build/fuzz for a while, two at a time at most; stops with 1 if one finds something.

The seeds are tests/fuzz/corpus/<name>/; what is learned goes to build/fuzz/corpus/<name>/, and an input that
broke something stays in build/fuzz/crashes/ and is named in the output.
"""
import argparse
import glob
import os
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--only", default="", help="comma list of names, without _fuzz")
    arguments = parser.parse_args()
    build = os.path.join(TOP, "build/fuzz")
    wanted = [name for name in arguments.only.split(",") if name]
    waiting = [b for b in sorted(glob.glob(os.path.join(build, "tests/fuzz/*_fuzz")))
               if not wanted or os.path.basename(b)[:-5] in wanted]
    if not waiting:
        print("no fuzzer was built")
        return 1
    os.makedirs(os.path.join(build, "crashes"), exist_ok=True)
    passed = failed = 0
    running = []
    while waiting or running:
        while waiting and len(running) < min(2, os.cpu_count() or 1):
            binary = waiting.pop(0)
            name = os.path.basename(binary)[:-5]
            learned = os.path.join(build, "corpus", name)
            os.makedirs(learned, exist_ok=True)
            seeds = os.path.join(TOP, "tests/fuzz/corpus", name)
            log = open(os.path.join(build, f"{name}.log"), "w", encoding="utf-8")
            print(f"{name}: {arguments.seconds} s", flush=True)
            running.append((name, log, subprocess.Popen(
                [binary, learned, *([seeds] if os.path.isdir(seeds) else []), f"-max_total_time={arguments.seconds}",
                 "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1",
                 f"-artifact_prefix={os.path.join(build, 'crashes', name)}-"], stdout=log, stderr=subprocess.STDOUT)))
        name, log, process = running.pop(0)
        status = process.wait()
        log.close()
        with open(log.name, encoding="utf-8", errors="replace") as handle:
            lines = handle.read().splitlines()
        executed = next((l.split()[-1] for l in lines if l.startswith("stat::number_of_executed_units")), "?")
        if status == 0:
            passed += 1
            print(f"{name}: found nothing in {executed} runs")
        else:
            failed += 1
            print(f"{name}: FAILED with status {status}; see {log.name}")
            print("\n".join("    " + l for l in lines[-40:]))
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
