#!/usr/bin/env python3
"""Runs the suite of one official driver against a fresh server: run.py python|javascript|go|java

What a suite needs is put under build/ (a venv, an npm folder, Go modules, Java libraries) and only once. A suite
whose toolchain or driver cannot be had counts as one skipped test, with the reason. NORNICDB_TEST_URI and
NORNICDB_TEST_PID make it use a server that runs already.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import PASSWORD, TOP, USER, Server, go_environment  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(TOP, "build")
PYTHON_DRIVERS = ("neo4j==6.4.1", "neo4j==5.28.2")  # The second for a Python too old for the first.
OLD_PYTHON_DRIVER = "neo4j-driver==1.7.2"  # Of Neo4j 3.5's age: Bolt 3, bolt+routing.


SUITE_SECONDS = 900  # One that takes longer hangs.


class Missing(Exception):
    """A toolchain or a download that is not to be had here."""


def attempt(command, **more):
    """Runs a preparing command; Missing with its last words if it fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=900, **more)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise Missing(f"`{' '.join(command[:4])} …` failed: {' | '.join(done.stdout.strip().splitlines()[-3:])}")
    return done.stdout


def need(*programs):
    for program in programs:
        if shutil.which(program) is None:
            raise Missing(f"there is no {program}")


def prepared(folder, recipe):
    """Whether folder was prepared by this very recipe."""
    try:
        with open(os.path.join(folder, ".prepared"), encoding="utf-8") as stamp:
            return stamp.read() == recipe
    except FileNotFoundError:
        return False


def mark_prepared(folder, recipe):
    with open(os.path.join(folder, ".prepared"), "w", encoding="utf-8") as stamp:
        stamp.write(recipe)


def read(*path):
    with open(os.path.join(HERE, *path), encoding="utf-8") as handle:
        return handle.read()


def venv(name, drivers, *more):
    """The path of a Python that has the first of these drivers that can be installed."""
    folder = os.path.join(BUILD, name)
    python = os.path.join(folder, "bin/python")
    recipe = f"{' '.join(drivers)} {sys.version}"
    if not prepared(folder, recipe):
        shutil.rmtree(folder, ignore_errors=True)
        attempt([sys.executable, "-m", "venv", folder])
        for driver in drivers:
            try:
                attempt([python, "-m", "pip", "install", "-q", driver, *more])
                break
            except Missing:
                if driver == drivers[-1]:
                    raise
        mark_prepared(folder, recipe)
    return python


def python_venv():
    """A Python that has the official driver."""
    return venv("venv", PYTHON_DRIVERS, "tzdata")


def old_python_venv():
    """A Python that has a driver of Neo4j 3.5's age."""
    return venv("venv-1.7", (OLD_PYTHON_DRIVER,))


def prepare_python():
    return [python_venv(), "-u", os.path.join(HERE, "python/suite.py")], {}


