"""A TCP proxy between members, for tests that cut, stall or slow a network. Standard library only.

    link = Proxy(target_port)
    link.port            # dial this instead of target_port
    link.cut()           # ends what is open, refuses what comes; restore() lets it through again
    link.stall()         # takes connections and bytes and passes nothing on, as a lost route does
    link.delay(0.05)     # each piece of bytes is passed on so much later
    link.break_all()     # ends what is open; what is dialed next goes through

One thread for all proxies of the process.
"""
import asyncio
import socket
import threading

PIECE = 256 * 1024


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
