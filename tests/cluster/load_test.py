#!/usr/bin/env python3
"""Loads 1,000,000 nodes and 5,000,000 relationships through UNWIND … CREATE over Bolt and opens them again. Run by
hand; prints rows a second, memory, disk, and the time to the first answer after a clean stop and after kill -9.

    tests/cluster/load_test.py [--nodes N] [--relationships N] [--batch N] [--limit-mib N] [--data FOLDER]
"""
import argparse
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, Server, free_port  # noqa: E402
from raw_bolt import Connection, Disconnected  # noqa: E402


def disk_bytes(folder):
    return sum(os.stat(os.path.join(top, name)).st_blocks * 512 for top, _, names in os.walk(folder) for name in names)


def send(connection, server, what, query, rows, batch):
    """Sends rows(start, end) batch by batch; prints the rate and returns the highest memory seen."""
    total, make = rows
    start, cpu, peak = time.monotonic(), server.cpu_seconds(), 0
    shown = start
    for at in range(0, total, batch):
        connection.run(query, {"rows": make(at, min(total, at + batch))})
        peak = max(peak, server.rss_bytes())
        if time.monotonic() - shown > 20:
            shown = time.monotonic()
            print(f"  {at + batch:,} {what}, {(at + batch) / (shown - start):,.0f} a second, {server.rss_bytes() >> 20} MiB",
                  flush=True)
    seconds = time.monotonic() - start
    print(f"{total:,} {what}: {seconds:.1f} s, {total / seconds:,.0f} rows a second, server CPU "
          f"{(server.cpu_seconds() - cpu) / total * 1e6:.1f} µs a row, {server.rss_bytes() >> 20} MiB, peak {peak >> 20} MiB",
          flush=True)
    return peak


def open_again(server, port, nodes):
    server.spawn()
    while True:
        try:
            with Connection(port, timeout=30) as connection:
                value = connection.run("MATCH (n:L {id: $id}) RETURN n.name", {"id": nodes - 1}).rows
            return time.monotonic() - server.spawned_at, value == [[f"name{nodes - 1}"]]
        except Disconnected:
            if not server.running():
                raise
            time.sleep(0.002)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--relationships", type=int, default=5_000_000)
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--limit-mib", type=int, default=0, help="fail if the server's memory passes this")
    parser.add_argument("--cache", help="NORNICDB_CACHE_SIZE of the server, to see a graph larger than its cache")
    parser.add_argument("--data", help="data folder, kept (default: a temporary one)")
    arguments = parser.parse_args()
    checks = Checks()
    nodes = arguments.nodes
    state = [42]

    def node_rows(low, high):
        return [{"id": i, "name": f"name{i}", "score": i % 1000 / 10} for i in range(low, high)]

    def ends(low, high):
        rows = []
        for _ in range(low, high):
            state[0] = (state[0] * 6364136223846793005 + 1442695040888963407) & ((1 << 64) - 1)
            rows.append({"a": (state[0] >> 33) % nodes, "b": (state[0] >> 12) % nodes})
        return rows

    port = free_port()
    environment = {"NORNICDB_CACHE_SIZE": arguments.cache} if arguments.cache else {}
    with Server(data_dir=arguments.data, bolt_port=port, http_port=free_port(), environment=environment) as server:
        with Connection(port, timeout=600) as connection:
            connection.run("CREATE CONSTRAINT load_id IF NOT EXISTS FOR (n:L) REQUIRE n.id IS UNIQUE")
            peak = send(connection, server, "nodes", "UNWIND $rows AS r CREATE (:L {id: r.id, name: r.name, score: r.score})",
                        (nodes, node_rows), arguments.batch)
            peak = max(peak, send(connection, server, "relationships",
                                  "UNWIND $rows AS r MATCH (a:L {id: r.a}), (b:L {id: r.b}) CREATE (a)-[:KNOWS]->(b)",
                                  (arguments.relationships, ends), arguments.batch))
            count = [connection.run(q).rows[0][0] for q in ("MATCH (n:L) RETURN count(n)", "MATCH ()-[r:KNOWS]->() RETURN count(r)")]
        checks.check(count == [nodes, arguments.relationships], f"counted {count}")
        print(f"disk: {disk_bytes(server.data_dir) / (1 << 20):,.0f} MiB")
        if arguments.limit_mib:
            checks.check(peak >> 20 <= arguments.limit_mib, f"memory peaked at {peak >> 20} MiB of {arguments.limit_mib}")
        start = time.monotonic()
        status = server.stop(120)
        print(f"clean stop: {time.monotonic() - start:.2f} s, status {status}; disk {disk_bytes(server.data_dir) / (1 << 20):,.0f} MiB")
        for how in ("a clean stop", "kill -9"):
            seconds, right = open_again(server, port, nodes)
            checks.check(right and seconds < 1, f"first answer after {how}: {seconds:.3f} s, {server.rss_bytes() >> 20} MiB")
            server.kill()
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
