"""Meta: sizes and rates of the whole run, moved together by rules that read their present values from the tree.

Every move leaves its name and the former value in a comment on the line, so that a chain of moves stays readable and
the same move is not made twice.
"""

from __future__ import annotations

from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.transform import Band, Library, Settings, Variant

LIBRARY = Library("meta", "hyperparameters.py")
FACTORS = [Variant("x1.5", 0.5, {"factor": 1.5}), Variant("x2.5", 1.0, {"factor": 2.5})]


def _whole(edit: Edit, name: str) -> int:
    value = edit.number(name)
    edit.refuse_if(value != int(value) or value < 1, f"{name} is {value}, not a positive whole number")
    return int(value)


def _round(value: float) -> str:
    return f"{value:.3g}"


def _width(edit: Edit, wanted: float, mark: str) -> None:
    """Set WIDTH to the nearest width whose heads have an even size."""
    step = 2 * _whole(edit, "HEADS")
    width = max(step, step * round(wanted / step))
    edit.refuse_if(width == _whole(edit, "WIDTH"), f"the nearest width that fits the heads is {width} already")
    edit.move("WIDTH", str(width), mark)


@LIBRARY.idea("depth-for-steps", "depth", Band.UNCLEAR, "Kaplan et al. 2020 (compute per step)", size=-1, train=-1)
def depth_for_steps(edit: Edit, settings: Settings) -> None:
    """A layer less makes every step cheaper, and a fixed budget turns that into steps"""
    layers = _whole(edit, "LAYERS")
    edit.refuse_if(layers < 2, f"there is only {layers} layer")
    edit.move("LAYERS", str(layers - 1), "depth-for-steps")


@LIBRARY.idea("steps-for-depth", "depth", Band.UNCLEAR, "Kaplan et al. 2020; Tay et al. 2022", size=1, train=1)
def steps_for_depth(edit: Edit, settings: Settings) -> None:
    """A layer more lets features build on features, at fewer steps"""
    edit.move("LAYERS", str(_whole(edit, "LAYERS") + 1), "steps-for-depth")


@LIBRARY.idea("wider-and-shallower", "shape", Band.UNCLEAR, "Levine et al. 2020 (depth against width)")
def wider_and_shallower(edit: Edit, settings: Settings) -> None:
    """One layer less at a width that keeps the blocks' parameters makes larger, fewer matrix products"""
    layers, width = _whole(edit, "LAYERS"), _whole(edit, "WIDTH")
    edit.refuse_if(layers < 2, f"there is only {layers} layer")
    edit.move("LAYERS", str(layers - 1), "wider-and-shallower")
    _width(edit, width * (layers / (layers - 1)) ** 0.5, "wider-and-shallower")


@LIBRARY.idea("narrower-and-deeper", "shape", Band.UNCLEAR, "Levine et al. 2020; Tay et al. 2022")
def narrower_and_deeper(edit: Edit, settings: Settings) -> None:
    """One layer more at a width that keeps the blocks' parameters composes more and shrinks the tied table"""
    layers, width = _whole(edit, "LAYERS"), _whole(edit, "WIDTH")
    edit.move("LAYERS", str(layers + 1), "narrower-and-deeper")
    _width(edit, width * (layers / (layers + 1)) ** 0.5, "narrower-and-deeper")


@LIBRARY.idea(
    "batch-with-rate",
    "batch",
    Band.UNCLEAR,
    "Malladi et al. 2022 (square-root rule); McCandlish et al. 2018",
    variants=[
        Variant("half-root", 1.0, {"share": 0.5, "power": 0.5}),
        Variant("half-same", 1.0, {"share": 0.5, "power": 0.0}),
        Variant("double-root", 1.0, {"share": 2.0, "power": 0.5}),
    ],
)
def batch_with_rate(edit: Edit, settings: Settings) -> None:
    """Batch and rate move together, so that the noise of a step stays what it was while the number of steps changes"""
    batch, rate = _whole(edit, "BATCH"), edit.number("LEARNING_RATE")
    edit.refuse_if(batch * settings["share"] < 1, f"the batch is {batch}")
    mark = f"batch-with-rate x{settings['share']:g} ^{settings['power']:g}"
    edit.move("BATCH", str(int(batch * settings["share"])), mark)
    if settings["power"]:
        edit.move("LEARNING_RATE", _round(rate * settings["share"] ** settings["power"]), mark)


@LIBRARY.idea(
    "context-for-batch",
    "context",
    Band.UNCLEAR,
    "Press et al. 2021 (Shortformer); Li et al. 2022",
    variants=[Variant("shorter", 0.5, {"share": 0.5}), Variant("longer", 1.0, {"share": 2.0})],
)
def context_for_batch(edit: Edit, settings: Settings) -> None:
    """Window and batch trade places at the same tokens per step"""
    context, batch = _whole(edit, "CONTEXT"), _whole(edit, "BATCH")
    new = int(context * settings["share"])
    rows = round(batch * context / max(1, new))
    edit.refuse_if(new < 16 or rows < 1, f"{rows} windows of {new} tokens are too few or too short")
    mark = f"context-for-batch x{settings['share']:g}"
    edit.move("CONTEXT", str(new), mark)
    edit.move("BATCH", str(rows), mark)


