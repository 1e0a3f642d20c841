#!/usr/bin/env python3
"""A disk that refuses a sync, and one that hangs in it, under a real server (fdatasync is replaced by faulty_sync.c).

A failed sync: the client learns that the outcome is unknown, by a code that no driver retries; the server stops with
status 70 and one line that says what to do; after a restart everything acknowledged is there.
A hung sync: writes wait, reads and /health go on, one line tells the operator; when the disk comes back so do the writes.
"""
import os
import subprocess
import sys
import tempfile
import threading
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, Server, wait_for, work_folder  # noqa: E402
from raw_bolt import BoltError, Connection, Disconnected  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))


def build(folder):
    library = os.path.join(folder, "faulty_sync.so")
    subprocess.run(["clang-19", "-O1", "-shared", "-fPIC", "-o", library, os.path.join(HERE, "faulty_sync.c"), "-ldl"], check=True)
    return library


def say(path, word):
    with open(path + ".new", "w") as file:
        file.write(word)
    os.replace(path + ".new", path)


def count(port):
    with Connection(port) as connection:
        return connection.run("MATCH (n:S) RETURN count(n)").rows[0][0]


def failed_sync(server, fault, checks):
    acknowledged = 0
    with Connection(server.bolt_port) as connection:
        for _ in range(20):
            connection.run("CREATE (:S)")
            acknowledged += 1
        say(fault, "fail")
        error = None
        try:
            connection.run("CREATE (:S)")
        except (BoltError, Disconnected) as caught:
            error = caught
    checks.check(error is not None, f"a write whose sync failed is not acknowledged: {error}")
    checks.check(not (isinstance(error, BoltError) and error.transient()), "its code is none that drivers retry")
    wait_for(lambda: not server.running(), 10, "the server's end")
    checks.check(server._process.wait() == 70, f"the server ends with status 70: {server._process.returncode}")
    wait_for(lambda: "Restart it" in server.log_tail(), 5, "the line for the operator")
    say(fault, "work")
    server.start()
    there = count(server.bolt_port)
    checks.check(there in (acknowledged, acknowledged + 1), f"after a restart {there} of {acknowledged} acknowledged are there")
    with Connection(server.bolt_port) as connection:
        connection.run("CREATE (:S)")
    checks.check(count(server.bolt_port) == there + 1, "and it takes writes again")


def hung_sync(server, fault, checks):
    before = count(server.bolt_port)
    say(fault, "hang")
    answered = threading.Event()
    outcome = []

    def write():
        try:
            with Connection(server.bolt_port) as connection:
                connection.run("CREATE (:S)")
                outcome.append(None)
        except (BoltError, Disconnected) as error:
            outcome.append(error)
        answered.set()

    threading.Thread(target=write, daemon=True).start()
    wait_for(lambda: "has not answered a write or sync" in server.log_tail(), 15, "the line about the hung disk")
    checks.check(not answered.is_set(), "a write waits for its sync")
    checks.check(count(server.bolt_port) == before, "reads go on and do not show it")
    with urllib.request.urlopen(server.http_url + "/health", timeout=5) as answer:
        checks.check(answer.status == 200, "/health answers")
    say(fault, "work")
    checks.check(answered.wait(10) and outcome == [None], f"when the disk is back the write is acknowledged: {outcome}")
    checks.check(count(server.bolt_port) == before + 1, "and shown")


def main():
    checks = Checks()
    with tempfile.TemporaryDirectory(dir=work_folder()) as folder:
        fault = os.path.join(folder, "fault")
        say(fault, "work")
        environment = {"LD_PRELOAD": build(folder), "FAULTY_SYNC": fault}
        with Server(environment=environment) as server:
            failed_sync(server, fault, checks)
            hung_sync(server, fault, checks)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
