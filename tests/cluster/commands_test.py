#!/usr/bin/env python3
"""`nornicdb status`, `peers`, `check`, `unbind`, `version` and `completion` as operators and scripts use them, against real members.

Environment: NORNICDB_ONLY=offline,tls,raft,hot_standby,multi_region,unbind picks parts.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import (Checks, HotStandby, MultiRegion, PASSWORD, RaftCluster, Server, ServerFailed, USER, binary, free_port,  # noqa: E402
                     run_scenes, wait_for, work_folder)
from raw_bolt import Connection  # noqa: E402
from tls_common import cluster_tls, have_openssl, make_certificates  # noqa: E402


def run(*arguments, environment=None, stdin=""):
    """Exit code, output and errors of `nornicdb …`, with nothing of this process's own settings."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("NORNICDB_")}
    done = subprocess.run([binary(), *arguments], env={**clean, **(environment or {})}, input=stdin, capture_output=True, text=True,
                          timeout=60)
    return done.returncode, done.stdout, done.stderr


def at(member, *arguments):
    """A command that asks this member."""
    return run(*arguments, "-a", member.http_url, "-u", f"{USER}:{PASSWORD}")


def status(member):
    code, out, err = at(member, "status", "--json")
    return code, json.loads(out) if out else err


def rows(text):
    """The table's rows by their first column."""
    return {line.split()[0]: line for line in text.splitlines() if line.strip()}


def offline(checks):
    code, out, _ = run("version")
    checks.check(code == 0 and out.startswith("nornicdb 0.") and "commit" in out and "log 1" in out, f"version: {out.splitlines()}")
    code, out, _ = run("version", "--json")
    checks.check(code == 0 and {"version", "commit", "build", "compiler", "bolt", "log_format"} <= set(json.loads(out)), "version --json")
    for command in ("status", "peers", "check", "unbind", "version", "completion", "settings", "shell", "serve"):
        code, out, _ = run(command, "--help")
        checks.check(code == 0 and "Usage: nornicdb" in out, f"{command} --help")
    for command in (("status", "--no-such"), ("peers",), ("peers", "add", "x"), ("check", "--no-such", "1"), ("nonsense",), ("completion", "tcsh")):
        code, _, err = run(*command)
        checks.check(code == 2 and err.startswith("nornicdb"), f"{' '.join(command)}: wrong usage is 2: {err.strip()!r}")
    port = free_port()
    code, _, err = run("status", "-a", f"http://127.0.0.1:{port}")
    checks.check(code == 2 and "refused" in err, f"nobody there is 2: {err.strip()!r}")
    code, script, _ = run("completion", "bash")
    words = subprocess.run(["bash", "-c", script + 'COMP_WORDS=(nornicdb pe); COMP_CWORD=1; _nornicdb; echo "${COMPREPLY[@]}"\n'
                            'COMP_WORDS=(nornicdb peers tr); COMP_CWORD=2; _nornicdb; echo "${COMPREPLY[@]}"\n'
                            'COMP_WORDS=(nornicdb serve --bolt-p); COMP_CWORD=2; _nornicdb; echo "${COMPREPLY[@]}"\n'],
                           capture_output=True, text=True, check=True).stdout.splitlines()
    checks.check(words == ["peers", "transfer", "--bolt-port"], f"bash completes commands, their words and options: {words}")
    if shutil.which("zsh"):
        checks.check(subprocess.run(["zsh", "-n"], input=run("completion", "zsh")[1], text=True).returncode == 0, "zsh reads its script")
    if shutil.which("fish"):
        checks.check(subprocess.run(["fish", "-n"], input=run("completion", "fish")[1], text=True).returncode == 0, "fish reads its script")


