#!/usr/bin/env python3
"""Everything at once on a bank: transfers by autocommit, in transactions with time-outs, cut off by RESET, rolled back
and killed, through Bolt and HTTP, while indexes come and go, checkpoints run and an administrator looks on. Every read
of the whole bank must see the same sum, and at the end every balance must follow from the payments on record; the
same after a restart. Under a sanitizer's build (NORNICDB_BINARY) the server's exit status tells of its findings.

    tests/cluster/mixed_test.py [--seconds 15] [--seed N]
"""
import argparse
import base64
import http.client
import json
import os
import random
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import PASSWORD, USER, Checks, Server  # noqa: E402
from raw_bolt import PULL, RESET, RUN, BoltError, Connection, Disconnected  # noqa: E402

ACCOUNTS, START_BALANCE = 40, 1000
TRANSFER = ("MATCH (a:Account {id: $a}), (b:Account {id: $b}) SET a.balance = a.balance - $x, b.balance = b.balance + $x "
            "CREATE (a)-[:PAID {x: $x}]->(b)")
SUM = "MATCH (a:Account) RETURN sum(a.balance), count(a)"
FROM_PAYMENTS = ("MATCH (a:Account) OPTIONAL MATCH (a)-[out:PAID]->() WITH a, sum(out.x) AS gone "
                 "OPTIONAL MATCH (a)<-[in:PAID]-() WITH a, gone, sum(in.x) AS come "
                 f"WHERE a.balance <> {START_BALANCE} - gone + come RETURN a.id, a.balance, gone, come")
# What a client whose transaction meets another, a time-out, a RESET or an administrator is told.
EXPECTED = ("Neo.TransientError.", "Neo.ClientError.Transaction.TransactionTimedOut", "Neo.ClientError.Transaction.Terminated",
            "Neo.ClientError.Schema.", "IGNORED")


class Bank:
    def __init__(self, server, seconds, seed):
        self.server, self.seed = server, seed
        self.end = time.monotonic() + seconds
        self.problems = []
        self.done = {}

    def count(self, what):
        self.done[what] = self.done.get(what, 0) + 1

    def run(self, jobs):
        threads = [threading.Thread(target=self._loop, args=(job, n), daemon=True) for n, job in enumerate(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0, self.end - time.monotonic()) + 120)
            if thread.is_alive():
                self.problems.append("a client got no answer for two minutes")
                return

    def _loop(self, job, number):
        chance = random.Random(f"{self.seed} {number}")
        connection = None
        while time.monotonic() < self.end and len(self.problems) < 10:
            try:
                connection = connection or Connection(self.server.bolt_port, timeout=100)
                job(self, connection, chance)
            except BoltError as error:
                if not error.code.startswith(EXPECTED):
                    self.problems.append(f"{job.__name__}: {error}")
                self.count(error.code.rpartition(".")[2])
                try:
                    connection.reset()
                except BoltError as again:
                    self.problems.append(f"{job.__name__}: RESET: {again}")
            except Disconnected as error:
                if not self.server.running():
                    self.problems.append(f"{job.__name__}: the server is gone")
                    return
                self.problems.append(f"{job.__name__}: {error}")
                connection = None
            except Exception:  # pylint: disable=broad-except
                self.problems.append(traceback.format_exc())
        if connection is not None:
            connection.close()


def payment(chance):
    a, b = chance.sample(range(ACCOUNTS), 2)
    return {"a": a, "b": b, "x": chance.randrange(1, 10)}


def autocommit(bank, connection, chance):
    connection.run(TRANSFER, payment(chance))
    bank.count("autocommit")


def explicit(bank, connection, chance):
    # Some time out before they commit, some while they do.
    extra = {"tx_timeout": chance.choice((1, 5, 20, 60))} if chance.random() < 0.3 else {}
    connection.begin(tx_metadata={"n": chance.randrange(9)}, **extra)
    for _ in range(chance.randrange(1, 4)):
        connection.run(TRANSFER, payment(chance))
        if extra and chance.random() < 0.3:
            time.sleep(chance.uniform(0, 0.3))
    if chance.random() < 0.2:
        connection.rollback()
    else:
        connection.commit()
        bank.count("explicit")


