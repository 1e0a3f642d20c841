#!/usr/bin/env python3
"""The client programs of the guides that this product follows, run as they are printed (addresses apart) against real clusters.

TuGraph's Python program (a Raft group behind a made-up name); exercises 3 to 5 of the causal clustering course, with a driver of
its age over Bolt 3 (bolt+routing) and with today's; the JavaScript, Python and Go programs of the product's own guide against a
hot standby, a Raft group and two regions. Programs lie in spec_programs/.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import (Checks, HotStandby, MultiRegion, PASSWORD, RaftCluster, TOP, USER, binary, driver_python,  # noqa: E402
                     go_environment, run_scenes, wait_for, work_folder)

driver_python()
from raw_bolt import BoltError, Connection  # noqa: E402
import run as drivers  # noqa: E402  pylint: disable=wrong-import-position,wrong-import-order

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "spec_programs")
FORWARD = {"NORNICDB_FOLLOWER_WRITES": "forward"}
REFUSAL = ("No write operations are allowed directly on this database. Writes must pass through the leader. The role of this server "
           "is: FOLLOWER")
TUGRAPH_PASSWORD = "73@TuGraph"


def port(member):
    return member._wanted_ports["BOLT"]


def program(name, addresses):
    """A printed program with real addresses: text to replace, by what."""
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        text = file.read()
    # At once, so that no address is replaced twice.
    return re.sub("|".join(map(re.escape, sorted(addresses, key=len, reverse=True))), lambda m: addresses[m.group()], text)


def execute(command, text=None, environment=None):
    """(what it printed, what it complained of); a program that fails or hangs prints that."""
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=90, env={**os.environ, **(environment or {})})
    except subprocess.TimeoutExpired as late:
        return f"no end: {late.stdout}", str(late.stderr)
    return done.stdout + (f"status {done.returncode}" if done.returncode else ""), done.stderr


def python(text):
    return execute([sys.executable, "-"], text)


def rows(member, query, parameters=None, password=PASSWORD):
    with Connection(port(member), member.host, password=password, timeout=20) as connection:
        return connection.run(query, parameters, mode="r").rows


# ---- TuGraph's program ----

def set_password(member, old, new):
    with Connection(port(member), member.host, password=old) as connection:
        connection.run("ALTER CURRENT USER SET PASSWORD FROM $old TO $new", {"old": old, "new": new})


def tugraph(checks):
    with RaftCluster(3) as cluster:
        leader = cluster.leader()
        with Connection(port(leader)) as connection:
            connection.run("UNWIND range(1, 20000) AS k CREATE (a:Old {k: k})-[:NEXT]->(:Old {k: -k})")
            connection.run("CREATE INDEX old FOR (o:Old) ON (o.k)")
        wait_for(lambda: rows(leader, "SHOW USERS"), 10, "the first user")
        set_password(leader, PASSWORD, TUGRAPH_PASSWORD)
        text = program("tugraph.py", {f"('127.0.0.1', {7687 + i})": f"('127.0.0.1', {port(m)})"
                                      for i, m in enumerate(cluster.data_members())})
        for again in ("", ", a second time"):
            printed, complaint = python(text)
            checks.check((printed, complaint) == ("", ""), f"TuGraph's Python program runs{again} {printed}{complaint}")
            # As it leaves the database, on each member.
            for member in cluster.data_members():
                def there(member=member):
                    return rows(member, "MATCH (n) RETURN labels(n), n.id, n.count", password=TUGRAPH_PASSWORD)
                wait_for(lambda: len(there()) == 1, 10, "the node on each member")
                checks.check(there() == [[["person"], 1, 0]], f"{member.name} holds its node alone")
        names = rows(leader, "SHOW INDEXES YIELD name, type WHERE type <> 'LOOKUP' RETURN name", password=TUGRAPH_PASSWORD)
        checks.check(["old"] not in names and len(names) == 1, f"db.dropDB dropped indexes, too: {names}")
        codes = []
        with Connection(port(leader), password=TUGRAPH_PASSWORD) as connection:
            for statement in ("CREATE (:person {id: 1, count: 1})", "CREATE (:person {id: 'x', count: 1})", "CREATE (:person {id: 2})",
                              "CREATE (:person {count: 2})", "CREATE (:person {id: 2, count: 1.5})"):
                try:
                    connection.run(statement)
                    codes.append("")
                except BoltError as error:
                    codes.append(error.code)
            checks.check(set(codes) == {"Neo.ClientError.Schema.ConstraintValidationFailed"},
                         f"its label has a unique id, types, and fields that must be there: {codes}")
            connection.begin()
            try:
                connection.run("CALL db.dropDB()")
                refused = ""
            except BoltError as error:
                refused = error.code
            checks.check(refused == "Neo.DatabaseError.Transaction.TransactionStartFailed",
                         f"db.dropDB is refused in an explicit transaction: {refused}")


# ---- The course ----

class Course:
    """Its applications, with one driver."""

    def __init__(self, command, routing):
        self._command = command
        self.routing = routing

    def run(self, what, scheme, member, *name):
        out, complaint = execute([*self._command, what, scheme, str(port(member)), *name])
        lines = out.splitlines()
        if lines[:1] != [f"driverString is {scheme}://localhost:{port(member)}"]:
            return out + complaint
        return "\n".join(lines[1:])


def overview(member):
    """bolt address -> role."""
    return {addresses[0]: role for _, addresses, role, _, _ in rows(member, "CALL dbms.cluster.overview()")}


def roles(member, wanted):
    """Whether it comes to show so many of each role."""
    def shown():
        found = sorted(overview(member).values())
        return found if found == sorted(wanted) else None
    try:
        return wait_for(shown, 30, "roles")
    except TimeoutError:
        return None


CORE, REPLICAS = ["LEADER", "FOLLOWER", "FOLLOWER"], ["READ_REPLICA", "READ_REPLICA"]


def certificate(folder):
    """Settings of a server that speaks TLS on its Bolt port beside plain Bolt: drivers of that age encrypt unless they are told not to."""
    files = [os.path.join(folder, name) for name in ("key.pem", "cert.pem")]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", files[0],
                    "-out", files[1]], check=True, capture_output=True)
    return {"NORNICDB_BOLT_TLS_ENABLED": "true", "NORNICDB_BOLT_TLS_KEY": files[0], "NORNICDB_BOLT_TLS_CERT": files[1]}


def course(checks, what, apps):
    with tempfile.TemporaryDirectory(dir=work_folder()) as folder, RaftCluster(3, learners=2, environment=certificate(folder)) as cluster:
        cores = [cluster[f"node-{n}"] for n in (1, 2, 3)]
        replicas = [cluster["learner-1"], cluster["learner-2"]]
        leader, followers = cluster.leader(), [m for m in cores if m is not cluster.leader()]
        with Connection(port(leader)) as connection:
            connection.run("CREATE (:Person {name: 'Tom Hanks'})-[:ACTED_IN]->(:Movie {title: 'Cast Away'})")
        cluster.wait_until_ready()
        # Exercise 3
        said = {m.name: apps.run("testRead", "bolt", m) for m in cores}
        checks.check(set(said.values()) == {"***** Tom Hanks found in Movie database."}, f"{what}: testRead bolt on each core {said}")
        said = apps.run("testWrite", "bolt", leader)
        checks.check(said == "***** Record created: King Arthur", f"{what}: testWrite bolt on the LEADER: {said}")
        for member in followers:
            said = apps.run("testWrite", "bolt", member)
            # Today's Python driver tells in words of its own that it is no writer.
            checks.check(said.startswith("Cannot write to this server!") and (REFUSAL in said or "WriteServiceUnavailable" in said),
                         f"{what}: testWrite bolt on a FOLLOWER: {said}")
        shell = execute([binary(), "shell", "-a", followers[0].bolt_uri, "-u", USER, "-p", PASSWORD], "CREATE (:Person {name: 'Test'});\n")
        checks.check(shell[1] == REFUSAL + "\n", f"the shell on a FOLLOWER says so, to the letter: {shell}")
        for member in cores:
            said = apps.run("testWrite", apps.routing, member)
            checks.check(said == "***** Record created: King Arthur", f"{what}: testWrite {apps.routing} by {member.name}: {said}")
        said = apps.run("addPerson", apps.routing, followers[1], "Willie")
        checks.check(said == "***** Record created: King Willie", f"{what}: addPerson {apps.routing} by a FOLLOWER: {said}")
        for member in cores:
            said = wait_for(lambda m=member: re.search("Record found.*", apps.run("readPerson", "bolt", m, "Willie")), 20, "Willie").group()
            checks.check(said == "Record found: King Willie", f"{what}: readPerson bolt on {member.name}: {said}")
        if "Python" in what:
            said = apps.run("chain", apps.routing, followers[1], "Kong's heir")
            checks.check(said == "***** Each reader shows Kong's heir", f"{what}: causal chaining by bookmarks: {said}")
        # Exercise 4
        checks.check(roles(replicas[1], CORE + REPLICAS), f"{what}: a replica's overview shows three cores and two replicas")
        said = apps.run("addPerson", apps.routing, followers[0], "Kong")
        checks.check(said == "***** Record created: King Kong", f"{what}: addPerson Kong: {said}")
        for member in replicas:
            said = wait_for(lambda m=member: re.search("Record found.*", apps.run("readPerson", "bolt", m, "Kong")), 20, "Kong").group()
            checks.check(said == "Record found: King Kong", f"{what}: readPerson bolt on a replica: {said}")
        # Exercise 5
        leader.stop()
        checks.check(roles(replicas[0], ["LEADER", "FOLLOWER"] + REPLICAS), f"{what}: without the LEADER another one is, and four are shown")
        said = apps.run("testWrite", apps.routing, followers[0])
        checks.check(said == "***** Record created: King Arthur", f"{what}: testWrite with two cores: {said}")
        second = cluster.leader()
        last = next(m for m in followers if m is not second)
        second.stop()
        checks.check(roles(replicas[0], ["FOLLOWER"] + REPLICAS), f"{what}: the only core left is a FOLLOWER")
        said = apps.run("testWrite", apps.routing, last)
        checks.check(said.startswith("Cannot write to this server!"), f"{what}: below quorum nobody writes: {said}")
        said = apps.run("testRead", "bolt", replicas[0])
        checks.check(said == "***** Tom Hanks found in Movie database.", f"{what}: and replicas are read: {said}")
        leader.start()
        checks.check(roles(replicas[0], ["LEADER", "FOLLOWER"] + REPLICAS), f"{what}: with a core started again there is a LEADER")
        cluster.add("node-4", join=[last.name, leader.name]).start()
        checks.check(roles(replicas[0], CORE + REPLICAS), f"{what}: a core that was not of the first three is taken in")
        said = apps.run("testWrite", apps.routing, cluster["node-4"])
        checks.check(said == "***** Record created: King Arthur", f"{what}: testWrite by it: {said}")


# ---- The product's guide ----

def javascript(text, tail):
    """What a program prints that goes on with `tail`, in the function that `await` needs."""
    return execute(["node", "-"], "(async () => {\n" + text + "\n" + tail + "\n})().catch(error => { console.error(error); process.exit(1); });\n",
                   drivers.node_modules())


READ_AND_WRITE = """
const names = async (driver, mode, query, parameters) => {
  const session = driver.session({ defaultAccessMode: mode });
  const result = await session.run(query, parameters);
  await session.close();
  return result.records.map(record => record.get(0));
};
const write = (driver, name) => names(driver, neo4j.session.WRITE, "CREATE (n:Person {name: $name}) RETURN n.name", { name });
const read = (driver, name) => names(driver, neo4j.session.READ, "MATCH (n:Person {name: $name}) RETURN n.name", { name });
const until = async (condition) => { while (!(await condition())) { await new Promise(done => setTimeout(done, 20)); } };
"""


def hot_standby_guide(checks):
    with HotStandby(environment=FORWARD) as pair:
        primary, standby = pair.primary(), pair.standby()
        text = program("hot_standby.js", {"localhost:7687": f"localhost:{port(primary)}", "localhost:7688": f"localhost:{port(standby)}"})
        said = javascript(text, READ_AND_WRITE + """
          console.log(await write(primaryDriver, "one"));
          await until(async () => (await read(standbyDriver, "one")).length === 1);
          console.log(await write(haDriver, "two"), await read(haDriver, "two"));
          await Promise.all([primaryDriver, standbyDriver, haDriver].map(d => d.close()));""")
        checks.check(said == ("[ 'one' ]\n[ 'two' ] [ 'two' ]\n", ""), f"hot standby, JavaScript: {said}")
        for first, other in ((primary, standby), (standby, primary)):
            said = count(first, other, other)
            checks.check(said == ("2\n", ""), f"hot standby, Python: {said}")


def count(*members):
    addresses = {"bolt://localhost:7687": f"bolt://localhost:{port(members[0])}"}
    addresses.update({f'("localhost", {7687 + i})': f'("localhost", {port(m)})' for i, m in enumerate(members)})
    return python(program("count.py", addresses))


def raft_guide(checks):
    with RaftCluster(3, environment=FORWARD) as cluster:
        members = cluster.data_members()
        for turn in range(3):
            turned = members[turn:] + members[:turn]
            text = program("raft.js", {f"localhost:{7687 + i}": f"localhost:{port(m)}" for i, m in enumerate(turned)})
            said = javascript(text, "console.log(result.records.every(r => r.get('n').properties.name === 'Alice'), result.records.length);"
                              " await driver.close();")
            checks.check(said == (f"true {turn + 1}\n", ""), f"Raft, JavaScript, {turned[0].name} first: {said}")
            cluster.wait_until_ready()
            said = count(*turned)
            checks.check(said == (f"{turn + 1}\n", ""), f"Raft, Python, {turned[0].name} first: {said}")
        said = python(program("pool.py", {"node1:7687": f"localhost:{port(cluster.followers()[0])}"}) + """
