#!/usr/bin/env python3
"""The four official drivers at once against a cluster that is broken every few seconds, in each mode that has several members.

Kill -9, SIGSTOP, partitions, planned transfers and rolling restarts, for NORNICDB_SECONDS (default 12) in each mode, one every
NORNICDB_FAULT_SECONDS (default 10, or 2 if the whole takes less than a minute), the leader more often than not. No error may reach an
application that its driver hides, no write may be lost or doubled, each read must see the writes that its bookmarks tell of, and
nobody may stand still for 30 s. driver_common.py says which errors are allowed and when. NORNICDB_SEED draws the faults, NORNICDB_MODES
and NORNICDB_DRIVERS name some of raft,standby,regions and python,javascript,go,java; NORNICDB_WORKERS (default 3) and
NORNICDB_PAUSE_MS (between two rounds of a worker, default 25) make the load; NORNICDB_ELECTION (default 1s) is how long a leader may be
silent, for machines on which everything else may be, too.
"""
import os
import random
import shutil
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from driver_common import PREPARE, Client, Fault, Judge, clock, contents, drivers  # noqa: E402
from harness import Checks, HotStandby, MultiRegion, RaftCluster, ServerFailed, wait_for, work_folder  # noqa: E402
from raft_common import local_read, write  # noqa: E402

SECONDS = float(os.environ.get("NORNICDB_SECONDS", "12"))
EVERY = float(os.environ.get("NORNICDB_FAULT_SECONDS", "10" if SECONDS >= 60 else "2"))
SEED = int(os.environ.get("NORNICDB_SEED", str(random.randrange(1 << 32))))
WORKERS = int(os.environ.get("NORNICDB_WORKERS", "3"))
PAUSE_MS = int(os.environ.get("NORNICDB_PAUSE_MS", "25"))
ELECTION = os.environ.get("NORNICDB_ELECTION", "1s")


class Faults:
    """Breaks a cluster, one fault at a time, and says what was broken when. A subclass knows who leads and how links are cut."""

    KINDS = ("kill", "pause", "part", "transfer", "roll")

    def __init__(self, cluster, chance):
        self.cluster, self.chance = cluster, chance
        self.done = []

    def strike(self, kind):
        began = time.time()
        who, kills = getattr(self, kind)()
        ended = time.time()
        self.heal()
        self.done.append(Fault(kind, who, began, ended, time.time(), kills))
        print(f"        {clock(began)} {kind} {who}, {ended - began:.1f} s, whole {self.done[-1].healed - ended:.1f} s later", flush=True)

    def name(self, member):
        return next(name for name, other in self.cluster.members.items() if other is member)

    def leader(self):
        raise NotImplementedError

    def heal(self):
        raise NotImplementedError

    def settle(self):
        """Until all members have everything, once nobody writes any more."""
        self.heal()

    def some(self):
        """The leader three times of four."""
        return self.leader() if self.chance.random() < 0.75 else self.chance.choice(list(self.cluster.members.values()))

    def wait(self, low, high):
        time.sleep(self.chance.uniform(low, high))

    def kill(self):
        member = self.some()
        member.kill()
        self.wait(0.2, 3)
        member.start()
        return self.name(member), True

    def pause(self):
        member = self.some()
        member.pause()
        self.wait(1, 4)
        member.resume()
        return self.name(member), False

    def roll(self):
        """Each member in turn is stopped (SIGTERM), started and waited for."""
        members = list(self.cluster.members.values())
        self.chance.shuffle(members)
        for member in members:
            if member.stop() != 0:
                raise RuntimeError(f"{self.name(member)} did not stop cleanly:\n{member.log_tail()}")
            member.start()
            self.heal()
        return " ".join(self.name(m) for m in members), False


class RaftFaults(Faults):
    def leader(self):
        return self.cluster.leader()

    def heal(self):
        self.cluster.wait_until_ready(60)

    def part(self):
        name, how = self.name(self.some()), self.chance.choice(("cut", "block"))
        self.cluster.links.isolate(name, how)
        self.wait(1, 4)
        self.cluster.links.heal()
        return f"{name} ({how})", False

    def transfer(self):
        def handed_over():
            """Refused as long as the leader hears no other voter."""
            leader = self.leader()
            return leader if self.cluster.post("/admin/cluster/transfer-leadership", {}, leader)[0] == 200 else None
        old = wait_for(handed_over, 20, "a transfer of leadership")
        self.cluster.leader(but=old)
        return self.name(old), False


