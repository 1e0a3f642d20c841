#!/usr/bin/env python3
"""How regions come, change and go, with real processes, one a region where that is enough: data of a standalone server becomes a region, an empty
one is seeded, a third is added to two that run; bookmarks across regions; who is primary; conflicts that wait for a person;
semi_sync; a region is dropped and comes back as a new one.
"""
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import PASSWORD, USER, Checks, MultiRegion, Server, driver_python, free_port, run_scenes, wait_for, work_folder  # noqa: E402

driver_python()
import neo4j  # noqa: E402
from raw_bolt import BoltError  # noqa: E402
from region_common import FORBIDDEN, conflicts, difference, lead_run, local_read, refusal, run, write  # noqa: E402

REJECT = {"NORNICDB_FOLLOWER_WRITES": "reject"}  # What a member says that does not pass a write on.
OPEN = "state = 'open' AND kind = 'property'"


def from_one_to_many(checks):
    """A standalone server's data, then a second region, then a third; then one is dropped and comes back."""
    folder = tempfile.mkdtemp(prefix="region-", dir=work_folder())
    with Server(data_dir=folder, bolt_port=free_port(), environment={"NORNICDB_CLUSTER_NODE_ID": "east-1"}) as alone:
        run(alone, "CREATE CONSTRAINT who IF NOT EXISTS FOR (p:Person) REQUIRE p.name IS UNIQUE")
        run(alone, "UNWIND range(1, 3000) AS i CREATE (a:Person {name: 'p' + i})-[:KNOWS {since: i}]->(:City {i: i})")
        run(alone, "MATCH (p:Person {name: 'p7'}) DETACH DELETE p")
        wanted = run(alone, "MATCH (n) RETURN count(n)")[0]
        alone.stop()
    with MultiRegion(size=1, known={"east": ["west"]}, start=False) as world:
        world["east-1"].data_dir = folder
        world.start("east")
        world.start("west")
        differs = difference(world, 20)
        checks.check(not differs and run(world["west-1"], "MATCH (n) RETURN count(n)")[0] == wanted,
                     f"a standalone server's data became a region, and another one got it {differs}")
        refused = refusal(world["west-1"], "CREATE (:Person {name: 'p8'})")
        checks.check(refused and refused[0].endswith("ConstraintValidationFailed"), f"with its constraint {refused}")
        checks.check(refusal(world["west-1"], "CREATE (:Person {name: 'p7'})") is None, "and without what was deleted")
        add_a_third(checks, world)
        drop(checks, world)


def add_a_third(checks, world):
    world.add("south", know=["east", "west"])
    world.start("south")
    world.wait_until_caught_up()
    differs = difference(world, 20)
    numbers = {r["name"]: r["number"] for r in world.status("south")["regions"]}
    checks.check(not differs and sorted(numbers) == ["east", "south", "west"] and len(set(numbers.values())) == 3,
                 f"a third region was added to two that run and seeded: {numbers} {differs}")
    for name in world.regions:
        run(world[f"{name}-1"], "CREATE (:From {region: $r})", {"r": name})
    world.wait_until_caught_up()
    differs = difference(world, 20)
    checks.check(not differs and len(run(world["west-1"], "MATCH (n:From) RETURN n.region")[0]) == 3, f"all three write and get all {differs}")


def drop(checks, world):
    south = world["south-1"]
    south.stop()
    run(world["east-1"], "MATCH (n:From {region: 'south'}) DELETE n")
    east = world["east-1"]
    status, said = east.http("POST", "/admin/region/drop", {"region": "south"})
    checks.check(status == 400 and "confirm" in str(said), f"a region is not dropped without its name twice: {status}")
    status, said = east.http("POST", "/admin/region/drop", {"region": "nowhere", "confirm": "nowhere"})
    checks.check(status == 400 and "nowhere" in str(said), f"nor one that is not there: {status} {said.get('reason')}")
    status, said = east.http("POST", "/admin/region/drop", {"region": "south", "confirm": "south"})
    checks.check(status == 200 and said.get("dropped") is True, f"then it is: {status} {said}")
    wait_for(lambda: any(r["name"] == "south" and r["dropped"] for r in world.status("west")["regions"]), 20, "west to hear of it")
    wait_for(lambda: east.http("GET", "/admin/region/status")[1]["tombstones"] == 0, 60, "tombstones to be let go of")
    checks.check(True, "all hear of it, and tombstones are let go of")
    south.start()
    said = wait_for(lambda: (lambda r: r if r and "dropped" in r["reason"] else None)(south.replication()), 30, "it to hear of it")
    checks.check(write(south)[0].startswith("Neo.TransientError."), f"when it comes back it takes no writes and says why: {said['reason']}")
    south.stop()
    south.wipe()
    world.start("south")
    numbers = {r["name"]: r["number"] for r in world.status("south")["regions"] if not r["dropped"]}
    differs = difference(world, 20)
    checks.check(not differs and numbers["south"] > 3, f"emptied, it comes back as a new region: {numbers} {differs}")