with driver.session() as session:
    print(session.execute_write(lambda tx: tx.run("CREATE (n:Person {name: 'Pool'}) RETURN n.name").single()[0]))
driver.close()
""")
        checks.check(said == ("Pool\n", ""), f"the guide's pool settings, Python: {said}")
        go(checks, cluster.followers()[0])
        # The list of addresses is what it is for: the first of them is gone.
        gone = cluster.leader()
        gone.stop()
        cluster.leader()
        left = [m for m in members if m is not gone]
        said = count(gone, *left)
        checks.check(said == ("5\n", ""), f"Raft, Python, with the first address down: {said}")


def go(checks, member):
    if not shutil.which("go"):
        checks.skip("the guide's Go program: there is no go")
        return
    folder = os.path.join(TOP, "build", "go", "spec_programs")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(os.path.join(HERE, "go"), folder)
    with open(os.path.join(folder, "main.go"), "w", encoding="utf-8") as file:
        file.write(program("go/main.go", {"node1:7687": f"localhost:{port(member)}"}))
    built = subprocess.run(["go", "build", "-o", "program", "."], cwd=folder, env=go_environment(), capture_output=True, text=True, timeout=600)
    if built.returncode != 0:
        checks.skip(f"the guide's Go program was not built: {built.stderr[-300:]}")
        return
    said = execute([os.path.join(folder, "program")])
    checks.check(said == ("Gopher <nil>\n", ""), f"the guide's pool settings, Go: {said}")


def region_guide(checks):
    with MultiRegion(("us-east", "eu-west"), 3, environment=FORWARD) as world:
        addresses = {f"{region}-node{n}:7687": f"localhost:{port(world[f'{region}-{n}'])}"
                     for region in ("us-east", "eu-west") for n in (1, 2, 3)}
        head = 'const neo4j = require("neo4j-driver");\n'
        said = javascript(head + program("multi_region.js", addresses), READ_AND_WRITE + """
          console.log(await write(usEastDriver, "here"), await write(globalDriver, "there"));
          await until(async () => (await read(globalDriver, "here")).length === 1);
          await until(async () => (await read(usEastDriver, "there")).length === 1);
          await Promise.all([usEastDriver, globalDriver].map(d => d.close()));""")
        checks.check(said == ("[ 'here' ] [ 'there' ]\n", ""), f"two regions, JavaScript: {said}")
        world.wait_until_caught_up()
        said = count(world["eu-west-2"], world["us-east-1"], world["us-east-2"])
        checks.check(said == ("2\n", ""), f"two regions, Python, in the other one: {said}")


def old_python():
    return [drivers.old_python_venv(), os.path.join(HERE, "person.py")]


def old_java():
    libraries = drivers.java_libraries(os.path.join(HERE, "java/pom.xml"), "java-1.7")
    return drivers.java_program("Person", os.path.join(TOP, "build/java-1.7/classes"), [os.path.join(HERE, "java/Person.java")], libraries)


def main():
    checks = Checks()
    parts = {"tugraph": tugraph, "course": lambda c: course(c, "Python", Course([sys.executable, os.path.join(HERE, "person.py")], "neo4j")),
             "hot_standby": hot_standby_guide, "raft": raft_guide, "regions": region_guide}
    for what, prepare in (("Python 1.7", old_python), ("Java 1.7", old_java)):
        try:
            app = Course(prepare(), "bolt+routing")
            parts[what.lower().replace(" ", "_")] = lambda c, what=what, app=app: course(c, what, app)
        except drivers.Missing as missing:
            checks.skip(f"the course with a driver of its age, {what}: {missing}")
    try:
        drivers.node_modules()
    except drivers.Missing as missing:
        checks.skip(f"the guide's programs: {missing}")
        for part in ("hot_standby", "raft", "regions"):
            del parts[part]
    run_scenes(checks, parts)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
