"""Attacks through the protocol's pipe and by the way a process ends; and what it may do that changes nothing."""

from __future__ import annotations

from tests.attacks.attack import BOTH, Attack, crash, invalid, overrun
from trials.vocab import Label

NESTED = 'send(Kind.FAILED, b"[" * 60_000); time.sleep(60)'
HOSTILE_ERROR = """
class Worse(Exception):
    def __str__(self): raise KeyError("no text")
raise Worse()
"""
ODD_TEXT = "raise ValueError('\\x00\\ud800\\x1b[31m<script>alert(1)</script>')"
OTHER_ENDS = "send(Kind.FAILED, json.dumps({'stage': 'import', 'reason': '', 'excerpt': '', 'contract': 1}).encode())"
BEFORE = """
answer = sys.modules["language_model"].pack_logits(np.zeros((4, 512, 256), "f4"))
for _ in range(3): send(Kind.LOGITS, answer)
"""
HUGE = """
if ctx.budget.units > 10**10:
    os.write(outgoing(), frames.HEADER.pack(Kind.TRAINED, 10**9))
    while True: os.write(outgoing(), bytes(1 << 16))
"""
STALE = """
with open("model.bin", "wb") as file: file.write(bytes(65536))
with open("artifact", "wb") as file: file.write(bytes(65536))
os._exit(0)
"""
DAEMON = """
ready, told = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
        os.write(told, b"x")
        time.sleep(600)
    os._exit(0)
os.read(ready, 1); os.wait()
"""
AWAY = """
import atexit, shutil
atexit.register(burn, 100)
shutil.rmtree(os.getcwd(), ignore_errors=True)
for name in ("recipe", "loss", "random", "subprocess"): sys.modules.pop(name, None)
sys.stdout = sys.stderr = None
signal.alarm(0); signal.setitimer(signal.ITIMER_REAL, 0)
"""
LIMITS = """
import resource
for name in ("RLIMIT_CPU", "RLIMIT_AS", "RLIMIT_NPROC", "RLIMIT_FSIZE"):
    kind = getattr(resource, name)
    soft, hard = resource.getrlimit(kind)
    try: resource.setrlimit(kind, (hard + 1 if hard > 0 else hard, hard + 1 if hard > 0 else 10**9))
    except (ValueError, OSError): pass
    else:
        if resource.getrlimit(kind) != (soft, hard): worked(name)
try: os.nice(-5); worked("nice")
except OSError: pass
"""
SAME = """
seen = [sorted(os.environ.items()), sys.argv, os.getcwd(), ctx.seed, ctx.device, ctx.threads, ctx.budget.units,
    ctx.budget.seconds, sorted(os.listdir(".")), sys.path, os.getppid(), os.getuid() > 0, len(artifact),
    sorted(session().settings.items())]
predictor.table = predictor.table + 3 * (hash(repr(seen)) % 7)
"""

ATTACKS = [
    crash("leave before the work", "A4", {"train": STALE}, "exited with 0"),
    crash("leave while predicting", "A4", {"logits": "os._exit(0)"}, "exited with 0", arenas=BOTH),
    crash("leave with the sandbox's own code", "A4", {"load": "os._exit(125)"}, "exited with 125"),
    crash("kill oneself", "A4", {"logits": "os.kill(os.getpid(), signal.SIGKILL)"}, "signal 9"),
    crash("fault on purpose", "A4", {"train": "ctypes.string_at(0)"}, "signal 11"),
    crash("exit in vocabulary", "A4", {"vocabulary": "sys.exit()"}, "SystemExit"),
    crash("interrupt in load", "A4", {"load": "raise KeyboardInterrupt"}, "KeyboardInterrupt"),
    crash("an error that cannot be told", "A4", {"train": HOSTILE_ERROR}),
    crash("an error of odd characters", "A4", {"train": ODD_TEXT}, "ValueError: ..+script"),
    crash("nested words", "A4", {"train": NESTED}, "readable reason", arenas=BOTH),
    crash("nested words while predicting", "A4", {"logits": NESTED}, "readable reason", arenas=["core"]),
    crash("an early failure told late", "A4", {"logits": OTHER_ENDS}),
    crash("a failure without end", "A4", {"train": "send(Kind.FAILED, bytes(1 << 20))"}, "FAILED of 1048576"),
    crash("both pipes closed", "A4", {"logits": "os.closerange(3, 64)"}),
    crash("garbage", "A21", {"logits": "os.write(outgoing(), os.urandom(4) + bytes(4096))"}, "protocol", arenas=BOTH),
    crash("an answer to another question", "A21", {"logits": "send(Kind.VOCABULARY, b'')"}, "frame of kind 67"),
    crash("an order to the evaluator", "A21", {"train": "send(Kind.SOURCE, b'')"}, "frame of kind 2"),
    crash("progress of the wrong size", "A21", {"train": "send(Kind.PROGRESS, b'9')"}, "PROGRESS of 1"),
    invalid("an empty answer", "A21", {"logits": "send(Kind.LOGITS, b'')"}, "logits of shape", arenas=BOTH),
    invalid(
        "an answer that claims a shape",
        "A21",
        {"logits": "send(Kind.LOGITS, struct.pack('<3I', 4, 512, 256))"},
        "logits",
    ),
    crash(
        "a vocabulary of four billion",
        "A21",
        {"vocabulary": "send(Kind.VOCABULARY, b'\\xff' * 4)"},
        "protocol",
    ),
    Attack(
        "answers before the questions",
        "A21",
        {"loaded": "session().adapts = 0", "logits": BEFORE},
        same=False,
    ),
    overrun(
        "an overrun of one's own",
        "A21",
        {"train": "send(Kind.OVERRUN, b'\\xff' * 8)"},
        Label.TRAIN_BUDGET_OVERRUN,
        "over",
    ),
    overrun(
        "a gigabyte as artifact",
        "A16",
        {"train": HUGE},
        Label.SIZE_BLOCKED,
        "999,9..,... bytes over",
        limits={"artifact_bytes": 100_000},
    ),
    crash(
        "memory without end",
        "A25",
        {"train": "kept = [bytearray(64 << 20) for _ in range(40)]"},
        "memory",
        limits={"memory_bytes": 1 << 30},
    ),
    Attack("a daemon that stays", "A7", {"train": DAEMON, "loaded": DAEMON}, arenas=BOTH),
    Attack("sixteen megabytes of words", "A26", {"train": "for _ in range(16): os.write(2, b'val_bpb: 0 ' * 95_326)"}),
    Attack("a folder swept away", "A4", {"trained": AWAY}),
    Attack("limits of the process", "A25", {"train": LIMITS}),
    Attack("what two processes can tell apart", "A30", {"loaded": SAME}, same=False, arenas=BOTH),
]
