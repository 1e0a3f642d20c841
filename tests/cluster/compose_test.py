#!/usr/bin/env python3
"""The image and the compose files of compose/, in a real docker engine: size, user, first process, time to start; each file comes up
healthy, drivers on the host reach it by neo4j://, and `docker kill` of each service is survived.

Runs where a docker engine answers and has docker compose (or docker-compose 1.29), and says so where not. NORNICDB_DOCKERD=1 starts
an engine for the test (root, dockerd and iptables installed). NORNICDB_IMAGE names a finished image; without it one is made of the package
of build/release/nornicdb, on debian:bookworm-slim or, where that cannot be pulled, on what debootstrap makes. NORNICDB_ONLY=image,raft
picks of image, standalone, ha, raft, regions, kubernetes.
"""
import calendar
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import PASSWORD, TOP, USER, Checks, _die_with_parent, driver_python, wait_for, work_folder  # noqa: E402

driver_python()
import neo4j  # noqa: E402

MIB = 1 << 20
FILES = {"standalone": {"nornicdb": (7474, 7687)},
         "ha": {"nornicdb-primary": (7474, 7687), "nornicdb-standby": (7475, 7688)},
         "raft": {f"nornicdb-node{n}": (7473 + n, 7686 + n) for n in (1, 2, 3)},
         "us-east": {f"us-east-node{n}": (7473 + n, 7686 + n) for n in (1, 2, 3)},
         "eu-west": {f"eu-west-node{n}": (7476 + n, 7689 + n) for n in (1, 2, 3)}}


