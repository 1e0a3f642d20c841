#!/usr/bin/env python3
"""kill -9 of the primary under load, again and again, with clients that use the official driver.

Half of NORNICDB_ROUNDS (default 5) runs under semi_sync, where the standby goes on at once, half under sync, where it
goes on once the killed one is back. Each round: writers write through neo4j:// with a resolver for both members; the
primary is killed; how long until a write is acknowledged again is measured; the killed one is started and must come
back as a standby that is in sync, by itself; and every acknowledged write must be there, once.
"""
import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, HotStandby, driver_python, wait_for  # noqa: E402

driver_python()
from ha_common import DriverWriters, Ledger, equal, prepare  # noqa: E402

ROUNDS = int(os.environ.get("NORNICDB_ROUNDS", "5"))
SEED = int(os.environ.get("NORNICDB_SEED", str(random.randrange(1 << 32))))
GOES_ON_SECONDS = 2.0


def one_round(pair, writers, ledger, sync_mode, chance):
    """Seconds until writes went on, and until the killed member was back in sync."""
    calm = time.monotonic()
    wait_for(lambda: writers.all_write(calm), 60, "a write of each client")
    time.sleep(chance.uniform(0, 0.5))
    old = pair.primary()
    new = pair.standby()
    killed = time.monotonic()
    old.kill()
    if sync_mode == "sync":
        wait_for(lambda: (new.replication() or {}).get("role") == "primary", 20, "a promotion")
        old.start()
    went_on = wait_for(lambda: ledger.first_after(killed), 60, "a write after the kill") - killed
    if sync_mode != "sync":
        old.start()
    pair.wait_until_synced()
    back = time.monotonic() - killed
    return old, went_on, back


def main():
    checks = Checks()
    chance = random.Random(SEED)
    print(f"{ROUNDS} rounds, NORNICDB_SEED={SEED}")
    for sync_mode, rounds in (("semi_sync", (ROUNDS + 1) // 2), ("sync", ROUNDS // 2)):
        if rounds == 0:
            continue
        ledger, times, problems, roles = Ledger(), [], [], []
        with HotStandby(sync_mode=sync_mode) as pair:
            prepare(pair.primary())
            with DriverWriters(pair, ledger) as writers:
                for number in range(1, rounds + 1):
                    old, went_on, back = one_round(pair, writers, ledger, sync_mode, chance)
                    times.append(went_on)
                    roles.append(old.replication()["role"])
                    found = ledger.problems(pair.primary())
                    problems += [f"round {number}: {what}" for what in found]
                    print(f"{sync_mode}, round {number}: writes went on after {went_on:.2f} s, "
                          f"the old primary is back after {back:.2f} s {found or ''}", flush=True)
            pair.wait_until_synced()
            problems += ledger.problems(pair.primary())
            acknowledged, unknown = ledger.snapshot()
            differs = wait_equal(pair)
        times.sort()
        median = times[len(times) // 2]
        checks.check(not problems, f"{sync_mode}: all of {len(acknowledged)} acknowledged writes are there, once "
                                   f"({len(unknown)} of unknown outcome) {problems[:3] or ''}")
        checks.check(set(roles) == {"standby"}, f"{sync_mode}: each old primary came back as the standby")
        checks.check(not differs, f"{sync_mode}: both members show the same {differs}")
        checks.check(not ledger.errors, f"{sync_mode}: no client saw an error {ledger.errors[:3] or ''}")
        said = f"median {median:.2f} s, worst {times[-1]:.2f} s of {len(times)}"
        if sync_mode == "sync":
            print(f"        sync: writes go on when the killed member is back: {said}")
        else:
            checks.check(median <= GOES_ON_SECONDS, f"{sync_mode}: writes go on within {GOES_ON_SECONDS} s: {said}")
    return checks.close()


def wait_equal(pair):
    """The standby applies a moment later than the primary."""
    try:
        wait_for(lambda: not equal(pair), 10)
        return ""
    except TimeoutError:
        return equal(pair)


if __name__ == "__main__":
    sys.exit(main())
