"""A TCP proxy between members, for tests that cut, stall or slow a network. Standard library only.

    link = Proxy(target_port)
    link.port            # dial this instead of target_port
    link.cut()           # ends what is open, refuses what comes; restore() lets it through again
    link.stall()         # takes connections and bytes and passes nothing on, as a lost route does
    link.delay(0.05)     # each piece of bytes is passed on so much later
    link.break_all()     # ends what is open; what is dialed next goes through

    net = Junctions({"n1": port, "n2": port})   # one proxy before each member of a cluster, who learns who dials from its Hello
    net.port("n1")              # what the others are told
    net.block("n1", "n2")       # nothing passes from n1 to n2 any more, in either one's connections; the other way it does
    net.cut("n1", "n2")         # their connections end, new ones are refused
    net.heal()

One thread for all proxies of the process.
"""
import asyncio
import json
import socket
import threading

PIECE = 256 * 1024
FLYING_MAX = 512  # pieces


class _Loop:
    """The event loop that all proxies share."""

    _lock = threading.Lock()
    _loop = None

    @classmethod
    def get(cls):
        with cls._lock:
            if cls._loop is None:
                cls._loop = asyncio.new_event_loop()
                threading.Thread(target=cls._loop.run_forever, name="proxies", daemon=True).start()
            return cls._loop


class Proxy:
    def __init__(self, target_port, port=0, host="127.0.0.1"):
        self.target_port = target_port
        self._host = host
        self._loop = _Loop.get()
        self._open = set()  # writers of both ends; touched by the loop alone
        self._mode = "through"
        self._delay = 0.0
        self._passing = None
        self.bytes = 0
        self._listener = socket.create_server((host, port), reuse_port=False)
        self.port = self._listener.getsockname()[1]
        self._run(self._start())

    def cut(self):
        self._run(self._set("cut"))

    def stall(self):
        self._run(self._set("stalled"))

    def restore(self):
        self._run(self._set("through"))

    def delay(self, seconds):
        self._delay = seconds

    def break_all(self):
        self._run(self._close_all())

    def close(self):
        self._run(self._stop())

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _start(self):
        self._passing = asyncio.Event()
        self._passing.set()
        self._server = await asyncio.start_server(self._accept, sock=self._listener)

    async def _stop(self):
        self._server.close()
        await self._close_all()

    async def _set(self, mode):
        self._mode = mode
        if mode == "stalled":
            self._passing.clear()
        else:
            self._passing.set()
        if mode == "cut":
            await self._close_all()

    async def _close_all(self):
        for writer in list(self._open):
            writer.transport.abort()
        self._open.clear()

    async def _accept(self, reader, writer):
        if self._mode == "cut":
            writer.transport.abort()
            return
        self._open.add(writer)
        try:
            await self._passing.wait()
            there, back = await asyncio.open_connection(self._host, self.target_port)
        except OSError:
            writer.transport.abort()
            self._open.discard(writer)
            return
        self._open.add(back)
        for stream in (writer, back):
            stream.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        for stream in (writer, back):
            stream.transport.abort()
            self._open.discard(stream)

    async def _pump(self, reader, writer):
        try:
            while piece := await reader.read(PIECE):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._passing.wait()
                self.bytes += len(piece)
                writer.write(piece)
                await writer.drain()
        except (OSError, ConnectionError):
            pass
        writer.transport.abort()


def hello_name(payload):
    """Whose Hello a first frame is: docs/cluster_protocol.md, field node_id; "" if it is none."""
    if payload[:1] == b"{":
        return json.loads(payload).get("hello", {}).get("node_id", "")
    return _field(_field(payload, 13), 4).decode(errors="replace")


