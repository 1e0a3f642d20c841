#!/usr/bin/env python3
"""A peer that was written from docs/cluster_protocol.md alone talks JSON to a real member: the handshake with and without the
secret, who is refused and why, heartbeats and their answers, the first entries of a log, and nonsense that harms nobody.
"""
import os
import random
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import Checks, Server, ServerFailed, binary, free_port, wait_for  # noqa: E402
import wire_peer  # noqa: E402
from wire_peer import LANE_BULK, LANE_CONTROL, LANE_LOG, Closed, Peer, Rejected, encode, frame  # noqa: E402

SECRET = "correct horse battery staple 2026"
CLUSTER = "wire-test"
checks = Checks()


def member(role, cluster_port, peer_port, secret=SECRET):
    environment = {"NORNICDB_CLUSTER_MODE": "ha_standby", "NORNICDB_CLUSTER_NODE_ID": "a", "NORNICDB_CLUSTER_HA_ROLE": role,
                   "NORNICDB_CLUSTER_BIND_ADDR": f"127.0.0.1:{cluster_port}",
                   "NORNICDB_CLUSTER_HA_PEER_ADDR": f"127.0.0.1:{peer_port}", "NORNICDB_CLUSTER_RAFT_CLUSTER_ID": CLUSTER,
                   "NORNICDB_CLUSTER_HA_HEARTBEAT_MS": "50", "NORNICDB_CLUSTER_HA_FAILOVER_TIMEOUT": "3s"}
    if secret:
        environment["NORNICDB_CLUSTER_REPLICATION_SECRET"] = secret
    return Server(environment=environment)


def check_worked_example():
    nonces = bytes(range(32)), bytes(range(32, 64))
    for role, want in ((b"D", "cb2b0d85509feff365a18a2222936a49e82ff414112ab3f1f87c7fd021ad0648"),
                       (b"A", "4878ca19043cddca4228e1ed8b79dcf575a9d592bb978085aa166e4478127819")):
        got = wire_peer.proof(SECRET, role, *nonces, "standby-1", "primary-1", "prod").hex()
        checks.check(got == want, f"the page's example of a proof, role {role.decode()}")


def refused(port, what, code, word, **changes):
    arguments = {"node_id": "py", "cluster_id": CLUSTER, "secret": SECRET, **changes}
    try:
        with Peer("127.0.0.1", port, **arguments) as peer:
            reject = peer.wait_closed()
            checks.check(reject is not None and reject.code == code and word in reject.reason, f"{what}: {reject}")
    except Rejected as reject:
        checks.check(reject.code == code and word in reject.reason, f"{what}: {reject}")
    except (Closed, TimeoutError, ValueError) as error:
        checks.check(False, f"{what} is rejected with {code}: {type(error).__name__}: {error}")


def check_refusals(port):
    refused(port, "another cluster", "CLUSTER_ID", "cluster 'other'", cluster_id="other")
    refused(port, "another mode", "MODE", "NORNICDB_CLUSTER_MODE", mode="raft")
    refused(port, "the member's own name", "NODE_ID", "'a'", node_id="a")
    refused(port, "no name", "MALFORMED", "node id", node_id="")
    refused(port, "another version", "VERSION", "versions 2 to 3", hello={"version_min": 2, "version_max": 3})
    refused(port, "no secret", "PROOF", "NORNICDB_CLUSTER_REPLICATION_SECRET", secret="")
    # A wrong one: the member's own proof does not fit, and ours is refused.
    with Peer("127.0.0.1", port, "py", cluster_id=CLUSTER, secret=SECRET + "!", handshake=False) as peer:
        try:
            peer.handshake()
            checks.check(False, "a wrong secret ends the handshake")
        except ValueError as error:
            checks.check("does not know the secret" in str(error), "the peer sees that the secrets differ")
        peer.send({"hello_proof": {"hmac": "AAAA"}})
        reject = peer.wait_closed()
        checks.check(reject is not None and reject.code == "PROOF", f"a wrong proof is refused: {reject}")
    # What the member said itself proves nothing.
    with Peer("127.0.0.1", port, "py", cluster_id=CLUSTER, secret=SECRET, handshake=False) as peer:
        peer.send(peer.hello(os.urandom(32)))
        peer.receive_any()
        peer.send(peer.receive_any())
        reject = peer.wait_closed()
        checks.check(reject is not None and reject.code == "PROOF", f"the member's own proof is no proof: {reject}")


