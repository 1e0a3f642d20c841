#!/usr/bin/env python3
"""Random kills, pauses, partitions, slow disks, transfers and membership changes under clients of the official Go driver.

The clients are raft_chaos/ (registers, lists, a bank, a set, sessions; porcupine checks the histories). This script owns the
cluster and breaks it for NORNICDB_CHAOS_SECONDS (default 40). NORNICDB_SEED chooses the faults, NORNICDB_CHAOS_FAULTS names
some of them, NORNICDB_CHAOS_SIZE (default 3) is the number of voters. NORNICDB_NAMESPACES=1 runs it in network namespaces (as
root), where packets are lost in silence; by default links are proxies.
"""
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import PASSWORD, TOP, USER, Checks, RaftCluster, go_environment, wait_for, work_folder  # noqa: E402
from raft_common import differences  # noqa: E402
from sync_fault_test import build, say  # noqa: E402

SECONDS = float(os.environ.get("NORNICDB_CHAOS_SECONDS", "40"))
SEED = int(os.environ.get("NORNICDB_SEED", str(random.randrange(1 << 32))))
SIZE = int(os.environ.get("NORNICDB_CHAOS_SIZE", "3"))
ONLY = [name for name in os.environ.get("NORNICDB_CHAOS_FAULTS", "").split(",") if name]
LINKS = "namespaces" if os.environ.get("NORNICDB_NAMESPACES") else True
PROGRAM = os.path.join(TOP, "build/go/chaos")


