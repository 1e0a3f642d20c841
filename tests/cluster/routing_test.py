#!/usr/bin/env python3
"""What members answer to ROUTE, in every state, and where a driver ends up by it.

Raft with a learner and tags: tables with all there, during an election, in a minority, on the learner; bookmarks, policies, names of
databases. A hot standby: both members, before and after the standby took over. A cluster behind one address, as a load balancer has
it: every role is that address, and the official driver writes through members that do not lead.
"""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, HotStandby, PASSWORD, RaftCluster, USER, driver_python, free_port, run_scenes, wait_for  # noqa: E402
from raw_bolt import ROUTE, BoltError, Connection  # noqa: E402

driver_python()
import neo4j  # noqa: E402  pylint: disable=wrong-import-position,import-error

TRANSIENT = "Neo.TransientError."
POLICIES = "eu = tags(eu)->min(2); tags(us) | us_only = tags(us); halt() | none = tags(asia); halt()"


def address(member):
    return f"{member.host}:{member._wanted_ports['BOLT']}"


def route(member, context=None, bookmarks=(), database=None, user=None, timeout=20):
    """The table as {role: addresses}, "ttl" and "db"; the code of the refusal where there is one."""
    context = {"address": address(member), **(context or {})}
    with Connection(member._wanted_ports["BOLT"], member.host, timeout=timeout, routing=context) as connection:
        try:
            extra = {k: v for k, v in (("db", database), ("imp_user", user)) if v is not None}
            table = connection._simple(ROUTE, context, list(bookmarks), extra)["rt"]
        except BoltError as error:
            return error.code
    roles = [server["role"] for server in table["servers"]]
    out = {server["role"]: server["addresses"] for server in table["servers"]}
    out.update(ttl=table["ttl"], db=table["db"], once=sorted(roles) == ["READ", "ROUTE", "WRITE"])
    return out


def names(cluster, addresses):
    by_address = {address(m): m.name for m in cluster.members.values()}
    return sorted(by_address.get(a, a) for a in addresses)


def raft(checks):
    with RaftCluster(3, links=True, learners=1, start=False,
                     environment={"NORNICDB_CLUSTER_ROUTING_POLICIES": POLICIES}) as cluster:
        for name, tags in (("node-1", "eu"), ("node-2", "eu,ssd"), ("node-3", "us"), ("learner-1", "us")):
            cluster[name]._environment["NORNICDB_CLUSTER_SERVER_TAGS"] = tags
        cluster.start()
        cluster.wait_until_ready()
        leader = cluster.leader()
        everyone = sorted(cluster.members)

        def full(member):
            table = route(member)
            return (isinstance(table, dict) and table["once"] and names(cluster, table["ROUTE"]) == everyone and
                    names(cluster, table["READ"]) == everyone and table["READ"][-1] == address(leader) and
                    table["WRITE"] == [address(leader)] and table["db"] == "neo4j" and table["ttl"] > 0)

        tables = {m.name: bool(wait_for(lambda m=m: full(m), 15, f"a full table of {m.name}")) for m in cluster.members.values()}
        checks.check(all(tables.values()), f"all there: every member, the learner too, names the leader as writer and as last reader {tables}")
        policies(checks, cluster)
        bookmarks_and_names(checks, cluster)

        # A minority: one that hears nobody still is a reader and a router, and names no writer once it knows.
        alone = next(m for m in cluster.followers() if m.name.startswith("node"))
        cluster.links.isolate(alone.name, "block")
        table = wait_for(lambda: (lambda t: t if t["WRITE"] == [] else None)(route(alone)), 20, "no writer")
        checks.check(address(alone) in table["READ"] and address(alone) in table["ROUTE"], f"minority: no writer, itself as reader and router {table}")
        others = wait_for(lambda: (lambda t: t if address(alone) not in t["READ"] else None)(route(leader)), 20, "a table without it")
        checks.check(others["WRITE"] == [address(leader)], "majority: the one that is cut off is in no role, the writer is the same")
        cluster.links.heal()
        cluster.wait_until_ready()

        # No leader at all: those that run answer from what they know themselves.
        leader = cluster.leader()
        stays = next(m for m in cluster.followers() if m.name.startswith("node"))
        for member in cluster.data_members():
            if member is not stays and not member.name.startswith("learner"):
                member.kill()
        began = time.monotonic()
        table = wait_for(lambda: (lambda t: t if t["WRITE"] == [] else None)(route(stays)), 20, "no writer")
        learner = wait_for(lambda: (lambda t: t if t["WRITE"] == [] else None)(route(cluster["learner-1"])), 20, "no writer")
        seconds = time.monotonic() - began
        checks.check(address(stays) in table["READ"] and address(stays) in table["ROUTE"] and learner["WRITE"] == [] and learner["READ"],
                     f"no leader: tables without a writer, with readers, {seconds:.1f} s after {names(cluster, table['READ'])}")
        with Connection(stays.bolt_port, routing={"address": address(stays)}) as connection:
            try:
                connection.run("CREATE (:No)")
                code = ""
            except BoltError as error:
                code = error.code
            rows = connection.run("RETURN 1", None, mode="r").rows
        checks.check(code.startswith(TRANSIENT) and rows == [[1]], f"no leader: a write is refused as transient, reads go on {code}")


