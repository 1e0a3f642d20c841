"""Prometheus and its promtool for the tests: those of this machine, or Debian's package unpacked under build/, never installed."""
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import TOP, _die_with_parent, free_port, wait_for, work_folder  # noqa: E402

FOLDER = os.path.join(TOP, "build", "prometheus")


def tools():
    """The paths of promtool and prometheus, or None and why they cannot be had."""
    found = [shutil.which(name) or shutil.which(os.path.join(FOLDER, "usr/bin", name)) for name in ("promtool", "prometheus")]
    if all(found):
        return found, ""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        return None, "there is no Prometheus here, and no apt-get to fetch Debian's package"
    os.makedirs(FOLDER, exist_ok=True)
    fetched = subprocess.run(["apt-get", "-q", "download", "prometheus"], cwd=FOLDER, capture_output=True, text=True)
    packages = glob.glob(os.path.join(FOLDER, "prometheus_*.deb"))
    if fetched.returncode != 0 or not packages:
        return None, "Debian's package prometheus cannot be fetched: " + fetched.stderr.strip()[-200:]
    subprocess.run(["dpkg", "-x", packages[0], FOLDER], check=True)
    os.remove(packages[0])
    return tools()


class Prometheus:
    """A Prometheus that runs with compose/prometheus's files, except that it scrapes `members` each second."""

    def __init__(self, program, members):
        self._program, self._members = program, members

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="prometheus-", dir=work_folder())
        source = os.path.join(TOP, "compose/prometheus")
        with open(os.path.join(source, "prometheus.yml"), encoding="utf-8") as file:
            settings = file.read().replace("_interval: 5s", "_interval: 1s")
        with open(os.path.join(self.folder, "prometheus.yml"), "w", encoding="utf-8") as file:
            file.write(settings)
        shutil.copy(os.path.join(source, "alerts.yml"), self.folder)
        with open(os.path.join(self.folder, "targets.yml"), "w", encoding="utf-8") as file:
            json.dump([{"targets": [member.http_url.split("//")[1] for member in self._members]}], file)  # JSON is YAML, too.
        self.port = free_port()
        self._log = open(os.path.join(self.folder, "log"), "w", encoding="utf-8")
        self._process = subprocess.Popen(
            [self._program, f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data",
             f"--web.listen-address=127.0.0.1:{self.port}"], stdout=self._log, stderr=subprocess.STDOUT, preexec_fn=_die_with_parent)
        wait_for(lambda: self.ask("/-/ready") is not None, 30, "a Prometheus that is ready")
        return self

    def __exit__(self, kind, error, traceback):
        self._process.kill()
        self._process.wait()
        self._log.close()
        if kind is not None:
            with open(self._log.name, encoding="utf-8") as file:
                print("--- Prometheus' last lines\n" + "".join(file.readlines()[-10:]))
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, path):
        """What it answers: JSON's "data", or text; None if it does not."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                text = answer.read().decode()
        except OSError:
            return None
        return json.loads(text)["data"] if text.startswith("{") else text

    def query(self, expression):
        """The samples of an instant query: their labels and values."""
        answer = self.ask("/api/v1/query?query=" + urllib.parse.quote(expression))
        return [(r["metric"], float(r["value"][1])) for r in answer["result"]] if answer else []

    def healthy_targets(self):
        answer = self.ask("/api/v1/targets")
        return sum(t["health"] == "up" for t in answer["activeTargets"]) if answer else 0

    def rules(self):
        """Name, health and last error of each rule."""
        answer = self.ask("/api/v1/rules")
        return [(r["name"], r["health"], r.get("lastError", "")) for g in answer["groups"] for r in g["rules"]] if answer else []

    def firing(self):
        """(alert, labels) of all that fire now."""
        answer = self.ask("/api/v1/alerts")
        return [(a["labels"]["alertname"], a["labels"]) for a in answer["alerts"] if a["state"] == "firing"] if answer else []