def raft_becomes_a_region(checks):
    """A Raft group's data stays where it is; its members are started with other settings."""
    with MultiRegion(size=3, start=False) as world:
        east = world["east"]
        for member in east.members.values():
            member._environment["NORNICDB_CLUSTER_MODE"] = "raft"
            for name in ("REGION_ID", "REMOTE_REGIONS"):
                member._environment["KEPT_" + name] = member._environment.pop("NORNICDB_CLUSTER_" + name)
        east.start()
        east.wait_until_ready()
        lead_run(east, "UNWIND range(1, 500) AS i MERGE (:Old {i: i})")
        _, summary = run(east.leader(), "MERGE (:Last {i: 1})")
        for member in east.members.values():
            member.stop()
            member._environment["NORNICDB_CLUSTER_MODE"] = "multi_region"
            for name in ("REGION_ID", "REMOTE_REGIONS"):
                member._environment["NORNICDB_CLUSTER_" + name] = member._environment.pop("KEPT_" + name)
        world.start("east")
        world.start("west")
        differs = difference(world, 20)
        rows, _ = run(world["west"].followers()[0], "MATCH (n:Old) RETURN count(*)", mode="r", bookmarks=[summary["bookmark"]])
        checks.check(not differs and rows == [[500]], f"a Raft group's data became a region, bookmarks and all {differs} {rows}")


def three_in_a_row(checks):
    """Two of three regions do not hear each other, and nobody passes writes on: what comes late waits for what it needs."""
    with MultiRegion(("east", "south", "west"), size=1) as world:
        east, south, west = (world[f"{name}-1"] for name in world.regions)
        world.cut("east", "west")
        run(east, "CREATE (:Town {name: 'a'})")
        wait_for(lambda: local_read(south, "MATCH (t:Town) RETURN count(*)") == [[1]], 20, "the town in the south")
        run(south, "MATCH (t:Town) SET t.size = 3, t:Big CREATE (t)<-[:NEAR {km: 5}]-(:Lake)")
        wait_for(lambda: local_read(west, "MATCH (l:Lake) RETURN count(*)") == [[1]], 20, "the lake in the west")
        seen = [local_read(west, query) for query in ("MATCH (t:Town) RETURN count(*)", "MATCH (t:Big) RETURN count(*)",
                                                      "MATCH ()-[r]-() RETURN count(r)", "MATCH (l:Lake) RETURN COUNT { (l)--() }")]
        checks.check(seen == [[[0]]] * 4, f"a relationship waits unseen for its end, and so does what was set there {seen}")
        run(west, "MATCH (l:Lake) SET l.deep = true")
        world.heal()
        world.wait_until_caught_up()
        differs = difference(world, 20)
        rows = local_read(west, "MATCH (t:Town:Big {name: 'a', size: 3})<-[r:NEAR]-(l:Lake {deep: true}) RETURN r.km")
        checks.check(not differs and rows == [[5]], f"and is there once the end has come {rows} {differs}")


def two_regions(checks):
    """Bookmarks, who is primary, conflicts that wait for a person: three members a region, as leaders matter."""
    with MultiRegion(size=3, environment={"NORNICDB_CLUSTER_CONFLICT_STRATEGY": "manual", **REJECT}) as world:
        bookmarks(checks, world)
        promote(checks, world)
        promote_both(checks, world)
        manual(checks, world)


