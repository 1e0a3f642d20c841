"""What the Raft tests share, beside ha_common's writers: probes, a register that shows stale reads, comparisons."""
import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Clients, wait_for  # noqa: E402
from raw_bolt import BoltError, Connection, Disconnected  # noqa: E402

TRANSIENT = "Neo.TransientError."
NOT_A_LEADER = "Neo.ClientError.Cluster.NotALeader"


def write(member, query="CREATE (:Probe)", parameters=None, timeout=40):
    """One write on this member alone: "" or the code of its error, and the seconds that it took."""
    began = time.monotonic()
    try:
        with Connection(member._wanted_ports["BOLT"], member.host, timeout=timeout) as connection:
            began = time.monotonic()  # Without the handshake.
            connection.run(query, parameters)
            code = ""
    except BoltError as error:
        code = error.code
    except Disconnected as error:
        code = f"disconnected: {error}"
    return code, time.monotonic() - began


def local_read(member, query, timeout=40):
    """Rows of a causal read, answered by this member from its own data."""
    with Connection(member._wanted_ports["BOLT"], member.host, timeout=timeout) as connection:
        return connection.run(query, None, mode="r").rows


def linearizable_read(member, query, timeout=40):
    with Connection(member._wanted_ports["BOLT"], member.host, timeout=timeout) as connection:
        return connection.run(query).rows


def contents(member):
    """All nodes of a member, by labels and properties, in one order; what is there twice is there twice."""
    rows = local_read(member, "MATCH (n) RETURN labels(n), n{.*}", 120)
    return sorted((sorted(labels), sorted((k, str(v)) for k, v in properties.items())) for labels, properties in rows)


def differences(cluster, seconds=20):
    """"" once all running members with data show the same; else what differs, for people."""
    def texts():
        return {m.name: contents(m) for m in cluster.data_members() if m.answers()}
    try:
        wait_for(lambda: len({str(t) for t in texts().values()}) == 1, seconds)
        return ""
    except TimeoutError:
        return str({name: len(found) for name, found in texts().items()})


def kept(history, cluster, checks, what):
    """Checks that a cluster is of this history, that all agree and none forms another."""
    said = {m.name: m.replication() for m in cluster.running() if not m.name.startswith("witness")}
    histories = {r["history"] for r in said.values()}
    return checks.check(len(histories) == 1 and None not in histories and (history is None or histories == {history}),
                        f"{what}: one group of one history {'' if len(histories) == 1 else histories}") and histories.pop()


class Probe:
    """Clients that are connected to some members beforehand and then write until one is acknowledged."""

    def __init__(self, members):
        self._connections = [Connection(member.bolt_port, member.host, timeout=30) for member in members]
        self._lock = threading.Lock()
        self._done = threading.Event()
        self.first = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._done.set()
        for connection in self._connections:
            connection.close()

    def start(self):
        """From now on; took() waits for the first acknowledgement."""
        self._began = time.monotonic()
        for connection in self._connections:
            threading.Thread(target=self._write, args=(connection,), daemon=True).start()
        return self

    def took(self, since, seconds=60):
        if not self._done.wait(seconds):
            raise TimeoutError(f"no write within {seconds} s")
        return self.first - since

    def _write(self, connection):
        while not self._done.is_set():
            try:
                connection.run("CREATE (:Probe)")
            except BoltError:
                time.sleep(0.003)
                continue
            except Disconnected:
                return
            with self._lock:
                if self.first is None:
                    self.first = time.monotonic()
            self._done.set()


class Stream(Clients):
    """A client on each member, each writing as fast as it is answered: when writes were acknowledged by anybody."""

    def __init__(self, members, pause=0.002):
        self._members, self._pause = members, pause
        super().__init__(*((self._write, m) for m in members))
        self.times = []

    def longest_gap(self, since, until):
        times = sorted(t for t in list(self.times) if since <= t <= until)
        return max((b - a for a, b in zip([since, *times], [*times, until])), default=0.0)

    def _write(self, member):
        connection = None
        while not self._stop.is_set():
            try:
                connection = connection or Connection(member._wanted_ports["BOLT"], member.host, timeout=20)
                connection.run("CREATE (:Stream)")
                self.times.append(time.monotonic())
            except BoltError:
                pass
            except Disconnected:
                connection = None
                time.sleep(0.01)
            time.sleep(self._pause)
        if connection:
            connection.close()


class Register(Clients):
    """One number that only grows, written by one client wherever it can, read on every member in access mode WRITE.

    Such a read is linearizable: never less than what was acknowledged, or answered to anybody on any member, before it began.
    """

    GET = "MATCH (r:Register) RETURN r.v"
    SET = "MERGE (r:Register) SET r.v = CASE WHEN r.v IS NULL OR r.v < $v THEN $v ELSE r.v END"

    def __init__(self, members, pause=0.003):
        self._members, self._pause = members, pause
        super().__init__((self._write,), *((self._read, m) for m in members))
        self.acknowledged = self.attempted = self.seen = 0
        self.reads = {m.name: 0 for m in members}
        self.stale = []

    def _write(self):
        connection, at = None, 0
        while not self._stop.is_set():
            self.attempted += 1
            try:
                connection = connection or Connection(self._members[at]._wanted_ports["BOLT"], self._members[at].host, timeout=3)
                connection.run(self.SET, {"v": self.attempted})
                self.acknowledged = self.attempted
            except (BoltError, Disconnected):
                if connection:
                    connection.close()
                connection, at = None, (at + 1) % len(self._members)
            time.sleep(self._pause)

    def _read(self, member):
        connection = None
        while not self._stop.is_set():
            try:
                connection = connection or Connection(member._wanted_ports["BOLT"], member.host, timeout=10)
                least = max(self.acknowledged, self.seen)
                rows = connection.run(self.GET).rows
                got = rows[0][0] if rows else 0
                self.reads[member.name] += 1
                self.seen = max(self.seen, got)  # If another one is overwritten here, the check is weaker by that.
                if not least <= got <= self.attempted:
                    self.stale.append((member.name, got, least, self.attempted))
            except BoltError:
                pass
            except Disconnected:
                connection = None
                time.sleep(0.02)
            time.sleep(self._pause)


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")