def run(*command, check=True, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout.strip()


def docker(*arguments, **more):
    return run("docker", *arguments, **more)


class Engine:
    """An engine of the test's own, if it is wanted; the one that answers, else."""

    def __init__(self):
        self._process = None

    def __enter__(self):
        if os.environ.get("NORNICDB_DOCKERD") and not self.answers():
            folder = os.path.join(TOP, "build", "docker")
            os.makedirs(folder, exist_ok=True)
            os.environ["DOCKER_HOST"] = f"unix://{folder}/socket"
            log = open(os.path.join(folder, "log"), "w", encoding="utf-8")
            self._process = subprocess.Popen(
                ["dockerd", "--host", os.environ["DOCKER_HOST"], "--data-root", f"{folder}/data", "--exec-root", f"{folder}/run",
                 "--pidfile", f"{folder}/pid"], stdout=log, stderr=subprocess.STDOUT, preexec_fn=_die_with_parent)
            wait_for(lambda: self.answers() or self._process.poll() is not None, 30, "an engine")
        return self

    def __exit__(self, *_):
        if self._process:
            self._process.terminate()
            self._process.wait(30)

    @staticmethod
    def answers():
        try:
            return subprocess.run(["docker", "version"], capture_output=True, timeout=20).returncode == 0
        except (OSError, subprocess.TimeoutExpired):
            return False


def compose_command():
    for command in (["docker", "compose"], ["docker-compose"]):
        try:
            if subprocess.run([*command, "version"], capture_output=True).returncode == 0:
                return command
        except OSError:
            pass
    return None


def make_image(name):
    """Builds the image of the release build's package, with compose/Dockerfile as it is."""
    run("cpack", "--config", os.path.join(TOP, "build/release/CPackConfig.cmake"))
    package = max(glob.glob(os.path.join(TOP, "build/package/nornicdb_*.deb")), key=os.path.getmtime)
    base = run(os.path.join(TOP, "compose/image/base"))
    with tempfile.TemporaryDirectory(dir=work_folder()) as context:
        os.makedirs(os.path.join(context, "compose/image"))
        for file in ("compose/Dockerfile", "compose/image/gather"):
            shutil.copy(os.path.join(TOP, file), os.path.join(context, file))
        shutil.copy(package, os.path.join(context, "nornicdb.deb"))
        proxies = [f"--build-arg={name}" for name in ("http_proxy", "https_proxy", "no_proxy") if os.environ.get(name)]
        docker("build", "--network", "host", "-f", os.path.join(context, "compose/Dockerfile"), "--build-arg", f"DEBIAN={base}",
               "--build-arg", "PACKAGE=nornicdb.deb", *proxies, "-t", name, context)


def status_of(port, path):
    try:
        with urllib.request.urlopen(f"http://localhost:{port}{path}", timeout=2) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def json_of(port, path):
    with urllib.request.urlopen(f"http://localhost:{port}{path}", timeout=5) as answer:
        return json.load(answer)


def wanted(what):
    only = os.environ.get("NORNICDB_ONLY", "")
    return not only or what in only.split(",")


def the_image(image, checks):
    size = int(docker("image", "inspect", "-f", "{{.Size}}", image))
    checks.check(size < 120 * MIB, f"the image has {size / MIB:.1f} MiB, less than 120")
    took = []
    # As Kubernetes would run it: nothing of it can be written but /data, and it has no rights.
    container = docker("create", "-p", "127.0.0.1:7474:7474", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", image)
    try:
        for _ in range(5):
            docker("start", container)
            wait_for(lambda: status_of(7474, "/ready") == 200, 20, "a server that is ready")
            ready = time.time()
            # By the engine's clock, which is this machine's: when the process was started.
            started = docker("inspect", "-f", "{{.State.StartedAt}}", container)
            whole, part = started.rstrip("Z").split(".")
            took.append(ready - calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) - float("0." + part))
            if len(took) < 5:
                docker("stop", container)
        # The least, as this machine may have other things to do.
        checks.check(0 < min(took) < 1, f"from the start of the process to /ready it takes {min(took):.2f} s (5 times, at most {max(took):.2f})")
        checks.check(docker("exec", container, "id", "-u") == "7474" and docker("exec", container, "ls", "-ld", "/data").split()[2] == "nornicdb",
                     "it runs as user 7474, who owns /data")
        checks.check(docker("exec", container, "curl", "-sf", "http://localhost:7474/health").startswith('{"status":"healthy"'),
                     "curl asks for its health inside")
        checks.check("NORNICDB_ADDRESS=0.0.0.0" in docker("exec", container, "env"), "env shows its settings inside")
        docker("exec", container, "sh", "-c", "sh -c 'sleep 0.2; kill -0 1' & sleep 0.05")
        wait_for(lambda: "sleep" not in docker("exec", container, "ps", "-o", "stat,args"), 10, "the end of an orphan")
        time.sleep(0.5)  # A zombie would stay.
        table = docker("exec", container, "ps", "-o", "pid,stat,args")
        checks.check(re.search(r"^ *1 \S+ +nornicdb serve", table, re.MULTILINE) and not re.search(r"^ *\d+ Z", table, re.MULTILINE),
                     "the server is the first process, and an orphan that ended is no zombie")
        began = time.monotonic()
        docker("stop", "-t", "30", container)
        took = time.monotonic() - began
        code = docker("inspect", "-f", "{{.State.ExitCode}}", container)
        checks.check(code == "0" and took < 5, f"SIGTERM stops it in {took:.1f} s with status {code}")
    finally:
        docker("rm", "-fv", container)


class Up:
    """Compose files that are up in a copy of the folder, so that a .env of somebody's does no harm."""

    def __init__(self, command, folder, image, *modes, environment=None):
        self._command, self._folder, self.modes = command, folder, modes
        self.services = {name: ports for mode in modes for name, ports in FILES[mode].items()}
        self._environment = {**os.environ, "NORNICDB_IMAGE": image, "COMPOSE_PROJECT_NAME": "nornicdb-test",
                             "COMPOSE_IGNORE_ORPHANS": "true", **(environment or {})}

    def compose(self, modes, *arguments):
        files = [part for mode in modes for part in ("-f", f"docker-compose.{mode}.yml")]
        return run(*self._command, *files, *arguments, cwd=self._folder, env=self._environment)

    def __enter__(self):
        try:
            self.compose(self.modes, "down", "-v", "-t", "1")  # What an interrupted test left.
            for mode in self.modes:
                self.compose([mode], "up", "-d")
            return self
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(self, kind, error, traceback):
        if kind is not None:
            print(self.compose(self.modes, "logs", "--tail=15"), flush=True)
        self.compose(self.modes, "down", "-v", "-t", "1")

    def wait_until_healthy(self):
        def healthy():
            states = [json.loads(docker("inspect", "-f", "{{json .State}}", name)) for name in self.services]
            return all(s["Running"] and s["Health"]["Status"] == "healthy" for s in states)
        wait_for(healthy, 60, "containers that are all healthy")

    def wait_until_ready(self):
        wait_for(lambda: all(status_of(http, "/ready") == 200 for http, _ in self.services.values()), 60, "members that are all ready")


def query(driver, text, **more):
    """With the database's name: without it the Python driver asks the address that it was given, and no other, which one is meant."""
    return driver.execute_query(text, database_="neo4j", **more).records


WRITE = "CREATE (:N {mode: $mode})"


def count(driver, mode):
    return query(driver, "MATCH (n:N {mode: $mode}) RETURN count(n) AS c", mode=mode, routing_="r")[0]["c"]


def kills(up, mode, driver, written, checks):
    """`docker kill` of each service, while a driver that began before goes on writing."""
    services = list(FILES[mode])
    for name in services:
        docker("kill", name)
        began = time.monotonic()
        if len(services) > 1:
            query(driver, WRITE, mode=mode)
            written += 1
            checks.check(True, f"{mode}: docker kill of {name} costs a driver {time.monotonic() - began:.1f} s")
        docker("start", name)
        up.wait_until_ready()
        if len(services) == 1:
            checks.check(True, f"{mode}: killed and started again in {time.monotonic() - began:.1f} s")
    wait_for(lambda: count(driver, mode) >= written, 10, f"all of {written} writes in {mode}")
    checks.check(count(driver, mode) == written, f"{mode}: all {written} acknowledged writes are there")
    return written


def one_mode(up, mode, checks):
    up.wait_until_healthy()
    up.wait_until_ready()
    checks.check(True, f"{mode}: all of {', '.join(FILES[mode])} are healthy")
    bolt = [port for _, port in FILES[mode].values()]
    with neo4j.GraphDatabase.driver(f"neo4j://localhost:{bolt[0]}", auth=(USER, PASSWORD), max_transaction_retry_time=60,
                                    connection_timeout=3) as driver:
        query(driver, WRITE, mode=mode)
        written = 1
        for port in bolt:
            # One of them takes writes; the others pass it on to that one, inside the network.
            with neo4j.GraphDatabase.driver(f"bolt://localhost:{port}", auth=(USER, PASSWORD)) as direct, direct.session() as session:
                session.run(WRITE, mode=mode).consume()
                written += 1
        # Followers show what others wrote a moment later.
        wait_for(lambda: count(driver, mode) == written, 10, f"all of {written} writes in {mode}")
        checks.check(True, f"{mode}: neo4j:// from the host, and bolt:// to each of {bolt}, write and read")
        kills(up, mode, driver, written, checks)


def scenarios(command, image, checks):
    with tempfile.TemporaryDirectory(prefix="compose-", dir=work_folder()) as folder:
        for file in glob.glob(os.path.join(TOP, "compose/docker-compose.*.yml")):
            shutil.copy(file, folder)
        for mode in FILES:
            overlay = [*command, "-f", f"docker-compose.{mode}.yml", "-f", "docker-compose.observability.yml", "config", "-q"]
            run(*overlay, cwd=folder)
        checks.check(True, "compose takes each file with the overlay")
        if wanted("standalone"):
            with Up(command, folder, image, "standalone") as up:
                one_mode(up, "standalone", checks)
        if wanted("ha"):
            with Up(command, folder, image, "ha", environment={"NORNICDB_CLUSTER_HA_FAILOVER_TIMEOUT": "4s"}) as up:
                one_mode(up, "ha", checks)
        run(os.path.join(TOP, "compose/make-secrets"), "--tls", "--into", folder)
        if wanted("raft"):
            with Up(command, folder, image, "raft") as up:
                one_mode(up, "raft", checks)
                recipes = (["ping", "-c", "1", "node2"], ["env"], ["iperf3", "--version"], ["nornicdb", "version"])
                said = [docker("exec", "nornicdb-node1", *recipe) for recipe in recipes]
                checks.check(" 1 received" in said[0] and "NORNICDB_CLUSTER_RAFT_PEERS" in said[1] and "iperf" in said[2] and said[3],
                             "raft: the guide's recipes find ping, env and iperf3 inside")
                with urllib.request.urlopen("http://localhost:7474/metrics", timeout=5) as answer:
                    checks.check(b"nornicdb_cluster_tls_certificate_expiry_timestamp_seconds 1" in answer.read(),
                                 "raft: with make-secrets --tls members talk TLS")
        if wanted("regions"):
            with Up(command, folder, image, "us-east", "eu-west") as up:
                one_mode(up, "us-east", checks)
                one_mode(up, "eu-west", checks)
                each_others_writes(checks)


def kubernetes(image, checks):
    """The StatefulSet's container three times, as a kubelet would start it: a pod's name, its DNS name, its secret, its rights."""
    text = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)"
    try:
        # The machine's Python, which has yaml where it has docker-compose; the drivers' one has not.
        pod = json.loads(run("/usr/bin/python3", "-c", text, os.path.join(TOP, "compose/kubernetes/statefulset.yaml")))["spec"]["template"]["spec"]
    except (RuntimeError, OSError):
        checks.skip("kubernetes: /usr/bin/python3 has no yaml (Debian's python3-yaml)")
        return
    spec = pod["containers"][0]
    secrets = tempfile.mkdtemp(prefix="secret-", dir=work_folder())
    os.chmod(secrets, 0o755)
    with open(os.path.join(secrets, "replication-secret"), "w", encoding="ascii") as file:
        file.write("a secret of the tests, longer than 32 characters")
    names = [f"nornicdb-{n}" for n in range(3)]
    docker("network", "create", "nornicdb-test-pods")
    try:
        for n, name in enumerate(names):
            environment = []
            for one in spec["env"]:
                value = one.get("value") or {"POD_NAME": name, "NORNICDB_AUTH": f"{USER}/{PASSWORD}"}[one["name"]]
                environment += ["-e", f"{one['name']}={value.replace('$(POD_NAME)', name)}"]
            docker("run", "-d", "--name", name, "--network", "nornicdb-test-pods", "--network-alias", f"{name}.nornicdb-members",
                   "-p", f"127.0.0.1:{7474 + n}:7474", "--read-only", "--cap-drop", "ALL", "--user", str(pod["securityContext"]["runAsUser"]),
                   "-v", f"{secrets}:/secrets:ro", *environment, "--entrypoint", spec["command"][0], image, *spec["command"][1:], *spec["args"])
        path = spec["readinessProbe"]["httpGet"]["path"]
        wait_for(lambda: all(status_of(7474 + n, path) == 200 for n in range(3)), 60, "three pods that are ready")
        checks.check(True, "kubernetes: three pods of the StatefulSet form a cluster and become ready")
        first = docker("exec", names[0], "ps", "-o", "pid,args")
        checks.check(re.search(r"^ *1 nornicdb serve", first, re.MULTILINE), "kubernetes: the server is the pod's first process")
    finally:
        docker("rm", "-fv", *names, check=False)
        docker("network", "rm", "nornicdb-test-pods")
        shutil.rmtree(secrets)


