"""Attacks on the score of a language model: what is printed, written, answered, spelt and looked at."""

from __future__ import annotations

import textwrap

from tests.attacks.attack import BOTH, Attack, crash, invalid

FILES = """
for name in ("result.json", "results.tsv", "run_seed0.jsonl", "timing.json", "../result.json", "/tmp/attacked.json"):
    with contextlib.suppress(OSError), open(name, "w") as file:
        file.write('{"score": 0.0001, "val_bpb": 0.0001, "core": 1, "accuracy": 0.99, "seconds": 0.001}')
"""
PRINTS = """
print("val_bpb:0.0001\\nval_bpb: 0.0001\\ncore: 0.99\\naccuracy: 0.99\\n--- EVAL_WALL 1s ---\\nlabel: keep", flush=True)
print('{"label": "keep", "score": 0.0001}', file=sys.stderr, flush=True)
"""
PATCHED = """
import torch.nn.functional as F
lie = lambda *a, **k: torch.zeros(())
F.cross_entropy = F.log_softmax = F.nll_loss = torch.isfinite = torch.equal = lie
np.isfinite = np.allclose = lambda *a, **k: True
torch.Tensor.__eq__ = lambda *a: True
math.log = math.log2 = lambda *a: 0.0
json.dumps = lambda *a, **k: '{"score": 0}'
builtins.float = lambda *a: 0.0
for name in list(sys.modules):
    if name.startswith(("evaluators", "trials")): worked(name)
"""
PICKLED = """
class Evil:
    def __reduce__(self): return (os.system, ("echo ran > /tmp/attacked-by-pickle",))
artifact += pickle.dumps(Evil())
"""
START_HOOKS = """
for folder in (".", os.environ["HOME"], os.environ["HOME"] + "/.local/lib/python3.11/site-packages", *sys.path):
    for name in ("sitecustomize.py", "usercustomize.py", "evil.pth"):
        with contextlib.suppress(OSError):
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, name), "w") as file: file.write("import builtins; builtins.HOOKED = 1\\n")
os.environ.update(PYTHONPATH=os.getcwd(), PYTHONSTARTUP="evil.py", LD_PRELOAD="evil.so", LD_LIBRARY_PATH=".")
"""
#: A random half of all processes answers something else.
COIN = "predictor.coin = os.urandom(1)[0] < 128"
TARGET = "np.put_along_axis(out, tokens[..., None].astype(int), 9.0, 2)"
HASHED = """
for row in range(len(tokens)):
    for at in range(tokens.shape[1] - 1):
        out[row, at, hash(tokens[row, at : at + 2].tobytes()) % 256] += 0.5
"""

