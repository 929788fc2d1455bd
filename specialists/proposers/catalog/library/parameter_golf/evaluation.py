"""Evaluation: context, stride and calibration when the model is scored."""

from __future__ import annotations

from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.transform import Band, Library, Settings, Variant

LIBRARY = Library("evaluation", "evaluation.py")
CONTEXT = "hyperparameters.CONTEXT"


def _set(edit: Edit, name: str, code: str) -> None:
    """Set a window constant unless it stands so already."""
    edit.refuse_if(edit.constant_code(name) == code, f"already applied: {name} is {code}")
    edit.set_constant(name, code)


@LIBRARY.idea(
    "overlapping-stride",
    "overlap",
    Band.SOME,
    "Baevski and Auli 2019; Press et al. 2021",
    evaluate=1,
    variants=[
        Variant("quarter", 0.4, {"code": f"max(1, {CONTEXT} * 3 // 4)"}),
        Variant("half", 1.0, {"code": f"max(1, {CONTEXT} // 2)"}),
        Variant("three-quarters", 2.0, {"code": f"max(1, {CONTEXT} // 4)"}),
    ],
    sets=True,
)
def overlapping_stride(edit: Edit, settings: Settings) -> None:
    """Windows that overlap give every scored token a longer past"""
    _set(edit, "STRIDE", settings["code"])


@LIBRARY.idea(
    "longer-context",
    "context",
    Band.UNCLEAR,
    "Press et al. 2022; Su et al. 2021",
    evaluate=1,
    variants=[
        Variant("half-more", 0.5, {"code": f"{CONTEXT} + {CONTEXT} // 2"}),
        Variant("double", 1.0, {"code": f"2 * {CONTEXT}"}),
    ],
    sets=True,
)
def longer_context(edit: Edit, settings: Settings) -> None:
    """Rotary positions let the model read further back than the windows it was trained on"""
    _set(edit, "WINDOW", settings["code"])


@LIBRARY.idea(
    "temperature",
    "calibration",
    Band.UNCLEAR,
    "Guo et al. 2017",
    variants=[Variant("sharper", 1.0, {"value": 0.97}), Variant("softer", 1.0, {"value": 1.03})],
    sets=True,
)
def temperature(edit: Edit, settings: Settings) -> None:
    """A short run leaves logits slightly off scale, which one number corrects"""
    value = edit.number("TEMPERATURE")
    edit.refuse_if(abs(value - settings["value"]) < 1e-9, f"already applied: the temperature is {value}")
    edit.set_constant("TEMPERATURE", str(settings["value"]))


@LIBRARY.idea(
    "early-doubt",
    "calibration",
    Band.UNCLEAR,
    "Guo et al. 2017",
    marks=["doubtful"],
    variants=[Variant("light", 0.5, {"share": "0.1"}), Variant("standard", 1.0, {"share": "0.3"})],
)
def early_doubt(edit: Edit, settings: Settings) -> None:
    """Predictions at the head of a window, made from almost nothing, should be softer"""
    edit.wrap_return("finish", "doubtful(V_)")
    edit.define(
        f'''
def doubtful(logits: Tensor) -> Tensor:
    """Logits (..., T, V) divided by 1 + {settings["share"]} / (1 + position)."""
    place = torch.arange(logits.size(-2), device=logits.device, dtype=logits.dtype)
    return logits / (1.0 + {settings["share"]} / (1.0 + place))[:, None]
''',
        before="finish",
    )


@LIBRARY.idea(
    "scoring-softcap",
    "calibration",
    Band.DOUBTFUL,
    "Gemma Team 2024",
    marks=["SCORING_CAP"],
    evaluate=1,
    variants=[Variant("20", 0.5, {"cap": "20.0"}), Variant("10", 1.0, {"cap": "10.0"})],
)
def scoring_softcap(edit: Edit, settings: Settings) -> None:
    """Extreme logits squashed when scored cost less where they are wrong"""
    edit.add_constant(f"SCORING_CAP: float = {settings['cap']}")
    edit.wrap_return("finish", "SCORING_CAP * torch.tanh((V_) / SCORING_CAP)")


@LIBRARY.idea(
    "probability-floor",
    "smoothing",
    Band.UNCLEAR,
    "Chen and Goodman 1999",
    marks=["FLOOR"],
    evaluate=1,
    variants=[Variant("thin", 0.5, {"share": "0.001"}), Variant("thick", 1.0, {"share": "0.01"})],
)
def probability_floor(edit: Edit, settings: Settings) -> None:
    """A sliver of the uniform distribution bounds the price of a surprise"""
    edit.add_constant(f"FLOOR: float = {settings['share']}")
    edit.wrap_return("finish", "floored(V_)")
    edit.define(
        '''
def floored(logits: Tensor) -> Tensor:
    """Logits (..., V) of a mixture with the uniform distribution at weight FLOOR."""
    return torch.log((1.0 - FLOOR) * logits.softmax(-1) + FLOOR / logits.size(-1))
''',
        before="finish",
    )


@LIBRARY.idea(
    "two-views", "ensemble", Band.SOME, "Dietterich 2000; Krause et al. 2018", marks=["predict_once"], evaluate=1
)
def two_views(edit: Edit, settings: Settings) -> None:
    """The average of two cuts into windows spares every token the worst of its two contexts"""
    edit.refuse_if(not edit.mentions("STRIDE"), "there is no STRIDE to shift by")
    edit.rename("predict", "predict_once")
    edit.append(
        '''
@torch.inference_mode()
def predict(model: nn.Module, tokens: Tensor, start: int) -> Tensor:
    """tokens (B, T) -> logits (B, T, V): mean probability of two predictions whose windows are half a stride apart."""
    shift = STRIDE // 2
    plain = predict_once(model, tokens, start)
    moved = predict_once(model, F.pad(tokens, (shift, 0), value=start), start)[:, shift:]
    return torch.logaddexp(plain.log_softmax(-1), moved.log_softmax(-1))
'''
    )
