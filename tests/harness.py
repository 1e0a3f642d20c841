"""Starts, stops and kills real nornicdb processes for the tests that need one. Standard library only.

    with Server() as server:          # a fresh data folder, any free ports
        server.bolt_uri, server.http_url, server.pid
        server.kill(); server.start() # the same data again

The server tells its ports itself: with port 0 it prints "Bolt enabled on 127.0.0.1:PORT.", the same for HTTP,
and "Started." once it answers.

    with HotStandby(sync_mode="sync", witness=True) as pair:  # a primary, a standby, a witness, each on ports of its own
        pair.primary(), pair.standby()                          # whoever is it now
        pair.partition("a", "b"); pair.heal()                   # with proxies=True

    with RaftCluster(3, links=True) as cluster:                # node-1 … node-3, each on ports of its own
        cluster.leader(), cluster.followers()
        cluster.links.isolate(cluster.leader().name); cluster.links.heal()

    with MultiRegion(("east", "west"), 3) as world:            # east-1 … west-3: two groups that exchange writes
        world["east"].leader()                                  # a region is a RaftCluster
        world.cut("east", "west"); world.delay("east", "west", 0.05); world.heal()
        world.wait_until_caught_up()
"""
import base64
import ctypes
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.error
import urllib.request

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
USER, PASSWORD = "admin", "admin"
ENABLED = re.compile(r"(Bolt|HTTP) enabled on (\S+):(\d+)")


class ServerFailed(Exception):
    """The server did not start, or ended when it should not have; carries the end of its log."""


def binary():
    return os.environ.get("NORNICDB_BINARY") or os.path.join(TOP, "build/release/nornicdb")


def work_folder():
    """Where test data goes: the build folder, so that it is a real disk and `make clean` removes it; or NORNICDB_TEST_DATA."""
    folder = os.environ.get("NORNICDB_TEST_DATA") or os.path.join(TOP, "build", "test-data")
    os.makedirs(folder, exist_ok=True)
    return folder


def go_environment():
    """The environment for Go programs of ours: modules and cache under build/, no C compiler wanted."""
    flags = subprocess.run(["go", "env", "GOFLAGS"], capture_output=True, text=True, check=True).stdout.strip()
    folder = os.path.join(TOP, "build", "go")
    return {**os.environ, "CGO_ENABLED": "0", "GOMODCACHE": os.path.join(folder, "mod"), "GOCACHE": os.path.join(folder, "cache"),
            "GOFLAGS": (flags + " -modcacherw").strip()}  # So that `make clean` may delete the modules.


_GIVEN_PORTS = set()


