#!/usr/bin/env python3
"""`nornicdb shell` as a person and as a script use it: statements from standard input, a file, the command line and a
terminal; formats; parameters; transactions; exit codes."""
import json
import os
import pty
import select
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import PASSWORD, USER, Checks, Server, binary, wait_for, work_folder  # noqa: E402
from raw_bolt import Connection  # noqa: E402


class Terminal:
    """A shell on a pseudo terminal: types lines and waits for text."""

    def __init__(self, command, home):
        self.child, self.fd = pty.fork()
        if self.child == 0:
            os.environ.update(HOME=home, TERM="dumb")
            os.execv(command[0], command)
        self.seen = ""

    def wait_for(self, text, seconds=15):
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {text!r} in {self.seen!r}")
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    break
        found = text in self.seen
        self.seen = self.seen.split(text, 1)[1] if found else self.seen
        return found

    def type(self, line):
        os.write(self.fd, line.encode() + b"\r")

    def control_c(self):
        os.write(self.fd, b"\x03")

    def end(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])


def main():
    checks = Checks()
    with Server() as server, tempfile.TemporaryDirectory(dir=work_folder()) as folder:
        command = [binary(), "shell", "-a", server.bolt_uri, "-u", USER, "-p", PASSWORD]

        def run(*arguments, stdin=""):
            done = subprocess.run([*command, *arguments], input=stdin, capture_output=True, text=True, timeout=60)
            return done.returncode, done.stdout, done.stderr

        code, out, _ = run(stdin="CREATE (:M {t: 'The Matrix'})-[:BY]->(:P {n: 'Lana'});\n// a comment; no statement\nMATCH (m:M)\nRETURN m.t, 1 AS one;\n")
        checks.check(code == 0 and out == 'm.t, one\n"The Matrix", 1\n', f"standard input, plain: {out!r}")
        script = os.path.join(folder, "s.cypher")
        with open(script, "w") as file:
            file.write(":param n => 20 + 1\nRETURN $n * 2 AS answer;\nRETURN 'no semicolon' AS last")
        code, out, _ = run("--format", "plain", "-f", script)
        checks.check((code, out) == (0, 'answer\n42\nlast\n"no semicolon"\n'), f"a file with a parameter: {out!r}")
        code, out, _ = run("--format", "table", "MATCH (m:M)-[r]->(p) RETURN m, r, p.n")
        checks.check(code == 0 and '(:M {t: "The Matrix"})' in out and "[:BY]" in out and "1 row" in out, "a table with entities")
        code, out, _ = run("--format", "json", "RETURN 1 AS a, [true, null] AS b")
        checks.check(code == 0 and json.loads(out) == {"a": 1, "b": [True, None]}, f"JSON lines: {out!r}")
        code, out, _ = run("--format", "csv", "RETURN 'a,b' AS x, 2 AS y")
        checks.check((code, out) == (0, 'x,y\n"a,b",2\n'), f"CSV: {out!r}")
        code, out, err = run(stdin="RETRUN 1;\nRETURN 2 AS two;\n")
        checks.check(code == 1 and "Invalid input 'RETRUN'" in err and "two" not in out, "a script ends at its first error with status 1")
        code, out, err = run("--fail-at-end", stdin="RETRUN 1;\nRETURN 2 AS two;\n")
        checks.check(code == 1 and "two\n2\n" in out, "--fail-at-end goes on and still ends with 1")
        code, out, _ = run(stdin=":begin\nCREATE (:T);\n:rollback\nMATCH (t:T) RETURN count(t) AS n;\n:begin\nCREATE (:T);\n:commit\nMATCH (t:T) RETURN count(t) AS n;\n")
        checks.check((code, out) == (0, "n\n0\nn\n1\n"), f"transactions: {out!r}")
        code, _, err = run("-p", "wrong")
        checks.check(code != 0 and "more than once" in err, "an option given twice is refused")
        done = subprocess.run([binary(), "shell", "-a", server.bolt_uri, "-u", USER, "-p", "wrong", "RETURN 1"], capture_output=True, text=True)
        checks.check(done.returncode == 1 and "unauthorized" in done.stderr, f"a wrong password: {done.stderr!r}")
        done = subprocess.run([binary(), "shell", "-a", "bolt://127.0.0.1:1", "RETURN 1"], capture_output=True, text=True)
        checks.check(done.returncode == 1 and "127.0.0.1:1" in done.stderr, f"no server: {done.stderr!r}")
        code, out, _ = run("--help")
        checks.check(code == 0 and "--format" in out, "--help")

        terminal = Terminal(command, folder)
        terminal.wait_for("Connected to Neo4j/5")
        terminal.wait_for("Type :help for a list of available commands or :exit to exit the shell.")
        terminal.wait_for("admin@neo4j>")
        terminal.type("MATCH (m:M)")
        terminal.type("RETURN m.t AS title;")
        checks.check(terminal.wait_for('| "The Matrix" |') and terminal.wait_for("ready to start consuming query after"), "a statement over two lines, as a table")
        terminal.type(":help")
        checks.check(terminal.wait_for(":param"), ":help")
        terminal.type(":param x => [1, 2]")
        terminal.type("RETURN $x AS x;")
        checks.check(terminal.wait_for("| [1, 2] |"), ":param")
        terminal.type(":nonsense")
        checks.check(terminal.wait_for("use :help to see available commands"), "an unknown command says so")
        terminal.type("UNWIND range(1, 4000000000) AS i WITH i WHERE i % 2 = 3 RETURN count(i) AS n;")
        with Connection(server.bolt_port) as other:
            wait_for(lambda: any("4000000000" in row[0] for row in other.run("SHOW TRANSACTIONS YIELD currentQuery").rows), 15, "the statement")
        terminal.control_c()
        checks.check(terminal.wait_for("terminated"), "Ctrl-C interrupts a statement and the shell goes on")
        terminal.type("RETURN 'still here' AS s;")
        checks.check(terminal.wait_for('| "still here" |'), "the connection is usable after it")
        terminal.type(":exit")
        checks.check(terminal.wait_for("Bye!") and terminal.end() == 0, ":exit")
        with open(os.path.join(folder, ".nornicdb_history")) as file:
            checks.check("MATCH\\040(m:M)" in file.read().replace(" ", "\\040"), "history is kept")
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
