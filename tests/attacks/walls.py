"""Everything that a recipe may try against its walls, and a program that measures attacks behind several levels.

The program is of its own, so that it runs as root and as an ordinary user. Arguments: a JSON list of [arena, level,
sandbox to be forced or nothing]; prints a line of JSON for each.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from evaluators.sandbox.reach import FORCE
from tests.attacks.attack import check
from tests.attacks.levels import everything, refused
from tests.attacks.tiny import ARENAS, SPEED_MODULE, warm

CHECKOUT = Path(__file__).resolve().parents[2]
SECRET = "secret-of-the-worker"

#: Each act prints its name when it has worked. KNOWN is what a well informed attacker knows.
ACTS = """
known = json.loads(KNOWN)
libc = ctypes.CDLL(None)
def act(name, what, *arguments):
    try: found = what(*arguments)
    except BaseException: return
    if found is not False: worked(name)
def connect(family, kind, address):
    with socket.socket(family, kind) as one: one.settimeout(1); one.connect(address); one.send(b"x")
def read(path):
    with open(path, "rb") as file: return len(file.read(64)) > 0
def write(path):
    with open(path, "ab") as file: file.write(b"attacked")
def make(path): os.close(os.open(path + "/attacked", os.O_CREAT | os.O_WRONLY, 0o600))
def secret(path):
    with open(path, "rb") as file: return known["secret"].encode() in file.read()
