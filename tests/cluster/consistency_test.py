#!/usr/bin/env python3
"""The consistency levels ONE, LOCAL_ONE, QUORUM, LOCAL_QUORUM and ALL, for reads and writes, told apart by faults; data versions.

Raft with a member that is cut off: what each level still does on which member. A hot standby that falls silent: a write of QUORUM
waits for it where the mode alone would not. Two regions far apart: what a level waits for, and what is left when one is lost. Then
the data version of an answer, and that what a connection was shown does not go away unseen.
"""
import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, HotStandby, MultiRegion, RaftCluster, run_scenes, wait_for  # noqa: E402
from ha_common import UNKNOWN_CODES  # noqa: E402
from raw_bolt import PULL, RESET, RUN, BoltError, Connection  # noqa: E402

LEVELS = ("ONE", "LOCAL_ONE", "QUORUM", "LOCAL_QUORUM", "ALL")
TRANSIENT = "Neo.TransientError."


def connect(member, **hello):
    return Connection(member._wanted_ports["BOLT"], member.host, timeout=60, **hello)


def write(member, level, name):
    """The code of the refusal, or "", and how long it took."""
    with connect(member) as connection:
        began = time.monotonic()
        try:
            connection.run("CREATE (:L {name: $name})", {"name": name}, tx_metadata={"consistency": level} if level else {})
            code = ""
        except BoltError as error:
            code = error.code
        return code, time.monotonic() - began


def read(member, level, **extra):
    """Names that are seen, or the code of the refusal."""
    with connect(member) as connection:
        try:
            metadata = {"consistency": level} if level else {}
            return sorted(r for [r] in connection.run("MATCH (n:L) RETURN n.name", None, mode="r", tx_metadata=metadata, **extra).rows)
        except BoltError as error:
            return error.code


class Later:
    """A write on a thread of its own, to see that it waits."""

    def __init__(self, member, level, name):
        self.code = None
        self._thread = threading.Thread(target=self._run, args=(member, level, name), daemon=True)
        self._thread.start()

    def _run(self, *what):
        self.code, self.seconds = write(*what)

    def waits(self):
        return self.code is None

    def end(self, seconds=30):
        self._thread.join(seconds)
        return self.code


def raft(checks):
    with RaftCluster(3, links=True) as cluster:
        leader = cluster.leader()
        near, far = cluster.followers()
        calm = {level: write(leader, level, "calm " + level)[0] for level in LEVELS}
        seen = {(m.name, level): len(read(m, level)) for m in (leader, near, far) for level in LEVELS[2:]}
        checks.check(set(calm.values()) == {""} and set(seen.values()) == {5},
                     f"Raft: with all members there every level writes and reads, on every member {calm} {seen}")

        # A level is told in the routing context of a connection, too.
        with connect(far, routing={"address": "x:1", "consistency": "ALL"}) as connection:
            rows = connection.run("MATCH (n:L) RETURN count(n)", None, mode="r").rows
        with connect(leader) as connection:
            try:
                connection.run("RETURN 1", None, tx_metadata={"consistency": "MOST"})
                code = ""
            except BoltError as error:
                code = error.code
        checks.check(rows == [[5]] and code == "Neo.ClientError.Statement.ArgumentError", f"Raft: a routing context names one, and what is none is refused {code}")

        # Its silence is not known yet: the write is committed and waits for it.
        cluster.links.isolate(far.name, "block")
        waiting = Later(leader, "ALL", "late")
        wait_for(lambda: "late" in read(leader, "ONE"), 10, "the write")
        time.sleep(0.3)
        waits = waiting.waits()
        cluster.links.heal()
        checks.check(waits and waiting.end() == "", f"Raft: a write of ALL that is committed waits for the last member, and no longer {waiting.code}")

        cluster.wait_until_ready()
        leader = cluster.leader()
        near, far = cluster.followers()
        wait_for(lambda: len(read(far, "ONE")) == 6, 10, "all on the member that will be cut off")
        cluster.links.isolate(far.name, "block")
        wait_for(lambda: any(p["id"] == far.name and not p["healthy"] for p in leader.replication()["peers"]), 20, "its silence to be noticed")
        codes = {level: write(leader, level, "cut " + level) for level in LEVELS}
        checks.check(all(codes[level][0] == "" and codes[level][1] < 5 for level in LEVELS[:4]) and
                     codes["ALL"][0] == TRANSIENT + "General.DatabaseUnavailable" and codes["ALL"][1] < 1,
                     f"Raft: with one member cut off a majority writes, ALL is refused at once {codes}")
        here = read(leader, "QUORUM")
        checks.check("cut ALL" not in here and {"cut ONE", "cut QUORUM"} <= set(here), "Raft: and what was refused was not written")
        old, quorum, nearby = read(far, "ONE"), read(far, "QUORUM", tx_timeout=3000), read(near, "QUORUM")
        checks.check(len(old) == 6 and str(quorum).startswith(TRANSIENT) and nearby == here,
                     f"Raft: cut off, ONE reads what was there before, QUORUM refuses; another follower reads all of it {len(old)} {quorum}")
        everyone = [read(m, "ALL", tx_timeout=3000) for m in (leader, near)]
        checks.check(all(str(code).startswith(TRANSIENT) for code in everyone), f"Raft: reads of ALL are refused while one is missing {everyone}")
        cluster.links.heal()
        cluster.wait_until_ready()
        checks.check(read(cluster.leader(), "ALL") == here and read(cluster.followers()[0], "ALL") == here,
                     "Raft: and answered once it is back, on the leader and elsewhere")
        interrupted(checks, cluster)
        versions(checks, cluster)


