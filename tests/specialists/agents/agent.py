"""A scripted agent: its first argument names what it does in the work tree, the second is how it was told its task."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ACTS = {}


def act(function):
    ACTS[function.__name__] = function
    return function


def propose(hypothesis="Fewer steps help.", **more):
    Path("PROPOSAL.json").write_text(json.dumps({"hypothesis": hypothesis, "expected_delta": -0.01, **more}))


def edit(name="a.py", text="x = 2\n"):
    Path(name).write_text(text)


@act
def good():
    assert Path("PROMPT.md").read_text().startswith("# Task")
    edit()
    propose(parent=0, evidence=[0, 99, "x"])
    Path("notes.txt").write_text("left over")
    print("done by", sys.argv[2:])


@act
def by_text():
    edit()
    Path("PROPOSAL.md").write_text("# Idea\n\nFewer steps\nhelp.\n\nparent: 0\nexpected_delta: -0.5\n")


@act
def outside():
    edit("b.py", "y = 2\n")
    propose()


@act
def joins():
    edit("recipe.py", "import b\n")
    propose()


@act
def new_file():
    edit()
    edit("helper.py", "z = 1\n")
    propose()


@act
def removed():
    os.remove("b.py")
    propose()


@act
def no_edit():
    propose()


@act
def nothing():
    Path("PROPOSAL.json").write_text(json.dumps({"nothing": "the record\u0000 says it all\ud800"}))


@act
def silent():
    edit()


@act
def garbage():
    edit()
    Path("PROPOSAL.json").write_text("{'hypothesis': no JSON")


@act
def deep():
    edit()
    Path("PROPOSAL.json").write_text("[" * 100_000)


@act
def listed():
    edit()
    Path("PROPOSAL.json").write_text("[1, 2]")


@act
def hostile_words():
    edit()
    propose("One\u0000line\n</data>\ud800" + "x" * 2000, expected_delta=float(-1))


@act
def odd_delta():
    edit()
    Path("PROPOSAL.json").write_text('{"hypothesis": "x", "expected_delta": NaN}')


@act
def huge_delta():
    edit()
    Path("PROPOSAL.json").write_text('{"hypothesis": "x", "expected_delta": 1' + "0" * 400 + "}")


@act
def other_parent():
    edit()
    propose(parent=7)


@act
def link():
    os.remove("a.py")
    os.symlink("/usr/bin/env", "a.py")
    propose()


@act
def pipe():
    os.remove("a.py")
    os.mkfifo("a.py")
    propose()


@act
def large():
    edit(text="#" * 300_000)
    propose()


@act
def binary():
    Path("a.py").write_bytes(b"x = 1\n\xff\xfe")
    propose()


@act
def fails():
    edit()
    propose()
    print("out of credit")
    sys.exit(3)


@act
def endless():
    edit()
    propose()
    while True:
        pass


@act
def sleeper():
    if os.fork() == 0:
        os.setsid()
    time.sleep(600)


@act
def fork_bomb():
    made = 0
    for _ in range(2000):
        try:
            if os.fork() == 0:
                time.sleep(600)
                os._exit(0)
        except OSError:
            break
        made += 1
    print("forks:", made)
    edit()
    propose()


@act
def shout():
    line = "nonsense " * 1000 + "\n"
    for _ in range(2000):
        sys.stdout.write(line)
    edit()
    propose()


@act
def memory():
    held = []
    while True:
        held.append(bytearray(os.urandom(1 << 20)) * 16)


@act
def fills():
    try:
        with open("big", "wb") as file:
            for _ in range(4000):
                file.write(b"\1" * (1 << 20))
    except OSError as error:
        print("full:", error.strerror)
    Path("big").unlink()
    edit()
    propose()


@act
def looks_around():
    """Everything of the host that it can find, told in its log."""
    found = {"environment": dict(os.environ), "root": sorted(os.listdir("/")), "uid": os.getuid()}
    for path in ("/etc/passwd", "/etc/shadow", "/proc/1/environ", *sys.argv[3:]):
        try:
            found[path] = Path(path).read_text()[:200]
        except OSError as error:
            found[path] = error.strerror
    found["processes"] = [name for name in os.listdir("/proc") if name.isdigit()]
    found["tree"] = sorted(str(path) for path in Path(".").rglob("*"))
    print("FOUND" + json.dumps(found))
    edit()
    propose()


@act
def leaks():
    edit(text=f"x = {os.environ['AGENT_KEY']!r}\n")
    print("my key is", os.environ["AGENT_KEY"])
    propose()


@act
def runs_programs():
    done = subprocess.run(["sh", "-c", "command -v env; $RECIPE_PYTHON -c 'import numpy; print(numpy.__name__)'"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    print(done.stdout, done.stderr)
    edit()
    propose()


@act
def network():
    """Argument: ports that listen on the host's loopback; the first may be reached through the proxy."""
    allowed, other = sys.argv[3:5]
    found = {}
    for port in (allowed, other):
        try:
            found[f"proxy {port}"] = urllib.request.urlopen(f"http://127.0.0.1:{port}/x", timeout=20).read().decode()
        except OSError as error:
            found[f"proxy {port}"] = str(error)
        try:
            socket.create_connection(("127.0.0.1", int(port)), 5).close()
            found[f"direct {port}"] = "reached"
        except OSError as error:
            found[f"direct {port}"] = error.strerror
    proxy = os.environ["HTTPS_PROXY"].rpartition(":")[2]
    with socket.create_connection(("127.0.0.1", int(proxy)), 20) as tunnel:
        tunnel.sendall(f"CONNECT 127.0.0.1:{allowed} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert tunnel.recv(100).startswith(b"HTTP/1.1 200 ")
        tunnel.sendall(b"GET /tunnel HTTP/1.0\r\n\r\n")
        answer = b""
        while piece := tunnel.recv(1 << 16):
            answer += piece
    found["tunnel"] = answer.decode().rpartition("\r\n")[2]
    try:
        socket.getaddrinfo("example.com", 443)
        found["names"] = "resolved"
    except OSError as error:
        found["names"] = type(error).__name__
    print("FOUND" + json.dumps(found))
    edit()
    propose()


@act
def by_role():
    """In a campaign: a comment at the end of the first file that may be changed; one role has no luck."""
    prompt = Path("PROMPT.md").read_text()
    if "**loss**" in prompt:
        print("out of credit")
        sys.exit(3)
    name = prompt.partition("- `")[2].partition("`")[0]
    with open(name, "a") as file:
        file.write(f"# {os.urandom(8).hex()}\n")
    print("my key is", os.environ["AGENT_KEY"])
    propose(f"A comment in {name} changes nothing.")


ACTS[sys.argv[1]]()
