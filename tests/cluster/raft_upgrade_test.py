#!/usr/bin/env python3
"""A rolling upgrade under load: three members of an older binary are replaced by the one under test, one after the other.

NORNICDB_OLD_BINARY names the older one, built from an earlier commit that has Raft; without it the test is skipped. To have one:
git worktree add build/old COMMIT && make -C build/old release; it is build/old/build/release/nornicdb. Two members are taken down again
in between.
"""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, RaftCluster, driver_python, wait_for  # noqa: E402

OLD = os.environ.get("NORNICDB_OLD_BINARY", "")
if not OLD:
    print("skipped: NORNICDB_OLD_BINARY names no binary of an earlier commit\n0 passed, 0 failed, 1 skipped")
    sys.exit(0)
driver_python()
from ha_common import DriverWriters, Ledger, prepare  # noqa: E402
from raft_common import differences  # noqa: E402


def main():
    checks = Checks()
    ledger = Ledger()
    cluster = RaftCluster(3)
    for member in cluster.members.values():
        member.binary = OLD
    with cluster:
        prepare(cluster.leader())
        with DriverWriters(cluster, ledger) as writers:
            for way, binary in (("up", None), ("down again", OLD), ("up once more", None)):
                # The leader last, as an operator would, and by SIGTERM, so that it hands over.
                order = [*cluster.followers(), cluster.leader()]
                for member in order[:2] if way == "down again" else order:
                    began = time.monotonic()
                    status = member.stop()
                    member.binary = binary
                    member.start()
                    cluster.wait_until_ready()
                    moment = time.monotonic()
                    wait_for(lambda moment=moment: writers.all_write(moment), 20, "a write of each client")
                    checks.check(status == 0, f"{way}: {member.name} in {moment - began:.2f} s")
        problems = ledger.problems(cluster.leader())
        checks.check(not problems, f"all of {len(ledger.acknowledged)} acknowledged writes are there, once {problems or ''}")
        checks.check(not ledger.errors, f"no client saw an error {ledger.errors[:3] or ''}")
        differs = differences(cluster)
        checks.check(not differs, f"all members show the same {differs}")
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