class StandbyFaults(Faults):
    def leader(self):
        return self.cluster.primary()

    def heal(self):
        self.cluster.wait_until_synced()

    def part(self):
        """The primary, another one, or the two from each other alone."""
        name, how = self.name(self.some()), self.chance.choice(("cut", "stall"))
        pairs = ["ab"] if self.chance.random() < 0.3 else [name + other for other in self.cluster.names if other != name]
        self.cluster.partition(*pairs, how=how)
        self.wait(1, 4)
        self.cluster.heal()
        return f"{' '.join(pairs)} ({how})", False

    def transfer(self):
        old, new = self.cluster.primary(), self.cluster.standby()
        member, path = self.chance.choice(((new, "/admin/promote"), (old, "/admin/cluster/transfer-leadership")))
        status, answer = member.http("POST", path, {}, seconds=30)
        if status != 200:
            raise RuntimeError(f"{path} answered {status} {answer}")
        wait_for(lambda: self.cluster.role_of(self.name(new)) == "primary", 20, "the other one as primary")
        return f"{self.name(old)} ({path})", False


class RegionFaults(Faults):
    """Those of a Raft group in one region or the other, and the link between them cut, perhaps with a leader killed meanwhile."""

    KINDS = (*Faults.KINDS, "apart", "apart_and_kill")

    def __init__(self, world, chance):
        super().__init__(world, chance)
        self._groups = [RaftFaults(region, chance) for region in world.regions.values()]

    def heal(self):
        """Each region by itself: while clients write there is always something that the other one does not have yet."""
        for group in self._groups:
            group.heal()

    def settle(self):
        self.cluster.wait_until_caught_up()

    def apart(self, meanwhile=lambda: ("", False)):
        self.cluster.cut(*self.cluster.regions)
        self.wait(1, 4)
        who, kills = meanwhile()
        self.wait(0, 2)
        self.cluster.heal()
        return who, kills

    def apart_and_kill(self):
        return self.apart(self._of_a_group("kill"))

    def _of_a_group(self, kind):
        return getattr(self.chance.choice(self._groups), kind)

    def kill(self):
        return self._of_a_group("kill")()

    def pause(self):
        return self._of_a_group("pause")()

    def part(self):
        return self._of_a_group("part")()

    def transfer(self):
        return self._of_a_group("transfer")()

    def roll(self):
        return self._of_a_group("roll")()


def break_it(faults, chance):
    """Each kind once in any order, then any of them until the time is over."""
    began = time.monotonic()
    kinds = list(faults.KINDS)
    chance.shuffle(kinds)
    turn = 0
    while kinds or time.monotonic() < began + SECONDS:
        faults.strike(kinds.pop() if kinds else chance.choice(faults.KINDS))
        turn += 1
        time.sleep(max(0, began + turn * EVERY - time.monotonic()))


def same_everywhere(members):
    """What all of them show; None if they differ."""
    shown = [contents(member) for member in members]
    return shown[0] if all(other == shown[0] for other in shown) else None


