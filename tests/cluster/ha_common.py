"""What the hot standby tests share: clients that write numbered nodes and remember what was acknowledged."""
import errno
import logging
import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import PASSWORD, USER, Clients  # noqa: E402
from raw_bolt import BoltError, Connection, Disconnected  # noqa: E402

# The driver tells of each retry; that is what it is for.
logging.getLogger("neo4j").setLevel(logging.CRITICAL)

# Nothing is known of the outcome; every other error says that nothing happened.
UNKNOWN_CODES = ("Neo.DatabaseError.Transaction.TransactionCommitFailed",)


def numbers(member, label="W"):
    """All (w, s) that a member shows, as a list: what is there twice shows."""
    with Connection(member.bolt_port, member.host, timeout=60) as connection:
        rows = connection.run(f"MATCH (n:{label}) RETURN n.w, n.s").rows
    return [(w, s) for w, s in rows]


def prepare(member):
    with Connection(member.bolt_port, member.host) as connection:
        connection.run("CREATE CONSTRAINT ha_w IF NOT EXISTS FOR (n:W) REQUIRE (n.w, n.s) IS UNIQUE")


class Ledger:
    """What clients were told. Thread-safe."""

    def __init__(self):
        self._lock = threading.Lock()
        self.acknowledged = {}  # (w, s) -> (when its last attempt began, when the answer came)
        self.unknown = set()
        self.errors = []

    def acknowledge(self, key, began):
        with self._lock:
            self.acknowledged[key] = (began, time.monotonic())

    def doubt(self, key):
        with self._lock:
            self.unknown.add(key)

    def complain(self, text):
        with self._lock:
            self.errors.append(text)

    def snapshot(self):
        with self._lock:
            return dict(self.acknowledged), set(self.unknown)

    def first_after(self, moment):
        """When the first write was acknowledged whose last attempt began after `moment`; None if none was."""
        with self._lock:
            times = [came for began, came in self.acknowledged.values() if began > moment]
        return min(times, default=None)

    def longest_gap(self, since):
        """The longest time without an acknowledgement from `since` on."""
        with self._lock:
            times = sorted(came for _, came in self.acknowledged.values() if came > since)
        return max((b - a for a, b in zip([since, *times], times)), default=float("inf"))

    def problems(self, member):
        """How a member's data contradicts what clients were told."""
        acknowledged, _ = self.snapshot()
        got = numbers(member)
        found = []
        lost = set(acknowledged) - set(got)
        if lost:
            found.append(f"{len(lost)} acknowledged writes are gone: {sorted(lost)[:5]}")
        if len(got) != len(set(got)):
            found.append("a write is there twice")
        return found


class DriverWriters(Clients):
    """Threads that write through one official driver: neo4j:// with a resolver for both members.

    careless: the resolver gives both members for whatever it is asked, as the clustering guide shows it. The Python driver asks
    it for every connection, so one that is dialed while its member is down ends at the other.
    """

    def __init__(self, pair, ledger, count=4, pause=0.002, careless=False, first=0):
        import neo4j  # pylint: disable=import-outside-toplevel
        self._neo4j = neo4j
        self._ledger = ledger
        self._pause = pause
        self.started = {}  # w -> when its current or last transaction function was handed to the driver

        def resolver(address):
            return pair.bolt_addresses() if careless or address.host == "pair" else [address]

        self._driver = neo4j.GraphDatabase.driver(
            "neo4j://pair:7687", auth=(USER, PASSWORD), resolver=resolver, connection_timeout=5,
            max_transaction_retry_time=120)  # A retry may meet several failovers of a test.
        self._numbers = set(range(first, first + count))
        super().__init__(*((self._write, w) for w in self._numbers))

    def __exit__(self, *failure):
        super().__exit__(*failure)
        self._driver.close()

    def all_write(self, since):
        """Whether each of them got on since then: none sits in its driver's back-off."""
        acknowledged, _ = self._ledger.snapshot()
        return {w for (w, _), (began, _) in acknowledged.items() if began > since} == self._numbers

    def _write(self, w):
        s = 0
        with self._driver.session() as session:
            while not self._stop.is_set():
                s += 1
                self._one(session, w, s)
                time.sleep(self._pause)

    def _one(self, session, w, s):
        began = [0.0]
        self.started[w] = time.monotonic()

        def work(transaction):
            began[0] = time.monotonic()
            transaction.run("CREATE (:W {w: $w, s: $s})", w=w, s=s).consume()

        try:
            session.execute_write(work)
        except self._neo4j.exceptions.IncompleteCommit:
            self._ledger.doubt((w, s))
        except self._neo4j.exceptions.Neo4jError as error:
            if error.code in UNKNOWN_CODES:
                self._ledger.doubt((w, s))
            else:
                self._ledger.complain(f"writer {w}, number {s}: {error.code}: {error.message}")
        except self._neo4j.exceptions.DriverError as error:
            self._ledger.complain(f"writer {w}, number {s}: {type(error).__name__}: {error}")
        except OSError as error:
            # The driver asks a new socket for its peer and lets the error out when a killed member has just reset it.
            if error.errno != errno.ENOTCONN:
                self._ledger.complain(f"writer {w}, number {s}: {type(error).__name__}: {error}")
        else:
            self._ledger.acknowledge((w, s), began[0])


class DirectWriter(Clients):
    """One thread that writes over bolt:// to one member alone, come what may; or to whoever of several takes it."""

    def __init__(self, members, ledger, w, pause=0.005):
        super().__init__((self._write, w))
        self._members, self._ledger, self._pause = list(members), ledger, pause
        self.refusals = []  # (when, code, text)

    def _write(self, w):
        s, connection, at = 0, None, 0
        while not self._stop.is_set():
            s += 1
            asked, began = False, time.monotonic()
            try:
                if connection is None:
                    connection = Connection(self._members[at]._wanted_ports["BOLT"], self._members[at].host, timeout=40)
                asked = True
                connection.run("CREATE (:W {w: $w, s: $s})", {"w": w, "s": s})
                self._ledger.acknowledge((w, s), began)
                time.sleep(self._pause)
                continue
            except Disconnected:
                connection = None
                if asked:
                    self._ledger.doubt((w, s))
            except BoltError as error:
                if error.code in UNKNOWN_CODES:
                    self._ledger.doubt((w, s))
                self.refusals.append((time.monotonic(), error.code, error.message))
                if len(self._members) > 1 and connection is not None:
                    connection.close()
                    connection = None
            at = (at + 1) % len(self._members)
            time.sleep(0.01)
        if connection is not None:
            connection.close()


def equal(pair):
    """Whether both members show the same; what differs, for people."""
    a, b = (sorted(numbers(member)) for member in pair.data_members())
    if a == b:
        return ""
    return f"a has {len(a)}, b has {len(b)}; only a: {sorted(set(a) - set(b))[:5]}, only b: {sorted(set(b) - set(a))[:5]}"
