"""Optimisation of airbench: how many pictures are seen, in what batches, and what a step does."""

from __future__ import annotations

from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.library import shared
from specialists.proposers.catalog.library.parameter_golf import hyperparameters
from specialists.proposers.catalog.transform import Band, Library, Settings, Variant

LIBRARY = Library("optimization", "optimization.py")
SGD = "torch.optim.SGD(parameter_groups(model), *REST_)"
MUON = '''
class Muon(torch.optim.Optimizer):
    """Momentum whose updates of kernels and matrices are made orthogonal (Jordan et al. 2024)."""

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One update; every group has lr, momentum and weight_decay."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                held = self.state[p].setdefault("held", torch.zeros_like(p))
                held.lerp_(p.grad, 1.0 - group["momentum"])
                update = orthogonal(p.grad.lerp(held, group["momentum"]).flatten(1)).view(p.shape)
                p.mul_(1.0 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearly the nearest matrix with singular values near one, by three Newton-Schulz steps; matrix (N, M)."""
    tall = matrix.size(0) > matrix.size(1)
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(3):
        gram = x @ x.T
        x = 3.4445 * x + (2.0315 * gram @ gram - 4.7750 * gram) @ x
    return x.T if tall else x


def split_groups(model: nn.Module, large: bool) -> list[dict[str, object]]:
    """Groups of kernels and matrices only, at FACTOR times their rate; or all the others."""
    groups = [g for g in parameter_groups(model) if all((p.ndim > 1) == large for p in g["params"])]
    return [g | {"lr": FACTOR * g["lr"], "peak": FACTOR * g["peak"]} for g in groups] if large else groups
'''


@LIBRARY.idea(
    "fewer-epochs",
    "epochs",
    Band.STRONG,
    "airbench (Jordan 2024)",
    error=1,
    variants=[
        Variant("5", 0.7, {"epochs": 5.0}),
        Variant("4", 1.0, {"epochs": 4.0}),
        Variant("3", 1.5, {"epochs": 3.0}),
        Variant("2.5", 2.0, {"epochs": 2.5}),
    ],
    sets=True,
)
def fewer_epochs(edit: Edit, settings: Settings) -> None:
    """Accuracy that is left over above the gate is time that need not be spent"""
    shared.set_number(edit, "EPOCHS", settings["epochs"])


@LIBRARY.idea(
    "more-epochs",
    "epochs",
    Band.DOUBTFUL,
    "none: back over the gate",
    error=-1,
    variants=[Variant("half", 0.5, {"epochs": 0.5}), Variant("one", 1.0, {"epochs": 1.0})],
    repair=True,
)
def more_epochs(edit: Edit, settings: Settings) -> None:
    """A little more training brings an accuracy that is just too low back over the gate"""
    more = settings["epochs"]
    edit.move("EPOCHS", f"{edit.number('EPOCHS') + more:g}", f"more-epochs +{more:g}")


@LIBRARY.idea(
    "batch-size",
    "batch",
    Band.SOME,
    "Smith et al. 2018; McCandlish et al. 2018",
    error=1,
    variants=[Variant("96", 0.3, {"rows": 96}), Variant("128", 0.7, {"rows": 128}), Variant("192", 1.5, {"rows": 192})],
    sets=True,
)
def batch_size(edit: Edit, settings: Settings) -> None:
    """Larger batches pay the fixed cost of a step less often"""
    shared.set_number(edit, "BATCH", settings["rows"])


@LIBRARY.idea(
    "muon",
    "orthogonal-updates",
    Band.UNCLEAR,
    "Jordan et al. 2024",
    marks=["Muon"],
    error=-1,
    variants=[Variant("gentle", 0.7, {"factor": "0.2"}), Variant("standard", 1.0, {"factor": "0.5"})],
)
def muon(edit: Edit, settings: Settings) -> None:
    """Orthogonal updates of kernels and matrices learn more from each batch, at a dearer step"""
    edit.rewrite(
        "make_optimizers",
        f"[{SGD}]",
        "[Muon(split_groups(model, True), MUON), torch.optim.SGD(split_groups(model, False), *REST_)]",
    )
    edit.add_constant('MUON: dict[str, float] = {"lr": 0.0, "momentum": 0.8, "weight_decay": 0.0}')
    edit.define(MUON.replace("FACTOR", settings["factor"]), before="make_optimizers")


LIBRARY.adopt(hyperparameters.LIBRARY, "raise-rate", "lower-rate")


@LIBRARY.idea("straight-decay", "schedule", Band.UNCLEAR, "Defazio et al. 2023; airbench (Jordan 2024)")
def straight_decay(edit: Edit, settings: Settings) -> None:
    """A straight line to zero keeps the rate higher in the middle of a short run than a cosine keeps it late"""
    edit.rewrite("schedule", "0.5 * (1.0 + math.cos(math.pi * A_ / B_))", "1.0 - (A_) / (B_)")
    edit.drop_import("math")


@LIBRARY.idea(
    "warmup",
    "schedule",
    Band.UNCLEAR,
    "Goyal et al. 2017",
    variants=[Variant("short", 0.5, {"share": 0.05}), Variant("long", 1.0, {"share": 0.2})],
    sets=True,
)
def warmup(edit: Edit, settings: Settings) -> None:
    """A rate that rises first lets norms settle before the steps are large"""
    shared.set_number(edit, "WARMUP", settings["share"])


@LIBRARY.idea(
    "momentum",
    "momentum",
    Band.UNCLEAR,
    "Sutskever et al. 2013; airbench (Jordan 2024)",
    variants=[Variant("0.85", 0.5, {"share": 0.85}), Variant("0.95", 1.0, {"share": 0.95})],
    sets=True,
)
def momentum(edit: Edit, settings: Settings) -> None:
    """How long a step is remembered should fit how short the run is"""
    shared.set_number(edit, "MOMENTUM", settings["share"])


@LIBRARY.idea("fused-update", "step-cost", Band.SOME, "PyTorch (fused SGD)", marks=["fused"])
def fused_update(edit: Edit, settings: Settings) -> None:
    """One call for all parameters instead of several for each makes a step cheaper"""
    edit.rewrite("make_optimizers", "torch.optim.SGD(G_, *REST_)", "torch.optim.SGD(G_, *REST_, fused=True)")


@LIBRARY.idea("adam", "adaptive-rates", Band.DOUBTFUL, "Loshchilov and Hutter 2019", marks=["AdamW"], error=1)
def adam(edit: Edit, settings: Settings) -> None:
    """Rates per weight need no search for the one rate that suits them all"""
    edit.rewrite(
        "make_optimizers",
        SGD,
        "torch.optim.AdamW([group | ADAM for group in parameter_groups(model)])",
    )
    edit.add_constant('ADAM: dict[str, float] = {"lr": 2e-3, "peak": 2e-3}')


@LIBRARY.idea("bias-rate", "group-rates", Band.DOUBTFUL, "Page 2019; airbench (Jordan 2024)", marks=["BIAS_RATE"])
def bias_rate(edit: Edit, settings: Settings) -> None:
    """Biases and gains of norms bear a rate several times that of the kernels"""
    edit.add_constant("BIAS_RATE: float = 4.0")
    edit.wrap_return(
        "parameter_groups",
        '[g if g["weight_decay"] else g | {"lr": BIAS_RATE * g["lr"], "peak": BIAS_RATE * g["peak"]} for g in V_]',
    )