def node_modules():
    """The environment in which a program finds the official driver."""
    need("node", "npm")
    folder = os.path.join(BUILD, "npm")
    recipe = read("javascript/package.json")
    if not prepared(folder, recipe):
        os.makedirs(folder, exist_ok=True)
        shutil.copy(os.path.join(HERE, "javascript/package.json"), folder)
        attempt(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"], cwd=folder)
        mark_prepared(folder, recipe)
    return {"NODE_PATH": os.path.join(folder, "node_modules")}


def prepare_javascript():
    return ["node", "--test", "--test-reporter=tap", os.path.join(HERE, "javascript/suite.test.js")], node_modules()


def prepare_go():
    need("go")
    environment = go_environment()
    program = os.path.join(BUILD, "go/drivers.test")
    attempt(["go", "test", "-c", "-o", program, "."], cwd=os.path.join(HERE, "go"), env=environment)
    return ["go", "tool", "test2json", program, "-test.v", "-test.timeout=20m"], environment


def java_libraries(pom=os.path.join(HERE, "java/pom.xml"), name="java"):
    """The folder of the official driver and what it needs."""
    need("javac", "java", "mvn")
    folder = os.path.join(BUILD, name)
    recipe = read(pom)
    libraries = os.path.join(folder, "lib")
    if not prepared(folder, recipe):
        shutil.rmtree(libraries, ignore_errors=True)
        os.makedirs(folder, exist_ok=True)
        attempt(["mvn", "-q", "-B", "-f", pom, f"-Dmaven.repo.local={folder}/repository",
                 "dependency:copy-dependencies", f"-DoutputDirectory={libraries}"])
        mark_prepared(folder, recipe)
    return libraries


def java_program(main, classes, sources, libraries=None):
    """The command that runs the class `main` of these sources, with today's driver or another one's libraries."""
    libraries = libraries or java_libraries()
    shutil.rmtree(classes, ignore_errors=True)
    attempt(["javac", "--release", "17", "-d", classes, "-cp", os.path.join(libraries, "*"), *sources])
    return ["java", "-Xmx512m", "-cp", f"{classes}:{libraries}/*", main]


def prepare_java():
    sources = [os.path.join(HERE, "java", f) for f in sorted(os.listdir(os.path.join(HERE, "java"))) if f.endswith(".java")]
    return java_program("Suite", os.path.join(BUILD, "java/classes"), sources), {}


PREPARE = {"python": prepare_python, "javascript": prepare_javascript, "go": prepare_go, "java": prepare_java}


def counted(language, process):
    """Echoes a suite's output and returns (passed, failed, skipped)."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    finished = False
    for line in process.stdout:
        if language == "go":
            try:
                event = json.loads(line)
            except ValueError:
                print(line, end="", flush=True)
                continue
            if event["Action"] == "output" and "=== " not in event["Output"]:
                print(event["Output"], end="", flush=True)
            key = {"pass": "passed", "fail": "failed", "skip": "skipped"}.get(event["Action"])
            if key and "Test" not in event:
                finished = True
            elif key and not (key == "passed" and event["Test"] in parents):
                counts[key] += 1
            if "Test" in event and "/" in event["Test"]:
                parents.add(event["Test"].rpartition("/")[0])  # A group is not a test of its own.
            continue
        print(line, end="", flush=True)
        if language == "javascript":
            match = re.match(r"# (pass|fail|cancelled|skipped) (\d+)", line)
            if match:
                key = {"pass": "passed", "skipped": "skipped"}.get(match.group(1), "failed")
                counts[key] += int(match.group(2))
                finished = True
        else:
            match = re.fullmatch(r"(\d+) passed, (\d+) failed, (\d+) skipped", line.strip())
            if match:
                counts = dict(zip(counts, map(int, match.groups())))
                finished = True
    status = process.wait()
    if not finished or (status != 0 and counts["failed"] == 0):
        print(f"the {language} suite ended with status {status}")
        counts["failed"] += 1
    return tuple(counts.values())


parents = set()


def run(language, command, environment, uri, pid):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                               env={**os.environ, **environment, "NORNICDB_URI": uri, "NORNICDB_PID": str(pid),
                                    "NORNICDB_USER": USER, "NORNICDB_PASSWORD": PASSWORD})
    watchdog = threading.Timer(SUITE_SECONDS, process.kill)
    watchdog.daemon = True
    watchdog.start()
    try:
        return counted(language, process)
    finally:
        watchdog.cancel()


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in PREPARE:
        print(__doc__, file=sys.stderr)
        return 2
    language = sys.argv[1]
    try:
        command, environment = PREPARE[language]()
    except Missing as why:
        print(f"skipped: {language} driver: {why}\n0 passed, 0 failed, 1 skipped")
        return 0
    uri = os.environ.get("NORNICDB_TEST_URI")
    if uri:
        passed, failed, skipped = run(language, command, environment, uri, os.environ.get("NORNICDB_TEST_PID", "0"))
    else:
        with Server() as server:
            passed, failed, skipped = run(language, command, environment, server.bolt_uri, server.pid)
            if failed:
                print("--- the server's last lines\n" + server.log_tail())
            if not server.running():
                print("the server died")
                failed += 1
            elif server.stop() != 0:
                print("the server did not stop cleanly")
                failed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
