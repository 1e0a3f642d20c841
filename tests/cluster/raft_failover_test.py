#!/usr/bin/env python3
"""How long a Raft group takes no write: kill -9 of the leader, a silent leader, planned transfers; driver clients.

NORNICDB_ROUNDS (default 3) rounds each: kill, a paused leader, one that is cut off and one whose disk hangs, with the default
time-outs (1 s, 100 ms), kill with 200 ms and 20 ms, transfer and SIGTERM. Each round measures the time to the next acknowledged write as raw clients
see it that ask every other member, and as each of four clients of the official driver sees it. A client that already
waits for a paused process waits on, whatever the others do, and one whose commit is with a leader that is cut off waits until
that one hears what became of it; both are not counted, instead clients that come just then, one with each order in which the members can be asked. Every acknowledged write must be there, once.
NORNICDB_ONLY=kill,paused,cut,disk,fast,transfer picks some.
"""
import collections
import itertools
import os
import random
import statistics
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import PASSWORD, USER, Checks, RaftCluster, driver_python, run_scenes, wait_for, work_folder  # noqa: E402

driver_python()
from ha_common import DriverWriters, Ledger, prepare  # noqa: E402
from raft_common import Probe, Stream, differences  # noqa: E402
from sync_fault_test import build, say  # noqa: E402

ROUNDS = int(os.environ.get("NORNICDB_ROUNDS", "3"))
SEED = int(os.environ.get("NORNICDB_SEED", str(random.randrange(1 << 32))))
WRITERS = 4
GAP_SECONDS = 0.1
PATIENCE = 3.0


def kill(_, leader):
    leader.kill()
    return leader.start


def pause(_, leader):
    leader.pause()
    return leader.resume


def cut_off(cluster, leader):
    cluster.links.isolate(leader.name, "block")
    return cluster.links.heal


def hang_disk(_, leader):
    fault = leader._environment["FAULTY_SYNC"]
    say(fault, "hang")
    return lambda: say(fault, "work")


def first_of_each(ledger, moment):
    """When each driver client that got on since then did so first, with a transaction that began since then."""
    acknowledged, _ = ledger.snapshot()
    first = {}
    for (w, _), (began, came) in acknowledged.items():
        if began > moment:
            first[w] = min(first.get(w, came), came)
    return first


def newcomers(cluster):
    """Clients of new drivers, in threads: when the managed transaction of each was done.

    How long one takes is settled by whom it asks first; with each order once the median does not hang on a draw. Where the
    first one takes a connection and says nothing, the next attempt begins at the one behind it.
    """
    import neo4j  # pylint: disable=import-outside-toplevel
    came = []

    def run(addresses):
        order = collections.deque(addresses)

        def rotated():
            order.rotate(-1)
            return list(order)

        with neo4j.GraphDatabase.driver(
                "neo4j://pair:7687", auth=(USER, PASSWORD), connection_acquisition_timeout=1, max_transaction_retry_time=60,
                resolver=lambda address: rotated() if address.host == "pair" else [address]) as driver:
            # The driver gives up where a member takes a connection and says nothing; whoever uses it tries again, and another one.
            while True:
                try:
                    with driver.session() as session:
                        session.execute_write(lambda transaction: transaction.run("CREATE (:Newcomer)").consume())
                    break
                except neo4j.exceptions.DriverError:
                    pass
        came.append(time.monotonic())

    threads = [threading.Thread(target=run, args=(order,), daemon=True) for order in itertools.permutations(cluster.bolt_addresses())]
    for thread in threads:
        thread.start()
    return came, threads


def one_round(cluster, writers, ledger, disturb, chance):
    """Seconds until the next write of a raw client, and of each driver client."""
    cluster.wait_until_ready()
    calm = time.monotonic()
    wait_for(lambda: writers.all_write(calm), 60, "a write of each client")
    time.sleep(chance.uniform(0, 0.3))
    leader = cluster.leader()
    with Probe([m for m in cluster.data_members() if m is not leader]) as probe:
        moment = time.monotonic()
        undo = disturb(cluster, leader)
        probe.start()
        if disturb is kill:
            raw = probe.took(moment)
            driver = wait_for(lambda: len(first := first_of_each(ledger, moment)) == WRITERS and first, 60, "a write of each client")
            undo()
            return raw, [came - moment for came in driver.values()]
        if disturb is hang_disk:  # What is with that member waits for its disk.
            raw = probe.took(moment)
            undo()
            return raw, []
        came, clients = newcomers(cluster)
        raw = probe.took(moment)
        for client in clients:
            client.join(60)
        if disturb is not pause:
            time.sleep(max(0.0, moment + PATIENCE - time.monotonic()))
        # One whose commit was under way at that moment cannot be helped: what became of it shows once the links heal.
        began = [w for w, since in writers.started.items() if since >= moment] if disturb is not pause else []
        undo()
        came += wait_for(lambda: (f := first_of_each(ledger, moment)) and all(w in f for w in began) and [[f[w] for w in began]], 60,
                         "a write of each client that began after it")[0] if began else []
    return raw, [c - moment for c in came]


