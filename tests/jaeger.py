"""Jaeger for tests: built once from its Go module into build/go, run on free ports of loopback, asked through its query API.

    with Jaeger() as jaeger:
        jaeger.endpoint            # for OTEL_EXPORTER_OTLP_ENDPOINT
        jaeger.trace(trace_id)     # as its API has it, or None

`python3 tests/jaeger.py` only builds it. That takes some minutes once.
"""
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import TOP, free_port, go_environment, wait_for  # noqa: E402  pylint: disable=wrong-import-position

MODULE = "github.com/jaegertracing/jaeger@v1.76.0"
PROGRAM = os.path.join(TOP, "build/go/jaeger-1.76.0")
BUILD_SECONDS = 600  # A suite has fifteen minutes; what was compiled by then is kept for the next time.
DOWNLOAD_SECONDS = 300
PORTS = ["collector.otlp.http", "collector.otlp.grpc", "query.http-server", "query.grpc-server", "collector.grpc-server",
         "collector.http-server", "admin.http"]


class Missing(Exception):
    """It cannot be had here; why is the text."""


def program():
    """Path of the binary; builds it if need be."""
    if os.path.exists(PROGRAM):
        return PROGRAM
    source = os.path.join(TOP, "build/go/jaeger-source")
    try:
        environment = go_environment()
        told = subprocess.run(["go", "mod", "download", "-json", MODULE], env=environment, capture_output=True, text=True,
                              cwd=os.path.join(TOP, "build/go"), timeout=DOWNLOAD_SECONDS)
        if told.returncode != 0:
            raise Missing(f"{MODULE} cannot be downloaded: {told.stdout.strip()[-300:]} {told.stderr.strip()[-300:]}")
        # Its own go.sum is wanted, so it is built as a main module, in a copy that may be written.
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(json.loads(told.stdout)["Dir"], source)
        subprocess.run(["chmod", "-R", "u+w", source], check=True)
        built = subprocess.run(["nice", "-n", "15", "go", "build", "-trimpath", "-ldflags=-s -w", "-o", PROGRAM + ".new", "./cmd/all-in-one"],
                               cwd=source, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS)
        if built.returncode != 0:
            raise Missing("Jaeger cannot be built: " + " | ".join(built.stderr.strip().splitlines()[-3:]))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        raise Missing(f"Jaeger cannot be built: {error}") from error
    finally:
        shutil.rmtree(source, ignore_errors=True)
    os.replace(PROGRAM + ".new", PROGRAM)
    return PROGRAM


class Jaeger:
    def __init__(self):
        self._ports = {name: free_port() for name in PORTS}
        self._process = None
        self.endpoint = f"http://127.0.0.1:{self._ports['collector.otlp.http']}"

    def __enter__(self):
        arguments = [f"--{name}.host-port=127.0.0.1:{port}" for name, port in self._ports.items()]
        # Sampling strategies are asked for over another port yet, which is of no use here.
        self._process = subprocess.Popen([program(), "--collector.otlp.enabled=true", *arguments], stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL)
        try:
            wait_for(self._ready, 30, "Jaeger")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()

    def _get(self, port, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._ports[port]}{path}", timeout=10) as answer:
                return answer.read()
        except (urllib.error.URLError, OSError):
            return None

    def _ready(self):
        if self._process.poll() is not None:
            raise Missing(f"Jaeger ended with status {self._process.returncode}")
        return self._get("admin.http", "/") is not None

    def services(self):
        return json.loads(self._get("query.http-server", "/api/services") or "{}").get("data") or []

    def trace(self, trace_id):
        found = json.loads(self._get("query.http-server", f"/api/traces/{trace_id}") or "{}").get("data")
        return found[0] if found else None


if __name__ == "__main__":
    try:
        print(program())
    except Missing as missing:
        sys.exit(str(missing))
