"""Loss of airbench: what each picture counts, and which are trained on at all."""

from __future__ import annotations

from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.library import shared
from specialists.proposers.catalog.transform import Band, Library, Settings, Variant

LIBRARY = Library("loss", "loss.py")
CHOOSES = "conflict: examples are chosen already"
ENTROPY = "F.cross_entropy(logits, targets, label_smoothing=LABEL_SMOOTHING)"


@LIBRARY.idea(
    "hardest-share",
    "selection",
    Band.SOME,
    "Katharopoulos and Fleuret 2018; Jiang et al. 2019 (selective backprop)",
    marks=["HARDEST"],
    error=1,
    variants=[
        Variant("75", 0.3, {"share": "0.75"}),
        Variant("60", 0.7, {"share": "0.6"}),
        Variant("40", 1.5, {"share": "0.4"}),
    ],
)
def hardest_share(edit: Edit, settings: Settings) -> None:
    """A look without gradients finds the examples that still teach something, and only they are paid for in full"""
    edit.refuse_if(edit.mentions("FIRST"), CHOOSES)
    edit.add_constant(f"HARDEST: float = {settings['share']}")
    edit.replace(
        "select",
        "return batch, targets",
        """
with torch.no_grad():
    losses = F.cross_entropy(model(batch), targets, reduction="none")
kept = losses.topk(max(2, round(HARDEST * losses.size(0)))).indices
return batch[kept], targets[kept]
""",
    )
    edit.need_import("import torch")


@LIBRARY.idea(
    "growing-batches",
    "selection",
    Band.SOME,
    "Smith et al. 2018 (batch instead of decay)",
    marks=["FIRST"],
    error=1,
    variants=[Variant("gentle", 0.5, {"share": "0.7"}), Variant("steep", 1.0, {"share": "0.4"})],
)
def growing_batches(edit: Edit, settings: Settings) -> None:
    """Early gradients agree, so the first batches can do with a part of their pictures"""
    edit.refuse_if(edit.mentions("HARDEST"), CHOOSES)
    edit.add_constant(f"FIRST: float = {settings['share']}")
    edit.replace(
        "select",
        "return batch, targets",
        "kept = max(2, round((FIRST + (1.0 - FIRST) * fraction) * targets.size(0)))\n"
        "return batch[:kept], targets[:kept]",
    )


@LIBRARY.idea(
    "label-smoothing",
    "confidence",
    Band.UNCLEAR,
    "Szegedy et al. 2016; airbench (Jordan 2024)",
    error=-1,
    variants=[Variant("light", 0.2, {"share": 0.05}), Variant("standard", 0.3, {"share": 0.1})],
    sets=True,
)
def label_smoothing(edit: Edit, settings: Settings) -> None:
    """Targets with a little mass elsewhere discourage overconfidence"""
    shared.set_number(edit, "LABEL_SMOOTHING", settings["share"])


@LIBRARY.idea("fading-smoothing", "confidence", Band.UNCLEAR, "Xu et al. 2020 (two-stage smoothing)", marks=["FADING"])
def fading_smoothing(edit: Edit, settings: Settings) -> None:
    """Mass on all classes early, when most are guesses, and none late, when the answer counts"""
    edit.add_constant("FADING: float = 0.2")
    smoothed = "F.cross_entropy(logits, targets, label_smoothing=LABEL_SMOOTHING + FADING * (1.0 - fraction))"
    edit.rewrite("training_loss", ENTROPY, smoothed)


@LIBRARY.idea(
    "poly-loss",
    "example-weights",
    Band.UNCLEAR,
    "Leng et al. 2022 (PolyLoss)",
    marks=["POLY"],
    variants=[Variant("one", 0.5, {"weight": "1.0"}), Variant("two", 1.0, {"weight": "2.0"})],
)
def poly_loss(edit: Edit, settings: Settings) -> None:
    """A term that is linear in the missing probability keeps examples in play that are nearly right"""
    edit.add_constant(f"POLY: float = {settings['weight']}")
    missing = "(1.0 - logits.softmax(-1).gather(1, targets[:, None])).mean()"
    edit.wrap_return("training_loss", f"V_ + POLY * {missing}")


@LIBRARY.idea("focal", "example-weights", Band.DOUBTFUL, "Lin et al. 2017", marks=["certain"], error=1)
def focal(edit: Edit, settings: Settings) -> None:
    """Examples that are predicted well give up weight to those that are not"""
    edit.replace(
        "training_loss",
        f"return {ENTROPY}",
        """
losses = F.cross_entropy(logits, targets, label_smoothing=LABEL_SMOOTHING, reduction="none")
certain = (-losses.detach()).exp()
return ((1.0 - certain) * losses).mean()
""",
    )


@LIBRARY.idea("squared-error", "objective", Band.DOUBTFUL, "Hui and Belkin 2021", marks=["mse_loss"], error=1)
def squared_error(edit: Edit, settings: Settings) -> None:
    """Squared distances to one-hot targets need no exponential and punish outliers only"""
    edit.rewrite("training_loss", ENTROPY, "3.0 * F.mse_loss(logits, F.one_hot(targets, logits.size(1)).float())")


@LIBRARY.idea(
    "logit-penalty",
    "confidence",
    Band.UNCLEAR,
    "Chowdhery et al. 2022 (z-loss); Dauphin and Cubuk 2021",
    marks=["PENALTY"],
    variants=[Variant("light", 0.5, {"weight": "1e-3"}), Variant("standard", 1.0, {"weight": "1e-2"})],
)
def logit_penalty(edit: Edit, settings: Settings) -> None:
    """A penalty on the size of logits keeps late gradients alive"""
    edit.add_constant(f"PENALTY: float = {settings['weight']}")
    edit.wrap_return("training_loss", "V_ + PENALTY * logits.square().mean()")
