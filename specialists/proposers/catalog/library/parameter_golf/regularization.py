"""Regularisation: averaging, dropout, noise, penalties."""

from __future__ import annotations

from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.transform import Band, Library, Settings, Variant

LIBRARY = Library("regularization", "regularization.py")
CLASS = "Averaging"
OWN_WEIGHTS = "return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}"


def _average(edit: Edit, after_step: str) -> None:
    """Pack ``self.mean`` instead of the model's own weights."""
    edit.refuse_if(edit.mentions("mean_of"), "conflict: weights are averaged already")
    edit.replace(f"{CLASS}.final_state", OWN_WEIGHTS, "return mean_of(self.mean, self.model)")
    edit.insert(f"{CLASS}.__init__", "self.mean: dict[str, Tensor] = {}\nself.seen = 0", at_end=True)
    edit.insert(f"{CLASS}.after_step", after_step, at_end=True)
    edit.define(
        '''
def mean_of(mean: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The averaged weights, or the model's own where nothing was averaged."""
    return {name: mean.get(name, tensor).clone() for name, tensor in model.state_dict().items()}
''',
        before=CLASS,
    )


@LIBRARY.idea(
    "weight-ema",
    "averaging",
    Band.SOME,
    "Polyak and Juditsky 1992; Izmailov et al. 2018",
    marks=["EMA"],
    variants=[Variant("fast", 0.5, {"decay": "0.95"}), Variant("slow", 1.0, {"decay": "0.99"})],
)
def weight_ema(edit: Edit, settings: Settings) -> None:
    """A moving average of the weights removes the noise of the last steps"""
    edit.add_constant(f"EMA: float = {settings['decay']}")
    _average(
        edit,
        """
with torch.no_grad():
    self.seen += 1
    for name, tensor in self.model.state_dict().items():
        held = self.mean.setdefault(name, tensor.clone())
        held.lerp_(tensor, max(1.0 - EMA, 1.0 / (1.0 + self.seen)))
""",
    )


@LIBRARY.idea(
    "tail-average",
    "averaging",
    Band.SOME,
    "Izmailov et al. 2018 (SWA); Sanyal et al. 2023 (LAWA)",
    marks=["TAIL"],
    variants=[Variant("short", 0.5, {"tail": "0.1"}), Variant("long", 1.0, {"tail": "0.25"})],
)
def tail_average(edit: Edit, settings: Settings) -> None:
    """The plain mean of the weights over the run's tail lies nearer the middle of the basin"""
    edit.add_constant(f"TAIL: float = {settings['tail']}")
    _average(
        edit,
        """
if fraction >= 1.0 - TAIL:
    with torch.no_grad():
        self.seen += 1
        for name, tensor in self.model.state_dict().items():
            held = self.mean.setdefault(name, tensor.clone())
            held.lerp_(tensor, 1.0 / self.seen)
""",
    )


@LIBRARY.idea(
    "dropout",
    "noise",
    Band.DOUBTFUL,
    "Srivastava et al. 2014",
    marks=["DROPOUT"],
    train=1,
    variants=[Variant("light", 0.5, {"rate": "0.05"}), Variant("standard", 1.0, {"rate": "0.1"})],
)
def dropout(edit: Edit, settings: Settings) -> None:
    """Dropped channels keep a small model from leaning on single features"""
    edit.add_constant(f"DROPOUT: float = {settings['rate']}")
    edit.wrap_return("drop", "nn.functional.dropout(V_, DROPOUT, training)")


@LIBRARY.idea(
    "stochastic-depth",
    "noise",
    Band.DOUBTFUL,
    "Huang et al. 2016",
    marks=["skip_rows"],
    variants=[Variant("light", 0.5, {"rate": "0.05"}), Variant("standard", 1.0, {"rate": "0.15"})],
)
def stochastic_depth(edit: Edit, settings: Settings) -> None:
    """Branches skipped at random for whole rows train an ensemble of depths"""
    edit.wrap_return("drop", "skip_rows(V_) if training else (V_)")
    edit.define(
        f'''
def skip_rows(x: Tensor) -> Tensor:
    """Zero a branch for a random {settings["rate"]} of the rows and rescale the others; x: (B, T, width)."""
    kept = torch.rand(x.size(0), 1, 1, device=x.device) >= {settings["rate"]}
    return x * kept / (1.0 - {settings["rate"]})
''',
        before="drop",
    )