def said(values):
    return f"median {statistics.median(values) * 1000:.0f} ms, {min(values) * 1000:.0f} to {max(values) * 1000:.0f}"


def case(checks, name, disturb, targets, chance, rounds=ROUNDS, library="", **settings):
    ledger, raws, drivers, problems = Ledger(), [], [], []
    cluster = RaftCluster(3, **settings)
    for member in cluster.members.values() if library else ():
        fault = os.path.join(os.path.dirname(library), member.name)
        say(fault, "work")
        member._environment.update(LD_PRELOAD=library, FAULTY_SYNC=fault)
    with cluster:
        prepare(cluster.leader())
        with DriverWriters(cluster, ledger, WRITERS) as writers:
            for number in range(1, rounds + 1):
                raw, driver = one_round(cluster, writers, ledger, disturb, chance)
                raws.append(raw)
                drivers += driver
                print(f"        {name}, round {number}: a write after {raw * 1000:.0f} ms, the driver's after "
                      f"{', '.join(f'{d * 1000:.0f}' for d in sorted(driver))}", flush=True)
            cluster.wait_until_ready()
        problems += ledger.problems(cluster.leader())
        differs = differences(cluster)
    write_target, driver_target = targets
    check = checks.check if rounds >= 3 else lambda ok, what: print(f"        {'met' if ok else 'NOT MET'} {what}")
    check(statistics.median(raws) <= write_target, f"{name}: the next write ({write_target * 1000:.0f} ms): {said(raws)}")
    if driver_target:
        check(statistics.median(drivers) <= driver_target,
              f"{name}: a driver's managed transaction ({driver_target * 1000:.0f} ms): {said(drivers)}")
    elif drivers:
        print(f"        {name}: a driver's managed transaction: {said(drivers)}")
    finish(checks, name, ledger, problems, differs)


def finish(checks, name, ledger, problems, differs):
    acknowledged, unknown = ledger.snapshot()
    checks.check(not problems, f"{name}: all of {len(acknowledged)} acknowledged writes are there, once "
                               f"({len(unknown)} of unknown outcome) {problems or ''}")
    checks.check(not ledger.errors, f"{name}: no client saw an error {ledger.errors[:3] or ''}")
    checks.check(not differs, f"{name}: all members show the same {differs}")


def by_command(cluster, old, number):
    target = cluster.followers()[number % 2].name if number % 2 else ""
    status, answer = cluster.transfer(target)
    if status != 200:
        raise RuntimeError(f"transfer-leadership answered {status} {answer}")
    return target, lambda: None


def by_sigterm(_, old, __):
    if old.stop() != 0:
        raise RuntimeError("the stop was not a clean one")
    return "", old.start


def transfers(checks):
    ledger, problems = Ledger(), []
    with RaftCluster(3) as cluster:
        prepare(cluster.leader())
        with DriverWriters(cluster, ledger, WRITERS) as writers, Stream(cluster.data_members()) as stream:
            for name, how in (("transfer", by_command), ("SIGTERM", by_sigterm)):
                gaps, wrong = [], []
                for number in range(ROUNDS):
                    old = cluster.wait_until_ready()
                    calm = time.monotonic()
                    wait_for(lambda: writers.all_write(calm), 60, "a write of each client")
                    before = time.monotonic()
                    target, undo = how(cluster, old, number)
                    new = cluster.leader(but=old)
                    if target and new.name != target:
                        wrong.append((target, new.name))
                    time.sleep(0.2)
                    gaps.append(stream.longest_gap(before, time.monotonic()))
                    undo()
                checks.check(statistics.median(gaps) <= GAP_SECONDS, f"{name}: writes pause ({GAP_SECONDS * 1000:.0f} ms): {said(gaps)}")
                checks.check(not wrong, f"{name}: the one that was named leads {wrong or ''}")
            cluster.wait_until_ready()
        problems += ledger.problems(cluster.leader())
        differs = differences(cluster)
    finish(checks, "transfers", ledger, problems, differs)
    checks.check(not ledger.unknown, f"transfers: no outcome was unknown to the driver {sorted(ledger.unknown)[:3] or ''}")


def with_hung_disk(checks, chance):
    with tempfile.TemporaryDirectory(prefix="failover-", dir=work_folder()) as folder:
        case(checks, "hung disk", hang_disk, (2.5, None), chance, library=build(folder))


def main():
    checks = Checks()
    chance = random.Random(SEED)
    print(f"{ROUNDS} rounds, NORNICDB_SEED={SEED}")
    run_scenes(checks, {
        "kill": lambda c: case(c, "kill -9", kill, (0.3, 1.5), chance),
        "paused": lambda c: case(c, "paused", pause, (1.8, 2.5), chance),
        "cut": lambda c: case(c, "cut off", cut_off, (1.8, 2.5), chance, links=True),
        "disk": lambda c: with_hung_disk(c, chance),
        "fast": lambda c: case(c, "kill -9, 200/20 ms", kill, (0.25, None), chance, election="200ms", heartbeat="20ms"),
        "transfer": transfers,
    })
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
