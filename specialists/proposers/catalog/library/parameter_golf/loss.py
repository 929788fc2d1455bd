"""Loss: what training minimises instead of, or beside, the mean cross-entropy."""

from __future__ import annotations

from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.transform import Band, Library, Settings, Variant

LIBRARY = Library("loss", "loss.py")
ENTROPY = 'F.cross_entropy(A_, B_, reduction="none")'


def _add_term(edit: Edit, term: str) -> None:
    edit.wrap_return("training_loss", f"V_ + {term}")


def _weigh(edit: Edit, weights: str, code: str) -> None:
    """Multiply every token's loss by a weight of mean one before the reduction."""
    edit.wrap_return("token_losses", f"(V_) * {weights}")
    edit.define(code, before="token_losses")


@LIBRARY.idea(
    "z-loss",
    "logit-scale",
    Band.UNCLEAR,
    "Chowdhery et al. 2022 (PaLM)",
    marks=["Z_LOSS"],
    train=1,
    variants=[Variant("light", 0.5, {"weight": "1e-4"}), Variant("standard", 1.0, {"weight": "1e-3"})],
)
def z_loss(edit: Edit, settings: Settings) -> None:
    """A small penalty on the log-partition keeps logits from drifting"""
    edit.add_constant(f"Z_LOSS: float = {settings['weight']}")
    _add_term(edit, "Z_LOSS * logits.logsumexp(-1).square().mean()")


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
    edit.rewrite("token_losses", ENTROPY, 'F.cross_entropy(A_, B_, reduction="none", label_smoothing=SMOOTHING)')


@LIBRARY.idea("fading-smoothing", "confidence", Band.UNCLEAR, "Xu et al. 2020 (two-stage smoothing)", marks=["fading"])
def fading_smoothing(edit: Edit, settings: Settings) -> None:
    """Mass on all tokens early, when most are untrained, and none late, when the score counts"""
    edit.get("training_loss")
    _add_term(edit, "fading(logits, fraction)")
    edit.define(
        '''
def fading(logits: Tensor, fraction: float) -> Tensor:
    """Cross-entropy against the uniform distribution, at a weight that falls to nothing by mid-run."""
    return -max(0.0, 0.05 - 0.1 * fraction) * logits.log_softmax(-1).mean()
''',
        before="training_loss",
    )


@LIBRARY.idea(
    "focal",
    "token-weights",
    Band.DOUBTFUL,
    "Lin et al. 2017",
    marks=["focal"],
    variants=[Variant("half", 0.5, {"power": "0.5"}), Variant("one", 1.0, {"power": "1.0"})],
)
def focal(edit: Edit, settings: Settings) -> None:
    """Tokens that are predicted well already give up weight to those that are not"""
    edit.wrap_return("token_losses", "focal(V_)")
    edit.define(
        f'''
def focal(losses: Tensor) -> Tensor:
    """Losses (N,) weighted by (1 - p) ** {settings["power"]}, at the same total weight."""
    weights = (1.0 - (-losses.detach()).exp()).clamp(1e-3, 1.0) ** {settings["power"]}
    return losses * weights / weights.mean()
''',
        before="token_losses",
    )


@LIBRARY.idea(
    "trimmed-tail",
    "token-weights",
    Band.UNCLEAR,
    "Shen and Sanghavi 2019; Lin et al. 2024 (Rho-1)",
    marks=["trimmed"],
    variants=[Variant("light", 0.5, {"share": "0.02"}), Variant("standard", 1.0, {"share": "0.1"})],
)
def trimmed_tail(edit: Edit, settings: Settings) -> None:
    """The very hardest tokens of a batch are mostly names and noise that a small model cannot learn"""
    edit.wrap_return("token_losses", "trimmed(V_)")
    edit.define(
        f'''
def trimmed(losses: Tensor) -> Tensor:
    """Losses (N,) with the hardest {settings["share"]} left out, at the same total weight."""
    kept = losses.detach() <= losses.detach().quantile(1.0 - {settings["share"]})
    return losses * kept / kept.float().mean()
''',
        before="token_losses",
    )


@LIBRARY.idea(
    "late-positions", "token-weights", Band.UNCLEAR, "Press et al. 2021 (Shortformer)", marks=["late_weights"]
)
def late_positions(edit: Edit, settings: Settings) -> None:
    """Tokens with more context before them look more like those that are scored with overlap"""
    _weigh(
        edit,
        "late_weights(targets)",
        '''
def late_weights(targets: Tensor) -> Tensor:
    """Weights (B * T,) that rise from 0.5 at the first position of a window to 1.5 at the last."""
    ramp = torch.linspace(0.5, 1.5, targets.size(1), device=targets.device)
    return ramp.expand(targets.shape).flatten()
''',
    )
    edit.need_import("import torch")


@LIBRARY.idea(
    "merged-weight", "token-weights", Band.UNCLEAR, "none: tokens weighted by bytes", marks=["merged_weights"]
)
def merged_weight(edit: Edit, settings: Settings) -> None:
    """Merged tokens spell more bytes than single ones, and bytes are what the score divides by"""
    _weigh(
        edit,
        "merged_weights(targets)",
        '''
def merged_weights(targets: Tensor) -> Tensor:
    """Weights (B * T,) of mean one: merged tokens (beyond the 256 single bytes) count one and a half times."""
    weights = 1.0 + 0.5 * (targets.flatten() >= 256).float()
    return weights / weights.mean()
''',
    )


@LIBRARY.idea(
    "multi-token",
    "auxiliary",
    Band.UNCLEAR,
    "Gloeckle et al. 2024",
    marks=["second_next"],
    train=1,
    variants=[Variant("light", 0.5, {"weight": "0.03"}), Variant("standard", 1.0, {"weight": "0.1"})],
)
def multi_token(edit: Edit, settings: Settings) -> None:
    """Predicting the token after the next as well asks the stream to plan ahead"""
    _add_term(edit, "second_next(logits, targets)")
    edit.define(
        f'''
def second_next(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the token after the next at weight {settings["weight"]}."""
    return {settings["weight"]} * F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())
''',
        before="training_loss",
    )


@LIBRARY.idea("frequency-balance", "token-weights", Band.DOUBTFUL, "Cui et al. 2019", marks=["balance"])
def frequency_balance(edit: Edit, settings: Settings) -> None:
    """Rare tokens carry most bits and get few gradients, so they count a little more"""
    _weigh(
        edit,
        "balance(targets)",
        '''
def balance(targets: Tensor) -> Tensor:
    """Weights (B * T,) of mean one that fall with the fourth root of a token's count in the batch."""
    flat = targets.flatten()
    weights = flat.bincount().float()[flat] ** -0.25
    return weights / weights.mean()
''',
    )
