#!/usr/bin/env python3
"""Partitions of five members: who has a majority goes on, who has none refuses writes at once, serves reads, and heals.

Through every partition stubborn clients write on each member, one number grows wherever it can, and it is read on every
member in access mode WRITE: no such read may be older than what was acknowledged before it began.
NORNICDB_NAMESPACES=1 runs it in network namespaces (as root), where packets are lost in silence; by default links are proxies.
"""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, RaftCluster, wait_for  # noqa: E402
from ha_common import DirectWriter, Ledger, prepare  # noqa: E402
from raft_common import TRANSIENT, Register, differences, local_read, write  # noqa: E402

ELECTION = 0.5
AT_ONCE = 0.5
LINKS = "namespaces" if os.environ.get("NORNICDB_NAMESPACES") else True
LASTS = float(os.environ.get("NORNICDB_PARTITION_SECONDS", "2.5"))


class Case:
    def __init__(self, checks, cluster, ledger, register, name):
        self.checks, self.cluster, self.ledger, self.register, self.name = checks, cluster, ledger, register, name
        self.leader = cluster.wait_until_ready()
        self.term = self.leader.replication()["term"]
        self.others = [m for m in cluster.data_members() if m is not self.leader]

    def check(self, ok, what):
        return self.checks.check(ok, f"{self.name}: {what}")

    def cut(self, side, other_side, how="cut"):
        for one in side:
            for other in other_side:
                getattr(self.cluster.links, how)(one.name, other.name)
                if how == "block":
                    self.cluster.links.block(other.name, one.name)

    def cut_off(self, members):
        """What members without a majority do."""
        for member in members:
            # Once it knows: at once.
            wait_for(lambda member=member: member.replication()["state"] == "no_quorum", 6 * ELECTION, f"no_quorum on {member.name}")
            code, seconds = write(member)
            self.check(code.startswith(TRANSIENT) and seconds < AT_ONCE,
                       f"{member.name} refuses writes: {code or 'taken'} after {seconds * 1000:.0f} ms")
            began = time.monotonic()
            rows = local_read(member, "MATCH (r:Register) RETURN r.v")
            self.check(len(rows) == 1 and time.monotonic() - began < AT_ONCE, f"{member.name} still reads")
            said = member.replication()
            self.check(said["state"] != "ready" and bool(said["reason"]), f"and says why: {said['state']}: {said['reason']}")

    def goes_on(self, members):
        """These have a majority: they lead, and take writes that begin now."""
        names = {m.name for m in members}
        leader = wait_for(lambda: next((m for _, m in reversed(self.cluster.leaders()) if m.name in names), None), 10, "a leader")
        moment = time.monotonic()
        wait_for(lambda: self.ledger.first_after(moment), 10, "a write")
        self.check(True, f"{leader.name} leads, writes go on")
        return leader

    def heal(self):
        time.sleep(max(0.0, LASTS - (time.monotonic() - self.began)))
        self.cluster.links.heal()
        began = time.monotonic()
        self.cluster.wait_until_ready()
        acknowledged = self.register.acknowledged
        wait_for(lambda: self.register.acknowledged > acknowledged, 10, "a write after it")
        self.check(not self.register.stale, f"no stale read of {sum(self.register.reads.values())}, healed after "
                                            f"{time.monotonic() - began:.2f} s {self.register.stale[:3] or ''}")
        problems = self.ledger.problems(self.cluster.leader())
        self.check(not problems, f"all of {len(self.ledger.acknowledged)} acknowledged writes are there, once {problems or ''}")

    def __enter__(self):
        self.began = time.monotonic()
        return self

    def __exit__(self, kind, error, _):
        if kind is not None:
            self.check(False, f"{kind.__name__}: {error}")
        self.heal()
        return isinstance(error, Exception)


def partitions(checks, cluster, ledger, register):
    def case(name):
        return Case(checks, cluster, ledger, register, name)

    with case("a minority with the leader") as c:
        c.cut([c.leader, c.others[0]], c.others[1:])
        c.goes_on(c.others[1:])
        c.cut_off([c.leader, c.others[0]])

    with case("a minority without it") as c:
        c.cut(c.others[:2], [c.leader, *c.others[2:]])
        c.goes_on([c.leader])
        c.cut_off(c.others[:2])
        c.check(c.leader.replication()["term"] == c.term, "the leader stayed")

    with case("the leader alone, silently") as c:
        c.cut([c.leader], c.others, "block")
        c.goes_on(c.others)
        c.cut_off([c.leader])

    with case("the leader hears nobody") as c:
        for other in c.others:
            cluster.links.block(other.name, c.leader.name)
        c.goes_on(c.others)
        c.cut_off([c.leader])

    with case("nobody hears the leader") as c:
        for other in c.others:
            cluster.links.block(c.leader.name, other.name)
        c.goes_on(c.others)
        c.cut_off([c.leader])

    with case("a follower that is not heard") as c:
        for member in cluster.data_members():
            if member is not c.others[0]:
                cluster.links.block(c.others[0].name, member.name)
        c.goes_on([c.leader])
        time.sleep(2 * ELECTION)
        c.check(c.leader.replication()["term"] == c.term, "does not disturb")

    with case("a ring: each hears its two neighbours") as c:
        members = cluster.data_members()
        for i, member in enumerate(members):
            cluster.links.cut(member.name, members[(i + 2) % len(members)].name)
        c.goes_on(members)

    with case("leader and one follower do not hear each other") as c:
        cluster.links.cut(c.leader.name, c.others[0].name)
        time.sleep(3 * ELECTION)
        c.goes_on([c.leader, *c.others])
        c.check(c.leader.replication()["term"] == c.term, "the leader stayed")

    with case("every member alone") as c:
        for i, member in enumerate(cluster.data_members()):
            c.cut([member], cluster.data_members()[:i])
        c.cut_off(cluster.data_members())


def main():
    checks = Checks()
    ledger = Ledger()
    with RaftCluster(5, links=LINKS, election=f"{int(ELECTION * 1000)}ms", heartbeat="50ms") as cluster:
        prepare(cluster.leader())
        members = cluster.data_members()
        writers = [DirectWriter([m], ledger, w) for w, m in enumerate(members)]
        with Register(members, pause=0.01) as register:
            wait_for(lambda: register.acknowledged, what="a write")
            for writer in writers:
                writer.__enter__()
            try:
                partitions(checks, cluster, ledger, register)
            finally:
                for writer in writers:
                    writer._stop.set()
                for writer in writers:
                    writer.__exit__()
        cluster.wait_until_ready()
        problems = ledger.problems(cluster.leader())
        checks.check(not problems, f"all of {len(ledger.acknowledged)} acknowledged writes are there, once {problems or ''}")
        checks.check(not register.stale, f"no stale read of {register.reads} {register.stale[:3] or ''}")
        differs = differences(cluster)
        checks.check(not differs, f"all members show the same {differs}")
        codes = {code for writer in writers for _, code, _ in writer.refusals}
        checks.check(all(c.startswith(TRANSIENT) or c in ("Neo.ClientError.Cluster.NotALeader",
                                                          "Neo.DatabaseError.Transaction.TransactionCommitFailed") for c in codes),
                     f"clients were told so in words of the list: {sorted(codes)}")
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
