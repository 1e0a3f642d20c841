#!/usr/bin/env python3
"""Throws nonsense at the Bolt and HTTP ports of a real server for a while: random bytes, valid conversations with bytes
changed or cut off, sizes that are lies, floods that never read an answer, connections left half open, HTTP and
WebSocket garbage. Meanwhile a well-behaved client on each port must be served, and afterwards the server must be the
same process, hold no connection more than before, and not have grown past a bound.

    tests/cluster/nonsense_test.py [--seconds 20] [--seed N] [--growth-mib 384]
"""
import argparse
import base64
import http.client
import json
import os
import random
import re
import resource
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import PASSWORD, USER, Checks, Server, wait_for  # noqa: E402
from raw_bolt import (BEGIN, COMMIT, DISCARD, GOODBYE, HELLO, LOGON, PULL, RESET, ROUTE, RUN, Connection, Disconnected,  # noqa: E402
                      Structure, pack)

BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
HALF_OPEN = 200  # Connections that say little or nothing, held all the time, on each port.
RESERVED_FILES = 64  # What the test of few file descriptors leaves the server beyond what it has open.
SLOWEST_SECONDS = 5.0
UPGRADE = (b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")


def message(tag, *fields, chunk=65535):
    body = bytearray()
    pack(Structure(tag, fields), body)
    out = bytearray()
    for at in range(0, len(body), chunk):
        part = body[at:at + chunk]
        out += struct.pack(">H", len(part)) + part
    return bytes(out + b"\0\0")


HANDSHAKE = bytes.fromhex("6060B017 00080805 00020404 00000000 00000000")
LOGIN = (message(HELLO, {"user_agent": "nonsense/1", "bolt_agent": {"product": "nonsense/1"}})
         + message(LOGON, {"scheme": "basic", "principal": USER, "credentials": PASSWORD}))


def query(text="UNWIND range(1, 50) AS i RETURN i, $x", parameters=None):
    return message(RUN, text, {"x": [1, 2.5, "three", None, {"k": b"\0"}]} if parameters is None else parameters, {}) + message(PULL, {"n": -1})


def frame(payload, opcode=2, mask=b"\1\2\3\4", final=True):
    """A WebSocket frame as a client sends it."""
    head = bytes([opcode | (0x80 if final else 0)])
    size = len(payload)
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += struct.pack(">BH", 0x80 | 126, size)
    else:
        head += struct.pack(">BQ", 0x80 | 127, size)
    return head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def bolt_conversations():
    login = HANDSHAKE + LOGIN
    return [
        login + query() + message(GOODBYE),
        login + message(BEGIN, {"mode": "w", "tx_timeout": 1000}) + query("CREATE (:Nonsense)") + message(COMMIT),
        login + query("RETURN 1 /") + query() + message(RESET) + query(),
        login + message(ROUTE, {"address": "x"}, [], {"db": "neo4j"}) + message(RUN, "RETURN 1", {}, {}) + message(DISCARD, {"n": 1}),
        HANDSHAKE + query() + LOGIN,
        UPGRADE + frame(HANDSHAKE) + frame(LOGIN) + frame(query()),
        bytes.fromhex("6060B017 000001FF 00000000 00000000 00000000 00000805 00") + LOGIN + query(),
    ]


def http_conversations():
    body = json.dumps({"statement": "RETURN $x AS x", "parameters": {"x": [1, "a", None, {"k": 1.5}]}}).encode()
    typed = json.dumps({"statement": "RETURN $x", "parameters": {"x": {"$type": "Integer", "_value": "12"}}}).encode()

    def post(path, content, kind="application/json", extra=b""):
        return (f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {BASIC}\r\nContent-Type: {kind}\r\n"
                f"Content-Length: {len(content)}\r\n").encode() + extra + b"\r\n" + content
    return [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        post("/db/neo4j/query/v2", body),
        post("/db/neo4j/query/v2", typed, "application/vnd.neo4j.query.v1.0+json", b"Accept: application/vnd.neo4j.query.v1.0+json\r\n"),
        post("/db/neo4j/query/v2/tx", body) + post("/db/neo4j/query/v2/tx/1/commit", b"{}"),
        b"POST /db/neo4j/query/v2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n2\r\n1}\r\n0\r\n\r\n",
        UPGRADE + frame(b"nonsense"),
        b"DELETE /db/neo4j/query/v2/tx/7 HTTP/1.0\r\nAuthorization: " + BASIC.encode() + b"\r\n\r\n",
    ]


def bolt_lies():
    """Sizes that nothing follows."""
    login = HANDSHAKE + LOGIN
    chunk = struct.pack(">H", 14)
    return [
        HANDSHAKE + b"\xff\xff" + b"\xb1\x01",
        HANDSHAKE + b"\0\x09\xb1\x01\xa1\xd2\x7f\xff\xff\xff\x61\0\0",
        login + chunk + b"\xb3\x10\x81x\xa1\x81x" + b"\xd6\x7f\xff\xff\xff" + b"\1\1\0\0",
        login + chunk + b"\xb3\x10\x81x\xda\x7f\xff\xff\xff" + b"\x81a\1\1\1\0\0",
        login + message(RUN, "RETURN 1", {}, {})[:-2] * 50,
        login + b"\0\x81\xb3\x10\x81x" + b"\x91" * 126 + b"\0\0",
        UPGRADE + b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0abc",
        login + (b"\xff\xff" + b"\x91" * 65535) * 20,
    ]


def http_lies():
    head = b"POST /db/neo4j/query/v2 HTTP/1.1\r\nHost: x\r\n"
    known = head + b"Authorization: " + BASIC.encode() + b"\r\n"
    return [
        head + b"Content-Length: 67108864\r\n\r\n{",
        known + b"Content-Length: 67108864\r\n\r\n{",
        known + b"Content-Length: 99999999999999999999\r\n\r\n{}",
        known + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
        known + b"Content-Length: -1\r\n\r\n",
        known + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        known + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc",
        known + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n{\r\n" * 2000,
        b"GET / HTTP/1.1\r\n" + b"X-Many: y\r\n" * 5000 + b"\r\n",
        b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 1000000,
        known + b"Content-Length: 200000\r\n\r\n" + b"[" * 200000,
        known + b"Content-Length: 200018\r\n\r\n" + b'{"statement":' + b"[" * 200000 + b"1}",
    ]


def web_floods():
    """Requests that never end."""
    head = b"POST /db/neo4j/query/v2 HTTP/1.1\r\nHost: x\r\n"
    known = head + b"Authorization: " + BASIC.encode() + b"\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n\r\n"
    return [
        (head + chunked, b"8000\r\n" + b"[" * 0x8000 + b"\r\n"),
        (known + chunked, b"8000\r\n" + b"[" * 0x8000 + b"\r\n"),
        (known + chunked + b"1;", b"x" * 65536),
        (known + chunked + b"0\r\n", b"X: y\r\n" * 1000),
        (b"", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 1000),
    ]


def floods():
    """What asks for answers that nobody will read; sent on Bolt until the server takes no more."""
    login = HANDSHAKE + LOGIN
    return [
        (login, message(RESET) * 500),
        (login, query("UNWIND range(1, 1000000) AS i RETURN i, 'some text to fill the wire'") * 10),
        (login, query("this is not a query") + message(RESET)),
        (UPGRADE, frame(b"p" * 120, opcode=9) * 200),
        (UPGRADE + frame(HANDSHAKE) + frame(LOGIN), frame(b"p" * 120, opcode=9) * 100 + frame(message(RESET))),
        (HANDSHAKE, b"\0\0" * 5000),
    ]


def mutate(chance, data):
    data = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        kind, at = chance.randrange(6), chance.randrange(len(data) + 1)
        if kind == 0 and at < len(data):
            data[at] = chance.randrange(256)
        elif kind == 1:
            data[at:at] = chance.randbytes(chance.randrange(1, 20))
        elif kind == 2:
            del data[at:at + chance.randrange(1, 20)]
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            data[at:at] = data[max(0, at - 40):at] * chance.choice((1, 2, 50))
        elif at < len(data):
            data[at] = chance.choice((0, 0x7F, 0x80, 0xFF, 0xD6, 0xDA, 0xCE, 10, 13))
    return bytes(data)


def dial(port, timeout=2.0):
    connection = socket.create_connection(("127.0.0.1", port), timeout)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # No TIME_WAIT.
    return connection


def exchange(chance, port, data):
    """Sends it, in pieces now and then, reads what comes for a moment, and leaves in one of several ways."""
    try:
        with dial(port) as connection:
            at = 0
            while at < len(data):
                size = len(data) if chance.random() < 0.6 else chance.randrange(1, 64)
                connection.sendall(data[at:at + size])
                at += size
            leave = chance.randrange(3)
            if leave == 0:
                return  # A reset.
            if leave == 1:
                connection.shutdown(socket.SHUT_WR)
            connection.settimeout(0.2)
            while connection.recv(65536):
                pass
    except OSError:
        pass  # The server has had enough of it; that is its right.


class Thrower(threading.Thread):
    """Throws what `make(chance)` gives at a port until told to stop."""

    def __init__(self, port, seed, make, until):
        super().__init__(daemon=True)
        self._port, self._chance, self._make, self._until = port, random.Random(seed), make, until
        self.thrown = 0

    def run(self):
        while not self._until.is_set():
            exchange(self._chance, self._port, self._make(self._chance))
            self.thrown += 1


class Flooder(threading.Thread):
    """Fills a connection until the server takes no more, keeps it so for a while, and takes the next flood."""

    def __init__(self, port, what, until):
        super().__init__(daemon=True)
        self._port, self._what, self._until = port, what, until
        self.bytes = self.refused = 0

    def run(self):
        while not self._until.is_set():
            for head, more in self._what:
                if self._until.is_set():
                    return
                try:
                    with dial(self._port, 1.0) as connection:
                        if head.startswith(UPGRADE):
                            connection.sendall(UPGRADE)
                            connection.recv(4096)
                            head = head.removeprefix(UPGRADE)
                        connection.sendall(head)
                        end = time.monotonic() + 3
                        while time.monotonic() < end and not self._until.is_set():
                            connection.sendall(more)
                            self.bytes += len(more)
                except OSError:
                    self.refused += 1  # No byte more within a second, or closed.


class Visitor(threading.Thread):
    """The well-behaved client of a port; `ask()` raises where it is not served."""

    def __init__(self, ask, until):
        super().__init__(daemon=True)
        self._ask, self._until = ask, until
        self.served, self.slowest, self.failure = 0, 0.0, None

    def run(self):
        while not self._until.is_set():
            start = time.monotonic()
            try:
                self._ask(self.served)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what the test reports
                self.failure = f"{type(error).__name__}: {error}"
                return
            self.slowest = max(self.slowest, time.monotonic() - start)
            self.served += 1
            self._until.wait(0.01)


def bolt_visit(port):
    kept = Connection(port, timeout=30)

    def ask(round_number):
        rows = kept.run("CREATE (n:Kept {i: $i}) RETURN n.i", {"i": round_number}).rows
        if rows != [[round_number]]:
            raise AssertionError(f"{rows} instead of [[{round_number}]]")
        if round_number % 10 == 0:  # Newcomers are let in, too.
            with Connection(port, timeout=30) as fresh:
                count = fresh.run("MATCH (n:Kept) RETURN count(n)").rows
                if count != [[round_number + 1]]:
                    raise AssertionError(f"{count} nodes instead of {round_number + 1}")
    return ask


def http_visit(port):
    def ask(round_number):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("POST", "/db/neo4j/query/v2", json.dumps({"statement": "RETURN $i", "parameters": {"i": round_number}}),
                               {"Authorization": BASIC, "Content-Type": "application/json"})
            answer = connection.getresponse()
            body = json.loads(answer.read())
            if answer.status != 202 or body["data"]["values"] != [[round_number]]:
                raise AssertionError(f"status {answer.status}: {body}")
        finally:
            connection.close()
    return ask


def metric(server, name):
    connection = http.client.HTTPConnection("127.0.0.1", server.ports["HTTP"], timeout=30)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE).group(1))


