#!/usr/bin/env python3
"""What operators read in the log (docs/logging.md): the start of a group, slow statements, who changed what, messages between members."""
import json
import os
import re
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, RaftCluster, Server, run_scenes, wait_for, work_folder  # noqa: E402
from raw_bolt import BoltError, Connection  # noqa: E402

SLOW = "UNWIND range(1, 300000) AS i WITH i WHERE i % 2 = $rest RETURN sum(i) AS s"


def lines_with(lines, *texts):
    return [line for line in lines if all(text in line for text in texts)]


def start_of_a_group(checks):
    environment = {"NORNICDB_CLUSTER_DEBUG": "true"}
    with RaftCluster(3, environment=environment) as cluster:
        members = list(cluster.members.values())
        for member in members:
            wait_for(lambda m=member: lines_with(m.log, "Successfully joined the Raft group."), 30, f"{member.name} to join")
        made = [m for m in members if lines_with(m.log, "This instance bootstrapped the cluster.")]
        checks.check([m.name for m in made] == ["node-1"], f"one member says that it bootstrapped the cluster ({[m.name for m in made]})")
        ids = {re.search(r"Bound to cluster with id (\S+)", "\n".join(m.log)).group(1) for m in members}
        checks.check(len(ids) == 1 and re.fullmatch(r"[0-9a-f]{8}-[0-9a-f-]{27}", ids.copy().pop()), f"all are bound to the same cluster ({ids})")
        discovered = [len(lines_with(m.log, "INFO  Discovered core member at 127.0.0.1:")) for m in members]
        checks.check(discovered == [2, 2, 2], f"each discovered the two others ({discovered})")
        wanted = [r"Bolt enabled on 127\.0\.0\.1:\d+\.", r"Remote interface available at http://\S+:\d+/", r"Started\.",
                  r"Waiting to catchup with leader\.\.\. we are 0 entries behind leader at \d+\."]
        missing = [(m.name, text) for m in members for text in wanted if not re.search(text, "\n".join(m.log))]
        checks.check(not missing, f"and says the rest that people look for ({missing})")

        leader = cluster.leader()
        with Connection(leader.bolt_port) as connection:
            connection.run("CREATE (:T)")
        follower = cluster.followers()[0]
        wait_for(lambda: lines_with(leader.log, "DEBUG cluster: AppendEntries", "direction=to", f"peer={follower.name}", "bytes="), 20,
                 "an AppendEntries in the leader's log")
        wait_for(lambda: lines_with(follower.log, "DEBUG cluster: AppendEntries term=", "direction=from", f"peer={leader.name}"), 20,
                 "an AppendEntries in the follower's log")
        begun = len(leader.log)
        with Connection(leader.bolt_port) as connection:
            for _ in range(500):
                connection.run("CREATE (:T)")
        shown = lines_with(leader.log[begun:], "cluster: AppendEntries ", "direction=to", f"peer={follower.name}")
        wait_for(lambda: lines_with(leader.log, "more like it)"), 20, "a line that sums up others")
        checks.check(0 < len(shown) < 250, f"NORNICDB_CLUSTER_DEBUG shows messages, and not all of them ({len(shown)} of 500)")
        checks.check(not lines_with(leader.log, "DEBUG") or all("cluster:" in line for line in lines_with(leader.log, "DEBUG ")),
                     "at level info nothing else of level debug is written")


