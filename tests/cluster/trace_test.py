#!/usr/bin/env python3
"""One trace from the driver's RUN to the last member's apply, as a collector gets it.

Three Raft members send to a collector of ours (tests/otlp.py), then to a real Jaeger where one can be built (tests/jaeger.py;
NORNICDB_JAEGER=0 leaves it out): a write at the leader, one that a follower passes on, an explicit transaction, a hot standby's,
sampling, a collector that is down, and one that is slow.
"""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, HotStandby, PASSWORD, RaftCluster, Server, USER, driver_python, free_port, run_scenes, wait_for  # noqa: E402
from jaeger import Jaeger, Missing  # noqa: E402
from otlp import Collector  # noqa: E402

driver_python()
import neo4j  # noqa: E402  pylint: disable=wrong-import-position,import-error

FORWARD = {"NORNICDB_FOLLOWER_WRITES": "forward"}
PARENT = "00f067aa0ba902b7"


def traceparent(number, sampled=True):
    return f"00-{number:032x}-{PARENT}-{'01' if sampled else '00'}", f"{number:032x}"


def connect(member):
    return neo4j.GraphDatabase.driver(member.bolt_uri, auth=(USER, PASSWORD))


def write(member, number, text="CREATE (:T {n: 1})", sampled=True):
    parent, trace_id = traceparent(number, sampled)
    with connect(member) as driver, driver.session() as session:
        session.run(neo4j.Query(text, metadata={"traceparent": parent})).consume()
    return trace_id


def has(spans, *wanted):
    """All of (name, node) are there; node None: any."""
    return all(any(s.name == name and node in (None, s.node) for s in spans) for name, node in wanted)


def is_one_tree(checks, what, spans, root_parent):
    by_id = {s.id: s for s in spans}
    roots = [s for s in spans if s.parent not in by_id]
    checks.check(len(by_id) == len(spans), f"{what}: every span has an id of its own")
    checks.check(len(roots) == 1 and roots[0].parent == root_parent, f"{what}: all spans hang together, below what the client named ({roots})")
    checks.check(all(s.start <= s.end for s in spans), f"{what}: no span ends before it begins")
    # Parents contain their children, but what followers do may come after the leader's answer. All clocks are this machine's.
    slack = 2_000_000
    checks.check(all(by_id[s.parent].start <= s.start + slack for s in spans if s.parent in by_id), f"{what}: no span begins before its parent")
    return roots[0] if roots else None


def one_write(checks, collector, cluster):
    leader = cluster.leader()
    nodes = [m.name for m in cluster.members.values()]
    trace_id = write(leader, 0xA1, "CREATE (:T {secret: 'x'})")
    everywhere = [(name, node) for node in nodes for name in ("log append", "log sync", "apply")]
    here = [(name, leader.name) for name in ("RUN", "plan", "execute", "commit", "write set")]
    spans = collector.wait_for_trace(trace_id, lambda found: has(found, *everywhere, *here))
    checks.check(has(spans, *everywhere, *here),
                 f"a write is seen from RUN to each member's apply: {sorted(map(str, spans))}")
    root = is_one_tree(checks, "a write", spans, PARENT)
    commit = next((s for s in spans if s.name == "commit"), None)
    appends = [s for s in spans if s.name == "log append"]
    checks.check(commit is not None and {s.parent for s in appends} == {commit.id}, "each member's append is a part of the commit")
    indexes = {s.attributes.get("nornicdb.log.index") for s in spans if s.name in ("commit", "log append", "apply")}
    checks.check(len(indexes) == 1 and None not in indexes, f"all of them name one log index ({indexes})")
    checks.check(root is not None and root.kind == 2 and root.attributes.get("db.namespace") == "neo4j"
                 and root.attributes.get("enduser.id") == USER and "CREATE (:T" in root.attributes.get("db.query.text", ""),
                 "the root is a server's span and names database, user and statement")
    checks.check(all(s.resource.get("service.name") == "graph" and s.resource.get("deployment.environment") == "test" for s in spans),
                 "service and resource are those of OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES")
    checks.check(all(path == "/v1/traces" and headers.get("Content-Type") == "application/x-protobuf" and headers.get("api-key") == "a b"
                     for path, headers in collector.requests), "it is posted to /v1/traces as protobuf, with the headers that were set")


