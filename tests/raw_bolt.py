"""A small Bolt client of the tests' own (5.4, or another version), standard library only: several times cheaper than a full
driver, and it can break the rules on purpose. Values: None, bool, int, float, str, bytes, list, dict; structures come as Structure.
"""
import collections
import socket
import struct

Structure = collections.namedtuple("Structure", "tag fields")
Result = collections.namedtuple("Result", "fields rows summary")

HELLO, LOGON, GOODBYE, RESET, RUN, BEGIN, COMMIT, ROLLBACK, DISCARD, PULL, ROUTE = (
    0x01, 0x6A, 0x02, 0x0F, 0x10, 0x11, 0x12, 0x13, 0x2F, 0x3F, 0x66)
SUCCESS, RECORD, IGNORED, FAILURE = 0x70, 0x71, 0x7E, 0x7F


class BoltError(Exception):
    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message

    def transient(self):
        return self.code.startswith("Neo.TransientError.")


class Disconnected(Exception):
    """The connection ended; whether what was asked happened is not known."""


def pack(value, out):
    if value is None:
        out.append(0xC0)
    elif value is True or value is False:
        out.append(0xC3 if value else 0xC2)
    elif isinstance(value, int):
        if -16 <= value < 128:
            out += struct.pack(">b", value)
        elif -(1 << 7) <= value < (1 << 7):
            out += struct.pack(">Bb", 0xC8, value)
        elif -(1 << 15) <= value < (1 << 15):
            out += struct.pack(">Bh", 0xC9, value)
        elif -(1 << 31) <= value < (1 << 31):
            out += struct.pack(">Bi", 0xCA, value)
        else:
            out += struct.pack(">Bq", 0xCB, value)
    elif isinstance(value, float):
        out += struct.pack(">Bd", 0xC1, value)
    elif isinstance(value, str):
        data = value.encode()
        _size(out, len(data), 0x80, 0xD0)
        out += data
    elif isinstance(value, (bytes, bytearray)):
        _size(out, len(value), None, 0xCC)
        out += value
    elif isinstance(value, Structure):
        out += bytes((0xB0 + len(value.fields), value.tag))
        for field in value.fields:
            pack(field, out)
    elif isinstance(value, (list, tuple)):
        _size(out, len(value), 0x90, 0xD4)
        for item in value:
            pack(item, out)
    elif isinstance(value, dict):
        _size(out, len(value), 0xA0, 0xD8)
        for key, item in value.items():
            pack(key, out)
            pack(item, out)
    else:
        raise TypeError(f"no PackStream form for {type(value).__name__}")


def _size(out, size, tiny, wide):
    if tiny is not None and size < 16:
        out.append(tiny + size)
    elif size < 1 << 8:
        out += struct.pack(">BB", wide, size)
    elif size < 1 << 16:
        out += struct.pack(">BH", wide + 1, size)
    else:
        out += struct.pack(">BI", wide + 2, size)


def unpack(data, at=0):
    """Returns (value, offset behind it)."""
    mark = data[at]
    at += 1
    high = mark & 0xF0
    if mark < 0x80:
        return mark, at
    if mark >= 0xF0:
        return mark - 256, at
    if high == 0x80:
        return data[at:at + (mark & 15)].decode(), at + (mark & 15)
    if high == 0x90:
        return _items(data, at, mark & 15)
    if high == 0xA0:
        return _entries(data, at, mark & 15)
    if high == 0xB0:
        tag = data[at]
        fields, at = _items(data, at + 1, mark & 15)
        return Structure(tag, fields), at
    if mark in _FIXED:
        return _FIXED[mark], at
    if mark in _NUMBERS:
        form = _NUMBERS[mark]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    base = mark & 0xFC  # CC, D0, D4, D8: bytes, string, list, map with a size of 1, 2 or 4 bytes.
    form = (">B", ">H", ">I")[mark & 3]
    size = struct.unpack_from(form, data, at)[0]
    at += struct.calcsize(form)
    if base == 0xCC:
        return bytes(data[at:at + size]), at + size
    if base == 0xD0:
        return data[at:at + size].decode(), at + size
    return _items(data, at, size) if base == 0xD4 else _entries(data, at, size)


_FIXED = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS = {0xC1: ">d", 0xC8: ">b", 0xC9: ">h", 0xCA: ">i", 0xCB: ">q"}