def bookmarks(checks, world):
    world.delay("east", "west", 0.2)
    late = 0
    for i in range(5):
        _, summary = run(world["east"].leader(), "CREATE (:Marked {i: $i})", {"i": i})
        for reader in world["west"].data_members():
            rows, _ = run(reader, "MATCH (n:Marked {i: $i}) RETURN count(*)", {"i": i}, mode="r", bookmarks=[summary["bookmark"]])
            late += rows != [[1]]
    checks.check(late == 0, "a bookmark of another region is waited for on every member")
    world.cut("east", "west")
    _, summary = run(world["east"].leader(), "CREATE (:Marked {i: 99})")
    reader = world["west"].followers()[0]
    history, index = summary["bookmark"].split(":")[1:3]
    try:
        run(reader, "RETURN 1", mode="r", bookmarks=[f"nb1:00000000-0000-4000-8000-000000000000:{index}"])
        code = ""
    except BoltError as error:
        code = error.code
    checks.check(code.endswith("InvalidBookmark"), f"one of nobody is refused at once: {code} (not {history})")
    world.heal()
    rows, _ = run(reader, "MATCH (n:Marked {i: 99}) RETURN count(*)", mode="r", bookmarks=[summary["bookmark"]])
    checks.check(rows == [[1]], "and one that was cut off comes after healing")
    for level in ("LOCAL_ONE", "LOCAL_QUORUM", "QUORUM", "ALL"):
        run(world["east"].leader(), "CREATE (:Level {name: $l})", {"l": level})
        rows, _ = run(world["west"].leader(), "MATCH (n:Level {name: $l}) RETURN count(*)", {"l": level}, mode="r",
                      tx_metadata={"consistency": level})
        if level in ("QUORUM", "ALL"):
            checks.check(rows == [[1]], f"{level} shows what another region acknowledged before")


def promote(checks, world):
    east, west = world["east"].leader(), world["west"].leader()
    checks.check(world.status("west")["primary"] == "east", "the first in the order of names is the primary")
    refused = refusal(west, "CREATE INDEX here IF NOT EXISTS FOR (n:Here) ON (n.x)")
    checks.check(refused and refused[0] == FORBIDDEN and "'east'" in refused[1] and str(east._wanted_ports["BOLT"]) in refused[1],
                 f"schema is refused elsewhere, with where to go: {refused}")
    refused = refusal(west, "CREATE USER eve SET PASSWORD 'long enough'")
    checks.check(refused and refused[0] == FORBIDDEN, f"users, too: {refused and refused[0]}")
    run(east, "CREATE USER ann SET PASSWORD 'long enough' CHANGE NOT REQUIRED")
    wait_for(lambda: any(r[0] == "ann" for r in run(west, "SHOW USERS")[0]), 20, "the user to come")
    follower = world["west"].followers()[0]
    status, said = follower.http("POST", "/admin/region/promote", {})
    checks.check(status == 200 or (status == 409 and said.get("leader_http_address")), f"a follower promotes or says who can: {status} {said.get('how_to')}")
    status, said = west.http("POST", "/admin/region/promote", {})
    checks.check(status == 200 and said["promoted"] is True, f"west is promoted: {status} {said.get('message') or said}")
    wait_for(lambda: all(world.status(n)["primary"] == "west" for n in world.regions), 20, "both to know")
    checks.check(refusal(world["west"].leader(), "CREATE INDEX here IF NOT EXISTS FOR (n:Here) ON (n.x)") is None, "it takes schema now")
    refused = refusal(world["east"].leader(), "CREATE INDEX there IF NOT EXISTS FOR (n:There) ON (n.x)")
    checks.check(refused and refused[0] == FORBIDDEN, "and the other one does not any more")
    wait_for(lambda: any(r[1] == "here" for r in run(world["east"].leader(), "SHOW INDEXES YIELD id, name")[0]), 20, "the index to come")
    checks.check(east.metric('nornicdb_region_primary{region="west"}') == 1, "metrics say so")


def promote_both(checks, world):
    """Each side of a cut is told to be the primary: one of them is it, afterwards, and both know which."""
    world.cut("east", "west")
    leaders = {name: world[name].leader() for name in world.regions}
    # West is it already and needs an epoch of its own to collide with east's.
    status, said = leaders["east"].http("POST", "/admin/region/promote", {})
    checks.check(status == 200, f"the cut-off side is promoted without the other one: {said.get('message') or said}")
    lead_run(world["east"], "CREATE INDEX of_east IF NOT EXISTS FOR (n:OfEast) ON (n.x)")
    lead_run(world["west"], "CREATE INDEX of_west IF NOT EXISTS FOR (n:OfWest) ON (n.x)")
    world.heal()
    primaries = wait_for(lambda: (lambda said: said if len(set(said)) == 1 else None)([world.status(n)["primary"] for n in world.regions]), 20,
                         "one primary")
    checks.check(primaries[0] == "east", f"after healing both know the newer one: {primaries}")
    world.wait_until_caught_up()
    wait_for(lambda: len({str(sorted(r[0] for r in run(world[n].leader(), "SHOW INDEXES YIELD name")[0])) for n in world.regions}) == 1, 20,
             "the same indexes")
    names = [r[0] for r in run(world["west"].leader(), "SHOW INDEXES YIELD name")[0]]
    lost = conflicts(world["west"].leader(), "kind = 'schema'")
    checks.check("of_east" in names and ("of_west" in names or lost), f"and have the same schema: {names}, {[c['key'] for c in lost]}")


