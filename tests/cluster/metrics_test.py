#!/usr/bin/env python3
"""Metrics of members of every mode: each name that docs/metrics.md promises is there, with the labels that it says, and nothing is
there that it does not know; promtool finds nothing to complain of; compose/'s alerts and dashboard ask for nothing else; and a Prometheus
that really runs scrapes three members and fires an alert when one of them dies.

Prometheus is this machine's or Debian's package, unpacked under build/. Without it those parts are skipped.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import TOP, Checks, HotStandby, MultiRegion, RaftCluster, Server, free_port, wait_for, work_folder  # noqa: E402
from prometheus_tools import Prometheus, tools  # noqa: E402
from raft_common import write  # noqa: E402

# Names and labels of the clustering guide, to the letter.
GUIDE = {"nornicdb_replication_mode": {"mode"}, "nornicdb_replication_is_leader": set(), "nornicdb_replication_commit_index": set(),
         "nornicdb_replication_applied_index": set(), "nornicdb_replication_lag_seconds": set(),
         "nornicdb_replication_peer_healthy": {"peer"}, "nornicdb_cluster_leader_changes_total": set(), "nornicdb_raft_term": set(),
         "nornicdb_wal_position": set(), "nornicdb_peer_healthy": {"peer"}, "nornicdb_replication_bytes_total": {"peer", "direction"}}
PROMISE = re.compile(r"^\| `([a-z_0-9]+)(?:\{([a-z,]+)\})?` \|")
SAMPLE = re.compile(r"^([a-z_0-9]+)(?:\{(.*)\})? (\S+)$")
NAME = re.compile(r"\b((?:nornicdb|process)_[a-z0-9_]+)\b")
OF_HISTOGRAM = re.compile(r"_(bucket|sum|count)$")


def promised():
    """Section to {name: labels} of docs/metrics.md."""
    out, section = {}, None
    with open(os.path.join(TOP, "docs/metrics.md"), encoding="utf-8") as file:
        for line in file:
            if line.startswith("## "):
                section = out.setdefault(line[3:].strip(), {})
            match = PROMISE.match(line)
            if match:
                section[match.group(1)] = set(match.group(2).split(",")) if match.group(2) else set()
    return out


def scrape(member):
    """The text, {name: type}, {name: labels} and {sample: value}."""
    text = member.http("GET", "/metrics")[1]
    types, helps, labels, values = {}, set(), {}, {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            if len(line.split(" ", 3)) == 4:
                helps.add(line.split(" ", 3)[2])
        elif line.startswith("# TYPE "):
            types[line.split()[2]] = line.split()[3]
        else:
            name, inside, value = SAMPLE.match(line).groups()
            family = name if name in types else OF_HISTOGRAM.sub("", name)
            labels[family] = set(re.findall(r'([a-z_]+)="', inside or "")) - {"le"}
            values[line.rsplit(" ", 1)[0]] = float(value)
    return text, types, helps, labels, values


def compare(what, member, sections, checks):
    """Checks a member against the sections that are for it; returns what promtool should read, and the values."""
    text, types, helps, labels, values = scrape(member)
    wanted = {name: names for section in sections for name, names in section.items()}
    missing, unknown = set(wanted) - set(labels), set(labels) - set(wanted)
    other = {name: sorted(labels[name]) for name in set(wanted) & set(labels) if labels[name] != wanted[name]}
    checks.check(not missing and not unknown and not other,
                 f"{what}: {len(labels)} metrics, as docs/metrics.md has them{f'; missing {sorted(missing)}' if missing else ''}"
                 f"{f'; not documented {sorted(unknown)}' if unknown else ''}{f'; labels differ {other}' if other else ''}")
    checks.check(set(types) == helps and all((kind == "counter") == name.endswith("_total") for name, kind in types.items()),
                 f"{what}: each has a type and a help, and counters alone are totals")
    return text, values


def lint(promtool, what, text, checks):
    """promtool takes an empty text for a clean one, so that is looked at first."""
    said = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
    checks.check(len(text) > 5000 and said.returncode == 0 and not said.stdout and not said.stderr,
                 f"{what}: promtool has nothing to say of {len(text)} bytes {said.stdout[:300]}{said.stderr[:300]}")


def scraped_modes(doc, checks):
    """Name to text of members of all modes."""
    texts = {}
    every, data, peers = doc["Every member"], doc["With data"], doc["With peers"]
    tls, raft = doc["With TLS"], doc["Raft"]
    guide = {}
    # A collector that nobody has: traces wait for it, and are counted.
    with Server(bolt_port=free_port(), environment={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}) as server:
        texts["standalone"], values = compare("standalone", server, [every, data, doc["Tracing"]], checks)
        checks.check(values['nornicdb_replication_mode{mode="standalone"}'] == 1 and values["nornicdb_replication_is_leader"] == 1
                     and values["nornicdb_replication_ready"] == 1, "standalone: it leads and is ready")
        for _ in range(5):
            write(server)
        after = scrape(server)[4]
        grew = {name: after[name] - values[name] for name in after if after[name] != values.get(name)}
        exact = {"nornicdb_commits_total": 5, "nornicdb_statements_total": 5, "nornicdb_statement_seconds_count": 5,
                 "nornicdb_wal_position": 5, "nornicdb_bolt_connections_total": 5}
        grown = ["nornicdb_log_syncs_total", "nornicdb_http_requests_total", "nornicdb_bolt_received_bytes_total", "process_cpu_seconds_total"]
        plans = grew.get("nornicdb_plan_cache_hits_total", 0) + grew.get("nornicdb_plan_cache_misses_total", 0)
        checks.check(all(grew.get(name) == by for name, by in exact.items()) and all(grew.get(name, 0) > 0 for name in grown) and plans == 5,
                     f"standalone: five writes of five clients are counted as such {[n for n in exact if grew.get(n) != exact[n]] or ''}")
    folder = tempfile.mkdtemp(prefix="certs-", dir=work_folder())
    try:
        subprocess.run([os.path.join(TOP, "compose/make-secrets"), "--tls", "--into", folder, "member"], check=True, capture_output=True)
        certificate = {"CERT": f"{folder}/certs/member/server.crt", "KEY": f"{folder}/certs/member/server.key"}
        environment = {"NORNICDB_CLUSTER_TLS_ENABLED": "true", "NORNICDB_CLUSTER_TLS_VERIFY_CLIENT": "true",
                       "NORNICDB_CLUSTER_TLS_CA_FILE": f"{folder}/certs/member/ca.crt",
                       **{f"NORNICDB_CLUSTER_TLS_{k}_FILE": v for k, v in certificate.items()},
                       "NORNICDB_BOLT_TLS_ENABLED": "true", **{f"NORNICDB_BOLT_TLS_{k}": v for k, v in certificate.items()},
                       "NORNICDB_HTTP_TLS_ENABLED": "true", **{f"NORNICDB_HTTP_TLS_{k}": v for k, v in certificate.items()}}
        with HotStandby(witness=True, environment=environment) as pair:
            sections = [every, peers, doc["Hot standby"], tls]
            for what, member in (("primary", pair.primary()), ("standby", pair.standby())):
                texts[what], values = compare(what, member, [*sections, data], checks)
            days = (values["nornicdb_cluster_tls_certificate_expiry_timestamp_seconds"] - values["process_start_time_seconds"]) / 86400
            checks.check(396 < days < 398, f"the certificate that make-secrets made ends in {days:.1f} days")
            texts["witness"], _ = compare("witness", pair["w"], sections, checks)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    with RaftCluster(3) as cluster:
        write(cluster.leader())
        for what, member in (("leader", cluster.leader()), ("follower", cluster.followers()[0])):
            texts[what], values = compare(what, member, [every, data, peers, raft], checks)
            guide[what] = scrape(member)[3]
            roles = [role for role in ("leader", "follower", "candidate") if values[f'nornicdb_raft_role{{role="{role}"}}'] == 1]
            checks.check(roles == [what] and values['nornicdb_replication_mode{mode="raft"}'] == 1
                         and values["nornicdb_replication_is_leader"] == (what == "leader"), f"{what}: it says that it is one")
        checks.check(all(guide[what].get(name) == labels for what in guide for name, labels in GUIDE.items()),
                     f"all {len(GUIDE)} names of the clustering guide are there with their labels "
                     f"{[n for w in guide for n, k in GUIDE.items() if guide[w].get(n) != k] or ''}")
    with MultiRegion() as world:
        texts["region"], _ = compare("region", world["east"].leader(), [every, data, peers, raft, doc["Several regions"]], checks)
    return texts


def asked_for(path):
    """The names of metrics in the expressions of a dashboard or of rules."""
    with open(os.path.join(TOP, path), encoding="utf-8") as file:
        text = file.read()
    if path.endswith(".json"):
        panels = json.loads(text)["panels"]
        text = "\n".join(target["expr"] for panel in panels for target in panel.get("targets", []))
    else:
        text = re.sub(r"^ +(summary|name):.*$", "", text, flags=re.MULTILINE)
    return {OF_HISTOGRAM.sub("", name) for name in NAME.findall(text)}


def alerts_of_a_fault(program, checks):
    with RaftCluster(3) as cluster, Prometheus(program, cluster.data_members()) as prometheus:
        members = cluster.data_members()
        wait_for(lambda: prometheus.healthy_targets() == 3, 30, "three members that are scraped")
        checks.check(True, "Prometheus scrapes all three members")
        wait_for(lambda: {health for _, health, _ in prometheus.rules()} == {"ok"}, 30, "all rules evaluated")
        checks.check(True, f"and evaluates all {len(prometheus.rules())} alerts without an error")
        led = wait_for(lambda: [labels for labels, value in prometheus.query("nornicdb_replication_is_leader") if value == 1], 10, "a leader")
        leader = cluster.leader()
        checks.check([labels["instance"] for labels in led] == [leader.http_url.split("//")[1]], "it knows who leads")
        checks.check(not prometheus.firing(), f"no alert fires while all is well {prometheus.firing() or ''}")
        victim = cluster.followers()[0]
        victim.kill()

        def missed():
            return {labels["instance"] for name, labels in prometheus.firing() if name == "NornicPeerDown" and labels["peer"] == victim.name}
        watching = {m.http_url.split("//")[1] for m in members if m is not victim}
        wait_for(lambda: missed() == watching, 60, "an alert of each that misses the one that was killed")
        checks.check(True, f"NornicPeerDown fires for {victim.name}, which was killed")
        others = {name for name, _ in prometheus.firing()} - {"NornicPeerDown", "NornicMemberDown"}
        checks.check(not others, f"and nothing else does {others or ''}")
        victim.start()
        wait_for(lambda: not prometheus.firing(), 60, "no alert")
        checks.check(True, "once it is back no alert fires any more")


def what_alerts_say():
    """{alert: description}"""
    with open(os.path.join(TOP, "compose/prometheus/alerts.yml"), encoding="utf-8") as file:
        return dict(re.findall(r'- alert: (\w+)\n(?:(?!      - alert:).*\n)*?          description: "(.*)"', file.read()))


def what_to_do():
    """{alert: the last column of its row in docs/operations.md, without marks of Markdown}"""
    with open(os.path.join(TOP, "docs/operations.md"), encoding="utf-8") as file:
        rows = re.findall(r"^\| (`Nornic[^|]*) \| [^|]* \| ([^|]*) \|$", file.read(), re.MULTILINE)
    return {name: re.sub(r"\[([^\]]*)\]\(([^)]*)\)", r"\1 (docs/\2)", text).replace("`", "") for names, text in rows
            for name in re.findall(r"Nornic\w+", names)}


def main():
    checks = Checks()
    doc = promised()
    known = {name for section in doc.values() for name in section}
    checks.check(set(GUIDE) <= known, "docs/metrics.md has all names of the clustering guide")
    checks.check(set(doc) == {"Every member", "With data", "Tracing", "With peers", "Hot standby", "Raft", "Several regions", "With TLS"},
                 "each of its sections is for members that are scraped here")
    told, wanted = what_alerts_say(), what_to_do()
    differ = sorted(name for name in told.keys() | wanted.keys() if told.get(name) != wanted.get(name))
    checks.check(told and not differ, f"each alert says what to do, in the words of docs/operations.md {differ or ''}")
    for path in ("compose/prometheus/alerts.yml", "compose/prometheus/alerts_test.yml", "compose/grafana/dashboards/nornicdb.json"):
        strange = asked_for(path) - known
        checks.check(not strange, f"{path} asks for documented metrics alone {sorted(strange) or ''}")
    texts = scraped_modes(doc, checks)
    found, why = tools()
    if not found:
        checks.skip(why)
        return checks.close()
    promtool, prometheus = found
    for what, text in texts.items():
        lint(promtool, what, text, checks)
    folder = os.path.join(TOP, "compose/prometheus")
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        said = subprocess.run([promtool, *command], cwd=folder, capture_output=True, text=True)
        checks.check(said.returncode == 0, f"promtool {' '.join(command)} {(said.stdout + said.stderr)[-2000:] if said.returncode else ''}")
    for targets in sorted(os.listdir(os.path.join(folder, "targets"))):
        with tempfile.TemporaryDirectory(dir=work_folder()) as together:
            for name in ("prometheus.yml", "alerts.yml", f"targets/{targets}"):
                shutil.copy(os.path.join(folder, name), os.path.join(together, "targets.yml" if "/" in name else name))
            said = subprocess.run([promtool, "check", "config", "prometheus.yml"], cwd=together, capture_output=True, text=True)
        checks.check(said.returncode == 0, f"promtool check config with targets/{targets} {said.stderr[-500:] if said.returncode else ''}")
    alerts_of_a_fault(prometheus, checks)
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