def garbage(seed):
    rng = random.Random(seed)
    hello = encode({"hello": {"version_min": 1, "version_max": 1, "cluster_id": CLUSTER, "node_id": "g", "mode": "ha_standby"}})
    yield b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    yield bytes.fromhex("1603010200010001fc0303") + bytes(200)
    yield bytes.fromhex("6060b017000001050000000000000000")
    yield struct.pack(">I", 0)
    yield struct.pack(">I", 0xffffffff)
    yield struct.pack(">I", (16 << 10) + 1) + bytes(16 << 10)
    yield frame(b"{" * 10000)
    yield frame(b'{"hello":' * 1000)
    yield frame(b'{"hello":{"node_id":"' + b"x" * 10000 + b'"}}')
    yield frame(b'{"hello":{"node_id":"\xff\xfe"}}')
    yield frame(b'{"hello":{}}{"hello":{}}')
    yield frame(b'{"heartbeat":{"epoch":99}}')
    yield frame(b'{"fence":{"epoch":"18446744073709551615","forced":true,"candidate_id":"g"}}')
    yield hello + frame(b'{"fence":{"epoch":"99","forced":true,"candidate_id":"g"}}')
    for _ in range(200):
        kind = rng.randrange(4)
        if kind == 0:
            yield rng.randbytes(rng.randrange(1, 2000))
        elif kind == 1:
            yield frame(rng.randbytes(rng.randrange(1, 2000)))
        elif kind == 2:
            damaged = bytearray(hello)
            for _ in range(rng.randrange(1, 8)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            yield bytes(damaged)
        else:
            yield hello[:rng.randrange(len(hello))]


def check_garbage(server, port, seed):
    for data in garbage(seed):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
            try:
                raw.sendall(data)
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(1 << 16):
                    pass
            except TimeoutError:
                checks.check(False, f"garbage is neither answered nor closed: {data[:60]!r}")
            except OSError:
                pass  # A reset is an answer, too.
    checks.check(server.running(), f"the member survives garbage (seed {seed})")


class Standby:
    """What a standby answers, with a log of its own in memory."""

    def __init__(self, port):
        self.control = Peer("127.0.0.1", port, "py", LANE_CONTROL, CLUSTER, secret=SECRET)
        self.log = Peer("127.0.0.1", port, "py", LANE_LOG, CLUSTER, secret=SECRET)
        self.entries = []
        self.epoch = 0

    def close(self):
        self.control.close()
        self.log.close()

    def answer_heartbeat(self, beat):
        self.epoch = max(self.epoch, int(beat.get("epoch", 0)))
        last = len(self.entries)
        self.control.send({"heartbeat_response": {
            "epoch": str(self.epoch), "sequence": beat.get("sequence", "0"), "primary_id": beat.get("primary_id", ""),
            "received_index": str(last), "persisted_index": str(last), "applied_index": str(last), "last_index": str(last),
            "last_epoch": self.entries[-1].get("term", "0") if self.entries else "0", "in_sync": beat.get("in_sync", False),
            "history": beat.get("history", "") if self.entries else ""}})

    def take_batch(self, batch):
        previous = int(batch.get("previous_index", 0))
        response = {"epoch": batch.get("epoch", "0"), "probe": batch.get("probe", "0")}
        if previous > len(self.entries):
            response.update(outcome=2, try_index=str(len(self.entries) + 1))
        else:
            for entry in batch.get("entries", []):
                if int(entry["index"]) == len(self.entries) + 1:
                    self.entries.append(entry)
        response.update(received_index=str(len(self.entries)), persisted_index=str(len(self.entries)))
        self.log.send({"wal_batch_response": response})
        return batch.get("entries", [])


def check_primary():
    """The member leads, the Python peer follows: it is told so, is sent the log, and learns of the peer's end."""
    port = free_port()
    with member("primary", port, free_port()) as server:
        check_refusals(port)
        check_garbage(server, port, seed=int(os.environ.get("NORNICDB_SEED", "7")))
        standby = Standby(port)
        hello = standby.control.other
        checks.check(hello.get("node_id") == "a" and hello.get("mode") == "ha_standby" and hello.get("lane", 0) == 0
                     and ":" in hello.get("bolt_address", ""), "the member says who it is")
        checks.check(standby.log.other.get("lane") == LANE_LOG, "the member repeats the lane")

        standby.control.send({"ping": {"sequence": "77"}})
        checks.check(standby.control.receive("pong").get("sequence") == "77", "Ping is answered")

        # One that has just started asks who leads; an empty member has nothing that could be newer.
        standby.control.send({"heartbeat": {"epoch": "0", "sequence": "5", "leading": False}})
        answer = standby.control.receive("heartbeat_response")
        checks.check(answer.get("sequence") == "5", "Heartbeat is answered by its sequence")

        def leads():
            beat = standby.control.receive("heartbeat", "fence")
            if "candidate_id" in beat:  # Neither led: the member asks for consent.
                standby.control.send({"fence_response": {"epoch": beat["epoch"], "accepted": True, "fence_epoch": beat["epoch"],
                                                         "planned": beat.get("planned", False)}})
                return None
            standby.answer_heartbeat(beat)
            return beat if beat.get("leading") else None

        beat = wait_for(leads, what="a primary's heartbeat")
        checks.check(beat["primary_id"] == "a" and int(beat["epoch"]) >= 1, f"the primary says so: {beat}")
        batch = standby.log.receive("wal_batch")
        checks.check(batch.get("epoch") == beat["epoch"] and batch.get("history", "") != "", "the primary asks where the logs meet")
        standby.take_batch(batch)
        batch = standby.log.receive("wal_batch", "wal_batch_response")
        entries = standby.take_batch(batch)
        checks.check([int(e["index"]) for e in entries] == list(range(1, len(entries) + 1)) and len(entries) > 0,
                     f"the primary sends its log from entry 1: {len(entries)} entries")
        checks.check(entries[0].get("kind", 0) == 0 and entries[0].get("payload", "") == "", "the first entry of an epoch does nothing")

        bulk = Peer("127.0.0.1", port, "py", LANE_BULK, CLUSTER, secret=SECRET)
        bulk.send({"snapshot_begin": {"epoch": beat["epoch"], "snapshot_id": "x", "index": "1000", "history": "foreign"}})
        answer = bulk.receive("snapshot_response")
        checks.check(answer.get("outcome") == 2 and answer.get("reason"), f"a primary takes no snapshot: {answer.get('reason')}")
        bulk.close()

        standby.log.send({"wal_batch": {"epoch": "0", "history": batch["history"]}})
        answer = standby.log.receive("wal_batch_response")
        checks.check(answer.get("outcome") == 1, f"a batch of an old epoch is refused: {answer}")

        # A second process of the same name, while the first is alive.
        refused(port, "a second process of one name", "NODE_ID", "another process", hello={"instance": "12345"})

        standby.close()
        wait_for(lambda: any("'py' is not connected any more" in line for line in server.log), what="the loss in the log")
        checks.check(True, "the member notices that the peer has gone")
        checks.check(server.stop() == 0, "the member stops in an orderly way")


def check_without_secret():
    port = free_port()
    with member("standby", port, free_port(), secret="") as server:
        checks.check(any("members prove nothing to each other" in line for line in server.log), "a start without proof is warned of")
        with Peer("127.0.0.1", port, "py", cluster_id=CLUSTER) as peer:
            checks.check(peer.other.get("nonce", "") == "", "no proof is asked for")
            peer.send({"heartbeat": {"epoch": "3", "sequence": "1", "leading": True, "primary_id": "py"}})
            answer = peer.receive("heartbeat_response")
            checks.check(answer.get("epoch") == "3" and answer.get("primary_id") == "py", f"a standby follows: {answer}")
            began = time.monotonic()
            peer.send({"lane_switch": {"generation": "1"}})
            peer.write(frame(b'{"of_a_later_version":{"a":[1,2,{"b":null}]}}'))
            peer.send({"heartbeat": {"epoch": "3", "sequence": "2", "leading": True, "primary_id": "py", "later": 1}})
            answer = peer.receive("heartbeat_response")
            checks.check(answer.get("sequence") == "2", "what a later version says is skipped")
            checks.check(time.monotonic() - began < 5, "at once")
            peer.send({"heartbeat": {"epoch": "2", "sequence": "3", "leading": True, "primary_id": "old"}})
            answer = peer.receive("heartbeat_response")
            checks.check(answer.get("epoch") == "3", "an old epoch is told of the newer one")
        # A peer that says nothing more is given up.
        silent = Peer("127.0.0.1", port, "py", cluster_id=CLUSTER, seconds=30)
        checks.check(silent.wait_closed() is None, "a silent peer's connection is closed")
        silent.close()


def check_region():
    """A peer of another region: another cluster and an equal name do no harm, and it is told who leads there."""
    port = free_port()
    environment = {"NORNICDB_CLUSTER_MODE": "multi_region", "NORNICDB_CLUSTER_NODE_ID": "node-1",
                   "NORNICDB_CLUSTER_REGION_ID": "east", "NORNICDB_CLUSTER_REMOTE_REGIONS": f"west:127.0.0.1:{free_port()}",
                   "NORNICDB_CLUSTER_BIND_ADDR": f"127.0.0.1:{port}", "NORNICDB_CLUSTER_RAFT_CLUSTER_ID": CLUSTER,
                   "NORNICDB_CLUSTER_RAFT_BOOTSTRAP": "true", "NORNICDB_CLUSTER_REPLICATION_SECRET": SECRET}
    of_west = {"node_id": "node-1", "cluster_id": "group-west", "mode": "multi_region", "region": "west"}
    with Server(environment=environment) as server:
        for what, code, word, changes in (
                ("another mode", "CLUSTER_ID", "cluster 'group-west'", {"mode": "raft"}),
                ("no region", "CLUSTER_ID", "cluster 'group-west'", {"region": ""}),
                ("this region in another cluster", "CLUSTER_ID", "cluster 'group-west'", {"region": "east"}),
                ("a slash in the name", "MALFORMED", "slash", {"node_id": "a/b"}),
                ("a slash in the region", "MALFORMED", "slash", {"region": "we/st"}),
                ("no secret", "PROOF", "NORNICDB_CLUSTER_REPLICATION_SECRET", {"secret": ""})):
            refused(port, f"region: {what}", code, word, **{**of_west, **changes})
        with Peer("127.0.0.1", port, secret=SECRET, **of_west) as peer:
            checks.check(peer.other.get("region") == "east", "the member says its region")

            def leads():
                status = peer.receive("region_status")
                return status if status.get("leads") else None

            status = wait_for(leads, what="a leader's RegionStatus")
            checks.check(status["region"] == "east" and status.get("leader_id") == "node-1" and status.get("configured") == ["east", "west"],
                         f"the member tells who leads its region: {status}")
            peer.send({"vote_request": {"term": "1000", "candidate_id": "node-1"}})  # What groups say among themselves.
            peer.send({"region_status": {"region": "west", "term": "1", "leads": True, "leader_id": "node-1",
                                         "configured": ["east", "west"], "pristine": True, "history": "of-west"}})

            def formed():
                status = peer.receive("region_status")
                return status if status.get("regions") else None

            status = wait_for(formed, what="a directory of regions")
            checks.check([(row["number"], row["name"]) for row in status["regions"]] == [(1, "east"), (2, "west")],
                         f"regions are numbered by name: {status['regions']}")
            checks.check(int(status["term"]) < 1000, "no vote is asked for across regions")
            # The member may still be busy with the proof on the lane of the answers, and drops them until then: a region asks again.
            with Peer("127.0.0.1", port, secret=SECRET, lane=LANE_LOG, seconds=0.2, **of_west) as log:
                def answered():
                    peer.send({"region_pull": {"stream": "77", "cursor": "0", "number": 2, "window": 4}})
                    try:
                        return log.receive("region_batch", "region_ack")
                    except TimeoutError:
                        peer.receive("region_status")  # Pings are answered on the way: the member gives up who is silent.
                        return None

                answer = wait_for(answered, what="an answer to a RegionPull")
                checks.check(answer.get("stream") == "77", f"a stream begins, or it is told why not: {answer}")
        wait_for(lambda: any("'west/node-1' is not connected any more" in line for line in server.log), what="the loss in the log")
        checks.check(server.stop() == 0, "the member stops in an orderly way")


def main():
    check_worked_example()
    if not os.path.exists(binary()):
        checks.skip(f"{binary()} is not built")
        return checks.close()
    try:
        check_primary()
        check_without_secret()
        check_region()
    except (ServerFailed, Closed, TimeoutError, ValueError) as error:
        checks.check(False, f"{type(error).__name__}: {error}")
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
