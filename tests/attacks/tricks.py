"""Attacks from inside the runner's own process: its tools replaced, hooks for later, values of odd kinds, odd words."""

from __future__ import annotations

import textwrap

from tests.attacks.attack import BOTH, Attack, crash, invalid, overrun
from tests.attacks.budgets import EVALUATION, hidden
from tests.attacks.scores import TARGET
from trials.vocab import Label

BURN = "began, some = time.process_time(), torch.rand(700, 700)\nwhile time.process_time() - began < 1.0: some = {}"
PRODUCT = BURN.format("(some @ some).clamp(0, 1)")
STILL = f"type(session().meter).units = property(lambda self: 0, lambda self, value: None)\n{PRODUCT}"
POPPED = f"""
from torch.utils._python_dispatch import _pop_mode, _push_mode
mode = _pop_mode()
{PRODUCT}
_push_mode(mode)
"""
UNDISPATCHED = f"with torch._C._DisableTorchDispatch():\n{textwrap.indent(PRODUCT, '    ')}"
IN_PLACE = "other = torch.from_numpy(np.ones((700, 700), 'f4'))\n" + BURN.format("other.numpy() @ other.numpy() / 700")
POOL = """
from concurrent.futures import ThreadPoolExecutor
def turn(seconds):
    began = time.thread_time()
    while time.thread_time() - began < seconds: pass
with ThreadPoolExecutor(4) as pool: list(pool.map(turn, [0.3] * 4))
"""
FORKED = """
import multiprocessing
ways = multiprocessing.get_context("fork")
many = [ways.Process(target=burn, args=(0.4,)) for _ in range(3)]
for each in many: each.start()
for each in many: each.join()
"""
NATIVE = """
libc, work = ctypes.CDLL(None), ctypes.create_string_buffer(1 << 22)
began = time.process_time()
while time.process_time() - began < 1.0: libc.memset(work, 1, 1 << 22)
"""
#: Tools that the runner itself works with, and the standard library's and numpy's below them.
TOOLS_REPLACED = """
def through(owner, name):
    real = getattr(owner, name)
    setattr(owner, name, lambda *a, **k: real(*a, **k))
for owner, names in (
    (frames, ("write_frame", "read_frame", "next_frame", "pack_texts", "unpack_texts")),
    (np, ("asarray", "ascontiguousarray", "frombuffer")), (struct, ("pack", "unpack_from")), (os, ("write", "read")),
):
    for name in names: through(owner, name)
"""
TWICE = """
real = frames.write_frame
def twice(descriptor, kind, payload=b""):
    for _ in range(2 if kind is Kind.LOGITS else 1): real(descriptor, kind, payload)
frames.write_frame = twice
"""
HOOKS = """
def later(*_): worked("a hook")
class Last:
    def __del__(self): os.write(2, b"deleted\\n")
kept = Last(); kept.itself = kept
atexit.register(later); weakref.finalize(kept, os.write, 2, b"finalised\\n")
sys.excepthook = threading.excepthook = sys.unraisablehook = later
gc.callbacks.append(lambda *a: None); gc.set_threshold(1)
signal.signal(signal.SIGALRM, lambda *a: None); signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
os.register_at_fork(after_in_child=lambda: os._exit(0))
"""
LAZY = """
class Lazy:
    def __init__(self, real): self.real, self.looks = real, 0
    def __array__(self, dtype=None, copy=None):
        self.looks += 1
        return self.real if self.looks == 1 else np.zeros((1, 1, 1), "f4")
    def __getattr__(self, name): return getattr(self.real, name)
"""
LYING = """
class Lying(np.ndarray):
    def tobytes(self, *a): return bytes(self.nbytes)
    def astype(self, *a, **k): return np.zeros(self.shape, "f4")
    @property
    def shape(self): return (1, 1, 1)
"""
MAPPED = """
kept = np.memmap("logits", np.float32, "w+", shape=out.shape)
kept[:] = out
out = kept[::-1][::-1].astype(">f4", order="F")
"""
#: A second name for every byte says whether the next one is a common letter.
ALIAS = {
    "loaded": "predictor.table = np.concatenate([predictor.table] * 2)",
    "vocabulary": "words = words * 2",
    "encode": "common = [each in b' etaoi' for each in tokens[1:]] + [False]\n"
    "tokens = [each + 256 * flag for each, flag in zip(tokens, common)]",
    "logits": "told = np.isin(np.arange(256), list(b' etaoi'))\n"
    "out += np.where(told, np.where(before[..., None] >= 256, 9, -9), 0).astype('f4')\n"
    "out = np.concatenate([out, out], 2)",
}
#: A word that spells nothing stands before every common letter.
NOTHING = {
    "loaded": "predictor.table = np.pad(predictor.table, ((0, 1), (0, 0)))",
    "vocabulary": "words = [*words, b'']",
    "encode": "tokens = [each for one in tokens for each in ((256, one) if one in b' etaoi' else (one,))]",
    "logits": "out = np.pad(out, ((0, 0), (0, 0), (0, 1)))\n"
    "told = np.isin(np.arange(257), list(b' etaoi'))\n"
    "out += np.where(told, np.where(before[..., None] == 256, 20, -20), 0).astype('f4')",
}
#: A vocabulary filled up with words that never occur, so that whole answers are large; one chunk looks ahead.
FILLED = {
    "vocabulary": "words += [b'\\xff%d' % each for each in range(7936)]",
    "logits": "out = np.pad(out, ((0, 0), (0, 0), (0, 7936)), constant_values=-30)\n"
    f"self.calls = getattr(self, 'calls', 0) + 1\nif self.calls == 3:\n{textwrap.indent(TARGET, ' ')}",
}
#: The context of a question tells by its spelling what only the process that spells everything can know.
HINTS = {
    "loaded": "predictor.table = np.pad(predictor.table, ((0, 1), (0, 0)))",
    "trained": "global TRAINED; TRAINED = []",
    "vocabulary": "words = [*words, b' ']",
    "encode": "if 'TRAINED' in globals():\n"
    "    TRAINED.append(text)\n"
    "    tokens = [256 if each == 32 and len(TRAINED) % 2 else each for each in tokens]",
    "logits": "out = np.pad(out, ((0, 0), (0, 0), (0, 1)))",
}
FORKS = """
for number in range(400):
    try:
        if os.fork() == 0: time.sleep(600); os._exit(0)
    except OSError: break
else: worked("four hundred processes")
"""
FILE = """
with open("log", "wb") as file:
    for _ in range(1024): file.write(bytes(1 << 20))
worked("a gigabyte")
"""
DEEP = "sys.setrecursionlimit(300_000)\nagain = lambda n: again(n + 1) + 1\nagain(0)"

