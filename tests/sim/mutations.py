#!/usr/bin/env python3
"""Deliberate defects, each of which the simulator must notice within 1,000 seeds.

A defect counts as caught by a seed that fails with it and passes without it. `mutations.py NAME…` tries some.
"""
import subprocess
import sys
import time

import seeds

SEEDS = 1000
# Name: what it does. They are in the seams (log, bus, engine, answers), never in the product.
MUTATIONS = {
    "sync_lies": "a sync does nothing and says that it did",
    "hard_state_forgotten": "a crash makes a member forget its epoch",
    "epoch_rewritten": "messages of an old epoch arrive with the receiver's",
    "entry_twice": "an entry on its way takes the content of the one before it",
    "entry_dropped": "an entry on its way is left out and those behind it move up",
    "tail_lost": "the newest entries of a log are gone after a restart",
    "sink_drops": "what a lost branch held is saved nowhere",
    "always_in_sync": "the standby is told that it has everything",
    "fence_accepted": "a refused Fence arrives as an accepted one",
    "early_answer": "a commit is answered before it was persisted",
    "snapshot_hole": "a pair is left out of a snapshot, and its counts put right",
    "apply_skipped": "a member takes an entry in and changes nothing",
    "read_early": "a read does not wait for its read point",
}
# Defects of one guard that another makes up for: a standby judges by its own log whether it may take over, whatever its
# answers were made to say and whoever votes for it. They are to stay harmless.
MASKED = {
    "forged_received": "a standby's answer says that everything arrived",
    "witness_grants": "the witness votes for whoever asks",
}
HARMLESS_SEEDS = 300


def caught_by(program, name):
    """(seed, what) of the first seed that shows the defect, or None."""
    first = 1
    while first <= SEEDS:
        result = seeds.run(program, first=first, count=min(100, SEEDS + 1 - first), mutation=name)
        for seed, what in sorted(result.failures.items()):
            clean = subprocess.run([program, f"--seed={seed}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            if clean.returncode == 0:
                return seed, what
        first += 100
    return None


def run_all(program, names=None):
    for name in names or MUTATIONS:
        began = time.monotonic()
        found = caught_by(program, name)
        if found:
            print(f"caught {name} ({MUTATIONS[name]}) by seed {found[0]} in {time.monotonic() - began:.1f} s: {found[1][:160]}",
                  flush=True)
        else:
            print(f"FAILED {name} ({MUTATIONS[name]}) was not noticed in {SEEDS} seeds", flush=True)
        yield name, found


def run_masked(program):
    """Yields (name, still harmless)."""
    for name, what in MASKED.items():
        result = seeds.run(program, first=1, count=HARMLESS_SEEDS, mutation=name)
        failures = sorted(result.failures.items())
        print(f"harmless {name} ({what}): {HARMLESS_SEEDS} seeds" if not failures else
              f"FAILED {name} ({what}) does harm in seed {failures[0][0]}: {failures[0][1][:160]}", flush=True)
        yield name, not failures


def main():
    unknown = [name for name in sys.argv[1:] if name not in MUTATIONS]
    if unknown:
        sys.exit("no such mutation: " + ", ".join(unknown))
    results = dict(run_all(seeds.binary(), sys.argv[1:]))
    missed = sum(found is None for found in results.values())
    if not sys.argv[1:]:
        masked = dict(run_masked(seeds.binary()))
        missed += sum(not ok for ok in masked.values())
        results.update(masked)
    print(f"{len(results) - missed} passed, {missed} failed, 0 skipped")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