def forwarded(checks, collector, cluster):
    leader, follower = cluster.leader(), cluster.followers()[0]
    trace_id = write(follower, 0xB2)
    wanted = [("RUN", follower.name), ("forward", follower.name), ("RUN", leader.name), ("commit", leader.name), ("apply", follower.name)]
    spans = collector.wait_for_trace(trace_id, lambda found: has(found, *wanted))
    checks.check(has(spans, *wanted), f"a forwarded write is one trace: {sorted(map(str, spans))}")
    is_one_tree(checks, "a forwarded write", spans, PARENT)
    hop = next((s for s in spans if s.name == "forward"), None)
    ran = next((s for s in spans if s.name == "RUN" and s.node == leader.name), None)
    checks.check(hop is not None and ran is not None and ran.parent == hop.id and hop.kind == 3,
                 "what the leader runs is a part of the follower's hop")


def explicit(checks, collector, cluster):
    parent, trace_id = traceparent(0xC3)
    with connect(cluster.leader()) as driver, driver.session() as session:
        with session.begin_transaction(metadata={"traceparent": parent}) as transaction:
            transaction.run("CREATE (:T)").consume()
            transaction.run("MATCH (t:T) RETURN count(t)").consume()
            transaction.commit()
    spans = collector.wait_for_trace(trace_id, lambda found: has(found, ("transaction", None), ("commit", None)))
    is_one_tree(checks, "an explicit transaction", spans, PARENT)
    runs = [s for s in spans if s.name == "RUN"]
    checks.check(len(runs) == 2 and {s.attributes.get("nornicdb.records") for s in runs} == {0, 1}, f"both of its statements are there ({spans})")

    parent, trace_id = traceparent(0xC4)
    with connect(cluster.leader()) as driver, driver.session() as session:
        try:
            session.run(neo4j.Query("RETURN 1 / $zero", metadata={"traceparent": parent}), zero=0).consume()
        except neo4j.exceptions.ClientError:
            pass
    spans = collector.wait_for_trace(trace_id, lambda found: has(found, ("RUN", None)))
    checks.check(any(s.name == "RUN" and s.failed and "zero" in s.error for s in spans), "a failed statement's span says that it failed, and why")