def open_files(server):
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def half_open(port, beginnings, count):
    """Connections that have begun something and never go on."""
    held = []
    for i in range(count):
        connection = dial(port)
        connection.sendall(beginnings[i % len(beginnings)])
        held.append(connection)
    return held


def throw(server, arguments, checks):
    bolt, web = server.bolt_port, server.ports["HTTP"]
    with Connection(bolt) as first:  # What a first query and a first login cost is not growth.
        first.run("UNWIND range(1, 1000) AS i RETURN i")
    metric(server, "nornicdb_bolt_connections_open")
    wait_for(lambda: metric(server, "nornicdb_bolt_connections_open") == 0, what="an idle server")
    start_rss, start_files = server.rss_bytes(), open_files(server)

    until = threading.Event()
    visitors = [Visitor(bolt_visit(bolt), until), Visitor(http_visit(web), until)]
    makers = [
        (bolt, lambda c: c.randbytes(c.randrange(1, 5000))),
        (bolt, lambda c: mutate(c, c.choice(bolt_conversations()))),
        (bolt, lambda c: HANDSHAKE + LOGIN + mutate(c, query())),
        (bolt, lambda c: UPGRADE + mutate(c, frame(HANDSHAKE + LOGIN + query()))),
        (bolt, lambda c: c.choice(bolt_lies() + http_conversations() + http_lies())),
        (web, lambda c: c.randbytes(c.randrange(1, 5000))),
        (web, lambda c: mutate(c, c.choice(http_conversations()))),
        (web, lambda c: c.choice(http_lies() + bolt_conversations() + bolt_lies())),
    ]
    throwers = [Thrower(port, arguments.seed + i, make, until) for i, (port, make) in enumerate(makers)]
    flooders = [Flooder(bolt, floods(), until), Flooder(web, web_floods(), until)]
    login = HANDSHAKE + LOGIN
    held = half_open(bolt, [b"", b"\x60", HANDSHAKE, HANDSHAKE + b"\0\x50\xb1", login + b"\xff\xff", b"GET / HT", UPGRADE, UPGRADE + b"\x82"], HALF_OPEN)
    held += half_open(web, [b"", b"G", b"POST / HTTP/1.1\r\n", http_lies()[0], http_lies()[1]], HALF_OPEN)
    for thread in (*visitors, *throwers, *flooders):
        thread.start()
    peak = 0
    end = time.monotonic() + arguments.seconds
    while time.monotonic() < end and server.running() and not any(v.failure for v in visitors):
        peak = max(peak, server.rss_bytes())
        time.sleep(0.05)
    until.set()
    for thread in (*visitors, *throwers, *flooders):
        thread.join(60)
    checks.check(all(f.refused > 0 for f in flooders), "who floods and never reads is stopped")
    for connection in held:
        connection.close()

    if not checks.check(server.running(), f"the server lives after {sum(t.thrown for t in throwers)} conversations of nonsense"):
        print(server.log_tail())
        return
    print(f"{sum(f.bytes for f in flooders) >> 20} MiB of floods; {sum(f.refused for f in flooders)} times the server took no more")
    for name, visitor in zip(("Bolt", "HTTP"), visitors):
        checks.check(visitor.failure is None and visitor.served > 0,
                     f"{name}: a well-behaved client was served {visitor.served} times{'' if visitor.failure is None else ', then ' + visitor.failure}")
        checks.check(visitor.slowest < SLOWEST_SECONDS, f"{name}: its slowest answer took {visitor.slowest:.2f} s")
    growth = (peak - start_rss) >> 20
    checks.check(growth < arguments.growth_mib, f"memory grew by {growth} MiB at its peak, {(server.rss_bytes() - start_rss) >> 20} MiB now, "
                                                f"of {arguments.growth_mib} allowed")
    visitors.clear()  # The Bolt client's connection goes with it.

    def calm():
        return metric(server, "nornicdb_bolt_connections_open") <= 0 and open_files(server) <= start_files + 20
    try:
        wait_for(calm, 30, "an idle server")
    except TimeoutError:
        pass
    left = metric(server, "nornicdb_bolt_connections_open")
    checks.check(left == 0, f"{left:.0f} Bolt connections are left open")
    checks.check(open_files(server) <= start_files + 20, f"{open_files(server)} files are open, {start_files} were at the start")