def policies(checks, cluster):
    asked = cluster["node-1"]
    tables = {p: route(asked, {"policy": p} if p else {}) for p in ("", "eu", "us_only", "none", "nowhere")}
    readers = {p: names(cluster, t["READ"]) if isinstance(t, dict) else t for p, t in tables.items()}
    checks.check(readers[""] == sorted(cluster.members) and readers["eu"] == ["node-1", "node-2"] and
                 readers["us_only"] == ["learner-1", "node-3"] and readers["none"] == [],
                 f"policies: readers are those that the driver's policy leaves {readers}")
    checks.check(names(cluster, tables["eu"]["ROUTE"][:2]) == ["node-1", "node-2"] and len(tables["eu"]["ROUTE"]) == 4 and
                 len(tables["eu"]["WRITE"]) == 1, "policies: all route, those of the policy first; the writer is the writer")
    checks.check(readers["nowhere"] == "Neo.ClientError.Statement.ArgumentError", f"policies: an unknown one ends the search {readers['nowhere']}")
    cluster.members["node-2"].kill()
    left = wait_for(lambda: (lambda r: r if "node-2" not in r else None)(names(cluster, route(cluster.leader(), {"policy": "eu"})["READ"])),
                    20, "a table without it")
    checks.check(left == ["learner-1", "node-3"], f"policies: where a rule leaves too few the next one counts {left}")
    cluster.start("node-2")
    cluster.wait_until_ready()
    with Connection(asked.bolt_port) as connection:
        groups = connection.run("CALL dbms.cluster.overview() YIELD addresses, groups RETURN addresses, groups", None, mode="r").rows
        tags = connection.run("SHOW SERVERS YIELD name, tags", None, mode="r", db="system").rows
        old = connection.run("CALL dbms.routing.getRoutingTable({policy: 'us_only'}, 'neo4j')", None, mode="r").rows
    shown = [next(s["addresses"] for s in servers if s["role"] == "READ") for _, servers in old]
    checks.check(["eu", "ssd"] in [g for _, g in groups] and ["node-2", ["eu", "ssd"]] in tags and names(cluster, shown[0]) == ["learner-1", "node-3"],
                 f"policies: tags are shown, and the procedure knows policies {tags}")