def sampling(checks, collector):
    """A ratio of 0: only what a client has sampled."""
    with Server(environment={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_TRACES_SAMPLER_ARG": "0"}) as server:
        before = len(collector.spans)
        unwanted = write(server, 0xD1, sampled=False)
        with connect(server) as driver, driver.session() as session:
            session.run("CREATE (:T)").consume()
            session.run(neo4j.Query("CREATE (:T)", metadata={"traceparent": "00-nonsense-01"})).consume()
        wanted = write(server, 0xD2)
        collector.wait_for_trace(wanted, lambda found: has(found, ("RUN", None), ("apply", None)))
        new = collector.spans[before:]
        checks.check(new and {s.trace_id for s in new} == {wanted} and not collector.trace(unwanted),
                     "with a ratio of 0 only what a client sampled is traced")
    with Server(environment={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_TRACES_SAMPLER_ARG": "0.2"}) as server:
        before = len(collector.spans)
        with connect(server) as driver, driver.session() as session:
            for _ in range(500):
                session.run("RETURN 1").consume()
        server.stop()  # which sends what waits
        traces = len({s.trace_id for s in collector.spans[before:]})
        checks.check(50 <= traces <= 160, f"with a ratio of 0.2 about a fifth of 500 statements is ({traces})")


def collector_down(checks):
    port = free_port()
    with Server(environment={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}) as server, connect(server) as driver:
        with driver.session() as session:
            def write_until_dropped():
                session.run("UNWIND range(1, 10) AS i CREATE (:T {i: i})").consume()
                return server.metric("nornicdb_traces_dropped_total") > 0
            begun = time.monotonic()
            for _ in range(2000):
                session.run("CREATE (:T)").consume()
            wait_for(write_until_dropped, 60, "a dropped span")
            took = time.monotonic() - begun
        checks.check(server.metric("nornicdb_traces_dropped_total") > 0 and server.metric("nornicdb_traces_waiting") <= 8192,
                     f"with the collector down writes go on, a bounded number of spans waits and the rest is counted ({took:.1f} s)")
        checks.check(sum("Traces cannot be sent" in line for line in server.log) == 1, "the log says so once")
        with Collector(port) as late:
            wait_for(lambda: server.metric("nornicdb_traces_exported_total") > 0, 60, "an exported span")
            checks.check(len(late.spans) > 0 and not late.problems, "once it is up it gets what waited")


def collector_slow(checks, collector):
    with Server(environment={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}) as server, connect(server) as driver:
        collector.delay = 10
        with driver.session() as session:
            slowest = 0
            for _ in range(300):
                begun = time.monotonic()
                session.run("CREATE (:T)").consume()
                slowest = max(slowest, time.monotonic() - begun)
        collector.delay = 0
        wait_for(lambda: server.metric("nornicdb_traces_exported_total") > 0 and server.metric("nornicdb_traces_waiting") == 0, 30, "spans to be sent")
        checks.check(slowest < 5, f"no statement waits for a slow collector (the slowest took {slowest:.3f} s)")
        collector.answer = 400
        write(server, 0xE1)
        wait_for(lambda: server.metric("nornicdb_traces_failed_total") > 0, 30, "a refused batch")
        collector.answer = 200
        trace_id = write(server, 0xE2)
        spans = collector.wait_for_trace(trace_id, lambda found: has(found, ("RUN", None)))
        checks.check(spans, "what a collector refuses is counted and not sent again; the next is sent")


def standby(checks, collector):
    with HotStandby(sync_mode="sync", environment={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}) as pair:
        trace_id = write(pair.primary(), 0xF1)
        wanted = [("commit", "a"), ("log append", "a"), ("log append", "b"), ("apply", "a"), ("apply", "b")]
        spans = collector.wait_for_trace(trace_id, lambda found: has(found, *wanted))
        checks.check(has(spans, *wanted), f"a hot standby's append and apply are a part of the primary's trace: {sorted(map(str, spans))}")
        is_one_tree(checks, "a hot standby's write", spans, PARENT)


def real_jaeger(checks):
    if os.environ.get("NORNICDB_JAEGER") == "0":
        checks.skip("a real Jaeger: NORNICDB_JAEGER=0")
        return
    try:
        with Jaeger() as jaeger, RaftCluster(3, environment={**FORWARD, "OTEL_EXPORTER_OTLP_ENDPOINT": jaeger.endpoint,
                                                                     "OTEL_SERVICE_NAME": "graph"}) as cluster:
            follower = cluster.followers()[0]
            trace_id = write(follower, 0xABC)
            nodes = {m.name for m in cluster.members.values()}

            def shown():
                trace = jaeger.trace(trace_id)
                if trace is None:
                    return None
                applied = {tag["value"] for span in trace["spans"] if span["operationName"] == "apply"
                           for tag in trace["processes"][span["processID"]]["tags"] if tag["key"] == "service.instance.id"}
                return trace if applied == nodes else None
            trace = wait_for(shown, 30, "the trace in Jaeger")
            ids = {span["spanID"] for span in trace["spans"]}
            orphans = [span["operationName"] for span in trace["spans"]
                       if not any(r["spanID"] in ids for r in span["references"])]
            checks.check(orphans == ["RUN"] and "graph" in jaeger.services(),
                         f"Jaeger shows a forwarded write's trace across three members, {len(ids)} spans ({orphans})")
    except Missing as missing:
        checks.skip(f"a real Jaeger: {missing}")


def main():
    checks = Checks()
    with Collector() as collector:
        environment = {**FORWARD, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_SERVICE_NAME": "graph",
                       "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test"}
        with RaftCluster(3, environment=environment) as cluster:
            run_scenes(checks, (one_write, forwarded, explicit), collector, cluster)
        collector.requests.clear()
        run_scenes(checks, (standby, sampling, collector_slow), collector)
        checks.check(not collector.problems, f"every body is what the protocol says ({collector.problems[:3]})")
    run_scenes(checks, (collector_down, real_jaeger))
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
