#!/usr/bin/env python3
"""A full disk: writes are refused with a clear error, reads go on, and once there is room again writes work, without
a restart and without losing what was acknowledged. Needs root (it mounts a small tmpfs); skipped where it may not.
"""
import contextlib
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, Server, ServerFailed, wait_for, work_folder  # noqa: E402
from raw_bolt import BoltError, Connection, Disconnected  # noqa: E402

DISK_MIB = int(os.environ.get("NORNICDB_DISK_MIB", "512"))
LEFT_BYTES = 6 << 20  # What the ballast leaves free.


def write_ballast(path, folder, left=LEFT_BYTES):
    """Fills the disk but for `left` bytes, as another program's files would."""
    with open(path, "wb") as ballast:
        while True:
            disk = os.statvfs(folder)
            room = disk.f_bavail * disk.f_frsize - left
            if room <= 0:
                return
            ballast.write(b"\xff" * min(room, 1 << 20))
            ballast.flush()


@contextlib.contextmanager
def small_disk():
    """The folder of a new one; None where it may not be mounted."""
    folder = tempfile.mkdtemp(prefix="disk-", dir=work_folder())
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", folder], capture_output=True).returncode == 0
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", folder], check=False)
        os.rmdir(folder)


def main():
    checks = Checks()
    with small_disk() as folder:
        if folder is None:
            checks.skip("mounting a small disk is not allowed here")
            return checks.close()
        with Server(data_dir=os.path.join(folder, "data")) as server:
            scenario(server, os.path.join(folder, "ballast"), folder, checks)
    return checks.close()


def scenario(server, ballast, folder, checks):
    connection = Connection(server.bolt_port)
    acknowledged = 0
    refused = None

    def write(kib):
        connection.run("CREATE (:D {i: $i, p: $p})", {"i": acknowledged + 1, "p": "x" * (kib << 10)})

    write(1)
    acknowledged += 1
    write_ballast(ballast, folder)
    deadline = time.monotonic() + 120
    while refused is None and time.monotonic() < deadline:
        try:
            write(256)
            acknowledged += 1
        except BoltError as error:
            refused = error
    checks.check(refused is not None, f"a full disk refuses writes, after {acknowledged}: {refused}")
    if refused is None:
        return
    text = str(refused).lower()
    checks.check(refused.code.startswith("Neo.") and any(word in text for word in ("disk", "space", "full")),
                 f"the error says why: {refused}")
    try:
        count = connection.run("MATCH (n:D) RETURN count(n), max(n.i)").rows[0]
        checks.check(count == [acknowledged, acknowledged], f"reads go on and show the {acknowledged} acknowledged: {count}")
        again = None
        try:
            write(256)
            acknowledged += 1
        except BoltError as error:
            again = error
        checks.check(again is not None, f"it stays refused while the disk is full: {again}")
    except Disconnected as error:
        checks.check(False, f"the server goes on serving: {error}")
        return
    said = server.http("GET", "/ready")
    checks.check(said[0] == 503 and "NORNICDB_DISK_RESERVE" in said[1]["reason"], f"/ready says why and what to do: {said}")
    os.remove(ballast)
    # Load balancers that ask it send no writes before.
    wait_for(lambda: server.http("GET", "/ready")[0] == 200 and server.metric("nornicdb_disk_full") == 0, 10, "/ready, once there is room")
    checks.check(True, "/ready is 200 again without a write")

    def writes_again():
        try:
            write(1)
            return True
        except BoltError:
            return False

    try:
        wait_for(writes_again, 30, "a write after room was made")
        acknowledged += 1
        checks.check(True, "writes work again once there is room, without a restart")
        checks.check(any("There is room on the disk again" in line for line in server.log), "and the log says so")
    except TimeoutError as error:
        checks.check(False, str(error))
    for _ in range(100):
        write(1)
        acknowledged += 1
    connection.close()
    server.kill()
    server.start()
    with Connection(server.bolt_port) as connection:
        count = connection.run("MATCH (n:D) RETURN count(n), max(n.i)").rows[0]
    checks.check(count == [acknowledged, acknowledged], f"after kill -9 all {acknowledged} are there: {count}")
    server.kill()
    write_ballast(ballast, folder, 0)
    try:
        server.start()
        checks.check(False, "it starts without a byte of room")
    except ServerFailed as failed:
        checks.check("is full" in str(failed) and "make room" in str(failed), f"without any room the start is refused, and why: {str(failed)[-300:]}")
    os.remove(ballast)


if __name__ == "__main__":
    sys.exit(main())
