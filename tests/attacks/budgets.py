"""Attacks on clocks, meters and budgets of a language model, and work in places where nobody might count it."""

from __future__ import annotations

from collections.abc import Mapping

from tests.attacks.attack import BOTH, Attack, overrun
from trials.vocab import Label

TRAIN, EVALUATION = Label.TRAIN_BUDGET_OVERRUN, Label.EVAL_BUDGET_OVERRUN
#: Half a CPU second may be spent outside of counted operators; NanoChat's training may take 0.2 reference seconds.
STRICT: Mapping[str, object] = {"free_cpu_seconds": 0.5, "cap_reference_seconds": 0.2}
HIDDEN = "not counted|reference seconds"
BRIEF = {"train_seconds": 1.0, "eval_seconds": 1.0}

CLOCKS = """
clock = time.process_time; began = clock()
for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time"):
    setattr(time, name, lambda: 0.0); setattr(time, name + "_ns", lambda: 0)
os.times = lambda: os.terminal_size((0, 0))
os.getloadavg = lambda: (0.0, 0.0, 0.0)
os.environ["FAKETIME"] = "-1y"
while clock() - began < 1.0: pass
"""
FEWER = """
told = session(); told.tell_units = lambda: send(Kind.PROGRESS, struct.pack("<Q", 1)); told.passed = lambda units: 1e18
burn(1.0)
"""
MORE_THEN_FEWER = """
send(Kind.PROGRESS, struct.pack("<Q", 10**15)); burn(1.0); send(Kind.PROGRESS, struct.pack("<Q", 100))
"""
WITHOUT_METER = """
from torch.utils._python_dispatch import _disable_current_modes
with _disable_current_modes():
    began, some = time.process_time(), torch.rand(700, 700)
    while time.process_time() - began < 1.0: some = (some @ some).clamp(0, 1)
"""
OTHER_METER = """
meter.Meter.__torch_dispatch__ = lambda self, func, types, args=(), kwargs=None: func(*args, **(kwargs or {}))
began, some = time.process_time(), torch.rand(700, 700)
while time.process_time() - began < 1.0: some = (some @ some).clamp(0, 1)
"""
NUMPY = """
began, some = time.process_time(), np.ones((500, 500), np.float32) / 500
while time.process_time() - began < 1.0: some = some @ some
"""
THREAD = "other = threading.Thread(target=burn, args=(1.0,)); other.start(); other.join()"
CHILD = "if os.fork() == 0: burn(1.0); os._exit(0)\nos.wait()"
ORPHAN = """
done, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: burn(1.0); os.write(tell, b"x"); time.sleep(60)
    os._exit(0)
os.wait(); os.read(done, 1)
"""
UNITS = 'send(Kind.PROGRESS, struct.pack("<Q", 2**64 - 1))'
END_UNITS = 'session().tell_units = lambda: send(Kind.PROGRESS, struct.pack("<Q", 2**64 - 1))'
SLEEP = "time.sleep(600)"
STOP = "os.kill(os.getpid(), signal.SIGSTOP)"
LOCK = "lock = threading.Lock(); lock.acquire(); lock.acquire()"
READ = "os.read(session().incoming, 1); os.read(session().incoming, 1 << 30); os.read(session().incoming, 1)"
DRIP = """
answer = sys.modules["language_model"].pack_logits(out)
for byte in frames.HEADER.pack(Kind.LOGITS, len(answer)) + answer:
    os.write(outgoing(), bytes([byte])); time.sleep(0.04)
"""
FLOOD = "piece = (frames.HEADER.pack(Kind.PROGRESS, 8) + bytes(8)) * 50\nwhile True: os.write(outgoing(), piece)"


def hidden(name: str, entry: str, code: str, *arenas: str, place: str = "train", label: Label = TRAIN) -> Attack:
    """CPU seconds that no meter has seen."""
    return overrun(name, entry, {place: code}, label, HIDDEN, settings=STRICT, arenas=arenas or ("golf",))


ATTACKS = [
    hidden("patched clocks", "A5", CLOCKS, "golf", "core"),
    hidden("training inside an import", "A6", "burn(1.0)", "golf", "core", place="import"),
    hidden("fewer units told than spent", "A6", FEWER, "golf", "core"),
    hidden("many units told and then few", "A6", MORE_THEN_FEWER),
    hidden("work without the meter", "A6", WITHOUT_METER),
    hidden("a meter that counts nothing", "A6", OTHER_METER),
    hidden("training in numpy", "A6", NUMPY),
    hidden("training in a thread", "A6", THREAD),
    hidden("training in a child", "A6", CHILD),
    hidden("training in an orphan", "A7", ORPHAN, "golf", "core"),
    hidden("training in vocabulary", "A6", "burn(1.0)", place="vocabulary", label=EVALUATION),
    hidden("training in encode", "A6", "burn(1.0)", place="encode", label=EVALUATION),
    hidden("training in the second load", "A6", "burn(1.0)", place="loaded", label=EVALUATION),
    hidden("training while predicting", "A6", "burn(1.0)", "core", place="logits", label=EVALUATION),
    overrun("more units than a number holds", "A3", {"train": END_UNITS}, TRAIN, "units of"),
    overrun("as many in an evaluation", "A3", {"loaded": END_UNITS}, EVALUATION, "units of", arenas=BOTH),
    Attack("units that nobody counts there", "A3", {"train": UNITS}, arenas=["core"]),
    overrun("sleep in training", "A8", {"train": SLEEP}, TRAIN, "wall clock", limits=BRIEF, arenas=BOTH),
    overrun("a training that stops itself", "A8", {"train": STOP}, TRAIN, "wall clock", limits=BRIEF),
    overrun("sleep in vocabulary", "A8", {"vocabulary": SLEEP}, EVALUATION, "wall", limits=BRIEF),
    overrun("a lock in encode", "A8", {"encode": LOCK}, EVALUATION, "wall clock", limits=BRIEF),
    overrun("sleep in logits", "A8", {"logits": SLEEP}, EVALUATION, "wall clock", limits=BRIEF, arenas=["core"]),
    overrun("a prediction that stops itself", "A8", {"logits": STOP}, EVALUATION, "wall", limits=BRIEF, arenas=BOTH),
    overrun("an endless read", "A8", {"logits": READ}, EVALUATION, "wall clock", limits=BRIEF),
    overrun("an answer in drops", "A8", {"logits": DRIP}, EVALUATION, "wall clock", limits=BRIEF),
    overrun("endless progress", "A8", {"logits": FLOOD}, EVALUATION, "wall clock", limits=BRIEF),
    overrun(
        "sleep in adapt",
        "A8",
        {"predictor": "def adapt(self, tokens): time.sleep(600)"},
        EVALUATION,
        "wall clock",
        limits=BRIEF,
    ),
]