def bookmarks_and_names(checks, cluster):
    leader = cluster.leader()
    follower = cluster.followers()[0]
    with Connection(leader.bolt_port) as connection:
        bookmark = connection.run("CREATE (:B)").summary["bookmark"]
    prefix, history, index, term = bookmark.split(":")
    later = f"{prefix}:{history}:{int(index) + 1000}:{term}"
    began = time.monotonic()
    found = [route(follower, bookmarks=b) for b in ([bookmark], [later])]
    took = time.monotonic() - began
    checks.check(all(isinstance(t, dict) for t in found) and took < 3, f"bookmarks: a table does not wait for writes {took:.2f} s")
    codes = [route(follower, bookmarks=[b]) for b in ("rubbish", f"{prefix}:00000000-0000-4000-8000-000000000000:5:1")]
    checks.check(codes == ["Neo.ClientError.Transaction.InvalidBookmark"] * 2, f"bookmarks: what is none, or of another history, ends the search {codes}")
    tables = {name: route(follower, database=name) for name in ("neo4j", "NEO4J", "default", "nornic", "system", "")}
    checks.check([t["db"] for t in tables.values()] == ["neo4j", "NEO4J", "default", "nornic", "system", "neo4j"],
                 f"names: aliases have tables, under the name that was asked for {[t['db'] for t in tables.values()]}")
    nope = route(follower, database="nope")
    checks.check(nope == "Neo.ClientError.Database.DatabaseNotFound", f"names: what nobody has is not found {nope}")
    with Connection(follower.bolt_port, timeout=20, routing={"address": address(follower)}) as connection:
        cluster.links.isolate(follower.name, "block")
        began = time.monotonic()
        # It may be new, and this member behind what the client has seen.
        connection.send(ROUTE, {"address": address(follower)}, [later], {"db": "nope"})
        connection.flush()
        time.sleep(0.5)
        connection.send(0x0F)
        connection.flush()
        codes = []
        try:
            connection.answer()
        except BoltError as error:
            codes.append(error.code)
        connection.answer()
        took = time.monotonic() - began
        cluster.links.heal()
    cluster.wait_until_ready()
    checks.check(codes and codes[0].startswith(TRANSIENT) and took < 5,
                 f"names: one that lags does not say that there is no such database, and RESET ends its wait {codes} {took:.1f} s")


def standby(checks):
    with HotStandby(witness=True, failover="1s") as pair:
        primary, second = pair.primary(), pair.standby()
        tables = [route(m) for m in (primary, second)]
        checks.check(all(t["WRITE"] == [address(primary)] and t["READ"] == [address(second), address(primary)] and
                         sorted(t["ROUTE"]) == sorted([address(primary), address(second)]) for t in tables),
                     f"hot standby: both name the primary as writer and last reader {tables}")
        primary.kill()
        wait_for(lambda: pair.primary() is second, 30, "the standby to take over")
        table = wait_for(lambda: (lambda t: t if t["WRITE"] == [address(second)] else None)(route(second)), 20, "it as writer")
        checks.check(address(second) in table["READ"] and address(second) in table["ROUTE"], f"hot standby: alone it is writer, reader and router {table}")


def single_address(checks):
    port = free_port()
    one = f"127.0.0.1:{port}"
    from proxy import Proxy  # pylint: disable=import-outside-toplevel
    with RaftCluster(3, environment={"NORNICDB_BOLT_ROUTING_ADDRESS": one}) as cluster:
        tables = [route(m) for m in cluster.members.values()]
        checks.check(all(t["WRITE"] == t["READ"] == t["ROUTE"] == [one] for t in tables), f"one address: it has every role, on every member {tables[0]}")
        balancer = Proxy(cluster.followers()[0].bolt_port, port=port)
        try:
            with neo4j.GraphDatabase.driver(f"neo4j://{one}", auth=(USER, PASSWORD)) as driver:
                driver.execute_query("CREATE (:One {n: 1})")
                with driver.session() as session:
                    session.execute_write(lambda t: t.run("CREATE (:One {n: 2})").consume())
                    seen = session.execute_read(lambda t: t.run("MATCH (n:One) RETURN collect(n.n)").single()[0])
                checks.check(sorted(seen) == [1, 2], f"one address: a routing driver writes and reads its writes through a follower {seen}")
                balancer.break_all()
                balancer.target_port = cluster.leader().bolt_port
                driver.execute_query("CREATE (:One {n: 3})")
                balancer.break_all()
                balancer.target_port = cluster.followers()[1].bolt_port
                rows = driver.execute_query("MATCH (n:One) RETURN count(n)", routing_="r").records
                checks.check(rows[0][0] == 3, "one address: wherever it leads, bookmarks hold")
        finally:
            balancer.close()
        hops = sum(m.metric('nornicdb_forwarded_statements_total{outcome="done"}') or 0 for m in cluster.members.values())
        checks.check(hops >= 2, f"one address: {hops:.0f} writes went on to the leader, none in a circle")
    with RaftCluster(3, environment={"NORNICDB_BOLT_ROUTING_ADDRESS": "client"}) as cluster:
        table = route(cluster.followers()[0], {"address": "graph.example:7687"})
        checks.check(table["WRITE"] == table["READ"] == table["ROUTE"] == ["graph.example:7687"], f"client: the address that it came by {table}")


def main():
    checks = Checks()
    run_scenes(checks, (raft, standby, single_address))
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
