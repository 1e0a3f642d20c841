#!/usr/bin/env python3
"""A partition that lasts longer than the failover time-out, under each fence policy: what docs/modes/ha_standby.md says.

Each case runs a client on each data member, bolt:// and stubborn, cuts links by proxies, waits until the partition has
shown what it does, heals it, and looks at what became of every acknowledged write: it is in the graph of both, or, where
the page says that a branch is lost, in a file under diverged/ of the member that had it.
"""
import glob
import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, HotStandby, run_scenes, wait_for  # noqa: E402
from ha_common import DirectWriter, Ledger, equal, numbers, prepare  # noqa: E402
from raw_bolt import BoltError, Connection  # noqa: E402

FAILOVER = 1.0
TRANSIENT = "Neo.TransientError.General.DatabaseUnavailable"


def diverged(member):
    """(w, s) of all nodes in the files of lost branches; a line that is no JSON fails here."""
    out = set()
    for path in glob.glob(os.path.join(member.data_dir, "diverged", "*.jsonl")):
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                for change in json.loads(line)["changes"]:
                    found = change.get("properties") or {}
                    if "w" in found and "s" in found:
                        out.add((found["w"], found["s"]))
    return out


class Case:
    """One partition: clients write on both members from before it until after it."""

    def __init__(self, checks, name, cuts, how="cut", **settings):
        self.checks, self.name, self.cuts, self.how, self.settings = checks, name, cuts, how, settings
        self.ledgers = {"a": Ledger(), "b": Ledger()}
        self.during = {"a": set(), "b": set()}

    def check(self, ok, what):
        self.checks.check(ok, f"{self.name}: {what}")

    def run(self, expect):
        with HotStandby(proxies=True, **self.settings) as pair:
            prepare(pair.primary())
            with DirectWriter([pair["a"]], self.ledgers["a"], 0) as a, DirectWriter([pair["b"]], self.ledgers["b"], 1) as b:
                wait_for(lambda: len(self.ledgers["a"].acknowledged) > 20, what="writes before the partition")
                self.began = began = time.monotonic()
                pair.partition(*self.cuts, how=self.how)
                expect(self, pair, began)
                # Longer than the time-out, whatever came of it.
                time.sleep(max(0.0, began + 3 * FAILOVER - time.monotonic()))
                healed = time.monotonic()
                self.states = {name: pair[name].replication() for name in "ab"}
                for name in "ab":
                    acknowledged, _ = self.ledgers[name].snapshot()
                    # Well after its beginning, so that what was on its way then does not count.
                    self.during[name] = {key for key, (start, _) in acknowledged.items() if start > began + 2.2 * FAILOVER}
                pair.heal()
                pair.wait_until_synced()
                wait_for(lambda: any(ledger.first_after(healed) for ledger in self.ledgers.values()),
                         what="a write after the partition")
                self.refusals = {"a": list(a.refusals), "b": list(b.refusals)}
            wait_for(lambda: not equal(pair), 20, "the same on both members")
            self.graph = set(numbers(pair.primary()))
            self.twice = len(numbers(pair.primary())) != len(self.graph)
            self.saved = {name: diverged(pair[name]) for name in "ab"}
            self.counted = sum(pair[name].replication()["diverged_entries"] for name in "ab")
            self.roles = {name: pair.role_of(name) for name in "ab"}
            self.logs = {name: "\n".join(pair[name].log) for name in "ab"}
        self.acknowledged = {key for ledger in self.ledgers.values() for key in ledger.acknowledged}
        self.gone = self.acknowledged - self.graph
        self.check(not self.twice, "nothing is there twice")

    def nothing_lost(self):
        self.check(not self.gone, f"all of {len(self.acknowledged)} acknowledged writes are there {sorted(self.gone)[:3] or ''}")

    def refused(self, name):
        """The codes that the stubborn client of a member was answered."""
        return {code for _, code, _ in self.refusals[name]}


def probe(member):
    """The code of a write that a new client tries; "" if it is taken."""
    with Connection(member.bolt_port, timeout=40) as connection:
        try:
            connection.run("CREATE (:Probe)")
            return ""
        except BoltError as error:
            return error.code


def wait_for_role(pair, name, role):
    wait_for(lambda: pair.role_of(name) == role, 15, f"member {name} as {role}")