def run_out_of_files(server, checks):
    """More connections than file descriptors: they wait, the processor does not spin, and all is well afterwards."""
    _, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    with Connection(server.bolt_port) as kept:
        before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (open_files(server) + RESERVED_FILES, hard))
        held = []
        try:
            for port in (server.bolt_port, server.ports["HTTP"]):
                held += half_open(port, [b""], RESERVED_FILES + 20)
            cpu = server.cpu_seconds()
            kept.run("RETURN 1")
            time.sleep(2)  # The time over which the processor's work is measured.
            spent = server.cpu_seconds() - cpu
            checks.check(spent < 0.6, f"without free file descriptors the server used {spent:.2f} s of processor in 2 s")
            checks.check(kept.run("RETURN 2").rows == [[2]], "and still answers the client it has")
        finally:
            for connection in held:
                connection.close()
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)

        def served():
            try:
                with Connection(server.bolt_port, timeout=5) as fresh:
                    fresh.run("CREATE (:AfterFiles)")
                return metric(server, "nornicdb_bolt_connections_open") >= 1
            except (Disconnected, OSError):
                return False
        try:
            wait_for(served, 20, "service")
            checks.check(True, "and takes new clients and writes once there are descriptors again")
        except TimeoutError:
            checks.check(False, "and takes new clients and writes once there are descriptors again")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("NORNICDB_NONSENSE_SECONDS", "20")))
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--growth-mib", type=int, default=384)
    parser.add_argument("--keep-files", action="store_true", help="leave the part out that takes the server's file descriptors (the "
                                                                 "sanitizers' own checks need some)")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    checks = Checks()
    files, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Server() as server:
        checks.check(resource.prlimit(server.pid, resource.RLIMIT_NOFILE) == (hard, hard), f"it raised its limit of open files from {files} to {hard}")
        throw(server, arguments, checks)
        if server.running() and not arguments.keep_files:
            run_out_of_files(server, checks)
        if server.running():
            checks.check(server.stop(60) == 0, "SIGTERM ends it cleanly")
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
