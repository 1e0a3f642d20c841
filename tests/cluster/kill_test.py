#!/usr/bin/env python3
"""kill -9 at random moments under a writing load. After each restart: every acknowledged write is there once, no
transaction is there by half, an index and a plain scan agree, and the first query is answered within a second.

Environment: NORNICDB_KILLS (rounds, default 20), NORNICDB_SEED, NORNICDB_KILL_WRITERS (processes, default 4).

Each writer is a process with a connection of its own and numbers its writes; a number is never used twice. Number
s of writer w is, by turns, one autocommit node (:W {w, s}), or an explicit transaction of two statements that makes
(:A {w, s}) and (:B {w, s}), so that half a transaction shows. Once its answer has come, the number is appended to
the writer's own file. What was asked and not answered may be there or not.
"""
import multiprocessing
import os
import random
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, Server, ServerFailed, free_port, work_folder  # noqa: E402
from raw_bolt import BoltError, Connection, Disconnected  # noqa: E402

KILLS = int(os.environ.get("NORNICDB_KILLS", "20"))
SEED = int(os.environ.get("NORNICDB_SEED", str(random.randrange(1 << 32))))
WRITERS = int(os.environ.get("NORNICDB_KILL_WRITERS", "4"))
START_SECONDS = 1.0


def is_pair(s):
    return s % 4 == 3


def write_one(connection, w, s, padding):
    if not is_pair(s):
        connection.run("CREATE (:W {w: $w, s: $s, p: $p})", {"w": w, "s": s, "p": padding})
        return
    connection.begin()
    connection.run("CREATE (:A {w: $w, s: $s})", {"w": w, "s": s})
    connection.run("CREATE (:B {w: $w, s: $s, p: $p})", {"w": w, "s": s, "p": padding})
    connection.commit()


def writer(w, port, path, stop, errors):
    """Writes until told to stop, connecting again whenever the server went away."""
    padding = random.Random(w)
    s = 0
    with open(path, "w", encoding="ascii", buffering=1) as acknowledged:
        connection = None
        while not stop.is_set():
            try:
                if connection is None:
                    connection = Connection(port, timeout=10)
                s += 1
                write_one(connection, w, s, "x" * padding.choice((0, 10, 200, 5000)))
                acknowledged.write(f"{s}\n")
            except Disconnected:
                if connection is not None:
                    connection.close()
                connection = None
                time.sleep(0.005)
            except BoltError as error:  # Nobody else writes these nodes: no error is to be expected.
                errors.put(f"writer {w}, number {s}: {error}")
                time.sleep(0.1)


def read_acknowledged(path):
    try:
        with open(path, encoding="ascii") as handle:
            text = handle.read()
    except FileNotFoundError:
        return set()
    return {int(line) for line in text[:text.rfind("\n") + 1].split()}


def first_answer(server):
    """Seconds from the start of the process to the answer of its first query."""
    deadline = server.spawned_at + 30
    while True:
        try:
            with Connection(server._wanted_ports["BOLT"], timeout=10) as connection:
                connection.run("RETURN 1")
            return time.monotonic() - server.spawned_at
        except Disconnected:
            if not server.running() or time.monotonic() > deadline:
                raise ServerFailed("no answer after the restart:\n" + server.log_tail())
            time.sleep(0.002)