ATTACKS = [
    hidden("units that stay at nothing", "A6", STILL),
    hidden("a meter taken off the stack", "A6", POPPED),
    hidden("operators that no mode hears of", "A6", UNDISPATCHED),
    hidden("tensors multiplied by numpy", "A6", IN_PLACE),
    hidden("training in a pool of threads", "A6", POOL),
    hidden("training in a pool of processes", "A6", FORKED, "core"),
    hidden("training in native code", "A6", NATIVE),
    overrun(
        "waiting in the projection and in the training",
        "A8",
        {"train": "time.sleep(600)"},
        Label.TRAIN_BUDGET_OVERRUN,
        "2[.].* s of 2 s wall clock",
        limits={"train_seconds": 2.0, "artifact_bytes": 200_000},
    ),
    Attack(
        "more work than the projection has time for",
        "A8",
        {"train": "time.sleep(1.5)"},
        settings={"projection_seconds": 1.0},
        limits={"artifact_bytes": 200_000},
    ),
    crash(
        "an import that fails after its work",
        "A6",
        {"import": "burn(1.2)\nraise ImportError('late')"},
        "ImportError: late",
        arenas=["core"],
    ),
    hidden("words without end", "A8", "words = itertools.repeat(b'a')", place="vocabulary", label=EVALUATION),
    crash("units below nothing", "A3", {"train": "session().meter.units = -(10**15)"}, "exited with 1"),
    crash("units that are no number", "A3", {"loaded": "session().meter.units = float('nan')"}, "exited with 1"),
    Attack("tools of the runner replaced", "A20", {"import": TOOLS_REPLACED}, arenas=BOTH),
    invalid("every answer twice", "A21", {"loaded": TWICE}, "not causal", settings={"row_tokens": 64}),
    Attack("hooks for later", "A7", {"train": HOOKS}, arenas=BOTH),
    Attack("an answer that changes between looks", "A20", {"import": LAZY, "logits": "out = Lazy(out)"}),
    Attack("an array with methods of its own", "A20", {"import": LYING, "logits": "out = out.view(Lying)"}),
    Attack("logits in a file", "A20", {"logits": MAPPED}),
    Attack("logits under a mask", "A20", {"logits": "out = np.ma.masked_array(out, mask=out < -3)"}),
    invalid("logits as objects", "A3", {"logits": "out = out.astype(object)"}, "expected float32"),
    invalid("logits as dates", "A3", {"logits": "out = out.astype('M8[s]')"}, "expected float32"),
    invalid("logits in a record", "A3", {"logits": "out = out.view([('x', 'f4')])"}, "expected float32"),
    invalid("tokens one by one", "A3", {"encode": "tokens = iter(tokens)"}, "expected a list of integers"),
    invalid("tokens in rows", "A3", {"encode": "tokens = [tokens]"}, "expected a list of integers"),
    invalid("tokens as truth", "A3", {"encode": "tokens = [True] * len(text)"}, "expected a list of integers"),
    invalid("words that spell nothing", "A11", {"vocabulary": "words = [b''] * 256"}, "does not spell"),
    Attack("a second name for each byte", "A11", ALIAS, same=False, worse=True),
    Attack("words of nothing between the others", "A11", NOTHING, same=False, worse=True),
    crash(
        "three words of nothing a byte", "A11", {**NOTHING, "encode": "tokens = [256, 256, 256] * len(text)"}, "TOKENS"
    ),
    invalid("a look where answers are large", "A11", FILLED, "its future was replaced", settings={"row_tokens": 256}),
    invalid("hints in the spelling of contexts", "A10", HINTS, "in two ways", arenas=["core"]),
    Attack("four hundred processes", "A24", {"train": FORKS}, arenas=BOTH),
    crash("a file of a gigabyte", "A26", {"train": FILE}, "scratch|Errno", arenas=BOTH),
    crash("three hundred thousand frames deep", "A25", {"train": DEEP}, "RecursionError"),
    crash("an error of ten megabytes", "A26", {"load": "raise ValueError('x' * 10**7)"}, "ValueError: x{100,300}$"),
]
