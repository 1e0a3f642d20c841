#!/usr/bin/env python3
"""Checks who includes whom, and that nothing of one machine stands in the tree.

The arrows are those of docs/ARCHITECTURE.md. A room may include itself and the rooms named here; a key with a
slash is a sub-room with its own rule, and a value with a slash is one file. Prints each offence as
file:line: what and what is allowed. The last line counts files as "N passed, N failed, N skipped".
"""
import os
import re
import subprocess
import sys

ARROWS = {
    "base": [],
    "graph": ["base"],
    "observability": ["base"],
    "env": ["base"],
    "transport": ["base", "observability"],
    "engine": ["base", "graph", "observability"],
    "modes": ["base", "observability", "engine", "transport"],
    "modes/standalone": ["base", "observability", "engine", "transport", "modes/strategy.h"],
    "modes/hot_standby": ["base", "observability", "engine", "transport", "modes/strategy.h"],
    "modes/raft": ["base", "observability", "engine", "transport", "modes/strategy.h", "modes/raft/core"],
    "modes/raft/core": ["base"],
    "modes/multi_region": ["base", "observability", "engine", "transport", "modes/strategy.h"],
    "cypher": ["base", "graph", "engine", "observability"],
    "bolt": ["base", "graph", "observability"],
    "http": ["base", "graph", "observability"],
    "cli": ["base", "env", "graph", "bolt", "http"],
    "server": ["base", "env", "graph", "observability", "engine", "modes", "cypher", "bolt", "http",
               "transport"],
    # main() hands each subcommand to the room that knows it.
    "server/main": ["base", "env", "graph", "observability", "engine", "modes", "cypher", "bolt", "http",
                    "transport", "server", "cli"],
}
ANYTHING = ("tests", "bench", "third_party", "cmake")
# Only these rooms may name these library headers; the rest goes through their front doors.
LIBRARIES = {
    "rocksdb/": ("engine",),
    "boost/asio": ("bolt", "http", "server", "cli", "transport"),
    "boost/beast": ("bolt", "http", "server", "cli"),
    "prometheus/": ("observability",),
    "spdlog/": ("observability",),
}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
GETENV = re.compile(r"(?<![\w.>])(?:std::|secure_)?getenv\s*\(")

# Written in two halves so that this file does not contain what it looks for.
FOREIGN = [
    (re.compile(r"(?<![\w.$}])/(?:" + "|".join(["wo" + "rk", "fa" + "rm", "ro" + "ot", "ho" + "me/[a-z]"]) + r")/"),
     "a path of one machine"),
    (re.compile("|".join(["regis" + r"try\.npmjs", "py" + r"pi\.org", "repo1?" + r"\.maven\.", "proxy" + r"\.golang\.org",
                          "deb" + r"\.debian\.org"])), "a package registry's host; the tools know their own"),
]
TEXT = (".h", ".cc", ".py", ".js", ".mjs", ".go", ".java", ".md", ".txt", ".json", ".cmake", ".xml", ".yml", ".yaml",
        ".sh", "")


def tracked_files(top):
    try:
        out = subprocess.run(["git", "-C", top, "ls-files", "-z", "-co", "--exclude-standard"],
                             capture_output=True, check=True).stdout.decode()
        return sorted(set(f for f in out.split("\0") if f and os.path.isfile(os.path.join(top, f))))
    except (OSError, subprocess.CalledProcessError):  # An unpacked archive, without git.
        found = []
        for folder, folders, files in os.walk(top):
            folders[:] = [f for f in folders if f not in (".git", "build", "data", "node_modules", "__pycache__")]
            found += [os.path.relpath(os.path.join(folder, f), top) for f in files]
        return sorted(found)


def room_of(path):
    """The longest key of ARROWS that path lies under, or None."""
    parts = path.split("/")[:-1]
    while parts:
        if "/".join(parts) in ARROWS:
            return "/".join(parts)
        parts.pop()
    return None


def allowed(includer, target):
    room = room_of(includer)
    if room is None or includer.split("/")[0] in ANYTHING:
        return True, ""
    target_room = room_of(target) or target.split("/")[0]
    # A room reaches its own files; a sub-room with a rule of its own is reached by itself only.
    if target_room == room:
        return True, ""
    names = ARROWS[room]
    ok = any(target == n or target_room == n or target.startswith(n + "/") for n in names)
    # A mode's factory header is how the table of modes in server/ finds it.
    return ok, f"{room} may include {', '.join(names) or 'no other room'}"


def check_source(path, lines):
    for number, line in lines:
        match = INCLUDE.match(line)
        if match:
            kind, target = match.groups()
            top = target.split("/")[0]
            if kind == '"' and (top in ARROWS or top in ANYTHING):
                ok, rule = allowed(path, target)
                if not ok:
                    yield number, f'includes "{target}", but {rule}'
            for prefix, rooms in LIBRARIES.items():
                if target.startswith(prefix) and path.split("/")[0] not in rooms + ANYTHING:
                    yield number, f"includes <{target}>; only {', '.join(rooms)} may"
        elif GETENV.search(line.split("//")[0]) and path.split("/")[0] not in ("env", "tests", "bench", "cli"):
            yield number, "reads the environment; only env/ does"


def main():
    top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    passed = failed = 0
    for path in tracked_files(top):
        extension = os.path.splitext(path)[1]
        if extension not in TEXT or path == "LICENSE":
            continue
        try:
            with open(os.path.join(top, path), encoding="utf-8") as handle:
                lines = list(enumerate(handle.read().split("\n"), 1))
        except UnicodeDecodeError:
            continue  # A corpus file, not text.
        offences = []
        if extension in (".h", ".cc"):
            offences += check_source(path, lines)
            if extension == ".h" and not any(line.startswith("#pragma once") for _, line in lines):
                offences.append((1, "has no #pragma once"))
        for number, line in lines:
            offences += [(number, f"names {what}") for pattern, what in FOREIGN if pattern.search(line)]
        for number, what in offences:
            print(f"{path}:{number}: {what}")
        passed, failed = passed + (not offences), failed + bool(offences)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
