"""A trace collector for tests: takes OTLP over HTTP (protobuf) and keeps the spans. Standard library only.

    with Collector() as collector:
        collector.endpoint                      # for OTEL_EXPORTER_OTLP_ENDPOINT
        collector.wait_for_trace(trace_id, 5)   # its spans, once there are so many and no more come
        collector.answer = 503                  # or 400; or collector.delay = 2

The decoder knows what the specification's opentelemetry/proto/trace/v1 has, by field numbers, and complains about the rest.
"""
import http.server
import struct
import threading
import time


class Malformed(Exception):
    """The bytes are no protobuf message of the kind that was expected."""


def _varint(data, at):
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise Malformed("a varint that does not end")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def fields(data):
    """(number, value) of each field: an int for varints and fixed ones, bytes for the others."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(data, at)
        elif kind == 1:
            value, at = struct.unpack_from("<Q", data, at)[0], at + 8
        elif kind == 2:
            size, at = _varint(data, at)
            value, at = data[at:at + size], at + size
            if len(value) != size:
                raise Malformed("a field that is longer than its message")
        elif kind == 5:
            value, at = struct.unpack_from("<I", data, at)[0], at + 4
        else:
            raise Malformed(f"wire type {kind}")
        yield number, value


def _value(data):
    for number, value in fields(data):
        if number == 1:
            return value.decode()
        if number == 2:
            return bool(value)
        if number == 3:
            return value - (1 << 64) if value >> 63 else value
        raise Malformed(f"AnyValue with field {number}")
    return None


def _pair(data):
    parts = dict(fields(data))
    return parts[1].decode(), _value(parts.get(2, b""))


class Span:
    """One span; ids are hex, times nanoseconds since 1970, parent is "" for a root."""

    def __init__(self, data, resource):
        self.resource, self.attributes = resource, {}
        self.trace_id = self.id = self.parent = self.name = self.error = ""
        self.kind = self.start = self.end = self.flags = 0
        self.failed = False
        for number, value in fields(data):
            if number in (1, 2, 4):
                setattr(self, {1: "trace_id", 2: "id", 4: "parent"}[number], value.hex())
            elif number == 5:
                self.name = value.decode()
            elif number in (6, 7, 8, 16):
                setattr(self, {6: "kind", 7: "start", 8: "end", 16: "flags"}[number], value)
            elif number == 9:
                key, found = _pair(value)
                self.attributes[key] = found
            elif number == 15:
                status = dict(fields(value))
                self.failed = status.get(3) == 2
                self.error = status.get(2, b"").decode()
            else:
                raise Malformed(f"Span with field {number}")
        if len(self.trace_id) != 32 or len(self.id) != 16 or len(self.parent) not in (0, 16):
            raise Malformed(f"ids of {self.name}: {self.trace_id} {self.id} {self.parent}")

    @property
    def node(self):
        return self.resource.get("service.instance.id")

    def __repr__(self):
        return f"{self.node}/{self.name}"


def decode(body):
    """The spans of an ExportTraceServiceRequest."""
    spans = []
    for number, value in fields(body):
        if number != 1:
            raise Malformed(f"ExportTraceServiceRequest with field {number}")
        resource, scopes = {}, []
        for inner, part in fields(value):
            if inner == 1:
                resource = dict(_pair(pair) for n, pair in fields(part) if n == 1)
            elif inner == 2:
                scopes.append(part)
        for scope in scopes:
            spans += [Span(part, resource) for inner, part in fields(scope) if inner == 2]
    return spans


class Collector:
    def __init__(self, port=0):
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):  # pylint: disable=invalid-name
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(collector.delay)
                if collector.answer == 200:
                    collector.take(self.path, dict(self.headers), body)
                answer = b"" if collector.answer == 200 else b"not now"
                try:
                    self.send_response(collector.answer)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                except OSError:
                    self.close_connection = True  # Whoever sent it waits no more.

            def log_message(self, *_):
                pass

        self.answer, self.delay = 200, 0
        self.spans, self.requests, self.problems = [], [], []
        self._lock = threading.Lock()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def take(self, path, headers, body):
        try:
            spans = decode(body)
        except (Malformed, UnicodeDecodeError, KeyError, struct.error) as error:
            spans = []
            self.problems.append(repr(error))
        with self._lock:
            self.requests.append((path, headers))
            self.spans += spans

    def trace(self, trace_id):
        with self._lock:
            return [span for span in self.spans if span.trace_id == trace_id]

    def wait_for_trace(self, trace_id, done, seconds=20):
        """Its spans once done(spans) is true; what there is by then if it never is."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            spans = self.trace(trace_id)
            if done(spans):
                return spans
            time.sleep(0.05)
        return self.trace(trace_id)
