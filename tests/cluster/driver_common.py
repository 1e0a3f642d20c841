"""Clients of the official drivers (tests/drivers/faults/) that work while a cluster is broken, and a judge of what they were told.

An application that works with transaction functions may see two errors, both of which say that the outcome of a transaction is not known:

| driver | a server falls between COMMIT and its answer | the server says that it cannot know |
|---|---|---|
| Python | IncompleteCommit | Neo.DatabaseError.Transaction.TransactionCommitFailed |
| Go | ConnectivityError with CommitFailedDeadError inside | the same |
| JavaScript, Java | none: the function is called again, and the write may be there twice | the same |

The first also comes for a transaction that only read: these drivers do not tell the two apart.

Two drivers let a third out if a member is killed at the moment in which they connect to it. Nothing was sent by then, but they do not call
the function again: Python asks the new socket for its peer (OSError, ENOTCONN), JavaScript takes a connection that is lost during login for a
ProtocolError.

The first, and this, is taken for a fact where a server was killed at that time and nowhere else: a server that is stopped, paused, cut off from
its peers or hands over keeps its clients' connections until it has answered. The second comes where no majority answered for seconds, which a
machine that is busy otherwise brings about without a fault of ours; it is counted. Everything else is for the driver to hide within its
retry time (30 s by default), so everything else is an error here.
"""
import collections
import datetime
import errno
import glob
import json
import os
import subprocess
import sys
import threading
import time

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [TESTS, os.path.join(TESTS, "drivers")]
import run as drivers  # noqa: E402
from harness import PASSWORD, TOP, USER, go_environment, wait_for  # noqa: E402
from raft_common import local_read  # noqa: E402

SOURCES = os.path.join(TESTS, "drivers", "faults")
LOST_IN_COMMIT = {"python": "IncompleteCommit", "go": "ConnectivityError CommitFailedDeadError"}
LOST_IN_LOGIN = {"python": (f"OSError : [Errno {errno.ENOTCONN}]",),
                 "javascript": ("Neo4jError ProtocolError: Failed to connect to server.", "Neo4jError ProtocolError: Connection was closed by server")}
CALLS_AGAIN = ("javascript", "java")  # Also where the connection was lost in COMMIT.
UNKNOWN_CODE = "Neo.DatabaseError.Transaction.TransactionCommitFailed"
STALL_SECONDS = 30
STARTS_MAX = 3
SLACK_SECONDS = 1  # Between a kill and the client that notices.
AROUND_SECONDS = 2  # What members said so long before and after is kept with an error.


def _python():
    return [drivers.python_venv(), "-u", os.path.join(SOURCES, "client.py")], {}


def _javascript():
    return ["node", os.path.join(SOURCES, "client.js")], drivers.node_modules()


def _go():
    drivers.need("go")
    program = os.path.join(TOP, "build/go/faults")
    drivers.attempt(["go", "build", "-o", program, "."], cwd=os.path.join(SOURCES, "go"), env=go_environment())
    return [program], {}


def _java():
    return drivers.java_program("Client", os.path.join(TOP, "build/java/fault-classes"), [os.path.join(SOURCES, "Client.java")]), {}


PREPARE = {"python": _python, "javascript": _javascript, "go": _go, "java": _java}

# What was broken from when to when, and whole again when (time.time()); kills: whether a process ended without a word.
Fault = collections.namedtuple("Fault", "kind who began ended healed kills")


class Client:
    """One process of one driver, which works from ready on until stop()."""

    def __init__(self, language, command, name, addresses, workers, pause_ms):
        self.language, self.name, self.workers = language, name, workers
        self.rounds = []
        self.began = self.ended = None
        self._lines = {}
        self._ready, self._done = threading.Event(), threading.Event()
        self._arguments, environment = command
        self._environment = {
            **os.environ, **environment, "NORNICDB_MEMBERS": ",".join(f"{host}:{port}" for host, port in addresses), "NORNICDB_NAME": name,
            "NORNICDB_USER": USER, "NORNICDB_PASSWORD": PASSWORD, "NORNICDB_WORKERS": str(workers), "NORNICDB_PAUSE_MS": str(pause_ms)}
        self._start()

    def _start(self):
        self._process = subprocess.Popen(self._arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._environment)
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()

    def wait_until_ready(self, seconds=60):
        """Until its counters are made; begun again where a busy machine left it in doubt of that (MERGE: the same again)."""
        for tries in range(STARTS_MAX):
            wait_for(lambda: self._ready.is_set() or self._process.poll() is not None, seconds, f"{self.name} to begin")
            if self._ready.is_set():
                break
            if tries + 1 == STARTS_MAX:
                raise RuntimeError(f"{self.name} ended with status {self._process.returncode} instead of beginning, {STARTS_MAX} times")
            self._start()
        self.began = time.time()

    def all_work(self, since):
        """Whether each worker got through a round that began since then."""
        return {r["worker"] for r in self.rounds[-50 * self.workers:] if r["began"] > since} == set(range(self.workers))

    def stop(self, seconds=60):
        """Asks it to end; whether it did, with all that it was about."""
        try:
            self._process.stdin.write("stop\n")
            self._process.stdin.flush()
        except OSError:
            pass
        self.ended = self.ended or time.time()
        try:
            return self._done.wait(seconds) and self._process.wait(10) == 0
        except subprocess.TimeoutExpired:
            return False

    def kill(self):
        self._process.kill()
        self._process.wait()

    def _read(self, lines):
        for text in lines:
            line = json.loads(text)
            if "number" in line:
                self.rounds.append(line)
            elif "ready" in line:
                self._ready.set()
            elif "done" in line:
                self._done.set()