def work_through(checks, mode, faults, clients, data_members):
    try:
        for client in clients:
            client.wait_until_ready()
        break_it(faults, faults.chance)
        healed = time.time()
        wait_for(lambda: all(client.all_work(healed) for client in clients), 40, "a round of each worker after the last fault")
        stopped = [client.stop() for client in clients]
        checks.check(all(stopped), f"{mode}: all clients ended {[c.name for c, ended in zip(clients, stopped) if not ended] or ''}")
    except (TimeoutError, RuntimeError, OSError, ServerFailed) as error:
        checks.check(False, f"{mode}: {type(error).__name__}: {error}")
        for client in clients:
            client.stop()  # So that they say what they were about.
    finally:
        for client in clients:
            client.kill()
    dead = [name for name, member in faults.cluster.members.items() if not member.running()]
    checks.check(not dead, f"{mode}: no member ended by itself {dead or ''}")
    for name in dead:
        faults.cluster.members[name].start()
    shown = []
    try:
        faults.settle()
        wait_for(lambda: shown.append(same_everywhere(data_members)) or shown[-1], 30, "one state")
    except TimeoutError as late:
        print(f"        {late}", flush=True)
    if not checks.check(shown and shown[-1], f"{mode}: all members show the same"):
        shown.append(contents(data_members[0]))
    judges = [Judge(client, faults.done, *shown[-1]) for client in clients if client.began]
    print("\n".join("        " + judge.figures() for judge in judges), flush=True)
    kinds = {kind: sum(f.kind == kind for f in faults.done) for kind in faults.KINDS}
    print(f"        faults: {kinds}", flush=True)
    folder = logs_folder(mode)
    unexpected = [judge.tell(r, what, folder) for judge in judges for r, what in judge.unexpected]
    for text in unexpected:
        print("        " + text.replace("\n", "\n        "), flush=True)
    checks.check(not unexpected, f"{mode}: no errors that a driver hides" + (f": {len(unexpected)}, above" if unexpected else ""))
    for what in ("writes that are lost", "writes that are there twice", "reads that miss their writes",
                 "writes that nobody was told of", "transactions that are there in part", "stalls"):
        found = [f"{judge._client.name}: {text}" for judge in judges for text in judge.problems[what]]
        checks.check(not found, f"{mode}: no {what}" + (f": {len(found)}, as " + "\n            ".join(["", *found[:10]]) if found else ""))
    rounds = sum(len(client.rounds) for client in clients)
    checks.check(rounds > 20 * len(clients), f"{mode}: clients got through {rounds} rounds")


def logs_folder(mode):
    return os.path.join(work_folder(), "driver-faults-logs", mode)


def logged(cluster, mode):
    """Logs of all starts, by member, for whoever looks for what went wrong."""
    folder = logs_folder(mode)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for name, member in cluster.members.items():
        member.log_file = os.path.join(folder, f"{name}.log")
        member._start_seconds = 120  # A machine that is busy otherwise is no fault of the member.
    return cluster


def index(member):
    code, _ = write(member, "CREATE INDEX fault_writes IF NOT EXISTS FOR (w:Write) ON (w.id)")
    if code:
        raise RuntimeError(f"the index was refused: {code}")


def start(commands, addresses, prefix="", pause_ms=PAUSE_MS):
    return [Client(language, command, prefix + language, addresses, WORKERS, pause_ms) for language, command in commands.items()]


def raft(checks, chance, commands):
    with logged(RaftCluster(3, links=True, election=ELECTION), "raft") as cluster:
        index(cluster.leader())
        work_through(checks, "raft", RaftFaults(cluster, chance), start(commands, cluster.bolt_addresses()), cluster.data_members())


def standby(checks, chance, commands):
    with logged(HotStandby(witness=True, proxies=True, failover=ELECTION), "standby") as pair:
        index(pair.primary())
        work_through(checks, "standby", StandbyFaults(pair, chance), start(commands, pair.bolt_addresses()), pair.data_members())


def regions(checks, chance, commands):
    with logged(MultiRegion(election=ELECTION), "regions") as world:
        index(world["east"].leader())
        everybody = [member for region in world.regions.values() for member in region.data_members()]
        wait_for(lambda: all(local_read(m, "SHOW INDEXES YIELD name WHERE name = 'fault_writes' RETURN name") for m in everybody),
                 20, "the index everywhere")
        clients = []
        for name, region in world.regions.items():
            clients += start(commands, region.bolt_addresses(), name + "-", 3 * PAUSE_MS)  # Twice the clients, thrice the servers.
        work_through(checks, "regions", RegionFaults(world, chance), clients, everybody)


MODES = {"raft": raft, "standby": standby, "regions": regions}


def main():
    checks = Checks()
    commands = {}
    for language in os.environ.get("NORNICDB_DRIVERS", ",".join(PREPARE)).split(","):
        try:
            commands[language] = PREPARE[language]()
        except drivers.Missing as missing:
            checks.skip(f"{language} driver: {missing}")
    if not commands:
        return checks.close()
    print(f"{SECONDS:.0f} s a mode, a fault every {EVERY:.0f} s, NORNICDB_SEED={SEED}")
    for mode in os.environ.get("NORNICDB_MODES", ",".join(MODES)).split(","):
        MODES[mode](checks, random.Random(f"{SEED} {mode}"), commands)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
