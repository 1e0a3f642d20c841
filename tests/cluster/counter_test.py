#!/usr/bin/env python3
"""Sixteen clients on one counter: autocommit increments never fail and none is lost; read-modify-write in explicit
transactions may be told to try again (a transient error), and loses none either.
"""
import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, Server  # noqa: E402
from raw_bolt import BoltError, Connection  # noqa: E402

CLIENTS = int(os.environ.get("NORNICDB_COUNTER_CLIENTS", "16"))
EACH = int(os.environ.get("NORNICDB_COUNTER_EACH", "200"))


def in_threads(port, work):
    """Runs work(connection) in CLIENTS threads; returns their exceptions and the seconds."""
    failures = []

    def client():
        try:
            with Connection(port) as connection:
                work(connection)
        except Exception as error:  # pylint: disable=broad-except
            failures.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures, time.monotonic() - start


def autocommit(connection):
    for _ in range(EACH):
        connection.run("MATCH (c:C {id: 0}) SET c.n = c.n + 1")


retries = [0]


def read_modify_write(connection):
    done = 0
    deadline = time.monotonic() + 300
    while done < EACH // 4:
        try:
            connection.begin()
            n = connection.run("MATCH (c:C {id: 0}) RETURN c.n").rows[0][0]
            connection.run("MATCH (c:C {id: 0}) SET c.n = $n", {"n": n + 1})
            connection.commit()
            done += 1
        except BoltError as error:
            if not error.transient() or time.monotonic() > deadline:
                raise
            retries[0] += 1
            time.sleep(0.001)


def main():
    checks = Checks()
    with Server() as server:
        with Connection(server.bolt_port) as connection:
            def counter():
                return connection.run("MATCH (c:C {id: 0}) RETURN c.n").rows[0][0]

            connection.run("CREATE INDEX counter_id FOR (c:C) ON (c.id)")
            connection.run("CREATE (:C {id: 0, n: 0})")
            failures, seconds = in_threads(server.bolt_port, autocommit)
            checks.check(not failures, f"no autocommit client saw an error {failures[:3] or ''}")
            checks.check(counter() == CLIENTS * EACH, f"autocommit: {counter()} of {CLIENTS * EACH} increments, "
                         f"{CLIENTS * EACH / seconds:.0f} a second")
            connection.run("MATCH (c:C) SET c.n = 0")
            failures, seconds = in_threads(server.bolt_port, read_modify_write)
            checks.check(not failures, f"explicit transactions only saw transient errors {failures[:3] or ''}")
            checks.check(counter() == CLIENTS * (EACH // 4), f"explicit: {counter()} of {CLIENTS * (EACH // 4)} increments, "
                         f"{retries[0]} tried again, {CLIENTS * (EACH // 4) / seconds:.0f} a second")
            server.kill()
            server.start()
        with Connection(server.bolt_port) as connection:
            n = connection.run("MATCH (c:C {id: 0}) RETURN c.n").rows[0][0]
            checks.check(n == CLIENTS * (EACH // 4), f"after kill -9: {n}")
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
