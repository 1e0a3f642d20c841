"""A member of a cluster in Python, written from docs/cluster_protocol.md alone: it speaks JSON and proves that it knows the
secret. Standard library only.

    with Peer("127.0.0.1", 7688, "py-1", secret="…") as peer:
        peer.send({"heartbeat": {...}})
        peer.receive("heartbeat_response")
"""
import base64
import hashlib
import hmac
import json
import os
import socket
import struct
import time

LANE_CONTROL, LANE_LOG, LANE_BULK = 0, 1, 2
REJECT_CODES = {1: "VERSION", 2: "CLUSTER_ID", 3: "NODE_ID", 4: "MODE", 5: "PROOF", 6: "MALFORMED", 7: "LIMIT", 8: "STOPPING"}
FRAME_BYTES_MAX = 64 << 20


class Closed(Exception):
    """The other side ended the connection."""


class Rejected(Closed):
    """It said why."""

    def __init__(self, code, reason):
        super().__init__(f"{code}: {reason}")
        self.code, self.reason = code, reason


def frame(payload):
    return struct.pack(">I", len(payload)) + payload


def encode(body):
    return frame(json.dumps(body, separators=(",", ":")).encode())


def part(data):
    return struct.pack(">I", len(data)) + data


def proof(secret, role, dialer_nonce, acceptor_nonce, dialer, acceptor, cluster_id):
    """The 32 bytes of HelloProof; role is b"D" or b"A"."""
    text = b"".join(part(x) for x in (b"nornicdb cluster v1", role, dialer_nonce, acceptor_nonce, dialer.encode(),
                                      acceptor.encode(), cluster_id.encode()))
    return hmac.new(secret.encode(), text, hashlib.sha256).digest()


def body_of(message):
    """The name of a message's body."""
    return next((name for name in message if name != "trace_parent"), None)


class Peer:
    def __init__(self, host, port, node_id, lane=LANE_CONTROL, cluster_id="nornicdb", mode="ha_standby", secret="", seconds=10,
                 hello=None, handshake=True, region=""):
        self.node_id, self.lane, self.cluster_id, self.secret = node_id, lane, cluster_id, secret
        self.region = region
        self.seconds = seconds
        self._mode, self._changes = mode, hello or {}
        self._bytes = b""
        self.other = None  # The acceptor's Hello.
        self.pings = 0
        self._socket = socket.create_connection((host, port), timeout=seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if handshake:
            try:
                self.handshake()
            except BaseException:
                self.close()
                raise

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self._socket.close()

    # ---- Frames ----

    def write(self, data):
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Closed(str(error)) from error

    def send(self, body):
        self.write(encode(body))

    def _read(self, size, deadline):
        while len(self._bytes) < size:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError as error:
                raise TimeoutError(f"nothing came within {self.seconds} s") from error
            except OSError as error:
                raise Closed(str(error)) from error
            if not data:
                raise Closed("end of stream")
            self._bytes += data
        out, self._bytes = self._bytes[:size], self._bytes[size:]
        return out

    def receive_any(self, deadline=None):
        """The next message as it came. Raises Rejected for a Reject, Closed at the end of the stream."""
        deadline = deadline or time.monotonic() + self.seconds
        length, = struct.unpack(">I", self._read(4, deadline))
        if not 0 < length <= FRAME_BYTES_MAX:
            raise ValueError(f"a frame of {length} bytes")
        payload = self._read(length, deadline)
        if payload[:1] != b"{":
            raise ValueError(f"not JSON: {payload[:20]!r}")
        message = json.loads(payload)
        if "reject" in message:
            reject = message["reject"]
            raise Rejected(REJECT_CODES.get(reject.get("code", 0), "?"), reject.get("reason", ""))
        return message

    def receive(self, *wanted):
        """The body of the next message of one of these types. Answers Ping on the way, skips what nobody asked for."""
        deadline = time.monotonic() + self.seconds
        while True:
            message = self.receive_any(deadline)
            name = body_of(message)
            if name == "ping":
                self.pings += 1
                self.send({"pong": {"sequence": message["ping"].get("sequence", "0")}})
            if name in wanted:
                return message[name]

    def wait_closed(self):
        """Reads to the end; the Reject that came before it, or None."""
        try:
            while True:
                self.receive_any()
        except Rejected as rejected:
            return rejected
        except Closed:
            return None

    # ---- Handshake ----

    def hello(self, nonce=b""):
        out = {"version_min": 1, "version_max": 1, "cluster_id": self.cluster_id, "node_id": self.node_id, "mode": self._mode,
               "lane": self.lane, "software_version": "wire_peer"}
        if self.region:
            out["region"] = self.region
        if nonce:
            out["nonce"] = base64.b64encode(nonce).decode()
        out.update(self._changes)
        return {"hello": out}

    def handshake(self):
        nonce = os.urandom(32) if self.secret else b""
        self.send(self.hello(nonce))
        message = self.receive_any()
        if body_of(message) != "hello":
            raise ValueError(f"Hello was expected: {message}")
        self.other = message["hello"]
        if not self.secret:
            return
        theirs = base64.b64decode(self.other.get("nonce", ""))
        names = (nonce, theirs, self.node_id, self.other["node_id"], self.cluster_id)
        if self._mode == self.other.get("mode") == "multi_region" and "" != self.region != self.other.get("region", "") != "":
            names = (nonce, theirs, f"{self.region}/{self.node_id}", f"{self.other['region']}/{self.other['node_id']}",
                     f"{self.cluster_id}\n{self.other['cluster_id']}")
        message = self.receive_any()
        if not hmac.compare_digest(base64.b64decode(message["hello_proof"]["hmac"]), proof(self.secret, b"A", *names)):
            raise ValueError("the other side does not know the secret")
        self.send({"hello_proof": {"hmac": base64.b64encode(proof(self.secret, b"D", *names)).decode()}})
