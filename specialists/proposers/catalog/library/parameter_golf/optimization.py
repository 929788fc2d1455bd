"""Optimisation: the optimiser, groups, schedule, clip, initial scale."""

from __future__ import annotations

from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.library import shared
from specialists.proposers.catalog.transform import Band, Library, Settings, Variant

LIBRARY = Library("optimization", "optimization.py")
ADAMW = "torch.optim.AdamW(G_, betas=BETAS, eps=EPSILON)"
TABLES = '{"params": tables, "lr": R_, "peak": P_, "weight_decay": D_}'
MUON = '''
class Muon(torch.optim.Optimizer):
    """Momentum whose matrix updates are made orthogonal by Newton-Schulz steps (Jordan et al. 2024)."""

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One update; every group has lr, momentum and weight_decay."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                held = self.state[p].setdefault("held", torch.zeros_like(p))
                held.lerp_(p.grad, 1.0 - group["momentum"])
                update = orthogonal(p.grad.lerp(held, group["momentum"]))
                p.mul_(1.0 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * SCALE)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Nearest matrix with singular values near one; matrix (N, M)."""
    tall = matrix.size(0) > matrix.size(1)
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (2.0315 * gram @ gram - 4.7750 * gram) @ x
    return x.T if tall else x


def block_groups(model: nn.Module, inside: bool) -> list[dict[str, object]]:
    """Groups of block matrices only, at FACTOR times their rate; or all the others."""
    matrices = {id(p) for n, p in model.named_parameters() if is_matrix(n, p)}
    groups = [g for g in parameter_groups(model) if all(id(p) in matrices for p in g["params"]) == inside]
    return [g | {"lr": FACTOR * g["lr"], "peak": FACTOR * g["peak"]} for g in groups] if inside else groups
'''


@LIBRARY.idea(
    "muon",
    "orthogonal-updates",
    Band.STRONG,
    "Jordan et al. 2024; Liu et al. 2025 (Moonlight)",
    marks=["Muon"],
    train=1,
    variants=[
        Variant("gentle", 0.5, {"factor": "1.0", "scale": "0.2 * max(p.shape) ** 0.5"}),
        Variant("standard", 1.0, {"factor": "4.0", "scale": "max(1.0, p.size(0) / p.size(1)) ** 0.5"}),
    ],
)
def muon(edit: Edit, settings: Settings) -> None:
    """Orthogonal updates move every direction of a block matrix alike, which Adam does not"""
    edit.get("is_matrix")
    groups = "parameter_groups(model)"
    for name in ("AdamW", "NAdam"):
        if edit.finds("make_optimizers", f"[torch.optim.{name}({groups}, *REST_)]"):
            break
    edit.rewrite(
        "make_optimizers",
        f"[torch.optim.{name}({groups}, *REST_)]",
        f"[Muon(block_groups(model, True), MUON), torch.optim.{name}(block_groups(model, False), *REST_)]",
    )
    edit.add_constant('MUON: dict[str, float] = {"lr": 0.0, "momentum": 0.95, "weight_decay": 0.0}')
    code = MUON.replace("SCALE", settings["scale"]).replace("FACTOR", settings["factor"])
    edit.define(code, before="make_optimizers")


@LIBRARY.idea(
    "table-rate",
    "group-rates",
    Band.SOME,
    "Yang et al. 2022; modded-nanogpt",
    marks=["TABLE_RATE"],
    variants=[Variant("half", 0.5, {"factor": "0.5"}), Variant("double", 1.0, {"factor": "2.0"})],
)
def table_rate(edit: Edit, settings: Settings) -> None:
    """Embedding rows see sparse gradients and want a rate of their own"""
    edit.add_constant(f"TABLE_RATE: float = {settings['factor']}")
    new = '{"params": tables, "lr": TABLE_RATE * (R_), "peak": TABLE_RATE * (P_), "weight_decay": D_}'
    edit.rewrite("parameter_groups", TABLES, new)


@LIBRARY.idea("undecayed-tables", "decay-targets", Band.UNCLEAR, "Karpathy 2020 (minGPT)", marks=["TABLE_DECAY"])
def undecayed_tables(edit: Edit, settings: Settings) -> None:
    """Rare embedding rows should not shrink merely because they are rare"""
    edit.add_constant("TABLE_DECAY: float = 0.0")
    new = '{"params": tables, "lr": R_, "peak": P_, "weight_decay": TABLE_DECAY}'
    edit.rewrite("parameter_groups", TABLES, new)


@LIBRARY.idea(
    "fan-in-init",
    "initialisation",
    Band.SOME,
    "LeCun et al. 1998; He et al. 2015",
    marks=["rescale"],
    variants=[Variant("half", 0.5, {"gain": "0.5"}), Variant("unit", 1.0, {"gain": "1.0"})],
)
def fan_in_init(edit: Edit, settings: Settings) -> None:
    """Matrices scaled by their fan-in pass signals of unit size from the first step"""
    edit.get("is_matrix")
    edit.insert("make_optimizers", "rescale(model)")
    edit.define(
        f'''
def rescale(model: nn.Module) -> None:
    """Give block matrices the standard deviation {settings["gain"]} / sqrt(fan-in); what starts at zero stays there."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if is_matrix(name, p) and p.std() > 0:
                p.mul_({settings["gain"]} * p.size(1) ** -0.5 / p.std())
''',
        before="make_optimizers",
    )