@LIBRARY.idea("raise-rate", "rate", Band.UNCLEAR, "Smith 2018; Wortsman et al. 2023", variants=FACTORS)
def raise_rate(edit: Edit, settings: Settings) -> None:
    """A short run is rarely hurt by a rate near the edge of what is stable"""
    rate, factor = edit.number("LEARNING_RATE"), settings["factor"]
    edit.move("LEARNING_RATE", _round(rate * factor), f"raise-rate x{factor:g}")


@LIBRARY.idea("lower-rate", "rate", Band.UNCLEAR, "Wortsman et al. 2023", variants=FACTORS)
def lower_rate(edit: Edit, settings: Settings) -> None:
    """A rate beyond the edge of stability wastes its steps on bouncing"""
    rate, factor = edit.number("LEARNING_RATE"), settings["factor"]
    edit.move("LEARNING_RATE", _round(rate / factor), f"lower-rate x{factor:g}")


@LIBRARY.idea("rate-by-width", "shape", Band.UNCLEAR, "Yang et al. 2022 (muP)")
def rate_by_width(edit: Edit, settings: Settings) -> None:
    """A narrower stream with a rate that rises by as much keeps the size of updates and buys steps"""
    width, rate = _whole(edit, "WIDTH"), edit.number("LEARNING_RATE")
    _width(edit, 0.75 * width, "rate-by-width")
    edit.move("LEARNING_RATE", _round(rate * width / _whole(edit, "WIDTH")), "rate-by-width")


@LIBRARY.idea("attention-over-mlp", "shape", Band.UNCLEAR, "Kaplan et al. 2020 (shape matters little)")
def attention_over_mlp(edit: Edit, settings: Settings) -> None:
    """A thinner MLP pays for a wider stream at the same parameters per block"""
    ratio, width = _whole(edit, "MLP_RATIO"), _whole(edit, "WIDTH")
    edit.refuse_if(ratio < 2, f"the MLP is only {ratio} wide")
    edit.move("MLP_RATIO", str(ratio - 1), "attention-over-mlp")
    _width(edit, width * ((4 + 2 * ratio) / (2 + 2 * ratio)) ** 0.5, "attention-over-mlp")


@LIBRARY.idea("vocabulary-for-width", "vocabulary-size", Band.UNCLEAR, "Tao et al. 2024 (vocabulary scaling)")
def vocabulary_for_width(edit: Edit, settings: Settings) -> None:
    """More tokens at a narrower stream keep the table's bytes and shorten the text"""
    words, width = _whole(edit, "VOCABULARY"), _whole(edit, "WIDTH")
    _width(edit, width / 1.5**0.5, "vocabulary-for-width")
    edit.move("VOCABULARY", str(round(words * width / _whole(edit, "WIDTH"))), "vocabulary-for-width")


@LIBRARY.idea(
    "head-count",
    "attention-heads",
    Band.UNCLEAR,
    "Michel et al. 2019; Vaswani et al. 2017",
    variants=[Variant("half", 0.5, {"share": 0.5}), Variant("double", 1.0, {"share": 2.0})],
)
def head_count(edit: Edit, settings: Settings) -> None:
    """The same width cut into another number of heads trades patterns for resolution"""
    heads, width = _whole(edit, "HEADS"), _whole(edit, "WIDTH")
    new = int(heads * settings["share"])
    edit.refuse_if(new < 1 or width % (2 * new) != 0, f"{new} heads do not divide a width of {width} evenly")
    edit.move("HEADS", str(new), f"head-count x{settings['share']:g}")


@LIBRARY.idea(
    "decay-by-rate",
    "decay-targets",
    Band.UNCLEAR,
    "Loshchilov and Hutter 2019; Wang and Aitchison 2024",
    variants=[Variant("none", 0.5, {"product": 0.0}), Variant("strong", 1.0, {"product": 3e-3})],
)
def decay_by_rate(edit: Edit, settings: Settings) -> None:
    """Decay acts through its product with the rate, so it should be chosen for the rate that is set"""
    rate = edit.number("LEARNING_RATE")
    edit.number("WEIGHT_DECAY")
    edit.refuse_if(rate <= 0, f"the rate is {rate}")
    edit.move("WEIGHT_DECAY", _round(settings["product"] / rate), f"decay-by-rate {settings['product']:g}")


@LIBRARY.idea("leave-room", "budget-margin", Band.UNCLEAR, "none: a margin under the budget", train=-1, repair=True)
def leave_room(edit: Edit, settings: Settings) -> None:
    """Training that stops a little early keeps what comes after it inside the budget"""
    share = edit.number("TRAIN_SHARE")
    edit.move("TRAIN_SHARE", _round(share * 0.96), "leave-room")