def contents(member):
    """What a member shows: id -> the attempts whose nodes are there, and worker -> its counter."""
    written = collections.defaultdict(list)
    for name, attempt in local_read(member, "MATCH (w:Write) RETURN w.id, w.attempt", 120):
        written[name].append(attempt)
    return ({name: sorted(attempts) for name, attempts in written.items()},
            dict(local_read(member, "MATCH (c:Counter) RETURN c.id, c.n", 120)))


def longest(times, began, ended):
    """The longest time without any of these, and when it began."""
    times = sorted(t for t in times if began <= t <= ended)
    return max((b - a, a) for a, b in zip([began, *times], [*times, ended]))


def clock(moment):
    return datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).strftime("%H:%M:%S.%f")[:-3]


def logged_between(folder, began, ended):
    """What the members whose logs lie here said from then to then, in the order of time, each line with its member's name."""
    def stamp(moment):
        return datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    found = []
    for path in glob.glob(os.path.join(folder, "*.log")):
        at = ""
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                at = line[:23] if line[:2] == "20" else at  # Else it goes on with what the line before it said.
                if stamp(began) <= at <= stamp(ended):
                    found.append((at, os.path.basename(path)[:-4], line))
    return [f"{name:10} {line}" for _, name, line in sorted(found, key=lambda entry: entry[:2])]


class Judge:
    """Compares what one client was told with what was broken and what is there."""

    def __init__(self, client, faults, written, counters):
        self._client, self._faults = client, faults
        self._written, self._counters = written, counters
        self.errors = collections.Counter()
        self.unexpected = []  # (round, "write" or "read") of each error that the driver should have hidden.
        self.twice = 0  # By the driver, as it says it may.
        self.problems = collections.defaultdict(list)
        self._told = set()
        for r in client.rounds:
            self._round(r)
        self._ledger()
        for worker in range(client.workers):
            gap, _ = longest((r["ended"] for r in client.rounds if r["worker"] == worker), client.began, client.ended)
            if gap > STALL_SECONDS:
                self.problems["stalls"].append(f"worker {worker} for {gap:.1f} s")

    def figures(self):
        rounds = self._client.rounds
        gap, since = longest((r["ended"] for r in rounds if not r["write"] and not r["read"]), self._client.began, self._client.ended)
        return (f"{self._client.name:18} {sum(not r['write'] for r in rounds):6} writes, {sum(not r['read'] for r in rounds):6} reads, "
                f"{sum(r['attempts'] > 1 for r in rounds):4} called again, {self.twice} twice by the driver, "
                f"longest gap {gap:5.2f} s at {clock(since)}, "
                f"longest round {max((r['ended'] - r['began'] for r in rounds), default=0):5.2f} s, errors {dict(self.errors)}")

    def tell(self, r, what, folder):
        """All that is known of an error: for the test's output, and with what the members said at that time in a file."""
        key = f"{self._client.name}-{r['worker']}-{r['number']}"
        under_way = [f for f in self._faults if f.began <= r["ended"] and f.healed >= r["began"]]
        lines = [f"{self._client.language} driver, {key}, {what}, begun {clock(r['began'])}, ended {clock(r['ended'])}, called {r['attempts']} times",
                 f"    {r[what]}",
                 *(f"    fault: {f.kind} {f.who}, {clock(f.began)} to {clock(f.ended)}, whole at {clock(f.healed)}" for f in under_way)]
        path = os.path.join(folder, f"error-{key}-{what}.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join([*lines, json.dumps(r), "", ""]))
            file.writelines(logged_between(folder, r["began"] - AROUND_SECONDS, r["ended"] + AROUND_SECONDS))
        return "\n".join([*lines, f"    members' logs: {path}"])

    def _while_killed(self, r):
        return any(f.began <= r["ended"] and f.ended + SLACK_SECONDS >= r["began"] for f in self._faults if f.kills)

    def _round(self, r):
        key = f"{self._client.name}-{r['worker']}-{r['number']}"
        self._told.add(key)
        there = self._written.get(key, [])
        if r["read"]:
            self._error(r["read"])
            if not self._allowed(r, "read"):
                self.unexpected.append((r, "read"))
        elif r["count"] < r["acknowledged"] or (not r["write"] and r["there"] < 1):
            self.problems["reads that miss their writes"].append(str(r))
        if r["write"]:
            self._error(r["write"])
            if not self._allowed(r, "write"):
                self.unexpected.append((r, "write"))
        elif not there:
            self.problems["writes that are lost"].append(str(r))
        if len(there) > 1:
            if self._client.language in CALLS_AGAIN and self._while_killed(r) and (0 in there or len(set(there)) == len(there)):
                self.twice += 1
            else:
                self.problems["writes that are there twice"].append(f"attempts {there} of {r}")

    def _error(self, text):
        self.errors[text.split(": ", 1)[0].strip()] += 1

    def _allowed(self, r, what):
        kind, language = r[what].split(": ", 1)[0].strip(), self._client.language
        if kind == LOST_IN_COMMIT.get(language) or r[what].startswith(LOST_IN_LOGIN.get(language, ())):
            return self._while_killed(r)
        return what == "write" and kind.endswith(UNKNOWN_CODE)

    def _ledger(self):
        mine = {key: attempts for key, attempts in self._written.items() if key.startswith(self._client.name + "-")}
        strange = sorted(set(mine) - self._told)
        if strange:
            self.problems["writes that nobody was told of"] += strange
        for worker in range(self._client.workers):
            name = f"{self._client.name}-{worker}"
            nodes = sum(len(attempts) for key, attempts in mine.items() if key.rpartition("-")[0] == name)
            if self._counters.get(name) != nodes:
                self.problems["transactions that are there in part"].append(f"{name}: {self._counters.get(name)} counted, {nodes} nodes")