def clients():
    """The Go program, built; None where it cannot be."""
    try:
        done = subprocess.run(["go", "build", "-o", PROGRAM, "."], cwd=os.path.join(TOP, "tests/cluster/raft_chaos"),
                              env=go_environment(), capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return None, str(error)
    return (PROGRAM, "") if done.returncode == 0 else (None, " | ".join(done.stderr.strip().splitlines()[-3:]))


class Chaos:
    """Each fault leaves things broken for a moment; heal() makes everything whole."""

    def __init__(self, cluster, chance, disks):
        self.cluster, self.chance, self.disks = cluster, chance, disks
        self.voters = [cluster[f"node-{n}"] for n in range(1, SIZE + 1)]
        self.done = {}
        self.extra = 0

    def pause_for(self, low, high):
        time.sleep(self.chance.uniform(low, high))

    def some(self):
        """The leader as often as not."""
        leads = self.cluster.leaders()
        return leads[-1][1] if leads and self.chance.random() < 0.5 else self.chance.choice(self.voters)

    def kill(self):
        member = self.some()
        member.kill()
        self.pause_for(0.2, 2)
        member.start()

    def stop(self):
        member = self.some()
        member.stop()
        self.pause_for(0.1, 1)
        member.start()

    def kill_several(self):
        count = self.chance.randint(2, SIZE)
        killed = self.chance.sample(self.voters, count)
        for member in killed:
            member.kill()
            self.pause_for(0, 0.1)
        self.pause_for(0.2, 1.5)
        self.cluster.start(*(m.name for m in killed))

    def pause(self):
        member = self.some()
        member.pause()
        self.pause_for(0.2, 4)
        member.resume()

    def pause_several(self):
        members = self.chance.sample(self.voters, self.chance.randint(2, SIZE))
        for member in members:
            member.pause()
        self.pause_for(0.2, 2)
        for member in members:
            member.resume()

    def isolate(self):
        self.cluster.links.isolate(self.some().name, self.chance.choice(["cut", "block"]))
        self.pause_for(1, 4)
        self.cluster.links.heal()

    def split(self):
        """Two sides; the smaller may have the leader."""
        names = [m.name for m in self.voters]
        self.chance.shuffle(names)
        cut = self.chance.randint(1, SIZE - 1)
        for one in names[:cut]:
            for other in names[cut:]:
                self.cluster.links.cut(one, other)
        self.pause_for(1, 4)
        self.cluster.links.heal()

    def one_way(self):
        """Some links lose one direction."""
        names = [m.name for m in self.voters]
        for _ in range(self.chance.randint(1, SIZE)):
            self.cluster.links.block(*self.chance.sample(names, 2))
        self.pause_for(1, 4)
        self.cluster.links.heal()

    def bridge(self):
        """Two do not hear each other; all others hear both."""
        self.cluster.links.cut(*self.chance.sample([m.name for m in self.voters], 2))
        self.pause_for(1, 4)
        self.cluster.links.heal()

    def slow_links(self):
        names = [m.name for m in self.voters]
        for _ in range(SIZE):
            self.cluster.links.delay(*self.chance.sample(names, 2), self.chance.uniform(0.001, 0.1))
        self.pause_for(1, 3)
        self.cluster.links.heal()

    def hung_disk(self):
        member = self.some()
        say(self.disks[member.name], "hang")
        self.pause_for(0.2, 4)
        say(self.disks[member.name], "work")

    def slow_disk(self):
        member = self.some()
        say(self.disks[member.name], "slow")
        self.pause_for(1, 3)
        say(self.disks[member.name], "work")

    def transfer(self):
        for _ in range(self.chance.randint(1, 3)):
            leads = self.cluster.leaders()
            if leads:
                self.cluster.post("/admin/cluster/transfer-leadership", {}, leads[-1][1])
            self.pause_for(0, 0.3)

    def membership(self):
        """One joins, becomes a voter, and is taken out; perhaps another fault comes between."""
        self.extra += 1
        name = f"extra-{self.extra}"
        member = self.cluster.add(name, role=self.chance.choice(["voter", "voter", "learner"]),
                                  join=[self.chance.choice(self.voters).name])
        member.start()
        self.pause_for(0.5, 3)
        if self.chance.random() < 0.5:
            getattr(self, self.chance.choice(["kill", "pause", "split", "transfer"]))()
        leads = self.cluster.leaders()
        role = leads and {m["id"]: m["state"] for m in self.cluster.status(leads[-1][1])["members"]}.get(name)
        self.done[f"joined as {role}"] = self.done.get(f"joined as {role}", 0) + 1

        def gone():
            leads = self.cluster.leaders()
            if not leads:
                return False
            status, _ = self.cluster.post("/admin/cluster/remove", {"node_id": name}, leads[-1][1])
            return status in (200, 400)  # 400: it is no member any more, or was none yet.
        wait_for(gone, 30, f"{name} taken out")
        member.kill()
        wait_for(gone, 30, f"{name} taken out")  # If it came in after all.
        member.__exit__(None, None, None)
        del self.cluster.members[name]

    def wiped(self):
        """A follower loses its disk. With fewer than three of five that would be allowed as well; one is."""
        self.cluster.wait_until_ready()
        member = self.chance.choice([m for m in self.voters if m is not self.cluster.leader()])
        member.kill()
        member.wipe()
        self.pause_for(0, 1)
        member.start()
        self.cluster.wait_until_ready()

    FAULTS = ["kill", "kill", "stop", "kill_several", "pause", "pause_several", "isolate", "isolate", "split", "split", "one_way",
              "one_way", "bridge", "slow_links", "hung_disk", "slow_disk", "transfer", "membership", "wiped"]

    def break_one(self):
        fault = self.chance.choice(ONLY or self.FAULTS)
        self.done[fault] = self.done.get(fault, 0) + 1
        began = time.monotonic()
        getattr(self, fault)()
        print(f"        {time.strftime('%H:%M:%S', time.gmtime())} {fault}, {time.monotonic() - began:.1f} s", flush=True)


def main():
    checks = Checks()
    program, why = clients()
    if program is None:
        print(f"skipped: the Go program cannot be built here: {why}\n0 passed, 0 failed, 1 skipped")
        return 0
    print(f"{SECONDS:.0f} s, {SIZE} voters, links are {'proxies' if LINKS is True else LINKS}, NORNICDB_SEED={SEED}")
    chance = random.Random(SEED)
    logs = os.path.join(work_folder(), "chaos-logs")
    shutil.rmtree(logs, ignore_errors=True)
    os.makedirs(logs)
    with tempfile.TemporaryDirectory(prefix="chaos-", dir=work_folder()) as folder:
        library = build(folder)
        with RaftCluster(SIZE, links=LINKS, election="500ms", heartbeat="50ms", start=False) as cluster:
            disks = {}
            for name, member in cluster.members.items():
                disks[name] = os.path.join(folder, name)
                say(disks[name], "work")
                member._environment.update(LD_PRELOAD=library, FAULTY_SYNC=disks[name])
                member.log_file = os.path.join(logs, f"{name}.log")
            cluster.start()
            cluster.wait_until_ready()
            addresses = ",".join(f"{host}:{port}" for host, port in cluster.bolt_addresses())
            process = subprocess.Popen([program, "-members", addresses, "-user", USER, "-pass", PASSWORD, "-seed", str(SEED),
                                        "-pictures", work_folder()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            try:
                checks.check(process.stdout.readline() == "working\n", "clients began")
                chaos = Chaos(cluster, chance, disks)
                until = time.monotonic() + SECONDS
                while time.monotonic() < until and process.poll() is None:
                    chaos.break_one()
                    died = [m.name for m in cluster.members.values() if not m.running()]
                    if died:
                        checks.check(False, f"{died} ended by itself")
                        for name in died:
                            print(f"=== {name}\n{cluster[name].log_tail(15)}", flush=True)
                        cluster.start(*died)
                    if chance.random() < 0.5:
                        cluster.wait_until_ready(60)
                    chaos.pause_for(0, 1)
                cluster.links.heal()
                cluster.wait_until_ready(60)
                print(f"        faults: {chaos.done}")
                time.sleep(1)
                # A client that waits for an outcome does so for a while; then histories are checked.
                threading.Timer(240 + SECONDS / 4, process.kill).start()
                process.stdin.write("stop\n")
                process.stdin.flush()
                for line in process.stdout:
                    print(line.rstrip(), flush=True)
                    if line.startswith(("ok ", "FAILED ")):
                        checks.passed += line.startswith("ok ")
                        checks.failed += line.startswith("FAILED ")
                checks.check(process.wait() == 0, f"the clients ended with status {process.returncode}")
            finally:
                process.kill()
            cluster.wait_until_ready(60)
            differs = differences(cluster, 60)
            checks.check(not differs, f"all members show the same {differs}")
            if checks.failed:
                print(f"logs are in {logs}")
    return checks.close()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # Not for timers.
