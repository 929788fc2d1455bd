"""Test-time training: learning from chunks that have been scored."""

from __future__ import annotations

from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.transform import Band, Library, Settings, Variant

LIBRARY = Library("test_time_training", "test_time_training.py")
STEP = "learn(model, optimizer, windows(tokens))"
ADAPTER = '''
def learns(name: str, parameter: nn.Parameter) -> bool:
    """True for parameters that move while text is scored."""
    return True


def windows(tokens: Tensor) -> Tensor:
    """Chunk (B, T) -> windows (N, CONTEXT + 1) of it that do not overlap."""
    length = min(hyperparameters.CONTEXT + 1, tokens.size(1))
    return tokens.unfold(1, length, length).flatten(0, 1)


@torch.enable_grad()
def learn(model: nn.Module, optimizer: torch.optim.Optimizer, tokens: Tensor) -> None:
    """One step on windows (N, T + 1)."""
    losses = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    losses.sum().div(max(1, losses.numel())).backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
'''


def _adapter(edit: Edit, rate: str) -> None:
    """Install gradient descent on scored chunks."""
    edit.refuse_if(edit.mentions("learns"), "already applied: there is an adapter")
    edit.rewrite_return("make_adapter", "None", "adapt")
    edit.define(ADAPTER, before="make_adapter")
    edit.insert(
        "make_adapter",
        f"""
chosen = [p for n, p in model.requires_grad_(False).named_parameters() if learns(n, p)]
optimizer = torch.optim.SGD([p.requires_grad_() for p in chosen], lr=RATE)

def adapt(tokens: Tensor) -> None:
    {STEP}
""",
        at_end=True,
    )
    edit.add_constant(f"RATE: float = {rate}")
    for line in ("import hyperparameters", "import torch", "from torch.nn import functional as F"):
        edit.need_import(line)


def _restrict(edit: Edit, code: str, rate: str) -> None:
    """Move only some parameters; installs the adapter where there is none."""
    if not edit.mentions("learns"):
        _adapter(edit, rate)
    edit.body("learns", f"return {code}")


@LIBRARY.idea(
    "score-first-sgd",
    "dynamic-evaluation",
    Band.SOME,
    "Krause et al. 2018; Sun et al. 2020",
    marks=["learns"],
    evaluate=1,
    variants=[
        Variant("gentle", 0.6, {"rate": "0.01"}),
        Variant("standard", 1.0, {"rate": "0.03"}),
        Variant("bold", 1.5, {"rate": "0.1"}),
    ],
)
def score_first_sgd(edit: Edit, settings: Settings) -> None:
    """One gradient step on each scored chunk follows the topic and the author"""
    _adapter(edit, settings["rate"])


@LIBRARY.idea("adapt-gains", "adapted-part", Band.UNCLEAR, "Wang et al. 2021 (Tent)", evaluate=1)
def adapt_gains(edit: Edit, settings: Settings) -> None:
    """Moving gains only adapts at little risk of forgetting"""
    _restrict(edit, "parameter.ndim < 2", "0.1")


@LIBRARY.idea("adapt-last-block", "adapted-part", Band.UNCLEAR, "Lee et al. 2023 (surgical fine-tuning)", evaluate=1)
def adapt_last_block(edit: Edit, settings: Settings) -> None:
    """The last block alone adapts most cheaply, because gradients stop there"""
    _restrict(edit, 'name.startswith(f"blocks.{hyperparameters.LAYERS - 1}.")', "0.03")


@LIBRARY.idea("adapt-tables", "adapted-part", Band.UNCLEAR, "Krause et al. 2018", evaluate=1)
def adapt_tables(edit: Edit, settings: Settings) -> None:
    """Embedding rows carry what a text talks about, so they are what should move"""
    _restrict(edit, 'parameter.ndim == 2 and "blocks" not in name', "0.1")


@LIBRARY.idea(
    "adaptive-rates", "adapter-optimizer", Band.UNCLEAR, "Krause et al. 2018 (RMS); Kingma and Ba 2015", evaluate=1
)
def adaptive_rates(edit: Edit, settings: Settings) -> None:
    """Rates per parameter let rare features move as fast as common ones"""
    edit.refuse_if(not edit.mentions("learns"), "there is no adapter yet")
    edit.rewrite(
        "make_adapter",
        "torch.optim.SGD(P_, lr=RATE, *REST_)",
        "torch.optim.AdamW(P_, lr=0.01 * RATE, weight_decay=0.0)",
    )


@LIBRARY.idea("adapter-momentum", "adapter-optimizer", Band.UNCLEAR, "Sutskever et al. 2013")
def adapter_momentum(edit: Edit, settings: Settings) -> None:
    """Momentum averages the gradients of a few chunks before the model follows"""
    edit.refuse_if(not edit.mentions("learns"), "there is no adapter yet")
    edit.rewrite("make_adapter", "torch.optim.SGD(P_, lr=RATE)", "torch.optim.SGD(P_, lr=RATE, momentum=0.7)")