def interrupted(checks, cluster):
    """RESET while a committed write waits for members that are away."""
    leader = cluster.leader()
    away = cluster.followers()[0]
    cluster.links.isolate(away.name, "block")
    with connect(leader) as connection:
        connection.send(RUN, "CREATE (:L {name: 'reset'})", {}, {"tx_metadata": {"consistency": "ALL"}})
        connection.send(PULL, {"n": -1})
        connection.flush()
        wait_for(lambda: "reset" in read(leader, "ONE"), 10, "the write")
        began = time.monotonic()
        connection.send(RESET)
        connection.flush()
        codes = []
        for _ in range(2):
            try:
                connection.answer()
            except BoltError as error:
                codes.append(error.code)
        connection.answer()
        took = time.monotonic() - began
        usable = connection.run("RETURN 1", None, mode="r").rows == [[1]]
    cluster.links.heal()
    cluster.wait_until_ready()
    checks.check(codes[0] in UNKNOWN_CODES and took < 2 and usable,
                 f"Raft: RESET ends the wait at once, with a code that no driver tries again {codes} {took:.2f} s")


def versions(checks, cluster):
    leader, follower = cluster.leader(), cluster.followers()[0]
    with connect(leader) as connection:
        first = connection.run("CREATE (:V)").summary
        connection.begin()
        connection.run("CREATE (:V)")
        second = connection.commit()
        third = connection.run("MATCH (v:V) RETURN count(v)", None, mode="r").summary
    numbers = [s.get("data_version") for s in (first, second, third)]
    checks.check(all(numbers) and numbers == sorted(numbers) and numbers[0] < numbers[1] and str(numbers[1]) in second["bookmark"],
                 f"data version: answers to PULL and COMMIT have it, and it grows {numbers}")
    with connect(follower) as connection:
        rows = connection.run("MATCH (v:V) RETURN count(v)", None, mode="r", tx_metadata={"data_version": numbers[1]}).rows
        began, code, text = time.monotonic(), "", ""
        try:
            connection.run("RETURN 1", None, mode="r", tx_metadata={"data_version": numbers[1] + 1000}, tx_timeout=400)
        except BoltError as error:
            code, text = error.code, error.message
        took = time.monotonic() - began
    checks.check(rows == [[2]], "data version: a member waits until it has what is asked for")
    checks.check(code == TRANSIENT + "Transaction.BookmarkTimeout" and "not up to the requested version" in text and took < 3,
                 f"data version: one that cannot be reached in time is refused as transient, with both versions: {text}")
    status, said = follower.http("POST", "/db/neo4j/query/v2", {"statement": "MATCH (v:V) RETURN count(v)", "accessMode": "READ",
                                                               "dataVersion": numbers[1], "consistency": "QUORUM"})
    checks.check(status == 202 and said["data"]["values"] == [[2]] and said["dataVersion"] >= numbers[1], f"data version: over HTTP, too {said}")
    status, said = follower.http("POST", "/db/neo4j/query/v2", {"statement": "RETURN 1", "dataVersion": "x"})
    checks.check(status == 400 and "dataVersion" in str(said), f"data version: what is none is refused {status} {said}")