def _field(data, wanted):
    """The bytes of a length-delimited protobuf field; b"" if it is not there."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 2:
            size = varint()
            if key >> 3 == wanted:
                return data[at:at + size]
            at += size
        elif key & 7 == 0:
            varint()
        else:
            at += 8 if key & 7 == 1 else 4
    return b""


class Junctions:
    """A proxy before each member. All addresses of a member are one to a cluster, so a link is told by who dials."""

    def __init__(self, targets, host="127.0.0.1"):
        self._host = host
        self._loop = _Loop.get()
        self._targets, self._listeners, self._servers = {}, {}, {}
        self._cut, self._blocked = set(), set()   # ordered pairs; of the loop alone
        self._changed = None
        self._open = {}           # writer -> (dialer, acceptor)
        self.seconds = {}         # (from, to) -> how much later each piece arrives
        for name, port in targets.items():
            self.add(name, port)

    def add(self, name, target_port):
        self._targets[name] = target_port
        self._listeners[name] = socket.create_server((self._host, 0))
        self._run(self._start(name))

    def port(self, name):
        return self._listeners[name].getsockname()[1]

    def block(self, source, target):
        self._run(self._set(blocked=self._blocked | {(source, target)}))

    def cut(self, one, other):
        self._run(self._set(cut=self._cut | {(one, other), (other, one)}))

    def isolate(self, name, how="cut"):
        """From all others, by `cut` or silently by `block` in both directions."""
        for other in self._targets:
            if other != name:
                getattr(self, how)(name, other)
                if how == "block":
                    self.block(other, name)

    def delay(self, one, other, seconds):
        self.seconds[one, other] = self.seconds[other, one] = seconds

    def heal(self):
        self.seconds.clear()
        self._run(self._set(cut=set(), blocked=set()))

    def close(self):
        self._run(self._stop())

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _start(self, name):
        self._changed = self._changed or asyncio.Condition()
        self._servers[name] = await asyncio.start_server(
            lambda reader, writer: self._accept(name, reader, writer), sock=self._listeners[name])

    async def _stop(self):
        for server in self._servers.values():
            server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _set(self, cut=None, blocked=None):
        self._cut = self._cut if cut is None else cut
        self._blocked = self._blocked if blocked is None else blocked
        for writer, pair in list(self._open.items()):
            if pair in self._cut:
                writer.transport.abort()
        async with self._changed:
            self._changed.notify_all()

    async def _accept(self, name, reader, writer):
        back = None
        try:
            head = await reader.readexactly(4)
            payload = await reader.readexactly(min(int.from_bytes(head, "big"), 1 << 16))
            dialer = hello_name(payload)
            if (dialer, name) in self._cut:
                return
            self._open[writer] = (dialer, name)
            there, back = await asyncio.open_connection(self._host, self._targets[name])
            self._open[back] = (dialer, name)
            for stream in (writer, back):
                stream.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.gather(self._pump(dialer, name, reader, back, head + payload),
                                 self._pump(name, dialer, there, writer, b""))
        except (OSError, ValueError, IndexError, asyncio.IncompleteReadError):
            pass
        finally:
            for stream in (writer, back):
                if stream is not None:
                    stream.transport.abort()
                    self._open.pop(stream, None)

    async def _pump(self, source, target, reader, writer, piece):
        """Reads ahead while pieces are on their way: a delay is latency and not a limit to what passes."""
        flying = asyncio.Queue(FLYING_MAX)
        delivery = asyncio.ensure_future(self._deliver(source, target, flying, writer))
        try:
            while piece or (piece := await reader.read(PIECE)):
                await flying.put((self._loop.time() + self.seconds.get((source, target), 0), piece))
                piece = b""
        except (OSError, ConnectionError):
            pass
        finally:
            if not delivery.done():
                await flying.put((0, b""))
            await delivery
        writer.transport.abort()

    async def _deliver(self, source, target, flying, writer):
        try:
            while True:
                due, piece = await flying.get()
                if not piece:
                    return
                if (wait := due - self._loop.time()) > 0:
                    await asyncio.sleep(wait)
                if (source, target) in self._blocked:
                    async with self._changed:
                        await self._changed.wait_for(lambda: (source, target) not in self._blocked or writer.is_closing())
                writer.write(piece)
                await writer.drain()
        except (OSError, ConnectionError):
            writer.transport.abort()
            while (await flying.get())[1]:  # Whoever reads ends, too, and says so by nothing.
                pass
