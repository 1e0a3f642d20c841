"""What the tests of several regions share: dumps by names and ids, conflicts, statements on one member."""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import wait_for  # noqa: E402
from raft_common import local_read, write  # noqa: E402,F401  pylint: disable=unused-import
from raw_bolt import BoltError, Connection, Disconnected  # noqa: E402

FORBIDDEN = "Neo.ClientError.Security.Forbidden"


def run(member, query, parameters=None, **extra):
    """Rows and summary of one statement on this member."""
    with Connection(member._wanted_ports["BOLT"], member.host, timeout=60) as connection:
        result = connection.run(query, parameters, **extra)
        return result.rows, result.summary


def refusal(member, query, parameters=None):
    """The code and text of a statement's refusal; None if it was taken."""
    try:
        run(member, query, parameters)
    except BoltError as error:
        return error.code, error.message
    return None


def lead_run(region, query, parameters=None):
    """The same on whoever leads the region, again and again where a change of leaders gets in the way; so it must be idempotent."""
    out = []

    def attempt():
        out[:] = run(region.leader(), query, parameters)
        return True
    take_over(attempt)
    return out


def dump(member):
    """The graph that a member shows, ids and all, in one order."""
    nodes = local_read(member, "MATCH (n) RETURN id(n), labels(n), properties(n)", 120)
    ends = local_read(member, "MATCH (a)-[r]->(b) RETURN id(r), type(r), id(a), id(b), properties(r)", 120)
    return (sorted((i, sorted(labels), sorted((k, repr(v)) for k, v in p.items())) for i, labels, p in nodes),
            sorted((i, kind, a, b, sorted((k, repr(v)) for k, v in p.items())) for i, kind, a, b, p in ends))


def difference(world, seconds=5):
    """"" once all members with data of all running regions show the same graph; else what differs, for people."""
    def dumps():
        return {m.name: dump(m) for region in world.running() for m in region.data_members() if m.answers()}
    try:
        wait_for(lambda: len({str(d) for d in dumps().values()}) == 1, seconds)
        return ""
    except TimeoutError:
        found = dumps()
        first_name, first = next(iter(found.items()))
        for name, other in found.items():
            for mine, theirs, what in zip(first, other, ("nodes", "relationships")):
                only, missing = [x for x in mine if x not in theirs], [x for x in theirs if x not in mine]
                if only or missing:
                    return (f"{len(mine)} {what} on {first_name}, {len(theirs)} on {name}; only there: {only[:3]}, "
                            f"only here: {missing[:3]}")
        return ""


def conflicts(member, where="true"):
    """Rows of the conflict log as maps, the newest first."""
    names = ("id", "kind", "state", "entity", "elementId", "key", "winner", "winnerRegion", "loser", "loserRegion", "at", "resolution",
             "resolvedBy", "metadata")
    rows, _ = run(member, f"SHOW CONFLICTS YIELD {', '.join(names)} WHERE {where}")
    return [dict(zip(names, row)) for row in rows]


class Outage:
    """Kills a region's leader, lets the others elect one, and starts it again after a while."""

    def __init__(self, region, away=2.0):
        self._region, self._away = region, away

    def strike(self):
        leader = self._region.leader()
        leader.kill()
        began = time.monotonic()
        self._region.leader(but=leader)
        time.sleep(max(0.0, self._away - (time.monotonic() - began)))
        leader.start()
        return leader.name


def take_over(action, seconds=20, what="it to be taken"):
    """Repeats what may meet a change of leaders until it is taken."""
    def attempt():
        try:
            return action() or True
        except (BoltError, Disconnected, OSError) as error:
            if isinstance(error, BoltError) and not (error.transient() or error.code.endswith("NotALeader")):
                raise
            return False
    return wait_for(attempt, seconds, what)
