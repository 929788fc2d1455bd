"""Curriculum: batch, length, order and mixture of the text that is read."""

from __future__ import annotations

from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.transform import Band, Library, Settings, Variant

LIBRARY = Library("curriculum", "curriculum.py")


@LIBRARY.idea(
    "smaller-batch",
    "batch",
    Band.SOME,
    "McCandlish et al. 2018; Marek et al. 2025",
    marks=["BATCH_DIVISOR"],
    variants=[Variant("half", 1.0, {"by": 2}), Variant("quarter", 2.0, {"by": 4})],
)
def smaller_batch(edit: Edit, settings: Settings) -> None:
    """Below the critical batch size more and smaller steps use a fixed budget better"""
    edit.refuse_if(edit.mentions("BATCH_MULTIPLE"), "conflict: the batch was enlarged here")
    edit.add_constant(f"BATCH_DIVISOR: int = {settings['by']}")
    edit.wrap_return("batch_size", "max(1, (V_) // BATCH_DIVISOR)")


@LIBRARY.idea(
    "larger-batch", "batch", Band.UNCLEAR, "Smith et al. 2018; McCandlish et al. 2018", marks=["BATCH_MULTIPLE"]
)
def larger_batch(edit: Edit, settings: Settings) -> None:
    """Larger batches pay the fixed cost of a step less often"""
    edit.refuse_if(edit.mentions("BATCH_DIVISOR"), "conflict: the batch was made smaller here")
    edit.add_constant("BATCH_MULTIPLE: int = 2")
    edit.wrap_return("batch_size", "(V_) * BATCH_MULTIPLE")


@LIBRARY.idea(
    "batch-ramp",
    "batch-schedule",
    Band.UNCLEAR,
    "Smith et al. 2018",
    marks=["BATCH_RAMP"],
    variants=[Variant("gentle", 0.5, {"low": "0.75"}), Variant("steep", 1.0, {"low": "0.5"})],
)
def batch_ramp(edit: Edit, settings: Settings) -> None:
    """Small batches early, when gradients agree, and large ones late, when noise matters"""
    edit.add_constant(f"BATCH_RAMP: float = {settings['low']}")
    edit.wrap_return("batch_size", "max(1, round((V_) * (BATCH_RAMP + 2.0 * (1.0 - BATCH_RAMP) * fraction)))")


@LIBRARY.idea(
    "length-ramp",
    "length-schedule",
    Band.UNCLEAR,
    "Press et al. 2021 (Shortformer); Li et al. 2022",
    marks=["SHORT_UNTIL"],
    variants=[Variant("plain", 0.5, {"even": False}), Variant("even-tokens", 1.0, {"even": True})],
)
def length_ramp(edit: Edit, settings: Settings) -> None:
    """Short windows teach local structure cheaply before long ones are worth their cost"""
    edit.add_constant("SHORT_UNTIL: float = 0.3")
    if settings["even"]:
        edit.wrap_return("batch_size", "(V_) * hyperparameters.CONTEXT // context_length(fraction)")
    edit.wrap_return("context_length", "(V_) if fraction >= SHORT_UNTIL else max(8, (V_) // 2)")


@LIBRARY.idea(
    "document-balance", "mixture", Band.UNCLEAR, "Conneau and Lample 2019; Xie et al. 2023", marks=["balanced"]
)
def document_balance(edit: Edit, settings: Settings) -> None:
    """Documents drawn by the root of their length widen the range of styles that is read"""
    edit.wrap_return("document_weights", "balanced(V_, documents)")
    edit.define(
        '''
def balanced(weights: list[float], documents: list[bytes]) -> list[float]:
    """Weights divided by the square root of each document's length."""
    return [weight / max(1, len(text)) ** 0.5 for weight, text in zip(weights, documents, strict=True)]
''',
        before="document_weights",
    )


@LIBRARY.idea("line-starts", "alignment", Band.UNCLEAR, "Ding et al. 2024 (fewer truncations)", marks=["at_lines"])
def line_starts(edit: Edit, settings: Settings) -> None:
    """Windows that begin at a line look like what the model meets at the head of a text"""
    edit.insert(
        "Sampler.__init__",
        "self.lines = np.append(0, np.flatnonzero(self.tokens == words.start()) + 1)",
        at_end=True,
    )
    edit.wrap_return("Sampler.starts", "self.at_lines(V_)")
    edit.method(
        "Sampler",
        '''
def at_lines(self, starts: np.ndarray) -> np.ndarray:
    """Move each start back to the beginning of its line."""
    return self.lines[np.searchsorted(self.lines, starts, side="right") - 1]
''',
    )


@LIBRARY.idea("stride-sweep", "order", Band.UNCLEAR, "Bottou 2009; Shamir 2016", marks=["sweep"])
def stride_sweep(edit: Edit, settings: Settings) -> None:
    """Windows of a shuffled grid, each once before any comes again, waste nothing on repeats"""
    edit.rewrite("Sampler.starts", "self.draw.integers(0, E_, size=count)", "self.sweep(count, length)")
    edit.insert("Sampler.__init__", "self.order = np.zeros(0, dtype=np.int64)", at_end=True)
    edit.method(
        "Sampler",
        '''
def sweep(self, count: int, length: int) -> np.ndarray:
    """The next starts (count,) of a shuffled grid of windows that do not overlap."""
    while len(self.order) < count:
        shift = int(self.draw.integers(0, length))
        grid = np.arange(shift, max(shift + 1, len(self.tokens) - length), length)
        self.order = np.append(self.order, self.draw.permutation(grid))
    chosen, self.order = self.order[:count], self.order[count:]
    return np.minimum(chosen, len(self.tokens) - length)
''',
    )


@LIBRARY.idea(
    "text-amount",
    "amount",
    Band.UNCLEAR,
    "Muennighoff et al. 2023",
    variants=[Variant("half", 1.0, {"share": 0.5}), Variant("double", 1.0, {"share": 2.0})],
)
def text_amount(edit: Edit, settings: Settings) -> None:
    """How much distinct text is drawn from decides between variety and repetition"""
    amount = edit.number("TEXT_BYTES")
    edit.move("TEXT_BYTES", str(int(amount * settings["share"])), f"x {settings['share']}")


@LIBRARY.idea(
    "piece-length",
    "mixture",
    Band.UNCLEAR,
    "Raffel et al. 2020 (sampling of spans)",
    variants=[Variant("quarter", 1.0, {"share": 0.25}), Variant("fourfold", 1.0, {"share": 4.0})],
)
def piece_length(edit: Edit, settings: Settings) -> None:
    """Shorter pieces mix more places of every document, longer ones keep more context whole"""
    length = edit.number("PIECE_BYTES")
    edit.move("PIECE_BYTES", str(max(200, int(length * settings["share"]))), f"x {settings['share']}")
