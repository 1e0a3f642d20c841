#!/usr/bin/env python3
"""What tracing costs: standalone servers without it, with a collector that is down, and with one that is slow, in turns.

    bench/tracing.py [--seconds 5] [--repeat 5] [--only point64_raw,write64_raw]

Each is asked for everything to be traced (OTEL_TRACES_SAMPLER_ARG=1). Throughput is a share of that without tracing, the median of the turns'
shares; wanted is at least 0.98. The server is build/bench/nornicdb (NORNICDB_BINARY names another). Needs Go for the client.
"""
import argparse
import json
import statistics
import sys

from run import build_go, figures_of  # First: it says where the rest is.
from harness import Server, free_port
from otlp import Collector
from raft import load_points

WANTED = 0.98


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", default="point64_raw,write64_raw,write1_raw")
    arguments = parser.parse_args()
    program = build_go()
    if program is None:
        sys.exit("this benchmark needs Go")
    ok = True
    with Collector() as slow:
        slow.delay = 10
        kinds = {"off": {}, "down": {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"},
                 "slow": {"OTEL_EXPORTER_OTLP_ENDPOINT": slow.endpoint}}
        servers = {kind: Server(bolt_port=free_port(), environment=environment).start() for kind, environment in kinds.items()}
        try:
            for server in servers.values():
                load_points(server)
            for workload in arguments.only.split(","):
                shares = {"down": [], "slow": []}
                cpu = {kind: [] for kind in kinds}
                for turn in range(arguments.repeat):
                    rates = {}
                    order = list(kinds) if turn % 2 == 0 else list(reversed(kinds))
                    for kind in order:
                        server = servers[kind]
                        figures = figures_of(program, server, str(server.pid), workload, arguments.seconds, 1)
                        rates[kind] = figures["per_second"]
                        cpu[kind].append(figures["server_cpu_us"])
                    for kind in shares:
                        shares[kind].append(rates[kind] / rates["off"])
                for kind, found in shares.items():
                    share = statistics.median(found)
                    ok = ok and share >= WANTED
                    print(json.dumps({"workload": workload, "collector": kind, "share": round(share, 3), "wanted": WANTED,
                                      "shares": [round(s, 3) for s in found], "cpu_us": statistics.median(cpu[kind]),
                                      "cpu_us_off": statistics.median(cpu["off"]),
                                      "dropped": servers[kind].metric("nornicdb_traces_dropped_total")}), flush=True)
        finally:
            for server in servers.values():
                server.__exit__(None, None, None)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