def available(checks, how):
    """Both go on; the later epoch stays, the other branch is saved."""
    case = Case(checks, f"available, {how}", ["ab"], how=how)

    def expect(self, pair, _):
        wait_for_role(pair, "b", "primary")

    case.run(expect)
    case.check(case.during["a"] and case.during["b"],
               f"both took writes ({len(case.during['a'])} and {len(case.during['b'])})")
    case.check(case.states["a"]["state"] == "degraded", f"the first one said that it is degraded: {case.states['a']['state']}")
    case.check(case.roles == {"a": "standby", "b": "primary"}, f"the later epoch stayed: {case.roles}")
    case.check(case.during["b"] <= case.graph, "nothing of the branch that stayed is lost")
    case.check(case.gone and case.gone <= case.saved["a"], f"all {len(case.gone)} writes of the other one are under diverged/ "
               f"{sorted(case.gone - case.saved['a'])[:3] or ''}")
    case.check(case.counted >= len(case.gone), f"status counts them: {case.counted}")
    case.check("diverged" in case.logs["a"] or "branch" in case.logs["a"], "the log says it")


def sync_available(checks):
    """Neither acknowledges alone."""
    case = Case(checks, "sync", ["ab"], sync_mode="sync")
    def expect(self, pair, _):
        wait_for_role(pair, "b", "primary")
        self.probed = [probe(pair[name]) for name in "ab"]

    case.run(expect)
    case.check(not case.during["a"] and not case.during["b"], "nobody acknowledged alone")
    case.check(case.probed == [TRANSIENT] * 2, f"clients of both were told to try again: {case.probed}")
    case.nothing_lost()


def strict(checks):
    """The first one stops before the other begins, which stops in turn while it is alone."""
    case = Case(checks, "strict", ["ab"], fence_policy="strict")

    def expect(self, pair, began):
        wait_for(lambda: not pair["a"].replication()["accepts_writes"], 5, "the primary to stop")
        self.stopped = time.monotonic() - began
        self.probed = probe(pair["a"])
        wait_for_role(pair, "b", "primary")
        self.promoted = time.monotonic() - began

    case.run(expect)
    case.check(case.stopped < case.promoted,
               f"the primary stopped after {case.stopped:.2f} s, the standby began after {case.promoted:.2f} s")
    took = [start for start, _ in case.ledgers["b"].acknowledged.values() if start < case.began + 3 * FAILOVER]
    case.check(took and not case.during["a"], f"only the new one took writes, {len(took)} of them")
    case.check(case.probed == TRANSIENT, f"the old one's clients were told to try again: {case.probed}")
    case.nothing_lost()


def witness_link(checks):
    """Only the link between the two is cut: the witness hears both, and the primary stays."""
    case = Case(checks, "witness, link cut", ["ab"], witness=True)
    case.run(lambda self, pair, _: wait_for(lambda: pair["a"].replication()["state"] == "degraded", 10, "degradation"))
    case.check(case.states["b"]["role"] == "standby", f"the standby stayed one: {case.states['b']['state']}")
    case.check(bool(case.during["a"]) and not case.during["b"], "the primary went on alone")
    case.check(case.roles == {"a": "primary", "b": "standby"}, f"and stayed: {case.roles}")
    case.nothing_lost()


def witness_primary_isolated(checks):
    """The primary hears nobody: it stops, the witness votes for the standby."""
    case = Case(checks, "witness, primary isolated", ["ab", "aw"], witness=True)
    def expect(self, pair, _):
        wait_for_role(pair, "b", "primary")
        self.probed = probe(pair["a"])

    case.run(expect)
    case.check(not case.during["a"] and bool(case.during["b"]), "only the new primary took writes")
    case.check(case.probed == TRANSIENT, f"the old one's clients were told to try again: {case.probed}")
    case.check(case.roles == {"a": "standby", "b": "primary"}, f"the new one stayed: {case.roles}")
    case.nothing_lost()


def witness_standby_isolated(checks):
    """The standby hears nobody: it stays one."""
    case = Case(checks, "witness, standby isolated", ["ab", "bw"], witness=True)
    case.run(lambda self, pair, _: wait_for(lambda: pair["a"].replication()["state"] == "degraded", 10, "degradation"))
    case.check(case.states["b"]["role"] == "standby", f"it stayed a standby: {case.states['b']['state']}")
    case.check(bool(case.during["a"]) and not case.during["b"], "the primary went on alone")
    case.nothing_lost()


def main():
    checks = Checks()
    run_scenes(checks, {"available_cut": lambda c: available(c, "cut"), "available_stall": lambda c: available(c, "stall"),
                        **{f.__name__: f for f in (sync_available, strict, witness_link, witness_primary_isolated, witness_standby_isolated)}})
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
