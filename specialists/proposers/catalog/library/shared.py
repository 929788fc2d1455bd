"""Ideas that more than one environment has, where the place in the recipe differs: ``path`` names it."""

from __future__ import annotations

from specialists.proposers.catalog.edit import Edit

SHAPES = {"line": "1.0 - progress", "plateau": "min(1.0, (1.0 - progress) / {share})"}
SHAPES["root"] = "1.0 - max(0.0, 1.0 - (1.0 - progress) / {share}) ** 0.5"


def shape_decay(edit: Edit, path: str, name: str, share: str, doc: str) -> None:
    """Let a schedule end in a decay function of its own, one of SHAPES; a former one goes."""
    edit.refuse_if(not edit.mentions("progress"), f"{path} has no progress to shape")
    edit.wrap_return(path, f"{name}_decay(progress)")
    code = SHAPES[name].format(share=share)
    edit.define(f'def {name}_decay(progress: float) -> float:\n    """{doc}"""\n    return {code}\n', before=path)
    for other in SHAPES:
        if other != name:
            edit.remove(f"{other}_decay")


def ramp_momentum(edit: Edit, path: str) -> None:
    """Raise the first momentum early in the run, at the head of the function that updates."""
    edit.get(path)
    edit.define(
        '''
def momentum_at(optimizers: list[torch.optim.Optimizer], fraction: float) -> None:
    """Raise the first momentum from 0.85 to 0.95 over the first third of the budget."""
    value = 0.85 + 0.1 * min(1.0, 3.0 * fraction)
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        if "betas" in group:
            group["betas"] = (value - 0.05, group["betas"][1])
        elif "momentum" in group:
            group["momentum"] = value
''',
        before=path,
    )
    edit.insert(path, "momentum_at(optimizers, fraction)")


def step_carefully(edit: Edit, path: str) -> None:
    """Leave the parts of each update out that disagree with the present gradient."""
    edit.rewrite(path, "optimizer.step()", "careful_step(optimizer)")
    edit.define(
        '''
def careful_step(optimizer: torch.optim.Optimizer) -> None:
    """One update without the parts whose sign disagrees with the present gradient."""
    held = [(p, p.detach().clone()) for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
    optimizer.step()
    with torch.no_grad():
        for p, before in held:
            moved = p - before
            p.copy_(before + moved * (moved * p.grad < 0))
''',
        before=path,
    )


def set_number(edit: Edit, name: str, value: float) -> None:
    """Give a constant that is a number another value. Raises Refused where it has that value."""
    now = edit.number(name)
    edit.refuse_if(abs(now - value) < 1e-12, f"already applied: {name} is {now}")
    edit.set_constant(name, str(value))
