#!/usr/bin/env python3
"""Planned switch-overs under load: POST /admin/promote, SIGTERM, and a restart with the other role.

Clients write through the official driver all the while, and one raw client asks both members as often as it can, so
that the gap is seen without a driver's back-off. Nothing acknowledged may be lost, no client may see an error, and
writes go on in under a second.
"""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, HotStandby, driver_python, wait_for  # noqa: E402

driver_python()
from ha_common import DirectWriter, DriverWriters, Ledger, equal, prepare  # noqa: E402

ROUNDS = int(os.environ.get("NORNICDB_ROUNDS", "3"))
UNDER_SECONDS = 1.0


def by_promote(pair):
    status, answer = pair.standby().http("POST", "/admin/promote")
    if status != 200:
        raise RuntimeError(f"/admin/promote answered {status} {answer}")


def by_transfer(pair):
    status, answer = pair.primary().http("POST", "/admin/cluster/transfer-leadership")
    if status != 200:
        raise RuntimeError(f"transfer-leadership answered {status} {answer}")


def by_sigterm(pair):
    old = pair.primary()
    if old.stop() != 0:
        raise RuntimeError("the stop was not a clean one")
    old.start()


def by_role(pair):
    """The standby is restarted as what it shall become."""
    standby = pair.standby()
    standby._environment["NORNICDB_CLUSTER_HA_ROLE"] = "standby"
    standby.stop()
    standby.start()
    pair.wait_until_synced()
    standby.stop()
    standby._environment["NORNICDB_CLUSTER_HA_ROLE"] = "primary"
    standby.start()


def switch(pair, ledger, how):
    """Seconds of the longest gap that the raw client saw around it."""
    old, new = pair.primary(), pair.standby()
    time.sleep(0.3)
    before = time.monotonic()
    how(pair)
    wait_for(lambda: (new.replication() or {}).get("role") == "primary", 20, "the other one as primary")
    led = time.monotonic()
    wait_for(lambda: ledger.first_after(led), 20, "a write on the new primary")
    gap = ledger.longest_gap(before)
    pair.wait_until_synced()
    return gap, pair.primary() is new and pair.standby() is old


def main():
    checks = Checks()
    driver_ledger, careless_ledger, raw_ledger = Ledger(), Ledger(), Ledger()
    with HotStandby(failover="3s", heartbeat_ms=200) as pair:
        prepare(pair.primary())
        with (DriverWriters(pair, driver_ledger), DriverWriters(pair, careless_ledger, 2, careless=True, first=50) as careless,
              DirectWriter(pair.data_members(), raw_ledger, 100)):
            for name, how, rounds in (("POST /admin/promote", by_promote, ROUNDS),
                                      ("transfer-leadership", by_transfer, 1),
                                      ("SIGTERM", by_sigterm, ROUNDS),
                                      ("restart with the other role", by_role, 1)):
                gaps, switched = zip(*(switch(pair, raw_ledger, how) for _ in range(rounds)))
                checks.check(all(switched), f"{name}: the roles changed")
                said = ", ".join(f"{gap:.3f}" for gap in gaps)
                if how is by_role:
                    print(f"        {name}: longest gap {said} s, two restarts of the standby included")
                else:
                    checks.check(max(gaps) < UNDER_SECONDS, f"{name}: longest gap {said} s")
            calm = time.monotonic()
            try:
                wait_for(lambda: careless.all_write(calm), 60)
                checks.check(True, "clients with a careless resolver come through as well")
            except TimeoutError:
                checks.check(False, "clients with a careless resolver do not come through")
        pair.wait_until_synced()
        problems = [what for ledger in (driver_ledger, careless_ledger, raw_ledger) for what in ledger.problems(pair.primary())]
        wait_for(lambda: not equal(pair), 20, "the same on both members")
        acknowledged = sum(len(ledger.acknowledged) for ledger in (driver_ledger, careless_ledger, raw_ledger))
        status, answer = pair.primary().http("POST", "/admin/promote", {"force": True})
        checks.check(status == 200, f"promoting the primary is no error: {status} {answer}")
    checks.check(not problems, f"all of {acknowledged} acknowledged writes are there, once {problems or ''}")
    errors = driver_ledger.errors + careless_ledger.errors
    checks.check(not errors, f"no client of the driver saw an error {errors[:3] or ''}")
    # The raw client's autocommit statements may cross the end of their connection; a driver's transactions do not.
    checks.check(not driver_ledger.unknown, f"no outcome was unknown to it {sorted(driver_ledger.unknown)[:3] or ''}")
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
