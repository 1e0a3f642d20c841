#!/usr/bin/env python3
"""Many clients MERGE the same things at once: each is created exactly once, and no autocommit client sees an error,
with a unique constraint and without, for nodes and for relationships. And LOAD CSV from the import directory.
"""
import os
import random
import shutil
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, Server, work_folder  # noqa: E402
from raw_bolt import BoltError, Connection  # noqa: E402

CLIENTS = int(os.environ.get("NORNICDB_MERGE_CLIENTS", "16"))
KEYS = 50


def in_threads(port, work):
    """Runs work(connection, keys in an order of its own) in CLIENTS threads at once; returns their exceptions."""
    failures = []
    barrier = threading.Barrier(CLIENTS)

    def client(number):
        try:
            keys = list(range(KEYS))
            random.Random(number).shuffle(keys)
            with Connection(port) as connection:
                barrier.wait(60)
                work(connection, keys)
        except Exception as error:  # pylint: disable=broad-except
            failures.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def merge_nodes(label):
    def work(connection, keys):
        for key in keys:
            connection.run(f"MERGE (n:{label} {{id: $id}}) ON CREATE SET n.n = 1 ON MATCH SET n.n = n.n + 1", {"id": key})
    return work


def merge_all_at_once(connection, keys):
    """Every client takes the same locks in another order: the server runs the victims of deadlocks again."""
    connection.run("UNWIND $keys AS id MERGE (n:Batch {id: id}) ON CREATE SET n.n = 1 ON MATCH SET n.n = n.n + 1",
                   {"keys": keys})


def merge_relationships(connection, keys):
    for key in keys:
        connection.run("MATCH (a:End {id: 0}), (b:End {id: 1}) MERGE (a)-[r:R {id: $id}]->(b) "
                       "ON CREATE SET r.n = 1 ON MATCH SET r.n = r.n + 1", {"id": key})


def merge_one_relationship(connection, keys):
    for _ in keys:
        connection.run("MATCH (a:End {id: 0}), (b:End {id: 1}) MERGE (b)-[:ONE]->(a)")


def merge_paths(connection, keys):
    for key in keys:
        connection.run("MERGE (a:Person {id: $id}) MERGE (b:Person {id: $next}) MERGE (a)-[:NEXT]->(b)",
                       {"id": key, "next": (key + 1) % KEYS})


def check_merge(checks, server):
    with Connection(server.bolt_port) as connection:
        def rows(query):
            return connection.run(query).rows

        connection.run("CREATE CONSTRAINT unique_id FOR (n:Unique) REQUIRE n.id IS UNIQUE")
        connection.run("CREATE INDEX indexed_id FOR (n:Indexed) ON (n.id)")
        connection.run("CALL db.awaitIndexes()")
        connection.run("CREATE (:End {id: 0}), (:End {id: 1})")
        for label, what in (("Plain", "without an index"), ("Indexed", "with an index"), ("Unique", "with a unique constraint")):
            failures = in_threads(server.bolt_port, merge_nodes(label))
            checks.check(not failures, f"MERGE of nodes {what}: no client saw an error {failures[:3] or ''}")
            found = rows(f"MATCH (n:{label}) RETURN count(n), count(DISTINCT n.id), min(n.n), max(n.n)")[0]
            checks.check(found == [KEYS, KEYS, CLIENTS, CLIENTS],
                         f"{what}: nodes, keys, fewest and most merges are {found}, wanted {[KEYS, KEYS, CLIENTS, CLIENTS]}")
        failures = in_threads(server.bolt_port, merge_all_at_once)
        checks.check(not failures, f"all keys in one statement, in any order: no error {failures[:3] or ''}")
        found = rows("MATCH (n:Batch) RETURN count(n), count(DISTINCT n.id), min(n.n), max(n.n)")[0]
        checks.check(found == [KEYS, KEYS, CLIENTS, CLIENTS], f"all keys in one statement: {found}")
        failures = in_threads(server.bolt_port, merge_relationships)
        checks.check(not failures, f"MERGE of relationships: no error {failures[:3] or ''}")
        found = rows("MATCH (:End)-[r:R]->(:End) RETURN count(r), count(DISTINCT r.id), min(r.n), max(r.n)")[0]
        checks.check(found == [KEYS, KEYS, CLIENTS, CLIENTS], f"MERGE of relationships: {found}")
        failures = in_threads(server.bolt_port, merge_one_relationship)
        checks.check(not failures, f"MERGE of one relationship: no error {failures[:3] or ''}")
        checks.check(rows("MATCH ()-[r:ONE]->() RETURN count(r)") == [[1]], "one relationship is one")
        failures = in_threads(server.bolt_port, merge_paths)
        checks.check(not failures, f"MERGE of two ends and the way: no error {failures[:3] or ''}")
        checks.check(rows("MATCH (p:Person) RETURN count(p), count(DISTINCT p.id)") == [[KEYS, KEYS]], "people once each")
        checks.check(rows("MATCH (:Person)-[r:NEXT]->(:Person) RETURN count(r)") == [[KEYS]], "ways once each")


def check_load_csv(checks, server, folder):
    with open(os.path.join(folder, "people.csv"), "w", encoding="utf-8") as out:
        out.write('id;name\n' + "".join(f'{i};"Name; {i}"\n' for i in range(1000)))
    with Connection(server.bolt_port) as connection:
        connection.run("LOAD CSV WITH HEADERS FROM 'file:///people.csv' AS row FIELDTERMINATOR ';' "
                       "CALL { WITH row CREATE (:Csv {id: toInteger(row.id), name: row.name}) } IN TRANSACTIONS OF 300 ROWS")
        found = connection.run("MATCH (n:Csv) RETURN count(n), sum(n.id), max(n.name)").rows[0]
        checks.check(found == [1000, 499500, "Name; 999"], f"LOAD CSV in transactions: {found}")
        for url, wanted in (("file:///nope.csv", "Couldn't load the external resource at: file:///nope.csv ()"),
                            ("file:///../server.log", "outside configured import directory")):
            try:
                connection.run("LOAD CSV FROM $url AS row RETURN row", {"url": url})
                checks.check(False, f"{url} was read")
            except BoltError as error:
                checks.check(wanted in str(error) and "ExternalResourceFailed" in str(error), f"{url}: {error}")


def main():
    checks = Checks()
    folder = tempfile.mkdtemp(prefix="import-", dir=work_folder())
    try:
        with Server(environment={"NORNICDB_IMPORT_DIR": folder}) as server:
            check_merge(checks, server)
            check_load_csv(checks, server, folder)
        with Server() as server, Connection(server.bolt_port) as connection:
            try:
                connection.run("LOAD CSV FROM 'file:///people.csv' AS row RETURN row")
                checks.check(False, "LOAD CSV without an import directory was run")
            except BoltError as error:
                checks.check("ExternalResourceFailed" in str(error), f"without an import directory: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