def slow_statements(checks):
    with Server(environment={"NORNICDB_SLOW_QUERY_THRESHOLD": "1ms"}) as server, Connection(server.bolt_port) as connection:
        connection.run(SLOW, {"rest": 1})
        line = wait_for(lambda: lines_with(server.log, "Slow statement:"), 10, "a slow statement")[0]
        checks.check(re.search(r"milliseconds=\d+ records=1 user=admin database=neo4j connection=\S+ client=127\.0\.0\.1:\d+ outcome=done "
                               r'trace_id="" text="UNWIND range', line)
                     and re.search(r'plan="ProduceResults.* < EagerAggregation.* < .*Unwind', line) and 'parameters=""' in line,
                     f"a slow statement is logged with its plan and without its parameters ({line})")
    environment = {"NORNICDB_SLOW_QUERY_THRESHOLD": "1ms", "NORNICDB_SLOW_QUERY_PARAMETERS": "true", "NORNICDB_LOG_FORMAT": "json",
                   "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    with Server(environment=environment) as server, Connection(server.bolt_port) as connection:
        connection.run(SLOW, {"rest": 0})
        found = json.loads(wait_for(lambda: lines_with(server.log, '"slow_query"'), 10, "a slow statement")[0])
        checks.check(found["event"] == "slow_query" and found["records"] == 1 and found["parameters"] == "{rest: 0}"
                     and re.fullmatch("[0-9a-f]{32}", found["trace_id"]) and found["node"].startswith("node-"),
                     f"as JSON, with parameters and trace where they are wanted ({found})")
        broken = [line for line in server.log if not line.startswith("{") or not isinstance(json.loads(line), dict)]
        checks.check(not broken, f"every line is an object ({broken[:2]})")
    with Server() as server, Connection(server.bolt_port) as connection:
        connection.run("RETURN 1")
        checks.check(not lines_with(server.log, "Slow statement"), "by default a quick statement is not logged")


def audit(checks):
    folder = tempfile.mkdtemp(prefix="audit-", dir=work_folder())
    environment = {"NORNICDB_AUDIT_FILE": folder + "/audit.log", "NORNICDB_LOG_LEVEL": "error", "NORNICDB_LOG_DIR": folder + "/logs"}
    with Server(environment={**environment, "NORNICDB_LOG_LEVEL": "info"}) as server, Connection(server.bolt_port) as connection:
        connection.run("CREATE USER ann SET PASSWORD 'se\\'cret-1' CHANGE NOT REQUIRED")
        connection.run("CREATE CONSTRAINT one FOR (t:T) REQUIRE t.a IS UNIQUE")
        connection.run("CREATE (:T {a: 1})")
        connection.run("SHOW USERS")
        for statement in ("CREATE USER ann SET PASSWORD 'another-one'", "DROP CONSTRAINT nothing"):
            try:
                connection.run(statement)
            except BoltError:
                pass
        connection.run("CALL dbms.killConnection('bolt-0')")
        connection.run("CALL db.conflicts.clear()")
        connection.run("CALL db.conflicts.list()")
        server.http("POST", "/admin/promote", {"force": True})
        server.http("GET", "/admin/cluster/status")
        with open(environment["NORNICDB_AUDIT_FILE"], encoding="utf-8") as file:
            lines = file.read().splitlines()
        acts = [(re.search(r'action="?(.*?)"? outcome=', line).group(1), re.search(r"outcome=(\S+)", line).group(1)) for line in lines]
        checks.check([act[:20] for act, _ in acts] == ["CREATE USER ann SET ", "CREATE CONSTRAINT on", "CREATE USER ann SET ", "DROP CONSTRAINT noth",
                                                       "dbms.killConnection ", "CALL db.conflicts.cl", "POST /admin/promote "],
                     f"each act of administration is a line, other statements and questions are none ({acts})")
        checks.check([outcome == "done" for _, outcome in acts][:6] == [True, True, False, False, True, True], f"with its outcome ({acts})")
        checks.check(all(re.search(r"user=admin client=\S* ?", line) for line in lines) and "client=127.0.0.1:" in lines[0] and "via=http" in lines[-1]
                     and "client=127.0.0.1:" in lines[-1], f"and who did it, from where ({lines[0]} {lines[-1]})")
        everything = "\n".join(server.log + lines)
        checks.check("cret-1" not in everything and "another-one" not in everything, "passwords are in no line")
        wait_for(lambda: len(lines_with(server.log, "Audit:")) == len(lines), 10, "the same lines in the log")
        with open(folder + "/logs/debug.log", encoding="utf-8") as file:
            debug = file.read()
        checks.check("Started." in debug and debug.count("Audit:") == len(lines), "debug.log in NORNICDB_LOG_DIR has all lines, too")


def main():
    checks = Checks()
    run_scenes(checks, (start_of_a_group, slow_statements, audit))
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