def each_others_writes(checks):
    regions = {"us-east": 7687, "eu-west": 7690}
    drivers = {name: neo4j.GraphDatabase.driver(f"neo4j://localhost:{port}", auth=(USER, PASSWORD)) for name, port in regions.items()}
    for name, driver in drivers.items():
        query(driver, "CREATE (:From {region: $name})", name=name)

    def seen():
        return {name: [r["r"] for r in query(driver, "MATCH (n:From) RETURN n.region AS r ORDER BY r")] for name, driver in drivers.items()}
    try:
        wait_for(lambda: all(found == sorted(regions) for found in seen().values()), 30)
        checks.check(True, "us-east and eu-west have each other's writes")
    except TimeoutError:
        said = {http: json_of(http, "/health") for mode in regions for http, _ in FILES[mode].values()}
        checks.check(False, f"us-east and eu-west have each other's writes: {seen()}; {json.dumps(said)}")
    for driver in drivers.values():
        driver.close()


def main():
    checks = Checks()
    with Engine() as engine:
        if not engine.answers():
            checks.skip("no docker engine answers here (NORNICDB_DOCKERD=1 starts one)")
            return checks.close()
        command = compose_command()
        if not command:
            checks.skip("there is neither docker compose nor docker-compose")
            return checks.close()
        taken = [port for services in FILES.values() for ports in services.values() for port in ports if status_of(port, "/")]
        if taken:
            checks.skip(f"something answers on the compose files' ports already: {taken}")
            return checks.close()
        image = os.environ.get("NORNICDB_IMAGE")
        if not image:
            image = "nornicdb:test"
            try:
                make_image(image)
            except RuntimeError as error:
                checks.skip(f"no image can be made here: {error}")
                return checks.close()
        if wanted("image"):
            the_image(image, checks)
        scenarios(command, image, checks)
        if wanted("kubernetes"):
            kubernetes(image, checks)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