def manual(checks, world):
    """Three conflicts: one for the winner, one for the loser, one for a third value."""
    lead_run(world["east"], "UNWIND [1, 2, 3] AS k MERGE (a:Account {k: k}) SET a.sum = 0")
    world.wait_until_caught_up()
    world.cut("east", "west")
    lead_run(world["east"], "MATCH (a:Account) SET a.sum = 10 + a.k")
    lead_run(world["west"], "MATCH (a:Account) SET a.sum = 20 + a.k")
    world.heal()
    world.wait_until_caught_up()
    leader = world["east"].leader()
    wait_for(lambda: len(conflicts(leader, OPEN)) == 3, 20, "three open conflicts")
    shown = sorted(r[0] for r in run(leader, "MATCH (a:Account) RETURN a.sum")[0])
    checks.check(shown == [21, 22, 23], f"the later write is shown meanwhile: {shown}")
    open_ones = sorted(conflicts(leader, OPEN), key=lambda c: c["winner"])
    checks.check([(c["winner"], c["winnerRegion"], c["loser"], c["loserRegion"]) for c in open_ones] ==
                 [(20 + k, "west", 10 + k, "east") for k in (1, 2, 3)], "with both values and their regions")
    checks.check(leader.metric("nornicdb_region_conflicts_open") >= 3, "and counted")
    rows, _ = run(leader, "CALL db.conflicts.get($id) YIELD kind, key, elementId RETURN kind, key, elementId", {"id": open_ones[0]["id"]})
    checks.check(rows[0][:2] == ["property", "sum"] and
                 run(leader, "MATCH (a) WHERE elementId(a) = $e RETURN a.k", {"e": rows[0][2]})[0] == [[1]], f"each by its id: {rows}")
    refused = refusal(leader, "CALL db.conflicts.resolve($id, 'looser')", {"id": open_ones[0]["id"]})
    checks.check(refused and "value" in refused[1], f"a text is no value by mistake: {refused and refused[0]}")
    for conflict, choice in zip(open_ones, ("'winner'", "'loser'", "{value: 33}")):
        run(leader, f"CALL db.conflicts.resolve($id, {choice})", {"id": conflict["id"]})
    audited = [line for line in leader.log if "Audit:" in line and "db.conflicts.resolve" in line and "outcome=done" in line]
    checks.check(len(audited) == 3 and all(c["id"] in line for c, line in zip(open_ones, audited)), f"who resolved which is audited: {audited[:1]}")
    world.wait_until_caught_up()
    for name in world.regions:
        member = world[name].leader()
        shown = sorted(r[0] for r in run(member, "MATCH (a:Account) RETURN a.sum")[0])
        left = wait_for(lambda m=member: not conflicts(m, OPEN) and "none", 20, f"no open conflict in {name}")
        checks.check(shown == [12, 21, 33], f"resolved in {name}: {shown}, open: {left}")
    by = {c["resolution"]: c["resolvedBy"] for c in conflicts(world["west"].leader()) if c["key"] == "sum"}
    checks.check(by == {"winner": USER, "loser": USER, "value": USER}, f"and it is recorded how and by whom: {by}")
    differs = difference(world, 20)
    checks.check(not differs, f"regions are equal {differs}")
    removed = run(leader, "CALL db.conflicts.clear()")[0]
    checks.check(removed[0][0] >= 3 and not conflicts(leader, "state <> 'open'"), f"closed ones can be cleared: {removed}")