def _items(data, at, count):
    items = []
    for _ in range(count):
        item, at = unpack(data, at)
        items.append(item)
    return items, at


def _entries(data, at, count):
    entries = {}
    for _ in range(count):
        key, at = unpack(data, at)
        entries[key], at = unpack(data, at)
    return entries, at


class Connection:
    def __init__(self, port, host="127.0.0.1", user="admin", password="admin", timeout=60, version=(5, 4), **hello):
        """`hello` are further entries of HELLO, as routing={"address": "…"}."""
        self._buffer = bytearray()
        try:
            self._socket = socket.create_connection((host, port), timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wanted = bytes((0, 0, version[1], version[0]))
            self._socket.sendall(bytes.fromhex("6060B017") + wanted + bytes(12))
            agreed = self._take(4)
        except OSError as error:
            raise Disconnected(str(error)) from error
        if agreed != wanted:
            raise Disconnected(f"no common Bolt version: {agreed.hex()}")
        hello.update(user_agent="nornicdb-tests/1", bolt_agent={"product": "nornicdb-tests/1"})
        login = {"scheme": "basic", "principal": user, "credentials": password}
        separate = version >= (5, 1)
        self.send(HELLO, hello if separate else {**hello, **login})
        if separate:
            self.send(LOGON, login)
        self.flush()
        self.hello = self.answer()
        self.logon = self.answer() if separate else {}

    def close(self):
        try:
            self._socket.close()
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, tag, *fields):
        """Adds a message to what the next flush writes."""
        message = bytearray()
        pack(Structure(tag, fields), message)
        for start in range(0, len(message), 65535):
            chunk = message[start:start + 65535]
            self._buffer += struct.pack(">H", len(chunk)) + chunk
        self._buffer += b"\0\0"

    def flush(self):
        try:
            self._socket.sendall(self._buffer)
        except OSError as error:
            raise Disconnected(str(error)) from error
        finally:
            self._buffer = bytearray()

    _read_buffer = b""
    _read_at = 0

    def _take(self, count):
        while len(self._read_buffer) - self._read_at < count:
            try:
                more = self._socket.recv(262144)
            except OSError as error:
                raise Disconnected(str(error)) from error
            if not more:
                raise Disconnected("the server closed the connection")
            self._read_buffer = self._read_buffer[self._read_at:] + more
            self._read_at = 0
        data = self._read_buffer[self._read_at:self._read_at + count]
        self._read_at += count
        return data

    def receive(self):
        """The next message, as a Structure."""
        message = b""
        while True:
            size = struct.unpack(">H", self._take(2))[0]
            if size:
                message += self._take(size)
            elif message:
                return unpack(message)[0]

    def answer(self, rows=None):
        """Reads to the next summary; returns its metadata, adds records to rows. Raises BoltError after a FAILURE."""
        while True:
            message = self.receive()
            if message.tag == RECORD:
                if rows is not None:
                    rows.append(message.fields[0])
            elif message.tag == SUCCESS:
                return message.fields[0]
            elif message.tag == FAILURE:
                said = message.fields[0]
                raise BoltError(said.get("code") or said["neo4j_code"], said["message"])
            else:
                raise BoltError("IGNORED", "the server ignored the request")

    def reset(self):
        self.send(RESET)
        self.flush()
        self.answer()

    def run(self, query, parameters=None, **extra):
        """One statement, all its rows. A BoltError leaves the connection usable (it is reset)."""
        self.send(RUN, query, parameters or {}, extra)
        self.send(PULL, {"n": -1})
        self.flush()
        rows = []
        try:
            head = self.answer()
        except BoltError:
            try:
                self.answer()  # PULL was ignored.
            except BoltError:
                pass
            self.reset()
            raise
        try:
            summary = self.answer(rows)
        except BoltError:
            self.reset()
            raise
        return Result(head["fields"], rows, summary)

    def begin(self, **extra):
        self._simple(BEGIN, extra)

    def commit(self):
        return self._simple(COMMIT)

    def rollback(self):
        self._simple(ROLLBACK)

    def _simple(self, tag, *fields):
        self.send(tag, *fields)
        self.flush()
        try:
            return self.answer()
        except BoltError:
            self.reset()
            raise