def free_port():
    """A port that was free a moment ago; for tests that restart a server and want it where it was.

    None that was given before, since its server may be down just now, and none of those that the kernel gives to clients, one of
    which may have it when the server comes back.
    """
    while True:
        port = random.randrange(12000, 32000)
        if port in _GIVEN_PORTS:
            continue
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                _GIVEN_PORTS.add(port)
                return port
            except OSError:
                pass


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _die_with_parent():
    """A test that is killed itself leaves no server behind."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    def __init__(self, data_dir=None, bolt_port=0, http_port=0, environment=None, arguments=(), start_seconds=30):
        self._own_data = data_dir is None
        self.data_dir = data_dir or tempfile.mkdtemp(prefix="server-", dir=work_folder())
        self._wanted_ports = {"BOLT": bolt_port, "HTTP": http_port}
        self._environment = dict(environment or {})
        self._arguments = list(arguments)
        self._start_seconds = start_seconds
        self._process = None
        self.name = ""       # Of a member of a cluster.
        self.binary = None   # Another one than binary() says.
        self.host = "127.0.0.1"
        self.prefix = []     # A command that runs the server, as `ip netns exec …` does.
        self.paused = False
        self.log = []         # Of the last start; log_file gets that of all.
        self.log_file = None
        self.ports = {}
        self.start_seconds = None  # What the last start took, until "Started.".

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(self, kind, error, traceback):
        if self.running():
            self.kill()
        if kind is not None:
            self.print_log()
        if self._own_data:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def spawn(self):
        """Starts the process and returns at once."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("NORNICDB_", "OTEL_"))}
        environment.update(NORNICDB_DATA_DIR=self.data_dir, NORNICDB_ADDRESS=self.host, NORNICDB_AUTH=f"{USER}/{PASSWORD}",
                           NORNICDB_BOLT_PORT=str(self._wanted_ports["BOLT"]),
                           NORNICDB_HTTP_PORT=str(self._wanted_ports["HTTP"]), **self._environment)
        program = self.binary or binary()
        if not os.path.exists(program):
            raise ServerFailed(f"{program} is not built; run make release")
        self.log, self.ports, self.paused = [], {}, False
        self._started = threading.Event()
        self._ended = threading.Event()
        self._spawned = time.monotonic()
        self._process = subprocess.Popen([*self.prefix, program, "serve", *self._arguments], env=environment, stdin=subprocess.DEVNULL,
                                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=_die_with_parent)
        self._reader = threading.Thread(target=self._read_log, args=(self._process, self.log, self.ports), daemon=True)
        self._reader.start()
        return self

    def start(self):
        """Starts the process and waits until it says that it has started."""
        return self.spawn().wait_until_started()

    def wait_until_started(self):
        deadline = self._spawned + self._start_seconds
        while not self._started.wait(0.005):
            if self._ended.is_set() and not self._started.is_set():
                raise ServerFailed(f"the server ended with status {self._process.wait()} instead of starting:\n"
                                   + self.log_tail())
            if time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"no \"Started.\" within {self._start_seconds} s:\n{self.log_tail()}")
        self.start_seconds = time.monotonic() - self._spawned
        return self

    def stop(self, seconds=30):
        """Asks it to stop (SIGTERM) and returns its exit status."""
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailed(f"SIGTERM did not end the server within {seconds} s:\n{self.log_tail()}")
        self._reader.join(5)
        return status

    def kill(self):
        """kill -9, and waits until the process is gone."""
        self._process.kill()
        self._process.wait()
        self._reader.join(5)

    def pause(self):
        """SIGSTOP: it falls silent and its connections stay."""
        self._process.send_signal(signal.SIGSTOP)
        self.paused = True

    def resume(self):
        self._process.send_signal(signal.SIGCONT)
        self.paused = False

    def answers(self):
        return self.running() and not self.paused

    def wipe(self):
        """Forgets its data; it must not run."""
        shutil.rmtree(self.data_dir)

    def running(self):
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self):
        return self._process.pid

    @property
    def spawned_at(self):
        """time.monotonic() of the last spawn."""
        return self._spawned

    @property
    def bolt_port(self):
        return self.ports["Bolt"]

    @property
    def bolt_uri(self):
        return f"bolt://{self.host}:{self.ports['Bolt']}"

    @property
    def neo4j_uri(self):
        return f"neo4j://{self.host}:{self.ports['Bolt']}"

    @property
    def http_url(self):
        return f"http://{self.host}:{self.ports['HTTP']}"

    def log_tail(self, lines=40):
        return "\n".join(self.log[-lines:])

    def print_log(self):
        if self.log:
            print("--- the server's last lines\n" + self.log_tail() + "\n---", flush=True)

    def http(self, method, path, body=None, seconds=10):
        """Status and answer (JSON where it is JSON) of a request as the first user."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.http_url + path, data=data, method=method)
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
        if data is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def replication(self):
        """What /health says of replication; None if nobody answers."""
        try:
            return self.http("GET", "/health", seconds=5)[1]["replication"]
        except (OSError, KeyError, TypeError):
            return None

    def metric(self, name):
        """The value of a metric, by its full name with labels; None if it is not there."""
        for line in self.http("GET", "/metrics")[1].splitlines():
            if line.startswith(name + " "):
                return float(line.rsplit(" ", 1)[1])
        return None

    def rss_bytes(self):
        return process_rss(self.pid)

    def cpu_seconds(self):
        return process_cpu(self.pid)

    def _read_log(self, process, log, ports):
        for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip("\n")
            log.append(line)
            del log[:-2000]
            if self.log_file:
                with open(self.log_file, "a", encoding="utf-8") as file:
                    file.write(line + "\n")
            match = ENABLED.search(line)
            if match:
                ports[match.group(1)] = int(match.group(3))
            if "Started." in line:
                self._started.set()
        self._ended.set()


# Tests ask one member what it says itself; tests/cluster/forward_test.py is about what it passes on.
OWN_WORD = {"NORNICDB_FOLLOWER_WRITES": "reject"}


class Cluster:
    """Several members, real processes on loopback, in self.members by name. A subclass says how they begin() and what else to close()."""

    SECRET = "a secret of the tests, longer than 32 characters"

    def __init__(self):
        self.members = {}

    def __enter__(self):
        try:
            self.begin()
            return self
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise

    def __exit__(self, kind, error, traceback):
        for name, member in self.members.items():
            if kind is not None:
                print(f"=== member {name}", flush=True)
            member.__exit__(kind, error, traceback)
        self.close()

    def __getitem__(self, name):
        return self.members[name]

    def print_log(self):
        for name, member in self.members.items():
            print(f"=== member {name}", flush=True)
            member.print_log()

    def begin(self):
        raise NotImplementedError

    def close(self):
        pass


class HotStandby(Cluster):
    """Members "a" (primary at first), "b" (standby) and, if wanted, "w" (witness)."""

    def __init__(self, sync_mode="semi_sync", fence_policy=None, witness=False, failover="1s", heartbeat_ms=100, proxies=False,
                 environment=None):
        super().__init__()
        self.names = ["a", "b", "w"] if witness else ["a", "b"]
        self.cluster_ports = {name: free_port() for name in self.names}
        self.links = {}
        if proxies:
            from proxy import Proxy  # pylint: disable=import-outside-toplevel
            self.links = {(x, y): Proxy(self.cluster_ports[y]) for x in self.names for y in self.names if x != y}
        for name in self.names:
            settings = {"NORNICDB_CLUSTER_MODE": "ha_standby", "NORNICDB_CLUSTER_NODE_ID": name, **OWN_WORD,
                        "NORNICDB_CLUSTER_BIND_ADDR": f"127.0.0.1:{self.cluster_ports[name]}",
                        "NORNICDB_CLUSTER_HA_ROLE": {"a": "primary", "b": "standby", "w": "witness"}[name],
                        "NORNICDB_CLUSTER_HA_SYNC_MODE": sync_mode,
                        "NORNICDB_CLUSTER_HA_HEARTBEAT_MS": str(heartbeat_ms),
                        "NORNICDB_CLUSTER_HA_FAILOVER_TIMEOUT": failover,
                        "NORNICDB_CLUSTER_REPLICATION_SECRET": self.SECRET}
            if fence_policy:
                settings["NORNICDB_CLUSTER_HA_FENCE_POLICY"] = fence_policy
            if name != "w":
                settings["NORNICDB_CLUSTER_HA_PEER_ADDR"] = self._address(name, "b" if name == "a" else "a")
                if witness:
                    settings["NORNICDB_CLUSTER_HA_WITNESS_ADDR"] = self._address(name, "w")
            self.members[name] = Server(bolt_port=free_port(), http_port=free_port(),
                                        environment={**settings, **(environment or {})})

    def _address(self, name, other):
        link = self.links.get((name, other))
        return f"127.0.0.1:{link.port if link else self.cluster_ports[other]}"

    def begin(self):
        for member in self.members.values():
            member.start()
        self.wait_until_synced()

    def close(self):
        for link in self.links.values():
            link.close()

    def data_members(self):
        return [self.members["a"], self.members["b"]]

    def bolt_addresses(self):
        return [("127.0.0.1", member._wanted_ports["BOLT"]) for member in self.data_members()]

    def role_of(self, name):
        member = self.members[name]
        replication = member.replication() if member.running() else None
        return replication and replication["role"]

    def primary(self, seconds=30):
        """The member that takes writes, once there is one: of two, the one of the later epoch."""
        def look():
            said = [(m, m.replication()) for m in self.data_members() if m.running()]
            leads = [(r["term"], m) for m, r in said if r and r["role"] == "primary" and r["accepts_writes"]]
            return max(leads, key=lambda pair: pair[0])[1] if leads else None
        return wait_for(look, seconds, "a primary")

    def standby(self):
        """The other one, whatever it is."""
        primary = self.primary()
        return next(m for m in self.data_members() if m is not primary)

    def wait_until_synced(self, seconds=60):
        """Until one leads, the other follows it, and nothing is acknowledged without it."""
        def synced():
            said = [m.replication() for m in self.data_members()]
            return (all(said) and {r["role"] for r in said} == {"primary", "standby"}
                    and all(r["state"] == "ready" and r["sync_state"] == "synced" for r in said)
                    and any(r["role"] == "primary" and r["accepts_writes"] for r in said)
                    and len({r["term"] for r in said}) == 1)
        try:
            wait_for(synced, seconds, "a primary and a standby in sync")
        except TimeoutError as late:
            raise TimeoutError(f"{late}: {[m.replication() for m in self.data_members()]}") from None

    def partition(self, *pairs, how="cut"):
        """Cuts (or stalls) the links between members, in both directions: partition("ab", "aw")."""
        for x, y in pairs:
            for link in (self.links[x, y], self.links[y, x]):
                getattr(link, how)()

    def heal(self):
        for link in self.links.values():
            link.restore()


class RaftCluster(Cluster):
    """Members "node-1" … "node-n" (or another prefix) and, if wanted, "witness-1" and "learner-1" ….

    `bootstrap` names who has RAFT_BOOTSTRAP=true, `size` counts the voters with data. With links=True each member's address is a
    proxy's (proxy.Junctions; one that is given is shared with others), with links="namespaces" each has a network namespace
    (netns.py). Entering starts them all and waits for them, unless start=False.
    """

    def __init__(self, size=3, witness=False, learners=0, bootstrap=("node-1",), election="1s", heartbeat="100ms", links=False,
                 environment=None, start=True, prefix="node"):
        super().__init__()
        self._start = start
        self._common = {"NORNICDB_CLUSTER_MODE": "raft", "NORNICDB_CLUSTER_RAFT_CLUSTER_ID": "tests", **OWN_WORD,
                        "NORNICDB_CLUSTER_RAFT_ELECTION_TIMEOUT": election,
                        "NORNICDB_CLUSTER_RAFT_HEARTBEAT_TIMEOUT": heartbeat,
                        "NORNICDB_CLUSTER_REPLICATION_SECRET": self.SECRET, **(environment or {})}
        voters = [f"{prefix}-{n}" for n in range(1, size + 1)] + (["witness-1"] if witness else [])
        self.cluster_ports = {name: free_port() for name in voters}
        self.links = None
        self._spaces = None
        if links == "namespaces":
            from netns import Namespaces  # pylint: disable=import-outside-toplevel
            self.links = self._spaces = Namespaces(voters)
        elif links is True:
            from proxy import Junctions  # pylint: disable=import-outside-toplevel
            self.links = Junctions(self.cluster_ports)
        elif links:
            self.links = links
            for name, port in self.cluster_ports.items():
                links.add(name, port)
        self._own_links = links is True or links == "namespaces"
        for name in voters:
            peers = ",".join(f"{other}:{self.address(other)}" for other in voters if other != name)
            self._make(name, {"NORNICDB_CLUSTER_RAFT_PEERS": peers,
                              "NORNICDB_CLUSTER_RAFT_BOOTSTRAP": "true" if name in bootstrap else "false",
                              "NORNICDB_CLUSTER_RAFT_ROLE": "witness" if name.startswith("witness") else "voter"})
        for n in range(1, learners + 1):
            self.add(f"learner-{n}", role="learner", join=[voters[0]])

    def begin(self):
        if self._start:
            self.start()
            self.wait_until_ready()

    def close(self):
        if self._own_links:
            self.links.close()

    def address(self, name):
        """Where the others dial it."""
        if self._spaces:
            return f"{self._spaces.host(name)}:{self.cluster_ports[name]}"
        return f"127.0.0.1:{self.links.port(name) if self.links else self.cluster_ports[name]}"

    def _make(self, name, settings):
        member = Server(bolt_port=free_port(), http_port=free_port(), environment={
            **self._common, "NORNICDB_CLUSTER_NODE_ID": name,
            "NORNICDB_CLUSTER_BIND_ADDR": f"{self._spaces.host(name) if self._spaces else '127.0.0.1'}:{self.cluster_ports[name]}",
            "NORNICDB_CLUSTER_ADVERTISE_ADDR": self.address(name), **settings})
        member.name = name
        if self._spaces:
            member.host, member.prefix = self._spaces.host(name), self._spaces.prefix(name)
        self.members[name] = member
        return member

    def add(self, name, role="voter", join=(), settings=None):
        """A further member, not started: with `join`, one that asks those to be taken in."""
        self.cluster_ports[name] = free_port()
        if self.links:
            self.links.add(name, self.cluster_ports[name])
        out = {"NORNICDB_CLUSTER_RAFT_ROLE": role, **(settings or {})}
        if join:
            out["NORNICDB_CLUSTER_RAFT_JOIN"] = ",".join(self.address(other) for other in join)
        return self._make(name, out)

    def move(self, name):
        """Gives a stopped member another address; its data stays."""
        if self.links:
            raise ValueError("a member behind a proxy stays there")
        self.cluster_ports[name] = free_port()
        self.members[name]._environment.update({"NORNICDB_CLUSTER_BIND_ADDR": self.address(name),
                                                "NORNICDB_CLUSTER_ADVERTISE_ADDR": self.address(name)})

    def start(self, *names):
        """Starts these, or all: at once, one behind the other, and waits until each says that it has started."""
        started = [self.members[name] for name in names or self.members]
        for member in started:
            member.spawn()
        for member in started:
            member.wait_until_started()

    def data_members(self):
        return [member for name, member in self.members.items() if not name.startswith("witness")]

    def running(self):
        return [member for member in self.members.values() if member.answers()]

    def bolt_addresses(self):
        return [(member.host, member._wanted_ports["BOLT"]) for member in self.data_members()]

    def leaders(self):
        """(term, member) of all who say that they lead and take writes."""
        said = [(member, member.replication()) for member in self.running()]
        return sorted(((r["term"], m) for m, r in said if r and r["role"] == "leader" and r.get("accepts_writes")),
                      key=lambda pair: pair[0])

    def leader(self, seconds=30, but=None):
        """The leader of the highest term, once there is one that is not `but`."""
        def look():
            leads = [m for _, m in self.leaders() if m is not but]
            return leads[-1] if leads else None
        try:
            return wait_for(look, seconds, "a leader")
        except TimeoutError as late:
            raise TimeoutError(f"{late}: {self.said()}") from None

    def followers(self):
        """Of the members with data that run."""
        leader = self.leader()
        return [m for m in self.data_members() if m is not leader and m.answers()]

    def said(self):
        """What each says of itself, for people."""
        return {m.name: (m.replication() if m.answers() else "down") for m in self.members.values()}

    def wait_until_ready(self, seconds=30, members=None):
        """Until one leads and all that run (or these) follow it and have applied what it has."""
        def ready():
            leads = self.leaders()
            if not leads:
                return False
            leader = leads[-1][1]
            if leader.replication()["commit_index"] == 0:
                return False
            for member in members or self.running():
                said = member.replication()
                if not said or said["state"] != "ready" or said.get("leader") != leader.name:
                    return False
                if not member.name.startswith("witness") and said["applied_index"] < leader.replication()["commit_index"]:
                    return False
            return leader
        try:
            return wait_for(ready, seconds, "a leader that all follow")
        except TimeoutError as late:
            raise TimeoutError(f"{late}: {self.said()}") from None

    def status(self, member=None):
        return (member or self.leader()).http("GET", "/admin/cluster/status")[1]

    def roles(self):
        """Name to role, as the leader sees its configuration."""
        return {m["id"]: m["state"] for m in self.status()["members"]}

    def post(self, path, body=None, member=None):
        return (member or self.leader()).http("POST", path, body, seconds=30)

    def transfer(self, target=""):
        return self.post("/admin/cluster/transfer-leadership", {"target": target} if target else {})


class MultiRegion(Cluster):
    """A RaftCluster a region, "east-1" … of "east"; their members reach each other through proxies that can be cut and slowed.

    `of` holds settings of one region's members alone; `known` says which regions a region's settings name, by default all others.
    """

    def __init__(self, regions=("east", "west"), size=3, election="1s", heartbeat="100ms", environment=None, of=None, known=None,
                 start=True):
        super().__init__()
        from proxy import Junctions  # pylint: disable=import-outside-toplevel
        self._start, self._size, self._raft = start, size, {"election": election, "heartbeat": heartbeat}
        self._environment = environment or {}
        self.links = Junctions({})
        self.regions = {}
        for name in regions:
            self.add(name, (of or {}).get(name))
        for name in regions:
            self.know(name, (known or {}).get(name, [other for other in regions if other != name]))

    def add(self, name, environment=None, know=()):
        """A further region, not started."""
        region = RaftCluster(self._size, bootstrap=(f"{name}-1",), links=self.links, prefix=name, start=False, **self._raft, environment={
            "NORNICDB_CLUSTER_MODE": "multi_region", "NORNICDB_CLUSTER_REGION_ID": name,
            "NORNICDB_CLUSTER_RAFT_CLUSTER_ID": name, **self._environment, **(environment or {})})
        region.region = name
        self.regions[name] = region
        self.members.update(region.members)
        if know:
            self.know(name, know)
        return region

    def know(self, name, others):
        """What REMOTE_REGIONS of its members is from their next start on: two addresses of each of the others."""
        remotes = ",".join(f"{other}:{self.regions[other].address(member)}" for other in others
                           for member in list(self.regions[other].members)[:2])
        for member in self.regions[name].members.values():
            member._environment["NORNICDB_CLUSTER_REMOTE_REGIONS"] = remotes

    def __getitem__(self, name):
        return self.regions.get(name) or self.members[name]

    def begin(self):
        if self._start:
            self.start()

    def start(self, *names):
        """Starts all members of these regions, or of all, and waits until each takes writes and has what the others have."""
        started = [member for name in names or self.regions for member in self.regions[name].members.values()]
        for member in started:
            member.spawn()
        for member in started:
            member.wait_until_started()
        self.wait_until_caught_up()

    def close(self):
        self.links.close()

    def _between(self, one, other):
        return [(a, b) for a in self.regions[one].members for b in self.regions[other].members]

    def cut(self, one, other):
        for a, b in self._between(one, other):
            self.links.cut(a, b)

    def delay(self, one, other, seconds):
        """Each piece of bytes arrives so much later, in both directions."""
        for a, b in self._between(one, other):
            self.links.delay(a, b, seconds)

    def heal(self):
        self.links.heal()

    def running(self):
        """Regions of which anybody runs."""
        return [region for region in self.regions.values() if region.running()]

    def status(self, name):
        """What a region's leader says of the regions."""
        return self.regions[name].leader().http("GET", "/admin/region/status")[1]

    def lag(self, name):
        """How many entries of other regions that run are missing here; None while that is not known."""
        leaders = self.regions[name].leaders()
        said = leaders and leaders[-1][1].replication()
        if not said:
            return None
        awaited = {region.region for region in self.running()} - {name}
        others = [r for r in said.get("regions", []) if r["name"] in awaited and not r["dropped"]]
        if len(others) < len(awaited) or any(r["state"] != "streaming" for r in others):
            return None
        return sum(r["lag_entries"] for r in others)

    def wait_until_caught_up(self, seconds=60):
        """Until all members of each running region follow its leader, and the leader has all that the other regions have."""
        def caught_up():
            for region in self.running():
                region.wait_until_ready(seconds)
                if self.lag(region.region) != 0:
                    return False
            # The first user is the primary region's and comes from there.
            return all(member.http("GET", "/admin/region/status")[0] == 200 for region in self.running() for member in region.data_members()
                       if member.answers())
        try:
            wait_for(caught_up, seconds, "regions that have all of each other")
        except TimeoutError as late:
            raise TimeoutError(f"{late}: {self.said()}") from None

    def said(self):
        """What each region's leader, or all of its members, say of it, for people."""
        out = {}
        for name, region in self.regions.items():
            leaders = region.leaders()
            out[name] = leaders[-1][1].http("GET", "/admin/region/status")[1] if leaders else region.said()
        return out


