"""Systems of NanoChat-D12: what a step costs, how its gradient is made, what a prediction sees."""

from __future__ import annotations

from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.library import shared
from specialists.proposers.catalog.library.parameter_golf import loss
from specialists.proposers.catalog.transform import Band, Library, Settings, Variant

LIBRARY = Library("systems", "systems.py")
ENTROPY = "F.cross_entropy(A_, B_)"


@LIBRARY.idea(
    "larger-portions",
    "step-cost",
    Band.SOME,
    "Paszke et al. 2019 (cost of a call)",
    train=-1,
    variants=[Variant("8", 2.0, {"rows": 8}), Variant("16", 4.0, {"rows": 16}), Variant("32", 4.0, {"rows": 32})],
    sets=True,
)
def larger_portions(edit: Edit, settings: Settings) -> None:
    """A batch that passes in fewer portions costs fewer calls and leaves time for more steps"""
    shared.set_number(edit, "PORTION", settings["rows"])


@LIBRARY.idea("causal-kernel", "step-cost", Band.SOME, "Dao et al. 2022 (FlashAttention)", train=-1)
def causal_kernel(edit: Edit, settings: Settings) -> None:
    """Causal attention in one kernel needs neither the mask nor the table of scores"""
    edit.rewrite(
        "attend",
        "(scores + causal_mask(L_)).softmax(-1) @ value",
        "F.scaled_dot_product_attention(query, key, value, is_causal=True)",
    )
    edit.replace_run(
        "attend",
        ["scores = S_", "return R_"],
        "return R_",
    )
    edit.remove("causal_mask")
    edit.drop_import("math")


@LIBRARY.idea(
    "kept-mask", "step-cost", Band.UNCLEAR, "none: what is constant is made once", marks=["lru_cache"], train=-1
)
def kept_mask(edit: Edit, settings: Settings) -> None:
    """A mask that is made once for each length spares work in every layer of every portion"""
    edit.rewrite("attend", "causal_mask(L_)", "kept_mask(L_)")
    edit.define(
        '''
@lru_cache(maxsize=8)
def kept_mask(length: int) -> Tensor:
    """The mask of a length, made once."""
    with torch.inference_mode(False):
        return causal_mask(length)
''',
        before="attend",
    )
    edit.need_import("from functools import lru_cache")


@LIBRARY.idea(
    "bfloat16-steps",
    "precision",
    Band.DOUBTFUL,
    "Micikevicius et al. 2018; Kalamkar et al. 2019",
    marks=["autocast"],
    train=1,
)
def bfloat16_steps(edit: Edit, settings: Settings) -> None:
    """Matrix products in sixteen bits halve the memory that has to be moved"""
    edit.rewrite("step", "model(X_)", "in_half(model, X_)")
    edit.define(
        '''
def in_half(model: nn.Module, tokens: Tensor) -> Tensor:
    """Logits (B, T, V) as float32 from products in bfloat16."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return model(tokens).float()
''',
        before="step",
    )


@LIBRARY.idea(
    "clip-norm",
    "clip",
    Band.UNCLEAR,
    "Pascanu et al. 2013",
    variants=[Variant("loose", 0.5, {"norm": 4.0}), Variant("tight", 1.0, {"norm": 0.25})],
    sets=True,
)
def clip_norm(edit: Edit, settings: Settings) -> None:
    """The norm at which gradients are cut decides whether rare batches steer the run"""
    shared.set_number(edit, "CLIP", settings["norm"])


@LIBRARY.idea(
    "tail-average",
    "averaging",
    Band.SOME,
    "Izmailov et al. 2018 (SWA); Sanyal et al. 2023 (LAWA)",
    marks=["TAIL"],
    train=1,
    variants=[Variant("short", 0.5, {"tail": "0.1"}), Variant("long", 1.0, {"tail": "0.25"})],
)
def tail_average(edit: Edit, settings: Settings) -> None:
    """The plain mean of the weights over the run's tail lies nearer the middle of the basin"""
    edit.add_constant(f"TAIL: float = {settings['tail']}")
    edit.insert("step", "average(model, fraction)", at_end=True)
    edit.rewrite("pack", "state.values()", "averaged(state).values()")
    edit.define(
        '''
class Mean:
    """Running mean of the weights by name, and of how many steps it is."""

    steps: int = 0
    weights: dict[str, Tensor] = {}


def average(model: nn.Module, fraction: float) -> None:
    """Take the weights of a step in the tail of the run into the mean."""
    if fraction >= 1.0 - TAIL:
        Mean.steps += 1
        for name, tensor in model.state_dict().items():
            Mean.weights.setdefault(name, tensor.clone()).lerp_(tensor, 1.0 / Mean.steps)


def averaged(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mean where there is one, else the state itself."""
    return {name: Mean.weights.get(name, tensor) for name, tensor in state.items()}
''',
        before="step",
    )


LIBRARY.adopt(loss.LIBRARY, "z-loss")


@LIBRARY.idea(
    "label-smoothing",
    "confidence",
    Band.UNCLEAR,
    "Szegedy et al. 2016; Vaswani et al. 2017",
    marks=["SMOOTHING"],
    variants=[Variant("light", 0.5, {"share": "0.02"}), Variant("standard", 1.0, {"share": "0.05"})],
)
def label_smoothing(edit: Edit, settings: Settings) -> None:
    """Targets with a little mass elsewhere discourage overconfidence"""
    edit.add_constant(f"SMOOTHING: float = {settings['share']}")
    edit.rewrite("training_loss", ENTROPY, "F.cross_entropy(A_, B_, label_smoothing=SMOOTHING)")


@LIBRARY.idea(
    "longer-window",
    "context",
    Band.UNCLEAR,
    "Press et al. 2022; Su et al. 2021",
    evaluate=1,
    variants=[Variant("96", 0.3, {"window": 96}), Variant("128", 0.5, {"window": 128})],
    sets=True,
)
def longer_window(edit: Edit, settings: Settings) -> None:
    """Predictions that see more tokens than training did have more to go by, as far as positions allow"""
    shared.set_number(edit, "WINDOW", settings["window"])
