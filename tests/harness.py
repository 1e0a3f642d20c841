"""Starts, stops and kills real nornicdb processes for the tests that need one. Standard library only.

    with Server() as server:          # a fresh data folder, any free ports
        server.bolt_uri, server.http_url, server.pid
        server.kill(); server.start() # the same data again

The server tells its ports itself: with port 0 it prints "Bolt enabled on 127.0.0.1:PORT.", the same for HTTP,
and "Started." once it answers.
"""
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
USER, PASSWORD = "admin", "admin"
ENABLED = re.compile(r"(Bolt|HTTP) enabled on (\S+):(\d+)")


class ServerFailed(Exception):
    """The server did not start, or ended when it should not have; carries the end of its log."""


def binary():
    return os.environ.get("NORNICDB_BINARY") or os.path.join(TOP, "build/release/nornicdb")


def work_folder():
    """Where test data goes: the build folder, so that it is a real disk and `make clean` removes it."""
    folder = os.path.join(TOP, "build", "test-data")
    os.makedirs(folder, exist_ok=True)
    return folder


def go_environment():
    """The environment for Go programs of ours: modules and cache under build/, no C compiler wanted."""
    flags = subprocess.run(["go", "env", "GOFLAGS"], capture_output=True, text=True, check=True).stdout.strip()
    folder = os.path.join(TOP, "build", "go")
    return {**os.environ, "CGO_ENABLED": "0", "GOMODCACHE": os.path.join(folder, "mod"), "GOCACHE": os.path.join(folder, "cache"),
            "GOFLAGS": (flags + " -modcacherw").strip()}  # So that `make clean` may delete the modules.


def free_port():
    """A port that was free a moment ago; for tests that restart a server and want it where it was."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


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
        self.log = []
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
        if kind is not None and self.log:
            print("--- the server's last lines\n" + self.log_tail() + "\n---", flush=True)
        if self._own_data:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def spawn(self):
        """Starts the process and returns at once."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("NORNICDB_")}
        environment.update(NORNICDB_DATA_DIR=self.data_dir, NORNICDB_ADDRESS="127.0.0.1", NORNICDB_AUTH=f"{USER}/{PASSWORD}",
                           NORNICDB_BOLT_PORT=str(self._wanted_ports["BOLT"]),
                           NORNICDB_HTTP_PORT=str(self._wanted_ports["HTTP"]), **self._environment)
        if not os.path.exists(binary()):
            raise ServerFailed(f"{binary()} is not built; run make release")
        self.log, self.ports = [], {}
        self._started = threading.Event()
        self._ended = threading.Event()
        self._spawned = time.monotonic()
        self._process = subprocess.Popen([binary(), "serve", *self._arguments], env=environment, stdin=subprocess.DEVNULL,
                                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=_die_with_parent)
        self._reader = threading.Thread(target=self._read_log, args=(self._process, self.log, self.ports), daemon=True)
        self._reader.start()
        return self

    def start(self):
        """Starts the process and waits until it says that it has started."""
        self.spawn()
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
        return f"bolt://127.0.0.1:{self.ports['Bolt']}"

    @property
    def neo4j_uri(self):
        return f"neo4j://127.0.0.1:{self.ports['Bolt']}"

    @property
    def http_url(self):
        return f"http://127.0.0.1:{self.ports['HTTP']}"

    def log_tail(self, lines=40):
        return "\n".join(self.log[-lines:])

    def rss_bytes(self):
        return process_rss(self.pid)

    def cpu_seconds(self):
        return process_cpu(self.pid)

    def _read_log(self, process, log, ports):
        for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip("\n")
            log.append(line)
            del log[:-2000]
            match = ENABLED.search(line)
            if match:
                ports[match.group(1)] = int(match.group(3))
            if "Started." in line:
                self._started.set()
        self._ended.set()


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
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)
        return 1 if self.failed else 0