@LIBRARY.idea("two-passes", "adapter-effort", Band.UNCLEAR, "Rannen-Triki et al. 2024", marks=["PASSES"], evaluate=1)
def two_passes(edit: Edit, settings: Settings) -> None:
    """A second step on the same chunk takes more from text that will not come again"""
    edit.refuse_if(not edit.mentions("learns"), "there is no adapter yet")
    edit.replace("make_adapter", STEP, f"for _ in range(PASSES):\n    {STEP}")
    edit.add_constant("PASSES: int = 2")


@LIBRARY.idea(
    "elastic-return", "adapter-memory", Band.UNCLEAR, "Krause et al. 2018 (decay to the start)", marks=["origin"]
)
def elastic_return(edit: Edit, settings: Settings) -> None:
    """A pull back to the trained weights forgets what was particular to an earlier text"""
    edit.refuse_if(not edit.mentions("learns"), "there is no adapter yet")
    edit.insert("make_adapter", "origin = [p.detach().clone() for p in chosen]", after="chosen = C_")
    pull = "with torch.no_grad():\n    for p, start in zip(chosen, origin, strict=True):\n        p.lerp_(start, 0.02)"
    edit.replace("make_adapter", STEP, f"{STEP}\n{pull}")


@LIBRARY.idea(
    "token-cache",
    "cache",
    Band.SOME,
    "Kuhn and De Mori 1990; Grave et al. 2017",
    marks=["Cache"],
    evaluate=1,
    variants=[
        Variant(
            "unigram", 0.5, {"key": "tokens[:, :-1] * 0", "read": "inputs[0] * 0", "share": "0.05", "half": "1000.0"}
        ),
        Variant("bigram", 1.0, {"key": "tokens[:, :-1]", "read": "inputs[0]", "share": "0.3", "half": "30.0"}),
    ],
)
def token_cache(edit: Edit, settings: Settings) -> None:
    """Counts of what a text has used so far predict its names and habits without a gradient"""
    edit.wrap_return("make_adapter", "Cache(model).watch(V_)")
    edit.define(
        f'''
class Cache:
    """Counts tokens of scored text and mixes them into predictions that are made without gradients."""

    def __init__(self, model: nn.Module) -> None:
        with torch.no_grad():
            size = model(torch.zeros(1, 1, dtype=torch.int64)).size(-1)
        self.counts = torch.zeros(size, size)
        model.register_forward_hook(self.mix)

    def mix(self, model: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> Tensor:
        """Logits (B, T, V) of the mixture; the share of the counts grows with their number."""
        if torch.is_grad_enabled():
            return logits
        rows = self.counts[{settings["read"]}]
        total = rows.sum(-1, keepdim=True)
        share = {settings["share"]} * total / (total + {settings["half"]})
        return torch.log((1.0 - share) * logits.softmax(-1) + share * rows / total.clamp_min(1.0) + 1e-9)

    def watch(self, adapter: Adapter | None) -> Adapter:
        """An adapter that counts a scored chunk (B, T), then hands it on."""

        def adapt(tokens: Tensor) -> None:
            keys, values = ({settings["key"]}).flatten(), tokens[:, 1:].flatten()
            self.counts.index_put_((keys, values), torch.ones(values.size(0)), accumulate=True)
            if adapter is not None:
                adapter(tokens)

        return adapt
''',
        before="make_adapter",
    )
    edit.need_import("import torch")


@LIBRARY.idea(
    "token-bias",
    "cache",
    Band.UNCLEAR,
    "Jelinek et al. 1991; Krause et al. 2018",
    marks=["TokenBias"],
    evaluate=1,
    variants=[Variant("gentle", 0.5, {"rate": "5.0"}), Variant("standard", 1.0, {"rate": "20.0"})],
)
def token_bias(edit: Edit, settings: Settings) -> None:
    """A bias per token moved by seen minus expected frequency is the cheapest adaptation"""
    edit.wrap_return("make_adapter", "TokenBias(model).watch(V_)")
    edit.define(
        f'''
class TokenBias:
    """A bias on the logits that follows how often tokens were seen against how often they were expected."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.bias = torch.zeros(1)
        model.register_forward_hook(self.add)

    def add(self, model: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> Tensor:
        """Logits (B, T, V) with the bias, when they are made without gradients."""
        return logits if torch.is_grad_enabled() else logits + self.bias

    def watch(self, adapter: Adapter | None) -> Adapter:
        """An adapter that moves the bias by a scored chunk (B, T), then hands it on."""

        def adapt(tokens: Tensor) -> None:
            length = min(hyperparameters.CONTEXT, tokens.size(1))
            with torch.no_grad():
                guesses = self.model(tokens.unfold(1, length, length).flatten(0, 1)).softmax(-1)
            expected = guesses.flatten(0, -2).mean(0)
            seen = tokens.flatten().bincount(minlength=expected.numel()) / tokens.numel()
            self.bias = (0.99 * self.bias + {settings["rate"]} * (seen - expected)).clamp(-2.0, 2.0)
            if adapter is not None:
                adapter(tokens)

        return adapt
''',
        before="make_adapter",
    )
    edit.need_import("import hyperparameters")
    edit.need_import("import torch")
