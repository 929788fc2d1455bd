"""Regularisation of airbench: norms, decay, dropout, averages of the weights."""

from __future__ import annotations

from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.library import shared
from specialists.proposers.catalog.library.parameter_golf import regularization
from specialists.proposers.catalog.transform import Band, Library, Settings, Variant

LIBRARY = Library("regularization", "regularization.py")
CLASS = "Averaging"


def _average(edit: Edit, after_step: str) -> None:
    """Predict with ``self.mean`` instead of the last weights; counters of the norms stay as they are."""
    edit.refuse_if(edit.mentions("mean"), "conflict: weights are averaged already")
    edit.insert(f"{CLASS}.__init__", "self.mean: dict[str, Tensor] = {}\nself.seen = 0", at_end=True)
    edit.insert(f"{CLASS}.after_step", after_step, at_end=True)
    edit.insert(f"{CLASS}.finish", "self.model.load_state_dict(self.model.state_dict() | self.mean)", at_end=True)
    edit.need_import("import torch")


@LIBRARY.idea(
    "weight-ema",
    "averaging",
    Band.UNCLEAR,
    "Polyak and Juditsky 1992; airbench (Jordan 2024)",
    marks=["EMA"],
    error=-1,
    variants=[Variant("fast", 0.5, {"decay": "0.9"}), Variant("slow", 1.0, {"decay": "0.98"})],
)
def weight_ema(edit: Edit, settings: Settings) -> None:
    """A moving average of the weights removes the noise of the last steps"""
    edit.add_constant(f"EMA: float = {settings['decay']}")
    _average(
        edit,
        """
if fraction >= 0.5:
    with torch.no_grad():
        self.seen += 1
        for name, tensor in self.model.state_dict().items():
            if tensor.is_floating_point():
                held = self.mean.setdefault(name, tensor.clone())
                held.lerp_(tensor, max(1.0 - EMA, 1.0 / self.seen))
""",
    )


@LIBRARY.idea(
    "tail-average",
    "averaging",
    Band.UNCLEAR,
    "Izmailov et al. 2018 (SWA)",
    marks=["TAIL"],
    error=-1,
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
            if tensor.is_floating_point():
                self.mean.setdefault(name, tensor.clone()).lerp_(tensor, 1.0 / self.seen)
""",
    )


@LIBRARY.idea(
    "weight-decay",
    "decay",
    Band.UNCLEAR,
    "Krogh and Hertz 1992; airbench (Jordan 2024)",
    variants=[Variant("none", 0.5, {"share": 0.0}), Variant("tenfold", 1.0, {"share": 5e-3})],
    sets=True,
)
def weight_decay(edit: Edit, settings: Settings) -> None:
    """How fast weights shrink sets the effective rate of every layer before a norm"""
    shared.set_number(edit, "WEIGHT_DECAY", settings["share"])


@LIBRARY.idea("decay-everything", "decay", Band.UNCLEAR, "Page 2019 (decay of biases too)")
def decay_everything(edit: Edit, settings: Settings) -> None:
    """Gains and biases that shrink like the kernels keep the norms' outputs small"""
    edit.rewrite("decayed", "(others, 0.0)", "(others, WEIGHT_DECAY)")


@LIBRARY.idea(
    "dropout",
    "noise",
    Band.DOUBTFUL,
    "Srivastava et al. 2014",
    error=1,
    variants=[Variant("light", 0.3, {"share": 0.1}), Variant("standard", 0.7, {"share": 0.25})],
    sets=True,
)
def dropout(edit: Edit, settings: Settings) -> None:
    """Hidden units that may be missing are not leant on"""
    shared.set_number(edit, "DROPOUT", settings["share"])


@LIBRARY.idea(
    "norm-momentum",
    "norm",
    Band.UNCLEAR,
    "Ioffe and Szegedy 2015; airbench (Jordan 2024)",
    variants=[Variant("0.3", 0.5, {"share": 0.3}), Variant("0.03", 1.0, {"share": 0.03})],
    sets=True,
)
def norm_momentum(edit: Edit, settings: Settings) -> None:
    """Statistics that follow the last batches fit the last weights, slower ones are less noisy"""
    shared.set_number(edit, "NORM_MOMENTUM", settings["share"])


@LIBRARY.idea("plain-norm", "norm", Band.UNCLEAR, "airbench (Jordan 2024, norms without gains)", marks=["affine"])
def plain_norm(edit: Edit, settings: Settings) -> None:
    """Norms without gains have nothing to learn that the next layer cannot"""
    edit.rewrite("norm", "nn.BatchNorm2d(C_, *REST_)", "nn.BatchNorm2d(C_, *REST_, affine=False)")


@LIBRARY.idea("no-norm", "norm", Band.DOUBTFUL, "Zhang et al. 2019 (Fixup); Brock et al. 2021", error=1)
def no_norm(edit: Edit, settings: Settings) -> None:
    """Two layers train without norms, and a step without them is cheaper"""
    edit.rewrite("norm", "nn.BatchNorm2d(C_, *REST_)", "nn.Identity()")


@LIBRARY.idea("group-norm", "norm", Band.DOUBTFUL, "Wu and He 2018", marks=["GroupNorm"], error=1)
def group_norm(edit: Edit, settings: Settings) -> None:
    """Norms over the channels of one picture need no running statistics"""
    edit.rewrite("norm", "nn.BatchNorm2d(channels, *REST_)", "nn.GroupNorm(4, channels)")


@LIBRARY.idea(
    "lookahead",
    "averaging",
    Band.UNCLEAR,
    "Zhang et al. 2019 (Lookahead); airbench (Jordan 2024)",
    marks=["slow_weights"],
    variants=[Variant("often", 1.0, {"every": 5}), Variant("seldom", 1.0, {"every": 20})],
)
def lookahead(edit: Edit, settings: Settings) -> None:
    """Slow weights that the fast ones return to halfway every few steps cancel oscillation"""
    regularization.lookahead(edit, settings)
    edit.need_import("import torch")
