#!/usr/bin/env python3
"""Deliberate defects, each of which the simulator must notice within 1,000 seeds.

A defect counts as caught by a seed that fails with it and passes without it. `mutations.py NAME…` tries some.
"""
import concurrent.futures
import os
import subprocess
import sys
import time

import seeds

SEEDS = 1000
# Name: what it does. They are in the seams (log, bus, engine, answers), never in the product.
ANY_MODE = {
    "sync_lies": "a sync does nothing and says that it did",
    "hard_state_forgotten": "a crash makes a member forget its term, its vote and what else it knew",
    "entry_twice": "an entry on its way takes the content of the one before it",
    "entry_dropped": "an entry on its way is left out and those behind it move up",
    "tail_lost": "the newest entries of a log are gone after a restart",
    "early_answer": "a commit is answered before it was persisted",
    "snapshot_hole": "a pair is left out of a snapshot, and its counts put right",
    "apply_skipped": "a member takes an entry in and changes nothing",
    "read_early": "a read does not wait for its read point",
}
MUTATIONS = {
    "ha_standby": ANY_MODE | {
        "epoch_rewritten": "messages of an old epoch arrive with the receiver's",
        "sink_drops": "what a lost branch held is saved nowhere",
        "always_in_sync": "the standby is told that it has everything",
        "fence_accepted": "a refused Fence arrives as an accepted one",
    },
    "raft": ANY_MODE | {
        "vote_forgotten": "a crash makes a member forget its vote",
        "term_forgotten": "a crash makes a member forget its newest terms",
        "vote_granted": "a refused vote arrives as a granted one",
        "log_check_ignored": "a candidate says that its log is longer than any",
        "prev_check_ignored": "entries say that they follow what the receiver has",
        "match_forged": "a follower's answer says that it has everything",
        "ack_before_persist": "a follower acknowledges what it has not synced",
        "commit_raised": "followers are told that all is committed",
        "entry_term_changed": "an entry on its way becomes one of the leader's term",
        "term_rewritten": "what a leader of an old term says arrives as of the receiver's",
        "round_forged": "whatever a leader hears is an answer to its newest heartbeat",
        "read_local": "a linearizable read is answered from what is known here",
        "read_unconfirmed": "a leader answers a linearizable read without a round",
        "configuration_lost": "a configuration on its way arrives as an empty entry",
        "configuration_altered": "a configuration on its way loses a member",
        "learner_counted": "a learner's acknowledgements arrive in a voter's name",
        "removed_votes": "so do the votes of one that is no member",
        "directory_forged": "an emptied disk speaks as the one before it",
    },
    "multi_region": {
        "region_write_dropped": "a write is left out of a batch between regions",
        "region_time_changed": "writes arrive in another region as of a second before",
        "region_cursor_raised": "a batch says that it reaches further than it does",
        "region_frontier_raised": "what one region has of others is said to be more",
        "region_seen_raised": "a write says that whoever wrote it had seen all of others",
        "apply_skipped": "a member takes an entry in and changes nothing",
        "entry_dropped": "an entry on its way is left out and those behind it move up",
    },
}
# Who must notice it: members of a Raft group compare what they hold, and find by themselves who is wrong.
NOTICED_AS = {("raft", "apply_skipped"): "finds that members' data differs"}
# Defects of one guard that another makes up for; they are to stay harmless. Hot standby: a standby judges by its own log
# whether it may take over, whatever its answers were made to say and whoever votes for it. Raft: a pre-vote and a lease on
# votes only keep order, the votes behind them decide; and a state says itself of which entry it is.
MASKED = {
    "ha_standby": {
        "forged_received": "a standby's answer says that everything arrived",
        "witness_grants": "the witness votes for whoever asks",
    },
    "raft": {
        "pre_vote_counts": "a granted pre-vote arrives as a vote",
        "transfer_forged": "every vote request says that the leader asked for it",
        "snapshot_ahead": "a snapshot says that it is of a later entry",
        "timeout_now_forged": "a heartbeat arrives as \"start an election now\"",
    },
}
HARMLESS_SEEDS = 200


def caught_by(program, mode, name):
    """(seed, what) of the first seed that shows the defect, or None."""
    first = 1
    while first <= SEEDS:
        # Ends at the first seed that fails.
        done = subprocess.run([program, f"--mode={mode}", f"--mutation={name}", f"--first={first}",
                               f"--seeds={SEEDS + 1 - first}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              errors="replace", check=False)
        found = next((match for line in done.stdout.splitlines() if (match := seeds.FAILED.match(line))), None)
        if not found:
            return None
        seed = int(found[1])
        clean = subprocess.run([program, f"--mode={mode}", f"--seed={seed}"], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, check=False)
        if clean.returncode == 0:
            return seed, found[2]
        first = seed + 1
    return None


def side_by_side(work, items):
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("JOBS") or os.cpu_count() or 2)) as pool:
        yield from pool.map(work, items)


def run_all(program, names=None):
    """Yields ((mode, name), what caught it)."""
    def attempt(item):
        mode, name = item
        began = time.monotonic()
        return item, caught_by(program, mode, name), time.monotonic() - began

    items = [(mode, name) for mode, some in MUTATIONS.items() for name in some if not names or name in names]
    for (mode, name), found, seconds in side_by_side(attempt, items):
        what = MUTATIONS[mode][name]
        if found:
            print(f"caught {name} of {mode} ({what}) by seed {found[0]} in {seconds:.1f} s: {found[1][:160]}", flush=True)
        else:
            print(f"FAILED {name} of {mode} ({what}) was not noticed in {SEEDS} seeds", flush=True)
        yield (mode, name), found


def run_masked(program):
    """Yields ((mode, name), still harmless)."""
    for mode, some in MASKED.items():
        for name, what in some.items():
            result = seeds.run(program, mode=mode, first=1, count=HARMLESS_SEEDS, mutation=name)
            failures = sorted(result.failures.items())
            print(f"harmless {name} of {mode} ({what}): {HARMLESS_SEEDS} seeds" if not failures else
                  f"FAILED {name} of {mode} ({what}) does harm in seed {failures[0][0]}: {failures[0][1][:160]}", flush=True)
            yield (mode, name), not failures


def main():
    unknown = [name for name in sys.argv[1:] if not any(name in mutations for mutations in MUTATIONS.values())]
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
