"""Attacks on speed at a gate: what is answered, what is told of time, and work that hides from the clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.attacks.attack import Attack, crash, invalid, overrun
from tests.attacks.pipes import DAEMON, LIMITS, NESTED, ODD_TEXT
from tests.attacks.scores import FILES, PATCHED, PRINTS
from tests.attacks.tricks import FORKED, FORKS, HOOKS, LAZY, MAPPED, TOOLS_REPLACED, TWICE
from trials.vocab import Label

TRAIN, EVALUATION = Label.TRAIN_BUDGET_OVERRUN, Label.EVAL_BUDGET_OVERRUN
BRIEF = {"train_seconds": 1.0, "eval_seconds": 1.0}
#: A process may use half a CPU second until it has trained, and as much from then on.
STRICT: Mapping[str, object] = {"train_cpu_seconds": 0.5, "eval_cpu_seconds": 0.5}
CLOCKS = """
clock = time.process_time; began = clock()
for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time"):
    setattr(time, name, lambda: 0.0); setattr(time, name + "_ns", lambda: 0)
os.times = lambda: None
sys.modules["speed"].cpu_milliseconds = lambda: 0
ctx.budget.__dict__.update(units=10**9, seconds=10**9, spent=lambda: 0)
while clock() - began < 0.7: pass
"""
CHILD = "if os.fork() == 0: burn(0.7); os._exit(0)\nos.wait()"
ABANDONED = """
ready, told = os.pipe()
if os.fork() == 0:
    if os.fork() == 0: burn(0.7); os.write(told, b"x"); time.sleep(600)
    os._exit(0)
os.read(ready, 1)
"""
THREAD = "other = threading.Thread(target=burn, args=(0.7,)); other.start(); other.join()"
EARLY = "send(Kind.TRAINED); burn(0.7)"
LATER = """
original = os._exit
def later(code): burn(0.7); original(code)
os._exit = later
"""
AHEAD = (
    'send(Kind.TRAINED); send(Kind.PREDICTIONS, struct.pack("<2I", 500, 10) + np.eye(10, dtype="f4").tobytes() * 50)'
)
SEARCH = """
import select
names = [name for _, folders, files in os.walk("/") for name in (*folders, *files)]
for name in names:
    if "fashion" in name or "idx3" in name or "airbench" in name or "14x14" in name: worked(name)
for fd in range(3, 64):
    with contextlib.suppress(OSError):
        if "pipe" in os.readlink(f"/proc/self/fd/{fd}") and select.select([fd], [], [], 0)[0]: worked(str(fd))
for each in gc.get_objects():
    if isinstance(each, np.ndarray) and each.dtype == np.int64 and each.size == 500 and each is not ctx.labels:
        if each.base is not ctx.labels and not np.array_equal(each, ctx.labels): worked("labels")
