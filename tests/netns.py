"""Members of a cluster in network namespaces of their own, on a bridge: what is cut there is lost in silence, as on a network.

    net = Namespaces(["n1", "n2"])  # needs root and iproute2; available() says whether it works here
    net.prefix("n1")                # the command that runs a program there
    net.host("n1")                  # its address; from here all are reached, whatever is cut between them
    net.block("n1", "n2"); net.cut("n1", "n2"); net.isolate("n1"); net.heal()

The same verbs as proxy.Junctions. A packet that is blocked is dropped where it arrives, by a routing rule for its source.
"""
import atexit
import os
import subprocess

BLOCKS, LOCAL = 5, 10  # Priorities of rules: ours come before the one that takes what is for this host.


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


def available():
    try:
        Namespaces(["probe"]).close()
        return True
    except OSError:
        return False


class Namespaces:
    _count = 0

    def __init__(self, names):
        Namespaces._count += 1
        self._tag = f"{os.getpid() % 100000}x{Namespaces._count}"
        self._net = f"10.{100 + os.getpid() % 100}.{Namespaces._count % 250}"
        self._bridge = f"nb{self._tag}"
        self._numbers = {}
        self._blocked = set()
        atexit.register(self.close)
        try:
            run("ip", "link", "add", self._bridge, "type", "bridge")
            run("ip", "address", "add", f"{self._net}.254/24", "dev", self._bridge)
            run("ip", "link", "set", self._bridge, "up")
            for name in names:
                self.add(name)
        except OSError:
            self.close()
            raise

    def _space(self, name):
        return f"nn{self._tag}-{self._numbers[name]}"

    def add(self, name, _port=None):
        number = self._numbers[name] = len(self._numbers) + 1
        space, here, there = self._space(name), f"vb{self._tag}-{number}"[-15:], "eth0"
        run("ip", "netns", "add", space)
        run("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", space)
        run("ip", "link", "set", here, "master", self._bridge, "up")
        for command in (("address", "add", f"{self.host(name)}/24", "dev", there), ("link", "set", there, "up"),
                        ("link", "set", "lo", "up"), ("rule", "add", "pref", str(LOCAL), "lookup", "local"),
                        ("rule", "delete", "pref", "0")):
            run("ip", "-n", space, *command)

    def host(self, name):
        return f"{self._net}.{self._numbers[name]}"

    def prefix(self, name):
        return ["ip", "netns", "exec", self._space(name)]

    def block(self, source, target):
        """What source sends does not reach target."""
        if (source, target) not in self._blocked:
            self._blocked.add((source, target))
            run("ip", "-n", self._space(target), "rule", "add", "pref", str(BLOCKS), "from", self.host(source), "blackhole")

    def cut(self, one, other):
        self.block(one, other)
        self.block(other, one)

    def isolate(self, name, _how="cut"):
        for other in self._numbers:
            if other != name:
                self.cut(name, other)

    def delay(self, one, other, seconds):
        """Not here: kernels of containers have no netem."""

    def heal(self):
        for source, target in self._blocked:
            run("ip", "-n", self._space(target), "rule", "delete", "pref", str(BLOCKS), "from", self.host(source), "blackhole")
        self._blocked.clear()

    def close(self):
        for name in list(self._numbers):
            subprocess.run(["ip", "netns", "delete", self._space(name)], capture_output=True)
            del self._numbers[name]
        subprocess.run(["ip", "link", "delete", self._bridge], capture_output=True)
        atexit.unregister(self.close)