class Verifier:
    """Compares what is acknowledged with what is stored; what was found right once is not read again until the end."""

    def __init__(self, files):
        self._files = files
        self._from = dict.fromkeys(files, 0)

    def problems(self, port, final=False):
        found = []
        with Connection(port) as connection:
            for w, path in self._files.items():
                low = 0 if final else self._from[w]
                acknowledged = {s for s in read_acknowledged(path) if s > low}

                def numbers(label):
                    rows = connection.run(f"MATCH (n:{label}) WHERE n.w = $w AND n.s > $low RETURN n.s",
                                          {"w": w, "low": low}).rows
                    got = [row[0] for row in rows]
                    if len(got) != len(set(got)):
                        found.append(f"writer {w}: a {label} node is there twice")
                    return set(got)

                singles, left, right = numbers("W"), numbers("A"), numbers("B")
                lost = acknowledged - singles - (left & right)
                # A pair in flight when A was read may be complete when B is: look at those again.
                half = {s for s in left ^ right if not self._complete(connection, w, s)}
                if lost:
                    found.append(f"writer {w}: {len(lost)} acknowledged writes are gone: {sorted(lost)[:10]}")
                if half:
                    found.append(f"writer {w}: half transactions: {sorted(half)[:10]}")
                if acknowledged and not final:
                    self._from[w] = max(low, max(acknowledged) - 8)
        return found

    @staticmethod
    def _complete(connection, w, s):
        both = [connection.run(f"MATCH (n:{label} {{w: $w, s: $s}}) RETURN count(n)", {"w": w, "s": s}).rows[0][0]
                for label in "AB"]
        return both[0] == both[1]


def main():
    checks = Checks()
    chance = random.Random(SEED)
    print(f"{KILLS} kills, {WRITERS} writers, NORNICDB_SEED={SEED}")
    context = multiprocessing.get_context("fork")
    starts = []
    problems = []
    with tempfile.TemporaryDirectory(prefix="kill-", dir=work_folder()) as folder:
        files = {w: os.path.join(folder, f"{w}.txt") for w in range(WRITERS)}
        stop, errors = context.Event(), context.Queue()
        with Server(bolt_port=free_port(), http_port=free_port()) as server:
            port = server.bolt_port
            with Connection(port) as connection:
                connection.run("CREATE INDEX kill_w IF NOT EXISTS FOR (n:W) ON (n.w, n.s)")
                for label in "AB":
                    connection.run(f"CREATE CONSTRAINT kill_{label} IF NOT EXISTS FOR (n:{label}) REQUIRE (n.w, n.s) IS UNIQUE")
            processes = [context.Process(target=writer, args=(w, port, files[w], stop, errors), daemon=True) for w in files]
            for process in processes:
                process.start()
            verifier = Verifier(files)
            try:
                for kill in range(1, KILLS + 1):
                    time.sleep(chance.uniform(0.05, 0.6))
                    server.kill()
                    while chance.random() < 0.15:  # Also while it recovers.
                        server.spawn()
                        time.sleep(chance.uniform(0, 0.15))
                        server.kill()
                    server.spawn()
                    starts.append(first_answer(server))
                    found = verifier.problems(port)
                    problems += [f"after kill {kill}: {what}" for what in found]
                    for what in found:
                        print(f"kill {kill}: {what}", flush=True)
                    if starts[-1] >= START_SECONDS:
                        print(f"kill {kill}: {starts[-1]:.2f} s to the first answer", flush=True)
            finally:
                stop.set()
                for process in processes:
                    process.join(30)
            problems += [f"at the end: {what}" for what in verifier.problems(port, final=True)]
            with Connection(port) as connection:
                total = connection.run("MATCH (n:W) RETURN count(n)").rows[0][0]
                indexed = connection.run("MATCH (n:W) WHERE n.w >= 0 RETURN count(n.s)").rows[0][0]
            acknowledged = sum(len(read_acknowledged(path)) for path in files.values())
        complaints = []
        while not errors.empty():
            complaints.append(errors.get())
    starts.sort()
    checks.check(acknowledged >= KILLS, f"the writers got on: {acknowledged} acknowledged writes")
    checks.check(not problems, f"every acknowledged write is there once, no half transaction {problems[:5] or ''}")
    checks.check(total == indexed, f"scan ({total}) and index ({indexed}) agree")
    checks.check(not complaints, f"no writer got an error {complaints[:5] or ''}")
    checks.check(starts and starts[-1] < START_SECONDS,
                 f"first answer after a restart: median {starts[len(starts) // 2]:.3f} s, worst {starts[-1]:.3f} s of {len(starts)}")
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