def cut_off(bank, connection, chance):
    """RESET comes while statements run or wait for locks."""
    connection.send(RUN, TRANSFER, payment(chance), {})
    connection.send(PULL, {"n": -1})
    if chance.random() < 0.5:
        connection.send(RUN, "UNWIND range(1, 1000000) AS i MATCH (a:Account) RETURN sum(a.balance + i)", {}, {})
        connection.send(PULL, {"n": -1})
    connection.flush()
    time.sleep(chance.choice((0, 0.001, 0.01)))
    connection.send(RESET)
    connection.flush()
    # How many of the answers are FAILURE or IGNORED is chance; a statement behind RESET tells where they end.
    connection.send(RUN, "RETURN 4711 AS probe", {}, {})
    connection.send(PULL, {"n": -1})
    connection.flush()
    rows = []
    while [4711] not in rows:
        try:
            connection.answer(rows)
        except BoltError as error:
            if not error.code.startswith(EXPECTED):
                bank.problems.append(f"cut_off: {error}")
    bank.count("cut_off")


def total(bank, connection, chance):
    rows = connection.run(SUM).rows
    if rows != [[ACCOUNTS * START_BALANCE, ACCOUNTS]]:
        bank.problems.append(f"a read of the whole bank saw {rows}")
    bank.count("total")


def pages(bank, connection, chance):
    """The same sum, read a few records at a time, while others write."""
    connection.send(RUN, "MATCH (a:Account) RETURN a.balance", {}, {})
    connection.flush()
    connection.answer()
    rows, more = [], True
    while more:
        connection.send(PULL, {"n": chance.randrange(1, 12)})
        connection.flush()
        more = connection.answer(rows).get("has_more", False)
    if sum(row[0] for row in rows) != ACCOUNTS * START_BALANCE:
        bank.problems.append(f"pages saw the sum {sum(row[0] for row in rows)} of {len(rows)}")
    bank.count("pages")


def by_index(bank, connection, chance):
    low = chance.randrange(900, 1100)
    rows = connection.run("MATCH (a:Account) WHERE a.balance >= $low RETURN a.balance "
                          "UNION ALL MATCH (a:Account) WHERE a.balance < $low RETURN a.balance", {"low": low}).rows
    if sum(row[0] for row in rows) != ACCOUNTS * START_BALANCE:
        bank.problems.append(f"both sides of {low} have the sum {sum(row[0] for row in rows)} of {len(rows)}")
    bank.count("by_index")


def come_and_go(bank, connection, chance):
    connection.run("MERGE (t:Temporary {id: $id}) ON CREATE SET t.n = 1 ON MATCH SET t.n = t.n + 1 "
                   "WITH t MATCH (a:Account {id: $a}) CREATE (t)-[:SEES]->(a)", {"id": chance.randrange(20), "a": chance.randrange(ACCOUNTS)})
    if chance.random() < 0.4:
        connection.run("MATCH (t:Temporary {id: $id}) DETACH DELETE t", {"id": chance.randrange(20)})
    bank.count("come_and_go")


def schema(bank, connection, chance):
    name, what = chance.choice((("mixed_balance", "FOR (n:Account) ON (n.balance)"), ("mixed_paid", "FOR ()-[r:PAID]-() ON (r.x)"),
                                ("mixed_temporary", "FOR (n:Temporary) ON (n.id)")))
    connection.run(f"CREATE INDEX {name} IF NOT EXISTS {what}")
    connection.run("SHOW INDEXES")
    time.sleep(chance.uniform(0, 0.05))
    connection.run(f"DROP INDEX {name} IF EXISTS")
    bank.count("schema")