def tls(checks):
    if not have_openssl():
        checks.skip("no openssl to make certificates with")
        return
    with tempfile.TemporaryDirectory(dir=work_folder()) as folder:
        make_certificates(folder)

        def file(name):
            return os.path.join(folder, name)

        def check(cluster, **settings):
            environment = {"NORNICDB_DATA_DIR": file("data"), "NORNICDB_BOLT_PORT": "0", "NORNICDB_HTTP_PORT": "0"}
            if cluster:
                environment.update({"NORNICDB_CLUSTER_MODE": "raft", "NORNICDB_CLUSTER_BIND_ADDR": f"127.0.0.1:{free_port()}",
                                    "NORNICDB_CLUSTER_ADVERTISE_ADDR": "127.0.0.1:7688", "NORNICDB_CLUSTER_RAFT_BOOTSTRAP": "true"})
            return run("check", environment={**environment, **settings})

        code, out, _ = check(True, **cluster_tls(folder, "good"))
        checks.check(code == 0 and "ok       cluster TLS" in out, f"check: a good certificate ({code}): {out if code else ''}")
        code, out, _ = check(True, **cluster_tls(folder, "soon"))
        checks.check(code == 0 and "expires on" in out, "check: one that ends soon is a warning")
        code, out, _ = check(True, **cluster_tls(folder, "good", key="soon"))
        checks.check(code == 1 and "does not belong to the certificate" in out, "check: a key of another certificate is a problem")
        code, out, _ = check(True, **cluster_tls(folder, "strange"))
        checks.check(code == 1 and "refuse" in out, "check: a certificate that peers do not believe is a problem")
        http = {"NORNICDB_HTTP_TLS_ENABLED": "true", "NORNICDB_HTTP_TLS_CERT": file("good.crt"), "NORNICDB_HTTP_TLS_KEY": file("good.key"),
                "NORNICDB_HTTP_TLS_REQUIRE": "true"}
        with Server(environment=http) as server:
            url = f"https://127.0.0.1:{server.ports['HTTP']}"
            user = ("-u", f"{USER}:{PASSWORD}")
            checks.check(run("status", "-a", url, *user, "--tls-ca", file("ca.crt"))[0] == 0, "status over HTTPS")
            code, _, err = run("status", "-a", url, *user, "--tls-ca", file("other.crt"))
            checks.check(code == 2 and "certificate" in err, f"status refuses a certificate of another authority: {err.strip()!r}")
            checks.check(run("status", "-a", url, *user, "--insecure")[0] == 0, "--insecure takes it")
        with Server(environment={**http, "NORNICDB_HTTP_TLS_CERT": file("soon.crt"), "NORNICDB_HTTP_TLS_KEY": file("soon.key")}) as server:
            checks.check(any("soon.crt' of http expires on" in line for line in server.log), "a server says in its log that its certificate ends soon")