"""
#: What train hands over trains when it is asked.
DEFERRED = "honest = model\ndef model(): burn(0.7); return honest"
POSITION = "out = np.eye(10, dtype='f4')[np.arange(len(images)) % 10]"


def speed(name: str, entry: str, places: Mapping[str, str], **more: Any) -> Attack:
    """An attack that changes nothing of what counts."""
    return Attack(name, entry, places, **{"arenas": ["speed"], **more})


def told(make: Any, *said: Any, **more: Any) -> Attack:
    """Another kind of attack, on speed."""
    attack: Attack = make(*said, arenas=["speed"], **more)
    return attack


#: End as they should; right answers are counted and nothing else that the process says.
NEUTRAL = [
    speed("printed scores and times", "A1", {"train": PRINTS, "predict": PRINTS}),
    speed("result files", "A2", {"import": FILES, "train": FILES, "predict": FILES}),
    speed("patched arithmetic", "A20", {"predicted": PATCHED}),
    speed("looking for held-out images", "A13", {"train": SEARCH}),
    speed("a daemon that stays", "A7", {"train": DAEMON, "predicted": DAEMON}),
    speed("limits of the process", "A25", {"train": LIMITS}),
    speed("tools of the runner replaced", "A20", {"import": TOOLS_REPLACED}),
    speed("every answer twice", "A21", {"predict": TWICE.replace("LOGITS", "PREDICTIONS")}),
    speed("hooks for later", "A7", {"train": HOOKS}),
    speed("predictions that change between looks", "A20", {"import": LAZY, "predicted": "out = Lazy(out)"}),
    speed("predictions in a file", "A20", {"predicted": MAPPED}),
    speed("four hundred processes", "A24", {"train": FORKS}),
    speed("floats of double width", "A3", {"predicted": "out = out.astype(np.longdouble)"}),
]

#: Work of 0.7 CPU seconds that is to be seen on the clock.
WORK = [
    speed("patched clocks", "A5", {"train": CLOCKS}),
    speed("training in the import", "A6", {"import": "burn(0.7)"}),
    speed("training in a child", "A6", {"train": CHILD}),
    speed("training in a process that nobody waits for", "A6", {"train": ABANDONED}),
    speed("training in a thread", "A6", {"train": THREAD}),
    speed("training in a pool of processes", "A6", {"train": FORKED}),
    speed("training by a model that is asked", "A6", {"trained": DEFERRED, "predict": "model = model()"}),
    speed("training in predict", "A6", {"predict": "burn(0.7)"}),
]

REFUSED = [
    told(overrun, "too much of it in training", "A6", {"train": CHILD}, TRAIN, "CPU time", settings=STRICT),
    told(
        overrun, "too much of it while predicting", "A6", {"predict": "burn(0.7)"}, EVALUATION, "CPU", settings=STRICT
    ),
    told(overrun, "said to be trained before it is", "A6", {"train": EARLY}, EVALUATION, "CPU time", settings=STRICT),
    told(overrun, "sleep in training", "A8", {"train": "time.sleep(600)"}, TRAIN, "wall clock", limits=BRIEF),
    told(overrun, "sleep in predict", "A8", {"predict": "time.sleep(600)"}, EVALUATION, "wall clock", limits=BRIEF),
    told(overrun, "stop", "A8", {"train": "os.kill(os.getpid(), signal.SIGSTOP)"}, TRAIN, "wall", limits=BRIEF),
    told(overrun, "answers by position", "A13", {"predicted": POSITION}, Label.DISQUALIFIED, "below the gate"),
    told(overrun, "answers before the questions", "A13", {"train": AHEAD}, Label.DISQUALIFIED, "below the gate"),
    told(invalid, "no numbers", "A3", {"predicted": "out *= np.nan"}, "not finite"),
    told(invalid, "infinite for the rest", "A3", {"predicted": "out[:, 1:] = -np.inf"}, "not finite"),
    told(invalid, "a class too many", "A3", {"predicted": "out = np.pad(out, ((0, 0), (0, 1)))"}, "shape"),
    told(invalid, "labels for scores", "A3", {"predicted": "out = out.argmax(1)"}, "expected float32"),
    told(invalid, "nothing", "A3", {"predicted": "return None"}, "expected float32"),
    told(invalid, "an empty answer", "A3", {"predict": "send(Kind.PREDICTIONS)"}, "predictions of shape"),
    told(crash, "leave before the work", "A4", {"train": "os._exit(0)"}, "exited with 0"),
    told(crash, "kill oneself", "A4", {"predict": "os.kill(os.getpid(), signal.SIGKILL)"}, "signal 9"),
    told(crash, "exit", "A4", {"predict": "sys.exit(0)"}, "SystemExit"),
    told(crash, "nested words", "A4", {"train": NESTED}, "readable reason"),
    told(crash, "odd words", "A4", {"train": ODD_TEXT}, "ValueError"),
    told(crash, "pipes closed", "A4", {"train": "os.closerange(3, 64)"}),
    told(crash, "garbage", "A21", {"predict": "os.write(outgoing(), b'\\xff' * 999)"}, "frame of kind 255"),
    told(
        crash,
        "memory",
        "A25",
        {"train": "kept = [bytearray(64 << 20) for _ in range(40)]"},
        "memory",
        limits={"memory_bytes": 1 << 30},
    ),
    told(crash, "a huge answer", "A26", {"predict": "send(Kind.TRAINED, bytes(9))"}, "frame of kind 66"),
]