def one_writer(checks):
    """REGION_WRITES=primary, one member a region."""
    with MultiRegion(size=1, environment={"NORNICDB_CLUSTER_REGION_WRITES": "primary", **REJECT}, start=False) as world:
        for member in world.members.values():
            member.start()
        east, west = world["east-1"], world["west-1"]
        wait_for(lambda: write(east)[0] == "", 30, "a write in the primary region")
        refused = wait_for(lambda: (lambda r: r if r and r[0].endswith("NotALeader") else None)(refusal(west, "CREATE (:No)")), 30, "a refusal")
        checks.check("'east'" in refused[1] and str(east._wanted_ports["BOLT"]) in refused[1], f"another region refuses writes: {refused[1]}")
        with neo4j.GraphDatabase.driver(west.neo4j_uri, auth=(USER, PASSWORD)) as driver:
            driver.execute_query("CREATE (:Routed)")
        wait_for(lambda: local_read(west, "MATCH (n:Routed) RETURN count(*)") == [[1]], 20, "it to come back")
        checks.check(True, "a driver that is connected to it finds the writer")
        checks.check(west.http("GET", "/ready")[0] == 200, "and it is ready, as it does what it is for")
        status, said = west.http("POST", "/admin/region/promote", {})
        checks.check(status == 200, f"promoted, {said.get('message') or said}")
        wait_for(lambda: write(west)[0] == "", 20, "a write there")
        wait_for(lambda: refusal(east, "CREATE (:No)"), 20, "none here")
        checks.check(True, "the other one takes the writes, and the first does not")
        differs = difference(world, 20)
        checks.check(not differs, f"both are equal {differs}")


def semi_sync(checks):
    settings = {"NORNICDB_CLUSTER_CROSS_REGION_MODE": "semi_sync", "NORNICDB_CLUSTER_CROSS_REGION_TIMEOUT": "700ms"}
    with MultiRegion(size=1, environment=settings, of={"west": {"NORNICDB_CLUSTER_CROSS_REGION_FALLBACK": "refuse"}}) as world:
        east, west = world["east-1"], world["west-1"]
        world.delay("east", "west", 0.05)
        wait_for(lambda: east.replication()["cross_region_mode"] == "semi_sync", 20, "semi_sync")
        write(east)
        code, seconds = write(east)
        checks.check(code == "" and seconds >= 0.1, f"a write waits for the other region: {seconds * 1000:.0f} ms with 100 ms between")
        world.cut("east", "west")
        code, seconds = write(east, timeout=20)
        checks.check(code == "" and 0.3 < seconds < 5, f"cut off, it is answered after the time-out: {code} {seconds:.2f} s")
        said = east.replication()
        checks.check(said["state"] == "degraded" and said["cross_region_mode"] == "degraded_async" and
                     east.metric("nornicdb_region_semi_sync_degraded") == 1, f"and that shows: {said['state']}, {said['cross_region_mode']}")
        code, seconds = write(east)
        checks.check(code == "" and seconds < 0.5, f"the next ones do not wait: {seconds * 1000:.0f} ms")
        write(west, timeout=20)
        code = wait_for(lambda: write(west, timeout=20)[0], 20, "a refusal")
        checks.check(code.startswith("Neo.TransientError."), f"with `refuse` none are taken: {code}")
        world.heal()
        wait_for(lambda: all(m.replication()["cross_region_mode"] == "semi_sync" for m in (east, west)) and write(west)[0] == "", 30, "semi_sync again")
        checks.check(True, "it heals by itself")
        world.wait_until_caught_up()
        differs = difference(world, 20)
        checks.check(not differs, f"both are equal {differs}")


def wiped_without_a_word(checks):
    """All of a region is lost and it is begun anew under its name while the others still count on it: they must not end different."""
    with MultiRegion(size=1) as world:
        east, west = world["east-1"], world["west-1"]
        for member in (east, west):
            run(member, "UNWIND range(1, 3) AS i CREATE (:From {region: $r, i: i})", {"r": member.name})
        world.wait_until_caught_up()
        east.kill()
        east.wipe()
        east.start()
        said = wait_for(lambda: (lambda r: r if r and "/admin/region/drop" in r["reason"] else None)(east.replication()), 30, "it to say so")
        checks.check(write(east)[0].startswith("Neo.TransientError."), f"a wiped region takes no writes and says why: {said['reason']}")
        status, _ = west.http("POST", "/admin/region/promote")
        dropped, _ = west.http("POST", "/admin/region/drop", {"region": "east", "confirm": "east"})
        checks.check((status, dropped) == (200, 200), "the lost one is dropped at the other")
        world.wait_until_caught_up()
        run(east, "CREATE (:From {region: 'east-1', i: 4})")
        world.wait_until_caught_up()
        differs = difference(world, 20)
        checks.check(not differs and run(east, "MATCH (n:From) RETURN count(n)")[0] == [[7]], f"then it is taken in with all data of before {differs}")


def main():
    checks = Checks()
    run_scenes(checks, (from_one_to_many, wiped_without_a_word, raft_becomes_a_region, three_in_a_row, two_regions, one_writer, semi_sync))
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