def raft(checks):
    with RaftCluster(3) as cluster:
        leader, (follower, other) = cluster.leader(), cluster.followers()
        code, said = wait_for(lambda: (s := status(follower))[0] == 0 and s, 20, "a cluster that is content")
        checks.check(said["healthy"] and said["leader"]["id"] == leader.name and said["leader"]["since"],
                     f"healthy is 0: {said['problems']}")
        checks.check([(m["id"], m["health"], m["state"], m["lag_seconds"]) for m in said["members"]]
                     == [(f"node-{n}", "ok", "ready", 0) for n in (1, 2, 3)] and sum(m["takes_writes"] for m in said["members"]) == 1,
                     "all members, from any of them")
        code, out, _ = at(other, "status")
        table = rows(out)
        checks.check(code == 0 and "leader" in table[leader.name] and "follower" in table[follower.name] and leader.http_url[7:] in out
                     and "healthy: 3 members" in out, "the same for people")
        environment = {"NORNICDB_HTTP_PORT": str(leader.ports["HTTP"]), "NORNICDB_AUTH": f"{USER}/{PASSWORD}"}
        checks.check(run("status", environment=environment)[0] == 0, "without options the server of this environment is asked")
        with tempfile.NamedTemporaryFile("w", dir=work_folder()) as file:
            file.write(PASSWORD + "\n")
            file.flush()
            checks.check(run("status", "-a", f"127.0.0.1:1,{leader.http_url}", "-u", USER, "--password-file", file.name)[0] == 0,
                         "the first that answers is asked; the password is in a file")
        code, _, err = run("status", "-a", leader.http_url, "-u", "admin:wrong")
        checks.check(code == 2 and "refuses 'admin'" in err, f"a wrong password is 2: {err.strip()!r}")
        # Who runs this in the background has SIGINT ignored, and a child inherits that.
        watch = subprocess.Popen([binary(), "status", "-a", leader.http_url, "--watch", "0.1"], stdout=subprocess.PIPE, text=True,
                                 preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        try:
            seen = [watch.stdout.readline() for _ in range(20)]
            watch.send_signal(signal.SIGINT)
            watch.wait(10)
        finally:
            watch.kill()
        checks.check(sum("raft, cluster" in line for line in seen) >= 2, "--watch looks again")

        code, out, _ = at(follower, "peers", "list")
        checks.check(code == 0 and set(rows(out)) >= {"node-1", "node-2", "node-3"}, "peers list")
        cluster.add("node-4").start()
        code, out, err = at(follower, "peers", "add", "node-4", cluster.address("node-4"))
        checks.check(code == 0, f"peers add, sent to a follower: {out or err}")
        wait_for(lambda: cluster.roles().get("node-4") == "follower", 20, "node-4 to vote")
        code, out, err = at(follower, "peers", "transfer", follower.name)
        checks.check(code == 0 and follower.name in out, f"peers transfer, sent to a follower: {out or err}")
        cluster.wait_until_ready()
        code, out, err = at(follower, "peers", "history")
        checks.check(code == 0 and "leadership over" in out, "peers history")
        code, _, err = at(follower, "peers", "remove", "nobody")
        checks.check(code == 1 and "nobody" in err, f"what is refused is 1: {err.strip()!r}")
        code, _, err = at(follower, "peers", "promote", "--force")
        checks.check(code == 0, f"peers promote of who leads already: {err}")
        code, out, err = at(follower, "peers", "remove", "node-4")
        checks.check(code == 0, f"peers remove: {out or err}")
        cluster["node-4"].kill()
        del cluster.members["node-4"]
        checks.check(at(follower, "peers", "snapshot")[0] == 0, "peers snapshot")

        other.kill()
        code, said = wait_for(lambda: (s := status(follower))[0] == 1 and s, 20, "status to see the loss")
        text = str(said["problems"])
        checks.check(f"{other.name} is down" in text and f"nornicdb peers remove {other.name}" in text and "one more loss" in text,
                     f"degraded is 1: {said['problems'][0]}")
        cluster.leader().kill()
        last = next(m for m in cluster.data_members() if m.running())
        code, said = wait_for(lambda: (s := status(last))[1]["leader"] is None and s, 20, "status to see that nobody leads")
        checks.check(code == 1 and said["problems"][0]["what"].startswith("nobody takes writes") and "recover" in said["problems"][0]["todo"],
                     f"without a majority: {said['problems'][0]}")


    # Addresses for clients that this machine does not reach, as those of a host of containers within them.
    with RaftCluster(3, environment={"NORNICDB_HTTP_ADVERTISE_ADDR": "127.0.0.1:1"}) as cluster:
        follower = cluster.followers()[0]
        code, said = wait_for(lambda: (s := status(follower))[0] == 0 and s, 20, "a cluster that is content")
        checks.check(len(said["notes"]) == 2 and sorted(m["health"] for m in said["members"]) == ["ok", "unreachable", "unreachable"],
                     f"members that cannot be asked from here are notes: {said['notes'][:1]}")
        code, _, err = at(follower, "peers", "remove", "node-9")
        checks.check(code == 1 and "leads" in err, f"where the leader is not reached, what the follower said is shown: {err.strip()!r}")


def hot_standby(checks):
    with HotStandby() as pair:
        code, said = wait_for(lambda: (s := status(pair.standby()))[0] == 0 and s, 20, "a pair that is content")
        checks.check({m["role"] for m in said["members"]} == {"primary", "standby"}, f"a pair: {said['problems']}")
        code, out, err = at(pair.standby(), "peers", "promote")
        checks.check(code == 0, f"peers promote of the standby: {out or err}")
        pair.wait_until_synced()
        primary, standby = pair.primary(), pair.standby()
        standby.kill()
        code, said = wait_for(lambda: (s := status(primary))[0] == 1 and s, 20, "status to see the loss")
        checks.check(any("is down" in p["what"] and "one copy" in p["todo"] for p in said["problems"]), f"a standby that is gone: {said['problems']}")
        code, _, err = at(primary, "peers", "add", "c", "127.0.0.1:1")
        checks.check(code == 1, f"a pair takes no third: {err.strip()!r}")
        checks.check("that of a member in mode ha_standby" in refused(standby.data_dir), "a standby's data is not served alone by mistake")


def multi_region(checks):
    with MultiRegion(("east", "west"), 1) as world:
        east, west = world["east"].leader(), world["west"].leader()
        code, said = wait_for(lambda: (s := status(east))[0] == 0 and s, 20, "the streams between the regions to flow")
        checks.check({m["region"] for m in said["members"]} == {"east", "west"}
                     and {r["name"]: r["primary"] for r in said["regions"]} == {"east": True, "west": False}, f"all regions: {said['problems']}")
        code, out, err = at(west, "peers", "region", "promote")
        checks.check(code == 0, f"peers region promote: {out or err}")
        wait_for(lambda: world.status("east")["primary"] == "west", 20, "the other to hear of it")
        code, out, _ = at(east, "peers", "region", "status")
        checks.check(code == 0 and "true" in rows(out)["west"], "peers region status")
        code, _, err = at(west, "peers", "region", "drop", "east")
        checks.check(code == 1 and "confirm" in err, f"a drop wants --confirm: {err.strip()!r}")
        east.kill()
        code, said = wait_for(lambda: (s := status(west))[0] == 1 and s, 30, "status to see the loss")
        checks.check(any("region east is silent" in p["what"] for p in said["problems"]), f"a region that is gone: {said['problems']}")
        code, out, err = at(west, "peers", "region", "drop", "east", "--confirm", "east")
        checks.check(code == 0, f"peers region drop: {out or err}")
        checks.check(wait_for(lambda: status(west)[0] == 0, 20, "status to be content again"), "a region that was dropped is nobody's worry")


def refused(data_dir, environment=None):
    """Why a standalone server does not start over this data."""
    try:
        with Server(data_dir=data_dir, environment=environment):
            return ""
    except ServerFailed as failed:
        return str(failed)


def count(server):
    with Connection(server.bolt_port) as connection:
        return connection.run("MATCH (n:Kept) RETURN count(n)").rows[0][0]


def unbind(checks):
    with RaftCluster(3) as cluster:
        with Connection(cluster.leader().bolt_port) as connection:
            connection.run("UNWIND range(1, 100) AS i CREATE (:Kept {i: i})")
        cluster.wait_until_ready()
        member = cluster.followers()[0]
        history = member.replication()["history"]
        code, out, _ = run("unbind", "--data-dir", member.data_dir, "--yes")
        checks.check(code == 1, f"unbind refuses a running member: {out.strip().splitlines()[-1]!r}")
        member.stop()
        checks.check("nornicdb unbind" in refused(member.data_dir), "a member's data is not served in another mode by mistake")
        code, out, _ = run("unbind", "--data-dir", member.data_dir, stdin="no\n")
        checks.check(code == 1 and "Nothing was changed" in out, "unbind asks")
        code, out, err = run("unbind", "--data-dir", member.data_dir, stdin=member.name + "\n")
        checks.check(code == 0 and "Done" in out, f"unbind: {err or out.splitlines()[-2:]}")
        with Server(data_dir=member.data_dir) as alone:
            checks.check(count(alone) == 100, "its data is a standalone server's")
            with Connection(alone.bolt_port) as connection:
                connection.run("CREATE (:Kept)")
            alone.stop()
        # As a standalone server it was given a name.
        checks.check(run("unbind", "--data-dir", member.data_dir, "--yes")[0] == 0, "a standalone server forgets its name, too")
        with RaftCluster(2, start=False) as other:
            shutil.rmtree(other["node-1"].data_dir)
            os.rename(member.data_dir, other["node-1"].data_dir)
            other.start()
            other.wait_until_ready()
            checks.check(all(count(m) == 101 for m in other.data_members()), "and the first of another group, whose members get it")
            checks.check(other["node-1"].replication()["history"] != history, "of another history")
        os.makedirs(member.data_dir, exist_ok=True)
    code, out, _ = run("unbind", "--data-dir", os.path.join(work_folder(), "no-such"), "--yes")
    checks.check(code == 1 and "no member's data directory" in out, "unbind of nothing")


def check_command(checks):
    with tempfile.TemporaryDirectory(dir=work_folder()) as folder, Server() as server:
        good = {"NORNICDB_DATA_DIR": folder, "NORNICDB_BOLT_PORT": "0", "NORNICDB_HTTP_PORT": "0"}
        code, out, _ = run("check", environment=good)
        checks.check(code == 0 and "No problem found" in out and not os.listdir(folder), f"check of settings that are right: {code}")
        code, out, _ = run("check", "--bolt-port", str(server.bolt_port), environment=good)
        checks.check(code == 1 and "NORNICDB_BOLT_PORT" in out, "a port that is taken")
        code, out, _ = run("check", "--bolt-port", "x", "--log-level", "y", environment=good)
        checks.check(code == 1 and out.count("PROBLEM  settings") == 2, "all settings that are wrong")
        code, out, _ = run("check", environment={**good, "NORNICDB_CLUSTER_MODE": "raft", "NORNICDB_CLUSTER_BIND_ADDR": f"127.0.0.1:{free_port()}",
                                                 "NORNICDB_CLUSTER_RAFT_PEERS": "b:no-such-host.invalid:7688,c:127.0.0.1:1"})
        checks.check("cannot be resolved" in out and "does not answer" in out, "peers that are not there are warnings")


def main():
    checks = Checks()
    run_scenes(checks, {"offline": offline, "check": check_command, "tls": tls, "raft": raft, "hot_standby": hot_standby,
                        "multi_region": multi_region, "unbind": unbind})
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