def administer(bank, connection, chance):
    # cut_off waits for the rows of its probe, whatever else it is told.
    ids = [row[0] for row in connection.run("SHOW TRANSACTIONS YIELD transactionId, currentQuery WHERE currentQuery <> '' "
                                            "AND NOT currentQuery STARTS WITH 'SHOW' AND NOT currentQuery CONTAINS 'probe' "
                                            "RETURN transactionId").rows]
    if ids and chance.random() < 0.3:
        connection.run("TERMINATE TRANSACTIONS $id", {"id": chance.choice(ids)})
    connection.run("CALL dbms.listConnections() YIELD connectionId RETURN count(*)")
    bank.count("administer")
    time.sleep(0.02)


def watch_http(bank, connection, chance):
    client = http.client.HTTPConnection("127.0.0.1", bank.server.ports["HTTP"], timeout=100)
    for path in ("/metrics", "/health", "/"):
        client.request("GET", path)
        answer = client.getresponse()
        if answer.status != 200 or not answer.read():
            bank.problems.append(f"GET {path}: {answer.status}")
    client.close()
    bank.count("watch_http")
    time.sleep(0.02)


def over_http(bank, connection, chance):
    client = http.client.HTTPConnection("127.0.0.1", bank.server.ports["HTTP"], timeout=100)
    headers = {"Content-Type": "application/json", "Accept": "application/json",
               "Authorization": "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}

    def ask(method, path, statement=None, parameters=None):
        body = json.dumps({"statement": statement, "parameters": parameters or {}} if statement else {})
        client.request(method, "/db/neo4j/query/v2" + path, body, headers)
        answer = client.getresponse()
        found = json.loads(answer.read() or b"{}")
        errors = found.get("errors") or []
        for error in errors:
            bank.count(error["code"].rpartition(".")[2])
            if not error["code"].startswith(EXPECTED):
                bank.problems.append(f"{method} {path}: {error}")
        return None if errors else found

    if chance.random() < 0.5:
        ask("POST", "", TRANSFER, payment(chance))
    else:
        begun = ask("POST", "/tx", TRANSFER, payment(chance))
        if begun:
            path = "/tx/" + begun["transaction"]["id"]
            if chance.random() < 0.3:
                ask("DELETE", path)
            elif ask("POST", path, TRANSFER, payment(chance)):
                ask("POST", path + "/commit")
    client.close()
    bank.count("over_http")


JOBS = [autocommit, autocommit, explicit, explicit, cut_off, total, pages, by_index, come_and_go, schema, administer, watch_http,
        over_http]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    arguments = parser.parse_args()
    checks = Checks()
    print(f"seed {arguments.seed}")
    settings = {"NORNICDB_CHECKPOINT_INTERVAL": "30ms", "NORNICDB_CACHE_SIZE": "16MiB"}
    with Server(environment=settings) as server:
        with Connection(server.bolt_port) as connection:
            connection.run("CREATE CONSTRAINT mixed_id FOR (a:Account) REQUIRE a.id IS UNIQUE")
            connection.run(f"UNWIND range(0, {ACCOUNTS - 1}) AS id CREATE (:Account {{id: id, balance: {START_BALANCE}}})")
        bank = Bank(server, arguments.seconds, arguments.seed)
        bank.run(JOBS)
        print(", ".join(f"{count} {what}" for what, count in sorted(bank.done.items())))
        checks.check(not bank.problems, "no client met what it should not" + "".join("\n" + p for p in bank.problems[:10]))
        checks.check(bank.done.get("autocommit", 0) > 10 and bank.done.get("explicit", 0) > 10, "transfers got through")
        for when in ("at the end", "after a restart"):
            with Connection(server.bolt_port) as connection:
                rows = connection.run(SUM).rows
                checks.check(rows == [[ACCOUNTS * START_BALANCE, ACCOUNTS]], f"{when} the sum is what it was: {rows}")
                wrong = connection.run(FROM_PAYMENTS).rows
                checks.check(not wrong, f"{when} every balance follows from the payments {wrong[:5] or ''}")
                left = connection.run("SHOW TRANSACTIONS YIELD transactionId RETURN count(*)").rows
                checks.check(left == [[1]], f"{when} no transaction is left open: {left}")
            status = server.stop()
            if not checks.check(status == 0, f"{when} the server stops with status {status}"):
                print(server.log_tail())
            server.start()
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