@LIBRARY.idea(
    "gradient-noise",
    "noise",
    Band.DOUBTFUL,
    "Neelakantan et al. 2015",
    marks=["randn_like"],
    train=1,
    variants=[Variant("light", 0.5, {"share": "0.1"}), Variant("standard", 1.0, {"share": "0.3"})],
)
def gradient_noise(edit: Edit, settings: Settings) -> None:
    """Noise that fades with the budget helps gradients out of sharp minima"""
    edit.insert(
        f"{CLASS}.before_step",
        f"""
for p in self.model.parameters():
    if p.grad is not None and p.numel() > 1:
        p.grad.add_(torch.randn_like(p) * p.grad.std() * {settings["share"]} * (1.0 - fraction))
""",
        at_end=True,
    )


@LIBRARY.idea("centred-gradients", "gradient-shaping", Band.UNCLEAR, "Yong et al. 2020", marks=["keepdim", "sub_"])
def centred_gradients(edit: Edit, settings: Settings) -> None:
    """Gradients without their row mean constrain the weights to a smoother surface"""
    edit.insert(
        f"{CLASS}.before_step",
        """
for p in self.model.parameters():
    if p.grad is not None and p.ndim == 2:
        p.grad.sub_(p.grad.mean(dim=1, keepdim=True))
""",
        at_end=True,
    )


@LIBRARY.idea(
    "lookahead",
    "averaging",
    Band.UNCLEAR,
    "Zhang et al. 2019 (Lookahead)",
    marks=["slow_weights"],
    variants=[Variant("often", 1.0, {"every": 5}), Variant("seldom", 1.0, {"every": 20})],
)
def lookahead(edit: Edit, settings: Settings) -> None:
    """Slow weights that the fast ones return to halfway every few steps cancel oscillation"""
    edit.insert(f"{CLASS}.__init__", "self.slow_weights: list[Tensor] = []\nself.steps = 0", at_end=True)
    edit.insert(
        f"{CLASS}.after_step",
        f"""
self.steps += 1
with torch.no_grad():
    if not self.slow_weights:
        self.slow_weights = [p.clone() for p in self.model.parameters()]
    elif self.steps % {settings["every"]} == 0:
        for slow, p in zip(self.slow_weights, self.model.parameters(), strict=True):
            slow.lerp_(p, 0.5)
            p.copy_(slow)
""",
    )


@LIBRARY.idea(
    "table-penalty",
    "decay-targets",
    Band.UNCLEAR,
    "Krogh and Hertz 1992; Karpathy 2020",
    marks=["TABLE_PENALTY"],
    variants=[Variant("light", 0.5, {"weight": "1e-6"}), Variant("standard", 1.0, {"weight": "1e-5"})],
)
def table_penalty(edit: Edit, settings: Settings) -> None:
    """A penalty on the size of the largest table keeps rare rows small without touching the blocks"""
    edit.add_constant(f"TABLE_PENALTY: float = {settings['weight']}")
    largest = "max(model.parameters(), key=lambda p: p.size(0))"
    edit.wrap_return("penalty", f"V_ + TABLE_PENALTY * {largest}.square().sum()")


@LIBRARY.idea(
    "entropy-bonus",
    "confidence",
    Band.DOUBTFUL,
    "Pereyra et al. 2017",
    marks=["ENTROPY"],
    train=1,
    variants=[Variant("light", 0.5, {"weight": "0.003"}), Variant("standard", 1.0, {"weight": "0.01"})],
)
def entropy_bonus(edit: Edit, settings: Settings) -> None:
    """Rewarding entropy keeps early predictions from growing overconfident"""
    edit.add_constant(f"ENTROPY: float = {settings['weight']}")
    edit.wrap_return("penalty", "V_ + ENTROPY * (logits.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()")