act("tcp", connect, socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", known["port"]))
act("udp", connect, socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", known["port"]))
act("outside", connect, socket.AF_INET, socket.SOCK_STREAM, ("192.0.2.1", 443))
act("names", socket.getaddrinfo, "example.org", 443)
act("socket by path", connect, socket.AF_UNIX, socket.SOCK_STREAM, known["socket"])
for path in known["files"]: act("read " + path, read, path)
for path in known["folders"]: act("make in " + path, make, path)
act("list", os.listdir, known["folders"][0])
act("append", write, known["writable"])
act("hard link", os.link, known["writable"], "model.bin")
act("remove", os.unlink, known["writable"])
os.symlink(known["writable"], "linked"); act("through a link", write, "linked")
if known["secret"] in json.dumps(dict(os.environ)): worked("environment")
seen = []
with contextlib.suppress(OSError): seen = [name for name in os.listdir("/proc") if name.isdigit()]
for pid in ["self", os.getppid(), known["worker"], *seen]: act("environment", secret, f"/proc/{pid}/environ")
act("memory of the worker", lambda: os.open(f"/proc/{known['worker']}/mem", os.O_RDWR))
act("memory of the keeper", lambda: os.getppid() and os.open(f"/proc/{os.getppid()}/mem", os.O_RDWR))
act("trace the keeper", lambda: libc.ptrace(16, os.getppid(), 0, 0) == 0)
act("trace the worker", lambda: libc.ptrace(16, known["worker"], 0, 0) == 0)
remote = (ctypes.c_void_p * 2)(ctypes.addressof(ctypes.create_string_buffer(8)), 8)
act("write into the worker", lambda: libc.process_vm_writev(known["worker"], remote, 1, remote, 1, 0) > 0)
if known["worker"] > 100: act("signal to the worker", os.kill, known["worker"], signal.SIGCONT)
act("limits of the keeper", lambda: __import__("resource").prlimit(os.getppid(), 7, (9, 9)))
act("shared memory", lambda: libc.shmget(0x5eed, 4096, 0o1666) >= 0)
act("message queue", lambda: libc.mq_open(b"/attacked", 0o102, 0o666, None) >= 0)
act("keys", lambda: libc.syscall(248 if os.uname().machine == "x86_64" else 217, b"user", b"attacked", b"x", 1, -3) > 0)
act("namespace", lambda: libc.unshare(0x10000000) == 0)
act("mount", lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0)
act("device", lambda: os.mknod("disk", 0o60666, os.makedev(8, 0)))
act("memory file", lambda: os.memfd_create("attacked"))
act("watched files", lambda: libc.inotify_init1(0) >= 0)
act("watched folder", lambda: libc.fcntl(os.open("/usr/lib", os.O_RDONLY), 1026, 0x20) == 0)
act("timers by the thousand", lambda: libc.timerfd_create(1, 0) >= 0 or libc.timer_create(1, None, bytes(8)) == 0)
act("signals sent by a pipe", lambda: libc.fcntl(os.pipe()[0], 8, known["worker"]) == 0)
act("signals sent by a pipe", lambda: libc.ioctl(os.pipe()[0], 0x8901, struct.pack("i", known["worker"])) == 0)
act("priority", lambda: os.setpriority(os.PRIO_PROCESS, 0, -5))
act("processors", lambda: os.sched_setaffinity(0, {0}))
act("spared by the host", lambda: open("/proc/self/oom_score_adj", "w").write("-1000") and read("/nowhere"))
with contextlib.suppress(OSError): os.kill(os.getppid(), signal.SIGSTOP)
with contextlib.suppress(OSError): os.kill(-1, signal.SIGTERM)
"""


@dataclass(frozen=True)
class Host:
    """What is real on the host, for attacks to fail at."""

    folder: Path
    listeners: tuple[socket.socket, ...]

    @classmethod
    def furnished(cls, folder: Path) -> Host:
        """A file and sockets that anybody may use."""
        folder.chmod(0o777)
        writable = folder / "mine"
        writable.write_text("mine")
        writable.chmod(0o666)
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(f"{folder}/socket")
        os.chmod(f"{folder}/socket", 0o777)
        unix.listen()
        unix.settimeout(0)
        tcp = socket.create_server(("127.0.0.1", 0))
        tcp.settimeout(0)
        return cls(folder, (unix, tcp))

    def known(self) -> str:
        """What the attacker is told, as JSON."""
        data = CHECKOUT / "evaluators/environments/cifar_airbench96/fashion_mnist_14x14.xz"
        files = ["/etc/shadow", "/etc/passwd", CHECKOUT / "pyproject.toml", data, CHECKOUT / ".git/HEAD"]
        folders = [self.folder, CHECKOUT, "/tmp", "/var/tmp", "/run", "/etc", "/usr/lib", "/dev", Path.home()]
        said = {
            "worker": os.getpid(),
            "port": self.listeners[1].getsockname()[1],
            "socket": f"{self.folder}/socket",
            "writable": f"{self.folder}/mine",
            "files": [f"{self.folder}/mine", *map(str, files)],
            "folders": list(map(str, folders)),
            "secret": SECRET,
        }
        return json.dumps(said)

    def touched(self) -> list[str]:
        """What an attack has reached."""
        found = [name for name in os.listdir(self.folder) if name not in ("mine", "socket", "boxes")]
        if (self.folder / "mine").read_text() != "mine":
            found.append("mine")
        for listener in self.listeners:
            try:
                listener.accept()[0].close()
                found.append("a connection")
            except BlockingIOError:
                continue
        segments = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
        return found + [f"segment {line}" for line in segments if line.split()[0] == str(0x5EED)]


def measured(arena: str, level: str, force: str, host: Host) -> Iterator[dict[str, object]]:
    """Everything at once, then each attack that stands for an entry: what came of it, and what is wrong with that.

    At L3 as root the latter are tried by the tables' own tests.
    """
    os.environ[FORCE] = force
    honest, _ = ARENAS[arena].measured({}, level=level)
    acts = f"KNOWN = {host.known()!r}\n{ACTS}"
    tried_elsewhere = level == "L3" and not force and os.getuid() == 0
    for attack in (everything(arena, acts), *([] if tried_elsewhere else refused(arena))):
        found, outcome = attack.run(ARENAS[arena], level=level)
        wrong = ""
        try:
            # A time is never the same twice; counts of right answers are.
            check(replace(attack, same=attack.same and arena != "speed"), honest, found, outcome)
            if attack.same and arena == "speed":
                assert found.numbers["correct"] == honest.numbers["correct"], "other answers are right"
        except AssertionError as error:
            wrong = f"{error} {found.excerpt}"
        yield {
            "attack": attack.name,
            "isolation": {**found.isolation, "details": None},
            "wrong": wrong,
            "touched": host.touched(),
        }


def main() -> None:
    """Measure as told."""
    SPEED_MODULE.reach = warm
    with tempfile.TemporaryDirectory(prefix="walls-") as folder:
        host = Host.furnished(Path(folder))
        os.mkdir(f"{folder}/boxes", 0o755)
        os.environ["TMPDIR"] = tempfile.tempdir = f"{folder}/boxes"
        for arena, level, force in json.loads(sys.argv[1]):
            for found in measured(arena, level, force, host):
                print(json.dumps({"arena": arena, **found, "left": os.listdir(f"{folder}/boxes")}), flush=True)


if __name__ == "__main__":
    main()