def hot_standby(checks):
    with HotStandby(sync_mode="async", proxies=True, fence_policy="available", failover="6s") as pair:
        primary, standby = pair.primary(), pair.standby()
        times = {level: write(primary, level, level) for level in LEVELS}
        checks.check({code for code, _ in times.values()} == {""} and max(seconds for _, seconds in times.values()) < 1.5,
                     f"hot standby: every level writes, as fast as the disks {[f'{s * 1000:.0f} ms' for _, s in times.values()]}")
        standby.pause()
        try:
            code, seconds = write(primary, None, "alone")
            waiting = Later(primary, "QUORUM", "both")
            wait_for(lambda: "both" in read(primary, "ONE"), 10, "the write")
            time.sleep(0.3)
            waits = waiting.waits()
        finally:
            standby.resume()
        checks.check(code == "" and seconds < 1 and waits and waiting.end() == "",
                     f"hot standby: async goes on without the standby, QUORUM waits until it has the write on disk {code} {waits} {waiting.code}")
        refused = read(standby, "QUORUM")
        checks.check(read(primary, "ALL") == read(primary, "QUORUM") and str(refused).startswith(TRANSIENT),
                     f"hot standby: the primary answers reads of QUORUM and ALL, the standby sends readers on {refused}")
        for link in pair.links.values():
            link.cut()
        tried = []  # Before the primary notices, one may be taken, whose outcome is unknown then: it is written.

        def is_refused():
            tried.append(f"no {len(tried)}")
            return write(primary, "ALL", tried[-1])[0].startswith(TRANSIENT)
        wait_for(is_refused, 20, "a refusal")
        checks.check(write(primary, "ONE", "yes")[0] == "" and tried[-1] not in read(primary, "ONE") and
                     str(read(primary, "ALL", tx_timeout=2000)).startswith(TRANSIENT),
                     "hot standby: cut off, ONE writes on, ALL is refused for reads and writes")
        went_away(checks, pair, primary, standby)


def went_away(checks, pair, old, new):
    """The old primary goes on alone, the standby takes over; the old one gives up what nobody else had."""
    with connect(old) as connection:
        connection.run("CREATE (:L {name: 'lost'})")
        wait_for(lambda: new.replication()["role"] == "primary", 30, "the standby to take over")
        write(new, None, "kept")
        for _ in range(3):
            write(new, None, "more")
        before = connection.run("MATCH (n:L {name: 'lost'}) RETURN count(n)", None, mode="r").rows
        for link in pair.links.values():
            link.restore()
        pair.wait_until_synced()
        codes, rows = [], None
        for _ in range(2):
            try:
                rows = connection.run("MATCH (n:L) WHERE n.name IN ['lost', 'kept'] RETURN n.name", None, mode="r").rows
            except BoltError as error:
                codes.append(error.code)
    checks.check(before == [[1]] and codes == [TRANSIENT + "General.DatabaseUnavailable"] and rows == [["kept"]],
                 f"monotonic: a connection is told once that what it was shown is gone, and then reads what is {before} {codes} {rows}")
    with connect(new) as connection:
        # The order of two databases on one connection is that of one log.
        at = connection.run("CREATE (:L {name: 'last'})").summary["data_version"]
        system = connection.run("SHOW USERS", None, mode="r", db="system").summary["data_version"]
        again = connection.run("MATCH (n:L {name: 'last'}) RETURN count(n)", None, mode="r")
    checks.check(system >= at and again.rows == [[1]] and again.summary["data_version"] >= system,
                 f"monotonic: over two databases on one connection, too {at} {system}")


def regions(checks):
    with MultiRegion(size=1) as world:
        east, west = world["east-1"], world["west-1"]
        world.delay("east", "west", 0.1)
        write(east, None, "warm")
        near = {level: write(east, level, "near " + level) for level in LEVELS[:2] + ("LOCAL_QUORUM",)}
        far = {level: write(east, level, "far " + level) for level in ("QUORUM", "ALL")}
        checks.check(all(code == "" and seconds < 0.15 for code, seconds in near.values()) and
                     all(code == "" and 0.19 < seconds < 3 for code, seconds in far.values()),
                     f"regions: QUORUM and ALL wait for the other one, 200 ms there and back, the others do not "
                     f"{[f'{s * 1000:.0f} ms' for _, s in near.values()]} {[f'{s * 1000:.0f} ms' for _, s in far.values()]}")
        for i in range(3):
            write(east, "QUORUM", f"safe {i}")
        world.cut("east", "west")
        alone = [write(east, None, f"alone {i}")[0] for i in range(5)]
        east.kill()
        left = read(west, "ONE")
        checks.check(all(f"safe {i}" in left for i in range(3)) and alone == [""] * 5 and not any(f"alone {i}" in left for i in range(5)),
                     f"regions: a region that is lost takes with it what only it had, and nothing that QUORUM acknowledged {len(left)}")
        world.heal()
        east.start()
        world.wait_until_caught_up()
        world.cut("east", "west")
        wait_for(lambda: write(east, "QUORUM", "cut")[0].startswith(TRANSIENT), 30, "a refusal")
        codes = [write(east, level, "cut " + level)[0] for level in LEVELS]
        checks.check(codes[0] == codes[1] == codes[3] == "" and codes[2] == codes[4] == TRANSIENT + "General.DatabaseUnavailable",
                     f"regions: cut off, a region's own levels go on and the others are refused {codes}")


def main():
    checks = Checks()
    run_scenes(checks, (raft, hot_standby, regions))
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