@LIBRARY.idea(
    "short-memory",
    "adam-moments",
    Band.UNCLEAR,
    "Brown et al. 2020 (beta2 0.95)",
    variants=[Variant("0.98", 0.5, {"second": 0.98}), Variant("0.95", 1.0, {"second": 0.95})],
    sets=True,
)
def short_memory(edit: Edit, settings: Settings) -> None:
    """A second moment that forgets sooner follows a short run better"""
    betas = edit.constant("BETAS")
    edit.refuse_if(not isinstance(betas, tuple) or len(betas) != 2, f"BETAS is {betas!r}, not a pair")
    edit.refuse_if(betas[1] <= settings["second"], f"already applied: the second moment forgets at {betas[1]}")
    edit.set_constant("BETAS", f"({betas[0]}, {settings['second']})")


@LIBRARY.idea("linear-to-zero", "schedule", Band.SOME, "Defazio et al. 2023; Bergsma et al. 2025", marks=["line_decay"])
def linear_to_zero(edit: Edit, settings: Settings) -> None:
    """A straight line to zero spends the last steps on averaging out noise"""
    shared.shape_decay(edit, "schedule", "line", "", "A straight line to nothing.")


@LIBRARY.idea(
    "warmup-stable-decay",
    "schedule",
    Band.SOME,
    "Zhai et al. 2022; Hu et al. 2024 (MiniCPM)",
    marks=["plateau_decay"],
    variants=[Variant("late", 0.5, {"share": "0.3"}), Variant("early", 1.0, {"share": "0.6"})],
)
def warmup_stable_decay(edit: Edit, settings: Settings) -> None:
    """A plateau at the peak rate covers more ground before a linear cool-down"""
    shared.shape_decay(edit, "schedule", "plateau", settings["share"], "Constant, then a straight line to nothing.")


@LIBRARY.idea("root-cooldown", "schedule", Band.UNCLEAR, "Haegele et al. 2024", marks=["root_decay"])
def root_cooldown(edit: Edit, settings: Settings) -> None:
    """A plateau with a 1 - sqrt cool-down drops the rate fast and ends gently"""
    shared.shape_decay(edit, "schedule", "root", "0.5", "Constant, then one minus a square root.")


@LIBRARY.idea(
    "momentum-warmup", "momentum", Band.UNCLEAR, "Jordan et al. 2024; Sutskever et al. 2013", marks=["momentum_at"]
)
def momentum_warmup(edit: Edit, settings: Settings) -> None:
    """Low momentum while gradients still turn quickly, high momentum later"""
    shared.ramp_momentum(edit, "step")


@LIBRARY.idea(
    "cautious-step",
    "update-filter",
    Band.UNCLEAR,
    "Liang et al. 2024 (Cautious optimizers)",
    marks=["careful_step"],
    train=1,
)
def cautious_step(edit: Edit, settings: Settings) -> None:
    """Updates that disagree with the present gradient are stale and better left out"""
    shared.step_carefully(edit, "step")


@LIBRARY.idea("no-clip", "clip", Band.UNCLEAR, "modded-nanogpt", marks=["unclipped"])
def no_clip(edit: Edit, settings: Settings) -> None:
    """Adam's own normalisation makes a clip of the whole gradient a mere slow-down"""
    edit.rewrite("step", "clip_gradients(P_)", "unclipped(P_)")
    edit.define(
        '''
def unclipped(parameters: Iterable[nn.Parameter]) -> None:
    """Gradients stay as they are."""
''',
        before="step",
    )


@LIBRARY.idea(
    "adaptive-clip",
    "clip",
    Band.UNCLEAR,
    "Brock et al. 2021 (AGC)",
    marks=["AGC"],
    train=1,
    variants=[Variant("loose", 0.5, {"share": "0.3"}), Variant("tight", 1.0, {"share": "0.05"})],
)
def adaptive_clip(edit: Edit, settings: Settings) -> None:
    """A clip relative to each parameter's own size bounds single matrices instead of the whole"""
    edit.refuse_if(not edit.finds("step", "clip_gradients(P_)"), "step does not clip gradients")
    edit.add_constant(f"AGC: float = {settings['share']}")
    edit.body(
        "clip_gradients",
        """
for p in parameters:
    if p.grad is not None:
        limit = AGC * p.detach().norm().clamp_min(1.0)
        p.grad.mul_((limit / p.grad.norm().clamp_min(1e-9)).clamp_max(1.0))
""",
    )


@LIBRARY.idea("nesterov-adam", "momentum", Band.UNCLEAR, "Dozat 2016", marks=["NAdam"], train=1)
def nesterov_adam(edit: Edit, settings: Settings) -> None:
    """A look ahead along the momentum reacts a step sooner"""
    new = "torch.optim.NAdam(G_, betas=BETAS, eps=EPSILON, decoupled_weight_decay=True)"
    edit.rewrite("make_optimizers", ADAMW, new)


@LIBRARY.idea("fused-update", "step-cost", Band.SOME, "PyTorch (fused AdamW)", marks=["fused"], train=-1)
def fused_update(edit: Edit, settings: Settings) -> None:
    """One fused call per group instead of a dozen per parameter leaves budget for more steps"""
    edit.rewrite("make_optimizers", ADAMW, "torch.optim.AdamW(G_, betas=BETAS, eps=EPSILON, fused=True)")


@LIBRARY.idea(
    "warmup-length",
    "schedule-start",
    Band.UNCLEAR,
    "Goyal et al. 2017; Ma and Yarats 2021",
    variants=[Variant("short", 1.0, {"share": 0.02}), Variant("long", 1.0, {"share": 0.12})],
    sets=True,
)
def warmup_length(edit: Edit, settings: Settings) -> None:
    """The warm-up should last as long as Adam's statistics need and no longer"""
    share = edit.number("WARMUP")
    edit.refuse_if(abs(share - settings["share"]) < 1e-9, f"already applied: the warm-up is {share}")
    edit.set_constant("WARMUP", str(settings["share"]))