class Clients:
    """Threads that work while a `with` block runs, one for each (function, arguments…); they look at self._stop."""

    _patience = 60  # seconds that each is given to end

    def __init__(self, *work):
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=function, args=arguments, daemon=True) for function, *arguments in work]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(self._patience)


def driver_python():
    """Goes on as a Python that has the official driver; exits with one skipped test where it is not to be had."""
    sys.path.insert(0, os.path.join(TOP, "tests", "drivers"))
    import run  # pylint: disable=import-outside-toplevel
    try:
        python = run.python_venv()
    except run.Missing as missing:
        print(f"skipped: {missing}\n0 passed, 0 failed, 1 skipped")
        sys.exit(0)
    if os.environ.get("NORNICDB_DRIVER_PYTHON") != python:
        os.environ["NORNICDB_DRIVER_PYTHON"] = python
        os.execv(python, [python, "-u", *sys.argv])


def process_rss(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


def process_cpu(pid):
    """CPU seconds a process has used, in user and kernel mode."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for(condition, seconds=30, what="the condition"):
    """Polls until condition() is true and returns its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {seconds} s")
        time.sleep(0.01)


class Checks:
    """Counts named checks and prints the closing line that scripts/run_tests.py reads."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def check(self, ok, what):
        self.passed, self.failed = self.passed + bool(ok), self.failed + (not ok)
        print(("ok      " if ok else "FAILED  ") + what, flush=True)
        return ok

    def skip(self, why):
        self.skipped += 1
        print("skipped " + why, flush=True)

    def close(self):
        if not self.passed + self.failed + self.skipped:
            self.check(False, "nothing was checked; do the names on the command line and in NORNICDB_ONLY exist?")
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)
        return 1 if self.failed else 0


def run_scenes(checks, scenes, *arguments):
    """Calls each scene with checks and the arguments; true if these were all. `scenes` are functions, or functions by name.

    The command line or else NORNICDB_ONLY (with commas) picks some by name. One that raises is a failed check, and the next one
    begins. Servers and clusters print their last lines as an error leaves their `with`; those among the arguments, which stay, here.
    """
    if not isinstance(scenes, dict):
        scenes = {scene.__name__: scene for scene in scenes}
    only = sys.argv[1:] or [name for name in os.environ.get("NORNICDB_ONLY", "").split(",") if name]
    for name in [name for name in only if name in scenes] if only else scenes:
        began = time.monotonic()
        try:
            scenes[name](checks, *arguments)
        except Exception as error:  # pylint: disable=broad-except
            traceback.print_exc()
            for each in arguments:
                if isinstance(each, (Server, Cluster)):
                    each.print_log()
            checks.check(False, f"{name}: {type(error).__name__}: {str(error)[:2000]}")
        print(f"        {name} took {time.monotonic() - began:.1f} s", flush=True)
    return not only
