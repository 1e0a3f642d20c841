"""The Python driver's client under faults; README.md says what all of them do."""
import json
import logging
import os
import sys
import threading
import time

import neo4j

MEMBERS = [neo4j.Address.parse(member) for member in os.environ["NORNICDB_MEMBERS"].split(",")]
NAME = os.environ["NORNICDB_NAME"]
COUNT = "MATCH (c:Counter {id: $worker}) SET c.n = c.n + 1"
CREATE = "CREATE (:Write {id: $id, attempt: $attempt})"
LOOK = "OPTIONAL MATCH (w:Write {id: $id}) WITH count(w) AS there MATCH (c:Counter {id: $worker}) RETURN there, c.n AS count"

logging.getLogger("neo4j").setLevel(logging.CRITICAL)  # It tells of each retry; that is what it is for.
stopped = threading.Event()
printing = threading.Lock()


def say(line):
    with printing:
        print(json.dumps(line), flush=True)


def named(error):
    """With what it came from, for people; up to the first colon is its kind."""
    out = f"{type(error).__name__} {getattr(error, 'code', None) or ''}: {error}"
    return f"{out} <- {named(error.__cause__)}" if error.__cause__ else out


class Worker:
    def __init__(self, driver, number):
        self._driver, self._number, self._kind = driver, number, number % 3
        self._id = f"{NAME}-{number}"
        driver.execute_query("MERGE (c:Counter {id: $worker}) SET c.n = 0", worker=self._id)
        self._bookmarks = neo4j.Bookmarks.from_raw_values(driver.execute_query_bookmark_manager.get_bookmarks())
        self._manager = neo4j.GraphDatabase.bookmark_manager(self._bookmarks)
        self._acknowledged = 0

    def session(self):
        if self._kind == 1:
            return self._driver.session(database="neo4j", bookmark_manager=self._manager)
        return self._driver.session(bookmarks=self._bookmarks)

    def write(self, parameters, line):
        def work(transaction):
            line["attempts"] += 1
            transaction.run(COUNT, parameters).consume()
            transaction.run(CREATE, parameters, attempt=line["attempts"]).consume()

        if self._kind == 0:
            self._driver.execute_query(COUNT + " " + CREATE, parameters, attempt=0)
            return
        with self.session() as session:
            session.execute_write(work)
            self._bookmarks = session.last_bookmarks()

    def read(self, parameters):
        if self._kind == 0:
            return self._driver.execute_query(LOOK, parameters, routing_=neo4j.RoutingControl.READ).records[0]
        with self.session() as session:
            record = session.execute_read(lambda transaction: transaction.run(LOOK, parameters).single(strict=True))
            self._bookmarks = session.last_bookmarks()
            return record

    def round(self, number):
        parameters = {"worker": self._id, "id": f"{self._id}-{number}"}
        line = {"worker": self._number, "number": number, "began": time.time(), "attempts": 0, "write": "", "read": ""}
        try:
            self.write(parameters, line)
            self._acknowledged += 1
        except Exception as error:  # pylint: disable=broad-except
            line["write"] = named(error)
        try:
            line["there"], line["count"] = self.read(parameters)
        except Exception as error:  # pylint: disable=broad-except
            line["read"] = named(error)
        say({**line, "ended": time.time(), "acknowledged": self._acknowledged})

    def run(self):
        number, pause = 0, int(os.environ["NORNICDB_PAUSE_MS"]) / 1000
        while not stopped.wait(pause):
            number += 1
            self.round(number)


def main():
    def resolver(address):
        return MEMBERS if address.host == "cluster" else [address]

    with neo4j.GraphDatabase.driver("neo4j://cluster:7687", resolver=resolver,
                                    auth=(os.environ["NORNICDB_USER"], os.environ["NORNICDB_PASSWORD"])) as driver:
        workers = [Worker(driver, number) for number in range(int(os.environ["NORNICDB_WORKERS"]))]
        threads = [threading.Thread(target=worker.run, daemon=True) for worker in workers]
        say({"ready": True})
        for thread in threads:
            thread.start()
        sys.stdin.readline()
        stopped.set()
        for thread in threads:
            thread.join()
    say({"done": True})


main()