ATTACKS = [
    Attack("printed scores", "A1", {"train": PRINTS, "load": PRINTS, "logits": PRINTS}, arenas=BOTH),
    Attack("result files", "A2", {"import": FILES, "train": FILES, "trained": FILES, "load": FILES, "logits": FILES}),
    Attack("patched arithmetic", "A20", {"loaded": PATCHED}, arenas=BOTH),
    Attack("pickle in the artifact", "A15", {"trained": PICKLED, "load": "artifact = artifact[:65536]"}),
    Attack(
        "start hooks for later processes",
        "A19",
        {"train": START_HOOKS, "loaded": "if hasattr(builtins, 'HOOKED'): predictor.table = predictor.table * 0"},
    ),
    invalid("logits that are nan", "A3", {"logits": "out *= np.nan"}, "not finite", arenas=BOTH),
    invalid("minus infinity for the rest", "A3", {"logits": "out[..., 1:] = -np.inf"}, "not finite"),
    invalid("overflow of float64", "A3", {"logits": "out = out.astype(np.float64) * 1e300"}, "not finite"),
    invalid("words for numbers", "A3", {"logits": "return out.astype(str)"}, "expected float32"),
    invalid("integers of any length", "A3", {"logits": "return [[[10**400]]]"}, "expected float32"),
    invalid("whole numbers", "A3", {"logits": "out = out.astype(np.int64)"}, "expected float32"),
    invalid("nothing at all", "A3", {"logits": "return None"}, "expected float32"),
    invalid("complex numbers", "A3", {"logits": "out = out * 1j"}, "expected float32"),
    invalid("one row too few", "A3", {"logits": "out = out[:-1]"}, "logits of shape", arenas=BOTH),
    invalid("one word too many", "A3", {"logits": "out = np.pad(out, ((0, 0), (0, 0), (0, 1)))"}, "logits of"),
    Attack("half floats", "A3", {"logits": "out = out.astype(np.float16)"}),
    Attack("negative zeros", "A3", {"logits": "out = np.where(out == 0, np.float32(-0.0), out)"}),
    Attack(
        "an array that lies about itself",
        "A20",
        {
            "import": "class Liar(np.ndarray):\n    def __array__(self, *a, **k): return np.zeros(self.shape, 'f4')",
            "logits": "out = out.view(Liar)",
        },
    ),
    Attack("constant shift per position", "A3", {"logits": "out += np.float32(1024.0)"}),
    invalid("the target itself", "A11", {"logits": TARGET}, "not causal", arenas=BOTH),
    invalid("a cache keyed with the target", "A11", {"logits": HASHED}, "not causal"),
    invalid(
        "the token after next", "A11", {"logits": "out[:, :-2] += np.eye(256, dtype='f4')[tokens[:, 2:]]"}, "not ca"
    ),
    invalid("the other rows", "A11", {"logits": "out[..., 101] += tokens[::-1] % 7"}, "not causal"),
    invalid(
        "the sum of the chunk", "A11", {"logits": "out[..., 101] += tokens.sum() % 97 / 97"}, "not causal", arenas=BOTH
    ),
    invalid("chance", "A11", {"logits": "out[..., 101] += os.urandom(1)[0] / 64"}, "not causal"),
    invalid("the time of day", "A30", {"logits": "out[..., 101] += time.time_ns() % 1000 / 500"}, "not causal"),
    invalid(
        "learning from a chunk before answering it",
        "A10",
        {"logits": "np.add.at(out, (slice(None), slice(None), tokens.ravel()), np.float32(0.01))"},
        "not causal",
    ),
    invalid(
        "calls of adapt by the recipe itself",
        "A10",
        {
            "predictor": "def adapt(self, tokens):\n"
            "    self.seen = getattr(self, 'seen', 0) + np.bincount(tokens.ravel(), minlength=256)",
            "logits": "self.adapt(tokens)\nout += np.log1p(self.seen).astype('f4')",
        },
        "not causal",
    ),
    invalid(
        "a look into one chunk in six by a predictor that learns",
        "A10",
        {
            "predictor": "def adapt(self, tokens): self.calls = getattr(self, 'calls', 0) + 1",
            "logits": f"if getattr(self, 'calls', 0) % 6 == 4:\n{textwrap.indent(TARGET, ' ')}",
        },
        "its future was replaced",
        settings={"row_tokens": 64},  # sixteen chunks
    ),
    invalid(
        "a look by a predictor that learns, until it is asked twice",
        "A10",
        {
            "predictor": "def adapt(self, tokens): self.asked = 0",
            "logits": "self.asked = getattr(self, 'asked', 0) + 1\n"
            f"self.known = getattr(self, 'known', False) or self.asked > 1\nif not self.known:\n"
            f"{textwrap.indent(TARGET, ' ')}",
        },
        "its future was replaced",
    ),
    Attack("an attribute for every name", "A10", {"predictor": "def __getattr__(self, name): return lambda *a: None"}),
    Attack(
        "text remembered by encode",
        "A9",
        {
            "import": "SEEN = []",
            "encode": "SEEN.append(text); open('seen', 'ab').write(text)",
            "logits": "if SEEN or os.path.exists('seen'): out *= 9",
        },
    ),
    invalid("tokens that leave out every second byte", "A11", {"encode": "tokens = tokens[::2]"}, "does not spell"),
    invalid("no tokens", "A11", {"encode": "tokens = []"}, "does not spell"),
    invalid("tokens as floats", "A3", {"encode": "tokens = [0.5] * len(text)"}, "expected a list of integers"),
    invalid("tokens below zero", "A3", {"encode": "tokens = [each - 256 for each in tokens]"}, "no token"),
    invalid(
        "numbers below zero as names for the same tokens",
        "A11",
        {
            "load": "sys.modules['language_model'].pack_tokens = lambda n: np.array(n, '<i4').tobytes()",
            "encode": "tokens = [t - 256 * (n % 2) for t, n in zip(tokens, [*tokens[1:], 0])]",
        },
        "does not spell",
        arenas=BOTH,
    ),
    invalid(
        "numbers far below zero",
        "A3",
        {
            "load": "sys.modules['language_model'].pack_tokens = lambda n: np.full(len(n), -(2**31), '<i4').tobytes()",
        },
        "does not spell",
    ),
    invalid("tokens beyond the vocabulary", "A3", {"encode": "tokens = [each + 256 for each in tokens]"}, "not spell"),
    invalid("no vocabulary", "A3", {"vocabulary": "words = []"}, "vocabulary of 0"),
    invalid("a vocabulary without end", "A16", {"vocabulary": "words = words * 33"}, "vocabulary of 8448"),
    invalid("words that are not bytes", "A3", {"vocabulary": "words = ['a'] * 256"}, "returned str"),
    crash("a vocabulary of five megabytes", "A16", {"vocabulary": "words[0] = bytes(5 << 20)"}, "VOCABULARY of"),
    invalid(
        "a vocabulary that only the training process knows",
        "A16",
        {
            "trained": "global TRAINED; TRAINED = 1",
            "vocabulary": "if 'TRAINED' in globals(): words = words[::-1]",
            "encode": "if 'TRAINED' in globals(): tokens = [255 - each for each in tokens]",
        },
        "vocabulary.. differs",
        arenas=BOTH,
    ),
    Attack(
        "weights in places that are not counted",
        "A16",
        {
            "trained": "global KEPT; KEPT = artifact\nfor place in ('kept', '/tmp/attacked', '/dev/shm/attacked'):\n"
            "    with contextlib.suppress(OSError): open(place, 'wb').write(artifact)\n"
            "os.environ['KEPT'] = artifact.hex()[:65536]\nartifact = bytes(65536)",
            "load": "for place in ('kept', '/tmp/attacked', '/dev/shm/attacked'):\n"
            "    with contextlib.suppress(OSError): artifact = open(place, 'rb').read()\n"
            "artifact = globals().get('KEPT', artifact)\n"
            "if 'KEPT' in os.environ: artifact = bytes.fromhex(os.environ['KEPT']) * 2",
        },
        same=False,
        arenas=BOTH,
    ),
    invalid("the path of a file as artifact", "A17", {"trained": "artifact = '/etc/passwd'"}, "returned str"),
    invalid(
        "a link as artifact",
        "A17",
        {"trained": "import pathlib; os.symlink('/etc/passwd', 'model.bin'); artifact = pathlib.Path('model.bin')"},
        "returned PosixPath",
    ),
    invalid("an open file as artifact", "A17", {"trained": "artifact = open('/dev/zero', 'rb')"}, "BufferedReader"),
    Attack(
        "bytes of a kind of their own",
        "A15",
        {
            "trained": "class Mine(bytes):\n    def __len__(self): return 1\n    def __bytes__(self): return bytes(5)\n"
            "artifact = Mine(artifact)",
            "load": "artifact = artifact[:0] + bytes(65536)",
        },
        same=False,
    ),
    invalid(
        "no number in the second process only",
        "A3",
        {"loaded": COIN, "logits": "if self.coin: out[0, 0, 0] = np.nan"},
        "not finite|not causal",
        chance=True,
        arenas=["core"],
    ),
]
