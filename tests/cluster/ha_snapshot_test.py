#!/usr/bin/env python3
"""A standby that is built again from nothing, by a snapshot, while clients write, and cut on its way again and again.

NORNICDB_GIB (default 0.05) is the size of the data, NORNICDB_CUTS (default 3) how often the link is broken; once the
standby is killed as well. The primary's write latency is measured quiet and during the copy, and the memory of both.
"""
import os
import random
import shutil
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, Clients, HotStandby, wait_for  # noqa: E402
from raw_bolt import Connection  # noqa: E402

GIB = float(os.environ.get("NORNICDB_GIB", "0.05"))
CUTS = int(os.environ.get("NORNICDB_CUTS", "3"))
SEED = int(os.environ.get("NORNICDB_SEED", "1"))
WRITERS = 4
PAYLOAD = 8192
BATCH = 200
QUIET_SECONDS = float(os.environ.get("NORNICDB_QUIET_SECONDS", "3"))
P99_RATIO = 2.0
# Where the quiet value itself is a fraction of a scheduler's slice, twice of it says nothing; and a small copy is over
# before the slowest hundredth of its writes means much.
P99_FLOOR = 0.010 if GIB >= 1 else 0.100


def fill(member, gib):
    chance = random.Random(SEED)
    nodes = int(gib * (1 << 30) / PAYLOAD)
    with Connection(member.bolt_port, member.host) as connection:
        for first in range(0, nodes, BATCH):
            # Random text, so that compression in the store does not make the copy small.
            rows = [{"i": i, "p": chance.randbytes(PAYLOAD // 2).hex()} for i in range(first, min(first + BATCH, nodes))]
            connection.run("UNWIND $rows AS r CREATE (:D {i: r.i, p: r.p})", {"rows": rows})
    return nodes


class Load(Clients):
    """Clients that write small nodes at a fixed pace and note how long each write took."""

    def __init__(self, member):
        super().__init__(*((self._write, w) for w in range(WRITERS)))
        self._port = member.bolt_port
        self.taken = []  # (when, seconds)
        self.written = [0] * WRITERS
        self.errors = []

    def _write(self, w):
        with Connection(self._port) as connection:
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    connection.run("CREATE (:W {w: $w, s: $s})", {"w": w, "s": self.written[w]})
                except Exception as error:  # pylint: disable=broad-except
                    self.errors.append(str(error))
                    return
                self.written[w] += 1
                now = time.monotonic()
                self.taken.append((now, now - began))
                time.sleep(0.005)

    def p99(self, since, until):
        taken = sorted(seconds for when, seconds in self.taken if since <= when < until)
        return taken[int(len(taken) * 0.99)] if taken else float("nan")


def count(member):
    with Connection(member.bolt_port, member.host, timeout=120) as connection:
        return connection.run("MATCH (d:D) RETURN count(d), sum(d.i)").rows[0], connection.run(
            "MATCH (w:W) RETURN count(w), sum(w.s)").rows[0]


def main():
    checks = Checks()
    with HotStandby(proxies=True, failover="5s", heartbeat_ms=200,
                    environment={"NORNICDB_CACHE_SIZE": "256MiB"}) as pair:
        primary, standby = pair["a"], pair["b"]
        nodes = fill(primary, GIB)
        pair.wait_until_synced(300)
        standby.kill()
        shutil.rmtree(standby.data_dir)
        with Load(primary) as load:
            wait_for(lambda: primary.replication()["sync_state"] == "degraded", 30, "degradation")
            quiet_from = time.monotonic()
            time.sleep(QUIET_SECONDS)
            began = time.monotonic()
            standby.start()
            cuts, killed, peak = 0, False, {"primary": 0, "standby": 0}
            total = max(1, int(GIB * (1 << 30)))
            while True:
                said = standby.replication()
                peak["primary"] = max(peak["primary"], primary.rss_bytes())
                peak["standby"] = max(peak["standby"], standby.rss_bytes())
                if said and said["state"] == "ready" and said["sync_state"] == "synced":
                    break
                received = standby.metric("nornicdb_replication_snapshot_received_bytes_total") or 0
                if cuts < CUTS and received > total * (cuts + 1) / (CUTS + 2) * 0.5:
                    pair.links["a", "b"].break_all()
                    pair.links["b", "a"].break_all()
                    cuts += 1
                if not killed and cuts >= CUTS // 2 + 1:
                    standby.kill()
                    standby.start()
                    killed = True
                if time.monotonic() - began > 60 + 120 * GIB:
                    raise TimeoutError(f"no standby in sync: {said}")
                time.sleep(0.02)
            ended = time.monotonic()
            # It serves while it follows; a moment more under load.
            time.sleep(0.5)
        quiet, during = load.p99(quiet_from, began), load.p99(began, ended)
        pair.wait_until_synced()
        wait_for(lambda: count(primary) == count(standby), 30, "the same on both members")
        (data, _), (written, _) = count(standby)
        sent = primary.replication() and primary.http("GET", "/admin/cluster/status")[1]
    print(f"{GIB} GiB in {ended - began:.1f} s, cut {cuts} times{', killed once' if killed else ''}; "
          f"snapshots sent {sent['snapshots_sent']}; memory {peak['primary'] >> 20} and {peak['standby'] >> 20} MiB")
    checks.check(data == nodes, f"the standby has all {nodes} nodes")
    checks.check(written == sum(load.written) and not load.errors,
                 f"and all {sum(load.written)} that were written meanwhile {load.errors[:2] or ''}")
    checks.check(cuts == CUTS and killed, f"it was cut {cuts} times and killed")
    checks.check(during <= max(P99_RATIO * quiet, P99_FLOOR),
                 f"p99 of a write: quiet {quiet * 1000:.1f} ms, during the copy {during * 1000:.1f} ms")
    checks.check(max(peak.values()) < (1 << 30), "memory of both is bounded")
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
