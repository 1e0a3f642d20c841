#!/usr/bin/env python3
"""Reads never go back: a reader goes from member to member with the bookmark of what it saw last, and one of them is behind.

That member was killed, missed writes, and is started again with its links blocked, so that it stays behind: without a bookmark it shows
what is old, or nothing. With the reader's bookmark it waits, or says by a transient error that it has not got so far, and never shows
an older state. Once it is reached again, what waited is answered with all of it. So for a follower, a former leader and a member that
lost its disk under Raft, for a standby, and for a member of a region with a bookmark of another region's log.
"""
import os
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, HotStandby, MultiRegion, RaftCluster, run_scenes, wait_for  # noqa: E402
from raw_bolt import BoltError, Connection  # noqa: E402

TRANSIENT = "Neo.TransientError."
LOOK = "MATCH (n:Seen) RETURN count(n)"


def connect(member):
    return Connection(member._wanted_ports["BOLT"], member.host, timeout=60)


def write(member, count=20):
    with connect(member) as connection:
        for _ in range(count):
            bookmark = connection.run("CREATE (:Seen)").summary["bookmark"]
    return bookmark


def without_bookmark(member):
    """How many it shows to whom nobody told of any; the code of its refusal."""
    with connect(member) as connection:
        try:
            return connection.run(LOOK, None, mode="r").rows[0][0]
        except BoltError as error:
            return error.code


class Reader:
    """Knows what it saw last by a bookmark alone, as a driver's session does."""

    def __init__(self):
        self.seen, self.bookmarks, self.went_back = 0, [], []

    def look(self, member, **extra):
        """"" once the member has shown what it has, or the code of its refusal."""
        with connect(member) as connection:
            try:
                result = connection.run(LOOK, None, mode="r", bookmarks=self.bookmarks, **extra)
            except BoltError as error:
                return error.code
        return self._saw(result.rows[0][0], result.summary, member)

    def look_in_transaction(self, member, **extra):
        with connect(member) as connection:
            try:
                connection.begin(mode="r", bookmarks=self.bookmarks, **extra)
                shown = connection.run(LOOK).rows[0][0]
                return self._saw(shown, connection.commit(), member)
            except BoltError as error:
                return error.code

    def look_later(self, member):
        """The same on a thread of its own, which puts its outcome into a list."""
        outcome = []
        thread = threading.Thread(target=lambda: outcome.append(self.look(member)), daemon=True)
        thread.start()
        return thread, outcome

    def _saw(self, shown, summary, member):
        if shown < self.seen:
            self.went_back.append(f"{member.name}: {shown} after {self.seen}")
        self.seen, self.bookmarks = shown, [summary["bookmark"]]
        return ""


def behind(checks, what, reader, member, heal, total):
    """The reader has seen all, the member runs and has not got it."""
    old = without_bookmark(member)
    refused = [reader.look(member, tx_timeout=300), reader.look_in_transaction(member, tx_timeout=300)]
    thread, outcome = reader.look_later(member)
    again = [reader.look(member, tx_timeout=100) for _ in range(5)]
    waits = thread.is_alive()
    older = old < total if isinstance(old, int) else old.startswith(TRANSIENT)
    checks.check(older and all(code.startswith(TRANSIENT) for code in refused + again) and not reader.went_back,
                 f"{what}: it is behind ({old} of {total}), and tells the reader to try again {refused} {set(again)} {reader.went_back}")
    with connect(member) as connection:
        shown = []

        def all_there():
            try:
                shown.append(connection.run(LOOK, None, mode="r").rows[0][0])
            except BoltError as error:
                if not error.transient():
                    raise
            return shown and shown[-1] == total
        if isinstance(old, int):
            all_there()
        heal()
        wait_for(all_there, 30, "all on the member that was behind")
    thread.join(40)
    # One that refuses at once may have done so before it was reached.
    last = outcome[0] if outcome and (waits or not outcome[0]) else reader.look(member)
    checks.check(last == "" and reader.seen == total and not reader.went_back,
                 f"{what}: reached again, it shows the reader all of it{', who waited' if waits else ''} {outcome} {reader.seen} {reader.went_back}")
    checks.check(shown == sorted(shown), f"{what}: a connection without bookmarks meanwhile sees it grow and never shrink {sorted(set(shown))}")


def raft(checks):
    with RaftCluster(3, links=True) as cluster:
        reader, total = Reader(), 0
        for what in ("a follower", "the former leader", "one without its disk"):
            write(cluster.leader(), 5)
            cluster.wait_until_ready()
            member = cluster.leader() if what == "the former leader" else cluster.followers()[0]
            member.kill()
            if what == "one without its disk":
                member.wipe()
            leader = cluster.leader(but=member)
            write(leader)
            total += 25
            other = next(m for m in cluster.running() if m is not leader)
            codes = [reader.look(m) for m in (leader, other)]
            checks.check(codes == ["", ""] and reader.seen == total, f"Raft, {what}: the reader sees {reader.seen} of {total} elsewhere {codes}")
            cluster.links.isolate(member.name, "block")
            member.start()
            behind(checks, f"Raft, {what}", reader, member, cluster.links.heal, total)
            cluster.wait_until_ready()


def hot_standby(checks):
    with HotStandby(proxies=True, sync_mode="async") as pair:
        reader = Reader()
        primary, standby = pair.primary(), pair.standby()
        write(primary, 5)
        pair.wait_until_synced()
        standby.kill()
        write(primary)
        code = reader.look(primary)
        checks.check(code == "" and reader.seen == 25, f"hot standby: the reader sees {reader.seen} of 25 on the primary {code}")
        pair.partition("ab", how="stall")
        standby.start()
        behind(checks, "hot standby, the standby", reader, standby, pair.heal, 25)


def regions(checks):
    """Killed, it has to hear its region's leader before it knows that there are other regions; stopped, it knows."""
    with MultiRegion() as world:
        reader, total = Reader(), 0
        east, west = world["east"], world["west"]
        for what in ("kill", "stop"):
            write(east.leader(), 5)
            world.wait_until_caught_up()
            member = east.followers()[0]
            getattr(member, what)()
            bookmark = write(east.leader())
            total += 25
            reader.bookmarks = [bookmark]
            code = reader.look(west.followers()[0])
            checks.check(code == "" and reader.seen == total and reader.bookmarks[0].split(":")[1] != bookmark.split(":")[1],
                         f"regions, {what}: the reader sees {reader.seen} of {total} in the other region, and has its bookmark {code}")
            world.links.isolate(member.name, "block")
            member.start()
            behind(checks, f"regions, {what}, a bookmark of the other one", reader, member, world.heal, total)
            east.wait_until_ready()


def main():
    checks = Checks()
    run_scenes(checks, (raft, hot_standby, regions))
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
