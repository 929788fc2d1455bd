"""Architecture, inside the blocks: activations, attention, residual paths, depth. The rest is in ``stream``."""

from __future__ import annotations

from specialists.proposers.catalog.edit import Edit
from specialists.proposers.catalog.transform import Band, Library, Settings, Variant

LIBRARY = Library("architecture", "architecture.py")
ATTENTION = "F.scaled_dot_product_attention"


@LIBRARY.idea(
    "relu-squared",
    "activation",
    Band.SOME,
    "So et al. 2021 (Primer); modded-nanogpt",
    marks=["relu", "square"],
    train=-1,
)
def relu_squared(edit: Edit, settings: Settings) -> None:
    """Squaring a ReLU in the MLP gives sparser, sharper features at a lower cost than GELU"""
    edit.rewrite("MLP", "F.gelu(X_)", "F.relu(X_).square()")


@LIBRARY.idea(
    "leaky-relu-squared", "activation", Band.UNCLEAR, "Maas et al. 2013; So et al. 2021", marks=["leaky_relu", "square"]
)
def leaky_relu_squared(edit: Edit, settings: Settings) -> None:
    """A squared ReLU that leaks keeps gradients alive below zero"""
    if edit.finds("MLP", "F.relu(X_).square()"):
        edit.rewrite("MLP", "F.relu(X_).square()", "F.leaky_relu(X_, 0.5).square()")
    else:
        edit.rewrite("MLP", "F.gelu(X_)", "F.leaky_relu(X_, 0.5).square()")


@LIBRARY.idea("swiglu", "activation", Band.SOME, "Shazeer 2020", marks=["gated"], train=1)
def swiglu(edit: Edit, settings: Settings) -> None:
    """A gated MLP of the same size multiplies features instead of only adding them"""
    linear = "nn.Linear({}, bias=False)".format
    edit.rewrite("MLP.__init__", linear("width, hidden"), linear("width, 2 * (2 * hidden // 3)"))
    edit.rewrite("MLP.__init__", linear("hidden, width"), linear("2 * hidden // 3, width"))
    edit.rewrite("MLP.forward", "self.activate(self.expand(X_))", "self.gated(self.expand(X_))")
    edit.method(
        "MLP",
        '''
def gated(self, hidden: Tensor) -> Tensor:
    """One half passes through the activation and scales the other (Shazeer 2020)."""
    gate, value = hidden.chunk(2, dim=-1)
    return self.activate(gate) * value
''',
    )


@LIBRARY.idea("qk-norm", "attention-scale", Band.UNCLEAR, "Henry et al. 2020; Dehghani et al. 2023", marks=["key_gain"])
def qk_norm(edit: Edit, settings: Settings) -> None:
    """Normed queries and keys with a gain per head keep attention logits bounded at a high rate"""
    path = "Attention.forward"
    edit.rewrite(
        path, "rotate(query, T_)", "rotate(F.rms_norm(query, query.shape[-1:]) * self.key_gain.view(-1, 1, 1), T_)"
    )
    edit.rewrite(path, "rotate(key, T_)", "rotate(F.rms_norm(key, key.shape[-1:]), T_)")
    edit.insert("Attention.__init__", "self.key_gain = nn.Parameter(torch.ones(heads))", at_end=True)


@LIBRARY.idea("value-residual", "residual-paths", Band.UNCLEAR, "Zhou et al. 2024", marks=["value_mix"])
def value_residual(edit: Edit, settings: Settings) -> None:
    """Later blocks that may read the first block's values keep token identity"""
    path = "Attention.forward"
    edit.rewrite(path, f"{ATTENTION}(Q_, K_, value, *REST_)", f"{ATTENTION}(Q_, K_, self.blend(value, first), *REST_)")
    edit.parameter(path, "first: list[Tensor]")
    edit.insert("Attention.__init__", "self.value_mix = nn.Parameter(torch.zeros(1))", at_end=True)
    edit.method(
        "Attention",
        '''
def blend(self, value: Tensor, first: list[Tensor]) -> Tensor:
    """Values mixed with those of the first block; ``first`` is empty when that one calls."""
    first.append(value)
    return value + self.value_mix * (first[0] - value)
''',
    )
    edit.parameter("Block.forward", "first: list[Tensor]")
    edit.rewrite("Block.forward", "self.attention(X_, *REST_)", "self.attention(X_, *REST_, first)")
    edit.rewrite("LanguageModel.forward", "block(X_, *REST_)", "block(X_, *REST_, first)")
    edit.insert("LanguageModel.forward", "first: list[Tensor] = []")


@LIBRARY.idea(
    "parallel-residual", "residual-paths", Band.UNCLEAR, "Wang and Komatsuzaki 2021 (GPT-J)", marks=["parallel"]
)
def parallel_residual(edit: Edit, settings: Settings) -> None:
    """Attention and MLP that read the same stream shorten the path between input and output"""
    edit.replace_run("Block.forward", ["x = x + A_", "return x + M_"], "parallel = A_ + M_\nreturn x + parallel")


@LIBRARY.idea(
    "branch-scale", "residual-paths", Band.UNCLEAR, "Touvron et al. 2021 (LayerScale)", marks=["branch_scale"]
)
def branch_scale(edit: Edit, settings: Settings) -> None:
    """A learnt gain per channel on each block's output lets depth switch itself on gradually"""
    edit.insert("Block.__init__", "self.branch_scale = nn.Parameter(torch.ones(width))", at_end=True)
    edit.rewrite(
        "Block.forward",
        "regularization.drop(self.mlp(X_), *REST_)",
        "self.branch_scale * regularization.drop(self.mlp(X_), *REST_)",
    )


@LIBRARY.idea(
    "looped-blocks",
    "depth",
    Band.UNCLEAR,
    "Dehghani et al. 2019 (Universal Transformer)",
    marks=["LOOPS"],
    train=1,
    evaluate=1,
    variants=[Variant("twice", 1.0, {"loops": 2}), Variant("thrice", 2.0, {"loops": 3})],
)
def looped_blocks(edit: Edit, settings: Settings) -> None:
    """Running the same blocks again buys depth without a byte"""
    edit.add_constant(f"LOOPS: int = {settings['loops']}")
    edit.rewrite("LanguageModel.forward", "self.blocks", "list(self.blocks) * LOOPS")


@LIBRARY.idea(
    "grouped-query",
    "attention-heads",
    Band.UNCLEAR,
    "Shazeer 2019; Ainslie et al. 2023",
    marks=["KEY_HEADS"],
    size=-1,
    train=-1,
    variants=[Variant("half", 1.0, {"single": False}), Variant("one", 1.5, {"single": True})],
)
def grouped_query(edit: Edit, settings: Settings) -> None:
    """Query heads that share keys and values free bytes and compute"""
    heads, path = "hyperparameters.HEADS", "Attention.forward"
    share = "1" if settings["single"] else f"{heads} // 2 if {heads} % 2 == 0 else 1"
    edit.add_constant(f"KEY_HEADS: int = {share}")
    edit.rewrite(
        "Attention.__init__",
        "nn.Linear(width, 3 * width, bias=False)",
        "nn.Linear(width, width + 2 * KEY_HEADS * (width // heads), bias=False)",
    )
    edit.replace_run(
        path,
        ["split = self.query_key_value(X_).view(*REST_)", "query, key, value = split.permute(2, 0, 3, 1, 4)"],
        "split = self.query_key_value(X_).view(batch, length, -1, width // self.heads).transpose(1, 2)\n"
        "query, key, value = split.split((self.heads, KEY_HEADS, KEY_HEADS), dim=1)",
    )
    edit.rewrite(
        path, f"{ATTENTION}(Q_, key, V_, *REST_)", f"{ATTENTION}(Q_, self.shared(key), self.shared(V_), *REST_)"
    )
    edit.method(
        "Attention",
        '''
def shared(self, few: Tensor) -> Tensor:
    """Heads (B, KEY_HEADS, T, D) handed out to every query head."""
    return few.repeat_interleave(self.heads // KEY_HEADS, dim=1)
''',
    )


@LIBRARY.idea(
    "local-attention",
    "attention-span",
    Band.UNCLEAR,
    "Beltagy et al. 2020; Child et al. 2019",
    marks=["SPAN"],
    variants=[Variant("half", 1.0, {"divide": 2}), Variant("quarter", 1.5, {"divide": 4})],
)
def local_attention(edit: Edit, settings: Settings) -> None:
    """Attention limited to a near span spends its few heads where most of the signal is"""
    edit.add_constant(f"SPAN: int = max(4, hyperparameters.CONTEXT // {settings['divide']})")
    edit.rewrite(
        "Attention.forward",
        f"{ATTENTION}(Q_, K_, V_, is_causal=True)",
        f"{ATTENTION}(Q_, K_, V_, attn_mask=near(length, query.device))",
    )
    edit.define(
        '''
def near(length: int, device: torch.device) -> Tensor:
    """Mask (T, T): each position sees itself and the SPAN - 1 before it."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril().triu(1 - SPAN)
''',
        before="Attention",
    )


@LIBRARY.idea("zero-projections", "initialisation", Band.SOME, "Zhang et al. 2019 (Fixup); modded-nanogpt")
def zero_projections(edit: Edit, settings: Settings) -> None:
    """Branches that start at zero let the stream begin as the identity"""
    edit.refuse_if(edit.finds("initialise", "nn.init.zeros_(parameter)"), "already applied: branches start at zero")
    edit.insert(
        "initialise",
        """
for name, parameter in model.named_parameters():
    if "project" in name:
        nn.init.zeros_(parameter)
""",
        at_end=True,
    )


@LIBRARY.idea("live-projections", "initialisation", Band.UNCLEAR, "Radford et al. 2019 (GPT-2)")
def live_projections(edit: Edit, settings: Settings) -> None:
    """Branch outputs that start small but not at zero carry gradients into the blocks from the first step"""
    small = "INIT_STD / (2 * hyperparameters.LAYERS) ** 0.5"
    edit.number("INIT_STD")
    edit.rewrite("initialise", "nn.init.zeros_(parameter)", f"nn.init.normal_(parameter, std={small})")
